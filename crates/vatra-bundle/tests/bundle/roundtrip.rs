//! What goes in comes out, in order and believed.

use proptest::prelude::*;
use vatra_bundle::{BundleReader, BundleWriter, Part, ReadError};
use vatra_model::charter::Revocation;
use vatra_model::{Entry, ForkProof, SignedHeader};

use crate::support::*;

#[test]
fn a_bundle_of_nothing_still_brings_the_charter() {
    let newer = next_charter(|_| {});
    let (bytes, written) = bundle(&newer, &[]);
    assert_eq!((written.entries, written.sections), (0, 2));
    assert_eq!(written.bytes, bytes.len() as u64);
    let reader = BundleReader::open(bytes.as_slice(), Some(&charter()), ROOMY).unwrap();
    assert_eq!(reader.newer_charter(), Some(newer.encode().as_slice()));
    assert_eq!(reader.charter(), &newer);
    assert_eq!(reader.id(), written.id);
    assert_eq!(reader.maker().member.as_str(), "UA");
    assert!(read(&bytes, Some(&charter())).unwrap().is_empty());
}

#[test]
fn an_older_charter_is_no_news() {
    let (bytes, _) = bundle(&charter(), &log(0, &texts(2)));
    let newer = next_charter(|_| {});
    let reader = BundleReader::open(bytes.as_slice(), Some(&newer), ROOMY).unwrap();
    assert_eq!(reader.newer_charter(), None);
    assert_eq!(reader.charter(), &newer, "what is in force here decides");
    assert_eq!(read(&bytes, Some(&newer)).unwrap().len(), 2);
}

#[test]
fn many_chunks_keep_the_order_and_hold_both_branches_of_a_fork() {
    let long = |byte: u8| (0..40).map(|number| vec![byte ^ number; 30_000]).collect::<Vec<_>>();
    let mut entries = log(0, &long(1));
    entries.extend(log(0, &long(200)));
    entries.extend(log(1, &texts(50)));
    let (bytes, written) = bundle(&charter(), &entries);
    assert!(written.sections > 5, "{} sections", written.sections);
    let read: Vec<Entry> = read(&bytes, None).unwrap().into_iter().map(|entry| entry.entry().clone()).collect();
    assert!(read == entries, "the entries differ");
}

#[test]
fn optional_sections_are_skipped_or_read() {
    let secret = node(0);
    let entries = log(0, &texts(3));
    let manifest = manifest(&charter(), &entries);
    let mut writer = BundleWriter::begin(Vec::new(), &secret, &manifest, &charter().encode()).unwrap();
    writer.add(entries[0].clone(), &descriptor(0)).unwrap();
    writer.add_optional(0x90, b"a part of a later version").unwrap();
    writer.add(entries[1].clone(), &descriptor(0)).unwrap();
    writer.add_optional(0xff, b"").unwrap();
    let (bytes, written) = writer.finish().unwrap();
    assert_eq!((written.entries, written.sections), (2, 6));
    assert_eq!(read(&bytes, None).unwrap().len(), 2);
    let mut reader = BundleReader::open(bytes.as_slice(), None, ROOMY).unwrap();
    let mut optional = Vec::new();
    while let Some(part) = reader.next_part().unwrap() {
        if let Part::Optional { kind, payload } = part {
            optional.push((kind, payload));
        }
    }
    assert_eq!(optional, [(0x90, b"a part of a later version".to_vec()), (0xff, vec![])]);
}

#[test]
fn proofs_of_forks_travel_and_are_checked() {
    let (one, other) = (log(1, &texts(3)), log(1, &[b"another first".to_vec()]));
    let proof = |a: &Entry, b: &Entry| ForkProof::new(descriptor(1), SignedHeader::of(a), SignedHeader::of(b));
    let bundle_with = |proofs: &[ForkProof]| {
        let secret = node(0);
        let manifest = manifest(&charter(), &one);
        let mut writer = BundleWriter::begin(Vec::new(), &secret, &manifest, &charter().encode()).unwrap();
        writer.add_fork_proofs(proofs).unwrap();
        writer.add(one[0].clone(), &descriptor(1)).unwrap();
        writer.finish().unwrap().0
    };
    let good = vec![proof(&one[0], &other[0]); 600];
    let bytes = bundle_with(&good);
    let mut reader = BundleReader::open(bytes.as_slice(), None, ROOMY).unwrap();
    let mut found = Vec::new();
    while let Some(part) = reader.next_part().unwrap() {
        match part {
            Part::Forks(proofs) => found.extend(proofs),
            Part::Entries(chunk) => assert_eq!((chunk.entries.len(), chunk.logs.len()), (1, 1)),
            Part::Optional { kind, .. } => panic!("section {kind}"),
        }
    }
    assert_eq!(found, good);
    // Two entries that follow each other prove nothing, and neither does a signature of somebody else.
    let mut forged = good[0].clone();
    forged.second.signature = forged.first.signature;
    for bad in [proof(&one[0], &one[1]), forged] {
        let refused = read(&bundle_with(&[bad]), None).unwrap_err();
        assert!(matches!(refused, ReadError::Fork { .. }), "{refused:?}");
    }
}

#[test]
fn a_revoked_maker_is_refused_but_logs_of_revoked_nodes_travel() {
    let entries = log(1, &texts(3));
    let (bytes, _) = bundle(&charter(), &entries);
    let revoke = |member: u8| {
        next_charter(|epoch| {
            epoch.revocations = vec![Revocation { key: node(member).node_key(), last_valid: vec![] }];
        })
    };
    assert_eq!(read(&bytes, Some(&revoke(1))).unwrap().len(), 3, "how far they count, the replica decides");
    let refused = read(&bytes, Some(&revoke(0))).unwrap_err();
    assert!(matches!(refused, ReadError::Maker(_)), "{refused:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_is_written_is_read(
        ours in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 1..12),
        theirs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..12),
        order in any::<u64>(),
    ) {
        let mut entries = log(0, &ours);
        entries.extend(log(1, &theirs));
        // Any order is a good one: an exporter puts urgent entries first.
        entries.sort_by_key(|entry| entry.header.changes_root[0].wrapping_mul(order as u8 | 1));
        let (bytes, written) = bundle(&charter(), &entries);
        prop_assert_eq!(written.entries, entries.len() as u64);
        let read: Vec<Entry> = read(&bytes, Some(&charter())).unwrap().into_iter().map(|e| e.entry().clone()).collect();
        prop_assert_eq!(read, entries);
    }
}
