//! Requests under way: how they move on, end, stall, and what is owed to peers that ask.

use std::collections::BTreeMap;

use vatra_model::limits::{AHEAD_ENTRIES_MAX, ENTRY_BYTES_MAX};
use vatra_model::wire::{Message, Want, WantClasses};
use vatra_model::{MonoMs, NodeKey};

use crate::input::{Effect, Event, Now, Reject};
use crate::logs::LogState;
use crate::peers::{Asked, BUDGET_MAX, BUDGET_MIN, Peer};
use crate::replica::Replica;

/// A full answer that comes within this time, and two round trips, may be twice as large next time, in milliseconds.
const QUICK_MS: u64 = 500;
/// One that takes longer than this, and four round trips, half as large.
const SLOW_MS: u64 = 3_000;
/// A peer that promised more and gave nothing is left alone for this long, in milliseconds.
const REST_MS: u64 = 1_000;
/// Answers without an entry in a row after which a peer is left alone after each.
const EMPTY_ANSWERS_MAX: u32 = 8;
/// For how long, in milliseconds: twice as long each time, up to the second.
const EMPTY_REST_MS: u64 = 200;
const EMPTY_REST_MS_MAX: u64 = 3_200;
/// Stalls that are counted against a peer at most.
const STALLS_MAX: u32 = 16;
/// A peer that asked within this time counts as one that shares our answers, in milliseconds.
const ASKING_MS: u64 = 10_000;

impl Replica {
    /// A request without progress is given up, and its peer asked last until it has made up for it.
    pub(crate) fn drop_stalled(&mut self, now: Now) {
        let mut dropped: Vec<Asked> = Vec::new();
        for peer in self.peers.values_mut() {
            peer.rests_until = peer.rests_until.filter(|until| *until > now.mono);
            if peer.wants.is_empty() {
                continue;
            }
            let stalled: Vec<Asked> =
                peer.wants.values().filter(|asked| peer.given_up_at(asked) <= now.mono).copied().collect();
            for asked in &stalled {
                peer.wants.remove(&asked.want.request);
            }
            dropped.extend(&stalled);
            // However many requests for a log are left open at once, they are one failure.
            let in_vain = stalled.iter().filter(|asked| !asked.is_given && self.logs.get(&asked.want.log).is_some());
            for want in in_vain.map(|asked| (asked.want.log, asked.want)).collect::<BTreeMap<_, _>>().values() {
                peer.gave_nothing(want, false);
            }
            if !stalled.is_empty() {
                peer.budget = (peer.budget / 2).max(BUDGET_MIN);
                peer.stalls = (peer.stalls + 1).min(STALLS_MAX);
            }
        }
        for asked in &dropped {
            self.forget_behind(&asked.want.log);
        }
        self.unask(&dropped);
    }

    /// When the next request is given up, unless it moves on, or a peer may be asked again.
    pub(crate) fn next_stall(&self) -> Option<MonoMs> {
        self.peers.values().filter_map(Peer::next_stall).min()
    }

    /// Gives up every request.
    pub(crate) fn drop_wants(&mut self) {
        let peers = self.peers.values_mut().flat_map(|peer| std::mem::take(&mut peer.wants).into_values());
        let dropped: Vec<Asked> = peers.collect();
        self.unask(&dropped);
    }

    /// Requests that will not be answered to their end: what is left of them may be asked of others.
    pub(crate) fn unask(&mut self, dropped: &[Asked]) {
        for asked in dropped {
            let Some(ripening) = self.ripening.get_mut(&asked.want.log) else { continue };
            ripening.settle(asked, false, None);
        }
    }

    /// An entry came that was asked for: the peer has some of what it tells of the log.
    pub(crate) fn want_given(&mut self, now: Now, peer: NodeKey, request: Option<u32>) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let Some(asked) = request.and_then(|request| state.wants.get_mut(&request)) else { return };
        asked.is_given = true;
        let log = asked.want.log;
        state.gave(&log);
        self.note_behind(now, log);
    }

    /// A part of an answer came, with so many entries and bytes. `held` of its entries are held now, `next` is the
    /// place after the last of them.
    pub(crate) fn want_progressed(
        &mut self,
        now: Now,
        peer: NodeKey,
        request: u32,
        (held, next): (u64, u64),
        (entries, bytes): (u64, u64),
    ) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        state.note_bytes(now.mono, entries, bytes);
        if held > 0 {
            // On a slow link several answers share the rate: any of them moving means that the link moves.
            for asked in state.wants.values_mut() {
                asked.progress = now.mono;
            }
        }
        if let Some(asked) = state.wants.get_mut(&request) {
            asked.received += held;
            asked.bytes = asked.bytes.saturating_add(bytes);
            asked.next = asked.next.max(next.min(asked.want.to));
        }
    }

    pub(crate) fn finish_want(&mut self, now: Now, peer: NodeKey, request: u32, more: bool) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let Some(asked) = state.wants.remove(&request) else { return };
        let (took, rtt) = (now.mono.since(asked.asked), u64::from(state.rtt_ms));
        let is_full = (more && asked.received > 0) || asked.bytes >= u64::from(asked.want.budget) / 2;
        if is_full && took < QUICK_MS + 2 * rtt {
            state.budget = state.budget.saturating_mul(2).min(BUDGET_MAX);
        } else if took > SLOW_MS + 4 * rtt {
            state.budget = (state.budget / 2).max(BUDGET_MIN);
        }
        if asked.received > 0 {
            state.stalls = state.stalls.saturating_sub(1);
        } else if more && !self.turned_away.contains(&asked.want.log) {
            // It says that it has something, and gives nothing: it is busy, or lies.
            state.stalls = (state.stalls + 1).min(STALLS_MAX);
            state.rests_until = Some(now.mono.plus(REST_MS));
            self.peers_due.asks = true;
        }
        // Entries that are refused here were there all the same.
        let is_of_use = asked.received > 0 || asked.bytes > 0 || more;
        let mends = self.mending.is_asked(peer, request);
        state.empty_answers = match asked.want.classes.is_urgent() {
            // Most ranges hold no urgent entry, and for what was lost whoever might have it is asked.
            true => state.empty_answers,
            false if is_of_use => 0,
            false if mends => state.empty_answers,
            false => state.empty_answers.saturating_add(1),
        };
        if state.empty_answers >= EMPTY_ANSWERS_MAX {
            // Heights are said without a signature: however many are, asking for what is not there takes little.
            let times = (state.empty_answers - EMPTY_ANSWERS_MAX).min(16);
            let rest = now.mono.plus((EMPTY_REST_MS << times).min(EMPTY_REST_MS_MAX));
            state.rests_until = Some(state.rests_until.map_or(rest, |until| until.max(rest)));
            self.peers_due.asks = true;
        }
        let log = asked.want.log;
        if mends {
            if !more {
                self.mending.answered(peer, request, |log| state.known(log));
            }
            // Who has lost the same entry may hold all others.
            self.mending.look_at(now.mono);
        }
        let is_empty = asked.received == 0 && !more && !mends;
        if !asked.is_given && !mends && self.logs.get(&log).is_some() {
            let is_put_off = more;
            let is_at_last = match asked.want.classes {
                WantClasses::All => !more,
                // The range may be held, or hold nothing but urgent entries.
                WantClasses::Rest => !more && !self.is_swept(&asked.want),
                WantClasses::Flash | WantClasses::Priority | WantClasses::Urgent => false,
            };
            if let Some(state) = self.peers.get_mut(&peer).filter(|_| is_put_off || is_at_last) {
                state.gave_nothing(&asked.want, is_at_last);
            }
        }
        if is_empty && asked.want.classes == WantClasses::All {
            // It does not hold what it said, or nothing of it can be accepted. Of a log that nobody has told of it holds
            // nothing; otherwise what lies too far to be taken is forgotten and the rest halved, so that few requests
            // are wasted. What it does hold it says again.
            let left = self.logs.get(&log).map_or(0, |state| {
                let held = state.accepted_height();
                held + (asked.want.from.saturating_sub(held) / 2).min(AHEAD_ENTRIES_MAX as u64)
            });
            if let Some(state) = self.peers.get_mut(&peer) {
                state.unlearn(&log, left);
            }
            self.settling.insert(log);
        }
        if is_empty && asked.want.classes == WantClasses::Rest {
            self.check_sweep(&asked.want);
        }
        self.forget_behind(&log);
        let member = self.member_of(&peer);
        if let Some(ripening) = self.ripening.get_mut(&log) {
            ripening.settle(&asked, !more, member);
        }
        self.plan_stale = true;
    }

    /// A sweep brought nothing. If its range is not held, it was not all urgent either: the peer claims too much,
    /// and gaps are asked for one by one, which finds out what it holds.
    fn check_sweep(&mut self, swept: &Want) {
        if !self.is_swept(swept)
            && let Some(ripening) = self.ripening.get_mut(&swept.log)
        {
            ripening.forget_sweeps();
        }
    }

    /// Whether a range is held.
    fn is_swept(&self, swept: &Want) -> bool {
        let missing = match self.logs.get(&swept.log) {
            Some(state) => state.missing_newest_first(swept.to, 1),
            None => vec![(0, swept.to)],
        };
        missing.first().is_none_or(|(_, to)| *to <= swept.from)
    }

    /// Owes a peer what it wants, as far as it is durable here and the peer's share of our answers goes. Past
    /// that it is told at once that there is more, and asks again later.
    pub(crate) fn serve(
        &mut self,
        now: Now,
        peer: NodeKey,
        want: Want,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reject> {
        // Heights tell nothing of entries beyond a gap, but who has lost one asks for it.
        let last_ahead = |state: &LogState| state.ahead_last().map_or(0, |seq| seq.saturating_add(1));
        let durable = self.logs.get(&want.log).map_or(0, |state| state.durable().height.max(last_ahead(state)));
        if want.from > want.to {
            return Err(Reject::Malformed { what: "want", detail: format!("{} to {}", want.from, want.to) });
        }
        let to = want.to.min(durable);
        let want = Want { from: want.from.min(to), to, budget: want.budget.clamp(BUDGET_MIN, BUDGET_MAX), ..want };
        let worth = u64::from(want.budget).min((want.to - want.from).saturating_mul(ENTRY_BYTES_MAX as u64));
        let asking = self.peers.values().filter(|state| state.allowances.asked_within(now.mono, ASKING_MS)).count();
        let Some(state) = self.peers.get_mut(&peer) else { return Ok(()) };
        match state.allowances.admit_want(now.mono, worth, asking as u64) {
            Ok(()) => effects.push(Effect::Serve { peer, want }),
            Err(reject) => {
                let message = Message::Done { request: want.request, more: true };
                effects.push(Effect::Send { peer, message });
                effects.push(Effect::Event(Event::Rejected { peer: Some(peer), reject }));
            }
        }
        Ok(())
    }
}
