//! Catch-up: which missing range is asked of which peer. [`crate::answers`] follows what becomes of it.
//!
//! A missing range is asked of exactly one peer at a time; another gets it only when the first stops making
//! progress or says it is done. Urgent entries of a large gap are asked for first; then the rest of it is swept,
//! newest first, without them.

use std::collections::BTreeSet;

use vatra_model::limits::AHEAD_ENTRIES_MAX;
use vatra_model::wire::{Message, Want, WantClasses};
use vatra_model::{LogId, MemberCode, MonoMs, NodeKey};

use crate::input::{Effect, Now};
use crate::logs::LogState;
use crate::peers::{Asked, Peer};
use crate::ranges::{newest, without};
use crate::replica::Replica;
use crate::urgent::UrgentAnswers;

/// Requests under way per peer; and those for urgent entries alone, which never wait for the others.
const WANTS_PER_PEER: usize = 3;
const URGENT_WANTS_PER_PEER: usize = 3;
/// Requests given out by one planning, over all peers.
const WANTS_PER_PLAN: usize = 64;
/// Held entries in a row that are worth being left out of a sweep.
const HELD_RUN_MIN: u64 = 32;
/// How long a push is waited on at most, in milliseconds, and while pushes of the log keep coming.
const PUSH_WAIT_MS_MAX: u64 = 3_000;
const PUSHES_WAIT_MS_MAX: u64 = 10_000;
/// Gaps of one log that a planning looks at.
const GAPS_MAX: usize = 16;

/// Heights announced and given time to come by push before they are pulled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ripening {
    /// Entries below this may be pulled.
    ripe: u64,
    /// A height that becomes ripe after a while.
    soon: Option<Soon>,
    pub(crate) urgent: UrgentAnswers,
    /// Ranges of which the urgent entries were asked for and the rest was not.
    sweeps: Vec<(u64, u64)>,
    /// Ranges below this were put into `sweeps` before.
    swept_to: u64,
    /// When something of this log was asked for last: the longest waiting comes first.
    served: MonoMs,
}

/// An announced height that pushes may still bring.
#[derive(Clone, Copy, Debug)]
struct Soon {
    height: u64,
    due: MonoMs,
    /// However long pushes keep coming, it is not waited on after this.
    latest: MonoMs,
}

impl Ripening {
    /// Urgent entries of a range are asked for: the rest of it is to be swept, but for long runs that are held.
    fn begin_sweep(&mut self, (from, to): (u64, u64), state: Option<&LogState>) {
        let from = from.max(self.swept_to);
        if from < to {
            match state {
                Some(state) => self.sweeps.extend(state.gaps_between(from, to, HELD_RUN_MIN)),
                None => self.sweeps.push((from, to)),
            }
            self.swept_to = to;
        }
    }

    /// The next part to sweep: above what is held, below what the peer holds; the newest, or the oldest.
    fn next_sweep(&self, held: u64, top: u64, most: u64, oldest: bool) -> Option<(u64, u64)> {
        let clipped = self.sweeps.iter().map(|(from, to)| ((*from).max(held), (*to).min(top)));
        let open = clipped.filter(|(from, to)| from < to);
        if oldest {
            let (from, to) = open.min()?;
            Some((from, to.min(from.saturating_add(most))))
        } else {
            newest(open.collect(), most)
        }
    }

    /// A request was answered to its end by a node of a member, or will not be; what is left of it may be asked for
    /// again.
    pub(crate) fn settle(&mut self, asked: &Asked, is_whole: bool, by: Option<MemberCode>) {
        self.urgent.settle(asked, is_whole, by);
        let answered = if is_whole { asked.want.to } else { asked.next.min(asked.want.to) };
        if asked.want.classes == WantClasses::Rest && answered < asked.want.to {
            self.sweeps.push((answered, asked.want.to));
        }
    }

    /// How many ranges are remembered.
    pub(crate) fn ranges(&self) -> usize {
        self.urgent.len() + self.sweeps.len()
    }

    pub(crate) fn forget_sweeps(&mut self) {
        self.sweeps.clear();
    }

    /// What came was lost again.
    pub(crate) fn forget_answers(&mut self) {
        *self = Ripening { ripe: self.ripe, soon: self.soon, served: self.served, ..Ripening::default() };
    }

    fn take_sweep(&mut self, taken: (u64, u64)) {
        self.sweeps = without(std::mem::take(&mut self.sweeps), taken);
    }
}

impl Replica {
    /// Entries below `height` were announced; those that have not come by `due` are pulled.
    pub(crate) fn expect(&mut self, now: Now, log: LogId, height: u64, wait_ms: u64) {
        if self.turned_away.contains(&log) {
            return;
        }
        let ripening = self.ripening.entry(log).or_default();
        if height <= ripening.ripe {
            self.plan_stale = true;
            self.settling.insert(log);
        } else if ripening.soon.is_none() {
            let latest = now.mono.plus(PUSHES_WAIT_MS_MAX);
            ripening.soon = Some(Soon { height, due: now.mono.plus(wait_ms), latest });
        }
    }

    /// Everything that peers are known to hold of a log may be pulled now.
    pub(crate) fn ripen(&mut self, log: LogId) {
        if self.turned_away.contains(&log) {
            return;
        }
        let target = self.target(&log);
        let ripening = self.ripening.entry(log).or_default();
        ripening.ripe = ripening.ripe.max(target);
        ripening.soon = None;
        self.settling.insert(log);
    }

    /// Lets announcements ripen whose time has come. What pushes are just bringing is given more time, so that a
    /// slow link does not carry it twice.
    pub(crate) fn ripen_due(&mut self, now: Now) {
        if self.next_ripe().is_none_or(|due| due > now.mono) {
            return;
        }
        let wait = self.push_wait_ms();
        let mut again = Vec::new();
        for (log, ripening) in &mut self.ripening {
            let Some(soon) = ripening.soon.filter(|soon| soon.due <= now.mono) else { continue };
            if now.mono < soon.latest && grows(self.logs.get(log), now.mono, wait) {
                ripening.soon = Some(Soon { due: now.mono.plus(wait).min(soon.latest), ..soon });
                continue;
            }
            ripening.ripe = ripening.ripe.max(soon.height);
            ripening.soon = None;
            self.plan_stale = true;
            self.settling.insert(*log);
            again.push(*log);
        }
        for log in again {
            let target = self.target(&log);
            if target > self.ripening[&log].ripe {
                self.expect(now, log, target, wait);
            }
        }
    }

    /// Everything that peers are known to hold and no push is just bringing may be pulled now.
    pub(crate) fn ripen_all(&mut self, now: Now) {
        let wait = self.push_wait_ms();
        let known: BTreeSet<LogId> =
            self.peers.values().flat_map(|peer| peer.known_logs().map(|(log, _)| *log)).collect();
        for log in known {
            let target = self.target(&log);
            if target <= held_height(self.logs.get(&log)) {
                continue;
            }
            if grows(self.logs.get(&log), now.mono, wait) {
                self.expect(now, log, target, wait);
            } else {
                self.ripen(log);
            }
        }
        self.plan_stale = true;
    }

    /// How long a push may take at most, over all links, in milliseconds.
    pub(crate) fn push_wait_ms(&self) -> u64 {
        // Without links there is nothing to wait for; the time only must not be zero.
        self.peers.values().map(Peer::push_wait_ms).max().unwrap_or(1_000).min(PUSH_WAIT_MS_MAX)
    }

    /// When the next announcement ripens.
    pub(crate) fn next_ripe(&self) -> Option<MonoMs> {
        self.ripening.values().filter_map(|ripening| ripening.soon.map(|soon| soon.due)).min()
    }

    /// The greatest height of a log that any linked peer is known to hold.
    pub(crate) fn target(&self, log: &LogId) -> u64 {
        self.peers.values().map(|peer| peer.known(log)).max().unwrap_or(0).min(self.end(log))
    }

    /// Drops requests without progress, then asks for what is missing and free.
    pub(crate) fn plan(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.plan_stale = false;
        self.drop_stalled(now);
        if !self.takes_writes() {
            return;
        }
        self.ask_for_lost(now, effects);
        let mut left = WANTS_PER_PLAN;
        for urgent in [true, false] {
            // Once a peer takes no more, its claims are left out: however many it makes, looking at them takes little.
            while left > 0 && self.ask_in_turns(now, urgent, &mut left, effects) {}
        }
        self.forget_settled();
    }

    /// Asks for one range of each log in turn, so that one with a long backlog delays no other, until a peer takes no
    /// more requests or all had their turn; whether anything was asked for.
    fn ask_in_turns(&mut self, now: Now, urgent: bool, left: &mut usize, effects: &mut Vec<Effect>) -> bool {
        let mut asked = false;
        for log in self.open_logs(urgent) {
            if *left == 0 {
                break;
            }
            if let Some(key) = self.ask_for(now, log, urgent, effects) {
                (asked, *left) = (true, *left - 1);
                if !self.peers.get(&key).is_some_and(|peer| takes_more(peer, urgent)) {
                    break;
                }
            }
        }
        asked
    }

    /// Logs of which peers that take requests hold more, the longest waiting first.
    fn open_logs(&self, urgent: bool) -> Vec<LogId> {
        let mut open = BTreeSet::new();
        for peer in self.peers.values().filter(|peer| takes_more(peer, urgent)) {
            for (log, height) in peer.known_logs() {
                if let Some(ripening) = self.ripening.get(log)
                    && ripening.ripe.min(*height) > held_height(self.logs.get(log))
                {
                    open.insert((ripening.served, *log));
                }
            }
        }
        open.into_iter().map(|(_, log)| log).collect()
    }

    /// Of logs that grew, or of which peers hold less than was said, nothing more may be left to ask for.
    fn forget_settled(&mut self) {
        for log in std::mem::take(&mut self.settling) {
            let Some(ripening) = self.ripening.get(&log).filter(|ripening| ripening.soon.is_none()) else { continue };
            if ripening.ripe.min(self.target(&log)) <= held_height(self.logs.get(&log)) {
                self.ripening.remove(&log);
            }
        }
    }

    /// Asks one peer for one range of a log; that peer, or `None` when nothing of it is both missing and free.
    ///
    /// Each peer is only considered for what it is known to hold, so that one that claims too much keeps nobody
    /// else from being asked.
    fn ask_for(&mut self, now: Now, log: LogId, urgent: bool, effects: &mut Vec<Effect>) -> Option<NodeKey> {
        let held = held_height(self.logs.get(&log));
        let ripe = self.ripening[&log].ripe.min(self.end(&log));
        let is_free = |peer: &Peer| takes_more(peer, urgent) && peer.known(&log) > held;
        let rank = |peer: &Peer| (peer.stalls, peer.cost(), peer.wants.len(), peer.rtt_ms);
        let free = self.peers.iter().filter(|(_, peer)| is_free(peer));
        let mut free: Vec<_> = free.map(|(key, peer)| (rank(peer), *key, peer)).collect();
        free.sort_unstable_by_key(|(rank, key, _)| (*rank, *key));
        let found = free.into_iter().find_map(|(_, key, peer)| {
            let top = ripe.min(peer.known(&log));
            let part = if urgent { self.urgent_range(&log, top, &key) } else { self.free_range(&log, top, peer) };
            part.map(|part| (key, part))
        });
        let (key, ((from, to), classes)) = found?;
        // Numbers go on over all links, so that a late answer to a lost link's request is never taken for another's.
        let request = self.number_request();
        let peer = self.peers.get_mut(&key).expect("found above");
        let want = Want { request, log, from, to, classes, budget: peer.budget };
        peer.ask(want, now.mono);
        self.peers_due.asks = true;
        let ripening = self.ripening.entry(log).or_default();
        ripening.served = now.mono;
        match classes {
            WantClasses::Flash => {}
            WantClasses::Priority | WantClasses::Urgent => ripening.begin_sweep((from, to), self.logs.get(&log)),
            WantClasses::Rest => ripening.take_sweep((from, to)),
            WantClasses::All => {}
        }
        effects.push(Effect::Send { peer: key, message: Message::Want(want) });
        Some(key)
    }

    pub(crate) fn number_request(&mut self) -> u32 {
        let request = self.next_request;
        self.next_request = self.next_request.wrapping_add(1).max(1);
        request
    }

    /// The height past which entries are no longer of a log: it forked there, or a revocation ends it.
    fn end(&self, log: &LogId) -> u64 {
        self.logs.get(log).map_or(u64::MAX, LogState::end)
    }

    /// Requests for a log that keep a peer from being asked for the same: those of peers that let no more requests go
    /// than it. One that claims much and gives nothing delays others by one time-out.
    pub(crate) fn asked_before(&self, log: &LogId, peer: &Peer) -> Vec<Want> {
        let others = self.peers.values().filter(|other| other.stalls <= peer.stalls);
        others.flat_map(|other| other.wants.values()).map(|asked| asked.want).filter(|want| want.log == *log).collect()
    }

    /// The newest missing range below `top` that is not being asked for; the oldest while much is held beyond
    /// the gap, or will be. What is to be swept comes first, as it has holes where urgent entries came already.
    fn free_range(&self, log: &LogId, top: u64, peer: &Peer) -> Option<((u64, u64), WantClasses)> {
        let (state, most) = (self.logs.get(log), peer.want_entries());
        let asked = self.asked_before(log, peer);
        let bulky = asked.iter().filter(|want| !want.classes.is_urgent());
        let coming: u64 = bulky.map(|want| want.to.saturating_sub(want.from)).sum();
        let ahead = state.map_or(0, LogState::ahead_count) as u64;
        let expected = ahead.saturating_add(coming);
        let is_full = state.is_some_and(|state| ahead > 0 && self.logs.is_crowded_by(state.member()));
        let crowded = is_full || expected >= AHEAD_ENTRIES_MAX as u64 / 2;
        let lowest = held_height(state);
        if expected + most > AHEAD_ENTRIES_MAX as u64
            && asked.iter().any(|want| !want.classes.is_urgent() && want.from <= lowest && lowest < want.to)
        {
            // The oldest missing entry is on its way; until it comes there is no room for more.
            return None;
        }
        let ripening = &self.ripening[log];
        if let Some(sweep) = ripening.next_sweep(held_height(state), top, most, crowded) {
            return Some((sweep, WantClasses::Rest));
        }
        let mut gaps = match state {
            None => vec![(0, top)],
            Some(state) if crowded => state.missing(top, GAPS_MAX),
            Some(state) => state.missing_newest_first(top, GAPS_MAX),
        };
        let taken = asked.iter().map(|want| (want.from, want.to)).chain(ripening.sweeps.iter().copied());
        for taken in taken {
            gaps = without(gaps, taken);
        }
        if crowded {
            let (from, to) = gaps.into_iter().filter(|(from, to)| from < to).min()?;
            return Some(((from, to.min(from.saturating_add(most))), WantClasses::All));
        }
        Some((newest(gaps, most)?, WantClasses::All))
    }
}

/// Whether a peer may be asked for something more.
fn takes_more(peer: &Peer, urgent: bool) -> bool {
    let same = || peer.wants.values().filter(|asked| asked.want.classes.is_urgent() == urgent).count();
    let most = if urgent { URGENT_WANTS_PER_PEER } else { WANTS_PER_PEER };
    peer.greeted && peer.rests_until.is_none() && same() < most
}

/// Whether pushes have lately made the contiguous part of a log longer.
pub(crate) fn grows(state: Option<&LogState>, now: MonoMs, within_ms: u64) -> bool {
    state.is_some_and(|state| state.grows(now, within_ms))
}

pub(crate) fn held_height(state: Option<&LogState>) -> u64 {
    state.map_or(0, LogState::accepted_height)
}
