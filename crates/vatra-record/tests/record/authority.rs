//! Who may write what, and what waits for what.

use vatra_model::change::{Change, Create, Edit, RecordKind};
use vatra_model::limits::{CHANGE_DEPS_MAX, CHANGE_OPS_MAX, PENDING_CHANGES_MAX};
use vatra_model::{ChangeId, RecordId, SectionId};
use vatra_record::{Applied, Record, RefuseReason};

use crate::support::*;

#[test]
fn only_writers_edit_the_core_and_only_members_themselves_answer() {
    let foreign_answer = |author: &str| {
        edit_in(joint_record(), SectionId::Response(member("PL")), 9, author, 1, &[], vec![set("note", "x")])
    };
    let table = [
        (edit(2, "UA", 1, &[1], vec![set("title", "a")]), Applied::Applied),
        (edit(3, "LT", 1, &[1], vec![set("title", "a")]), Applied::Applied),
        (edit(4, "PL", 1, &[1], vec![set("title", "a")]), Applied::Refused(RefuseReason::NotWriter)),
        (edit(5, "PL", 1, &[7], vec![set("title", "a")]), Applied::Refused(RefuseReason::NotWriter)),
        (foreign_answer("PL"), Applied::Applied),
        (foreign_answer("UA"), Applied::Refused(RefuseReason::NotOwnResponse)),
        (edit_of(RecordId([0; 16]), 6, "UA", 1, &[1], vec![]), Applied::Refused(RefuseReason::OtherRecord)),
    ];
    for (made, verdict) in table {
        let mut record = built(&[create(1, 0, alert_ops())]);
        assert_eq!(record.apply(made.authored()), verdict, "{made:?}");
    }
}

#[test]
fn a_create_by_somebody_else_makes_another_record() {
    let mut stolen = create(1, 0, alert_ops());
    stolen.author = member("PL");
    let mut record = Record::new(joint_record());
    assert_eq!(record.apply(stolen.authored()), Applied::Refused(RefuseReason::OtherRecord));
    // LT is a writer, but the id commits to the owner too.
    stolen.author = member("LT");
    assert_eq!(record.apply(stolen.authored()), Applied::Refused(RefuseReason::OtherRecord));
    let unwritable = Create { writers: vec![member("LT")], ..joint_create(alert_ops()) };
    let id = vatra_model::record_id(member("UA"), &unwritable);
    let made = Made { change: Change::Create(unwritable), ..create(1, 0, Vec::new()) };
    assert_eq!(Record::new(id).apply(made.authored()), Applied::Refused(RefuseReason::NotWriter));
}

#[test]
fn contacts_have_no_answers() {
    let (record, first) = contact_create(1, vec![set("name", "Duty")]);
    let mut contact = built_of(record, &[first]);
    let section = SectionId::Response(member("PL"));
    let made = edit_in(record, section, 2, "PL", 1, &[], vec![set("note", "x")]);
    assert_eq!(contact.apply(made.authored()), Applied::Refused(RefuseReason::NoSuchSection));
}

#[test]
fn edits_wait_for_the_create_and_are_judged_when_it_comes() {
    let mut record = Record::new(joint_record());
    let good = edit(2, "LT", 1, &[1], vec![set("title", "Waited")]);
    let bad = edit(3, "PL", 2, &[1], vec![set("title", "Stolen")]);
    let note = answer(4, "PL", 3, &[], vec![set("note", "Here")]);
    for made in [&good, &bad, &note] {
        assert_eq!(record.apply(made.authored()), Applied::Waiting);
        assert_eq!(record.apply(made.authored()), Applied::Duplicate);
    }
    assert_eq!((record.view(), record.missing(), record.waiting_count()), (None, vec![id(1)], 3));
    assert_eq!(record.apply(create(1, 0, alert_ops()).authored()), Applied::Applied);
    let view = alert(&record);
    assert_eq!(view.title, "Waited");
    assert_eq!(view.responses[&member("PL")].note.as_deref(), Some("Here"));
    assert_eq!((record.missing(), record.waiting_count(), record.change_count()), (vec![], 0, 3));
    assert_eq!(record.apply(bad.authored()), Applied::Refused(RefuseReason::NotWriter));
}

#[test]
fn what_waits_is_bounded_and_comes_in_when_brought_again() {
    let mut record = built(&[create(1, 0, alert_ops())]);
    let chain: Vec<Made> = (0..=PENDING_CHANGES_MAX)
        .map(|n| {
            let number = |n: usize| ChangeId([2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, (n >> 8) as u8, n as u8]);
            let deps = vec![if n == 0 { id(2) } else { number(n - 1) }];
            let edit = Edit { record: joint_record(), section: SectionId::Core, deps, ops: vec![set("title", "x")] };
            Made { id: number(n), change: Change::Edit(edit), ..edit_like() }
        })
        .collect();
    for made in &chain[..PENDING_CHANGES_MAX] {
        assert_eq!(record.apply(made.authored()), Applied::Waiting);
    }
    let last = &chain[PENDING_CHANGES_MAX];
    assert_eq!(record.apply(last.authored()), Applied::Overflow);
    assert_eq!(record.missing(), [id(2)]);
    assert_eq!(record.apply(edit(2, "UA", 1, &[1], vec![]).authored()), Applied::Applied);
    assert_eq!(record.apply(last.authored()), Applied::Applied);
    assert_eq!((record.heads(SectionId::Core), record.waiting_count()), (vec![last.id], 0));
    // From changes in the worst order, all are found.
    let mut all: Vec<Made> = chain.into_iter().rev().collect();
    all.push(edit(2, "UA", 1, &[1], vec![]));
    all.push(create(1, 0, alert_ops()));
    let rebuilt = Record::from_changes(joint_record(), all.iter().map(Made::authored));
    assert_eq!(rebuilt.view(), record.view());
}

fn edit_like() -> Made {
    edit(0, "UA", 5, &[], vec![])
}

#[test]
fn an_edit_made_now_rests_on_the_newest_heads_only() {
    let mut record = built(&[create(1, 0, alert_ops())]);
    for number in 2..40 {
        record.apply(edit(number, "UA", u64::from(number), &[1], vec![set("title", "x")]).authored());
    }
    assert_eq!(record.heads(SectionId::Core).len(), 38);
    let deps = record.deps_for_edit(SectionId::Core);
    assert_eq!(deps.len(), CHANGE_DEPS_MAX);
    assert!(deps.is_sorted() && deps.contains(&id(39)) && !deps.contains(&id(2)));
    assert_eq!(record.deps_for_edit(SectionId::Response(member("PL"))), []);
}

#[test]
fn changes_with_too_many_parts_are_refused() {
    let mut record = built(&[create(1, 0, alert_ops())]);
    let many_ops = edit(2, "UA", 1, &[1], vec![set("title", "x"); CHANGE_OPS_MAX + 1]);
    assert_eq!(record.apply(many_ops.authored()), Applied::Refused(RefuseReason::TooMany));
    let deps: Vec<u8> = (1..=17).collect();
    let many_deps = edit(2, "UA", 1, &deps, vec![]);
    assert_eq!(record.apply(many_deps.authored()), Applied::Refused(RefuseReason::TooMany));
    let unknown = Made { change: Change::Unknown { kind: 99 }, ..edit_like() };
    assert_eq!(record.apply(unknown.authored()), Applied::Refused(RefuseReason::NoRecordChange));
}

#[test]
fn an_annex_is_kept_and_not_shown() {
    let annex = Create { kind: RecordKind::Annex, ..joint_create(vec![set("title", "secret")]) };
    let id = vatra_model::record_id(member("UA"), &annex);
    let made = Made { change: Change::Create(annex), ..create(1, 0, Vec::new()) };
    let record = built_of(id, &[made]);
    assert_eq!((record.view(), record.change_count()), (None, 1));
}
