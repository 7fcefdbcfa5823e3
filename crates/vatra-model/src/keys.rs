//! Signing and verifying, always under a domain label.
//!
//! Keys are Ed25519. A simulation may give the nodes of its world a cheaper [`Scheme`] for entries and beacons;
//! nothing outside `chaos-tests` implements one, and a test of the workspace keeps it so.

use std::sync::Arc;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use thiserror::Error;

use crate::ids::{NodeKey, RootKey};

/// Length of an Ed25519 signature in bytes.
pub const SIGNATURE_LEN: usize = 64;

/// An Ed25519 signature (RFC 8032).
pub type SignatureBytes = [u8; SIGNATURE_LEN];

/// Label under which entry headers are signed.
pub const LABEL_ENTRY: &str = "vatra entry v1";
/// Label under which beacons are signed.
pub const LABEL_BEACON: &str = "vatra beacon v1";
/// Label of pulse signatures.
pub const LABEL_PULSE: &str = "vatra pulse v1";
/// Label under which node certificates are signed.
pub const LABEL_CERTIFICATE: &str = "vatra certificate v1";
/// Label under which charter epochs are signed.
pub const LABEL_CHARTER: &str = "vatra charter v1";
/// Label under which the manifest and the end of a bundle are signed.
pub const LABEL_BUNDLE: &str = "vatra bundle v1";
/// Label under which receipts and frontier files are signed.
pub const LABEL_RECEIPT: &str = "vatra receipt v1";

/// A signature or key does not hold. Whatever it covered is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// The key is no point of the curve, or of small order (it would verify too much).
    #[error("the key is not an acceptable Ed25519 key")]
    BadKey,
    /// The signature is not this key's over these bytes.
    #[error("the signature does not verify")]
    BadSignature,
}

/// Another way to sign and verify than Ed25519. Keys stay Ed25519 keys; only what they sign looks different.
pub trait Scheme: std::fmt::Debug + Send + Sync {
    /// Signs `label || bytes` for the holder of this public key.
    fn sign(&self, key: &NodeKey, label: &str, bytes: &[u8]) -> SignatureBytes;

    /// Whether that is the key's signature over `label || bytes`.
    fn verifies(&self, key: &[u8; 32], label: &str, bytes: &[u8], signature: &SignatureBytes) -> bool;
}

/// The scheme of a simulated world; `None` is Ed25519, what every real node uses.
pub type Injected = Option<Arc<dyn Scheme>>;

/// A secret Ed25519 key; wiped from memory when dropped.
pub struct Secret {
    key: SigningKey,
    public: NodeKey,
    injected: Injected,
}

impl Secret {
    /// The key with this 32-byte seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Secret {
        let key = SigningKey::from_bytes(seed);
        let public = NodeKey(key.verifying_key().to_bytes());
        Secret { key, public, injected: None }
    }

    /// The same key, signing as a simulated world does.
    #[must_use]
    pub fn with_scheme(self, injected: Injected) -> Secret {
        Secret { injected, ..self }
    }

    /// The scheme that it signs with; whoever verifies must use the same.
    #[must_use]
    pub fn scheme(&self) -> Injected {
        self.injected.clone()
    }

    /// The public half, as a node key.
    #[must_use]
    pub fn node_key(&self) -> NodeKey {
        self.public
    }

    /// The public half, as a root key.
    #[must_use]
    pub fn root_key(&self) -> RootKey {
        RootKey(self.public.0)
    }

    /// Signs `label || bytes`.
    #[must_use]
    pub fn sign(&self, label: &str, bytes: &[u8]) -> SignatureBytes {
        match &self.injected {
            None => self.key.sign(&labelled(label, bytes)).to_bytes(),
            Some(scheme) => scheme.sign(&self.public, label, bytes),
        }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret(of {})", self.node_key().short())
    }
}

/// A public key, decompressed once and checked against small order.
#[derive(Clone, Debug)]
pub struct Public {
    key: VerifyingKey,
    injected: Injected,
}

impl Public {
    /// The key with these bytes.
    ///
    /// # Errors
    /// [`VerifyError::BadKey`] if it is no curve point or of small order.
    pub fn new(bytes: &[u8; 32]) -> Result<Public, VerifyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| VerifyError::BadKey)?;
        if key.is_weak() { Err(VerifyError::BadKey) } else { Ok(Public { key, injected: None }) }
    }

    /// The same key, verifying as a simulated world signs.
    #[must_use]
    pub fn with_scheme(self, injected: Injected) -> Public {
        Public { injected, ..self }
    }

    /// Checks a signature over `label || bytes` with `verify_strict`.
    ///
    /// # Errors
    /// [`VerifyError::BadSignature`] if it is not this key's.
    pub fn verify(&self, label: &str, bytes: &[u8], signature: &SignatureBytes) -> Result<(), VerifyError> {
        let verifies = match &self.injected {
            None => self.key.verify_strict(&labelled(label, bytes), &Signature::from_bytes(signature)).is_ok(),
            Some(scheme) => scheme.verifies(self.key.as_bytes(), label, bytes, signature),
        };
        if verifies { Ok(()) } else { Err(VerifyError::BadSignature) }
    }
}

impl PartialEq for Public {
    fn eq(&self, other: &Public) -> bool {
        self.key == other.key && self.injected.is_some() == other.injected.is_some()
    }
}

impl Eq for Public {}

fn labelled(label: &str, bytes: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(label.len() + bytes.len());
    message.extend_from_slice(label.as_bytes());
    message.extend_from_slice(bytes);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_separate_signatures() {
        let secret = Secret::from_seed(&[3; 32]);
        let public = Public::new(&secret.node_key().0).expect("a real key");
        let signature = secret.sign(LABEL_ENTRY, b"bytes");
        assert_eq!(public.verify(LABEL_ENTRY, b"bytes", &signature), Ok(()));
        assert_eq!(public.verify(LABEL_BEACON, b"bytes", &signature), Err(VerifyError::BadSignature));
        assert_eq!(public.verify(LABEL_ENTRY, b"other", &signature), Err(VerifyError::BadSignature));
    }

    /// Signs with the sum of what is signed: enough to see which scheme is asked.
    #[derive(Debug)]
    struct Sums;

    impl Scheme for Sums {
        fn sign(&self, key: &NodeKey, label: &str, bytes: &[u8]) -> SignatureBytes {
            let sum = |part: &[u8]| part.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
            [sum(&key.0).wrapping_add(sum(label.as_bytes())).wrapping_add(sum(bytes)); SIGNATURE_LEN]
        }

        fn verifies(&self, key: &[u8; 32], label: &str, bytes: &[u8], signature: &SignatureBytes) -> bool {
            self.sign(&NodeKey(*key), label, bytes) == *signature
        }
    }

    #[test]
    fn an_injected_scheme_signs_for_the_same_key_and_only_for_its_own_world() {
        let real = Secret::from_seed(&[3; 32]);
        let simulated = Secret::from_seed(&[3; 32]).with_scheme(Some(Arc::new(Sums)));
        assert_eq!(real.node_key(), simulated.node_key());
        let public = Public::new(&real.node_key().0).expect("a real key");
        let inside = public.clone().with_scheme(simulated.scheme());
        let signature = simulated.sign(LABEL_ENTRY, b"bytes");
        assert_eq!(inside.verify(LABEL_ENTRY, b"bytes", &signature), Ok(()));
        assert_eq!(inside.verify(LABEL_ENTRY, b"other", &signature), Err(VerifyError::BadSignature));
        assert_eq!(public.verify(LABEL_ENTRY, b"bytes", &signature), Err(VerifyError::BadSignature));
        assert_eq!(public.verify(LABEL_ENTRY, b"bytes", &real.sign(LABEL_ENTRY, b"bytes")), Ok(()));
        assert_ne!(public, inside);
    }

    #[test]
    fn keys_of_small_order_are_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(Public::new(&identity), Err(VerifyError::BadKey));
        assert_eq!(Public::new(&[0; 32]), Err(VerifyError::BadKey));
    }
}
