//! The configuration of a node: `node.toml`, the key and the charter beside it, parsed into types.
//!
//! A node directory is `node.toml`, `node.key`, `charter.vatra`, `admin.token` and `store/`. Every
//! error names the file, the line, the key, its value and what is allowed.

mod admission;
mod error;
mod file;
mod values;

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use vatra_model::MemberCode;
use vatra_model::certificate::SignedCertificate;
use vatra_model::charter::{CHARTER_BYTES_MAX, Charter};
use vatra_model::schema::words::Tlp;

pub(crate) use self::admission::NotAdmitted;
pub(crate) use self::error::ConfigError;
pub(crate) use self::file::{ConfigFile, decode_certificate};
pub(crate) use self::values::{EngineKind, LinkProfile, TokenRole};
use crate::keys::{Key, KeyKind};

/// Name of the configuration file in a node directory.
pub(crate) const CONFIG_FILE: &str = "node.toml";
/// Name of the file that holds the first token, written once by `vatra node init`.
pub(crate) const ADMIN_TOKEN_FILE: &str = "admin.token";
/// Default name of the node's key file.
pub(crate) const KEY_FILE: &str = "node.key";
/// Default name of the charter file.
pub(crate) const CHARTER_FILE: &str = "charter.vatra";

/// All that a node needs to start, checked.
#[derive(Debug)]
pub(crate) struct NodeConfig {
    /// The node directory.
    pub(crate) dir: PathBuf,
    /// Name of the node, such as `kyiv-1`.
    pub(crate) name: String,
    /// The member whose node this is.
    pub(crate) member: MemberCode,
    /// The site, such as `kyiv`.
    pub(crate) site: String,
    /// The node's key; [`Key::secret`] signs, [`Key::seed`] builds a link identity.
    pub(crate) key: Key,
    /// The member root's word that the key is this node's.
    pub(crate) certificate: SignedCertificate,
    /// The charter as the file beside the configuration has it; the store may hold a newer one.
    pub(crate) charter: Charter,
    /// Where and how links are made.
    pub(crate) mesh: MeshConfig,
    /// Where the API is served and to whom.
    pub(crate) api: ApiConfig,
    /// Where and how entries are kept.
    pub(crate) store: StoreConfig,
    /// Nodes to link with; all of them admitted by the charter.
    pub(crate) peers: Vec<PeerConfig>,
    /// Bounds that differ from the defaults.
    pub(crate) limits: LimitsConfig,
    /// What is odd but does not keep the node from running.
    pub(crate) warnings: Vec<String>,
}

/// Section `[mesh]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MeshConfig {
    /// UDP address to listen on.
    pub(crate) listen: SocketAddr,
    /// What the links cost: sets time-outs and beacon pace.
    pub(crate) profile: LinkProfile,
}

/// Section `[api]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiConfig {
    /// TCP address to serve on; loopback unless it was allowed otherwise.
    pub(crate) listen: SocketAddr,
    /// Who may call.
    pub(crate) tokens: Vec<TokenConfig>,
}

/// One `[[api.token]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenConfig {
    /// Name of the caller, for logs.
    pub(crate) name: String,
    /// SHA-256 of the token's text; the token itself is nowhere in the configuration.
    pub(crate) sha256: [u8; 32],
    /// What the caller may do.
    pub(crate) role: TokenRole,
    /// The most restricted label that the caller may read.
    pub(crate) tlp: Tlp,
}

/// Section `[store]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreConfig {
    /// Directory of the store, absolute or below the node directory.
    pub(crate) path: PathBuf,
    /// Which engine keeps it.
    pub(crate) engine: EngineKind,
    /// Memory for the engine's cache, in MiB.
    pub(crate) cache_mib: usize,
}

/// One `[[peer]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerConfig {
    /// Who it is.
    pub(crate) certificate: SignedCertificate,
    /// Where it listens (UDP).
    pub(crate) address: SocketAddr,
    /// Whether this node dials it; otherwise it is waited for.
    pub(crate) dial: bool,
}

/// Section `[limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LimitsConfig {
    /// Most links at a time.
    pub(crate) links: usize,
    /// Entries per second taken from one origin outside catch-up; too low delays a busy origin, too
    /// high lets a broken one fill the disk.
    pub(crate) origin_entries_per_second: u32,
    /// Most stream subscribers at a time.
    pub(crate) subscribers: usize,
    /// Largest bundle that is imported, in MiB; the disk of the node's directory must have room for it.
    pub(crate) bundle_mib: u32,
}

impl LimitsConfig {
    /// Largest bundle that is imported, in bytes.
    pub(crate) fn bundle_bytes(&self) -> u64 {
        u64::from(self.bundle_mib) << 20
    }
}

impl NodeConfig {
    /// Reads and checks a node directory. Nothing is written and no address is bound.
    ///
    /// # Errors
    /// The first problem found, with file, line, key, value and what is allowed.
    pub(crate) fn load(dir: &Path) -> anyhow::Result<NodeConfig> {
        let file = ConfigFile::read(dir)?;
        let identity = file.identity()?;
        let key = Key::load(&dir.join(&identity.key_file), KeyKind::Node)?;
        let certified = identity.certificate.certificate();
        if certified.key.0 != key.public() {
            return Err(file.certificate_error("it is for another key than the one in key_file").into());
        }
        let charter = read_charter(&dir.join(&identity.charter_file))?;
        if let Err(error) = NotAdmitted::check(&charter, &identity.certificate) {
            return Err(file.certificate_error(&format!("{error}; {}", error.remedy())).into());
        }
        let mut warnings = Vec::new();
        let mut peers = file.peers(certified.key)?;
        peers.retain(|peer| match charter.admit(&peer.certificate) {
            Ok(_) => true,
            Err(error) => {
                let peer = peer.certificate.certificate();
                warnings.push(format!("peer {} of {} is not admitted: {error}", peer.node, peer.member));
                false
            }
        });
        Ok(NodeConfig {
            dir: dir.to_owned(),
            mesh: file.mesh()?,
            api: file.api()?,
            store: file.store(dir)?,
            limits: file.limits()?,
            name: identity.name,
            member: identity.member,
            site: identity.site,
            certificate: identity.certificate,
            key,
            charter,
            peers,
            warnings,
        })
    }
}

/// Reads and verifies a charter file.
pub(crate) fn read_charter(path: &Path) -> Result<Charter, ConfigError> {
    let read = |source| ConfigError::Read { file: path.to_owned(), source };
    let bytes = read_file(path, CHARTER_BYTES_MAX).map_err(read)?;
    Charter::decode(&bytes).map_err(|source| {
        let file = path.to_owned();
        if is_draft_text(&bytes) { ConfigError::CharterDraft { file } } else { ConfigError::Charter { file, source } }
    })
}

/// Whether a file has the form of a draft, which is TOML and says of which federation it is.
fn is_draft_text(bytes: &[u8]) -> bool {
    let table = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<toml::Table>().ok());
    table.is_some_and(|table| table.contains_key("federation"))
}

/// Reads a file of at most `bytes_max` bytes.
pub(crate) fn read_file(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("larger than {bytes_max} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
