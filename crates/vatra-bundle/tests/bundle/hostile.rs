//! Bundles that were made to harm: lengths, bombs, repeated and missing sections.

use proptest::prelude::*;
use sha2::{Digest, Sha256};
use vatra_bundle::{BUNDLE_MAGIC, CHUNK_BYTES_MAX, ReadError, ReadLimits};
use vatra_model::keys::LABEL_BUNDLE;
use vatra_model::pack::Packer;

use crate::support::*;

/// Frames of a bundle as anybody can write them, with hashes that hold.
struct Forger {
    bytes: Vec<u8>,
    chain: [u8; 32],
}

impl Forger {
    fn new() -> Forger {
        let mut bytes = BUNDLE_MAGIC.to_vec();
        bytes.push(1);
        let mut hash = Sha256::new();
        hash.update(LABEL_BUNDLE.as_bytes());
        hash.update(&bytes);
        Forger { chain: hash.finalize().into(), bytes }
    }

    /// The first two sections of an honest bundle.
    fn with_honest_head() -> Forger {
        let (honest, _) = bundle(&charter(), &[]);
        let mut forger = Forger::new();
        let mut rest = &honest[forger.bytes.len()..];
        for _ in 0..2 {
            let len = u32::from_le_bytes(rest[1..5].try_into().unwrap()) as usize;
            forger.section(rest[0], &rest[5..5 + len]);
            rest = &rest[5 + len + 32..];
        }
        assert!(honest.starts_with(&forger.bytes), "the forger knows the format");
        forger
    }

    fn section(&mut self, kind: u8, payload: &[u8]) {
        let mut head = vec![kind];
        head.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
        let mut hash = Sha256::new();
        for part in [&self.chain[..], &head, payload] {
            hash.update(part);
        }
        self.chain = hash.finalize().into();
        for part in [&head, payload, &self.chain] {
            self.bytes.extend_from_slice(part);
        }
    }

    fn read(&self) -> ReadError {
        read(&self.bytes, Some(&charter())).expect_err("it must be refused")
    }
}

#[test]
fn a_length_is_checked_before_anything_is_reserved() {
    for (kind, limit) in [(1, 512 * 1024), (2, 1 << 20), (3, CHUNK_BYTES_MAX), (4, 512), (0x81, 1 << 20)] {
        let mut forger = Forger::new();
        forger.bytes.push(kind);
        forger.bytes.extend(u32::MAX.to_le_bytes());
        let expected = (u32::MAX, limit);
        match forger.read() {
            ReadError::TooLong { found, limit, .. } => assert_eq!((found, limit), expected),
            other => panic!("section {kind}: {other:?}"),
        }
    }
}

#[test]
fn a_chunk_that_inflates_is_refused() {
    let mut packer = Packer::new();
    let mut forger = Forger::with_honest_head();
    forger.section(3, &packer.pack(&vec![0; 64 << 20]));
    assert!(forger.bytes.len() < 20_000, "a bomb of {} bytes", forger.bytes.len());
    match forger.read() {
        ReadError::Malformed { what, .. } => assert!(what.contains("4194304"), "{what}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn many_chunks_together_are_bounded() {
    let long: Vec<Vec<u8>> = (0..60).map(|number| vec![number; 60_000]).collect();
    let (bytes, _) = bundle(&charter(), &log(0, &long));
    assert!(bytes.len() < 50_000, "{} bytes", bytes.len());
    let limits = ReadLimits { inflated_bytes_max: 1_000_000 };
    let refused = read_within(&bytes, None, limits).unwrap_err();
    assert!(matches!(refused, ReadError::Inflates { limit: 1_000_000 }), "{refused:?}");
}

#[test]
fn entries_that_are_asked_for_by_count_are_refused() {
    let mut packer = Packer::new();
    // No request, no descriptors, 2^40 runs; and one run of 2^40 entries.
    let mut one_run = vec![0, 0, 1];
    one_run.extend([3; 16]);
    one_run.push(0);
    one_run.extend([0; 32]);
    one_run.extend([253, 0, 0, 0, 0, 0, 1, 0, 0]);
    for plain in [vec![0, 0, 253, 0, 0, 0, 0, 0, 1, 0, 0], one_run, vec![0, 0, 0]] {
        let mut forger = Forger::with_honest_head();
        forger.section(3, &packer.pack(&plain));
        assert!(matches!(forger.read(), ReadError::Malformed { .. }));
    }
}

#[test]
fn sections_stand_in_their_places() {
    let (honest, _) = bundle(&charter(), &log(0, &texts(1)));
    let manifest_len = u32::from_le_bytes(honest[10..14].try_into().unwrap()) as usize;
    let manifest = &honest[14..14 + manifest_len];
    let mut twice = Forger::with_honest_head();
    twice.section(1, manifest);
    assert!(matches!(twice.read(), ReadError::Misplaced { kind: 1, .. }));
    let mut no_manifest = Forger::new();
    no_manifest.section(2, &charter().encode());
    assert!(matches!(no_manifest.read(), ReadError::Misplaced { kind: 2, .. }));
    let mut no_charter = Forger::new();
    no_charter.section(1, manifest);
    no_charter.section(3, b"");
    assert!(matches!(no_charter.read(), ReadError::Misplaced { kind: 3, .. }));
    let mut newer = Forger::with_honest_head();
    newer.section(9, b"");
    assert!(matches!(newer.read(), ReadError::UnknownSection { kind: 9, .. }));
}

#[test]
fn an_end_speaks_of_its_own_bundle_only() {
    let entries = log(0, &texts(3));
    let (whole, _) = bundle(&charter(), &entries);
    let end_len = 5 + 32 + {
        let mut at = 9;
        loop {
            let len = u32::from_le_bytes(whole[at + 1..at + 5].try_into().unwrap()) as usize;
            if whole[at] == 4 {
                break len;
            }
            at += 5 + len + 32;
        }
    };
    // The entries are dropped and the honest end is kept: its signature holds, what it names does not.
    let end = &whole[whole.len() - end_len + 5..whole.len() - 32];
    let manifest_len = u32::from_le_bytes(whole[10..14].try_into().unwrap()) as usize;
    let mut forger = Forger::new();
    forger.section(1, &whole[14..14 + manifest_len]);
    forger.section(2, &charter().encode());
    forger.section(4, end);
    assert!(matches!(forger.read(), ReadError::OtherContent { what: "sections" }));
    // A manifest's signature is no end's.
    let mut forger = Forger::with_honest_head();
    forger.section(4, &whole[14..14 + 400.min(manifest_len)]);
    assert!(matches!(forger.read(), ReadError::Malformed { .. }));
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), kind in 0..6_u8) {
        let mut framed = BUNDLE_MAGIC.to_vec();
        framed.push(1);
        framed.extend(&bytes);
        prop_assert!(read(&framed, None).is_err());
        let mut forger = Forger::new();
        forger.section(kind.clamp(1, 4), &bytes);
        prop_assert!(read(&forger.bytes, None).is_err());
        let mut forger = Forger::with_honest_head();
        forger.section(3 + kind % 2, &bytes);
        prop_assert!(read(&forger.bytes, None).is_err());
    }
}
