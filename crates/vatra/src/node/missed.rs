//! Events that readers of the stream went past because what they tell could not be read. They are noted in the store
//! and told again once they can be read, so that damage leaves no hole in a subscription (P7).

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use vatra_model::Position;
use vatra_store::{ReadError, Snapshot};

/// What the keys of the noted positions begin with.
const PREFIX: &[u8] = b"missed/";
/// Positions that wait to be noted; a page of events ends before one that finds no room.
const WAITING_MAX: usize = 4_096;

/// Positions that readers went past since they were last noted.
#[derive(Debug, Default)]
pub(crate) struct Missed(Mutex<BTreeSet<Position>>);

impl Missed {
    /// A reader goes past an event; `false` if it must not, because that could not be noted.
    pub(crate) fn goes_past(&self, position: Position) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.contains(&position) || (waiting.len() < WAITING_MAX && waiting.insert(position))
    }

    /// What is to be noted.
    pub(crate) fn waiting(&self) -> BTreeSet<Position> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// These are noted durably, or told again.
    pub(crate) fn settle(&self, settled: &BTreeSet<Position>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|position| !settled.contains(position));
    }
}

/// The key of a noted position.
pub(crate) fn key(position: Position) -> Vec<u8> {
    [PREFIX, &position.0.to_be_bytes()].concat()
}

/// Noted positions after one, lowest first, at most so many.
pub(crate) fn noted(snapshot: &Snapshot, after: Option<Position>, max: usize) -> Result<Vec<Position>, ReadError> {
    let after = after.map(key);
    let page = snapshot.index_with_prefix(PREFIX, after.as_deref(), max)?;
    let position = |(key, _): (Vec<u8>, Vec<u8>)| {
        let number = key.strip_prefix(PREFIX)?.try_into().ok()?;
        Some(Position(u64::from_be_bytes(number)))
    };
    Ok(page.rows.into_iter().filter_map(position).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_goes_past_no_more_than_can_be_noted() {
        let missed = Missed::default();
        let most = WAITING_MAX as u64;
        assert!((0..most).all(|n| missed.goes_past(Position(n))));
        assert!(missed.goes_past(Position(7)), "this one is known");
        assert!(!missed.goes_past(Position(most)));
        missed.settle(&BTreeSet::from([Position(0), Position(most)]));
        assert!(missed.goes_past(Position(most)));
        assert_eq!(missed.waiting().len(), WAITING_MAX);
    }
}
