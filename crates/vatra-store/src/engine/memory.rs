//! The memory engine and the disk under it, for simulation: what a crash, a rollback, a full disk or a flipped
//! bit does to a store. No clock and no randomness: the caller decides which writes survive.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vatra_model::WallMs;

use crate::engine::{
    Batch, Direction, Engine, EngineError, EngineKind, EngineSnapshot, Health, KeyRange, ReadOnlyReason, Visitor,
};
use crate::space::Space;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A disk in memory. It outlives the stores opened on it; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<DiskState>>,
}

/// What a disk holds durably at one moment, for [`MemoryDisk::restore`].
#[derive(Clone, Debug)]
pub struct DiskImage {
    spaces: [Arc<Rows>; Space::COUNT],
}

/// One operation of a batch that was not synced when the machine crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The batch, counted from the oldest unsynced one.
    pub batch_index: usize,
    /// The operation in the batch, by (space, key).
    pub op_index: usize,
    /// Operations in the batch.
    pub op_count: usize,
}

#[derive(Debug, Default)]
struct DiskState {
    /// What snapshots show: the durable rows and the unsynced batches.
    spaces: [Arc<Rows>; Space::COUNT],
    unsynced: Vec<Unsynced>,
    /// Raised by each crash, so that handles of the crashed process are dead.
    life: u64,
    trouble: Option<ReadOnlyReason>,
    sync_is_held: bool,
}

/// A batch that a crash may lose, with what its rows were before.
#[derive(Debug)]
struct Unsynced {
    ops: Vec<OwnedOp>,
}

#[derive(Debug)]
struct OwnedOp {
    space: Space,
    key: Vec<u8>,
    after: Option<Vec<u8>>,
    before: Option<Vec<u8>>,
}

impl MemoryDisk {
    /// An empty disk on which every commit is durable at once.
    #[must_use]
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// An engine on this disk; dead after the next crash.
    #[must_use]
    pub fn open(&self) -> MemoryEngine {
        let life = self.lock().life;
        MemoryEngine { disk: self.clone(), life }
    }

    /// While held, commits return before they are durable, as on a disk that lies about flushes.
    pub fn hold_sync(&self, held: bool) {
        self.lock().sync_is_held = held;
    }

    /// Commits a batch that stays at risk until [`MemoryDisk::sync`].
    pub fn commit_unsynced(&self, batch: &Batch) {
        self.lock().apply(batch);
    }

    /// Makes everything committed so far durable.
    pub fn sync(&self) {
        self.lock().unsynced.clear();
    }

    /// How many committed batches a crash could lose now.
    #[must_use]
    pub fn unsynced_count(&self) -> usize {
        self.lock().unsynced.len()
    }

    /// The machine loses power. Open engines are dead; of each unsynced operation the caller says whether it
    /// reached the disk. Keeping all or none of a batch's operations models a careful engine, anything else a
    /// torn batch.
    pub fn crash(&self, keep: &mut dyn FnMut(Torn) -> bool) {
        let mut state = self.lock();
        state.life += 1;
        let unsynced = std::mem::take(&mut state.unsynced);
        for op in unsynced.iter().rev().flat_map(|batch| batch.ops.iter().rev()) {
            state.set(op.space, &op.key, op.before.as_deref());
        }
        for (batch_index, batch) in unsynced.iter().enumerate() {
            for (op_index, op) in batch.ops.iter().enumerate() {
                if keep(Torn { batch_index, op_index, op_count: batch.ops.len() }) {
                    state.set(op.space, &op.key, op.after.as_deref());
                }
            }
        }
    }

    /// The machine loses power and with it every unsynced batch.
    pub fn crash_losing_unsynced(&self) {
        self.crash(&mut |_| false);
    }

    /// Copies what the disk holds, as a backup or a cloned machine would.
    #[must_use]
    pub fn image(&self) -> DiskImage {
        DiskImage { spaces: self.lock().spaces.clone() }
    }

    /// Puts the disk back to an image. Open engines are dead.
    pub fn restore(&self, image: &DiskImage) {
        let mut state = self.lock();
        state.life += 1;
        state.unsynced.clear();
        state.spaces = image.spaces.clone();
    }

    /// Empties the disk, as a replaced one. Open engines are dead.
    pub fn wipe(&self) {
        self.restore(&DiskImage { spaces: Default::default() });
    }

    /// From now on commits fail for this reason; `None` ends the trouble.
    pub fn set_trouble(&self, trouble: Option<ReadOnlyReason>) {
        self.lock().trouble = trouble;
    }

    /// Flips one bit of a stored value, counted modulo its length. Says whether there is such a row.
    pub fn flip_bit(&self, space: Space, key: &[u8], bit: usize) -> bool {
        let mut state = self.lock();
        let rows = Arc::make_mut(&mut state.spaces[space.slot()]);
        match rows.get_mut(key) {
            Some(value) if !value.is_empty() => {
                let bit = bit % (value.len() * 8);
                value[bit / 8] ^= 1 << (bit % 8);
                true
            }
            _ => false,
        }
    }

    /// Loses a row. Says whether there was one.
    pub fn lose_row(&self, space: Space, key: &[u8]) -> bool {
        let mut state = self.lock();
        Arc::make_mut(&mut state.spaces[space.slot()]).remove(key).is_some()
    }

    /// The keys of a space, to choose one for [`MemoryDisk::flip_bit`].
    #[must_use]
    pub fn keys(&self, space: Space) -> Vec<Vec<u8>> {
        self.lock().spaces[space.slot()].keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, DiskState> {
        // A panic inside a simulation ends it; the state is only looked at for its report.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskState {
    fn apply(&mut self, batch: &Batch) {
        let mut ops = Vec::with_capacity(batch.len());
        for op in batch.sorted() {
            let before = self.set(op.space, op.key, op.value);
            ops.push(OwnedOp { space: op.space, key: op.key.to_vec(), after: op.value.map(<[u8]>::to_vec), before });
        }
        self.unsynced.push(Unsynced { ops });
    }

    fn set(&mut self, space: Space, key: &[u8], value: Option<&[u8]>) -> Option<Vec<u8>> {
        let rows = Arc::make_mut(&mut self.spaces[space.slot()]);
        match value {
            Some(value) => rows.insert(key.to_vec(), value.to_vec()),
            None => rows.remove(key),
        }
    }
}

/// An engine on a [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryEngine {
    disk: MemoryDisk,
    life: u64,
}

impl MemoryEngine {
    fn alive(&self) -> Result<MutexGuard<'_, DiskState>, EngineError> {
        let state = self.disk.lock();
        if state.life == self.life { Ok(state) } else { Err(EngineError::Closed) }
    }
}

impl Engine for MemoryEngine {
    fn commit(&self, batch: &Batch) -> Result<(), EngineError> {
        let mut state = self.alive()?;
        if let Some(reason) = state.trouble {
            return Err(EngineError::ReadOnly(reason));
        }
        if state.sync_is_held {
            state.apply(batch);
            return Ok(());
        }
        // Once durable there is nothing to take back, so no copies are kept.
        state.unsynced.clear();
        for op in batch.sorted() {
            state.set(op.space, op.key, op.value);
        }
        Ok(())
    }

    fn snapshot(&self) -> Result<Box<dyn EngineSnapshot>, EngineError> {
        Ok(Box::new(MemorySnapshot { spaces: self.alive()?.spaces.clone() }))
    }

    fn health(&self) -> Health {
        match self.disk.lock().trouble {
            None => Health::Writable,
            Some(reason) => Health::ReadOnly { reason, since: WallMs::default() },
        }
    }

    fn kind(&self) -> EngineKind {
        EngineKind::Memory
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}

struct MemorySnapshot {
    spaces: [Arc<Rows>; Space::COUNT],
}

impl EngineSnapshot for MemorySnapshot {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.spaces[space.slot()].get(key).cloned())
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
        let bounds = (bound(range.from), bound(range.to));
        let rows = self.spaces[space.slot()].range::<[u8], _>(bounds);
        let mut step = |(key, value): (&Vec<u8>, &Vec<u8>)| visit(key, value);
        let _: ControlFlow<()> = match direction {
            Direction::Forward => { rows }.try_for_each(&mut step),
            Direction::Reverse => rows.rev().try_for_each(&mut step),
        };
        Ok(())
    }

    fn len(&self, space: Space) -> Result<u64, EngineError> {
        Ok(self.spaces[space.slot()].len() as u64)
    }
}

/// An optional key as an included bound.
pub(crate) fn bound(key: Option<&[u8]>) -> Bound<&[u8]> {
    key.map_or(Bound::Unbounded, Bound::Included)
}
