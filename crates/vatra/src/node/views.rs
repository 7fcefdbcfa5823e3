//! Views and events read from the store, for the API, the streams and the driver.

mod documents;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, anyhow};
use vatra_model::fork::stray_log;
use vatra_model::limits::STRAYS_MAX;
use vatra_model::pack::Packer;
use vatra_model::view::{Summary, View};
use vatra_model::{Change, ChangeId, Entry, EntryHash, LogId, Position, RecordId, RecordKind, Seq};
use vatra_record::{AuthoredChange, Record};
use vatra_store::{PAGE_ROWS_MAX, PageLimits, ReadError, Reader, Snapshot, StreamRow};
use vatra_stream::{EventType, Origin, StoredEvent};

use crate::node::missed::Missed;
use crate::node::origins::{OriginInfo, Origins};
use crate::node::packing::unpack_entry;

pub(crate) use documents::{DocumentRow, RETRACT_PREFIX, Taken};

/// Decoded entries kept, because neighbours in the stream are mostly of one entry.
const ENTRIES_KEPT: usize = 8;
/// Packers kept for the next reader.
const PACKERS_KEPT: usize = 8;

/// Bit of [`vatra_store::IdRow::flags`]`[0]`: the record has a document row.
pub(crate) const FLAG_EDITED: u8 = 1;
/// Bit of the same: some of the record's changes have no place in the stream.
pub(crate) const FLAG_PENDING: u8 = 2;

/// Reads records; shared by all readers of a node.
pub(crate) struct Views {
    pub(crate) reader: Reader,
    pub(crate) origins: Arc<Origins>,
    /// What readers of the stream went past.
    pub(crate) missed: Missed,
    packers: Mutex<Vec<Packer>>,
    entries: Mutex<VecDeque<Arc<DecodedEntry>>>,
}

/// An entry with its hash.
pub(crate) struct DecodedEntry {
    pub(crate) entry: Entry,
    pub(crate) hash: EntryHash,
    /// The name under which it is stored: its log, or that of a stray.
    pub(crate) stored: LogId,
    pub(crate) origin: Arc<OriginInfo>,
}

impl Views {
    pub(crate) fn new(reader: Reader, origins: Arc<Origins>) -> Views {
        Views { reader, origins, missed: Missed::default(), packers: Mutex::default(), entries: Mutex::default() }
    }

    /// The record with all its changes; `None` if this store does not know it.
    pub(crate) fn record(&self, snapshot: &Snapshot, record: RecordId) -> anyhow::Result<Option<Record>> {
        let Some(id) = snapshot.id(record)? else { return Ok(None) };
        if id.flags[0] & FLAG_EDITED != 0 {
            return self.edited(snapshot, record).map(|(_, loaded)| Some(loaded));
        }
        let row = snapshot.stream_row(id.created)?.with_context(|| format!("position {} is gone", id.created))?;
        let decoded = self.entry(snapshot, row.log, row.seq)?;
        let change = decoded.change(row.change_index)?;
        let mut loaded = Record::new(record);
        loaded.apply(decoded.authored(row.change_index, &change));
        Ok(Some(loaded))
    }

    /// The record's view; `None` if it is unknown or its creation has not arrived.
    pub(crate) fn view(&self, snapshot: &Snapshot, record: RecordId) -> anyhow::Result<Option<View>> {
        let Some(id) = snapshot.id(record)? else { return Ok(None) };
        if id.flags[0] & FLAG_EDITED != 0 {
            return Ok(self.record(snapshot, record)?.and_then(|record| record.view()));
        }
        let row = snapshot.stream_row(id.created)?.with_context(|| format!("position {} is gone", id.created))?;
        let decoded = self.entry(snapshot, row.log, row.seq)?;
        decoded.view_of_create(record, row.change_index).map(Some)
    }

    /// Whether a record that was told of is shown still: a revocation may have taken it back.
    pub(crate) fn is_shown(&self, snapshot: &Snapshot, record: RecordId) -> anyhow::Result<bool> {
        Ok(!self.origins.any_ended() || self.view(snapshot, record)?.is_some())
    }

    /// The record's view as people see it: marked if a change of it lies past a fork.
    pub(crate) fn shown(&self, snapshot: &Snapshot, record: RecordId) -> anyhow::Result<Option<View>> {
        let Some(mut view) = self.view(snapshot, record)? else { return Ok(None) };
        if self.is_forked(snapshot, record)? {
            view.mark_forked();
        }
        Ok(Some(view))
    }

    /// Whether a change of a record lies past a fork.
    pub(crate) fn is_forked(&self, snapshot: &Snapshot, record: RecordId) -> anyhow::Result<bool> {
        let forks = self.origins.forks();
        if forks.is_empty() {
            return Ok(false);
        }
        for position in all_positions(snapshot, record)? {
            let Some(row) = snapshot.stream_row(position)? else { continue };
            // A stray's name is no log's.
            let is_stray = || self.origins.get(&row.log).is_none();
            let is_past_fork = forks.get(&row.log).is_some_and(|place| row.seq.0 >= *place) || is_stray();
            if is_past_fork && !self.is_without_effect(snapshot, &row)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a revocation took the effect of a stream row's change away.
    pub(crate) fn is_without_effect(&self, snapshot: &Snapshot, row: &StreamRow) -> anyhow::Result<bool> {
        if !self.origins.any_ended() {
            return Ok(false);
        }
        match self.origins.end_of(&row.log) {
            // Whether it can be read or not.
            Some(end) if row.seq.0 >= end.place() => Ok(true),
            Some(end) if end.last.is_some_and(|(last, _)| row.seq < last) => Ok(false),
            None if self.origins.get(&row.log).is_some() => Ok(false),
            // In the last valid place, and of what is stored beside a log, the hash decides.
            _ => match self.entry(snapshot, row.log, row.seq) {
                Ok(decoded) => Ok(self.is_past_end(&decoded)),
                Err(error) if !is_of_the_disk(&error) && self.is_past_unread(snapshot, row)? => Ok(true),
                Err(error) => Err(error),
            },
        }
    }

    /// Whether the entry of a row, which cannot be read, is past the end of its log; if it lies beside a log, the rows of
    /// strays tell of which.
    pub(crate) fn is_past_unread(&self, snapshot: &Snapshot, row: &StreamRow) -> anyhow::Result<bool> {
        if let Some(end) = self.origins.end_of(&row.log) {
            return Ok(row.seq.0 >= end.place());
        }
        if self.origins.get(&row.log).is_some() {
            return Ok(false);
        }
        for (log, end) in self.origins.ended() {
            let strays = snapshot.strays(log, PageLimits::rows(STRAYS_MAX))?.rows;
            if let Some(stray) = strays.iter().find(|stray| stray_log(log, stray.hash) == row.log) {
                return Ok(!end.covers(stray.seq, stray.hash));
            }
        }
        Ok(false)
    }

    /// Whether a revocation ends the log of an entry before it: it has no effect.
    pub(crate) fn is_past_end(&self, decoded: &DecodedEntry) -> bool {
        let header = &decoded.entry.header;
        self.origins.end_of(&header.log).is_some_and(|end| !end.covers(header.seq, decoded.hash))
    }

    /// A stored entry, decoded.
    pub(crate) fn entry(&self, snapshot: &Snapshot, log: LogId, seq: Seq) -> anyhow::Result<Arc<DecodedEntry>> {
        if let Some(kept) = self.kept(log, seq) {
            return Ok(kept);
        }
        let bytes = snapshot.entry(log, seq)?.with_context(|| format!("entry {seq} of log {log} is gone"))?;
        let mut packer = lock(&self.packers).pop().unwrap_or_default();
        let entry = unpack_entry(&mut packer, &bytes);
        let mut packers = lock(&self.packers);
        if packers.len() < PACKERS_KEPT {
            packers.push(packer);
        }
        drop(packers);
        let entry = entry.with_context(|| format!("entry {seq} of log {log}"))?;
        let of = entry.header.log;
        let origin = self.origins.get(&of).with_context(|| format!("log {of} has no descriptor"))?;
        let decoded = Arc::new(DecodedEntry { hash: entry.header.hash(), entry, stored: log, origin });
        let mut entries = lock(&self.entries);
        entries.push_front(decoded.clone());
        entries.truncate(ENTRIES_KEPT);
        Ok(decoded)
    }

    fn kept(&self, log: LogId, seq: Seq) -> Option<Arc<DecodedEntry>> {
        let entries = lock(&self.entries);
        entries.iter().find(|kept| kept.stored == log && kept.entry.header.seq == seq).cloned()
    }

    /// Events after a position as the store has them, each with its record's present view.
    pub(crate) fn events(&self, after: Position, limit: usize) -> Result<(Vec<StoredEvent>, Position), ReadError> {
        let snapshot = self.reader.snapshot()?;
        let page = snapshot.stream_after(after, limit)?;
        let mut events = Vec::with_capacity(page.rows.len());
        for row in &page.rows {
            match self.event(&snapshot, row) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(position = row.position.0, error = format!("{error:#}"), "an event cannot be read");
                    self.missed.goes_past(row.position);
                }
            }
        }
        Ok((events, page.last.unwrap_or(after)))
    }

    /// The event of a stream row, with its record's present view; `None` if the record is not shown, or a revocation
    /// took the change's effect away.
    pub(crate) fn event(&self, snapshot: &Snapshot, row: &StreamRow) -> anyhow::Result<Option<StoredEvent>> {
        let decoded = self.entry(snapshot, row.log, row.seq)?;
        let is_retraction = event_type(row.kind).is_some_and(EventType::is_retraction);
        if !is_retraction && self.is_past_end(&decoded) {
            return Ok(None);
        }
        let view = self.shown(snapshot, row.record)?;
        if is_retraction {
            let summary = Summary::from_bytes(&row.summary).context("a stream row's summary is damaged")?;
            let data = retraction_data(row.record, &summary, view.as_ref());
            return decoded.event(row, summary, data).map(Some);
        }
        view.map(|view| decoded.event(row, view.summary(), view.canonical_bytes().into())).transpose()
    }
}

/// What an event tells that takes a change back which was told with a summary: the record's view, unless it is shown no
/// longer, or to fewer than were told then.
pub(crate) fn retraction_data(record: RecordId, summary: &Summary, view: Option<&View>) -> Arc<[u8]> {
    if let Some(view) = view.filter(|view| view.summary().tlp <= summary.tlp) {
        return view.canonical_bytes().into();
    }
    let kind = if summary.record_kind == RecordKind::Contact { "contact" } else { "alert" };
    format!("{{\"id\":\"{record}\",\"kind\":\"{kind}\",\"shown\":false}}").into_bytes().into()
}

impl DecodedEntry {
    /// One change, decoded.
    pub(crate) fn change(&self, index: u16) -> anyhow::Result<Change> {
        let slot = self.entry.changes.get(usize::from(index)).context("the entry has fewer changes")?;
        let bytes = slot.bytes().context("the change was erased")?;
        Ok(Change::decode(bytes)?)
    }

    /// The id of one change.
    pub(crate) fn change_id(&self, index: u16) -> ChangeId {
        ChangeId::derive(&self.hash, index)
    }

    /// The change with its author, as records take it.
    pub(crate) fn authored<'c>(&self, index: u16, change: &'c Change) -> AuthoredChange<'c> {
        AuthoredChange {
            id: self.change_id(index),
            author: self.origin.member,
            origin: self.origin.node,
            hlc: self.entry.header.hlc,
            change,
        }
    }

    fn view_of_create(&self, record: RecordId, index: u16) -> anyhow::Result<View> {
        let change = self.change(index)?;
        let Change::Create(create) = &change else {
            return Err(anyhow!("change {index} of entry {} creates nothing", self.entry.header.seq));
        };
        let authored = self.authored(index, &change);
        vatra_record::view_of_create(record, authored.id, authored.author, authored.hlc, create)
            .with_context(|| format!("record {record} cannot be shown"))
    }

    /// The event of one of the entry's changes.
    pub(crate) fn event(&self, row: &StreamRow, summary: Summary, view: Arc<[u8]>) -> anyhow::Result<StoredEvent> {
        Ok(StoredEvent {
            position: row.position,
            event_type: event_type(row.kind).context("a stream row is of no known kind")?,
            record: row.record,
            change: self.change_id(row.change_index),
            origin: Origin { member: self.origin.member, node: self.origin.node },
            made_at: self.entry.header.hlc.wall(),
            received_at: row.received,
            summary,
            view,
        })
    }
}

/// The stored number of an event type.
pub(crate) fn event_kind(event_type: EventType) -> u8 {
    let place = EventType::ALL.iter().position(|known| *known == event_type).expect("ALL names every type");
    u8::try_from(place).expect("there are few types")
}

/// The event type of a stored number.
pub(crate) fn event_type(kind: u8) -> Option<EventType> {
    EventType::ALL.get(usize::from(kind)).copied()
}

/// The positions of all changes of a record, oldest first.
pub(crate) fn all_positions(snapshot: &Snapshot, record: RecordId) -> Result<Vec<Position>, ReadError> {
    let mut all = Vec::new();
    let mut after = Position(0);
    loop {
        let positions = snapshot.history(record, after, PAGE_ROWS_MAX)?;
        let Some(last) = positions.last() else { return Ok(all) };
        after = *last;
        all.extend(positions);
    }
}

/// Whether reading failed by the disk, so that trying again may help, and not by what stands on it.
pub(crate) fn is_of_the_disk(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<ReadError>(), Some(ReadError::Engine(_)))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
