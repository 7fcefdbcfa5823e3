//! Writes that fail, restarts, and waking up in time.

use vatra_model::charter::MemberRole;
use vatra_model::wire::{FrontierDigest, Message};
use vatra_model::{Class, EntryHash, Frontier, Head, Hlc, Incarnation};
use vatra_replica::{Effect, Event, Input, LogRow, NewLife, Reject, Replica, Restored, RestoredLog, UNASKED};

use crate::liar::*;
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

#[test]
fn what_was_written_before_a_write_failed_is_announced() {
    let mut writer = Node::new(9);
    writer.publish(Class::Flash, 2);
    let log = writer.replica.own_log();
    let mut node = Node::new(0);
    for peer in [1, 2] {
        node.greet(peer, &Frontier::default());
    }
    let mut effects = Vec::new();
    let input = writer.sent(&node, 1, None, &[(log, 0), (log, 1)]);
    node.replica.handle(node.now, input, &mut effects);
    node.replica.flush(node.now, &mut effects);
    let batch = effects.iter().find_map(|effect| match effect {
        Effect::Persist(batch) => Some(batch.clone()),
        _ => None,
    });
    let batch = batch.expect("something is to be written");
    // The first of two entries is on disk when the second fails.
    let head = Head { height: 1, head: writer.entries[&(log, 0)].hash() };
    let row = LogRow { head, ..batch.logs.iter().find(|(id, _)| *id == log).expect("named").1.clone() };
    let mut logs = node.disk();
    logs.push(RestoredLog { row, ahead: vec![], fork: None, strays: vec![] });
    effects.clear();
    node.replica.handle(node.now, Input::PersistFailed { batch: batch.id, logs }, &mut effects);
    node.now.mono = node.now.mono.plus(60);
    node.replica.handle(node.now, Input::Tick, &mut effects);
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Send { peer, message: Message::Have { heights } } => Some((*peer, heights.clone())),
        _ => None,
    });
    assert!(told.clone().any(|told| told == (key(2), vec![(log, 1)])), "{:?}", told.collect::<Vec<_>>());
}

/// Ranges that are given unasked, to whomever.
fn given(effects: &[Effect]) -> Vec<(u64, u64)> {
    let ranges = effects.iter().filter_map(|effect| match effect {
        Effect::Serve { want, .. } if want.request == UNASKED => Some((want.from, want.to)),
        _ => None,
    });
    ranges.collect()
}

#[test]
fn who_claims_to_fill_a_gap_and_does_not_keeps_nothing_from_others() {
    let mut writer = Node::new(9);
    writer.publish(Class::Routine, 20);
    let log = writer.replica.own_log();
    let mut node = Node::new(0);
    node.greet(1, &Frontier::default());
    node.greet(2, &Frontier::default());
    let input = writer.sent(&node, 1, None, &[(log, 3), (log, 4), (log, 9)]);
    node.act([input, have(2, log, 21)]);
    // It answers every request with nothing, and claims the same again.
    let mut effects = Vec::new();
    for _ in 0..60 {
        for (peer, want) in wants(&effects) {
            assert_eq!(peer, key(2), "nobody else says that it holds more");
            node.act([message(2, Message::Done { request: want.request, more: false })]);
        }
        effects = node.act([have(2, log, 21)]);
        effects.extend(node.run_for(1_000));
        if !given(&effects).is_empty() {
            break;
        }
    }
    assert_eq!(given(&effects), [(3, 10), (3, 10)], "each peer gets what lies past the gap");
}

#[test]
fn many_stranded_entries_are_given_a_few_at_a_time_and_all() {
    let mut writer = Node::new(9);
    writer.publish(Class::Routine, 101);
    let log = writer.replica.own_log();
    let mut node = Node::new(0);
    node.greet(1, &Frontier::default());
    // Nobody holds the first one any more.
    let places: Vec<_> = (1..101).map(|seq| (log, seq)).collect();
    let input = writer.sent(&node, 1, None, &places);
    node.act([input, Input::LinkDown { peer: key(1) }]);
    node.greet(2, &Frontier::default());
    let parts = given(&node.run_for(60_000));
    assert_eq!(parts, [(1, 33), (33, 65), (65, 97), (97, 101)], "each once on a link");
    let later = writer.sent(&node, 2, Some(UNASKED), &[(log, 101)]);
    node.act([later]);
    assert_eq!(given(&node.run_for(60_000)), [(101, 102)], "one more costs one more");
}

#[test]
fn what_was_given_unasked_and_could_not_be_kept_is_asked_for() {
    let mut writer = Node::new(9);
    writer.publish(Class::Routine, 9);
    let log = writer.replica.own_log();
    let mut node = Node::new(0);
    node.greet(1, &Frontier::default());
    node.greet(2, &Frontier::default());
    let asked = |effects: &[Effect]| -> Vec<_> {
        wants(effects).into_iter().map(|(peer, want)| (peer, want.from, want.to)).collect()
    };
    // One gives while the disk takes nothing, another while a write fails.
    node.replica.set_writable(false);
    let input = writer.sent(&node, 1, Some(UNASKED), &[(log, 5), (log, 7)]);
    node.act([input]);
    node.replica.set_writable(true);
    assert_eq!(asked(&node.run_for(10)), [(key(1), 5, 8)]);
    node.writes_fail = true;
    let input = writer.sent(&node, 2, Some(UNASKED), &[(log, 3)]);
    node.act([input]);
    node.writes_fail = false;
    assert_eq!(asked(&node.run_for(2_000)), [(key(2), 3, 4)], "once it works again");
    assert!(asked(&node.run_for(2_000)).is_empty(), "once");
}

#[test]
fn a_charter_and_a_new_life_outlast_a_failed_write() {
    let charter = next_epoch(&charter(MEMBERS), MEMBERS, |_| {});
    let mut node = Node::new(0);
    node.publish(Class::Routine, 2);
    node.greet(1, &Frontier::default());
    let own = node.replica.own_log();
    node.writes_fail = true;
    // A peer shows that this store is an old copy of itself, and a charter comes.
    node.act([have(1, own, 9), Input::Charter { bytes: charter.encode() }]);
    assert_eq!((node.charter.clone(), node.opened.clone()), (None, vec![]));
    node.run_for(5_000);
    node.writes_fail = false;
    node.run_for(5_000);
    assert_eq!(node.charter, Some(charter.encode()));
    assert_eq!(node.opened, [node.replica.incarnation()]);
    assert_ne!(node.replica.own_log(), own);
}

/// An entry of one's own that the store lacks shows more surely than any height that the store is an old copy of itself,
/// also after a peer's word was believed once.
#[test]
fn an_own_entry_from_elsewhere_opens_a_new_life() {
    let mut node = Node::new(0);
    node.publish(Class::Routine, 2);
    let own = node.replica.own_log();
    let mut old = node.restarted(0);
    node.publish(Class::Routine, 2);
    let frontier = old.replica.frontier();
    old.greet(1, &frontier);
    let newest = node.sent(&old, 1, None, &[(own, 4)]);
    let effects = old.act([newest]);
    assert_ne!(old.replica.own_log(), own);
    let begun = |event: &Event| matches!(event, Event::NewIncarnation { why: NewLife::Revealed, .. });
    assert_eq!(events(&effects).iter().filter(|event| begun(event)).count(), 1);
    old.publish(Class::Flash, 1);
    assert!(
        (0..=4).all(|seq| old.entries.get(&(own, seq)).is_none_or(|e| e.hash() == node.entries[&(own, seq)].hash()))
    );
}

/// Beyond a link, nodes go by it which life of a node is the last; an old copy of a store knows of earlier ones only.
#[test]
fn a_new_life_is_opened_now_and_after_the_one_before() {
    for (passed, behind) in [(90_000_000, 0), (0, 90_000_000)] {
        let mut node = Node::new(0);
        node.publish(Class::Routine, 2);
        let mut old = node.restarted(0);
        node.publish(Class::Routine, 1);
        let before = old.replica.status(old.now).opened;
        old.now.wall = vatra_model::WallMs(old.now.wall.0 + passed - behind);
        let newest = node.sent(&old, 1, None, &[(node.replica.own_log(), 3)]);
        old.greet(1, &Frontier::default());
        old.act([newest]);
        let opened = old.replica.status(old.now).opened;
        assert!(opened > before && (behind > 0 || opened == old.now.wall), "{opened:?} after {before:?}");
    }
}

/// What is written after something was read has the later stamp, whatever the clocks say.
#[test]
fn a_stamp_is_later_than_all_that_came_before() {
    let mut ahead = Node::new(9);
    ahead.now.wall = vatra_model::WallMs(ahead.now.wall.0 + 20_000);
    ahead.publish(Class::Routine, 1);
    let log = ahead.replica.own_log();
    let mut node = Node::new(0);
    node.greet(1, &Frontier::default());
    let theirs = ahead.sent(&node, 1, None, &[(log, 0), (log, 1)]);
    node.act([theirs]);
    node.publish(Class::Routine, 1);
    let own = node.replica.own_log();
    assert!(node.entries[&(own, 1)].header().hlc > ahead.entries[&(log, 1)].header().hlc);
}

#[test]
fn a_stray_whose_write_failed_is_taken_when_it_comes_again() {
    let root = chain(0, EntryHash::ZERO, &["root"]);
    let (a, b) = (chain(1, root[0].hash(), &["a1"]), chain(1, root[0].hash(), &["b1", "b2"]));
    let mut node = fresh();
    for entries in [&root[..], &a, &b[..1]] {
        give(&mut node, 1, entries);
    }
    node.run_for(500);
    assert!(node.forks.contains_key(&log()), "both are signed, so the log is forked");
    node.writes_fail = true;
    give(&mut node, 1, &b[1..]);
    assert!(!node.held().contains(&b[1].hash()));
    node.writes_fail = false;
    node.run_for(2_000);
    give(&mut node, 1, &b[1..]);
    assert!(node.held().contains(&b[1].hash()));
}

/// A charter is being written when a newer one comes, and that write fails.
#[test]
fn of_two_charters_the_newer_is_written_after_a_failure() {
    let second = next_epoch(&charter(3), 3, |_| {});
    let third = next_epoch(&second, 3, |epoch| epoch.members.push(listed(3, MemberRole::Member)));
    let mut node = Node::with_charter(0, charter(3));
    node.greet(1, &Frontier::default());
    let mut effects = Vec::new();
    node.replica.handle(node.now, Input::Charter { bytes: second.encode() }, &mut effects);
    node.replica.flush(node.now, &mut effects);
    let batch = effects.iter().find_map(|effect| match effect {
        Effect::Persist(batch) => Some(batch.id),
        _ => None,
    });
    node.replica.handle(node.now, Input::Charter { bytes: third.encode() }, &mut effects);
    let logs = node.disk();
    node.replica.handle(node.now, Input::PersistFailed { batch: batch.expect("a batch"), logs }, &mut effects);
    node.run_for(60_000);
    assert_eq!(node.charter, Some(third.encode()));
}

/// The charter on disk is older than a log there.
#[test]
fn a_stored_log_that_the_charter_does_not_admit_keeps_no_node_from_starting() {
    let newer = next_epoch(&charter(3), 3, |epoch| epoch.members.push(listed(3, MemberRole::Member)));
    let mut writer = Node::with_charter(3, newer.clone());
    writer.publish(Class::Routine, 1);
    let log = writer.replica.own_log();
    let mut node = Node::with_charter(0, newer.clone());
    node.greet(1, &Frontier::default());
    node.publish(Class::Routine, 1);
    let [given, again] = [(); 2].map(|()| writer.sent(&node, 1, None, &[(log, 0), (log, 1)]));
    node.act([given]);
    let restored = |logs| Restored {
        incarnation: node.replica.incarnation(),
        opened: node.now.wall,
        boot: 2,
        hlc: Hlc::default(),
        logs,
    };
    let mut started = Replica::new(bare(0, charter(3)), restored(node.disk()), node.now).expect("the rest is good");
    assert!(matches!(started.left_out(), [Reject::Admit(_)]), "{:?}", started.left_out());
    let own = started.own_log();
    assert_eq!((started.head(&log).height, started.head(&own).height), (0, 2));
    // The charter comes, and with it the log.
    let mut effects = Vec::new();
    for input in [Input::Charter { bytes: newer.encode() }, again] {
        started.handle(node.now, input, &mut effects);
    }
    started.flush(node.now, &mut effects);
    let staged = effects.iter().filter_map(|effect| match effect {
        Effect::Persist(batch) => Some(batch.entries.len()),
        _ => None,
    });
    assert_eq!(staged.sum::<usize>(), 2);
}
