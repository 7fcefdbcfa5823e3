//! What the node says about itself and others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use tokio::sync::oneshot;
use vatra_api::{
    Behind, CutStatus, FrontierStatus, LifeStatus, LinkState, LinkStatus, Refusal, Status, StoreState, StoreStatus,
};
use vatra_mesh::LinkInfo;
use vatra_model::view::Digest;
use vatra_model::{MemberCode, NodeKey, WallMs};
use vatra_replica::{MemberLag, ReplicaStatus};
use vatra_store::{FORMAT_VERSION, Health};

use super::doctor::{Lives, own_logs};
use super::{NodeService, stopping};
use crate::doctor;
use crate::node::driver::Item;
use crate::node::links::Ended;
use crate::node::mailbox::{Urgency, Weight};

impl NodeService {
    pub(super) async fn replica_status(&self) -> Result<(ReplicaStatus, Health), Refusal> {
        let (reply, answer) = oneshot::channel();
        let posted = self.inner.shared.mailbox.try_post(Urgency::Control, Weight::SMALL, Item::Status(reply));
        posted.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }

    pub(super) async fn report(&self) -> Result<Status, Refusal> {
        let (replica, health) = self.replica_status().await?;
        let shared = &self.inner.shared;
        let state = *shared.state.borrow();
        let behind = replica.behind.iter().map(|(member, lag)| (*member, behind(lag)));
        let members = self.members(&replica);
        let own_logs = own_logs(&replica);
        let lives = self.read(move |inner| Lives::read(&inner.shared.views, &own_logs)).await;
        let lives = lives.unwrap_or_else(|error| {
            tracing::error!(?error, "the lives of the store cannot be read");
            Lives::default()
        });
        let known = lives.here.clone();
        let diagnosis = doctor::diagnose(&self.facts(&replica, health, lives));
        let heights = replica.logs.iter().map(|log| log.head.height);
        Ok(Status {
            node: replica.node,
            name: self.inner.name.clone(),
            member: replica.member,
            site: self.inner.site.clone(),
            incarnation: replica.incarnation,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.inner.started,
            digest: Digest(state.digest),
            alerts: state.alerts,
            contacts: state.contacts,
            position: *shared.durable.borrow(),
            links: self.links(&replica),
            behind: behind.collect(),
            members,
            lives: known.into_iter().map(life_status).collect(),
            forks: self.forks(&replica),
            quarantined: shared.quarantine.by_member().values().sum(),
            quarantine: self.quarantine(),
            charter_epoch: replica.charter_epoch,
            store: self.store_status(&health),
            cuts: self.inner.drills.present().into_iter().map(cut_status).collect(),
            healthy: diagnosis.healthy,
            troubles: diagnosis.troubles(),
            frontier: FrontierStatus {
                logs: replica.logs.len() as u64,
                entries: heights.sum(),
                hash: hex::encode(replica.frontier_hash),
            },
        })
    }

    pub(super) fn store_status(&self, health: &Health) -> StoreStatus {
        let reader = &self.inner.shared.views.reader;
        StoreStatus {
            state: if matches!(health, Health::Writable) { StoreState::Ok } else { StoreState::ReadOnly },
            engine: reader.engine().to_string(),
            format: FORMAT_VERSION,
            reason: match health {
                Health::Writable => None,
                Health::ReadOnly { reason, .. } => Some(reason.to_string()),
            },
            damaged: reader.damaged_count(),
        }
    }

    /// Links that are up, and those of configured peers that are not.
    pub(super) fn links(&self, replica: &ReplicaStatus) -> Vec<LinkStatus> {
        let trust = self.inner.shared.trust.read().unwrap_or_else(PoisonError::into_inner).clone();
        let live: BTreeMap<NodeKey, LinkInfo> =
            self.inner.mesh.links().into_iter().map(|link| (link.node, link)).collect();
        let greeted: BTreeSet<NodeKey> =
            replica.links.iter().filter(|link| link.greeted).map(|link| link.node).collect();
        let mut nodes: BTreeSet<NodeKey> = self.inner.peers.iter().copied().collect();
        nodes.extend(live.keys());
        let status = |node: NodeKey| {
            let certificate = trust.node(&node)?;
            let link = live.get(&node);
            // A link carries entries once hellos were exchanged.
            let up = link.filter(|_| greeted.contains(&node));
            let ended = self.inner.shared.links.ended(&node);
            Some(LinkStatus {
                node,
                name: Some(certificate.node.clone()),
                member: certificate.member,
                state: if up.is_some() { LinkState::Up } else { LinkState::Down },
                since: match up {
                    Some(link) => Some(wall_of(link)),
                    None => ended.as_ref().map(|ended| ended.at),
                },
                rtt_ms: up.and_then(|link| link.rtt).map(|rtt| rtt.as_secs_f64() * 1000.0),
                bytes_in: link.map_or(0, |link| traffic(link).0),
                bytes_out: link.map_or(0, |link| traffic(link).1),
                reason: if up.is_some() { None } else { self.why_not_linked(node, ended) },
            })
        };
        nodes.into_iter().filter_map(status).collect()
    }

    /// Why there is no link to a node: what the last dial came to, or how the last link ended.
    pub(super) fn why_not_linked(&self, node: NodeKey, ended: Option<Ended>) -> Option<String> {
        self.inner.mesh.failed_dial(node).or(ended.map(|ended| ended.reason))
    }

    /// When any node of a member was last heard of.
    pub(super) async fn heard_of(&self, member: MemberCode) -> Result<Option<WallMs>, Refusal> {
        let (replica, _) = self.replica_status().await?;
        Ok(self.heard(&replica, member))
    }

    pub(super) fn heard(&self, replica: &ReplicaStatus, member: MemberCode) -> Option<WallMs> {
        if member == replica.member {
            return Some(crate::node::clock::wall());
        }
        let nodes = replica.nodes.iter().filter(|node| node.member == Some(member));
        nodes.filter_map(|node| node.heard).max().map(|at| self.inner.clock.wall_of(at))
    }
}

pub(super) fn behind(lag: &MemberLag) -> Behind {
    Behind {
        entries: lag.entries,
        seconds: lag.behind_ms / 1000,
        eta_seconds: lag.eta_ms.map(|eta| eta.div_ceil(1000)),
    }
}

fn life_status(life: crate::node::lives::Life) -> LifeStatus {
    LifeStatus { incarnation: life.incarnation, opened: life.opened, reason: life.reason }
}

pub(super) fn cut_status(drill: crate::node::drill::Drill) -> CutStatus {
    CutStatus {
        members: drill.members.into_iter().collect(),
        since: drill.since,
        until: drill.until,
        reason: drill.reason,
        by: drill.by,
    }
}

pub(super) fn wall_of(link: &LinkInfo) -> WallMs {
    let since = link.since.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    WallMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Bytes in and out, heartbeats included.
fn traffic(link: &LinkInfo) -> (u64, u64) {
    let lanes = link.lanes.iter().chain([&link.heartbeat]);
    lanes.fold((0, 0), |(received, sent), lane| (received + lane.received_bytes, sent + lane.sent_bytes))
}
