//! Node certificates: a member's root says which node keys are its own.

use minicbor::{Decoder, Encoder};
use thiserror::Error;

use crate::cbor;
use crate::change::ChangeError;
use crate::ids::{AudienceId, Incarnation, LogId, MemberCode, NodeKey, RootKey};
use crate::keys::{LABEL_CERTIFICATE, Public, Secret, SignatureBytes, VerifyError};
use crate::time::WallMs;

/// Longest encoded certificate in bytes.
pub const CERTIFICATE_BYTES_MAX: usize = 512;
/// Longest site or node name in bytes.
pub const NODE_NAME_BYTES_MAX: usize = 64;

/// Says that a node key belongs to a member; signed by the member's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCertificate {
    /// The member.
    pub member: MemberCode,
    /// The site, such as `kyiv`.
    pub site: String,
    /// The node's name, such as `kyiv-1`; unique within the member by convention.
    pub node: String,
    /// The node's key.
    pub key: NodeKey,
    /// Not to be used before this time; informative, never compared with a local clock to accept an entry.
    pub not_before: WallMs,
    /// Number of the certificate, chosen by the member; higher replaces lower for the same node.
    pub serial: u64,
}

/// A certificate with the signed bytes as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCertificate {
    certificate: NodeCertificate,
    body: Vec<u8>,
    signature: SignatureBytes,
}

/// Bytes are not a certificate, or not one by this root. The node is not admitted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// Malformed, too long, or with trailing bytes.
    #[error("malformed certificate: {what}")]
    Malformed {
        /// The part.
        what: &'static str,
    },
    /// A name is empty, too long, or has characters other than a-z, 0-9, `-`, `_` and `.`.
    #[error("{what} must be 1 to {NODE_NAME_BYTES_MAX} characters of a-z, 0-9, '-', '_' and '.', not {found:?}")]
    Name {
        /// Which name.
        what: &'static str,
        /// What was found, cut to 80 characters.
        found: String,
    },
    /// The signature is not the root's, or the node key is unacceptable.
    #[error("certificate of {member}: {source}")]
    Verify {
        /// The member that it claims.
        member: MemberCode,
        /// What does not hold.
        #[source]
        source: VerifyError,
    },
}

impl From<ChangeError> for CertificateError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Malformed { what }
            | ChangeError::TooLong { what, .. }
            | ChangeError::Missing { what }
            | ChangeError::Unsorted { what } => CertificateError::Malformed { what },
        }
    }
}

/// Checks the name of a site or node.
///
/// # Errors
/// [`CertificateError::Name`] with what was found.
pub fn check_name(what: &'static str, name: &str) -> Result<(), CertificateError> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > NODE_NAME_BYTES_MAX || !name.chars().all(good) {
        return Err(CertificateError::Name { what, found: name.chars().take(80).collect() });
    }
    Ok(())
}

impl NodeCertificate {
    /// Signs the certificate with the member's root.
    ///
    /// # Errors
    /// [`CertificateError::Name`] if a name is not acceptable.
    pub fn sign(self, root: &Secret) -> Result<SignedCertificate, CertificateError> {
        check_name("site", &self.site)?;
        check_name("node", &self.node)?;
        let body = self.encode_body();
        let signature = root.sign(LABEL_CERTIFICATE, &body);
        Ok(SignedCertificate { certificate: self, body, signature })
    }

    /// The log of one life of this node, for one audience.
    #[must_use]
    pub fn log(&self, incarnation: Incarnation, audience: &AudienceId) -> LogId {
        LogId::derive(self.member, &self.key, incarnation, audience)
    }

    fn encode_body(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        let mut e = Encoder::new(&mut bytes);
        let written: Result<_, minicbor::encode::Error<std::convert::Infallible>> = (|| {
            e.array(6)?.str(self.member.as_str())?.str(&self.site)?.str(&self.node)?;
            e.bytes(&self.key.0)?.u64(self.not_before.0)?.u64(self.serial)?;
            Ok(())
        })();
        written.expect("writing to memory does not fail");
        bytes
    }

    fn decode_body(bytes: &[u8]) -> Result<NodeCertificate, CertificateError> {
        let mut d = Decoder::new(bytes);
        if cbor::array(&mut d, "body", 6)? != 6 {
            return Err(CertificateError::Malformed { what: "body" });
        }
        let member = cbor::text(&mut d, "member", 8)?;
        let certificate = NodeCertificate {
            member: member.parse().map_err(|_| CertificateError::Malformed { what: "member" })?,
            site: cbor::text(&mut d, "site", NODE_NAME_BYTES_MAX)?.to_owned(),
            node: cbor::text(&mut d, "node", NODE_NAME_BYTES_MAX)?.to_owned(),
            key: NodeKey(cbor::fixed(&mut d, "node key")?),
            not_before: WallMs(cbor::unsigned(&mut d, "not-before")?),
            serial: cbor::unsigned(&mut d, "serial")?,
        };
        if d.position() != bytes.len() {
            return Err(CertificateError::Malformed { what: "trailing bytes" });
        }
        check_name("site", &certificate.site)?;
        check_name("node", &certificate.node)?;
        Ok(certificate)
    }
}

impl SignedCertificate {
    /// What it says; believed only after [`SignedCertificate::verify`].
    #[must_use]
    pub fn certificate(&self) -> &NodeCertificate {
        &self.certificate
    }

    /// Checks that this root signed it and that the node key is acceptable.
    ///
    /// # Errors
    /// [`CertificateError::Verify`].
    pub fn verify(&self, root: &RootKey) -> Result<(), CertificateError> {
        let member = self.certificate.member;
        let with = |source| CertificateError::Verify { member, source };
        Public::new(&self.certificate.key.0).map_err(with)?;
        Public::new(&root.0).and_then(|root| root.verify(LABEL_CERTIFICATE, &self.body, &self.signature)).map_err(with)
    }

    /// The certificate as CBOR: `[body bytes, signature bytes]`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.body.len() + 72);
        let mut e = Encoder::new(&mut bytes);
        e.array(2)
            .and_then(|e| e.bytes(&self.body))
            .and_then(|e| e.bytes(&self.signature))
            .expect("writing to memory does not fail");
        bytes
    }

    /// Reads a certificate; all bytes must belong to it. The signature is not yet checked.
    ///
    /// # Errors
    /// [`CertificateError`] names the part.
    pub fn decode(bytes: &[u8]) -> Result<SignedCertificate, CertificateError> {
        if bytes.len() > CERTIFICATE_BYTES_MAX {
            return Err(CertificateError::Malformed { what: "too long" });
        }
        let mut d = Decoder::new(bytes);
        if cbor::array(&mut d, "certificate", 2)? != 2 {
            return Err(CertificateError::Malformed { what: "certificate" });
        }
        let body = d.bytes().map_err(|_| CertificateError::Malformed { what: "body" })?.to_vec();
        let signature = cbor::fixed(&mut d, "signature")?;
        if d.position() != bytes.len() {
            return Err(CertificateError::Malformed { what: "trailing bytes" });
        }
        Ok(SignedCertificate { certificate: NodeCertificate::decode_body(&body)?, body, signature })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn certificate() -> NodeCertificate {
        NodeCertificate {
            member: "UA".parse().expect("a code"),
            site: "kyiv".into(),
            node: "kyiv-1".into(),
            key: Secret::from_seed(&[1; 32]).node_key(),
            not_before: WallMs(1_764_000_000_000),
            serial: 1,
        }
    }

    #[test]
    fn only_the_root_that_signed_verifies() {
        let root = Secret::from_seed(&[2; 32]);
        let signed = certificate().sign(&root).expect("good names");
        let read = SignedCertificate::decode(&signed.encode()).expect("what was encoded");
        assert_eq!(read, signed);
        assert_eq!(read.verify(&root.root_key()), Ok(()));
        assert!(read.verify(&Secret::from_seed(&[3; 32]).root_key()).is_err());
        assert_eq!(hex::encode(signed.encode()), include_str!("../tests/golden/certificate-v1.hex").trim());
    }

    #[test]
    fn names_are_checked() {
        let root = Secret::from_seed(&[2; 32]);
        for bad in ["", "Kyiv", "a b", &"x".repeat(65), "kyiv\n"] {
            let named = NodeCertificate { node: bad.to_owned(), ..certificate() };
            assert!(named.sign(&root).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn damaged_bytes_never_verify(place in 0..160_usize, bit in 0..8_u32) {
            let root = Secret::from_seed(&[2; 32]);
            let mut bytes = certificate().sign(&root).expect("good names").encode();
            let place = place % bytes.len();
            bytes[place] ^= 1 << bit;
            let verified = SignedCertificate::decode(&bytes).is_ok_and(|read| read.verify(&root.root_key()).is_ok());
            prop_assert!(!verified);
        }
    }
}
