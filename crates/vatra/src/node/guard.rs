//! Which entry is under work, noted beside the store so that a crash of the process can be laid to it: an entry that
//! crashes the node twice is held back instead of being tried a third time.
//!
//! A panic is caught where it happens; this is for what cannot be caught, such as an abort, a stack overflow or the
//! system's killer of processes that take too much memory. The note is a small write without a flush: it survives the
//! process, because the system holds what was written, and is not believed after a reboot, because a power cut tells
//! nothing about the entry that was at hand.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use vatra_model::EntryHash;

/// Crashes with one entry under work after which it is held back.
const CRASHES_MAX: u8 = 2;
/// Entries that are stored one by one after a crash, so that the next crash can be laid to one.
const CAREFUL_ENTRIES: usize = 4096;
/// Entries whose crashes are counted at a time; more than a few means that something else is wrong.
const SUSPECTS_MAX: usize = 256;

const TITLE: &[u8; 16] = b"vatra at work 1\n";
/// Where the note of what is under work stands in the file, behind the title.
const NOTE_AT: u64 = TITLE.len() as u64;
const BOOT_BYTES: usize = 36;
const HASH_BYTES: usize = 32;
const NOTE_BYTES: usize = 1 + BOOT_BYTES + HASH_BYTES;
/// An entry and how often the process crashed while it was under work.
const SUSPECT_BYTES: usize = HASH_BYTES + 1;
const FILE_BYTES_MAX: usize = TITLE.len() + NOTE_BYTES + 1 + SUSPECTS_MAX * SUSPECT_BYTES;

/// What the file says of the process that wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Note {
    Idle,
    /// This entry was under work.
    Entry(EntryHash),
    /// Several entries were, together.
    Several,
}

/// The note of what is under work, and the crashes that it has told of.
pub(crate) struct Guard {
    file: Option<File>,
    path: PathBuf,
    boot: [u8; BOOT_BYTES],
    suspects: BTreeMap<EntryHash, u8>,
    /// Crashes with several entries under work: they count against whichever is alone at the next one.
    unlaid: u8,
    careful: usize,
}

impl Default for Guard {
    fn default() -> Guard {
        let (path, boot) = (PathBuf::new(), [0; BOOT_BYTES]);
        Guard { file: None, path, boot, suspects: BTreeMap::new(), unlaid: 0, careful: 0 }
    }
}

impl Guard {
    /// Reads what the process before this one was at, and counts its crash. Without the file, or with one that cannot
    /// be written, the node runs all the same.
    pub(crate) fn open(path: &Path) -> Guard {
        let boot = boot_id();
        let mut guard = match fs::File::open(path).map_err(anyhow::Error::from).and_then(|file| read(file, boot)) {
            Ok(guard) => guard,
            Err(error) => {
                let is_absent = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
                if is_absent != Some(std::io::ErrorKind::NotFound) {
                    tracing::warn!(file = %path.display(), error = format!("{error:#}"), "the note of work is not read");
                }
                Guard::default()
            }
        };
        (guard.path, guard.boot) = (path.to_owned(), boot);
        guard.renew();
        guard
    }

    /// This entry is under work from now on.
    pub(crate) fn begin(&mut self, entry: EntryHash) {
        self.note(Note::Entry(entry));
    }

    /// All entries of a part are under work together from now on, unless the part has but one.
    pub(crate) fn join(&mut self, entries_count: usize) {
        if entries_count > 1 {
            self.note(Note::Several);
        }
    }

    /// Nothing is under work.
    pub(crate) fn end(&mut self) {
        self.note(Note::Idle);
    }

    /// Whether the entry has crashed the process too often to be tried again.
    pub(crate) fn is_held(&self, entry: &EntryHash) -> bool {
        self.suspects.get(entry).is_some_and(|crashes| crashes.saturating_add(self.unlaid) >= CRASHES_MAX)
    }

    /// How many entries may be under work together.
    pub(crate) fn part_entries_max(&self) -> usize {
        if self.careful > 0 { 1 } else { usize::MAX }
    }

    /// These entries are stored.
    pub(crate) fn stored(&mut self, entries: impl Iterator<Item = EntryHash>) {
        if self.careful == 0 {
            return;
        }
        let before = (self.suspects.len(), self.unlaid);
        for entry in entries {
            self.suspects.remove(&entry);
            self.careful -= 1;
            if self.careful == 0 {
                self.unlaid = 0;
                break;
            }
        }
        if (self.suspects.len(), self.unlaid) != before {
            self.renew();
        }
    }

    fn note(&mut self, note: Note) {
        let Some(file) = &self.file else { return };
        if let Err(error) = file.write_all_at(&encode(note, self.boot), NOTE_AT) {
            tracing::warn!(file = %self.path.display(), %error, "what is under work cannot be noted any more");
            self.file = None;
        }
    }

    /// Writes the file anew, durably, with nothing under work.
    fn renew(&mut self) {
        self.file = match self.rewrite() {
            Ok(file) => Some(file),
            Err(error) => {
                let file = self.path.display();
                tracing::warn!(%file, error = format!("{error:#}"), "what is under work cannot be noted");
                None
            }
        };
    }

    fn rewrite(&self) -> anyhow::Result<File> {
        let mut bytes = [&TITLE[..], &encode(Note::Idle, self.boot), &[self.unlaid]].concat();
        for (entry, crashes) in self.suspects.iter().take(SUSPECTS_MAX) {
            bytes.extend_from_slice(&entry.0);
            bytes.push(*crashes);
        }
        let new = self.path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        File::open(self.path.parent().context("the file is in a directory")?)?.sync_all()?;
        Ok(file)
    }
}

/// The guard as the file has it, with the crash that it tells of.
fn read(file: File, boot: [u8; BOOT_BYTES]) -> anyhow::Result<Guard> {
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    let rest = bytes.strip_prefix(TITLE).context("the file is no note of work")?;
    let (note, rest) = rest.split_first_chunk::<NOTE_BYTES>().context("the note is cut short")?;
    let (unlaid, rest) = rest.split_first().context("the note is cut short")?;
    let mut guard = Guard { unlaid: *unlaid, ..Guard::default() };
    for suspect in rest.chunks_exact(SUSPECT_BYTES).take(SUSPECTS_MAX) {
        let (entry, crashes) = suspect.split_at(HASH_BYTES);
        guard.suspects.insert(EntryHash(entry.try_into().expect("32 bytes")), crashes[0]);
    }
    match decode(note, boot) {
        Note::Idle => {}
        Note::Entry(entry) => {
            let crashes = guard.suspects.entry(entry).or_default();
            *crashes = crashes.saturating_add(1);
            let entry = hex::encode(&entry.0[..8]);
            tracing::error!(entry, crashes = *crashes, "this program crashed over an entry; it goes on with care");
        }
        Note::Several => {
            guard.unlaid = guard.unlaid.saturating_add(1);
            tracing::error!("this program crashed while it stored entries; it goes on with care");
        }
    }
    if guard.unlaid > 0 || !guard.suspects.is_empty() {
        guard.careful = CAREFUL_ENTRIES;
    }
    Ok(guard)
}

fn encode(note: Note, boot: [u8; BOOT_BYTES]) -> [u8; NOTE_BYTES] {
    let (kind, hash) = match note {
        Note::Idle => (0, [0; HASH_BYTES]),
        Note::Entry(entry) => (1, entry.0),
        Note::Several => (2, [0; HASH_BYTES]),
    };
    let mut bytes = [0; NOTE_BYTES];
    bytes[0] = kind;
    bytes[1..=BOOT_BYTES].copy_from_slice(&boot);
    bytes[1 + BOOT_BYTES..].copy_from_slice(&hash);
    bytes
}

fn decode(bytes: &[u8; NOTE_BYTES], boot: [u8; BOOT_BYTES]) -> Note {
    let (of, hash) = bytes[1..].split_at(BOOT_BYTES);
    match bytes[0] {
        1 if of == boot => Note::Entry(EntryHash(hash.try_into().expect("32 bytes"))),
        2 if of == boot => Note::Several,
        _ => Note::Idle,
    }
}

/// Names a text that crashes the process when a change contains it, in builds for tests.
#[cfg(debug_assertions)]
const CRASH_VARIABLE: &str = "VATRA_TEST_CRASH_ON";

/// Lets a test see what a crash of the process does.
#[cfg(debug_assertions)]
pub(crate) fn provoke_crash(change: &vatra_model::Change) {
    use vatra_model::{Change, Op, Value};
    static TEXT: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let Some(asked) = TEXT.get_or_init(|| std::env::var(CRASH_VARIABLE).ok()) else { return };
    let ops = match change {
        Change::Create(create) => &create.ops,
        Change::Edit(edit) => &edit.ops,
        Change::Open(_) | Change::Unknown { .. } => return,
    };
    if ops.iter().any(|op| matches!(op, Op::Set { value: Value::Text(text), .. } if text == asked)) {
        std::process::abort();
    }
}

/// What the system calls its present life.
fn boot_id() -> [u8; BOOT_BYTES] {
    let text = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.first_chunk().copied().unwrap_or([0; BOOT_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    const POISON: EntryHash = EntryHash([7; 32]);
    const GOOD: EntryHash = EntryHash([8; 32]);

    /// What a crash leaves: the file as the process last wrote it.
    fn after_crash(path: &Path, work: impl FnOnce(&mut Guard)) -> Guard {
        let mut guard = Guard::open(path);
        work(&mut guard);
        drop(guard);
        Guard::open(path)
    }

    #[test]
    fn the_second_crash_over_an_entry_is_the_last() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("at-work");
        let guard = after_crash(&path, |guard| guard.begin(POISON));
        assert!(!guard.is_held(&POISON), "once may be an accident");
        assert_eq!(guard.part_entries_max(), 1);
        let guard = after_crash(&path, |guard| guard.begin(POISON));
        assert!(guard.is_held(&POISON) && !guard.is_held(&GOOD));
        let guard = after_crash(&path, |_| ());
        assert!(guard.is_held(&POISON), "a good end does not forget it");
        let guard = after_crash(&path, |guard| guard.stored([POISON].into_iter()));
        assert!(!guard.is_held(&POISON), "it is stored as held back, and needs no second note");
    }

    #[test]
    fn a_crash_over_several_counts_against_the_one_that_crashes_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("at-work");
        let work = |guard: &mut Guard| {
            guard.begin(GOOD);
            guard.begin(POISON);
            guard.join(2);
        };
        let guard = after_crash(&path, work);
        assert!(!guard.is_held(&POISON) && !guard.is_held(&GOOD));
        let work = |guard: &mut Guard| {
            guard.begin(GOOD);
            guard.join(1);
            guard.end();
            guard.stored([GOOD].into_iter());
            guard.begin(POISON);
            guard.join(1);
        };
        let guard = after_crash(&path, work);
        assert!(guard.is_held(&POISON) && !guard.is_held(&GOOD));
    }

    #[test]
    fn ends_without_work_and_power_cuts_count_for_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("at-work");
        for _ in 0..3 {
            let guard = after_crash(&path, |guard| {
                guard.begin(GOOD);
                guard.end();
            });
            assert_eq!((guard.is_held(&GOOD), guard.part_entries_max()), (false, usize::MAX));
        }
        for _ in 0..3 {
            let guard = after_crash(&path, |guard| {
                guard.boot = *b"another life of the system, before  ";
                guard.begin(GOOD);
            });
            assert_eq!((guard.is_held(&GOOD), guard.part_entries_max()), (false, usize::MAX));
        }
    }

    #[test]
    fn care_ends_after_a_while() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("at-work");
        let mut guard = after_crash(&path, |guard| {
            guard.begin(GOOD);
            guard.join(2);
        });
        assert_eq!(guard.part_entries_max(), 1);
        guard.stored((0..CAREFUL_ENTRIES).map(|_| GOOD));
        assert_eq!(guard.part_entries_max(), usize::MAX);
        drop(guard);
        assert_eq!(Guard::open(&path).part_entries_max(), usize::MAX);
    }

    #[test]
    fn a_damaged_note_stops_nobody() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("at-work");
        for damaged in [&b""[..], b"vatra", b"vatra at work 1\n", &[0xff; 70_000]] {
            fs::write(&path, damaged).expect("a file");
            let mut guard = Guard::open(&path);
            guard.begin(POISON);
            drop(guard);
            assert_eq!(Guard::open(&path).suspects.get(&POISON), Some(&1));
            fs::remove_file(&path).expect("the file is there");
        }
        let mut nowhere = Guard::open(&dir.path().join("no such directory/at-work"));
        nowhere.begin(GOOD);
        nowhere.end();
        assert!(!nowhere.is_held(&GOOD));
    }
}
