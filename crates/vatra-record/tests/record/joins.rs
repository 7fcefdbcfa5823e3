//! What concurrent values of each kind of field become.

use crate::support::*;
use vatra_model::schema::words::{AlertStatus, ContactStatus, Sector, Severity, Tlp};
use vatra_model::view::{Scalar, View};
use vatra_model::{Class, Op, WallMs};

/// An alert that two desks edit without having seen each other.
fn split(mine: Vec<Op>, theirs: Vec<Op>) -> vatra_model::view::AlertView {
    alert_of(&[create(1, 0, alert_ops()), edit(2, "UA", 10, &[1], mine), edit(3, "LT", 20, &[1], theirs)])
}

fn texts(values: &[&str]) -> Vec<Scalar> {
    values.iter().map(|text| Scalar::Text((*text).into())).collect()
}

#[test]
fn the_newest_text_is_shown_and_both_are_listed() {
    let view = split(vec![set("title", "Mine")], vec![set("title", "Theirs")]);
    assert_eq!(view.title, "Theirs");
    assert_eq!(view.conflicts["title"], texts(&["Theirs", "Mine"]));
    let settled = alert_of(&[
        create(1, 0, alert_ops()),
        edit(2, "UA", 10, &[1], vec![set("title", "Mine")]),
        edit(3, "LT", 20, &[1], vec![set("title", "Theirs")]),
        edit(4, "UA", 30, &[2, 3], vec![set("title", "Theirs")]),
    ]);
    assert_eq!((settled.title.as_str(), settled.conflicts.len()), ("Theirs", 0));
}

#[test]
fn equal_concurrent_values_are_no_conflict() {
    let view = split(vec![set("title", "Same")], vec![set("title", "Same")]);
    assert_eq!((view.title.as_str(), view.conflicts.len()), ("Same", 0));
}

#[test]
fn fields_merge_one_by_one() {
    let view = split(vec![set("title", "New")], vec![set("body", "Text")]);
    assert_eq!((view.title.as_str(), view.body.as_deref(), view.conflicts.len()), ("New", Some("Text"), 0));
}

#[test]
fn the_safe_value_wins() {
    let view = split(vec![set("severity", "extreme")], vec![set("severity", "minor")]);
    assert_eq!((view.severity, view.class), (Severity::Extreme, Class::Flash));
    assert_eq!(view.conflicts["severity"], texts(&["minor", "extreme"]));
    let view = split(vec![set("tlp", "amber+strict")], vec![set("tlp", "clear")]);
    assert_eq!(view.tlp, Tlp::AmberStrict);
    let view = split(vec![set_int("confidence", 20)], vec![set_int("confidence", 90)]);
    assert_eq!(view.confidence, Some(20));
    assert_eq!(view.conflicts["confidence"], [Scalar::Int(90), Scalar::Int(20)]);
    let view = split(vec![set_int("expires", 2000)], vec![set_int("expires", 1000)]);
    assert_eq!(view.expires, Some(WallMs(2000)));
    let view = split(vec![set_int("expires", 2000)], vec![clear("expires")]);
    assert_eq!(view.expires, Some(WallMs(2000)));
    let view = split(vec![set("class", "routine")], vec![set("class", "priority")]);
    assert_eq!(view.class, Class::Priority);
}

#[test]
fn affirming_a_value_counts_against_a_concurrent_change() {
    let view = split(vec![set("severity", "severe")], vec![set("severity", "minor")]);
    assert_eq!(view.severity, Severity::Severe);
    let view = split(vec![add("sectors", "energy")], vec![remove("sectors", "energy"), add("sectors", "water")]);
    assert_eq!(view.sectors, [Sector::Energy, Sector::Water]);
}

#[test]
fn added_elements_survive_a_concurrent_removal() {
    let before = vec![create(1, 0, alert_ops()), edit(2, "UA", 1, &[1], vec![remove("sectors", "energy")])];
    assert_eq!(alert_of(&before).sectors, []);
    let view = split(vec![remove("sectors", "energy")], vec![add("sectors", "energy")]);
    assert_eq!(view.sectors, [Sector::Energy]);
}

#[test]
fn a_removed_phone_number_stays_removed() {
    let phone =
        |comment: &str| add_json("phones", "+38044", &format!(r#"{{"number":"+380 44","comment":"{comment}"}}"#));
    let (record, first) = contact_create(1, vec![set("name", "Duty"), phone("old")]);
    let gone = edit_of(record, 2, "UA", 1, &[1], vec![remove("phones", "+38044")]);
    let touched = edit_of(record, 3, "UA", 2, &[1], vec![phone("new")]);
    let phones = |changes: &[Made]| match built_of(record, changes).view() {
        Some(View::Contact(contact)) => contact.phones.len(),
        other => panic!("not a contact: {other:?}"),
    };
    assert_eq!(phones(&[first.clone(), touched.clone()]), 1);
    assert_eq!(phones(&[first.clone(), gone.clone()]), 0);
    assert_eq!(phones(&[first.clone(), gone.clone(), touched.clone()]), 0);
    assert_eq!(phones(&[first.clone(), touched.clone(), gone.clone()]), 0);
    let again = edit_of(record, 4, "UA", 3, &[2, 3], vec![phone("again")]);
    assert_eq!(phones(&[first, gone, touched, again]), 1);
}

#[test]
fn leaving_wins_over_edits() {
    let (record, first) = contact_create(1, vec![set("name", "Duty")]);
    let left = edit_of(record, 2, "UA", 1, &[1], vec![set("status", "left")]);
    let busy = edit_of(record, 3, "UA", 2, &[1], vec![set("status", "active"), set("role", "head")]);
    match built_of(record, &[first, left, busy]).view() {
        Some(View::Contact(contact)) => assert_eq!(contact.status, ContactStatus::Left),
        other => panic!("not a contact: {other:?}"),
    }
}

#[test]
fn a_timeline_only_grows_and_is_sorted_by_time() {
    let entry = |at: &str, key: &str| add_json("timeline", key, &format!(r#"{{"at":"{at}","text":"x"}}"#));
    let json = |at: u64| {
        use vatra_model::schema::alert_parts::{Keyed, TimelineEntry, write_element};
        let entry = TimelineEntry { at: WallMs(at), author: None, text: "x".into() };
        (entry.key(), write_element(&entry))
    };
    let ((late_key, late), (early_key, early)) = (json(2_000_000), json(1_000));
    let view = alert_of(&[
        create(1, 0, alert_ops()),
        edit(2, "UA", 1, &[1], vec![add_json("timeline", &late_key, &late), add_json("timeline", &early_key, &early)]),
        edit(3, "UA", 2, &[2], vec![remove("timeline", &late_key), entry("1970-01-01T00:00:00Z", "wrong key")]),
    ]);
    let times: Vec<WallMs> = view.timeline.iter().map(|entry| entry.at).collect();
    assert_eq!(times, [WallMs(1_000), WallMs(2_000_000)]);
}

#[test]
fn the_kind_is_fixed_by_the_first_create() {
    let mut ops = alert_ops();
    ops[0] = set("kind", "outage");
    let view = alert_of(&[
        create(1, 5, alert_ops()),
        create(2, 0, ops),
        edit(3, "UA", 9, &[1, 2], vec![set("kind", "campaign")]),
    ]);
    assert_eq!(view.kind.as_str(), "outage");
    assert_eq!(view.conflicts["kind"], texts(&["incident", "outage"]));
    assert_eq!(view.issued_at, hlc(0).wall());
}

fn status_of(changes: &[Made]) -> (AlertStatus, bool) {
    let view = alert_of(changes);
    (view.status, view.cancel_disputed)
}

#[test]
fn a_cancel_that_has_seen_everything_is_final() {
    let cancelled = [create(1, 0, alert_ops()), edit(2, "UA", 1, &[1], vec![set("status", "cancelled")])];
    assert_eq!(status_of(&cancelled), (AlertStatus::Cancelled, false));
    let [first, cancel] = cancelled;
    let seen = edit(3, "LT", 2, &[2], vec![set("title", "After")]);
    assert_eq!(status_of(&[first, cancel, seen]), (AlertStatus::Cancelled, false));
}

#[test]
fn a_cancel_concurrent_with_an_update_is_disputed_until_somebody_decides() {
    let disputed = vec![
        create(1, 0, alert_ops()),
        edit(2, "UA", 1, &[1], vec![set("status", "cancelled")]),
        edit(3, "LT", 2, &[1], vec![set("severity", "extreme")]),
    ];
    assert_eq!(status_of(&disputed), (AlertStatus::Active, true));
    let with = |more: Made| [disputed.clone(), vec![more]].concat();
    // An edit of something else settles nothing.
    let other = with(edit(4, "LT", 3, &[2, 3], vec![set("title", "Both seen")]));
    assert_eq!(status_of(&other), (AlertStatus::Active, true));
    // Saying the same word again, having seen both, does.
    let cancelled = with(edit(4, "UA", 3, &[2, 3], vec![set("status", "cancelled")]));
    assert_eq!(status_of(&cancelled), (AlertStatus::Cancelled, false));
    let active = with(edit(4, "UA", 3, &[2, 3], vec![set("status", "active")]));
    assert_eq!(status_of(&active), (AlertStatus::Active, false));
}

#[test]
fn two_endings_dispute_each_other_not() {
    let both = |second: &str| {
        status_of(&[
            create(1, 0, alert_ops()),
            edit(2, "UA", 1, &[1], vec![set("status", "cancelled")]),
            edit(3, "LT", 2, &[1], vec![set("status", second)]),
        ])
    };
    assert_eq!(both("cancelled"), (AlertStatus::Cancelled, false));
    assert_eq!(both("resolved"), (AlertStatus::Resolved, false));
    assert_eq!(both("active"), (AlertStatus::Active, true));
    let third = status_of(&[
        create(1, 0, alert_ops()),
        edit(2, "UA", 1, &[1], vec![set("status", "cancelled")]),
        edit(3, "LT", 2, &[1], vec![set("title", "Unseen")]),
        edit(4, "LT", 3, &[3], vec![set("status", "resolved")]),
    ]);
    assert_eq!(third, (AlertStatus::Resolved, false));
}

#[test]
fn answers_do_not_dispute_a_cancel() {
    let changes = [
        create(1, 0, alert_ops()),
        edit(2, "UA", 1, &[1], vec![set("status", "cancelled")]),
        answer(3, "PL", 2, &[], vec![set("assessment", "affected")]),
    ];
    assert_eq!(status_of(&changes), (AlertStatus::Cancelled, false));
}

#[test]
fn the_latest_acknowledgement_is_shown() {
    let ack = |by: &str, second: u32| {
        set("acknowledged", &format!(r#"{{"by":"{by}","at":"2026-11-24T02:30:{second:02}.000Z"}}"#))
    };
    let view = alert_of(&[
        create(1, 0, alert_ops()),
        answer(2, "PL", 2, &[], vec![ack("first", 10), set_int("seen_at", 500)]),
        answer(3, "PL", 1, &[], vec![ack("second", 20), set_int("seen_at", 400)]),
    ]);
    let answer = &view.responses[&member("PL")];
    assert_eq!(answer.acknowledged.as_ref().map(|ack| ack.by.as_str()), Some("second"));
    assert_eq!(answer.seen_at, Some(WallMs(500)));
    assert_eq!(answer.version, [id(2), id(3)]);
}
