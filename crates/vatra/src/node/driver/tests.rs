use prometheus_client::registry::Registry;
use vatra_model::draft::AlertPatch;
use vatra_store::{FenceMark, FenceState};

use super::*;
use crate::config::NodeConfig;
use crate::node::boot::boot;
use crate::node::local::Receipt;
use crate::node::run::{Node, start_mesh};
use crate::node::tests::{draft, lab_directory};

/// A driver whose rounds the test makes itself.
struct Desk {
    driver: Driver,
    dir: tempfile::TempDir,
}

impl Desk {
    async fn new() -> Desk {
        let dir = lab_directory();
        let config = NodeConfig::load(&dir.path().join("lab/ua-1")).expect("a lab node's configuration");
        let (mesh, _) = start_mesh(&config).await.expect("a free port");
        let (driver, _) = Node::assemble(&config, &mesh, &mut Registry::default()).expect("a new node");
        Desk { driver, dir }
    }

    fn ask(&mut self, ops: Vec<LocalOp>) -> (oneshot::Receiver<Vec<LocalResult>>, Vec<Effect>) {
        let (reply, answer) = oneshot::channel();
        let mut effects = Vec::new();
        let now = self.driver.clock.now();
        self.driver.take_deferred(now, &mut effects);
        self.driver.take_call(now, LocalCall { ops, reply }, &mut effects);
        (answer, effects)
    }

    /// One round with a call: its answer, if it is given in this round.
    fn round(&mut self, ops: Vec<LocalOp>) -> Option<Vec<LocalResult>> {
        let (mut answer, effects) = self.ask(ops);
        self.driver.settle(effects).expect("the store says how far it has come");
        answer.try_recv().ok()
    }
}

fn patch(record: RecordId, title: &str) -> LocalOp {
    let patch = AlertPatch::from_json(format!(r#"{{"title":"{title}"}}"#).as_bytes()).expect("a good patch");
    LocalOp::PatchAlert { record, patch: Box::new(patch) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_publication_blocks_no_later_one() {
    let mut desk = Desk::new().await;
    let refusing = |desk: &mut Desk, writable| desk.driver.replica.set_writable(writable);
    refusing(&mut desk, false);
    let refused = desk.round(vec![draft("one")]).expect("an answer");
    assert!(matches!(refused[..], [Err(LocalError::StoreReadOnly(_))]), "{refused:?}");
    refusing(&mut desk, true);
    let taken = desk.round(vec![draft("one")]).expect("an answer in the next round");
    assert!(matches!(taken[..], [Ok(Receipt { created: true, .. })]), "{taken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_signed_past_the_fence() {
    let mut desk = Desk::new().await;
    let (mut answer, effects) = desk.ask(vec![draft("one")]);
    // What a new life in the middle of a round does on a full disk: the fence held no longer covers what waits.
    let good = std::mem::replace(
        &mut desk.driver.fence,
        Fence::load(&desk.dir.path().join("no such directory/fence")).expect("no fence is there"),
    );
    desk.driver.settle(effects).expect("the store says how far it has come");
    let refused = answer.try_recv().expect("an answer");
    assert!(refused[0].is_err(), "{refused:?}");
    assert_eq!(desk.driver.replica.next_seq(), Seq(0), "nothing was signed");
    desk.driver.fence = good;
    let taken = desk.round(vec![draft("one")]).expect("an answer");
    assert!(taken[0].is_ok(), "{taken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_life_that_begins_while_the_node_runs_goes_on_after_a_stop_without_a_write() {
    let mut desk = Desk::new().await;
    desk.round(vec![draft("one")]).expect("an answer");
    let mut effects = Vec::new();
    desk.driver.replica.leave_own_log(&mut effects);
    desk.driver.settle(effects).expect("stored");
    let incarnation = desk.driver.replica.incarnation();
    let Desk { driver, dir } = desk;
    let mark = FenceMark { incarnation, promised: Seq(0), starts: 1 };
    assert_eq!(*driver.fence.state(), FenceState::Held(mark));
    drop(driver);
    let config = NodeConfig::load(&dir.path().join("lab/ua-1")).expect("a lab node's configuration");
    let booted = boot(&config).expect("the store is closed");
    assert_eq!((booted.new_life, booted.restored.incarnation, booted.restored.boot), (None, incarnation, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_touches_one_record_goes_one_by_one_and_in_order() {
    let mut desk = Desk::new().await;
    let (mut same, effects) = desk.ask(vec![draft("one"), draft("one"), draft("two"), draft("one")]);
    desk.driver.settle(effects).expect("stored");
    assert!(same.try_recv().is_err(), "two creates wait for the first");
    let empty = desk.round(Vec::new()).expect("an answer");
    assert!(empty.is_empty());
    let same = same.try_recv().expect("an answer in the second round");
    let created: Vec<bool> = same.iter().map(|result| result.as_ref().expect("taken").created).collect();
    assert_eq!(created, [true, false, true, false]);

    let record = same[0].as_ref().expect("taken").record;
    let (mut patches, effects) = desk.ask(["a", "b", "c"].map(|title| patch(record, title)).to_vec());
    desk.driver.settle(effects).expect("stored");
    for _ in 0..2 {
        assert!(patches.try_recv().is_err());
        desk.round(Vec::new());
    }
    let patches = patches.try_recv().expect("an answer in the third round");
    assert!(patches.iter().all(|result| result.as_ref().is_ok_and(|receipt| receipt.changed)), "{patches:?}");
    let snapshot = desk.driver.projector.views.reader.snapshot().expect("readable");
    let view = desk.driver.projector.views.view(&snapshot, record).expect("readable").expect("known");
    let json = String::from_utf8(view.canonical_bytes()).expect("JSON");
    assert!(json.contains(r#""title":"c""#) && !json.contains(r#""conflicts":{"title""#), "{json}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_version_held_back_is_tried_again() {
    let mut desk = Desk::new().await;
    let taken = desk.round(vec![draft("one"), draft("two")]).expect("an answer");
    let receipt = taken[0].as_ref().expect("taken");
    // The row of an earlier version, which could not take the entry.
    let held = |reason: &str, version: &str| {
        let (mut row, at) = (vec![u8::try_from(reason.len()).expect("short")], crate::node::clock::wall());
        row.extend_from_slice(reason.as_bytes());
        row.extend_from_slice(&vatra_model::codec::encode(&at));
        row.extend_from_slice(&vatra_model::codec::encode(&version.to_owned()));
        row
    };
    let key = crate::node::quarantine::key(receipt.log, receipt.seq, crate::node::quarantine::WHOLE_ENTRY);
    let index = vec![(key.clone(), Some(held("crashed", "0.0.0")))];
    desk.driver.store.commit(&vatra_store::Commit { index, ..vatra_store::Commit::default() }).expect("room");
    let snapshot = desk.driver.projector.views.reader.snapshot().expect("readable");
    let quarantine = Quarantine::load(&snapshot, &desk.driver.projector.views.origins).expect("readable");
    let place = crate::node::pending::Place { log: receipt.log, seq: receipt.seq, index: u16::MAX };
    assert_eq!(quarantine.take_to_try(), [place]);

    let before = (desk.driver.projector.state, desk.driver.store.next_position());
    let mut packer = Packer::new();
    desk.driver.bring(&mut packer, place).expect("the entry is stored");
    assert_eq!((desk.driver.projector.state, desk.driver.store.next_position()), before, "what took effect is no news");
    let snapshot = desk.driver.projector.views.reader.snapshot().expect("readable");
    assert_eq!(snapshot.index(&key).expect("readable"), None);
}
