use super::*;

/// Something that looks like a store from outside.
fn store(dir: &Path, data: &str) {
    fs::create_dir_all(dir.join("sled")).unwrap();
    for (name, text) in [("FORMAT", "format"), ("LOCK", "7"), ("ballast", "000"), ("sled/db", data)] {
        fs::write(dir.join(name), text).unwrap();
    }
}

#[test]
fn a_copy_has_all_but_what_belongs_to_the_process() {
    let temp = tempfile::tempdir().unwrap();
    let (from, to) = (temp.path().join("store"), temp.path().join("copies/store"));
    store(&from, "data");
    let files = copy_store(&from, &to).unwrap();
    let paths: Vec<&Path> = files.iter().map(|file| file.path.as_path()).collect();
    assert_eq!(paths, [Path::new("FORMAT"), Path::new("sled/db")]);
    assert_eq!(fs::read(to.join("sled/db")).unwrap(), b"data");
    assert!(!to.join("LOCK").exists() && !to.join("ballast").exists());
    store(&from, "Data");
    let changed = copy_store(&from, &temp.path().join("again")).unwrap();
    assert_eq!((files[0] == changed[0], files[1] == changed[1]), (true, false), "sums tell contents apart");
}

#[test]
fn what_is_replaced_is_kept() {
    let temp = tempfile::tempdir().unwrap();
    let path = |name: &str| temp.path().join(name);
    store(&path("staged"), "new");
    assert_eq!(exchange(&path("store"), &path("staged"), &path("aside")).unwrap(), None);
    store(&path("staged"), "newer");
    assert_eq!(exchange(&path("store"), &path("staged"), &path("aside")).unwrap(), Some(path("aside")));
    let data = |name: &str| fs::read_to_string(path(name).join("sled/db")).unwrap();
    assert_eq!((data("store").as_str(), data("aside").as_str()), ("newer", "new"));
    assert!(!path("staged").exists());
}

#[test]
fn a_store_is_found_in_whatever_holds_one() {
    let temp = tempfile::tempdir().unwrap();
    assert!(find_store(temp.path()).unwrap_err().to_string().contains("there is no store in it"));
    store(&temp.path().join("store"), "data");
    assert_eq!(find_store(temp.path()).unwrap(), temp.path().join("store"));
    assert_eq!(find_store(&temp.path().join("store")).unwrap(), temp.path().join("store"));
}

#[test]
fn a_manifest_of_another_version_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    assert_eq!(read_manifest(temp.path()).unwrap(), None);
    let manifest = |version: u32| {
        let text = format!(
            r#"{{"version":{version},"node":"00","name":"ua-1","member":"UA","federation":"11","made_at_ms":5,"files":[]}}"#
        );
        fs::write(temp.path().join(MANIFEST_FILE), text).unwrap();
        read_manifest(temp.path())
    };
    assert_eq!(manifest(1).unwrap().unwrap().name, "ua-1");
    assert!(manifest(2).unwrap_err().to_string().contains("version 2 of a backup"));
}
