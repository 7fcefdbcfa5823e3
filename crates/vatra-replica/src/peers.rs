//! The other ends of our links.

use std::collections::{BTreeMap, BTreeSet};

use vatra_model::limits::LOGS_MAX;
use vatra_model::wire::{Hello, Want};
use vatra_model::{LogId, MonoMs, NodeKey};

use crate::allowance::Allowances;
use crate::stranded::Given;
use crate::topology::Cost;

/// Round trip assumed before one was measured, in milliseconds.
const RTT_MS_DEFAULT: u32 = 100;

/// Difference of round trips that says nothing, in milliseconds.
const RTT_MS_NOISE: u32 = 3;

/// One live link.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// What the link costs as configured here.
    own_cost: Cost,
    /// What its other end says.
    pub(crate) their_cost: Option<Cost>,
    /// As last measured.
    pub(crate) rtt_ms: u32,
    /// As told to others: follows the measured one when that has clearly changed.
    pub(crate) settled_rtt_ms: u32,
    pub(crate) since: MonoMs,
    /// Its hello was accepted.
    pub(crate) greeted: bool,
    /// Its hello, which the charter in force does not admit and the one that it names may.
    pub(crate) waits_for_charter: Option<Box<Hello>>,
    /// The newest protocol version that both ends speak; 1 before its hello.
    pub(crate) version: u16,
    /// Its clock minus ours when it said hello, in milliseconds.
    pub(crate) clock_ahead_ms: i64,
    /// Heights that it is known to hold.
    known: BTreeMap<LogId, u64>,
    /// Logs of which it told and, since it last gave an entry of them, gave nothing when asked: how much that counts.
    in_vain: BTreeMap<LogId, u8>,
    /// Requests that it has not finished answering.
    pub(crate) wants: BTreeMap<u32, Asked>,
    /// Bytes that one request may bring; grows while answers are quick.
    pub(crate) budget: u32,
    /// Requests that it let go without progress, less those that it answered since: others are asked first.
    pub(crate) stalls: u32,
    /// Nothing is asked of it before this.
    pub(crate) rests_until: Option<MonoMs>,
    /// Answers in a row without an entry.
    pub(crate) empty_answers: u32,
    /// We tell it of heights that we do not push to it, as the map was last worked out.
    pub(crate) is_watched: bool,
    /// Logs of which it was given stranded entries on this link.
    pub(crate) given: BTreeMap<LogId, Given>,
    /// Logs to announce to it, and when.
    pub(crate) to_announce: BTreeSet<LogId>,
    pub(crate) announce_at: Option<MonoMs>,
    /// Nodes whose beacons and pulses are to be passed on to it, when, and when that was done last.
    pub(crate) to_show: BTreeSet<NodeKey>,
    pub(crate) to_pulse: BTreeSet<NodeKey>,
    pub(crate) show_at: Option<MonoMs>,
    pub(crate) shown_at: Option<MonoMs>,
    /// The frontier of ours that it says it heard last, until it is told the next.
    pub(crate) resumes: Option<[u8; 32]>,
    /// What it may still say and ask for.
    pub(crate) allowances: Allowances,
    /// When it was last asked for its frontier.
    pub(crate) frontier_asked: Option<MonoMs>,
    /// Uncompressed bytes a second that its answers bring, smoothed; 0 before the first.
    rate: u64,
    /// Bytes that came since, for the next look at the rate.
    counted: (MonoMs, u64),
    /// Bytes of one entry of its answers, smoothed.
    entry_bytes: u64,
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) want: Want,
    pub(crate) asked: MonoMs,
    pub(crate) progress: MonoMs,
    /// An entry of what was asked for came, whether it could be kept or not.
    pub(crate) is_given: bool,
    /// Entries that came and are held now; what was refused does not count.
    pub(crate) received: u64,
    /// The place after the last of them.
    pub(crate) next: u64,
    /// Bytes that came.
    pub(crate) bytes: u64,
}

/// Smallest budget of one request, in bytes; the first on a metered link.
pub(crate) const BUDGET_MIN: u32 = 64 * 1024;
/// First budget on another link: nothing is known of its rate yet, and answers that are too large for it would
/// look like a stall.
const BUDGET_START: u32 = 128 * 1024;
/// Entries in a row that one request asks for, at least and at most.
const WANT_ENTRIES: (u64, u64) = (1, 4096);
/// Bytes of an entry before any came.
const ENTRY_BYTES_START: u64 = 512;
/// A request that is this old is given up even if it trickles, in milliseconds, and four times its patience.
const REQUEST_MS_MAX: u64 = 60_000;
/// The same for urgent entries alone.
const URGENT_REQUEST_MS_MAX: u64 = 10_000;
/// Time over which the rate of answers is counted at least, in milliseconds.
const RATE_WINDOW_MS: u64 = 500;
/// Time that a slow rate adds to patience at most, in milliseconds.
const TRANSFER_MS_MAX: u64 = 30_000;
/// Requests for entries of a log that a peer may leave open or put off in a row until its word of the log counts no more.
const IN_VAIN_MAX: u8 = 8;
/// Largest budget of one request.
pub(crate) const BUDGET_MAX: u32 = 4 * 1024 * 1024;

impl Peer {
    pub(crate) fn new(cost: Cost, since: MonoMs) -> Peer {
        Peer {
            own_cost: cost,
            their_cost: None,
            rtt_ms: RTT_MS_DEFAULT,
            settled_rtt_ms: RTT_MS_DEFAULT,
            since,
            greeted: false,
            waits_for_charter: None,
            version: 1,
            clock_ahead_ms: 0,
            known: BTreeMap::new(),
            in_vain: BTreeMap::new(),
            wants: BTreeMap::new(),
            budget: if cost == Cost::Metered { BUDGET_MIN } else { BUDGET_START },
            stalls: 0,
            rests_until: None,
            empty_answers: 0,
            is_watched: true,
            given: BTreeMap::new(),
            to_announce: BTreeSet::new(),
            announce_at: None,
            to_show: BTreeSet::new(),
            to_pulse: BTreeSet::new(),
            show_at: None,
            shown_at: None,
            resumes: None,
            allowances: Allowances::default(),
            frontier_asked: None,
            rate: 0,
            counted: (since, 0),
            entry_bytes: ENTRY_BYTES_START,
        }
    }

    /// What using the link costs: the worse of what both ends say.
    pub(crate) fn cost(&self) -> Cost {
        self.own_cost.max(self.their_cost.unwrap_or(self.own_cost))
    }

    /// What the link costs as configured here: what our beacons tell.
    pub(crate) fn own_cost(&self) -> Cost {
        self.own_cost
    }

    /// A round trip was measured; `true` if the link has clearly changed.
    pub(crate) fn measured(&mut self, rtt_ms: u32) -> bool {
        self.rtt_ms = rtt_ms;
        let settled = self.settled_rtt_ms;
        let changed = rtt_ms > settled + settled / 3 + RTT_MS_NOISE || rtt_ms + settled / 4 + RTT_MS_NOISE < settled;
        if changed {
            self.settled_rtt_ms = rtt_ms;
        }
        changed
    }

    /// The height of a log that the peer is known to hold.
    pub(crate) fn known(&self, log: &LogId) -> u64 {
        self.known.get(log).copied().unwrap_or(0)
    }

    pub(crate) fn known_logs(&self) -> impl ExactSizeIterator<Item = (&LogId, &u64)> {
        self.known.iter()
    }

    /// The peer says that it holds a log to this height; `false` if it has named too many logs to believe more.
    pub(crate) fn learn(&mut self, log: LogId, height: u64) -> bool {
        if let Some(known) = self.known.get_mut(&log) {
            *known = (*known).max(height);
            return true;
        }
        if self.known.len() >= LOGS_MAX {
            return false;
        }
        self.known.insert(log, height);
        true
    }

    /// The peer has sent this entry. Only one that follows what it is known to hold says something of its
    /// height: an entry from beyond a gap must not make us ask it for the gap.
    pub(crate) fn learn_sent(&mut self, log: LogId, seq: u64) {
        if seq == self.known(&log) {
            self.learn(log, seq.saturating_add(1));
        }
    }

    /// The peer turned out not to hold what it said. If it holds nothing of a log, it may name another one.
    pub(crate) fn unlearn(&mut self, log: &LogId, height: u64) {
        if height == 0 {
            self.known.remove(log);
        } else if let Some(known) = self.known.get_mut(log) {
            *known = (*known).min(height);
        }
    }

    /// The height of a log that it tells of and does give entries of, as far as it was asked.
    pub(crate) fn vouched(&self, log: &LogId) -> u64 {
        let doubted = self.in_vain.get(log).is_some_and(|times| *times >= IN_VAIN_MAX);
        if doubted { 0 } else { self.known(log) }
    }

    /// It gave an entry that it was asked for.
    pub(crate) fn gave(&mut self, log: &LogId) {
        self.in_vain.remove(log);
    }

    /// It was asked for what it tells of a log and gave nothing: `at_last` it has none, or it is busy or silent, which
    /// may be so a few times.
    pub(crate) fn gave_nothing(&mut self, want: &Want, at_last: bool) {
        if want.from < self.known(&want.log) {
            let times = self.in_vain.entry(want.log).or_default();
            *times = if at_last { IN_VAIN_MAX } else { times.saturating_add(1) };
        }
    }

    /// How many logs it was asked for in vain.
    pub(crate) fn in_vain(&self) -> usize {
        self.in_vain.len()
    }

    /// Something is to be announced by then at the latest.
    pub(crate) fn announce_by(&mut self, due: MonoMs) {
        self.announce_at = Some(self.announce_at.map_or(due, |at| at.min(due)));
    }

    /// A request is sent to it.
    pub(crate) fn ask(&mut self, want: Want, now: MonoMs) {
        if self.wants.is_empty() {
            self.counted = (now, 0);
        }
        let next = want.from;
        let asked = Asked { want, asked: now, progress: now, is_given: false, received: 0, next, bytes: 0 };
        self.wants.insert(want.request, asked);
    }

    /// How many entries in a row one request asks for: as many as its budget is likely to bring, so that several
    /// requests share a gap and the link never waits for the next.
    pub(crate) fn want_entries(&self) -> u64 {
        (u64::from(self.budget) / self.entry_bytes.max(1)).clamp(WANT_ENTRIES.0, WANT_ENTRIES.1)
    }

    /// So many entries of an answer came, with so many bytes.
    pub(crate) fn note_bytes(&mut self, now: MonoMs, entries: u64, bytes: u64) {
        if let Some(each) = bytes.checked_div(entries) {
            self.entry_bytes = (3 * self.entry_bytes + each) / 4;
        }
        let (from, counted) = (self.counted.0, self.counted.1.saturating_add(bytes));
        let ms = now.since(from);
        self.counted.1 = counted;
        if ms >= RATE_WINDOW_MS {
            let rate = counted.saturating_mul(1000) / ms;
            self.rate = if self.rate == 0 { rate } else { (3 * self.rate + rate) / 4 };
            self.counted = (now, 0);
        }
    }

    /// How long a request may go without progress, in milliseconds: from the round trip, and from the time that
    /// what was asked for takes at the rate at which answers come.
    pub(crate) fn patience_ms(&self) -> u64 {
        let asked: u64 = self.wants.values().map(|asked| u64::from(asked.want.budget)).sum();
        let transfer = asked.saturating_mul(2_000).checked_div(self.rate).unwrap_or(0);
        self.least_patience_ms() + transfer.min(TRANSFER_MS_MAX)
    }

    /// The same for nothing but a sign of life.
    fn least_patience_ms(&self) -> u64 {
        let base = if self.cost() == Cost::Metered { 20_000 } else { 5_000 };
        base + 8 * u64::from(self.rtt_ms)
    }

    /// When a request is given up, unless it moves on: it stands still, or it trickles for ever.
    pub(crate) fn given_up_at(&self, asked: &Asked) -> MonoMs {
        let most = if asked.want.classes.is_urgent() { URGENT_REQUEST_MS_MAX } else { REQUEST_MS_MAX };
        let endless = asked.asked.plus(most + 4 * self.least_patience_ms());
        asked.progress.plus(self.patience_ms()).min(endless)
    }

    /// When its next request is given up, unless it moves on, or it may be asked again.
    pub(crate) fn next_stall(&self) -> Option<MonoMs> {
        let wants = self.wants.values().map(|asked| self.given_up_at(asked));
        wants.chain(self.rests_until).min()
    }

    /// How long an announced entry may take by push before it is pulled, in milliseconds.
    pub(crate) fn push_wait_ms(&self) -> u64 {
        150 + 2 * u64::from(self.rtt_ms)
    }
}

/// Who is to be told something now, and when the next is due.
pub(crate) struct Split {
    /// Beacons and pulses of other nodes.
    pub(crate) shows: Vec<NodeKey>,
    /// Heights.
    pub(crate) announces: Vec<NodeKey>,
    pub(crate) later: PeersDue,
}

/// When something is due with any peer, without a look at all of them at every step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeersDue {
    /// Nothing is to be said to any peer before this.
    said: MonoMs,
    /// Some peer may have been asked for something, or rests.
    pub(crate) asks: bool,
}

impl PeersDue {
    const NEVER: MonoMs = MonoMs(u64::MAX);

    pub(crate) fn new() -> PeersDue {
        PeersDue { said: PeersDue::NEVER, asks: false }
    }

    /// As it is with these peers.
    fn of(peers: &Peers) -> PeersDue {
        PeersDue::split(peers, MonoMs(0)).later
    }

    /// What is to be said to whom now, and what is due after that.
    pub(crate) fn split(peers: &Peers, now: MonoMs) -> Split {
        let mut split = Split { shows: Vec::new(), announces: Vec::new(), later: PeersDue::new() };
        for (key, peer) in peers {
            for (due, list) in [(peer.show_at, &mut split.shows), (peer.announce_at, &mut split.announces)] {
                match due {
                    Some(at) if at <= now => list.push(*key),
                    Some(at) => split.later.by(at),
                    None => {}
                }
            }
            split.later.asks |= !peer.wants.is_empty() || peer.rests_until.is_some();
        }
        split
    }

    /// Something is to be said by then.
    pub(crate) fn by(&mut self, due: MonoMs) {
        self.said = self.said.min(due);
    }

    /// When to look at these peers again; never late.
    pub(crate) fn at(self, peers: &Peers) -> MonoMs {
        let stall = self.asks.then(|| peers.values().filter_map(Peer::next_stall).min()).flatten();
        stall.map_or(self.said, |stall| stall.min(self.said))
    }

    /// Whether nothing that is due was forgotten.
    pub(crate) fn covers(self, peers: &Peers) -> bool {
        let exact = PeersDue::of(peers);
        self.said <= exact.said && (self.asks || !exact.asks)
    }
}

/// All live links.
pub(crate) type Peers = BTreeMap<NodeKey, Peer>;
