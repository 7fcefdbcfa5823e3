//! The manifest: who made a bundle, of what, and relative to what. And the end: that it is whole.

use std::fmt;

use minicbor::{Decoder, Encoder};
use sha2::{Digest, Sha256};
use vatra_model::certificate::{CERTIFICATE_BYTES_MAX, SignedCertificate};
use vatra_model::keys::LABEL_BUNDLE;
use vatra_model::limits::LOGS_MAX;
use vatra_model::{EntryHash, LogId, MemberCode, Public, Secret, SignatureBytes, VerifyError, WallMs};

use crate::cbor::{self, Malformed};

/// Longest name of the software in bytes.
pub const SOFTWARE_BYTES_MAX: usize = 64;

/// First item of a signed manifest; no end can pass for one.
const KIND_MANIFEST: u64 = 1;
/// First item of a signed end.
const KIND_END: u64 = 2;

/// Names a bundle: SHA-256 of its manifest's signed bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleId(pub [u8; 32]);

impl fmt::Display for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl fmt::Debug for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BundleId({self})")
    }
}

/// What a bundle was made to hold of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRange {
    /// The log.
    pub log: LogId,
    /// Contiguous entries that the receiver was taken to hold: the bundle has none of them.
    pub from: u64,
    /// Contiguous entries that the maker held.
    pub height: u64,
    /// Head hash at that height.
    pub head: EntryHash,
}

/// What the maker says of a bundle before its first entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Hash of the charter's first epoch.
    pub founding: [u8; 32],
    /// The maker's signed certificate.
    pub certificate: Vec<u8>,
    /// When it was made, by the maker's clock; informative.
    pub created: WallMs,
    /// Epoch of the charter that comes with it.
    pub charter_epoch: u64,
    /// SHA-256 of that charter's bytes.
    pub charter_hash: [u8; 32],
    /// What made it, for people.
    pub software: String,
    /// The member for which it was made, if for one.
    pub receiver: Option<MemberCode>,
    /// All logs that the maker knew, by id.
    pub logs: Vec<LogRange>,
}

/// A manifest with the bytes that were signed.
#[derive(Clone, Debug)]
pub(crate) struct SignedManifest {
    pub(crate) manifest: Manifest,
    pub(crate) certificate: SignedCertificate,
    pub(crate) public: Public,
    pub(crate) id: BundleId,
}

/// A part of a signed statement that does not hold.
#[derive(Debug)]
pub(crate) enum StatementError {
    Malformed(&'static str),
    Signature(VerifyError),
}

impl From<Malformed> for StatementError {
    fn from(Malformed(what): Malformed) -> Self {
        StatementError::Malformed(what)
    }
}

impl Manifest {
    /// The manifest and its signature as CBOR, and the bundle's name.
    pub(crate) fn sign(&self, secret: &Secret) -> (Vec<u8>, BundleId) {
        let body = self.encode();
        let id = BundleId(Sha256::digest(&body).into());
        (seal(&body, LABEL_BUNDLE, secret), id)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512 + self.logs.len() * 80);
        let mut e = Encoder::new(&mut bytes);
        let written: Result<_, minicbor::encode::Error<std::convert::Infallible>> = (|| {
            e.array(9)?.u64(KIND_MANIFEST)?.bytes(&self.founding)?.bytes(&self.certificate)?.u64(self.created.0)?;
            e.u64(self.charter_epoch)?.bytes(&self.charter_hash)?.str(&self.software)?;
            e.str(self.receiver.as_ref().map_or("", MemberCode::as_str))?;
            e.array(self.logs.len() as u64)?;
            for range in &self.logs {
                e.array(4)?.bytes(&range.log.0)?.u64(range.from)?.u64(range.height)?.bytes(&range.head.0)?;
            }
            Ok(())
        })();
        written.expect("writing to memory does not fail");
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Manifest, Malformed> {
        let mut d = Decoder::new(bytes);
        cbor::array(&mut d, "manifest", 9)?;
        if cbor::unsigned(&mut d, "kind")? != KIND_MANIFEST {
            return Err(Malformed("kind"));
        }
        let founding = cbor::fixed(&mut d, "founding hash")?;
        let certificate = cbor::bytes(&mut d, "certificate", CERTIFICATE_BYTES_MAX)?.to_vec();
        let created = WallMs(cbor::unsigned(&mut d, "created")?);
        let charter_epoch = cbor::unsigned(&mut d, "charter epoch")?;
        let charter_hash = cbor::fixed(&mut d, "charter hash")?;
        let software = cbor::line(&mut d, "software", SOFTWARE_BYTES_MAX)?.to_owned();
        let receiver = match cbor::line(&mut d, "receiver", 8)? {
            "" => None,
            code => Some(code.parse().map_err(|_| Malformed("receiver"))?),
        };
        let mut logs = Vec::new();
        for _ in 0..cbor::list(&mut d, "logs", LOGS_MAX)? {
            cbor::array(&mut d, "log", 4)?;
            logs.push(LogRange {
                log: LogId(cbor::fixed(&mut d, "log")?),
                from: cbor::unsigned(&mut d, "from")?,
                height: cbor::unsigned(&mut d, "height")?,
                head: EntryHash(cbor::fixed(&mut d, "head")?),
            });
        }
        cbor::end(&d, bytes.len())?;
        if !logs.is_sorted_by(|a, b| a.log < b.log) {
            return Err(Malformed("order of logs"));
        }
        Ok(Manifest { founding, certificate, created, charter_epoch, charter_hash, software, receiver, logs })
    }
}

impl SignedManifest {
    /// Reads a manifest and checks that the node that it names has signed it. Whether that node is admitted, a
    /// charter says.
    pub(crate) fn open(bytes: &[u8]) -> Result<SignedManifest, StatementError> {
        let (body, signature) = unseal(bytes)?;
        let manifest = Manifest::decode(body)?;
        let certificate = SignedCertificate::decode(&manifest.certificate).map_err(|_| Malformed("certificate"))?;
        let public = Public::new(&certificate.certificate().key.0).map_err(StatementError::Signature)?;
        public.verify(LABEL_BUNDLE, body, &signature).map_err(StatementError::Signature)?;
        Ok(SignedManifest { id: BundleId(Sha256::digest(body).into()), manifest, certificate, public })
    }
}

/// What the maker says after the last entry: the bundle is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) id: BundleId,
    /// Hash over all sections before this one.
    pub(crate) chain: [u8; 32],
    /// Number of sections before this one.
    pub(crate) sections: u64,
    /// Number of entries.
    pub(crate) entries: u64,
}

impl End {
    pub(crate) fn sign(&self, secret: &Secret) -> Vec<u8> {
        let mut body = Vec::with_capacity(128);
        let mut e = Encoder::new(&mut body);
        e.array(5)
            .and_then(|e| e.u64(KIND_END))
            .and_then(|e| e.bytes(&self.id.0))
            .and_then(|e| e.bytes(&self.chain))
            .and_then(|e| e.u64(self.sections))
            .and_then(|e| e.u64(self.entries))
            .expect("writing to memory does not fail");
        seal(&body, LABEL_BUNDLE, secret)
    }

    pub(crate) fn open(bytes: &[u8], maker: &Public) -> Result<End, StatementError> {
        let (body, signature) = unseal(bytes)?;
        let mut d = Decoder::new(body);
        cbor::array(&mut d, "end", 5)?;
        if cbor::unsigned(&mut d, "kind")? != KIND_END {
            return Err(StatementError::Malformed("kind"));
        }
        let id = BundleId(cbor::fixed(&mut d, "bundle id")?);
        let chain = cbor::fixed(&mut d, "hash of sections")?;
        let sections = cbor::unsigned(&mut d, "number of sections")?;
        let entries = cbor::unsigned(&mut d, "number of entries")?;
        cbor::end(&d, body.len())?;
        maker.verify(LABEL_BUNDLE, body, &signature).map_err(StatementError::Signature)?;
        Ok(End { id, chain, sections, entries })
    }
}

/// A statement and its signature: `[body bytes, signature]`.
pub(crate) fn seal(body: &[u8], label: &str, secret: &Secret) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + 80);
    let mut e = Encoder::new(&mut bytes);
    e.array(2)
        .and_then(|e| e.bytes(body))
        .and_then(|e| e.bytes(&secret.sign(label, body)))
        .expect("writing to memory does not fail");
    bytes
}

/// The body and the signature of a statement, which nobody has checked yet.
pub(crate) fn unseal(bytes: &[u8]) -> Result<(&[u8], SignatureBytes), Malformed> {
    let mut d = Decoder::new(bytes);
    cbor::array(&mut d, "statement", 2)?;
    let body = cbor::bytes(&mut d, "body", usize::MAX)?;
    let signature = cbor::fixed(&mut d, "signature")?;
    cbor::end(&d, bytes.len())?;
    Ok((body, signature))
}
