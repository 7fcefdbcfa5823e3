//! Changes without a place in the stream: those that wait for what they rest on, and those of records that cannot be
//! shown yet.
//!
//! A small row names each, under the one thing that it waits for. When that has come, the row tells where the change
//! is, and the change has its turn: it takes effect, or waits under the next thing that is missing. So what waits costs
//! nothing until then, and what one member lets wait never stands before what another does.

use std::collections::BTreeSet;
use std::sync::Arc;

use vatra_model::{ChangeId, LogId, RecordId, SectionId, Seq};
use vatra_record::Lack;
use vatra_store::{ReadError, Snapshot, StreamRow};

use crate::node::views::{DecodedEntry, Views};

/// What the keys of these rows begin with.
const PREFIX: &[u8] = b"waits/";
/// What they began with in stores of version 0.1, which did not say for what each waits.
const PREFIX_OLD: &[u8] = b"pending/";
/// Pending changes of one record that are looked at when it is made anew.
const PENDING_READ_MAX: usize = 4096;
/// Stands in a key for the record's create, or for a repair of the record.
const FOR_RECORD: ChangeId = ChangeId([0; 16]);

/// A change without a place in the stream.
#[derive(Clone)]
pub(crate) struct Pending {
    pub(crate) entry: Arc<DecodedEntry>,
    pub(crate) index: u16,
    pub(crate) section: SectionId,
    pub(crate) id: ChangeId,
}

/// Where the bytes of a pending change are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) log: LogId,
    pub(crate) seq: Seq,
    pub(crate) index: u16,
}

impl Place {
    /// Of what a row of the stream tells.
    pub(crate) fn of(row: &StreamRow) -> Place {
        Place { log: row.log, seq: row.seq, index: row.change_index }
    }
}

impl Pending {
    pub(crate) fn place(&self) -> Place {
        let header = &self.entry.entry.header;
        Place { log: self.entry.stored, seq: header.seq, index: self.index }
    }
}

/// The key of the row of a change that waits for something.
pub(crate) fn key(record: RecordId, lack: Lack, place: Place) -> Vec<u8> {
    let tail = [&place.log.0[..], &place.seq.0.to_be_bytes(), &place.index.to_be_bytes()].concat();
    [&prefix(record, lack)[..], &tail].concat()
}

/// What the keys of all changes of a record begin with that wait for one thing.
pub(crate) fn prefix(record: RecordId, lack: Lack) -> Vec<u8> {
    let dep = match lack {
        Lack::Create => FOR_RECORD,
        Lack::Change(dep) => dep,
    };
    [PREFIX, &record.0, &dep.0].concat()
}

/// Keys and places of pending changes, and whether there are more.
pub(crate) type Rows = (Vec<(Vec<u8>, Place)>, bool);

/// The changes of a record that wait for one thing.
pub(crate) fn waiting_for(snapshot: &Snapshot, record: RecordId, lack: Lack, max: usize) -> Result<Rows, ReadError> {
    let (mut rows, mut is_cut) = read_rows(snapshot, &prefix(record, lack), max)?;
    if lack == Lack::Create && !is_cut {
        let (old, is_old_cut) = read_rows(snapshot, &[PREFIX_OLD, &record.0].concat(), max - rows.len())?;
        rows.extend(old);
        is_cut = is_old_cut;
    }
    Ok((rows, is_cut))
}

/// The places of a record's pending changes, at most some thousands of them.
pub(crate) fn places(snapshot: &Snapshot, record: RecordId) -> Result<Vec<Place>, ReadError> {
    let (mut rows, _) = read_rows(snapshot, &[PREFIX, &record.0].concat(), PENDING_READ_MAX)?;
    rows.extend(read_rows(snapshot, &[PREFIX_OLD, &record.0].concat(), PENDING_READ_MAX)?.0);
    Ok(rows.into_iter().map(|(_, place)| place).collect())
}

/// Keys of a record's rows, up to a number.
pub(crate) fn keys(snapshot: &Snapshot, record: RecordId, max: usize) -> Result<Vec<Vec<u8>>, ReadError> {
    let (mut rows, _) = read_rows(snapshot, &[PREFIX, &record.0].concat(), max)?;
    rows.extend(read_rows(snapshot, &[PREFIX_OLD, &record.0].concat(), max)?.0);
    Ok(rows.into_iter().map(|(key, _)| key).collect())
}

fn read_rows(snapshot: &Snapshot, prefix: &[u8], max: usize) -> Result<Rows, ReadError> {
    let page = snapshot.index_with_prefix(prefix, None, max)?;
    // What stands in the key is whole even if the empty value's checksum is not.
    let damaged = page.damaged.iter().map(|damage| damage.key.to_vec());
    let keys = page.rows.into_iter().map(|(key, _)| key).chain(damaged);
    let rows = keys.filter_map(|key| parse(&key).map(|place| (key, place))).collect();
    Ok((rows, page.is_cut))
}

/// What the keys of rows begin with that name what has come although not all that waited for it had its turn.
const BACKLOG_PREFIX: &[u8] = b"backlog/";

/// The key of the row of a backlog.
pub(crate) fn backlog_key(record: RecordId, lack: Lack) -> Vec<u8> {
    [BACKLOG_PREFIX, &prefix(record, lack)[PREFIX.len()..]].concat()
}

/// Backlogs that an earlier process left, as many as one page holds; each that is worked off makes room for others.
pub(crate) fn load_backlog(snapshot: &Snapshot) -> Result<BTreeSet<(RecordId, Lack)>, ReadError> {
    let page = snapshot.index_with_prefix(BACKLOG_PREFIX, None, PENDING_READ_MAX)?;
    let parse = |key: &[u8]| {
        let (record, dep) = key.strip_prefix(BACKLOG_PREFIX)?.split_first_chunk()?;
        let dep = ChangeId::from_slice(dep)?;
        Some((RecordId(*record), if dep == FOR_RECORD { Lack::Create } else { Lack::Change(dep) }))
    };
    Ok(page.rows.iter().filter_map(|(key, _)| parse(key)).collect())
}

/// Reads a pending change.
pub(crate) fn read(views: &Views, snapshot: &Snapshot, place: Place) -> anyhow::Result<Pending> {
    of_entry(views.entry(snapshot, place.log, place.seq)?, place.index)
}

/// A pending change of an entry at hand.
pub(crate) fn of_entry(entry: Arc<DecodedEntry>, index: u16) -> anyhow::Result<Pending> {
    let section = section_of(&entry.change(index)?);
    let id = entry.change_id(index);
    Ok(Pending { entry, index, section, id })
}

/// The section that a change writes.
pub(crate) fn section_of(change: &vatra_model::Change) -> SectionId {
    match change {
        vatra_model::Change::Edit(edit) => edit.section,
        _ => SectionId::Core,
    }
}

/// The place at the end of a key.
fn parse(key: &[u8]) -> Option<Place> {
    const PLACE_BYTES: usize = 26;
    let (_, tail) = key.split_at_checked(key.len().checked_sub(PLACE_BYTES)?)?;
    let (log, rest) = tail.split_first_chunk()?;
    let (seq, rest) = rest.split_first_chunk()?;
    let index = u16::from_be_bytes(rest.try_into().ok()?);
    Some(Place { log: LogId(*log), seq: Seq(u64::from_be_bytes(*seq)), index })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_their_places() {
        let record = RecordId([7; 16]);
        let place = Place { log: LogId([1; 16]), seq: Seq(300), index: 9 };
        for lack in [Lack::Create, Lack::Change(ChangeId([5; 16]))] {
            let key = key(record, lack, place);
            assert!(key.starts_with(&prefix(record, lack)));
            assert_eq!(parse(&key), Some(place));
        }
        assert_eq!(parse(b"short"), None);
    }
}
