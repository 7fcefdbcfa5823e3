//! Catch-up: who is asked for what, and when somebody else is.

use std::collections::BTreeSet;

use vatra_model::wire::{Message, Want, WantClasses};
use vatra_model::{Class, Frontier, LogId};
use vatra_replica::{Effect, Event, Input, Reject};

use crate::support::*;

/// Node 0 with links to peers that hold so many entries of node 9's log.
fn behind(peers: &[u8], height: u64) -> (Node, LogId, Vec<Effect>) {
    let mut writer = Node::new(9);
    let log = writer.replica.own_log();
    writer.publish(Class::Routine, 1);
    let mut node = Node::new(0);
    for peer in peers {
        node.greet(*peer, &Frontier::default());
    }
    let input = writer.sent(&node, peers[0], None, &[(log, 0)]);
    node.act([input]);
    let mut effects = Vec::new();
    for peer in peers {
        effects.extend(node.act([have(*peer, log, height)]));
    }
    effects.extend(node.run_for(1_000));
    (node, log, effects)
}

fn done(peer: u8, request: u32, more: bool) -> Input {
    message(peer, Message::Done { request, more })
}

fn overlaps(a: &Want, b: &Want) -> bool {
    let apart = a.classes != b.classes && a.classes != WantClasses::All && b.classes != WantClasses::All;
    !apart && a.from < b.to && b.from < a.to
}

fn is_urgent(want: &Want) -> bool {
    want.classes.is_urgent()
}

#[test]
fn no_range_is_asked_of_two_peers() {
    let (_, _, effects) = behind(&[1, 2, 3], 20_000);
    let asked = wants(&effects);
    assert!(asked.len() >= 4, "{asked:?}");
    let peers: BTreeSet<_> = asked.iter().map(|(peer, _)| *peer).collect();
    assert!(peers.len() >= 2, "the work is shared: {asked:?}");
    for (index, (_, first)) in asked.iter().enumerate() {
        for (_, second) in &asked[index + 1..] {
            assert!(!overlaps(first, second), "{first:?} and {second:?}");
        }
    }
    let ordinary: u64 = asked.iter().filter(|(_, want)| !is_urgent(want)).map(|(_, want)| want.to - want.from).sum();
    assert!(ordinary <= 16_384, "more is asked for than can be held beyond a gap: {ordinary}");
    let classes: Vec<_> = asked.iter().map(|(_, want)| want.classes).collect();
    assert_eq!(classes[..2], [WantClasses::Flash, WantClasses::Priority], "urgent first");
    assert_eq!(asked.iter().filter(|(_, want)| is_urgent(want)).count(), 2, "once");
    let newest = asked.iter().find(|(_, want)| !is_urgent(want)).expect("ordinary ones too");
    assert_eq!(newest.1.from, 20_000 - 4_096, "then the newest part, in order");
}

#[test]
fn a_silent_peer_is_asked_for_less() {
    let (mut node, _, mut effects) = behind(&[1], 20_000);
    let mut budgets = Vec::new();
    for _ in 0..4 {
        let asked = wants(&effects);
        budgets.extend(asked.iter().filter(|(_, want)| !is_urgent(want)).map(|(_, want)| want.budget).min());
        effects = node.run_for(30_000);
    }
    assert!(budgets.len() >= 3 && budgets.is_sorted_by(|a, b| a >= b), "{budgets:?}");
    assert_eq!(budgets[1], budgets[0] / 2);
}

#[test]
fn that_nothing_is_urgent_is_believed_of_two_members() {
    let flash_of = |asked: &[(vatra_model::NodeKey, Want)]| -> Vec<_> {
        let flash = asked.iter().filter(|(_, want)| want.classes == WantClasses::Flash);
        flash.map(|(peer, want)| (*peer, want.from, want.to, want.request)).collect()
    };
    let (mut node, _, effects) = behind(&[1, 2, 3], 10_000);
    let first = flash_of(&wants(&effects));
    assert_eq!(first.len(), 1, "{first:?}");
    let index = |peer| (1..4).find(|index| key(*index) == peer).expect("one of the peers");
    let effects = node.act([done(index(first[0].0), first[0].3, false)]);
    let second = flash_of(&wants(&effects));
    assert_eq!(second.len(), 1, "what one member says is asked of another: {second:?}");
    assert_ne!(second[0].0, first[0].0);
    assert_eq!((second[0].1, second[0].2), (first[0].1, first[0].2), "the same range");
    let effects = node.act([done(index(second[0].0), second[0].3, false)]);
    assert!(flash_of(&wants(&effects)).is_empty(), "two are enough");

    let (mut node, _, effects) = behind(&[1], 10_000);
    let first = flash_of(&wants(&effects));
    let effects = node.act([done(1, first[0].3, false)]);
    assert!(flash_of(&wants(&effects)).is_empty(), "there is nobody else");
}

#[test]
fn a_silent_peer_loses_its_requests_to_another() {
    let (mut node, log, effects) = behind(&[1], 100);
    assert!(wants(&effects).iter().all(|(peer, _)| *peer == key(1)));
    node.greet(2, &Frontier::default());
    node.act([have(2, log, 100)]);
    let effects = node.run_for(7_000);
    let asked = wants(&effects);
    assert!(!asked.is_empty() && asked.iter().all(|(peer, _)| *peer == key(2)), "{asked:?}");
}

#[test]
fn a_peer_that_has_nothing_is_not_asked_for_ever() {
    let (mut node, _, effects) = behind(&[1], 1 << 60);
    let mut waiting: Vec<_> = wants(&effects);
    let mut requests = 0;
    while let Some((_, want)) = waiting.pop() {
        requests += 1;
        assert!(requests < 200, "the requests do not end");
        waiting.extend(wants(&node.act([done(1, want.request, false)])));
    }
    let quiet = wants(&node.run_for(9_000));
    assert!(quiet.len() < 100, "{} requests though nobody said anything new", quiet.len());
}

#[test]
fn answers_that_cannot_be_kept_are_not_asked_for_again_at_once() {
    let mut writer = Node::new(9);
    let log = writer.replica.own_log();
    writer.publish(Class::Routine, 5);
    // Another life of the same log: what it says does not follow what is held here.
    let mut twin = Node::new(9);
    twin.publish(Class::Flash, 7);
    let mut node = Node::new(0);
    node.greet(1, &Frontier::default());
    let places: Vec<_> = (0..6).map(|seq| (log, seq)).collect();
    let input = writer.sent(&node, 1, None, &places);
    node.act([input]);
    node.act([have(1, log, 8)]);
    let mut waiting = wants(&node.run_for(1_000));
    let mut requests = 0;
    while let Some((_, want)) = waiting.pop() {
        requests += 1;
        assert!(requests < 20, "refused entries are fetched in a loop");
        let places: Vec<_> = (want.from..want.to).map(|seq| (log, seq)).collect();
        let input = twin.sent(&node, 1, Some(want.request), &places);
        let effects = node.act([input, done(1, want.request, false)]);
        waiting.extend(wants(&effects));
    }
    assert!(requests > 0);
    assert_eq!((node.height(log), node.forks[&log].place), (5, 5), "the two lives part after entry 4");
    assert!(node.held().contains(&twin.entries[&(log, 6)].hash()), "what the other life wrote is kept beside the log");
}

#[test]
fn an_entry_from_beyond_a_gap_does_not_make_us_ask_for_the_gap() {
    let mut writer = Node::new(9);
    let log = writer.replica.own_log();
    writer.publish(Class::Routine, 60);
    let mut node = Node::new(0);
    node.greet(1, &Frontier::default());
    let input = writer.sent(&node, 1, None, &[(log, 60)]);
    node.act([input]);
    assert_eq!(wants(&node.run_for(30_000)), vec![], "nobody said that it holds the rest");
    let told = node.act([have(1, log, 61)]);
    assert!(wants(&told).is_empty(), "a push may still come");
    let later = wants(&node.run_for(1_000));
    assert!(later.iter().any(|(_, want)| want.from == 0 && want.to == 60 && !is_urgent(want)), "{later:?}");
}

#[test]
fn what_pushes_are_bringing_is_not_pulled() {
    let mut writer = Node::new(9);
    let log = writer.replica.own_log();
    writer.publish(Class::Routine, 50);
    let mut node = Node::new(0);
    node.greet(1, &Frontier::default());
    node.act([have(1, log, 51)]);
    for seq in 0..51 {
        let input = writer.sent(&node, 1, None, &[(log, seq)]);
        assert_eq!(wants(&node.act([input])), vec![]);
        assert_eq!(wants(&node.run_for(150)), vec![], "entry {seq} was on its way");
    }
    let mut node = Node::new(0);
    node.greet(1, &Frontier::default());
    node.act([have(1, log, 51)]);
    assert!(!wants(&node.run_for(600)).is_empty(), "what does not come is pulled");
}

#[test]
fn pushes_that_drip_do_not_keep_the_rest_from_being_pulled() {
    let mut writer = Node::new(9);
    let log = writer.replica.own_log();
    writer.publish(Class::Routine, 100);
    let mut node = Node::new(0);
    for peer in [1, 2] {
        node.greet(peer, &Frontier::default());
    }
    node.act([have(2, log, 101)]);
    let mut effects = Vec::new();
    for seq in 0..60 {
        let input = writer.sent(&node, 1, None, &[(log, seq)]);
        node.act([input]);
        effects.extend(node.run_for(250));
    }
    assert!(wants(&effects).iter().any(|(peer, want)| *peer == key(2) && want.to == 101), "{:?}", wants(&effects));
}

#[test]
fn one_that_claims_everything_delays_what_others_hold_by_one_time_out() {
    let mut writer = Node::new(9);
    let log = writer.replica.own_log();
    writer.publish(Class::Routine, 4);
    writer.publish(Class::Flash, 1);
    let mut node = Node::new(0);
    for peer in [1, 2] {
        node.greet(peer, &Frontier::default());
    }
    let places: Vec<_> = (0..5).map(|seq| (log, seq)).collect();
    let input = writer.sent(&node, 2, None, &places);
    node.act([input]);
    // The nearer one claims all there could be; the other holds one flash entry more than we.
    node.act([Input::RoundTrip { peer: key(1), rtt_ms: 1 }, have(1, log, u64::MAX)]);
    node.run_for(2_000);
    node.act([have(2, log, 6)]);
    let mut held = false;
    for _ in 0..100 {
        let asked = wants(&node.run_for(100));
        for (_, want) in asked.iter().filter(|(peer, _)| *peer == key(2)) {
            if (want.from..want.to).contains(&5) && want.classes.include(Class::Flash) {
                let input = writer.sent(&node, 2, Some(want.request), &[(log, 5)]);
                node.act([input]);
                held = true;
            }
            node.act([done(2, want.request, false)]);
        }
        if held {
            break;
        }
    }
    assert_eq!(node.height(log), 6, "the flash entry was asked of the one that holds it within ten seconds");
}

#[test]
fn a_peer_that_is_busy_is_asked_again_after_a_rest() {
    let (mut node, log, effects) = behind(&[1], 40);
    let first = wants(&effects);
    let mut soon: Vec<Effect> = Vec::new();
    for (_, want) in &first {
        soon.extend(node.act([done(1, want.request, true)]));
    }
    assert_eq!(wants(&soon), vec![], "not at once");
    let again = wants(&node.run_for(1_100));
    let classes =
        |asked: &[(vatra_model::NodeKey, Want)]| asked.iter().map(|(_, want)| want.classes).collect::<Vec<_>>();
    assert_eq!(classes(&again), classes(&first), "all of it, in the same order");
    assert!(again.iter().all(|(_, want)| want.log == log && want.to == 40), "{again:?}");
}

#[test]
fn announcements_without_end_do_not_fill_memory() {
    let mut node = Node::new(0);
    node.greet(1, &Frontier::default());
    for round in 0..3_u32 {
        for part in 0..100_u32 {
            let log = |number: u32| {
                LogId(std::array::from_fn(|at| (round * 100_000 + part * 100 + number).to_le_bytes()[at % 4]))
            };
            let heights = (0..100).map(|number| (log(number), 5)).collect();
            node.act([message(1, Message::Have { heights })]);
        }
        node.act([Input::LinkDown { peer: key(1) }]);
        node.run_for(30_000);
        node.greet(1, &Frontier::default());
    }
    let too_many = node.act([message(1, Message::Have { heights: vec![(LogId([1; 16]), 1); 5_000] })]);
    let full = |event: &Event| matches!(event, Event::Rejected { reject: Reject::Full { .. }, .. });
    assert!(events(&too_many).iter().any(full));
}

#[test]
fn requests_are_served_as_far_as_entries_are_durable() {
    let mut node = Node::new(0);
    node.greet(1, &Frontier::default());
    node.publish(Class::Routine, 3);
    let log = node.replica.own_log();
    let ask = |from, to| Want { request: 3, log, from, to, classes: WantClasses::All, budget: 0 };
    let served = |effects: Vec<Effect>| {
        effects.into_iter().find_map(|effect| match effect {
            Effect::Serve { want, .. } => Some((want.from, want.to, want.budget > 0)),
            _ => None,
        })
    };
    assert_eq!(served(node.act([message(1, Message::Want(ask(1, u64::MAX)))])), Some((1, 4, true)));
    assert_eq!(served(node.act([message(1, Message::Want(ask(u64::MAX, u64::MAX)))])), Some((4, 4, true)));
    assert_eq!(served(node.act([message(1, Message::Want(ask(2, 1)))])), None);
}
