//! Frontiers between links: what was told before is not told again, and peers that seem to hold something else
//! are asked in turn.

use vatra_model::wire::{Beacon, FrontierDigest, Message, SignedBeacon};
use vatra_model::{Class, EntryHash, Frontier, Head, Incarnation, LogId, NodeKey, WallMs};
use vatra_replica::{CheckedBeacon, Effect, Input};

use crate::support::*;

/// A node that holds an entry of each of ten others.
fn holder() -> Node {
    let mut node = Node::new(0);
    node.greet(1, &Frontier::default());
    for writer in 2..12 {
        let mut writer = Node::new(writer);
        writer.publish(Class::Routine, 1);
        let places: Vec<_> = writer.entries.keys().copied().collect();
        let input = writer.sent(&node, 1, None, &places);
        node.act([input]);
    }
    node.act([Input::LinkDown { peer: key(1) }]);
    node
}

fn frontiers(effects: &[Effect]) -> Vec<FrontierDigest> {
    let frontier = |effect: &Effect| match effect {
        Effect::Send { message: Message::Frontier(digest), .. } => Some(digest.clone()),
        _ => None,
    };
    effects.iter().filter_map(frontier).collect()
}

fn resumes(effects: &[Effect]) -> Vec<(NodeKey, [u8; 32])> {
    let resume = |effect: &Effect| match effect {
        Effect::Send { peer, message: Message::Resume { heard } } => Some((*peer, *heard)),
        _ => None,
    };
    effects.iter().filter_map(resume).collect()
}

#[test]
fn a_frontier_names_only_what_changed_since_the_one_heard_last() {
    let mut node = holder();
    let told = frontiers(&node.greet(1, &Frontier::default()));
    assert_eq!((told.len(), told[0].complete, told[0].heads.len()), (1, true, 10));
    let heard = node.replica.frontier().hash();
    node.act([Input::LinkDown { peer: key(1) }]);
    node.publish(Class::Routine, 1);
    let own = node.replica.own_log();
    for (resume, expected) in [(heard, vec![own]), ([9; 32], vec![])] {
        node.act([Input::LinkUp { peer: key(1), cost: vatra_replica::Cost::Wan }]);
        node.act([message(1, Message::Resume { heard: resume })]);
        let told = frontiers(&node.greet_linked(1, &Frontier::default()));
        let changed: Vec<LogId> = told[0].heads.iter().map(|(log, _, _)| *log).collect();
        if expected.is_empty() {
            assert_eq!((told[0].complete, changed.len()), (true, 11), "an unknown frontier: all is told");
        } else {
            assert_eq!((told[0].complete, changed), (false, expected));
        }
        node.act([Input::LinkDown { peer: key(1) }]);
    }
}

#[test]
fn what_was_heard_is_remembered_and_asked_to_be_gone_on_from() {
    let mut node = Node::new(0);
    let heads = |number: u8, height| (LogId([number; 16]), height, EntryHash([number; 32]));
    node.greet(1, &Frontier::default());
    let digest = FrontierDigest { complete: true, heads: (1..=5).map(|number| heads(number, 3)).collect() };
    node.act([message(1, Message::Frontier(digest))]);
    node.act([Input::LinkDown { peer: key(1) }]);
    let effects = node.act([Input::LinkUp { peer: key(1), cost: vatra_replica::Cost::Wan }]);
    let first = effects.iter().find(|effect| matches!(effect, Effect::Send { .. }));
    let heard = resumes(&effects)[0].1;
    assert!(matches!(first, Some(Effect::Send { message: Message::Resume { .. }, .. })), "before the hello: {first:?}");
    let theirs = Frontier([(LogId([3; 16]), Head { height: 4, head: EntryHash([3; 32]) })].into());
    node.greet_linked(1, &theirs);
    // One more entry of the third log; the others need not be told again.
    let digest = FrontierDigest { complete: false, heads: vec![heads(3, 4)] };
    let mut effects = node.act([message(1, Message::Frontier(digest))]);
    let answered = answer_all(&mut node, &effects);
    effects.extend(answered);
    let asked: std::collections::BTreeSet<LogId> = wants(&effects).iter().map(|(_, want)| want.log).collect();
    assert_eq!(asked.len(), 5, "all five are still missing: {asked:?}");
    assert!(wants(&effects).iter().any(|(_, want)| want.log == LogId([3; 16]) && want.to == 4));
    node.act([Input::LinkDown { peer: key(1) }]);
    let again = resumes(&node.act([Input::LinkUp { peer: key(1), cost: vatra_replica::Cost::Wan }]))[0].1;
    assert_ne!(heard, again, "the change is part of what was heard");
}

/// Answers requests with nothing, as long as there are any.
fn answer_all(node: &mut Node, first: &[Effect]) -> Vec<Effect> {
    let (mut open, mut told) = (wants(first), Vec::new());
    while let Some((_, want)) = open.pop() {
        let done = message(1, Message::Done { request: want.request, more: false });
        let effects = node.act([done]);
        open.extend(wants(&effects));
        told.extend(effects);
    }
    told
}

#[test]
fn a_peer_of_version_1_is_told_everything() {
    let mut node = holder();
    for _ in 0..2 {
        let told = frontiers(&node.greet_as(1, 1, &Frontier::default()));
        assert_eq!((told[0].complete, told[0].heads.len()), (true, 10));
        node.act([Input::LinkDown { peer: key(1) }]);
        let effects = node.act([Input::LinkUp { peer: key(1), cost: vatra_replica::Cost::Wan }]);
        assert_eq!(resumes(&effects), [], "it would not understand");
        node.act([Input::LinkDown { peer: key(1) }]);
    }
}

/// A beacon of a peer that holds something else, though it names no height.
fn silent_beacon(peer: u8) -> Input {
    let beacon = Beacon {
        node: key(peer),
        incarnation: Incarnation(u64::from(peer) + 1),
        opened: WallMs(1),
        boot: 1,
        counter: 1,
        clock: WallMs(1),
        charter_epoch: 1,
        neighbours: vec![],
        writable: true,
        frontier_hash: [peer; 32],
        heights: vec![],
        complete: false,
        certificate: None,
    };
    let signed = SignedBeacon::sign(&beacon, &secret(peer));
    Input::Beacon { peer: key(peer), beacon: Box::new(CheckedBeacon { signed, beacon, certificate: None }) }
}

#[test]
fn peers_that_hold_something_else_are_asked_in_turn() {
    let mut node = Node::new(0);
    for peer in 1..=5 {
        node.greet(peer, &Frontier::default());
        node.act([silent_beacon(peer)]);
    }
    let mut asked = std::collections::BTreeMap::new();
    for _ in 0..5 {
        let round = resumes(&node.run_for(10_000));
        assert_eq!(round.len(), 2, "{round:?}");
        for (peer, _) in round {
            *asked.entry(peer).or_insert(0) += 1;
        }
    }
    assert_eq!(asked, (1..=5).map(|peer| (key(peer), 2)).collect(), "everybody as often");
    // What four of them withhold, the fifth tells when its turn comes.
    let log = LogId([7; 16]);
    let digest = FrontierDigest { complete: true, heads: vec![(log, 1, EntryHash([7; 32]))] };
    let effects = node.act([message(5, Message::Frontier(digest))]);
    assert_eq!(wants(&effects).iter().map(|(peer, want)| (*peer, want.log)).collect::<Vec<_>>(), [(key(5), log)]);
}

#[test]
fn a_peer_that_holds_the_same_is_not_asked() {
    let mut node = Node::new(0);
    let ours = node.replica.frontier();
    node.greet(1, &ours);
    let Input::Beacon { peer, beacon } = silent_beacon(1) else { unreachable!("made above") };
    let mut beacon = *beacon;
    beacon.beacon.frontier_hash = ours.hash();
    node.act([Input::Beacon { peer, beacon: Box::new(beacon) }]);
    assert_eq!(resumes(&node.run_for(60_000)), []);
}

#[test]
fn a_peer_that_started_anew_is_shown_all_beacons() {
    let mut node = Node::new(0);
    node.greet(1, &Frontier::default());
    node.greet(2, &Frontier::default());
    node.act([silent_beacon(2)]);
    let shown = |effects: &[Effect]| {
        let to_1 = beacons(effects).into_iter().filter(|(peer, _)| *peer == key(1));
        to_1.filter(|(_, signed)| signed.beacon().is_ok_and(|beacon| beacon.node == key(2))).count()
    };
    assert_eq!(shown(&node.run_for(40_000)), 1);
    node.act([Input::LinkDown { peer: key(1) }]);
    // It names a frontier that it heard from us: it is the same process.
    node.act([Input::LinkUp { peer: key(1), cost: vatra_replica::Cost::Wan }]);
    node.act([message(1, Message::Resume { heard: node.replica.frontier().hash() })]);
    let mut effects = node.greet_linked(1, &Frontier::default());
    effects.extend(node.run_for(40_000));
    assert_eq!(shown(&effects), 0);
    node.act([Input::LinkDown { peer: key(1) }]);
    let mut effects = node.greet(1, &Frontier::default());
    effects.extend(node.run_for(2_000));
    assert_eq!(shown(&effects), 1);
}
