//! Our own checksum on every stored value, because no engine checks its pages on read.

use std::fmt;

use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::space::Space;

/// Bytes that a checksum adds to each value.
pub(crate) const CHECKSUM_BYTES: usize = 8;

/// A stored row is not what was written. It is never served; it can be written anew or fetched from a peer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct Damage {
    /// The space of the row.
    pub space: Space,
    /// The key as found on disk.
    pub key: Vec<u8>,
    /// What is wrong.
    pub why: DamageKind,
}

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// Key and value do not have the checksum stored with them.
    Checksum,
    /// The key has not the length that keys of its space have.
    Key,
    /// The value has not the shape that values of its space have.
    Value,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row ")?;
        for byte in &self.key {
            write!(f, "{byte:02x}")?;
        }
        write!(f, " of {} {}", self.space, self.why)
    }
}

impl fmt::Display for DamageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DamageKind::Checksum => "does not have its checksum",
            DamageKind::Key => "has a malformed key",
            DamageKind::Value => "has a malformed value",
        })
    }
}

/// The checksum over space, key and value, so that a row found under another key is found out too.
pub(crate) fn checksum(space: Space, key: &[u8], value: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let seed = xxh3_64_with_seed(key, space as u64);
    xxh3_64_with_seed(value, seed).to_le_bytes()
}

/// The value without its checksum, if it has the right one.
pub(crate) fn unseal<'a>(space: Space, key: &[u8], stored: &'a [u8]) -> Result<&'a [u8], Damage> {
    match stored.split_last_chunk::<CHECKSUM_BYTES>() {
        Some((value, sum)) if checksum(space, key, value) == *sum => Ok(value),
        _ => Err(Damage { space, key: key.to_vec(), why: DamageKind::Checksum }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_key_or_value_is_found() {
        let key = *b"key";
        let mut stored = b"some value".to_vec();
        stored.extend(checksum(Space::Ids, &key, &stored));
        assert_eq!(unseal(Space::Ids, &key, &stored), Ok(&b"some value"[..]));
        assert!(unseal(Space::Documents, &key, &stored).is_err());
        for bit in 0..stored.len() * 8 {
            let mut flipped = stored.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(Space::Ids, &key, &flipped).is_err(), "bit {bit} of the value");
        }
        for bit in 0..key.len() * 8 {
            let mut flipped = key;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(Space::Ids, &flipped, &stored).is_err(), "bit {bit} of the key");
        }
        assert!(unseal(Space::Ids, &key, b"short").is_err());
    }

    #[test]
    fn the_checksum_is_part_of_the_disk_format() {
        assert_eq!(u64::from_le_bytes(checksum(Space::Stream, b"key", b"value")), 11_813_501_541_731_139_798);
    }
}
