//! Power cuts under real stores: a writing process is recorded at the level of system calls, disks as a cut at any
//! moment could have left them are made from the record, and every store on them must open and be whole.
//!
//! What was synced is there; of what was not, each 4 KiB page is there or not. Names and lengths of files are
//! taken as journalled in order, which ext4 does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use super::process_tests::{check_whole, commit_numbered, engines, open};
use super::*;
use crate::testing::record;

const CHILD_DIR: &str = "VATRA_STORE_TEST_RECORDED_DIR";
const CHILD_ENGINE: &str = "VATRA_STORE_TEST_RECORDED_ENGINE";
const COMMITS: u64 = 50;
const PAGE_BYTES: usize = 4096;

/// Not a test of its own: the process that is recorded. It notes each acknowledged commit in a file beside the
/// store, so that acknowledgements stand between the writes.
#[test]
fn recorded_child() {
    let (Ok(dir), Ok(engine)) = (std::env::var(CHILD_DIR), std::env::var(CHILD_ENGINE)) else { return };
    let dir = Path::new(&dir);
    let mut store = open(&dir.join("store"), engine.parse().unwrap()).unwrap();
    for seq in 0..COMMITS {
        commit_numbered(&mut store, seq).unwrap();
        if seq % 16 == 8 {
            // Large enough for sled to put it into a file of its own.
            let large = vec![seq as u8; 1536 * 1024];
            store.commit(&Commit { documents: vec![(record(1), large)], ..Commit::default() }).unwrap();
        }
        std::fs::write(dir.join("acknowledged"), (seq + 1).to_string()).unwrap();
    }
}

#[derive(Debug)]
struct Event {
    kind: u8,
    path: PathBuf,
    offset: usize,
    data: Vec<u8>,
}

/// Runs the child under the recorder; `None` where it cannot be built.
fn recorded(dir: &Path, engine: EngineKind) -> Option<Vec<Event>> {
    let source = dir.join("record.c");
    let library = dir.join("record.so");
    std::fs::write(&source, include_str!("power_cut_tests/record.c")).unwrap();
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).arg("-ldl").status();
    if !built.is_ok_and(|status| status.success()) {
        eprintln!("skipped: recording a process takes a C compiler");
        return None;
    }
    let watched = dir.join("watched");
    std::fs::create_dir(&watched).unwrap();
    let log = dir.join("events");
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::power_cut_tests::recorded_child", "--test-threads=1"])
        .env(CHILD_DIR, &watched)
        .env(CHILD_ENGINE, engine.name())
        .env("RECORD_PREFIX", &watched)
        .env("RECORD_LOG", &log)
        .env("LD_PRELOAD", &library)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    Some(parse(&std::fs::read(log).unwrap(), &watched))
}

fn parse(mut log: &[u8], watched: &Path) -> Vec<Event> {
    fn take<'a>(log: &mut &'a [u8], len: usize) -> &'a [u8] {
        let (head, rest) = log.split_at(len);
        *log = rest;
        head
    }
    let mut events = Vec::new();
    while !log.is_empty() {
        let kind = take(&mut log, 1)[0];
        let path_len = u32::from_ne_bytes(take(&mut log, 4).try_into().unwrap());
        let path = PathBuf::from(std::str::from_utf8(take(&mut log, path_len as usize)).unwrap());
        let path = path.strip_prefix(watched).unwrap().to_path_buf();
        let offset = usize::try_from(u64::from_ne_bytes(take(&mut log, 8).try_into().unwrap())).unwrap();
        let data_len = u32::from_ne_bytes(take(&mut log, 4).try_into().unwrap());
        let mut data = take(&mut log, data_len as usize).to_vec();
        if kind == b'R' {
            let target = PathBuf::from(String::from_utf8(data).unwrap());
            data = target.strip_prefix(watched).unwrap().to_str().unwrap().as_bytes().to_vec();
        }
        events.push(Event { kind, path, offset, data });
    }
    events
}

#[derive(Default)]
struct FileState {
    durable: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
    len: usize,
}

/// The files after the first events, and the number of commits acknowledged by then.
fn replay(events: &[Event], obey_sync: impl Fn(&Path) -> bool) -> (BTreeMap<PathBuf, FileState>, u64) {
    let mut files: BTreeMap<PathBuf, FileState> = BTreeMap::new();
    let mut acknowledged = 0;
    for event in events {
        // Directories are synced too; they are no files.
        if event.kind == b'S' && !files.contains_key(&event.path) {
            continue;
        }
        let file = files.entry(event.path.clone()).or_default();
        match event.kind {
            b'O' if event.data.is_empty() => {}
            b'O' => *file = FileState::default(),
            b'W' => {
                file.len = file.len.max(event.offset + event.data.len());
                file.pending.push((event.offset, event.data.clone()));
                if event.path == Path::new("acknowledged") {
                    acknowledged = std::str::from_utf8(&event.data).unwrap().parse().unwrap();
                }
            }
            b'T' => {
                file.durable.truncate(event.offset);
                file.pending.retain(|(offset, data)| offset + data.len() <= event.offset);
                file.len = event.offset;
            }
            b'S' if obey_sync(&event.path) => {
                for (offset, data) in std::mem::take(&mut file.pending) {
                    write_at(&mut file.durable, offset, &data);
                }
            }
            b'S' => {}
            b'R' => {
                let file = files.remove(&event.path).unwrap();
                files.insert(PathBuf::from(std::str::from_utf8(&event.data).unwrap()), file);
            }
            b'U' => {
                files.remove(&event.path);
            }
            kind => panic!("event of kind {kind}"),
        }
    }
    (files, acknowledged)
}

fn write_at(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

/// Writes the files as a cut could have left them.
fn lay_out(dir: &Path, files: BTreeMap<PathBuf, FileState>, random: &mut Random) {
    let keep = [0, 30, 70, 100][random.below(4)];
    for (path, file) in files {
        let mut bytes = file.durable;
        for (offset, data) in file.pending {
            let mut at = 0;
            while at < data.len() {
                let end = data.len().min(at + PAGE_BYTES - (offset + at) % PAGE_BYTES);
                if random.below(100) < keep {
                    write_at(&mut bytes, offset + at, &data[at..end]);
                }
                at = end;
            }
        }
        bytes.resize(file.len, 0);
        let target = dir.join(&path);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::write(target, bytes).unwrap();
    }
}

/// Opens the store as a cut left it. Says what is wrong, if anything is.
fn check_cut(
    events: &[Event],
    engine: EngineKind,
    random: &mut Random,
    obey_sync: impl Fn(&Path) -> bool,
) -> Result<(), String> {
    let (files, acknowledged) = replay(events, obey_sync);
    let dir = tempfile::tempdir().unwrap();
    lay_out(dir.path(), files, random);
    let store = open(&dir.path().join("store"), engine).map_err(|error| error.to_string())?;
    let whole = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check_whole(&store, acknowledged)));
    whole.map(|_| ()).map_err(|_| format!("not whole after {acknowledged} acknowledged commits"))
}

#[test]
fn power_cuts_lose_nothing_acknowledged() {
    const CUTS: usize = 80;
    for engine in engines() {
        let temp = tempfile::tempdir().unwrap();
        let Some(events) = recorded(temp.path(), engine) else { return };
        let syncs = events.iter().filter(|event| event.kind == b'S').count();
        assert!(syncs as u64 > COMMITS, "{engine}: only {syncs} syncs");
        let spilled = events.iter().any(|event| event.path.starts_with("store/sled/blobs"));
        assert_eq!(spilled, engine == EngineKind::Sled);
        let mut random = Random(0x1234_5678_9abc_def1);
        for cut in 0..CUTS {
            // A quarter of the cuts hit the making of the store.
            let range = if cut % 4 == 0 { events.len() / 10 } else { events.len() };
            let at = random.below(range) + 1;
            if let Err(why) = check_cut(&events[..at], engine, &mut random, |_| true) {
                panic!("{engine}: cut {cut} after event {at} of {}: {why}", events.len());
            }
        }
    }
}

/// The test above can fail: on a disk that lies about flushing the data, acknowledged commits are lost.
#[test]
fn a_disk_that_lies_about_flushing_is_found_out() {
    for engine in engines() {
        let temp = tempfile::tempdir().unwrap();
        let Some(events) = recorded(temp.path(), engine) else { return };
        let mut random = Random(0x0fed_cba9_8765_4321);
        let lied = |path: &Path| !path.starts_with("store/store.redb") && !path.starts_with("store/sled/db");
        let bad = (0..20)
            .filter(|_| {
                let at = events.len() / 2 + random.below(events.len() / 2);
                check_cut(&events[..at], engine, &mut random, lied).is_err()
            })
            .count();
        assert!(bad > 5, "{engine}: only {bad} of 20 cuts were noticed");
    }
}
