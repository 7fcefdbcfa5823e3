//! Secret keys on disk: one small TOML file per key, readable by its owner only.
//!
//! A key file is written once and never overwritten. One that others may read is refused: who could
//! read it could sign in the owner's name.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vatra_model::Secret;

/// Largest key file that is read.
const KEY_FILE_BYTES_MAX: u64 = 4096;

/// What a key is for; a key of one kind is never taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum KeyKind {
    /// Ed25519 root of a member: signs node certificates and charters. Kept offline.
    #[serde(rename = "member root")]
    Root,
    /// X25519 key of a member: opens what is sealed to it.
    #[serde(rename = "member sealing")]
    Sealing,
    /// Ed25519 key of a node: its identity on links and the signer of its logs.
    #[serde(rename = "node")]
    Node,
}

impl KeyKind {
    fn as_str(self) -> &'static str {
        match self {
            KeyKind::Root => "member root",
            KeyKind::Sealing => "member sealing",
            KeyKind::Node => "node",
        }
    }

    fn public_of(self, seed: &[u8; 32]) -> [u8; 32] {
        match self {
            KeyKind::Root | KeyKind::Node => Secret::from_seed(seed).node_key().0,
            KeyKind::Sealing => x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(*seed)).to_bytes(),
        }
    }
}

/// Whether a key is meant or made for a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Operations.
    Real,
    /// A lab: the file says so in its first line and in a field.
    Lab,
}

/// A key file could not be made or is not acceptable. An existing file was not touched.
#[derive(Debug, Error)]
pub(crate) enum KeyError {
    /// The file system refused.
    #[error("key file {path} cannot be read or written")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// A file with this name exists; a key is never overwritten.
    #[error("{path} exists already; nothing was overwritten")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others may read the file. The owner must decide whether the key is still secret.
    #[error("key file {path}: mode {mode:04o} lets others read it; allowed is 0600 (chmod 600 {path})")]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The content is not a key file, or not one of this kind.
    #[error("key file {path}: {problem}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong; never quotes the secret.
        problem: String,
    },
    /// The operating system gave no random bytes.
    #[error("no random bytes")]
    Random(#[from] getrandom::Error),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    kind: KeyKind,
    public: String,
    secret: String,
    #[serde(default)]
    lab: bool,
}

/// A key read from or just written to disk.
pub(crate) struct Key {
    seed: [u8; 32],
    public: [u8; 32],
    purpose: Purpose,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key(of {})", hex::encode(&self.public[..4]))
    }
}

impl Key {
    /// Makes a random key and writes it to a new file.
    pub(crate) fn create(path: &Path, kind: KeyKind, purpose: Purpose) -> Result<Key, KeyError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let public = kind.public_of(&seed);
        let (note, lab) = match purpose {
            Purpose::Real => ("Keep it secret", ""),
            Purpose::Lab => ("LAB KEY: made for a test, never to be used in operations", "lab = true\n"),
        };
        let text = format!(
            "# Vatra {} key. {note}.\nkind = \"{}\"\npublic = \"{}\"\nsecret = \"{}\"\n{lab}",
            kind.as_str(),
            kind.as_str(),
            hex::encode(public),
            hex::encode(seed),
        );
        write_new(path, text.as_bytes(), 0o600)?;
        Ok(Key { seed, public, purpose })
    }

    /// Reads a key file of this kind.
    pub(crate) fn load(path: &Path, kind: KeyKind) -> Result<Key, KeyError> {
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        let content = |problem: &str| KeyError::Content { path: path.to_owned(), problem: problem.to_owned() };
        let file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(content("not a regular file"));
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(KeyError::Readable { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
        }
        let mut text = String::new();
        file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text).map_err(io)?;
        // The parser's own message would quote the line, and with it perhaps the secret.
        let parsed: KeyFile =
            toml::from_str(&text).map_err(|_| content("not a key file: kind, public and secret are expected"))?;
        if parsed.kind != kind {
            let problem = format!("a {} key, expected is a {} key", parsed.kind.as_str(), kind.as_str());
            return Err(content(&problem));
        }
        let mut seed = [0; 32];
        hex::decode_to_slice(&parsed.secret, &mut seed)
            .map_err(|_| content("secret is not 64 hexadecimal characters"))?;
        let public = kind.public_of(&seed);
        if hex::encode(public) != parsed.public {
            return Err(content("public does not belong to secret: the file is damaged"));
        }
        let purpose = if parsed.lab { Purpose::Lab } else { Purpose::Real };
        Ok(Key { seed, public, purpose })
    }

    /// The public half.
    pub(crate) fn public(&self) -> [u8; 32] {
        self.public
    }

    /// Whether the key is made for a lab.
    pub(crate) fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The secret half as a signer.
    pub(crate) fn secret(&self) -> Secret {
        Secret::from_seed(&self.seed)
    }

    /// The 32-byte seed, for libraries that build their own key from it.
    pub(crate) fn seed(&self) -> &[u8; 32] {
        &self.seed
    }
}

/// Writes a file that must not exist yet, and makes it durable.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyError> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = opened.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
        _ => KeyError::Io { path: path.to_owned(), source },
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_survives_its_file() {
        let dir = tempfile::tempdir().unwrap();
        for kind in [KeyKind::Root, KeyKind::Sealing, KeyKind::Node] {
            let path = dir.path().join(kind.as_str());
            let made = Key::create(&path, kind, Purpose::Real).unwrap();
            let read = Key::load(&path, kind).unwrap();
            assert_eq!((made.seed(), made.public()), (read.seed(), read.public()));
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        }
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        let made = Key::create(&path, KeyKind::Node, Purpose::Real).unwrap();
        assert!(matches!(Key::create(&path, KeyKind::Node, Purpose::Real), Err(KeyError::Exists { .. })));
        assert_eq!(Key::load(&path, KeyKind::Node).unwrap().public(), made.public());
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        Key::create(&path, KeyKind::Node, Purpose::Real).unwrap();
        for mode in [0o640, 0o604, 0o660, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = Key::load(&path, KeyKind::Node).unwrap_err().to_string();
            assert!(error.contains(&format!("mode {mode:04o}")) && error.contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn damage_and_other_kinds_are_refused_without_showing_the_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        Key::create(&path, KeyKind::Node, Purpose::Lab).unwrap();
        assert!(
            Key::load(&path, KeyKind::Root).unwrap_err().to_string().contains("a node key, expected is a member root")
        );
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# Vatra node key. LAB KEY"), "{text}");
        let secret = text.lines().find(|line| line.starts_with("secret")).unwrap().to_owned();
        let damaged = [text.replace("secret = \"", "secret = \"0"), text.replace("secret", "sceret"), String::new()];
        for (index, content) in damaged.iter().enumerate() {
            let path = dir.path().join(format!("{index}.key"));
            write_new(&path, content.as_bytes(), 0o600).unwrap();
            let error = format!("{:?}", Key::load(&path, KeyKind::Node).unwrap_err());
            assert!(!error.contains(&secret[10..40]), "{error}");
        }
    }
}
