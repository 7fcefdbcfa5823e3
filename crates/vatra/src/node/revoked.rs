//! Entries of revoked keys past the ends of their logs, which came before the revocation: they are kept as evidence
//! (ADR 0031), and people must be told which they are.

use std::collections::BTreeSet;

use vatra_model::certificate::SignedCertificate;
use vatra_model::change::record_id;
use vatra_model::charter::Charter;
use vatra_model::pack::Packer;
use vatra_model::wire::LogDescriptor;
use vatra_model::{Change, LogId, Seq};
use vatra_store::{PageLimits, Reader};

use crate::doctor::RevokedEntries;
use crate::node::packing::unpack_entry;

/// Entries of one log that are read; more are not counted.
const READ_MAX: usize = 1_024;
/// Records that are named for one log.
const NAMED_MAX: usize = 16;

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
        let origin = signed.certificate();
        let Some(end) = charter.end_of(&origin.key, &log) else { continue };
        let mut records = BTreeSet::new();
        let mut packer = Packer::new();
        let from = end.last.map_or(Seq(0), |(last, _)| last);
        let page = reader.entries(log, from, Seq(u64::MAX), PageLimits::rows(READ_MAX))?;
        let mut entries = 0;
        for row in page.rows {
            let Ok(entry) = unpack_entry(&mut packer, &row.bytes) else { continue };
            if end.covers(row.seq, entry.header.hash()) {
                continue;
            }
            entries += 1;
            for bytes in entry.changes.iter().filter_map(|slot| slot.bytes()) {
                match Change::decode(bytes) {
                    Ok(Change::Create(create)) => drop(records.insert(record_id(origin.member, &create))),
                    Ok(Change::Edit(edit)) => drop(records.insert(edit.record)),
                    Ok(Change::Open(_) | Change::Unknown { .. }) | Err(_) => {}
                }
            }
        }
        if entries == 0 {
            continue;
        }
        found.push(RevokedEntries {
            log,
            name: origin.node.clone(),
            member: origin.member,
            entries,
            records: records.into_iter().take(NAMED_MAX).collect(),
        });
    }
    Ok(found)
}
