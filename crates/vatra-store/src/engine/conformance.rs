//! What every engine must do, run against each of them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use proptest::prelude::*;

use super::redb_engine::RedbEngine;
use super::*;

const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// Opens the engine whose data is at a path, again and again.
type Opener = dyn Fn(&Path) -> Box<dyn Engine>;

fn redb(path: &Path) -> Box<dyn Engine> {
    Box::new(RedbEngine::open(&path.join("store.redb"), CACHE_BYTES).unwrap())
}

#[cfg(feature = "sled")]
fn sled(path: &Path) -> Box<dyn Engine> {
    Box::new(super::sled_engine::SledEngine::open(&path.join("sled"), CACHE_BYTES).unwrap())
}

/// Runs a check against every engine, each with data of its own.
fn with_each_engine(check: impl Fn(&Opener)) {
    check(&redb);
    #[cfg(feature = "sled")]
    check(&sled);
    let disk = MemoryDisk::new();
    check(&move |_| Box::new(disk.open()));
}

fn rows(
    snapshot: &dyn EngineSnapshot,
    space: Space,
    range: KeyRange<'_>,
    direction: Direction,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    snapshot
        .scan(space, range, direction, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
    rows
}

fn keys(engine: &dyn Engine, space: Space, range: KeyRange<'_>, direction: Direction) -> Vec<Vec<u8>> {
    rows(&*engine.snapshot().unwrap(), space, range, direction).into_iter().map(|(key, _)| key).collect()
}

fn put(engine: &dyn Engine, rows: &[(Space, &[u8], &[u8])]) {
    let mut batch = Batch::new();
    for (space, key, value) in rows {
        batch.put(*space, key, value);
    }
    engine.commit(&batch).unwrap();
}

#[test]
fn a_batch_covers_all_spaces_and_survives_reopening() {
    with_each_engine(|open| {
        let temp = tempfile::tempdir().unwrap();
        let engine = open(temp.path());
        let mut batch = Batch::new();
        for space in Space::ALL {
            batch.put(space, b"key", space.name().as_bytes());
        }
        engine.commit(&batch).unwrap();
        drop(engine);
        let engine = open(temp.path());
        let snapshot = engine.snapshot().unwrap();
        for space in Space::ALL {
            assert_eq!(snapshot.get(space, b"key").unwrap().as_deref(), Some(space.name().as_bytes()));
            assert_eq!(snapshot.len(space).unwrap(), 1);
            assert_eq!(rows(&*snapshot, space, KeyRange::ALL, Direction::Forward).len(), 1);
        }
        assert_eq!(snapshot.get(Space::Meta, b"other").unwrap(), None);
        assert_eq!(engine.health(), Health::Writable);
    });
}

#[test]
fn ranges_are_in_order_and_include_their_ends() {
    with_each_engine(|open| {
        let temp = tempfile::tempdir().unwrap();
        let engine = open(temp.path());
        let names: [&[u8]; 6] = [b"\xff\xff", b"b", b"", b"a", b"ab", b"\x00"];
        for name in names {
            put(&*engine, &[(Space::Index, name, b"value"), (Space::Meta, name, b"other")]);
        }
        let mut sorted = names.map(<[u8]>::to_vec).to_vec();
        sorted.sort();
        assert_eq!(keys(&*engine, Space::Index, KeyRange::ALL, Direction::Forward), sorted);
        sorted.reverse();
        assert_eq!(keys(&*engine, Space::Index, KeyRange::ALL, Direction::Reverse), sorted);
        let range = KeyRange { from: Some(b"a"), to: Some(b"b") };
        assert_eq!(keys(&*engine, Space::Index, range, Direction::Forward), [&b"a"[..], b"ab", b"b"]);
        assert_eq!(keys(&*engine, Space::Index, range, Direction::Reverse), [&b"b"[..], b"ab", b"a"]);
        let backwards = KeyRange { from: Some(b"b"), to: Some(b"a") };
        assert!(keys(&*engine, Space::Index, backwards, Direction::Forward).is_empty());
    });
}

#[test]
fn scans_longer_than_a_chunk_are_whole_both_ways_and_can_break_off() {
    with_each_engine(|open| {
        let temp = tempfile::tempdir().unwrap();
        let engine = open(temp.path());
        let mut batch = Batch::new();
        for number in 0..1000_u32 {
            batch.put(Space::Stream, &number.to_be_bytes(), b"x");
        }
        engine.commit(&batch).unwrap();
        let all: Vec<Vec<u8>> = (0..1000_u32).map(|number| number.to_be_bytes().to_vec()).collect();
        assert_eq!(keys(&*engine, Space::Stream, KeyRange::ALL, Direction::Forward), all);
        let reversed: Vec<Vec<u8>> = all.into_iter().rev().collect();
        assert_eq!(keys(&*engine, Space::Stream, KeyRange::ALL, Direction::Reverse), reversed);
        let mut seen = 0;
        let snapshot = engine.snapshot().unwrap();
        let mut visit = |_: &[u8], _: &[u8]| {
            seen += 1;
            if seen == 300 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        snapshot.scan(Space::Stream, KeyRange::ALL, Direction::Forward, &mut visit).unwrap();
        assert_eq!(seen, 300);
    });
}

#[test]
fn a_snapshot_does_not_see_later_commits() {
    with_each_engine(|open| {
        let temp = tempfile::tempdir().unwrap();
        let engine = open(temp.path());
        put(&*engine, &[(Space::Logs, b"kept", b"1"), (Space::Logs, b"gone", b"1"), (Space::Ids, b"id", b"1")]);
        let before = engine.snapshot().unwrap();
        let mut batch = Batch::new();
        batch.put(Space::Logs, b"kept", b"2");
        batch.put(Space::Logs, b"new", b"2");
        batch.delete(Space::Logs, b"gone");
        batch.delete(Space::Logs, b"never there");
        batch.put(Space::Ids, b"id", b"2");
        engine.commit(&batch).unwrap();
        put(&*engine, &[(Space::Logs, b"kept", b"3")]);
        let old = [(b"gone".to_vec(), b"1".to_vec()), (b"kept".to_vec(), b"1".to_vec())];
        assert_eq!(rows(&*before, Space::Logs, KeyRange::ALL, Direction::Forward), old);
        assert_eq!(before.get(Space::Ids, b"id").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(before.get(Space::Logs, b"new").unwrap(), None);
        assert_eq!(before.len(Space::Logs).unwrap(), 2);
        let after = engine.snapshot().unwrap();
        let new = [(b"kept".to_vec(), b"3".to_vec()), (b"new".to_vec(), b"2".to_vec())];
        assert_eq!(rows(&*after, Space::Logs, KeyRange::ALL, Direction::Forward), new);
    });
}

#[test]
fn values_of_all_sizes_survive() {
    with_each_engine(|open| {
        let temp = tempfile::tempdir().unwrap();
        let engine = open(temp.path());
        let sizes = [0, 1, 4095, 4096, 4097, 128 * 1024, 2 * 1024 * 1024];
        for size in sizes {
            put(&*engine, &[(Space::Documents, &usize::to_be_bytes(size), &vec![7; size])]);
        }
        drop(engine);
        let snapshot = open(temp.path()).snapshot().unwrap();
        for size in sizes {
            let value = snapshot.get(Space::Documents, &size.to_be_bytes()).unwrap();
            assert!(value.is_some_and(|value| value == vec![7; size]), "{size} bytes");
        }
    });
}

#[test]
fn readers_on_other_threads_see_whole_batches_only() {
    with_each_engine(|open| {
        let temp = tempfile::tempdir().unwrap();
        let engine = open(temp.path());
        put(&*engine, &[(Space::Logs, b"n", &[0]), (Space::Meta, b"n", &[0])]);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let mut last = 0;
                        while last < 50 {
                            let snapshot = engine.snapshot().unwrap();
                            let logs = snapshot.get(Space::Logs, b"n").unwrap().unwrap();
                            let meta = snapshot.get(Space::Meta, b"n").unwrap().unwrap();
                            assert_eq!(logs, meta);
                            assert!(logs[0] >= last, "snapshots never go back");
                            last = logs[0];
                        }
                    })
                })
                .collect();
            for number in 1..=50_u8 {
                put(&*engine, &[(Space::Logs, b"n", &[number]), (Space::Meta, b"n", &[number])]);
            }
            for reader in readers {
                reader.join().unwrap();
            }
        });
    });
}

type ModelOp = (usize, u8, Option<Vec<u8>>);

fn batches() -> impl Strategy<Value = Vec<Vec<ModelOp>>> {
    let op = (0..Space::COUNT, 0..24_u8, proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)));
    proptest::collection::vec(proptest::collection::vec(op, 0..12), 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn engines_agree_with_a_map(batches in batches(), from in 0..24_u8, to in 0..24_u8) {
        with_each_engine(|open| {
            let temp = tempfile::tempdir().unwrap();
            let mut engine = open(temp.path());
            let mut model: BTreeMap<(Space, Vec<u8>), Vec<u8>> = BTreeMap::new();
            let mut held = Vec::new();
            for (number, ops) in batches.iter().enumerate() {
                let mut batch = Batch::new();
                for (space, key, value) in ops {
                    let (space, key) = (Space::ALL[*space], vec![b'k', *key]);
                    match value {
                        Some(value) => {
                            batch.put(space, &key, value);
                            model.insert((space, key), value.clone());
                        }
                        None => {
                            batch.delete(space, &key);
                            model.remove(&(space, key));
                        }
                    }
                }
                engine.commit(&batch).unwrap();
                if number % 5 == 0 {
                    held.push((engine.snapshot().unwrap(), model.clone()));
                }
            }
            for (snapshot, model) in &held {
                agree(&**snapshot, model, from, to);
            }
            drop(held);
            drop(engine);
            engine = open(temp.path());
            agree(&*engine.snapshot().unwrap(), &model, from, to);
        });
    }
}

fn agree(snapshot: &dyn EngineSnapshot, model: &BTreeMap<(Space, Vec<u8>), Vec<u8>>, from: u8, to: u8) {
    let (from, to) = ([b'k', from], [b'k', to]);
    let range = KeyRange { from: Some(&from), to: Some(&to) };
    for space in Space::ALL {
        let mut expected: Vec<(Vec<u8>, Vec<u8>)> = model
            .iter()
            .filter(|((s, key), _)| *s == space && key[..] >= from[..] && key[..] <= to[..])
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect();
        assert_eq!(rows(snapshot, space, range, Direction::Forward), expected);
        expected.reverse();
        assert_eq!(rows(snapshot, space, range, Direction::Reverse), expected);
        let count = model.keys().filter(|(s, _)| *s == space).count();
        assert_eq!(snapshot.len(space).unwrap(), count as u64);
    }
}
