//! Entries that the store holds but can no longer read: they are fetched again and put back as they were.
//!
//! A damaged row leaves a hole below a height that was told to others, so the height stays. What belongs into the hole
//! is known before anybody is asked: the entry after it names its hash, or the log's head does. Whatever else comes for
//! that place is no repair, whoever signed it. Holes that touch are asked for together and filled from the top.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vatra_model::wire::{Message, Want, WantClasses};
use vatra_model::{CheckedEntry, EntryHash, Head, LogId, MonoMs, NodeKey, Seq, SignedHeader};

use crate::input::{Effect, Event, NewLife, Now};
use crate::peers::{BUDGET_MAX, Peer};
use crate::replica::{Came, Kept, Replica, Staged};

/// Damaged entries that are kept in mind; a later look through the store finds the others.
const HOLES_MAX: usize = 4096;
/// Entries that one request asks for at most.
const RUN_MAX: u64 = 64;
/// Requests of this kind that one peer has at once.
const REQUESTS_PER_PEER: usize = 2;
/// Runs of holes that are looked at in one go.
const RUNS_PER_LOOK: usize = 64;
/// While there are holes, peers that have come are found within this time, in milliseconds.
const LOOK_MS: u64 = 2_000;
/// Time until all peers are asked anew when none of them had an entry, in milliseconds; twice as long each time.
const AGAIN_MS: u64 = 4_000;
/// The longest such time, and that while holes are so few that asking often costs next to nothing.
const AGAIN_MS_MAX: u64 = 300_000;
const AGAIN_FEW_MS_MAX: u64 = 30_000;
const FEW_HOLES: usize = 16;
/// How often all are asked anew, over about a minute, before an entry of our own log counts as lost although nobody
/// told that it has it.
const ROUNDS_BEHIND: u32 = 4;

/// All holes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mending {
    holes: BTreeMap<(LogId, u64), Hole>,
    /// Requests for what belongs into them.
    requests: BTreeSet<(NodeKey, u32)>,
    /// When to look what can be asked of whom.
    due: Option<MonoMs>,
}

/// A place whose entry cannot be read.
#[derive(Clone, Debug, Default)]
struct Hole {
    /// The hash of what belongs here, once it is known.
    expected: Option<EntryHash>,
    /// What came for it before that was known.
    candidate: Option<Arc<CheckedEntry>>,
    /// Who has said that it does not hold it, since the last time that all were asked; whether its height told
    /// otherwise then.
    asked: BTreeMap<NodeKey, bool>,
    /// It was asked for before, with a run below it, and did not come: it is asked for alone.
    is_alone: bool,
    /// Where the request is that it waits for.
    request: Option<(NodeKey, u32)>,
    /// Nobody has it: all are asked anew at this time.
    again: Option<MonoMs>,
    /// How often all were asked anew.
    rounds: u32,
    /// What belongs here is being written.
    is_found: bool,
}

impl Mending {
    /// How many entries wait for their repair.
    pub(crate) fn len(&self) -> usize {
        self.holes.len()
    }

    /// Whether what a peer holds of a log to this height may fill any of them.
    pub(crate) fn has_holes_below(&self, log: &LogId, height: u64) -> bool {
        self.holes.range((*log, 0)..(*log, height)).next().is_some()
    }

    /// What came and is not known to belong here yet.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = &Arc<CheckedEntry>> {
        self.holes.values().filter_map(|hole| hole.candidate.as_ref())
    }

    /// When to look again.
    pub(crate) fn due(&self) -> Option<MonoMs> {
        self.due
    }

    /// Whether a request is for what is to be put back.
    pub(crate) fn is_asked(&self, peer: NodeKey, request: u32) -> bool {
        self.requests.contains(&(peer, request))
    }

    /// Whether there is room for one more; of a run the upper end is worth more, as it is filled from there.
    fn makes_room(&mut self, log: LogId, place: u64) -> bool {
        if self.holes.len() < HOLES_MAX {
            return true;
        }
        let below = self.holes.range((log, 0)..(log, place));
        let idle = |hole: &Hole| hole.expected.is_none() && hole.request.is_none() && !hole.is_found;
        let lowest = below.filter(|(_, hole)| idle(hole)).map(|(place, _)| *place).next();
        lowest.is_some_and(|lowest| self.holes.remove(&lowest).is_some())
    }

    /// A peer that tells these heights has answered a request whole.
    pub(crate) fn answered(&mut self, peer: NodeKey, request: u32, height: impl Fn(&LogId) -> u64) {
        for ((log, seq), hole) in self.holes.iter_mut().filter(|(_, hole)| hole.request == Some((peer, request))) {
            // It gave what it has of a run, although not all of that is known to belong there yet.
            if !hole.is_found && hole.candidate.is_none() {
                hole.asked.insert(peer, height(log) > *seq);
            }
        }
    }

    /// There is a new link with a peer, which may hold more than before.
    pub(crate) fn forget_asked(&mut self, peer: &NodeKey) {
        for hole in self.holes.values_mut() {
            hole.asked.remove(peer);
        }
    }

    /// Nothing of what was found has been written.
    pub(crate) fn lost_batch(&mut self, now: MonoMs) {
        for hole in self.holes.values_mut().filter(|hole| hole.is_found) {
            hole.is_found = false;
            hole.asked.clear();
        }
        self.look_at(now);
    }

    /// Something may be asked for at this time.
    pub(crate) fn look_at(&mut self, at: MonoMs) {
        self.due = (!self.holes.is_empty()).then(|| self.due.map_or(at, |due| due.min(at)));
    }
}

impl Replica {
    /// The store cannot read entries that it holds.
    pub(crate) fn take_damage(&mut self, now: Now, log: LogId, places: &[Seq], effects: &mut Vec<Effect>) {
        let Some(state) = self.logs.get(&log) else { return };
        for place in places.iter().map(|seq| seq.0) {
            // What is past a gap or a fork, and was found damaged at the start, counts as missing and is fetched.
            let is_held = place < state.end() && state.holds_durably(place);
            if !is_held || self.mending.holes.contains_key(&(log, place)) || !self.mending.makes_room(log, place) {
                continue;
            }
            self.mending.holes.insert((log, place), Hole::default());
            effects.push(Effect::Event(Event::Damaged { log, seq: Seq(place) }));
        }
        self.mending.look_at(now.mono);
    }

    /// A peer told what it holds: it may have what others did not.
    pub(crate) fn may_mend(&mut self, now: Now, key: NodeKey) {
        let Some(peer) = self.peers.get(&key) else { return };
        let news = |((log, seq), hole): (&(LogId, u64), &Hole)| {
            let was_told = hole.asked.get(&key).copied();
            let is_news = was_told.is_none() || (peer.known(log) > *seq && was_told == Some(false));
            (hole.again.is_some() && is_news).then_some((*log, *seq))
        };
        let news: Vec<(LogId, u64)> = self.mending.holes.iter().filter_map(news).collect();
        for place in news {
            self.mending.holes.entry(place).and_modify(|hole| {
                hole.again = None;
                hole.asked.remove(&key);
            });
        }
        self.mending.look_at(now.mono);
    }

    /// An entry may be what belongs into a hole; `true` if it is, or may be.
    pub(crate) fn mend(&mut self, now: Now, entry: &Arc<CheckedEntry>, came: Came) -> bool {
        let header = *entry.header();
        let Some(hole) = self.mending.holes.get_mut(&(header.log, header.seq.0)) else { return false };
        match hole.expected {
            Some(expected) if expected != entry.hash() => return false,
            Some(_) => {}
            None if hole.request.is_some() => {
                hole.candidate = Some(entry.clone());
                return true;
            }
            None => return false,
        }
        let mut next = Some(entry.clone());
        while let Some(entry) = next {
            let (log, seq) = (entry.header().log, entry.header().seq.0);
            let Some(hole) = self.mending.holes.get_mut(&(log, seq)) else { break };
            if !std::mem::replace(&mut hole.is_found, true) {
                self.staged.push(Staged { entry: entry.clone(), came, kept: Kept::Again });
            }
            // The hole below is known by this entry now.
            let below = seq.checked_sub(1).and_then(|below| self.mending.holes.get_mut(&(log, below)));
            next = below.and_then(|below| {
                below.expected = Some(entry.header().prev);
                below.candidate.take().filter(|candidate| candidate.hash() == entry.header().prev)
            });
        }
        self.mending.look_at(now.mono);
        true
    }

    /// A batch with what was put back is durable.
    pub(crate) fn mended(&mut self, now: Now, entry: &CheckedEntry, effects: &mut Vec<Effect>) {
        let header = entry.header();
        if self.mending.holes.remove(&(header.log, header.seq.0)).is_some() {
            let height = self.logs.get(&header.log).map_or(0, crate::logs::LogState::accepted_height);
            let others = self.mending.holes.range((header.log, height)..=(header.log, u64::MAX)).next();
            if header.seq.0 >= height && others.is_none() {
                // Peers were given the entries beyond the gap without it.
                self.give_again(now, header.log);
            }
            effects.push(Effect::Event(Event::Mended { log: header.log, seq: header.seq }));
        }
    }

    /// The store was looked through from a place on: its entry, if it can be read, tells what belongs before it. If it
    /// cannot, it is a hole as well, and so is what lies between it and the next that can.
    pub(crate) fn learn_expected(
        &mut self,
        now: Now,
        log: LogId,
        from: u64,
        headers: &[SignedHeader],
        effects: &mut Vec<Effect>,
    ) {
        let Some(below) = from.checked_sub(1) else { return };
        let Some(hole) = self.mending.holes.get_mut(&(log, below)) else { return };
        if hole.expected.is_some() {
            return;
        }
        match headers.first().and_then(|signed| signed.header().ok()) {
            Some(header) if header.seq.0 == from => {
                hole.expected = Some(header.prev);
                self.mending.look_at(now.mono);
            }
            next => {
                // Others are looked at meanwhile.
                hole.again = Some(now.mono.plus(AGAIN_MS));
                let end = next.map_or(from + 1, |header| header.seq.0);
                let unknown: Vec<Seq> = (from..end).rev().take(RUN_MAX as usize).map(Seq).collect();
                self.take_damage(now, log, &unknown, effects);
            }
        }
    }

    /// Asks for what belongs into holes, each of one peer at a time.
    pub(crate) fn ask_for_holes(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.mending.due.is_none_or(|due| due > now.mono) {
            return;
        }
        self.mending.due = Some(now.mono.plus(LOOK_MS));
        if !self.takes_writes() {
            return;
        }
        let logs = &self.logs;
        let is_held =
            |log: &LogId, seq: u64| logs.get(log).is_some_and(|state| seq < state.end() && state.holds_durably(seq));
        self.mending.holes.retain(|(log, seq), _| is_held(log, *seq));
        let is_open = |(peer, request): &(NodeKey, u32)| {
            self.peers.get(peer).is_some_and(|peer| peer.wants.contains_key(request))
        };
        self.mending.requests.retain(is_open);
        for hole in self.mending.holes.values_mut() {
            hole.request = hole.request.filter(|request| self.mending.requests.contains(request));
            if hole.request.is_none() {
                hole.candidate = None;
            }
            if hole.again.is_some_and(|again| again <= now.mono) {
                hole.again = None;
                hole.rounds = hole.rounds.saturating_add(u32::from(!hole.asked.is_empty()));
                hole.asked.clear();
            }
        }
        for (log, top) in self.tops() {
            self.ask_for_run(now, log, top, effects);
        }
        self.mending.look_at(now.mono.plus(LOOK_MS));
    }

    /// The upper ends of runs of holes that nobody is being asked for.
    fn tops(&self) -> Vec<(LogId, u64)> {
        let holes = &self.mending.holes;
        let is_top = |(log, seq): &(LogId, u64)| !holes.contains_key(&(*log, seq + 1));
        let is_free = |hole: &Hole| hole.request.is_none() && hole.again.is_none() && !hole.is_found;
        let tops = holes.iter().filter(|(place, hole)| is_free(hole) && (hole.expected.is_some() || is_top(place)));
        tops.map(|(place, _)| *place).take(RUNS_PER_LOOK).collect()
    }

    fn ask_for_run(&mut self, now: Now, log: LogId, top: u64, effects: &mut Vec<Effect>) {
        let expected = self.mending.holes[&(log, top)].expected.or_else(|| self.expected_by_log(&log, top));
        let hole = self.mending.holes.get_mut(&(log, top)).expect("one of the holes");
        hole.expected = expected;
        if expected.is_none() {
            effects.push(Effect::Recall { log, from: top.saturating_add(1), count_max: 1, stray: None });
            return;
        }
        let asked = hole.asked.clone();
        let Some(key) = self.who_may_hold(&log, top, &asked) else {
            self.nobody_has(now, log, top, effects);
            return;
        };
        let holes = &self.mending.holes;
        let is_open = |seq: &u64| holes.get(&(log, *seq)).is_some_and(|hole| hole.request.is_none() && !hole.is_found);
        // Answers begin at the lower end: that of a run may never get to the top, which all below wait for.
        let others = if holes[&(log, top)].is_alone { 0 } else { RUN_MAX as usize - 1 };
        let from = (0..top).rev().take(others).take_while(is_open).last().unwrap_or(top);
        let request = self.number_request();
        let want = Want { request, log, from, to: top + 1, classes: WantClasses::All, budget: BUDGET_MAX };
        for seq in from..=top {
            let hole = self.mending.holes.get_mut(&(log, seq)).expect("looked at above");
            hole.request = Some((key, request));
        }
        let hole = self.mending.holes.get_mut(&(log, top)).expect("one of the holes");
        hole.is_alone = true;
        self.mending.requests.insert((key, request));
        self.peers.get_mut(&key).expect("chosen above").ask(want, now.mono);
        self.peers_due.asks = true;
        effects.push(Effect::Send { peer: key, message: Message::Want(want) });
    }

    /// The hash at a place, if the log's own state tells it.
    fn expected_by_log(&self, log: &LogId, place: u64) -> Option<EntryHash> {
        let state = self.logs.get(log)?;
        let Head { height, head } = state.accepted();
        if height == place + 1 && head != EntryHash::ZERO {
            return Some(head);
        }
        state.hash_ahead(place)
    }

    /// The best peer that may hold an entry and was not asked for it. One whose height tells nothing of it comes last:
    /// it may hold the entry beyond a gap of its own, which only this may close.
    fn who_may_hold(&self, log: &LogId, place: u64, asked: &BTreeMap<NodeKey, bool>) -> Option<NodeKey> {
        let busy =
            |key: &NodeKey| self.mending.requests.range((*key, 0)..=(*key, u32::MAX)).count() >= REQUESTS_PER_PEER;
        let fits =
            |(key, peer): &(&NodeKey, &Peer)| peer.greeted && peer.rests_until.is_none() && !asked.contains_key(*key);
        let free = self.peers.iter().filter(fits).filter(|(key, _)| !busy(key));
        free.min_by_key(|(key, peer)| {
            (peer.known(log) <= place, peer.stalls, peer.cost(), peer.wants.len(), peer.rtt_ms, **key)
        })
        .map(|(key, _)| *key)
    }

    /// No peer at hand has what belongs into a hole. If it is of our own log, others may lack it too: what is written
    /// from now on must not stand behind it.
    fn nobody_has(&mut self, now: Now, log: LogId, place: u64, effects: &mut Vec<Effect>) {
        let hole = &self.mending.holes[&(log, place)];
        if self.peers.iter().any(|(key, peer)| peer.greeted && !hole.asked.contains_key(key)) {
            // Some peer is busy, or rests.
            return;
        }
        let most = if self.mending.holes.len() <= FEW_HOLES { AGAIN_FEW_MS_MAX } else { AGAIN_MS_MAX };
        let hole = self.mending.holes.get_mut(&(log, place)).expect("one of the holes");
        // While nobody is known to hold it, nobody is asked in vain either: heights may come any time.
        let rounds = if hole.asked.is_empty() { 0 } else { hole.rounds };
        let wait = AGAIN_MS.saturating_mul(1 << rounds.min(16)).min(most);
        hole.again = Some(now.mono.plus(wait));
        // One that told no such height may only be behind.
        let is_vain = hole.rounds >= ROUNDS_BEHIND && !hole.asked.is_empty();
        let is_lost = is_vain || hole.asked.values().any(|was_told| *was_told);
        if log == self.own_log && is_lost {
            self.open_incarnation(NewLife::Damaged, effects);
        }
    }
}
