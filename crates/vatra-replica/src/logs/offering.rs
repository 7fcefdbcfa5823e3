//! What becomes of an entry that is offered to a log, and of a log whose origin contradicted itself.

use std::sync::Arc;

use vatra_model::charter::MemberRole;
use vatra_model::limits::{AHEAD_ENTRIES_MAX, AHEAD_FREE_MAX, MEMBER_AHEAD_MAX};
use vatra_model::{CheckedEntry, EntryHash, ForkProof, Head, LogId, MemberCode};

use super::{Ahead, AheadRow, LogState, Logs};
use crate::fork::Fork;
use crate::input::Reject;

/// Entries of a log beyond a gap after which its member's are counted again.
const AHEAD_LOOK_EVERY: usize = 64;
/// Hashes of the contiguous part that are remembered.
const RECENT_MAX: usize = 64;

/// What became of an offered entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// Staged in its place.
    New,
    /// Staged beside the log, which is forked.
    Stray,
    /// Held already.
    Duplicate,
    /// Held already, but not readable any more: it is put back, or kept until it is known to be the one.
    Mends,
    /// Kept until the store was looked through.
    Later,
    /// It stands where another entry may stand, or does not follow the one before it: what the store holds there
    /// decides.
    Doubtful,
}

impl Logs {
    /// Takes an entry if its writer was entitled and it fits.
    pub(crate) fn offer(&mut self, entry: &CheckedEntry) -> Result<Accepted, Reject> {
        let header = entry.header();
        let (log, seq) = (header.log, header.seq.0);
        let state = self.get_mut(&log).ok_or(Reject::UndescribedLog(log))?;
        let is_observers = state.checked.role == MemberRole::Observer;
        if is_observers || !state.covers(seq, entry.hash()) {
            return Err(Reject::NotEntitled { log, seq });
        }
        let (height, count) = (state.accepted.height, state.ahead.len());
        // Looked at now and then, as it takes a look at all logs.
        if seq > height && count >= AHEAD_FREE_MAX && count % AHEAD_LOOK_EVERY == 0 && !state.ahead.contains_key(&seq) {
            let member = state.member();
            if self.is_crowded_by(member) {
                return Err(Reject::Full { what: "entries beyond gaps of one member", limit: MEMBER_AHEAD_MAX });
            }
        }
        let state = self.get_mut(&log).ok_or(Reject::UndescribedLog(log))?;
        state.offer(entry)
    }

    /// Whether so many entries of a member lie beyond gaps, over all its logs, that those below them come first.
    pub(crate) fn is_crowded_by(&self, member: MemberCode) -> bool {
        let of_member = self.logs.values().filter(|log| log.member() == member);
        of_member.map(|log| log.ahead.len().saturating_sub(AHEAD_FREE_MAX)).sum::<usize>() >= MEMBER_AHEAD_MAX
    }

    /// A fork was proved. `true` if it is news: nothing or a higher place was known.
    pub(crate) fn part(&mut self, log: &LogId, place: u64, proof: ForkProof) -> bool {
        let Some(state) = self.get_mut(log) else { return false };
        let is_news = place < state.end();
        if is_news {
            state.part(place, proof);
        }
        is_news
    }

    /// What the store holds of a forked log: the hash before the fork place, if it holds that, and the entries from
    /// there on. Gives what waited for this.
    pub(crate) fn settle_fork(
        &mut self,
        log: &LogId,
        trunk: Option<EntryHash>,
        held: &[AheadRow],
    ) -> Vec<Arc<CheckedEntry>> {
        let Some(state) = self.get_mut(log) else { return Vec::new() };
        let covered: Vec<AheadRow> = held.iter().copied().filter(|row| state.covers(row.seq, row.hash)).collect();
        let Some(fork) = &mut state.fork else { return Vec::new() };
        let waiting = fork.settle(&covered);
        let place = fork.place;
        for head in [&mut state.accepted, &mut state.durable] {
            if head.height == place && place > 0 && head.head == EntryHash::ZERO {
                // Without it the row is damaged or gone, and the trunk is fetched anew.
                *head = trunk.map_or(Head::EMPTY, |head| Head { height: place, head });
            }
        }
        state.renew_fork_head();
        waiting
    }
}

impl LogState {
    pub(super) fn offer(&mut self, entry: &CheckedEntry) -> Result<Accepted, Reject> {
        let header = entry.header();
        let (seq, hash) = (header.seq.0, entry.hash());
        if let Some(fork) = &mut self.fork
            && seq >= fork.place
        {
            return fork.offer(entry);
        }
        if self.is_taken(seq) {
            return Ok(Accepted::Doubtful);
        }
        if seq < self.accepted.height {
            let known = self.recent.iter().find(|(known, _)| *known == seq);
            return Ok(if known.is_some_and(|(_, known)| *known == hash) {
                Accepted::Duplicate
            } else {
                Accepted::Doubtful
            });
        }
        if let Some(held) = self.ahead.get(&seq) {
            return Ok(if held.hash == hash { Accepted::Duplicate } else { Accepted::Doubtful });
        }
        if seq == self.accepted.height {
            if header.prev != self.accepted.head {
                return Ok(Accepted::Doubtful);
            }
            self.append(seq, hash);
            self.close_gap();
            return Ok(Accepted::New);
        }
        if seq == u64::MAX || self.ahead.len() >= AHEAD_ENTRIES_MAX {
            return Err(Reject::Full { what: "entries beyond a gap", limit: AHEAD_ENTRIES_MAX });
        }
        self.ahead.insert(seq, Ahead { hash, prev: header.prev, durable: false });
        Ok(Accepted::New)
    }

    /// The place of an entry that turned out not to follow the one before it, if there is one, and its hash if it is
    /// a stray.
    pub(crate) fn take_broken(&mut self) -> Option<(u64, Option<EntryHash>)> {
        if let Some(place) = self.broken.take() {
            return Some((place, None));
        }
        let trunk = self.whole_trunk()?;
        let fork = self.fork.as_ref()?;
        Some((fork.place, Some(fork.stranger(trunk)?)))
    }

    fn append(&mut self, seq: u64, hash: EntryHash) {
        self.accepted = Head { height: seq + 1, head: hash };
        self.recent.push_back((seq, hash));
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_front();
        }
    }

    /// Moves entries from beyond the gap into the contiguous part as far as they chain, up to the fork.
    pub(super) fn close_gap(&mut self) {
        let end = self.end();
        while self.accepted.height < end
            && let Some(next) = self.ahead.get(&self.accepted.height)
        {
            if next.prev != self.accepted.head {
                self.broken = Some(self.accepted.height);
                return;
            }
            let (seq, hash, is_durable) = (self.accepted.height, next.hash, next.durable);
            self.append(seq, hash);
            self.ahead.remove(&seq);
            if is_durable {
                self.closing.insert(seq);
            }
        }
    }

    /// Ends the log at a place. What lies past it is looked for in the store, because its hashes are not at hand.
    pub(super) fn part(&mut self, place: u64, proof: ForkProof) {
        self.fork = Some(Fork::proved(place, proof, self.fork.take()));
        self.end_at_fork();
        self.ahead.retain(|seq, _| *seq < place);
        self.closing.retain(|seq| *seq < place);
        self.broken = self.broken.filter(|broken| *broken < place);
        self.recent.clear();
        for head in [&mut self.accepted, &mut self.durable] {
            if head.height > place {
                // The hash before the place comes with the rest.
                *head = Head { height: place, head: EntryHash::ZERO };
            }
        }
    }
}
