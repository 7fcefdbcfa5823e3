//! Push in quiet meshes of every shape: exactly one payload copy for each node.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use vatra_model::wire::Message;
use vatra_model::{Class, Frontier, NodeKey};
use vatra_replica::{Effect, Input};

use crate::support::*;

/// Nodes whose messages arrive in order, after a moment in which nothing else happens.
struct Mesh {
    nodes: Vec<Node>,
    under_way: VecDeque<(u8, Input)>,
    copies: BTreeMap<u8, u64>,
    fetched: u64,
}

impl Mesh {
    fn new(count: u8, links: &[(u8, u8)]) -> Mesh {
        let nodes = (0..count).map(Node::new).collect();
        let mut mesh = Mesh { nodes, under_way: VecDeque::new(), copies: BTreeMap::new(), fetched: 0 };
        for &(a, b) in links {
            for (here, there) in [(a, b), (b, a)] {
                mesh.feed(here, Input::LinkUp { peer: key(there), cost: vatra_replica::Cost::Wan });
            }
        }
        mesh.settle();
        mesh
    }

    fn feed(&mut self, index: u8, input: Input) {
        let effects = self.nodes[usize::from(index)].act([input]);
        self.perform(index, effects);
    }

    fn perform(&mut self, index: u8, effects: Vec<Effect>) {
        let number = |peer| (0..MEMBERS).find(|other| key(*other) == peer).expect("a member");
        for effect in effects {
            match effect {
                Effect::Send { peer, message: Message::Beacon(signed) } => {
                    let to = number(peer);
                    let trust = self.nodes[usize::from(to)].replica.trust();
                    let Ok(Some(beacon)) = trust.check_beacon(signed) else { continue };
                    self.under_way.push_back((to, Input::Beacon { peer: key(index), beacon: Box::new(beacon) }));
                }
                Effect::Send { peer, message: sent } => self.under_way.push_back((number(peer), message(index, sent))),
                Effect::Push { peers, entries, .. } => {
                    let places: Vec<_> = entries.iter().map(|e| (e.header().log, e.header().seq.0)).collect();
                    for to in peers.into_iter().map(number) {
                        *self.copies.entry(to).or_insert(0) += places.len() as u64;
                        self.send(index, to, None, &places);
                    }
                }
                Effect::Serve { peer, want } => {
                    let to = number(peer);
                    let held = self.nodes[usize::from(index)].entries.range((want.log, want.from)..(want.log, want.to));
                    let places: Vec<_> = held.map(|(place, _)| *place).collect();
                    *self.copies.entry(to).or_insert(0) += places.len() as u64;
                    self.fetched += places.len() as u64;
                    self.send(index, to, Some(want.request), &places);
                    self.under_way
                        .push_back((to, message(index, Message::Done { request: want.request, more: false })));
                }
                Effect::Close { peer, reason } => panic!("{index} closes its link to {peer}: {reason}"),
                _ => {}
            }
        }
    }

    fn send(&mut self, from: u8, to: u8, request: Option<u32>, places: &[(vatra_model::LogId, u64)]) {
        let input = self.nodes[usize::from(from)].sent(&self.nodes[usize::from(to)], from, request, places);
        self.under_way.push_back((to, input));
    }

    /// Delivers all that is under way, and lets time pass, until nothing happens for a while.
    fn settle(&mut self) {
        for _ in 0..40 {
            while let Some((to, input)) = self.under_way.pop_front() {
                self.feed(to, input);
            }
            for index in 0..self.nodes.len() {
                let effects = self.nodes[index].tick_after(100);
                self.perform(u8::try_from(index).expect("few nodes"), effects);
            }
        }
    }
}

fn shapes(count: u8) -> Vec<(&'static str, Vec<(u8, u8)>)> {
    let line: Vec<_> = (1..count).map(|b| (b - 1, b)).collect();
    let mut ring = line.clone();
    if count > 2 {
        ring.push((0, count - 1));
    }
    let full = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b))).collect();
    vec![("line", line), ("ring", ring), ("star", (1..count).map(|b| (0, b)).collect()), ("full mesh", full)]
}

#[test]
fn every_node_gets_one_copy_in_every_shape() {
    for count in [3, 5, 8, 12] {
        for (name, links) in shapes(count) {
            let mut mesh = Mesh::new(count, &links);
            for writer in [0, count / 2, count - 1] {
                mesh.copies.clear();
                let before = mesh.nodes[usize::from(writer)].entries.len();
                let effects = mesh.nodes[usize::from(writer)].publish(Class::Flash, 2);
                mesh.perform(writer, effects);
                mesh.settle();
                let written = (mesh.nodes[usize::from(writer)].entries.len() - before) as u64;
                let expected: BTreeMap<u8, u64> = (0..count).filter(|n| *n != writer).map(|n| (n, written)).collect();
                assert_eq!(mesh.copies, expected, "{name} of {count}, written by {writer}");
            }
            assert_eq!(mesh.fetched, 0, "{name} of {count}");
            let frontiers: Vec<_> = mesh.nodes.iter().map(|node| node.replica.frontier()).collect();
            assert!(frontiers.iter().all(|frontier| *frontier == frontiers[0]), "{name} of {count}");
        }
    }
}

#[test]
fn beacons_reach_all_and_travel_no_further_than_they_must() {
    let (_, links) = shapes(6).pop().expect("the full mesh");
    let mut mesh = Mesh::new(6, &links);
    mesh.under_way.clear();
    for (ms, kind) in [(10_000, "pulse"), (60_000, "beacon")] {
        let effects = mesh.nodes[0].run_for(ms);
        let told = announcements(&effects, kind);
        assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), 5, "a {kind} to each peer");
        assert!(told.len() <= 5 * usize::try_from(ms / 10_000).expect("few"), "{} times a {kind}", told.len());
        mesh.perform(0, effects);
        let arrived: Vec<_> = mesh.under_way.drain(..).collect();
        for (to, input) in arrived {
            let node = &mut mesh.nodes[usize::from(to)];
            let mut relayed = node.act([input]);
            let beacon = |relayed: &[Effect]| beacons(relayed).into_iter().filter(|(_, s)| of(s) == key(0)).count();
            assert_eq!(beacon(&relayed), 0, "all have it first-hand");
            // What is collected to be passed on would leave soon.
            relayed.extend(node.tick_after(1_000));
            assert_eq!(beacon(&relayed) + relayed.iter().filter(|effect| passes_on(effect, key(0))).count(), 0);
        }
    }
    let (_, line) = shapes(6).remove(0);
    let mesh = Mesh::new(6, &line);
    let heard = mesh.nodes[5].replica.status(mesh.nodes[5].now).nodes;
    assert!(heard.iter().filter(|node| node.heard.is_some() && node.reachable).count() == 5, "{heard:?}");
}

#[test]
fn a_peer_of_version_1_gets_beacons_instead_of_pulses() {
    let mut node = Node::new(0);
    node.greet_as(1, 1, &Frontier::default());
    node.greet(2, &Frontier::default());
    node.publish(Class::Routine, 1);
    let effects = node.run_for(20_000);
    let count = |kind, peer| announcements(&effects, kind).into_iter().filter(|to| *to == key(peer)).count();
    assert!((9..=12).contains(&count("beacon", 1)), "{} beacons", count("beacon", 1));
    assert_eq!(count("pulse", 1), 0);
    assert!(count("beacon", 2) <= 2 && (2..=4).contains(&count("pulse", 2)), "{} pulses", count("pulse", 2));
}

fn of(signed: &vatra_model::wire::SignedBeacon) -> NodeKey {
    signed.beacon().expect("it was signed").node
}

fn passes_on(effect: &Effect, node: NodeKey) -> bool {
    let Effect::Send { message: Message::Pulses { pulses }, .. } = effect else { return false };
    pulses.iter().any(|signed| signed.pulse().expect("it was signed").node == node)
}

/// To whom a beacon or a pulse is sent.
fn announcements(effects: &[Effect], kind: &str) -> Vec<NodeKey> {
    let to = |effect: &Effect| match effect {
        Effect::Send { peer, message: Message::Beacon(_) } if kind == "beacon" => Some(*peer),
        Effect::Send { peer, message: Message::Pulses { .. } } if kind == "pulse" => Some(*peer),
        _ => None,
    };
    effects.iter().filter_map(to).collect()
}
