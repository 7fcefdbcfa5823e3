//! A charter epoch in the making: a TOML file that people read, sign in copies and send back.
//!
//! What is signed is the epoch built from the file's plain fields; signatures are kept beside them
//! and hold for exactly these fields.

use std::path::Path;

use anyhow::Context;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use vatra_model::charter::{
    CHARTER_BYTES_MAX, Charter, CharterEpoch, CharterMember, MemberRole, REVOCATIONS_MAX, Revocation, SignedEpoch,
};
use vatra_model::{EntryHash, LogId, MemberCode, NodeKey, RootKey, Seq};

use super::{MemberKeys, PublicMember, fingerprint_of, replace_file};
use crate::config::read_file;
use crate::keys::write_new;

/// A draft file is base64 of at most a charter and an epoch, and text.
const DRAFT_BYTES_MAX: usize = 4 * CHARTER_BYTES_MAX;

/// The next epoch of a charter, with the signatures collected so far.
#[derive(Debug)]
pub(crate) struct CharterDraft {
    previous: Option<Charter>,
    federation: String,
    members: Vec<CharterMember>,
    /// Those of the epochs before, and new ones; by key.
    revocations: Vec<Revocation>,
    /// Present once somebody has signed; its epoch equals the plain fields.
    signed: Option<SignedEpoch>,
}

/// How far the collecting of signatures is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Votes {
    /// Valid signatures of entitled roots.
    pub(crate) have: usize,
    /// Signatures needed.
    pub(crate) need: usize,
}

impl std::fmt::Display for Votes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of the {} signatures that it needs", self.have, self.need)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DraftFile {
    federation: String,
    epoch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signed: Option<String>,
    #[serde(default, rename = "member")]
    members: Vec<DraftMember>,
    #[serde(default, rename = "revoked", skip_serializing_if = "Vec::is_empty")]
    revocations: Vec<DraftRevocation>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DraftRevocation {
    key: NodeKey,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    last_valid: Vec<DraftEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DraftEntry {
    log: LogId,
    seq: Seq,
    hash: EntryHash,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DraftMember {
    role: DraftRole,
    code: MemberCode,
    name: String,
    root: RootKey,
    sealing: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<String>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DraftRole {
    Member,
    Observer,
}

impl CharterDraft {
    /// The first epoch of a new federation, without members yet.
    pub(crate) fn first(federation: &str) -> CharterDraft {
        CharterDraft {
            previous: None,
            federation: federation.to_owned(),
            members: Vec::new(),
            revocations: Vec::new(),
            signed: None,
        }
    }

    /// The epoch after a charter, with the members that it has now.
    pub(crate) fn after(previous: Charter) -> CharterDraft {
        let current = previous.current();
        CharterDraft {
            federation: current.federation.clone(),
            members: current.members.clone(),
            revocations: current.revocations.clone(),
            previous: Some(previous),
            signed: None,
        }
    }

    /// Number of the epoch.
    pub(crate) fn epoch_number(&self) -> u64 {
        self.previous.as_ref().map_or(1, |charter| charter.current().epoch.saturating_add(1))
    }

    /// Name of the federation.
    pub(crate) fn federation(&self) -> &str {
        &self.federation
    }

    /// Members so far, sorted by code.
    pub(crate) fn members(&self) -> &[CharterMember] {
        &self.members
    }

    /// Adds a member, or replaces the one with its code.
    pub(crate) fn add(&mut self, member: &PublicMember, role: MemberRole) -> anyhow::Result<()> {
        self.refuse_signed()?;
        self.members.retain(|other| other.code != member.code);
        let place = self.members.partition_point(|other| other.code < member.code);
        self.members.insert(place, member.to_charter(role)?);
        Ok(())
    }

    /// Removes a member.
    pub(crate) fn remove(&mut self, code: MemberCode) -> anyhow::Result<()> {
        self.refuse_signed()?;
        let count = self.members.len();
        self.members.retain(|member| member.code != code);
        anyhow::ensure!(self.members.len() < count, "{code} is not in the draft");
        Ok(())
    }

    /// Keys that are revoked, those of the epochs before among them.
    pub(crate) fn revocations(&self) -> &[Revocation] {
        &self.revocations
    }

    /// Revokes a node's key. Of a key that is revoked already, a log can only end earlier.
    pub(crate) fn revoke(&mut self, mut revocation: Revocation) -> anyhow::Result<()> {
        self.refuse_signed()?;
        if let Some(before) = self.revocations.iter().find(|known| known.key == revocation.key) {
            revocation.last_valid.retain(|(log, _, _)| before.last_valid.iter().any(|(known, _, _)| known == log));
            for last in &mut revocation.last_valid {
                let known = before.last_valid.iter().find(|(log, _, _)| *log == last.0);
                *last = known.filter(|known| known.1 <= last.1).copied().unwrap_or(*last);
            }
            anyhow::ensure!(
                revocation.last_valid != before.last_valid,
                "node key {} is revoked already, and none of its logs would end earlier",
                revocation.key
            );
        }
        self.revocations.retain(|known| known.key != revocation.key);
        anyhow::ensure!(self.revocations.len() < REVOCATIONS_MAX, "an epoch revokes at most {REVOCATIONS_MAX} keys");
        let place = self.revocations.partition_point(|known| known.key < revocation.key);
        self.revocations.insert(place, revocation);
        Ok(())
    }

    /// Adds the signature of a member's root, if that root has a vote.
    pub(crate) fn sign(&mut self, member: &MemberKeys) -> anyhow::Result<Votes> {
        let mut signed = self.signed_or_unsigned()?;
        let root = member.public.root;
        let has_vote = self.voters(signed.epoch()).full_members().any(|voter| voter.root == root);
        anyhow::ensure!(
            has_vote,
            "the root key of {} has no vote on epoch {}",
            member.public.code,
            self.epoch_number()
        );
        signed.sign(&member.root.secret());
        self.signed = Some(signed);
        self.votes()
    }

    /// Adds the signatures that a copy of this draft has collected.
    pub(crate) fn merge(&mut self, copy: &CharterDraft) -> anyhow::Result<()> {
        let Some(theirs) = &copy.signed else { return Ok(()) };
        let mut signed = self.signed_or_unsigned()?;
        signed.merge(theirs).context("the copy says something else than this draft")?;
        self.signed = Some(signed);
        Ok(())
    }

    /// Signatures there are and signatures needed; an invalid one is an error.
    pub(crate) fn votes(&self) -> anyhow::Result<Votes> {
        let signed = self.signed_or_unsigned()?;
        let (have, need) = signed.votes(self.voters(signed.epoch()))?;
        Ok(Votes { have, need })
    }

    /// Codes of the entitled members that have signed.
    pub(crate) fn signers(&self) -> anyhow::Result<Vec<MemberCode>> {
        let signed = self.signed_or_unsigned()?;
        let voters = self.voters(signed.epoch()).full_members();
        Ok(voters.filter(|voter| signed.signers().any(|root| *root == voter.root)).map(|voter| voter.code).collect())
    }

    /// The charter with this epoch in force; refused without enough signatures.
    pub(crate) fn finish(&self) -> anyhow::Result<Charter> {
        let signed = self.signed_or_unsigned()?;
        match &self.previous {
            None => Ok(Charter::found(signed)?),
            Some(previous) => {
                let mut charter = previous.clone();
                charter.extend(signed)?;
                Ok(charter)
            }
        }
    }

    /// Reads a draft file; the chain and the signatures in it are verified.
    pub(crate) fn read(path: &Path) -> anyhow::Result<CharterDraft> {
        let named = || path.display().to_string();
        let bytes = read_file(path, DRAFT_BYTES_MAX).with_context(|| match path.try_exists() {
            Ok(false) => format!("{}: there is no draft; begin one with `vatra charter new --out {0}`", named()),
            _ => named(),
        })?;
        let text = String::from_utf8(bytes).with_context(|| format!("{}: not a charter draft", named()))?;
        let file: DraftFile = toml::from_str(&text).with_context(|| format!("{}: not a charter draft", named()))?;
        CharterDraft::from_file(file).with_context(named)
    }

    /// Writes a new draft file.
    pub(crate) fn write_new(&self, path: &Path) -> anyhow::Result<()> {
        Ok(write_new(path, self.to_text()?.as_bytes(), 0o644)?)
    }

    /// Replaces the draft file.
    pub(crate) fn replace(&self, path: &Path) -> anyhow::Result<()> {
        replace_file(path, self.to_text()?.as_bytes()).with_context(|| path.display().to_string())
    }

    fn refuse_signed(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.signed.is_none(),
            "the draft is signed already, and a change would void the signatures; begin a new draft"
        );
        Ok(())
    }

    fn signed_or_unsigned(&self) -> anyhow::Result<SignedEpoch> {
        match &self.signed {
            Some(signed) => Ok(signed.clone()),
            None => Ok(SignedEpoch::draft(self.epoch())?),
        }
    }

    fn voters<'a>(&'a self, own: &'a CharterEpoch) -> &'a CharterEpoch {
        self.previous.as_ref().map_or(own, Charter::current)
    }

    fn epoch(&self) -> CharterEpoch {
        CharterEpoch {
            epoch: self.epoch_number(),
            previous: self.previous.as_ref().map_or([0; 32], Charter::hash),
            federation: self.federation.clone(),
            members: self.members.clone(),
            revocations: self.revocations.clone(),
        }
    }

    fn from_file(file: DraftFile) -> anyhow::Result<CharterDraft> {
        let decode = |field: &'static str, text: &String| BASE64_STANDARD.decode(text).with_context(|| field);
        let previous = file.previous.as_ref().map(|text| decode("previous", text)).transpose()?;
        let previous = previous.map(|bytes| Charter::decode(&bytes)).transpose().context("previous")?;
        let signed = file.signed.as_ref().map(|text| decode("signed", text)).transpose()?;
        let signed = signed.map(|bytes| SignedEpoch::decode(&bytes)).transpose().context("signed")?;
        let members: anyhow::Result<Vec<CharterMember>> =
            file.members.into_iter().map(DraftMember::into_charter).collect();
        let revocations = file.revocations.into_iter().map(DraftRevocation::into_charter).collect();
        let draft = CharterDraft { previous, federation: file.federation, members: members?, revocations, signed };
        draft.check_earlier_revocations()?;
        let number = draft.epoch_number();
        anyhow::ensure!(
            file.epoch == number,
            "epoch = {}: the epoch after the previous charter is {number}",
            file.epoch
        );
        if let Some(signed) = &draft.signed {
            anyhow::ensure!(
                *signed.epoch() == draft.epoch(),
                "signed: the signatures are for other content than the file shows; it was changed after signing"
            );
            draft.votes().context("signed")?;
        }
        Ok(draft)
    }

    /// What an epoch before revoked stays revoked: a draft must say so too.
    fn check_earlier_revocations(&self) -> anyhow::Result<()> {
        let earlier = self.previous.iter().flat_map(|charter| &charter.current().revocations);
        for revocation in earlier {
            anyhow::ensure!(
                self.revocations.iter().any(|known| known.key == revocation.key),
                "revoked: node key {} was revoked by an earlier epoch and must stay so; begin a new draft",
                revocation.key
            );
        }
        Ok(())
    }

    fn to_text(&self) -> anyhow::Result<String> {
        let file = DraftFile {
            federation: self.federation.clone(),
            epoch: self.epoch_number(),
            previous: self.previous.as_ref().map(|charter| BASE64_STANDARD.encode(charter.encode())),
            signed: self.signed.as_ref().map(|signed| BASE64_STANDARD.encode(signed.encode())),
            members: self.members.iter().map(DraftMember::from_charter).collect(),
            revocations: self.revocations.iter().map(DraftRevocation::from_charter).collect(),
        };
        let fields = toml::to_string(&file).context("a draft is always TOML")?;
        let prints =
            self.members.iter().map(|member| format!("#   {:<8} {}\n", member.code.as_str(), fingerprint_of(member)));
        Ok(format!(
            "# Vatra charter draft, epoch {} of {:?}. No secret. Read it, sign it, send it back.\n\
             # Fingerprints of the members, to compare by telephone:\n{}{fields}",
            self.epoch_number(),
            self.federation,
            prints.collect::<String>()
        ))
    }
}

impl DraftRevocation {
    fn from_charter(revocation: &Revocation) -> DraftRevocation {
        let last = revocation.last_valid.iter();
        let last_valid = last.map(|(log, seq, hash)| DraftEntry { log: *log, seq: *seq, hash: *hash }).collect();
        DraftRevocation { key: revocation.key, last_valid }
    }

    fn into_charter(self) -> Revocation {
        let last_valid = self.last_valid.into_iter().map(|last| (last.log, last.seq, last.hash)).collect();
        Revocation { key: self.key, last_valid }
    }
}

impl DraftMember {
    fn from_charter(member: &CharterMember) -> DraftMember {
        let role = match member.role {
            MemberRole::Member => DraftRole::Member,
            MemberRole::Observer => DraftRole::Observer,
        };
        DraftMember {
            role,
            code: member.code,
            name: member.name.clone(),
            root: member.root,
            sealing: hex::encode(member.sealing),
            addresses: member.addresses.clone(),
        }
    }

    fn into_charter(self) -> anyhow::Result<CharterMember> {
        let role = match self.role {
            DraftRole::Member => MemberRole::Member,
            DraftRole::Observer => MemberRole::Observer,
        };
        let DraftMember { code, name, root, sealing, addresses, .. } = self;
        PublicMember { code, name, root, sealing, addresses }.to_charter(role).with_context(|| format!("member {code}"))
    }
}

/// Whether a file is a draft rather than a finished charter: drafts are text, charters are not.
pub(crate) fn is_draft(path: &Path) -> anyhow::Result<bool> {
    let bytes = read_file(path, DRAFT_BYTES_MAX).with_context(|| path.display().to_string())?;
    Ok(std::str::from_utf8(&bytes).is_ok())
}
