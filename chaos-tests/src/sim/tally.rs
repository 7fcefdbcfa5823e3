//! Counts of a run: what happened, how much it cost, and the hash of its history.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::Xxh3;

use crate::sim::kept::Kept;

/// What is counted.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Messages on lines, by kind.
    pub messages: Counts,
    /// Copies of entries that came over links.
    pub copies: u64,
    /// Of these, as answers to requests.
    pub fetched: u64,
    /// Of these copies, as answers that nobody asked for: what lies beyond a gap that nobody can fill.
    pub unasked: u64,
    /// Entries that became durable at a node that did not write them.
    pub deliveries: u64,
    /// Bytes of these entries.
    pub delivered_bytes: u64,
    /// Entries that became durable at the node that wrote them.
    pub written: u64,
    /// Bytes of frames, compressed.
    pub frame_bytes: u64,
    /// The same of frames that carry no entries.
    pub control_bytes: u64,
    /// Publications that were acknowledged.
    pub acknowledged: u64,
    /// Publications that were refused.
    pub refused: u64,
    /// Frames that did not open, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Frames that were delivered a second time.
    pub twice: u64,
    /// Frames lost with their connection.
    pub lost: u64,
    /// Pushes that found their lane full.
    pub shed: u64,
    /// Forks that nodes learned of, each node's first or lower place counted.
    pub forks: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Crashes, and those that lost a batch.
    pub crashes: u64,
    /// Batches being written that crashes took.
    pub lost_batches: u64,
    /// Events of the queue that were handled.
    pub events: u64,
    /// Faults that bit, by name, as the methods of the world count them.
    pub bites: BTreeMap<&'static str, u64>,
}

/// Counts of a few names, most of which are met again and again.
#[derive(Clone, Default)]
pub struct Counts(Vec<(&'static str, u64)>);

impl Counts {
    fn add(&mut self, name: &'static str) {
        // Mostly the very same text, which need not be read.
        let place = self.0.iter().position(|(known, _)| std::ptr::eq(*known, name) || *known == name);
        match place {
            Some(place) => self.0[place].1 += 1,
            None => self.0.push((name, 1)),
        }
    }

    fn of(&self, name: &str) -> u64 {
        self.0.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count)
    }

    fn sum(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }
}

impl std::fmt::Debug for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.0.iter().copied()).finish()
    }
}

impl Tally {
    /// Counts a message.
    pub fn message(&mut self, kind: &'static str) {
        self.messages.add(kind);
    }

    /// Counts a fault that bit.
    pub fn bite(&mut self, fault: &'static str) {
        self.bite_times(fault, 1);
    }

    /// Counts a fault that bit several times.
    pub fn bite_times(&mut self, fault: &'static str, times: u64) {
        if times > 0 {
            *self.bites.entry(fault).or_insert(0) += times;
        }
    }

    /// How often a fault bit.
    #[must_use]
    pub fn bites_of(&self, fault: &str) -> u64 {
        self.bites.get(fault).copied().unwrap_or(0)
    }

    /// Messages of a kind.
    #[must_use]
    pub fn messages_of(&self, kind: &str) -> u64 {
        self.messages.of(kind)
    }

    /// Messages of all kinds.
    #[must_use]
    pub fn messages_total(&self) -> u64 {
        self.messages.sum()
    }

    /// Copies of entries for each that somebody got.
    #[must_use]
    pub fn copies_per_delivery(&self) -> f64 {
        // Counts stay far below 2^52.
        self.copies as f64 / (self.deliveries.max(1)) as f64
    }
}

/// A hash over everything that happened, in order: equal for equal runs. It tells runs apart, no more.
#[derive(Clone, Default)]
pub struct History {
    hash: Xxh3,
    /// Everything that went into the hash, if somebody wants to read it.
    pub kept: Option<Kept>,
}

impl History {
    /// Adds what happened.
    pub fn note(&mut self, at: u64, node: usize, what: &[u8]) {
        let mut head = [0; 24];
        head[..8].copy_from_slice(&at.to_le_bytes());
        head[8..16].copy_from_slice(&(node as u64).to_le_bytes());
        head[16..].copy_from_slice(&(what.len() as u64).to_le_bytes());
        self.hash.update(&head);
        self.hash.update(what);
        if let Some(kept) = &mut self.kept {
            kept.note(at, node, what);
        }
    }

    /// The hash so far.
    #[must_use]
    pub fn hash(&self) -> String {
        hex::encode(self.hash.digest128().to_be_bytes())
    }
}
