//! O1: damage at rest is found before it is used. What cannot be read is never sent, is known after a start,
//! and is whole again once peers are linked that hold it.

use std::sync::Arc;

use vatra_model::{CheckedEntry, LogId};

use crate::sim::node::Node;
use crate::sim::world::World;

/// The first entry to be sent whose row can no longer be read.
#[must_use]
pub fn in_answer(node: &Node, entries: &[Arc<CheckedEntry>]) -> Option<String> {
    // Others for the same place, or a second copy, are kept beside their log.
    let is_damaged = |entry: &&Arc<CheckedEntry>| {
        let (log, seq, hash) = (entry.header().log, entry.header().seq.0, entry.hash());
        let disk = node.disk.durable();
        let is_beside = disk.strays.contains_key(&(log, seq, hash));
        node.damaged.contains(&(log, seq)) && disk.hash(log, seq) == Some(hash) && !is_beside
    };
    let first = entries.iter().find(is_damaged)?;
    Some(format!("{}/{}", first.header().log, first.header().seq))
}

/// Once nodes hold the same, each can give all of it.
#[must_use]
pub fn is_whole(node: &Node) -> bool {
    let disk = node.disk.durable();
    // What lies past the end of a log is evidence, and is not given; a stray may have come again, and lie beside its log.
    let is_beside =
        |log: &LogId, seq: u64| disk.hash(*log, seq).is_some_and(|hash| disk.strays.contains_key(&(*log, seq, hash)));
    node.damaged.iter().all(|(log, seq)| disk.is_past_end(log, *seq) || is_beside(log, *seq))
}

/// A start looks through the store: what cannot be read then is dropped, known to be a hole, or missing.
#[must_use]
pub fn at_start(world: &World, node: usize) -> Vec<String> {
    let started = &world.nodes[node];
    let Some(status) = started.replica.as_ref().map(|replica| replica.status(started.now(world.now_us))) else {
        return Vec::new();
    };
    // What rots past a fork is fetched beside its log; what rots past its end is not.
    let disk = started.disk.durable();
    let is_apart = |log: &LogId, seq: u64| disk.is_stray(log, seq) || disk.is_past_end(log, seq);
    // Where the last valid entry of a revoked log cannot be read, its log ends before that until it comes again.
    let told = |log: &LogId| status.logs.iter().find(|held| held.log == *log).map_or(0, |held| held.head.height);
    let is_missing = |log: &LogId, seq: u64| disk.height(log) == seq + 1 && told(log) == seq;
    let in_log = started.damaged.iter().filter(|(log, seq)| !is_apart(log, *seq) && !is_missing(log, *seq));
    let left = in_log.count();
    if left <= status.damaged { Vec::new() } else { vec![format!("node {node} started over {left} damaged rows (O1)")] }
}
