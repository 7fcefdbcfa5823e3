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

/// An undirected, weighted graph of live links, as one node sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Topology {
    /// All nodes of the map in order; everything else names them by their places here.
    nodes: Vec<NodeKey>,
    /// The links of each node, in the order of their other ends.
    edges: Vec<Vec<Edge>>,
    /// The node whose map it is.
    me: Option<usize>,
    /// Neighbours of that node that it watches over.
    watched: Vec<usize>,
    /// To whom that node forwards entries of an origin; computed on demand.
    children: BTreeMap<NodeKey, Arc<[NodeKey]>>,
}

/// The links that nodes report: to whom, with which round trip in milliseconds, at which cost. What is named twice
/// counts as it was named last.
pub(crate) type Reported = BTreeMap<NodeKey, Vec<(NodeKey, (u32, Cost))>>;

#[derive(Clone, Copy, Debug)]
struct Edge {
    to: usize,
    weight: u64,
    cost: Cost,
}

/// Origins whose trees are remembered before all are forgotten: those of a full federation.
const TREES_MAX: usize = 256;
/// Neighbours of a node that tell it heights beside the tree: enough that one that lies and one that is cut off
/// hide nothing, and few, so that this costs the same in a mesh of any size.
const WATCHERS: usize = 3;
/// The same of a node with few links but metered ones.
const WATCHERS_THIN: usize = 2;

impl Topology {
    /// Takes the links that nodes report. A link counts if both ends report it, or if one end is `me` and
    /// the other has not spoken yet; its weight is the worse of the two.
    pub(crate) fn rebuild(&mut self, me: NodeKey, mut reported: Reported) {
        self.children.clear();
        for (node, links) in &mut reported {
            links.retain(|(to, _)| to != node);
            links.sort_by_key(|(to, _)| *to);
            links.dedup_by(|later, kept| {
                let is_same = later.0 == kept.0;
                if is_same {
                    *kept = *later;
                }
                is_same
            });
        }
        let silent = reported.get(&me).into_iter().flatten().map(|(to, _)| *to);
        let silent: Vec<NodeKey> = silent.filter(|to| !reported.contains_key(to)).collect();
        self.nodes = reported.keys().copied().chain(silent).collect();
        self.nodes.sort_unstable();
        self.me = self.place(&me);
        self.edges = vec![Vec::new(); self.nodes.len()];
        for (from, links) in &reported {
            let Some(at) = self.place(from) else { continue };
            for (to, (rtt, cost)) in links {
                let Some(other) = self.place(to) else { continue };
                match reported.get(to) {
                    Some(back) => {
                        let Ok(back) = back.binary_search_by_key(from, |(to, _)| *to).map(|found| back[found].1) else {
                            continue;
                        };
                        let cost = (*cost).max(back.1);
                        self.edges[at].push(Edge { to: other, weight: weight((*rtt).max(back.0), cost), cost });
                    }
                    None if *from == me => {
                        let edge = Edge { to: other, weight: weight(*rtt, *cost), cost: *cost };
                        self.edges[at].push(edge);
                        self.edges[other].push(Edge { to: at, ..edge });
                    }
                    None => {}
                }
            }
        }
        let own = self.me.map_or(&[][..], |me| &self.edges[me]);
        self.watched =
            own.iter().map(|edge| edge.to).filter(|to| self.watchers(*to).any(|w| Some(w) == self.me)).collect();
    }

    fn place(&self, node: &NodeKey) -> Option<usize> {
        self.nodes.binary_search(node).ok()
    }

    /// The neighbours to which this node forwards entries of `origin`.
    pub(crate) fn children(&mut self, origin: &NodeKey) -> Arc<[NodeKey]> {
        if let Some(children) = self.children.get(origin) {
            return children.clone();
        }
        if self.children.len() >= TREES_MAX {
            self.children.clear();
        }
        let parents = self.place(origin).map(|origin| self.parents(origin)).unwrap_or_default();
        let of_me = parents.iter().zip(&self.nodes).filter(|(parent, _)| parent.is_some() && **parent == self.me);
        let children: Arc<[NodeKey]> = of_me.map(|(_, child)| *child).collect();
        self.children.insert(*origin, children.clone());
        children
    }

    /// Whether this node tells a neighbour of heights that it does not push to it. One that is not on the map is
    /// told by everybody.
    pub(crate) fn watches(&self, neighbour: &NodeKey) -> bool {
        self.place(neighbour).is_none_or(|place| self.edges[place].is_empty() || self.watched.contains(&place))
    }

    /// Whether two nodes have a link.
    pub(crate) fn linked(&self, a: &NodeKey, b: &NodeKey) -> bool {
        let (Some(a), Some(b)) = (self.place(a), self.place(b)) else { return false };
        self.edges[a].binary_search_by_key(&b, |edge| edge.to).is_ok()
    }

    /// The other nodes to which any path leads.
    pub(crate) fn reachable(&self, from: &NodeKey) -> BTreeSet<NodeKey> {
        let parents = self.place(from).map(|from| self.parents(from)).unwrap_or_default();
        parents.iter().zip(&self.nodes).filter(|(parent, _)| parent.is_some()).map(|(_, node)| *node).collect()
    }

    /// The near neighbours of a node that watch over it; over metered links only if there are too few others: one
    /// alone may be the parent on whose way something is lost.
    fn watchers(&self, node: usize) -> impl Iterator<Item = usize> + use<> {
        let edges = &self.edges[node];
        let others = edges.iter().filter(|edge| edge.cost != Cost::Metered).count();
        let count = if others == 0 { WATCHERS } else { others.clamp(WATCHERS_THIN, WATCHERS) };
        // Among about equally near ones chance decides, so that nobody watches over a whole mesh.
        let chance = |edge: &Edge| mix(&self.nodes[node], &self.nodes[edge.to]);
        let rank = |edge: &Edge| (edge.cost == Cost::Metered, edge.weight.next_power_of_two(), chance(edge), edge.to);
        let mut ranked: Vec<_> = edges.iter().map(rank).collect();
        ranked.sort_unstable();
        ranked.into_iter().take(count).map(|(.., neighbour)| neighbour)
    }

    /// Dijkstra's shortest paths: the parent of each node; equal paths are decided by the smaller parent key, so that
    /// all nodes agree.
    fn parents(&self, origin: usize) -> Vec<Option<usize>> {
        let mut parents: Vec<Option<usize>> = vec![None; self.nodes.len()];
        let mut distances = vec![u64::MAX; self.nodes.len()];
        distances[origin] = 0;
        let mut queue = BinaryHeap::from([Reverse((0_u64, origin))]);
        while let Some(Reverse((distance, node))) = queue.pop() {
            if distances[node] < distance {
                continue;
            }
            for edge in &self.edges[node] {
                let (through, known) = (distance + edge.weight, distances[edge.to]);
                let tie = through == known && parents[edge.to].is_some_and(|parent| node < parent);
                if through < known || tie {
                    parents[edge.to] = Some(node);
                    distances[edge.to] = through;
                }
                if through < known {
                    queue.push(Reverse((through, edge.to)));
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

    fn map(links: &[(u8, u8, u32)]) -> Reported {
        let mut reported = Reported::new();
        for &(a, b, rtt) in links {
            reported.entry(key(a)).or_default().push((key(b), (rtt, Cost::Wan)));
            reported.entry(key(b)).or_default().push((key(a), (rtt, Cost::Wan)));
        }
        reported
    }

    /// To whom a node forwards what an origin wrote.
    fn children(reported: &Reported, origin: u8, of: u8) -> Vec<NodeKey> {
        let mut topology = Topology::default();
        topology.rebuild(key(of), reported.clone());
        topology.children(&key(origin)).to_vec()
    }

    #[test]
    fn a_ring_is_covered_once() {
        let ring = map(&[(1, 2, 5), (2, 3, 5), (3, 4, 5), (4, 1, 5)]);
        assert_eq!(children(&ring, 1, 1), [key(2), key(4)]);
        assert_eq!(children(&ring, 1, 2), [key(3)]);
        assert_eq!(children(&ring, 1, 4), []);
    }

    #[test]
    fn a_detour_beats_a_metered_link() {
        let mut reported = map(&[(1, 2, 300), (1, 3, 20), (3, 2, 20)]);
        reported.get_mut(&key(1)).expect("there").push((key(2), (300, Cost::Metered)));
        assert_eq!(children(&reported, 1, 3), [key(2)]);
        assert_eq!(children(&reported, 1, 1), [key(3)]);
    }

    #[test]
    fn links_that_one_end_denies_do_not_count() {
        let mut reported = map(&[(1, 2, 5)]);
        reported.entry(key(1)).or_default().push((key(3), (5, Cost::Wan)));
        let mut topology = Topology::default();
        topology.rebuild(key(2), reported.clone());
        assert!(!topology.reachable(&key(1)).contains(&key(3)));
        topology.rebuild(key(1), reported);
        assert!(topology.reachable(&key(1)).contains(&key(3)), "our own link counts before the other end has spoken");
    }

    #[test]
    fn links_to_oneself_do_not_count_and_of_two_of_a_name_the_last_does() {
        let plain = map(&[(1, 2, 5), (2, 3, 5), (1, 3, 9)]);
        let mut odd = plain.clone();
        odd.entry(key(1)).or_default().push((key(1), (1, Cost::Lan)));
        odd.entry(key(1)).or_default().insert(0, (key(2), (5_000, Cost::Metered)));
        for (origin, of) in [(1, 1), (1, 2), (2, 2), (3, 2)] {
            assert_eq!(children(&odd, origin, of), children(&plain, origin, of), "{of} of {origin}'s");
        }
        let mut topology = Topology::default();
        topology.rebuild(key(1), Reported::from([(key(1), vec![(key(1), (1, Cost::Lan))])]));
        assert!(
            topology.watches(&key(1)) && topology.reachable(&key(1)).is_empty() && !topology.linked(&key(1), &key(1))
        );
    }

    #[test]
    fn a_few_neighbours_watch_over_each_node() {
        let pairs = (0..60_u8).flat_map(|a| (a + 1..60).map(move |b| (a, b, 20 + u32::from(a ^ b) % 4)));
        let links = map(&pairs.collect::<Vec<_>>());
        let mut watchers = BTreeMap::new();
        for me in 0..60 {
            let mut topology = Topology::default();
            topology.rebuild(key(me), links.clone());
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
    fn over_a_metered_link_only_those_are_watched_who_have_too_few_others() {
        let metered = |links: &[(u8, u8, u32)]| {
            let mut reported = map(links);
            for (a, b) in [(1, 2), (2, 1), (3, 4), (4, 3)] {
                reported.get_mut(&key(a)).expect("there").push((key(b), (300, Cost::Metered)));
            }
            reported
        };
        let watches = |me: u8, node: u8, reported: &Reported| {
            let mut topology = Topology::default();
            topology.rebuild(key(me), reported.clone());
            topology.watches(&key(node))
        };
        let one_thick = metered(&[(1, 2, 300), (1, 3, 20), (3, 2, 500), (3, 4, 300)]);
        assert!(
            watches(3, 2, &one_thick) && watches(1, 2, &one_thick),
            "3 alone may be the parent that loses something"
        );
        assert!(watches(3, 4, &one_thick), "there is no other");
        let two_thick = metered(&[(1, 2, 300), (1, 3, 20), (3, 2, 500), (3, 4, 300), (5, 2, 500), (5, 3, 20)]);
        assert!(watches(3, 2, &two_thick) && watches(5, 2, &two_thick) && !watches(1, 2, &two_thick));
    }

    proptest! {
        #[test]
        fn every_reachable_node_has_exactly_one_parent(links in prop::collection::vec((0..8_u8, 0..8_u8, 1..100_u32), 0..20)) {
            let reported = map(&links);
            let mut topology = Topology::default();
            topology.rebuild(key(9), reported.clone());
            for origin in 0..8 {
                let mut covered = BTreeMap::new();
                for parent in 0..8 {
                    for child in children(&reported, origin, parent) {
                        prop_assert_eq!(covered.insert(child, parent), None);
                    }
                }
                for node in 0..8 {
                    let reachable = topology.reachable(&key(origin)).contains(&key(node));
                    prop_assert_eq!(covered.contains_key(&key(node)), reachable);
                    prop_assert!(!reachable || node != origin);
                }
            }
        }
    }
}
