//! L2: linked nodes come to hold the same.

use std::fmt::Write;

use vatra_model::LogId;

use crate::sim::checks::held::{Held, held, running};
use crate::sim::checks::o1_damage;
use crate::sim::node::Node;
use crate::sim::world::World;

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
            let _ = write!(text, " {} damaged from {}/{seq}", node.damaged.len(), log.short());
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
