//! The digest: one number that two nodes compare to see whether they show the same.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::ids::RecordId;

/// Sum modulo 2^256 of the digest items of views, big-endian. Order does not matter and items can be taken
/// out again, so it is kept up incrementally. It compares honest nodes; it proves nothing against a liar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// A text is not a digest. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a digest is 64 hexadecimal characters")]
pub struct ParseDigestError;

impl Digest {
    /// The digest of no views.
    pub const ZERO: Digest = Digest([0; 32]);

    /// What a view adds: `SHA-256(record id || canonical bytes of the view)`.
    #[must_use]
    pub fn item(record: RecordId, canonical: &[u8]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(record.0);
        hash.update(canonical);
        hash.finalize().into()
    }

    /// Counts an item in.
    pub fn add(&mut self, item: &[u8; 32]) {
        let mut carry = 0_u16;
        for (byte, other) in self.0.iter_mut().zip(item).rev() {
            let [high, low] = (u16::from(*byte) + u16::from(*other) + carry).to_be_bytes();
            *byte = low;
            carry = u16::from(high);
        }
    }

    /// Takes an item out.
    pub fn remove(&mut self, item: &[u8; 32]) {
        let mut borrow = false;
        for (byte, other) in self.0.iter_mut().zip(item).rev() {
            let (difference, under) = byte.overflowing_sub(*other);
            let (difference, under_again) = difference.overflowing_sub(u8::from(borrow));
            *byte = difference;
            borrow = under || under_again;
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseDigestError)?;
        Ok(Digest(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(items: &[[u8; 32]]) -> Digest {
        let mut digest = Digest::ZERO;
        for item in items {
            digest.add(item);
        }
        digest
    }

    #[test]
    fn carries_run_through_and_wrap() {
        let mut one = [0; 32];
        one[31] = 1;
        let mut digest = Digest([0xff; 32]);
        digest.add(&one);
        assert_eq!(digest, Digest::ZERO);
        digest.remove(&one);
        assert_eq!(digest, Digest([0xff; 32]));
    }

    #[test]
    fn text_round_trip() {
        let digest = Digest([0xab; 32]);
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!("ab".parse::<Digest>(), Err(ParseDigestError));
    }

    proptest! {
        #[test]
        fn order_does_not_matter(mut items in proptest::collection::vec(any::<[u8; 32]>(), 0..8)) {
            let forwards = sum(&items);
            items.reverse();
            prop_assert_eq!(forwards, sum(&items));
        }

        #[test]
        fn taking_out_undoes_counting_in(start in any::<[u8; 32]>(), item in any::<[u8; 32]>()) {
            let mut digest = Digest(start);
            digest.add(&item);
            digest.remove(&item);
            prop_assert_eq!(digest, Digest(start));
        }
    }
}
