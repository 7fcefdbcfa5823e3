//! Strays of forked logs: which peers hold which, and how all come to hold the same.
//!
//! What is new is told by place and hash and asked for by them, each stray of one peer at a time. Where the sets of
//! strays differ and nothing is under way, the whole list is asked for, ever more seldom while that brings nothing.

use std::collections::{BTreeMap, BTreeSet};

use vatra_model::limits::{MESSAGE_STRAYS_MAX, WANT_STRAYS_MAX};
use vatra_model::wire::{Message, StrayList};
use vatra_model::{EntryHash, Head, LogId, MonoMs, NodeKey};

use crate::fork::Fork;
use crate::forks::FORKS_SINCE;
use crate::input::{Effect, Now, Reject};
use crate::logs::LogState;
use crate::replica::Replica;

/// New strays are collected for this long before peers are told, in milliseconds.
const TELL_MS: u64 = 100;
/// Time between two questions for the whole list of one log to one peer, and between two answers, in milliseconds.
const LIST_EVERY_MS: u64 = 2_000;
/// How often that time is doubled at most while lists bring nothing: about eight minutes.
const DOUBLED_MAX: u32 = 8;
/// Time after which a peer that still has something else is shown the proof of a fork again, in milliseconds.
const PROVE_EVERY_MS: u64 = 60_000;
/// Requests for strays under way per peer.
const WANTS_PER_PEER: usize = 4;

type Stray = (u64, EntryHash);

/// What was said about strays.
#[derive(Clone, Debug, Default)]
pub(crate) struct StrayTalk {
    /// Strays that became durable and are not told yet; none, for a log of which only the new head is told.
    news: BTreeMap<LogId, BTreeSet<Stray>>,
    tell_at: Option<MonoMs>,
    /// Of logs that are forked here only, so that there are no more than those for each link.
    with: BTreeMap<(NodeKey, LogId), Talk>,
    wants: BTreeMap<u32, StrayWant>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Talk {
    /// The fork place that the peer was shown the proof of, and when.
    proved: Option<(u64, MonoMs)>,
    /// The hash of the strays that it has.
    set: Option<EntryHash>,
    /// Its list is to be asked for at this time.
    ask_at: Option<MonoMs>,
    asked: Option<MonoMs>,
    given: Option<MonoMs>,
    /// Ours and theirs when its list was asked for last, and how often they were the same then.
    tried: Option<(Option<EntryHash>, Option<EntryHash>)>,
    tries: u32,
    /// Requests that it left unanswered, or answered without what it had told of.
    stalls: u32,
}

#[derive(Clone, Debug)]
struct StrayWant {
    peer: NodeKey,
    log: LogId,
    items: BTreeSet<Stray>,
    since: MonoMs,
}

impl Replica {
    /// A log's strays became more, or its fork place lower.
    pub(crate) fn tell_strays(&mut self, now: Now, log: LogId, stray: Option<Stray>) {
        self.stray_talk.news.entry(log).or_default().extend(stray);
        self.stray_talk.tell_at.get_or_insert(now.mono.plus(TELL_MS));
    }

    fn list(&self, log: &LogId, whole: bool, items: Vec<Stray>) -> Option<StrayList> {
        let state = self.logs.get(log)?;
        let place = state.fork.as_ref()?.place;
        let trunk = state.whole_trunk();
        let head = state.fork.as_ref()?.set().unwrap_or(EntryHash::ZERO);
        Some(StrayList { log: *log, place, trunk, head, whole, items })
    }

    fn send_news(&mut self, effects: &mut Vec<Effect>) {
        for (log, items) in std::mem::take(&mut self.stray_talk.news) {
            let items: Vec<Stray> = items.into_iter().collect();
            let lists = self.lists(&log, false, &items);
            for (peer, _) in self.peers.iter().filter(|(_, peer)| peer.greeted && peer.version >= FORKS_SINCE) {
                let messages = lists.iter().cloned().map(Message::StrayList);
                effects.extend(messages.map(|message| Effect::Send { peer: *peer, message }));
            }
        }
    }

    /// The list in as many messages as it needs, at least one.
    fn lists(&self, log: &LogId, whole: bool, items: &[Stray]) -> Vec<StrayList> {
        let last = items.len().saturating_sub(1) / MESSAGE_STRAYS_MAX;
        let chunk = |number: usize| {
            let from = number * MESSAGE_STRAYS_MAX;
            items.get(from..items.len().min(from + MESSAGE_STRAYS_MAX)).unwrap_or_default().to_vec()
        };
        (0..=last).filter_map(|number| self.list(log, whole && number == last, chunk(number))).collect()
    }

    /// Tells a peer all strays of a log, if it asks, but not more often than their rate allows.
    pub(crate) fn give_list(&mut self, now: Now, peer: NodeKey, log: LogId, effects: &mut Vec<Effect>) {
        let fork = self.logs.get(&log).and_then(|state| state.fork.as_ref());
        let Some(fork) = fork.filter(|fork| fork.is_settled) else { return };
        let talk = self.stray_talk.talk(peer, log);
        if talk.given.is_some_and(|given| now.mono.since(given) < LIST_EVERY_MS) {
            return;
        }
        talk.given = Some(now.mono);
        let items: Vec<Stray> = fork.durable_strays().copied().collect();
        let messages = self.lists(&log, true, &items).into_iter().map(Message::StrayList);
        effects.extend(messages.map(|message| Effect::Send { peer, message }));
    }

    /// A peer has something else than we for a log that is forked here: it gets the proof, and is asked what it has.
    pub(crate) fn compare_fork(&mut self, now: Now, peer: NodeKey, log: LogId, effects: &mut Vec<Effect>) {
        if self.peers.get(&peer).is_none_or(|peer| peer.version < FORKS_SINCE) {
            return;
        }
        let Some(fork) = self.logs.get(&log).and_then(|state| state.fork.as_ref()) else { return };
        if !fork.is_saved {
            return;
        }
        let (place, proof) = (fork.place, fork.proof.clone());
        let talk = self.stray_talk.talk(peer, log);
        // It may have had no use for the proof when it came: no room for the log, or too much to look at.
        let is_news = |(proved, at): (u64, MonoMs)| proved > place || now.mono.since(at) >= PROVE_EVERY_MS;
        if talk.proved.is_none_or(is_news) {
            talk.proved = Some((place, now.mono));
            effects.push(Effect::Send { peer, message: Message::Fork(Box::new(proof)) });
        }
        talk.want_list(now.mono);
    }

    /// A peer tells of strays that it holds.
    pub(crate) fn take_stray_list(
        &mut self,
        now: Now,
        peer: NodeKey,
        list: &StrayList,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reject> {
        if list.items.len() > MESSAGE_STRAYS_MAX {
            return Err(Reject::Full { what: "strays of a list", limit: MESSAGE_STRAYS_MAX });
        }
        let log = list.log;
        let Some(fork) = self.logs.get(&log).and_then(|state| state.fork.as_ref()) else { return Ok(()) };
        if !fork.is_settled || fork.is_full() || list.place < fork.place {
            // The peer sends the proof of what we do not know; what it holds is compared again after that.
            return Ok(());
        }
        if list.place > fork.place {
            self.compare_fork(now, peer, log, effects);
            return Ok(());
        }
        let (ours, trunk) = (fork.set(), self.logs.get(&log).and_then(LogState::whole_trunk));
        // Who let requests go keeps nothing from being asked of those who did not.
        let stalls = |peer: NodeKey| self.stray_talk.with.get(&(peer, log)).map_or(0, |talk| talk.stalls);
        let as_good = stalls(peer);
        let asked = |stray: &Stray| {
            let mut wants = self.stray_talk.wants.values().filter(|want| want.log == log);
            wants.any(|want| want.items.contains(stray) && stalls(want.peer) <= as_good)
        };
        let covers = |stray: &Stray| self.logs.get(&log).is_some_and(|state| state.covers(stray.0, stray.1));
        let is_missing = |stray: &&Stray| stray.0 >= fork.place && !fork.holds(stray) && covers(stray);
        let missing: Vec<Stray> = list.items.iter().filter(is_missing).copied().collect();
        let free: Vec<Stray> = missing.iter().filter(|stray| !asked(stray)).copied().collect();
        self.stray_talk.talk(peer, log).hears(list.head);
        for items in free.chunks(WANT_STRAYS_MAX) {
            self.want_strays(now, peer, log, items, effects);
        }
        let trunks_differ = list.trunk.zip(trunk).is_some_and(|(theirs, ours)| theirs != ours);
        if let Some(high) = list.place.checked_sub(1).filter(|_| trunks_differ) {
            self.search(now, peer, log, high, effects);
        }
        if ours == Some(list.head) || !missing.is_empty() {
            return Ok(());
        }
        if list.whole {
            // It lacks some of ours: it is told that there is something, and asks.
            let messages = self.list(&log, false, Vec::new()).map(Message::StrayList);
            effects.extend(messages.map(|message| Effect::Send { peer, message }));
        } else {
            self.stray_talk.talk(peer, log).want_list(now.mono);
        }
        Ok(())
    }

    fn want_strays(&mut self, now: Now, peer: NodeKey, log: LogId, items: &[Stray], effects: &mut Vec<Effect>) {
        let under_way = self.stray_talk.wants.values().filter(|want| want.peer == peer).count();
        if under_way >= WANTS_PER_PEER || !self.writable {
            return;
        }
        let request = self.number_request();
        let want = StrayWant { peer, log, items: items.iter().copied().collect(), since: now.mono };
        self.stray_talk.wants.insert(request, want);
        effects.push(Effect::Send { peer, message: Message::WantStrays { request, log, items: items.to_vec() } });
    }

    /// A peer asks for strays.
    pub(crate) fn take_want_strays(
        &mut self,
        peer: NodeKey,
        request: u32,
        (log, items): (LogId, Vec<Stray>),
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reject> {
        if items.len() > WANT_STRAYS_MAX {
            return Err(Reject::Full { what: "strays of a request", limit: WANT_STRAYS_MAX });
        }
        let fork = self.logs.get(&log).and_then(|state| state.fork.as_ref()).filter(|fork| fork.is_settled);
        let is_held = |item: &Stray| fork.is_some_and(|fork| fork.holds_durably(item));
        let items = items.into_iter().filter(is_held).collect();
        effects.push(Effect::ServeStrays { peer, request, log, items });
        Ok(())
    }

    /// An answer with strays came to its end; `false` if the request was not for strays.
    pub(crate) fn finish_strays(&mut self, now: Now, peer: NodeKey, request: u32) -> bool {
        if self.stray_talk.wants.get(&request).is_none_or(|want| want.peer != peer) {
            return false;
        }
        let Some(want) = self.stray_talk.wants.remove(&request) else { return false };
        let Some(state) = self.logs.get(&want.log) else { return true };
        let Some(fork) = state.fork.as_ref() else { return true };
        let came = |stray: &Stray| fork.holds(stray) || stray.0 < fork.place || !state.covers(stray.0, stray.1);
        let came = want.items.iter().all(came);
        let talk = self.stray_talk.talk(peer, want.log);
        talk.stalls = if came { 0 } else { talk.stalls.saturating_add(1) };
        // Nothing may be missing now, or more than one request could name.
        talk.want_list(now.mono.plus(TELL_MS));
        if !came {
            self.stray_talk.ask_others(now.mono, peer, want.log);
        }
        true
    }

    /// A peer's link is gone.
    pub(crate) fn forget_stray_talk(&mut self, peer: &NodeKey) {
        self.stray_talk.with.retain(|(with, _), _| with != peer);
        self.stray_talk.wants.retain(|_, want| want.peer != *peer);
    }

    /// What a frontier of a peer says of a log that may be forked here or there.
    pub(crate) fn compare_heads(
        &mut self,
        now: Now,
        peer: NodeKey,
        (log, height, head): (LogId, u64, EntryHash),
        effects: &mut Vec<Effect>,
    ) {
        let Some(state) = self.logs.get(&log) else { return };
        let ours = state.durable();
        match &state.fork {
            Some(fork) if state.told() == Some(Head { height, head }) => {
                if let Some(set) = fork.set() {
                    self.stray_talk.talk(peer, log).hears(set);
                }
            }
            Some(fork) => {
                // Below a gap the trunks may part as well, which strays do not show.
                let is_whole = ours.height >= fork.place;
                self.compare_fork(now, peer, log, effects);
                if height > 0 && height == ours.height && !is_whole {
                    self.search(now, peer, log, height - 1, effects);
                }
            }
            None if height > 0 && height == ours.height && head != ours.head => {
                self.search(now, peer, log, height - 1, effects);
            }
            None => {}
        }
    }

    pub(crate) fn run_stray_timers(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.stray_talk.tell_at.is_some_and(|due| due <= now.mono) {
            self.stray_talk.tell_at = None;
            self.send_news(effects);
        }
        let patience = |peer: &NodeKey| self.peers.get(peer).map_or(0, |peer| peer.patience_ms());
        let is_over = |want: &StrayWant| now.mono.since(want.since) >= patience(&want.peer);
        let over: Vec<u32> =
            self.stray_talk.wants.iter().filter(|(_, want)| is_over(want)).map(|(request, _)| *request).collect();
        for want in over.into_iter().filter_map(|request| self.stray_talk.wants.remove(&request)).collect::<Vec<_>>() {
            let talk = self.stray_talk.talk(want.peer, want.log);
            talk.stalls = talk.stalls.saturating_add(1);
            talk.want_list(now.mono);
            self.stray_talk.ask_others(now.mono, want.peer, want.log);
        }
        for ((peer, log), talk) in &mut self.stray_talk.with {
            if talk.ask_at.is_some_and(|due| due <= now.mono) {
                talk.ask_at = None;
                let ours = self.logs.get(log).and_then(|state| state.fork.as_ref());
                let differs = |fork: &Fork| !fork.is_full() && (fork.set() != talk.set || talk.set.is_none());
                if let Some(fork) = ours.filter(|fork| differs(fork)) {
                    let both = Some((fork.set(), talk.set));
                    talk.tries = if talk.tried == both { talk.tries.saturating_add(1) } else { 0 };
                    (talk.asked, talk.tried) = (Some(now.mono), both);
                    effects.push(Effect::Send { peer: *peer, message: Message::WantStrayList { log: *log } });
                }
            }
        }
    }

    /// Asks anew where a peer's strays differ from ours and nothing brings that to an end.
    pub(crate) fn compare_strays(&mut self, now: Now) {
        for ((_, log), talk) in &mut self.stray_talk.with {
            let ours = self.logs.get(log).and_then(|state| state.fork.as_ref()).and_then(Fork::set);
            if talk.set != ours {
                talk.want_list(now.mono);
            }
        }
    }

    /// Writing works again: what could not be kept is asked for.
    pub(crate) fn ask_for_strays_again(&mut self) {
        for talk in self.stray_talk.with.values_mut().filter(|talk| talk.tries > 0) {
            (talk.tried, talk.tries) = (None, 0);
            talk.ask_at = talk.asked.map(|asked| asked.plus(LIST_EVERY_MS));
        }
    }

    /// When strays are to be spoken of next.
    pub(crate) fn stray_deadline(&self) -> Option<MonoMs> {
        let asks = self.stray_talk.with.values().filter_map(|talk| talk.ask_at);
        let patience = |peer: &NodeKey| self.peers.get(peer).map_or(0, |peer| peer.patience_ms());
        let wants = self.stray_talk.wants.values().map(|want| want.since.plus(patience(&want.peer)));
        asks.chain(wants).chain(self.stray_talk.tell_at).min()
    }

    /// Whether a peer is known to hold the same strays of a log as we.
    pub(crate) fn shares_strays(&self, peer: &NodeKey, log: &LogId) -> bool {
        let ours = self.logs.get(log).and_then(|state| state.fork.as_ref()).and_then(Fork::set);
        let theirs = self.stray_talk.with.get(&(*peer, *log)).and_then(|talk| talk.set);
        ours.is_some() && ours == theirs
    }
}

impl StrayTalk {
    /// What was said with a peer about a log that is forked here.
    fn talk(&mut self, peer: NodeKey, log: LogId) -> &mut Talk {
        self.with.entry((peer, log)).or_default()
    }

    /// A peer did not give what it had told of: others who spoke of the log are asked what they have.
    fn ask_others(&mut self, now: MonoMs, peer: NodeKey, log: LogId) {
        let others = self.with.iter_mut().filter(|((other, of), _)| *other != peer && *of == log);
        others.for_each(|(_, talk)| talk.want_list_again(now));
    }
}

impl Talk {
    /// It has these strays. What was tried with others tells nothing of them.
    fn hears(&mut self, set: EntryHash) {
        if self.set.replace(set) != Some(set) {
            (self.tried, self.tries) = (None, 0);
        }
    }

    /// The list is asked for soon, but not more often than its rate allows.
    fn want_list(&mut self, now: MonoMs) {
        let wait = LIST_EVERY_MS << self.tries.min(DOUBLED_MAX);
        let earliest = self.asked.map_or(now, |asked| asked.plus(wait).max(now));
        self.ask_at = Some(self.ask_at.map_or(earliest, |due| due.min(earliest)));
    }

    /// The same, whatever came of it before: what it told is still to be had.
    fn want_list_again(&mut self, now: MonoMs) {
        (self.tried, self.tries) = (None, 0);
        self.want_list(now);
    }
}
