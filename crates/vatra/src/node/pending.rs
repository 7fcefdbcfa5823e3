//! Changes without a place in the stream: those that wait for what they rest on, those that found no room to wait,
//! and those of records that cannot be shown yet.
//!
//! A small row names each, so that it is brought to its record again when it may have its turn, and so that a
//! record can be made anew from all its changes.

use std::sync::Arc;

use vatra_model::{ChangeId, LogId, RecordId, SectionId, Seq};
use vatra_store::{ReadError, Snapshot};

use crate::node::views::{DecodedEntry, Views};

/// What the keys of these rows begin with.
const PREFIX: &[u8] = b"pending/";
/// Pending changes of one record that are looked at at a time.
const PENDING_READ_MAX: usize = 4096;

/// A change without a place in the stream.
#[derive(Clone)]
pub(crate) struct Pending {
    pub(crate) entry: Arc<DecodedEntry>,
    pub(crate) index: u16,
    pub(crate) section: SectionId,
    pub(crate) id: ChangeId,
}

/// Where the bytes of a pending change are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) log: LogId,
    pub(crate) seq: Seq,
    pub(crate) index: u16,
}

impl Pending {
    /// The key of its row.
    pub(crate) fn key(&self, record: RecordId) -> Vec<u8> {
        let header = &self.entry.entry.header;
        key(record, Place { log: header.log, seq: header.seq, index: self.index })
    }
}

/// The key of a pending change's row.
pub(crate) fn key(record: RecordId, place: Place) -> Vec<u8> {
    [PREFIX, &record.0, &place.log.0, &place.seq.0.to_be_bytes(), &place.index.to_be_bytes()].concat()
}

/// The places of a record's pending changes, and whether there are more.
pub(crate) fn places(snapshot: &Snapshot, record: RecordId) -> Result<(Vec<Place>, bool), ReadError> {
    let prefix = [PREFIX, &record.0].concat();
    let page = snapshot.index_with_prefix(&prefix, None, PENDING_READ_MAX)?;
    // What stands in the key is whole even if the empty value's checksum is not.
    let damaged = page.damaged.iter().filter_map(|damage| parse(&damage.key[..], &prefix));
    let places = page.rows.iter().filter_map(|(key, _)| parse(key, &prefix)).chain(damaged).collect();
    Ok((places, page.is_cut))
}

/// A record's pending changes that can be read, and whether there are more.
pub(crate) fn load(views: &Views, snapshot: &Snapshot, record: RecordId) -> Result<(Vec<Pending>, bool), ReadError> {
    let (places, mut is_cut) = places(snapshot, record)?;
    let mut pending = Vec::with_capacity(places.len());
    for place in places {
        match read(views, snapshot, place) {
            Ok(change) => pending.push(change),
            Err(error) => {
                is_cut = true;
                tracing::error!(%record, error = format!("{error:#}"), "a change that waits cannot be read");
            }
        }
    }
    Ok((pending, is_cut))
}

fn read(views: &Views, snapshot: &Snapshot, place: Place) -> anyhow::Result<Pending> {
    let entry = views.entry(snapshot, place.log, place.seq)?;
    let section = section_of(&entry.change(place.index)?);
    let id = entry.change_id(place.index);
    Ok(Pending { entry, index: place.index, section, id })
}

/// The section that a change writes.
pub(crate) fn section_of(change: &vatra_model::Change) -> SectionId {
    match change {
        vatra_model::Change::Edit(edit) => edit.section,
        _ => SectionId::Core,
    }
}

fn parse(key: &[u8], prefix: &[u8]) -> Option<Place> {
    let (log, rest) = key.strip_prefix(prefix)?.split_first_chunk()?;
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
        let key = key(record, place);
        assert_eq!(parse(&key, &[PREFIX, &record.0].concat()), Some(place));
        assert_eq!(parse(&key[..key.len() - 1], &[PREFIX, &record.0].concat()), None);
    }
}
