use prometheus_client::registry::Registry;
use vatra_model::charter::{Charter, CharterEpoch, CharterMember, MemberRole, SignedEpoch};
use vatra_model::wire::EntriesFrame;
use vatra_model::{MemberCode, Secret};

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
