//! Which members and nodes hold a record, and which cannot have it.

use std::collections::BTreeMap;

use tokio::sync::oneshot;
use vatra_api::{Delivery, MemberReach, NodeReach, NodeStatus, Reach, Refusal, RefusalKind, Standing};
use vatra_model::{LogId, NodeKey, RecordId, Seq};
use vatra_replica::Reach as LogReach;

use super::{NodeService, stopping};
use crate::node::driver::Item;
use crate::node::mailbox::{Urgency, Weight};

impl NodeService {
    /// Which members hold everything of a record that this node holds.
    pub(super) async fn reach_of(&self, record: RecordId) -> Result<Reach, Refusal> {
        let places = self.places_of(record).await?;
        if places.is_empty() {
            return Err(Refusal::new(RefusalKind::NotFound, format!("record {record} is not known here")));
        }
        let mut logs = Vec::with_capacity(places.len());
        for (log, seq) in places {
            let (reply, answer) = oneshot::channel();
            let item = Item::Reach(log, seq, reply);
            self.inner.shared.mailbox.try_post(Urgency::Control, Weight::SMALL, item).map_err(|_| stopping())?;
            logs.push((seq, answer.await.map_err(|_| stopping())?));
        }
        let (replica, _) = self.replica_status().await?;
        let trust = self.trust();
        let mut nodes = self.node_statuses(&replica, &trust);
        nodes.sort_by_key(|(_, node)| node.node);
        let members = trust.charter().current().members.iter().map(|member| {
            let of_member = nodes.iter().filter(|(code, _)| *code == member.code);
            let delivery: Vec<NodeReach> = of_member.map(|(_, node)| delivery(node, &logs)).collect();
            let holders = delivery.iter().filter(|node| node.state == Delivery::Holds);
            let nodes: Vec<NodeKey> = holders.map(|node| node.node).collect();
            MemberReach {
                member: member.code,
                holds: !nodes.is_empty(),
                nodes,
                heard_at: self.heard(&replica, member.code),
                delivery,
            }
        });
        Ok(Reach { id: record, members: members.collect() })
    }

    /// The logs that a record stands in, each with the place of its last entry there.
    async fn places_of(&self, record: RecordId) -> Result<BTreeMap<LogId, Seq>, Refusal> {
        self.read(move |inner| {
            let snapshot = inner.shared.views.reader.snapshot()?;
            if !inner.shared.views.is_shown(&snapshot, record)? {
                return Ok(BTreeMap::new());
            }
            let positions = crate::node::views::all_positions(&snapshot, record)?;
            let mut highest: BTreeMap<LogId, Seq> = BTreeMap::new();
            for position in positions {
                if let Some(row) = snapshot.stream_row(position)? {
                    if inner.shared.views.is_without_effect(&snapshot, &row)? {
                        continue;
                    }
                    // A stray is stored under a name of its own.
                    let log = match inner.shared.views.origins.get(&row.log) {
                        Some(_) => row.log,
                        None => inner.shared.views.entry(&snapshot, row.log, row.seq)?.entry.header.log,
                    };
                    let seq = highest.entry(log).or_insert(row.seq);
                    *seq = (*seq).max(row.seq);
                }
            }
            Ok(highest)
        })
        .await
    }
}

/// How far a record has come to a node. `logs` are those that it stands in, each with the place of its last entry.
fn delivery(node: &NodeStatus, logs: &[(Seq, LogReach)]) -> NodeReach {
    let holds = |reach: &LogReach| reach.holders.contains(&node.node);
    let lacked = |(seq, reach): &(Seq, LogReach)| {
        let height = reach.heights.get(&node.node).copied().unwrap_or(0);
        if holds(reach) { 0 } else { (seq.0 + 1).saturating_sub(height).max(1) }
    };
    let was_heard = node.heard_at.is_some() || logs.iter().any(|(_, reach)| reach.heights.contains_key(&node.node));
    let state = match node.standing {
        _ if logs.iter().all(|(_, reach)| holds(reach)) => Delivery::Holds,
        Standing::Unreachable => Delivery::Unknown,
        _ => Delivery::Behind,
    };
    NodeReach {
        node: node.node,
        name: node.name.clone(),
        state,
        missing: was_heard.then(|| logs.iter().map(lacked).sum()),
        standing: node.standing,
        since: node.since,
        heard_at: node.heard_at,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use vatra_model::WallMs;

    use super::*;

    const NODE: NodeKey = NodeKey([1; 32]);

    fn node(standing: Standing, heard: Option<u64>) -> NodeStatus {
        NodeStatus {
            node: NODE,
            name: "lt-1".to_owned(),
            standing,
            since: None,
            reason: None,
            heard_at: heard.map(WallMs),
            writable: None,
            clock_ahead_ms: None,
        }
    }

    /// A log with its last entry of the record at this place, of which the node is known to hold so many entries.
    fn log(seq: u64, height: Option<u64>) -> (Seq, LogReach) {
        let holders: BTreeSet<NodeKey> = height.filter(|height| *height > seq).map(|_| NODE).into_iter().collect();
        let heights = height.map(|height| (NODE, height)).into_iter().collect();
        (Seq(seq), LogReach { holders, others: BTreeSet::new(), heights })
    }

    #[test]
    fn a_node_holds_a_record_when_it_holds_every_log_that_far() {
        let state = |node: NodeStatus, logs: &[(Seq, LogReach)]| {
            let reach = delivery(&node, logs);
            (reach.state, reach.missing)
        };
        let linked = || node(Standing::Linked, Some(5));
        assert_eq!(state(linked(), &[log(3, Some(4)), log(0, Some(9))]), (Delivery::Holds, Some(0)));
        assert_eq!(state(linked(), &[log(3, Some(4)), log(7, Some(5))]), (Delivery::Behind, Some(3)));
        assert_eq!(state(linked(), &[log(3, None)]), (Delivery::Behind, Some(4)), "it said nothing of the log");
        let gone = || node(Standing::Unreachable, Some(5));
        assert_eq!(state(gone(), &[log(3, Some(4))]), (Delivery::Holds, Some(0)), "what it held, it holds");
        assert_eq!(state(gone(), &[log(3, Some(2))]), (Delivery::Unknown, Some(2)), "as it was last heard");
        assert_eq!(state(node(Standing::Unreachable, None), &[log(3, None)]), (Delivery::Unknown, None));
    }
}
