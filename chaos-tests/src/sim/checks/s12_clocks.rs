//! S12: stamps of a log only grow, across restarts too, whatever the clocks show.

use std::collections::BTreeMap;

use vatra_model::{Hlc, LogId};

use crate::sim::world::World;

/// Along each log of an honest node every stamp is greater than the one before.
#[must_use]
pub fn check(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    let hostile = world.hostile_logs();
    for (index, node) in world.nodes.iter().enumerate() {
        let mut last: BTreeMap<LogId, Hlc> = BTreeMap::new();
        let disk = node.disk.durable();
        // What lies past a fork was written by several lives of the origin.
        for ((log, seq), entry) in disk.entries.iter().filter(|((log, seq), _)| !disk.is_stray(log, *seq)) {
            // What cannot be read may be of another life without anybody knowing of the fork.
            if hostile.contains(&log) || node.damaged.contains(&(log, seq)) {
                continue;
            }
            let stamp = entry.header().hlc;
            if last.insert(log, stamp).is_some_and(|before| before >= stamp) {
                found.push(format!("on node {index} the stamp of {log} {seq} is not later than the one before (S12)"));
            }
        }
    }
    found
}
