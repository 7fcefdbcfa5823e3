//! The engine on a disk that fails: power cuts at any write, failed flushes, no space, flipped bits.

use std::sync::MutexGuard;

use super::*;
use crate::engine::ReadOnlyReason;

/// Power goes out in this many pieces: a sector survives or not.
const SECTOR_BYTES: usize = 512;

/// A disk under redb. Writes are visible at once and durable after a sync.
#[derive(Clone, Debug, Default)]
struct FaultDisk(Arc<Mutex<FaultState>>);

#[derive(Debug, Default)]
struct FaultState {
    durable: Vec<u8>,
    visible: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
    /// Writes, length changes and syncs so far.
    changes: u64,
    /// The one change that fails.
    failing_change: Option<u64>,
    /// From this change on the machine is without power.
    power_until: Option<u64>,
    capacity: Option<usize>,
}

impl FaultDisk {
    fn state(&self) -> MutexGuard<'_, FaultState> {
        self.0.lock().unwrap()
    }

    fn engine(&self) -> Result<RedbEngine, EngineError> {
        let disk = self.clone();
        let open = move || Database::builder().set_cache_size(4 * 1024 * 1024).create_with_backend(disk.clone());
        RedbEngine::open_with(Box::new(open), None)
    }

    /// The disk after a power cut: what was synced, and of the rest the sectors that chance kept.
    fn after_power_cut(&self, random: &mut Random) -> FaultDisk {
        let state = self.state();
        let mut image = state.durable.clone();
        let keep = [0, 30, 70, 100][random.below(4)];
        for (offset, bytes) in &state.pending {
            for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                if random.below(100) < keep {
                    write_at(&mut image, offset + index * SECTOR_BYTES, sector);
                }
            }
        }
        // File lengths go through the journal in order; lenient, as ext4 is.
        image.resize(state.visible.len().max(image.len()), 0);
        let state = FaultState { durable: image.clone(), visible: image, ..FaultState::default() };
        FaultDisk(Arc::new(Mutex::new(state)))
    }
}

impl FaultState {
    fn change(&mut self) -> io::Result<()> {
        self.changes += 1;
        if self.failing_change == Some(self.changes) || self.power_until.is_some_and(|until| self.changes > until) {
            return Err(io::Error::other("the simulated disk failed"));
        }
        Ok(())
    }
}

fn write_at(image: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(bytes);
}

impl redb::StorageBackend for FaultDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().visible.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let state = self.state();
        let bytes = state.visible.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        state.visible.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        state.durable = state.visible.clone();
        state.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let mut state = self.state();
        state.change()?;
        if state.capacity.is_some_and(|capacity| offset + data.len() > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        write_at(&mut state.visible, offset, data);
        state.pending.push((offset, data.to_vec()));
        Ok(())
    }
}

/// xorshift64: the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

/// Batch `number` touches three spaces, replaces a row and deletes one.
fn numbered(number: u64) -> Batch {
    let mut batch = Batch::new();
    let scattered = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
    batch.put(Space::Entries, &number.to_be_bytes(), &value(number));
    batch.put(Space::Ids, &scattered, &number.to_be_bytes());
    batch.put(Space::Meta, b"latest", &number.to_be_bytes());
    batch.put(Space::Index, &number.to_be_bytes(), b"");
    batch.delete(Space::Index, &number.wrapping_sub(1).to_be_bytes());
    batch
}

fn value(number: u64) -> Vec<u8> {
    number.to_le_bytes().into_iter().cycle().take(100 + usize::try_from(number % 5).unwrap() * 3000).collect()
}

/// How many numbered batches there are; all of them must be whole.
fn whole_batches(engine: &RedbEngine) -> u64 {
    let snapshot = engine.snapshot().unwrap();
    let count = snapshot.len(Space::Entries).unwrap();
    for number in 0..count {
        let scattered = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
        assert_eq!(snapshot.get(Space::Entries, &number.to_be_bytes()).unwrap(), Some(value(number)));
        assert_eq!(snapshot.get(Space::Ids, &scattered).unwrap(), Some(number.to_be_bytes().to_vec()));
    }
    assert_eq!(snapshot.len(Space::Ids).unwrap(), count);
    let latest = snapshot.get(Space::Meta, b"latest").unwrap();
    assert_eq!(latest, count.checked_sub(1).map(|latest| latest.to_be_bytes().to_vec()));
    assert_eq!(snapshot.len(Space::Index).unwrap(), count.min(1));
    count
}

#[test]
fn power_cuts_lose_nothing_acknowledged_and_tear_nothing() {
    let mut in_flight_survived = 0;
    for seed in 1..=150 {
        let mut random = Random(seed * 0x9E37_79B9);
        let disk = FaultDisk::default();
        let engine = disk.engine().unwrap();
        let mut acknowledged = 0;
        for _ in 0..random.below(12) {
            engine.commit(&numbered(acknowledged)).unwrap();
            acknowledged += 1;
        }
        let now = disk.state().changes;
        disk.state().power_until = Some(now + random.below(40) as u64);
        while engine.commit(&numbered(acknowledged)).is_ok() {
            acknowledged += 1;
        }
        let image = disk.after_power_cut(&mut random);
        drop(engine);
        let count = whole_batches(&image.engine().unwrap());
        assert!(count == acknowledged || count == acknowledged + 1, "seed {seed}: {count} of {acknowledged}");
        in_flight_survived += count - acknowledged;
    }
    assert!(in_flight_survived > 0, "some cuts came after the data was safe");
}

#[test]
fn a_commit_that_failed_at_any_write_is_never_seen_later() {
    for cached_pages_are_kept in [true, false] {
        let mut failures = 0;
        for failing in 1.. {
            let disk = FaultDisk::default();
            let engine = disk.engine().unwrap();
            for number in 0..3 {
                engine.commit(&numbered(number)).unwrap();
            }
            let before = disk.state().changes;
            disk.state().failing_change = Some(before + failing);
            let result = engine.commit(&numbered(3));
            if result.is_ok() {
                assert!(failing > 5, "a commit makes several writes");
                break;
            }
            failures += 1;
            assert!(matches!(result, Err(EngineError::Io(_))), "{result:?}");
            if !cached_pages_are_kept {
                let mut state = disk.state();
                state.visible = state.durable.clone();
                state.pending.clear();
            }
            assert_eq!(whole_batches(&engine), 3, "change {failing}: reads go on and do not see the batch");
            assert!(matches!(engine.health(), Health::ReadOnly { reason: ReadOnlyReason::Io, .. }));
            let refused = engine.commit(&numbered(3));
            assert!(matches!(refused, Err(EngineError::ReadOnly(ReadOnlyReason::Io))), "{refused:?}");
            engine.gate.probe_now();
            engine.commit(&numbered(3)).unwrap();
            engine.commit(&numbered(4)).unwrap();
            assert_eq!(engine.health(), Health::Writable);
            drop(engine);
            assert_eq!(whole_batches(&disk.engine().unwrap()), 5, "change {failing}");
        }
        assert!(failures > 5, "a commit makes several writes");
    }
}

#[test]
fn a_batch_that_landed_although_its_commit_failed_is_taken_back() {
    // The last sync of a commit fails after its data and its header were written.
    let disk = FaultDisk::default();
    let engine = disk.engine().unwrap();
    engine.commit(&numbered(0)).unwrap();
    let before = disk.state().changes;
    engine.commit(&numbered(1)).unwrap();
    let changes_per_commit = disk.state().changes - before;
    let mut landed = 0;
    for failing in changes_per_commit / 2..=changes_per_commit {
        let disk = FaultDisk::default();
        let engine = disk.engine().unwrap();
        engine.commit(&numbered(0)).unwrap();
        let before = disk.state().changes;
        disk.state().failing_change = Some(before + failing);
        // The same failure without the engine's recovery, to know that there was something to take back.
        if engine.attempt(&numbered(1)).is_err() {
            let there = engine.snapshot().unwrap().get(Space::Entries, &1_u64.to_be_bytes()).unwrap();
            landed += u64::from(there.is_some());
        }
    }
    assert!(landed > 0, "no failure left its batch behind, so the test above shows little");
}

#[test]
fn a_full_disk_refuses_reads_go_on_and_writing_resumes() {
    let disk = FaultDisk::default();
    let engine = disk.engine().unwrap();
    let size = disk.state().visible.len();
    disk.state().capacity = Some(size);
    let mut count = 0;
    let error = loop {
        match engine.commit(&numbered(count)) {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, EngineError::Full(_)), "{error}");
    assert_eq!(whole_batches(&engine), count);
    for _ in 0..3 {
        engine.gate.probe_now();
        assert!(matches!(engine.commit(&numbered(count)), Err(EngineError::Full(_))));
        assert_eq!(whole_batches(&engine), count);
    }
    assert!(matches!(engine.health(), Health::ReadOnly { reason: ReadOnlyReason::Full, .. }));
    disk.state().capacity = None;
    engine.gate.probe_now();
    engine.commit(&numbered(count)).unwrap();
    assert_eq!(whole_batches(&engine), count + 1);
    assert_eq!(engine.health(), Health::Writable);
}

#[test]
fn a_snapshot_taken_before_a_failure_says_so_and_a_new_one_works() {
    let disk = FaultDisk::default();
    let engine = disk.engine().unwrap();
    engine.commit(&numbered(0)).unwrap();
    let old = engine.snapshot().unwrap();
    let before = disk.state().changes;
    disk.state().failing_change = Some(before + 1);
    engine.commit(&numbered(1)).unwrap_err();
    // What it had in memory it may still show; it never shows anything else.
    match old.get(Space::Entries, &0_u64.to_be_bytes()) {
        Ok(found) => assert_eq!(found, Some(value(0))),
        Err(error) => assert!(matches!(error, EngineError::Reopened), "{error}"),
    }
    assert_eq!(whole_batches(&engine), 1);
}

#[test]
fn flipped_bits_and_cut_files_give_errors_and_no_panic() {
    let disk = FaultDisk::default();
    let engine = disk.engine().unwrap();
    for number in 0..40 {
        engine.commit(&numbered(number)).unwrap();
    }
    drop(engine);
    let whole = disk.state().visible.clone();
    let mut random = Random(7);
    let mut errors = 0;
    for round in 0..200 {
        let mut image = whole.clone();
        if round % 10 == 0 {
            image.truncate(random.below(image.len()));
        } else {
            let byte = random.below(image.len().min(400 * 1024));
            image[byte] ^= 1 << random.below(8);
        }
        let state = FaultState { durable: image.clone(), visible: image, ..FaultState::default() };
        let disk = FaultDisk(Arc::new(Mutex::new(state)));
        let engine = match disk.engine() {
            Ok(engine) => engine,
            Err(error) => {
                assert!(matches!(error, EngineError::Damaged { .. } | EngineError::Io(_)), "{error}");
                errors += 1;
                continue;
            }
        };
        for space in Space::ALL {
            let Ok(snapshot) = engine.snapshot() else {
                errors += 1;
                continue;
            };
            let mut ignore = |_: &[u8], _: &[u8]| ControlFlow::Continue(());
            errors += usize::from(snapshot.scan(space, KeyRange::ALL, Direction::Forward, &mut ignore).is_err());
        }
        let _ = engine.commit(&numbered(40));
    }
    assert!(errors > 0, "some of the damage is in the structure");
}
