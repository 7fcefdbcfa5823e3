//! Edited records: their document rows, and how they are made anew from their changes where a row does not help.

use std::collections::BTreeSet;

use anyhow::{Context, anyhow};
use vatra_model::charter::LogEnd;
use vatra_model::{LogId, RecordId, codec};
use vatra_record::{LoadError, Record};
use vatra_store::{ReadError, Snapshot};
use vatra_stream::EventType;

use super::{DecodedEntry, Views, all_positions, event_type};
use crate::node::pending::{self, Place};

/// What the keys of index rows begin with that name a record which a revocation makes to be made anew; the record
/// follows.
pub(crate) const RETRACT_PREFIX: &[u8] = b"retract/";

/// What the digest counts no more of a record, while not all readers were told of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken(Vec<(LogId, LogEnd)>);

impl Taken {
    /// The row of a record without what lies past these ends.
    pub(crate) fn row(ended: Vec<(LogId, LogEnd)>) -> Vec<u8> {
        codec::encode(&ended)
    }

    /// As a record's row tells.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn of(snapshot: &Snapshot, record: RecordId) -> Result<Taken, ReadError> {
        match snapshot.index(&[RETRACT_PREFIX, &record.0].concat()) {
            Ok(Some(row)) if !row.is_empty() => Ok(Taken(codec::decode(&row, "a record's row").unwrap_or_default())),
            Ok(_) | Err(ReadError::Damaged(_)) => Ok(Taken::default()),
            Err(error) => Err(error),
        }
    }

    /// Whether it covers an entry's changes.
    pub(crate) fn has(&self, decoded: &DecodedEntry) -> bool {
        let header = &decoded.entry.header;
        let is_past = |(log, end): &(LogId, LogEnd)| *log == header.log && !end.covers(header.seq, decoded.hash);
        self.0.iter().any(is_past)
    }
}

impl Views {
    /// An edited record and what it adds to the digest. One whose document row is of another version, left out or
    /// damaged is made anew from its changes.
    pub(crate) fn edited(&self, snapshot: &Snapshot, record: RecordId) -> anyhow::Result<(Option<[u8; 32]>, Record)> {
        let problem = match snapshot.document(record) {
            Ok(Some(row)) => match DocumentRow::read(&row) {
                Ok(DocumentRow { item, record: Ok(loaded) }) => return Ok((item, loaded)),
                Ok(DocumentRow { item, record: Err(_) }) => return Ok((item, self.rebuild(snapshot, record)?)),
                Err(error) => error,
            },
            Ok(None) => anyhow!("its document row is gone"),
            Err(ReadError::Damaged(damage)) => damage.into(),
            Err(error) => return Err(error.into()),
        };
        tracing::warn!(%record, error = format!("{problem:#}"), "a record is made anew from its changes");
        let rebuilt = self.rebuild(snapshot, record)?;
        let left = self.not_taken_back(snapshot, record)?;
        let counted = if left.is_empty() {
            rebuilt.view()
        } else {
            let counts = |place: &Place, decoded: &DecodedEntry| !self.is_past_end(decoded) || left.contains(place);
            self.rebuild_with(snapshot, record, counts)?.view()
        };
        Ok((counted.map(|view| view.digest_item()), rebuilt))
    }

    /// Changes of a record that lie past the ends of their logs and are not taken back yet: the digest counts them.
    fn not_taken_back(&self, snapshot: &Snapshot, record: RecordId) -> anyhow::Result<BTreeSet<Place>> {
        let mut open = BTreeSet::new();
        if !self.origins.any_ended() {
            return Ok(open);
        }
        // Those of which only the telling is left are counted no more.
        let taken = Taken::of(snapshot, record)?;
        for position in all_positions(snapshot, record)? {
            let row = snapshot.stream_row(position)?.with_context(|| format!("position {position} is gone"))?;
            let place = Place::of(&row);
            if event_type(row.kind).is_some_and(EventType::is_retraction) {
                open.remove(&place);
            } else if self.is_without_effect(snapshot, &row)? && !taken.has(&*self.entry(snapshot, row.log, row.seq)?) {
                open.insert(place);
            }
        }
        Ok(open)
    }

    /// The record from all its changes that have an effect: those in the stream and those that wait.
    fn rebuild(&self, snapshot: &Snapshot, record: RecordId) -> anyhow::Result<Record> {
        self.rebuild_with(snapshot, record, |_, decoded| !self.is_past_end(decoded))
    }

    fn rebuild_with(
        &self,
        snapshot: &Snapshot,
        record: RecordId,
        counts: impl Fn(&Place, &DecodedEntry) -> bool,
    ) -> anyhow::Result<Record> {
        let mut places: Vec<Place> = Vec::new();
        for position in all_positions(snapshot, record)? {
            let row = snapshot.stream_row(position)?.with_context(|| format!("position {position} is gone"))?;
            places.push(Place::of(&row));
        }
        places.extend(pending::places(snapshot, record)?);
        let mut changes = Vec::with_capacity(places.len());
        for place in places {
            let decoded = self.entry(snapshot, place.log, place.seq)?;
            if counts(&place, &decoded) {
                let change = decoded.change(place.index)?;
                changes.push((decoded, place.index, change));
            }
        }
        Ok(Record::from_changes(
            record,
            changes.iter().map(|(decoded, index, change)| decoded.authored(*index, change)),
        ))
    }
}

/// A record's document row: what it adds to the digest, then the record.
pub(crate) struct DocumentRow {
    pub(crate) item: Option<[u8; 32]>,
    /// The record, unless it is of another version or left out.
    pub(crate) record: Result<Record, LoadError>,
}

/// Whether the record is shown, and what it adds to the digest.
const DOCUMENT_HEAD_BYTES: usize = 33;

impl DocumentRow {
    pub(crate) fn write(item: Option<[u8; 32]>, record: &Record) -> Vec<u8> {
        [&DocumentRow::without_record(item)[..], &record.save()].concat()
    }

    /// A row that leaves the record to be made anew from its changes.
    pub(crate) fn without_record(item: Option<[u8; 32]>) -> Vec<u8> {
        [&[u8::from(item.is_some())][..], &item.unwrap_or_default()].concat()
    }

    /// Whether the row leaves out the record.
    pub(crate) fn is_without_record(bytes: &[u8]) -> bool {
        bytes.len() == DOCUMENT_HEAD_BYTES
    }

    pub(crate) fn read(bytes: &[u8]) -> anyhow::Result<DocumentRow> {
        let (head, saved) = bytes.split_first_chunk::<DOCUMENT_HEAD_BYTES>().context("a document row is cut short")?;
        let [shown, item @ ..] = *head;
        Ok(DocumentRow { item: (shown == 1).then_some(item), record: Record::load(saved) })
    }
}
