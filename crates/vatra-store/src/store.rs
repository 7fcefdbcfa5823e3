//! The one writer of a store.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use thiserror::Error;
use vatra_model::{Position, RecordId};

use crate::commit::{COMMIT_CHANGES_MAX, Commit, CommitError};
use crate::damage::unseal;
use crate::directory::{OpenError, StoreDirectory};
use crate::engine::redb_engine::RedbEngine;
use crate::engine::{Batch, Direction, Engine, EngineError, EngineKind, Health, KeyRange, MemoryDisk};
use crate::reader::{Reader, Shared};
use crate::rebuild::missing_ids;
use crate::recent::{self, RecentIds};
use crate::rows::{IdRow, history_key, parse_position_key};
use crate::snapshot::{ReadError, Snapshot};
use crate::space::Space;

/// Memory that the engine may use as a cache unless the configuration says otherwise.
pub const CACHE_BYTES_DEFAULT: usize = 32 * 1024 * 1024;

/// How to open a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// The engine; a store stays with the one it was made with.
    pub engine: EngineKind,
    /// Memory for the engine's cache, in bytes. Too little makes reads slow; all of it may be resident.
    pub cache_bytes: usize,
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions { engine: EngineKind::default(), cache_bytes: CACHE_BYTES_DEFAULT }
    }
}

/// Whether a store takes writes.
pub type StoreHealth = Health;

/// Writes a store. There is one for each store, in one process.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    next_position: Position,
    /// `None` in memory.
    directory: Option<StoreDirectory>,
    ballast_is_missing: bool,
}

impl Store {
    /// Opens the store in a directory, or makes one there.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(dir: &Path, options: OpenOptions) -> Result<Store, OpenError> {
        if options.engine == EngineKind::Memory || (options.engine == EngineKind::Sled && !cfg!(feature = "sled")) {
            return Err(OpenError::EngineNotBuilt { engine: options.engine });
        }
        let mut directory = StoreDirectory::acquire(dir, options.engine)?;
        let engine = match open_engine(&directory, options) {
            Err(OpenError::Engine { source: EngineError::Full(_), .. }) if directory.release_ballast() => {
                open_engine(&directory, options)
            }
            result => result,
        }?;
        directory.complete()?;
        let ballast_is_missing = !directory.ensure_ballast();
        Store::on(engine, Some(directory), ballast_is_missing)
            .map_err(|source| OpenError::Engine { dir: dir.to_path_buf(), source })
    }

    /// Opens the store on a simulated disk.
    ///
    /// # Errors
    /// None at present: a memory disk can always be opened.
    pub fn open_memory(disk: &MemoryDisk) -> Result<Store, EngineError> {
        Store::on(Box::new(disk.open()), None, false)
    }

    /// A store on any engine, for engines of the caller's own.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub fn open_engine(engine: Box<dyn Engine>) -> Result<Store, EngineError> {
        Store::on(engine, None, false)
    }

    fn on(
        engine: Box<dyn Engine>,
        directory: Option<StoreDirectory>,
        ballast_is_missing: bool,
    ) -> Result<Store, EngineError> {
        let recent = load_recent(&*engine)?;
        let shared = Arc::new(Shared::new(engine, recent));
        let reader = Reader { shared: Arc::clone(&shared) };
        let last = reader.last_position().map_err(as_engine_error)?;
        Ok(Store { shared, next_position: Position(last.0 + 1), directory, ballast_is_missing })
    }

    /// A reader of this store.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader { shared: Arc::clone(&self.shared) }
    }

    /// The position that the next change gets.
    #[must_use]
    pub fn next_position(&self) -> Position {
        self.next_position
    }

    /// Stores all of a commit durably, or nothing of it. Returns after the flush.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub fn commit(&mut self, commit: &Commit) -> Result<(), CommitError> {
        let mut batch = commit.to_batch(self.next_position)?;
        self.commit_with_ids(&commit.ids, &mut batch)?;
        self.next_position = Position(self.next_position.0 + commit.stream.len() as u64);
        Ok(())
    }

    /// Makes id and history rows anew where they are missing, damaged or behind the stream, and says how many id
    /// rows. Of their flags only [`crate::IdRow::HAS_DOCUMENT`] comes back. Reads the whole stream.
    ///
    /// # Errors
    /// See [`RebuildError`].
    pub fn rebuild_ids(&mut self) -> Result<usize, RebuildError> {
        let missing = missing_ids(&self.reader().snapshot()?)?;
        let ids: Vec<_> = missing.ids.into_iter().collect();
        let mut history = missing.history.as_slice();
        for group in ids.chunks(COMMIT_CHANGES_MAX) {
            let mut batch = Batch::new();
            let positions;
            (positions, history) = history.split_at(history.len().min(COMMIT_CHANGES_MAX));
            put_history(&mut batch, positions);
            self.commit_with_ids(group, &mut batch)?;
        }
        for positions in history.chunks(COMMIT_CHANGES_MAX) {
            let mut batch = Batch::new();
            put_history(&mut batch, positions);
            self.commit_with_ids(&[], &mut batch)?;
        }
        Ok(ids.len())
    }

    fn commit_with_ids(&mut self, ids: &[(RecordId, IdRow)], batch: &mut Batch) -> Result<(), CommitError> {
        let recent = &self.shared.recent;
        if !ids.is_empty() {
            recent.add(recent.latest().staged(ids, self.next_position, batch));
        }
        if let Err(error) = self.shared.engine.commit(batch) {
            if !ids.is_empty() {
                recent.take_back();
            }
            // The space set aside may have been used up by the time there is space again.
            self.ballast_is_missing = true;
            return Err(error.into());
        }
        self.shared.damage.written(batch);
        if self.ballast_is_missing {
            self.ballast_is_missing = !self.directory.as_ref().is_some_and(StoreDirectory::ensure_ballast);
        }
        Ok(())
    }

    /// Whether commits are accepted now.
    #[must_use]
    pub fn health(&self) -> StoreHealth {
        self.shared.engine.health()
    }
}

/// Id rows could not be made anew.
#[derive(Debug, Error)]
pub enum RebuildError {
    /// The stream could not be read. Nothing was changed.
    #[error("the stream could not be read: {0}")]
    Read(#[from] ReadError),
    /// Rows could not be written. Some may have been; trying again goes on from there.
    #[error("id rows could not be written: {0}")]
    Commit(#[from] CommitError),
}

fn put_history(batch: &mut Batch, positions: &[(RecordId, Position)]) {
    for (record, position) in positions {
        recent::put(batch, Space::History, &history_key(*record, *position), &[]);
    }
}

/// Replays the id rows of the latest commits. Where some of them are damaged, they are made anew from the stream.
fn load_recent(engine: &dyn Engine) -> Result<RecentIds, EngineError> {
    let snapshot = engine.snapshot()?;
    let mut recent = RecentIds::new();
    let mut damaged = Vec::new();
    snapshot.scan(Space::Recent, KeyRange::ALL, Direction::Forward, &mut |key, stored| {
        let replayed =
            parse_position_key(key).and_then(|stage| recent.replay(stage.0, unseal(Space::Recent, key, stored).ok()?));
        if replayed.is_none() {
            damaged.push(key.to_vec());
        }
        ControlFlow::Continue(())
    })?;
    if damaged.is_empty() {
        return Ok(recent);
    }
    tracing::error!(rows = damaged.len(), "id rows are damaged; they are made anew from the stream");
    let snapshot = Snapshot::while_loading(snapshot, recent.clone());
    let missing = missing_ids(&snapshot).map_err(as_engine_error)?;
    let last = snapshot.last_position().map_err(as_engine_error)?;
    drop(snapshot);
    let mut batch = Batch::new();
    for key in &damaged {
        batch.delete(Space::Recent, key);
    }
    put_history(&mut batch, &missing.history);
    let ids: Vec<_> = missing.ids.into_iter().collect();
    let recent = recent.staged(&ids, Position(last.0 + 1), &mut batch);
    engine.commit(&batch)?;
    Ok(recent)
}

fn as_engine_error(error: ReadError) -> EngineError {
    match error {
        ReadError::Engine(error) => error,
        ReadError::Damaged(damage) => EngineError::Damaged { place: damage.space.name(), why: damage.to_string() },
    }
}

fn open_engine(directory: &StoreDirectory, options: OpenOptions) -> Result<Box<dyn Engine>, OpenError> {
    let opened: Result<Box<dyn Engine>, EngineError> = match options.engine {
        EngineKind::Redb => RedbEngine::open(&directory.data_path(), options.cache_bytes)
            .map(|engine| Box::new(engine) as Box<dyn Engine>),
        #[cfg(feature = "sled")]
        EngineKind::Sled => crate::engine::sled_engine::SledEngine::open(&directory.data_path(), options.cache_bytes)
            .map(|engine| Box::new(engine) as Box<dyn Engine>),
        engine => return Err(OpenError::EngineNotBuilt { engine }),
    };
    opened.map_err(|source| OpenError::Engine { dir: directory.path().to_path_buf(), source })
}

#[cfg(test)]
mod power_cut_tests;
#[cfg(test)]
mod process_tests;
#[cfg(test)]
mod tests;
