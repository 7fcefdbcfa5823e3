//! The redb engine: one file, copy-on-write trees, quick repair on.
//!
//! After any I/O error a redb handle refuses everything. It is dropped and opened again, so that reads go on;
//! commits are refused and tried again at most once per second until one succeeds. A panic of redb on a damaged
//! file becomes an error.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::{
    Database, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTableMetadata, TableDefinition,
};

use crate::engine::fault::{caught, from_io, from_panic, guarded, reason};
use crate::engine::gate::Gate;
use crate::engine::memory::bound;
use crate::engine::{Batch, Direction, Engine, EngineError, EngineKind, EngineSnapshot, Health, KeyRange, Visitor};
use crate::space::Space;

/// Opens the database file, the first time and after each failure.
type Opener = Box<dyn Fn() -> Result<Database, redb::DatabaseError> + Send + Sync>;

/// An engine in one redb file.
pub(crate) struct RedbEngine {
    shared: Arc<Shared>,
    gate: Gate,
    /// Held by the one commit at work. Holds a batch that reached the disk although its commit failed, and has
    /// to be taken back before the next one.
    owed: Mutex<Option<Batch>>,
}

struct Shared {
    open: Opener,
    path: Option<PathBuf>,
    handle: RwLock<Handle>,
    /// The latest generation that was seen to be unusable.
    dead_generation: AtomicU64,
}

struct Handle {
    database: Option<Database>,
    /// Raised at each opening, from 1.
    generation: u64,
}

type Table = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// A commit failed.
struct Failed {
    error: EngineError,
    /// What the rows were before, by the batch's sorted order, when the failure came so late that the batch may
    /// be on the disk nevertheless.
    before: Option<Vec<Option<Vec<u8>>>>,
}

const fn table(space: Space) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(space.name())
}

impl RedbEngine {
    /// Opens the file, or creates it.
    pub(crate) fn open(path: &Path, cache_bytes: usize) -> Result<RedbEngine, EngineError> {
        let file = path.to_path_buf();
        let open = move || {
            forget_cached_pages(&file);
            Database::builder().set_cache_size(cache_bytes).create(&file)
        };
        RedbEngine::open_with(Box::new(open), Some(path.to_path_buf()))
    }

    /// Opens a database by any means; tests bring a disk that fails.
    pub(crate) fn open_with(open: Opener, path: Option<PathBuf>) -> Result<RedbEngine, EngineError> {
        let database = guarded("the whole file", || {
            let database = open().map_err(classify)?;
            create_missing_tables(&database)?;
            Ok(database)
        })?;
        let handle = RwLock::new(Handle { database: Some(database), generation: 1 });
        let shared = Arc::new(Shared { open, path, handle, dead_generation: AtomicU64::new(0) });
        Ok(RedbEngine { shared, gate: Gate::default(), owed: Mutex::new(None) })
    }

    /// One try with the present handle; on failure the handle is dead afterwards.
    fn attempt(&self, batch: &Batch) -> Result<(), Failed> {
        let handle = self.shared.live().map_err(|error| Failed { error, before: None })?;
        let database = handle.database.as_ref().expect("a live handle has a database");
        let result = match caught(|| write(database, batch)) {
            Ok(result) => result,
            // A panic may have come at any point; it shuts the gate for good, so nothing needs taking back.
            Err(panic) => Err(Failed { error: from_panic("the whole file", &*panic), before: None }),
        };
        if result.is_err() {
            self.shared.mark_dead(handle.generation);
        }
        result
    }

    /// After a failed commit: opens the file again, finds out whether the batch is there nevertheless, and takes
    /// it back.
    fn recover(&self, batch: &Batch, before: Option<&[Option<Vec<u8>>]>, owed: &mut Option<Batch>) {
        let inverse = before.and_then(|before| match self.landed(batch, before) {
            Ok(true) => Some(inverse(batch, before)),
            Ok(false) => None,
            Err(error) => {
                // Not knowing is safe: taking back a batch that is not there changes nothing.
                tracing::warn!(%error, "could not tell whether a failed commit reached the disk");
                Some(inverse(batch, before))
            }
        });
        if let Some(inverse) = inverse
            && self.attempt(&inverse).is_err()
        {
            *owed = Some(inverse);
        }
        // Reads need a live handle now, not at the next commit.
        if let Err(error) = self.shared.live() {
            tracing::error!(%error, "the store could not be reopened after a failed commit");
        }
    }

    /// Whether the rows are as the batch wanted them, and not as they were before.
    fn landed(&self, batch: &Batch, before: &[Option<Vec<u8>>]) -> Result<bool, EngineError> {
        let changed = batch.sorted().into_iter().zip(before).find(|(op, before)| op.value != before.as_deref());
        let Some((op, _)) = changed else { return Ok(false) };
        Ok(self.snapshot()?.get(op.space, op.key)?.as_deref() == op.value)
    }
}

impl Engine for RedbEngine {
    fn commit(&self, batch: &Batch) -> Result<(), EngineError> {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        self.gate.admit().map_err(EngineError::ReadOnly)?;
        let mut result = match owed.take() {
            None => Ok(()),
            Some(inverse) => self.attempt(&inverse).map_err(|failed| {
                *owed = Some(inverse);
                Failed { before: None, ..failed }
            }),
        };
        if result.is_ok() {
            result = self.attempt(batch);
        }
        let failed = match result {
            Ok(()) => {
                if self.gate.open() {
                    tracing::info!("the store takes writes again");
                }
                return Ok(());
            }
            Err(failed) => failed,
        };
        let reason = reason(&failed.error);
        self.recover(batch, failed.before.as_deref(), &mut owed);
        if self.gate.shut(reason) {
            tracing::error!(error = %failed.error, "the store takes no writes until its disk does again");
        }
        Err(failed.error)
    }

    fn snapshot(&self) -> Result<Box<dyn EngineSnapshot>, EngineError> {
        let handle = self.shared.live()?;
        let database = handle.database.as_ref().expect("a live handle has a database");
        let begun = guarded("the whole file", || database.begin_read().map_err(classify));
        match begun {
            Ok(transaction) => Ok(Box::new(RedbSnapshot {
                transaction,
                tables: Default::default(),
                shared: Arc::clone(&self.shared),
                generation: handle.generation,
            })),
            Err(error) => {
                self.shared.mark_dead(handle.generation);
                Err(error)
            }
        }
    }

    fn health(&self) -> Health {
        self.gate.health()
    }

    fn kind(&self) -> EngineKind {
        EngineKind::Redb
    }

    fn disk_bytes(&self) -> u64 {
        const BLOCK_BYTES: u64 = 512;
        let path = self.shared.path.as_deref();
        path.and_then(|path| path.metadata().ok()).map_or(0, |metadata| metadata.blocks() * BLOCK_BYTES)
    }
}

impl fmt::Debug for RedbEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbEngine").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl Shared {
    /// A usable handle; opens the file again when the last one died.
    fn live(&self) -> Result<RwLockReadGuard<'_, Handle>, EngineError> {
        let handle = self.read();
        if self.is_usable(&handle) {
            return Ok(handle);
        }
        drop(handle);
        let mut handle = self.write();
        if !self.is_usable(&handle) {
            // Dropping closes the file and releases its lock; snapshots of it answer `Reopened` from now on.
            // redb may panic while closing a file that it failed on.
            let old = handle.database.take();
            let _ = caught(move || drop(old));
            handle.database = Some(guarded("the whole file", || (self.open)().map_err(classify))?);
            handle.generation += 1;
        }
        drop(handle);
        let handle = self.read();
        if self.is_usable(&handle) { Ok(handle) } else { Err(EngineError::Closed) }
    }

    fn is_usable(&self, handle: &Handle) -> bool {
        handle.database.is_some() && self.dead_generation.load(Ordering::Acquire) < handle.generation
    }

    fn mark_dead(&self, generation: u64) {
        self.dead_generation.fetch_max(generation, Ordering::AcqRel);
    }

    // Opening is the only thing done under the write lock and is itself guarded against panics.
    fn read(&self) -> RwLockReadGuard<'_, Handle> {
        self.handle.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Handle> {
        self.handle.write().unwrap_or_else(PoisonError::into_inner)
    }
}

struct RedbSnapshot {
    transaction: ReadTransaction,
    tables: [OnceLock<Table>; Space::COUNT],
    shared: Arc<Shared>,
    generation: u64,
}

impl RedbSnapshot {
    /// Runs a read. An error that leaves the handle unusable makes the next reader or writer open it again.
    fn run<T>(&self, space: Space, read: impl FnOnce(&Table) -> Result<T, redb::Error>) -> Result<T, EngineError> {
        let result = caught(|| read(self.table(space)?));
        let (error, handle_is_usable) = match result {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(redb::Error::Corrupted(why))) => (EngineError::Damaged { place: space.name(), why }, true),
            Ok(Err(error)) => (classify(error), false),
            // redb's own locks may be poisoned by now.
            Err(panic) => (from_panic(space.name(), &*panic), false),
        };
        if !handle_is_usable {
            self.shared.mark_dead(self.generation);
        }
        Err(error)
    }

    fn table(&self, space: Space) -> Result<&Table, redb::Error> {
        let cell = &self.tables[space.slot()];
        if let Some(table) = cell.get() {
            return Ok(table);
        }
        let table = self.transaction.open_table(table(space))?;
        Ok(cell.get_or_init(|| table))
    }
}

impl EngineSnapshot for RedbSnapshot {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.run(space, |table| Ok(table.get(key)?.map(|value| value.value().to_vec())))
    }

    fn scan(
        &self,
        space: Space,
        range: KeyRange<'_>,
        direction: Direction,
        visit: &mut Visitor<'_>,
    ) -> Result<(), EngineError> {
        if range.is_empty() {
            return Ok(());
        }
        self.run(space, |table| {
            let mut rows = table.range::<&[u8]>((bound(range.from), bound(range.to)))?;
            loop {
                let row = match direction {
                    Direction::Forward => rows.next(),
                    Direction::Reverse => rows.next_back(),
                };
                let Some(row) = row else { return Ok(()) };
                let (key, value) = row?;
                if let ControlFlow::Break(()) = visit(key.value(), value.value()) {
                    return Ok(());
                }
            }
        })
    }

    fn len(&self, space: Space) -> Result<u64, EngineError> {
        self.run(space, |table| Ok(table.len()?))
    }
}

/// Writes the batch in one transaction. Errors come with the rows' old values once the commit itself began.
fn write(database: &Database, batch: &Batch) -> Result<(), Failed> {
    let early = |error: redb::Error| Failed { error: classify(error), before: None };
    let mut transaction = database.begin_write().map_err(|error| early(error.into()))?;
    transaction.set_durability(Durability::Immediate).map_err(|error| early(error.into()))?;
    // Saves the allocator in the commit: opening after a kill takes a millisecond, not a walk of the whole file.
    transaction.set_quick_repair(true);
    let ops = batch.sorted();
    let mut before = Vec::with_capacity(ops.len());
    for run in ops.chunk_by(|a, b| a.space == b.space) {
        let mut table = transaction.open_table(table(run[0].space)).map_err(|error| early(error.into()))?;
        for op in run {
            let old = match op.value {
                Some(value) => table.insert(op.key, value),
                None => table.remove(op.key),
            };
            before.push(old.map_err(|error| early(error.into()))?.map(|old| old.value().to_vec()));
        }
    }
    transaction.commit().map_err(|error| Failed { error: classify(error), before: Some(before) })
}

/// The batch that restores what was before a batch.
fn inverse(batch: &Batch, before: &[Option<Vec<u8>>]) -> Batch {
    let mut inverse = Batch::new();
    for (op, before) in batch.sorted().into_iter().zip(before) {
        match before {
            Some(value) => inverse.put(op.space, op.key, value),
            None => inverse.delete(op.space, op.key),
        }
    }
    inverse
}

/// So that later reads never meet a missing table.
fn create_missing_tables(database: &Database) -> Result<(), EngineError> {
    let transaction = database.begin_read().map_err(classify)?;
    let tables_present = transaction.list_tables().map_err(classify)?.count();
    drop(transaction);
    if tables_present == Space::COUNT {
        return Ok(());
    }
    let mut transaction = database.begin_write().map_err(classify)?;
    transaction.set_quick_repair(true);
    for space in Space::ALL {
        transaction.open_table(table(space)).map_err(classify)?;
    }
    transaction.commit().map_err(classify)
}

/// After a failed flush the kernel may show pages as clean that never reached the disk. Dropping them makes the
/// next open see what the disk has. Best effort: where it does not work, redb's two-phase commit still keeps its
/// trees whole.
fn forget_cached_pages(path: &Path) {
    if let Ok(file) = File::open(path) {
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    }
}

fn classify(error: impl Into<redb::Error>) -> EngineError {
    match error.into() {
        redb::Error::Io(error) => from_io(error),
        redb::Error::PreviousIo | redb::Error::DatabaseClosed => EngineError::Reopened,
        redb::Error::LockPoisoned(_) | redb::Error::TransactionPoisoned => {
            EngineError::Io(io::Error::other("the engine stopped in the middle of an earlier operation"))
        }
        other => EngineError::Damaged { place: "the whole file", why: other.to_string() },
    }
}

#[cfg(test)]
mod tests;
