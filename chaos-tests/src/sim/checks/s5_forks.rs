//! S5: an honest member forks its log only where nothing on its machine could show that its store was an old or second
//! copy. What was signed and lost with its batch before anybody heard of it is no fork. And no place of a log has two
//! entries on a disk unless a proof says that the log is forked.

use vatra_model::{EntryHash, LogId};

use crate::sim::world::World;

/// An entry has become durable at the node that wrote it: whether another one of its place is on some disk.
#[must_use]
pub fn of_own(world: &World, index: usize, place: (LogId, u64), hash: EntryHash) -> Option<String> {
    let node = &world.nodes[index];
    let excused = node.may_fork || !world.is_honest(index) || world.twins.contains_key(&node.key());
    if excused || world.ledger.get(place).is_none_or(|signed| signed.len() < 2) {
        return None;
    }
    let (log, seq) = place;
    let other = |other: &crate::sim::node::Node| other.disk.durable().hash(log, seq).is_some_and(|held| held != hash);
    let is_forked = world.nodes.iter().any(other);
    is_forked.then(|| format!("node {index} forked its own {log}/{seq} though it could know better (S5)"))
}

/// Second entries of a place beside logs that are not held to be forked, and forks without a proof.
#[must_use]
pub fn check(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for (index, node) in world.nodes.iter().enumerate().filter(|(index, _)| world.is_honest(*index)) {
        let disk = node.disk.durable();
        for (log, seq, _) in disk.strays.keys().filter(|(log, seq, _)| !disk.is_stray(log, *seq)) {
            found.push(format!("node {index} keeps {log}/{seq} beside a log that it does not hold to be forked (S5)"));
        }
        for fork in disk.forks.values() {
            let trust = node.replica.as_ref().map(vatra_replica::Replica::trust);
            if trust.is_some_and(|trust| trust.check_fork(fork.proof.clone()).is_err()) {
                found.push(format!("node {index} holds {} to be forked without a proof (S5)", fork.log));
            }
        }
    }
    found
}
