//! Events that readers of the stream went past because what they tell could not be read. They are noted in the store
//! and told again once they can be read, so that damage leaves no hole in a subscription (P7).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use vatra_model::Position;
use vatra_store::{ReadError, Snapshot};

/// What the keys of the noted positions begin with.
const PREFIX: &[u8] = b"missed/";
/// Positions that wait to be noted; what finds no room is counted and not told again.
const WAITING_MAX: usize = 65_536;

/// Positions that readers went past since they were last noted.
#[derive(Debug, Default)]
pub(crate) struct Missed {
    waiting: Mutex<BTreeSet<Position>>,
    unnoted: AtomicU64,
}

impl Missed {
    /// A reader goes past an event.
    pub(crate) fn goes_past(&self, position: Position) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING_MAX || waiting.contains(&position) {
            waiting.insert(position);
        } else {
            self.unnoted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The first of what is to be noted, at most so many.
    pub(crate) fn waiting(&self, max: usize) -> BTreeSet<Position> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).iter().take(max).copied().collect()
    }

    /// These are noted durably, or told again.
    pub(crate) fn settle(&self, settled: &BTreeSet<Position>) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).retain(|position| !settled.contains(position));
    }

    /// How many found no room since the last call.
    pub(crate) fn take_unnoted(&self) -> u64 {
        self.unnoted.swap(0, Ordering::Relaxed)
    }
}

/// The key of a noted position.
pub(crate) fn key(position: Position) -> Vec<u8> {
    [PREFIX, &position.0.to_be_bytes()].concat()
}

/// Noted positions after one, lowest first, at most so many, and whether there are more. A damaged row is as good as a
/// whole one: its key says all.
pub(crate) fn noted(
    snapshot: &Snapshot,
    after: Option<Position>,
    max: usize,
) -> Result<(Vec<Position>, bool), ReadError> {
    let after = after.map(key);
    let page = snapshot.index_with_prefix(PREFIX, after.as_deref(), max)?;
    let position = |key: &[u8]| Some(Position(u64::from_be_bytes(key.strip_prefix(PREFIX)?.try_into().ok()?)));
    let whole = page.rows.iter().filter_map(|(key, _)| position(key));
    let mut all: Vec<Position> = whole.chain(page.damaged.iter().filter_map(|row| position(&row.key))).collect();
    all.sort_unstable();
    Ok((all, page.is_cut))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_counted() {
        let missed = Missed::default();
        let most = WAITING_MAX as u64;
        (0..=most).for_each(|n| missed.goes_past(Position(n)));
        missed.goes_past(Position(7));
        assert_eq!((missed.take_unnoted(), missed.take_unnoted()), (1, 0), "one found no room, another is known");
        assert_eq!(missed.waiting(3), [0, 1, 2].map(Position).into());
        missed.settle(&[0, 1, most].map(Position).into());
        missed.goes_past(Position(most));
        assert_eq!((missed.waiting(usize::MAX).len(), missed.take_unnoted()), (WAITING_MAX - 1, 0));
    }
}
