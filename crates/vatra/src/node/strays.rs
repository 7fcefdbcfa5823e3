//! Forked logs in the store: their proofs, and where strays and headers lie.
//!
//! Entries that a store held before it knew of a fork stay in their places. Those that come later are kept under a
//! name of their own ([`stray_log`]), so that several may claim one place; a small row beside each lists them by log.

use std::collections::BTreeMap;

use anyhow::Context;
use vatra_model::entry::{HEADER_LEN, SIGNED_HEADER_LEN};
use vatra_model::fork::{ForkProof, SignedHeader, stray_log};
use vatra_model::limits::STRAYS_MAX;
use vatra_model::{EntryHash, LogId, Seq, codec};
use vatra_replica::{AheadRow, CheckedFork};
use vatra_store::{PAGE_ROWS_MAX, PageLimits, ReadError, Reader, Snapshot, StrayRow};

use crate::node::packing::unpack_header;

/// What the keys of proofs in the store's index begin with; the log follows.
const FORK_PREFIX: &[u8] = b"fork/";
/// Bytes of entries that one look through the store reads at a time.
const PAGE_BYTES: usize = 16 << 20;

/// The index row of a fork.
pub(crate) fn fork_row(fork: &CheckedFork) -> (Vec<u8>, Option<Vec<u8>>) {
    ([FORK_PREFIX, &fork.log.0].concat(), Some(codec::encode(&fork.proof)))
}

/// The list row of a stray; its entry is stored under [`stray_log`].
pub(crate) fn stray_row(log: LogId, seq: Seq, hash: EntryHash, prev: EntryHash) -> StrayRow {
    StrayRow { log, seq, hash, bytes: prev.0.to_vec() }
}

/// All forks that the store knows, by log. Their signatures are checked by who believes them.
pub(crate) fn forks(reader: &Reader) -> anyhow::Result<BTreeMap<LogId, CheckedFork>> {
    let mut forks = BTreeMap::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = reader.index_with_prefix(FORK_PREFIX, after.as_deref(), PAGE_ROWS_MAX)?;
        for damage in &page.damaged {
            tracing::error!(%damage, "the proof of a fork is damaged; it is fetched again from peers");
        }
        for (key, value) in &page.rows {
            let log = key.strip_prefix(FORK_PREFIX).and_then(LogId::from_slice).context("the key of a fork")?;
            let proof: ForkProof = codec::decode(value, "the proof of a fork")?;
            let place = proof.place(log).context("the proof of a fork in the store")?;
            forks.insert(log, CheckedFork { log, place, proof });
        }
        match page.last {
            Some(last) if page.is_cut => after = Some(last),
            _ => return Ok(forks),
        }
    }
}

/// The listed strays of a log: those kept under names of their own.
pub(crate) fn listed(reader: &Reader, log: LogId) -> anyhow::Result<Vec<AheadRow>> {
    let page = reader.strays(log, PageLimits { rows_max: STRAYS_MAX, bytes_max: PAGE_BYTES })?;
    for damage in &page.damaged {
        tracing::error!(%damage, "a stray is no longer listed; it is fetched again from peers");
    }
    let row = |row: StrayRow| {
        let prev = EntryHash::from_slice(&row.bytes)?;
        Some(AheadRow { seq: row.seq.0, hash: row.hash, prev })
    };
    // One that cannot be read is missing, and is fetched again from peers.
    let is_whole = |row: &AheadRow| matches!(reader.entry(stray_log(log, row.hash), Seq(row.seq)), Ok(Some(_)));
    Ok(page.rows.into_iter().filter_map(row).filter(is_whole).collect())
}

/// The packed bytes of a stray, wherever it is kept; `None` if it is damaged there.
pub(crate) fn stray_bytes(
    reader: &Reader,
    log: LogId,
    seq: Seq,
    hash: EntryHash,
) -> Result<Option<Vec<u8>>, ReadError> {
    let is_it = |bytes: &Vec<u8>| unpack_header(bytes).is_ok_and(|(_, found)| found == hash);
    let read = |name: LogId| match reader.entry(name, seq) {
        Err(ReadError::Damaged(_)) => Ok(None),
        read => read,
    };
    match read(log)?.filter(is_it) {
        Some(bytes) => Ok(Some(bytes)),
        None => read(stray_log(log, hash)),
    }
}

/// The signed header of a stored entry.
pub(crate) fn signed_header(bytes: &[u8]) -> Option<SignedHeader> {
    let header = *bytes.first_chunk::<HEADER_LEN>()?;
    let signature = bytes.get(HEADER_LEN..SIGNED_HEADER_LEN)?.try_into().ok()?;
    Some(SignedHeader { header, signature })
}

/// Signed headers of a log in their places, from one on, over gaps. Damaged ones are passed over.
pub(crate) fn headers(reader: &Reader, log: LogId, from: u64, count_max: usize) -> anyhow::Result<Vec<SignedHeader>> {
    let mut headers = Vec::new();
    let mut next = Seq(from);
    while headers.len() < count_max {
        let rows_max = (count_max - headers.len()).min(PAGE_ROWS_MAX);
        let page = reader.entries(log, next, Seq(u64::MAX), PageLimits { rows_max, bytes_max: PAGE_BYTES })?;
        headers.extend(page.rows.iter().filter_map(|row| signed_header(&row.bytes)));
        match page.last.and_then(Seq::next) {
            Some(after) if page.is_cut => next = after,
            _ => break,
        }
    }
    Ok(headers)
}

/// Whether a name is that of a stray with this header.
pub(crate) fn is_name_of(name: LogId, log: LogId, hash: EntryHash) -> bool {
    stray_log(log, hash) == name
}

/// The last hash of a trunk that ends at a place; `None` if the entry before it cannot be read.
pub(crate) fn trunk_hash(snapshot: &Snapshot, log: LogId, place: u64) -> Option<EntryHash> {
    let last = Seq(place.checked_sub(1)?);
    let bytes = snapshot.entry(log, last).ok().flatten()?;
    unpack_header(&bytes).ok().map(|(_, hash)| hash)
}
