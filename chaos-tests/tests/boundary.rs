//! No byte of a peer, a caller or a file reaches Automerge's parser: it can be made to hang, to exhaust memory or to
//! abort the process by a few of them. Records are derived from typed changes; the parser reads nothing but what this
//! node saved itself, under the store's checksum.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chaos_tests::lab::usage;
use sha2::{Digest, Sha256};
use vatra_model::change::{Change, Op, Value};
use vatra_model::limits::FRAME_INFLATED_BYTES_MAX;
use vatra_model::pack::Packer;
use vatra_model::wire::Message;
use vatra_model::{Entry, codec};
use vatra_record::Record;

/// Everything in Automerge's interface that takes bytes apart, or takes in what another document holds.
const PARSERS: &[&str] = &[
    "load(",
    "load_with(",
    "load_with_options(",
    "load_incremental(",
    "load_incremental_log_patches(",
    "load_unverified_heads(",
    "from_bytes(",
    "try_from(",
    "import(",
    "import_obj(",
    "rescue(",
    "apply_changes(",
    "apply_encoded_changes(",
    "apply_changes_batch(",
    "merge(",
    "receive_sync_message(",
    "SyncDoc",
    "ExpandedChange",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

fn sources(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
    let mut items: Vec<_> = fs::read_dir(dir).expect("a folder").map(|item| item.expect("an item").path()).collect();
    items.sort();
    for path in items {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let code = fs::read_to_string(&path).expect("a source");
            let code = code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>();
            found.push((path.strip_prefix(root()).expect("a path below").to_owned(), code.join("\n")));
        }
    }
}

fn all_sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for crate_dir in fs::read_dir(root().join("crates")).expect("a folder") {
        sources(&crate_dir.expect("an item").path().join("src"), &mut found);
    }
    sources(&root().join("chaos-tests/src"), &mut found);
    assert!(found.len() > 100, "only {} sources were found", found.len());
    found
}

#[test]
fn one_file_names_automerge_and_parses_in_one_place() {
    let sources = all_sources();
    let naming: Vec<_> =
        sources.iter().filter(|(_, code)| code.contains("automerge::")).map(|(path, _)| path).collect();
    assert_eq!(naming, [Path::new("crates/vatra-record/src/document.rs")]);

    let (_, document) = sources.iter().find(|(path, _)| path.ends_with("vatra-record/src/document.rs")).unwrap();
    let calls: Vec<(&str, usize)> = PARSERS
        .iter()
        .map(|name| {
            (*name, document.matches(&format!("::{name}")).count() + document.matches(&format!(".{name}")).count())
        })
        .filter(|(_, count)| *count > 0)
        .collect();
    // The second takes a change that the line before made on a fork of the same document.
    assert_eq!(calls, [("load_unverified_heads(", 1), ("apply_changes(", 1)]);
    assert!(!document.contains("fn from") || document.matches("fn from(").count() == 1, "only the error converts");
}

#[test]
fn only_what_was_saved_is_loaded() {
    let sources = all_sources();
    let calling = |name: &str| -> Vec<PathBuf> {
        sources.iter().filter(|(_, code)| code.contains(name)).map(|(path, _)| path.clone()).collect()
    };
    assert_eq!(calling("Document::load("), [Path::new("crates/vatra-record/src/saved.rs")]);
    // The node reads records from its document rows; the fuzzer damages records that it saved itself.
    let loading = calling("Record::load(");
    assert_eq!(
        loading,
        [Path::new("crates/vatra/src/node/views/documents.rs"), Path::new("chaos-tests/src/fuzz/targets.rs")],
        "whoever else loads records must say where their bytes come from"
    );
    let (_, views) = sources.iter().find(|(path, _)| path.ends_with("vatra/src/node/views/documents.rs")).unwrap();
    assert_eq!(views.matches("DocumentRow::read(").count(), 1);
    assert!(views.contains("snapshot.document(record)"), "rows come from the store, which checks their sums");
    let (_, saved) = sources.iter().find(|(path, _)| path.ends_with("vatra-record/src/saved.rs")).unwrap();
    assert!(saved.contains("catch_unwind(AssertUnwindSafe(|| load(saved)))"), "a damaged document may panic");
}

/// A chunk as Automerge reads it: magic, checksum, type, length, body.
fn chunk(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut length = Vec::new();
    let mut rest = body.len();
    while rest >= 0x80 {
        length.push(u8::try_from(rest & 0x7f).expect("a byte") | 0x80);
        rest >>= 7;
    }
    length.push(u8::try_from(rest).expect("a byte"));
    let content = [&[kind][..], &length, body].concat();
    [&[0x85, 0x6f, 0x4a, 0x83][..], &Sha256::digest(&content)[..4], &content].concat()
}

/// A change of a few bytes that claims ten million operations by one run of its action column.
fn operations_bomb() -> Vec<u8> {
    let head = [&[0, 16][..], &[7; 16], &[1, 1, 0, 0, 0]].concat();
    let run = [0x80, 0xad, 0xe2, 0x04, 0x01];
    let columns = [&[1, 0x42, u8::try_from(run.len()).expect("a byte")][..], &run].concat();
    chunk(1, &[head, columns].concat())
}

fn hostile_chunks() -> Vec<Vec<u8>> {
    let deflated = [0xff; 4096];
    vec![operations_bomb(), chunk(0, &deflated), chunk(2, &deflated), chunk(3, &deflated), chunk(1, &[])]
}

#[test]
fn chunks_of_automerge_are_refused_or_mere_text() {
    let before = usage::of_process(std::process::id()).unwrap().rss_peak_bytes;
    let begin = Instant::now();
    for chunk in hostile_chunks() {
        assert!(Change::decode(&chunk).is_err(), "as a change");
        // As a value: CBOR text must be UTF-8, byte strings are no values.
        let as_value = |head: &[u8]| {
            let mut bytes = vec![0xa3, 0x00, 0x01, 0x01, 0x50];
            bytes.extend_from_slice(&[9; 16]);
            bytes.extend_from_slice(head);
            bytes.extend_from_slice(&chunk);
            bytes
        };
        assert!(Change::decode(&as_value(&[0x18, 0x06, 0x81, 0x83, 0x01, 0x61, b'a', 0x59, 0xff, 0xff])).is_err());
        assert!(codec::decode::<Message>(&chunk, "a message").is_err(), "as a message");
        assert!(Packer::new().unpack(&chunk, FRAME_INFLATED_BYTES_MAX).is_err(), "as a frame");
        assert!(Entry::decode_changes(&chunk, 1).is_err(), "as the changes of an entry");
        assert!(Record::load(&chunk).is_err(), "as a stored record");
        // As a text it is a text: nothing looks into it.
        let text: String = chunk.iter().map(|byte| char::from(*byte)).collect();
        let op = Op::Set { field: "title".into(), value: Value::Text(text.clone()) };
        let edit = vatra_model::change::Edit {
            record: vatra_model::RecordId([1; 16]),
            section: vatra_model::SectionId::Core,
            deps: Vec::new(),
            ops: vec![op],
        };
        let change = Change::Edit(edit);
        assert_eq!(Change::decode(&change.encode()), Ok(change));
    }
    let grown = usage::of_process(std::process::id()).unwrap().rss_peak_bytes.saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes were taken by a few hostile ones");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}
