//! Bundles of one node, below the API: what goes into them, and what of them is kept.

use std::path::Path;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use vatra_api::{BundleOrder, BundleUpload};
use vatra_bundle::{BundleReader, BundleWriter, LogRange, Manifest, Part, ReadLimits, Receipt, SignedReceipt};
use vatra_model::charter::{Revocation, SignedEpoch};
use vatra_model::draft::AlertDraft;
use vatra_model::limits::AHEAD_ENTRIES_MAX;
use vatra_model::wire::LogDescriptor;
use vatra_model::{
    AudienceId, Change, Class, Entry, EntryDraft, EntryHash, Frontier, Head, Hlc, Incarnation, LogId, Position, Realm,
    Seq, WallMs,
};
use vatra_replica::Input;

use super::*;
use crate::federation::MemberKeys;
use crate::node::driver::Item;
use crate::node::local::LocalOp;
use crate::node::mailbox::{Urgency, Weight};
use crate::node::run::Node;
use crate::node::tests::{call, draft, lab_directory, start, until};

/// UA's node, and what a test needs to speak for LT's.
struct Desk {
    node: Node,
    bundles: Arc<Bundles>,
    lt: NodeConfig,
    _dir: tempfile::TempDir,
}

impl Desk {
    async fn new() -> Desk {
        let dir = lab_directory();
        let config = |name: &str| NodeConfig::load(&dir.path().join(name)).expect("a lab node's configuration");
        let node = start(&dir.path().join("lab/ua-1")).await;
        let bundles = Arc::new(Bundles::new(node.shared.clone(), &config("lab/ua-1")));
        Desk { node, bundles, lt: config("lab/lt-1"), _dir: dir }
    }

    /// Works on a thread that may wait.
    async fn work<T: Send + 'static>(&self, work: impl FnOnce(&Bundles) -> T + Send + 'static) -> T {
        let bundles = self.bundles.clone();
        tokio::task::spawn_blocking(move || work(&bundles)).await.expect("no panic")
    }

    /// The entries of an export, in the order of the file.
    async fn export(&self, since: Option<Vec<u8>>) -> Vec<Entry> {
        self.export_all(since).await.0
    }

    /// The same, and how many forks it proves.
    async fn export_all(&self, since: Option<Vec<u8>>) -> (Vec<Entry>, usize) {
        let order = BundleOrder { since: since.map(Bytes::from), receiver: None };
        let bundles = self.bundles.clone();
        let (sender, mut pieces) = mpsc::channel(4);
        let writing = tokio::task::spawn_blocking(move || {
            let plan = bundles.plan_export(&order).expect("a good order");
            bundles.export(&plan, sender);
        });
        let mut file = Vec::new();
        while let Some(piece) = pieces.recv().await {
            file.extend(piece.expect("a whole bundle"));
        }
        writing.await.expect("no panic");
        let limits = ReadLimits { inflated_bytes_max: 1 << 30 };
        let mut reader = BundleReader::open(file.as_slice(), None, limits).expect("a bundle");
        let (mut entries, mut forks) = (Vec::new(), 0);
        while let Some(part) = reader.next_part().expect("a whole bundle") {
            match part {
                Part::Entries(chunk) => entries.extend(chunk.entries.into_iter().map(|entry| entry.entry().clone())),
                Part::Forks(proofs) => forks += proofs.len(),
                Part::Optional { kind, .. } => panic!("section {kind}"),
            }
        }
        (entries, forks)
    }

    async fn import(&self, file: Vec<u8>) -> Result<vatra_api::BundleIntake, Refusal> {
        let (sender, pieces) = mpsc::channel(1);
        tokio::spawn(async move { sender.send(Ok(Bytes::from(file))).await });
        self.work(move |bundles| bundles.import(BundleUpload { pieces }, &watch::Sender::new(None))).await
    }

    /// A frontier file of LT's node that says this of a log.
    fn frontier_file(&self, log: LogId, head: Head) -> Vec<u8> {
        let receipt = Receipt {
            founding: self.lt.charter.founding_hash(),
            certificate: self.lt.certificate.encode(),
            given: WallMs(0),
            frontier: Frontier([(log, head)].into()),
            intake: None,
        };
        receipt.sign(&self.lt.key.secret())
    }
}

fn spool_is_gone(dir: &Path) -> bool {
    !dir.join(SPOOL_FILE).exists()
}

fn seqs(entries: &[Entry]) -> Vec<u64> {
    let mut seqs: Vec<u64> = entries.iter().map(|entry| entry.header.seq.0).collect();
    seqs.sort_unstable();
    seqs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn urgent_entries_go_first_and_what_is_covered_stays_out() {
    let desk = Desk::new().await;
    for number in 0..6 {
        let mut op = draft(&format!("alert {number}"));
        if let LocalOp::Create { class, .. } = &mut op {
            *class = Class::ALL[3 - number % 4];
        }
        call(&desk.node, vec![op]).await;
    }
    let all = desk.export(None).await;
    assert_eq!(seqs(&all), (0..7).collect::<Vec<_>>(), "the opening of the log and six alerts");
    let classes: Vec<Class> = all.iter().map(|entry| entry.header.class.min(Class::Routine)).collect();
    assert!(classes.is_sorted(), "{classes:?}");

    let own = desk.work(|bundles| bundles.receipt(None)).await.expect("a frontier file");
    let frontier = SignedReceipt::open(&own).expect("our own").receipt().frontier.clone();
    assert!(desk.export(Some(own)).await.is_empty(), "everything is covered");
    let hash = |seq: usize| all.iter().find(|entry| entry.header.seq.0 == seq as u64).expect("held").header.hash();
    for (head, expected) in [
        (Head { height: 4, head: hash(3) }, 4..7),
        (Head { height: 4, head: hash(2) }, 0..7),
        (Head { height: 7, head: EntryHash([1; 32]) }, 0..7),
        (Head { height: 9, head: EntryHash([1; 32]) }, 7..7),
        (Head::EMPTY, 0..7),
    ] {
        let file = desk.frontier_file(all[0].header.log, head);
        assert_eq!(seqs(&desk.export(Some(file)).await), expected.collect::<Vec<_>>(), "{head:?} of {frontier:?}");
    }
    desk.node.stop().await;
}

/// A log of LT's node with an alert in each entry, flash but for the first.
fn log_of_lt(config: &NodeConfig, count: usize) -> (LogDescriptor, Vec<Entry>) {
    branch_of_lt(config, count, u64::MAX)
}

/// The same log, but from some place on the other branch of a fork.
fn branch_of_lt(config: &NodeConfig, count: usize, other_from: u64) -> (LogDescriptor, Vec<Entry>) {
    let descriptor = LogDescriptor {
        certificate: config.certificate.encode().into(),
        incarnation: Incarnation(5),
        audience: AudienceId::FEDERATION,
        realm: Realm::OPS,
    };
    let secret = config.key.secret();
    let log = config.certificate.certificate().log(descriptor.incarnation, &descriptor.audience);
    let mut prev = EntryHash::ZERO;
    let mut entries = Vec::with_capacity(count);
    for seq in 0..count as u64 {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&seq.to_le_bytes());
        nonce[8] = u8::from(seq >= other_from);
        let json = r#"{"kind":"outage","title":"dark","severity":"severe","sectors":["energy"],"tlp":"green"}"#;
        let alert = AlertDraft::from_json(json.as_bytes()).expect("a valid draft");
        let create = alert.into_create(config.member, nonce).expect("a small draft");
        let draft = EntryDraft {
            realm: Realm::OPS,
            log,
            seq: Seq(seq),
            prev,
            hlc: Hlc(seq),
            class: if seq == 0 { Class::Routine } else { Class::Flash },
            expires_hours: 0,
        };
        let entry = Entry::sign(&draft, vec![Change::Create(create).encode()], &secret).expect("small");
        prev = entry.hash();
        entries.push(entry.into_entry());
    }
    (descriptor, entries)
}

/// A bundle by LT's node of these entries in this order.
fn bundle_of_lt(config: &NodeConfig, descriptor: &LogDescriptor, entries: &[&Entry]) -> Vec<u8> {
    use sha2::{Digest, Sha256};

    let charter = config.charter.encode();
    let range = LogRange { log: entries[0].header.log, from: 0, height: 0, head: EntryHash::ZERO };
    let manifest = Manifest {
        founding: config.charter.founding_hash(),
        certificate: config.certificate.encode(),
        created: WallMs(0),
        charter_epoch: 1,
        charter_hash: Sha256::digest(&charter).into(),
        software: "test".into(),
        receiver: None,
        logs: vec![range],
    };
    let secret = config.key.secret();
    let mut writer = BundleWriter::begin(Vec::new(), &secret, &manifest, &charter).expect("small");
    for entry in entries {
        writer.add((*entry).clone(), descriptor).expect("small");
    }
    writer.finish().expect("memory takes it").0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_finds_no_room_beyond_a_gap_is_taken_when_the_gap_is_closed() {
    let desk = Desk::new().await;
    let count = AHEAD_ENTRIES_MAX + 40;
    let (descriptor, entries) = log_of_lt(&desk.lt, count);
    // Urgent ones first, as exporters do: the first entry of the log comes last.
    let order: Vec<&Entry> = entries.iter().skip(1).chain([&entries[0]]).collect();
    let file = bundle_of_lt(&desk.lt, &descriptor, &order);
    let intake = desk.import(file).await.expect("a good bundle");
    assert_eq!((intake.new, intake.held, intake.refused), (count as u64, 0, 0), "{:?}", intake.reasons);
    let receipt = SignedReceipt::open(&intake.receipt).expect("our own");
    let head = Head { height: count as u64, head: entries[count - 1].header.hash() };
    assert_eq!(receipt.receipt().frontier.head(&entries[0].header.log), head);
    assert!(spool_is_gone(desk.bundles.spool.parent().expect("a directory")));
    desk.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_does_not_hold_at_its_end_leaves_nothing() {
    let desk = Desk::new().await;
    let (descriptor, entries) = log_of_lt(&desk.lt, 300);
    let mut forged = entries.clone();
    forged[299].signature = forged[0].signature;
    let file = bundle_of_lt(&desk.lt, &descriptor, &forged.iter().collect::<Vec<_>>());
    let refused = desk.import(file).await.expect_err("an entry that LT did not sign");
    assert!(refused.detail.contains("entry 299") && refused.detail.contains("nothing was changed"), "{refused}");
    assert!(desk.export(None).await.is_empty(), "299 good entries were kept");
    assert!(spool_is_gone(desk.bundles.spool.parent().expect("a directory")));

    let good = bundle_of_lt(&desk.lt, &descriptor, &entries.iter().collect::<Vec<_>>());
    assert_eq!(desk.import(good[..good.len() - 1].to_vec()).await.expect_err("cut off").kind, RefusalKind::Invalid);
    assert!(desk.export(None).await.is_empty());
    assert_eq!(desk.import(good).await.expect("a good bundle").new, 300);
    desk.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_branches_of_a_fork_travel_with_its_proof() {
    let desk = Desk::new().await;
    let (descriptor, one) = log_of_lt(&desk.lt, 6);
    let (_, other) = branch_of_lt(&desk.lt, 5, 3);
    let file = |entries: &[Entry]| bundle_of_lt(&desk.lt, &descriptor, &entries.iter().collect::<Vec<_>>());
    assert_eq!(desk.import(file(&one)).await.expect("a good bundle").new, 6);
    // Two couriers bring what LT's node wrote in two lives that knew nothing of each other.
    let intake = desk.import(file(&other)).await.expect("a good bundle");
    assert_eq!((intake.entries, intake.refused), (5, 0), "{:?}", intake.reasons);
    let again = desk.import(file(&other)).await.expect("a good bundle");
    assert_eq!((again.new, again.held, again.refused), (0, 5, 0), "{:?}", again.reasons);

    let (entries, forks) = desk.export_all(None).await;
    let hashes = |entries: &mut dyn Iterator<Item = &Entry>| {
        entries.map(|entry| entry.header.hash()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(hashes(&mut entries.iter()), hashes(&mut one.iter().chain(&other)), "no honest alert is lost");
    assert_eq!(forks, 1);
    let own = desk.work(|bundles| bundles.receipt(None)).await.expect("a frontier file");
    let (rest, forks) = desk.export_all(Some(own)).await;
    assert_eq!((rest.len(), forks), (0, 0), "who is level needs neither");
    desk.node.stop().await;
}

/// The charter of the lab with one more epoch, which revokes LT's key after an entry of its log.
fn revoking(config: &NodeConfig, lab: &Path, last: &Entry) -> Vec<u8> {
    let mut charter = config.charter.clone();
    let mut epoch = charter.current().clone();
    (epoch.epoch, epoch.previous) = (2, charter.hash());
    let last_valid = vec![(last.header.log, last.header.seq, last.header.hash())];
    epoch.revocations = vec![Revocation { key: config.key.secret().node_key(), last_valid }];
    let mut signed = SignedEpoch::draft(epoch).expect("a good epoch");
    for member in ["ua", "lt"] {
        let keys = MemberKeys::load(&lab.join("members").join(member)).expect("the lab's keys");
        signed.sign(&keys.root.secret());
    }
    charter.extend(signed).expect("both have signed");
    charter.encode()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_revoked_key_wrote_past_its_end_is_neither_shown_nor_carried() {
    let desk = Desk::new().await;
    let (descriptor, entries) = log_of_lt(&desk.lt, 200);
    let file = bundle_of_lt(&desk.lt, &descriptor, &entries.iter().collect::<Vec<_>>());
    assert_eq!(desk.import(file.clone()).await.expect("a good bundle").new, 200);
    let shared = &desk.node.shared;
    until("all is shown", || shared.state.borrow().alerts == 200).await;

    let bytes = revoking(&desk.lt, &desk._dir.path().join("lab"), &entries[3]);
    assert!(shared.mailbox.post(Urgency::Local, Weight::SMALL, Item::Core(Input::Charter { bytes })));
    until("what was written in time is left", || shared.state.borrow().alerts == 4).await;
    let events = shared.views.events(Position(0), 4_096).expect("readable").0;
    let taken_back = events.iter().filter(|event| event.event_type.is_retraction()).count();
    assert_eq!((events.len(), taken_back), (4 + 196, 196));
    assert_eq!(seqs(&desk.export(None).await), [0, 1, 2, 3]);
    let intake = desk.import(file).await;
    assert!(intake.is_err(), "a bundle by a revoked node is not taken: {intake:?}");
    let listed = shared.listing.read().expect("no panic").oldest_first(None).count();
    assert_eq!(listed, 4);

    let digest = shared.state.borrow().digest;
    let Desk { node, bundles, _dir: dir, .. } = desk;
    drop(bundles);
    node.stop().await;
    let config = NodeConfig::load(&dir.path().join("lab/ua-1")).expect("a lab node's configuration");
    let checked = crate::node::fsck::fsck(&config, |_, _| {}).expect("readable");
    assert!(checked.report.is_clean() && checked.wider.is_empty(), "{:?} {:?}", checked.report, checked.wider);
    let node = start(&dir.path().join("lab/ua-1")).await;
    assert_eq!((node.shared.state.borrow().digest, node.shared.state.borrow().alerts), (digest, 4));
    assert_eq!(node.shared.listing.read().expect("no panic").oldest_first(None).count(), 4);
    node.stop().await;
}
