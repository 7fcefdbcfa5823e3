//! The end that a revocation sets to a log: what the store holds past it stays there as evidence and is no longer of
//! the log (DESIGN 4; FAULTS S11).

use vatra_model::charter::LogEnd;
use vatra_model::{EntryHash, Head, LogId, Seq};

use super::{Ahead, AheadRow, LogState, Logs};

/// The end of one log of a revoked key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) end: LogEnd,
    /// Contiguous entries went at least this far, and it is not known yet which entry the store has in the last valid
    /// place.
    pub(super) is_open: bool,
    /// It has another one there than the named.
    pub(super) is_other: bool,
}

impl Logs {
    /// A revocation ends a log. `None` if that is no news; otherwise the last valid place, if how much of the log is left
    /// is to be looked up in the store.
    pub(crate) fn end_at(&mut self, log: &LogId, end: LogEnd) -> Option<Option<Seq>> {
        let known = self.get(log)?.ended.map(|ended| ended.end);
        (known != Some(end)).then_some(())?;
        let state = self.get_mut(log)?;
        state.end_at(end);
        Some(state.open_end())
    }

    /// What the store holds in the last valid place and the one before, which were to be looked up.
    pub(crate) fn settle_end(&mut self, log: &LogId, held: &[AheadRow]) {
        if let Some(state) = self.get_mut(log) {
            state.settle_end(held);
        }
    }

    /// The store has, or will have, another entry than the named one in the last valid place of a log.
    pub(crate) fn has_other_last(&mut self, log: &LogId) {
        if let Some(ended) = self.get_mut(log).and_then(|state| state.ended.as_mut()) {
            ended.is_other = true;
        }
    }
}

impl LogState {
    /// Whether an entry may be of the log as far as revocations tell.
    pub(crate) fn covers(&self, seq: u64, hash: EntryHash) -> bool {
        self.ended.is_none_or(|ended| ended.end.covers(Seq(seq), hash))
    }

    /// The place that is to be looked up before it is known how much of the log is left.
    pub(crate) fn open_end(&self) -> Option<Seq> {
        self.ended.filter(|ended| ended.is_open)?.end.last.map(|(seq, _)| seq)
    }

    pub(super) fn end_at(&mut self, end: LogEnd) {
        let place = end.place();
        // A contradiction past the end is one more entry without effect.
        self.fork = self.fork.take().filter(|fork| fork.place < place);
        if let Some(fork) = &mut self.fork {
            fork.end_at(&end);
        }
        let last = end.last.map(|(seq, _)| seq.0);
        // What is only staged is dropped, and was never on disk.
        let is_other =
            |(seq, ahead): (&u64, &Ahead)| ahead.durable && Some(*seq) == last && !end.covers(Seq(*seq), ahead.hash);
        let is_other = self.ahead.iter().any(is_other);
        self.ahead.retain(|seq, ahead| end.covers(Seq(*seq), ahead.hash));
        self.closing.retain(|seq| *seq < place);
        self.broken = self.broken.filter(|broken| *broken < place);
        let named = end.last.map_or(Head::EMPTY, |(_, hash)| Head { height: place, head: hash });
        let mut is_open = false;
        for head in [&mut self.accepted, &mut self.durable] {
            if head.height >= place && *head != named {
                // Which entry the store has in the last place is looked up.
                *head = Head { height: place, head: EntryHash::ZERO };
                is_open |= place > 0;
            }
        }
        if is_open {
            self.recent.clear();
        }
        self.ended = Some(Ended { end, is_open, is_other });
        self.renew_fork_head();
    }

    fn settle_end(&mut self, held: &[AheadRow]) {
        let Some(ended) = self.ended.as_mut().filter(|ended| ended.is_open) else { return };
        ended.is_open = false;
        let Some((last, named)) = ended.end.last else { return };
        let place = ended.end.place();
        let at = |seq: Option<u64>| held.iter().find(|row| Some(row.seq) == seq);
        let left = match (at(Some(last.0)), at(last.0.checked_sub(1))) {
            (Some(row), _) if row.hash == named => {
                ended.is_other = false;
                Head { height: place, head: named }
            }
            (Some(row), _) => {
                ended.is_other = true;
                Head { height: last.0, head: row.prev }
            }
            // It is damaged or gone, and is fetched anew.
            (None, Some(before)) => Head { height: last.0, head: before.hash },
            (None, None) => Head::EMPTY,
        };
        for head in [&mut self.accepted, &mut self.durable] {
            if head.height == place {
                *head = left;
            }
        }
        // What was staged in the last place and was dropped was never on disk.
        if self.durable.height > self.accepted.height {
            self.accepted = self.durable;
        }
    }

    /// Whether an entry would come into the last valid place, where the store has another one.
    pub(super) fn is_taken(&self, seq: u64) -> bool {
        let last = |ended: Ended| ended.end.last.is_some_and(|(last, _)| last.0 == seq);
        self.ended.is_some_and(|ended| ended.is_other && last(ended))
    }

    /// The log turned out to be forked below its end, where its trunk ends.
    pub(super) fn end_at_fork(&mut self) {
        if let Some(ended) = &mut self.ended {
            (ended.is_open, ended.is_other) = (false, false);
        }
    }
}
