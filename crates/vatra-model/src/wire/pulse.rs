//! The small, frequent sibling of the beacon.

use bincode::{Decode, Encode};

use crate::codec::{self, DecodeError};
use crate::ids::{Incarnation, LogId, NodeKey};
use crate::keys::{LABEL_PULSE, Public, Secret, SignatureBytes, VerifyError};
use crate::time::WallMs;

/// What changes often of a node's announcements, without its links: newer than its last [`super::Beacon`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Pulse {
    /// The node.
    pub node: NodeKey,
    /// Life of its store.
    pub incarnation: Incarnation,
    /// Starts of the node within this life.
    pub boot: u64,
    /// Beacons and pulses since the start: one count for both.
    pub counter: u64,
    /// Its wall clock.
    pub clock: WallMs,
    /// Its charter epoch.
    pub charter_epoch: u64,
    /// Its store takes writes.
    pub writable: bool,
    /// Hash of its whole frontier.
    pub frontier_hash: [u8; 32],
    /// Heights of its logs that changed lately, at most [`super::PULSE_HEIGHTS_MAX`], the newest.
    pub heights: Vec<(LogId, u64)>,
}

/// A pulse with the bytes that were signed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SignedPulse {
    /// Encoded [`Pulse`].
    pub body: Vec<u8>,
    /// The node's signature over [`LABEL_PULSE`] and the body.
    pub signature: SignatureBytes,
}

impl SignedPulse {
    /// Signs a pulse.
    #[must_use]
    pub fn sign(pulse: &Pulse, secret: &Secret) -> SignedPulse {
        let body = codec::encode(pulse);
        let signature = secret.sign(LABEL_PULSE, &body);
        SignedPulse { body, signature }
    }

    /// What it says; believed only after [`SignedPulse::verify`].
    ///
    /// # Errors
    /// [`DecodeError`] if it is malformed.
    pub fn pulse(&self) -> Result<Pulse, DecodeError> {
        codec::decode(&self.body, "a pulse")
    }

    /// The node whose it claims to be, which it begins with; nothing else is read.
    ///
    /// # Errors
    /// [`DecodeError`] if it is too short.
    pub fn node(&self) -> Result<NodeKey, DecodeError> {
        let key = self.body.first_chunk().copied().map(NodeKey);
        key.ok_or_else(|| DecodeError { what: "a pulse", reason: "it ends within its node's key".into() })
    }

    /// Checks the node's signature.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn verify(&self, key: &Public) -> Result<(), VerifyError> {
        key.verify(LABEL_PULSE, &self.body, &self.signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::SignedBeacon;

    #[test]
    fn a_pulse_is_its_nodes() {
        let secret = Secret::from_seed(&[1; 32]);
        let pulse = Pulse {
            node: secret.node_key(),
            incarnation: Incarnation(1),
            boot: 2,
            counter: 3,
            clock: WallMs(4),
            charter_epoch: 5,
            writable: true,
            frontier_hash: [6; 32],
            heights: vec![(LogId([7; 16]), 8)],
        };
        let signed = SignedPulse::sign(&pulse, &secret);
        let key = Public::new(&secret.node_key().0).expect("a real key");
        assert_eq!(signed.node(), Ok(pulse.node));
        assert_eq!((signed.pulse(), signed.verify(&key)), (Ok(pulse), Ok(())));
        let beacon = SignedBeacon { body: signed.body.clone(), signature: signed.signature };
        assert!(beacon.verify(&key).is_err(), "a pulse is not taken for a beacon");
        let mut other = signed;
        other.body[0] ^= 1;
        assert!(other.verify(&key).is_err());
    }
}
