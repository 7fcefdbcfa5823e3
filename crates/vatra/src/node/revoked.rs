//! Entries of revoked keys past the ends of their logs, which came before the revocation: they are kept as evidence
//! (ADR 0031), and people must be told which they are.

use std::collections::BTreeSet;

use vatra_model::certificate::{NodeCertificate, SignedCertificate};
use vatra_model::change::record_id;
use vatra_model::charter::{Charter, LogEnd};
use vatra_model::fork::stray_log;
use vatra_model::limits::STRAYS_MAX;
use vatra_model::pack::Packer;
use vatra_model::wire::LogDescriptor;
use vatra_model::{Change, LogId, MemberCode, RecordId, Seq};
use vatra_store::{PageLimits, ReadError, Reader};

use crate::doctor::RevokedEntries;
use crate::node::packing::{unpack_entry, unpack_header};

/// Entries in the places of one log that are read; that there are more is told.
const ENTRIES_MAX: usize = if cfg!(test) { 32 } else { 65_536 };
/// Records that are listed for one log; that there are more is told.
const RECORDS_MAX: usize = if cfg!(test) { 32 } else { 16_384 };
/// Entries that are read at a time, and bytes of them.
const PAGE: PageLimits = PageLimits { rows_max: if cfg!(test) { 8 } else { 512 }, bytes_max: 16 << 20 };

/// What lies past the last valid entry of each of these logs whose key is revoked.
///
/// # Errors
/// The store cannot be read.
pub(crate) fn stored(
    reader: &Reader,
    charter: &Charter,
    logs: impl IntoIterator<Item = (LogId, LogDescriptor)>,
) -> anyhow::Result<Vec<RevokedEntries>> {
    let mut found = Vec::new();
    for (log, descriptor) in logs {
        let Ok(signed) = SignedCertificate::decode(&descriptor.certificate) else { continue };
        let Some(end) = charter.end_of(&signed.certificate().key, &log) else { continue };
        let past = past_end(reader, log, end, signed.certificate())?;
        if past.entries > 0 || past.unreadable > 0 {
            found.push(past);
        }
    }
    Ok(found)
}

fn past_end(reader: &Reader, log: LogId, end: LogEnd, origin: &NodeCertificate) -> anyhow::Result<RevokedEntries> {
    let mut evidence = Evidence::new(origin.member);
    let mut next = end.last.map_or(Seq(0), |(last, _)| last);
    let mut read = 0;
    loop {
        let page = reader.entries(log, next, Seq(u64::MAX), PAGE)?;
        evidence.unreadable += page.damaged.len() as u64;
        for row in &page.rows {
            evidence.add(&row.bytes, end);
        }
        read += page.rows.len() + page.damaged.len();
        match page.last.and_then(Seq::next) {
            Some(after) if page.is_cut && read < ENTRIES_MAX => next = after,
            more => {
                evidence.is_cut = page.is_cut && more.is_some();
                break;
            }
        }
    }
    // A forked log has entries beside its places as well.
    let strays = reader.strays(log, PageLimits { rows_max: STRAYS_MAX, bytes_max: PAGE.bytes_max })?;
    evidence.is_cut |= strays.is_cut;
    evidence.unreadable += strays.damaged.len() as u64;
    for stray in strays.rows.iter().filter(|stray| !end.covers(stray.seq, stray.hash)) {
        match reader.entry(stray_log(log, stray.hash), stray.seq) {
            Ok(Some(bytes)) => evidence.add(&bytes, end),
            Ok(None) | Err(ReadError::Damaged(_)) => evidence.unreadable += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(RevokedEntries {
        log,
        name: origin.node.clone(),
        member: origin.member,
        entries: evidence.entries,
        unreadable: evidence.unreadable,
        is_cut: evidence.is_cut,
        records: evidence.records.into_iter().collect(),
    })
}

/// What was found of one log.
struct Evidence {
    owner: MemberCode,
    packer: Packer,
    entries: u64,
    unreadable: u64,
    is_cut: bool,
    records: BTreeSet<RecordId>,
}

impl Evidence {
    fn new(owner: MemberCode) -> Evidence {
        Evidence { owner, packer: Packer::new(), entries: 0, unreadable: 0, is_cut: false, records: BTreeSet::new() }
    }

    fn add(&mut self, bytes: &[u8], end: LogEnd) {
        if unpack_header(bytes).is_ok_and(|(header, hash)| end.covers(header.seq, hash)) {
            return;
        }
        let Ok(entry) = unpack_entry(&mut self.packer, bytes) else {
            self.unreadable += 1;
            return;
        };
        self.entries += 1;
        for change in entry.changes.iter().filter_map(|slot| Change::decode(slot.bytes()?).ok()) {
            let record = match change {
                Change::Create(create) => record_id(self.owner, &create),
                Change::Edit(edit) => edit.record,
                Change::Open(_) | Change::Unknown { .. } => continue,
            };
            if self.records.len() < RECORDS_MAX {
                self.records.insert(record);
            } else {
                self.is_cut |= !self.records.contains(&record);
            }
        }
    }
}
