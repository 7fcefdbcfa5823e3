//! The rows that a worked-out batch comes to.

use vatra_model::{Head, codec};
use vatra_replica::LogRow;
use vatra_store::MetaKey;

use super::round::Round;
use super::{PART_DOCUMENT_BYTES_MAX, Projected, Projector};
use crate::node::boot::{LifeRow, STATE};
use crate::node::lives::{self, Life};
use crate::node::pending;
use crate::node::strays::fork_row;
use crate::node::views::{DocumentRow, FLAG_EDITED, FLAG_PENDING};

/// A log's row is written again when the log has grown by so many entries; where it ends meanwhile is found by
/// its entries at start. So most commits touch one table less.
const LOG_ROW_EVERY: u64 = 256;

impl Projector {
    /// Completes the commit of a round.
    pub(super) fn finish(&self, mut round: Round<'_>) -> anyhow::Result<Projected> {
        let mut document_bytes = 0;
        for (record, mut working) in std::mem::take(&mut round.working) {
            let will_wait = working.is_changed && working.will_wait(&round, record)?;
            let out = &mut round.out;
            let waiting = std::mem::take(&mut working.waiting);
            out.commit.index.extend(waiting.into_iter().map(|(key, row)| (key, row.map(|_| Vec::new()))));
            if working.is_edited {
                working.id.flags[0] |= FLAG_EDITED;
                let loaded = working.record.as_ref().expect("an edited record was loaded");
                let mut row = DocumentRow::write(working.item, loaded);
                if document_bytes + row.len() > PART_DOCUMENT_BYTES_MAX {
                    row = DocumentRow::without_record(working.item);
                }
                document_bytes += row.len();
                out.commit.documents.push((record, row));
            }
            if working.is_changed {
                working.id.flags[0] &= !FLAG_PENDING;
                working.id.flags[0] |= if will_wait { FLAG_PENDING } else { 0 };
                out.commit.ids.push((record, working.id));
            }
        }
        let out = &mut round.out;
        let quarantined = out.quarantined.iter().filter_map(|change| self.quarantine.row(change));
        out.commit.index.extend(quarantined.map(|(key, row)| (key, Some(row))));
        let backlog = out.backlog.iter();
        let backlog =
            backlog.map(|((record, lack), is_left)| (pending::backlog_key(*record, *lack), is_left.then(Vec::new)));
        out.commit.index.extend(backlog);
        out.state.digest = round.digest.0;
        if out.next_entry < round.batch.entries.len() {
            // How far a log goes is told with the last part. Until then its entries are found as ones beyond a
            // gap, for which the log must be known.
            for (log, row) in &round.batch.logs {
                if round.snapshot.log_row(*log)?.is_none() {
                    let row = LogRow { descriptor: row.descriptor.clone(), head: Head::EMPTY };
                    out.commit.logs.push((*log, codec::encode(&row)));
                }
            }
        } else {
            for (log, row) in &round.batch.logs {
                let written = match self.heights.get(log) {
                    Some(height) => Some(*height),
                    None => round.snapshot.log_row(*log)?.map(|row| written_height(&row)).transpose()?,
                };
                if written.is_none_or(|height| row.head.height >= height.saturating_add(LOG_ROW_EVERY)) {
                    out.commit.logs.push((*log, codec::encode(row)));
                    out.heights.push((*log, row.head.height));
                } else {
                    out.heights.extend(written.map(|height| (*log, height)));
                }
            }
            out.commit.index.extend(round.batch.forks.iter().map(fork_row));
        }
        // With the first part, as entries are judged by it.
        if let Some(charter) = &round.batch.charter {
            out.commit.meta.push((MetaKey::CHARTER, charter.clone()));
        }
        if let Some((incarnation, opened, why)) = round.batch.incarnation {
            let life = LifeRow { incarnation, opened, boot: self.life.boot };
            out.commit.meta.push((MetaKey::INCARNATION, codec::encode(&life)));
            let noted = Life { incarnation, opened, reason: Some(lives::reason_of(why).to_owned()) };
            lives::note(&mut out.commit, lives::read(&self.views.reader)?, noted);
        }
        out.commit.meta.push((STATE, codec::encode(&out.state)));
        Ok(round.out)
    }
}

/// How far a stored row tells that its log goes.
fn written_height(row: &[u8]) -> anyhow::Result<u64> {
    Ok(codec::decode::<LogRow>(row, "a log's row")?.head.height)
}
