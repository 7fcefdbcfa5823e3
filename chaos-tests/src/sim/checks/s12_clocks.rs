//! S12: stamps of a log only grow, across restarts too, whatever the clocks show.

use std::collections::{BTreeMap, BTreeSet};

use vatra_model::{EntryHash, Hlc, LogId, NodeKey};

use crate::sim::disk::Image;
use crate::sim::node::Node;
use crate::sim::world::World;

/// Along each log of an honest node every stamp is greater than the one before.
#[must_use]
pub fn check(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    let hostile = world.hostile_logs();
    let origins: BTreeSet<NodeKey> = world.nodes.iter().filter(|node| node.may_fork).map(Node::key).collect();
    let may_fork = |disk: &Image| -> BTreeSet<LogId> {
        let is_theirs = |log: &&LogId| disk.origin(log).is_some_and(|(_, origin)| origins.contains(&origin));
        disk.logs.keys().filter(is_theirs).copied().collect()
    };
    for (index, node) in world.nodes.iter().enumerate() {
        let mut last: BTreeMap<LogId, (u64, EntryHash, Hlc)> = BTreeMap::new();
        let disk = node.disk.durable();
        let may_fork = may_fork(disk);
        // What lies past a fork was written by several lives of the origin.
        for ((log, seq), entry) in disk.entries.iter().filter(|((log, seq), _)| !disk.is_stray(log, *seq)) {
            // What cannot be read may be of another life without anybody knowing of the fork.
            if hostile.contains(&log) || node.damaged.contains(&(log, seq)) {
                continue;
            }
            let stamp = entry.header().hlc;
            let Some((before, hash, earlier)) = last.insert(log, (seq, entry.hash(), stamp)) else { continue };
            // Where a store was put back and nothing showed it, its node wrote on below what others hold past a gap. The
            // fork is on disk a batch after what closes the gap.
            let follows = before + 1 == seq && entry.header().prev == hash;
            let is_excused = !follows && may_fork.contains(&log);
            if earlier >= stamp && !is_excused {
                found.push(format!("on node {index} the stamp of {log}/{seq} is not later than the one before (S12)"));
            }
        }
    }
    found
}
