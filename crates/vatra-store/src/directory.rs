//! The directory of a store: `FORMAT` (format version and engine), `LOCK` (one process at a time), `ballast`
//! (space to open with when the disk is full) and the engine's own file or directory.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::durable_file;
use crate::engine::{EngineError, EngineKind};

/// The format that this version writes.
pub const FORMAT_VERSION: u32 = 2;
/// The oldest format that this version reads. Logs of format 1 do not name their member, and only their writers could
/// sign them anew; no release wrote it.
pub const FORMAT_VERSION_MIN: u32 = 2;

const TITLE: &str = "vatra store format";
const FORMAT_BYTES_MAX: u64 = 4096;
const BALLAST_BYTES: u64 = 4 * 1024 * 1024;

/// Takes a store from one format to the next, in place.
type MigrationStep = fn(&Path) -> io::Result<()>;

/// The step at index `i` takes a store from format `FORMAT_VERSION_MIN + i` to the next.
const MIGRATIONS: [MigrationStep; (FORMAT_VERSION - FORMAT_VERSION_MIN) as usize] = [];

/// A store could not be opened. What is on disk is unchanged.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A file of the store could not be read or written.
    #[error("{} could not be {action}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process has the store open. Stop it first.
    #[error("the store {} is open in another process{}", dir.display(), holder(*pid))]
    Locked {
        /// The store.
        dir: PathBuf,
        /// The process id, if the holder wrote it down.
        pid: Option<u32>,
    },
    /// A newer version of this program wrote the store. Use that version.
    #[error(
        "the store {} has format {found}, and this version reads formats up to {supported}: use the newer version",
        dir.display()
    )]
    NewerFormat {
        /// The store.
        dir: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format that this version reads.
        supported: u32,
    },
    /// An older version of this program wrote the store, in a form that cannot be brought up to date. Start empty.
    #[error(
        "the store {} has format {found}, whose entries cannot be brought up to date, and this version reads formats \
         from {oldest}: move the directory away to start empty; peers send what they hold",
        dir.display()
    )]
    OlderFormat {
        /// The store.
        dir: PathBuf,
        /// The format found.
        found: u32,
        /// The oldest format that this version reads.
        oldest: u32,
    },
    /// The file `FORMAT` is not one of ours, or is missing beside an engine's file.
    #[error("{} is not a store's format file: {why}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// The store was made with another engine than the configuration names.
    #[error("the store {} was made with engine \"{found}\", not \"{wanted}\": set store.engine to \"{found}\"", dir.display())]
    OtherEngine {
        /// The store.
        dir: PathBuf,
        /// The engine it was made with.
        found: EngineKind,
        /// The engine asked for.
        wanted: EngineKind,
    },
    /// This binary was built without the engine.
    #[error("this binary was built without the store engine \"{engine}\"")]
    EngineNotBuilt {
        /// The engine asked for.
        engine: EngineKind,
    },
    /// The store was complete once, and its data is gone. Restore it, or remove the directory to start empty.
    #[error("the store's data {} is missing: restore it, or remove the store directory to start empty", path.display())]
    DataMissing {
        /// The engine's file or directory.
        path: PathBuf,
    },
    /// The engine could not open its data. On damage: restore a backup, or remove the store directory and let
    /// peers send everything again.
    #[error("the store {} could not be opened", dir.display())]
    Engine {
        /// The store.
        dir: PathBuf,
        /// What the engine said.
        #[source]
        source: EngineError,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(", process {pid}"))
}

/// The lock of a store that nobody has open, so that its files can be copied or moved as they are. The store is
/// not opened and nothing in it is changed. Dropping it lets go of the lock.
#[derive(Debug)]
pub struct StoreLock {
    _lock: File,
}

impl StoreLock {
    /// Locks the store in a directory; `None` if there is none.
    ///
    /// # Errors
    /// [`OpenError::Locked`] while another process has it open; [`OpenError::Io`] if the lock cannot be had.
    pub fn acquire(dir: &Path) -> Result<Option<StoreLock>, OpenError> {
        if !dir.join("FORMAT").try_exists().map_err(io_error(dir, "looked at"))? {
            return Ok(None);
        }
        Ok(Some(StoreLock { _lock: lock(dir)? }))
    }
}

/// A store directory held by this process. Dropping it lets go of the lock.
#[derive(Debug)]
pub(crate) struct StoreDirectory {
    dir: PathBuf,
    engine: EngineKind,
    is_complete: bool,
    _lock: File,
}

impl StoreDirectory {
    /// Makes the directory where there is none, locks it, checks its format and brings it up to date.
    pub(crate) fn acquire(dir: &Path, wanted: EngineKind) -> Result<StoreDirectory, OpenError> {
        create_directory(dir)?;
        let lock = lock(dir)?;
        let path = dir.join("FORMAT");
        let found = match read_format(&path)? {
            Some(format) => format,
            None => {
                if let Some(stray) =
                    [EngineKind::Redb, EngineKind::Sled].into_iter().find(|kind| data_path(dir, *kind).exists())
                {
                    return Err(OpenError::Format {
                        path,
                        why: match stray {
                            EngineKind::Sled => "it is missing although there is sled data",
                            _ => "it is missing although there is redb data",
                        },
                    });
                }
                let format = Format { version: FORMAT_VERSION, engine: wanted, is_complete: false };
                write_format(dir, &format)?;
                format
            }
        };
        if found.version > FORMAT_VERSION {
            return Err(OpenError::NewerFormat {
                dir: dir.to_path_buf(),
                found: found.version,
                supported: FORMAT_VERSION,
            });
        }
        if found.version < FORMAT_VERSION_MIN {
            return Err(OpenError::OlderFormat {
                dir: dir.to_path_buf(),
                found: found.version,
                oldest: FORMAT_VERSION_MIN,
            });
        }
        if found.engine != wanted {
            return Err(OpenError::OtherEngine { dir: dir.to_path_buf(), found: found.engine, wanted });
        }
        let directory =
            StoreDirectory { dir: dir.to_path_buf(), engine: wanted, is_complete: found.is_complete, _lock: lock };
        let data = directory.data_path();
        match (found.is_complete, data.exists()) {
            (true, false) => return Err(OpenError::DataMissing { path: data }),
            // Making it was cut short, so nobody was told of anything in it.
            (false, true) => remove(&data)?,
            _ => {}
        }
        if found.is_complete {
            migrate(dir, found, FORMAT_VERSION_MIN, &MIGRATIONS)?;
        }
        Ok(directory)
    }

    /// Where the engine keeps its data.
    pub(crate) fn data_path(&self) -> PathBuf {
        data_path(&self.dir, self.engine)
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// Notes durably that the engine's data exists from now on.
    pub(crate) fn complete(&mut self) -> Result<(), OpenError> {
        if self.is_complete {
            return Ok(());
        }
        durable_file::sync_directory(&self.dir).map_err(io_error(&self.dir, "made durable"))?;
        write_format(&self.dir, &Format { version: FORMAT_VERSION, engine: self.engine, is_complete: true })?;
        self.is_complete = true;
        Ok(())
    }

    /// Gives up the space kept for opening on a full disk. Says whether there was any.
    pub(crate) fn release_ballast(&self) -> bool {
        fs::remove_file(self.ballast_path()).is_ok()
    }

    /// Sets space aside for opening on a full disk. Best effort: says whether it is there now.
    pub(crate) fn ensure_ballast(&self) -> bool {
        let path = self.ballast_path();
        if path.metadata().is_ok_and(|metadata| metadata.len() == BALLAST_BYTES) {
            return true;
        }
        let reserve = || -> io::Result<()> {
            let file = File::create(&path)?;
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, BALLAST_BYTES)?;
            Ok(())
        };
        let reserved = reserve().is_ok();
        if !reserved {
            let _ = fs::remove_file(&path);
        }
        reserved
    }

    fn ballast_path(&self) -> PathBuf {
        self.dir.join("ballast")
    }
}

/// What the file `FORMAT` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Format {
    version: u32,
    engine: EngineKind,
    is_complete: bool,
}

fn data_path(dir: &Path, engine: EngineKind) -> PathBuf {
    match engine {
        EngineKind::Redb | EngineKind::Memory => dir.join("store.redb"),
        EngineKind::Sled => dir.join("sled"),
    }
}

fn create_directory(dir: &Path) -> Result<(), OpenError> {
    const OWNER_ONLY: u32 = 0o700;
    let create = || -> io::Result<()> {
        if !dir.is_dir() {
            fs::DirBuilder::new().recursive(true).mode(OWNER_ONLY).create(dir)?;
            durable_file::sync_parent(dir)?;
        }
        Ok(())
    };
    create().map_err(io_error(dir, "created"))
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    const OWNER_ONLY: u32 = 0o600;
    let path = dir.join("LOCK");
    let mut file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(OWNER_ONLY)
        .open(&path)
        .map_err(io_error(&path, "opened"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let read = file.take(32).read_to_string(&mut text);
            let pid = read.ok().and_then(|_| text.trim().parse().ok());
            return Err(OpenError::Locked { dir: dir.to_path_buf(), pid });
        }
        Err(TryLockError::Error(source)) => return Err(io_error(&path, "locked")(source)),
    }
    // The number is for people; on a full disk it may be missing.
    let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

fn read_format(path: &Path) -> Result<Option<Format>, OpenError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io_error(path, "opened")(source)),
    };
    let mut bytes = Vec::new();
    file.take(FORMAT_BYTES_MAX).read_to_end(&mut bytes).map_err(io_error(path, "read"))?;
    parse_format(&bytes).map(Some).map_err(|why| OpenError::Format { path: path.to_path_buf(), why })
}

fn parse_format(bytes: &[u8]) -> Result<Format, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text")?;
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix(TITLE)).ok_or("its first line is another")?;
    let version: u32 = version.trim().parse().map_err(|_| "its version is not a number")?;
    if version == 0 {
        return Err("there is no format 0");
    }
    let engine = lines.next().and_then(|line| line.strip_prefix("engine ")).ok_or("it names no engine")?;
    let engine = match engine.parse() {
        Ok(engine) => engine,
        // A newer version may know more engines; it is refused by its version number.
        Err(_) if version > FORMAT_VERSION => EngineKind::default(),
        Err(_) => return Err("it names an unknown engine"),
    };
    let is_complete = match lines.next() {
        Some("state complete") => true,
        Some("state creating") => false,
        _ if version > FORMAT_VERSION => true,
        _ => return Err("it does not say whether the store is complete"),
    };
    Ok(Format { version, engine, is_complete })
}

fn write_format(dir: &Path, format: &Format) -> Result<(), OpenError> {
    let path = dir.join("FORMAT");
    let state = if format.is_complete { "complete" } else { "creating" };
    let text = format!("{TITLE} {}\nengine {}\nstate {state}\n", format.version, format.engine);
    durable_file::replace(&path, text.as_bytes()).map_err(io_error(&path, "written"))
}

/// Brings a store of an older format up to date, one durable step after another; the first is from format `oldest`.
fn migrate(dir: &Path, found: Format, oldest: u32, steps: &[MigrationStep]) -> Result<(), OpenError> {
    for (from, step) in (oldest..).zip(steps).skip_while(|(from, _)| *from < found.version) {
        step(dir).map_err(io_error(dir, "migrated to the next format"))?;
        let version = from + 1;
        tracing::info!(version, "migrated the store");
        write_format(dir, &Format { version, ..found })?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), OpenError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(io_error(path, "removed"))
}

fn io_error<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(io::Error) -> OpenError + 'a {
    move |source| OpenError::Io { path: path.to_path_buf(), action, source }
}

#[cfg(test)]
mod tests;
