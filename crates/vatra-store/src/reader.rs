//! Readers: from any thread, never in the writer's way.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use vatra_model::{EntryHash, LogId, Position, RecordId, Seq};

use crate::engine::{Direction, Engine, EngineError, EngineKind, EngineSnapshot, Health, KeyRange};
use crate::page::{Page, PageLimits};
use crate::recent::{RecentIds, RecentVersions};
use crate::rows::{EntryRow, IdRow, MetaKey, StrayRow, StreamRow, parse_position_key};
use crate::scrub::{KnownDamage, Scrubbed};
use crate::snapshot::{Counts, ReadError, SmallRows, Snapshot};
use crate::space::Space;

/// What readers and the writer of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) recent: RecentVersions,
    pub(crate) damage: Arc<KnownDamage>,
}

/// How often a reader that was overtaken by very many commits starts again.
const SNAPSHOT_TRIES_MAX: usize = 100;

impl Shared {
    pub(crate) fn new(engine: Box<dyn Engine>, recent: RecentIds) -> Shared {
        Shared { engine, recent: RecentVersions::new(recent), damage: Arc::default() }
    }

    /// A snapshot of the engine with the recent id rows that go with it.
    fn snapshot(&self) -> Result<(Box<dyn EngineSnapshot>, Arc<RecentIds>), EngineError> {
        for _ in 0..SNAPSHOT_TRIES_MAX {
            let snapshot = self.engine.snapshot()?;
            if let Some(recent) = self.recent.of_stage(last_stage(&*snapshot)?) {
                return Ok((snapshot, recent));
            }
        }
        Err(EngineError::Reopened)
    }
}

/// The number of the last commit that a snapshot shows and that held id rows.
fn last_stage(snapshot: &dyn EngineSnapshot) -> Result<u64, EngineError> {
    let mut stage = 0;
    snapshot.scan(Space::Recent, KeyRange::ALL, Direction::Reverse, &mut |key, _| {
        stage = parse_position_key(key).unwrap_or_default().0;
        ControlFlow::Break(())
    })?;
    Ok(stage)
}

/// Reads a store from any thread; clones are cheap. Each method sees one moment; take a [`Snapshot`] to see the
/// same moment several times.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

macro_rules! on_a_fresh_snapshot {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// See [`ReadError`].
        pub fn $name(&self, $($arg: $type),*) -> Result<$out, ReadError> {
            self.with_snapshot(|snapshot| snapshot.$name($($arg),*))
        }
    )*};
}

impl Reader {
    /// A view of this moment.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn snapshot(&self) -> Result<Snapshot, ReadError> {
        let (engine, recent) = self.shared.snapshot()?;
        Ok(Snapshot { engine, recent, damage: Arc::clone(&self.shared.damage) })
    }

    on_a_fresh_snapshot! {
        /// [`Snapshot::entry`] of this moment.
        entry(log: LogId, seq: Seq) -> Option<Vec<u8>>;
        /// [`Snapshot::entries`] of this moment.
        entries(log: LogId, from: Seq, to: Seq, limits: PageLimits) -> Page<EntryRow, Seq>;
        /// [`Snapshot::entries_reverse`] of this moment.
        entries_reverse(log: LogId, from: Seq, to: Seq, limits: PageLimits) -> Page<EntryRow, Seq>;
        /// [`Snapshot::log_row`] of this moment.
        log_row(log: LogId) -> Option<Vec<u8>>;
        /// [`Snapshot::log_rows`] of this moment.
        log_rows() -> Page<(LogId, Vec<u8>), LogId>;
        /// [`Snapshot::strays`] of this moment.
        strays(log: LogId, limits: PageLimits) -> Page<StrayRow, (LogId, Seq, EntryHash)>;
        /// [`Snapshot::id`] of this moment.
        id(record: RecordId) -> Option<IdRow>;
        /// [`Snapshot::ids_after`] of this moment.
        ids_after(after: Option<RecordId>, limit: usize) -> Page<(RecordId, IdRow), RecordId>;
        /// [`Snapshot::document`] of this moment.
        document(record: RecordId) -> Option<Vec<u8>>;
        /// [`Snapshot::documents_after`] of this moment.
        documents_after(after: Option<RecordId>, limits: PageLimits) -> Page<(RecordId, Vec<u8>), RecordId>;
        /// [`Snapshot::last_position`] of this moment.
        last_position() -> Position;
        /// [`Snapshot::stream_row`] of this moment.
        stream_row(position: Position) -> Option<StreamRow>;
        /// [`Snapshot::stream_after`] of this moment.
        stream_after(after: Position, limit: usize) -> Page<StreamRow, Position>;
        /// [`Snapshot::stream_before`] of this moment.
        stream_before(before: Option<Position>, limit: usize) -> Page<StreamRow, Position>;
        /// [`Snapshot::history`] of this moment.
        history(record: RecordId, after: Position, limit: usize) -> Vec<Position>;
        /// [`Snapshot::meta`] of this moment.
        meta(key: MetaKey) -> Option<Vec<u8>>;
        /// [`Snapshot::index`] of this moment.
        index(key: &[u8]) -> Option<Vec<u8>>;
        /// [`Snapshot::index_with_prefix`] of this moment.
        index_with_prefix(prefix: &[u8], after: Option<&[u8]>, limit: usize) -> SmallRows;
        /// [`Snapshot::site`] of this moment.
        site(key: &[u8]) -> Option<Vec<u8>>;
        /// [`Snapshot::scrub`] of this moment.
        scrub(space: Space, after: Option<&[u8]>, limits: PageLimits) -> Scrubbed;
        /// [`Snapshot::counts`] of this moment.
        counts() -> Counts;
    }

    /// Bytes the store's data takes on disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.shared.engine.disk_bytes()
    }

    /// Whether the store takes writes.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.engine.health()
    }

    /// The engine under the store.
    #[must_use]
    pub fn engine(&self) -> EngineKind {
        self.shared.engine.kind()
    }

    /// How many rows are known to be damaged: met so since the store was opened, and not written since. At most
    /// [`DAMAGED_ROWS_MAX`](crate::DAMAGED_ROWS_MAX).
    #[must_use]
    pub fn damaged_count(&self) -> u64 {
        self.shared.damage.len() as u64
    }

    /// Places of entries that were met damaged since the last call and still are, and places between entries that have
    /// none.
    ///
    /// # Errors
    /// See [`ReadError`]; what was not told is told by the next call.
    pub fn take_damaged_entries(&self) -> Result<BTreeSet<(LogId, Seq)>, ReadError> {
        let met = self.shared.damage.take_entries();
        if met.is_empty() {
            return Ok(met);
        }
        let damaged = self.snapshot().and_then(|snapshot| snapshot.still_damaged(met.clone()));
        if damaged.is_err() {
            self.shared.damage.put_back(met);
        }
        damaged
    }

    /// Reads at one moment, and once more when the engine was reopened just then.
    fn with_snapshot<T>(&self, read: impl Fn(&Snapshot) -> Result<T, ReadError>) -> Result<T, ReadError> {
        match self.snapshot().and_then(|snapshot| read(&snapshot)) {
            Err(ReadError::Engine(EngineError::Reopened)) => read(&self.snapshot()?),
            result => result,
        }
    }
}
