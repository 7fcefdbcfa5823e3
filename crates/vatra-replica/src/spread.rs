//! Telling others: pushes along the tree, announcements elsewhere, beacons.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vatra_model::limits::{LINKS_MAX, LOGS_MAX};
use vatra_model::wire::{Beacon, Message, Neighbour, SignedBeacon};
use vatra_model::{CheckedEntry, Class, LogId, MonoMs, NodeKey};

use crate::input::{Effect, Now};
use crate::replica::{Came, Replica};
use crate::topology::Cost;
use crate::trust::CheckedBeacon;

/// Announcements to a peer are collected for this long, in milliseconds.
const ANNOUNCE_MS: u64 = 100;
/// Heights that one announcement names at most.
const ANNOUNCE_LOGS_MAX: usize = 1024;
/// Time between beacons when nothing happens, in milliseconds.
const BEACON_MS: u64 = 2_000;
/// The same when every link is metered.
const BEACON_METERED_MS: u64 = 30_000;
/// Least time between two beacons, in milliseconds.
const BEACON_MS_MIN: u64 = 100;
/// Time after which new heights are told by a beacon, in milliseconds.
const BEACON_HEIGHTS_MS: u64 = 500;
/// Every so many beacons one is complete.
const BEACON_COMPLETE_EVERY: u64 = 10;
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
            self.announce(now, entry.header().log, &targets, *came);
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
        self.note_heights(now);
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
        let children = self.topology.children(&origin, &self.me);
        children.into_iter().filter(wants).collect()
    }

    /// Notes to tell everyone who may lack it and does not get it pushed.
    fn announce(&mut self, now: Now, log: LogId, pushed: &[NodeKey], came: Came) {
        let height = self.logs.get(&log).map_or(0, |state| state.durable().height);
        for (key, peer) in &mut self.peers {
            let from = matches!(came, Came::Pushed(from) | Came::Fetched(from) if from == *key);
            if peer.greeted && !pushed.contains(key) && !from && peer.known(&log) < height {
                peer.to_announce.insert(log);
                self.timers.announce.get_or_insert(now.mono.plus(ANNOUNCE_MS));
            }
        }
    }

    /// A push to this peer was shed: tell it everything that it may lack.
    pub(crate) fn announce_everything(&mut self, now: Now, peer: NodeKey) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        for (log, held) in self.logs.iter() {
            if state.known(log) < held.durable().height {
                state.to_announce.insert(*log);
            }
        }
        self.timers.announce.get_or_insert(now.mono.plus(ANNOUNCE_MS));
    }

    fn send_announcements(&mut self, effects: &mut Vec<Effect>) {
        for (key, peer) in &mut self.peers {
            let logs = std::mem::take(&mut peer.to_announce);
            let height = |log: &LogId| self.logs.get(log).map_or(0, |state| state.durable().height);
            let lacks = logs.into_iter().map(|log| (log, height(&log))).filter(|(log, h)| *h > peer.known(log));
            let lacks: Vec<_> = lacks.collect();
            for heights in lacks.chunks(ANNOUNCE_LOGS_MAX) {
                let message = Message::Have { heights: heights.to_vec() };
                effects.push(Effect::Send { peer: *key, message });
            }
        }
    }

    fn note_heights(&mut self, now: Now) {
        self.timers.beacon = self.timers.beacon.min(now.mono.plus(BEACON_HEIGHTS_MS));
    }

    pub(crate) fn refresh_topology(&mut self) {
        if !std::mem::take(&mut self.topology_stale) {
            return;
        }
        let mut reported = BTreeMap::new();
        for (node, heard) in self.beacons.iter() {
            let links = &heard.beacon.neighbours;
            let links = links.iter().map(|link| (link.node, (link.rtt_ms, Cost::from_u8(link.cost))));
            reported.insert(*node, links.collect());
        }
        let ours = self.peers.iter().filter(|(_, peer)| peer.greeted);
        reported.insert(self.me, ours.map(|(key, peer)| (*key, (peer.rtt_ms, peer.cost))).collect());
        self.topology.rebuild(self.me, &reported);
    }

    /// Tells a peer that has just said hello what is known of the federation.
    pub(crate) fn introduce(&mut self, now: Now, peer: NodeKey, effects: &mut Vec<Effect>) {
        for (node, heard) in self.beacons.live(now.mono) {
            if *node != peer {
                effects.push(Effect::Send { peer, message: Message::Beacon(heard.signed.clone()) });
            }
        }
        let beacon = self.sign_beacon(now, true);
        effects.push(Effect::Send { peer, message: Message::Beacon(beacon) });
    }

    pub(crate) fn accept_beacon(&mut self, now: Now, peer: NodeKey, checked: CheckedBeacon, effects: &mut Vec<Effect>) {
        let node = checked.beacon.node;
        if node == self.me || !self.peers.get(&peer).is_some_and(|state| state.greeted) {
            return;
        }
        let links = |beacon: &Beacon| beacon.neighbours.clone();
        let before = self.beacons.get(&node).map(|heard| links(&heard.beacon));
        let direct = node == peer;
        if !self.beacons.take(checked.beacon, checked.signed.clone(), direct, now.mono) {
            return;
        }
        let heard = self.beacons.get(&node).expect("just taken");
        self.topology_stale |= before != Some(links(&heard.beacon));
        let heights: Vec<(LogId, u64)> = heard.heights.iter().map(|(log, height)| (*log, *height)).collect();
        // Those that its node is linked with have it from there.
        let linked: BTreeSet<NodeKey> = heard.beacon.neighbours.iter().map(|link| link.node).collect();
        for (key, state) in &self.peers {
            if *key != peer && *key != node && state.greeted && !linked.contains(key) {
                effects.push(Effect::Send { peer: *key, message: Message::Beacon(checked.signed.clone()) });
            }
        }
        for (log, height) in heights {
            if direct {
                self.learn_height(now, peer, log, height, effects);
            } else {
                self.hear_of_own(log, height, effects);
            }
        }
        self.plan_stale |= direct;
    }

    fn sign_beacon(&mut self, now: Now, complete: bool) -> SignedBeacon {
        self.timers.counter += 1;
        let frontier = self.logs.frontier();
        let frontier_hash = frontier.hash();
        let all = frontier.0.iter().map(|(log, head)| (*log, head.height));
        let told = |(log, height): &(LogId, u64)| self.told_heights.get(log) == Some(height);
        let heights: Vec<(LogId, u64)> = all.filter(|item| complete || !told(item)).take(LOGS_MAX).collect();
        let linked = self.peers.iter().filter(|(_, peer)| peer.greeted);
        let neighbours = linked.take(LINKS_MAX).map(|(key, peer)| Neighbour {
            node: *key,
            rtt_ms: peer.rtt_ms,
            cost: peer.cost as u8,
        });
        let beacon = Beacon {
            node: self.me,
            incarnation: self.incarnation,
            opened: self.opened,
            boot: self.boot,
            counter: self.timers.counter,
            clock: now.wall,
            charter_epoch: self.trust.charter().current().epoch,
            neighbours: neighbours.collect(),
            writable: self.writable,
            frontier_hash,
            heights,
            complete,
            certificate: complete.then(|| self.certificate.encode()),
        };
        SignedBeacon::sign(&beacon, &self.secret)
    }

    fn send_beacon(&mut self, now: Now, effects: &mut Vec<Effect>) {
        // Status views show the live map even while no entry is pushed.
        self.refresh_topology();
        let complete = self.timers.counter.is_multiple_of(BEACON_COMPLETE_EVERY);
        let metered = !self.peers.is_empty() && self.peers.values().all(|peer| peer.cost == Cost::Metered);
        self.timers.beacon = now.mono.plus(if metered { BEACON_METERED_MS } else { BEACON_MS });
        self.timers.last_beacon = Some(now.mono);
        if self.peers.values().any(|peer| peer.greeted) {
            let beacon = self.sign_beacon(now, complete);
            if complete {
                let frontier = self.logs.frontier();
                self.told_heights = frontier.0.iter().map(|(log, head)| (*log, head.height)).collect();
            }
            for (key, _) in self.peers.iter().filter(|(_, peer)| peer.greeted) {
                effects.push(Effect::Send { peer: *key, message: Message::Beacon(beacon.clone()) });
            }
        }
    }

    /// Does what is due.
    pub(crate) fn run_timers(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let spaced = self.timers.last_beacon.is_none_or(|last| now.mono.since(last) >= BEACON_MS_MIN);
        if self.timers.beacon <= now.mono && spaced {
            self.send_beacon(now, effects);
        }
        if self.timers.announce.is_some_and(|due| due <= now.mono) {
            self.timers.announce = None;
            self.send_announcements(effects);
        }
        if self.timers.retry.is_some_and(|due| due <= now.mono) {
            self.timers.retry = None;
        }
        self.ripen_due(now);
        self.confirm_or_part(now, effects);
        if self.timers.backstop <= now.mono {
            self.timers.backstop = now.mono.plus(BACKSTOP_MS);
            self.ripen_all(now);
            self.give_stranded(effects);
            self.give_up_searches(now);
            self.compare_strays(now);
        }
        self.run_stray_timers(now, effects);
        let patience = self
            .peers
            .values()
            .flat_map(|peer| peer.wants.values().map(|asked| asked.progress.plus(peer.patience_ms())));
        if patience.min().is_some_and(|due| due <= now.mono) {
            self.plan_stale = true;
        }
    }

    /// When [`crate::Input::Tick`] is due at the latest.
    #[must_use]
    pub fn deadline(&self) -> MonoMs {
        let beacon = match self.timers.last_beacon {
            Some(last) => self.timers.beacon.max(last.plus(BEACON_MS_MIN)),
            None => self.timers.beacon,
        };
        let wants = self
            .peers
            .values()
            .flat_map(|peer| peer.wants.values().map(|asked| asked.progress.plus(peer.patience_ms())));
        let others =
            [Some(self.timers.backstop), self.timers.retry, self.timers.announce, self.next_ripe(), wants.min()];
        let forks = [self.stray_deadline(), self.confirm_deadline()];
        others.into_iter().chain(forks).flatten().fold(beacon, MonoMs::min)
    }
}
