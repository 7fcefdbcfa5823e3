//! The live map: who is linked with whom, and along which tree an entry of each origin travels.
//!
//! Every node computes the same source-rooted shortest-path tree from the same beacons. While beacons differ,
//! a tree edge may be missing or doubled; announcements and pulls repair the one, duplicates are harmless.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use vatra_model::NodeKey;

/// What using a link costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Cost {
    /// Inside a site.
    Lan = 0,
    /// Between sites.
    #[default]
    Wan = 1,
    /// Satellite or mobile: every byte counts.
    Metered = 2,
}

impl Cost {
    /// The cost with this number; an unknown one counts as metered.
    #[must_use]
    pub fn from_u8(number: u8) -> Cost {
        match number {
            0 => Cost::Lan,
            1 => Cost::Wan,
            _ => Cost::Metered,
        }
    }
}

/// An undirected, weighted graph of live links.
#[derive(Clone, Debug, Default)]
pub(crate) struct Topology {
    edges: BTreeMap<NodeKey, BTreeMap<NodeKey, Edge>>,
    /// Children of each node in the tree of an origin; computed on demand.
    trees: BTreeMap<NodeKey, Tree>,
    /// Neighbours of this node that it watches over.
    watched: BTreeSet<NodeKey>,
}

/// Children of each node, in order.
type Tree = BTreeMap<NodeKey, Arc<[NodeKey]>>;

#[derive(Clone, Copy, Debug)]
struct Edge {
    weight: u64,
    cost: Cost,
}

/// Trees kept before the oldest are thrown away: one per origin of a full federation.
const TREES_MAX: usize = 256;
/// Neighbours of a node that tell it heights beside the tree: enough that one that lies and one that is cut off
/// hide nothing, and few, so that this costs the same in a mesh of any size.
const WATCHERS: usize = 3;

impl Topology {
    /// Takes the links that nodes report. A link counts if both ends report it, or if one end is `me` and
    /// the other has not spoken yet; its weight is the worse of the two.
    pub(crate) fn rebuild(&mut self, me: NodeKey, reported: &BTreeMap<NodeKey, BTreeMap<NodeKey, (u32, Cost)>>) {
        self.trees.clear();
        self.edges.clear();
        for (a, links) in reported {
            for (b, (rtt, cost)) in links {
                let back = reported.get(b);
                let (rtt, cost) = match (back.and_then(|links| links.get(a)), back.is_none() && *a == me) {
                    (Some((other_rtt, other_cost)), _) => ((*rtt).max(*other_rtt), (*cost).max(*other_cost)),
                    (None, true) => (*rtt, *cost),
                    (None, false) => continue,
                };
                let edge = Edge { weight: weight(rtt, cost), cost };
                self.edges.entry(*a).or_default().insert(*b, edge);
                self.edges.entry(*b).or_default().insert(*a, edge);
            }
        }
        let own: BTreeSet<NodeKey> = self.edges.get(&me).into_iter().flat_map(BTreeMap::keys).copied().collect();
        self.watched = own.into_iter().filter(|node| self.watchers(node).contains(&me)).collect();
    }

    /// Those of `of`'s neighbours to which it forwards entries of `origin`.
    pub(crate) fn children(&mut self, origin: &NodeKey, of: &NodeKey) -> Arc<[NodeKey]> {
        if let Some(tree) = self.trees.get(origin) {
            return tree.get(of).cloned().unwrap_or_default();
        }
        if self.trees.len() >= TREES_MAX {
            self.trees.clear();
        }
        let mut children: BTreeMap<NodeKey, Vec<NodeKey>> = BTreeMap::new();
        for (child, parent) in self.parents(origin) {
            children.entry(parent).or_default().push(child);
        }
        let tree: Tree = children.into_iter().map(|(parent, children)| (parent, children.into())).collect();
        let own = tree.get(of).cloned().unwrap_or_default();
        self.trees.insert(*origin, tree);
        own
    }

    /// Whether this node tells a neighbour of heights that it does not push to it. One that is not on the map is
    /// told by everybody.
    pub(crate) fn watches(&self, neighbour: &NodeKey) -> bool {
        self.watched.contains(neighbour) || !self.edges.contains_key(neighbour)
    }

    /// Whether two nodes have a link.
    pub(crate) fn linked(&self, a: &NodeKey, b: &NodeKey) -> bool {
        self.edges.get(a).is_some_and(|edges| edges.contains_key(b))
    }

    /// The other nodes to which any path leads.
    pub(crate) fn reachable(&self, from: &NodeKey) -> BTreeSet<NodeKey> {
        self.parents(from).into_keys().collect()
    }

    /// The near neighbours of a node that watch over it; over metered links only if there are no others.
    fn watchers(&self, node: &NodeKey) -> BTreeSet<NodeKey> {
        let Some(edges) = self.edges.get(node) else { return BTreeSet::new() };
        let thin = edges.values().all(|edge| edge.cost == Cost::Metered);
        let eligible = edges.iter().filter(|(_, edge)| thin || edge.cost != Cost::Metered);
        // Among about equally near ones chance decides, so that nobody watches over a whole mesh.
        let mut ranked: Vec<_> = eligible
            .map(|(neighbour, edge)| (edge.weight.next_power_of_two(), mix(node, neighbour), *neighbour))
            .collect();
        ranked.sort_unstable();
        ranked.into_iter().take(WATCHERS).map(|(_, _, neighbour)| neighbour).collect()
    }

    /// Dijkstra's shortest paths; equal ones are decided by the smaller parent key, so that all nodes agree.
    fn parents(&self, origin: &NodeKey) -> BTreeMap<NodeKey, NodeKey> {
        let mut parents: BTreeMap<NodeKey, NodeKey> = BTreeMap::new();
        let mut distances: BTreeMap<NodeKey, u64> = BTreeMap::from([(*origin, 0)]);
        let mut queue = BinaryHeap::from([Reverse((0_u64, *origin))]);
        while let Some(Reverse((distance, node))) = queue.pop() {
            if distances.get(&node).is_some_and(|best| *best < distance) {
                continue;
            }
            for (next, edge) in self.edges.get(&node).into_iter().flatten() {
                let through = distance + edge.weight;
                let known = distances.get(next).copied().unwrap_or(u64::MAX);
                let tie = through == known && parents.get(next).is_some_and(|parent| node < *parent);
                if through < known || tie {
                    parents.insert(*next, node);
                    distances.insert(*next, through);
                    if through < known {
                        queue.push(Reverse((through, *next)));
                    }
                }
            }
        }
        parents
    }
}

/// The round trip of a link; a hop costs two disks as well, and metered links are a last resort. Every node
/// computes with the round trips that beacons tell, which change only when a link has clearly changed.
fn weight(rtt_ms: u32, cost: Cost) -> u64 {
    let base = match cost {
        Cost::Lan => 2,
        Cost::Wan => 4,
        Cost::Metered => 100_000,
    };
    base + u64::from(rtt_ms.clamp(1, 16_384))
}

/// A number that looks random, the same on every node.
fn mix(a: &NodeKey, b: &NodeKey) -> u64 {
    let part = |key: &NodeKey| key.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    (part(a) ^ part(b).rotate_left(23)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(number: u8) -> NodeKey {
        NodeKey([number; 32])
    }

    fn map(links: &[(u8, u8, u32)]) -> BTreeMap<NodeKey, BTreeMap<NodeKey, (u32, Cost)>> {
        let mut reported: BTreeMap<NodeKey, BTreeMap<NodeKey, (u32, Cost)>> = BTreeMap::new();
        for &(a, b, rtt) in links {
            reported.entry(key(a)).or_default().insert(key(b), (rtt, Cost::Wan));
            reported.entry(key(b)).or_default().insert(key(a), (rtt, Cost::Wan));
        }
        reported
    }

    #[test]
    fn a_ring_is_covered_once() {
        let mut topology = Topology::default();
        topology.rebuild(key(1), &map(&[(1, 2, 5), (2, 3, 5), (3, 4, 5), (4, 1, 5)]));
        assert_eq!(*topology.children(&key(1), &key(1)), [key(2), key(4)]);
        assert_eq!(*topology.children(&key(1), &key(2)), [key(3)]);
        assert_eq!(*topology.children(&key(1), &key(4)), []);
    }

    #[test]
    fn a_detour_beats_a_metered_link() {
        let mut reported = map(&[(1, 2, 300), (1, 3, 20), (3, 2, 20)]);
        reported.get_mut(&key(1)).expect("there").insert(key(2), (300, Cost::Metered));
        let mut topology = Topology::default();
        topology.rebuild(key(9), &reported);
        assert_eq!(*topology.children(&key(1), &key(3)), [key(2)]);
    }

    #[test]
    fn links_that_one_end_denies_do_not_count() {
        let mut reported = map(&[(1, 2, 5)]);
        reported.entry(key(1)).or_default().insert(key(3), (5, Cost::Wan));
        let mut topology = Topology::default();
        topology.rebuild(key(2), &reported);
        assert!(!topology.reachable(&key(1)).contains(&key(3)));
        topology.rebuild(key(1), &reported);
        assert!(topology.reachable(&key(1)).contains(&key(3)), "our own link counts before the other end has spoken");
    }

    #[test]
    fn a_few_neighbours_watch_over_each_node() {
        let pairs = (0..60_u8).flat_map(|a| (a + 1..60).map(move |b| (a, b, 20 + u32::from(a ^ b) % 4)));
        let links = map(&pairs.collect::<Vec<_>>());
        let mut watchers = BTreeMap::new();
        for me in 0..60 {
            let mut topology = Topology::default();
            topology.rebuild(key(me), &links);
            let watched = (0..60).filter(|node| *node != me && topology.watches(&key(*node))).count();
            assert!(watched <= 12, "{me} watches over {watched}");
            for node in (0..60).filter(|node| *node != me && topology.watches(&key(*node))) {
                *watchers.entry(node).or_insert(0) += 1;
            }
            assert!(topology.watches(&key(99)), "whoever is not on the map is told by all");
        }
        assert_eq!(watchers, (0..60).map(|node| (node, WATCHERS)).collect());
    }

    #[test]
    fn nobody_watches_over_a_metered_link_unless_there_is_no_other() {
        let mut reported = map(&[(1, 2, 300), (1, 3, 20), (3, 2, 500), (3, 4, 300)]);
        for (a, b) in [(1, 2), (2, 1), (3, 4), (4, 3)] {
            reported.get_mut(&key(a)).expect("there").insert(key(b), (300, Cost::Metered));
        }
        let mut topology = Topology::default();
        topology.rebuild(key(1), &reported);
        assert_eq!((topology.watches(&key(2)), topology.watches(&key(3))), (false, true));
        topology.rebuild(key(3), &reported);
        assert_eq!((topology.watches(&key(2)), topology.watches(&key(4))), (true, true));
    }

    proptest! {
        #[test]
        fn every_reachable_node_has_exactly_one_parent(links in prop::collection::vec((0..8_u8, 0..8_u8, 1..100_u32), 0..20)) {
            let links: Vec<_> = links.into_iter().filter(|(a, b, _)| a != b).collect();
            let mut topology = Topology::default();
            topology.rebuild(key(9), &map(&links));
            for origin in 0..8 {
                let mut covered = BTreeMap::new();
                for parent in 0..8 {
                    for child in topology.children(&key(origin), &key(parent)).iter() {
                        prop_assert_eq!(covered.insert(*child, parent), None);
                    }
                }
                for node in 0..8 {
                    let reachable = topology.reachable(&key(origin)).contains(&key(node));
                    prop_assert_eq!(covered.contains_key(&key(node)), reachable);
                }
            }
        }
    }
}
