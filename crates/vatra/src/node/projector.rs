//! From a batch of accepted entries to one commit: rows, positions, views, digest, events.
//!
//! Most alerts are never edited; they go straight from their fields to a view, and only an edited record gets a
//! document row. Within one batch a record may be touched several times, so what was worked out is kept at hand.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context;
use vatra_model::change::record_id;
use vatra_model::pack::Packer;
use vatra_model::view::{Digest, Summary, View};
use vatra_model::{Change, CheckedEntry, LogId, Op, Position, RecordId, RecordKind, SectionId, Seq, Value, codec};
use vatra_record::{Applied, Record, view_of_create};
use vatra_replica::Batch;
use vatra_store::{Commit, EntryRow, IdRow, MetaKey, Snapshot, StreamRow};
use vatra_stream::{EventType, StoredEvent};

use crate::node::boot::{LifeRow, STATE, StateRow, digest_of};
use crate::node::clock::wall;
use crate::node::metrics::Metrics;
use crate::node::packing::pack_entry;
use crate::node::views::{DecodedEntry, DocumentRow, FLAG_EDITED, Views, event_kind};

/// What a batch comes to.
pub(crate) struct Projected {
    pub(crate) commit: Commit,
    /// Where each change of this node's own entries stands.
    pub(crate) positions: HashMap<(Seq, u16), Stored>,
    /// What readers learn once the commit is durable.
    pub(crate) events: Vec<StoredEvent>,
    pub(crate) noted: Vec<(RecordId, Position, Summary)>,
    /// The state after the batch.
    pub(crate) state: StateRow,
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
}

/// A record as this batch has left it so far.
struct Working {
    id: IdRow,
    /// Loaded once an edit needs it; a fresh create is kept as its place in the batch.
    record: Option<Record>,
    fresh: Option<(usize, u16)>,
    /// What the record adds to the digest in `state`.
    item: Option<[u8; 32]>,
    is_edited: bool,
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
}

impl Projector {
    /// Works out a batch. Nothing is remembered until [`Projector::settle`].
    pub(crate) fn project(&mut self, batch: &Batch, own_log: LogId, next: Position) -> anyhow::Result<Projected> {
        let mut round = Round {
            snapshot: self.views.reader.snapshot()?,
            entries: Vec::with_capacity(batch.entries.len()),
            working: HashMap::new(),
            next,
            digest: digest_of(&self.state),
            own_log,
            out: Projected {
                commit: Commit::default(),
                positions: HashMap::new(),
                events: Vec::new(),
                noted: Vec::new(),
                state: StateRow { hlc: batch.hlc, ..self.state },
            },
            batch,
        };
        self.views.origins.add(batch.logs.iter().map(|(log, row)| (log, row)));
        for entry in &batch.entries {
            self.project_entry(&mut round, entry)?;
        }
        Ok(self.finish(round))
    }

    /// The commit is durable.
    pub(crate) fn settle(&mut self, state: StateRow) {
        self.state = state;
    }

    fn project_entry(&mut self, round: &mut Round<'_>, checked: &Arc<CheckedEntry>) -> anyhow::Result<()> {
        let header = checked.header();
        let bytes = pack_entry(&mut self.packer, checked.entry());
        round.out.commit.entries.push(EntryRow { log: header.log, seq: header.seq, bytes });
        let origin = self.views.origins.get(&header.log).context("an accepted entry's log is described")?;
        let decoded = DecodedEntry { entry: checked.entry().clone(), hash: checked.hash(), origin };
        round.entries.push(Arc::new(decoded));
        let place = round.entries.len() - 1;
        for index in 0..header.change_count {
            self.project_change(round, place, index)?;
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
        if let Change::Create(create) = &change
            && !round.working.contains_key(&record)
            && round.snapshot.id(record)?.is_none()
        {
            let authored = decoded.authored(index, &change);
            let Some(view) = view_of_create(record, authored.id, authored.author, authored.hlc, create) else {
                self.metrics.quarantined.inc();
                return Ok(());
            };
            self.note_create(round, place, index, record, &view);
            return Ok(());
        }
        self.apply(round, place, index, record, &change)
    }

    /// A record that is new here and has nothing but its create.
    fn note_create(&self, round: &mut Round<'_>, place: usize, index: u16, record: RecordId, view: &View) {
        let bytes: Arc<[u8]> = view.canonical_bytes().into();
        let item = Digest::item(record, &bytes);
        let position = round.emit(place, index, record, created_type(view), view.summary(), bytes);
        round.digest.add(&item);
        count(&mut round.out.state, view, 1);
        let id = IdRow { created: position, latest: position, flags: [0; 8] };
        let working = Working { id, record: None, fresh: Some((place, index)), item: Some(item), is_edited: false };
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
        let mut working = match round.working.remove(&record_id) {
            Some(working) => working,
            None => self.load(round, record_id)?,
        };
        if working.record.is_none() {
            working.record = Some(round.materialize(&self.views, &working, record_id)?);
        }
        let record = working.record.as_mut().expect("filled just now");
        let decoded = round.entries[place].clone();
        match record.apply(decoded.authored(index, change)) {
            Applied::Applied | Applied::Waiting => {}
            Applied::Duplicate => {
                round.working.insert(record_id, working);
                return Ok(());
            }
            refused @ (Applied::Refused(_) | Applied::Quarantined(_) | Applied::Overflow) => {
                self.metrics.quarantined.inc();
                tracing::warn!(record = %record_id, verdict = ?refused, "a change has no effect");
            }
        }
        working.is_edited = true;
        let view = record.view();
        let was_shown = working.item.is_some();
        if let Some(item) = working.item.take() {
            round.digest.remove(&item);
        }
        if let Some(view) = &view {
            let bytes: Arc<[u8]> = view.canonical_bytes().into();
            let item = Digest::item(record_id, &bytes);
            round.digest.add(&item);
            working.item = Some(item);
            let event_type = if was_shown { edited_type(change, view) } else { created_type(view) };
            let position = round.emit(place, index, record_id, event_type, view.summary(), bytes);
            working.id.latest = position;
            if !was_shown {
                working.id.created = position;
                count(&mut round.out.state, view, 1);
            }
        }
        round.working.insert(record_id, working);
        Ok(())
    }

    fn load(&self, round: &Round<'_>, record: RecordId) -> anyhow::Result<Working> {
        let Some(id) = round.snapshot.id(record)? else {
            let id = IdRow { created: Position(0), latest: Position(0), flags: [0; 8] };
            let record = Some(Record::new(record));
            return Ok(Working { id, record, fresh: None, item: None, is_edited: false });
        };
        if id.flags[0] & FLAG_EDITED != 0 {
            let row = round.snapshot.document(record)?.with_context(|| format!("document {record} is gone"))?;
            let (item, loaded) = DocumentRow::read(&row)?;
            return Ok(Working { id, record: Some(loaded), fresh: None, item, is_edited: false });
        }
        let view = self.views.view(&round.snapshot, record)?;
        let item = view.map(|view| view.digest_item());
        let loaded = self.views.record(&round.snapshot, record)?;
        Ok(Working { id, record: loaded, fresh: None, item, is_edited: false })
    }

    fn finish(&self, mut round: Round<'_>) -> Projected {
        let out = &mut round.out;
        for (record, mut working) in round.working {
            if working.is_edited {
                working.id.flags[0] |= FLAG_EDITED;
                let loaded = working.record.as_ref().expect("an edited record was loaded");
                out.commit.documents.push((record, DocumentRow::write(working.item, loaded)));
            }
            out.commit.ids.push((record, working.id));
        }
        out.state.digest = round.digest.0;
        for (log, row) in &round.batch.logs {
            out.commit.logs.push((*log, codec::encode(row)));
        }
        if let Some(charter) = &round.batch.charter {
            out.commit.meta.push((MetaKey::CHARTER, charter.clone()));
        }
        if let Some((incarnation, opened)) = round.batch.incarnation {
            let life = LifeRow { incarnation, opened, boot: self.life.boot };
            out.commit.meta.push((MetaKey::INCARNATION, codec::encode(&life)));
        }
        out.commit.meta.push((STATE, codec::encode(&out.state)));
        round.out
    }
}

impl Round<'_> {
    /// Gives a change its position, its stream row and its event.
    fn emit(
        &mut self,
        place: usize,
        index: u16,
        record: RecordId,
        event_type: EventType,
        summary: Summary,
        view: Arc<[u8]>,
    ) -> Position {
        let position = self.next;
        self.next = Position(position.0 + 1);
        let decoded = &self.entries[place];
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
    fn materialize(&self, views: &Views, working: &Working, record: RecordId) -> anyhow::Result<Record> {
        let Some((place, index)) = working.fresh else {
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
