use super::*;
use crate::testing::{creating, editing, entry_bytes, record};
use crate::{MemoryDisk, Store};

/// A store of six records, one of them edited, on a memory disk.
fn stored() -> (MemoryDisk, Store) {
    let disk = MemoryDisk::new();
    let mut store = Store::open_memory(&disk).unwrap();
    store.commit(&creating(0, Position(1), 4)).unwrap();
    store.commit(&creating(1, Position(5), 2)).unwrap();
    store.commit(&editing(2, Position(7), Position(3))).unwrap();
    (disk, store)
}

fn findings(store: &Store) -> Vec<String> {
    verify(&store.reader(), &mut ()).unwrap().findings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_whole_store_is_clean_and_everything_is_looked_at() {
    let (_, store) = stored();
    #[derive(Default)]
    struct Seen {
        entries: u64,
        changes: u64,
        documents: u64,
        logs: u64,
        last_progress: (u64, u64),
    }
    impl Inspector for Seen {
        fn progress(&mut self, done: u64, total: u64) {
            self.last_progress = (done, total);
        }
        fn log(&mut self, _: LogId, _: &[u8]) -> Result<(), String> {
            self.logs += 1;
            Ok(())
        }
        fn entry(&mut self, entry: &EntryRow) -> Result<(), String> {
            self.entries += 1;
            assert_eq!(entry.bytes, entry_bytes(entry.seq.0));
            Ok(())
        }
        fn change(&mut self, row: &StreamRow, entry: &[u8]) -> Result<(), String> {
            self.changes += 1;
            assert_eq!(entry, entry_bytes(row.seq.0));
            Ok(())
        }
        fn document(&mut self, found: RecordId, _: &[u8]) -> Result<(), String> {
            self.documents += 1;
            assert_eq!(found, record(3));
            Ok(())
        }
    }
    let mut seen = Seen::default();
    let report = verify(&store.reader(), &mut seen).unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!((seen.entries, seen.changes, seen.documents, seen.logs), (3, 7, 1, 1));
    assert_eq!(seen.last_progress, (seen.last_progress.1, report.rows.iter().sum()));
    assert_eq!(report.rows_of(Space::Stream), 7);
}

#[test]
fn what_the_inspector_refuses_is_named() {
    struct Refusing;
    impl Inspector for Refusing {
        fn entry(&mut self, entry: &EntryRow) -> Result<(), String> {
            if entry.seq == Seq(1) { Err("its signature is wrong".to_string()) } else { Ok(()) }
        }
    }
    let (_, store) = stored();
    let report = verify(&store.reader(), &mut Refusing).unwrap();
    let text: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["entries 090909090909090909090909090909090000000000000001: its signature is wrong"]);
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    let (disk, store) = stored();
    let mut flipped = 0;
    for space in Space::ALL.into_iter().filter(|space| *space != Space::Recent) {
        for key in disk.keys(space) {
            let image = disk.image();
            assert!(disk.flip_bit(space, &key, 13));
            let store = Store::open_memory(&disk).unwrap();
            let report = verify(&store.reader(), &mut ()).unwrap();
            let named = report.findings.iter().any(|finding| {
                finding.space == space && finding.key == key && finding.why == Why::Damaged(DamageKind::Checksum)
            });
            assert!(named, "{space}: {:?}", report.findings);
            disk.restore(&image);
            flipped += 1;
        }
    }
    assert_eq!(flipped, 14, "every row was flipped once");
    assert!(verify(&Store::open_memory(&disk).unwrap().reader(), &mut ()).unwrap().is_clean());
    drop(store);
}

#[test]
fn damaged_id_rows_are_made_anew_when_the_store_is_opened() {
    let (disk, store) = stored();
    let reader = store.reader();
    let ids: Vec<_> = (1..7).map(|position| reader.id(record(position)).unwrap()).collect();
    let kept: Vec<_> = ids.iter().map(|id| id.map(|id| (id.created, id.latest, id.flags[0] & 1))).collect();
    drop(store);
    for key in disk.keys(Space::Recent) {
        let image = disk.image();
        assert!(disk.flip_bit(Space::Recent, &key, 1000));
        let mut store = Store::open_memory(&disk).unwrap();
        let report = verify(&store.reader(), &mut ()).unwrap();
        assert!(report.is_clean(), "{:?}", report.findings);
        for (index, position) in (1..7).enumerate() {
            let id = store.reader().id(record(position)).unwrap();
            let found = id.map(|id| (id.created, id.latest, id.flags[0] & 1));
            assert_eq!((found, position), (kept[index], position));
        }
        store.commit(&creating(9, Position(8), 1)).unwrap();
        drop(store);
        assert!(verify(&Store::open_memory(&disk).unwrap().reader(), &mut ()).unwrap().is_clean());
        disk.restore(&image);
    }
}

#[test]
fn id_and_history_rows_can_be_made_anew_from_the_stream() {
    use crate::engine::{Batch, Engine};
    let (disk, store) = stored();
    drop(store);
    let mut batch = Batch::new();
    for space in [Space::Recent, Space::History] {
        for key in disk.keys(space) {
            batch.delete(space, &key);
        }
    }
    disk.open().commit(&batch).unwrap();
    let mut store = Store::open_memory(&disk).unwrap();
    assert_eq!(store.reader().id(record(3)).unwrap(), None);
    assert!(!verify(&store.reader(), &mut ()).unwrap().is_clean());
    assert_eq!(store.rebuild_ids().unwrap(), 6);
    let report = verify(&store.reader(), &mut ()).unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
    let id = store.reader().id(record(3)).unwrap().unwrap();
    assert_eq!(id, IdRow { created: Position(3), latest: Position(7), flags: [1, 0, 0, 0, 0, 0, 0, 0] });
    assert_eq!(store.reader().history(record(3), Position(0), 9).unwrap(), [Position(3), Position(7)]);
    assert_eq!(store.rebuild_ids().unwrap(), 0, "nothing is missing any more");
}

#[test]
fn rows_that_are_gone_or_disagree_are_found() {
    use crate::engine::{Batch, Engine};
    let delete = |space: Space, key: &[u8]| {
        let (disk, store) = stored();
        let mut batch = Batch::new();
        batch.delete(space, key);
        disk.open().commit(&batch).unwrap();
        drop(store);
        findings(&Store::open_memory(&disk).unwrap())
    };
    let lost = delete(Space::Entries, &crate::rows::entry_key(crate::testing::LOG, Seq(1)));
    assert_eq!(lost.len(), 2, "both changes of the entry are named: {lost:?}");
    assert!(lost[0].starts_with("stream 0000000000000005: refers to entries 0909"), "{lost:?}");
    let lost = delete(Space::Stream, &position_key(Position(2)));
    assert!(lost.iter().any(|text| text.contains("positions 2 to 2 are missing")), "{lost:?}");
    assert!(lost.iter().any(|text| text.contains("refers to stream 0000000000000002")), "{lost:?}");
    let lost = delete(Space::Recent, &3_u64.to_be_bytes());
    assert!(lost.iter().any(|text| text.contains("lies outside what its record's id row says")), "{lost:?}");
    let lost = delete(Space::History, &history_key(record(3), Position(7)));
    assert!(lost.iter().any(|text| text.contains("refers to history")), "{lost:?}");

    let (_, mut store) = stored();
    let mut wrong = crate::Commit::default();
    wrong.ids.push((record(1), IdRow { created: Position(2), latest: Position(2), flags: [0; 8] }));
    store.commit(&wrong).unwrap();
    let found = findings(&store);
    assert!(found.iter().any(|text| text.contains("points at a stream row of another record")), "{found:?}");
    assert!(found.iter().any(|text| text.contains("lies outside")), "{found:?}");
}
