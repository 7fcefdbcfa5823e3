//! Writes that fail, restarts, and waking up in time.

use vatra_model::wire::{FrontierDigest, Message};
use vatra_model::{Class, Frontier, Hlc, Incarnation};
use vatra_replica::{Effect, Input, Replica, Restored};

use crate::support::*;

#[test]
fn nothing_is_told_before_it_is_durable() {
    let mut node = Node::new(0);
    node.greet(1, &Frontier::default());
    let mut effects = Vec::new();
    let publish = Input::Publish { token: 1, class: Class::Flash, changes: vec![b"x".to_vec()] };
    node.replica.handle(node.now, publish, &mut effects);
    node.replica.flush(node.now, &mut effects);
    let batch = match effects.as_slice() {
        [Effect::Persist(batch)] => batch.id,
        other => panic!("{other:?}"),
    };
    assert_eq!(node.replica.frontier(), Frontier::default());
    let mut second = Vec::new();
    node.replica.flush(node.now, &mut second);
    assert!(second.is_empty(), "one batch at a time");
    node.replica.handle(node.now, Input::Persisted { batch }, &mut second);
    assert!(matches!(second[0], Effect::Published { token: 1, .. }));
    assert!(second.iter().any(|effect| matches!(effect, Effect::Push { .. })));
}

#[test]
fn a_failed_write_refuses_and_keeps_what_a_link_told_once() {
    let mut writer = Node::new(9);
    writer.publish(Class::Routine, 3);
    let log = writer.replica.own_log();
    let mut node = Node::new(0);
    node.greet(1, &Frontier::default());
    node.publish(Class::Routine, 2);
    let own = node.replica.own_log();
    node.writes_fail = true;
    let input = writer.sent(&node, 1, None, &[(log, 0), (log, 1)]);
    let publish = Input::Publish { token: 77, class: Class::Flash, changes: vec![b"x".to_vec()] };
    let effects = node.act([input, publish]);
    assert_eq!((refused(&effects), published(&effects)), (1, 0));
    assert_eq!((node.height(own), node.height(log)), (3, 0));
    let effects = node.publish(Class::Flash, 1);
    assert_eq!(refused(&effects), 1, "while writing fails, callers do not wait");

    node.writes_fail = false;
    node.run_for(2_000);
    // The link has told the log before and tells only entries now.
    let Input::Entries { entries, .. } = writer.sent(&node, 1, None, &[(log, 0), (log, 1), (log, 2)]) else {
        unreachable!("entries are sent")
    };
    node.act([Input::Entries { peer: Some(key(1)), request: None, logs: vec![], entries }]);
    assert_eq!(node.height(log), 3);
    assert_eq!(published(&node.publish(Class::Flash, 1)), 1);
    assert_eq!(node.height(own), 4, "the refused change has left no hole");
}

#[test]
fn a_store_that_takes_no_writes_does_not_spin() {
    let (mut node, mut writer) = (Node::new(0), Node::new(9));
    writer.publish(Class::Routine, 40);
    let log = writer.replica.own_log();
    node.greet(1, &Frontier::default());
    node.act([have(1, log, 41)]);
    assert!(!wants(&node.run_for(1_000)).is_empty());
    node.replica.set_writable(false);
    // `Node::act` fails when a deadline has passed and stays so.
    let effects = node.run_for(60_000);
    assert_eq!(wants(&effects), vec![], "nothing is asked for that could not be kept");
    assert_eq!(refused(&node.publish(Class::Flash, 1)), 1);
    node.replica.set_writable(true);
    assert!(!wants(&node.run_for(15_000)).is_empty(), "catch-up goes on by itself");
}

#[test]
fn a_restart_goes_on_where_the_disk_ends() {
    let mut writer = Node::new(9);
    writer.publish(Class::Routine, 6);
    let log = writer.replica.own_log();
    let mut node = Node::new(0);
    node.publish(Class::Routine, 2);
    node.greet(1, &Frontier::default());
    let input = writer.sent(&node, 1, None, &[(log, 0), (log, 1), (log, 4), (log, 5)]);
    node.act([input]);
    let restored = Restored {
        incarnation: Incarnation(1),
        opened: node.now.wall,
        boot: 2,
        hlc: Hlc::default(),
        logs: node.disk(),
    };
    let (own, frontier) = (node.replica.own_log(), node.replica.frontier());
    node.replica = Replica::new(config(0, charter(MEMBERS)), restored, node.now).expect("its own disk");
    assert_eq!((node.replica.own_log(), node.replica.frontier()), (own, frontier));
    assert!(node.replica.holds(&log, vatra_model::Seq(5)), "entries beyond a gap are remembered");
    node.greet(1, &Frontier::default());
    node.act([have(1, log, 7)]);
    let asked: Vec<(u64, u64)> = wants(&node.run_for(1_000)).iter().map(|(_, want)| (want.from, want.to)).collect();
    assert_eq!(asked, [(2, 4), (6, 7)], "only what is missing");
    let input = writer.sent(&node, 1, None, &[(log, 2), (log, 3)]);
    node.act([input]);
    assert_eq!(node.height(log), 6, "the gap closes over what was there");
    let empty = FrontierDigest { complete: true, heads: vec![] };
    node.act([message(1, Message::Frontier(empty))]);
    node.publish(Class::Routine, 1);
    assert_eq!(node.height(own), 4);
}
