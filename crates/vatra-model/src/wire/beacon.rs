//! Beacons: what a node tells of itself and its links.

use bincode::{Decode, Encode};

use crate::codec::{self, DecodeError};
use crate::ids::{Incarnation, LogId, NodeKey};
use crate::keys::{LABEL_BEACON, Public, Secret, SignatureBytes, VerifyError};
use crate::time::WallMs;

/// A node's small announcement: who it hears, what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Beacon {
    /// The node.
    pub node: NodeKey,
    /// Life of its store.
    pub incarnation: Incarnation,
    /// When that life began: orders lives.
    pub opened: WallMs,
    /// Starts of the node within this life: orders beacons together with `counter`.
    pub boot: u64,
    /// Beacons since the start.
    pub counter: u64,
    /// Its wall clock.
    pub clock: WallMs,
    /// Its charter epoch.
    pub charter_epoch: u64,
    /// Its live links.
    pub neighbours: Vec<Neighbour>,
    /// Its store takes writes.
    pub writable: bool,
    /// Hash of its whole frontier.
    pub frontier_hash: [u8; 32],
    /// Heights: of all its logs if `complete`, else of those that changed lately.
    pub heights: Vec<(LogId, u64)>,
    /// `heights` names all of its logs.
    pub complete: bool,
    /// Its signed certificate, in complete beacons.
    pub certificate: Option<Vec<u8>>,
}

/// One live link as its node measures it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Neighbour {
    /// The node at the other end.
    pub node: NodeKey,
    /// Round trip in milliseconds.
    pub rtt_ms: u32,
    /// Cost class: 0 lan, 1 wan, 2 metered.
    pub cost: u8,
}

/// A beacon with the bytes that were signed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SignedBeacon {
    /// Encoded [`Beacon`].
    pub body: Vec<u8>,
    /// The node's signature over [`LABEL_BEACON`] and the body.
    pub signature: SignatureBytes,
}

impl SignedBeacon {
    /// Signs a beacon.
    #[must_use]
    pub fn sign(beacon: &Beacon, secret: &Secret) -> SignedBeacon {
        let body = codec::encode(beacon);
        let signature = secret.sign(LABEL_BEACON, &body);
        SignedBeacon { body, signature }
    }

    /// What it says; believed only after [`SignedBeacon::verify`].
    ///
    /// # Errors
    /// [`DecodeError`] if it is malformed.
    pub fn beacon(&self) -> Result<Beacon, DecodeError> {
        codec::decode(&self.body, "a beacon")
    }

    /// Checks the node's signature.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn verify(&self, key: &Public) -> Result<(), VerifyError> {
        key.verify(LABEL_BEACON, &self.body, &self.signature)
    }
}
