//! Receipts and frontier files.

use proptest::prelude::*;
use vatra_bundle::{BundleId, Intake, Receipt, ReceiptError, SignedReceipt};
use vatra_model::{EntryHash, Frontier, Head, LogId, WallMs};

use crate::support::*;

pub(crate) fn receipt(logs: u8, intake: Option<Intake>) -> Receipt {
    let head = |log: u8| (LogId([log; 16]), Head { height: u64::from(log) + 1, head: EntryHash([log; 32]) });
    Receipt {
        founding: charter().founding_hash(),
        certificate: certificate(1).encode(),
        given: WallMs(1_764_000_000_000),
        frontier: Frontier((0..logs).map(head).collect()),
        intake,
    }
}

#[test]
fn a_receipt_is_read_back_with_its_giver() {
    let intake = Intake { bundle: BundleId([9; 32]), new: 5, held: 6, refused: 7 };
    for receipt in [receipt(3, Some(intake)), receipt(0, None)] {
        let read = SignedReceipt::open(&receipt.sign(&node(1))).unwrap();
        assert_eq!(read.receipt(), &receipt);
        assert_eq!(read.certificate().certificate().member.as_str(), "LT");
    }
}

#[test]
fn only_the_node_that_it_names_can_sign_it() {
    let refused = SignedReceipt::open(&receipt(3, None).sign(&node(0))).unwrap_err();
    assert!(matches!(refused, ReceiptError::Signature(_)), "{refused:?}");
}

#[test]
fn other_files_and_versions_are_told_apart() {
    let mut bytes = receipt(1, None).sign(&node(1));
    assert!(matches!(SignedReceipt::open(b""), Err(ReceiptError::NotAReceipt)));
    assert!(matches!(SignedReceipt::open(&bundle(&charter(), &[]).0), Err(ReceiptError::NotAReceipt)));
    bytes[8] = 9;
    assert!(matches!(SignedReceipt::open(&bytes), Err(ReceiptError::Version { found: 9 })));
}

proptest! {
    #[test]
    fn damaged_receipts_are_refused(place in any::<prop::sample::Index>(), bit in 0..8_u32, cut in any::<bool>()) {
        let mut bytes = receipt(4, None).sign(&node(1));
        let place = place.index(bytes.len());
        if cut {
            bytes.truncate(place);
        } else {
            bytes[place] ^= 1 << bit;
        }
        prop_assert!(SignedReceipt::open(&bytes).is_err());
    }
}
