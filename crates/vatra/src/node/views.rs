//! Views and events read from the store, for the API, the streams and the driver.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, anyhow};
use vatra_model::pack::Packer;
use vatra_model::view::{Summary, View};
use vatra_model::{Change, ChangeId, Entry, EntryHash, LogId, Position, RecordId, Seq};
use vatra_record::{AuthoredChange, Record};
use vatra_store::{ReadError, Reader, Snapshot, StreamRow};
use vatra_stream::{EventType, Origin, StoredEvent};

use crate::node::origins::{OriginInfo, Origins};
use crate::node::packing::unpack_entry;

/// Decoded entries kept, because neighbours in the stream are mostly of one entry.
const ENTRIES_KEPT: usize = 8;
/// Packers kept for the next reader.
const PACKERS_KEPT: usize = 8;

/// Bit of [`vatra_store::IdRow::flags`]`[0]`: the record has a document row.
pub(crate) const FLAG_EDITED: u8 = 1;

/// Reads records; shared by all readers of a node.
pub(crate) struct Views {
    pub(crate) reader: Reader,
    pub(crate) origins: Arc<Origins>,
    packers: Mutex<Vec<Packer>>,
    entries: Mutex<VecDeque<Arc<DecodedEntry>>>,
}

/// An entry with its hash.
pub(crate) struct DecodedEntry {
    pub(crate) entry: Entry,
    pub(crate) hash: EntryHash,
    pub(crate) origin: Arc<OriginInfo>,
}

impl Views {
    pub(crate) fn new(reader: Reader, origins: Arc<Origins>) -> Views {
        Views { reader, origins, packers: Mutex::default(), entries: Mutex::default() }
    }

    /// The record with all its changes; `None` if this store does not know it.
    pub(crate) fn record(&self, snapshot: &Snapshot, record: RecordId) -> anyhow::Result<Option<Record>> {
        let Some(id) = snapshot.id(record)? else { return Ok(None) };
        if id.flags[0] & FLAG_EDITED != 0 {
            let row = snapshot.document(record)?.with_context(|| format!("the document of record {record} is gone"))?;
            return Ok(Some(DocumentRow::read(&row)?.1));
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
        let origin = self.origins.get(&log).with_context(|| format!("log {log} has no descriptor"))?;
        let decoded = Arc::new(DecodedEntry { hash: entry.header.hash(), entry, origin });
        let mut entries = lock(&self.entries);
        entries.push_front(decoded.clone());
        entries.truncate(ENTRIES_KEPT);
        Ok(decoded)
    }

    fn kept(&self, log: LogId, seq: Seq) -> Option<Arc<DecodedEntry>> {
        let entries = lock(&self.entries);
        entries.iter().find(|kept| kept.entry.header.log == log && kept.entry.header.seq == seq).cloned()
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
                }
            }
        }
        Ok((events, page.last.unwrap_or(after)))
    }

    fn event(&self, snapshot: &Snapshot, row: &StreamRow) -> anyhow::Result<Option<StoredEvent>> {
        let decoded = self.entry(snapshot, row.log, row.seq)?;
        let Some(view) = self.view(snapshot, row.record)? else { return Ok(None) };
        decoded.event(row, view.summary(), view.canonical_bytes().into()).map(Some)
    }
}

impl DecodedEntry {
    /// One change, decoded.
    pub(crate) fn change(&self, index: u16) -> anyhow::Result<Change> {
        let slot = self.entry.changes.get(usize::from(index)).context("the entry has fewer changes")?;
        let bytes = slot.bytes().context("the change was erased")?;
        Ok(Change::decode(bytes)?)
    }

    /// The change with its author, as records take it.
    pub(crate) fn authored<'c>(&self, index: u16, change: &'c Change) -> AuthoredChange<'c> {
        AuthoredChange {
            id: ChangeId::derive(&self.hash, index),
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
            change: ChangeId::derive(&self.hash, row.change_index),
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

fn event_type(kind: u8) -> Option<EventType> {
    EventType::ALL.get(usize::from(kind)).copied()
}

/// A record's document row: what it adds to the digest, then the record.
pub(crate) struct DocumentRow;

impl DocumentRow {
    pub(crate) fn write(item: Option<[u8; 32]>, record: &Record) -> Vec<u8> {
        let saved = record.save();
        let mut bytes = Vec::with_capacity(33 + saved.len());
        bytes.push(u8::from(item.is_some()));
        bytes.extend_from_slice(&item.unwrap_or_default());
        bytes.extend_from_slice(&saved);
        bytes
    }

    pub(crate) fn read(bytes: &[u8]) -> anyhow::Result<(Option<[u8; 32]>, Record)> {
        let (head, saved) = bytes.split_first_chunk::<33>().context("a document row is cut short")?;
        let [shown, item @ ..] = *head;
        Ok(((shown == 1).then_some(item), Record::load(saved)?))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
