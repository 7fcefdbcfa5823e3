//! How the other members and their nodes stand, and which logs are forked.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use vatra_api::{Behind, ForkStatus, LinkState, LinkStatus, MemberStatus, NodeStatus, QuarantineStatus, Standing};
use vatra_model::{AudienceId, LogId, MemberCode, NodeKey, WallMs};
use vatra_replica::{ReplicaStatus, Trust};

use super::{NodeService, reports};
use crate::node::quarantine::WHOLE_ENTRY;

/// Changes without effect that a status shows.
const QUARANTINE_SHOWN_MAX: usize = 20;

impl NodeService {
    pub(super) fn trust(&self) -> Arc<Trust> {
        self.inner.shared.trust.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every member of the charter, by code.
    pub(super) fn members(&self, replica: &ReplicaStatus) -> Vec<MemberStatus> {
        let trust = self.trust();
        let mut nodes: BTreeMap<MemberCode, Vec<NodeStatus>> = BTreeMap::new();
        for (member, node) in self.node_statuses(replica, &trust) {
            nodes.entry(member).or_default().push(node);
        }
        let forks = self.forks(replica);
        let quarantined = self.inner.shared.quarantine.by_member();
        let members = trust.charter().current().members.iter().map(|member| {
            let nodes = nodes.remove(&member.code).unwrap_or_default();
            let forks = forks.iter().filter(|fork| fork.member == member.code);
            let behind = replica.behind.get(&member.code).map_or(Behind::default(), reports::behind);
            let status = member_status(member.code, nodes, behind, forks);
            MemberStatus { quarantined: quarantined.get(&member.code).copied().unwrap_or(0), ..status }
        });
        members.collect()
    }

    /// Every admitted node, with its member.
    pub(super) fn node_statuses(&self, replica: &ReplicaStatus, trust: &Trust) -> Vec<(MemberCode, NodeStatus)> {
        let links: BTreeMap<NodeKey, LinkStatus> =
            self.links(replica).into_iter().map(|link| (link.node, link)).collect();
        let nodes = trust.nodes().map(|certificate| {
            let node = certificate.key;
            let heard = replica.nodes.iter().find(|status| status.node == node);
            let heard_at = heard.and_then(|heard| heard.heard).map(|at| self.inner.clock.wall_of(at));
            let link = links.get(&node);
            let is_linked = link.is_some_and(|link| link.state == LinkState::Up);
            let ended = self.inner.shared.links.ended(&node).filter(|_| !is_linked);
            let standing = match heard {
                _ if node == replica.node => Standing::Own,
                _ if is_linked => Standing::Linked,
                Some(heard) if heard.reachable => Standing::Relayed,
                _ => Standing::Unreachable,
            };
            let ended_at = ended.as_ref().map(|ended| ended.at);
            let status = NodeStatus {
                node,
                name: certificate.node.clone(),
                standing,
                since: match standing {
                    Standing::Own => Some(self.inner.started),
                    Standing::Linked => link.and_then(|link| link.since),
                    Standing::Relayed => ended_at,
                    Standing::Unreachable => ended_at.max(heard_at),
                },
                reason: self.why_not_linked(node, ended).filter(|_| !is_linked && node != replica.node),
                heard_at: if node == replica.node { Some(crate::node::clock::wall()) } else { heard_at },
                writable: heard.filter(|heard| heard.heard.is_some()).map(|heard| heard.writable),
                clock_ahead_ms: replica.links.iter().find(|link| link.node == node).map(|link| link.clock_ahead_ms),
            };
            (certificate.member, status)
        });
        nodes.collect()
    }

    /// The newest changes without effect.
    pub(super) fn quarantine(&self) -> Vec<QuarantineStatus> {
        let newest = self.inner.shared.quarantine.newest().into_iter().take(QUARANTINE_SHOWN_MAX);
        let status = newest.map(|change| QuarantineStatus {
            log: change.log,
            seq: change.seq,
            index: (change.index != WHOLE_ENTRY).then_some(change.index),
            member: change.member,
            node: change.node,
            reason: change.reason.name(),
            is_fault: change.reason.is_fault(),
            at: change.at,
        });
        status.collect()
    }

    /// Logs whose origin contradicted itself.
    pub(super) fn forks(&self, replica: &ReplicaStatus) -> Vec<ForkStatus> {
        let trust = self.trust();
        let present_log = |(member, node): (MemberCode, NodeKey)| {
            let incarnation = if node == replica.node {
                Some(replica.incarnation)
            } else {
                replica.nodes.iter().find(|status| status.node == node).and_then(|status| status.incarnation)
            };
            incarnation.map(|incarnation| LogId::derive(member, &node, incarnation, &AudienceId::FEDERATION))
        };
        let forks = replica.logs.iter().filter_map(|log| {
            let seq = log.forked?;
            let name = trust.node(&log.origin).map_or_else(|| log.origin.short(), |node| node.node.clone());
            let settled = present_log((log.member, log.origin)).is_some_and(|present| present != log.log);
            Some(ForkStatus {
                log: log.log,
                node: log.origin,
                name,
                member: log.member,
                seq,
                strays: log.strays as u64,
                settled,
            })
        });
        forks.collect()
    }
}

/// A member from its nodes: as well off as the best of them.
fn member_status<'a>(
    member: MemberCode,
    nodes: Vec<NodeStatus>,
    behind: Behind,
    forks: impl Iterator<Item = &'a ForkStatus>,
) -> MemberStatus {
    let standing = nodes.iter().map(|node| node.standing).max().unwrap_or(Standing::Unreachable);
    let best = || nodes.iter().filter(|node| node.standing == standing);
    let since = match standing {
        // It is linked since the first of its links, and out of reach since the last of its nodes was heard.
        Standing::Own | Standing::Linked => best().filter_map(|node| node.since).min(),
        Standing::Relayed | Standing::Unreachable => best().filter_map(|node| node.since).max(),
    };
    let reason = match standing {
        Standing::Own | Standing::Linked => None,
        _ => best().max_by_key(|node| node.since).and_then(|node| node.reason.clone()),
    };
    let heard_at: Option<WallMs> = nodes.iter().filter_map(|node| node.heard_at).max();
    let (forks, strays) = forks.fold((0, 0), |(forks, strays), fork| (forks + 1, strays + fork.strays));
    MemberStatus { member, standing, since, reason, heard_at, behind, forks, strays, quarantined: 0, nodes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(standing: Standing, since: Option<u64>, reason: Option<&str>) -> NodeStatus {
        NodeStatus {
            node: NodeKey([1; 32]),
            name: "lt-1".to_owned(),
            standing,
            since: since.map(WallMs),
            reason: reason.map(str::to_owned),
            heard_at: since.map(WallMs),
            writable: None,
            clock_ahead_ms: None,
        }
    }

    fn member(nodes: Vec<NodeStatus>) -> (Standing, Option<u64>, Option<String>) {
        let status = member_status("LT".parse().unwrap(), nodes, Behind::default(), [].iter());
        (status.standing, status.since.map(|since| since.0), status.reason)
    }

    #[test]
    fn a_member_stands_as_the_best_of_its_nodes() {
        use Standing::{Linked, Relayed, Unreachable};
        assert_eq!(member(vec![]), (Unreachable, None, None), "a member without a known node");
        let down = || node(Unreachable, Some(9), Some("silent"));
        assert_eq!(
            member(vec![node(Linked, Some(7), None), node(Linked, Some(5), None), down()]),
            (Linked, Some(5), None)
        );
        assert_eq!(member(vec![down(), node(Relayed, Some(3), Some("left"))]), (Relayed, Some(3), Some("left".into())));
        assert_eq!(
            member(vec![node(Unreachable, Some(2), Some("left")), down()]),
            (Unreachable, Some(9), Some("silent".into())),
            "it is out of reach since the last of its nodes went"
        );
    }
}
