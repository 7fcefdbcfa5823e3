//! Peers that say or ask too much: what they are refused, and that others are not delayed by it.

use vatra_model::wire::{Message, Want, WantClasses};
use vatra_model::{Class, Frontier, LogId};
use vatra_replica::{Effect, Event, Reject};

use crate::support::*;

fn refusals(effects: &[Effect]) -> usize {
    let full = |event: &Event| matches!(event, Event::Rejected { reject: Reject::Full { .. }, .. });
    events(effects).iter().filter(|event| full(event)).count()
}

fn want(request: u32, log: LogId) -> Message {
    Message::Want(Want { request, log, from: 0, to: 4_096, classes: WantClasses::All, budget: 4 << 20 })
}

#[test]
fn requests_without_end_are_refused_and_an_honest_peer_is_answered() {
    let mut node = Node::new(0);
    node.publish(Class::Routine, 200);
    let log = node.replica.own_log();
    for peer in [1, 2] {
        node.greet(peer, &Frontier::default());
    }
    let (mut served, mut refused, mut told) = (0, 0, 0);
    for request in 1..=20_000 {
        let effects = node.act([message(1, want(request, log))]);
        served += effects.iter().filter(|effect| matches!(effect, Effect::Serve { .. })).count();
        refused += refusals(&effects);
        let done = |effect: &&Effect| matches!(effect, Effect::Send { message: Message::Done { more: true, .. }, .. });
        told += effects.iter().filter(done).count();
    }
    assert!(served < 200, "answers to one peer are bounded: {served}");
    assert_eq!((served + refused, told), (20_000, refused), "whoever is refused is told so");
    let honest = node.act([message(2, want(1, log))]);
    assert!(honest.iter().any(|effect| matches!(effect, Effect::Serve { .. })), "{honest:?}");
    node.run_for(60_000);
    let later = node.act([message(1, want(1, log))]);
    assert!(later.iter().any(|effect| matches!(effect, Effect::Serve { .. })), "it is not banned for ever");
}

#[test]
fn announcements_without_end_are_refused() {
    let mut node = Node::new(0);
    for peer in [1, 2] {
        node.greet(peer, &Frontier::default());
    }
    let log = LogId([7; 16]);
    let refused: usize = (0..1_000).map(|height| refusals(&node.act([have(1, log, height)]))).sum();
    assert!(refused > 500, "{refused}");
    assert_eq!(refusals(&node.act([have(2, log, 5)])), 0, "others may speak");
    let resume = || message(1, Message::Resume { heard: [0; 32] });
    let frontiers = |effect: &&Effect| matches!(effect, Effect::Send { message: Message::Frontier(_), .. });
    let told: usize = (0..100).map(|_| node.act([resume()]).iter().filter(frontiers).count()).sum();
    assert!((1..=16).contains(&told), "a small question with a large answer: {told}");
}

#[test]
fn a_long_backlog_delays_no_other_log() {
    let mut node = Node::new(0);
    node.greet(1, &Frontier::default());
    let heights = vec![(LogId([1; 16]), 1_000_000), (LogId([8; 16]), 3), (LogId([9; 16]), 3)];
    let mut effects = node.act([message(1, Message::Have { heights })]);
    effects.extend(node.run_for(1_000));
    let asked = wants(&effects);
    for log in [8, 9] {
        assert!(asked.iter().any(|(_, want)| want.log == LogId([log; 16])), "{asked:?}");
    }
}

#[test]
fn one_that_trickles_does_not_keep_a_range() {
    let mut writer = Node::new(9);
    let log = writer.replica.own_log();
    writer.publish(Class::Routine, 40);
    let mut node = Node::new(0);
    for peer in [1, 2] {
        node.greet(peer, &Frontier::default());
    }
    let input = writer.sent(&node, 1, None, &[(log, 0)]);
    node.act([input, have(1, log, 31)]);
    let mut effects = node.run_for(1_000);
    let (_, first) = wants(&effects)[0];
    node.act([have(2, log, 31)]);
    effects.clear();
    // One entry every four seconds: it moves, and would take more than a minute.
    for seq in 1..26 {
        let input = writer.sent(&node, 1, Some(first.request), &[(log, 31 - seq)]);
        node.act([input]);
        effects.extend(node.run_for(4_000));
    }
    let asked = wants(&effects);
    assert!(asked.iter().any(|(peer, want)| *peer == key(2) && want.from <= 1), "{asked:?}");
}
