//! Measures durable commits on the disk of the temporary directory, or of the directory given:
//! `cargo run --release -p vatra-store --example commit_latency [-- DIR [ENGINE [PRELOAD_CHANGES]]]`.
//!
//! One commit is what the node writes for one entry: an entry row, and per change an id row and a stream row.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use vatra_model::{LogId, Position, RecordId, Seq, WallMs};
use vatra_store::{Commit, EngineKind, EntryRow, IdRow, MetaKey, OpenOptions, Store, StreamRow};

/// Packed bytes of one change in an entry of this many changes, as measured on real alerts.
fn packed_bytes(changes: u64) -> u64 {
    if changes < 16 { 460 } else { 180 }
}

struct Load {
    store: Store,
    seq: u64,
    random: u64,
    sequential_ids: bool,
}

impl Load {
    fn commit(&mut self, changes: u64) -> Duration {
        let log = LogId([7; 16]);
        let seq = Seq(self.seq);
        self.seq += 1;
        let first = self.store.next_position().0;
        let mut bytes = vec![0; usize::try_from(changes * packed_bytes(changes)).expect("it is small")];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_random().to_le_bytes()[..chunk.len()]);
        }
        let mut commit = Commit { entries: vec![EntryRow { log, seq, bytes }], ..Commit::default() };
        commit.logs.push((log, vec![1; 96]));
        commit.meta.push((MetaKey::DIGEST, vec![2; 32]));
        for index in 0..changes {
            let position = Position(first + index);
            let mut id = [0; 16];
            let random = if self.sequential_ids { position.0 } else { self.next_random() };
            id[..8].copy_from_slice(&random.to_be_bytes());
            id[8..].copy_from_slice(&position.0.to_be_bytes());
            let record = RecordId(id);
            commit.stream.push(StreamRow {
                position,
                log,
                seq,
                change_index: u16::try_from(index).expect("an entry has few changes"),
                record,
                kind: 1,
                summary: [3; 16],
                received: WallMs(1),
            });
            commit.ids.push((record, IdRow { created: position, latest: position, flags: [0; 8] }));
        }
        let start = Instant::now();
        self.store.commit(&commit).expect("the disk works");
        start.elapsed()
    }

    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// Point reads as the node makes them: one snapshot for each, spread over the whole stream.
fn measure_reads(load: &Load) {
    const READS: u64 = 2000;
    let reader = load.store.reader();
    let last = load.store.next_position().0 - 1;
    let (mut snapshots, mut rows, mut ids) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for number in 0..READS {
        let position = Position(1 + number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % last);
        let start = Instant::now();
        let snapshot = reader.snapshot().expect("the disk works");
        snapshots += start.elapsed();
        let start = Instant::now();
        let row = snapshot.stream_row(position).expect("the disk works").expect("every position is there");
        rows += start.elapsed();
        let start = Instant::now();
        let id = snapshot.id(row.record).expect("the disk works").expect("every record is there");
        ids += start.elapsed();
        assert_eq!(id.created, position);
    }
    let mean = |total: Duration| total.as_secs_f64() * 1e6 / READS as f64;
    println!(
        "reads, mean of {READS}: snapshot {:.1}, stream row {:.1}, id row {:.1}",
        mean(snapshots),
        mean(rows),
        mean(ids)
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let place = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let engine: EngineKind =
        arguments.next().map_or(EngineKind::Redb, |name| name.parse().expect("the engine is redb or sled"));
    let preload: u64 = arguments.next().map_or(0, |count| count.parse().expect("a number of changes"));
    println!("engine {engine}, {preload} changes before measuring; times in microseconds");
    println!(
        "{:>24} {:>8} {:>8} {:>8} {:>12} {:>10}",
        "changes per commit", "p50", "p99", "max", "changes/s", "B/change"
    );
    for (name, sequential_ids) in [("random ids", false), ("ids in order", true)] {
        let dir = place.join(format!("vatra-commit-latency-{}", std::process::id()));
        let store = Store::open(&dir, OpenOptions { engine, ..OpenOptions::default() }).expect("the store opens");
        let mut load = Load { store, seq: 0, random: 0x9E37_79B9_7F4A_7C15, sequential_ids };
        while load.store.next_position().0 <= preload {
            load.commit(256);
        }
        for (changes, commits) in [(1, 1000), (16, 500), (256, 200)] {
            let disk_before = load.store.reader().disk_bytes();
            let mut times: Vec<Duration> = (0..commits).map(|_| load.commit(changes)).collect();
            let disk_after = load.store.reader().disk_bytes();
            times.sort();
            let total: Duration = times.iter().sum();
            let at = |percent: usize| times[times.len() * percent / 100].as_micros();
            let count = changes * commits;
            println!(
                "{:>14} {:>9} {:>8} {:>8} {:>8} {:>12.0} {:>10}",
                name,
                changes,
                at(50),
                at(99),
                times[times.len() - 1].as_micros(),
                count as f64 / total.as_secs_f64(),
                disk_after.saturating_sub(disk_before) / count,
            );
        }
        measure_reads(&load);
        let start = Instant::now();
        drop(load);
        let closed = start.elapsed();
        let start = Instant::now();
        let store = Store::open(&dir, OpenOptions { engine, ..OpenOptions::default() }).expect("the store opens");
        println!(
            "closed in {closed:.1?}, opened in {:.1?}, {} bytes on disk",
            start.elapsed(),
            store.reader().disk_bytes()
        );
        drop(store);
        std::fs::remove_dir_all(&dir).expect("the store can be removed");
    }
}
