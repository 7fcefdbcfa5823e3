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
