//! Good inputs to begin with: a small federation, its entries, and what its nodes say.

use sha2::{Digest, Sha256};
use vatra_bundle::{BundleId, BundleWriter, Intake, Manifest, Receipt};
use vatra_model::certificate::{NodeCertificate, SignedCertificate};
use vatra_model::change::{Change, Create, Edit, LogOpen, Naming, Op, RecordKind, Value, record_id};
use vatra_model::charter::{Charter, CharterEpoch, CharterMember, MemberRole, Revocation, SignedEpoch};
use vatra_model::wire::{
    Beacon, EntriesFrame, FrontierDigest, Hello, LogDescriptor, Message, Neighbour, Run, SignedBeacon, Want,
    WantClasses,
};
use vatra_model::{
    AudienceId, ChangeId, CheckedEntry, Class, Entry, EntryDraft, EntryHash, Frontier, Head, Hlc, Incarnation, LogId,
    MemberCode, NodeKey, Realm, RecordId, Secret, SectionId, Seq, WallMs, codec,
};

/// Everybody's first life.
const LIFE: Incarnation = Incarnation(7);

pub(super) fn member() -> MemberCode {
    "UA".parse().expect("a code")
}

fn root() -> Secret {
    Secret::from_seed(&[1; 32])
}

/// The key that signs entries and beacons.
pub(super) fn node() -> Secret {
    Secret::from_seed(&[2; 32])
}

pub(super) fn log() -> LogId {
    LogId::derive(member(), &node().node_key(), LIFE, &AudienceId::FEDERATION)
}

pub(super) fn certificate() -> SignedCertificate {
    let certificate = NodeCertificate {
        member: member(),
        site: "kyiv".into(),
        node: "kyiv-1".into(),
        key: node().node_key(),
        not_before: WallMs(1),
        serial: 1,
    };
    certificate.sign(&root()).expect("good names")
}

pub(super) fn charter(epochs: u64) -> Charter {
    let member = CharterMember {
        code: member(),
        name: "Ukraine".into(),
        role: MemberRole::Member,
        root: root().root_key(),
        sealing: [3; 32],
        addresses: vec!["ua.example:4001".into()],
    };
    let mut epoch = CharterEpoch {
        epoch: 1,
        previous: [0; 32],
        federation: "a federation".into(),
        members: vec![member],
        revocations: Vec::new(),
    };
    let sign = |epoch: &CharterEpoch| {
        let mut signed = SignedEpoch::draft(epoch.clone()).expect("a good epoch");
        signed.sign(&root());
        signed
    };
    let mut charter = Charter::found(sign(&epoch)).expect("all have signed");
    for number in 2..=epochs {
        let last_valid = vec![(LogId([4; 16]), Seq(5), EntryHash([6; 32]))];
        epoch.revocations = vec![Revocation { key: NodeKey([9; 32]), last_valid }];
        (epoch.epoch, epoch.previous) = (number, charter.hash());
        charter.extend(sign(&epoch)).expect("it follows");
    }
    charter
}

fn set(field: &str, value: Value) -> Op {
    Op::Set { field: field.into(), value }
}

fn text(field: &str, value: &str) -> Op {
    set(field, Value::Text(value.into()))
}

fn create() -> Create {
    let ops = vec![
        text("kind", "outage"),
        text("title", "Grid control down"),
        text("severity", "severe"),
        text("tlp", "green"),
        Op::Add { set: "sectors".into(), key: "energy".into(), value: Value::Bool(true) },
        Op::Add { set: "indicators".into(), key: "ip 192.0.2.1".into(), value: Value::Text("{}".into()) },
        set("starts", Value::Int(1_800_000_000_000)),
    ];
    Create { kind: RecordKind::Alert, writers: vec![member()], naming: Naming::Nonce([8; 16]), ops }
}

/// The record that the changes are of.
pub(super) fn record() -> RecordId {
    record_id(member(), &create())
}

/// The create that every other change rests on.
pub(super) fn first_change() -> Change {
    Change::Create(create())
}

pub(super) fn changes() -> Vec<Change> {
    let edit = |section, deps, ops| Change::Edit(Edit { record: record(), section, deps, ops });
    let contact = Create {
        kind: RecordKind::Contact,
        writers: vec![member()],
        naming: Naming::External("urn:contact:1".into()),
        ops: vec![text("name", "Duty officer"), text("role", "duty")],
    };
    vec![
        first_change(),
        Change::Create(contact),
        edit(SectionId::Core, vec![ChangeId([1; 16])], vec![text("status", "cancelled"), set("title", Value::Null)]),
        edit(SectionId::Core, Vec::new(), vec![Op::Remove { set: "sectors".into(), key: "energy".into() }]),
        edit(
            SectionId::Response(member()),
            Vec::new(),
            vec![text("note", "seen"), set("acknowledged", Value::Bool(true))],
        ),
        edit(SectionId::Core, vec![ChangeId([1; 16]), ChangeId([2; 16])], vec![Op::Unknown { code: 99 }]),
        Change::Open(LogOpen {
            certificate: certificate().encode(),
            incarnation: LIFE,
            audience: AudienceId::FEDERATION,
            previous: None,
        }),
    ]
}

/// An entry of these changes, at a place of the log.
pub(super) fn entry(seq: u64, changes: Vec<Vec<u8>>) -> Option<CheckedEntry> {
    let draft = EntryDraft {
        realm: Realm::OPS,
        log: log(),
        seq: Seq(seq),
        prev: if seq == 0 { EntryHash::ZERO } else { EntryHash([1; 32]) },
        hlc: Hlc(1_800_000_000_000 << 16),
        class: Class::Routine,
        expires_hours: 24,
    };
    Entry::sign(&draft, changes, &node()).ok()
}

fn descriptor() -> LogDescriptor {
    LogDescriptor {
        certificate: certificate().encode().into(),
        incarnation: LIFE,
        audience: AudienceId::FEDERATION,
        realm: Realm::OPS,
    }
}

pub(super) fn beacon() -> Beacon {
    Beacon {
        node: node().node_key(),
        incarnation: LIFE,
        opened: WallMs(1),
        boot: 2,
        counter: 3,
        clock: WallMs(4),
        charter_epoch: 1,
        neighbours: vec![Neighbour { node: NodeKey([5; 32]), rtt_ms: 20, cost: 1 }],
        writable: true,
        frontier_hash: [6; 32],
        heights: vec![(log(), 9)],
        complete: true,
        certificate: Some(certificate().encode()),
    }
}

pub(super) fn messages() -> Vec<Message> {
    let hello = Hello {
        version: 2,
        version_min: 1,
        certificate: certificate().encode(),
        incarnation: LIFE,
        founding: charter(1).founding_hash(),
        charter_epoch: 1,
        charter_hash: charter(1).hash(),
        frontier_hash: [0; 32],
        clock: WallMs(9),
        software: "vatra 0.1.0".into(),
    };
    let want = Want { request: 1, log: log(), from: 0, to: 100, classes: WantClasses::Urgent, budget: 1 << 20 };
    let encoded = changes().iter().map(Change::encode).collect();
    let entry = entry(0, encoded).expect("a small entry");
    let run = Run::of(&[entry.entry()]).expect("one entry");
    vec![
        Message::Hello(hello),
        Message::WantCharter { after: 3 },
        Message::Charter { bytes: charter(2).encode() },
        Message::Frontier(FrontierDigest { complete: true, heads: vec![(log(), 4, EntryHash([7; 32]))] }),
        Message::Beacon(SignedBeacon::sign(&beacon(), &node())),
        Message::Have { heights: vec![(log(), 4)] },
        Message::Want(want),
        Message::Entries(EntriesFrame { request: Some(1), logs: vec![descriptor()], runs: vec![run] }),
        Message::Done { request: 1, more: true },
    ]
}

/// A bundle of one entry.
pub(super) fn bundle() -> Vec<u8> {
    let charter = charter(1).encode();
    let manifest = Manifest {
        founding: self::charter(1).founding_hash(),
        certificate: certificate().encode(),
        created: WallMs(9),
        charter_epoch: 1,
        charter_hash: Sha256::digest(&charter).into(),
        software: "vatra 0.1.0".into(),
        receiver: None,
        logs: Vec::new(),
    };
    let secret = node();
    let mut writer = BundleWriter::begin(Vec::new(), &secret, &manifest, &charter).expect("memory has room");
    let entry = entry(0, changes().iter().map(Change::encode).collect()).expect("a small entry");
    writer.add(entry.into_entry(), &descriptor()).expect("memory has room");
    writer.finish().expect("memory has room").0
}

/// What a node says of it that took it in.
pub(super) fn receipt() -> Vec<u8> {
    let receipt = Receipt {
        founding: charter(1).founding_hash(),
        certificate: certificate().encode(),
        given: WallMs(9),
        frontier: Frontier([(log(), Head { height: 1, head: EntryHash([7; 32]) })].into()),
        intake: Some(Intake { bundle: BundleId([1; 32]), new: 1, held: 0, refused: 0 }),
    };
    receipt.sign(&node())
}

/// The bytes of good beacons' bodies.
pub(super) fn beacon_bodies() -> Vec<Vec<u8>> {
    vec![codec::encode(&beacon()), codec::encode(&Beacon { certificate: None, complete: false, ..beacon() })]
}
