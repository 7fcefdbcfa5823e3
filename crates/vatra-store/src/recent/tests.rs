use proptest::prelude::*;

use super::*;
use crate::engine::{Direction, Engine, KeyRange, MemoryDisk};
use crate::{Commit, Store};

fn id_row(number: u64) -> IdRow {
    IdRow { created: Position(0), latest: Position(0), flags: number.to_be_bytes() }
}

/// Everything that a store over this disk and state would find.
fn all(disk: &MemoryDisk, recent: &RecentIds) -> Vec<(RecordId, IdRow)> {
    let mut rows = std::collections::BTreeMap::new();
    let snapshot = disk.open().snapshot().unwrap();
    let mut visit = |key: &[u8], stored: &[u8]| {
        let value = crate::damage::unseal(Space::Ids, key, stored).unwrap();
        rows.insert(RecordId::from_slice(key).unwrap(), IdRow::decode(value).unwrap());
        std::ops::ControlFlow::Continue(())
    };
    snapshot.scan(Space::Ids, KeyRange::ALL, Direction::Forward, &mut visit).unwrap();
    rows.extend(recent.from(RecordId([0; 16])));
    rows.into_iter().collect()
}

fn replayed(disk: &MemoryDisk) -> RecentIds {
    let mut recent = RecentIds::new();
    let snapshot = disk.open().snapshot().unwrap();
    let mut visit = |key: &[u8], stored: &[u8]| {
        let value = crate::damage::unseal(Space::Recent, key, stored).unwrap();
        recent.replay(u64::from_be_bytes(key.try_into().unwrap()), value).unwrap();
        std::ops::ControlFlow::Continue(())
    };
    snapshot.scan(Space::Recent, KeyRange::ALL, Direction::Forward, &mut visit).unwrap();
    recent
}

fn scattered(number: u64) -> RecordId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    id[8..].copy_from_slice(&number.to_be_bytes());
    RecordId(id)
}

#[test]
fn the_sweep_bounds_memory_and_disk_and_replaying_gives_the_same() {
    let disk = MemoryDisk::new();
    let mut recent = RecentIds::new();
    let mut model = std::collections::BTreeMap::new();
    let mut most_stages = 0;
    // Groups of 2,000 rows: new ones and some written before, until the sweep has gone round several times.
    for group in 0..250_u64 {
        let numbers = group * 1500..group * 1500 + 2000;
        let ids: Vec<_> = numbers.map(|number| (scattered(number), id_row(group))).collect();
        let mut batch = Batch::new();
        recent = recent.staged(&ids, Position(1), &mut batch);
        disk.open().commit(&batch).unwrap();
        model.extend(ids);
        assert!(recent.row_count <= RECENT_ROWS_MAX + 2000, "{} rows are in memory", recent.row_count);
        assert_eq!(recent.row_count, recent.from(RecordId([0; 16])).count());
        most_stages = most_stages.max(disk.keys(Space::Recent).len());
        if group % 25 == 24 {
            let replayed = replayed(&disk);
            for probe in (0..group * 1500).step_by(97) {
                assert_eq!(replayed.id(scattered(probe)), recent.id(scattered(probe)), "{probe} in group {group}");
            }
            assert_eq!(replayed.row_count, recent.row_count);
            assert_eq!((replayed.stage, replayed.next_bucket), (recent.stage, recent.next_bucket));
        }
    }
    assert!(most_stages < 160, "{most_stages} rows of 250 were kept at once");
    assert_eq!(all(&disk, &recent), model.clone().into_iter().collect::<Vec<_>>());
    assert_eq!(all(&disk, &replayed(&disk)), model.into_iter().collect::<Vec<_>>());
}

#[test]
fn commits_of_one_row_move_few_and_delete_few() {
    let mut recent = RecentIds::new();
    let mut batch = Batch::new();
    let many: Vec<_> = (0..RECENT_ROWS_MAX as u64).map(|number| (scattered(number), id_row(0))).collect();
    recent = recent.staged(&many, Position(1), &mut batch);
    let mut moving = 0;
    for number in 0..2000 {
        let mut batch = Batch::new();
        recent = recent.staged(&[(scattered(1_000_000 + number), id_row(1))], Position(1), &mut batch);
        assert!(batch.len() < 2 * SETTLE_ROWS_MIN, "{} rows in one commit", batch.len());
        moving += u32::from(batch.len() > 1);
    }
    assert!((1..10).contains(&moving), "{moving} of 2000 commits moved rows");
}

#[test]
fn malformed_rows_are_refused() {
    let good = StageRow { record_count: 1, settled: (0, 4096), ids: vec![(scattered(1), id_row(2))] }.encode();
    assert!(StageRow::decode(&good).is_some());
    for cut in 0..good.len() {
        assert!(StageRow::decode(&good[..cut]).is_none() || cut == 12, "cut at {cut}");
    }
    for settled in [(1, 0), (0, 4097)] {
        assert!(StageRow::decode(&StageRow { record_count: 0, settled, ids: Vec::new() }.encode()).is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// A reader pages through ids the same whether they are settled or recent.
    #[test]
    fn pages_over_settled_and_recent_rows_are_whole(
        settled in proptest::collection::btree_set(0..60_u8, 0..40),
        recent in proptest::collection::btree_set(0..60_u8, 0..40),
        limit in 1..9_usize,
    ) {
        let record = |number: u8| RecordId([number.wrapping_mul(67); 16]);
        let disk = MemoryDisk::new();
        let mut batch = Batch::new();
        for number in &settled {
            put(&mut batch, Space::Ids, &record(*number).0, &id_row(1).encode());
        }
        disk.open().commit(&batch).unwrap();
        let mut store = Store::open_memory(&disk).unwrap();
        let ids = recent.iter().map(|number| (record(*number), id_row(2))).collect();
        store.commit(&Commit { ids, ..Commit::default() }).unwrap();
        let mut expected: Vec<_> = settled.union(&recent)
            .map(|number| (record(*number), id_row(if recent.contains(number) { 2 } else { 1 })))
            .collect();
        expected.sort_by_key(|(record, _)| *record);
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = store.reader().ids_after(after, limit).unwrap();
            prop_assert!(page.rows.len() <= limit);
            found.extend(page.rows);
            if !page.is_cut {
                break;
            }
            after = page.last;
        }
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_failed_commit_leaves_no_recent_rows_behind() {
    let disk = MemoryDisk::new();
    let mut store = Store::open_memory(&disk).unwrap();
    let commit = |number| Commit { ids: vec![(scattered(number), id_row(number))], ..Commit::default() };
    store.commit(&commit(1)).unwrap();
    disk.set_trouble(Some(crate::ReadOnlyReason::Full));
    store.commit(&commit(2)).unwrap_err();
    assert_eq!(store.reader().id(scattered(2)).unwrap(), None);
    disk.set_trouble(None);
    store.commit(&commit(3)).unwrap();
    let reader = store.reader();
    assert_eq!(reader.id(scattered(1)).unwrap(), Some(id_row(1)));
    assert_eq!(reader.id(scattered(2)).unwrap(), None);
    assert_eq!(reader.id(scattered(3)).unwrap(), Some(id_row(3)));
}

#[test]
fn a_snapshot_keeps_its_id_rows_while_others_come() {
    let mut store = Store::open_memory(&MemoryDisk::new()).unwrap();
    let commit = |number, flags| Commit { ids: vec![(scattered(number), id_row(flags))], ..Commit::default() };
    store.commit(&commit(1, 10)).unwrap();
    let before = store.reader().snapshot().unwrap();
    store.commit(&commit(1, 11)).unwrap();
    store.commit(&commit(2, 20)).unwrap();
    assert_eq!(before.id(scattered(1)).unwrap(), Some(id_row(10)));
    assert_eq!(before.id(scattered(2)).unwrap(), None);
    assert_eq!(before.ids_after(None, 10).unwrap().rows.len(), 1);
    let after = store.reader().snapshot().unwrap();
    assert_eq!(after.id(scattered(1)).unwrap(), Some(id_row(11)));
}
