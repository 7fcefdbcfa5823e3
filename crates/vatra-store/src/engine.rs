//! Engines: ordered key spaces of bytes, one atomic durable batch across them, consistent snapshots.
//!
//! An engine knows nothing of logs or records, and its values carry no checksum of ours: both are the business
//! of [`crate::Store`] and [`crate::Reader`] above it.

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::str::FromStr;

use thiserror::Error;
use vatra_model::WallMs;

use crate::space::Space;

pub use batch::{Batch, OpRef};
pub use memory::{DiskImage, MemoryDisk, MemoryEngine, Torn};

mod batch;
mod fault;
pub use self::fault::panics_are_errors;
pub(crate) mod gate;
pub(crate) mod memory;
pub(crate) mod redb_engine;
#[cfg(feature = "sled")]
pub(crate) mod sled_engine;
#[cfg(feature = "sled")]
mod undo;

#[cfg(test)]
mod conformance;

/// What a store needs of an engine. One thread writes; any number of threads read.
pub trait Engine: Send + Sync + fmt::Debug {
    /// Makes the whole batch durable, or nothing of it. `Ok` means that a power cut cannot undo it.
    ///
    /// After an error nothing of the batch is shown by later snapshots, and nothing of it comes back later
    /// unless the process ends before the engine could take it back.
    ///
    /// # Errors
    /// See [`EngineError`]. The engine heals itself where it can; [`Engine::health`] says whether it did.
    fn commit(&self, batch: &Batch) -> Result<(), EngineError>;

    /// A view of everything committed so far, which later commits do not change.
    ///
    /// # Errors
    /// See [`EngineError`].
    fn snapshot(&self) -> Result<Box<dyn EngineSnapshot>, EngineError>;

    /// Whether commits are accepted now.
    fn health(&self) -> Health;

    /// Which engine this is.
    fn kind(&self) -> EngineKind;

    /// Bytes this engine takes on disk; 0 where there is no disk.
    fn disk_bytes(&self) -> u64;
}

/// A consistent view of one moment of an engine.
pub trait EngineSnapshot: Send + Sync {
    /// The value of a row.
    ///
    /// # Errors
    /// See [`EngineError`].
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;

    /// Shows the rows of a range in order until the visitor breaks off.
    ///
    /// # Errors
    /// See [`EngineError`].
    fn scan(
        &self,
        space: Space,
        range: KeyRange<'_>,
        direction: Direction,
        visit: &mut Visitor<'_>,
    ) -> Result<(), EngineError>;

    /// The number of rows of a space. Constant time except with sled, which counts them.
    ///
    /// # Errors
    /// See [`EngineError`].
    fn len(&self, space: Space) -> Result<u64, EngineError>;
}

/// Is shown key and value of each row of a scan.
pub type Visitor<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// The keys of a scan: `from` included, `to` included; `None` is unbounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyRange<'a> {
    /// The first key, included.
    pub from: Option<&'a [u8]>,
    /// The last key, included.
    pub to: Option<&'a [u8]>,
}

impl KeyRange<'_> {
    /// Every key of a space.
    pub const ALL: KeyRange<'static> = KeyRange { from: None, to: None };

    /// Whether no key can be in this range.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!((self.from, self.to), (Some(from), Some(to)) if from > to)
    }
}

/// The order of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smallest key first.
    Forward,
    /// Greatest key first.
    Reverse,
}

/// The engines there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// redb: the default.
    #[default]
    Redb,
    /// sled 0.34 with workarounds; only in binaries built with the cargo feature `sled`.
    Sled,
    /// Memory, for simulation; never on disk.
    Memory,
}

impl EngineKind {
    /// The name in configuration and on disk.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            EngineKind::Redb => "redb",
            EngineKind::Sled => "sled",
            EngineKind::Memory => "memory",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no engine that can hold a store on disk.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a store engine is \"redb\" or \"sled\", not {found:?}")]
pub struct ParseEngineError {
    found: String,
}

impl FromStr for EngineKind {
    type Err = ParseEngineError;

    fn from_str(text: &str) -> Result<Self, ParseEngineError> {
        match text {
            "redb" => Ok(EngineKind::Redb),
            "sled" => Ok(EngineKind::Sled),
            _ => Err(ParseEngineError { found: text.chars().take(80).collect() }),
        }
    }
}

/// Whether commits are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Commits are accepted.
    Writable,
    /// Commits are refused while reads go on.
    ReadOnly {
        /// Why they are refused.
        reason: ReadOnlyReason,
        /// Since when, by this machine's clock.
        since: WallMs,
    },
}

/// Why an engine refuses commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOnlyReason {
    /// The disk is full or a quota is used up. A commit is tried again each second, so writing resumes by
    /// itself once there is space.
    Full,
    /// The disk failed a read, write or flush. A commit is tried again each second.
    Io,
    /// The engine's own structure is damaged, or it panicked. Nothing is tried until a restart; an operator
    /// should check the disk and run `vatra fsck`.
    Damaged,
}

impl fmt::Display for ReadOnlyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReadOnlyReason::Full => "the disk is full",
            ReadOnlyReason::Io => "the disk fails",
            ReadOnlyReason::Damaged => "the store is damaged",
        })
    }
}

/// An engine could not do what was asked. Nothing of a refused batch is shown.
#[derive(Debug, Error)]
pub enum EngineError {
    /// No space is left. The engine is read-only and tries again by itself; an operator should free space.
    #[error("no space is left on the store's disk: {0}")]
    Full(#[source] io::Error),
    /// The disk failed. The engine was reopened, is read-only and tries again by itself; an operator should
    /// look at the disk.
    #[error("the store's disk failed: {0}")]
    Io(#[source] io::Error),
    /// The engine was read-only already and it is too early to try again. The disk was not touched.
    #[error("the store takes no writes because {0}")]
    ReadOnly(ReadOnlyReason),
    /// The engine found its own structure damaged, or panicked on it. An operator should run `vatra fsck`.
    #[error("the store engine found damage in {place}: {why}")]
    Damaged {
        /// The space being read, or the whole file.
        place: &'static str,
        /// What the engine said.
        why: String,
    },
    /// The engine was reopened since this snapshot was taken: take a new one.
    #[error("the store was reopened after this snapshot was taken")]
    Reopened,
    /// The engine is closed: the simulated machine crashed, or the file could not be reopened yet.
    #[error("the store is closed at the moment")]
    Closed,
}
