//! P2: nothing is told before it is durable on the node that tells it.

use std::sync::Arc;

use vatra_model::wire::Message;
use vatra_model::{CheckedEntry, EntryHash, Head, LogId};

use crate::sim::node::Node;

/// The first height of a message that the sender's disk does not hold.
#[must_use]
pub fn in_message(node: &Node, message: &Message) -> Option<String> {
    let disk = node.disk.durable();
    let early = |log: &LogId, height: u64| {
        (!disk.reaches(log, height)).then(|| format!("{log} to {height}, durable are {}", disk.height(log)))
    };
    // Over a metered link beacons and pulses wait after they were signed. A fork that was proved since then ended a log
    // sooner, but took nothing from the disk.
    let is_held = |log: &LogId, height: u64| height.checked_sub(1).is_none_or(|seq| disk.has_place(log, seq));
    let was_early = |log: &LogId, height: u64| early(log, height).filter(|_| !is_held(log, height));
    match message {
        Message::Frontier(digest) => digest.heads.iter().find_map(|(log, height, _)| early(log, *height)),
        Message::Have { heights } => heights.iter().find_map(|(log, height)| early(log, *height)),
        Message::Beacon(signed) => {
            let beacon = signed.beacon().ok()?;
            let own = beacon.node == node.key();
            own.then(|| beacon.heights.iter().find_map(|(log, height)| was_early(log, *height)))?
        }
        Message::Pulses { pulses } => {
            let own = pulses.iter().filter(|signed| signed.node().is_ok_and(|sender| sender == node.key()));
            let heights = own.filter_map(|signed| signed.pulse().ok()).flat_map(|pulse| pulse.heights);
            heights.into_iter().find_map(|(log, height)| was_early(&log, height))
        }
        Message::Hello(hello) => {
            let durable = disk.frontier();
            // Of a log whose fork was just proved nothing is told until the proof is durable, and of one whose last valid
            // entry cannot be read what lies before that: less than there is.
            let told = node.replica.as_ref().map(vatra_replica::Replica::frontier);
            let is_held = |log: &LogId, head: &Head| {
                let last = head.height.checked_sub(1);
                // So it is with strays: the hash is that of the others then.
                let is_fork = disk.forks.get(log).is_some_and(|fork| fork.place >= head.height);
                let lower = last.map_or(Some(EntryHash::ZERO), |seq| disk.hash(*log, seq));
                let lower = lower.and_then(|hash| disk.forked_head(log, Head { height: head.height, head: hash }));
                let lacks_strays = || node.damaged.iter().any(|(of, seq)| of == log && disk.is_stray(log, *seq));
                durable.0.get(log) == Some(head)
                    || last.is_some_and(|seq| disk.hash(*log, seq) == Some(head.head))
                    || (is_fork && (lower == Some(*head) || lacks_strays()))
            };
            let is_less = told.is_some_and(|told| {
                hello.frontier_hash == told.hash() && told.0.iter().all(|(log, head)| is_held(log, head))
            });
            let is_durable = is_less || hello.frontier_hash == durable.hash();
            (!is_durable).then(|| "a frontier that is not the disk's".to_owned())
        }
        _ => None,
    }
}

/// The first entry that the sender's disk does not hold.
#[must_use]
pub fn in_entries(node: &Node, entries: &[Arc<CheckedEntry>]) -> Option<String> {
    let held = |entry: &Arc<CheckedEntry>| {
        node.disk.durable().entry(entry.header().log, entry.header().seq.0, entry.hash()).is_some()
    };
    entries.iter().find(|entry| !held(entry)).map(|entry| format!("{}/{}", entry.header().log, entry.header().seq))
}
