//! One epoch of a charter: who is named, how it is written, and who signed it.

use std::collections::BTreeMap;

use minicbor::{Decoder, Encoder};
use sha2::{Digest, Sha256};

use super::{CHARTER_NAME_BYTES_MAX, CharterError, MEMBER_ADDRESSES_MAX, REVOCATION_LOGS_MAX, REVOCATIONS_MAX};
use crate::cbor;
use crate::ids::{EntryHash, LogId, MemberCode, NodeKey, RootKey, Seq};
use crate::keys::{LABEL_CHARTER, Public, Secret, SignatureBytes};
use crate::limits::MEMBERS_MAX;

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum MemberRole {
    /// Originates alerts and signs the charter.
    Member = 1,
    /// Reads, and relays, but originates nothing.
    Observer = 2,
}

impl MemberRole {
    /// The role as people write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            MemberRole::Member => "member",
            MemberRole::Observer => "observer",
        }
    }
}

/// One member as the charter names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CharterMember {
    /// Its code.
    pub code: MemberCode,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: MemberRole,
    /// Its root key.
    pub root: RootKey,
    /// Its X25519 sealing key.
    pub sealing: [u8; 32],
    /// Where its nodes can be reached, as `host:port` texts; informative.
    pub addresses: Vec<String>,
}

/// A node key that is no longer trusted past the named entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The key.
    pub key: NodeKey,
    /// Last valid entry of each of its logs; logs not named have none.
    pub last_valid: Vec<(LogId, Seq, EntryHash)>,
}

/// What one epoch says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CharterEpoch {
    /// Number, from 1.
    pub epoch: u64,
    /// SHA-256 of the previous epoch's body; zero for epoch 1.
    pub previous: [u8; 32],
    /// Name of the federation.
    pub federation: String,
    /// Members, sorted by code.
    pub members: Vec<CharterMember>,
    /// Revoked node keys, sorted by key; later epochs repeat earlier revocations.
    pub revocations: Vec<Revocation>,
}

/// An epoch with its signed bytes and the signatures collected so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedEpoch {
    pub(super) epoch: CharterEpoch,
    pub(super) body: Vec<u8>,
    /// By root key, so that one root counts once.
    pub(super) signatures: BTreeMap<RootKey, SignatureBytes>,
}

impl CharterEpoch {
    /// Checks names, order and uniqueness.
    ///
    /// # Errors
    /// [`CharterError::Rule`] with the first broken rule.
    pub fn check(&self) -> Result<(), CharterError> {
        let rule = |problem: String| Err(CharterError::Rule { epoch: self.epoch, problem });
        let named = |name: &str| {
            !name.is_empty() && name.len() <= CHARTER_NAME_BYTES_MAX && !name.chars().any(char::is_control)
        };
        if !named(&self.federation) {
            return rule(format!("the federation's name must be 1 to {CHARTER_NAME_BYTES_MAX} printable bytes"));
        }
        if self.members.is_empty() || self.members.len() > MEMBERS_MAX {
            return rule(format!("{} members, allowed are 1 to {MEMBERS_MAX}", self.members.len()));
        }
        if !self.members.is_sorted_by(|a, b| a.code < b.code) {
            return rule("members must be sorted by code and each named once".into());
        }
        for (index, member) in self.members.iter().enumerate() {
            if !named(&member.name) {
                return rule(format!(
                    "the name of {} must be 1 to {CHARTER_NAME_BYTES_MAX} printable bytes",
                    member.code
                ));
            }
            if Public::new(&member.root.0).is_err() {
                return rule(format!("the root key of {} is not an acceptable Ed25519 key", member.code));
            }
            if self.members[..index].iter().any(|other| other.root == member.root) {
                return rule(format!("the root key of {} is another member's too", member.code));
            }
            let long = member.addresses.iter().any(|address| address.len() > 256);
            if member.addresses.len() > MEMBER_ADDRESSES_MAX || long {
                return rule(format!("the addresses of {} exceed {MEMBER_ADDRESSES_MAX} of 256 bytes", member.code));
            }
        }
        if self.full_members().next().is_none() {
            return rule("there is no full member".into());
        }
        let many = self.revocations.iter().any(|r| r.last_valid.len() > REVOCATION_LOGS_MAX);
        if self.revocations.len() > REVOCATIONS_MAX || many || !self.revocations.is_sorted_by(|a, b| a.key < b.key) {
            return rule(format!("revocations must be sorted by key, at most {REVOCATIONS_MAX}"));
        }
        Ok(())
    }

    /// The members that originate alerts and sign charters.
    pub fn full_members(&self) -> impl Iterator<Item = &CharterMember> {
        self.members.iter().filter(|member| member.role == MemberRole::Member)
    }

    /// The member with this code.
    #[must_use]
    pub fn member(&self, code: MemberCode) -> Option<&CharterMember> {
        self.members.iter().find(|member| member.code == code)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1024);
        let mut e = Encoder::new(&mut bytes);
        let written: Result<_, minicbor::encode::Error<std::convert::Infallible>> = (|| {
            e.array(5)?.u64(self.epoch)?.bytes(&self.previous)?.str(&self.federation)?;
            e.array(self.members.len() as u64)?;
            for member in &self.members {
                e.array(6)?.str(member.code.as_str())?.str(&member.name)?.u8(member.role as u8)?;
                e.bytes(&member.root.0)?.bytes(&member.sealing)?.array(member.addresses.len() as u64)?;
                for address in &member.addresses {
                    e.str(address)?;
                }
            }
            e.array(self.revocations.len() as u64)?;
            for revocation in &self.revocations {
                e.array(2)?.bytes(&revocation.key.0)?.array(revocation.last_valid.len() as u64)?;
                for (log, seq, hash) in &revocation.last_valid {
                    e.array(3)?.bytes(&log.0)?.u64(seq.0)?.bytes(&hash.0)?;
                }
            }
            Ok(())
        })();
        written.expect("writing to memory does not fail");
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<CharterEpoch, CharterError> {
        let mut d = Decoder::new(bytes);
        exactly(&mut d, "epoch", 5)?;
        let epoch = cbor::unsigned(&mut d, "epoch number")?;
        let previous = cbor::fixed(&mut d, "previous epoch")?;
        let federation = cbor::text(&mut d, "federation", CHARTER_NAME_BYTES_MAX)?.to_owned();
        let mut members = Vec::new();
        for _ in 0..cbor::array(&mut d, "members", MEMBERS_MAX)? {
            members.push(decode_member(&mut d)?);
        }
        let mut revocations = Vec::new();
        for _ in 0..cbor::array(&mut d, "revocations", REVOCATIONS_MAX)? {
            revocations.push(decode_revocation(&mut d)?);
        }
        if d.position() != bytes.len() {
            return Err(CharterError::Malformed { what: "trailing bytes" });
        }
        let epoch = CharterEpoch { epoch, previous, federation, members, revocations };
        epoch.check()?;
        Ok(epoch)
    }
}

fn exactly(d: &mut Decoder<'_>, what: &'static str, count: usize) -> Result<(), CharterError> {
    if cbor::array(d, what, count)? == count { Ok(()) } else { Err(CharterError::Malformed { what }) }
}

fn decode_member(d: &mut Decoder<'_>) -> Result<CharterMember, CharterError> {
    exactly(d, "member", 6)?;
    let code = cbor::text(d, "member code", 8)?;
    let code = code.parse().map_err(|_| CharterError::Malformed { what: "member code" })?;
    let name = cbor::text(d, "member name", CHARTER_NAME_BYTES_MAX)?.to_owned();
    let role = match cbor::unsigned(d, "member role")? {
        1 => MemberRole::Member,
        2 => MemberRole::Observer,
        _ => return Err(CharterError::Malformed { what: "member role" }),
    };
    let root = RootKey(cbor::fixed(d, "root key")?);
    let sealing = cbor::fixed(d, "sealing key")?;
    let mut addresses = Vec::new();
    for _ in 0..cbor::array(d, "addresses", MEMBER_ADDRESSES_MAX)? {
        addresses.push(cbor::text(d, "address", 256)?.to_owned());
    }
    Ok(CharterMember { code, name, role, root, sealing, addresses })
}

fn decode_revocation(d: &mut Decoder<'_>) -> Result<Revocation, CharterError> {
    exactly(d, "revocation", 2)?;
    let key = NodeKey(cbor::fixed(d, "revoked key")?);
    let mut last_valid = Vec::new();
    for _ in 0..cbor::array(d, "revoked logs", REVOCATION_LOGS_MAX)? {
        exactly(d, "revoked log", 3)?;
        last_valid.push((
            LogId(cbor::fixed(d, "revoked log")?),
            Seq(cbor::unsigned(d, "last valid seq")?),
            EntryHash(cbor::fixed(d, "last valid hash")?),
        ));
    }
    Ok(Revocation { key, last_valid })
}

impl SignedEpoch {
    /// An epoch without signatures.
    ///
    /// # Errors
    /// [`CharterError::Rule`] if the epoch breaks a rule.
    pub fn draft(epoch: CharterEpoch) -> Result<SignedEpoch, CharterError> {
        epoch.check()?;
        let body = epoch.encode();
        Ok(SignedEpoch { epoch, body, signatures: BTreeMap::new() })
    }

    /// What it says.
    #[must_use]
    pub fn epoch(&self) -> &CharterEpoch {
        &self.epoch
    }

    /// The roots that have signed.
    pub fn signers(&self) -> impl Iterator<Item = &RootKey> {
        self.signatures.keys()
    }

    /// SHA-256 of the signed bytes.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.body).into()
    }

    /// The same of an encoded epoch, of which nothing else is looked at.
    pub(super) fn hash_of(bytes: &[u8]) -> Result<[u8; 32], CharterError> {
        let mut d = Decoder::new(bytes);
        exactly(&mut d, "signed epoch", 2)?;
        let body = d.bytes().map_err(|_| CharterError::Malformed { what: "body" })?;
        Ok(Sha256::digest(body).into())
    }

    /// Adds a root's signature.
    pub fn sign(&mut self, root: &Secret) {
        self.signatures.insert(root.root_key(), root.sign(LABEL_CHARTER, &self.body));
    }

    /// Adds the signatures that another copy of the same epoch has collected.
    ///
    /// # Errors
    /// [`CharterError::Chain`] if it is another epoch's copy.
    pub fn merge(&mut self, other: &SignedEpoch) -> Result<(), CharterError> {
        if self.body != other.body {
            return Err(CharterError::Chain { expected_after: self.epoch.epoch, found: other.epoch.epoch });
        }
        self.signatures.extend(other.signatures.iter().map(|(root, signature)| (*root, *signature)));
        Ok(())
    }

    /// How many of the voters' signatures are there and how many are needed.
    ///
    /// # Errors
    /// [`CharterError::Signature`] if any signature is not its root's.
    pub fn votes(&self, voters: &CharterEpoch) -> Result<(usize, usize), CharterError> {
        for (root, signature) in &self.signatures {
            let verified = Public::new(&root.0).and_then(|key| key.verify(LABEL_CHARTER, &self.body, signature));
            verified.map_err(|_| CharterError::Signature { epoch: self.epoch.epoch, root: root.short() })?;
        }
        let have = voters.full_members().filter(|member| self.signatures.contains_key(&member.root)).count();
        Ok((have, voters.full_members().count() / 2 + 1))
    }

    /// The epoch and its signatures as CBOR: `[body, [[root, signature], ..]]`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.body.len() + 128);
        let mut e = Encoder::new(&mut bytes);
        let written: Result<_, minicbor::encode::Error<std::convert::Infallible>> = (|| {
            e.array(2)?.bytes(&self.body)?.array(self.signatures.len() as u64)?;
            for (root, signature) in &self.signatures {
                e.array(2)?.bytes(&root.0)?.bytes(signature)?;
            }
            Ok(())
        })();
        written.expect("writing to memory does not fail");
        bytes
    }

    /// Reads an epoch with its signatures; nothing is verified yet.
    ///
    /// # Errors
    /// [`CharterError::Malformed`] or [`CharterError::Rule`].
    pub fn decode(bytes: &[u8]) -> Result<SignedEpoch, CharterError> {
        let mut d = Decoder::new(bytes);
        exactly(&mut d, "signed epoch", 2)?;
        let body = d.bytes().map_err(|_| CharterError::Malformed { what: "body" })?.to_vec();
        let mut signatures = BTreeMap::new();
        for _ in 0..cbor::array(&mut d, "signatures", MEMBERS_MAX)? {
            exactly(&mut d, "signature", 2)?;
            signatures.insert(RootKey(cbor::fixed(&mut d, "root key")?), cbor::fixed(&mut d, "signature")?);
        }
        if d.position() != bytes.len() {
            return Err(CharterError::Malformed { what: "trailing bytes" });
        }
        Ok(SignedEpoch { epoch: CharterEpoch::decode(&body)?, body, signatures })
    }
}
