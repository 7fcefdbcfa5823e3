//! S2: equal entries make equal views. L2: linked nodes come to hold the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use vatra_model::{EntryHash, LogId};

use crate::sim::checks::o1_damage;
use crate::sim::disk::Image;
use crate::sim::node::Node;
use crate::sim::world::World;

/// All entries, and where logs are known to be forked.
type Held = (BTreeSet<(LogId, u64, EntryHash)>, Vec<(LogId, u64)>);

fn held(image: &Image) -> Held {
    (image.held(), image.forked().collect())
}

fn running(world: &World) -> impl Iterator<Item = (usize, &Node)> {
    world.nodes.iter().enumerate().filter(|(index, node)| node.replica.is_some() && world.is_honest(*index))
}

/// Whether all running nodes hold and tell the same entries and nobody waits for an answer. A gap may stay where every
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
        if !node.pending.is_empty() || !o1_damage::is_whole(node) {
            return false;
        }
        match first {
            None => first = Some(node),
            Some(first) => {
                let theirs = first.disk.durable();
                let told = |node: &Node| node.replica.as_ref().map(vatra_replica::Replica::frontier);
                if theirs.frontier() != disk.frontier() || told(first) != told(node) || held(theirs) != held(disk) {
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
        let is_honest = |log: &LogId| disk.origin(log).is_some_and(|(_, origin)| honest.contains(&origin));
        let (entries, forks) = held(disk);
        let entries = entries.into_iter().filter(|(log, _, _)| is_honest(log)).collect();
        (entries, forks.into_iter().filter(|(log, _)| is_honest(log)).collect())
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
    for (index, node) in world.nodes.iter().enumerate().filter(|(index, _)| world.is_honest(*index)) {
        let disk = node.disk.durable();
        for (log, seq, _) in disk.strays.keys().filter(|(log, seq, _)| !disk.is_stray(log, *seq)) {
            found.push(format!("node {index} keeps {log} {seq} beside a log that it does not hold to be forked (S5)"));
        }
        for fork in disk.forks.values() {
            let trust = node.replica.as_ref().map(vatra_replica::Replica::trust);
            if trust.is_some_and(|trust| trust.check_fork(fork.proof.clone()).is_err()) {
                found.push(format!("node {index} holds {} to be forked without a proof (S5)", fork.log));
            }
        }
    }
    if !world.setup.views {
        return found;
    }
    for (index, node) in running(world) {
        let held = held(node.disk.durable());
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
        let (count, strays) = (disk.entries.len(), disk.strays.len());
        let _ =
            write!(text, "  node {index} {state}, {count} entries, {strays} strays, {} pending:", node.pending.len());
        if let Some((log, seq)) = node.damaged.first() {
            let _ = write!(text, " {} damaged from {} {seq}", node.damaged.len(), log.short());
        }
        for (log, row) in &disk.logs {
            let beyond = disk.entries.range(*log, row.head.height..).count();
            let _ = write!(text, " {}={}+{beyond}", log.short(), row.head.height);
            let core = node.replica.as_ref().map(|replica| replica.head(log).height);
            if core.is_some_and(|height| height != disk.height(log)) {
                let _ = write!(text, "(the core says {})", core.unwrap_or(0));
            }
            if let Some(fork) = disk.forks.get(log) {
                let _ = write!(text, "(forked at {})", fork.place);
            }
        }
        let up: Vec<String> =
            world.peers_of(index).iter().filter(|p| world.is_up(index, **p)).map(usize::to_string).collect();
        let _ = writeln!(text, "; linked with {}", up.join(","));
    }
    text
}
