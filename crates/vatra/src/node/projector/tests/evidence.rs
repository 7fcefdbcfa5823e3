//! Damage among what lies past the ends of logs: it keeps nothing else there from being taken back.

use vatra_model::fork::stray_log;

use super::retracting::{id_of, retitled, revoking};
use super::*;

impl Desk {
    /// An entry cannot be read any more, by a node that starts anew and so remembers nothing decoded.
    fn damage(&mut self, stored: LogId, entry: &CheckedEntry) {
        let row = EntryRow { log: stored, seq: entry.header().seq, bytes: b"damaged".to_vec() };
        self.store.commit(&Commit { entries: vec![row], ..Commit::default() }).expect("memory has room");
        self.projector = projector(&self.store, self.projector.state);
    }
}

#[test]
fn a_damaged_stray_keeps_no_lie_of_its_writer_in_force() {
    let mut desk = Desk::new();
    let shared = Create { writers: vec![member(LT), member(UA)], ..create(1) };
    let record = record_id(member(UA), &shared);
    let created = desk.entry(UA, &[Change::Create(shared)]);
    let answered = desk.entry(LT, &[answer(record, "in time")]);
    desk.take(vec![created.clone(), answered.clone()]);
    let before = desk.seen();
    let lied = desk.entry(LT, &[retitled(record, vec![id_of(&created)], "a lie")]);
    let mut twin = Desk { heads: desk.heads.clone(), ..Desk::new() };
    twin.heads.insert(LT, (1, answered.hash()));
    let stray = twin.entry(LT, &[retitled(record, vec![id_of(&created)], "another lie")]);
    desk.take(vec![lied]);
    desk.part(&Batch { entries: vec![stray.clone()], strays: [stray.hash()].into(), ..Batch::default() });
    assert_ne!(desk.seen(), before);
    desk.damage(stray_log(log_of(LT), stray.hash()), &stray);
    let told = desk.take_charter(&revoking(LT, Some(&answered)));
    assert_eq!(told.len(), 1, "nobody can be told of the one that cannot be read");
    assert_eq!(desk.seen(), before);
    assert_eq!(desk.alert(record).title, "t");
    // With the fork known, what is shown looks at what lies past it.
    let views = &desk.projector.views;
    let header = |entry: &CheckedEntry| vatra_model::SignedHeader::of(entry.entry());
    let log = log_row(LT, Head::EMPTY).descriptor;
    let proof = vatra_model::ForkProof::new(log, header(&answered), header(&stray));
    views.origins.set_forks([&vatra_replica::CheckedFork { log: log_of(LT), place: 1, proof }]);
    let snapshot = desk.store.reader().snapshot().expect("memory");
    assert!(views.is_forked(&snapshot, record).is_ok());
}

#[test]
fn strays_past_the_end_of_a_log_are_told_as_evidence() {
    let mut desk = Desk::new();
    let named = |number| Create { writers: vec![member(LT)], ..create(number) };
    let record = |number| record_id(member(LT), &named(number));
    let first = desk.entry(LT, &[Change::Create(named(1))]);
    desk.take(vec![first.clone()]);
    let second = desk.entry(LT, &[Change::Create(named(2))]);
    desk.take(vec![second]);
    let mut twin = Desk::new();
    twin.heads.insert(LT, (1, first.hash()));
    let strays = [3, 4].map(|number| twin.entry(LT, &[Change::Create(named(number))]));
    let hashes = strays.iter().map(|stray| stray.hash()).collect();
    desk.part(&Batch { entries: strays.to_vec(), strays: hashes, ..Batch::default() });
    let found = |desk: &Desk| {
        let logs = [(log_of(LT), log_row(LT, Head::EMPTY).descriptor)];
        let revoked = crate::node::revoked::stored(&desk.store.reader(), &revoking(LT, Some(&first)), logs);
        revoked.expect("memory").remove(0)
    };
    let all = found(&desk);
    let touched: BTreeSet<RecordId> = [2, 3, 4].map(record).into();
    assert_eq!((all.entries, all.unreadable, all.is_cut), (3, 0, false));
    assert_eq!(all.records.into_iter().collect::<BTreeSet<_>>(), touched);
    desk.damage(stray_log(log_of(LT), strays[0].hash()), &strays[0]);
    let rest = found(&desk);
    assert_eq!((rest.entries, rest.unreadable, rest.records.contains(&record(4))), (2, 1, true));
    let many: Vec<_> = (5..45).map(|number| desk.entry(LT, &[Change::Create(named(number))])).collect();
    desk.take(many);
    assert!(found(&desk).is_cut, "more than is listed is never passed over in silence");
}

#[test]
fn a_record_of_which_nothing_readable_is_left_is_neither_counted_nor_listed() {
    let mut desk = Desk::new();
    let created = desk.entry(UA, &[Change::Create(create(1))]);
    let record = record_id(member(UA), &create(1));
    let waits = desk.entry(UA, &[retitled(record, vec![ChangeId([7; 16])], "never")]);
    desk.take(vec![created.clone(), waits]);
    assert_eq!(desk.seen().1, 1);
    desk.damage(log_of(UA), &created);
    let charter = revoking(UA, None);
    desk.take_charter(&charter);
    let nothing = ([0; 32], 0, BTreeSet::new());
    assert_eq!(desk.seen(), nothing);
    desk.restart(&charter);
    assert_eq!(desk.seen(), nothing);
    assert!(!desk.projector.has_work(), "it does not spin");
}

#[test]
fn a_record_of_which_only_a_damaged_stray_is_left_is_not_listed_after_a_restart() {
    let mut desk = Desk::new();
    let mut twin = Desk::new();
    let lost = Create { writers: vec![member(LT)], ..create(1) };
    let record = record_id(member(LT), &lost);
    let first = desk.entry(LT, &[by_lt(Change::Create(create(3)))]);
    twin.entry(LT, &[by_lt(Change::Create(create(4)))]);
    let stray = twin.entry(LT, &[Change::Create(lost)]);
    let waits = desk.entry(LT, &[retitled(record, vec![ChangeId([7; 16])], "never")]);
    let kept = desk.entry(UA, &[Change::Create(create(2))]);
    desk.take(vec![first.clone()]);
    desk.part(&Batch { entries: vec![stray.clone()], strays: [stray.hash()].into(), ..Batch::default() });
    desk.take(vec![waits, kept]);
    assert!(desk.seen().2.contains(&record));
    desk.damage(stray_log(log_of(LT), stray.hash()), &stray);
    let charter = revoking(LT, Some(&first));
    desk.take_charter(&charter);
    let after = desk.seen();
    assert!(!after.2.contains(&record), "{after:?}");
    assert_eq!(after.2.len(), 2, "the others stay");
}

/// Of a record whose changes are taken back in several commits, the digest counts none of them after the first.
#[test]
fn a_document_that_is_gone_between_two_commits_of_a_retraction_is_counted_once() {
    let is_damaged_after = |parts: usize| {
        let mut desk = Desk::new();
        let created = desk.entry(UA, &[Change::Create(create(1))]);
        let record = record_id(member(UA), &create(1));
        let first = desk.entry(LT, &[answer(record, "in time")]);
        desk.take(vec![created, first.clone()]);
        let before = desk.seen();
        desk.take_lies(record, 4);
        let charter = revoking(LT, Some(&first));
        let mut told = desk.part(&Batch { charter: Some(charter.encode()), ..Batch::default() });
        for _ in 0..parts {
            told.extend(desk.part(&Batch::default()));
        }
        let documents = vec![(record, b"short".to_vec())];
        desk.store.commit(&Commit { documents, ..Commit::default() }).expect("memory has room");
        desk.restart(&charter);
        let is_open = desk.projector.has_work();
        told.extend(desk.finish());
        assert_eq!(told.len(), 4 * RETRACTED_MAX, "each is told once, damaged after {parts} parts");
        assert_eq!(desk.seen(), before, "damaged after {parts} parts");
        is_open
    };
    assert!((0..4).all(is_damaged_after), "it is damaged before all is done");
}
