//! Beacons and pulses of all nodes on their way: taken in, passed on to peers that lack them, and the map that
//! they add up to.

use vatra_model::wire::{Beacon, FRAME_ENTRIES_BYTES, Message, PULSES_MAX, SignedBeacon, SignedPulse};
use vatra_model::{LogId, NodeKey};

use crate::herald::METERED_MS;
use crate::input::{Effect, Now, Reject};
use crate::memory::Shown;
use crate::peers::Peer;
use crate::replica::Replica;
use crate::topology::{Cost, Reported};
use crate::trust::CheckedBeacon;

/// Time for which others' beacons and pulses are collected before they are passed on, in milliseconds.
const SHOW_MS: u64 = 50;
const PULSE_HOLD_MS: u64 = 200;
/// The same for a peer that has just said hello: the links that others are making change what it needs.
const INTRODUCE_MS: u64 = 500;
/// Beacons of others passed on at once over a metered link.
const SHOWN_METERED_MAX: usize = 8;

impl Replica {
    /// Tells a peer that has just said hello of our links, so that the map has the new one at once, and soon of
    /// the federation.
    pub(crate) fn introduce(&mut self, now: Now, peer: NodeKey) {
        self.herald.beacon_changed(now.mono);
        let nodes: Vec<NodeKey> = self.beacons.live(now.mono).map(|(node, _)| *node).collect();
        self.pass_on(now, peer, INTRODUCE_MS, |state| {
            state.to_pulse.extend(nodes.iter().copied().filter(|_| state.version >= 2));
            state.to_show.extend(nodes.iter().copied());
            true
        });
    }

    /// Notes something to be said to a peer after a while, more seldom over a metered link.
    pub(crate) fn pass_on(&mut self, now: Now, peer: NodeKey, wait_ms: u64, note: impl FnOnce(&mut Peer) -> bool) {
        let Some(state) = self.peers.get_mut(&peer).filter(|state| state.greeted) else { return };
        if !note(state) {
            return;
        }
        let mut due = now.mono.plus(wait_ms);
        if state.cost() == Cost::Metered
            && let Some(shown) = state.shown_at
        {
            due = due.max(shown.plus(METERED_MS));
        }
        state.show_at = Some(state.show_at.map_or(due, |at| at.min(due)));
        self.peers_due.by(due);
    }

    pub(crate) fn show_if_due(&mut self, now: Now, peer: NodeKey, effects: &mut Vec<Effect>) {
        if self.peers.get(&peer).is_some_and(|state| state.show_at.is_some_and(|at| at <= now.mono)) {
            self.show(now, peer, effects);
        }
    }

    /// Passes on what was noted for a peer and it does not have.
    pub(crate) fn show(&mut self, now: Now, peer: NodeKey, effects: &mut Vec<Effect>) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        state.show_at = None;
        state.shown_at = Some(now.mono);
        let metered = state.cost() == Cost::Metered;
        let (mut nodes, pulses) = (std::mem::take(&mut state.to_show), std::mem::take(&mut state.to_pulse));
        let mut left = if metered { SHOWN_METERED_MAX } else { usize::MAX };
        // Ours makes the link two-way on the map.
        let ours = nodes.take(&self.me);
        for node in ours.into_iter().chain(nodes) {
            if left == 0 {
                self.pass_on(now, peer, 0, |state| state.to_show.insert(node));
            } else if let Some(signed) = self.unseen_beacon(now, peer, node, metered) {
                left -= 1;
                effects.push(Effect::Send { peer, message: Message::Beacon(signed) });
            }
        }
        let signed = |node: &NodeKey| match self.beacons.get(node) {
            Some(heard) => heard.pulse.as_ref().map(|(_, signed)| signed.clone()),
            None => self.herald.pulse.clone().filter(|_| *node == self.me),
        };
        let pulses: Vec<SignedPulse> = pulses.iter().filter_map(signed).collect();
        let messages = in_messages(pulses).into_iter().map(|pulses| Message::Pulses { pulses });
        effects.extend(messages.map(|message| Effect::Send { peer, message }));
    }

    /// The beacon of a node, unless the peer has it, or has it first-hand, or over a metered link nothing but
    /// numbers changed.
    fn unseen_beacon(&mut self, now: Now, peer: NodeKey, node: NodeKey, metered: bool) -> Option<SignedBeacon> {
        if node == self.me {
            return self.herald.beacon.clone();
        }
        let heard = self.beacons.get(&node).filter(|_| node != peer)?;
        if heard.beacon.neighbours.iter().any(|link| link.node == peer) {
            return None;
        }
        let mark = shown(heard);
        let memory = self.memory.of(peer, now.mono);
        let known = memory.shown(&node);
        if known.is_some_and(|known| known == mark || (metered && known.links == mark.links)) {
            return None;
        }
        memory.show(node, mark, now.mono);
        Some(heard.signed.clone())
    }

    pub(crate) fn accept_beacon(&mut self, now: Now, peer: NodeKey, checked: CheckedBeacon, effects: &mut Vec<Effect>) {
        let node = checked.beacon.node;
        if node == self.me || !self.peers.get(&peer).is_some_and(|state| state.greeted) {
            return;
        }
        let links = |beacon: &Beacon| beacon.neighbours.clone();
        let before = self.beacons.get(&node).map(|heard| links(&heard.beacon));
        let direct = node == peer;
        let trust = &self.trust;
        if !self.beacons.take(checked.beacon, checked.signed, direct, now.mono, |node| trust.member(node)) {
            return;
        }
        let heard = self.beacons.get(&node).expect("just taken");
        self.topology_stale |= before != Some(links(&heard.beacon));
        let heights: Vec<(LogId, u64)> = heard.heights.iter().map(|(log, height)| (*log, *height)).collect();
        let ours = heard.beacon.neighbours.iter().find(|link| link.node == self.me);
        let cost = ours.map(|link| Cost::from_u8(link.cost));
        if let Some(state) = self.peers.get_mut(&node).filter(|_| direct) {
            state.their_cost = cost.or(state.their_cost);
        }
        self.memory.of(peer, now.mono).show(node, shown(heard), now.mono);
        let others: Vec<NodeKey> = self.peers.keys().copied().filter(|key| *key != peer && *key != node).collect();
        for other in others {
            self.pass_on(now, other, SHOW_MS, |state| state.to_show.insert(node));
        }
        self.learn_heights(now, node, &heights, effects);
        self.plan_stale |= direct;
    }

    pub(crate) fn accept_pulses(
        &mut self,
        now: Now,
        peer: NodeKey,
        pulses: Vec<SignedPulse>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reject> {
        if pulses.len() > PULSES_MAX {
            return Err(Reject::Full { what: "pulses of a message", limit: PULSES_MAX });
        }
        for signed in pulses {
            let malformed = |detail: String| Reject::Malformed { what: "pulse", detail };
            let pulse = signed.pulse().map_err(|e| malformed(e.to_string()))?;
            let node = pulse.node;
            if node == self.me || !self.beacons.lacks(&pulse) || !self.trust.check_pulse(&signed, &node)? {
                continue;
            }
            let heights = pulse.heights.clone();
            let is_news = !heights.is_empty() || !pulse.writable;
            self.beacons.take_pulse(pulse, signed, now.mono);
            self.refresh_topology();
            for child in self.topology.children(&node).iter() {
                // Over a metered link nobody is told that nothing happened.
                let wants = |state: &Peer| state.version >= 2 && (is_news || state.cost() != Cost::Metered);
                if *child != peer {
                    self.pass_on(now, *child, PULSE_HOLD_MS, |state| wants(state) && state.to_pulse.insert(node));
                }
            }
            self.learn_heights(now, node, &heights, effects);
        }
        Ok(())
    }

    /// A node said that it holds this. If it is a peer, it may be asked for it, whoever passed that on.
    fn learn_heights(&mut self, now: Now, node: NodeKey, heights: &[(LogId, u64)], effects: &mut Vec<Effect>) {
        if self.peers.get(&node).is_some_and(|state| state.greeted) {
            return self.learn_peers_heights(now, node, heights.iter().copied(), effects);
        }
        self.note_origin_ahead(now, &node, heights);
        for (log, height) in heights {
            self.hear_of_own(*log, *height, effects);
        }
    }

    /// Computes the map anew if anything of it changed: of others as their beacons say, of us as ours said.
    pub(crate) fn refresh_topology(&mut self) {
        if !std::mem::take(&mut self.topology_stale) {
            return;
        }
        let mut reported = Reported::new();
        for (node, heard) in self.beacons.iter() {
            let links = &heard.beacon.neighbours;
            let links = links.iter().map(|link| (link.node, (link.rtt_ms, Cost::from_u8(link.cost))));
            reported.insert(*node, links.collect());
        }
        let told = |key: &NodeKey, peer: &Peer| {
            self.herald.links.get(key).copied().unwrap_or((peer.settled_rtt_ms, peer.own_cost()))
        };
        let ours = self.peers.iter().filter(|(_, peer)| peer.greeted);
        reported.insert(self.me, ours.map(|(key, peer)| (*key, told(key, peer))).collect());
        self.topology.rebuild(self.me, reported);
        for (key, peer) in &mut self.peers {
            peer.is_watched = self.topology.watches(key);
        }
    }
}

/// Pulses in groups that fit a message by number and bytes.
fn in_messages(pulses: Vec<SignedPulse>) -> Vec<Vec<SignedPulse>> {
    let (mut groups, mut bytes) = (Vec::<Vec<SignedPulse>>::new(), 0);
    for pulse in pulses {
        bytes += pulse.body.len();
        match groups.last_mut() {
            Some(group) if group.len() < PULSES_MAX && bytes <= FRAME_ENTRIES_BYTES => group.push(pulse),
            _ => {
                bytes = pulse.body.len();
                groups.push(vec![pulse]);
            }
        }
    }
    groups
}

fn shown(heard: &crate::beacons::Heard) -> Shown {
    Shown { boot: heard.beacon.boot, counter: heard.beacon.counter, links: heard.links_digest() }
}

#[cfg(test)]
mod tests {
    use vatra_model::wire::PULSE_BYTES_MAX;

    use super::*;

    #[test]
    fn pulses_fit_their_messages() {
        let pulse = |bytes: usize| SignedPulse { body: vec![7; bytes], signature: [0; 64] };
        for (bytes, count) in [(PULSE_BYTES_MAX, 300), (10, 1_000), (10, 0)] {
            let groups = in_messages(vec![pulse(bytes); count]);
            assert_eq!(groups.iter().map(Vec::len).sum::<usize>(), count);
            for group in groups {
                assert!(!group.is_empty() && group.len() <= PULSES_MAX);
                assert!(group.iter().map(|pulse| pulse.body.len()).sum::<usize>() <= FRAME_ENTRIES_BYTES);
            }
        }
    }
}
