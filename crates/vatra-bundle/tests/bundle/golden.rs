//! The formats as they are: what was once written stays readable, byte by byte.

use vatra_bundle::{BundleId, Intake, SignedReceipt};

use crate::receipts::receipt;
use crate::support::*;

#[test]
fn a_bundle_is_golden() {
    let mut entries = log(0, &[b"first".to_vec(), b"second".to_vec()]);
    entries.extend(log(1, &[b"third".to_vec()]));
    let golden = include_str!("../golden/bundle-v1.hex").trim();
    let (bytes, _) = bundle(&charter(), &entries);
    // The chunks after manifest and charter are packed: what zstd makes of them may change, what it reads may not.
    let head = head_len(&bytes);
    assert_eq!(hex::encode(&bytes[..head]), golden.get(..2 * head).unwrap_or_default(), "now: {}", hex::encode(&bytes));
    let read: Vec<_> = read(&hex::decode(golden).unwrap(), Some(&charter())).unwrap();
    assert_eq!(read.into_iter().map(|entry| entry.entry().clone()).collect::<Vec<_>>(), entries);
}

/// Bytes up to the end of the second section.
fn head_len(bytes: &[u8]) -> usize {
    (0..2).fold(9, |at, _| {
        let len = u32::from_le_bytes(bytes[at + 1..at + 5].try_into().unwrap());
        at + 5 + len as usize + 32
    })
}

#[test]
fn a_receipt_is_golden() {
    let intake = Intake { bundle: BundleId([9; 32]), new: 5, held: 6, refused: 7 };
    let receipt = receipt(2, Some(intake));
    let golden = include_str!("../golden/receipt-v1.hex").trim();
    assert_eq!(hex::encode(receipt.sign(&node(1))), golden);
    assert_eq!(SignedReceipt::open(&hex::decode(golden).unwrap()).unwrap().receipt(), &receipt);
}
