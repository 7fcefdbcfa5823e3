use prometheus_client::registry::Registry;
use vatra_model::certificate::NodeCertificate;
use vatra_model::charter::{Charter, CharterEpoch, CharterMember, MemberRole, SignedEpoch};
use vatra_model::wire::{EntriesFrame, LogDescriptor};
use vatra_model::{
    AudienceId, Class, Entry, EntryDraft, EntryHash, Hlc, Incarnation, MemberCode, Realm, Secret, Seq, WallMs,
};
use vatra_replica::Told;

use super::*;

const NODE: NodeKey = NodeKey([3; 32]);

fn ingest() -> Ingest {
    let root = Secret::from_seed(&[9; 32]);
    let code: MemberCode = "UA".parse().expect("a code");
    let member = CharterMember {
        code,
        name: "Ukraine".into(),
        role: MemberRole::Member,
        root: root.root_key(),
        sealing: [1; 32],
        addresses: Vec::new(),
    };
    let epoch = CharterEpoch {
        epoch: 1,
        previous: [0; 32],
        federation: "test".into(),
        members: vec![member],
        revocations: Vec::new(),
    };
    let mut signed = SignedEpoch::draft(epoch).expect("a good epoch");
    signed.sign(&root);
    let trust = Trust::new(Charter::found(signed).expect("all have signed"));
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    Ingest::new(Arc::default(), Arc::new(RwLock::new(Arc::new(trust))), Arc::default(), metrics, 200)
}

fn frame(plain: &[u8]) -> Vec<u8> {
    Packer::new().pack(plain)
}

fn entries() -> Vec<u8> {
    frame(&codec::encode(&Message::Entries(EntriesFrame { request: None, logs: Vec::new(), runs: Vec::new() })))
}

#[test]
fn entries_do_not_travel_on_the_control_lane() {
    let mut ingest = ingest();
    let opened = ingest.open_guarded(LinkId(1), Lane::Bulk, NODE, &entries());
    assert!(matches!(opened.as_deref(), Ok([(_, Input::Entries { .. })])));
    let refused = ingest.open_guarded(LinkId(1), Lane::Control, NODE, &entries());
    assert!(matches!(refused, Err(Reject::Unexpected(_))), "they would overtake urgent alerts");
}

#[test]
fn a_frame_that_panics_is_refused_and_the_next_is_taken() {
    let mut ingest = ingest();
    let refused = ingest.open_guarded(LinkId(1), Lane::Bulk, NODE, &frame(b"panic, please"));
    assert!(matches!(refused, Err(Reject::Malformed { .. })));
    assert_eq!(ingest.metrics.panics.get(), 1);
    assert!(ingest.open_guarded(LinkId(1), Lane::Bulk, NODE, &entries()).is_ok());
}

#[test]
fn foreign_bytes_are_refused() {
    let mut ingest = ingest();
    let whole = entries();
    for bytes in [&b""[..], b"no frame", &whole[..whole.len() - 1], &frame(&[0xff; 100])] {
        let refused = ingest.open_guarded(LinkId(1), Lane::Bulk, NODE, bytes);
        assert!(matches!(refused, Err(Reject::Malformed { .. })), "{bytes:?}");
    }
    assert_eq!(ingest.metrics.panics.get(), 0);
}

/// An answer with an entry of a node of UA that is not the peer.
fn answer(request: u32) -> (NodeKey, Vec<u8>) {
    let origin = Secret::from_seed(&[4; 32]);
    let certificate = NodeCertificate {
        member: "UA".parse().expect("a code"),
        site: "kyiv".into(),
        node: "ua-1".into(),
        key: origin.node_key(),
        not_before: WallMs(0),
        serial: 1,
    };
    let (incarnation, audience, realm) = (Incarnation(1), AudienceId::FEDERATION, Realm::OPS);
    let log = certificate.log(incarnation, &audience);
    let signed = certificate.sign(&Secret::from_seed(&[9; 32])).expect("good names");
    let descriptor = LogDescriptor { certificate: signed.encode().into(), incarnation, audience, realm };
    let (prev, class) = (EntryHash::ZERO, Class::Routine);
    let draft = EntryDraft { realm, log, seq: Seq(0), prev, hlc: Hlc(1), class, expires_hours: 0 };
    let entry = Entry::sign(&draft, vec![b"a change".to_vec()], &origin).expect("small");
    let told = Told::default().frame(Some(request), [entry.entry()], |_| Some(descriptor.clone()));
    (origin.node_key(), frame(&codec::encode(&Message::Entries(told))))
}

#[test]
fn the_end_of_an_answer_waits_behind_its_entries() {
    let mut ingest = ingest();
    let done = |request| frame(&codec::encode(&Message::Done { request, more: false }));
    let source = |opened: Result<Vec<(Weight, Input)>, Reject>| {
        let opened = opened.expect("it is good");
        assert_eq!(opened.len(), 1);
        opened[0].0.source
    };
    let (origin, entries) = answer(7);
    assert_eq!(source(ingest.open_guarded(LinkId(1), Lane::Bulk, NODE, &entries)), Source::of(origin));
    // Another answer, which ends without an entry, takes its turn as the peer's.
    assert_eq!(source(ingest.open_guarded(LinkId(1), Lane::Bulk, NODE, &done(8))), Source::of(NODE));
    assert_eq!(source(ingest.open_guarded(LinkId(1), Lane::Bulk, NODE, &done(7))), Source::of(origin));
    assert!(ingest.answers.is_empty());
}

#[test]
fn a_link_with_answers_without_end_makes_only_its_own_be_forgotten() {
    let mut ingest = ingest();
    let (_, entries) = answer(7);
    assert!(ingest.open_guarded(LinkId(2), Lane::Bulk, NODE, &entries).is_ok());
    for request in 0..=ANSWERS_MAX as u32 {
        assert!(ingest.open_guarded(LinkId(1), Lane::Bulk, NODE, &answer(request).1).is_ok());
    }
    let kept: Vec<_> = ingest.answers.keys().copied().collect();
    assert_eq!(kept, [(LinkId(1), ANSWERS_MAX as u32), (LinkId(2), 7)]);
}
