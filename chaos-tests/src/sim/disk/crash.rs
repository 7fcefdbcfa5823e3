//! What a loss of power leaves of batches that were not synced.

use crate::sim::disk::Disk;

/// What a crash finds on disk of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The batch being written had just been synced, and nobody was told.
    Unsynced,
    /// Nothing.
    Nothing,
    /// The first batches, of which this number decides how many, and a part of the next one.
    Torn(u64),
}

/// What a crash took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Batches being written that are not there.
    pub batches: u64,
    /// Batches of which a part is there.
    pub torn: u64,
}

impl Disk {
    /// The machine loses power. What is being written is there or not, or a part of it; says what was lost.
    pub fn crash(&mut self, keep: Keep) -> Lost {
        let being_written = self.unsynced.take();
        let is_written = being_written.is_some();
        let mut unsynced = std::mem::take(&mut self.claimed);
        match (being_written, keep) {
            (Some(batch), Keep::Unsynced) => self.durable.apply(&batch),
            (Some(batch), Keep::Torn(_)) => unsynced.push(batch),
            _ => {}
        }
        match (keep, unsynced.len() as u64) {
            (Keep::Unsynced, _) => Lost::default(),
            (Keep::Nothing, _) | (Keep::Torn(_), 0) => Lost { batches: u64::from(is_written), torn: 0 },
            (Keep::Torn(number), count) => {
                let kept = number % count;
                let mut in_order = unsynced.into_iter();
                for batch in in_order.by_ref().take(usize::try_from(kept).unwrap_or(0)) {
                    // Only a disk that lies has more than one: the others are in its platter now.
                    self.platter.iter_mut().for_each(|platter| platter.apply(&batch));
                }
                self.torn = in_order.next();
                Lost { batches: u64::from(is_written), torn: 1 }
            }
        }
    }
}
