//! Entries that the disk no longer gives back: fetched again, and put back only if they are the very same.

use vatra_model::wire::{Message, Want};
use vatra_model::{Class, Frontier, LogId, Seq};
use vatra_replica::{Effect, Event, Input, NewLife};

use crate::support::*;

/// A writer of ten entries, and node 0 that holds them and has links to these peers, which hold them too.
fn holding(peers: &[u8]) -> (Node, Node, LogId) {
    let mut writer = Node::new(9);
    let log = writer.replica.own_log();
    writer.publish(Class::Routine, 9);
    let mut node = Node::new(0);
    let frontier = writer.replica.frontier();
    for peer in peers {
        node.greet(*peer, &frontier);
    }
    let all: Vec<(LogId, u64)> = (0..10).map(|seq| (log, seq)).collect();
    let input = writer.sent(&node, peers[0], None, &all);
    node.act([input]);
    assert_eq!(node.height(log), 10);
    node.act(peers.iter().map(|peer| have(*peer, log, 10)));
    node.run_for(15_000);
    (node, writer, log)
}

/// The disk gives back some entries no more, and somebody has noticed.
fn damage(node: &mut Node, log: LogId, places: &[u64]) -> Vec<Effect> {
    for place in places {
        node.entries.remove(&(log, *place)).expect("it was held");
    }
    node.act([Input::Damaged { log, places: places.iter().map(|seq| Seq(*seq)).collect() }])
}

fn done(peer: u8, request: u32) -> Input {
    message(peer, Message::Done { request, more: false })
}

fn ranges(asked: &[(vatra_model::NodeKey, Want)]) -> Vec<(u64, u64)> {
    let mut ranges: Vec<_> = asked.iter().map(|(_, want)| (want.from, want.to)).collect();
    ranges.sort_unstable();
    ranges
}

fn mended(effects: &[Effect]) -> Vec<u64> {
    let seq = |event: &Event| match event {
        Event::Mended { seq, .. } => Some(seq.0),
        _ => None,
    };
    events(effects).iter().filter_map(seq).collect()
}

#[test]
fn what_is_damaged_is_fetched_and_put_back_without_a_word() {
    let (mut node, writer, log) = holding(&[1, 2]);
    let before = node.replica.frontier();
    let effects = damage(&mut node, log, &[3, 4, 5, 9]);
    assert_eq!(node.replica.frontier(), before, "what was told stays");
    let asked = wants(&effects);
    assert_eq!(ranges(&asked), [(3, 6), (9, 10)], "holes that touch are asked for together");
    for (peer, want) in asked {
        let peer = if peer == key(1) { 1 } else { 2 };
        let places: Vec<_> = (want.from..want.to).map(|seq| (log, seq)).collect();
        let input = writer.sent(&node, peer, Some(want.request), &places);
        let mut effects = node.act([input]);
        effects.extend(node.act([done(peer, want.request)]));
        let found = mended(&effects);
        assert_eq!(found.len() as u64, want.to - want.from, "{effects:?}");
        let told = |effect: &&Effect| matches!(effect, Effect::Push { .. } | Effect::Send { .. });
        assert_eq!(effects.iter().filter(told).count(), 0, "nobody else is concerned: {effects:?}");
    }
    assert_eq!(node.entries.len(), 10);
    assert_eq!((node.replica.status(node.now).damaged, node.replica.frontier()), (0, before));
}

#[test]
fn entries_that_come_before_it_is_known_what_belongs_there_wait_for_it() {
    let (mut node, writer, log) = holding(&[1]);
    let asked = wants(&damage(&mut node, log, &[3, 4, 5]));
    let want = asked[0].1;
    // They come one by one, lowest first; only the entry after the holes tells the highest.
    for seq in [3, 4] {
        let input = writer.sent(&node, 1, Some(want.request), &[(log, seq)]);
        assert_eq!(mended(&node.act([input])), Vec::<u64>::new(), "entry {seq}");
    }
    let input = writer.sent(&node, 1, Some(want.request), &[(log, 5)]);
    assert_eq!(mended(&node.act([input])).len(), 3);
}

#[test]
fn another_entry_of_the_same_writer_is_no_repair() {
    let (mut node, writer, log) = holding(&[1]);
    // The same writer, from a copy of its store, signs something else for the place.
    let mut twin = Node::new(9);
    twin.publish(Class::Routine, 3);
    twin.publish(Class::Priority, 1);
    assert_eq!(twin.replica.own_log(), log);
    let want = wants(&damage(&mut node, log, &[4]))[0].1;
    assert_ne!(twin.entries[&(log, 4)].hash(), writer.entries[&(log, 4)].hash());
    let input = twin.sent(&node, 1, Some(want.request), &[(log, 4)]);
    assert_eq!(mended(&node.act([input])), Vec::<u64>::new());
    assert_eq!(node.replica.status(node.now).damaged, 1, "the hole is still open");
    node.act([done(1, want.request)]);
    let again = wants(&node.run_for(5_000));
    assert_eq!(again.len(), 1, "and asked for again: {again:?}");
    let input = writer.sent(&node, 1, Some(again[0].1.request), &[(log, 4)]);
    assert_eq!(mended(&node.act([input])), [4]);
}

#[test]
fn who_has_lost_the_same_entry_is_followed_by_another() {
    let (mut node, writer, log) = holding(&[1, 2]);
    let (first, want) = wants(&damage(&mut node, log, &[4]))[0];
    let number = |key_of| if key_of == key(1) { 1 } else { 2 };
    let effects = node.act([done(number(first), want.request)]);
    let (second, want) = wants(&effects)[0];
    assert_ne!(first, second);
    let effects = node.act([done(number(second), want.request)]);
    assert!(wants(&effects).is_empty(), "nobody is asked twice in a row");
    assert!(wants(&node.run_for(3_000)).is_empty());
    let mut again = wants(&node.run_for(2_000));
    assert!(!again.is_empty(), "but after a while");
    while let Some((peer, want)) = again.pop() {
        again.extend(wants(&node.act([done(number(peer), want.request)])));
    }
    // A peer that comes is asked at once.
    let effects = node.greet(3, &writer.replica.frontier());
    let asked: Vec<_> = wants(&effects).into_iter().filter(|(peer, _)| *peer == key(3)).collect();
    assert_eq!(ranges(&asked), [(4, 5)]);
}

#[test]
fn a_repair_that_was_not_written_is_fetched_again() {
    let (mut node, writer, log) = holding(&[1]);
    let want = wants(&damage(&mut node, log, &[4]))[0].1;
    node.writes_fail = true;
    let input = writer.sent(&node, 1, Some(want.request), &[(log, 4)]);
    // What a real store would say of a log of which an entry below its height cannot be read.
    node.entries.insert((log, 4), writer.entries[&(log, 4)].clone());
    assert_eq!(mended(&node.act([input])), Vec::<u64>::new());
    node.entries.remove(&(log, 4));
    node.writes_fail = false;
    let asked = wants(&node.run_for(4_000));
    assert_eq!(ranges(&asked), [(4, 5)], "{asked:?}");
    let input = writer.sent(&node, 1, Some(asked[0].1.request), &[(log, 4)]);
    assert_eq!(mended(&node.act([input])), [4]);
}

#[test]
fn own_entries_come_back_without_a_new_life_if_anybody_has_them() {
    let mut node = Node::new(0);
    node.publish(Class::Routine, 5);
    let (log, saved) = (node.replica.own_log(), node.entries.clone());
    node.greet(1, &node.replica.frontier());
    node.run_for(15_000);
    let want = wants(&damage(&mut node, log, &[2]))[0].1;
    let mut other = Node::new(1);
    other.rows.clone_from(&node.rows);
    other.entries = saved;
    let input = other.sent(&node, 1, Some(want.request), &[(log, 2)]);
    assert_eq!(mended(&node.act([input])), [2]);
    assert_eq!(node.replica.own_log(), log);
    // The next one nobody has: others wait at that place, so nothing more is written behind it.
    let want = wants(&damage(&mut node, log, &[3]))[0].1;
    let effects = node.act([done(1, want.request)]);
    assert!(
        events(&effects).iter().any(|event| matches!(event, Event::NewIncarnation { why: NewLife::Damaged, .. })),
        "{effects:?}"
    );
    assert_ne!(node.replica.own_log(), log);
    let life = node.replica.own_log();
    node.run_for(120_000);
    assert_eq!(node.replica.own_log(), life, "once");
}

#[test]
fn who_lacks_the_top_of_a_run_is_asked_for_the_rest_of_it() {
    let (mut node, writer, log) = holding(&[1, 2]);
    let number = |peer| if peer == key(1) { 1 } else { 2 };
    let (first, want) = wants(&damage(&mut node, log, &[3, 4, 5]))[0];
    // The first has lost the top too; the second has nothing else.
    let input = writer.sent(&node, number(first), Some(want.request), &[(log, 3), (log, 4)]);
    node.act([input]);
    let effects = node.act([done(number(first), want.request)]);
    let (second, want) = wants(&effects)[0];
    assert_ne!(first, second);
    let input = writer.sent(&node, number(second), Some(want.request), &[(log, 5)]);
    let mut asked = wants(&node.act([input]));
    asked.extend(wants(&node.act([done(number(second), want.request)])));
    let mut filled = Vec::new();
    for _ in 0..4 {
        let Some((peer, want)) = asked.pop() else { break };
        let held: Vec<_> = (want.from..want.to).filter(|seq| peer == first && *seq < 5).map(|seq| (log, seq)).collect();
        let input = writer.sent(&node, number(peer), Some(want.request), &held);
        let mut effects = node.act([input]);
        effects.extend(node.act([done(number(peer), want.request)]));
        filled.extend(mended(&effects));
        asked.extend(wants(&effects));
    }
    filled.sort_unstable();
    assert_eq!(filled, [3, 4], "without a wait");
}

#[test]
fn a_log_whose_end_cannot_be_told_is_left_before_anything_more_is_signed() {
    let mut node = Node::new(0);
    node.publish(Class::Routine, 5);
    let log = node.replica.own_log();
    node.writes_fail = true;
    node.publish(Class::Routine, 1);
    node.writes_fail = false;
    let mut effects = Vec::new();
    node.replica.leave_own_log(&mut effects);
    assert!(events(&effects).iter().any(|event| matches!(event, Event::NewIncarnation { why: NewLife::Damaged, .. })));
    node.run_for(2_000);
    assert_eq!(published(&node.publish(Class::Routine, 1)), 1);
    assert_ne!(node.replica.own_log(), log);
    assert_eq!(node.entries.keys().filter(|(of, _)| *of == log).count(), 6, "the old log is as it was");
}

#[test]
fn places_that_are_not_held_are_not_holes() {
    let (mut node, _, log) = holding(&[1]);
    let unknown = LogId([7; 16]);
    let places = |seqs: &[u64]| seqs.iter().map(|seq| Seq(*seq)).collect::<Vec<_>>();
    let inputs = [
        Input::Damaged { log, places: places(&[10, 11, u64::MAX]) },
        Input::Damaged { log: unknown, places: places(&[0]) },
    ];
    assert!(wants(&node.act(inputs)).is_empty());
    assert_eq!(node.replica.status(node.now).damaged, 0);
    node.greet(2, &Frontier::default());
    // More than are kept in mind do no harm.
    let all: Vec<u64> = (0..10).chain(1_000..20_000).collect();
    let effects = node.act([Input::Damaged { log, places: places(&all) }]);
    assert_eq!(node.replica.status(node.now).damaged, 10);
    assert_eq!(ranges(&wants(&effects)), [(0, 10)]);
}

#[test]
fn a_run_that_does_not_come_whole_is_filled_from_its_top() {
    let (mut node, writer, log) = holding(&[1]);
    let mut asked = wants(&damage(&mut node, log, &[2, 3, 4, 5]));
    assert_eq!(ranges(&asked), [(2, 6)]);
    let mut filled = Vec::new();
    for _ in 0..20 {
        let Some((_, want)) = asked.pop() else { break };
        // An answer has room for one entry.
        let input = writer.sent(&node, 1, Some(want.request), &[(log, want.from)]);
        let more = want.to > want.from + 1;
        let mut effects = node.act([input]);
        effects.extend(node.act([message(1, Message::Done { request: want.request, more })]));
        effects.extend(node.run_for(4_500));
        filled.extend(mended(&effects));
        asked.extend(wants(&effects));
    }
    filled.sort_unstable();
    assert_eq!(filled, [2, 3, 4, 5]);
}

#[test]
fn what_lies_between_a_hole_and_the_next_readable_entry_is_a_hole() {
    let (mut node, writer, log) = holding(&[1]);
    for seq in [5, 6, 7] {
        node.entries.remove(&(log, seq)).expect("it was held");
    }
    // Only the lowest was noticed.
    let mut asked = wants(&node.act([Input::Damaged { log, places: vec![Seq(5)] }]));
    asked.extend(wants(&node.run_for(10_000)));
    let mut filled = Vec::new();
    while let Some((_, want)) = asked.pop() {
        let places: Vec<_> = (want.from..want.to).map(|seq| (log, seq)).collect();
        let input = writer.sent(&node, 1, Some(want.request), &places);
        filled.extend(mended(&node.act([input])));
        asked.extend(wants(&node.act([done(1, want.request)])));
    }
    filled.sort_unstable();
    assert_eq!(filled, [5, 6, 7]);
}

#[test]
fn a_lost_link_or_a_busy_peer_is_no_reason_for_a_new_life() {
    let mut node = Node::new(0);
    node.publish(Class::Routine, 5);
    let log = node.replica.own_log();
    node.greet(1, &node.replica.frontier());
    node.run_for(15_000);
    let want = wants(&damage(&mut node, log, &[2]))[0].1;
    node.act([message(1, Message::Done { request: want.request, more: true })]);
    node.run_for(3_000);
    node.act([Input::LinkDown { peer: key(1) }]);
    node.run_for(60_000);
    assert_eq!(node.replica.own_log(), log);
    assert_eq!(node.replica.status(node.now).damaged, 1);
}

#[test]
fn more_than_are_kept_in_mind_are_mended_all_the_same() {
    const COUNT: u64 = 4_300;
    let mut writer = Node::new(9);
    let log = writer.replica.own_log();
    writer.publish(Class::Routine, COUNT as usize - 1);
    let mut node = Node::new(0);
    node.greet(1, &writer.replica.frontier());
    let all: Vec<(LogId, u64)> = (0..COUNT).map(|seq| (log, seq)).collect();
    let input = writer.sent(&node, 1, None, &all);
    node.act([input, have(1, log, COUNT)]);
    assert_eq!(node.height(log), COUNT);
    // The disk gives back the newest entry only, and each look finds the rest from below.
    node.entries.retain(|(_, seq), _| *seq == COUNT - 1);
    for _ in 0..3 {
        let missing: Vec<Seq> = (0..COUNT).filter(|seq| !node.entries.contains_key(&(log, *seq))).map(Seq).collect();
        let mut asked = wants(&node.act([Input::Damaged { log, places: missing }]));
        while let Some((_, want)) = asked.pop() {
            let places: Vec<_> = (want.from..want.to).map(|seq| (log, seq)).collect();
            let input = writer.sent(&node, 1, Some(want.request), &places);
            asked.extend(wants(&node.act([input])));
            asked.extend(wants(&node.act([done(1, want.request)])));
        }
    }
    assert_eq!((node.entries.len() as u64, node.replica.status(node.now).damaged), (COUNT, 0));
}

/// Between the entry that closes a gap and the batch that writes it, what lay beyond the gap is on disk as before; the
/// entry itself is not.
#[test]
fn a_hole_that_is_found_while_its_gap_closes_stays_in_mind() {
    let mut writer = Node::new(9);
    let log = writer.replica.own_log();
    writer.publish(Class::Routine, 3);
    let mut node = Node::new(0);
    node.greet(1, &writer.replica.frontier());
    let input = writer.sent(&node, 1, None, &[(log, 1), (log, 2), (log, 3)]);
    node.act([input]);
    assert_eq!(node.height(log), 0);
    let input = writer.sent(&node, 1, None, &[(log, 0)]);
    let mut effects = Vec::new();
    node.replica.handle(node.now, input, &mut effects);
    node.entries.remove(&(log, 2)).expect("it is on disk");
    node.replica.handle(node.now, Input::Damaged { log, places: vec![Seq(0), Seq(2)] }, &mut effects);
    let effects = node.go_on(effects);
    let damaged = events(&effects).into_iter().filter(|event| matches!(event, Event::Damaged { .. }));
    assert_eq!(damaged.collect::<Vec<_>>(), [Event::Damaged { log, seq: Seq(2) }], "what is staged is no hole");
    assert_eq!((node.height(log), node.replica.status(node.now).damaged), (4, 1));
    let mut asked = wants(&effects);
    asked.extend(wants(&node.run_for(5_000)));
    let want = asked.iter().find(|(_, want)| (want.from, want.to) == (2, 3)).expect("it is asked for").1;
    let input = writer.sent(&node, 1, Some(want.request), &[(log, 2)]);
    let effects = node.act([input, done(1, want.request)]);
    assert_eq!(mended(&effects), [2]);
    assert_eq!(node.replica.status(node.now).damaged, 0);
}

/// Heights do not tell of what a peer holds beyond its own gap, so after those that may hold it all others are asked.
#[test]
fn who_may_hold_the_lost_entry_beyond_a_gap_is_asked_as_well() {
    let (mut node, writer, log) = holding(&[1]);
    let mut gappy = writer.replica.frontier();
    gappy.0.clear();
    node.greet(2, &gappy);
    let mut effects = damage(&mut node, log, &[5]);
    let first = wants(&effects);
    assert_eq!(first.iter().map(|(peer, _)| *peer).collect::<Vec<_>>(), [key(1)], "whose height covers it comes first");
    effects = node.act([done(1, first[0].1.request)]);
    effects.extend(node.run_for(3_000));
    let second: Vec<_> = wants(&effects).into_iter().filter(|(_, want)| want.from == 5).collect();
    assert_eq!(second.iter().map(|(peer, _)| *peer).collect::<Vec<_>>(), [key(2)]);
    let input = writer.sent(&node, 2, Some(second[0].1.request), &[(log, 5)]);
    assert_eq!(mended(&node.act([input])), [5]);
}

/// A peer that does not hold our lost entry may only be behind: a new life begins when one does not hold it that told
/// so, or when nobody has had it for about a minute.
#[test]
fn a_peer_that_is_behind_ends_no_life_at_once() {
    let mut node = Node::new(0);
    node.publish(Class::Routine, 5);
    let log = node.replica.own_log();
    node.greet(1, &Frontier::default());
    let mut effects = damage(&mut node, log, &[2]);
    let mut asked_at = Vec::new();
    for second in 0..300 {
        let of_hole = wants(&effects).into_iter().filter(|(_, want)| (want.log, want.from) == (log, 2));
        let requests: Vec<u32> = of_hole.map(|(_, want)| want.request).collect();
        asked_at.extend(requests.iter().map(|_| second));
        effects = node.act(requests.into_iter().map(|request| done(1, request)));
        effects.extend(node.run_for(1_000));
        if node.replica.own_log() != log {
            break;
        }
    }
    assert_ne!(node.replica.own_log(), log, "what is written from now on stands behind it for ever");
    assert!(asked_at.len() >= 5 && *asked_at.last().expect("some") >= 40, "asked after {asked_at:?} s");
}
