//! The one writer of a store.

use std::path::Path;
use std::sync::Arc;

use vatra_model::Position;

use crate::commit::{Commit, CommitError};
use crate::directory::{OpenError, StoreDirectory};
use crate::engine::redb_engine::RedbEngine;
use crate::engine::{Engine, EngineError, EngineKind, Health, MemoryDisk};
use crate::reader::{ReadError, Reader, Shared};

/// Memory that the engine may use as a cache unless the configuration says otherwise.
pub const CACHE_BYTES_DEFAULT: usize = 64 * 1024 * 1024;

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
        let shared = Arc::new(Shared::new(engine));
        let reader = Reader { shared: Arc::clone(&shared) };
        let last = reader.last_position().map_err(|error| match error {
            ReadError::Engine(error) => error,
            ReadError::Damaged(damage) => EngineError::Damaged { place: damage.space.name(), why: damage.to_string() },
        })?;
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
        let batch = commit.to_batch(self.next_position)?;
        if let Err(error) = self.shared.engine.commit(&batch) {
            // The space set aside may have been used up by the time there is space again.
            self.ballast_is_missing = true;
            return Err(error.into());
        }
        self.next_position = Position(self.next_position.0 + commit.stream.len() as u64);
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
mod process_tests;
#[cfg(test)]
mod tests;
