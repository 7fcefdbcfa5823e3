//! Whatever happens to a file on its way is noticed, and told for what it is.

use proptest::prelude::*;
use vatra_bundle::ReadError;
use vatra_model::{Secret, VerifyError};

use crate::support::*;

fn sample() -> Vec<u8> {
    let mut entries = log(0, &texts(6));
    entries.extend(log(1, &texts(4)));
    bundle(&charter(), &entries).0
}

fn refusal(bytes: &[u8]) -> ReadError {
    read(bytes, Some(&charter())).expect_err("it must be refused")
}

#[test]
fn a_foreign_bundle_is_refused_by_name() {
    let entries = log(0, &texts(2));
    let (bytes, _) = bundle(&foreign_charter(), &entries);
    assert!(read(&bytes, None).is_ok(), "it agrees with itself");
    assert!(matches!(refusal(&bytes), ReadError::OtherFederation { .. }));
}

#[test]
fn charters_that_grew_apart_are_refused() {
    let (bytes, _) = bundle(&next_charter(|_| {}), &log(0, &texts(2)));
    let other = next_charter(|epoch| epoch.federation = "renamed".into());
    assert!(matches!(read(&bytes, Some(&other)), Err(ReadError::CharterDiverged)));
    assert!(read(&bytes, Some(&charter())).is_ok());
}

#[test]
fn a_charter_that_the_manifest_does_not_name_is_refused() {
    let entries = log(0, &texts(2));
    let manifest = manifest(&charter(), &entries);
    let (bytes, _) = bundle_of(&next_charter(|_| {}), &manifest, &entries);
    assert!(matches!(refusal(&bytes), ReadError::OtherContent { what: "charter" }));
}

#[test]
fn a_maker_of_no_member_and_a_stolen_certificate_are_refused() {
    let entries = log(1, &texts(2));
    let mut manifest = manifest(&charter(), &entries);
    // PL is no member of this charter.
    manifest.certificate = certificate(2).encode();
    let refused = read(&bundle_signed_by(&node(2), &manifest, &entries), Some(&charter())).unwrap_err();
    assert!(matches!(refused, ReadError::Maker(_)), "{refused:?}");
    // LT's certificate, but UA's signature.
    manifest.certificate = certificate(1).encode();
    let refused = read(&bundle_signed_by(&node(0), &manifest, &entries), Some(&charter())).unwrap_err();
    let bad = VerifyError::BadSignature;
    assert!(matches!(refused, ReadError::Signature { what: "manifest", source } if source == bad), "{refused:?}");
}

fn bundle_signed_by(secret: &Secret, manifest: &vatra_bundle::Manifest, entries: &[vatra_model::Entry]) -> Vec<u8> {
    let charter = charter().encode();
    let mut writer = vatra_bundle::BundleWriter::begin(Vec::new(), secret, manifest, &charter).unwrap();
    for entry in entries {
        writer.add(entry.clone(), &descriptor(1)).unwrap();
    }
    writer.finish().unwrap().0
}

#[test]
fn an_entry_that_its_origin_did_not_sign_is_refused() {
    let mut entries = log(1, &texts(3));
    entries[1].signature = entries[2].signature;
    let (bytes, _) = bundle(&charter(), &entries);
    assert!(matches!(refusal(&bytes), ReadError::Entry { seq: 1, .. }));
}

#[test]
fn bytes_after_the_end_are_refused() {
    let mut bytes = sample();
    let len = bytes.len() as u64;
    bytes.push(0);
    assert!(matches!(refusal(&bytes), ReadError::Trailing { offset } if offset == len));
}

#[test]
fn other_files_are_told_apart() {
    for other in [&b""[..], b"PK\x03\x04", b"\x89VTR\r\n\x1a\n\x01", &[0; 300]] {
        assert!(matches!(refusal(other), ReadError::NotABundle));
    }
    // What text mode does to it.
    let text: Vec<u8> = sample().into_iter().filter(|byte| *byte != b'\r').collect();
    assert!(matches!(refusal(&text), ReadError::NotABundle));
    let mut newer = sample();
    newer[8] = 2;
    assert!(matches!(refusal(&newer), ReadError::Version { found: 2 }));
}

#[test]
fn every_flipped_bit_is_refused() {
    let bytes = sample();
    for place in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << (place % 8);
        assert!(read(&flipped, Some(&charter())).is_err(), "byte {place} of {}", bytes.len());
    }
}

#[test]
fn every_cut_is_told_as_one() {
    let bytes = sample();
    for len in 9..bytes.len() {
        match refusal(&bytes[..len]) {
            ReadError::CutOff { offset } => assert_eq!(offset, len as u64),
            other => panic!("cut after {len}: {other:?}"),
        }
    }
}

proptest! {
    #[test]
    fn parts_that_change_places_are_refused(at in 9..2000_usize, len in 1..200_usize, to in 9..2000_usize) {
        let bytes = sample();
        let (at, to) = (at % bytes.len(), to % bytes.len());
        let len = len.min(bytes.len() - at);
        let mut mixed = bytes.clone();
        let part: Vec<u8> = mixed.drain(at..at + len).collect();
        let to = to.min(mixed.len());
        mixed.splice(to..to, part);
        prop_assume!(mixed != bytes);
        prop_assert!(read(&mixed, Some(&charter())).is_err());
    }
}
