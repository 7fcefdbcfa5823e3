//! Forks and strays between two nodes: whatever is missing in between and whoever lies beside them, both come to know
//! the same, and say no more about it then.

use vatra_model::wire::{Message, StrayList};
use vatra_model::{CheckedEntry, EntryHash, Frontier, LogId, SignedHeader};

use crate::liar::*;
use crate::pair::*;
use crate::support::*;

const NOWHERE: EntryHash = EntryHash([3; 32]);

fn many(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix} {number}")).collect()
}

/// Five entries, and two branches at place 5: one of so many, and one of one.
fn with_trunk(strays: usize) -> Vec<CheckedEntry> {
    let trunk = chain(0, EntryHash::ZERO, &["0", "1", "2", "3", "4"]);
    let words = many("s", strays);
    let a = chain(5, trunk[4].hash(), &words.iter().map(String::as_str).collect::<Vec<_>>());
    let b = chain(5, trunk[4].hash(), &["other"]);
    [trunk, a, b].concat()
}

/// The same log, of which nobody ever has places 1 to 4.
fn without_trunk(strays: usize) -> Vec<CheckedEntry> {
    let words = many("s", strays);
    let root = chain(0, EntryHash::ZERO, &["root"]);
    let a = chain(5, NOWHERE, &words.iter().map(String::as_str).collect::<Vec<_>>());
    [root, a, chain(5, NOWHERE, &["other"])].concat()
}

fn give_both(pair: &mut Pair, entries: &[CheckedEntry]) {
    for at in 0..2 {
        let effects = give(&mut pair.nodes[at], LIAR, entries);
        pair.perform(at, effects);
    }
    pair.run(30_000);
    assert!(pair.holds_the_same());
}

#[test]
fn who_holds_the_same_strays_lists_them_no_more() {
    for entries in [with_trunk(1_000), without_trunk(1_000)] {
        let mut pair = Pair::new();
        pair.link();
        give_both(&mut pair, &entries);
        assert_eq!(pair.forks(), [Some(5), Some(5)]);
        pair.listed = 0;
        pair.run(600_000);
        assert_eq!(pair.listed, 0);
    }
}

/// A stray of which the row is lost is asked for ever more seldom.
#[test]
fn what_nobody_can_give_is_listed_ever_more_seldom() {
    let mut pair = Pair::new();
    let entries = with_trunk(1_000);
    give(&mut pair.nodes[0], 3, &entries);
    give(&mut pair.nodes[1], 3, &entries[..6]);
    pair.lost = Some(entries[700].hash());
    pair.run(1_000);
    pair.link();
    pair.run(30_000);
    assert_eq!(pair.nodes[0].held().difference(&pair.nodes[1].held()).count(), 1, "all but the lost one came");
    pair.listed = 0;
    pair.run(600_000);
    assert!(pair.listed <= 10 * 1_001, "{} strays listed in ten minutes", pair.listed);
}

/// What comes to one side of a cut reaches the other after it, however little of the trunk there is.
#[test]
fn a_stray_that_came_while_cut_off_crosses_after_the_heal() {
    let at_the_beginning = [chain(0, EntryHash::ZERO, &["a0", "a1"]), chain(0, EntryHash::ZERO, &["b0"])].concat();
    let (whole, gappy) = (with_trunk(3), without_trunk(3));
    let late_whole = chain(5, whole[4].hash(), &["late"]);
    let cases = [
        (&whole, late_whole, 5),
        (&gappy, chain(5, NOWHERE, &["late"]), 5),
        (&at_the_beginning, chain(0, EntryHash::ZERO, &["late"]), 0),
    ];
    for (entries, late, place) in cases {
        let mut pair = Pair::new();
        pair.link();
        give_both(&mut pair, entries);
        assert_eq!(pair.forks(), [Some(place), Some(place)]);
        pair.cut();
        give(&mut pair.nodes[0], LIAR, &late);
        pair.run(1_000);
        assert!(!pair.holds_the_same());
        pair.link();
        assert!(pair.seconds_until(60, Pair::holds_the_same).is_some(), "forked at {place}");
    }
}

#[test]
fn who_links_later_hears_of_a_fork_beyond_a_gap() {
    let mut pair = Pair::new();
    let entries = without_trunk(1);
    give(&mut pair.nodes[0], LIAR, &entries);
    give(&mut pair.nodes[1], LIAR, &entries[..2]);
    pair.run(1_000);
    pair.link();
    assert!(pair.seconds_until(60, |pair| pair.forks() == [Some(5), Some(5)] && pair.holds_the_same()).is_some());
}

/// A fork that both know does not hide another one below it, where a gap lies between them.
#[test]
fn a_fork_below_a_gap_is_found_although_another_one_is_known() {
    let root = chain(0, EntryHash::ZERO, &["root"]);
    let (a, b) = (chain(1, root[0].hash(), &["a1"]), chain(1, root[0].hash(), &["b1"]));
    let above = [chain(5, NOWHERE, &["x"]), chain(5, NOWHERE, &["y"])].concat();
    let mut pair = Pair::new();
    give(&mut pair.nodes[0], 3, &[root.clone(), a, above.clone()].concat());
    give(&mut pair.nodes[1], 3, &[root, b, above].concat());
    pair.run(1_000);
    assert_eq!(pair.forks(), [Some(5), Some(5)]);
    pair.link();
    assert!(pair.seconds_until(60, |pair| pair.forks() == [Some(1), Some(1)] && pair.holds_the_same()).is_some());
}

/// A peer that says that it has another chain, and then answers slowly with ours, keeps nobody else's chain from being
/// compared.
#[test]
fn who_leads_a_search_astray_holds_up_no_other() {
    let mut pair = Pair::new();
    pair.leads_astray_every_ms = Some(47_300);
    let trunk = chain(0, EntryHash::ZERO, &["0", "1", "2"]);
    let (a, b) = (chain(3, trunk[2].hash(), &["a"]), chain(3, trunk[2].hash(), &["b"]));
    give(&mut pair.nodes[0], 3, &[trunk.clone(), a].concat());
    give(&mut pair.nodes[1], 3, &[trunk, b].concat());
    for at in 0..2 {
        pair.nodes[at].greet(THIRD, &Frontier::default());
        pair.feed(at, another_head(4));
    }
    pair.run(13_700);
    pair.link();
    assert!(pair.seconds_until(60, |pair| pair.forks() == [Some(3), Some(3)]).is_some());
}

/// Questions about logs that are not forked, or that do not exist, leave no trace.
#[test]
fn asking_for_lists_of_made_up_logs_keeps_no_proof_back() {
    let mut pair = Pair::new();
    pair.nodes[0].greet(THIRD, &Frontier::default());
    for number in 0..4_096_u64 {
        let log = LogId([number.to_be_bytes(), [7; 8]].concat().try_into().expect("16 bytes"));
        pair.feed(0, message(THIRD, Message::WantStrayList { log }));
    }
    let entries = with_trunk(3);
    give(&mut pair.nodes[0], 3, &entries);
    give(&mut pair.nodes[1], 3, &entries[..6]);
    pair.run(1_000);
    pair.link();
    assert!(pair.seconds_until(60, |pair| pair.forks() == [Some(5), Some(5)] && pair.holds_the_same()).is_some());
}

/// A peer that tells of strays and never gives them has them asked of others all the same.
#[test]
fn who_gives_no_strays_keeps_nobody_else_from_being_asked() {
    let mut pair = Pair::new();
    let entries = with_trunk(3);
    give(&mut pair.nodes[0], 3, &entries);
    give(&mut pair.nodes[1], 3, &entries);
    pair.run(1_000);
    let late: Vec<CheckedEntry> =
        many("late", 5).iter().flat_map(|words| chain(5, entries[4].hash(), &[words.as_str()])).collect();
    give(&mut pair.nodes[0], 3, &late);
    pair.nodes[1].greet(THIRD, &Frontier::default());
    let items = late.iter().map(|entry| (5, entry.hash())).collect();
    let trunk = Some(entries[4].hash());
    let list = StrayList { log: log(), place: 5, trunk, head: EntryHash([5; 32]), whole: false, items };
    let tell = |pair: &mut Pair| pair.feed(1, message(THIRD, Message::StrayList(list.clone())));
    tell(&mut pair);
    pair.link();
    for _ in 0..120 {
        if pair.holds_the_same() {
            return;
        }
        tell(&mut pair);
        pair.run(500);
    }
    panic!("the strays did not come within a minute");
}

/// What came first at the place of a fork is looked at again when the trunk below it is whole.
#[test]
fn a_trunk_that_comes_last_shows_where_the_log_parts() {
    let trunk = chain(0, EntryHash::ZERO, &["0", "1", "2"]);
    let strange = chain(2, NOWHERE, &["x2"]);
    let orders = [[&trunk[0], &trunk[1], &trunk[2], &strange[0]], [&trunk[2], &strange[0], &trunk[0], &trunk[1]]];
    for order in orders {
        let mut node = fresh();
        for entry in order {
            give(&mut node, 1, std::slice::from_ref(entry));
        }
        node.run_for(60_000);
        assert_eq!(forked(&node), Some(1));
        let mut node = node.restarted(0);
        node.greet(1, &Frontier::default());
        node.run_for(60_000);
        assert_eq!(forked(&node), Some(1), "a restart changes nothing");
    }
}

/// One header that a search reads from the store settles nothing for an entry that is in doubt beside it.
#[test]
fn a_search_takes_no_doubt_away() {
    let trunk = chain(0, EntryHash::ZERO, &["0", "1", "2", "3"]);
    let other = chain(2, trunk[1].hash(), &["other 2"]);
    let mut node = fresh();
    give(&mut node, 1, &trunk);
    // After a restart the hashes of the contiguous part are not at hand.
    let mut node = node.restarted(0);
    node.greet(1, &Frontier::default());
    node.greet(THIRD, &Frontier::default());
    node.act([another_head(4)]);
    let header = Some(SignedHeader::of(trunk[1].entry()));
    let mut effects = Vec::new();
    // The store's answer to the search is under way when the entry comes.
    node.replica.handle(node.now, message(THIRD, Message::Header { log: log(), seq: 1, header }), &mut effects);
    let input = pushed(&node, 1, &other);
    node.replica.handle(node.now, input, &mut effects);
    node.go_on(effects);
    node.run_for(30_000);
    assert_eq!(forked(&node), Some(2));
}

/// While a disk takes nothing, lists bring nothing either. That slows nobody down once it takes writes again.
#[test]
fn strays_that_could_not_be_kept_come_soon_after_writing_works_again() {
    let mut pair = Pair::new();
    let entries = with_trunk(3);
    give(&mut pair.nodes[0], 3, &entries);
    give(&mut pair.nodes[1], 3, &entries);
    pair.run(1_000);
    pair.nodes[1].replica.set_writable(false);
    let late = chain(5, entries[4].hash(), &["late"]);
    give(&mut pair.nodes[0], 3, &late);
    pair.link();
    pair.run(300_000);
    assert!(!pair.holds_the_same());
    pair.nodes[1].replica.set_writable(true);
    assert!(pair.seconds_until(10, Pair::holds_the_same).is_some(), "as if nothing had been");
}
