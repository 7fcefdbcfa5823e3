//! What is held of each log: contiguous heights, entries beyond a gap, and what is staged but not yet durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use bincode::{Decode, Encode};
use vatra_model::charter::MemberRole;
use vatra_model::limits::{AHEAD_ENTRIES_MAX, LOGS_MAX};
use vatra_model::wire::LogDescriptor;
use vatra_model::{CheckedEntry, EntryHash, Frontier, Head, LogId, MemberCode, MonoMs, NodeKey, Seq};

use crate::input::Reject;
use crate::trust::{CheckedLog, Trust};

/// Logs that only this node's own lives may take.
const OWN_LOGS_RESERVED: usize = 64;

/// A log as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LogRow {
    /// Whose log it is.
    pub descriptor: LogDescriptor,
    /// Durable contiguous entries.
    pub head: Head,
}

/// An entry beyond a gap, as found in the store at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AheadRow {
    /// Its place.
    pub seq: u64,
    /// Its hash.
    pub hash: EntryHash,
    /// The hash of its predecessor.
    pub prev: EntryHash,
}

#[derive(Clone, Copy, Debug)]
struct Ahead {
    hash: EntryHash,
    prev: EntryHash,
    durable: bool,
}

/// One log.
#[derive(Clone, Debug)]
pub(crate) struct LogState {
    pub(crate) checked: CheckedLog,
    /// Contiguous entries accepted, staged ones included.
    accepted: Head,
    /// Contiguous entries on disk: what may be told.
    durable: Head,
    ahead: BTreeMap<u64, Ahead>,
    /// The place of the first conflict seen, if any.
    pub(crate) forked: Option<u64>,
    /// The descriptor is not yet on disk.
    unsaved: bool,
    /// When a push last made the contiguous part longer: more of them are likely to be on their way.
    pub(crate) grew: Option<MonoMs>,
}

/// What became of an offered entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    New,
    Duplicate,
}

/// All logs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logs {
    logs: BTreeMap<LogId, LogState>,
}

impl LogState {
    fn new(checked: CheckedLog, head: Head, unsaved: bool) -> LogState {
        LogState { checked, accepted: head, durable: head, ahead: BTreeMap::new(), forked: None, unsaved, grew: None }
    }

    pub(crate) fn origin(&self) -> NodeKey {
        self.checked.certificate.key
    }

    pub(crate) fn member(&self) -> MemberCode {
        self.checked.certificate.member
    }

    pub(crate) fn accepted(&self) -> Head {
        self.accepted
    }

    pub(crate) fn durable(&self) -> Head {
        self.durable
    }

    /// The first and past-last place of durable entries beyond the gap, and how many there are.
    pub(crate) fn durably_ahead(&self) -> Option<(u64, u64, usize)> {
        let durable = || self.ahead.iter().filter(|(_, ahead)| ahead.durable).map(|(seq, _)| *seq);
        Some((durable().next()?, durable().next_back()?.saturating_add(1), durable().count()))
    }

    pub(crate) fn ahead_count(&self) -> usize {
        self.ahead.len()
    }

    /// Whether the entry is held, staged ones included.
    pub(crate) fn holds(&self, seq: u64) -> bool {
        seq < self.accepted.height || self.ahead.contains_key(&seq)
    }

    /// Whether the entry is on disk.
    pub(crate) fn holds_durably(&self, seq: u64) -> bool {
        seq < self.durable.height || self.ahead.get(&seq).is_some_and(|ahead| ahead.durable)
    }

    /// The ranges `[from, to)` below `top` that are not held, lowest first, at most `max` of them.
    pub(crate) fn missing(&self, top: u64, max: usize) -> Vec<(u64, u64)> {
        let mut ranges = Vec::new();
        let mut from = self.accepted.height;
        for &seq in self.ahead.range(from..).map(|(seq, _)| seq).take_while(|&&seq| seq < top) {
            if seq > from {
                ranges.push((from, seq));
                if ranges.len() >= max {
                    return ranges;
                }
            }
            from = seq + 1;
        }
        if from < top {
            ranges.push((from, top));
        }
        ranges
    }

    /// The ranges `[from, to)` below `top` that are not held, highest first, at most `max` of them.
    pub(crate) fn missing_newest_first(&self, top: u64, max: usize) -> Vec<(u64, u64)> {
        let mut ranges = Vec::new();
        let mut to = top;
        for &seq in self.ahead.range(..top).rev().map(|(seq, _)| seq) {
            if seq + 1 < to {
                ranges.push((seq + 1, to));
                if ranges.len() >= max {
                    return ranges;
                }
            }
            to = seq;
        }
        if self.accepted.height < to {
            ranges.push((self.accepted.height, to));
        }
        ranges
    }

    /// The parts of `[from, to)` that are not held, lowest first. Held entries in between that are fewer than
    /// `run_min` are counted as missing, so that the parts are few.
    pub(crate) fn gaps_between(&self, from: u64, to: u64, run_min: u64) -> Vec<(u64, u64)> {
        let mut gaps: Vec<(u64, u64)> = Vec::new();
        let mut next = from.max(self.accepted.height);
        let mut add = |from: u64, to: u64| match gaps.last_mut() {
            Some(last) if from - last.1 < run_min => last.1 = to,
            _ => gaps.push((from, to)),
        };
        if next >= to {
            return Vec::new();
        }
        for &seq in self.ahead.range(next..to).map(|(seq, _)| seq) {
            if seq > next {
                add(next, seq);
            }
            next = seq + 1;
        }
        if next < to {
            add(next, to);
        }
        gaps
    }

    pub(crate) fn accepted_height(&self) -> u64 {
        self.accepted.height
    }

    fn offer(&mut self, entry: &CheckedEntry) -> Result<Accepted, Reject> {
        let header = entry.header();
        let (log, seq) = (header.log, header.seq.0);
        if seq < self.accepted.height {
            return Ok(Accepted::Duplicate);
        }
        if let Some(held) = self.ahead.get(&seq) {
            if held.hash == entry.hash() {
                return Ok(Accepted::Duplicate);
            }
            self.forked.get_or_insert(seq);
            return Err(Reject::Unchained { log, seq });
        }
        if seq == self.accepted.height {
            if header.prev != self.accepted.head {
                self.forked.get_or_insert(seq.saturating_sub(1));
                return Err(Reject::Unchained { log, seq });
            }
            self.accepted = Head { height: seq + 1, head: entry.hash() };
            self.close_gap();
            return Ok(Accepted::New);
        }
        if seq == u64::MAX || self.ahead.len() >= AHEAD_ENTRIES_MAX {
            return Err(Reject::Full { what: "entries beyond a gap", limit: AHEAD_ENTRIES_MAX });
        }
        self.ahead.insert(seq, Ahead { hash: entry.hash(), prev: header.prev, durable: false });
        Ok(Accepted::New)
    }

    /// Moves entries from beyond the gap into the contiguous part as far as they chain.
    fn close_gap(&mut self) {
        while let Some(next) = self.ahead.get(&self.accepted.height) {
            if next.prev != self.accepted.head {
                self.forked.get_or_insert(self.accepted.height);
                return;
            }
            self.accepted = Head { height: self.accepted.height + 1, head: next.hash };
            self.ahead.remove(&(self.accepted.height - 1));
        }
    }

    pub(crate) fn row(&self) -> LogRow {
        LogRow { descriptor: self.checked.descriptor.clone(), head: self.accepted }
    }

    pub(crate) fn is_unsaved(&self) -> bool {
        self.unsaved || self.accepted != self.durable
    }
}

impl Logs {
    pub(crate) fn restore(&mut self, checked: CheckedLog, head: Head, ahead: Vec<AheadRow>) {
        let mut state = LogState::new(checked, head, false);
        for row in ahead {
            state.ahead.insert(row.seq, Ahead { hash: row.hash, prev: row.prev, durable: true });
        }
        state.close_gap();
        state.durable = state.accepted;
        state.forked = self.logs.get(&state.checked.id).and_then(|known| known.forked).or(state.forked);
        self.logs.insert(state.checked.id, state);
    }

    /// Adds a log if it is new. Others' logs leave room for those of `me`, so that nobody can mute a node by
    /// writing many.
    pub(crate) fn describe(&mut self, checked: CheckedLog, me: &NodeKey) -> Result<(), Reject> {
        if self.logs.contains_key(&checked.id) {
            return Ok(());
        }
        let limit = if checked.certificate.key == *me { LOGS_MAX } else { LOGS_MAX - OWN_LOGS_RESERVED };
        if self.logs.len() >= limit {
            return Err(Reject::Full { what: "logs", limit });
        }
        self.logs.insert(checked.id, LogState::new(checked, Head::EMPTY, true));
        Ok(())
    }

    pub(crate) fn get(&self, log: &LogId) -> Option<&LogState> {
        self.logs.get(log)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&LogId, &LogState)> {
        self.logs.iter()
    }

    /// Takes an entry if its writer was entitled and it fits.
    pub(crate) fn offer(&mut self, trust: &Trust, entry: &CheckedEntry) -> Result<Accepted, Reject> {
        let header = entry.header();
        let (log, seq) = (header.log, header.seq.0);
        let state = self.logs.get_mut(&log).ok_or(Reject::UndescribedLog(log))?;
        let origin = state.origin();
        if state.checked.role == MemberRole::Observer && seq > 0 {
            return Err(Reject::NotEntitled { log, seq });
        }
        if let Some(revocation) = trust.charter().revocation(&origin) {
            let last = revocation.last_valid.iter().find(|(revoked, _, _)| *revoked == log);
            if last.is_none_or(|(_, last, hash)| header.seq > *last || (header.seq == *last && entry.hash() != *hash)) {
                return Err(Reject::NotEntitled { log, seq });
            }
        }
        state.offer(entry)
    }

    /// A push made the contiguous part of a log longer.
    pub(crate) fn note_growth(&mut self, log: &LogId, now: MonoMs) {
        if let Some(state) = self.logs.get_mut(log) {
            state.grew = Some(now);
        }
    }

    /// The rows that a batch must write.
    pub(crate) fn unsaved_rows(&self) -> Vec<(LogId, LogRow)> {
        self.logs.iter().filter(|(_, state)| state.is_unsaved()).map(|(log, state)| (*log, state.row())).collect()
    }

    /// Marks what a batch wrote as durable. Entries accepted since then stay staged.
    pub(crate) fn settle(&mut self, rows: &[(LogId, LogRow)], entries: &[Arc<CheckedEntry>]) {
        for (log, row) in rows {
            if let Some(state) = self.logs.get_mut(log) {
                state.unsaved = false;
                if row.head.height > state.durable.height {
                    state.durable = row.head;
                }
            }
        }
        for entry in entries {
            let header = entry.header();
            if let Some(ahead) = self.logs.get_mut(&header.log).and_then(|s| s.ahead.get_mut(&header.seq.0)) {
                ahead.durable = true;
            }
        }
    }

    /// Forgets what is held, to be restored from what is on disk. Logs stay described: their descriptors are told
    /// once on each link and would not come again.
    pub(crate) fn forget_entries(&mut self) {
        for state in self.logs.values_mut() {
            let forked = state.forked;
            *state = LogState::new(state.checked.clone(), Head::EMPTY, true);
            state.forked = forked;
        }
    }

    /// What may be told: durable contiguous heights.
    pub(crate) fn frontier(&self) -> Frontier {
        let held = self.logs.iter().filter(|(_, state)| state.durable.height > 0);
        Frontier(held.map(|(log, state)| (*log, state.durable)).collect())
    }

    /// Whether the next entry of a log can be appended to it: nothing conflicting lies in its way.
    pub(crate) fn can_append(&self, log: &LogId) -> bool {
        self.logs.get(log).is_some_and(|state| state.ahead.is_empty() && state.forked.is_none())
    }

    /// The next place and predecessor of a log.
    pub(crate) fn next(&self, log: &LogId) -> (Seq, EntryHash) {
        let head = self.logs.get(log).map_or(Head::EMPTY, |state| state.accepted);
        (Seq(head.height), head.head)
    }
}

#[cfg(test)]
mod tests;
