use super::*;

fn format_of(dir: &Path) -> String {
    fs::read_to_string(dir.join("FORMAT")).unwrap()
}

fn made(dir: &Path) {
    let mut directory = StoreDirectory::acquire(dir, EngineKind::Redb).unwrap();
    fs::write(directory.data_path(), b"data").unwrap();
    directory.complete().unwrap();
}

#[test]
fn a_new_directory_becomes_complete_and_opens_again() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("a/store");
    let mut directory = StoreDirectory::acquire(&dir, EngineKind::Redb).unwrap();
    assert_eq!(format_of(&dir), "vatra store format 2\nengine redb\nstate creating\n");
    fs::write(directory.data_path(), b"data").unwrap();
    directory.complete().unwrap();
    drop(directory);
    assert_eq!(format_of(&dir), "vatra store format 2\nengine redb\nstate complete\n");
    StoreDirectory::acquire(&dir, EngineKind::Redb).unwrap();
    assert_eq!(fs::read(dir.join("store.redb")).unwrap(), b"data");
}

#[test]
fn a_making_that_was_cut_short_starts_again() {
    let temp = tempfile::tempdir().unwrap();
    let directory = StoreDirectory::acquire(temp.path(), EngineKind::Redb).unwrap();
    fs::write(directory.data_path(), b"half").unwrap();
    drop(directory);
    let directory = StoreDirectory::acquire(temp.path(), EngineKind::Redb).unwrap();
    assert!(!directory.data_path().exists());
}

#[test]
fn lost_data_is_not_replaced_by_an_empty_store() {
    let temp = tempfile::tempdir().unwrap();
    made(temp.path());
    fs::remove_file(temp.path().join("store.redb")).unwrap();
    let error = StoreDirectory::acquire(temp.path(), EngineKind::Redb).unwrap_err();
    assert!(matches!(error, OpenError::DataMissing { .. }), "{error}");
}

#[test]
fn data_without_a_format_is_not_touched() {
    let temp = tempfile::tempdir().unwrap();
    made(temp.path());
    fs::remove_file(temp.path().join("FORMAT")).unwrap();
    let error = StoreDirectory::acquire(temp.path(), EngineKind::Redb).unwrap_err();
    assert!(matches!(error, OpenError::Format { .. }), "{error}");
    assert!(temp.path().join("store.redb").exists());
}

#[test]
fn a_newer_format_is_refused_with_both_numbers() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("FORMAT"), "vatra store format 7\nengine glacier\nmood fine\n").unwrap();
    let text = StoreDirectory::acquire(temp.path(), EngineKind::Redb).unwrap_err().to_string();
    assert!(text.contains("has format 7, and this version reads formats up to 2"), "{text}");
}

#[test]
fn a_format_of_the_time_before_releases_is_refused_with_a_remedy() {
    let temp = tempfile::tempdir().unwrap();
    made(temp.path());
    let text = "vatra store format 1\nengine redb\nstate complete\n";
    fs::write(temp.path().join("FORMAT"), text).unwrap();
    let error = StoreDirectory::acquire(temp.path(), EngineKind::Redb).unwrap_err().to_string();
    assert!(error.contains("has format 1") && error.contains("move the directory away"), "{error}");
    assert_eq!(format_of(temp.path()), text, "it stays as it is");
}

#[test]
fn another_engine_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    made(temp.path());
    let text = StoreDirectory::acquire(temp.path(), EngineKind::Sled).unwrap_err().to_string();
    assert!(text.contains("made with engine \"redb\", not \"sled\""), "{text}");
}

#[test]
fn a_held_directory_is_refused_naming_the_process() {
    let temp = tempfile::tempdir().unwrap();
    let _held = StoreDirectory::acquire(temp.path(), EngineKind::Redb).unwrap();
    let error = StoreDirectory::acquire(temp.path(), EngineKind::Redb).unwrap_err();
    assert!(matches!(error, OpenError::Locked { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
}

#[test]
fn broken_format_files_are_refused() {
    for (bytes, why) in [
        (&b"\xff\xfe"[..], "it is not text"),
        (b"hello\n", "its first line is another"),
        (b"vatra store format x\n", "its version is not a number"),
        (b"vatra store format 0\n", "there is no format 0"),
        (b"vatra store format 1\n", "it names no engine"),
        (b"vatra store format 1\nengine tape\n", "it names an unknown engine"),
        (b"vatra store format 1\nengine redb\n", "it does not say whether the store is complete"),
    ] {
        assert_eq!(parse_format(bytes), Err(why));
    }
}

#[test]
fn migrations_run_in_order_from_the_format_found() {
    let temp = tempfile::tempdir().unwrap();
    let found = Format { version: 3, engine: EngineKind::Redb, is_complete: true };
    let steps: [MigrationStep; 3] = [
        |_| panic!("the store is past this step"),
        |dir| fs::write(dir.join("second"), b""),
        |dir| fs::rename(dir.join("second"), dir.join("third")),
    ];
    migrate(temp.path(), found, 2, &steps).unwrap();
    assert!(temp.path().join("third").exists());
    assert_eq!(format_of(temp.path()), "vatra store format 5\nengine redb\nstate complete\n");
}

#[test]
fn ballast_takes_real_space_and_gives_it_back() {
    use std::os::unix::fs::MetadataExt;
    let temp = tempfile::tempdir().unwrap();
    let directory = StoreDirectory::acquire(temp.path(), EngineKind::Redb).unwrap();
    assert!(directory.ensure_ballast());
    assert!(directory.ballast_path().metadata().unwrap().blocks() * 512 >= BALLAST_BYTES);
    assert!(directory.release_ballast());
    assert!(!directory.release_ballast());
}

#[test]
fn a_store_at_rest_is_locked_without_being_opened() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("store");
    assert!(StoreLock::acquire(&dir).unwrap().is_none());
    assert!(!dir.exists(), "looking makes no store");
    made(&dir);
    let lock = StoreLock::acquire(&dir).unwrap().expect("there is a store");
    assert!(matches!(StoreDirectory::acquire(&dir, EngineKind::Redb), Err(OpenError::Locked { .. })));
    drop(lock);
    let open = StoreDirectory::acquire(&dir, EngineKind::Redb).unwrap();
    assert!(matches!(StoreLock::acquire(&dir), Err(OpenError::Locked { .. })));
    drop(open);
}
