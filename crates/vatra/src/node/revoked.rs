//! Entries of revoked keys that were stored before the revocation came: they keep their effect (ADR 0009), so people
//! must be told which they are.

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
        let Some(revocation) = charter.revocation(&origin.key) else { continue };
        let last = revocation.last_valid.iter().find(|(revoked, _, _)| *revoked == log);
        let valid = last.map_or(0, |(_, last, _)| last.0.saturating_add(1));
        let mut records = BTreeSet::new();
        let mut packer = Packer::new();
        let page = reader.entries(log, Seq(valid), Seq(u64::MAX), PageLimits::rows(READ_MAX))?;
        let entries = page.rows.len() as u64;
        if entries == 0 {
            continue;
        }
        for row in page.rows {
            let Ok(entry) = unpack_entry(&mut packer, &row.bytes) else { continue };
            for bytes in entry.changes.iter().filter_map(|slot| slot.bytes()) {
                match Change::decode(bytes) {
                    Ok(Change::Create(create)) => drop(records.insert(record_id(origin.member, &create))),
                    Ok(Change::Edit(edit)) => drop(records.insert(edit.record)),
                    Ok(Change::Open(_) | Change::Unknown { .. }) | Err(_) => {}
                }
            }
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
