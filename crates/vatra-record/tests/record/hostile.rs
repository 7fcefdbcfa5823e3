//! Changes that no honest node makes: nothing panics, nothing grows without bound, nothing is impossible to end.

use proptest::prelude::*;
use vatra_model::change::{Change, Edit, Op, Value};
use vatra_model::limits::{CHANGE_BYTES_MAX, CHANGE_OPS_MAX, SECTION_BYTES_MAX, SECTION_CHANGES_MAX};
use vatra_model::schema::words::{AlertKind, AlertStatus, Severity, Tlp};
use vatra_model::{ChangeId, SectionId};
use vatra_record::{Applied, LoadError, QuarantineReason, Record};

use crate::support::*;
use crate::unedited::any_op;

/// The id of the nth change of a long chain.
fn link(n: usize) -> ChangeId {
    let mut bytes = [0xcc; 16];
    bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
    ChangeId(bytes)
}

fn chained(n: usize, deps: Vec<ChangeId>, ops: Vec<Op>) -> Made {
    let change = Change::Edit(Edit { record: joint_record(), section: SectionId::Core, deps, ops });
    Made { id: link(n), change, ..edit(0, "UA", n as u64, &[], vec![]) }
}

#[test]
fn a_full_section_takes_no_more_bytes_but_can_be_cancelled() {
    let mut record = built(&[create(1, 0, alert_ops())]);
    let text = "x".repeat(60_000);
    let mut tip = id(1);
    let mut verdicts = Vec::new();
    for n in 0..SECTION_BYTES_MAX / 60_000 + 2 {
        let made = chained(n, vec![tip], vec![set("body", &text)]);
        verdicts.push(record.apply(made.authored()));
        tip = made.id;
    }
    assert_eq!(verdicts.iter().filter(|verdict| **verdict == Applied::Applied).count(), SECTION_BYTES_MAX / 60_000);
    assert_eq!(verdicts.last(), Some(&Applied::Quarantined(QuarantineReason::SectionFull)));
    let cancel = chained(100, vec![tip], vec![set("status", "cancelled")]);
    assert_eq!(record.apply(cancel.authored()), Applied::Applied);
    assert_eq!(alert(&record).status, AlertStatus::Cancelled);
    // The verdict comes from the past alone: a replica that gets it backwards finds the same.
    let quarantined: Vec<bool> = record.history().iter().map(|item| item.quarantined.is_some()).collect();
    assert_eq!(quarantined.iter().filter(|yes| **yes).count(), 2);
}

#[test]
fn a_section_of_the_most_changes_still_takes_an_ending() {
    let mut record = built(&[create(1, 0, alert_ops())]);
    let mut tip = id(1);
    // Empty edits are the cheapest way to fill a section.
    for n in 0..SECTION_CHANGES_MAX - 1 {
        let made = chained(n, vec![tip], vec![]);
        assert_eq!(record.apply(made.authored()), Applied::Applied);
        tip = made.id;
    }
    let more = chained(SECTION_CHANGES_MAX, vec![tip], vec![set("title", "One more")]);
    assert_eq!(record.apply(more.authored()), Applied::Quarantined(QuarantineReason::SectionFull));
    let cancel = chained(SECTION_CHANGES_MAX + 1, vec![more.id], vec![set("status", "cancelled")]);
    assert_eq!(record.apply(cancel.authored()), Applied::Applied);
    let view = alert(&record);
    assert_eq!((view.status, view.title.as_str()), (AlertStatus::Cancelled, "Grid control down"));
    assert_eq!(view.version, [cancel.id]);
    // A change that did not rest on all of them has room: its past is small.
    let aside = chained(SECTION_CHANGES_MAX + 2, vec![id(1)], vec![set("title", "Aside")]);
    assert_eq!(record.apply(aside.authored()), Applied::Applied);
    let loaded = Record::load(&record.save()).expect("loads what it saved");
    assert_eq!(loaded.view(), record.view());
}

#[test]
fn the_largest_changes_are_taken() {
    let ops: Vec<Op> = (0..CHANGE_OPS_MAX).map(|n| add_json("indicators", &format!("{n}"), "[[[[")).collect();
    let text = "ї".repeat(CHANGE_BYTES_MAX / 2 - 100);
    let view = alert_of(&[
        create(1, 0, alert_ops()),
        edit(2, "UA", 1, &[1], ops),
        edit(3, "UA", 2, &[2], vec![set("body", &text), set("title", &text)]),
    ]);
    assert_eq!((view.indicators.len(), view.title.as_str(), view.newer_than_node), (0, "", true));
    assert_eq!(view.body, Some(text));
}

#[test]
fn an_alert_without_a_readable_label_is_restricted() {
    let view = alert_of(&[create(1, 0, vec![set("kind", "party"), set("tlp", "purple"), set_int("severity", 7)])]);
    assert_eq!((view.tlp, view.kind, view.severity), (Tlp::AmberStrict, AlertKind::Advisory, Severity::Unknown));
    assert!(view.newer_than_node);
    assert_eq!(alert_of(&[create(1, 0, vec![])]).tlp, Tlp::AmberStrict);
}

#[test]
fn what_is_newer_is_kept_out_of_the_values_and_shown() {
    for op in [Op::Unknown { code: 9 }, set("mood", "good"), add("moods", "good"), remove("moods", "good")] {
        let plain = alert_of(&[create(1, 0, alert_ops()), edit(2, "UA", 1, &[1], vec![])]);
        let mut newer = alert_of(&[create(1, 0, alert_ops()), edit(2, "UA", 1, &[1], vec![op])]);
        assert!(newer.newer_than_node && !plain.newer_than_node);
        newer.newer_than_node = false;
        assert_eq!(newer, plain);
    }
}

#[test]
fn a_change_that_rests_on_itself_or_another_section_waits() {
    let mut record = built(&[create(1, 0, alert_ops()), answer(2, "PL", 1, &[], vec![set("note", "x")])]);
    assert_eq!(record.apply(edit(3, "UA", 1, &[3], vec![]).authored()), Applied::Waiting);
    assert_eq!(record.apply(edit(4, "UA", 1, &[2], vec![]).authored()), Applied::Waiting);
    assert_eq!(record.missing(), [id(2)]);
}

#[test]
fn damaged_saves_are_refused() {
    let record = built(&[create(1, 0, alert_ops()), edit(2, "UA", 1, &[1], vec![set("title", "a")])]);
    let saved = record.save();
    assert_eq!(Record::load(&[]).err(), Some(LoadError::Damaged { what: "the length" }));
    let mut other = saved.clone();
    other[0] = 99;
    assert_eq!(Record::load(&other).err(), Some(LoadError::OtherVersion { found: 99 }));
    for len in 0..saved.len() {
        assert!(Record::load(&saved[..len]).is_err(), "{len} of {} bytes were accepted", saved.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_ops_are_taken_and_views_agree(
        first in proptest::collection::vec(any_op(), 0..12),
        mine in proptest::collection::vec(any_op(), 0..12),
        theirs in proptest::collection::vec(any_op(), 0..12),
        reply in proptest::collection::vec(any_op(), 0..12),
    ) {
        let view = alert_of(&[
            create(1, 0, first),
            edit(2, "UA", 1, &[1], mine),
            edit(3, "LT", 1, &[1], theirs),
            answer(4, "PL", 1, &[], reply),
            edit(5, "UA", 1, &[2, 3], vec![set("title", "end")]),
        ]);
        prop_assert_eq!(view.title, "end");
    }

    #[test]
    fn any_flipped_byte_of_a_save_is_survived(place in any::<proptest::sample::Index>(), bit in 0_u8..8) {
        let made = [create(1, 0, alert_ops()), edit(2, "UA", 1, &[1], vec![set("title", "a")])];
        let mut saved = built(&made).save();
        let place = place.index(saved.len());
        saved[place] ^= 1 << bit;
        if let Ok(mut record) = Record::load(&saved) {
            let _ = record.view();
            record.apply(edit(3, "UA", 2, &[2], vec![Op::Set { field: "title".into(), value: Value::Null }]).authored());
        }
    }
}
