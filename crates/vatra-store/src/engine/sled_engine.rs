//! The sled 0.34.7 engine, for those who asked for it, with what it needs to keep its word.
//!
//! `flush` of sled only asks for write-back (`sync_file_range`), so each commit also syncs the log file itself;
//! sled never syncs its configuration file, its directories, or the blob files that large nodes spill into. sled
//! has no snapshots: [`Undo`] keeps what rows were before. It can neither read reliably nor open on a full disk,
//! so commits are refused while some space is left. After another failure the old handle goes on reading, as far
//! as sled lets it, until the next commit is tried: then it is opened again.

mod files;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::files::{SyncedFiles, allocated_bytes, check_free_space, open_database};
use crate::engine::fault::{caught, from_io, guarded, reason};
use crate::engine::gate::Gate;
use crate::engine::undo::Undo;
use crate::engine::{Batch, Direction, Engine, EngineError, EngineKind, EngineSnapshot, Health, KeyRange, Visitor};
use crate::space::Space;

/// Rows read at a time, so that a long scan does not hold up a commit.
const SCAN_CHUNK_ROWS: usize = 256;

/// An engine in one sled directory.
pub(crate) struct SledEngine {
    shared: Arc<Mutex<Shared>>,
    gate: Gate,
    writer: Mutex<Writer>,
}

/// What readers and the writer look at together.
struct Shared {
    /// `None` while it could not be opened again.
    database: Option<sled::Db>,
    undo: Undo,
}

/// What only the one commit at work uses.
struct Writer {
    path: PathBuf,
    cache_bytes: usize,
    files: SyncedFiles,
    /// After a failure: the database has to be opened again, and what may be left of a commit taken back.
    is_broken: bool,
}

impl SledEngine {
    /// Opens the directory, or creates it.
    pub(crate) fn open(path: &Path, cache_bytes: usize) -> Result<SledEngine, EngineError> {
        let (database, files) = open_database(path, cache_bytes)?;
        Ok(SledEngine {
            shared: Arc::new(Mutex::new(Shared { database: Some(database), undo: Undo::default() })),
            gate: Gate::default(),
            writer: Mutex::new(Writer { path: path.to_path_buf(), cache_bytes, files, is_broken: false }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }

    /// Opens the database again after a failure and takes back what a failed commit may have left.
    fn heal(&self, writer: &mut Writer) -> Result<(), EngineError> {
        let old = self.lock().database.take();
        // Closing makes sled write and possibly panic. Readers are told meanwhile that it is closed: nobody has to wait
        // for what may take seconds.
        let _ = caught(move || drop(old));
        let (database, files) = open_database(&writer.path, writer.cache_bytes)?;
        writer.files = files;
        let mut shared = self.lock();
        let mut inverse = sled::Batch::default();
        for (key, before) in shared.undo.unpublished() {
            match before {
                Some(value) => inverse.insert(key, value),
                None => inverse.remove(key),
            }
        }
        shared.database = Some(database.clone());
        drop(shared);
        guarded("the whole directory", || database.apply_batch(inverse).map_err(classify))?;
        writer.make_durable(&database)?;
        writer.is_broken = false;
        Ok(())
    }

    fn write(&self, writer: &mut Writer, batch: &Batch) -> Result<(), EngineError> {
        let mut shared = self.lock();
        let database = shared.database.clone().ok_or(EngineError::Closed)?;
        guarded("the whole directory", || {
            let mut changes = sled::Batch::default();
            for op in batch.sorted() {
                let key = tagged(op.space, op.key);
                let before = database.get(&key).map_err(classify)?;
                shared.undo.note(&key, before.map(|value| value.to_vec()));
                match op.value {
                    Some(value) => changes.insert(key, value),
                    None => changes.remove(key),
                }
            }
            database.apply_batch(changes).map_err(classify)
        })?;
        drop(shared);
        writer.make_durable(&database)?;
        self.lock().undo.publish();
        Ok(())
    }
}

impl Engine for SledEngine {
    fn commit(&self, batch: &Batch) -> Result<(), EngineError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.gate.admit().map_err(EngineError::ReadOnly)?;
        let result = check_free_space(&writer.path).and_then(|()| {
            if writer.is_broken {
                self.heal(&mut writer)?;
            }
            let result = self.write(&mut writer, batch);
            writer.is_broken = result.is_err();
            result
        });
        match result {
            Ok(()) => {
                if self.gate.open() {
                    tracing::info!("the store takes writes again");
                }
                Ok(())
            }
            Err(error) => {
                if self.gate.shut(reason(&error)) {
                    tracing::error!(%error, "the store takes no writes until its disk does again");
                }
                Err(error)
            }
        }
    }

    fn snapshot(&self) -> Result<Box<dyn EngineSnapshot>, EngineError> {
        let generation = self.lock().undo.begin();
        Ok(Box::new(SledSnapshot { shared: Arc::clone(&self.shared), generation }))
    }

    fn health(&self) -> Health {
        self.gate.health()
    }

    fn kind(&self) -> EngineKind {
        EngineKind::Sled
    }

    fn disk_bytes(&self) -> u64 {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        allocated_bytes(&writer.path) + allocated_bytes(&writer.path.join("blobs"))
    }
}

impl fmt::Debug for SledEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledEngine").finish_non_exhaustive()
    }
}

impl Writer {
    /// Waits until everything applied so far has reached the disk.
    fn make_durable(&mut self, database: &sled::Db) -> Result<(), EngineError> {
        guarded("the whole directory", || database.flush().map(|_| ()).map_err(classify))?;
        self.files.sync(&self.path).map_err(from_io)
    }
}

struct SledSnapshot {
    shared: Arc<Mutex<Shared>>,
    generation: u64,
}

impl SledSnapshot {
    fn run<T>(
        &self,
        space: Space,
        read: impl FnOnce(&sled::Db, &Undo) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let shared = lock(&self.shared);
        if shared.undo.is_given_up(self.generation) {
            return Err(EngineError::Reopened);
        }
        let database = shared.database.as_ref().ok_or(EngineError::Closed)?;
        guarded(space.name(), || read(database, &shared.undo))
    }

    /// The next rows of a range, in its order, and the key up to which they go; `None` when it is done.
    fn chunk(
        &self,
        space: Space,
        range: &KeyBounds,
        direction: Direction,
    ) -> Result<(Rows, Option<Vec<u8>>), EngineError> {
        self.run(space, |database, undo| {
            let mut rows = Rows::new();
            let mut present = database.range::<Vec<u8>, _>(range.clone());
            let mut end = None;
            for _ in 0..SCAN_CHUNK_ROWS {
                let row = match direction {
                    Direction::Forward => present.next(),
                    Direction::Reverse => present.next_back(),
                };
                end = match row {
                    None => None,
                    Some(row) => {
                        let (key, value) = row.map_err(classify)?;
                        rows.insert(key.to_vec(), value.to_vec());
                        Some(key.to_vec())
                    }
                };
                if end.is_none() {
                    break;
                }
            }
            let seen: KeyBounds = match (&end, direction) {
                (None, _) => range.clone(),
                (Some(end), Direction::Forward) => (range.0.clone(), Bound::Included(end.clone())),
                (Some(end), Direction::Reverse) => (Bound::Included(end.clone()), range.1.clone()),
            };
            for (key, old) in undo.old_range(seen, self.generation) {
                match old {
                    Some(value) => rows.insert(key.to_vec(), value.to_vec()),
                    None => rows.remove(key),
                };
            }
            Ok((rows, end))
        })
    }
}

type KeyBounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);
type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

impl EngineSnapshot for SledSnapshot {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let key = tagged(space, key);
        self.run(space, |database, undo| match undo.old(&key, self.generation) {
            Some(old) => Ok(old.map(<[u8]>::to_vec)),
            None => Ok(database.get(&key).map_err(classify)?.map(|value| value.to_vec())),
        })
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
        let from = Bound::Included(tagged(space, range.from.unwrap_or_default()));
        // The next space's tag alone is greater than every key of this space.
        let to =
            range.to.map_or_else(|| Bound::Excluded(vec![space as u8 + 1]), |to| Bound::Included(tagged(space, to)));
        let mut left = (from, to);
        loop {
            let (rows, end) = self.chunk(space, &left, direction)?;
            let mut step = |(key, value): (&Vec<u8>, &Vec<u8>)| visit(&key[1..], value);
            let flow = match direction {
                Direction::Forward => rows.iter().try_for_each(&mut step),
                Direction::Reverse => rows.iter().rev().try_for_each(&mut step),
            };
            let (Some(end), ControlFlow::Continue(())) = (end, flow) else { return Ok(()) };
            match direction {
                Direction::Forward => left.0 = Bound::Excluded(end),
                Direction::Reverse => left.1 = Bound::Excluded(end),
            }
        }
    }

    fn len(&self, space: Space) -> Result<u64, EngineError> {
        let mut count = 0;
        self.scan(space, KeyRange::ALL, Direction::Forward, &mut |_, _| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }
}

impl Drop for SledSnapshot {
    fn drop(&mut self) {
        lock(&self.shared).undo.end(self.generation);
    }
}

fn tagged(space: Space, key: &[u8]) -> Vec<u8> {
    let mut tagged = Vec::with_capacity(key.len() + 1);
    tagged.push(space as u8);
    tagged.extend_from_slice(key);
    tagged
}

fn classify(error: sled::Error) -> EngineError {
    match error {
        sled::Error::Io(error) => from_io(error),
        other => EngineError::Damaged { place: "the whole directory", why: other.to_string() },
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // Everything that may panic under the lock is sled's and guarded.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
