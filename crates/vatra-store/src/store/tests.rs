use super::*;
use crate::testing::{LOG, creating, editing, entry_bytes, record};
use crate::{DamageKind, MetaKey, PageLimits, ReadError, ReadOnlyReason, Space};
use vatra_model::{Seq, WallMs};

fn engines() -> Vec<EngineKind> {
    let mut engines = vec![EngineKind::Redb];
    if cfg!(feature = "sled") {
        engines.push(EngineKind::Sled);
    }
    engines
}

fn open(dir: &Path, engine: EngineKind) -> Store {
    Store::open(dir, OpenOptions { engine, cache_bytes: 8 * 1024 * 1024 }).unwrap()
}

fn filled(store: &mut Store) {
    store.commit(&creating(0, Position(1), 3)).unwrap();
    store.commit(&creating(1, Position(4), 2)).unwrap();
    store.commit(&editing(2, Position(6), Position(2))).unwrap();
    store.commit(&editing(3, Position(7), Position(2))).unwrap();
}

#[test]
fn what_was_committed_is_read_back_after_reopening() {
    for engine in engines() {
        let temp = tempfile::tempdir().unwrap();
        let mut store = open(temp.path(), engine);
        filled(&mut store);
        drop(store);
        let store = open(temp.path(), engine);
        assert_eq!(store.next_position(), Position(8));
        let reader = store.reader();
        assert_eq!(reader.entry(LOG, Seq(1)).unwrap(), Some(entry_bytes(1)));
        assert_eq!(reader.entry(LOG, Seq(9)).unwrap(), None);
        let id = reader.id(record(2)).unwrap().unwrap();
        assert_eq!((id.created, id.latest, id.flags), (Position(2), Position(7), [3; 8]));
        assert_eq!(reader.history(record(2), Position(0), 10).unwrap(), [Position(2), Position(6), Position(7)]);
        assert_eq!(reader.history(record(2), Position(2), 1).unwrap(), [Position(6)]);
        assert_eq!(reader.history(record(77), Position(0), 10).unwrap(), []);
        assert_eq!(reader.document(record(2)).unwrap().as_deref(), Some(&b"document"[..]));
        assert_eq!(reader.document(record(1)).unwrap(), None);
        assert_eq!(reader.meta(MetaKey::DIGEST).unwrap(), Some(1_u64.to_be_bytes().to_vec()));
        assert_eq!(reader.meta(MetaKey::CHARTER).unwrap(), None);
        assert_eq!(reader.log_rows().unwrap().rows, [(LOG, 1_u64.to_be_bytes().to_vec())]);
        let row = reader.stream_row(Position(5)).unwrap().unwrap();
        assert_eq!((row.seq, row.change_index, row.record), (Seq(1), 1, record(5)));
        assert_eq!(row.received, WallMs(1_700_000_000_000));
        let counts = reader.counts().unwrap();
        assert_eq!((counts.entries, counts.records, counts.changes, counts.documents), (4, 5, 7, 1));
        assert!(reader.disk_bytes() > 0);
        assert_eq!(store.health(), Health::Writable);
    }
}

#[test]
fn pages_end_at_their_limits_and_go_on_after_their_last_key() {
    let mut store = Store::open_memory(&MemoryDisk::new()).unwrap();
    filled(&mut store);
    let reader = store.reader();
    let page = reader.stream_after(Position(0), 3).unwrap();
    assert_eq!((page.rows.len(), page.last, page.is_cut), (3, Some(Position(3)), true));
    let page = reader.stream_after(Position(3), 10).unwrap();
    assert_eq!((page.rows.len(), page.last, page.is_cut), (4, Some(Position(7)), false));
    let page = reader.stream_before(None, 2).unwrap();
    assert_eq!(page.rows.iter().map(|row| row.position.0).collect::<Vec<_>>(), [7, 6]);
    let page = reader.stream_before(Some(Position(2)), 10).unwrap();
    assert_eq!((page.rows.len(), page.last), (1, Some(Position(1))));
    assert!(reader.stream_before(Some(Position(0)), 10).unwrap().rows.is_empty());

    let all = (Seq(0), Seq(u64::MAX));
    let page = reader.entries(LOG, all.0, all.1, PageLimits { rows_max: 10, bytes_max: 1 }).unwrap();
    assert_eq!((page.rows.len(), page.last, page.is_cut), (1, Some(Seq(0)), true), "one row in any case");
    let page = reader.entries(LOG, Seq(1), Seq(2), PageLimits::rows(10)).unwrap();
    assert_eq!(page.rows.iter().map(|row| row.seq.0).collect::<Vec<_>>(), [1, 2]);
    let page = reader.entries_reverse(LOG, all.0, all.1, PageLimits::rows(2)).unwrap();
    assert_eq!(page.rows.iter().map(|row| row.seq.0).collect::<Vec<_>>(), [3, 2]);

    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = reader.ids_after(after, 2).unwrap();
        seen.extend(page.rows.iter().map(|(record, _)| *record));
        after = page.last;
        if !page.is_cut {
            break;
        }
    }
    let mut all: Vec<_> = (1..=5).map(record).collect();
    all.sort();
    assert_eq!(seen, all);
}

#[test]
fn small_rows_are_found_by_prefix_put_and_deleted() {
    let mut store = Store::open_memory(&MemoryDisk::new()).unwrap();
    let put = |key: &[u8]| (key.to_vec(), Some(key.to_vec()));
    let commit = Commit { index: vec![put(b"a1"), put(b"b1"), put(b"b2"), put(b"c")], ..Commit::default() };
    store.commit(&commit).unwrap();
    store.commit(&Commit { index: vec![(b"b1".to_vec(), None)], ..Commit::default() }).unwrap();
    let reader = store.reader();
    assert_eq!(reader.index_with_prefix(b"b", None, 10).unwrap().rows, [(b"b2".to_vec(), b"b2".to_vec())]);
    assert!(reader.index_with_prefix(b"b", Some(b"b2"), 10).unwrap().rows.is_empty());
    assert_eq!(reader.index(b"a1").unwrap().as_deref(), Some(&b"a1"[..]));
    assert_eq!(reader.index(b"b1").unwrap(), None);
}

#[test]
fn positions_that_do_not_go_on_are_refused_and_change_nothing() {
    let mut store = Store::open_memory(&MemoryDisk::new()).unwrap();
    store.commit(&creating(0, Position(1), 2)).unwrap();
    for wrong in [0, 1, 2, 4] {
        let error = store.commit(&creating(1, Position(wrong), 1)).unwrap_err();
        assert!(matches!(error, CommitError::Position { expected: Position(3), found } if found.0 == wrong));
    }
    assert_eq!(store.reader().entry(LOG, Seq(1)).unwrap(), None);
    store.commit(&creating(1, Position(3), 1)).unwrap();
}

#[test]
fn commits_have_limits() {
    let mut store = Store::open_memory(&MemoryDisk::new()).unwrap();
    let too_many = creating(0, Position(1), crate::COMMIT_CHANGES_MAX as u64 + 1);
    assert!(matches!(store.commit(&too_many).unwrap_err(), CommitError::TooLarge { what: "changes", .. }));
    let mut too_big = Commit::default();
    too_big.documents.push((record(1), vec![0; crate::COMMIT_BYTES_MAX]));
    assert!(matches!(store.commit(&too_big).unwrap_err(), CommitError::TooLarge { what: "bytes", .. }));
    store.commit(&creating(0, Position(1), crate::COMMIT_CHANGES_MAX as u64)).unwrap();
}

#[test]
fn damaged_rows_are_never_served_and_are_counted() {
    let disk = MemoryDisk::new();
    let mut store = Store::open_memory(&disk).unwrap();
    filled(&mut store);
    let reader = store.reader();
    let entry = crate::rows::entry_key(LOG, Seq(1));
    assert!(disk.flip_bit(Space::Entries, &entry, 99));
    assert!(disk.flip_bit(Space::Stream, &crate::rows::position_key(Position(4)), 5));
    match reader.entry(LOG, Seq(1)).unwrap_err() {
        ReadError::Damaged(damage) => {
            assert_eq!((damage.space, damage.key, damage.why), (Space::Entries, entry.to_vec(), DamageKind::Checksum));
        }
        other => panic!("{other}"),
    }
    let page = reader.entries(LOG, Seq(0), Seq(9), PageLimits::rows(10)).unwrap();
    assert_eq!(page.rows.iter().map(|row| row.seq.0).collect::<Vec<_>>(), [0, 2, 3]);
    assert_eq!(page.damaged.len(), 1);
    let page = reader.stream_after(Position(3), 1).unwrap();
    assert_eq!((page.rows.len(), page.damaged.len(), page.last), (0, 1, Some(Position(4))), "paging gets past it");
    assert_eq!(reader.damaged_count(), 2);
    assert_eq!(reader.take_damaged_entries().unwrap().into_iter().collect::<Vec<_>>(), [(LOG, Seq(1))]);
    // Looking through a space knows all that is damaged in it, and in pieces too.
    for rows_max in [1, 2, 100] {
        let (mut after, mut rows, mut damaged) = (None::<Vec<u8>>, 0, 0);
        loop {
            let limits = PageLimits::rows(rows_max);
            let seen = reader.scrub(Space::Entries, after.as_deref(), limits).unwrap();
            (rows, damaged) = (rows + seen.rows, damaged + seen.damaged);
            if !seen.is_cut {
                break;
            }
            after = seen.last;
        }
        assert_eq!((rows, damaged, reader.damaged_count()), (4, 1, 2), "{rows_max} at once");
    }
    // So does one that is gone.
    assert!(disk.lose_row(Space::Entries, &crate::rows::entry_key(LOG, Seq(2))));
    reader.scrub(Space::Entries, None, PageLimits::rows(100)).unwrap();
    let places: Vec<_> = reader.take_damaged_entries().unwrap().into_iter().collect();
    assert_eq!(places, [(LOG, Seq(1)), (LOG, Seq(2))]);
    // Fetched again from a peer, the entry is written anew.
    let mut again = Commit::default();
    again.entries.push(crate::EntryRow { log: LOG, seq: Seq(1), bytes: entry_bytes(1) });
    store.commit(&again).unwrap();
    assert_eq!(reader.entry(LOG, Seq(1)).unwrap(), Some(entry_bytes(1)));
    assert_eq!(reader.damaged_count(), 1, "what was written anew is whole");
    assert!(reader.take_damaged_entries().unwrap().is_empty(), "each is told once");
}

#[test]
fn a_damaged_last_stream_row_still_holds_its_position() {
    let disk = MemoryDisk::new();
    let mut store = Store::open_memory(&disk).unwrap();
    filled(&mut store);
    disk.flip_bit(Space::Stream, &crate::rows::position_key(Position(7)), 0);
    disk.flip_bit(Space::Stream, &crate::rows::position_key(Position(6)), 0);
    assert_eq!(Store::open_memory(&disk).unwrap().next_position(), Position(8));
}

#[test]
fn a_key_damaged_into_a_far_one_does_not_make_positions_jump() {
    use crate::engine::Batch;
    let disk = MemoryDisk::new();
    let mut store = Store::open_memory(&disk).unwrap();
    filled(&mut store);
    let mut stray = Batch::new();
    stray.put(Space::Stream, &u64::MAX.to_be_bytes(), b"nothing of ours");
    disk.open().commit(&stray).unwrap();
    assert_eq!(Store::open_memory(&disk).unwrap().next_position(), Position(8));
}

#[test]
fn a_simulated_crash_loses_unsynced_commits_only_and_ends_the_old_store() {
    let disk = MemoryDisk::new();
    let mut store = Store::open_memory(&disk).unwrap();
    store.commit(&creating(0, Position(1), 1)).unwrap();
    disk.hold_sync(true);
    store.commit(&creating(1, Position(2), 1)).unwrap();
    store.commit(&creating(2, Position(3), 1)).unwrap();
    assert_eq!(disk.unsynced_count(), 2);
    disk.crash(&mut |torn| torn.batch_index == 0);
    assert!(matches!(store.commit(&creating(3, Position(4), 1)), Err(CommitError::Io(EngineError::Closed))));
    let store = Store::open_memory(&disk).unwrap();
    assert_eq!(store.next_position(), Position(3));
    assert_eq!(store.reader().entry(LOG, Seq(1)).unwrap(), Some(entry_bytes(1)));
    assert_eq!(store.reader().entry(LOG, Seq(2)).unwrap(), None);
}

#[test]
fn a_torn_batch_is_what_the_checks_are_for() {
    let disk = MemoryDisk::new();
    let mut store = Store::open_memory(&disk).unwrap();
    disk.hold_sync(true);
    store.commit(&creating(0, Position(1), 3)).unwrap();
    disk.crash(&mut |torn| torn.op_index % 2 == 0);
    let store = Store::open_memory(&disk).unwrap();
    assert!(!crate::fsck::verify(&store.reader(), &mut ()).unwrap().is_clean());
}

#[test]
fn a_full_simulated_disk_refuses_and_resumes() {
    let disk = MemoryDisk::new();
    let mut store = Store::open_memory(&disk).unwrap();
    filled(&mut store);
    disk.set_trouble(Some(ReadOnlyReason::Full));
    let error = store.commit(&creating(4, Position(8), 1)).unwrap_err();
    assert!(matches!(error, CommitError::Full(_)), "{error}");
    assert!(matches!(store.health(), Health::ReadOnly { reason: ReadOnlyReason::Full, .. }));
    assert_eq!(store.reader().entry(LOG, Seq(0)).unwrap(), Some(entry_bytes(0)));
    disk.set_trouble(None);
    store.commit(&creating(4, Position(8), 1)).unwrap();
}

#[test]
fn a_rolled_back_disk_shows_the_old_state() {
    let disk = MemoryDisk::new();
    let mut store = Store::open_memory(&disk).unwrap();
    store.commit(&creating(0, Position(1), 1)).unwrap();
    let backup = disk.image();
    store.commit(&creating(1, Position(2), 1)).unwrap();
    disk.restore(&backup);
    assert_eq!(Store::open_memory(&disk).unwrap().next_position(), Position(2));
    disk.wipe();
    assert_eq!(Store::open_memory(&disk).unwrap().next_position(), Position(1));
}

#[test]
fn an_engine_that_was_not_built_is_named() {
    let temp = tempfile::tempdir().unwrap();
    let options = OpenOptions { engine: EngineKind::Memory, ..OpenOptions::default() };
    let error = Store::open(temp.path(), options).unwrap_err();
    assert_eq!(error.to_string(), "this binary was built without the store engine \"memory\"");
    assert!("tape".parse::<EngineKind>().is_err());
}
