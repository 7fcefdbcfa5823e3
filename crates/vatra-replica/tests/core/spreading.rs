//! Who is told of what: trees, those beside them, and thin links.

use vatra_model::wire::{Beacon, Message, Neighbour, SignedBeacon};
use vatra_model::{Class, Frontier, NodeKey};
use vatra_replica::{Cost, Effect, Input};

use crate::support::*;

/// What a node says of its links: to whom, with which round trip in milliseconds.
fn beacon(node: &Node, of: u8, links: &[(u8, u32)]) -> Input {
    beacon_with(node, of, links, None)
}

/// The same, with the certificate that it brings.
pub(crate) fn beacon_with(node: &Node, of: u8, links: &[(u8, u32)], certificate: Option<Vec<u8>>) -> Input {
    let link = |&(to, rtt_ms): &(u8, u32)| Neighbour { node: key(to), rtt_ms, cost: Cost::Wan as u8 };
    let beacon = Beacon { neighbours: links.iter().map(link).collect(), certificate, ..bare_beacon(node.now.wall, of) };
    let signed = SignedBeacon::sign(&beacon, &secret(of));
    let checked = node.replica.trust().check_beacon(signed).expect("it is sound").expect("of a known node");
    Input::Beacon { peer: key(of), beacon: Box::new(checked) }
}

fn told_heights(effects: &[Effect]) -> Vec<NodeKey> {
    let have = |effect: &Effect| match effect {
        Effect::Send { peer, message: Message::Have { .. } } => Some(*peer),
        _ => None,
    };
    effects.iter().filter_map(have).collect()
}

fn pushed_to(effects: &[Effect]) -> Vec<NodeKey> {
    let push = |effect: &Effect| match effect {
        Effect::Push { peers, .. } => Some(peers.clone()),
        _ => None,
    };
    effects.iter().filter_map(push).flatten().collect()
}

/// Node 0 between 1, through which node 9's entries come, and 2, which gets them from here.
fn between() -> (Node, Node) {
    let mut node = Node::new(0);
    for peer in [1, 2] {
        node.greet(peer, &Frontier::default());
    }
    for (of, links) in [(9, &[(1, 5)][..]), (1, &[(9, 5), (0, 5)]), (2, &[(0, 5)])] {
        let Input::Beacon { beacon, .. } = beacon(&node, of, links) else { unreachable!("it is a beacon") };
        node.act([Input::Beacon { peer: key(1), beacon }]);
    }
    node.run_for(2_000);
    (node, Node::new(9))
}

/// What was fetched is announced, so that it is carried once; but an urgent entry does not wait for that.
#[test]
fn of_what_is_fetched_only_the_urgent_is_pushed_on() {
    let (mut node, mut writer) = between();
    let log = writer.replica.own_log();
    writer.publish(Class::Flash, 1);
    let urgent = writer.sent(&node, 1, Some(7), &[(log, 0), (log, 1)]);
    assert_eq!(pushed_to(&node.act([urgent])), [key(2); 2], "two classes");
    node.run_for(5_000);
    writer.publish(Class::Routine, 1);
    let routine = writer.sent(&node, 1, Some(8), &[(log, 2)]);
    assert_eq!(pushed_to(&node.act([routine])), []);
    assert_eq!(told_heights(&node.run_for(1_000)), [key(2)]);
}

#[test]
fn nobody_is_pushed_what_it_says_that_it_holds() {
    let (mut node, mut writer) = between();
    let log = writer.replica.own_log();
    writer.publish(Class::Routine, 2);
    let first = writer.sent(&node, 1, None, &[(log, 0)]);
    assert_eq!(pushed_to(&node.act([first])), [key(2)]);
    node.act([have(2, log, 2)]);
    let rest = writer.sent(&node, 1, None, &[(log, 1), (log, 2)]);
    let effects = node.act([rest]);
    assert_eq!(pushed_to(&effects), [key(2)], "only what it lacks");
    let pushed = effects.iter().find_map(|effect| match effect {
        Effect::Push { entries, .. } => Some(entries.iter().map(|entry| entry.header().seq.0).collect::<Vec<_>>()),
        _ => None,
    });
    assert_eq!(pushed, Some(vec![2]));
}

/// A child that keeps an entry to itself must not hide it from the other neighbours of its writer, whoever else
/// watches over these.
#[test]
fn a_writer_tells_all_neighbours_to_whom_it_does_not_push() {
    let mut node = Node::new(0);
    for peer in [1, 2] {
        node.greet(peer, &Frontier::default());
    }
    // From 1 it is near to all others, which are near to each other; from 0 it is far to 2.
    let near = |of: u8| (1..6).filter(|to| *to != of).map(|to| (to, 5)).collect::<Vec<_>>();
    for of in 1..6 {
        let own: &[(u8, u32)] = match of {
            1 => &[(0, 5)],
            2 => &[(0, 900)],
            _ => &[],
        };
        let links = [near(of), own.to_vec()].concat();
        let Input::Beacon { beacon, .. } = beacon(&node, of, &links) else { unreachable!("it is a beacon") };
        node.act([Input::Beacon { peer: key(1), beacon }]);
    }
    node.run_for(2_000);
    node.publish(Class::Flash, 1);
    node.run_for(5_000);
    let effects = node.publish(Class::Routine, 1);
    assert_eq!(pushed_to(&effects), [key(1)], "2 is reached through 1");
    let later = node.run_for(1_000);
    assert_eq!(told_heights(&later), [key(2)]);
}

#[test]
fn over_a_thin_link_a_node_is_told_of_its_own_link_first() {
    // The keys of all others come before its own.
    let me = (0..MEMBERS).max_by_key(|index| key(*index)).expect("there are some");
    let others: Vec<u8> = (0..MEMBERS).filter(|index| *index != me).collect();
    let mut node = Node::new(me);
    for peer in &others[1..] {
        node.greet(*peer, &Frontier::default());
        let input = beacon(&node, *peer, &[(me, 5)]);
        node.act([input]);
    }
    node.run_for(5_000);
    let mut effects = node.act([Input::LinkUp { peer: key(others[0]), cost: Cost::Metered }]);
    effects.extend(node.greet_linked(others[0], &Frontier::default()));
    effects.extend(node.run_for(2_000));
    let shown = beacons(&effects).into_iter().filter(|(peer, _)| *peer == key(others[0]));
    let shown: Vec<NodeKey> = shown.map(|(_, signed)| signed.beacon().expect("sound").node).collect();
    assert_eq!(shown.first(), Some(&key(me)), "it makes the link two-way on the map: {shown:?}");
    assert!(shown.len() > 1 && shown.len() <= 2 + 8, "not the whole federation at once: {}", shown.len());
}

/// What lay beyond a gap came from somebody else than what closes it, and no height told of it.
#[test]
fn who_closes_a_gap_is_told_of_what_lay_beyond_it() {
    let mut writer = Node::new(9);
    let log = writer.replica.own_log();
    writer.publish(Class::Routine, 3);
    let mut node = Node::new(0);
    for peer in [1, 2] {
        node.greet(peer, &Frontier::default());
    }
    let input = writer.sent(&node, 2, None, &[(log, 1), (log, 2), (log, 3)]);
    node.act([input]);
    let input = writer.sent(&node, 1, None, &[(log, 0)]);
    let mut effects = node.act([input]);
    assert_eq!(node.height(log), 4);
    effects.extend(node.run_for(3_000));
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Send { peer, message: Message::Have { heights } } if heights.contains(&(log, 4)) => Some(*peer),
        _ => None,
    });
    assert!(told.collect::<Vec<_>>().contains(&key(1)));
}
