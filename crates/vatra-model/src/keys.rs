//! Signing and verifying, always under a domain label.

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
/// Label under which node certificates are signed.
pub const LABEL_CERTIFICATE: &str = "vatra certificate v1";
/// Label under which charter epochs are signed.
pub const LABEL_CHARTER: &str = "vatra charter v1";

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

/// A secret Ed25519 key; wiped from memory when dropped.
pub struct Secret(SigningKey);

impl Secret {
    /// The key with this 32-byte seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Secret {
        Secret(SigningKey::from_bytes(seed))
    }

    /// The public half, as a node key.
    #[must_use]
    pub fn node_key(&self) -> NodeKey {
        NodeKey(self.0.verifying_key().to_bytes())
    }

    /// The public half, as a root key.
    #[must_use]
    pub fn root_key(&self) -> RootKey {
        RootKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `label || bytes`.
    #[must_use]
    pub fn sign(&self, label: &str, bytes: &[u8]) -> SignatureBytes {
        self.0.sign(&labelled(label, bytes)).to_bytes()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret(of {})", self.node_key().short())
    }
}

/// A public key, decompressed once and checked against small order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Public(VerifyingKey);

impl Public {
    /// The key with these bytes.
    ///
    /// # Errors
    /// [`VerifyError::BadKey`] if it is no curve point or of small order.
    pub fn new(bytes: &[u8; 32]) -> Result<Public, VerifyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| VerifyError::BadKey)?;
        if key.is_weak() { Err(VerifyError::BadKey) } else { Ok(Public(key)) }
    }

    /// Checks a signature over `label || bytes` with `verify_strict`.
    ///
    /// # Errors
    /// [`VerifyError::BadSignature`] if it is not this key's.
    pub fn verify(&self, label: &str, bytes: &[u8], signature: &SignatureBytes) -> Result<(), VerifyError> {
        let signature = Signature::from_bytes(signature);
        self.0.verify_strict(&labelled(label, bytes), &signature).map_err(|_| VerifyError::BadSignature)
    }
}

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

    #[test]
    fn keys_of_small_order_are_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(Public::new(&identity), Err(VerifyError::BadKey));
        assert_eq!(Public::new(&[0; 32]), Err(VerifyError::BadKey));
    }
}
