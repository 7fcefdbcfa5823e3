//! From a batch of accepted entries to one commit: rows, positions, views, digest, events.
//!
//! Most alerts are never edited; they go straight from their fields to a view, and only an edited record gets a
//! document row. Within one batch a record may be touched several times, so what was worked out is kept at hand.

mod rows;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use anyhow::Context;
use vatra_model::change::record_id;
use vatra_model::pack::Packer;
use vatra_model::view::{Digest, Summary, View};
use vatra_model::{Change, CheckedEntry, LogId, Op, Position, RecordId, RecordKind, SectionId, Seq, Value};
use vatra_record::{Applied, Record, view_of_create};
use vatra_replica::Batch;
use vatra_store::{Commit, EntryRow, IdRow, ReadError, Snapshot, StreamRow};
use vatra_stream::{EventType, StoredEvent};

use crate::node::boot::{LifeRow, StateRow, digest_of};
use crate::node::clock::wall;
use crate::node::metrics::Metrics;
use crate::node::packing::pack_entry;
use crate::node::pending::{self, Pending, section_of};
use crate::node::views::{DecodedEntry, FLAG_EDITED, FLAG_PENDING, Views, event_kind, is_of_the_disk};

/// Changes after which one commit takes no further entry.
const PART_CHANGES: usize = 2048;
/// Bytes of entries and documents after which one commit takes no further entry.
const PART_BYTES: usize = 16 << 20;
/// Changes that waited and get their place in the stream in one commit; more get it later.
const PART_UNLOCKED_MAX: usize = 1024;
/// Bytes of documents in one commit; records beyond it are left to be made anew from their changes.
const PART_DOCUMENT_BYTES_MAX: usize = 40 << 20;
/// Changes that may panic in one commit before the fault is taken to lie elsewhere.
const PANICS_MAX: usize = 16;

// With the changes of one more entry a part still fits a commit.
const _: () = assert!(
    PART_CHANGES + PART_UNLOCKED_MAX + vatra_model::limits::ENTRY_CHANGES_MAX <= vatra_store::COMMIT_CHANGES_MAX
);

/// Where each change of this node's own entries stands, by entry and place in it.
pub(crate) type Positions = HashMap<(Seq, u16), Stored>;

/// What a part of a batch comes to.
pub(crate) struct Projected {
    pub(crate) commit: Commit,
    /// The first entry of the batch that is not in the commit.
    pub(crate) next_entry: usize,
    /// Where each effective change of this node's own entries stands.
    pub(crate) positions: Positions,
    /// What readers learn once the commit is durable.
    pub(crate) events: Vec<StoredEvent>,
    pub(crate) noted: Vec<(RecordId, Position, Summary)>,
    /// The state after the batch.
    pub(crate) state: StateRow,
    /// How far the rows of logs tell that they go, once the commit is durable.
    heights: Vec<(LogId, u64)>,
}

/// A change of this node's own, in place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub(crate) record: RecordId,
    pub(crate) position: Position,
    pub(crate) is_new: bool,
}

/// Works batches out. Holds what the last durable commit left.
pub(crate) struct Projector {
    pub(crate) views: Arc<Views>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) packer: Packer,
    pub(crate) state: StateRow,
    pub(crate) life: LifeRow,
    /// The change under work.
    at: Option<(LogId, Seq, u16)>,
    /// How far the rows of logs tell that they go.
    heights: BTreeMap<LogId, u64>,
}

/// A record as this batch has left it so far.
struct Working {
    id: IdRow,
    /// Loaded once an edit needs it; a fresh create is kept as its place in the batch.
    record: Option<Record>,
    fresh: Option<(usize, u16)>,
    /// What the record adds to the digest in `state`.
    item: Option<[u8; 32]>,
    /// Its document row must be written.
    is_edited: bool,
    /// Its id row must be written.
    is_changed: bool,
    /// Changes without a place in the stream, as far as they were read.
    pending: Vec<Pending>,
    has_more_pending: bool,
}

/// One batch under work.
struct Round<'b> {
    snapshot: Snapshot,
    entries: Vec<Arc<DecodedEntry>>,
    working: HashMap<RecordId, Working>,
    next: Position,
    digest: Digest,
    own_log: LogId,
    out: Projected,
    batch: &'b Batch,
    /// Bytes of entries and documents, about.
    bytes: usize,
    unlocked: usize,
}

impl Projector {
    pub(crate) fn new(views: Arc<Views>, metrics: Arc<Metrics>, state: StateRow, life: LifeRow) -> Projector {
        Projector { views, metrics, packer: Packer::new(), state, life, at: None, heights: BTreeMap::new() }
    }

    /// Works out a batch from one of its entries on, as far as one commit can hold it. Nothing is remembered until
    /// [`Projector::settle`]. A change that makes this code panic is left without effect, so that it cannot keep
    /// the rest of its log away.
    pub(crate) fn project(
        &mut self,
        batch: &Batch,
        from: usize,
        own_log: LogId,
        next: Position,
    ) -> anyhow::Result<Projected> {
        let mut skipped = BTreeSet::new();
        loop {
            // Nothing but the packer outlives a panic: the round is thrown away as a whole.
            let worked = catch_unwind(AssertUnwindSafe(|| self.work_out(batch, from, own_log, next, &skipped)));
            match worked {
                Ok(projected) => return projected,
                Err(panic) => {
                    self.packer = Packer::new();
                    self.metrics.panics.inc();
                    match self.at.take() {
                        Some(at) if skipped.len() < PANICS_MAX && skipped.insert(at) => {
                            let (log, seq, index) = at;
                            tracing::error!(%log, seq = seq.0, index, "a change makes this program panic; this is a fault");
                        }
                        _ => resume_unwind(panic),
                    }
                }
            }
        }
    }

    fn work_out(
        &mut self,
        batch: &Batch,
        from: usize,
        own_log: LogId,
        next: Position,
        skipped: &BTreeSet<(LogId, Seq, u16)>,
    ) -> anyhow::Result<Projected> {
        let mut round = Round {
            snapshot: self.views.reader.snapshot()?,
            entries: Vec::with_capacity(batch.entries.len() - from),
            working: HashMap::new(),
            next,
            digest: digest_of(&self.state),
            own_log,
            out: Projected {
                commit: Commit::default(),
                next_entry: from,
                positions: HashMap::new(),
                events: Vec::new(),
                noted: Vec::new(),
                state: StateRow { hlc: batch.hlc, ..self.state },
                heights: Vec::new(),
            },
            batch,
            bytes: 0,
            unlocked: 0,
        };
        self.views.origins.add(batch.logs.iter().map(|(log, row)| (log, row)));
        for entry in &batch.entries[from..] {
            if round.out.commit.stream.len() >= PART_CHANGES + round.unlocked || round.bytes >= PART_BYTES {
                break;
            }
            self.project_entry(&mut round, entry, skipped)?;
            round.out.next_entry += 1;
        }
        self.at = None;
        self.finish(round)
    }

    /// The commit is durable.
    pub(crate) fn settle(&mut self, projected: &Projected) {
        self.state = projected.state;
        self.heights.extend(projected.heights.iter().copied());
    }

    fn project_entry(
        &mut self,
        round: &mut Round<'_>,
        checked: &Arc<CheckedEntry>,
        skipped: &BTreeSet<(LogId, Seq, u16)>,
    ) -> anyhow::Result<()> {
        let header = *checked.header();
        let bytes = pack_entry(&mut self.packer, checked.entry());
        round.bytes += bytes.len();
        round.out.commit.entries.push(EntryRow { log: header.log, seq: header.seq, bytes });
        let origin = self.views.origins.get(&header.log).context("an accepted entry's log is described")?;
        let decoded = DecodedEntry { entry: checked.entry().clone(), hash: checked.hash(), origin };
        round.entries.push(Arc::new(decoded));
        let place = round.entries.len() - 1;
        for index in 0..header.change_count {
            let at = (header.log, header.seq, index);
            self.at = Some(at);
            if skipped.contains(&at) {
                self.metrics.quarantined.inc();
            } else {
                self.project_change(round, place, index)?;
            }
        }
        Ok(())
    }

    fn project_change(&mut self, round: &mut Round<'_>, place: usize, index: u16) -> anyhow::Result<()> {
        let decoded = round.entries[place].clone();
        let change = match decoded.change(index) {
            Ok(change) => change,
            Err(error) => {
                // The entry is kept and relayed; the change has no effect, here as everywhere.
                self.metrics.quarantined.inc();
                tracing::warn!(log = %decoded.entry.header.log, seq = decoded.entry.header.seq.0, index,
                    error = format!("{error:#}"), "a change is quarantined");
                return Ok(());
            }
        };
        let record = match &change {
            Change::Create(create) => record_id(decoded.origin.member, create),
            Change::Edit(edit) => edit.record,
            Change::Open(_) => return Ok(()),
            Change::Unknown { .. } => {
                self.metrics.newer.inc();
                return Ok(());
            }
        };
        #[cfg(test)]
        tests::provoke_panic(&change);
        match self.project_onto(round, place, index, record, &change) {
            Err(error) if !is_of_the_disk(&error) => {
                // What this store holds of the record is damaged. That must not keep the rest of the log away.
                self.metrics.quarantined.inc();
                tracing::error!(%record, error = format!("{error:#}"), "a change waits for its record's repair");
                round.put_off(record, &decoded, index)
            }
            result => result,
        }
    }

    fn project_onto(
        &self,
        round: &mut Round<'_>,
        place: usize,
        index: u16,
        record: RecordId,
        change: &Change,
    ) -> anyhow::Result<()> {
        if let Change::Create(create) = change
            && !round.working.contains_key(&record)
            && round.snapshot.id(record)?.is_none()
        {
            let authored = round.entries[place].authored(index, change);
            if let Some(view) = view_of_create(record, authored.id, authored.author, authored.hlc, create) {
                self.note_create(round, place, index, record, &view);
                return Ok(());
            }
        }
        self.apply(round, place, index, record, change)
    }

    /// A record that is new here and has nothing but its create.
    fn note_create(&self, round: &mut Round<'_>, place: usize, index: u16, record: RecordId, view: &View) {
        let bytes: Arc<[u8]> = view.canonical_bytes().into();
        let item = Digest::item(record, &bytes);
        let decoded = round.entries[place].clone();
        let position = round.emit(&decoded, index, record, created_type(view), view.summary(), bytes);
        round.digest.add(&item);
        count(&mut round.out.state, view, 1);
        let id = IdRow { created: position, latest: position, flags: [0; 8] };
        let fresh = Some((place, index));
        let working = Working { fresh, item: Some(item), is_changed: true, ..Working::new(id, None) };
        round.working.insert(record, working);
    }

    /// Any other change of a record.
    fn apply(
        &self,
        round: &mut Round<'_>,
        place: usize,
        index: u16,
        record_id: RecordId,
        change: &Change,
    ) -> anyhow::Result<()> {
        if !round.working.contains_key(&record_id) {
            let working = self.load(round, record_id)?;
            round.working.insert(record_id, working);
        }
        let fresh = round.working[&record_id].fresh;
        if round.working[&record_id].record.is_none() {
            let loaded = round.materialize(&self.views, fresh, record_id)?;
            round.working.get_mut(&record_id).expect("inserted above").record = Some(loaded);
        }
        let decoded = round.entries[place].clone();
        let mut working = round.working.remove(&record_id).expect("inserted above");
        let record = working.record.as_mut().expect("filled just now");
        let verdict = record.apply(decoded.authored(index, change));
        match verdict {
            Applied::Duplicate => {}
            Applied::Refused(reason) => {
                self.metrics.quarantined.inc();
                tracing::warn!(record = %record_id, %reason, by = %decoded.origin.member, "a change has no effect");
            }
            Applied::Waiting | Applied::Overflow => {
                let (section, id) = (section_of(change), decoded.change_id(index));
                working.wait(round, record_id, Pending { entry: decoded, index, section, id });
            }
            Applied::Applied | Applied::Quarantined(_) => {
                if let Applied::Quarantined(reason) = verdict {
                    self.metrics.quarantined.inc();
                    tracing::warn!(record = %record_id, %reason, by = %decoded.origin.member, "a change has no effect");
                }
                let is_effective = verdict == Applied::Applied;
                self.show(round, &mut working, record_id, (decoded, index), change, is_effective);
            }
        }
        round.working.insert(record_id, working);
        Ok(())
    }

    /// A change has become part of a record: what waited for it gets its turn, and readers learn of all of it.
    fn show(
        &self,
        round: &mut Round<'_>,
        working: &mut Working,
        record_id: RecordId,
        (decoded, index): (Arc<DecodedEntry>, u16),
        change: &Change,
        is_effective: bool,
    ) {
        working.is_edited = true;
        working.is_changed = true;
        let unlocked = working.unlock(round, record_id);
        let view = working.record.as_ref().and_then(Record::view);
        let was_shown = working.item.is_some();
        if let Some(item) = working.item.take() {
            round.digest.remove(&item);
        }
        let Some(view) = view else {
            let (section, id) = (section_of(change), decoded.change_id(index));
            for pending in unlocked {
                working.wait(round, record_id, pending);
            }
            working.wait(round, record_id, Pending { entry: decoded, index, section, id });
            return;
        };
        let bytes: Arc<[u8]> = view.canonical_bytes().into();
        let item = Digest::item(record_id, &bytes);
        round.digest.add(&item);
        working.item = Some(item);
        let event_type = match was_shown {
            false => created_type(&view),
            true if is_effective => edited_type(change, &view),
            true => updated_type(&view),
        };
        let position = round.emit(&decoded, index, record_id, event_type, view.summary(), bytes.clone());
        if !is_effective {
            round.out.positions.remove(&(decoded.entry.header.seq, index));
        }
        working.id.latest = position;
        if !was_shown {
            working.id.created = position;
            count(&mut round.out.state, &view, 1);
        }
        for pending in unlocked {
            let Ok(change) = pending.entry.change(pending.index) else { continue };
            let event_type = edited_type(&change, &view);
            let (entry, index) = (pending.entry, pending.index);
            working.id.latest = round.emit(&entry, index, record_id, event_type, view.summary(), bytes.clone());
        }
    }

    fn load(&self, round: &mut Round<'_>, record: RecordId) -> anyhow::Result<Working> {
        let Some(id) = round.snapshot.id(record)? else {
            let id = IdRow { created: Position(0), latest: Position(0), flags: [0; 8] };
            return Ok(Working::new(id, Some(Record::new(record))));
        };
        let mut working = Working::new(id, None);
        if id.flags[0] & FLAG_PENDING != 0 {
            (working.pending, working.has_more_pending) = pending::load(&self.views, &round.snapshot, record)?;
        }
        if id.flags[0] & FLAG_EDITED != 0 {
            let (item, loaded) = self.views.edited(&round.snapshot, record)?;
            round.bytes += loaded.weight();
            working.item = item;
            working.record = Some(loaded);
        } else {
            working.item = self.views.view(&round.snapshot, record)?.map(|view| view.digest_item());
            working.record = self.views.record(&round.snapshot, record)?;
        }
        Ok(working)
    }
}

impl Working {
    fn new(id: IdRow, record: Option<Record>) -> Working {
        Working {
            id,
            record,
            fresh: None,
            item: None,
            is_edited: false,
            is_changed: false,
            pending: Vec::new(),
            has_more_pending: false,
        }
    }

    /// Notes a change that has no place in the stream for now.
    fn wait(&mut self, round: &mut Round<'_>, record: RecordId, pending: Pending) {
        self.is_edited = true;
        self.is_changed = true;
        round.out.commit.index.push((pending.key(record), Some(Vec::new())));
        self.pending.push(pending);
    }

    /// Brings what found no room to the record again, and takes out what has become part of it, oldest first.
    fn unlock(&mut self, round: &mut Round<'_>, record_id: RecordId) -> Vec<Pending> {
        let Some(record) = &mut self.record else { return Vec::new() };
        let mut unlocked = Vec::new();
        let mut progressed = !self.pending.is_empty();
        while progressed {
            progressed = false;
            self.pending.retain(|pending| {
                let (section, id) = (pending.section, pending.id);
                if !record.contains(section, &id) && !record.awaits(section, &id) {
                    let Ok(change) = pending.entry.change(pending.index) else { return true };
                    let verdict = record.apply(pending.entry.authored(pending.index, &change));
                    progressed |= verdict != Applied::Overflow;
                    if let Applied::Refused(_) = verdict {
                        round.out.commit.index.push((pending.key(record_id), None));
                        return false;
                    }
                }
                let stays = !record.contains(section, &id) || round.unlocked >= PART_UNLOCKED_MAX;
                if !stays {
                    round.unlocked += 1;
                    progressed = true;
                    round.out.commit.index.push((pending.key(record_id), None));
                    unlocked.push(pending.clone());
                }
                stays
            });
        }
        unlocked.sort_by_key(|pending| (pending.entry.entry.header.hlc, pending.id));
        unlocked
    }
}

impl Round<'_> {
    /// Notes a change of a record that cannot be read at present.
    fn put_off(&mut self, record: RecordId, decoded: &DecodedEntry, index: u16) -> anyhow::Result<()> {
        let header = &decoded.entry.header;
        let place = pending::Place { log: header.log, seq: header.seq, index };
        self.out.commit.index.push((pending::key(record, place), Some(Vec::new())));
        let working = match self.working.entry(record) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => match self.snapshot.id(record) {
                Ok(Some(id)) => new.insert(Working::new(id, None)),
                // A damaged id row is made anew from the stream by a repair.
                Ok(None) | Err(ReadError::Damaged(_)) => return Ok(()),
                Err(error) => return Err(error.into()),
            },
        };
        working.is_changed = true;
        working.has_more_pending = true;
        Ok(())
    }

    /// Gives a change its position, its stream row and its event.
    fn emit(
        &mut self,
        decoded: &DecodedEntry,
        index: u16,
        record: RecordId,
        event_type: EventType,
        summary: Summary,
        view: Arc<[u8]>,
    ) -> Position {
        let position = self.next;
        self.next = Position(position.0 + 1);
        let header = &decoded.entry.header;
        let row = StreamRow {
            position,
            log: header.log,
            seq: header.seq,
            change_index: index,
            record,
            kind: event_kind(event_type),
            summary: summary.to_bytes(),
            received: wall(),
        };
        let event = decoded.event(&row, summary, view).expect("the kind is one of ours");
        self.out.events.push(event);
        self.out.noted.push((record, position, summary));
        self.out.commit.stream.push(row);
        if header.log == self.own_log {
            let is_new = matches!(event_type, EventType::AlertCreated | EventType::ContactCreated);
            self.out.positions.insert((header.seq, index), Stored { record, position, is_new });
        }
        position
    }

    /// The record of a create that came earlier in this batch.
    fn materialize(&self, views: &Views, fresh: Option<(usize, u16)>, record: RecordId) -> anyhow::Result<Record> {
        let Some((place, index)) = fresh else {
            return Ok(views.record(&self.snapshot, record)?.unwrap_or_else(|| Record::new(record)));
        };
        let decoded = &self.entries[place];
        let change = decoded.change(index)?;
        let mut loaded = Record::new(record);
        loaded.apply(decoded.authored(index, &change));
        Ok(loaded)
    }
}

fn created_type(view: &View) -> EventType {
    match view {
        View::Alert(_) => EventType::AlertCreated,
        View::Contact(_) => EventType::ContactCreated,
    }
}

fn updated_type(view: &View) -> EventType {
    match view {
        View::Alert(_) => EventType::AlertUpdated,
        View::Contact(_) => EventType::ContactUpdated,
    }
}

fn edited_type(change: &Change, view: &View) -> EventType {
    let set_status = |word: &str| {
        let Change::Edit(edit) = change else { return false };
        let sets =
            |op: &Op| matches!(op, Op::Set { field, value: Value::Text(text) } if field == "status" && text == word);
        edit.section == SectionId::Core && edit.ops.iter().any(sets)
    };
    match view.kind() {
        RecordKind::Contact if set_status("left") => EventType::ContactRemoved,
        RecordKind::Contact => EventType::ContactUpdated,
        _ if matches!(change, Change::Edit(edit) if edit.section != SectionId::Core) => EventType::AlertResponded,
        _ if set_status("cancelled") => EventType::AlertCancelled,
        _ if set_status("resolved") => EventType::AlertResolved,
        _ => EventType::AlertUpdated,
    }
}

fn count(state: &mut StateRow, view: &View, more: u64) {
    match view {
        View::Alert(_) => state.alerts += more,
        View::Contact(_) => state.contacts += more,
    }
}

#[cfg(test)]
pub(in crate::node) mod tests;
