//! One batch under work: what it comes to so far.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use vatra_model::change::record_id;
use vatra_model::view::{Digest, Summary, View};
use vatra_model::{Change, LogId, Op, Position, RecordId, RecordKind, SectionId, Value};
use vatra_record::{Lack, Record};
use vatra_replica::Batch;
use vatra_store::{Commit, ReadError, Snapshot, StreamRow};
use vatra_stream::EventType;

use super::working::Working;
use super::{At, Projected, Stored};
use crate::node::boot::{StateRow, digest_of};
use crate::node::clock::wall;
use crate::node::pending::{self, Place};
use crate::node::quarantine::{QuarantinedChange, Reason};
use crate::node::views::{DecodedEntry, Views, event_kind};

/// One batch under work.
pub(super) struct Round<'b> {
    pub(super) snapshot: Snapshot,
    pub(super) entries: Vec<Arc<DecodedEntry>>,
    pub(super) working: HashMap<RecordId, Working>,
    pub(super) next: Position,
    pub(super) digest: Digest,
    pub(super) own_log: LogId,
    pub(super) out: Projected,
    pub(super) batch: &'b Batch,
    /// Changes that made this program panic.
    pub(super) skipped: &'b BTreeSet<At>,
    /// Bytes of entries and documents, about.
    pub(super) bytes: usize,
    /// Changes that waited and had their turn.
    pub(super) unlocked: usize,
    /// Changes that were taken back.
    pub(super) retracted: usize,
    /// Records of entries that are put back.
    whole_again: BTreeSet<RecordId>,
}

impl<'b> Round<'b> {
    pub(super) fn new(
        snapshot: Snapshot,
        batch: &'b Batch,
        from: usize,
        own_log: LogId,
        next: Position,
        state: &StateRow,
        skipped: &'b BTreeSet<At>,
    ) -> Round<'b> {
        Round {
            snapshot,
            entries: Vec::with_capacity(batch.entries.len() - from),
            working: HashMap::new(),
            next,
            digest: digest_of(state),
            own_log,
            out: Projected {
                commit: Commit::default(),
                next_entry: from,
                positions: HashMap::new(),
                events: Vec::new(),
                noted: Vec::new(),
                quarantined: Vec::new(),
                state: StateRow { hlc: batch.hlc.max(state.hlc), ..*state },
                heights: Vec::new(),
                backlog: BTreeMap::new(),
                hashes: Vec::new(),
                has_put_back: false,
                hidden: Vec::new(),
                retracting: None,
            },
            batch,
            skipped,
            bytes: 0,
            unlocked: 0,
            retracted: 0,
            whole_again: BTreeSet::new(),
        }
    }

    /// Notes a change, or an entry as a whole, that has no effect.
    pub(super) fn quarantine(&mut self, decoded: &DecodedEntry, index: u16, reason: Reason) {
        let header = &decoded.entry.header;
        let (log, seq) = (decoded.stored, header.seq);
        let (member, node) = (decoded.origin.member, decoded.origin.node);
        self.out.quarantined.push(QuarantinedChange { log, seq, index, member, node, reason, at: wall() });
    }

    /// Notes a change of a record that cannot be read at present.
    pub(super) fn put_off(&mut self, record: RecordId, decoded: &DecodedEntry, index: u16) -> anyhow::Result<()> {
        let header = &decoded.entry.header;
        let place = Place { log: decoded.stored, seq: header.seq, index };
        self.out.commit.index.push((pending::key(record, Lack::Create, place), Some(Vec::new())));
        if self.whole_again.contains(&record) {
            // What it waits for comes with this very commit.
            self.out.backlog.insert((record, Lack::Create), true);
        }
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
        working.has_rows = true;
        working.is_put_off = true;
        Ok(())
    }

    /// An entry that could not be read is there again. What waited because a record of it could not be shown gets its
    /// turn.
    pub(super) fn put_back(&mut self, place: usize) -> anyhow::Result<()> {
        self.out.has_put_back = true;
        let decoded = self.entries[place].clone();
        for index in 0..decoded.entry.header.change_count {
            let Ok(change) = decoded.change(index) else { continue };
            let Some(record) = record_of(&change, &decoded) else { continue };
            self.whole_again.insert(record);
            let is_awaited = self.working.get(&record).is_some_and(|working| working.is_put_off)
                || !pending::keys(&self.snapshot, record, 1)?.is_empty();
            if is_awaited {
                self.out.backlog.insert((record, Lack::Create), true);
            }
        }
        Ok(())
    }

    /// Gives a change its position, its stream row and its event.
    pub(super) fn emit(
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
            log: decoded.stored,
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
        if decoded.stored == self.own_log {
            let is_new = matches!(event_type, EventType::AlertCreated | EventType::ContactCreated);
            self.out.positions.insert((header.seq, index), Stored { record, position, is_new });
        }
        position
    }

    /// The record of a create that came earlier in this batch.
    pub(super) fn materialize(
        &self,
        views: &Views,
        fresh: Option<(usize, u16)>,
        record: RecordId,
    ) -> anyhow::Result<Record> {
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

/// The record that a change is about, if any.
pub(super) fn record_of(change: &Change, decoded: &DecodedEntry) -> Option<RecordId> {
    match change {
        Change::Create(create) => Some(record_id(decoded.origin.member, create)),
        Change::Edit(edit) => Some(edit.record),
        Change::Open(_) | Change::Unknown { .. } => None,
    }
}

pub(super) fn created_type(view: &View) -> EventType {
    match view {
        View::Alert(_) => EventType::AlertCreated,
        View::Contact(_) => EventType::ContactCreated,
    }
}

pub(super) fn updated_type(view: &View) -> EventType {
    match view {
        View::Alert(_) => EventType::AlertUpdated,
        View::Contact(_) => EventType::ContactUpdated,
    }
}

pub(super) fn edited_type(change: &Change, view: &View) -> EventType {
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

/// A record is shown no longer.
pub(super) fn uncount(state: &mut StateRow, kind: RecordKind) {
    let known = if kind == RecordKind::Contact { &mut state.contacts } else { &mut state.alerts };
    *known = known.saturating_sub(1);
}

pub(super) fn count(state: &mut StateRow, view: &View, more: u64) {
    match view {
        View::Alert(_) => state.alerts += more,
        View::Contact(_) => state.contacts += more,
    }
}
