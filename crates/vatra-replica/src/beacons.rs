//! What every node of the federation last announced.

use std::collections::BTreeMap;

use vatra_model::limits::{LINKS_MAX, LOGS_MAX, MEMBERS_MAX};
use vatra_model::wire::{Beacon, SignedBeacon};
use vatra_model::{LogId, MonoMs, NodeKey};

/// Nodes whose beacons are kept: five sites' worth for each member.
const NODES_MAX: usize = MEMBERS_MAX * 16;

/// A node that has not been heard for this long is not on the live map, in milliseconds.
pub(crate) const SILENT_MS: u64 = 10_000;

/// The latest beacon of one node, and the heights that its beacons added up to.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) beacon: Beacon,
    pub(crate) signed: SignedBeacon,
    pub(crate) heights: BTreeMap<LogId, u64>,
    pub(crate) heard: MonoMs,
}

/// All nodes heard of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beacons {
    nodes: BTreeMap<NodeKey, Heard>,
}

impl Beacons {
    /// Takes a beacon; `true` if it is news. `direct` = it came from its own node over our link, which settles
    /// which of two lives is the present one.
    pub(crate) fn take(&mut self, beacon: Beacon, signed: SignedBeacon, direct: bool, now: MonoMs) -> bool {
        if beacon.heights.len() > LOGS_MAX || beacon.neighbours.len() > LINKS_MAX {
            return false;
        }
        let known = self.nodes.get(&beacon.node);
        let same_life = known.is_some_and(|known| known.beacon.incarnation == beacon.incarnation);
        let news = match known {
            None => self.nodes.len() < NODES_MAX,
            Some(known) if same_life => (beacon.boot, beacon.counter) > (known.beacon.boot, known.beacon.counter),
            Some(known) => {
                let order = |beacon: &Beacon| (beacon.opened, beacon.incarnation);
                direct || order(&beacon) > order(&known.beacon)
            }
        };
        if !news {
            return false;
        }
        let mut heights = match known {
            Some(known) if !beacon.complete => known.heights.clone(),
            _ => BTreeMap::new(),
        };
        for (log, height) in &beacon.heights {
            if heights.len() < LOGS_MAX || heights.contains_key(log) {
                heights.insert(*log, *height);
            }
        }
        self.nodes.insert(beacon.node, Heard { beacon, signed, heights, heard: now });
        true
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
        beacons.take(beacon.clone(), SignedBeacon::sign(beacon, &secret()), direct, MonoMs(5))
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
        for number in 0..=NODES_MAX {
            let mut key = [7; 32];
            key[..8].copy_from_slice(&(number as u64).to_le_bytes());
            let other = Beacon { node: NodeKey(key), ..beacon((1, 1), (1, 1), 1, true) };
            assert_eq!(take(&mut beacons, &other, true), number < NODES_MAX);
        }
        beacons.retain(|node| node.0[0] != 0);
        assert!(take(&mut beacons, &beacon((1, 1), (1, 1), 1, true), true), "there is room again");
        assert_eq!(beacons.live(MonoMs(4 + SILENT_MS)).count(), beacons.iter().count());
        assert_eq!(beacons.live(MonoMs(5 + SILENT_MS)).count(), 0);
    }
}
