//! What is held of each log: contiguous heights, entries beyond a gap, and what is staged but not yet durable.

mod ending;
mod gaps;
mod offering;
mod room;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bincode::{Decode, Encode};
use vatra_model::charter::MemberRole;
use vatra_model::wire::LogDescriptor;
use vatra_model::{EntryHash, Frontier, Head, LogId, MemberCode, MonoMs, NodeKey, Seq};

use crate::fork::{CheckedFork, Fork};
use crate::input::Batch;
use crate::trust::CheckedLog;

pub(crate) use offering::Accepted;

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
    /// On disk, and contiguous since a gap was closed, which is not on disk yet.
    closing: BTreeSet<u64>,
    /// Latest entries of the contiguous part: most that come twice are among them.
    recent: VecDeque<(u64, EntryHash)>,
    /// Where the log ends and why, if its origin contradicted itself.
    pub(crate) fork: Option<Fork>,
    /// Where it ends because its key is revoked. A fork lies below that.
    ended: Option<ending::Ended>,
    /// An entry beyond the gap turned out not to follow; its place.
    broken: Option<u64>,
    /// The descriptor is not yet on disk.
    unsaved: bool,
    /// Pushes make the contiguous part longer: more of them are likely to be on their way.
    growth: Option<Growth>,
}

/// How pushes of a log come.
#[derive(Clone, Copy, Debug)]
struct Growth {
    /// When one last came.
    at: MonoMs,
    /// About the longest time between two of them lately, in milliseconds.
    every_ms: u64,
}

impl Growth {
    /// After this long without a push, in milliseconds, nothing is on its way any more.
    const REST_MS: u64 = 3_000;

    fn next(self, now: MonoMs) -> Growth {
        let gap = now.since(self.at);
        let every_ms = if gap > Growth::REST_MS { 0 } else { gap.max(self.every_ms * 7 / 8) };
        Growth { at: now, every_ms }
    }
}

/// All logs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logs {
    logs: BTreeMap<LogId, LogState>,
    /// Logs that may have something to be written: all others have not.
    touched: BTreeSet<LogId>,
}

impl LogState {
    fn new(checked: CheckedLog, head: Head, unsaved: bool) -> LogState {
        LogState {
            checked,
            accepted: head,
            durable: head,
            ahead: BTreeMap::new(),
            closing: BTreeSet::new(),
            recent: VecDeque::new(),
            fork: None,
            ended: None,
            broken: None,
            unsaved,
            growth: None,
        }
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

    /// Places of durable entries beyond the gap, in order.
    pub(crate) fn ahead_durable(&self) -> impl Iterator<Item = u64> {
        self.ahead.iter().filter(|(_, ahead)| ahead.durable).map(|(seq, _)| *seq)
    }

    /// The last place beyond the gap of which a durable entry is held.
    pub(crate) fn ahead_last(&self) -> Option<u64> {
        self.ahead.iter().rev().find(|(_, ahead)| ahead.durable).map(|(seq, _)| *seq)
    }

    pub(crate) fn ahead_count(&self) -> usize {
        self.ahead.len()
    }

    /// Whether the entry is held, staged ones included.
    pub(crate) fn holds(&self, seq: u64) -> bool {
        seq < self.accepted.height || self.ahead.contains_key(&seq)
    }

    /// The hash of a durable entry beyond the gap.
    pub(crate) fn hash_ahead(&self, seq: u64) -> Option<EntryHash> {
        self.ahead.get(&seq).filter(|ahead| ahead.durable).map(|ahead| ahead.hash)
    }

    /// Whether the entry is on disk.
    pub(crate) fn holds_durably(&self, seq: u64) -> bool {
        let is_beyond = self.ahead.get(&seq).is_some_and(|ahead| ahead.durable);
        seq < self.durable.height || is_beyond || self.closing.contains(&seq)
    }

    /// Whether pushes make the log longer: one came within this time, or, where they come slowly because links or this
    /// node are busy, within twice the time that they take.
    pub(crate) fn grows(&self, now: MonoMs, within_ms: u64) -> bool {
        self.growth.is_some_and(|growth| {
            let patience = within_ms.max(2 * growth.every_ms).min(Growth::REST_MS);
            now.since(growth.at) < patience
        })
    }

    pub(crate) fn accepted_height(&self) -> u64 {
        self.accepted.height
    }

    /// The fork place, or that at which a revocation ends the log: nothing from there on belongs to it any more. Without
    /// either, past everything.
    pub(crate) fn end(&self) -> u64 {
        let revoked = self.ended.map_or(u64::MAX, |ended| ended.end.place());
        self.fork.as_ref().map_or(u64::MAX, |fork| fork.place).min(revoked)
    }

    /// Whether it is not known yet how much of the log is left: the store is being looked through.
    fn is_open(&self) -> bool {
        self.fork.as_ref().is_some_and(|fork| !fork.is_settled) || self.open_end().is_some()
    }

    /// What of the log is compared with others: contiguous entries, and where it is forked the strays with them.
    pub(crate) fn told(&self) -> Option<Head> {
        match &self.fork {
            Some(fork) => Some(Head { height: self.durable.height.min(fork.place), head: fork.head()? }),
            None if self.open_end().is_some() => None,
            _ => Some(self.durable),
        }
    }

    /// Whether the trunk is whole and durable; its last hash then.
    pub(crate) fn whole_trunk(&self) -> Option<EntryHash> {
        let fork = self.fork.as_ref().filter(|fork| fork.is_settled && fork.is_saved)?;
        (self.durable.height == fork.place).then_some(self.durable.head)
    }

    fn renew_fork_head(&mut self) {
        let (log, trunk) = (self.checked.id, self.durable.head);
        if let Some(fork) = self.fork.as_mut().filter(|fork| fork.is_settled && fork.is_saved) {
            fork.renew_head(log, trunk);
        }
    }

    fn row(&self) -> LogRow {
        // A row may be behind its entries.
        let head = if self.is_open() { Head::EMPTY } else { self.accepted };
        LogRow { descriptor: self.checked.descriptor.clone(), head }
    }

    fn unsaved_fork(&self) -> Option<&Fork> {
        self.fork.as_ref().filter(|fork| !fork.is_saved)
    }

    fn is_unsaved(&self) -> bool {
        self.unsaved || (self.accepted != self.durable && !self.is_open())
    }
}

impl Logs {
    /// Takes a log as the disk has it. A fork that was proved since and is not on disk yet stays known.
    pub(crate) fn restore(&mut self, checked: CheckedLog, head: Head, ahead: Vec<AheadRow>, fork: Option<Fork>) {
        let known = self.logs.remove(&checked.id).and_then(|known| known.fork);
        let mut state = LogState::new(checked, head, false);
        for row in ahead {
            state.ahead.insert(row.seq, Ahead { hash: row.hash, prev: row.prev, durable: true });
        }
        state.fork = fork;
        state.close_gap();
        state.durable = state.accepted;
        state.closing.clear();
        if let Some(known) = known
            && known.place < state.end()
        {
            state.part(known.place, known.proof);
        }
        state.renew_fork_head();
        self.touched.insert(state.checked.id);
        self.logs.insert(state.checked.id, state);
    }

    /// A newer charter is in force: what may be of each log, by the member whose it is.
    pub(crate) fn set_roles(&mut self, role_of: impl Fn(MemberCode) -> MemberRole) {
        for state in self.logs.values_mut() {
            state.checked.role = role_of(state.checked.certificate.member);
        }
    }

    pub(crate) fn get(&self, log: &LogId) -> Option<&LogState> {
        self.logs.get(log)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&LogId, &LogState)> {
        self.logs.iter()
    }

    /// How many logs there are.
    pub(crate) fn len(&self) -> usize {
        self.logs.len()
    }

    pub(crate) fn get_mut(&mut self, log: &LogId) -> Option<&mut LogState> {
        let state = self.logs.get_mut(log)?;
        self.touched.insert(*log);
        Some(state)
    }

    /// A push made the contiguous part of a log longer.
    pub(crate) fn note_growth(&mut self, log: &LogId, now: MonoMs) {
        if let Some(state) = self.logs.get_mut(log) {
            let first = Growth { at: now, every_ms: 0 };
            state.growth = Some(state.growth.map_or(first, |growth| growth.next(now)));
        }
    }

    /// The rows and forks that a batch must write.
    pub(crate) fn unsaved(&mut self) -> (Vec<(LogId, LogRow)>, Vec<CheckedFork>) {
        let (mut rows, mut forks) = (Vec::new(), Vec::new());
        let logs = &self.logs;
        self.touched.retain(|log| {
            let Some(state) = logs.get(log) else { return false };
            let (is_unsaved, fork) = (state.is_unsaved(), state.unsaved_fork());
            if is_unsaved {
                rows.push((*log, state.row()));
            }
            if let Some(fork) = fork {
                forks.push(CheckedFork { log: *log, place: fork.place, proof: fork.proof.clone() });
            }
            is_unsaved || fork.is_some()
        });
        let is_open = |state: &LogState| state.is_unsaved() || state.unsaved_fork().is_some();
        debug_assert!(logs.iter().all(|(log, state)| self.touched.contains(log) || !is_open(state)), "all are touched");
        (rows, forks)
    }

    /// Marks what a batch wrote as durable. Entries accepted since then stay staged. Gives the logs whose strays
    /// became more.
    pub(crate) fn settle(&mut self, batch: &Batch) -> Vec<(LogId, (u64, EntryHash))> {
        let mut forked = BTreeSet::new();
        for (log, row) in &batch.logs {
            if let Some(state) = self.logs.get_mut(log) {
                if state.fork.is_some() {
                    forked.insert(*log);
                }
                state.unsaved = false;
                // A row from before the log was found to be forked may go further than its trunk.
                if row.head.height > state.durable.height && row.head.height <= state.accepted.height {
                    state.durable = row.head;
                    state.closing = state.closing.split_off(&row.head.height);
                    if let Some(fork) = &mut state.fork {
                        fork.forget_head();
                    }
                }
            }
        }
        for fork in &batch.forks {
            if let Some(known) = self.logs.get_mut(&fork.log).and_then(|state| state.fork.as_mut()) {
                known.is_saved |= known.place == fork.place;
                forked.insert(fork.log);
            }
        }
        let mut strays = Vec::new();
        for entry in &batch.entries {
            let header = entry.header();
            let Some(state) = self.logs.get_mut(&header.log) else { continue };
            let stray = (header.seq.0, entry.hash());
            if batch.strays.contains(&entry.hash()) {
                if state.fork.as_mut().is_some_and(|fork| fork.saved(stray)) {
                    strays.push((header.log, stray));
                    forked.insert(header.log);
                }
            } else if let Some(ahead) = state.ahead.get_mut(&header.seq.0).filter(|ahead| ahead.hash == stray.1) {
                ahead.durable = true;
            } else if (state.durable.height..state.accepted.height).contains(&header.seq.0) {
                state.closing.insert(header.seq.0);
            }
        }
        for log in forked {
            if let Some(state) = self.logs.get_mut(&log) {
                state.renew_fork_head();
            }
        }
        strays
    }

    /// Forgets what is held, to be restored from what is on disk. Logs stay described: their descriptors are told
    /// once on each link and would not come again.
    pub(crate) fn forget_entries(&mut self) {
        self.touched.extend(self.logs.keys());
        for state in self.logs.values_mut() {
            let (fork, ended) = (state.fork.take(), state.ended);
            *state = LogState::new(state.checked.clone(), Head::EMPTY, true);
            (state.fork, state.ended) = (fork, ended);
            state.end_at_fork();
            if let Some(fork) = &mut state.fork {
                fork.forget_unsaved();
            }
        }
    }

    /// What may be told: durable contiguous heights, and of forked logs what they came to.
    pub(crate) fn frontier(&self) -> Frontier {
        let told = self.logs.iter().filter_map(|(log, state)| Some((*log, state.told()?)));
        Frontier(told.filter(|(_, head)| *head != Head::EMPTY).collect())
    }

    /// Whether the next entry of a log can be appended to it: nothing conflicting lies in its way.
    pub(crate) fn can_append(&self, log: &LogId) -> bool {
        self.logs.get(log).is_some_and(|state| state.ahead.is_empty() && state.fork.is_none())
    }

    /// The next place and predecessor of a log.
    pub(crate) fn next(&self, log: &LogId) -> (Seq, EntryHash) {
        let head = self.logs.get(log).map_or(Head::EMPTY, |state| state.accepted);
        (Seq(head.height), head.head)
    }
}

#[cfg(test)]
mod tests;
