//! The rows of a store: their keys and their fixed layouts, big-endian throughout.

use vatra_model::{EntryHash, LogId, Position, RecordId, Seq, WallMs};

/// A stored entry: the packed bytes as the caller made them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryRow {
    /// The log of the entry.
    pub log: LogId,
    /// Its place in the log.
    pub seq: Seq,
    /// The entry, packed by the caller.
    pub bytes: Vec<u8>,
}

/// An entry past a fork in the list of its log's. The entry itself is stored under
/// [`vatra_model::fork::stray_log`], so that a stream row can refer to it as to any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrayRow {
    /// The forked log.
    pub log: LogId,
    /// The place in the log that the entry claims.
    pub seq: Seq,
    /// The hash of the entry; several entries may claim one place.
    pub hash: EntryHash,
    /// The caller's own bytes about it.
    pub bytes: Vec<u8>,
}

/// Which change was stored at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamRow {
    /// The position, counted from 1 without gaps.
    pub position: Position,
    /// The log of the change's entry.
    pub log: LogId,
    /// The entry's place in its log.
    pub seq: Seq,
    /// The change's place in the entry.
    pub change_index: u16,
    /// The record that the change is about.
    pub record: RecordId,
    /// What kind of change it is, in the caller's numbers.
    pub kind: u8,
    /// The caller's own bytes, for filters.
    pub summary: [u8; 16],
    /// When this node stored it, by this node's clock.
    pub received: WallMs,
}

/// Where a record was created and last changed in this store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRow {
    /// The position of the record's first change here; 0 while nothing of it is in the stream.
    pub created: Position,
    /// The position of its latest change here; 0 while nothing of it is in the stream.
    pub latest: Position,
    /// The caller's own bytes, except that [`IdRow::HAS_DOCUMENT`] means the same to both.
    pub flags: [u8; 8],
}

impl IdRow {
    /// The bit of `flags[0]` that says that the record has a document row. It is the only one that survives
    /// [`crate::Store::rebuild_ids`].
    pub const HAS_DOCUMENT: u8 = 1;
}

/// The name of a single value of the store as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetaKey(&'static str);

impl MetaKey {
    /// The store's own random id, the first half of every cursor.
    pub const STORE_ID: MetaKey = MetaKey("store id");
    /// The incarnation that this node writes under.
    pub const INCARNATION: MetaKey = MetaKey("incarnation");
    /// The digest over all views.
    pub const DIGEST: MetaKey = MetaKey("digest");
    /// The charter in force.
    pub const CHARTER: MetaKey = MetaKey("charter");

    /// A key of the caller's own.
    #[must_use]
    pub const fn new(name: &'static str) -> MetaKey {
        MetaKey(name)
    }

    pub(crate) fn as_bytes(&self) -> &'static [u8] {
        self.0.as_bytes()
    }
}

pub(crate) const ENTRY_KEY_BYTES: usize = LogId::LEN + 8;
const STRAY_KEY_BYTES: usize = ENTRY_KEY_BYTES + EntryHash::LEN;
const HISTORY_KEY_BYTES: usize = RecordId::LEN + 8;
const STREAM_VALUE_BYTES: usize = 16 + 8 + 2 + 16 + 1 + 16 + 8;
pub(crate) const ID_VALUE_BYTES: usize = 8 + 8 + 8;

pub(crate) fn entry_key(log: LogId, seq: Seq) -> [u8; ENTRY_KEY_BYTES] {
    joined(&[&log.0, &seq.0.to_be_bytes()])
}

pub(crate) fn parse_entry_key(key: &[u8]) -> Option<(LogId, Seq)> {
    let mut fields = Fields(key);
    let parsed = (LogId(fields.take()?), Seq(fields.u64()?));
    fields.end(parsed)
}

pub(crate) fn stray_key(log: LogId, seq: Seq, hash: EntryHash) -> [u8; STRAY_KEY_BYTES] {
    joined(&[&log.0, &seq.0.to_be_bytes(), &hash.0])
}

pub(crate) fn parse_stray_key(key: &[u8]) -> Option<(LogId, Seq, EntryHash)> {
    let mut fields = Fields(key);
    let parsed = (LogId(fields.take()?), Seq(fields.u64()?), EntryHash(fields.take()?));
    fields.end(parsed)
}

pub(crate) fn history_key(record: RecordId, position: Position) -> [u8; HISTORY_KEY_BYTES] {
    joined(&[&record.0, &position.0.to_be_bytes()])
}

pub(crate) fn parse_history_key(key: &[u8]) -> Option<(RecordId, Position)> {
    let mut fields = Fields(key);
    let parsed = (RecordId(fields.take()?), Position(fields.u64()?));
    fields.end(parsed)
}

pub(crate) fn position_key(position: Position) -> [u8; 8] {
    position.0.to_be_bytes()
}

pub(crate) fn parse_position_key(key: &[u8]) -> Option<Position> {
    key.try_into().ok().map(u64::from_be_bytes).map(Position)
}

impl StreamRow {
    pub(crate) fn encode(&self) -> [u8; STREAM_VALUE_BYTES] {
        joined(&[
            &self.log.0,
            &self.seq.0.to_be_bytes(),
            &self.change_index.to_be_bytes(),
            &self.record.0,
            &[self.kind],
            &self.summary,
            &self.received.0.to_be_bytes(),
        ])
    }

    pub(crate) fn decode(position: Position, value: &[u8]) -> Option<StreamRow> {
        let mut fields = Fields(value);
        let row = StreamRow {
            position,
            log: LogId(fields.take()?),
            seq: Seq(fields.u64()?),
            change_index: u16::from_be_bytes(fields.take()?),
            record: RecordId(fields.take()?),
            kind: u8::from_be_bytes(fields.take()?),
            summary: fields.take()?,
            received: WallMs(fields.u64()?),
        };
        fields.end(row)
    }
}

impl IdRow {
    pub(crate) fn encode(&self) -> [u8; ID_VALUE_BYTES] {
        joined(&[&self.created.0.to_be_bytes(), &self.latest.0.to_be_bytes(), &self.flags])
    }

    pub(crate) fn decode(value: &[u8]) -> Option<IdRow> {
        let mut fields = Fields(value);
        let row = IdRow { created: Position(fields.u64()?), latest: Position(fields.u64()?), flags: fields.take()? };
        fields.end(row)
    }
}

/// The parts one after another; they fill the array by construction of the callers above.
fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut bytes = [0; N];
    let mut rest = &mut bytes[..];
    for part in parts {
        let (head, tail) = rest.split_at_mut(part.len());
        head.copy_from_slice(part);
        rest = tail;
    }
    assert!(rest.is_empty(), "the parts of a row fill it");
    bytes
}

/// Fixed-width fields read from the front.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl Fields<'_> {
    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn end<T>(self, parsed: T) -> Option<T> {
        self.0.is_empty().then_some(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream_row() -> StreamRow {
        StreamRow {
            position: Position(9),
            log: LogId([1; 16]),
            seq: Seq(2),
            change_index: 3,
            record: RecordId([4; 16]),
            kind: 5,
            summary: [6; 16],
            received: WallMs(7),
        }
    }

    #[test]
    fn rows_survive_their_layout() {
        let row = stream_row();
        assert_eq!(StreamRow::decode(row.position, &row.encode()), Some(row));
        assert_eq!(StreamRow::decode(row.position, &row.encode()[1..]), None);
        let id = IdRow { created: Position(1), latest: Position(2), flags: [3; 8] };
        assert_eq!(IdRow::decode(&id.encode()), Some(id));
        assert_eq!(IdRow::decode(&[0; 25]), None);
        assert_eq!(parse_entry_key(&entry_key(LogId([1; 16]), Seq(2))), Some((LogId([1; 16]), Seq(2))));
        let hash = EntryHash([3; 32]);
        assert_eq!(parse_stray_key(&stray_key(LogId([1; 16]), Seq(2), hash)), Some((LogId([1; 16]), Seq(2), hash)));
        let key = history_key(RecordId([1; 16]), Position(2));
        assert_eq!(parse_history_key(&key), Some((RecordId([1; 16]), Position(2))));
    }

    #[test]
    fn layouts_are_golden() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(
            hex(&stream_row().encode()),
            "01010101010101010101010101010101000000000000000200030404040404040404040404040404040405\
             060606060606060606060606060606060000000000000007"
        );
        assert_eq!(hex(&entry_key(LogId([1; 16]), Seq(2))), "010101010101010101010101010101010000000000000002");
    }

    #[test]
    fn keys_are_ordered_as_their_numbers() {
        assert!(entry_key(LogId([1; 16]), Seq(255)) < entry_key(LogId([1; 16]), Seq(256)));
        assert!(position_key(Position(255)) < position_key(Position(256)));
    }
}
