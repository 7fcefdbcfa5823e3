//! Two nodes in one process, over real links and real stores, driven below the API.

use std::path::Path;
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;
use tokio::sync::oneshot;
use vatra_model::draft::AlertDraft;

use crate::config::NodeConfig;
use crate::federation::{LabPlan, Topology};
use crate::node::driver::Item;
use crate::node::local::{LocalCall, LocalError, LocalOp, LocalResult};
use crate::node::mailbox::{Urgency, Weight};
use crate::node::run::{Node, start_mesh};

mod damage;
mod revoked;

const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn start(dir: &Path) -> Node {
    start_with(NodeConfig::load(dir).expect("a lab node's configuration")).await
}

async fn start_with(config: NodeConfig) -> Node {
    // The socket of a node that was stopped in this process lives until its connections have drained.
    until("the port is free", || std::net::UdpSocket::bind(config.mesh.listen).is_ok()).await;
    let (mesh, events) = start_mesh(&config).await.expect("a free port");
    Node::start(&config, mesh, events, &mut Registry::default()).expect("a new node")
}

/// A directory with a lab of two members in it, and what their links need.
pub(super) fn lab_directory() -> tempfile::TempDir {
    // Another test may have installed it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let dir = tempfile::tempdir().expect("a directory");
    lab(dir.path());
    dir
}

/// A lab of two members on free ports.
pub(super) fn lab(dir: &Path) {
    let free = |port: u16| {
        std::net::UdpSocket::bind(("127.0.0.1", port)).is_ok()
            && std::net::UdpSocket::bind(("127.0.0.1", port + 2)).is_ok()
    };
    let first = 20_000 + u16::try_from(std::process::id() % 20_000).expect("below 20,000");
    let base_port = (first..60_000).step_by(4).find(|port| free(*port)).expect("some port is free");
    let plan = LabPlan {
        members: ["UA", "LT"].map(|code| code.parse().expect("a code")).to_vec(),
        nodes_per_site: 1,
        base_port,
        host: "127.0.0.1".into(),
        topology: Topology::Full,
    };
    plan.create(&dir.join("lab"), crate::node::clock::wall()).expect("an empty directory");
}

pub(super) fn draft(title: &str) -> LocalOp {
    let json =
        format!(r#"{{"kind":"outage","title":"{title}","severity":"moderate","sectors":["energy"],"tlp":"green"}}"#);
    let draft = AlertDraft::from_json(json.as_bytes()).expect("a valid draft");
    let class = draft.class();
    let mut nonce = [0; 16];
    let bytes = title.as_bytes();
    nonce[..bytes.len().min(16)].copy_from_slice(&bytes[..bytes.len().min(16)]);
    let create = draft.into_create("UA".parse().expect("a code"), nonce).expect("a small draft");
    LocalOp::Create { create: Box::new(create), class }
}

pub(super) async fn call(node: &Node, ops: Vec<LocalOp>) -> Vec<LocalResult> {
    let (reply, answer) = oneshot::channel();
    assert!(node.shared.mailbox.post(Urgency::Local, Weight::SMALL, Item::Local(LocalCall { ops, reply })));
    answer.await.expect("the driver answers")
}

pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < give_up, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_slowed_down_and_nothing_of_it_is_lost() {
    let dir = lab_directory();
    let ua = start(&dir.path().join("lab/ua-1")).await;
    let mut config = NodeConfig::load(&dir.path().join("lab/lt-1")).expect("a lab node's configuration");
    config.limits.origin_entries_per_second = 1;
    let lt = start_with(config).await;
    let state = |node: &Node| *node.shared.state.borrow();
    call(&ua, vec![draft("first")]).await;
    until("they are linked", || state(&lt).alerts == 1).await;
    let count = 150;
    for number in 1..count {
        call(&ua, vec![draft(&format!("flood {number}"))]).await;
    }
    until("all has come", || state(&lt).alerts == count && state(&lt).digest == state(&ua).digest).await;
    assert!(lt.shared.metrics.throttled.get() > 0, "a minute's worth is 60 entries");
    lt.stop().await;
    ua.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_show_the_same() {
    let dir = lab_directory();
    if cfg!(feature = "sled") {
        // Engines may differ from node to node: what they show must not.
        let file = dir.path().join("lab/lt-1/node.toml");
        let text = std::fs::read_to_string(&file).expect("a lab node's configuration");
        assert!(text.contains("engine = \"redb\""));
        std::fs::write(&file, text.replace("engine = \"redb\"", "engine = \"sled\"")).expect("a writable directory");
    }
    let ua = start(&dir.path().join("lab/ua-1")).await;
    let first = call(&ua, (0..300).map(|n| draft(&format!("before {n}"))).collect()).await;
    assert!(first.iter().all(|result| result.as_ref().is_ok_and(|receipt| receipt.changed)), "{first:?}");
    let lt = start(&dir.path().join("lab/lt-1")).await;
    let state = |node: &Node| *node.shared.state.borrow();
    until("the backlog is caught up", || state(&lt).alerts == 300 && state(&lt).digest == state(&ua).digest).await;
    let again = call(&ua, vec![draft("before 7")]).await;
    assert!(again[0].as_ref().is_ok_and(|receipt| !receipt.changed));
    let record = again[0].as_ref().expect("checked above").record;
    let answer = vatra_model::draft::ResponseDraft::from_json(br#"{"assessment":"affected","note":"line 3 is down"}"#);
    let respond = LocalOp::Respond { record, draft: Box::new(answer.expect("a valid answer")) };
    assert!(call(&lt, vec![respond]).await[0].as_ref().is_ok_and(|receipt| receipt.changed));
    call(&ua, vec![draft("after")]).await;
    until("both directions", || state(&lt).alerts == 301 && state(&lt).digest == state(&ua).digest).await;
    ua.stop().await;
    let digest = state(&lt).digest;
    let ua = start(&dir.path().join("lab/ua-1")).await;
    assert_eq!(state(&ua).digest, digest, "a restarted node shows what it showed");
    lt.stop().await;
    ua.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_that_cannot_be_raised_shows_in_the_health_and_is_tried_again() {
    let dir = lab_directory();
    let node_dir = dir.path().join("lab/ua-1");
    let ua = start(&node_dir).await;
    let fence = node_dir.join("fence");
    std::fs::remove_file(&fence).expect("the start wrote a fence");
    std::fs::create_dir(&fence).expect("the name is free");
    let refused = call(&ua, vec![draft("without a fence")]).await;
    assert!(matches!(refused[0], Err(LocalError::StoreReadOnly(_))), "{refused:?}");
    until("the metric tells", || ua.shared.metrics.writable.get() == 0).await;
    std::fs::remove_dir(&fence).expect("it is empty");
    until("the fence is tried again", || ua.shared.metrics.writable.get() == 1).await;
    assert!(call(&ua, vec![draft("with a fence")]).await[0].is_ok());
    ua.stop().await;
}
