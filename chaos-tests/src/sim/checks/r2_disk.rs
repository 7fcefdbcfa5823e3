//! R2: the entries of one origin take no more of an honest node's disk than they may, where a bound is set.

use std::collections::BTreeMap;

use vatra_model::{LogId, NodeKey};

use crate::sim::disk::Image;
use crate::sim::node::entry_bytes;
use crate::sim::world::World;

/// Bytes of entries that a disk holds, by their origin.
#[must_use]
pub fn by_origin(image: &Image) -> BTreeMap<NodeKey, u64> {
    let mut logs: BTreeMap<LogId, u64> = BTreeMap::new();
    for ((log, _), entry) in image.entries.iter() {
        *logs.entry(log).or_insert(0) += entry_bytes(entry) as u64;
    }
    let mut origins = BTreeMap::new();
    for (log, bytes) in logs {
        if let Some((_, origin)) = image.origin(&log) {
            *origins.entry(origin).or_insert(0) += bytes;
        }
    }
    origins
}

/// Origins that take more of a disk than they may.
#[must_use]
pub fn check(world: &World) -> Vec<String> {
    let Some(bound) = world.setup.origin_bytes_max else { return Vec::new() };
    let mut found = Vec::new();
    for (index, node) in world.nodes.iter().enumerate().filter(|(index, _)| world.is_honest(*index)) {
        let over = by_origin(node.disk.durable()).into_iter().filter(|(_, bytes)| *bytes > bound);
        found.extend(over.map(|(origin, bytes)| format!("{origin} takes {bytes} bytes of node {index}'s disk (R2)")));
    }
    found
}
