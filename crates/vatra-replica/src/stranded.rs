//! Entries beyond a gap that no linked peer can fill: the disk that held what is missing was lost or put back.
//!
//! Heights tell nothing of such entries, so nobody would ask for them. They are given to every peer unasked, a few at a
//! time and once on each link, and apply there alone; what is still missing may come later all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vatra_model::wire::{Message, Want, WantClasses};
use vatra_model::{CheckedEntry, LogId, MonoMs, NodeKey};

use crate::input::{Effect, Now};
use crate::peers::BUDGET_MAX;
use crate::replica::Replica;

/// Number of the request that an unasked answer names; real requests begin at 1.
pub const UNASKED: u32 = 0;
/// Logs of which entries are given in one round.
const LOGS_PER_ROUND: usize = 16;
/// Entries of one log given to one peer in one round: not more than a budget holds, however large they are.
const ENTRIES_PER_ROUND: usize = 32;
/// Time for which a peer that says that it can fill a gap is waited for, in milliseconds, while nothing comes.
const CLAIMED_MS: u64 = 15_000;
/// Peers and logs of which it is remembered what could not be kept; a new link gives all anew.
const LOST_MAX: usize = 256;
const LOST_PER_PEER_MAX: usize = 16;
/// Time between two rounds while there is something to give, in milliseconds; what was given is durable by then.
const ROUND_MS: u64 = 500;
/// Time after which a log is given from its beginning again, if entries came that lie below what was given, in
/// milliseconds; twice as long each time up to the second, or one entry now and then would make all be sent again.
const AGAIN_MS: u64 = 10_000;
const AGAIN_MS_MAX: u64 = 640_000;

/// How far a peer was given the stranded entries of a log on this link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    /// The place after the last one.
    next: u64,
    /// How many were given, and how many were contiguous when that began.
    count: u64,
    /// When they were given from the beginning.
    begun: MonoMs,
    /// How long after that they may be again.
    again_ms: u64,
}

/// A log of which entries lie beyond a gap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stuck {
    /// Contiguous entries and those beyond the gap, at the last look; `None` if it need not be waited for more.
    held: Option<(u64, usize)>,
    /// Since when these are the same.
    since: MonoMs,
}

impl Stuck {
    /// Whatever is held, it need not be waited for.
    const FOR_LONG: Stuck = Stuck { held: None, since: MonoMs(0) };
}

/// What could not be kept of what peers gave: whose, of which log, from where to where.
pub(crate) type Lost = BTreeMap<(NodeKey, LogId), (u64, u64)>;

impl Replica {
    /// An entry that no height tells of came from a peer and could not be kept. Nobody would ask for it and nobody gives
    /// it again, so that peer is asked once writing works.
    pub(crate) fn note_lost(&mut self, peer: NodeKey, log: LogId, seq: u64) {
        let is_told = self.target(&log) > seq || self.logs.get(&log).is_some_and(|state| state.end() <= seq);
        let others = (peer, LogId([0; 16]))..=(peer, LogId([0xff; 16]));
        let has_room = self.lost.contains_key(&(peer, log))
            || (self.lost.len() < LOST_MAX && self.lost.range(others).count() < LOST_PER_PEER_MAX);
        if !is_told && has_room && seq < u64::MAX {
            let (from, to) = self.lost.entry((peer, log)).or_insert((seq, seq + 1));
            (*from, *to) = ((*from).min(seq), (*to).max(seq + 1));
        }
    }

    /// Asks for what could not be kept.
    pub(crate) fn ask_for_lost(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for ((key, log), (from, to)) in std::mem::take(&mut self.lost) {
            let request = self.number_request();
            let Some(peer) = self.peers.get_mut(&key).filter(|peer| peer.greeted) else { continue };
            let want = Want { request, log, from, to, classes: WantClasses::All, budget: BUDGET_MAX };
            peer.ask(want, now.mono);
            self.peers_due.asks = true;
            effects.push(Effect::Send { peer: key, message: Message::Want(want) });
        }
    }

    /// A peer gave entries unasked: they are given onward soon.
    pub(crate) fn take_stranded(&mut self, now: Now, request: Option<u32>, entries: &[Arc<CheckedEntry>]) {
        if request == Some(UNASKED) {
            for log in entries.iter().map(|entry| entry.header().log).collect::<BTreeSet<_>>() {
                self.stuck.insert(log, Stuck::FOR_LONG);
            }
            self.give_stranded_at(now.mono.plus(ROUND_MS));
        }
    }

    /// More of a log can be given than before: every peer gets it from the beginning.
    pub(crate) fn give_again(&mut self, now: Now, log: LogId) {
        for peer in self.peers.values_mut() {
            peer.given.remove(&log);
        }
        self.stuck.insert(log, Stuck::FOR_LONG);
        self.give_stranded_at(now.mono.plus(ROUND_MS));
    }

    fn give_stranded_at(&mut self, due: MonoMs) {
        self.timers.stranded = Some(self.timers.stranded.map_or(due, |at| at.min(due)));
    }

    /// Gives stranded entries to peers that were not given them.
    pub(crate) fn give_stranded(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.timers.stranded = None;
        let mut stuck = BTreeMap::new();
        let mut lasting = Vec::new();
        for (log, state) in self.logs.iter().filter(|(_, state)| state.ahead_count() > 0) {
            let held = (state.accepted().height, state.ahead_count());
            let before = self.stuck.get(log).copied();
            let same = before.filter(|before| before.held.is_none_or(|before| before == held));
            let is_claimed = self.target(log) > held.0;
            // Not at the first look: a push or an announcement may just be on its way. And what a peer says that it
            // has, and does not give, is waited for some time longer.
            let lasts = match is_claimed {
                false => before.is_some(),
                true => same.is_some_and(|same| now.mono.since(same.since) >= CLAIMED_MS),
            };
            if lasts {
                lasting.push(*log);
            }
            stuck.insert(*log, Stuck { held: Some(held), since: same.map_or(now.mono, |same| same.since) });
        }
        self.stuck = stuck;
        let (mut given, mut is_more) = (0, false);
        for log in lasting {
            if given >= LOGS_PER_ROUND {
                is_more = true;
                break;
            }
            let (gave, more) = self.give_log(now, log, effects);
            given += usize::from(gave);
            is_more |= more;
        }
        if is_more {
            self.give_stranded_at(now.mono.plus(ROUND_MS));
        }
    }

    /// Gives the next entries of a log to every peer; whether any peer was given some, and is to be given more.
    fn give_log(&mut self, now: Now, log: LogId, effects: &mut Vec<Effect>) -> (bool, bool) {
        let Some(state) = self.logs.get(&log) else { return (false, false) };
        let (mut gave, mut is_more) = (false, false);
        let peers: Vec<NodeKey> = self.peers.iter().filter(|(_, peer)| peer.greeted).map(|(key, _)| *key).collect();
        for key in peers {
            let Some(peer) = self.peers.get_mut(&key) else { continue };
            let height = state.accepted().height;
            let fresh = Given { next: 0, count: height, begun: now.mono, again_ms: AGAIN_MS };
            let mut given = peer.given.get(&log).copied().unwrap_or(fresh);
            // Together with what is contiguous: a gap that closed takes some away from beyond it, while others come.
            let beyond = state.ahead_durable().take_while(|seq| *seq < given.next).count() as u64;
            let below = height.min(given.next) + beyond;
            if below != given.count && now.mono.since(given.begun) >= given.again_ms {
                given = Given { again_ms: given.again_ms.saturating_mul(2).min(AGAIN_MS_MAX), ..fresh };
            }
            let mut places = state.ahead_durable().skip_while(|seq| *seq < given.next);
            let Some(from) = places.next() else { continue };
            let others = places.by_ref().take(ENTRIES_PER_ROUND - 1);
            let (more, last) = others.fold((1_u64, from), |(count, _), seq| (count + 1, seq));
            is_more |= places.next().is_some();
            let to = last.saturating_add(1);
            // Not how many lie below now: those that came since were not given.
            peer.given.insert(log, Given { next: to, count: given.count + more, ..given });
            let want = Want { request: UNASKED, log, from, to, classes: WantClasses::All, budget: BUDGET_MAX };
            effects.push(Effect::Serve { peer: key, want });
            gave = true;
        }
        (gave, is_more)
    }
}
