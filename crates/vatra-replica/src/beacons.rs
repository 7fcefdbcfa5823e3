//! What every node of the federation last announced.

use std::collections::BTreeMap;

use vatra_model::limits::{LINKS_MAX, LOGS_MAX, MEMBERS_MAX};
use vatra_model::wire::{Beacon, PULSE_HEIGHTS_MAX, Pulse, SignedBeacon, SignedPulse};
use vatra_model::{LogId, MemberCode, MonoMs, NodeKey};

/// Nodes of one member whose beacons are kept: five sites' worth; so that none keeps those of others out.
const NODES_PER_MEMBER_MAX: usize = 16;
/// Nodes whose beacons are kept.
const NODES_MAX: usize = MEMBERS_MAX * NODES_PER_MEMBER_MAX;

/// A node that has not been heard for this long is not told of to new peers, in milliseconds.
pub(crate) const SILENT_MS: u64 = 1_800_000;

/// The latest beacon of one node, its pulse since, and the heights that they added up to.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) beacon: Beacon,
    pub(crate) signed: SignedBeacon,
    /// Newer than the beacon.
    pub(crate) pulse: Option<(Pulse, SignedPulse)>,
    pub(crate) heights: BTreeMap<LogId, u64>,
    pub(crate) heard: MonoMs,
}

impl Heard {
    /// The highest count of what was heard of this start of the node.
    fn counter(&self) -> u64 {
        self.pulse.as_ref().map_or(self.beacon.counter, |(pulse, _)| pulse.counter)
    }

    /// Hash of the node's frontier as it said last.
    pub(crate) fn frontier_hash(&self) -> [u8; 32] {
        self.pulse.as_ref().map_or(self.beacon.frontier_hash, |(pulse, _)| pulse.frontier_hash)
    }

    /// Its store takes writes, as it said last.
    pub(crate) fn writable(&self) -> bool {
        self.pulse.as_ref().map_or(self.beacon.writable, |(pulse, _)| pulse.writable)
    }

    /// A number that changes with the node's life and with whom it is linked, at what cost.
    pub(crate) fn links_digest(&self) -> u64 {
        let mut digest = (self.beacon.incarnation.0 ^ self.beacon.boot).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for link in &self.beacon.neighbours {
            for byte in link.node.0.iter().chain([&link.cost]) {
                digest = (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        digest
    }

    fn add_heights(&mut self, heights: &[(LogId, u64)]) {
        for (log, height) in heights {
            if let Some(known) = self.heights.get_mut(log) {
                *known = *height;
            } else if self.heights.len() < LOGS_MAX {
                self.heights.insert(*log, *height);
            }
        }
    }
}

/// All nodes heard of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beacons {
    nodes: BTreeMap<NodeKey, Heard>,
}

impl Beacons {
    /// Takes a beacon; `true` if it is news. `direct` = it came from its own node over our link, which settles
    /// which of two lives is the present one, and makes room for it among the nodes of its member.
    pub(crate) fn take(
        &mut self,
        beacon: Beacon,
        signed: SignedBeacon,
        direct: bool,
        now: MonoMs,
        member: impl Fn(&NodeKey) -> Option<MemberCode>,
    ) -> bool {
        if beacon.heights.len() > LOGS_MAX || beacon.neighbours.len() > LINKS_MAX {
            return false;
        }
        if !self.nodes.contains_key(&beacon.node) && !self.make_room(&beacon.node, direct, member) {
            return false;
        }
        let known = self.nodes.get(&beacon.node);
        let same_life = known.is_some_and(|known| known.beacon.incarnation == beacon.incarnation);
        let news = match known {
            None => true,
            Some(known) if same_life => (beacon.boot, beacon.counter) > (known.beacon.boot, known.beacon.counter),
            Some(known) => {
                let order = |beacon: &Beacon| (beacon.opened, beacon.incarnation);
                direct || order(&beacon) > order(&known.beacon)
            }
        };
        if !news {
            return false;
        }
        let heights = match known {
            Some(known) if !beacon.complete => known.heights.clone(),
            _ => BTreeMap::new(),
        };
        // A pulse along the tree may have overtaken the beacon, which is flooded.
        let overtook = |(pulse, _): &(Pulse, SignedPulse)| pulse.boot == beacon.boot && pulse.counter > beacon.counter;
        let pulse = known.filter(|_| same_life).and_then(|known| known.pulse.clone()).filter(overtook);
        let (node, told) = (beacon.node, beacon.heights.clone());
        let mut heard = Heard { beacon, signed, pulse: None, heights, heard: now };
        heard.add_heights(&told);
        if let Some((pulse, _)) = &pulse {
            heard.add_heights(&pulse.heights.clone());
        }
        heard.pulse = pulse;
        self.nodes.insert(node, heard);
        true
    }

    /// Whether there is room for another node. For one at the other end of a link the one of its member that was not
    /// heard for longest goes.
    fn make_room(&mut self, node: &NodeKey, direct: bool, member: impl Fn(&NodeKey) -> Option<MemberCode>) -> bool {
        let whose = member(node);
        let same = || self.nodes.iter().filter(|(other, _)| member(other) == whose);
        if same().count() < NODES_PER_MEMBER_MAX && self.nodes.len() < NODES_MAX {
            return true;
        }
        let oldest = same().min_by_key(|(key, heard)| (heard.heard, **key)).map(|(key, _)| *key);
        match oldest.filter(|_| direct) {
            Some(oldest) => self.nodes.remove(&oldest).is_some(),
            None => false,
        }
    }

    /// Whether a pulse would be news: it is newer than all that was heard of the same start of its node.
    pub(crate) fn lacks(&self, pulse: &Pulse) -> bool {
        self.nodes.get(&pulse.node).is_some_and(|known| {
            (known.beacon.incarnation, known.beacon.boot) == (pulse.incarnation, pulse.boot)
                && pulse.counter > known.counter()
                && pulse.heights.len() <= PULSE_HEIGHTS_MAX
        })
    }

    /// Takes a pulse that [`Beacons::lacks`] said is news and whose signature was checked.
    pub(crate) fn take_pulse(&mut self, pulse: Pulse, signed: SignedPulse, now: MonoMs) {
        let Some(known) = self.nodes.get_mut(&pulse.node) else { return };
        known.add_heights(&pulse.heights);
        known.heard = now;
        known.pulse = Some((pulse, signed));
    }

    /// How many nodes were heard of.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn get(&self, node: &NodeKey) -> Option<&Heard> {
        self.nodes.get(node)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&NodeKey, &Heard)> {
        self.nodes.iter()
    }

    /// Nodes heard lately.
    pub(crate) fn live(&self, now: MonoMs) -> impl Iterator<Item = (&NodeKey, &Heard)> {
        self.nodes.iter().filter(move |(_, heard)| now.since(heard.heard) < SILENT_MS)
    }

    /// Forgets nodes that are no longer admitted.
    pub(crate) fn retain(&mut self, admitted: impl Fn(&NodeKey) -> bool) {
        self.nodes.retain(|node, _| admitted(node));
    }
}

#[cfg(test)]
mod tests {
    use vatra_model::wire::Neighbour;
    use vatra_model::{Incarnation, Secret, WallMs};

    use super::*;

    fn secret() -> Secret {
        Secret::from_seed(&[1; 32])
    }

    /// A beacon of one life with one height.
    fn beacon((opened, incarnation): (u64, u64), (boot, counter): (u64, u64), log: u8, complete: bool) -> Beacon {
        Beacon {
            node: secret().node_key(),
            incarnation: Incarnation(incarnation),
            opened: WallMs(opened),
            boot,
            counter,
            clock: WallMs(0),
            charter_epoch: 1,
            neighbours: vec![],
            writable: true,
            frontier_hash: [0; 32],
            heights: vec![(LogId([log; 16]), counter)],
            complete,
            certificate: None,
        }
    }

    fn take(beacons: &mut Beacons, beacon: &Beacon, direct: bool) -> bool {
        beacons.take(beacon.clone(), SignedBeacon::sign(beacon, &secret()), direct, MonoMs(5), |_| None)
    }

    fn heights(beacons: &Beacons) -> Vec<(u8, u64)> {
        let heard = beacons.get(&secret().node_key()).expect("heard");
        heard.heights.iter().map(|(log, height)| (log.0[0], *height)).collect()
    }

    #[test]
    fn later_beacons_win_and_heights_add_up() {
        let mut beacons = Beacons::default();
        assert!(take(&mut beacons, &beacon((10, 1), (1, 1), 1, true), true));
        assert!(take(&mut beacons, &beacon((10, 1), (1, 3), 2, false), false));
        assert_eq!(heights(&beacons), [(1, 1), (2, 3)]);
        for stale in [beacon((10, 1), (1, 3), 9, true), beacon((10, 1), (1, 2), 9, true)] {
            assert!(!take(&mut beacons, &stale, true));
        }
        assert!(take(&mut beacons, &beacon((10, 1), (2, 1), 3, true), false), "a restart begins to count anew");
        assert_eq!(heights(&beacons), [(3, 1)], "a complete one replaces what was known");
    }

    #[test]
    fn a_pulse_adds_to_its_beacon_whichever_comes_first() {
        let pulse = |boot, counter, log| {
            let pulse = Pulse {
                node: secret().node_key(),
                incarnation: Incarnation(1),
                boot,
                counter,
                clock: WallMs(0),
                charter_epoch: 1,
                writable: false,
                frontier_hash: [1; 32],
                heights: vec![(LogId([log; 16]), counter)],
            };
            (pulse.clone(), SignedPulse::sign(&pulse, &secret()))
        };
        let mut beacons = Beacons::default();
        let (early, signed) = pulse(1, 4, 2);
        assert!(!beacons.lacks(&early), "nothing is known of its node");
        assert!(take(&mut beacons, &beacon((10, 1), (1, 1), 1, true), true));
        assert!(beacons.lacks(&early));
        beacons.take_pulse(early.clone(), signed, MonoMs(9));
        assert_eq!(heights(&beacons), [(1, 1), (2, 4)]);
        let heard = beacons.get(&secret().node_key()).expect("heard");
        assert_eq!((heard.writable(), heard.frontier_hash(), heard.heard), (false, [1; 32], MonoMs(9)));
        for stale in [pulse(1, 4, 9).0, pulse(1, 3, 9).0, pulse(2, 9, 9).0] {
            assert!(!beacons.lacks(&stale), "{stale:?}");
        }
        assert!(take(&mut beacons, &beacon((10, 1), (1, 3), 3, true), true), "it was overtaken and brings its links");
        assert_eq!(heights(&beacons), [(2, 4), (3, 3)], "the pulse is newer than the complete beacon");
        assert!(take(&mut beacons, &beacon((10, 1), (1, 5), 1, true), true));
        assert_eq!(heights(&beacons), [(1, 5)]);
        assert!(beacons.get(&secret().node_key()).expect("heard").writable());
    }

    #[test]
    fn the_younger_life_wins_unless_the_node_itself_says_otherwise() {
        let mut beacons = Beacons::default();
        assert!(take(&mut beacons, &beacon((10, 1), (5, 5), 1, true), false));
        assert!(take(&mut beacons, &beacon((20, 2), (1, 1), 2, true), false));
        assert!(!take(&mut beacons, &beacon((10, 1), (9, 9), 3, true), false), "an old beacon still travels");
        assert!(take(&mut beacons, &beacon((10, 1), (9, 9), 3, true), true), "its clock may have gone back");
    }

    #[test]
    fn beacons_are_bounded() {
        let mut beacons = Beacons::default();
        let link = Neighbour { node: NodeKey([1; 32]), rtt_ms: 1, cost: 0 };
        let crowded = Beacon { neighbours: vec![link; LINKS_MAX + 1], ..beacon((1, 1), (1, 1), 1, true) };
        assert!(!take(&mut beacons, &crowded, true));
        let long = Beacon { heights: vec![(LogId([1; 16]), 1); LOGS_MAX + 1], ..beacon((1, 1), (1, 1), 1, true) };
        assert!(!take(&mut beacons, &long, true));
        let of = |number: usize| {
            let mut key = [7; 32];
            key[..8].copy_from_slice(&(number as u64).to_le_bytes());
            Beacon { node: NodeKey(key), ..beacon((1, 1), (1, 1), 1, true) }
        };
        for number in 0..=NODES_PER_MEMBER_MAX {
            assert_eq!(take(&mut beacons, &of(number), false), number < NODES_PER_MEMBER_MAX);
        }
        let other: MemberCode = "LT".parse().expect("valid");
        let lt = |node: &NodeKey| (node.0[0] >= 100).then_some(other);
        let theirs = of(100);
        let signed = SignedBeacon::sign(&theirs, &secret());
        assert!(beacons.take(theirs, signed, false, MonoMs(5), lt), "one member keeps no other out");
        assert!(take(&mut beacons, &of(90), true), "the node at the other end of a link finds room");
        assert_eq!(beacons.len(), NODES_PER_MEMBER_MAX + 1);
        beacons.retain(|node| node.0[0] != 90);
        assert_eq!(beacons.live(MonoMs(4 + SILENT_MS)).count(), beacons.iter().count());
        assert_eq!(beacons.live(MonoMs(5 + SILENT_MS)).count(), 0);
    }
}
