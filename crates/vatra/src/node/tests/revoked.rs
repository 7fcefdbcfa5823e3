//! What a revoked key had written before the revocation came is told.

use vatra_model::charter::{Charter, CharterEpoch, CharterMember, MemberRole, Revocation, SignedEpoch};
use vatra_model::{EntryHash, LogId, NodeKey, Secret, Seq};

use super::*;
use crate::node::{boot, revoked};

/// A charter of one member that revokes a key from the entry after the third of a log on, or all of it.
fn revoking(key: NodeKey, last_valid: Vec<(LogId, Seq, EntryHash)>) -> Charter {
    let root = Secret::from_seed(&[1; 32]);
    let member = CharterMember {
        code: "UA".parse().expect("a code"),
        name: "Centre".into(),
        role: MemberRole::Member,
        root: root.root_key(),
        sealing: [1; 32],
        addresses: vec![],
    };
    let revocations = vec![Revocation { key, last_valid }];
    let epoch =
        CharterEpoch { epoch: 1, previous: [0; 32], federation: "test".into(), members: vec![member], revocations };
    let mut signed = SignedEpoch::draft(epoch).expect("a good epoch");
    signed.sign(&root);
    Charter::found(signed).expect("more than half have signed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_past_a_revocation_are_found_with_their_records() {
    let dir = lab_directory();
    let ua = dir.path().join("lab/ua-1");
    let node = start(&ua).await;
    let mut made = Vec::new();
    for number in 0..5 {
        made.push(call(&node, vec![draft(&format!("alert {number}"))]).await.remove(0).expect("taken"));
    }
    node.stop().await;
    let config = NodeConfig::load(&ua).expect("a lab node's configuration");
    let key = config.certificate.certificate().key;
    let reader = boot::open(&config).expect("closed by now").reader();
    let log = made[0].log;
    let logs = || {
        let logs = boot::restore_logs(&reader).expect("readable").logs.into_iter();
        logs.map(|stored| (log, stored.row.descriptor))
    };
    // Entry 0 opens the log, so that the third alert is in entry 3.
    let third = reader.entry(log, Seq(3)).expect("readable").expect("held");
    let (_, third) = crate::node::packing::unpack_header(&third).expect("whole");
    let past = revoked::stored(&reader, &revoking(key, vec![(log, Seq(3), third)]), logs()).expect("read");
    let mut records = vec![made[3].record, made[4].record];
    records.sort_unstable();
    assert_eq!((past.len(), past[0].entries, past[0].records.clone()), (1, 2, records));
    let all = revoked::stored(&reader, &revoking(key, Vec::new()), logs()).expect("read");
    assert_eq!((all[0].entries, all[0].records.len(), &*all[0].name), (6, 5, "ua-1"), "no log of the key is valid");
    let other = revoked::stored(&reader, &revoking(NodeKey([9; 32]), Vec::new()), logs()).expect("read");
    assert_eq!(other, Vec::new());
    assert_eq!(revoked::stored(&reader, &config.charter, logs()).expect("read"), Vec::new());
}
