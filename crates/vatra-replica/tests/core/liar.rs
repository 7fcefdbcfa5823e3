//! A member whose log is written by hand, and a node that reads it.

use std::sync::{Arc, OnceLock};

use vatra_model::charter::Charter;
use vatra_model::wire::LogDescriptor;
use vatra_model::{
    AudienceId, CheckedEntry, Class, Entry, EntryDraft, EntryHash, Frontier, Hlc, Incarnation, LogId, Realm, Seq,
};
use vatra_replica::{Effect, Input};

use crate::support::*;

/// The member that contradicts itself.
pub(crate) const LIAR: u8 = 9;

pub(crate) fn log() -> LogId {
    LogId::derive(code(LIAR), &key(LIAR), Incarnation(77), &AudienceId::FEDERATION)
}

pub(crate) fn entry(seq: u64, prev: EntryHash, words: &str) -> CheckedEntry {
    let draft = EntryDraft {
        realm: Realm::OPS,
        log: log(),
        seq: Seq(seq),
        prev,
        hlc: Hlc(1_000 + seq),
        class: Class::Routine,
        expires_hours: 0,
    };
    Entry::sign(&draft, vec![words.as_bytes().to_vec()], &secret(LIAR)).expect("small")
}

/// A chain of entries from a place on.
pub(crate) fn chain(from: u64, mut prev: EntryHash, words: &[&str]) -> Vec<CheckedEntry> {
    let mut next = |(seq, words): (u64, &&str)| {
        let entry = entry(seq, prev, words);
        prev = entry.hash();
        entry
    };
    (from..).zip(words).map(&mut next).collect()
}

/// Entries of the liar's log as a peer pushes them.
pub(crate) fn pushed(to: &Node, from: u8, entries: &[CheckedEntry]) -> Input {
    let descriptor = LogDescriptor {
        certificate: certificate(LIAR).encode().into(),
        incarnation: Incarnation(77),
        audience: AudienceId::FEDERATION,
        realm: Realm::OPS,
    };
    let known = to.replica.trust().check_log(descriptor).expect("of a member");
    let entries = entries.iter().cloned().map(Arc::new).collect();
    Input::Entries { peer: Some(key(from)), request: None, logs: vec![known], entries }
}

pub(crate) fn give(node: &mut Node, from: u8, entries: &[CheckedEntry]) -> Vec<Effect> {
    let input = pushed(node, from, entries);
    node.act([input])
}

pub(crate) fn permutations(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![vec![]];
    }
    let shorter = permutations(count - 1);
    let insert = |order: &Vec<usize>| {
        (0..=order.len()).map(|at| [&order[..at], &[count - 1], &order[at..]].concat()).collect::<Vec<_>>()
    };
    shorter.iter().flat_map(insert).collect()
}

/// A linked node. The charter is founded once: its signatures are what costs most in here.
pub(crate) fn fresh() -> Node {
    static CHARTER: OnceLock<Charter> = OnceLock::new();
    let charter = CHARTER.get_or_init(|| charter(MEMBERS)).clone();
    let mut node = Node::with_config(0, bare(0, charter));
    node.greet(1, &Frontier::default());
    node
}
