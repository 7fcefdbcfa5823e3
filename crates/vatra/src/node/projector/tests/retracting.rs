//! Revocations: what came before the charter that ends its log loses its effect, and a node that got everything in any
//! order shows what one shows that never had it.

use vatra_model::charter::{Charter, CharterEpoch, CharterMember, MemberRole, Revocation, SignedEpoch};

use super::*;
use crate::node::listing::Listing;
use crate::node::projector::retracting::RETRACTED_MAX;

/// A charter that revokes a writer's key after the entry of its log at a place; all of it, if none is given.
pub(super) fn revoking(writer: u8, last: Option<&CheckedEntry>) -> Charter {
    let listed = |writer: u8| CharterMember {
        code: member(writer),
        name: "Centre".into(),
        role: MemberRole::Member,
        root: root(writer).root_key(),
        sealing: [writer; 32],
        addresses: vec![],
    };
    let last_valid = last.map(|last| (log_of(writer), last.header().seq, last.hash())).into_iter().collect();
    let epoch = CharterEpoch {
        epoch: 1,
        previous: [0; 32],
        federation: "test".into(),
        members: vec![listed(LT), listed(UA)],
        revocations: vec![Revocation { key: secret(writer).node_key(), last_valid }],
    };
    Charter::found(by_both(epoch)).expect("both have signed")
}

fn by_both(epoch: CharterEpoch) -> SignedEpoch {
    let mut signed = SignedEpoch::draft(epoch).expect("a good epoch");
    for writer in [UA, LT] {
        signed.sign(&root(writer));
    }
    signed
}

fn root(writer: u8) -> Secret {
    Secret::from_seed(&[90 + writer; 32])
}

/// What comes to a node.
#[derive(Clone)]
enum Coming {
    Entry(Arc<CheckedEntry>),
    Charter(Box<Charter>),
}

impl Desk {
    /// Takes a charter, and does all that it makes necessary; what readers are told.
    pub(super) fn take_charter(&mut self, charter: &Charter) -> Vec<StoredEvent> {
        let batch = Batch { charter: Some(charter.encode()), ..Batch::default() };
        let mut told = self.part(&batch);
        told.extend(self.finish());
        told
    }

    pub(super) fn part(&mut self, batch: &Batch) -> Vec<StoredEvent> {
        let part = self.projector.project(batch, 0, log_of(UA), self.store.next_position()).expect("a part");
        self.store.commit(&part.commit).expect("memory has room");
        self.projector.settle(&part);
        part.events
    }

    /// Takes so many entries of LT's, each of which changes a record as often as one commit takes back.
    pub(super) fn take_lies(&mut self, record: RecordId, entries: usize) {
        for number in 0..entries {
            let lies: Vec<_> = (0..RETRACTED_MAX).map(|n| answer(record, &format!("lie {number} {n}"))).collect();
            let entry = self.entry(LT, &lies);
            self.take(vec![entry]);
        }
    }

    /// Goes on until nothing is left to be done.
    pub(super) fn finish(&mut self) -> Vec<StoredEvent> {
        let mut told = Vec::new();
        for round in 0.. {
            assert!(round < 1_000, "it comes to an end");
            if !self.projector.has_work() {
                break;
            }
            told.extend(self.part(&Batch::default()));
        }
        told
    }

    fn take_any(&mut self, coming: &Coming) {
        match coming {
            Coming::Entry(entry) => drop(self.take(vec![entry.clone()])),
            Coming::Charter(charter) => drop(self.take_charter(charter)),
        }
        self.finish();
    }

    /// The process ends and starts again from its store.
    pub(super) fn restart(&mut self, charter: &Charter) {
        self.projector = projector(&self.store, self.projector.state);
        let snapshot = self.store.reader().snapshot().expect("memory");
        self.projector.heed(charter, &snapshot).expect("readable");
    }

    /// Digest, counts, and the records that a list shows.
    pub(super) fn seen(&self) -> ([u8; 32], u64, BTreeSet<RecordId>) {
        let listing = Listing::load(&self.store.reader()).expect("readable");
        let records = listing.oldest_first(None).map(|row| row.record).collect();
        (self.projector.state.digest, self.projector.state.alerts, records)
    }

    fn stream(&self) -> Vec<StoredEvent> {
        self.projector.views.events(Position(0), PAGE_ROWS_MAX).expect("readable").0
    }
}

fn kinds(events: &[StoredEvent]) -> Vec<(EventType, RecordId)> {
    events.iter().map(|event| (event.event_type, event.record)).collect()
}

pub(super) fn id_of(entry: &CheckedEntry) -> ChangeId {
    ChangeId::derive(&entry.hash(), 0)
}

pub(super) fn retitled(record: RecordId, deps: Vec<ChangeId>, title: &str) -> Change {
    edit(record, SectionId::Core, deps, text("title", title))
}

fn permutations(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![vec![]];
    }
    let insert =
        |order: Vec<usize>| (0..=order.len()).map(move |at| [&order[..at], &[count - 1], &order[at..]].concat());
    permutations(count - 1).into_iter().flat_map(insert).collect()
}

#[test]
fn a_record_made_past_the_end_is_shown_no_longer_and_readers_learn_of_it() {
    let mut desk = Desk::new();
    let kept = desk.entry(UA, &[Change::Create(create(1))]);
    let past = desk.entry(UA, &[Change::Create(create(2))]);
    let record = record_id(member(UA), &create(2));
    desk.take(vec![kept.clone()]);
    let before = desk.seen();
    desk.take(vec![past.clone()]);
    desk.publish(LT, answer(record, "we see it too"));
    assert_eq!(desk.seen().1, 2);

    let told = desk.take_charter(&revoking(UA, Some(&kept)));
    assert_eq!(kinds(&told), [(EventType::AlertRetracted, record); 2], "the create, and the answer to it");
    assert_eq!(told[0].change, id_of(&past), "it names the change that it takes back");
    let data: serde_json::Value = serde_json::from_slice(&told[0].view).expect("JSON");
    assert_eq!(data, serde_json::json!({"id": record.to_string(), "kind": "alert", "shown": false}));
    assert_eq!(desk.view(record), None);
    assert_eq!(desk.seen(), before);
    // Whoever reads the stream from its beginning sees nothing of the record but that it was taken back.
    let about: Vec<_> = desk.stream().into_iter().filter(|event| event.record == record).collect();
    assert_eq!(kinds(&about), [(EventType::AlertRetracted, record); 2]);
    assert_eq!(desk.take_charter(&revoking(UA, Some(&kept))).len(), 0, "the same end is no news");
    desk.restart(&revoking(UA, Some(&kept)));
    assert!(!desk.projector.has_work());
    assert_eq!(desk.seen(), before);
}

#[test]
fn an_edit_past_the_end_is_taken_back_with_what_rests_on_it() {
    let mut desk = Desk::new();
    let created = desk.entry(UA, &[Change::Create(create(1))]);
    let record = record_id(member(UA), &create(1));
    let first = desk.entry(LT, &[answer(record, "in time")]);
    desk.take(vec![created, first.clone()]);
    let (before, alert) = (desk.seen(), desk.alert(record));
    let lied =
        desk.entry(LT, &[edit(record, SectionId::Response(member(LT)), vec![id_of(&first)], text("note", "a lie"))]);
    desk.take(vec![lied.clone()]);
    assert_ne!(desk.seen(), before);
    let told = desk.take_charter(&revoking(LT, Some(&first)));
    assert_eq!(kinds(&told), [(EventType::AlertRetracted, record)]);
    assert_eq!(told[0].change, id_of(&lied));
    assert_eq!(told[0].view, desk.view(record).expect("shown").canonical_bytes().into());
    assert_eq!((desk.seen(), desk.alert(record)), (before, alert));
    assert!(desk.projector.views.is_forked(&desk.store.reader().snapshot().expect("memory"), record).is_ok());
}

/// An edit of somebody honest that rests on a revoked one waits, as at a node that never had that one.
#[test]
fn what_an_honest_member_built_on_it_waits() {
    let shared = Create { writers: vec![member(LT), member(UA)], ..create(1) };
    let record = record_id(member(UA), &shared);
    let mut desk = Desk::new();
    let created = desk.entry(UA, &[Change::Create(shared)]);
    let opened = desk.entry(LT, &[answer(record, "in time")]);
    let lied = desk.entry(LT, &[retitled(record, vec![id_of(&created)], "a lie")]);
    let built = desk.entry(UA, &[retitled(record, vec![id_of(&lied)], "built on it")]);
    desk.take(vec![created.clone(), opened.clone(), lied, built.clone()]);
    assert_eq!(desk.alert(record).title, "built on it");
    let told = desk.take_charter(&revoking(LT, Some(&opened)));
    assert_eq!(kinds(&told), [(EventType::AlertRetracted, record); 2]);
    let mut other = Desk { heads: desk.heads.clone(), ..Desk::new() };
    other.take(vec![created.clone(), opened, built]);
    assert_eq!(other.alert(record).title, "t");
    assert_eq!(desk.seen(), other.seen());
    assert_eq!((desk.pending_count(record), other.pending_count(record)), (1, 1));
    // Its author writes it again, on what is valid.
    let again = desk.entry(UA, &[retitled(record, vec![id_of(&created)], "again")]);
    desk.take(vec![again]);
    assert_eq!(desk.alert(record).title, "again");
}

#[test]
fn every_order_of_entries_and_charter_comes_to_the_same() {
    let shared = Create { writers: vec![member(LT), member(UA)], ..create(1) };
    let record = record_id(member(UA), &shared);
    let mut maker = Desk::new();
    let created = maker.entry(UA, &[Change::Create(shared)]);
    let before = maker.entry(LT, &[answer(record, "before")]);
    let lied = maker.entry(LT, &[retitled(record, vec![id_of(&created)], "a lie"), by_lt(Change::Create(create(7)))]);
    let built = maker.entry(UA, &[retitled(record, vec![id_of(&lied)], "built on it")]);
    let (charter, old) = (revoking(LT, Some(&before)), unrevoking());
    let mut all: Vec<Coming> = [created, before, lied, built].map(Coming::Entry).to_vec();
    all.push(Coming::Charter(Box::new(charter.clone())));
    let mut first = None;
    for order in permutations(all.len()) {
        let mut desk = Desk { heads: maker.heads.clone(), ..Desk::new() };
        for (number, index) in order.iter().enumerate() {
            desk.take_any(&all[*index]);
            if number == 2 {
                let is_known = order[..=number].contains(&4);
                desk.restart(if is_known { &charter } else { &old });
                desk.finish();
            }
        }
        let seen = desk.seen();
        let expected = first.get_or_insert_with(|| seen.clone());
        assert_eq!(seen, *expected, "{order:?}");
        assert_eq!((desk.alert(record).title.as_str(), desk.alert(record).responses.len()), ("t", 1), "{order:?}");
        assert_eq!(desk.view(record_id(member(LT), &create(7))), None, "{order:?}");
    }
}

/// The charter of before.
fn unrevoking() -> Charter {
    let mut epoch = revoking(LT, None).current().clone();
    epoch.revocations.clear();
    Charter::found(by_both(epoch)).expect("both have signed")
}

#[test]
fn much_is_taken_back_in_parts_and_a_crash_between_them_loses_nothing() {
    let mut desk = Desk::new();
    let kept = desk.entry(LT, &[by_lt(Change::Create(create(1)))]);
    desk.take(vec![kept.clone()]);
    let before = desk.seen();
    let past: Vec<_> = (2..30).map(|n| desk.entry(LT, &[by_lt(Change::Create(create(n)))])).collect();
    desk.take(past);
    let charter = revoking(LT, Some(&kept));
    desk.part(&Batch { charter: Some(charter.encode()), ..Batch::default() });
    let mut parts = 0;
    while desk.projector.has_work() {
        desk.part(&Batch::default());
        desk.restart(&charter);
        parts += 1;
    }
    assert!(parts > 5, "{parts}");
    assert_eq!(desk.seen(), before);
    let told = desk.stream();
    let retracted = told.iter().filter(|event| event.event_type == EventType::AlertRetracted);
    assert_eq!(retracted.map(|event| event.change).collect::<BTreeSet<_>>().len(), 28, "each once");
    assert_eq!(told.len(), 29);
}

#[test]
fn a_lower_end_takes_back_more() {
    let mut desk = Desk::new();
    let entries: Vec<_> = (1..5).map(|n| desk.entry(LT, &[by_lt(Change::Create(create(n)))])).collect();
    desk.take(entries.clone());
    let second = revoking(LT, Some(&entries[2]));
    assert_eq!(desk.take_charter(&second).len(), 1);
    let mut third = second.current().clone();
    (third.epoch, third.previous) = (2, second.hash());
    third.revocations[0].last_valid.clear();
    let mut charter = second.clone();
    charter.extend(by_both(third)).expect("both have signed");
    assert_eq!(desk.take_charter(&charter).len(), 3, "what was taken back before is not told again");
    assert_eq!(desk.seen(), Desk::new().seen());
}

/// Another node of UA's, which took over, creates a record.
pub(super) fn made_by_another_node(named: Create) -> Batch {
    let log = LogId([0x77; 16]);
    let draft = EntryDraft {
        realm: Realm::OPS,
        log,
        seq: Seq(0),
        prev: EntryHash::ZERO,
        hlc: Hlc(9_000 << 16),
        class: Class::Routine,
        expires_hours: 0,
    };
    let entry = Entry::sign(&draft, vec![Change::Create(named).encode()], &secret(33)).expect("small");
    let certificate = NodeCertificate {
        member: member(UA),
        site: "site".into(),
        node: "node-33".into(),
        key: secret(33).node_key(),
        not_before: WallMs(0),
        serial: 1,
    };
    let signed = certificate.sign(&Secret::from_seed(&[91; 32])).expect("good names");
    let mut row = log_row(UA, Head { height: 1, head: entry.hash() });
    row.descriptor.certificate = signed.encode().into();
    Batch { entries: vec![Arc::new(entry)], logs: vec![(log, row)], ..Batch::default() }
}

/// A record that is made twice, by two logs of one member, stays if one of them is valid.
#[test]
fn another_create_of_the_same_record_keeps_it() {
    let mut desk = Desk::new();
    let named = Create { naming: Naming::External("kev:1".into()), ..create(1) };
    let record = record_id(member(UA), &named);
    let past = desk.entry(UA, &[Change::Create(named.clone())]);
    desk.take(vec![past]);
    let charter = revoking(UA, None);
    assert_eq!(desk.take_charter(&charter).len(), 1);
    assert_eq!((desk.view(record), desk.seen().1), (None, 0));
    let batch = made_by_another_node(named);
    assert_eq!(kinds(&desk.part(&batch)), [(EventType::AlertCreated, record)]);
    assert_eq!(desk.seen(), (desk.projector.state.digest, 1, BTreeSet::from([record])));
    assert!(desk.view(record).is_some());
}

/// More of one record is taken back than a commit tells.
#[test]
fn a_record_with_much_to_be_taken_back_gets_several_turns() {
    let mut desk = Desk::new();
    let created = desk.entry(UA, &[Change::Create(create(1))]);
    let record = record_id(member(UA), &create(1));
    let first = desk.entry(LT, &[answer(record, "in time")]);
    desk.take(vec![created, first.clone()]);
    let before = desk.seen();
    desk.take_lies(record, 3);
    let told = desk.take_charter(&revoking(LT, Some(&first)));
    let changes: BTreeSet<ChangeId> = told.iter().map(|event| event.change).collect();
    assert_eq!((told.len(), changes.len()), (3 * RETRACTED_MAX, 3 * RETRACTED_MAX), "each once");
    assert_eq!(desk.seen(), before);
    assert_eq!(desk.projector.metrics.retracted.get(), 3 * RETRACTED_MAX as u64);
}

/// What cannot be read keeps no other from its turn, and gets its own once it was put back.
#[test]
fn a_record_that_cannot_be_read_is_made_anew_after_its_repair() {
    let mut desk = Desk::new();
    let shared = |number| Create { writers: vec![member(LT), member(UA)], ..create(number) };
    let records = [1, 2].map(|number| record_id(member(UA), &shared(number)));
    let first = desk.entry(UA, &[Change::Create(shared(1))]);
    let second = desk.entry(UA, &[Change::Create(shared(2))]);
    let kept = desk.entry(LT, &[answer(records[0], "in time")]);
    let ids = [id_of(&first), id_of(&second)];
    desk.take(vec![first.clone(), second, kept.clone()]);
    let before = desk.seen();
    let lies = [0, 1].map(|n| retitled(records[n], vec![ids[n]], "a lie"));
    let lies = desk.entry(LT, &lies);
    desk.take(vec![lies]);
    desk.damage_first_of_ua();
    desk.take_charter(&revoking(LT, Some(&kept)));
    assert_eq!(desk.alert(records[1]).title, "t", "the other has had its turn");
    assert_ne!(desk.seen().0, before.0);
    let mended = BTreeSet::from([first.hash()]);
    desk.take_with(vec![first], mended);
    desk.finish();
    assert_eq!((desk.seen(), desk.alert(records[0]).title.as_str()), (before, "t"));
}

/// Whoever was told of a change by a filter is told that it is no more, by the same filter.
#[test]
fn a_retraction_passes_the_filters_that_its_change_passed() {
    let mut desk = Desk::new();
    let shared = Create { writers: vec![member(LT), member(UA)], ..create(1) };
    let record = record_id(member(UA), &shared);
    let created = desk.entry(UA, &[Change::Create(shared)]);
    let kept = desk.entry(LT, &[answer(record, "in time")]);
    let raised = edit(record, SectionId::Core, vec![id_of(&created)], text("severity", "extreme"));
    let raised = desk.entry(LT, &[raised]);
    desk.take(vec![created, kept.clone(), raised]);
    let told = desk.stream().pop().expect("events").summary.severity;
    let before = desk.alert(record).severity;
    let retraction = desk.take_charter(&revoking(LT, Some(&kept))).remove(0);
    assert_eq!((retraction.summary.severity, before), (told, told), "it was raised");
    assert_ne!(told, desk.alert(record).severity, "and is not any more");
    let read = desk.stream().pop().expect("events");
    assert_eq!((read.summary, read.view), (retraction.summary, retraction.view));
    let listed = Listing::load(&desk.store.reader()).expect("readable").oldest_first(None).next().expect("one").summary;
    assert_eq!(listed.severity, desk.alert(record).severity, "lists know what it is now");
}

/// A document that is damaged when the charter comes was counted with what is to be taken back.
#[test]
fn a_record_whose_document_is_gone_is_taken_back_from_the_digest_too() {
    let mut desk = Desk::new();
    let created = desk.entry(UA, &[Change::Create(create(1))]);
    let record = record_id(member(UA), &create(1));
    let first = desk.entry(LT, &[answer(record, "in time")]);
    let mine = desk.entry(LT, &[by_lt(Change::Create(create(2)))]);
    let edited = desk.entry(UA, &[answer_of_ua(record_id(member(LT), &create(2)))]);
    desk.take(vec![created, first.clone()]);
    let before = desk.seen();
    let lied = desk.entry(LT, &[answer(record, "a lie")]);
    desk.take(vec![mine, edited.clone(), lied]);
    for record in [record, record_id(member(LT), &create(2))] {
        let documents = vec![(record, b"short".to_vec())];
        desk.store.commit(&Commit { documents, ..Commit::default() }).expect("memory has room");
    }
    desk.take_charter(&revoking(LT, Some(&first)));
    let mut other = Desk { heads: desk.heads.clone(), ..Desk::new() };
    other.take(vec![edited]);
    assert_eq!((desk.seen().0, desk.seen().1), (before.0, before.1));
    assert_eq!(other.seen().1, 0);
}

fn answer_of_ua(record: RecordId) -> Change {
    edit(record, SectionId::Response(member(UA)), Vec::new(), text("note", "seen"))
}

/// A charter that is not on disk yet leaves no mark that its work was done.
#[test]
fn nothing_is_noted_before_the_charter_is_on_disk() {
    let mut desk = Desk::new();
    let kept = desk.entry(LT, &[by_lt(Change::Create(create(1)))]);
    desk.take(vec![kept.clone()]);
    let before = desk.seen();
    let past = desk.entry(LT, &[by_lt(Change::Create(create(2)))]);
    desk.take(vec![past]);
    let charter = revoking(LT, Some(&kept));
    let batch = Batch { charter: Some(charter.encode()), ..Batch::default() };
    // Its batch fails, and others are written before it is tried again.
    drop(desk.projector.project(&batch, 0, log_of(UA), desk.store.next_position()).expect("a part"));
    assert!(!desk.projector.has_work(), "it does not spin meanwhile");
    desk.part(&Batch::default());
    desk.restart(&unrevoking());
    assert_ne!(desk.seen(), before);
    assert_eq!(desk.take_charter(&charter).len(), 1);
    assert_eq!(desk.seen(), before);
}

/// A create past the end is damaged, and an edit of its record waits for its repair: that fails no commit.
#[test]
fn a_record_of_which_nothing_can_be_read_blocks_nobody() {
    let mut desk = Desk::new();
    let created = desk.entry(UA, &[Change::Create(create(1))]);
    let record = record_id(member(UA), &create(1));
    desk.take(vec![created]);
    desk.damage_first_of_ua();
    let edited = desk.entry(UA, &[retitled(record, Vec::new(), "a lie")]);
    desk.take(vec![edited]);
    desk.take_charter(&revoking(UA, None));
    assert!(!desk.projector.has_work(), "it does not spin");
    assert_eq!(desk.publish(LT, by_lt(Change::Create(create(9)))), [EventType::AlertCreated], "others are taken");
    desk.restart(&revoking(UA, None));
    desk.finish();
}
