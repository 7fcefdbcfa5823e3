//! What one commit of a store holds, its limits, and how it becomes a batch of checked rows.

use std::collections::BTreeMap;

use thiserror::Error;
use vatra_model::{LogId, Position, RecordId};

use crate::damage::{CHECKSUM_BYTES, checksum};
use crate::engine::{Batch, EngineError, ReadOnlyReason};
use crate::rows::{EntryRow, IdRow, MetaKey, StrayRow, StreamRow, entry_key, history_key, position_key, stray_key};
use crate::space::Space;

/// Changes that one commit should gather when there is a backlog: one entry's worth. Larger groups gain little.
pub const GROUP_CHANGES: usize = 256;
/// Changes that one commit may hold.
pub const COMMIT_CHANGES_MAX: usize = 16 * GROUP_CHANGES;
/// Bytes of keys and values that one commit may hold.
pub const COMMIT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Rows that become durable together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Entries to add, or to replace where a damaged one was fetched again.
    pub entries: Vec<EntryRow>,
    /// What is known of logs, in the caller's encoding.
    pub logs: Vec<(LogId, Vec<u8>)>,
    /// Entries past a fork.
    pub strays: Vec<StrayRow>,
    /// Changes in the order of their positions, which go on from [`crate::Snapshot::last_position`].
    pub stream: Vec<StreamRow>,
    /// Where records were created and last changed: a row for each record in `stream`, and others that changed.
    /// The store keeps each record's history from both.
    pub ids: Vec<(RecordId, IdRow)>,
    /// Edited records in the caller's encoding.
    pub documents: Vec<(RecordId, Vec<u8>)>,
    /// Single values of the store as a whole.
    pub meta: Vec<(MetaKey, Vec<u8>)>,
    /// Small auxiliary rows, put or (with `None`) deleted.
    pub index: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Rows of the site plane, put or (with `None`) deleted.
    pub site: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// A commit was refused. Nothing of it is shown or will be.
#[derive(Debug, Error)]
pub enum CommitError {
    /// No space is left. Reads go on; writing resumes by itself when there is space. An operator must free some.
    #[error("the store is full, so nothing was stored")]
    Full(#[source] EngineError),
    /// The disk failed. Reads go on as far as they can; writing is tried again by itself. An operator must look
    /// at the disk.
    #[error("the store's disk failed, so nothing was stored")]
    Io(#[source] EngineError),
    /// The store takes no writes until it is opened again; an operator must check it with `vatra fsck`.
    #[error("the store is damaged and takes no writes, so nothing was stored")]
    Poisoned(#[source] EngineError),
    /// Our own mistake: the positions do not go on where the stream ends.
    #[error("the next stream position is {expected}, but the commit holds {found}")]
    Position {
        /// The position that comes next.
        expected: Position,
        /// The position found.
        found: Position,
    },
    /// Our own mistake: the commit holds too much. Split it.
    #[error("a commit may hold {limit} {what}, not {found}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        found: usize,
        /// How much there may be.
        limit: usize,
    },
}

impl From<EngineError> for CommitError {
    fn from(error: EngineError) -> CommitError {
        match &error {
            EngineError::Full(_) | EngineError::ReadOnly(ReadOnlyReason::Full) => CommitError::Full(error),
            EngineError::Damaged { .. } | EngineError::ReadOnly(ReadOnlyReason::Damaged) => {
                CommitError::Poisoned(error)
            }
            EngineError::Io(_)
            | EngineError::ReadOnly(ReadOnlyReason::Io)
            | EngineError::Reopened
            | EngineError::Closed => CommitError::Io(error),
        }
    }
}

impl Commit {
    /// Whether there is nothing to store.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.row_count() == 0
    }

    /// The number of rows in all.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.entries.len()
            + self.logs.len()
            + self.strays.len()
            + self.stream.len()
            + self.ids.len()
            + self.documents.len()
            + self.meta.len()
            + self.index.len()
            + self.site.len()
    }

    /// The batch of checked rows but for the id rows, if positions and sizes are right.
    pub(crate) fn to_batch(&self, expected: Position) -> Result<Batch, CommitError> {
        self.check_positions(expected)?;
        within("changes", self.stream.len(), COMMIT_CHANGES_MAX)?;
        const SMALL_ROW_BYTES: usize = 128;
        let entry_bytes: usize = self.entries.iter().map(|entry| entry.bytes.len()).sum();
        let mut rows = Rows(Batch::with_capacity(self.row_count(), entry_bytes + self.row_count() * SMALL_ROW_BYTES));
        for entry in &self.entries {
            rows.put(Space::Entries, &entry_key(entry.log, entry.seq), &entry.bytes);
        }
        for (log, bytes) in &self.logs {
            rows.put(Space::Logs, &log.0, bytes);
        }
        for stray in &self.strays {
            rows.put(Space::Strays, &stray_key(stray.log, stray.seq, stray.hash), &stray.bytes);
        }
        for row in &self.stream {
            rows.put(Space::Stream, &position_key(row.position), &row.encode());
        }
        let created: BTreeMap<RecordId, Position> = self.ids.iter().map(|(record, id)| (*record, id.created)).collect();
        for row in self.stream.iter().filter(|row| created.get(&row.record) != Some(&row.position)) {
            rows.put(Space::History, &history_key(row.record, row.position), &[]);
        }
        for (record, bytes) in &self.documents {
            rows.put(Space::Documents, &record.0, bytes);
        }
        for (key, bytes) in &self.meta {
            rows.put(Space::Meta, key.as_bytes(), bytes);
        }
        for (space, small) in [(Space::Index, &self.index), (Space::Site, &self.site)] {
            for (key, value) in small {
                match value {
                    Some(value) => rows.put(space, key, value),
                    None => rows.0.delete(space, key),
                }
            }
        }
        within("bytes", rows.0.byte_len(), COMMIT_BYTES_MAX)?;
        Ok(rows.0)
    }

    fn check_positions(&self, mut expected: Position) -> Result<(), CommitError> {
        for row in &self.stream {
            if row.position != expected {
                return Err(CommitError::Position { expected, found: row.position });
            }
            expected = Position(expected.0 + 1);
        }
        Ok(())
    }
}

fn within(what: &'static str, found: usize, limit: usize) -> Result<(), CommitError> {
    if found <= limit { Ok(()) } else { Err(CommitError::TooLarge { what, found, limit }) }
}

/// A batch whose values get their checksums.
struct Rows(Batch);

impl Rows {
    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) {
        let sum: [u8; CHECKSUM_BYTES] = checksum(space, key, value);
        self.0.put_parts(space, key, &[value, &sum]);
    }
}
