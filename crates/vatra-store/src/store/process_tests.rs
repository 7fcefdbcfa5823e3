//! Stores of real processes: killed at any moment, opened twice, on a full disk, with flipped bits at rest.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use vatra_model::Seq;

use super::*;
use crate::testing::{LOG, creating, editing, entry_bytes, record};
use crate::{ReadOnlyReason, fsck};

const CHILD_DIR: &str = "VATRA_STORE_TEST_DIR";
const CHILD_ENGINE: &str = "VATRA_STORE_TEST_ENGINE";

pub(super) fn engines() -> Vec<EngineKind> {
    let mut engines = vec![EngineKind::Redb];
    if cfg!(feature = "sled") {
        engines.push(EngineKind::Sled);
    }
    engines
}

pub(super) fn open(dir: &Path, engine: EngineKind) -> Result<Store, OpenError> {
    Store::open(dir, OpenOptions { engine, cache_bytes: 8 * 1024 * 1024 })
}

/// Entry `seq` creates 1, 16 or 64 records; each third also edits the record it created first.
pub(super) fn commit_numbered(store: &mut Store, seq: u64) -> Result<(), CommitError> {
    let first = store.next_position();
    let changes = [1, 16, 64][usize::try_from(seq % 3).expect("it is below 3")];
    let mut commit = creating(2 * seq, first, changes);
    if seq.is_multiple_of(3) {
        let edit = editing(2 * seq + 1, Position(first.0 + changes), first);
        commit.entries.extend(edit.entries);
        commit.stream.extend(edit.stream);
        commit.ids.extend(edit.ids);
        commit.documents.extend(edit.documents);
    }
    store.commit(&commit)
}

/// The numbered commits that are there; each must be whole.
pub(super) fn check_whole(store: &Store, acknowledged: u64) -> u64 {
    let report = fsck::verify(&store.reader(), &mut ()).unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
    let reader = store.reader();
    let mut present = 0;
    while let Some(bytes) = reader.entry(LOG, Seq(2 * present)).unwrap() {
        assert_eq!(bytes, entry_bytes(2 * present));
        present += 1;
    }
    assert!(present >= acknowledged, "{present} of {acknowledged} acknowledged commits are there");
    let entries = (0..present).map(|seq| 1 + u64::from(seq.is_multiple_of(3))).sum::<u64>();
    assert_eq!(reader.counts().unwrap().entries, entries);
    present
}

/// Not a test of its own: the process that the tests below start, kill and lock out.
#[test]
fn writing_child() {
    let (Ok(dir), Ok(engine)) = (std::env::var(CHILD_DIR), std::env::var(CHILD_ENGINE)) else { return };
    let mut store = open(Path::new(&dir), engine.parse().unwrap()).unwrap();
    let mut seq = 0;
    while store.reader().entry(LOG, Seq(2 * seq)).unwrap().is_some() {
        seq += 1;
    }
    println!("\nopen");
    loop {
        commit_numbered(&mut store, seq).unwrap();
        println!("acknowledged {seq}");
        seq += 1;
    }
}

struct Writing {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Writing {
    fn start(dir: &Path, engine: EngineKind) -> Writing {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::process_tests::writing_child", "--nocapture", "--test-threads=1"])
            .env(CHILD_DIR, dir)
            .env(CHILD_ENGINE, engine.name())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while line.trim() != "open" {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the child ended before it opened the store");
        }
        Writing { child, lines }
    }

    /// Lets it acknowledge so many commits, kills it, and says how many are acknowledged in all.
    fn kill_after(mut self, acknowledgements: u64) -> Option<u64> {
        let mut text = String::new();
        for _ in 0..acknowledgements {
            assert!(self.lines.read_line(&mut text).unwrap() > 0, "the child ended by itself");
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // Acknowledgements that were on their way count too; the last line may be torn.
        self.lines.read_to_string(&mut text).unwrap();
        let whole_lines = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let last = whole_lines.lines().last()?;
        Some(last.strip_prefix("acknowledged ").unwrap().parse::<u64>().unwrap() + 1)
    }
}

#[test]
fn killing_the_writer_loses_nothing_acknowledged() {
    for engine in engines() {
        let temp = tempfile::tempdir().unwrap();
        let mut acknowledged = 0;
        for round in 0..12_u64 {
            let writing = Writing::start(temp.path(), engine);
            acknowledged = writing.kill_after(round * 7 % 30).unwrap_or(acknowledged);
            let started = Instant::now();
            let store = open(temp.path(), engine).unwrap();
            assert!(started.elapsed() < Duration::from_secs(5), "opening took {:?}", started.elapsed());
            acknowledged = check_whole(&store, acknowledged);
        }
        assert!(acknowledged > 100, "{engine}: only {acknowledged} commits were written");
    }
}

#[test]
fn a_second_process_is_refused_and_told_who_holds_the_store() {
    for engine in engines() {
        let temp = tempfile::tempdir().unwrap();
        let writing = Writing::start(temp.path(), engine);
        let pid = writing.child.id();
        let error = open(temp.path(), engine).unwrap_err();
        assert!(matches!(error, OpenError::Locked { pid: Some(found), .. } if found == pid), "{error}");
        assert!(error.to_string().ends_with(&format!("is open in another process, process {pid}")), "{error}");
        writing.kill_after(1);
        open(temp.path(), engine).unwrap();
    }
}

/// A small file system of its own, gone with the value.
struct SmallDisk {
    mount: PathBuf,
    _dir: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` where this process may not mount.
    fn mount(size: &str) -> Option<SmallDisk> {
        let dir = tempfile::tempdir().unwrap();
        let mount = dir.path().join("disk");
        std::fs::create_dir(&mount).unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(&mount)
            .stderr(Stdio::null())
            .status();
        if status.is_ok_and(|status| status.success()) {
            Some(SmallDisk { mount, _dir: dir })
        } else {
            eprintln!("skipped: mounting a small file system takes root");
            None
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.mount).status();
    }
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_resumes_by_itself() {
    for engine in engines() {
        // sled's files are large from the start, and it is stopped before the last 8 MiB.
        let (size, filler_bytes) = if engine == EngineKind::Sled { ("56m", 24 << 20) } else { ("16m", 8 << 20) };
        let Some(disk) = SmallDisk::mount(size) else { return };
        let filler = disk.mount.join("filler");
        std::fs::write(&filler, vec![1; filler_bytes]).unwrap();
        let dir = disk.mount.join("store");
        let mut store = open(&dir, engine).unwrap();
        let mut count = 0;
        let error = loop {
            match commit_numbered(&mut store, count) {
                Ok(()) => count += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, CommitError::Full(_)), "{engine}: {error}");
        assert_eq!(error.to_string(), "the store is full, so nothing was stored");
        assert!(count > 20, "{engine}: {count}");
        assert!(matches!(store.health(), Health::ReadOnly { reason: ReadOnlyReason::Full, .. }));
        assert_eq!(check_whole(&store, count), count, "{engine}: reads go on");
        let again = commit_numbered(&mut store, count).unwrap_err();
        assert!(matches!(again, CommitError::Full(_)), "{engine}: {again}");

        drop(store);
        let mut store = open(&dir, engine).unwrap_or_else(|error| panic!("{engine} opens while full: {error}"));
        assert_eq!(check_whole(&store, count), count);
        while commit_numbered(&mut store, count).is_ok() {
            count += 1;
        }
        std::fs::remove_file(&filler).unwrap();
        let since = Instant::now();
        while let Err(error) = commit_numbered(&mut store, count) {
            assert!(matches!(error, CommitError::Full(_)), "{engine}: {error}");
            assert!(since.elapsed() < Duration::from_secs(10), "{engine}: writing did not resume");
            assert_eq!(store.reader().entry(LOG, Seq(0)).unwrap(), Some(entry_bytes(0)));
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(store.health(), Health::Writable);
        assert_eq!(check_whole(&store, count + 1), count + 1);
        drop(store);
        assert_eq!(check_whole(&open(&dir, engine).unwrap(), count + 1), count + 1);
    }
}

#[test]
fn bits_flipped_at_rest_are_never_served_and_never_silent() {
    let temp = tempfile::tempdir().unwrap();
    let whole = temp.path().join("whole");
    let mut store = open(&whole, EngineKind::Redb).unwrap();
    for seq in 0..20 {
        commit_numbered(&mut store, seq).unwrap();
    }
    let last = store.next_position().0 - 1;
    drop(store);
    let bytes = std::fs::read(whole.join("store.redb")).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let mut random = 99_u64;
    let (mut missing, mut found_wrong) = (0, 0);
    for round in 0..100 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bit = usize::try_from(random >> 20).unwrap() % (used * 8);
        let dir = temp.path().join("flipped");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::copy(whole.join("FORMAT"), dir.join("FORMAT")).unwrap();
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(dir.join("store.redb"), &flipped).unwrap();
        let Ok(store) = open(&dir, EngineKind::Redb) else { continue };
        let reader = store.reader();
        let mut gone = 0;
        for seq in 0..40_u64 {
            match reader.entry(LOG, Seq(seq)) {
                Ok(Some(served)) => assert_eq!(served, entry_bytes(seq), "round {round}: bit {bit} was served"),
                Ok(None) if seq % 2 == 0 || seq % 6 == 1 => gone += 1,
                Ok(None) => {}
                Err(_) => gone += 1,
            }
        }
        for position in 1..=last {
            match reader.stream_row(Position(position)) {
                Ok(Some(row)) => assert!(row.log == LOG && row.summary == [5; 16], "round {round}: bit {bit}"),
                Ok(None) | Err(_) => gone += 1,
            }
            if let Ok(Some(id)) = reader.id(record(position)) {
                assert_eq!(id.created, Position(position), "round {round}: bit {bit}");
            }
        }
        let clean = fsck::verify(&reader, &mut ()).is_ok_and(|report| report.is_clean());
        missing += u32::from(gone > 0);
        found_wrong += u32::from(!clean);
        assert!(gone == 0 || !clean, "round {round}: bit {bit} took {gone} rows away and the check saw nothing");
    }
    assert!(missing > 5 && found_wrong >= missing, "{missing} stores lost rows, {found_wrong} were found out");
}
