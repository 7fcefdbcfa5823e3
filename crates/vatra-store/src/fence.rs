//! The fence: how far this node may have numbered its own entries, kept outside the store.
//!
//! A store that was restored, rolled back or cloned is behind its fence, and then must open a new incarnation
//! instead of numbering entries a second time. The promise runs ahead in steps, so that it is rarely written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;
use vatra_model::{Incarnation, Seq};
use xxhash_rust::xxh3::xxh3_64;

use crate::durable_file;

/// How far a promise runs ahead of the seq that asked for it.
pub const FENCE_STEP: u64 = 1024;

const TITLE: &str = "vatra fence 1";
const FILE_BYTES_MAX: u64 = 4096;

/// What the fence says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceMark {
    /// The incarnation that numbered entries last.
    pub incarnation: Incarnation,
    /// No entry of any log of that incarnation has a greater seq.
    pub promised: Seq,
    /// Starts of the node in that incarnation. A store that knows of fewer is an old copy of itself.
    pub starts: u64,
}

/// What was found where the fence should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FenceState {
    /// There was no fence: a new node, or one whose directory was copied without it.
    Absent,
    /// The fence is whole.
    Held(FenceMark),
    /// There is a fence, but it cannot be read. Nothing is known of earlier numbers: open a new incarnation.
    Damaged {
        /// What is wrong with it.
        why: &'static str,
    },
}

/// The fence could not be read or written. A fence that was not raised must not be relied on: do not sign.
#[derive(Debug, Error)]
#[error("the fence file {} could not be {action}", path.display())]
pub struct FenceError {
    path: PathBuf,
    action: &'static str,
    #[source]
    source: io::Error,
}

impl FenceError {
    /// Whether the disk is full: then the same happens to commits, and passes by itself.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// The fence of one node.
#[derive(Debug)]
pub struct Fence {
    place: Place,
    state: FenceState,
}

#[derive(Debug)]
enum Place {
    File(PathBuf),
    Memory(MemoryFence),
}

/// A fence in memory, for simulation; it outlives crashes. Clones are the same fence.
#[derive(Clone, Debug, Default)]
pub struct MemoryFence(Arc<Mutex<Option<FenceMark>>>);

impl Fence {
    /// Reads the fence file.
    ///
    /// # Errors
    /// [`FenceError`] when the file is there but cannot be read at all.
    pub fn load(path: &Path) -> Result<Fence, FenceError> {
        let state = match read(path) {
            Ok(text) => parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => FenceState::Absent,
            Err(source) => return Err(FenceError { path: path.to_path_buf(), action: "read", source }),
        };
        Ok(Fence { place: Place::File(path.to_path_buf()), state })
    }

    /// The fence in memory.
    #[must_use]
    pub fn load_memory(fence: &MemoryFence) -> Fence {
        let mark = *fence.0.lock().unwrap_or_else(PoisonError::into_inner);
        Fence { place: Place::Memory(fence.clone()), state: mark.map_or(FenceState::Absent, FenceState::Held) }
    }

    /// What the fence says now.
    #[must_use]
    pub fn state(&self) -> &FenceState {
        &self.state
    }

    /// Whether an entry of this incarnation may have this seq without raising the fence first.
    #[must_use]
    pub fn covers(&self, incarnation: Incarnation, seq: Seq) -> bool {
        matches!(&self.state, FenceState::Held(mark) if mark.incarnation == incarnation && seq <= mark.promised)
    }

    /// Makes sure, durably, that the fence covers this seq; writes only when it does not yet. Call it before
    /// an entry is signed. Another incarnation than the one held replaces it.
    ///
    /// # Errors
    /// [`FenceError`]: the fence is as it was; do not sign.
    pub fn raise(&mut self, incarnation: Incarnation, seq: Seq) -> Result<(), FenceError> {
        if self.covers(incarnation, seq) {
            return Ok(());
        }
        let starts = match &self.state {
            FenceState::Held(mark) if mark.incarnation == incarnation => mark.starts,
            _ => 0,
        };
        self.write(FenceMark { incarnation, promised: Seq(seq.0.saturating_add(FENCE_STEP)), starts })
    }

    /// Notes a start of the node, durably. Call it once the store has noted the same start.
    ///
    /// # Errors
    /// [`FenceError`]: the fence is as it was.
    pub fn begin(&mut self, incarnation: Incarnation, starts: u64) -> Result<(), FenceError> {
        let promised = match &self.state {
            FenceState::Held(mark) if mark.incarnation == incarnation => mark.promised,
            _ => Seq(0),
        };
        self.write(FenceMark { incarnation, promised, starts })
    }

    fn write(&mut self, mark: FenceMark) -> Result<(), FenceError> {
        match &self.place {
            Place::File(path) => {
                durable_file::replace(path, render(mark).as_bytes()).map_err(|source| FenceError {
                    path: path.clone(),
                    action: "written",
                    source,
                })?;
            }
            Place::Memory(fence) => *fence.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(mark),
        }
        self.state = FenceState::Held(mark);
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn render(mark: FenceMark) -> String {
    let FenceMark { incarnation, promised, starts } = mark;
    let body = format!("{TITLE}\nincarnation {:016x}\npromised {promised}\nstarts {starts}\n", incarnation.0);
    format!("{body}checksum {:016x}\n", xxh3_64(body.as_bytes()))
}

fn parse(bytes: &[u8]) -> FenceState {
    let damaged = |why| FenceState::Damaged { why };
    let Ok(text) = std::str::from_utf8(bytes) else { return damaged("it is not text") };
    let lines: Vec<&str> = text.lines().collect();
    let [TITLE, incarnation, promised, starts, _checksum] = lines[..] else {
        return damaged("it does not have its five lines");
    };
    let incarnation = incarnation.strip_prefix("incarnation ").and_then(|hex| u64::from_str_radix(hex, 16).ok());
    let promised = promised.strip_prefix("promised ").and_then(|number| number.parse().ok());
    let starts = starts.strip_prefix("starts ").and_then(|number| number.parse().ok());
    let (Some(incarnation), Some(promised), Some(starts)) = (incarnation, promised, starts) else {
        return damaged("its numbers cannot be read");
    };
    let mark = FenceMark { incarnation: Incarnation(incarnation), promised: Seq(promised), starts };
    if render(mark) == text { FenceState::Held(mark) } else { damaged("its checksum is wrong") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: FenceMark = FenceMark { incarnation: Incarnation(0xab), promised: Seq(1024), starts: 0 };

    #[test]
    fn a_fence_is_written_in_steps_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fence");
        let mut fence = Fence::load(&path).unwrap();
        assert_eq!(*fence.state(), FenceState::Absent);
        fence.raise(Incarnation(0xab), Seq(0)).unwrap();
        let first = std::fs::read(&path).unwrap();
        fence.raise(Incarnation(0xab), Seq(FENCE_STEP)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first, "a covered seq writes nothing");
        assert_eq!(*Fence::load(&path).unwrap().state(), FenceState::Held(MARK));
        fence.raise(Incarnation(0xab), Seq(FENCE_STEP + 1)).unwrap();
        assert!(Fence::load(&path).unwrap().covers(Incarnation(0xab), Seq(2 * FENCE_STEP + 1)));
        fence.raise(Incarnation(0xcd), Seq(0)).unwrap();
        assert!(!Fence::load(&path).unwrap().covers(Incarnation(0xab), Seq(0)));
    }

    #[test]
    fn starts_are_noted_beside_the_promise() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fence");
        let mut fence = Fence::load(&path).unwrap();
        fence.begin(Incarnation(0xab), 1).unwrap();
        fence.raise(Incarnation(0xab), Seq(7)).unwrap();
        fence.begin(Incarnation(0xab), 2).unwrap();
        let mark = FenceMark { promised: Seq(7 + FENCE_STEP), starts: 2, ..MARK };
        assert_eq!(*Fence::load(&path).unwrap().state(), FenceState::Held(mark));
        fence.begin(Incarnation(0xcd), 1).unwrap();
        assert!(!Fence::load(&path).unwrap().covers(Incarnation(0xcd), Seq(1)));
    }

    #[test]
    fn torn_and_flipped_fences_are_damaged_and_can_be_replaced() {
        let whole = render(MARK).into_bytes();
        assert_eq!(parse(&whole), FenceState::Held(MARK));
        for cut in 0..whole.len() {
            assert!(matches!(parse(&whole[..cut]), FenceState::Damaged { .. }), "cut at {cut}");
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(parse(&flipped), FenceState::Damaged { .. }), "bit {bit}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fence");
        std::fs::write(&path, &whole[..20]).unwrap();
        let mut fence = Fence::load(&path).unwrap();
        assert!(!fence.covers(MARK.incarnation, Seq(0)));
        fence.raise(Incarnation(7), Seq(0)).unwrap();
        assert!(Fence::load(&path).unwrap().covers(Incarnation(7), Seq(0)));
    }

    #[test]
    fn a_fence_that_cannot_be_written_says_so_and_covers_nothing_more() {
        let dir = tempfile::tempdir().unwrap();
        let mut fence = Fence::load(&dir.path().join("missing/fence")).unwrap();
        let error = fence.raise(Incarnation(1), Seq(0)).unwrap_err();
        assert!(error.to_string().ends_with("missing/fence could not be written"), "{error}");
        assert!(std::error::Error::source(&error).is_some(), "the cause is told by the chain, and only there");
        assert!(!fence.covers(Incarnation(1), Seq(0)));
    }

    #[test]
    fn a_fence_in_memory_outlives_its_users() {
        let memory = MemoryFence::default();
        Fence::load_memory(&memory).raise(Incarnation(1), Seq(5)).unwrap();
        assert!(Fence::load_memory(&memory).covers(Incarnation(1), Seq(5 + FENCE_STEP)));
    }
}
