//! The same changes make the same record, in whatever order, however often and with whatever pauses they come.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;
use vatra_model::change::{Change, Edit, Op};
use vatra_model::{ChangeId, Hlc, SectionId};
use vatra_record::{Applied, Record, RefuseReason};

use crate::support::*;

/// One of the ops that matter: every join, every kind of set, wrong types, unknown names and ops.
fn op() -> impl Strategy<Value = Op> {
    let words = prop_oneof![
        prop_oneof![Just("minor"), Just("extreme"), Just("loud")].prop_map(|word| set("severity", word)),
        prop_oneof![Just("clear"), Just("green"), Just("red")].prop_map(|word| set("tlp", word)),
        prop_oneof![Just("cancelled"), Just("resolved"), Just("active"), Just("gone")]
            .prop_map(|word| set("status", word)),
        prop_oneof![Just("a"), Just("b"), Just("")].prop_map(|text| set("title", text)),
        Just(set("kind", "threat")),
        Just(set("class", "bulk")),
    ];
    let numbers = prop_oneof![
        (0_i64..120).prop_map(|percent| set_int("confidence", percent)),
        (-1_i64..3).prop_map(|ms| set_int("expires", ms)),
        Just(clear("expires")),
        Just(clear("title")),
        Just(set_int("title", 5)),
    ];
    let sets = prop_oneof![
        prop_oneof![Just("energy"), Just("water"), Just("magic")].prop_map(|key| add("sectors", key)),
        prop_oneof![Just("energy"), Just("water")].prop_map(|key| remove("sectors", key)),
        (0_u8..3).prop_map(|n| add_json("references", "https://a", &format!(r#"{{"url":"https://a","id":"{n}"}}"#))),
        Just(remove("references", "https://a")),
        Just(add_json("references", "https://b", "{")),
        Just(add("countries", "UA")),
        Just(remove("countries", "UA")),
        Just(remove("timeline", "x")),
    ];
    let strange = prop_oneof![
        Just(Op::Unknown { code: 77 }),
        Just(set("no_such_field", "x")),
        Just(set("sectors/energy", "x")),
        Just(set("sectors", "x")),
        Just(add("title", "x")),
        Just(add("", "")),
        Just(remove("title", "x")),
        Just(add("sectors", "a/b\u{0}")),
    ];
    let answers = prop_oneof![
        prop_oneof![Just("affected"), Just("contained")].prop_map(|word| set("assessment", word)),
        (0_u8..3).prop_map(|n| add_json("sightings", "s", &format!(r#"{{"id":"s","count":{n}}}"#))),
        (0_i64..3).prop_map(|ms| set_int("seen_at", ms)),
        Just(set("note", "n")),
    ];
    prop_oneof![4 => words, 2 => numbers, 4 => sets, 1 => strange, 3 => answers]
}

/// A step of somebody: section, deps by place among the earlier changes of that section, stamp, ops.
type Step = (u8, Vec<Index>, u64, Vec<Op>);

fn step() -> impl Strategy<Value = Step> {
    let deps = proptest::collection::vec(any::<Index>(), 0..3);
    (0_u8..9, deps, 0_u64..6, proptest::collection::vec(op(), 0..5))
}

/// Changes by two desks of UA, one of LT, and answers of PL and UA. Two creates; deps always exist, but
/// anybody may rest on anything, so there are forks of every shape. PL also tries to edit what is not its own.
fn changes(steps: Vec<Step>) -> Vec<Made> {
    let mut ops = alert_ops();
    ops.push(add("sectors", "water"));
    let mut made = vec![create(1, 3, alert_ops()), create(2, 1, ops)];
    let mut sections: BTreeMap<SectionId, Vec<ChangeId>> = BTreeMap::new();
    sections.insert(SectionId::Core, vec![id(1), id(2)]);
    for (number, (place, picks, at, ops)) in (3_u8..).zip(steps) {
        let (author, section) = match place {
            0..=2 => ("UA", SectionId::Core),
            3 | 4 => ("LT", SectionId::Core),
            5 | 6 => ("PL", SectionId::Response(member("PL"))),
            7 => ("UA", SectionId::Response(member("UA"))),
            _ => ("PL", SectionId::Core),
        };
        let known = sections.entry(section).or_default();
        let mut deps: Vec<ChangeId> = Vec::new();
        if !known.is_empty() {
            // Mostly near the end of what is known, as people edit.
            deps.extend(picks.iter().map(|pick| known[known.len() - 1 - pick.index(known.len().min(4))]));
        }
        deps.sort_unstable();
        deps.dedup();
        // Nobody rests on what has no effect.
        if place < 8 {
            known.push(id(number));
        }
        let edit = Edit { record: joint_record(), section, deps, ops };
        let hlc = Hlc(hlc(at).0 + u64::from(number % 2));
        made.push(Made { id: id(number), author: member(author), hlc, change: Change::Edit(edit) });
    }
    made
}

const REFUSED: Applied = Applied::Refused(RefuseReason::NotWriter);

/// All that must not depend on the order.
#[derive(Debug, PartialEq)]
struct Outcome {
    view: Vec<u8>,
    heads: Vec<Vec<ChangeId>>,
    derived: BTreeMap<ChangeId, [u8; 32]>,
    history: Vec<u8>,
}

fn outcome(record: &Record) -> Outcome {
    let sections = [SectionId::Core, SectionId::Response(member("PL")), SectionId::Response(member("UA"))];
    Outcome {
        view: record.view().expect("the create is there").canonical_bytes(),
        heads: sections.iter().map(|section| record.heads(*section)).collect(),
        derived: record.derived_hashes(),
        history: serde_json::to_vec(&record.history()).expect("serialises"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn arrival_order_does_not_matter(
        (made, orders) in proptest::collection::vec(step(), 0..14).prop_map(changes).prop_flat_map(|made| {
            let numbers: Vec<usize> = (0..made.len()).collect();
            let order = (Just(numbers).prop_shuffle(), any::<Index>(), any::<Index>());
            (Just(made), proptest::collection::vec(order, 3))
        })
    ) {
        let mut first = Record::new(joint_record());
        for made in &made {
            let verdict = first.apply(made.authored());
            prop_assert!(matches!(verdict, Applied::Applied | REFUSED), "{:?}", verdict);
        }
        let expected = outcome(&first);
        for (order, saved_at, twice_at) in orders {
            let mut record = Record::new(joint_record());
            let saved_at = saved_at.index(order.len());
            let twice_at = twice_at.index(order.len());
            for (index, number) in order.iter().enumerate() {
                let verdict = record.apply(made[*number].authored());
                prop_assert!(matches!(verdict, Applied::Applied | Applied::Waiting | REFUSED), "{:?}", verdict);
                if index == saved_at {
                    record = Record::load(&record.save()).expect("loads what it saved");
                }
                if index >= twice_at {
                    let verdict = record.apply(made[order[twice_at]].authored());
                    prop_assert!(matches!(verdict, Applied::Duplicate | REFUSED), "{:?}", verdict);
                }
            }
            prop_assert_eq!(record.waiting_count(), 0);
            prop_assert_eq!(&outcome(&record), &expected);
        }
        let rebuilt = Record::from_changes(joint_record(), made.iter().rev().map(Made::authored));
        prop_assert_eq!(&outcome(&rebuilt), &expected);
        let loaded = Record::load(&first.save()).expect("loads what it saved");
        prop_assert_eq!(&outcome(&loaded), &expected);
    }

    #[test]
    fn views_survive_json(steps in proptest::collection::vec(step(), 0..10)) {
        let made = changes(steps);
        let record = Record::from_changes(joint_record(), made.iter().map(Made::authored));
        let view = record.view().expect("the create is there");
        let parsed: vatra_model::view::View = serde_json::from_slice(&view.canonical_bytes()).expect("parses");
        prop_assert_eq!(parsed, view);
    }
}

#[test]
fn a_different_state_has_a_different_modified_at() {
    let first = create(1, 0, alert_ops());
    let one = alert(&built(&[first.clone(), edit(2, "UA", 1, &[1], vec![set("title", "a")])]));
    let other = alert(&built(&[first.clone(), edit(3, "UA", 1, &[1], vec![set("title", "a")])]));
    assert_eq!(one.modified_at.to_ms(), other.modified_at.to_ms());
    assert_ne!(one.modified_at, other.modified_at);
    let answered = alert(&built(&[first, answer(3, "PL", 9, &[], vec![set("note", "x")])]));
    assert_eq!(answered.modified_at.to_ms(), hlc(9).wall());
}
