//! A member's own files: its two secret keys, and the public file that it hands to the others.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use vatra_model::charter::{CHARTER_NAME_BYTES_MAX, CharterMember, MemberRole};
use vatra_model::{MemberCode, Public, RootKey};

use super::{create_private_dir, refuse_existing};
use crate::config::read_file;
use crate::keys::{Key, KeyKind, Purpose, write_new};

const ROOT_FILE: &str = "root.key";
const SEALING_FILE: &str = "sealing.key";
const PUBLIC_FILE: &str = "member.toml";
/// Largest public member file in bytes.
const PUBLIC_BYTES_MAX: usize = 64 * 1024;

/// A member's keys, held by the member alone.
#[derive(Debug)]
pub(crate) struct MemberKeys {
    /// Signs node certificates and charters.
    pub(crate) root: Key,
    /// What the others may know.
    pub(crate) public: PublicMember,
}

/// What a member hands to the keeper of the charter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PublicMember {
    /// Its code.
    pub(crate) code: MemberCode,
    /// Its name.
    pub(crate) name: String,
    /// Its root key.
    pub(crate) root: RootKey,
    /// Its X25519 sealing key, in hexadecimal.
    pub(crate) sealing: String,
    /// Where its nodes can be reached; informative.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) addresses: Vec<String>,
}

impl MemberKeys {
    /// Makes the keys of a new member and writes them, with the public file, into a directory.
    pub(crate) fn create(dir: &Path, code: MemberCode, name: &str, purpose: Purpose) -> anyhow::Result<MemberKeys> {
        let is_printable = !name.is_empty() && !name.chars().any(char::is_control);
        anyhow::ensure!(
            is_printable && name.len() <= CHARTER_NAME_BYTES_MAX,
            "the name of a member is 1 to {CHARTER_NAME_BYTES_MAX} printable bytes, not {name:?}"
        );
        refuse_existing(&[dir.join(ROOT_FILE), dir.join(SEALING_FILE), dir.join(PUBLIC_FILE)])?;
        create_private_dir(dir)?;
        let root = Key::create(&dir.join(ROOT_FILE), KeyKind::Root, purpose)?;
        let sealing = Key::create(&dir.join(SEALING_FILE), KeyKind::Sealing, purpose)?;
        let public = PublicMember {
            code,
            name: name.to_owned(),
            root: RootKey(root.public()),
            sealing: hex::encode(sealing.public()),
            addresses: Vec::new(),
        };
        write_new(&dir.join(PUBLIC_FILE), public.to_text()?.as_bytes(), 0o644)?;
        Ok(MemberKeys { root, public })
    }

    /// Reads a member's directory; the root key must be the one that the public file names.
    pub(crate) fn load(dir: &Path) -> anyhow::Result<MemberKeys> {
        let public = PublicMember::read(&dir.join(PUBLIC_FILE))?;
        let root = Key::load(&dir.join(ROOT_FILE), KeyKind::Root)?;
        anyhow::ensure!(
            root.public() == public.root.0,
            "{}: root is not the public half of {ROOT_FILE}",
            dir.join(PUBLIC_FILE).display()
        );
        Ok(MemberKeys { root, public })
    }
}

impl PublicMember {
    /// Reads a public member file, or the one in a member's directory.
    pub(crate) fn read(path: &Path) -> anyhow::Result<PublicMember> {
        let path: PathBuf = if fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
            path.join(PUBLIC_FILE)
        } else {
            path.to_owned()
        };
        let bytes = read_file(&path, PUBLIC_BYTES_MAX).with_context(|| path.display().to_string())?;
        let text = String::from_utf8(bytes).with_context(|| path.display().to_string())?;
        let member: PublicMember =
            toml::from_str(&text).with_context(|| format!("{}: not a public member file", path.display()))?;
        member.check().with_context(|| path.display().to_string())?;
        Ok(member)
    }

    /// The member as a charter names it.
    pub(crate) fn to_charter(&self, role: MemberRole) -> anyhow::Result<CharterMember> {
        Ok(CharterMember {
            code: self.code,
            name: self.name.clone(),
            role,
            root: self.root,
            sealing: self.sealing_key()?,
            addresses: self.addresses.clone(),
        })
    }

    /// A short text that two people compare by telephone before they trust the file.
    pub(crate) fn fingerprint(&self) -> String {
        fingerprint(self.code, &self.root, &self.sealing)
    }

    fn to_text(&self) -> anyhow::Result<String> {
        let fields = toml::to_string(self).context("a member is always TOML")?;
        Ok(format!(
            "# Vatra member {}: no secret. Hand it to the keeper of the charter, and compare\n\
             # the fingerprint by telephone: {}\n{fields}",
            self.code,
            self.fingerprint()
        ))
    }

    fn check(&self) -> anyhow::Result<()> {
        Public::new(&self.root.0).context("root")?;
        self.sealing_key()?;
        Ok(())
    }

    fn sealing_key(&self) -> anyhow::Result<[u8; 32]> {
        let mut key = [0; 32];
        hex::decode_to_slice(&self.sealing, &mut key)
            .map_err(|_| anyhow::anyhow!("sealing must be 64 hexadecimal characters"))?;
        Ok(key)
    }
}

/// The fingerprint of a member as a charter names it.
pub(crate) fn fingerprint_of(member: &CharterMember) -> String {
    fingerprint(member.code, &member.root, &hex::encode(member.sealing))
}

/// First 80 bits of SHA-256 over code and keys, in groups of four characters.
fn fingerprint(code: MemberCode, root: &RootKey, sealing: &str) -> String {
    let digest = Sha256::digest(format!("vatra member v1 {code} {root} {sealing}"));
    let text = hex::encode(&digest[..10]);
    let groups: Vec<&str> = (0..text.len()).step_by(4).map(|start| &text[start..start + 4]).collect();
    groups.join(" ")
}
