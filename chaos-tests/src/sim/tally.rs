//! Counts of a run: what happened, how much it cost, and the hash of its history.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// What is counted.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Messages on lines, by kind.
    pub messages: BTreeMap<&'static str, u64>,
    /// Copies of entries that came over links.
    pub copies: u64,
    /// Of these, as answers to requests.
    pub fetched: u64,
    /// Entries that became durable at a node that did not write them.
    pub deliveries: u64,
    /// Entries that became durable at the node that wrote them.
    pub written: u64,
    /// Bytes of frames, compressed.
    pub frame_bytes: u64,
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
    /// Connections that were made.
    pub connections: u64,
    /// Crashes, and those that lost a batch.
    pub crashes: u64,
    /// Batches that crashes took.
    pub torn: u64,
    /// Events of the queue that were handled.
    pub events: u64,
}

impl Tally {
    /// Counts a message.
    pub fn message(&mut self, kind: &'static str) {
        *self.messages.entry(kind).or_insert(0) += 1;
    }

    /// Messages of a kind.
    #[must_use]
    pub fn messages_of(&self, kind: &str) -> u64 {
        self.messages.get(kind).copied().unwrap_or(0)
    }

    /// Messages of all kinds.
    #[must_use]
    pub fn messages_total(&self) -> u64 {
        self.messages.values().sum()
    }

    /// Copies of entries for each that somebody got.
    #[must_use]
    pub fn copies_per_delivery(&self) -> f64 {
        // Counts stay far below 2^52.
        self.copies as f64 / (self.deliveries.max(1)) as f64
    }
}

/// A hash over everything that happened, in order: equal for equal runs.
#[derive(Clone, Debug, Default)]
pub struct History(Sha256);

impl History {
    /// Adds what happened.
    pub fn note(&mut self, at: u64, node: usize, what: &[u8]) {
        self.0.update(at.to_le_bytes());
        self.0.update((node as u64).to_le_bytes());
        self.0.update((what.len() as u64).to_le_bytes());
        self.0.update(what);
    }

    /// The hash so far.
    #[must_use]
    pub fn hash(&self) -> String {
        hex::encode(self.0.clone().finalize())
    }
}
