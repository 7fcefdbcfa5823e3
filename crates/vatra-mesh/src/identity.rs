//! A node's key as links need it, and the way between node keys and libp2p's peer ids.

use std::fmt;

use libp2p::PeerId;
use libp2p::identity::{Keypair, PublicKey, ed25519};
use thiserror::Error;
use vatra_model::NodeKey;

/// The node's key pair. It proves who we are on every link; the secret half never leaves it.
#[derive(Clone)]
pub struct Identity {
    keypair: Keypair,
    node: NodeKey,
}

impl Identity {
    /// The identity that an Ed25519 seed stands for. The seed's bytes are overwritten with zeros.
    #[must_use]
    pub fn from_seed(seed: &mut [u8; 32]) -> Identity {
        let secret = ed25519::SecretKey::try_from_bytes(seed).expect("any 32 bytes are an Ed25519 seed");
        let pair = ed25519::Keypair::from(secret);
        Identity { node: NodeKey(pair.public().to_bytes()), keypair: Keypair::from(pair) }
    }

    /// The public key, by which everyone names this node.
    #[must_use]
    pub fn node(&self) -> NodeKey {
        self.node
    }

    pub(crate) fn keypair(&self) -> Keypair {
        self.keypair.clone()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.node)
    }
}

/// 32 bytes are not an Ed25519 public key. Nothing was changed; whoever named the key must correct it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("node key {0} is not a point of the Ed25519 curve")]
pub(crate) struct NotAKey(pub(crate) NodeKey);

/// The peer id of a node: it contains the public key itself, so this is a change of form only.
pub(crate) fn peer_id_of(node: NodeKey) -> Result<PeerId, NotAKey> {
    let key = ed25519::PublicKey::try_from_bytes(node.as_bytes()).map_err(|_| NotAKey(node))?;
    Ok(PublicKey::from(key).to_peer_id())
}

/// The node with this peer id; `None` if the peer's key is not Ed25519.
pub(crate) fn node_of(peer: &PeerId) -> Option<NodeKey> {
    let key = PublicKey::try_decode_protobuf(peer.as_ref().digest()).ok()?;
    Some(NodeKey(key.try_into_ed25519().ok()?.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_wiped_and_gives_the_key_of_rfc_8032() {
        // RFC 8032, section 7.1, test 1.
        let mut seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49,
            0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
        ];
        let identity = Identity::from_seed(&mut seed);
        assert_eq!(seed, [0; 32]);
        let expected = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(identity.node().to_string(), expected);
        assert_eq!(format!("{identity:?}"), format!("Identity({expected})"));
    }

    #[test]
    fn node_keys_and_peer_ids_are_the_same_thing() {
        let identity = Identity::from_seed(&mut [7; 32]);
        let peer = peer_id_of(identity.node()).expect("the key is valid");
        assert_eq!(peer, identity.keypair().public().to_peer_id());
        assert_eq!(node_of(&peer), Some(identity.node()));
        assert_eq!(node_of(&PeerId::random()), None);
    }

    #[test]
    fn bytes_that_are_no_key_are_refused() {
        let mut bytes = [0; 32];
        bytes[0] = 2;
        assert_eq!(peer_id_of(NodeKey(bytes)), Err(NotAKey(NodeKey(bytes))));
    }
}
