//! Where revocations end the logs of a key.

use std::collections::BTreeMap;

use super::CharterEpoch;
use crate::ids::{EntryHash, LogId, NodeKey, Seq};

/// Where a log of a revoked key ends: its last valid entry, if it has one.
///
/// Entries before that one stay valid for good; what lies past it has no effect anywhere, and neither has another entry
/// in its place (DESIGN 4; FAULTS S11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct LogEnd {
    /// Place and hash of the last valid entry; `None` if nothing of the log is valid.
    pub last: Option<(Seq, EntryHash)>,
}

/// What all epochs together say of revoked keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ended {
    keys: BTreeMap<NodeKey, BTreeMap<LogId, (Seq, EntryHash)>>,
}

impl LogEnd {
    /// The first place that is no longer of the log.
    #[must_use]
    pub fn place(&self) -> u64 {
        self.last.map_or(0, |(last, _)| last.0.saturating_add(1))
    }

    /// Whether an entry of the log has a place before the end, and in the last such place is the named one.
    #[must_use]
    pub fn covers(&self, seq: Seq, hash: EntryHash) -> bool {
        self.last.is_some_and(|(last, named)| seq < last || (seq == last && hash == named))
    }
}

impl Ended {
    /// Adds what an epoch says. A key that was revoked once stays revoked, and a log's end is the lowest that any epoch
    /// named: one that an epoch does not name any more has nothing valid.
    pub(super) fn add(&mut self, epoch: &CharterEpoch) {
        for revocation in &epoch.revocations {
            let named = revocation.last_valid.iter().map(|(log, seq, hash)| (*log, (*seq, *hash)));
            let mut named: BTreeMap<LogId, (Seq, EntryHash)> = named.collect();
            if let Some(before) = self.keys.get(&revocation.key) {
                named.retain(|log, _| before.contains_key(log));
                for (log, last) in &mut named {
                    // Of two hashes for one place the first counts.
                    *last = before.get(log).filter(|before| before.0 <= last.0).copied().unwrap_or(*last);
                }
            }
            self.keys.insert(revocation.key, named);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn is_revoked(&self, key: &NodeKey) -> bool {
        self.keys.contains_key(key)
    }

    pub(super) fn end_of(&self, key: &NodeKey, log: &LogId) -> Option<LogEnd> {
        let logs = self.keys.get(key)?;
        Some(LogEnd { last: logs.get(log).copied() })
    }
}
