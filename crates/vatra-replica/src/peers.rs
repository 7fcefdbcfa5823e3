//! The other ends of our links.

use std::collections::{BTreeMap, BTreeSet};

use vatra_model::limits::LOGS_MAX;
use vatra_model::wire::Want;
use vatra_model::{LogId, MonoMs, NodeKey};

use crate::topology::Cost;

/// Round trip assumed before one was measured, in milliseconds.
const RTT_MS_DEFAULT: u32 = 100;

/// One live link.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) cost: Cost,
    pub(crate) rtt_ms: u32,
    pub(crate) since: MonoMs,
    /// Its hello was accepted.
    pub(crate) greeted: bool,
    /// The newest protocol version that both ends speak; 1 before its hello.
    pub(crate) version: u16,
    /// Its clock minus ours when it said hello, in milliseconds.
    pub(crate) clock_ahead_ms: i64,
    /// Heights that it is known to hold.
    known: BTreeMap<LogId, u64>,
    /// Requests that it has not finished answering.
    pub(crate) wants: BTreeMap<u32, Asked>,
    /// Bytes that one request may bring; grows while answers are quick.
    pub(crate) budget: u32,
    /// It let a request go without progress and has sent nothing since: others are asked first.
    pub(crate) has_stalled: bool,
    /// Logs of which it was given stranded entries on this link, and how many.
    pub(crate) given: BTreeMap<LogId, usize>,
    /// Logs to announce to it.
    pub(crate) to_announce: BTreeSet<LogId>,
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) want: Want,
    pub(crate) asked: MonoMs,
    pub(crate) progress: MonoMs,
    /// Entries that came and are held now; what was refused does not count.
    pub(crate) received: u64,
    /// The place after the last of them.
    pub(crate) next: u64,
}

/// First and smallest budget of one request, in bytes.
pub(crate) const BUDGET_MIN: u32 = 64 * 1024;
/// First budget on a link.
const BUDGET_START: u32 = 512 * 1024;
/// Largest budget of one request.
pub(crate) const BUDGET_MAX: u32 = 4 * 1024 * 1024;

impl Peer {
    pub(crate) fn new(cost: Cost, since: MonoMs) -> Peer {
        Peer {
            cost,
            rtt_ms: RTT_MS_DEFAULT,
            since,
            greeted: false,
            version: 1,
            clock_ahead_ms: 0,
            known: BTreeMap::new(),
            wants: BTreeMap::new(),
            budget: if cost == Cost::Metered { BUDGET_MIN } else { BUDGET_START },
            has_stalled: false,
            given: BTreeMap::new(),
            to_announce: BTreeSet::new(),
        }
    }

    /// The height of a log that the peer is known to hold.
    pub(crate) fn known(&self, log: &LogId) -> u64 {
        self.known.get(log).copied().unwrap_or(0)
    }

    pub(crate) fn known_logs(&self) -> impl Iterator<Item = (&LogId, &u64)> {
        self.known.iter()
    }

    /// The peer says that it holds a log to this height; `false` if it has named too many logs to believe more.
    pub(crate) fn learn(&mut self, log: LogId, height: u64) -> bool {
        if self.known.len() >= LOGS_MAX && !self.known.contains_key(&log) {
            return false;
        }
        let known = self.known.entry(log).or_insert(0);
        *known = (*known).max(height);
        true
    }

    /// The peer has sent this entry. Only one that follows what it is known to hold says something of its
    /// height: an entry from beyond a gap must not make us ask it for the gap.
    pub(crate) fn learn_sent(&mut self, log: LogId, seq: u64) {
        if seq == self.known(&log) {
            self.learn(log, seq.saturating_add(1));
        }
    }

    /// The peer turned out not to hold what it said.
    pub(crate) fn unlearn(&mut self, log: &LogId, height: u64) {
        if let Some(known) = self.known.get_mut(log) {
            *known = (*known).min(height);
        }
    }

    /// How long a request may go without progress, from the round trip, in milliseconds.
    pub(crate) fn patience_ms(&self) -> u64 {
        let base = if self.cost == Cost::Metered { 20_000 } else { 5_000 };
        base + 8 * u64::from(self.rtt_ms)
    }

    /// How long an announced entry may take by push before it is pulled, in milliseconds.
    pub(crate) fn push_wait_ms(&self) -> u64 {
        150 + 2 * u64::from(self.rtt_ms)
    }
}

/// All live links.
pub(crate) type Peers = BTreeMap<NodeKey, Peer>;
