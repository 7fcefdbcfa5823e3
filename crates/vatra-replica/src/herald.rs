//! Our own beacons and pulses: what they say, and when the next is due. [`crate::relay`] passes them on.
//!
//! A beacon carries what seldom changes, a node's links, and is flooded when they change. A pulse carries what
//! often changes, heights, and travels along its node's tree. Both are paced by how many nodes there are and by
//! how much they say, so that what a node hears of all others together stays about the same in a mesh of any
//! size. What was missed by a tree that moved comes with the next beacon, which is flooded now and then anyway.

use std::collections::BTreeMap;

use vatra_model::limits::{LINKS_MAX, LOGS_MAX};
use vatra_model::wire::{Beacon, Message, Neighbour, PULSE_HEIGHTS_MAX, Pulse, SignedBeacon, SignedPulse};
use vatra_model::{LogId, MonoMs, NodeKey};

use crate::input::{Effect, Now};
use crate::replica::Replica;
use crate::topology::Cost;

/// Least and most time between two beacons when links keep changing, in milliseconds.
const BEACON_MS: (u64, u64) = (100, 3_000);
/// Bytes a second that a node should hear of beacons while links everywhere keep changing.
const BEACON_BYTES_PER_S: u64 = 64 * 1024;
/// Least time between beacons when nothing changes, in milliseconds; over metered links only.
const REFRESH_MS: u64 = 60_000;
const REFRESH_METERED_MS: u64 = 600_000;
/// Bytes a second that a node should hear of beacons when nothing changes.
const REFRESH_BYTES_PER_S: u64 = 512;
/// Time after which a changed round trip is told, in milliseconds.
const ROUND_TRIP_NEWS_MS: u64 = 5_000;
/// Logs up to which every beacon is complete.
const COMPLETE_LOGS: usize = 64;

/// Least and most time between two pulses when heights keep changing, in milliseconds.
const PULSE_MS: (u64, u64) = (2_000, 60_000);
/// Bytes a second that a node should hear of pulses while heights everywhere keep changing.
const PULSE_BYTES_PER_S: u64 = 4_096;
/// Time after which a new height is told at the soonest, in milliseconds: more will follow.
const PULSE_SOON_MS: u64 = 500;
/// Least time between pulses when nothing changes, in milliseconds.
const IDLE_MS: u64 = 10_000;
/// Bytes a second that a node should hear of pulses when nothing changes.
const IDLE_BYTES_PER_S: u64 = 1_024;
/// A changed height is told for this long, in milliseconds: for three pulses over a metered link.
const RECENT_MS: u64 = 90_000;

/// Time between beacons to peers of version 1, in milliseconds.
const OLD_BEACON_MS: u64 = 2_000;

/// Time between beacons and pulses over a metered link, in milliseconds.
pub(crate) const METERED_MS: u64 = 30_000;

/// About what a pulse, a beacon, a link and a log weigh, in bytes.
const PULSE_BYTES: u64 = 200;
const BEACON_BYTES: u64 = 600;
const LINK_BYTES: u64 = 38;
const LOG_BYTES: u64 = 20;

/// What this node said of itself, and when it is to speak next.
#[derive(Debug)]
pub(crate) struct Herald {
    counter: u64,
    beacon_due: MonoMs,
    last_beacon: Option<MonoMs>,
    last_complete: Option<MonoMs>,
    pulse_due: MonoMs,
    last_pulse: MonoMs,
    /// When peers of version 1 are told; `None` without any.
    old_due: Option<MonoMs>,
    /// The links that the last beacon told, with round trip and cost: what others compute trees from.
    pub(crate) links: BTreeMap<NodeKey, (u32, Cost)>,
    /// Heights that the last complete beacon told.
    told_heights: BTreeMap<LogId, u64>,
    /// When heights changed, as long as pulses tell them.
    recent: BTreeMap<LogId, MonoMs>,
    pub(crate) beacon: Option<SignedBeacon>,
    pub(crate) pulse: Option<SignedPulse>,
}

impl Herald {
    pub(crate) fn new(now: MonoMs) -> Herald {
        Herald {
            counter: 0,
            beacon_due: now,
            last_beacon: None,
            last_complete: None,
            pulse_due: now.plus(PULSE_SOON_MS),
            last_pulse: now,
            old_due: None,
            links: BTreeMap::new(),
            told_heights: BTreeMap::new(),
            recent: BTreeMap::new(),
            beacon: None,
            pulse: None,
        }
    }

    /// Links changed, or a new life is durable: a beacon is due as soon as one may be sent.
    pub(crate) fn beacon_changed(&mut self, now: MonoMs) {
        self.beacon_due = self.beacon_due.min(now);
    }

    /// The round trip of a link has clearly changed.
    pub(crate) fn round_trip_changed(&mut self, now: MonoMs) {
        self.beacon_due = self.beacon_due.min(now.plus(ROUND_TRIP_NEWS_MS));
    }

    /// A peer of version 1 said hello.
    pub(crate) fn greeted_old(&mut self, now: MonoMs) {
        self.old_due = Some(self.old_due.map_or(now, |due| due.min(now)));
    }

    /// Something that pulses tell changed.
    pub(crate) fn state_changed(&mut self) {
        self.pulse_due = self.pulse_due.min(self.last_pulse.plus(PULSE_SOON_MS));
    }
}

impl Replica {
    /// Heights of these logs became durable.
    pub(crate) fn note_heights(&mut self, now: Now, logs: impl Iterator<Item = LogId>) {
        let mut logs = logs.peekable();
        if logs.peek().is_none() {
            return;
        }
        for log in logs {
            self.herald.recent.insert(log, now.mono);
        }
        let gap = self.pulse_gap_ms(self.herald.recent.len());
        let due = self.herald.last_pulse.plus(gap).max(now.mono.plus(PULSE_SOON_MS));
        self.herald.pulse_due = self.herald.pulse_due.min(due);
    }

    fn nodes_heard(&self) -> u64 {
        self.beacons.len() as u64 + 1
    }

    fn is_metered(&self) -> bool {
        let mut greeted = self.peers.values().filter(|peer| peer.greeted).peekable();
        greeted.peek().is_some() && greeted.all(|peer| peer.cost() == Cost::Metered)
    }

    /// Time between pulses that tell so many heights: all nodes' together take what they may take.
    fn pulse_gap_ms(&self, heights: usize) -> u64 {
        let bytes = PULSE_BYTES + LOG_BYTES * heights as u64;
        let gap = (self.nodes_heard() * bytes * 1000 / PULSE_BYTES_PER_S).clamp(PULSE_MS.0, PULSE_MS.1);
        if self.is_metered() { gap.max(METERED_MS) } else { gap }
    }

    fn idle_gap_ms(&self) -> u64 {
        let gap = (self.nodes_heard() * PULSE_BYTES * 1000 / IDLE_BYTES_PER_S).max(IDLE_MS);
        if self.is_metered() { gap.max(METERED_MS) } else { gap }
    }

    fn beacon_bytes(&self) -> u64 {
        BEACON_BYTES + LINK_BYTES * self.peers.len() as u64 + LOG_BYTES * self.logs.len() as u64
    }

    fn beacon_gap_ms(&self) -> u64 {
        (self.nodes_heard() * self.beacon_bytes() * 1000 / BEACON_BYTES_PER_S).clamp(BEACON_MS.0, BEACON_MS.1)
    }

    fn refresh_ms(&self) -> u64 {
        let least = if self.is_metered() { REFRESH_METERED_MS } else { REFRESH_MS };
        (self.nodes_heard() * self.beacon_bytes() * 1000 / REFRESH_BYTES_PER_S).max(least)
    }

    fn beacon_at(&self) -> MonoMs {
        let spaced = self.herald.last_beacon.map_or(MonoMs(0), |last| last.plus(self.beacon_gap_ms()));
        self.herald.beacon_due.max(spaced)
    }

    fn has_old_peers(&self) -> bool {
        self.peers.values().any(|peer| peer.greeted && peer.version < 2)
    }

    /// Says what is due of this node; [`Replica::show`] passes it on.
    pub(crate) fn run_herald(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.beacon_at() <= now.mono {
            self.send_beacon(now, effects);
        }
        if self.herald.pulse_due <= now.mono {
            self.send_pulse(now);
        }
        if self.herald.old_due.is_some_and(|due| due <= now.mono) {
            self.herald.old_due = self.has_old_peers().then(|| now.mono.plus(OLD_BEACON_MS));
            self.send_old_beacons(now, effects);
        }
    }

    /// When [`Replica::run_herald`] has something to do.
    pub(crate) fn herald_due(&self) -> MonoMs {
        let own = self.beacon_at().min(self.herald.pulse_due);
        self.herald.old_due.map_or(own, |due| due.min(own))
    }

    fn sign_beacon(&mut self, now: Now, complete: bool) -> SignedBeacon {
        self.herald.counter += 1;
        let frontier = self.logs.frontier();
        let frontier_hash = frontier.hash();
        let all = frontier.0.iter().map(|(log, head)| (*log, head.height));
        let told = |(log, height): &(LogId, u64)| self.herald.told_heights.get(log) == Some(height);
        let heights: Vec<(LogId, u64)> = all.filter(|item| complete || !told(item)).take(LOGS_MAX).collect();
        let neighbours = self.herald.links.iter().take(LINKS_MAX).map(|(node, (rtt_ms, cost))| Neighbour {
            node: *node,
            rtt_ms: *rtt_ms,
            cost: *cost as u8,
        });
        let beacon = Beacon {
            node: self.me,
            incarnation: self.incarnation,
            opened: self.opened,
            boot: self.boot,
            counter: self.herald.counter,
            clock: now.wall,
            charter_epoch: self.trust.charter().current().epoch,
            neighbours: neighbours.collect(),
            writable: self.writable,
            frontier_hash,
            heights,
            complete,
            certificate: Some(self.certificate.encode()),
        };
        SignedBeacon::sign(&beacon, &self.secret)
    }

    /// Tells all peers of our links; over metered links only now and then.
    fn send_beacon(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let greeted = self.peers.iter().filter(|(_, peer)| peer.greeted);
        self.herald.links = greeted.map(|(key, peer)| (*key, (peer.settled_rtt_ms, peer.own_cost()))).collect();
        self.topology_stale = true;
        self.refresh_topology();
        self.herald.beacon_due = now.mono.plus(self.refresh_ms());
        self.herald.last_beacon = Some(now.mono);
        if self.herald.links.is_empty() {
            return;
        }
        let since_complete = self.herald.last_complete.map_or(u64::MAX, |last| now.mono.since(last));
        let complete = self.logs.len() <= COMPLETE_LOGS || since_complete >= self.refresh_ms();
        let beacon = self.sign_beacon(now, complete);
        if complete {
            self.herald.last_complete = Some(now.mono);
            let frontier = self.logs.frontier();
            self.herald.told_heights = frontier.0.iter().map(|(log, head)| (*log, head.height)).collect();
        }
        self.herald.beacon = Some(beacon);
        let me = self.me;
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            self.pass_on(now, peer, 0, |state| state.to_show.insert(me));
            self.show_if_due(now, peer, effects);
        }
    }

    /// Peers of version 1 know no pulses.
    fn send_old_beacons(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let old = self.peers.iter().filter(|(_, peer)| peer.greeted && peer.version < 2);
        let old: Vec<NodeKey> = old.map(|(key, _)| *key).collect();
        if old.is_empty() {
            return;
        }
        let beacon = self.sign_beacon(now, self.logs.len() <= COMPLETE_LOGS);
        effects.extend(old.into_iter().map(|peer| Effect::Send { peer, message: Message::Beacon(beacon.clone()) }));
    }

    /// Tells heights, health and clock to our children in our own tree.
    fn send_pulse(&mut self, now: Now) {
        self.herald.recent.retain(|_, changed| now.mono.since(*changed) < RECENT_MS);
        self.herald.last_pulse = now.mono;
        let idle = self.idle_gap_ms().max(self.pulse_gap_ms(self.herald.recent.len()));
        self.herald.pulse_due = now.mono.plus(idle);
        self.refresh_topology();
        if self.herald.links.is_empty() {
            return;
        }
        self.herald.counter += 1;
        let mut newest: Vec<(MonoMs, &LogId)> =
            self.herald.recent.iter().map(|(log, changed)| (*changed, log)).collect();
        newest.sort_unstable_by_key(|recent| std::cmp::Reverse(*recent));
        newest.truncate(PULSE_HEIGHTS_MAX);
        let height = |log: &LogId| Some((*log, self.logs.get(log)?.durable().height));
        let pulse = Pulse {
            node: self.me,
            incarnation: self.incarnation,
            boot: self.boot,
            counter: self.herald.counter,
            clock: now.wall,
            charter_epoch: self.trust.charter().current().epoch,
            writable: self.writable,
            frontier_hash: self.logs.frontier().hash(),
            heights: newest.into_iter().filter_map(|(_, log)| height(log)).filter(|(_, height)| *height > 0).collect(),
        };
        self.herald.pulse = Some(SignedPulse::sign(&pulse, &self.secret));
        let me = self.me;
        for child in self.topology.children(&me).iter() {
            self.pass_on(now, *child, 0, |state| state.version >= 2 && state.to_pulse.insert(me));
        }
    }
}
