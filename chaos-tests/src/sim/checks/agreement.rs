//! S2: equal entries make equal views. L2: linked nodes come to hold the same.

use std::collections::BTreeMap;
use std::fmt::Write;

use vatra_model::{EntryHash, LogId};

use crate::sim::node::Node;
use crate::sim::records::origin_of;
use crate::sim::world::World;

type Held = Vec<(LogId, u64, EntryHash)>;

fn running(world: &World) -> impl Iterator<Item = (usize, &Node)> {
    world.nodes.iter().enumerate().filter(|(index, node)| node.replica.is_some() && world.is_honest(*index))
}

/// Whether all running nodes hold the same entries and nobody waits for an answer. A gap may stay where every
/// disk that held what is missing was lost or put back.
#[must_use]
pub fn all_hold_the_same(world: &World) -> bool {
    these_hold_the_same(world, |_| true)
}

/// The same of some nodes.
#[must_use]
pub fn these_hold_the_same(world: &World, chosen: impl Fn(usize) -> bool) -> bool {
    let mut first: Option<&Node> = None;
    for (_, node) in running(world).filter(|(index, _)| chosen(*index)) {
        let disk = node.disk.durable();
        if !node.pending.is_empty() {
            return false;
        }
        match first {
            None => first = Some(node),
            Some(first) => {
                let theirs = first.disk.durable();
                let same = theirs.entries.len() == disk.entries.len() && theirs.frontier() == disk.frontier();
                if !same || !theirs.held().eq(disk.held()) {
                    return false;
                }
            }
        }
    }
    true
}

/// Whether all running honest nodes hold the same of the logs that honest nodes write.
#[must_use]
pub fn honest_logs_agree(world: &World) -> bool {
    let honest: Vec<_> = running(world).map(|(_, node)| node.key()).collect();
    let held = |node: &Node| -> Held {
        let disk = node.disk.durable();
        let is_honest = |log: &LogId| origin_of(disk, log).is_some_and(|(_, origin)| honest.contains(&origin));
        let logs: Vec<LogId> = disk.logs.keys().filter(|log| is_honest(log)).copied().collect();
        disk.held().filter(|(log, _, _)| logs.contains(log)).collect()
    };
    let mut all = running(world).map(|(_, node)| held(node));
    let Some(first) = all.next() else { return true };
    all.all(|other| other == first)
}

/// Nodes that hold the same entries show the same, and no place of a log has two entries.
#[must_use]
pub fn check(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    let mut digests: BTreeMap<Held, (usize, [u8; 32])> = BTreeMap::new();
    let mut places: BTreeMap<(LogId, u64), EntryHash> = BTreeMap::new();
    for (index, node) in world.nodes.iter().enumerate().filter(|(index, _)| world.is_honest(*index)) {
        for (log, seq, hash) in node.disk.durable().held() {
            if *places.entry((log, seq)).or_insert(hash) != hash {
                found.push(format!("{log} {seq} is another entry on node {index} than elsewhere (S5)"));
            }
        }
    }
    if !world.setup.views {
        return found;
    }
    for (index, node) in running(world) {
        let held: Held = node.disk.durable().held().collect();
        let digest = node.views.digest().0;
        match digests.get(&held) {
            Some((other, theirs)) if *theirs != digest => {
                found.push(format!("nodes {other} and {index} hold the same and show different views (S2)"));
            }
            Some(_) => {}
            None => drop(digests.insert(held, (index, digest))),
        }
    }
    found
}

/// What each node holds, for a report of what did not converge.
#[must_use]
pub fn describe(world: &World) -> String {
    let mut text = String::new();
    for (index, node) in world.nodes.iter().enumerate() {
        let disk = node.disk.durable();
        let state = if node.replica.is_some() { "runs" } else { "is down" };
        let _ = write!(text, "  node {index} {state}, {} entries, {} pending:", disk.entries.len(), node.pending.len());
        for (log, row) in &disk.logs {
            let beyond = disk.entries.range((*log, row.head.height)..=(*log, u64::MAX)).count();
            let _ = write!(text, " {}={}+{beyond}", log.short(), row.head.height);
        }
        let up: Vec<String> =
            world.peers_of(index).iter().filter(|p| world.is_up(index, **p)).map(usize::to_string).collect();
        let _ = writeln!(text, "; linked with {}", up.join(","));
    }
    text
}
