//! Forks: whatever the order in which contradicting entries come, all nodes come to the same.

use std::collections::BTreeSet;

use proptest::prelude::*;
use vatra_model::wire::{FrontierDigest, Message};
use vatra_model::{CheckedEntry, Class, EntryHash, Frontier};
use vatra_replica::{Effect, Event, Input, NewLife};

use crate::liar::*;
use crate::support::*;

const GARBAGE: EntryHash = EntryHash([0xaa; 32]);

/// What a node comes to: where the log is forked, what it tells of it, and what it holds.
type Verdict = (Option<u64>, Frontier, BTreeSet<EntryHash>);

fn verdict(node: &mut Node) -> Verdict {
    node.run_for(500);
    let status = node.replica.status(node.now);
    let forked = status.logs.iter().find(|status| status.log == log()).and_then(|status| status.forked);
    (forked, node.replica.frontier(), node.held())
}

/// Every order comes to the same, one by one, and for some orders also in pairs, all at once, and with a restart in the
/// middle and at the end.
fn check(story: &str, entries: &[CheckedEntry], place: Option<u64>) {
    let mut first: Option<Verdict> = None;
    for order in permutations(entries.len()) {
        let ordered: Vec<CheckedEntry> = order.iter().map(|index| entries[*index].clone()).collect();
        let thorough = [(2, false), (ordered.len(), false), (1, true)];
        let extra = &thorough[..if order[0] == 0 || entries.len() < 4 { 3 } else { 0 }];
        for (step, restart) in [(1, false)].iter().chain(extra).copied() {
            let mut node = fresh();
            for (number, group) in ordered.chunks(step).enumerate() {
                give(&mut node, 1, group);
                if restart && number == ordered.len() / 2 {
                    node = node.restarted(0);
                    node.greet(1, &Frontier::default());
                }
            }
            // What was dropped while a question was open comes again.
            give(&mut node, 1, &ordered);
            let found = verdict(&mut node);
            assert_eq!(found.0, place, "{story}: {order:?} by {step}, restart {restart}");
            let expected = first.get_or_insert_with(|| found.clone());
            assert_eq!(found, *expected, "{story}: {order:?} by {step}, restart {restart}");
            assert_eq!(found.2.len(), entries.len(), "{story}: {order:?}: everything is kept");
            if !extra.is_empty() {
                let mut node = node.restarted(0);
                assert_eq!(verdict(&mut node), *expected, "{story}: {order:?}: a restart changes nothing");
            }
        }
    }
}

#[test]
fn two_branches_fork_where_they_part_in_every_order() {
    let root = chain(0, EntryHash::ZERO, &["root"]);
    let a = chain(1, root[0].hash(), &["a1", "a2"]);
    let b = chain(1, root[0].hash(), &["b1", "b2"]);
    check("no fork", &[root.clone(), a.clone()].concat(), None);
    check("two branches", &[root.clone(), a.clone(), b.clone()].concat(), Some(1));
    check("a short branch", &[root.clone(), a.clone(), b[..1].to_vec()].concat(), Some(1));
    let c = chain(1, root[0].hash(), &["c1"]);
    check("three branches", &[root, a[..1].to_vec(), b, c].concat(), Some(1));
}

#[test]
fn a_log_can_fork_at_its_very_beginning() {
    let a = chain(0, EntryHash::ZERO, &["a0", "a1"]);
    let b = chain(0, EntryHash::ZERO, &["b0", "b1"]);
    check("two beginnings", &[a, b].concat(), Some(0));
}

#[test]
fn an_entry_that_follows_nothing_ends_the_log_before_it() {
    let trunk = chain(0, EntryHash::ZERO, &["0", "1", "2"]);
    let strange = chain(3, GARBAGE, &["x3"]);
    check("a stranger after the end", &[trunk.clone(), strange].concat(), Some(2));
    let early = chain(1, GARBAGE, &["x1", "x2"]);
    check("a stranger after the first", &[trunk[..2].to_vec(), early].concat(), Some(0));
    let doubled = chain(2, GARBAGE, &["x2"]);
    check("a double that does not follow either", &[trunk, doubled].concat(), Some(1));
}

#[test]
fn a_proof_alone_ends_a_log_and_others_go_on() {
    let root = chain(0, EntryHash::ZERO, &["root", "one"]);
    let a = chain(2, root[1].hash(), &["a2", "a3"]);
    let b = chain(2, root[1].hash(), &["b2"]);
    let mut witness = Node::new(0);
    witness.greet(1, &Frontier::default());
    give(&mut witness, 1, &[root.clone(), a.clone(), b].concat());
    witness.run_for(1_000);
    assert_eq!(verdict(&mut witness).0, Some(2));
    let proof = witness.forks[&log()].proof.clone();
    let mut node = Node::new(2);
    node.greet(1, &Frontier::default());
    give(&mut node, 1, &[root, a].concat());
    assert_eq!(node.height(log()), 4);
    let effects = node.act([message(1, Message::Fork(Box::new(proof.clone())))]);
    assert!(events(&effects).contains(&Event::Forked { log: log(), seq: 2 }));
    assert_eq!((verdict(&mut node).0, node.height(log()), node.held().len()), (Some(2), 2, 4));
    assert_eq!(published(&node.publish(Class::Flash, 1)), 1, "no third party suffers");
    // The same proof again, and one that proves nothing, change nothing.
    let before = verdict(&mut node);
    let mut forged = proof.clone();
    forged.second.signature[5] ^= 1;
    let twice = vatra_model::ForkProof { second: proof.first, ..proof.clone() };
    for nothing in [proof, twice] {
        let effects = node.act([message(1, Message::Fork(Box::new(nothing)))]);
        assert!(!events(&effects).iter().any(|event| matches!(event, Event::Forked { .. })));
    }
    assert_eq!(verdict(&mut node), before);
    let mut fresh = Node::new(3);
    fresh.greet(1, &Frontier::default());
    let effects = fresh.act([message(1, Message::Fork(Box::new(forged)))]);
    assert!(events(&effects).iter().any(|event| matches!(event, Event::Rejected { .. })), "a forged proof is refused");
    assert_eq!(verdict(&mut fresh).0, None);
}

#[test]
fn an_owner_goes_on_in_a_new_life_when_its_log_is_proved_forked() {
    let mut owner = Node::new(0);
    owner.greet(1, &Frontier::default());
    owner.publish(Class::Routine, 3);
    let old = owner.replica.own_log();
    // Another life of the same store wrote something else in the same place.
    let mut twin = Node::new(0);
    twin.greet(1, &Frontier::default());
    twin.publish(Class::Priority, 3);
    assert_eq!(twin.replica.own_log(), old);
    let input = twin.sent(&owner, 1, None, &[(old, 1), (old, 2), (old, 3)]);
    let effects = owner.act([input]);
    assert!(events(&effects).iter().any(|event| matches!(event, Event::NewIncarnation { .. })));
    owner.run_for(500);
    assert_ne!(owner.replica.own_log(), old);
    assert_eq!(published(&owner.publish(Class::Flash, 1)), 1);
    let held = owner.held();
    assert!(twin.held().iter().all(|entry| held.contains(entry) || *entry == twin.entries[&(old, 0)].hash()));
}

#[test]
fn a_start_that_nobody_confirms_writes_in_a_new_life() {
    let mut node = Node::new(0);
    node.publish(Class::Routine, 2);
    let old = node.replica.own_log();
    let publish = |token| Input::Publish { token, class: Class::Flash, changes: vec![b"x".to_vec()] };

    let mut alone = node.restarted(0);
    assert_eq!(published(&alone.act([publish(1)])), 0, "a peer may yet say that it holds more");
    let effects = alone.run_for(500);
    assert_eq!(published(&effects), 1, "nobody did, and writing is never blocked");
    let why = |event: &Event| matches!(event, Event::NewIncarnation { why: NewLife::Unconfirmed, .. });
    assert!(events(&effects).iter().any(why), "{effects:?}");
    assert_ne!(alone.replica.own_log(), old);

    let mut linked = node.restarted(0);
    assert_eq!(published(&linked.act([publish(1)])), 0);
    let frontier = node.replica.frontier();
    let told = linked.greet(1, &frontier);
    assert_eq!(published(&told), 1, "a peer holds what we hold");
    assert_eq!(linked.replica.own_log(), old);
}

#[test]
fn a_copy_from_before_the_first_own_entry_needs_confirmation_too() {
    let node = Node::new(0);
    let log = node.replica.own_log();
    let publish = |token| Input::Publish { token, class: Class::Flash, changes: vec![b"x".to_vec()] };
    assert_eq!(published(&Node::new(0).act([publish(1)])), 1, "of a life that begins now nobody holds anything");

    let mut alone = node.restarted(0);
    assert_eq!(published(&alone.act([publish(1)])), 0, "a peer may yet say that it holds more");
    let effects = alone.run_for(500);
    assert_eq!(published(&effects), 1, "nobody did, and writing is never blocked");
    let why = |event: &Event| matches!(event, Event::NewIncarnation { why: NewLife::Unconfirmed, .. });
    assert!(events(&effects).iter().any(why), "{effects:?}");
    assert_ne!(alone.replica.own_log(), log, "place 0 may be taken");

    let mut linked = node.restarted(0);
    assert_eq!(published(&linked.act([publish(1)])), 0);
    let told = linked.greet(1, &Frontier::default());
    assert_eq!(published(&told), 1, "a peer holds nothing of it either");
    assert_eq!(linked.replica.own_log(), log);
}

#[test]
fn a_liar_cannot_make_a_node_begin_life_after_life() {
    let mut node = Node::new(0);
    node.greet(1, &Frontier::default());
    node.publish(Class::Routine, 1);
    let mut lives = BTreeSet::from([node.replica.own_log()]);
    for round in 1..20 {
        let own = node.replica.own_log();
        node.act([have(1, own, 1_000 * round)]);
        node.publish(Class::Routine, 1);
        node.run_for(1_000);
        lives.insert(node.replica.own_log());
    }
    assert_eq!(lives.len(), 2, "a bare word is believed once");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Random trees of branches, in random order and random groups.
    #[test]
    fn any_tree_of_branches_comes_to_one_verdict(
        shape in prop::collection::vec((0..6_usize, any::<bool>()), 1..9),
        orders in prop::collection::vec(any::<u64>(), 3),
    ) {
        let mut entries = vec![entry(0, EntryHash::ZERO, "root")];
        for (number, (parent, is_strange)) in shape.iter().enumerate() {
            let parent = &entries[parent % entries.len()];
            let seq = parent.header().seq.0 + 1;
            let prev = if *is_strange && number % 4 == 3 { GARBAGE } else { parent.hash() };
            entries.push(entry(seq, prev, &format!("{number}")));
        }
        let mut first: Option<Verdict> = None;
        for order in orders {
            let mut shuffled = entries.clone();
            let mut chance = vatra_replica::Seeded::new([order as u8; 32]);
            for end in (1..shuffled.len()).rev() {
                shuffled.swap(end, chance.below(end as u64 + 1) as usize);
            }
            let mut node = fresh();
            let step = 1 + (order % 3) as usize;
            for group in shuffled.chunks(step) {
                give(&mut node, 1, group);
            }
            give(&mut node, 1, &shuffled);
            let found = verdict(&mut node);
            let expected = first.get_or_insert_with(|| found.clone());
            prop_assert_eq!(&found, &*expected);
        }
    }
}

#[test]
fn a_new_life_is_told_at_once() {
    let mut node = Node::new(0);
    node.greet(1, &Frontier::default());
    node.run_for(5_000);
    let effects = node.act([have(1, node.replica.own_log(), 7)]);
    let opened = events(&effects).into_iter().find_map(|event| match event {
        Event::NewIncarnation { incarnation, .. } => Some(incarnation),
        _ => None,
    });
    let opened = opened.expect("somebody holds more of its log than it does");
    // Pulses of a life that no beacon told of are taken by nobody.
    let told = beacons(&effects).into_iter().chain(beacons(&node.run_for(3_000)));
    let lives: Vec<_> = told.map(|(_, signed)| signed.beacon().expect("valid").incarnation).collect();
    assert_eq!(lives, [opened]);
}

#[test]
fn a_peer_that_missed_a_fork_at_the_beginning_is_shown_the_proof() {
    let a = chain(0, EntryHash::ZERO, &["a0", "a1"]);
    let b = chain(0, EntryHash::ZERO, &["b0"]);
    let mut node = fresh();
    give(&mut node, 1, &[a, b].concat());
    assert_eq!(verdict(&mut node).0, Some(0));
    let proofs = |effects: &[Effect]| {
        let to = effects.iter().filter_map(|effect| match effect {
            Effect::Send { peer, message: Message::Fork(_) } => Some(*peer),
            _ => None,
        });
        to.collect::<Vec<_>>()
    };
    // It holds nothing of the log in its place, so that no frontier of it names the log.
    let mut effects = node.greet(2, &Frontier::default());
    let heads = vec![];
    effects.extend(node.act([message(2, Message::Frontier(FrontierDigest { complete: true, heads }))]));
    assert_eq!(proofs(&effects), [key(2)]);
}
