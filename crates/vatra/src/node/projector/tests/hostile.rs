//! What no honest member does: it delays nobody else, and every node finds the same.

use proptest::prelude::*;
use vatra_model::limits::PENDING_CHANGES_MAX;
use vatra_record::RefuseReason;

use super::*;

/// The id of the only change of an entry.
fn id_of(entry: &CheckedEntry) -> ChangeId {
    ChangeId::derive(&entry.hash(), 0)
}

/// A store with the alert of UA, and its id.
fn desk_with_alert() -> (Desk, RecordId, ChangeId) {
    let mut desk = Desk::new();
    let alert = create(1);
    let record = record_id(member(UA), &alert);
    let entry = desk.entry(UA, &[Change::Create(alert)]);
    let id = id_of(&entry);
    desk.take(vec![entry]);
    (desk, record, id)
}

fn retitled(record: RecordId, deps: Vec<ChangeId>, title: &str) -> Change {
    edit(record, SectionId::Core, deps, text("title", title))
}

#[test]
fn what_one_member_lets_wait_stands_before_nobody_else() {
    let (mut desk, record, created) = desk_with_alert();
    // More than is ever read at once, all resting on what will never come.
    let floods: Vec<_> = (0..20_u16)
        .map(|block| {
            let never = ChangeId([0xee; 16]);
            let changes: Vec<_> = (0..250)
                .map(|n| {
                    let note = text("note", &format!("{block} {n}"));
                    edit(record, SectionId::Response(member(LT)), vec![never], note)
                })
                .collect();
            desk.entry(LT, &changes)
        })
        .collect();
    assert_eq!(desk.take(floods).0, []);
    let first = desk.entry(UA, &[retitled(record, vec![created], "first")]);
    let second = desk.entry(UA, &[retitled(record, vec![id_of(&first)], "second")]);
    assert_eq!(desk.take(vec![second]).0, [], "it waits for the first");
    assert_eq!(desk.take(vec![first]).0.len(), 2);
    assert_eq!(desk.alert(record).title, "second");
    let held = desk.projector.views.record(&desk.store.reader().snapshot().expect("memory"), record);
    let held = held.expect("readable").expect("known");
    assert!(held.waiting_count() <= PENDING_CHANGES_MAX, "what waits is kept in the store alone");
}

#[test]
fn what_exceeds_a_commit_has_its_turn_in_the_next_even_after_a_restart() {
    let count = PART_UNLOCKED_MAX + 40;
    let mut desk = Desk::new();
    let alert = create(1);
    let record = record_id(member(UA), &alert);
    let early: Vec<_> = (0..count).map(|number| desk.entry(LT, &[answer(record, &format!("note {number}"))])).collect();
    assert_eq!(desk.take(early.clone()).0, []);
    let first = desk.entry(UA, &[Change::Create(alert)]);
    let told = desk.take(vec![first.clone()]).0.len();
    assert!(told <= PART_UNLOCKED_MAX + 1, "{told} in one commit");
    assert!(!desk.projector.backlog.is_empty());

    desk.projector = projector(&desk.store, desk.projector.state);
    let mut rest = 0;
    while !desk.projector.backlog.is_empty() {
        rest += desk.work_off();
    }
    assert_eq!(told + rest, count + 1);
    assert_eq!((desk.history_len(record), desk.pending_count(record)), (count + 1, 0));
    let mut other = Desk { heads: desk.heads.clone(), ..Desk::new() };
    other.take([first].into_iter().chain(early).collect());
    assert_eq!(other.projector.state.digest, desk.projector.state.digest);
}

#[test]
fn an_entry_that_crashed_twice_is_kept_and_not_tried() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("at-work");
    let mut desk = Desk::new();
    let alert = create(1);
    let record = record_id(member(UA), &alert);
    let poison = desk.entry(UA, &[Change::Create(alert)]);
    for _ in 0..2 {
        // What the process leaves that dies with the entry under work.
        Guard::open(&path).begin(poison.hash());
    }
    desk.projector.guard = Guard::open(&path);
    let good = desk.entry(UA, &[Change::Create(create(2))]);
    let (events, commits) = desk.take(vec![poison.clone(), good]);
    assert_eq!(events, [(EventType::AlertCreated, record_id(member(UA), &create(2)))]);
    assert_eq!(commits, 2, "with care, one entry at a time");
    assert_eq!(desk.quarantined(), [(WHOLE_ENTRY, Reason::Crashed)]);
    assert!(desk.store.reader().snapshot().expect("memory").entry(log_of(UA), Seq(0)).expect("readable").is_some());

    // A node that starts again knows of it, and tries it no more until there is another version.
    desk.projector = projector(&desk.store, desk.projector.state);
    assert_eq!(desk.quarantined(), [(WHOLE_ENTRY, Reason::Crashed)]);
    assert!(desk.projector.quarantine.take_to_try().is_empty());
    assert_eq!(desk.take(vec![poison]).0, [(EventType::AlertCreated, record)]);
}

#[test]
fn an_origin_of_many_crashes_is_tried_no_more() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("at-work");
    let mut desk = Desk::new();
    for number in 0..3 {
        let poison = desk.entry(LT, &[by_lt(Change::Create(create(number)))]);
        for _ in 0..2 {
            Guard::open(&path).begin(poison.hash());
        }
        desk.projector.guard = Guard::open(&path);
        assert_eq!(desk.take(vec![poison]).0, []);
    }
    assert_eq!(desk.publish(LT, by_lt(Change::Create(create(8)))), [], "the next one is not tried at all");
    assert_eq!(desk.publish(UA, Change::Create(create(9))), [EventType::AlertCreated], "others are");
    assert_eq!(desk.quarantined()[0], (WHOLE_ENTRY, Reason::OriginHeld));
}

/// Entries of two members, good ones and bad ones, that rest on each other.
fn mixed(desk: &mut Desk) -> Vec<Arc<CheckedEntry>> {
    let alert = create(1);
    let record = record_id(member(UA), &alert);
    let created = desk.entry(UA, &[Change::Create(alert)]);
    let first = desk.entry(UA, &[retitled(record, vec![id_of(&created)], "first"), Change::Create(create(2))]);
    let second = desk.entry(UA, &[retitled(record, vec![ChangeId::derive(&first.hash(), 0)], "second")]);
    let aside = desk.entry(UA, &[retitled(record, vec![id_of(&created)], "aside")]);
    let forged = desk.entry(LT, &[retitled(record, vec![id_of(&created)], "forged"), answer(record, "seen")]);
    let other = desk.entry(LT, &[edit(record, SectionId::Response(member(UA)), Vec::new(), text("note", "not mine"))]);
    let lost = desk.entry(LT, &[retitled(record, vec![ChangeId([9; 16])], "never"), answer(record, "again")]);
    let panics = desk.entry(
        UA,
        &[Change::Create(Create { ops: vec![text("title", "panic in the projector, please")], ..create(3) })],
    );
    vec![created, first, second, aside, forged, other, lost, panics]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn verdicts_and_views_are_the_same_in_every_order(
        order in Just((0..8_usize).collect::<Vec<_>>()).prop_shuffle(),
        cuts in proptest::collection::vec(any::<bool>(), 8),
    ) {
        let mut desk = Desk::new();
        let entries = mixed(&mut desk);
        let found = |desk: &Desk| {
            let mut found: Vec<_> = desk.projector.quarantine.newest().iter()
                .map(|change| (change.log, change.seq, change.index, change.reason.name()))
                .collect();
            found.sort();
            (desk.projector.state.digest, desk.projector.state.alerts, found)
        };
        let mut shuffled = Desk { heads: desk.heads.clone(), ..Desk::new() };
        desk.take(entries.clone());
        let mut part = Vec::new();
        for (place, cut) in order.into_iter().zip(cuts) {
            part.push(entries[place].clone());
            if cut {
                shuffled.take(std::mem::take(&mut part));
            }
        }
        shuffled.take(part);
        prop_assert_eq!(found(&shuffled), found(&desk));
        let refused = Reason::Refused(RefuseReason::NotWriter).name();
        prop_assert_eq!(found(&desk).2.iter().filter(|change| change.3 == refused).count(), 2);
        prop_assert_eq!(found(&desk).2.len(), 4);
    }
}
