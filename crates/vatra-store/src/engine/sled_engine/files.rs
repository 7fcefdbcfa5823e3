//! What lies in a sled directory: opening it, syncing what sled itself does not, and room on its disk.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use super::classify;
use crate::durable_file;
use crate::engine::EngineError;
use crate::engine::fault::{from_io, guarded};

/// A node that would take more than a quarter of a segment spills into a blob file; few of ours do.
const SEGMENT_BYTES: usize = 4 * 1024 * 1024;
/// Free space below which commits are refused. A sled that really meets a full disk can neither write nor read
/// reliably nor open again, so it is kept from meeting one.
const FREE_BYTES_MIN: u64 = 8 * 1024 * 1024;
/// How often, and how long apart, the file lock of a sled just closed is tried: its threads let go of the file
/// only when their last work is done. Five seconds in all, which a loaded machine may need.
const LOCK_TRIES_MAX: u32 = 500;
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// The files that sled leaves to the kernel, kept open to sync them.
pub(super) struct SyncedFiles {
    log: File,
    blobs: BTreeSet<OsString>,
    blobs_changed: Option<SystemTime>,
}

impl SyncedFiles {
    /// Opens the log and syncs once what sled never syncs: configuration, blobs and names.
    pub(super) fn open(path: &Path) -> io::Result<SyncedFiles> {
        let mut files = SyncedFiles { log: File::open(path.join("db"))?, blobs: BTreeSet::new(), blobs_changed: None };
        File::open(path.join("conf"))?.sync_all()?;
        files.sync(path)?;
        durable_file::sync_directory(path)?;
        durable_file::sync_parent(path)?;
        Ok(files)
    }

    /// Blobs first: the log refers to them.
    pub(super) fn sync(&mut self, path: &Path) -> io::Result<()> {
        let blobs = path.join("blobs");
        let changed = blobs.metadata()?.modified()?;
        if self.blobs_changed != Some(changed) {
            let mut present = BTreeSet::new();
            for blob in fs::read_dir(&blobs)? {
                let name = blob?.file_name();
                if !self.blobs.contains(&name) {
                    match File::open(blobs.join(&name)) {
                        Ok(file) => file.sync_all()?,
                        // sled removed it meanwhile.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        Err(error) => return Err(error),
                    }
                }
                present.insert(name);
            }
            durable_file::sync_directory(&blobs)?;
            self.blobs = present;
            self.blobs_changed = Some(changed);
        }
        self.log.sync_data()
    }
}

/// Opens the database, or creates it, and its files to sync.
pub(super) fn open_database(path: &Path, cache_bytes: usize) -> Result<(sled::Db, SyncedFiles), EngineError> {
    await_lock(&path.join("db"), || thread::sleep(LOCK_RETRY));
    let database = guarded("the whole directory", || {
        sled::Config::new()
            .path(path)
            .cache_capacity(cache_bytes as u64)
            .segment_size(SEGMENT_BYTES)
            .flush_every_ms(None)
            .open()
            .map_err(classify)
    })?;
    let files = SyncedFiles::open(path).map_err(from_io)?;
    Ok((database, files))
}

/// Waits until nobody holds the lock that sled takes and does not wait for itself, as far as that can be seen. Other
/// processes are kept out by the directory's own lock, so only what is left of an earlier sled of this process can hold
/// it. After [`LOCK_TRIES_MAX`], and of a file that cannot be tried, it is sled's to say what is wrong.
fn await_lock(log: &Path, mut rest: impl FnMut()) {
    for _ in 0..LOCK_TRIES_MAX {
        // A new handle each time: the lock goes with it, whatever became of the file.
        match File::open(log).map(|file| file.try_lock()) {
            Ok(Err(TryLockError::WouldBlock)) => rest(),
            _ => return,
        }
    }
}

/// Refuses while there is still room, because of what sled does when there is none.
pub(super) fn check_free_space(path: &Path) -> Result<(), EngineError> {
    let space = rustix::fs::statvfs(path).map_err(|error| from_io(error.into()))?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if free >= FREE_BYTES_MIN { Ok(()) } else { Err(from_io(io::ErrorKind::StorageFull.into())) }
}

/// What the files of a directory take on the disk, without its directories.
pub(super) fn allocated_bytes(directory: &Path) -> u64 {
    const BLOCK_BYTES: u64 = 512;
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.blocks() * BLOCK_BYTES).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::sled_engine::SledEngine;

    #[test]
    fn a_sled_that_is_still_closing_is_waited_for_but_not_for_ever() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("sled");
        let log = path.join("db");
        let open = SledEngine::open(&path, 1 << 20).unwrap();
        let mut rests = 0;
        await_lock(&log, || rests += 1);
        assert_eq!(rests, LOCK_TRIES_MAX, "it is this file that sled locks");
        drop(open);
        let take = || {
            let held = File::open(&log).unwrap();
            held.lock().unwrap();
            held
        };
        let mut held = Some(take());
        let mut rests = 0;
        await_lock(&log, || {
            rests += 1;
            if rests == 3 {
                held = None;
            }
        });
        assert_eq!(rests, 3);

        let held = take();
        let mut rests = 0;
        await_lock(&log, || rests += 1);
        assert_eq!(rests, LOCK_TRIES_MAX);
        drop(held);
        await_lock(&log, || panic!("nobody holds it"));
        await_lock(&path.join("not there"), || panic!("nobody holds it"));
        SledEngine::open(&path, 1 << 20).unwrap();
    }
}
