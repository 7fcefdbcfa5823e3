//! Everything that happened in one run, kept for people who ask where two runs part, or how an entry got somewhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use vatra_model::EntryHash;

/// Events that are kept.
const EVENTS_MAX: usize = 5_000_000;

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// In order.
    pub events: Vec<Happened>,
    /// The first coming of each entry to each node.
    pub arrivals: BTreeMap<(usize, EntryHash), Arrival>,
    /// When each entry became durable at each node.
    pub durable: BTreeMap<(usize, EntryHash), u64>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// Microseconds since the start.
    pub at: u64,
    /// The node.
    pub node: usize,
    /// What, in words.
    pub what: String,
}

/// How an entry came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Microseconds since the start.
    pub at: u64,
    /// The node that sent it.
    pub from: usize,
    /// It was asked for.
    pub is_answer: bool,
}

impl Kept {
    /// Adds what happened: a word, the hash of an entry that became durable, or nothing but the size of a frame.
    pub fn note(&mut self, at: u64, node: usize, what: &[u8]) {
        if what.is_empty() {
            // The size of the frame that was noted just before, and its lane.
            if let Some(event) = self.events.last_mut() {
                let _ = write!(event.what, " of {at} bytes in lane {node}");
            }
            return;
        }
        if let Ok(hash) = <[u8; 32]>::try_from(what) {
            self.durable.entry((node, EntryHash(hash))).or_insert(at);
        }
        if self.events.len() < EVENTS_MAX {
            self.events.push(Happened { at, node, what: words(what) });
        }
    }

    /// Entries came to a node.
    pub fn arrived(
        &mut self,
        at: u64,
        to: usize,
        from: usize,
        is_answer: bool,
        hashes: impl Iterator<Item = EntryHash>,
    ) {
        for hash in hashes {
            self.arrivals.entry((to, hash)).or_insert(Arrival { at, from, is_answer });
        }
    }

    /// The events as lines of text, one each.
    #[must_use]
    pub fn lines(&self) -> String {
        let mut text = String::new();
        for event in &self.events {
            let _ = writeln!(text, "{} {} {}", event.at, event.node, event.what);
        }
        text
    }
}

fn words(what: &[u8]) -> String {
    match what {
        hash if hash.len() == 32 => format!("durable {}", hex::encode(&hash[..8])),
        word => String::from_utf8_lossy(word).into_owned(),
    }
}
