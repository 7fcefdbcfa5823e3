//! The charter: a signed chain of epochs that names the members, their keys, roles and revocations.
//!
//! Epoch 1 is signed by more than half of its own full members; every later epoch by more than half of the
//! full members of the epoch before it. Signatures are collected offline, in any order.

mod ended;
mod epoch;

use minicbor::{Decoder, Encoder};
use thiserror::Error;

use crate::cbor;
use crate::certificate::{CertificateError, SignedCertificate};
use crate::change::ChangeError;
use crate::ids::{LogId, MemberCode, NodeKey};

pub use ended::LogEnd;
pub use epoch::{CharterEpoch, CharterMember, MemberRole, Revocation, SignedEpoch};

/// Longest encoded charter (all epochs) in bytes.
pub const CHARTER_BYTES_MAX: usize = 1024 * 1024;
/// Epochs in one charter.
pub const CHARTER_EPOCHS_MAX: usize = 1024;
/// Longest name of a federation or member in bytes.
pub const CHARTER_NAME_BYTES_MAX: usize = 128;
/// Addresses of one member.
pub const MEMBER_ADDRESSES_MAX: usize = 16;
/// Revocations in one epoch.
pub const REVOCATIONS_MAX: usize = 256;
/// Logs named by one revocation.
pub const REVOCATION_LOGS_MAX: usize = 64;

/// A chain of epochs, each checked against the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charter {
    epochs: Vec<SignedEpoch>,
    /// What they say of revoked keys, together.
    ended: ended::Ended,
}

/// A charter or a change to it does not hold. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CharterError {
    /// Malformed bytes.
    #[error("malformed charter: {what}")]
    Malformed {
        /// The part.
        what: &'static str,
    },
    /// A member, name or list that the rules do not allow.
    #[error("charter epoch {epoch}: {problem}")]
    Rule {
        /// The epoch.
        epoch: u64,
        /// What is wrong.
        problem: String,
    },
    /// Not enough roots have signed.
    #[error("charter epoch {epoch} has {have} of the {need} signatures that it needs")]
    Threshold {
        /// The epoch.
        epoch: u64,
        /// Valid signatures of entitled roots.
        have: usize,
        /// Signatures needed: more than half of the entitled full members.
        need: usize,
    },
    /// A signature that is not the root's.
    #[error("charter epoch {epoch}: the signature by root {root} does not verify")]
    Signature {
        /// The epoch.
        epoch: u64,
        /// First characters of the root key.
        root: String,
    },
    /// The epoch does not follow the one before.
    #[error("charter epoch {found} does not follow epoch {expected_after}")]
    Chain {
        /// The last good epoch.
        expected_after: u64,
        /// What came.
        found: u64,
    },
    /// The chain has another epoch in a place than the one that is known.
    #[error("charter epoch {epoch} is another than the one in force here")]
    Diverged {
        /// The first epoch that differs.
        epoch: u64,
    },
}

impl From<ChangeError> for CharterError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Malformed { what }
            | ChangeError::TooLong { what, .. }
            | ChangeError::Missing { what }
            | ChangeError::Unsorted { what } => CharterError::Malformed { what },
        }
    }
}

impl Charter {
    /// A charter of one epoch.
    ///
    /// # Errors
    /// [`CharterError`] if it is not epoch 1 or not signed by more than half of its own full members.
    pub fn found(first: SignedEpoch) -> Result<Charter, CharterError> {
        if first.epoch.epoch != 1 || first.epoch.previous != [0; 32] {
            return Err(CharterError::Chain { expected_after: 0, found: first.epoch.epoch });
        }
        check_votes(&first, &first.epoch)?;
        let mut ended = ended::Ended::default();
        ended.add(&first.epoch);
        Ok(Charter { epochs: vec![first], ended })
    }

    /// Appends the next epoch.
    ///
    /// # Errors
    /// [`CharterError`] if it does not follow, or lacks signatures of the current epoch's full members.
    pub fn extend(&mut self, next: SignedEpoch) -> Result<(), CharterError> {
        let last = self.last();
        let chain = CharterError::Chain { expected_after: last.epoch.epoch, found: next.epoch.epoch };
        let full = self.epochs.len() >= CHARTER_EPOCHS_MAX;
        if full || last.epoch.epoch.checked_add(1) != Some(next.epoch.epoch) || next.epoch.previous != last.hash() {
            return Err(chain);
        }
        check_votes(&next, &last.epoch)?;
        self.ended.add(&next.epoch);
        self.epochs.push(next);
        Ok(())
    }

    /// The epoch in force.
    #[must_use]
    pub fn current(&self) -> &CharterEpoch {
        &self.last().epoch
    }

    /// Hash of the epoch in force.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.last().hash()
    }

    /// Hash of the first epoch: what two federations differ in.
    #[must_use]
    pub fn founding_hash(&self) -> [u8; 32] {
        self.epochs.first().expect("a charter has a first epoch").hash()
    }

    /// All epochs, oldest first.
    #[must_use]
    pub fn epochs(&self) -> &[SignedEpoch] {
        &self.epochs
    }

    fn last(&self) -> &SignedEpoch {
        self.epochs.last().expect("a charter has a first epoch")
    }

    /// Checks that a certificate is a current member's and its key not revoked.
    ///
    /// # Errors
    /// [`AdmitError`] says why the node is not admitted.
    pub fn admit(&self, certificate: &SignedCertificate) -> Result<MemberRole, AdmitError> {
        let claimed = certificate.certificate();
        let member = self.current().member(claimed.member).ok_or(AdmitError::UnknownMember(claimed.member))?;
        certificate.verify(&member.root)?;
        if self.is_revoked(&claimed.key) {
            return Err(AdmitError::Revoked(claimed.key));
        }
        Ok(member.role)
    }

    /// Checks that a certificate was signed by a member of this or an earlier epoch, and says what is of its nodes' logs.
    /// Logs of members that have left, of revoked nodes, and of members that became observers, stay readable this way; a
    /// revocation says up to where.
    ///
    /// # Errors
    /// [`AdmitError`] if no epoch names the member, or the root it had does not verify the certificate.
    pub fn admit_log(&self, certificate: &SignedCertificate) -> Result<MemberRole, AdmitError> {
        let code = certificate.certificate().member;
        let mut refused = AdmitError::UnknownMember(code);
        let mut tried = None;
        for epoch in self.epochs.iter().rev() {
            let Some(member) = epoch.epoch.member(code).filter(|member| tried != Some(member.root)) else { continue };
            tried = Some(member.root);
            match certificate.verify(&member.root) {
                Ok(()) => return Ok(self.log_role(code)),
                Err(error) => refused = AdmitError::Certificate(error),
            }
        }
        Err(refused)
    }

    /// What a member's logs may hold: entries if any epoch has it as a full member. An entry does not tell of which epoch
    /// it is, so what is of a log must not depend on when it, its certificate and a later epoch came; as epochs are only
    /// added, all nodes that have the charter say the same.
    #[must_use]
    pub fn log_role(&self, member: MemberCode) -> MemberRole {
        let named = self.epochs.iter().filter_map(|epoch| epoch.epoch.member(member));
        let is_member = named.into_iter().any(|member| member.role == MemberRole::Member);
        if is_member { MemberRole::Member } else { MemberRole::Observer }
    }

    /// Whether any epoch revokes any node key.
    #[must_use]
    pub fn revokes(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Whether any epoch revokes a node key: it is for good.
    #[must_use]
    pub fn is_revoked(&self, key: &NodeKey) -> bool {
        self.ended.is_revoked(key)
    }

    /// Where a log of a revoked key ends: the lowest place that any epoch named. `None` if the key is not revoked.
    #[must_use]
    pub fn end_of(&self, key: &NodeKey, log: &LogId) -> Option<LogEnd> {
        self.ended.end_of(key, log)
    }

    /// The chain as CBOR: `[signed epoch bytes, ..]`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut e = Encoder::new(&mut bytes);
        let written: Result<_, minicbor::encode::Error<std::convert::Infallible>> = (|| {
            e.array(self.epochs.len() as u64)?;
            for epoch in &self.epochs {
                e.bytes(&epoch.encode())?;
            }
            Ok(())
        })();
        written.expect("writing to memory does not fail");
        bytes
    }

    /// Reads and verifies a chain.
    ///
    /// # Errors
    /// [`CharterError`] names the epoch and what does not hold.
    pub fn decode(bytes: &[u8]) -> Result<Charter, CharterError> {
        let mut epochs = split_chain(bytes)?.into_iter();
        let first = epochs.next().ok_or(CharterError::Malformed { what: "no epoch" })?;
        let mut charter = Charter::found(SignedEpoch::decode(first)?)?;
        epochs.try_for_each(|next| charter.extend(SignedEpoch::decode(next)?))?;
        Ok(charter)
    }

    /// Reads a chain that goes on from this one; `None` if it is no longer. What it begins with is compared by hash alone.
    /// No key and no signature is looked at but of the epochs that are new, one after the other: anybody can make a long
    /// chain, and of one that is another federation's the first hash tells.
    ///
    /// Epochs that are known stay as they are here. Other copies of them may have fewer signatures, or forged ones.
    ///
    /// # Errors
    /// [`CharterError`] names the epoch and what does not hold.
    pub fn continued(&self, bytes: &[u8]) -> Result<Option<Charter>, CharterError> {
        let theirs = split_chain(bytes)?;
        if theirs.len() <= self.epochs.len() {
            return Ok(None);
        }
        for (ours, theirs) in self.epochs.iter().zip(&theirs) {
            if SignedEpoch::hash_of(theirs)? != ours.hash() {
                return Err(CharterError::Diverged { epoch: ours.epoch.epoch });
            }
        }
        let mut charter = self.clone();
        theirs.into_iter().skip(self.epochs.len()).try_for_each(|next| charter.extend(SignedEpoch::decode(next)?))?;
        Ok(Some(charter))
    }
}

/// The epochs of a chain as they are encoded, with nothing of them looked at.
fn split_chain(bytes: &[u8]) -> Result<Vec<&[u8]>, CharterError> {
    if bytes.len() > CHARTER_BYTES_MAX {
        return Err(CharterError::Malformed { what: "too long" });
    }
    let mut d = Decoder::new(bytes);
    let mut epochs = Vec::new();
    for _ in 0..cbor::array(&mut d, "epochs", CHARTER_EPOCHS_MAX)? {
        epochs.push(d.bytes().map_err(|_| CharterError::Malformed { what: "epoch" })?);
    }
    if d.position() != bytes.len() {
        return Err(CharterError::Malformed { what: "trailing bytes" });
    }
    Ok(epochs)
}

fn check_votes(epoch: &SignedEpoch, voters: &CharterEpoch) -> Result<(), CharterError> {
    let (have, need) = epoch.votes(voters)?;
    if have < need { Err(CharterError::Threshold { epoch: epoch.epoch.epoch, have, need }) } else { Ok(()) }
}

/// A node is not admitted. Its links are refused and its entries are not shown.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AdmitError {
    /// The charter names no such member.
    #[error("{0} is not a member")]
    UnknownMember(MemberCode),
    /// The charter revokes the key.
    #[error("node key {0} is revoked")]
    Revoked(NodeKey),
    /// The certificate does not hold.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

#[cfg(test)]
mod tests;
