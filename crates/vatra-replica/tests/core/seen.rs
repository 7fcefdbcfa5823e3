//! What status views show of links and of catch-up.

use vatra_model::wire::{Beacon, Message, SignedBeacon};
use vatra_model::{Class, Frontier, LogId, MonoMs};
use vatra_replica::{Effect, Input, MemberLag};

use crate::support::*;

#[test]
fn a_member_is_linked_or_it_is_told_since_when_not() {
    let mut node = Node::new(0);
    let lag = |node: &Node| node.replica.status(node.now).behind[&code(1)];
    assert_eq!((lag(&node).linked, lag(&node).unlinked_since), (false, None), "there was no link yet");
    node.greet(1, &Frontier::default());
    node.run_for(5_000);
    assert!(lag(&node).linked && lag(&node).reachable, "{:?}", lag(&node));
    node.act([Input::LinkDown { peer: key(1) }]);
    let ended = node.now.mono;
    node.run_for(5_000);
    assert_eq!((lag(&node).linked, lag(&node).unlinked_since), (false, Some(ended)));
    assert_eq!(ended, MonoMs(1_005_000));
    node.greet(1, &Frontier::default());
    assert_eq!((lag(&node).linked, lag(&node).unlinked_since), (true, None));
}

#[test]
fn catch_up_says_how_long_it_will_take() {
    let mut writer = Node::new(9);
    let log = writer.replica.own_log();
    writer.publish(Class::Routine, 199);
    let mut node = Node::new(0);
    node.greet(1, &Frontier::default());
    let lag = |node: &Node| node.replica.status(node.now).behind[&code(9)];
    for second in 0..4 {
        let places: Vec<_> = (second * 25..second * 25 + 25).map(|seq| (log, seq)).collect();
        let input = writer.sent(&node, 1, Some(7), &places);
        node.act([input, have(1, log, 200)]);
        node.run_for(1_000);
    }
    // A hundred of two hundred came in four seconds.
    assert_eq!((lag(&node).entries, lag(&node).eta_ms), (100, Some(4_000)), "{:?}", lag(&node));
    assert!(lag(&node).behind_ms >= 3_000, "{:?}", lag(&node));
    node.run_for(60_000);
    assert_eq!(lag(&node).eta_ms, None, "nothing comes any more");
    let places: Vec<_> = (100..200).map(|seq| (log, seq)).collect();
    let input = writer.sent(&node, 1, Some(8), &places);
    node.act([input]);
    assert_eq!((lag(&node).entries, lag(&node).eta_ms, lag(&node).behind_ms), (0, None, 0));
}

/// A node that holds four entries of member 1, whose own node is not linked, and the writer with two more.
fn reader() -> (Node, Node, LogId) {
    let mut writer = Node::new(1);
    writer.publish(Class::Routine, 3);
    let log = writer.replica.own_log();
    let mut node = Node::new(0);
    for peer in [2, 3] {
        node.greet(peer, &Frontier::default());
    }
    let held = writer.sent(&node, 3, None, &[(log, 0), (log, 1), (log, 2), (log, 3)]);
    node.act([held]);
    writer.publish(Class::Routine, 2);
    (node, writer, log)
}

fn lag(node: &Node) -> MemberLag {
    node.replica.status(node.now).behind[&code(1)]
}

/// Lets time pass; a peer that is asked for something answers that it has none.
fn answer_emptily(node: &mut Node, peer: u8, mut told: Vec<Effect>, seconds: u64) {
    for _ in 0..seconds * 10 {
        told.extend(node.run_for(100));
        let asked = wants(&std::mem::take(&mut told)).into_iter().filter(|(of, _)| *of == key(peer));
        for (_, want) in asked.collect::<Vec<_>>() {
            told.extend(node.act([message(peer, Message::Done { request: want.request, more: false })]));
        }
    }
}

#[test]
fn who_tells_of_entries_and_gives_none_is_believed_no_more() {
    let (mut node, writer, log) = reader();
    for _ in 0..60 {
        let told = node.act([have(2, log, 1 << 40)]);
        answer_emptily(&mut node, 2, told, 2);
        assert!(lag(&node).behind_ms < 5_000, "{:?}", lag(&node));
    }
    let told = node.act([have(2, log, 1 << 40)]);
    assert_eq!((lag(&node).entries, lag(&node).behind_ms), (0, 0), "it was said often enough");
    answer_emptily(&mut node, 2, told, 1);
    // Another peer is the only one that tells the truth, and counts at once.
    node.act([have(3, log, 6)]);
    assert_eq!(lag(&node).entries, 2);
    let rest = writer.sent(&node, 3, None, &[(log, 4), (log, 5)]);
    node.act([rest]);
    assert_eq!((lag(&node).entries, lag(&node).behind_ms), (0, 0));
}

#[test]
fn who_had_none_once_is_believed_again_when_it_gives() {
    let (mut node, mut writer, log) = reader();
    let told = node.act([have(2, log, 6)]);
    assert_eq!(lag(&node).entries, 2);
    answer_emptily(&mut node, 2, told, 5);
    let told = node.act([have(2, log, 6)]);
    assert_eq!(lag(&node).entries, 0, "it had none when it was asked");
    answer_emptily(&mut node, 2, told, 5);
    writer.publish(Class::Routine, 40);
    let mut told = node.act([have(2, log, 46)]);
    told.extend(node.run_for(3_000));
    let want = wants(&told).into_iter().map(|(_, want)| want).find(|want| want.to - want.from > 1).expect("asked");
    let first = writer.sent(&node, 2, Some(want.request), &[(log, want.from)]);
    node.act([first]);
    assert_eq!(lag(&node).entries, 41);
}

/// It neither answers nor says that it has none.
#[test]
fn who_tells_of_entries_and_keeps_silent_is_believed_for_minutes_at_most() {
    let (mut node, _, log) = reader();
    node.act([have(2, log, 1 << 40)]);
    node.run_for(30_000);
    assert!(lag(&node).entries > 0, "its link may be slow");
    for _ in 0..60 {
        node.act([have(2, log, 1 << 40)]);
        node.run_for(10_000);
    }
    assert_eq!((lag(&node).entries, lag(&node).behind_ms), (0, 0));
}

/// Beacons are signed, but only of one's own logs is that more than a word.
#[test]
fn a_beacon_of_a_node_that_is_no_peer_counts_for_its_own_logs() {
    let (mut node, _, log) = reader();
    let beacon = |of: u8, heights: Vec<(LogId, u64)>| Beacon {
        heights,
        certificate: Some(certificate(of).encode()),
        ..bare_beacon(node.now.wall, of)
    };
    let (others, own) = (beacon(5, vec![(log, 1 << 40)]), beacon(1, vec![(log, 6)]));
    let show = |node: &mut Node, of: u8, beacon: &Beacon| {
        let signed = SignedBeacon::sign(beacon, &secret(of));
        let checked = node.replica.trust().check_beacon(signed).expect("it holds").expect("known");
        node.act([Input::Beacon { peer: key(2), beacon: Box::new(checked) }]);
        node.run_for(3_000);
    };
    show(&mut node, 5, &others);
    assert_eq!((lag(&node).entries, lag(&node).behind_ms), (0, 0));
    show(&mut node, 1, &own);
    assert_eq!((lag(&node).entries, lag(&node).behind_ms), (2, 3_000));
}
