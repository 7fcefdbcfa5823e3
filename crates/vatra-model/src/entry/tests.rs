use proptest::prelude::*;

use super::*;

fn draft(seq: u64) -> EntryDraft {
    EntryDraft {
        realm: Realm::OPS,
        log: LogId([7; 16]),
        seq: Seq(seq),
        prev: if seq == 0 { EntryHash::ZERO } else { EntryHash([9; 32]) },
        hlc: Hlc(0x0102_0304_0506_0708),
        class: Class::Priority,
        expires_hours: 72,
    }
}

fn secret() -> Secret {
    Secret::from_seed(&[5; 32])
}

fn public() -> Public {
    Public::new(&secret().node_key().0).expect("a real key")
}

#[test]
fn the_header_layout_is_golden() {
    let entry = Entry::sign(&draft(3), vec![b"one".to_vec(), b"two".to_vec()], &secret()).expect("small");
    let golden = include_str!("../../tests/golden/entry-header-v1.hex").trim();
    assert_eq!(hex::encode(entry.header().encode()), golden);
    let signature = include_str!("../../tests/golden/entry-signature-v1.hex").trim();
    assert_eq!(hex::encode(entry.entry().signature), signature);
}

#[test]
fn a_changed_byte_anywhere_is_noticed() {
    let good = Entry::sign(&draft(3), vec![b"one".to_vec(), b"two".to_vec()], &secret()).expect("small").into_entry();
    assert!(good.clone().check(&public()).is_ok());
    for place in 0..HEADER_LEN {
        let mut bytes = good.header.encode();
        bytes[place] ^= 1;
        let Ok(header) = EntryHeader::decode(&bytes) else { continue };
        let forged = Entry { header, ..good.clone() };
        assert!(forged.check(&public()).is_err(), "header byte {place}");
    }
    let mut forged = good.clone();
    forged.changes[1] = Slot::Present(b"twO".as_slice().into());
    assert_eq!(forged.check(&public()), Err(EntryError::Root));
    let other = Public::new(&Secret::from_seed(&[6; 32]).node_key().0).expect("a real key");
    assert_eq!(good.check(&other), Err(EntryError::Verify(VerifyError::BadSignature)));
}

#[test]
fn nobody_can_leave_out_what_an_entry_says() {
    let mut entry =
        Entry::sign(&draft(0), vec![b"one".to_vec(), b"two".to_vec()], &secret()).expect("small").into_entry();
    entry.changes[0] = Slot::Erased(Sha256::digest(b"one").into());
    assert_eq!(changes_root(&entry.changes), entry.header.changes_root, "hash and signature hold without it");
    assert_eq!(entry.clone().check(&public()), Err(EntryError::Erased));
    let again = Entry::decode_changes(&entry.encode_changes(), 2).expect("what was encoded");
    assert_eq!(again, entry.changes);
}

#[test]
fn limits_hold() {
    assert!(Entry::sign(&draft(0), vec![], &secret()).is_err());
    assert!(Entry::sign(&draft(0), vec![vec![0]; ENTRY_CHANGES_MAX], &secret()).is_ok());
    assert!(Entry::sign(&draft(0), vec![vec![0]; ENTRY_CHANGES_MAX + 1], &secret()).is_err());
    assert!(Entry::sign(&draft(0), vec![vec![0; CHANGE_BYTES_MAX + 1]], &secret()).is_err());
    assert!(Entry::sign(&draft(0), vec![vec![0; CHANGE_BYTES_MAX]; 3], &secret()).is_err());
}

proptest! {
    #[test]
    fn headers_and_changes_survive(changes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20),
                                   seq in any::<u64>(), hlc in any::<u64>(), class in 0..4_u8, hours in any::<u32>()) {
        let draft = EntryDraft {
            hlc: Hlc(hlc), class: Class::from_u8(class).expect("below 4"), expires_hours: hours, ..draft(seq)
        };
        let entry = Entry::sign(&draft, changes, &secret()).expect("small").into_entry();
        let header = EntryHeader::decode(&entry.header.encode()).expect("what was encoded");
        prop_assert_eq!(header, entry.header);
        let slots = Entry::decode_changes(&entry.encode_changes(), header.change_count).expect("what was encoded");
        prop_assert_eq!(&slots, &entry.changes);
        let rebuilt = Entry { header, signature: entry.signature, changes: slots };
        prop_assert!(rebuilt.check(&public()).is_ok());
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), count in any::<u16>()) {
        let _ = Entry::decode_changes(&bytes, count);
        if let Some(head) = bytes.first_chunk::<HEADER_LEN>() {
            let _ = EntryHeader::decode(head);
        }
    }
}
