use super::*;
use crate::certificate::NodeCertificate;
use crate::ids::{EntryHash, LogId, Seq};
use crate::keys::Secret;
use crate::time::WallMs;

fn root(seed: u8) -> Secret {
    Secret::from_seed(&[seed; 32])
}

fn member(code: &str, seed: u8, role: MemberRole) -> CharterMember {
    CharterMember {
        code: code.parse().expect("a code"),
        name: format!("Centre of {code}"),
        role,
        root: root(seed).root_key(),
        sealing: [seed; 32],
        addresses: vec![],
    }
}

fn founding() -> CharterEpoch {
    CharterEpoch {
        epoch: 1,
        previous: [0; 32],
        federation: "test".into(),
        members: vec![
            member("LT", 2, MemberRole::Member),
            member("NATO", 4, MemberRole::Observer),
            member("PL", 3, MemberRole::Member),
            member("UA", 1, MemberRole::Member),
        ],
        revocations: vec![],
    }
}

fn signed(epoch: CharterEpoch, seeds: &[u8]) -> SignedEpoch {
    let mut epoch = SignedEpoch::draft(epoch).expect("a good epoch");
    for &seed in seeds {
        epoch.sign(&root(seed));
    }
    epoch
}

#[test]
fn more_than_half_of_the_full_members_must_sign() {
    let threshold = |have| Err(CharterError::Threshold { epoch: 1, have, need: 2 });
    assert_eq!(Charter::found(signed(founding(), &[])).map(|_| ()), threshold(0));
    assert_eq!(Charter::found(signed(founding(), &[1])).map(|_| ()), threshold(1));
    assert_eq!(Charter::found(signed(founding(), &[1, 4, 9])).map(|_| ()), threshold(1), "observers have no vote");
    assert!(Charter::found(signed(founding(), &[1, 3])).is_ok());
}

#[test]
fn the_current_members_decide_the_next_epoch() {
    let mut charter = Charter::found(signed(founding(), &[1, 2])).expect("enough votes");
    let next = CharterEpoch {
        epoch: 2,
        previous: charter.hash(),
        members: vec![member("EE", 7, MemberRole::Member), member("UA", 1, MemberRole::Member)],
        ..founding()
    };
    assert!(charter.extend(signed(next.clone(), &[7, 1])).is_err(), "newcomers have no vote yet");
    let skipping = CharterEpoch { epoch: 3, ..next.clone() };
    assert!(charter.extend(signed(skipping, &[1, 2])).is_err());
    let unchained = CharterEpoch { previous: [1; 32], ..next.clone() };
    assert!(charter.extend(signed(unchained, &[1, 2])).is_err());
    charter.extend(signed(next, &[1, 2])).expect("two of three signed");
    assert_eq!(charter.current().epoch, 2);
    assert_eq!(Charter::decode(&charter.encode()), Ok(charter));
}

#[test]
fn signatures_are_collected_in_copies() {
    let mut one = signed(founding(), &[1]);
    let two = signed(founding(), &[3]);
    one.merge(&two).expect("the same epoch");
    assert_eq!(one.votes(&founding()), Ok((2, 3 / 2 + 1)));
    let other = signed(CharterEpoch { federation: "other".into(), ..founding() }, &[2]);
    assert!(one.merge(&other).is_err());
}

#[test]
fn every_flipped_byte_is_refused() {
    let charter = Charter::found(signed(founding(), &[1, 2])).expect("enough votes");
    let bytes = charter.encode();
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1;
        assert!(Charter::decode(&damaged).is_err(), "byte {place}");
    }
}

#[test]
fn rules_are_checked() {
    let twice = CharterEpoch {
        members: vec![member("LT", 2, MemberRole::Member), member("LT", 3, MemberRole::Member)],
        ..founding()
    };
    assert!(SignedEpoch::draft(twice).is_err());
    let shared_root = CharterEpoch {
        members: vec![member("LT", 2, MemberRole::Member), member("UA", 2, MemberRole::Member)],
        ..founding()
    };
    assert!(SignedEpoch::draft(shared_root).is_err());
    let observers = CharterEpoch { members: vec![member("NATO", 2, MemberRole::Observer)], ..founding() };
    assert!(SignedEpoch::draft(observers).is_err());
}

#[test]
fn only_unrevoked_nodes_of_members_are_admitted() {
    let node = |code: &str, signer: u8| {
        let certificate = NodeCertificate {
            member: code.parse().expect("a code"),
            site: "main".into(),
            node: "main-1".into(),
            key: root(99).node_key(),
            not_before: WallMs(0),
            serial: 1,
        };
        certificate.sign(&root(signer)).expect("good names")
    };
    let mut charter = Charter::found(signed(founding(), &[1, 2])).expect("enough votes");
    assert_eq!(charter.admit(&node("UA", 1)), Ok(MemberRole::Member));
    assert_eq!(charter.admit(&node("NATO", 4)), Ok(MemberRole::Observer));
    assert!(matches!(charter.admit(&node("UA", 2)), Err(AdmitError::Certificate(_))));
    assert!(matches!(charter.admit(&node("DE", 1)), Err(AdmitError::UnknownMember(_))));
    let revoked = CharterEpoch {
        epoch: 2,
        previous: charter.hash(),
        revocations: vec![Revocation {
            key: root(99).node_key(),
            last_valid: vec![(LogId([1; 16]), Seq(4), EntryHash([2; 32]))],
        }],
        ..founding()
    };
    charter.extend(signed(revoked, &[1, 2])).expect("enough votes");
    assert_eq!(charter.admit(&node("UA", 1)), Err(AdmitError::Revoked(root(99).node_key())));
    assert_eq!(charter.admit_log(&node("UA", 1)), Ok(MemberRole::Member), "its log stays readable");
    let without_pl = CharterEpoch {
        epoch: 3,
        previous: charter.hash(),
        members: founding().members.into_iter().filter(|member| member.code.as_str() != "PL").collect(),
        revocations: charter.current().revocations.clone(),
        ..founding()
    };
    charter.extend(signed(without_pl, &[1, 2])).expect("enough votes");
    assert!(matches!(charter.admit(&node("PL", 3)), Err(AdmitError::UnknownMember(_))));
    assert_eq!(charter.admit_log(&node("PL", 3)), Ok(MemberRole::Member), "what it wrote stays readable");
    assert!(charter.admit_log(&node("PL", 2)).is_err());
    assert_eq!(Charter::decode(&charter.encode()), Ok(charter));
}
