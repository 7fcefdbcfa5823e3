use vatra_model::certificate::{NodeCertificate, SignedCertificate};
use vatra_model::change::{Create, Edit, Naming, RecordKind};
use vatra_model::view::{AlertView, View};
use vatra_model::wire::LogDescriptor;
use vatra_model::{
    AudienceId, ChangeId, Class, Entry, EntryDraft, Head, Hlc, Incarnation, MemberCode, Op, Realm, Secret, SectionId,
    Value, WallMs,
};
use vatra_record::Record;
use vatra_replica::LogRow;
use vatra_store::{MemoryDisk, PAGE_ROWS_MAX, Store};
use vatra_stream::EventType;

use super::*;
use crate::node::origins::Origins;
use crate::node::pending;
use crate::node::views::DocumentRow;

mod evidence;
mod histories;
mod hostile;
mod retracting;

/// Lets a test see what a panic does.
pub(super) fn provoke_panic(change: &Change) {
    let (Change::Create(Create { ops, .. }) | Change::Edit(Edit { ops, .. })) = change else { return };
    let asked =
        |op: &Op| matches!(op, Op::Set { value: Value::Text(text), .. } if text == "panic in the projector, please");
    assert!(!ops.iter().any(asked), "a test asked for a panic");
}

/// A store and its projector, and two members who write.
pub(in crate::node) struct Desk {
    pub(in crate::node) store: Store,
    pub(in crate::node) projector: Projector,
    batches: u64,
    heads: HashMap<u8, (u64, EntryHash)>,
}

pub(in crate::node) const UA: u8 = 1;
const LT: u8 = 2;

fn member(writer: u8) -> MemberCode {
    if writer == UA { "UA" } else { "LT" }.parse().expect("a code")
}

fn secret(writer: u8) -> Secret {
    Secret::from_seed(&[writer; 32])
}

fn log_of(writer: u8) -> LogId {
    LogId::derive(member(writer), &secret(writer).node_key(), Incarnation(1), &AudienceId::FEDERATION)
}

fn log_row(writer: u8, head: Head) -> LogRow {
    let certificate = NodeCertificate {
        member: member(writer),
        site: "site".into(),
        node: format!("node-{writer}"),
        key: secret(writer).node_key(),
        not_before: WallMs(0),
        serial: 1,
    };
    let signed: SignedCertificate = certificate.sign(&Secret::from_seed(&[90 + writer; 32])).expect("good names");
    let descriptor = LogDescriptor {
        certificate: signed.encode().into(),
        incarnation: Incarnation(1),
        audience: AudienceId::FEDERATION,
        realm: Realm::OPS,
    };
    LogRow { descriptor, head }
}

fn projector(store: &Store, state: StateRow) -> Projector {
    let origins = Arc::new(Origins::default());
    origins.add([UA, LT].map(|writer| (log_of(writer), log_row(writer, Head::EMPTY))).iter().map(|(l, r)| (l, r)));
    let views = Arc::new(Views::new(store.reader(), origins));
    let life = LifeRow { incarnation: Incarnation(1), opened: WallMs(1), boot: 1 };
    let snapshot = store.reader().snapshot().expect("memory");
    let quarantine = Arc::new(Quarantine::load(&snapshot, &views.origins).expect("readable"));
    let metrics = Arc::new(Metrics::register(&mut prometheus_client::registry::Registry::default()));
    let backlog = pending::load_backlog(&snapshot).expect("readable");
    Projector { backlog, ..Projector::new(views, metrics, quarantine, state, life) }
}

impl Desk {
    pub(in crate::node) fn new() -> Desk {
        Desk::on(Store::open_memory(&MemoryDisk::new()).expect("memory"))
    }

    fn on(store: Store) -> Desk {
        let projector = projector(&store, StateRow::default());
        Desk { store, projector, batches: 0, heads: HashMap::new() }
    }

    pub(in crate::node) fn entry(&mut self, writer: u8, changes: &[Change]) -> Arc<CheckedEntry> {
        let (seq, prev) = self.heads.get(&writer).copied().unwrap_or((0, EntryHash::ZERO));
        let draft = EntryDraft {
            realm: Realm::OPS,
            log: log_of(writer),
            seq: Seq(seq),
            prev,
            hlc: Hlc((1_000 + seq) << 16),
            class: Class::Routine,
            expires_hours: 0,
        };
        let changes = changes.iter().map(Change::encode).collect();
        let entry = Entry::sign(&draft, changes, &secret(writer)).expect("small");
        self.heads.insert(writer, (seq + 1, entry.hash()));
        Arc::new(entry)
    }

    /// Stores entries; the events of it, and how many commits it took.
    pub(in crate::node) fn take(&mut self, entries: Vec<Arc<CheckedEntry>>) -> (Vec<(EventType, RecordId)>, usize) {
        self.take_with(entries, BTreeSet::new())
    }

    /// The same; some of them were held before and could not be read any more.
    fn take_with(
        &mut self,
        entries: Vec<Arc<CheckedEntry>>,
        mended: BTreeSet<EntryHash>,
    ) -> (Vec<(EventType, RecordId)>, usize) {
        self.batches += 1;
        let logs = [UA, LT].map(|writer| {
            let (height, head) = self.heads.get(&writer).copied().unwrap_or((0, EntryHash::ZERO));
            (log_of(writer), log_row(writer, Head { height, head }))
        });
        let batch = Batch { id: self.batches, entries, mended, logs: logs.to_vec(), ..Batch::default() };
        let (mut events, mut commits, mut next) = (Vec::new(), 0, 0);
        while next < batch.entries.len() {
            let end = self.store.next_position();
            let part = self.projector.project(&batch, next, log_of(UA), end).expect("a part");
            self.store.commit(&part.commit).expect("memory has room");
            self.projector.settle(&part);
            assert!(part.next_entry > next, "every part takes an entry");
            next = part.next_entry;
            commits += 1;
            events.extend(part.events.iter().map(|event| (event.event_type, event.record)));
        }
        (events, commits)
    }

    /// The first entry of UA cannot be read any more, by a node that starts anew and so remembers nothing decoded.
    fn damage_first_of_ua(&mut self) {
        let row = EntryRow { log: log_of(UA), seq: Seq(0), bytes: b"damaged".to_vec() };
        self.store.commit(&Commit { entries: vec![row], ..Commit::default() }).expect("memory has room");
        self.projector = projector(&self.store, self.projector.state);
    }

    /// One commit of what is in the backlog; how many events it told.
    fn work_off(&mut self) -> usize {
        let batch = Batch::default();
        let part = self.projector.project(&batch, 0, log_of(UA), self.store.next_position()).expect("a part");
        self.store.commit(&part.commit).expect("memory has room");
        self.projector.settle(&part);
        part.events.len()
    }

    fn publish(&mut self, writer: u8, change: Change) -> Vec<EventType> {
        let entry = self.entry(writer, &[change]);
        self.take(vec![entry]).0.into_iter().map(|(event_type, _)| event_type).collect()
    }

    fn view(&self, record: RecordId) -> Option<View> {
        self.projector.views.view(&self.store.reader().snapshot().expect("memory"), record).expect("readable")
    }

    fn alert(&self, record: RecordId) -> AlertView {
        match self.view(record) {
            Some(View::Alert(alert)) => *alert,
            other => panic!("no alert but {other:?}"),
        }
    }

    fn history_len(&self, record: RecordId) -> usize {
        let snapshot = self.store.reader().snapshot().expect("memory");
        snapshot.history(record, Position(0), PAGE_ROWS_MAX).expect("readable").len()
    }

    /// Places in their entries of the changes without effect, and why.
    fn quarantined(&self) -> Vec<(u16, Reason)> {
        self.projector.quarantine.newest().iter().map(|change| (change.index, change.reason)).collect()
    }

    fn pending_count(&self, record: RecordId) -> usize {
        let snapshot = self.store.reader().snapshot().expect("memory");
        pending::places(&snapshot, record).expect("readable").len()
    }
}

fn text(field: &str, text: &str) -> Op {
    Op::Set { field: field.into(), value: Value::Text(text.into()) }
}

pub(in crate::node) fn create(number: u32) -> Create {
    let mut nonce = [0; 16];
    nonce[..4].copy_from_slice(&number.to_be_bytes());
    let ops = vec![text("kind", "outage"), text("title", "t"), text("severity", "minor"), text("tlp", "green")];
    Create { kind: RecordKind::Alert, writers: vec![member(UA)], naming: Naming::Nonce(nonce), ops }
}

fn edit(record: RecordId, section: SectionId, deps: Vec<ChangeId>, op: Op) -> Change {
    Change::Edit(Edit { record, section, deps, ops: vec![op] })
}

fn answer(record: RecordId, note: &str) -> Change {
    edit(record, SectionId::Response(member(LT)), Vec::new(), text("note", note))
}

#[test]
fn what_nobody_had_a_right_to_is_not_told() {
    let mut desk = Desk::new();
    let alert = create(1);
    let record = record_id(member(UA), &alert);
    assert_eq!(desk.publish(UA, Change::Create(alert)), [EventType::AlertCreated]);
    let before = desk.alert(record);
    let forged = edit(record, SectionId::Core, Vec::new(), text("status", "cancelled"));
    assert_eq!(desk.publish(LT, forged), [], "a cancellation by somebody else is no event");
    assert_eq!(desk.alert(record), before);
    assert_eq!((desk.history_len(record), desk.pending_count(record)), (1, 0));
}

#[test]
fn an_answer_before_its_alert_is_told_after_it() {
    let mut desk = Desk::new();
    let alert = create(1);
    let record = record_id(member(UA), &alert);
    assert_eq!(desk.publish(LT, answer(record, "seen it coming")), []);
    let forged = edit(record, SectionId::Core, Vec::new(), text("status", "cancelled"));
    assert_eq!(desk.publish(LT, forged), []);
    assert_eq!(desk.pending_count(record), 2);
    assert_eq!(desk.publish(UA, Change::Create(alert)), [EventType::AlertCreated, EventType::AlertResponded]);
    assert_eq!(desk.alert(record).responses.len(), 1);
    assert_eq!((desk.history_len(record), desk.pending_count(record)), (2, 0));
}

#[test]
fn what_found_no_room_to_wait_is_brought_again() {
    let count = vatra_model::limits::PENDING_CHANGES_MAX + 40;
    let mut desk = Desk::new();
    let alert = create(1);
    let record = record_id(member(UA), &alert);
    let early: Vec<_> = (0..count).map(|number| desk.entry(LT, &[answer(record, &format!("note {number}"))])).collect();
    assert_eq!(desk.take(early.clone()).0, []);
    let first = desk.entry(UA, &[Change::Create(alert)]);
    assert_eq!(desk.take(vec![first.clone()]).0.len(), count + 1);
    assert_eq!((desk.history_len(record), desk.pending_count(record)), (count + 1, 0));

    // Another node, which got the same in the other order, shows the same.
    let mut other = Desk { heads: desk.heads.clone(), ..Desk::new() };
    other.take([first].into_iter().chain(early).collect());
    assert_eq!(other.alert(record), desk.alert(record));
    assert_eq!(other.projector.state.digest, desk.projector.state.digest);
}

#[test]
fn a_change_that_panics_has_no_effect_and_harms_no_other() {
    let mut desk = Desk::new();
    let bad = Create { ops: vec![text("title", "panic in the projector, please")], ..create(2) };
    let changes = [create(1), bad, create(3)].map(Change::Create);
    let entry = desk.entry(UA, &changes);
    let (events, commits) = desk.take(vec![entry]);
    let records: Vec<_> = events.iter().map(|(_, record)| *record).collect();
    assert_eq!(records, [1, 3].map(|number| record_id(member(UA), &create(number))));
    assert_eq!((commits, desk.projector.metrics.panics.get()), (1, 1));
    assert_eq!(desk.quarantined(), [(1, Reason::Panicked)]);
}

#[test]
fn a_damaged_document_is_made_anew() {
    let mut desk = Desk::new();
    let alert = create(1);
    let record = record_id(member(UA), &alert);
    desk.publish(UA, Change::Create(alert));
    desk.publish(LT, answer(record, "first"));
    let unknown = edit(record, SectionId::Response(member(LT)), vec![ChangeId([7; 16])], text("note", "waits"));
    desk.publish(LT, unknown);
    let before = desk.alert(record);
    let mut other_version = DocumentRow::write(None, &Record::new(record));
    other_version.truncate(33);
    other_version.push(99);
    for row in [DocumentRow::without_record(None), other_version, b"short".to_vec()] {
        let documents = vec![(record, row.clone())];
        desk.store.commit(&Commit { documents, ..Commit::default() }).expect("memory has room");
        assert_eq!(desk.alert(record), before, "row {row:?}");
        let snapshot = desk.store.reader().snapshot().expect("memory");
        let rebuilt = desk.projector.views.record(&snapshot, record).expect("readable").expect("known");
        assert_eq!(rebuilt.waiting_count(), 1, "what waits is not lost");
    }
    assert_eq!(desk.publish(LT, answer(record, "second")), [EventType::AlertResponded]);
    assert_eq!(desk.alert(record).responses.len(), 1);
}

#[test]
fn a_batch_too_large_for_a_commit_is_stored_in_parts() {
    let entries_count = 5_000_u32.div_ceil(250);
    let mut desk = Desk::new();
    let entries: Vec<_> = (0..entries_count)
        .map(|entry| {
            let changes: Vec<_> = (0..250).map(|n| Change::Create(create(entry * 250 + n))).collect();
            desk.entry(LT, &changes.into_iter().map(by_lt).collect::<Vec<_>>())
        })
        .collect();
    let (events, commits) = desk.take(entries);
    assert_eq!(events.len(), 5_000);
    assert!(commits > 1, "one commit holds {} changes at most", vatra_store::COMMIT_CHANGES_MAX);
    assert_eq!(desk.projector.state.alerts, 5_000);
}

fn by_lt(change: Change) -> Change {
    match change {
        Change::Create(create) => Change::Create(Create { writers: vec![member(LT)], ..create }),
        other => other,
    }
}

#[test]
fn a_record_that_cannot_be_read_keeps_no_log_away() {
    let mut desk = Desk::new();
    let alert = create(1);
    let record = record_id(member(UA), &alert);
    let entry = desk.entry(UA, &[Change::Create(alert)]);
    desk.take(vec![entry.clone()]);
    desk.damage_first_of_ua();
    let entries = vec![desk.entry(LT, &[answer(record, "lost?")]), desk.entry(UA, &[Change::Create(create(2))])];
    let (events, _) = desk.take(entries);
    assert_eq!(events, [(EventType::AlertCreated, record_id(member(UA), &create(2)))]);
    assert_eq!(desk.pending_count(record), 1);

    // The entry is fetched again: it is told to nobody a second time, and what waited for it has its turn.
    let (told, _) = desk.take_with(vec![entry.clone()], BTreeSet::from([entry.hash()]));
    assert_eq!(told, []);
    assert_eq!(desk.work_off(), 1);
    assert_eq!(desk.pending_count(record), 0);
    assert!(desk.projector.backlog.is_empty());
    assert_eq!((desk.history_len(record), desk.alert(record).responses.len()), (2, 1));
    assert_eq!(desk.publish(LT, answer(record, "again")), [EventType::AlertResponded]);
}

#[test]
fn another_entry_in_the_place_of_a_damaged_one_has_its_effects() {
    let disk = MemoryDisk::new();
    let mut desk = Desk::on(Store::open_memory(&disk).expect("memory"));
    let entry = desk.entry(UA, &[Change::Create(create(1))]);
    desk.take(vec![entry]);
    let key = [&log_of(UA).0[..], &0_u64.to_be_bytes()].concat();
    assert!(disk.flip_bit(vatra_store::Space::Entries, &key, 77));
    // Its writer contradicts itself, and nobody holds the first any more.
    let other = Desk::new().entry(UA, &[Change::Create(create(8))]);
    let (told, _) = desk.take(vec![other]);
    assert_eq!(told, [(EventType::AlertCreated, record_id(member(UA), &create(8)))]);
}

#[test]
fn what_is_put_off_beside_its_repair_has_its_turn() {
    let mut desk = Desk::new();
    let alert = create(1);
    let record = record_id(member(UA), &alert);
    let entry = desk.entry(UA, &[Change::Create(alert)]);
    desk.take(vec![entry.clone()]);
    desk.damage_first_of_ua();
    for order in [true, false] {
        let answer = desk.entry(LT, &[answer(record, "in the same commit")]);
        let entries = if order { vec![entry.clone(), answer] } else { vec![answer, entry.clone()] };
        let (told, _) = desk.take_with(entries, BTreeSet::from([entry.hash()]));
        let later = if told.is_empty() { desk.work_off() } else { 0 };
        assert_eq!(told.len() + later, 1, "mended first: {order}");
        assert_eq!(desk.pending_count(record), 0);
        desk.damage_first_of_ua();
    }
}

#[test]
fn an_entry_whose_row_is_damaged_is_not_told_twice() {
    let disk = MemoryDisk::new();
    let mut desk = Desk::on(Store::open_memory(&disk).expect("memory"));
    let entry = desk.entry(UA, &[Change::Create(create(1)), Change::Create(create(2))]);
    desk.take(vec![entry.clone()]);
    let key = [&log_of(UA).0[..], &0_u64.to_be_bytes()].concat();
    assert!(disk.flip_bit(vatra_store::Space::Entries, &key, 77));
    // It was past the height that the log's row tells, so that the core takes it for one that is missing.
    let (told, _) = desk.take(vec![entry]);
    assert_eq!(told, []);
    let reader = desk.store.reader();
    assert!(reader.entry(log_of(UA), Seq(0)).expect("whole again").is_some());
    assert_eq!(reader.counts().expect("memory").changes, 2);
}
