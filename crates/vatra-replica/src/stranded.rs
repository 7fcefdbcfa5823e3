//! Entries beyond a gap that no linked peer can fill: the disk that held what is missing was lost or put back.
//!
//! Heights tell nothing of such entries, so nobody would ask for them. They are given to every peer unasked, a few at a
//! time and once on each link, and apply there alone; what is still missing may come later all the same.

use std::collections::BTreeMap;

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
/// Peers and logs of which it is remembered what could not be kept; a new link gives all anew.
const LOST_MAX: usize = 64;
/// Time between two rounds while there is something to give, in milliseconds; what was given is durable by then.
const ROUND_MS: u64 = 500;
/// Time after which a log is given from its beginning again, if entries came that lie below what was given.
const AGAIN_MS: u64 = 10_000;

/// How far a peer was given the stranded entries of a log on this link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    /// The place after the last one.
    next: u64,
    /// How many were given.
    count: usize,
    /// When they were given from the beginning.
    begun: MonoMs,
}

/// What could not be kept of what peers gave: whose, of which log, from where to where.
pub(crate) type Lost = BTreeMap<(NodeKey, LogId), (u64, u64)>;

impl Replica {
    /// An entry that no height tells of came from a peer and could not be kept. Nobody would ask for it and nobody gives
    /// it again, so that peer is asked once writing works.
    pub(crate) fn note_lost(&mut self, peer: NodeKey, log: LogId, seq: u64) {
        let is_told = self.target(&log) > seq;
        let has_room = self.lost.len() < LOST_MAX || self.lost.contains_key(&(peer, log));
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
            effects.push(Effect::Send { peer: key, message: Message::Want(want) });
        }
    }

    /// A peer gave entries unasked: they are given onward soon.
    pub(crate) fn take_stranded(&mut self, now: Now, request: Option<u32>, entries: &[CheckedEntry]) {
        if request == Some(UNASKED) {
            self.stuck.extend(entries.iter().map(|entry| entry.header().log));
            self.give_stranded_at(now.mono.plus(ROUND_MS));
        }
    }

    /// More of a log can be given than before: every peer gets it from the beginning.
    pub(crate) fn give_again(&mut self, now: Now, log: LogId) {
        for peer in self.peers.values_mut() {
            peer.given.remove(&log);
        }
        self.stuck.insert(log);
        self.give_stranded_at(now.mono.plus(ROUND_MS));
    }

    fn give_stranded_at(&mut self, due: MonoMs) {
        self.timers.stranded = Some(self.timers.stranded.map_or(due, |at| at.min(due)));
    }

    /// Gives stranded entries to peers that were not given them.
    pub(crate) fn give_stranded(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.timers.stranded = None;
        let stuck: Vec<LogId> = self
            .logs
            .iter()
            .filter(|(log, state)| state.ahead_count() > 0 && self.target(log) <= state.accepted().height)
            .map(|(log, _)| *log)
            .collect();
        // Only what was stuck the last time too: a push or an announcement may just be on its way.
        let lasting: Vec<LogId> = stuck.iter().filter(|log| self.stuck.contains(*log)).copied().collect();
        let mut rounds = lasting.len().saturating_sub(LOGS_PER_ROUND);
        for log in lasting.into_iter().take(LOGS_PER_ROUND) {
            rounds += usize::from(self.give_log(now, log, effects));
        }
        if rounds > 0 {
            self.give_stranded_at(now.mono.plus(ROUND_MS));
        }
        self.stuck = stuck.into_iter().collect();
    }

    /// Gives the next entries of a log to every peer; `true` if some peer is to be given more.
    fn give_log(&mut self, now: Now, log: LogId, effects: &mut Vec<Effect>) -> bool {
        let Some(state) = self.logs.get(&log) else { return false };
        let mut is_more = false;
        let peers: Vec<NodeKey> = self.peers.iter().filter(|(_, peer)| peer.greeted).map(|(key, _)| *key).collect();
        for key in peers {
            let Some(peer) = self.peers.get_mut(&key) else { continue };
            let fresh = Given { next: 0, count: 0, begun: now.mono };
            let mut given = peer.given.get(&log).copied().unwrap_or(fresh);
            let below = state.ahead_durable().take_while(|seq| *seq < given.next).count();
            if below != given.count && now.mono.since(given.begun) >= AGAIN_MS {
                given = fresh;
            }
            let mut places = state.ahead_durable().skip_while(|seq| *seq < given.next);
            let Some(from) = places.next() else { continue };
            let others = places.by_ref().take(ENTRIES_PER_ROUND - 1);
            let (more, last) = others.fold((1, from), |(count, _), seq| (count + 1, seq));
            is_more |= places.next().is_some();
            let to = last.saturating_add(1);
            // Not how many lie below now: those that came since were not given.
            peer.given.insert(log, Given { next: to, count: given.count + more, ..given });
            let want = Want { request: UNASKED, log, from, to, classes: WantClasses::All, budget: BUDGET_MAX };
            effects.push(Effect::Serve { peer: key, want });
        }
        is_more
    }
}
