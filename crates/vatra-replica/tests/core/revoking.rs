//! Revocations: whatever the order in which entries and the charter that ends their log come, all nodes come to the
//! same, and nothing past the end is told, served or asked for.

use std::collections::BTreeSet;

use vatra_model::charter::{Charter, Revocation};
use vatra_model::fork::ForkProof;
use vatra_model::wire::{Message, Want, WantClasses};
use vatra_model::{CheckedEntry, EntryHash, Frontier, Head, LogId, Seq, SignedHeader};
use vatra_replica::{Effect, Event, Input, Reject};

use crate::liar::*;
use crate::support::*;

/// The charter that revokes the liar's key; this much of its log is valid.
fn revoking(charter: &Charter, last: Option<&CheckedEntry>) -> Charter {
    let last_valid = last.map(|entry| (log(), entry.header().seq, entry.hash())).into_iter().collect();
    next_epoch(charter, MEMBERS, |epoch| epoch.revocations = vec![Revocation { key: key(LIAR), last_valid }])
}

/// What a node is given.
#[derive(Clone)]
enum Given<'g> {
    Entry(&'g CheckedEntry),
    Charter(&'g Charter),
}

fn take(node: &mut Node, given: &Given<'_>) {
    match given {
        Given::Entry(entry) => drop(give(node, 1, std::slice::from_ref(entry))),
        Given::Charter(charter) => drop(node.act([Input::Charter { bytes: charter.encode() }])),
    }
}

/// What a node comes to: where the log is forked, what it tells of it, and which valid entries it holds.
type Verdict = (Option<u64>, Frontier, BTreeSet<EntryHash>);

fn verdict(node: &mut Node, valid: &BTreeSet<EntryHash>) -> Verdict {
    node.run_for(500);
    let status = node.replica.status(node.now);
    let forked = status.logs.iter().find(|status| status.log == log()).and_then(|status| status.forked);
    (forked, node.replica.frontier(), node.held().intersection(valid).copied().collect())
}

/// Every order of these entries and the charter comes to the same, also over a restart in the middle and at the end.
/// `proof` comes last, as peers tell it that saw two entries.
fn check(story: &str, entries: &[CheckedEntry], last: Option<&CheckedEntry>, proof: Option<&ForkProof>) -> Verdict {
    let charter = revoking(fresh().replica.trust().charter(), last);
    let is_valid = |entry: &&CheckedEntry| {
        last.is_some_and(|last| entry.header().seq < last.header().seq || entry.hash() == last.hash())
    };
    let valid: BTreeSet<EntryHash> = entries.iter().filter(is_valid).map(CheckedEntry::hash).collect();
    let mut all: Vec<Given<'_>> = entries.iter().map(Given::Entry).collect();
    all.push(Given::Charter(&charter));
    let mut first: Option<Verdict> = None;
    for order in permutations(all.len()) {
        for restart in [false, true] {
            let mut node = fresh();
            for (number, index) in order.iter().enumerate() {
                take(&mut node, &all[*index]);
                if restart && number == order.len() / 2 {
                    node = node.restarted(0);
                    node.greet(1, &Frontier::default());
                }
            }
            // What was dropped while a question was open comes again.
            for given in &all {
                take(&mut node, given);
            }
            if let Some(proof) = proof {
                node.act([message(1, Message::Fork(Box::new(proof.clone())))]);
                all.iter().for_each(|given| take(&mut node, given));
            }
            let found = verdict(&mut node, &valid);
            let expected = first.get_or_insert_with(|| found.clone());
            assert_eq!(found, *expected, "{story}: {order:?}, restart {restart}");
            assert_eq!(found.2, valid, "{story}: {order:?}: what is valid stays");
            if restart {
                let mut node = node.restarted(0);
                assert_eq!(verdict(&mut node, &valid), *expected, "{story}: {order:?}: a restart changes nothing");
            }
        }
    }
    first.expect("there is an order")
}

fn told(entry: &CheckedEntry) -> Frontier {
    Frontier([(log(), Head { height: entry.header().seq.0 + 1, head: entry.hash() })].into())
}

#[test]
fn a_log_ends_at_its_last_valid_entry_in_every_order() {
    let entries = chain(0, EntryHash::ZERO, &["open", "before", "last", "after"]);
    assert_eq!(check("in the middle", &entries, Some(&entries[1]), None).1, told(&entries[1]));
    assert_eq!(check("the first entry", &entries, Some(&entries[0]), None).1, told(&entries[0]));
    assert_eq!(check("all of it", &entries, Some(&entries[3]), None).1, told(&entries[3]));
    assert_eq!(check("nothing", &entries, None, None).1, Frontier::default());
}

#[test]
fn a_fork_below_the_end_keeps_what_is_valid_of_both_branches_in_every_order() {
    let root = chain(0, EntryHash::ZERO, &["root"]);
    let a = chain(1, root[0].hash(), &["a1", "a2"]);
    let b = chain(1, root[0].hash(), &["b1", "b2"]);
    let entries = [root.clone(), a.clone(), b].concat();
    let (forked, _, held) = check("the end on a branch", &entries, Some(&a[1]), None);
    assert_eq!((forked, held.len()), (Some(1), 4), "b2 stands where a2 is the named one");
}

/// What stands in the last place instead of the named entry is refused by whoever knows of the revocation; who held it
/// before proves the fork to all.
#[test]
fn another_entry_in_the_last_valid_place_gives_way_to_the_named_one() {
    let root = chain(0, EntryHash::ZERO, &["root"]);
    let a = chain(1, root[0].hash(), &["a1", "a2"]);
    let b = chain(1, root[0].hash(), &["b1"]);
    let entries = [root.clone(), a.clone(), b.clone()].concat();
    let descriptor = {
        let mut node = fresh();
        give(&mut node, 1, &root);
        node.replica.descriptor(&log()).expect("described").clone()
    };
    let header = |entry: &CheckedEntry| SignedHeader::of(entry.entry());
    let proof = ForkProof::new(descriptor, header(&a[0]), header(&b[0]));
    let (forked, _, held) = check("two in the last place", &entries, Some(&a[0]), Some(&proof));
    assert_eq!((forked, held.len()), (Some(1), 2));
}

#[test]
fn the_named_entry_is_not_written_over_the_other_in_its_place() {
    let root = chain(0, EntryHash::ZERO, &["root"]);
    let (a, b) = (chain(1, root[0].hash(), &["a1"]), chain(1, root[0].hash(), &["b1", "b2"]));
    let mut node = fresh();
    give(&mut node, 1, &root);
    give(&mut node, 1, &b);
    let charter = revoking(node.replica.trust().charter(), Some(&a[0]));
    node.act([Input::Charter { bytes: charter.encode() }]);
    assert_eq!(node.height(log()), 1, "what stands in the last valid place is not the named entry");
    give(&mut node, 1, &a);
    node.run_for(500);
    let held = node.held();
    assert!(b.iter().all(|entry| held.contains(&entry.hash())), "it stays as evidence");
    assert!(held.contains(&a[0].hash()), "beside it");
}

#[test]
fn a_fork_past_the_end_is_none() {
    let trunk = chain(0, EntryHash::ZERO, &["t0", "t1"]);
    let a = chain(2, trunk[1].hash(), &["a2"]);
    let b = chain(2, trunk[1].hash(), &["b2"]);
    let entries = [trunk.clone(), a, b].concat();
    let (forked, frontier, _) = check("a fork past the end", &entries, Some(&trunk[0]), None);
    assert_eq!((forked, frontier), (None, told(&trunk[0])));
    let (forked, frontier, _) = check("a fork at the end", &entries, Some(&trunk[1]), None);
    assert_eq!((forked, frontier), (None, told(&trunk[1])));
}

/// Nobody holds the named entry: what all hold in its place has no effect, and nobody asks for it without end.
#[test]
fn a_last_valid_entry_that_nobody_has_leaves_what_lies_before_it() {
    let entries = chain(0, EntryHash::ZERO, &["open", "one", "two"]);
    let named = chain(1, entries[0].hash(), &["unseen"]);
    let mut node = fresh();
    give(&mut node, 1, &entries);
    let charter = revoking(node.replica.trust().charter(), Some(&named[0]));
    node.act([Input::Charter { bytes: charter.encode() }]);
    assert_eq!(node.replica.frontier(), told(&entries[0]));
    assert_eq!(wants(&node.run_for(60_000)), vec![], "no peer says that it has it");
    assert_eq!(node.restarted(0).tick_after(1).len(), 0);
}

#[test]
fn what_lies_past_the_end_is_not_served_and_says_nothing_of_who_lags() {
    let entries = chain(0, EntryHash::ZERO, &["open", "one", "two", "three"]);
    let mut node = fresh();
    give(&mut node, 1, &entries);
    node.act([have(1, log(), 9)]);
    let charter = revoking(node.replica.trust().charter(), Some(&entries[1]));
    let effects = node.act([Input::Charter { bytes: charter.encode() }]);
    assert!(!events(&effects).iter().any(|event| matches!(event, Event::Rejected { .. })));
    let want = Want { request: 7, log: log(), from: 0, to: 9, classes: WantClasses::All, budget: 1 << 20 };
    let effects = node.act([message(1, Message::Want(want))]);
    let served: Vec<(u64, u64)> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Serve { want, .. } => Some((want.from, want.to)),
            _ => None,
        })
        .collect();
    assert_eq!(served, vec![(0, 2)]);
    let lag = node.replica.status(node.now).behind[&code(LIAR)];
    assert_eq!(lag.entries, 0, "what is past the end is not missing");
    assert_eq!(wants(&node.run_for(30_000)), vec![]);
    assert_eq!(node.entries.len(), 4, "it stays on disk as evidence");
    // It comes again, by whatever path, and is refused.
    let again = give(&mut node, 1, &entries[2..]);
    let refused = |event: &Event| matches!(event, Event::Rejected { reject: Reject::NotEntitled { .. }, .. });
    assert_eq!(events(&again).iter().filter(|event| refused(event)).count(), 2);
}

/// A batch is being written when the charter comes: its entries are on disk then, and are told to nobody.
#[test]
fn entries_under_way_to_the_disk_are_not_passed_on_past_the_end() {
    let entries = chain(0, EntryHash::ZERO, &["open", "one", "two", "three"]);
    let mut node = fresh();
    node.greet(2, &Frontier::default());
    let charter = revoking(node.replica.trust().charter(), Some(&entries[1]));
    let mut effects = Vec::new();
    node.replica.handle(node.now, pushed(&node, 1, &entries[..3]), &mut effects);
    node.replica.flush(node.now, &mut effects);
    node.replica.handle(node.now, pushed(&node, 1, &entries[3..]), &mut effects);
    node.replica.handle(node.now, Input::Charter { bytes: charter.encode() }, &mut effects);
    let told_before = effects.len();
    let effects = node.go_on(effects);
    assert!(told_before > 0);
    let pushed: Vec<Seq> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Push { entries, .. } => Some(entries.iter().map(|entry| entry.header().seq)),
            _ => None,
        })
        .flatten()
        .collect();
    assert!(pushed.iter().all(|seq| seq.0 < 2), "{pushed:?}");
    node.run_for(500);
    assert_eq!(node.replica.frontier(), told(&entries[1]));
    assert_eq!(
        node.entries.keys().map(|(_, seq)| *seq).collect::<Vec<_>>(),
        vec![0, 1, 2],
        "three was not written yet"
    );
}

/// Of several revocations of one key the lowest counts, whatever a later epoch says.
#[test]
fn a_later_epoch_can_only_lower_an_end() {
    let entries = chain(0, EntryHash::ZERO, &["open", "one", "two", "three"]);
    let mut node = fresh();
    give(&mut node, 1, &entries);
    let second = revoking(node.replica.trust().charter(), Some(&entries[2]));
    let third = revoking(&second, Some(&entries[1]));
    let fourth = next_epoch(&revoking(&third, Some(&entries[3])), MEMBERS, |epoch| epoch.revocations.clear());
    for (charter, end) in [(&second, 2), (&third, 1), (&fourth, 1)] {
        node.act([Input::Charter { bytes: charter.encode() }]);
        assert_eq!(node.replica.frontier(), told(&entries[end]));
    }
    assert!(node.replica.trust().node(&key(LIAR)).is_none(), "it stays revoked");
    let mut late = fresh();
    late.act([Input::Charter { bytes: fourth.encode() }]);
    give(&mut late, 1, &entries);
    assert_eq!(late.replica.frontier(), node.replica.frontier());
    let unknown = LogId([3; 16]);
    assert_eq!(fourth.end_of(&key(LIAR), &unknown).map(|end| end.place()), Some(0), "a log that no epoch names");
    assert_eq!(fourth.end_of(&key(1), &log()), None);
}

/// An entry in the last valid place that was only staged when the charter came is dropped, and was never on disk.
#[test]
fn a_charter_in_the_round_of_what_it_ends_leaves_what_is_on_disk() {
    let root = chain(0, EntryHash::ZERO, &["root"]);
    let a = chain(1, root[0].hash(), &["a1", "a2"]);
    let b = chain(1, root[0].hash(), &["b1", "b2"]);
    for (named, pushed_with) in [(&a[0], &b[..1]), (&a[1], &b[..]), (&a[0], &a[..]), (&a[1], &a[..1])] {
        let mut node = fresh();
        give(&mut node, 1, &root);
        let charter = revoking(node.replica.trust().charter(), Some(named));
        let input = pushed(&node, 1, pushed_with);
        node.act([input, Input::Charter { bytes: charter.encode() }]);
        node.run_for(500);
        assert!(node.replica.frontier().head(&log()).height > 0, "what is left is told");
        give(&mut node, 1, &a);
        node.run_for(500);
        assert!(node.held().contains(&named.hash()));
        assert_eq!(node.restarted(0).replica.head(&log()).height, node.replica.head(&log()).height);
    }
}

/// Evidence that lies beyond a gap is not written over by the named entry of its place.
#[test]
fn another_entry_beyond_a_gap_in_the_last_valid_place_is_kept() {
    let root = chain(0, EntryHash::ZERO, &["root"]);
    let a = chain(1, root[0].hash(), &["a1"]);
    let b = chain(1, root[0].hash(), &["b1"]);
    for restart in [false, true] {
        let mut node = fresh();
        give(&mut node, 1, &b);
        let charter = revoking(node.replica.trust().charter(), Some(&a[0]));
        node.act([Input::Charter { bytes: charter.encode() }]);
        if restart {
            node = node.restarted(0);
            node.greet(1, &Frontier::default());
        }
        give(&mut node, 1, &[root.clone(), a.clone()].concat());
        node.run_for(1_000);
        give(&mut node, 1, &a);
        node.run_for(1_000);
        assert!(node.held().contains(&a[0].hash()) && node.held().contains(&b[0].hash()), "restart {restart}");
    }
}

/// The last valid entry is damaged: what lies before it is still told, and the entry is fetched again.
#[test]
fn a_damaged_last_entry_costs_no_other() {
    let entries = chain(0, EntryHash::ZERO, &["open", "one", "two", "three"]);
    let mut node = fresh();
    give(&mut node, 1, &entries);
    node.entries.remove(&(log(), 2));
    let charter = revoking(node.replica.trust().charter(), Some(&entries[2]));
    node.act([Input::Charter { bytes: charter.encode() }]);
    assert_eq!(node.replica.frontier(), told(&entries[1]));
    let asked = node.act([have(1, log(), 3)]);
    let asked: Vec<_> = asked.into_iter().chain(node.run_for(5_000)).collect();
    assert!(wants(&asked).iter().any(|(_, want)| (want.from, want.to) == (2, 3)), "{:?}", wants(&asked));
    give(&mut node, 1, &entries[2..3]);
    assert_eq!(node.replica.frontier(), told(&entries[2]));
}

/// The same, but both came in one round, so that the other entry was never on disk: it stands in nobody's way.
#[test]
fn another_entry_that_was_only_staged_is_forgotten() {
    let root = chain(0, EntryHash::ZERO, &["root"]);
    let a = chain(1, root[0].hash(), &["a1"]);
    let b = chain(1, root[0].hash(), &["b1"]);
    let mut node = fresh();
    let charter = revoking(node.replica.trust().charter(), Some(&a[0]));
    let input = pushed(&node, 1, &b);
    node.act([input, Input::Charter { bytes: charter.encode() }]);
    give(&mut node, 1, &[root, a.clone()].concat());
    assert_eq!(node.replica.frontier(), told(&a[0]));
}

mod trees {
    use proptest::prelude::*;

    use super::*;

    /// What comes in one round: numbers of entries, and charters as they come.
    #[derive(Clone, Debug)]
    enum Step {
        Round(Vec<usize>),
        FailedRound(Vec<usize>),
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        let round = || prop::collection::vec(0..12_usize, 1..4);
        prop_oneof![6 => round().prop_map(Step::Round), 1 => round().prop_map(Step::FailedRound), 1 => Just(Step::Restart)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        /// Two branches and a third one, one or two epochs, in rounds, with failed writes and restarts.
        #[test]
        fn any_way_of_coming_ends_in_the_same(
            steps in prop::collection::vec(prop::collection::vec(step(), 1..10), 2..4),
            ends in prop::collection::vec(prop::option::weighted(0.9, 0..10_usize), 1..3),
        ) {
            let root = chain(0, EntryHash::ZERO, &["root"]);
            let a = chain(1, root[0].hash(), &["a1", "a2", "a3", "a4"]);
            let b = chain(1, root[0].hash(), &["b1", "b2", "b3"]);
            let c = chain(3, a[1].hash(), &["c3", "c4"]);
            let all = [root, a, b, c].concat();
            let mut charters: Vec<Charter> = vec![fresh().replica.trust().charter().clone()];
            for end in ends {
                charters.push(revoking(&charters[charters.len() - 1], end.map(|end| &all[end])));
            }
            let newest = charters[charters.len() - 1].clone();
            let charters = &charters[1..];
            let end = newest.end_of(&key(LIAR), &log()).expect("revoked");
            let valid: BTreeSet<EntryHash> =
                all.iter().filter(|e| end.covers(e.header().seq, e.hash())).map(CheckedEntry::hash).collect();
            let proof = {
                let mut node = fresh();
                give(&mut node, 1, &all[..1]);
                let header = |entry: &CheckedEntry| SignedHeader::of(entry.entry());
                ForkProof::new(node.replica.descriptor(&log()).expect("known").clone(), header(&all[1]), header(&all[5]))
            };
            let mut first: Option<Verdict> = None;
            for steps in steps {
                let mut node = fresh();
                let inputs = |node: &Node, numbers: &[usize]| -> Vec<Input> {
                    numbers.iter().map(|number| match all.get(*number) {
                        Some(entry) => pushed(node, 1, std::slice::from_ref(entry)),
                        None => Input::Charter { bytes: charters[(number - all.len()) % charters.len()].encode() },
                    }).collect()
                };
                for step in steps {
                    match step {
                        Step::Round(numbers) => drop(node.act(inputs(&node, &numbers))),
                        Step::FailedRound(numbers) => {
                            node.writes_fail = true;
                            node.act(inputs(&node, &numbers));
                            node.writes_fail = false;
                            node.run_for(2_000);
                        }
                        Step::Restart => {
                            node = node.restarted(0);
                            node.greet(1, &Frontier::default());
                        }
                    }
                }
                // In the end all of it comes, as often as a question that was open needs.
                node.act([Input::Charter { bytes: newest.encode() }]);
                for _ in 0..4 {
                    for entry in &all {
                        give(&mut node, 1, std::slice::from_ref(entry));
                    }
                    node.act([message(1, Message::Fork(Box::new(proof.clone())))]);
                    node.run_for(500);
                }
                let found = verdict(&mut node, &valid);
                prop_assert_eq!(&found.2, &valid, "what is valid stays");
                let expected = first.get_or_insert_with(|| found.clone());
                prop_assert_eq!(&found, &*expected);
                let mut again = node.restarted(0);
                prop_assert_eq!(verdict(&mut again, &valid), found, "a restart changes nothing");
            }
        }
    }
}
