//! Stores that bits of have flipped.

use std::path::Path;

use vatra_model::{ChangeId, LogId, Position, Seq};
use vatra_store::Space;

use super::*;
use crate::node::boot;
use crate::node::fsck::{Checked, fsck};

fn check(dir: &Path) -> Checked {
    fsck(&NodeConfig::load(dir).expect("a lab node's configuration"), |_, _| ()).expect("a store that opens")
}

/// Flips a bit in the middle of every place of the store's file that holds these bytes.
fn flip(dir: &Path, bytes: &[u8]) {
    let mut found = 0;
    for file in std::fs::read_dir(dir.join("store")).expect("a directory") {
        let path = file.expect("a file").path();
        let mut content = std::fs::read(&path).expect("readable");
        let places: Vec<usize> =
            content.windows(bytes.len()).enumerate().filter(|(_, w)| *w == bytes).map(|(at, _)| at).collect();
        for at in &places {
            content[at + bytes.len() / 2] ^= 1;
        }
        if !places.is_empty() {
            std::fs::write(&path, content).expect("writable");
        }
        found += places.len();
    }
    assert!(found > 0, "the store holds what is to be damaged");
}

/// A store with alerts, edits, an answer, a cancellation and a contact, closed.
async fn used(dir: &Path) {
    let node = start(dir).await;
    let made = call(&node, (0..20).map(|n| draft(&format!("alert {n}"))).collect()).await;
    let records: Vec<_> = made.iter().map(|made| made.as_ref().expect("taken").record).collect();
    let patch =
        |json: &str| Box::new(vatra_model::draft::AlertPatch::from_json(json.as_bytes()).expect("a good patch"));
    let answer = vatra_model::draft::ResponseDraft::from_json(br#"{"assessment":"affected"}"#).expect("a good answer");
    let contact = vatra_model::draft::ContactDraft::from_json(br#"{"name":"Duty desk"}"#);
    let contact = contact.expect("a good contact").into_create("UA".parse().expect("a code"), [7; 16]).expect("small");
    let ops = vec![
        LocalOp::PatchAlert { record: records[1], patch: patch(r#"{"title":"edited"}"#) },
        LocalOp::PatchAlert { record: records[2], patch: patch(r#"{"status":"cancelled"}"#) },
        LocalOp::Respond { record: records[3], draft: Box::new(answer) },
        LocalOp::Create { create: Box::new(contact), class: vatra_model::Class::Routine },
    ];
    let done = call(&node, ops).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_used_store_is_clean_and_a_flipped_bit_is_found() {
    let dir = lab_directory();
    let ua = dir.path().join("lab/ua-1");
    used(&ua).await;
    // A restart writes too.
    start(&ua).await.stop().await;
    let clean = check(&ua);
    assert!(clean.report.is_clean() && clean.wider.is_empty(), "{:?} {:?}", clean.report.findings, clean.wider);
    assert!(clean.entries >= 3 && clean.report.rows_of(Space::Documents) == 3);

    let config = NodeConfig::load(&ua).expect("a lab node's configuration");
    let entry = {
        let reader = boot::open(&config).expect("closed by now").reader();
        let row = reader.log_rows().expect("readable").rows.remove(0);
        let limits = vatra_store::PageLimits::rows(2);
        let entries = reader.entries(row.0, Seq(1), Seq(1), limits).expect("readable");
        entries.rows[0].bytes.clone()
    };
    flip(&ua, &entry);
    let damaged = check(&ua);
    let spaces: Vec<Space> = damaged.report.findings.iter().map(|finding| finding.space).collect();
    assert!(spaces.contains(&Space::Entries), "{:?}", damaged.report.findings);
}

/// Damages what `choose` picks of a used store, an entry or something else, and publishes: the new alert must stand in another log.
async fn leaves_its_log(is_entry: bool, choose: impl FnOnce(&vatra_store::Reader, LogId, Vec<u8>) -> Vec<u8>) {
    let dir = lab_directory();
    let ua = dir.path().join("lab/ua-1");
    used(&ua).await;
    let config = NodeConfig::load(&ua).expect("a lab node's configuration");
    let (log, damaged) = {
        let reader = boot::open(&config).expect("closed by now").reader();
        let (log, row) = reader.log_rows().expect("readable").rows.remove(0);
        (log, choose(&reader, log, row))
    };
    flip(&ua, &damaged);
    assert_eq!(check(&ua).is_mendable(), is_entry);
    let node = start(&ua).await;
    let after = call(&node, vec![draft("after")]).await;
    let receipt = after[0].as_ref().expect("a node with a damaged store takes alerts");
    assert_ne!(receipt.log, log, "how far the old log goes is not known, so it is left");
    node.stop().await;
}

/// The packed bytes of entries of a closed store's first log.
fn packed(dir: &Path, log: LogId, places: &[u64]) -> Vec<Vec<u8>> {
    let config = NodeConfig::load(dir).expect("a lab node's configuration");
    let reader = boot::open(&config).expect("closed by now").reader();
    let bytes = |seq: &u64| reader.entry(log, Seq(*seq)).expect("readable").expect("held");
    places.iter().map(bytes).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_entries_are_fetched_again_and_told_to_nobody_twice() {
    let dir = lab_directory();
    let [ua_dir, lt_dir] = ["ua-1", "lt-1"].map(|name| dir.path().join("lab").join(name));
    let (ua, lt) = (start(&ua_dir).await, start(&lt_dir).await);
    let state = |node: &Node| *node.shared.state.borrow();
    call(&ua, vec![draft("first")]).await;
    until("they are linked", || state(&lt).alerts == 1).await;
    // Entry 0 opens the log; its row tells heights in steps of 256.
    let mut receipt = None;
    for number in 1..300 {
        receipt = call(&ua, vec![draft(&format!("alert {number}"))]).await.remove(0).ok();
    }
    let log = receipt.expect("taken").log;
    until("all has come", || state(&lt).digest == state(&ua).digest).await;
    let (digest, end) = (state(&lt).digest, *lt.shared.durable.borrow());
    lt.stop().await;
    ua.stop().await;

    // Some below the height in the row, together and apart, one past it, and the newest.
    for bytes in packed(&lt_dir, log, &[5, 6, 7, 100, 280, 300]) {
        flip(&lt_dir, &bytes);
    }
    // The writer lost some of its own.
    for bytes in packed(&ua_dir, log, &[50, 51]) {
        flip(&ua_dir, &bytes);
    }
    let damaged = check(&lt_dir);
    assert!(damaged.is_mendable(), "{:?} {:?}", damaged.report.findings, damaged.wider);
    let (ua, lt) = (start(&ua_dir).await, start(&lt_dir).await);
    until("the node's own are put back", || ua.shared.metrics.mended.get() == 2).await;
    until("those below the height are put back", || lt.shared.metrics.mended.get() == 4).await;
    until("the others too", || lt.shared.views.reader.damaged_count() == 0).await;
    assert_eq!(ua.shared.views.reader.damaged_count(), 0);
    assert_eq!((state(&lt).digest, *lt.shared.durable.borrow()), (digest, end), "nothing is told anew");
    let after = call(&ua, vec![draft("after")]).await;
    assert_eq!(after[0].as_ref().expect("taken").log, log, "the writer goes on in its log");
    until("they go on", || state(&lt).alerts == 301 && state(&lt).digest == state(&ua).digest).await;
    lt.stop().await;
    ua.stop().await;
    for dir in [&ua_dir, &lt_dir] {
        let clean = check(dir);
        assert!(clean.report.is_clean() && clean.wider.is_empty(), "{:?} {:?}", clean.report.findings, clean.wider);
    }
}

/// What a subscriber reads after a position until the end, as the store has it.
fn read_on(node: &Node, mut after: Position) -> (Vec<ChangeId>, Position) {
    let mut read = Vec::new();
    loop {
        let (events, end) = node.shared.views.events(after, 64).expect("a readable store");
        read.extend(events.iter().map(|event| event.change));
        if end == after {
            return (read, end);
        }
        after = end;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_subscriber_went_past_is_told_again_when_it_can_be_read() {
    let dir = lab_directory();
    let [ua_dir, lt_dir] = ["ua-1", "lt-1"].map(|name| dir.path().join("lab").join(name));
    let (ua, lt) = (start(&ua_dir).await, start(&lt_dir).await);
    let mut made = Vec::new();
    for number in 0..300 {
        made.push(call(&ua, vec![draft(&format!("alert {number}"))]).await.remove(0).expect("taken"));
    }
    // Entry 0 opens the log, so that the fifth alert is in entry 5.
    let (record, log) = (made[4].record, made[4].log);
    let patch = vatra_model::draft::AlertPatch::from_json(br#"{"status":"cancelled"}"#).expect("a good patch");
    call(&ua, vec![LocalOp::PatchAlert { record, patch: Box::new(patch) }]).await.remove(0).expect("taken");
    let digest = |node: &Node| node.shared.state.borrow().digest;
    until("all has come", || digest(&lt) == digest(&ua)).await;
    let (all, end) = read_on(&lt, Position(0));
    assert_eq!((all.len() as u64, end), (301, *lt.shared.durable.borrow()));
    lt.stop().await;
    ua.stop().await;
    let places = [5, 6, 100];
    for bytes in packed(&lt_dir, log, &places) {
        flip(&lt_dir, &bytes);
    }

    // Alone, nothing can be mended; the subscriber gets what there is, and its node is restarted before it is linked.
    let lt = start(&lt_dir).await;
    let (before, cursor) = read_on(&lt, Position(0));
    assert_eq!((before.len(), cursor), (298, end), "the subscriber is not held up");
    lt.stop().await;
    let (ua, lt) = (start(&ua_dir).await, start(&lt_dir).await);
    until("they are told again", || lt.shared.metrics.told_again.get() == places.len() as u64).await;
    let (again, end) = read_on(&lt, cursor);
    let missed: Vec<ChangeId> = all.iter().filter(|change| !before.contains(change)).copied().collect();
    assert_eq!(again, missed, "exactly what it went past");
    assert_eq!(*lt.shared.durable.borrow(), end, "followers hear of it");
    let snapshot = lt.shared.views.reader.snapshot().expect("readable");
    for position in cursor.0 + 1..=end.0 {
        let row = snapshot.stream_row(Position(position)).expect("readable").expect("told again");
        let view = lt.shared.views.view(&snapshot, row.record).expect("readable").expect("shown");
        assert_eq!(row.summary, view.summary().to_bytes(), "lists show what it is now");
    }
    let noted = crate::node::missed::noted(&snapshot, None, 10).expect("readable");
    assert_eq!((noted, digest(&lt)), ((Vec::new(), false), digest(&ua)));
    drop(snapshot);
    lt.stop().await;
    ua.stop().await;
    let clean = check(&lt_dir);
    assert!(clean.report.is_clean() && clean.wider.is_empty(), "{:?} {:?}", clean.report.findings, clean.wider);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_row_never_makes_a_node_fork_its_own_log() {
    leaves_its_log(false, |_, _, row| row).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_newest_entry_never_makes_a_node_fork_its_own_log() {
    leaves_its_log(true, |reader, log, _| {
        let limits = vatra_store::PageLimits::rows(1);
        let newest = reader.snapshot().expect("readable").entries_reverse(log, Seq(0), Seq(u64::MAX), limits);
        newest.expect("readable").rows.remove(0).bytes
    })
    .await;
}
