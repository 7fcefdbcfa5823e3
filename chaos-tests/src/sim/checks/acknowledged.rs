//! S1: what was acknowledged stays where it was acknowledged, and wherever it became durable.

use crate::sim::node::Node;
use crate::sim::world::World;

/// What was acknowledged is on the disk and in the frontier that the core restored from it.
#[must_use]
pub fn at_start(index: usize, node: &Node) -> Vec<String> {
    let Some(replica) = &node.replica else { return Vec::new() };
    let frontier = replica.frontier();
    let lost = node.acknowledged.iter().filter(|(log, seq)| {
        let own = node.disk.durable().hash(*log, *seq).is_some();
        !own || (frontier.head(log).height <= *seq && !replica.holds(log, vatra_model::Seq(*seq)))
    });
    lost.map(|(log, seq)| format!("node {index} started without {log} {seq}, which it had acknowledged (S1)")).collect()
}

/// What was acknowledged anywhere is still on that disk.
#[must_use]
pub fn check(world: &World) -> Vec<String> {
    let mut lost = Vec::new();
    for (index, node) in world.nodes.iter().enumerate() {
        for (log, seq) in &node.acknowledged {
            if node.disk.durable().hash(*log, *seq).is_none() {
                lost.push(format!("node {index} lost {log} {seq}, which it had acknowledged (S1)"));
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
    let mut missing = Vec::new();
    for (log, seq) in acknowledged {
        for (index, node) in running() {
            if node.disk.durable().hash(*log, *seq).is_none() {
                missing.push(format!("node {index} never got {log} {seq}, which was acknowledged (S1)"));
            }
        }
    }
    missing
}

/// What a node acknowledged and any other held when its store was put back; it must come back.
#[must_use]
pub fn held_elsewhere(world: &World, node: usize) -> Vec<(vatra_model::LogId, u64)> {
    let acknowledged = world.nodes[node].acknowledged.iter().copied();
    let elsewhere = |(log, seq): &(vatra_model::LogId, u64)| {
        let others = world.nodes.iter().enumerate().filter(|(index, _)| *index != node);
        others.into_iter().any(|(_, other)| other.disk.durable().hash(*log, *seq).is_some())
    };
    acknowledged.filter(elsewhere).collect()
}
