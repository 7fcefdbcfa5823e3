//! S1: what was acknowledged stays where it was acknowledged, and wherever it became durable. What a revocation took
//! back afterwards stays as evidence, and need not come to others.

use vatra_model::{EntryHash, LogId};

use crate::sim::node::Node;
use crate::sim::world::World;

/// An entry by log, place and hash.
pub type Place = (LogId, u64, EntryHash);

/// What was acknowledged is on the disk and in the frontier that the core restored from it.
#[must_use]
pub fn at_start(index: usize, node: &Node) -> Vec<String> {
    let Some(replica) = &node.replica else { return Vec::new() };
    let frontier = replica.frontier();
    let disk = node.disk.durable();
    let lost = node.acknowledged.iter().filter(|(log, seq, hash)| {
        let is_known = frontier.head(log).height > *seq || replica.holds(log, vatra_model::Seq(*seq));
        let is_left = is_known || disk.is_stray(log, *seq) || !disk.covers(log, *seq, *hash);
        disk.entry(*log, *seq, *hash).is_none() || !is_left
    });
    lost.map(|(log, seq, _)| format!("node {index} started without {log}/{seq}, which it had acknowledged (S1)"))
        .collect()
}

/// What was acknowledged anywhere is still on that disk.
#[must_use]
pub fn check(world: &World) -> Vec<String> {
    let mut lost = Vec::new();
    for (index, node) in world.nodes.iter().enumerate() {
        for (log, seq, hash) in &node.acknowledged {
            if node.disk.durable().entry(*log, *seq, *hash).is_none() {
                lost.push(format!("node {index} lost {log}/{seq}, which it had acknowledged (S1)"));
            }
        }
    }
    lost
}

/// Once all running honest nodes hold the same: what any of them acknowledged is everywhere.
#[must_use]
pub fn everywhere(world: &World) -> Vec<String> {
    let honest = |index: usize, node: &Node| node.replica.is_some() && world.is_honest(index);
    let running = || world.nodes.iter().enumerate().filter(|(index, node)| honest(*index, node));
    let acknowledged = running().flat_map(|(_, node)| &node.acknowledged).chain(&world.owed);
    // Who has never heard of a log does not know that a revocation ends it.
    let covered = |(log, seq, hash): &&Place| running().all(|(_, node)| node.disk.durable().covers(log, *seq, *hash));
    let mut missing = Vec::new();
    for (log, seq, hash) in acknowledged.filter(covered) {
        for (index, node) in running() {
            if node.disk.durable().entry(*log, *seq, *hash).is_none() {
                missing.push(format!("node {index} never got {log}/{seq}, which was acknowledged (S1)"));
            }
        }
    }
    missing
}

/// What a node acknowledged and any other held when its store was put back; it must come back.
#[must_use]
pub fn held_elsewhere(world: &World, node: usize) -> Vec<Place> {
    let acknowledged = world.nodes[node].acknowledged.iter().copied();
    let elsewhere = |(log, seq, hash): &Place| {
        let others = world.nodes.iter().enumerate().filter(|(index, _)| *index != node);
        others.into_iter().any(|(_, other)| other.disk.durable().entry(*log, *seq, *hash).is_some())
    };
    acknowledged.filter(elsewhere).collect()
}
