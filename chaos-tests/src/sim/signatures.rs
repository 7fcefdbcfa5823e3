//! What simulated nodes sign with when Ed25519 would only cost time: a hash keyed with the public key. Anybody
//! could forge it; nobody in a world does, and whatever is damaged on the way does not verify.

use std::sync::Arc;

use vatra_model::keys::SIGNATURE_LEN;
use vatra_model::{Injected, NodeKey, Scheme, SignatureBytes};
use xxhash_rust::xxh3::Xxh3;

/// How close a world is to real nodes where that costs time and decides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fidelity {
    /// Ed25519 signatures, and packed bytes on the lines.
    Real,
    /// Hashes for signatures, and decoded messages of an estimated size on the lines.
    Fast,
}

/// One world in so many is [`Fidelity::Real`].
pub const REAL_ONE_IN: u64 = 50;

impl Fidelity {
    /// What a seed gets when nobody asks for anything else.
    #[must_use]
    pub fn of(seed: u64) -> Fidelity {
        if seed.is_multiple_of(REAL_ONE_IN) { Fidelity::Real } else { Fidelity::Fast }
    }

    /// What the world's nodes sign with.
    #[must_use]
    pub fn scheme(self) -> Injected {
        match self {
            Fidelity::Real => None,
            Fidelity::Fast => Some(Arc::new(KeyedHash)),
        }
    }
}

/// Hashes keyed with the public key.
#[derive(Clone, Copy, Debug)]
pub struct KeyedHash;

impl Scheme for KeyedHash {
    fn sign(&self, key: &NodeKey, label: &str, bytes: &[u8]) -> SignatureBytes {
        signature(&key.0, label, bytes)
    }

    fn verifies(&self, key: &[u8; 32], label: &str, bytes: &[u8], signed: &SignatureBytes) -> bool {
        signature(key, label, bytes) == *signed
    }
}

fn signature(key: &[u8; 32], label: &str, bytes: &[u8]) -> SignatureBytes {
    let mut hash = Xxh3::new();
    hash.update(key);
    hash.update(label.as_bytes());
    hash.update(bytes);
    let mut signature = [0; SIGNATURE_LEN];
    signature[..16].copy_from_slice(&hash.digest128().to_le_bytes());
    signature[16..48].copy_from_slice(key);
    signature
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_and_other_keys_do_not_verify() {
        let key = NodeKey([3; 32]);
        let signature = KeyedHash.sign(&key, "label", b"bytes");
        assert!(KeyedHash.verifies(&key.0, "label", b"bytes", &signature));
        assert!(!KeyedHash.verifies(&key.0, "label", b"bytez", &signature));
        assert!(!KeyedHash.verifies(&key.0, "other", b"bytes", &signature));
        assert!(!KeyedHash.verifies(&[4; 32], "label", b"bytes", &signature));
        let mut damaged = signature;
        damaged[0] ^= 1;
        assert!(!KeyedHash.verifies(&key.0, "label", b"bytes", &damaged));
    }
}
