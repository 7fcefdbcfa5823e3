//! How long entries take from the disk of the node that wrote them to the disks of the others.

use std::collections::BTreeMap;

use vatra_model::LogId;

/// Times of entries; counted only while a test asks for it, as it costs memory for each of them.
#[derive(Clone, Debug, Default)]
pub struct Delays {
    is_on: bool,
    written: BTreeMap<(LogId, u64), (usize, u64)>,
    /// Writer, reader and time between their disks, in microseconds.
    taken: Vec<(usize, usize, u64)>,
}

impl Delays {
    /// Counts from now on, and forgets what was counted.
    pub fn start(&mut self) {
        *self = Delays { is_on: true, ..Delays::default() };
    }

    /// An entry became durable at the node that wrote it.
    pub fn written(&mut self, node: usize, at: u64, place: (LogId, u64)) {
        if self.is_on {
            self.written.insert(place, (node, at));
        }
    }

    /// An entry became durable at another node.
    pub fn delivered(&mut self, node: usize, at: u64, place: (LogId, u64)) {
        if let Some((writer, written)) = self.written.get(&place) {
            self.taken.push((*writer, node, at - written));
        }
    }

    /// Writer, reader and microseconds of each delivery, in the order in which they came.
    #[must_use]
    pub fn taken(&self) -> &[(usize, usize, u64)] {
        &self.taken
    }

    /// The time within which so many in a thousand of the deliveries came, in milliseconds.
    #[must_use]
    pub fn permille_ms(&self, permille: usize) -> f64 {
        let mut times: Vec<u64> = self.taken.iter().map(|(_, _, us)| *us).collect();
        times.sort_unstable();
        let index = (times.len() * permille / 1000).min(times.len().saturating_sub(1));
        // Times of a run stay far below 2^52.
        times.get(index).map_or(0.0, |us| *us as f64 / 1000.0)
    }
}
