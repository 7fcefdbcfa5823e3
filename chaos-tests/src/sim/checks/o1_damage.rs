//! O1: damage at rest is found before it is used. What cannot be read is never sent, and is gone after a start.

use std::sync::Arc;

use vatra_model::CheckedEntry;

use crate::sim::node::Node;
use crate::sim::world::World;

/// The first entry to be sent whose row can no longer be read.
#[must_use]
pub fn in_answer(node: &Node, entries: &[Arc<CheckedEntry>]) -> Option<String> {
    let is_damaged = |entry: &&Arc<CheckedEntry>| node.damaged.contains(&(entry.header().log, entry.header().seq.0));
    let first = entries.iter().find(is_damaged)?;
    Some(format!("{} {}", first.header().log, first.header().seq))
}

/// A start reads every row: none that cannot be read is left.
#[must_use]
pub fn at_start(world: &World, node: usize) -> Vec<String> {
    let left = world.nodes[node].damaged.len();
    if left == 0 { Vec::new() } else { vec![format!("node {node} started over {left} damaged rows (O1)")] }
}
