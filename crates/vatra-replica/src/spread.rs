//! Telling others of entries: pushes along the tree, announcements elsewhere; and what time brings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vatra_model::wire::Message;
use vatra_model::{CheckedEntry, Class, LogId, MonoMs, NodeKey};

use crate::input::{Effect, Now};
use crate::peers::PeersDue;
use crate::replica::{Came, Replica};
use crate::topology::Cost;

/// Announcements to a peer are collected for this long, in milliseconds; over a metered link; of urgent entries.
const ANNOUNCE_MS: u64 = 250;
const ANNOUNCE_METERED_MS: u64 = 2_000;
const ANNOUNCE_URGENT_MS: u64 = 50;
/// Heights that one announcement names at most.
const ANNOUNCE_LOGS_MAX: usize = 1024;
/// Time after a failed write before the next is tried, in milliseconds.
pub(crate) const RETRY_MS: u64 = 1_000;
/// Time between looks at everything that could be missing, in milliseconds.
const BACKSTOP_MS: u64 = 10_000;

impl Replica {
    /// Passes on what became durable.
    pub(crate) fn spread(&mut self, now: Now, entries: &[Arc<CheckedEntry>], came: &[Came], effects: &mut Vec<Effect>) {
        self.refresh_topology();
        self.note_pace(now, entries, came);
        let mut pushes: Vec<(Class, Vec<NodeKey>, Vec<Arc<CheckedEntry>>)> = Vec::new();
        for (entry, came) in entries.iter().zip(came) {
            let targets = self.push_targets(entry, *came);
            self.announce(now, entry, &targets, *came);
            if targets.is_empty() {
                continue;
            }
            let class = entry.header().class;
            match pushes.last_mut() {
                Some((last_class, last_targets, batch)) if *last_class == class && *last_targets == targets => {
                    batch.push(entry.clone());
                }
                _ => pushes.push((class, targets, vec![entry.clone()])),
            }
        }
        pushes.sort_by_key(|(class, _, _)| *class);
        for (class, peers, entries) in pushes {
            effects.push(Effect::Push { peers, class, entries });
        }
        self.announce_past_gaps(now, entries, came);
        self.note_heights(now, entries.iter().map(|entry| entry.header().log));
    }

    fn note_pace(&mut self, now: Now, entries: &[Arc<CheckedEntry>], came: &[Came]) {
        for (entry, _) in entries.iter().zip(came).filter(|(_, came)| **came != Came::Local) {
            if let Some(member) = self.logs.get(&entry.header().log).map(crate::logs::LogState::member) {
                self.paces.note(now.mono, member, 1);
            }
        }
    }

    /// Children in the origin's tree that are not known to hold the entry. What was fetched or came in a file is
    /// only announced, unless it is urgent.
    fn push_targets(&mut self, entry: &CheckedEntry, came: Came) -> Vec<NodeKey> {
        let header = entry.header();
        let pushed = match came {
            Came::Local | Came::Pushed(_) => true,
            Came::Fetched(_) | Came::File => header.class.is_urgent(),
        };
        let Some(origin) = self.logs.get(&header.log).map(crate::logs::LogState::origin) else { return Vec::new() };
        if !pushed {
            return Vec::new();
        }
        let from = match came {
            Came::Pushed(peer) | Came::Fetched(peer) => Some(peer),
            Came::Local | Came::File => None,
        };
        let wants = |peer: &NodeKey| {
            let state = self.peers.get(peer);
            Some(*peer) != from && state.is_some_and(|s| s.greeted && s.known(&header.log) <= header.seq.0)
        };
        let children = self.topology.children(&origin);
        children.iter().filter(|child| wants(child)).copied().collect()
    }

    /// Notes to tell those who may lack it and do not get it pushed: the neighbours that this node watches over,
    /// and of what did not come along the tree also those that its sender does not reach.
    fn announce(&mut self, now: Now, entry: &CheckedEntry, pushed: &[NodeKey], came: Came) {
        let (log, class) = (entry.header().log, entry.header().class);
        let height = self.logs.get(&log).map_or(0, |state| state.durable().height);
        let from = match came {
            Came::Pushed(peer) | Came::Fetched(peer) => Some(peer),
            Came::Local | Came::File => None,
        };
        // An urgent entry that was fetched is pushed on past what lies below it, which is only announced.
        let is_along_tree = matches!(came, Came::Local | Came::Pushed(_));
        for (key, peer) in &mut self.peers {
            let tells = match came {
                Came::Pushed(_) => peer.is_watched,
                Came::Fetched(sender) => peer.is_watched || !self.topology.linked(&sender, key),
                // Nobody else has it yet: a child that keeps it to itself must not hide it from our neighbours.
                Came::Local | Came::File => true,
            };
            if !peer.greeted || !(tells || peer.version < 2) || Some(*key) == from {
                continue;
            }
            let is_pushed = pushed.contains(key);
            if !(is_pushed && is_along_tree) && peer.known(&log) < height {
                let class = if is_pushed { Class::Routine } else { class };
                peer.to_announce.insert(log);
                let due = now.mono.plus(announce_ms(class, peer.cost()));
                peer.announce_by(due);
                self.peers_due.by(due);
            }
        }
    }

    /// Notes to tell of logs whose gaps these entries closed. What lay beyond a gap came earlier and from others, when
    /// the height did not show it: whoever gave what closed the gap need not have it, nor need those whom he does not
    /// reach.
    fn announce_past_gaps(&mut self, now: Now, entries: &[Arc<CheckedEntry>], came: &[Came]) {
        let mut ends: BTreeMap<LogId, (u64, Class, BTreeSet<NodeKey>)> = BTreeMap::new();
        for (header, came) in entries.iter().map(|entry| entry.header()).zip(came) {
            let (end, class, givers) = ends.entry(header.log).or_insert((0, header.class, BTreeSet::new()));
            *end = (*end).max(header.seq.0.saturating_add(1));
            *class = (*class).min(header.class);
            if let Came::Pushed(peer) | Came::Fetched(peer) = came {
                givers.insert(*peer);
            }
        }
        for (log, (end, class, givers)) in ends {
            let height = self.logs.get(&log).map_or(0, |state| state.durable().height);
            if height <= end {
                continue;
            }
            let topology = &self.topology;
            for (key, peer) in self.peers.iter_mut().filter(|(_, peer)| peer.greeted && peer.known(&log) < height) {
                let reached = givers.iter().any(|giver| giver != key && topology.linked(giver, key));
                if peer.is_watched || !reached {
                    peer.to_announce.insert(log);
                    let due = now.mono.plus(announce_ms(class, peer.cost()));
                    peer.announce_by(due);
                    self.peers_due.by(due);
                }
            }
        }
    }

    /// Notes to tell all peers that may lack them of these logs.
    pub(crate) fn announce_logs(&mut self, now: Now, logs: &[LogId]) {
        for peer in self.peers.values_mut().filter(|peer| peer.greeted && !logs.is_empty()) {
            peer.to_announce.extend(logs);
            peer.announce_by(now.mono.plus(ANNOUNCE_URGENT_MS));
            self.peers_due.by(now.mono.plus(ANNOUNCE_URGENT_MS));
        }
        self.note_heights(now, logs.iter().copied());
    }

    /// A push to this peer was shed: tell it everything that it may lack.
    pub(crate) fn announce_everything(&mut self, now: Now, peer: NodeKey) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        for (log, held) in self.logs.iter() {
            if state.known(log) < held.durable().height {
                state.to_announce.insert(*log);
            }
        }
        let wait = announce_ms(Class::Routine, state.cost());
        state.announce_by(now.mono.plus(wait));
        self.peers_due.by(now.mono.plus(wait));
    }

    fn send_announcements(&mut self, peer: NodeKey, effects: &mut Vec<Effect>) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        state.announce_at = None;
        let logs = std::mem::take(&mut state.to_announce);
        let height = |log: &LogId| self.logs.get(log).map_or(0, |state| state.durable().height);
        let lacks = logs.into_iter().map(|log| (log, height(&log))).filter(|(log, h)| *h > state.known(log));
        let lacks: Vec<_> = lacks.collect();
        for heights in lacks.chunks(ANNOUNCE_LOGS_MAX) {
            effects.push(Effect::Send { peer, message: Message::Have { heights: heights.to_vec() } });
        }
    }

    /// Says to peers what is due, and looks whether one lets requests go.
    fn run_peer_timers(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.peers_due.at(&self.peers) > now.mono {
            return;
        }
        let due = PeersDue::split(&self.peers, now.mono);
        self.peers_due = due.later;
        for peer in due.shows {
            self.show(now, peer, effects);
        }
        for peer in due.announces {
            self.send_announcements(peer, effects);
        }
        self.plan_stale |= self.peers_due.asks && self.next_stall().is_some_and(|due| due <= now.mono);
    }

    /// Does what is due.
    pub(crate) fn run_timers(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.run_herald(now, effects);
        self.run_peer_timers(now, effects);
        if self.timers.retry.is_some_and(|due| due <= now.mono) {
            self.timers.retry = None;
            self.plan_stale = true;
            self.ask_for_strays_again();
        }
        self.ripen_due(now);
        self.confirm_or_part(now, effects);
        if self.timers.backstop <= now.mono {
            self.timers.backstop = now.mono.plus(BACKSTOP_MS);
            self.ripen_all(now);
            self.give_stranded(now, effects);
            self.give_up_searches(now);
            self.look_up_open();
            self.compare_strays(now);
            self.ask_in_turn(now, effects);
        }
        if self.timers.stranded.is_some_and(|due| due <= now.mono) {
            self.give_stranded(now, effects);
        }
        self.run_stray_timers(now, effects);
    }

    /// When [`crate::Input::Tick`] is due at the latest.
    #[must_use]
    pub fn deadline(&self) -> MonoMs {
        debug_assert!(self.peers_due.covers(&self.peers), "what is due with peers was noted");
        let others =
            [Some(self.timers.backstop), self.timers.retry, Some(self.peers_due.at(&self.peers)), self.next_ripe()];
        let forks = [self.stray_deadline(), self.confirm_deadline(), self.timers.stranded, self.mending.due()];
        others.into_iter().chain(forks).flatten().fold(self.herald_due(), MonoMs::min)
    }
}

/// How long the announcement of an entry may be collected with others, in milliseconds.
fn announce_ms(class: Class, cost: Cost) -> u64 {
    match (class.is_urgent(), cost) {
        (true, _) => ANNOUNCE_URGENT_MS,
        (false, Cost::Metered) => ANNOUNCE_METERED_MS,
        (false, _) => ANNOUNCE_MS,
    }
}
