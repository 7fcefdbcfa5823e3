//! Rules of the repository that no compiler checks: which crate may know which, that the core reads
//! no clock, and that files stay short.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Who may depend on whom: the table of docs/architecture.md. `vatra` may know all but
/// `chaos-tests`.
const EDGES: &[(&str, &[&str])] = &[
    ("vatra-model", &[]),
    ("vatra-record", &["vatra-model"]),
    ("vatra-replica", &["vatra-model"]),
    ("vatra-bundle", &["vatra-model"]),
    ("vatra-formats", &["vatra-model"]),
    ("vatra-store", &["vatra-model"]),
    ("vatra-stream", &["vatra-model", "vatra-store"]),
    ("vatra-mesh", &["vatra-model"]),
    ("vatra-api", &["vatra-model", "vatra-formats", "vatra-stream", "vatra-store"]),
    (
        "vatra",
        &[
            "vatra-model",
            "vatra-record",
            "vatra-replica",
            "vatra-bundle",
            "vatra-formats",
            "vatra-store",
            "vatra-stream",
            "vatra-mesh",
            "vatra-api",
        ],
    ),
    ("chaos-tests", &["vatra-model", "vatra-record", "vatra-replica", "vatra-bundle", "vatra-store"]),
];

/// A heavy library is named in one crate, so that it can be replaced there.
const HEAVY: &[(&str, &str)] = &[
    ("automerge", "vatra-record"),
    ("redb", "vatra-store"),
    ("sled", "vatra-store"),
    ("libp2p", "vatra-mesh"),
    ("libp2p-stream", "vatra-mesh"),
    ("quinn", "vatra-mesh"),
    ("axum", "vatra-api"),
];

/// The crates that do no IO.
const SANS_IO: &[&str] = &["vatra-model", "vatra-record", "vatra-replica", "vatra-bundle", "vatra-formats"];

/// What must not be named in a crate that does no IO, tests beside the code apart.
const IO_NAMES: &[&str] = &[
    "Instant::now",
    "SystemTime",
    "std::time::Instant",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "std::process",
    "Mutex",
    "RwLock",
    "std::sync::atomic",
    "std::sync::mpsc",
    "std::os",
    "tokio",
    "async fn",
    "HashMap",
    "HashSet",
    "thread_local!",
    "static mut",
    "rand::rng",
    "rand::random",
    "getrandom",
    "OsRng",
    "println!",
    "eprintln!",
];

/// A file past this many lines holds more than one idea.
const FILE_LINES_MAX: usize = 600;
/// Past this many lines the report names the file.
const FILE_LINES_LONG: usize = 400;

#[test]
fn crates_know_only_what_the_table_allows() {
    let dependencies = declared_dependencies();
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        EDGES.iter().map(|(name, known)| (*name, known.iter().copied().collect())).collect();
    let found: BTreeSet<&str> = dependencies.keys().map(String::as_str).collect();
    let tabled: BTreeSet<&str> = allowed.keys().copied().collect();
    assert_eq!(found, tabled, "the workspace's crates and the table of edges name different crates");

    let mut wrong = Vec::new();
    for (name, known) in &dependencies {
        for other in known.iter().filter(|other| allowed.contains_key(other.as_str())) {
            if !allowed[name.as_str()].contains(other.as_str()) {
                wrong.push(format!("{name} -> {other}"));
            }
        }
    }
    assert!(wrong.is_empty(), "edges that the table does not allow: {wrong:?}");
}

#[test]
fn a_heavy_library_is_named_in_one_crate() {
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for (name, known) in declared_dependencies() {
        for (library, home) in HEAVY {
            if known.contains(*library) {
                used.insert(*library);
                if name != *home {
                    wrong.push(format!("{library} in {name}, its home is {home}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "heavy libraries outside their crate: {wrong:?}");
    for library in ["automerge", "redb", "libp2p", "axum"] {
        assert!(used.contains(library), "{library} is used nowhere: is this test looking at the right manifests?");
    }
}

#[test]
fn the_core_reads_no_clock() {
    let mut wrong = Vec::new();
    for name in SANS_IO {
        let files = rust_files(&root().join("crates").join(name).join("src"));
        assert!(!files.is_empty(), "{name} has no sources");
        for path in files {
            wrong.extend(io_names_in(&fs::read_to_string(&path).unwrap()).into_iter().map(|(line, word)| {
                format!("{}:{line}: {word}", path.strip_prefix(root()).unwrap_or(&path).display())
            }));
        }
    }
    assert!(wrong.is_empty(), "IO in a crate that does none:\n{}", wrong.join("\n"));
}

#[test]
fn only_the_simulator_signs_with_anything_but_ed25519() {
    let mut injected = Vec::new();
    for path in rust_files(&root().join("crates")) {
        let source = fs::read_to_string(&path).unwrap();
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        let asks = ["Scheme for", "with_scheme(Some"].iter().any(|word| code.contains(word));
        if asks && !path.components().any(|part| part.as_os_str() == "tests") {
            injected.push(path);
        }
    }
    assert!(injected.is_empty(), "another scheme than Ed25519 in production code: {injected:?}");
}

#[test]
fn the_core_bans_the_same_calls_in_clippy() {
    let texts: BTreeSet<String> = SANS_IO
        .iter()
        .map(|name| {
            let path = root().join("crates").join(name).join("clippy.toml");
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        })
        .collect();
    assert_eq!(texts.len(), 1, "the clippy.toml of the sans-IO crates differ");
    let text = texts.first().unwrap();
    for banned in
        ["std::time::Instant::now", "std::time::SystemTime::now", "std::collections::HashMap", "std::fs::File"]
    {
        assert!(text.contains(banned), "clippy.toml of the sans-IO crates does not ban {banned}");
    }
    // A crate's own file replaces the one at the root.
    for line in fs::read_to_string(root().join("clippy.toml")).unwrap().lines() {
        assert!(text.contains(line), "the root clippy.toml's {line:?} is missing in the sans-IO crates");
    }
}

#[test]
fn files_stay_short() {
    let mut lengths: Vec<(usize, PathBuf)> = Vec::new();
    for top in ["crates", "chaos-tests"] {
        for path in rust_files(&root().join(top)) {
            lengths.push((fs::read_to_string(&path).unwrap().lines().count(), path));
        }
    }
    lengths.sort();
    lengths.reverse();
    let show = |(lines, path): &(usize, PathBuf)| {
        format!("{lines:>5}  {}", path.strip_prefix(root()).unwrap_or(path).display())
    };
    let long: Vec<String> = lengths.iter().take_while(|(lines, _)| *lines > FILE_LINES_LONG).map(show).collect();
    println!("{} files, {} past {FILE_LINES_LONG} lines\n{}", lengths.len(), long.len(), long.join("\n"));
    let too_long: Vec<String> = lengths.iter().take_while(|(lines, _)| *lines > FILE_LINES_MAX).map(show).collect();
    assert!(too_long.is_empty(), "files past {FILE_LINES_MAX} lines:\n{}", too_long.join("\n"));
}

#[test]
fn the_scan_sees_what_it_must() {
    let source = "//! std::fs in a comment\nfn a() { let t = std::time::Instant::now(); } // tokio\n\
        let s = \"std::net\";\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\nuse std::env;\n";
    let found: Vec<(usize, &str)> = io_names_in(source);
    assert_eq!(found, [(2, "Instant::now"), (2, "std::time::Instant"), (3, "std::net"), (8, "std::env")]);
}

/// What each crate of the workspace names in its manifest, development apart or not.
fn declared_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline", "--manifest-path"])
        .arg(root().join("Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("packages is a list");
    packages
        .iter()
        .map(|package| {
            let names = package["dependencies"].as_array().expect("dependencies is a list").iter();
            let names = names.map(|dependency| dependency["name"].as_str().expect("a name").to_owned()).collect();
            (package["name"].as_str().expect("a name").to_owned(), names)
        })
        .collect()
}

/// Line numbers and names of IO in a source text: comments and test modules are skipped.
fn io_names_in(source: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    let mut lines = source.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        if line.trim_start().starts_with("#[cfg(test)]") {
            skip_item(&mut lines);
            continue;
        }
        let code = line.split("//").next().unwrap_or_default();
        found.extend(IO_NAMES.iter().filter(|name| code.contains(**name)).map(|name| (index + 1, *name)));
    }
    found
}

/// Skips the item after an attribute: to the end of its braces, or of its line.
fn skip_item<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>) {
    let mut depth = 0usize;
    for (_, line) in lines {
        depth += line.matches('{').count();
        depth = depth.saturating_sub(line.matches('}').count());
        if depth == 0 && !line.trim_start().starts_with("#[") {
            return;
        }
    }
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        for item in fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
            let path = item.expect("a folder can be listed").path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}
