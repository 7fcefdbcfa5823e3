//! `node.toml` as written: its form, its defaults, and each value parsed with its place in the file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use toml::Spanned;
use vatra_model::certificate::{CERTIFICATE_BYTES_MAX, SignedCertificate, check_name};
use vatra_model::limits::LINKS_MAX;
use vatra_model::schema::words::Tlp;
use vatra_model::{MemberCode, NodeKey};

use super::error::{ConfigError, line_of, shown};
use super::values::{EngineKind, LinkProfile, TokenRole};
use super::{
    ApiConfig, CHARTER_FILE, CONFIG_FILE, KEY_FILE, LimitsConfig, MeshConfig, PeerConfig, StoreConfig, TokenConfig,
    read_file,
};

/// Largest `node.toml` in bytes.
const CONFIG_BYTES_MAX: usize = 1024 * 1024;
/// Most peers of one node.
const PEERS_MAX: usize = 256;
/// Most API tokens of one node.
const TOKENS_MAX: usize = 256;
/// Most characters of a token's name.
const TOKEN_NAME_CHARS_MAX: usize = 64;
/// What an address may be.
const ADDRESS: &str = "an IP address and a port above 0, as 127.0.0.1:4100 or [::1]:4100";

/// A configuration file whose form is right; its values are parsed on request.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    text: String,
    raw: Raw,
}

/// Section `[node]`, parsed.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) member: MemberCode,
    pub(crate) site: String,
    pub(crate) certificate: SignedCertificate,
    pub(crate) key_file: PathBuf,
    pub(crate) charter_file: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    node: RawNode,
    mesh: RawMesh,
    api: RawApi,
    #[serde(default)]
    store: RawStore,
    #[serde(default)]
    peer: Vec<RawPeer>,
    #[serde(default)]
    limits: RawLimits,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    name: Spanned<String>,
    member: Spanned<String>,
    site: Spanned<String>,
    certificate: Spanned<String>,
    key_file: Option<Spanned<String>>,
    charter_file: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMesh {
    listen: Spanned<String>,
    profile: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawApi {
    listen: Spanned<String>,
    #[serde(default)]
    allow_non_loopback: bool,
    #[serde(default)]
    token: Vec<RawToken>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawToken {
    name: Spanned<String>,
    sha256: Spanned<String>,
    role: Spanned<String>,
    tlp: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStore {
    path: Option<Spanned<String>>,
    engine: Option<Spanned<String>>,
    cache_mib: Option<Spanned<toml::Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPeer {
    certificate: Spanned<String>,
    address: Spanned<String>,
    dial: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    links: Option<Spanned<toml::Value>>,
    origin_entries_per_second: Option<Spanned<toml::Value>>,
    subscribers: Option<Spanned<toml::Value>>,
    bundle_mib: Option<Spanned<toml::Value>>,
}

impl ConfigFile {
    /// Reads the configuration of a node directory.
    pub(crate) fn read(dir: &Path) -> Result<ConfigFile, ConfigError> {
        let path = dir.join(CONFIG_FILE);
        let read = |source| ConfigError::Read { file: path.clone(), source };
        let bytes = read_file(&path, CONFIG_BYTES_MAX).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => ConfigError::NoNode { file: path.clone() },
            _ => read(error),
        })?;
        let text = String::from_utf8(bytes).map_err(|error| read(std::io::Error::other(error.utf8_error())))?;
        ConfigFile::parse(path, text)
    }

    /// Checks the form of a configuration text; `path` is for messages.
    pub(crate) fn parse(path: PathBuf, text: String) -> Result<ConfigFile, ConfigError> {
        match toml::from_str(&text) {
            Ok(raw) => Ok(ConfigFile { path, text, raw }),
            Err(error) => Err(ConfigError::form(path, &text, &error)),
        }
    }

    /// The text of the file.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Address of the API.
    pub(crate) fn api_listen(&self) -> Result<SocketAddr, ConfigError> {
        self.address("api.listen", &self.raw.api.listen)
    }

    /// Section `[node]`.
    pub(crate) fn identity(&self) -> Result<Identity, ConfigError> {
        let node = &self.raw.node;
        let certificate = self.certificate("node.certificate", &node.certificate)?;
        let certified = certificate.certificate();
        let name = self.name("node.name", "node", &node.name, &certified.node)?;
        let site = self.name("node.site", "site", &node.site, &certified.site)?;
        let member: MemberCode = match node.member.get_ref().parse() {
            Ok(member) if member == certified.member => member,
            Ok(_) => {
                let allowed = format!("the certificate is for member {}", certified.member);
                return Err(self.error("node.member", &node.member, allowed));
            }
            Err(error) => return Err(self.error("node.member", &node.member, error)),
        };
        let key_file = self.file_name("node.key_file", node.key_file.as_ref(), KEY_FILE)?;
        let charter_file = self.file_name("node.charter_file", node.charter_file.as_ref(), CHARTER_FILE)?;
        Ok(Identity { name, member, site, key_file, charter_file, certificate })
    }

    /// Section `[mesh]`.
    pub(crate) fn mesh(&self) -> Result<MeshConfig, ConfigError> {
        let profile = self.raw.mesh.profile.as_ref();
        Ok(MeshConfig {
            listen: self.address("mesh.listen", &self.raw.mesh.listen)?,
            profile: self.word("mesh.profile", profile, LinkProfile::Wan, LinkProfile::parse, LinkProfile::WORDS)?,
        })
    }

    /// Section `[api]`.
    pub(crate) fn api(&self) -> Result<ApiConfig, ConfigError> {
        let api = &self.raw.api;
        let listen = self.api_listen()?;
        if !listen.ip().is_loopback() && !api.allow_non_loopback {
            let allowed = "a loopback address; this version serves the API without TLS, so any other needs \
                           allow_non_loopback = true and a network that you trust";
            return Err(self.error("api.listen", &api.listen, allowed));
        }
        if api.token.len() > TOKENS_MAX {
            let allowed = format!("{} tokens, at most {TOKENS_MAX}", api.token.len());
            return Err(self.error("api.token", &api.token[TOKENS_MAX].name, allowed));
        }
        let tokens: Result<Vec<TokenConfig>, ConfigError> = api.token.iter().map(|token| self.token(token)).collect();
        Ok(ApiConfig { listen, tokens: tokens? })
    }

    /// Section `[store]`; a relative path is below the node directory.
    pub(crate) fn store(&self, dir: &Path) -> Result<StoreConfig, ConfigError> {
        let store = &self.raw.store;
        let engine = store.engine.as_ref();
        Ok(StoreConfig {
            path: dir.join(self.file_name("store.path", store.path.as_ref(), "store")?),
            engine: self.word("store.engine", engine, EngineKind::Redb, EngineKind::parse, EngineKind::WORDS)?,
            cache_mib: self.number("store.cache_mib", store.cache_mib.as_ref(), 32, 8, 65_536)?,
        })
    }

    /// The `[[peer]]` sections; `own` is this node's key, which is no peer.
    pub(crate) fn peers(&self, own: NodeKey) -> Result<Vec<PeerConfig>, ConfigError> {
        let mut peers: Vec<PeerConfig> = Vec::new();
        for raw in &self.raw.peer {
            let certificate = self.certificate("peer.certificate", &raw.certificate)?;
            let key = certificate.certificate().key;
            let problem = if key == own {
                Some("this is the node itself".to_owned())
            } else if peers.iter().any(|peer| peer.certificate.certificate().key == key) {
                Some("another [[peer]] has the same node key".to_owned())
            } else if peers.len() == PEERS_MAX {
                Some(format!("at most {PEERS_MAX} peers are allowed"))
            } else {
                None
            };
            if let Some(problem) = problem {
                return Err(self.error("peer.certificate", &raw.certificate, problem));
            }
            let address = self.address("peer.address", &raw.address)?;
            if address.ip().is_unspecified() {
                return Err(self.error("peer.address", &raw.address, "an address that can be dialled"));
            }
            peers.push(PeerConfig { certificate, address, dial: raw.dial.unwrap_or(true) });
        }
        Ok(peers)
    }

    /// Section `[limits]`.
    pub(crate) fn limits(&self) -> Result<LimitsConfig, ConfigError> {
        let limits = &self.raw.limits;
        let rate = limits.origin_entries_per_second.as_ref();
        Ok(LimitsConfig {
            links: self.number("limits.links", limits.links.as_ref(), LINKS_MAX, 1, LINKS_MAX)?,
            origin_entries_per_second: self.number("limits.origin_entries_per_second", rate, 200, 1, 100_000)?,
            subscribers: self.number("limits.subscribers", limits.subscribers.as_ref(), 4096, 1, 4096)?,
            bundle_mib: self.number("limits.bundle_mib", limits.bundle_mib.as_ref(), 256, 1, 65_536)?,
        })
    }

    /// An error about the node's own certificate.
    pub(super) fn certificate_error(&self, allowed: &str) -> ConfigError {
        self.error("node.certificate", &self.raw.node.certificate, allowed)
    }

    fn token(&self, raw: &RawToken) -> Result<TokenConfig, ConfigError> {
        let name = raw.name.get_ref();
        if name.is_empty() || name.chars().count() > TOKEN_NAME_CHARS_MAX || name.chars().any(char::is_control) {
            let allowed = format!("1 to {TOKEN_NAME_CHARS_MAX} printable characters");
            return Err(self.error("api.token.name", &raw.name, allowed));
        }
        let mut sha256 = [0; 32];
        if hex::decode_to_slice(raw.sha256.get_ref(), &mut sha256).is_err() {
            let allowed = "64 hexadecimal characters: the SHA-256 of the token, never the token";
            return Err(self.error("api.token.sha256", &raw.sha256, allowed));
        }
        let role = &raw.role;
        let role = TokenRole::parse(role.get_ref())
            .ok_or_else(|| self.error("api.token.role", role, one_of(TokenRole::WORDS)))?;
        let labels: Vec<&str> = Tlp::ALL.iter().map(|label| label.as_str()).collect();
        let tlp = self.word("api.token.tlp", raw.tlp.as_ref(), Tlp::Green, Tlp::find, &labels)?;
        Ok(TokenConfig { name: name.clone(), sha256, role, tlp })
    }

    fn name(
        &self,
        key: &str,
        what: &'static str,
        raw: &Spanned<String>,
        certified: &str,
    ) -> Result<String, ConfigError> {
        check_name(what, raw.get_ref()).map_err(|error| self.error(key, raw, error))?;
        if raw.get_ref() != certified {
            return Err(self.error(key, raw, format!("the certificate is for {what} {certified:?}")));
        }
        Ok(raw.get_ref().clone())
    }

    fn certificate(&self, key: &str, raw: &Spanned<String>) -> Result<SignedCertificate, ConfigError> {
        decode_certificate(raw.get_ref()).map_err(|problem| self.error(key, raw, problem))
    }

    fn address(&self, key: &str, raw: &Spanned<String>) -> Result<SocketAddr, ConfigError> {
        match SocketAddr::from_str(raw.get_ref()) {
            Ok(address) if address.port() != 0 => Ok(address),
            _ => Err(self.error(key, raw, ADDRESS)),
        }
    }

    fn file_name(&self, key: &str, raw: Option<&Spanned<String>>, default: &str) -> Result<PathBuf, ConfigError> {
        match raw {
            None => Ok(PathBuf::from(default)),
            Some(raw) if raw.get_ref().is_empty() || raw.get_ref().contains('\0') => {
                Err(self.error(key, raw, "a path, relative to the node directory or absolute"))
            }
            Some(raw) => Ok(PathBuf::from(raw.get_ref())),
        }
    }

    fn word<T>(
        &self,
        key: &str,
        raw: Option<&Spanned<String>>,
        default: T,
        parse: impl Fn(&str) -> Option<T>,
        words: &[&str],
    ) -> Result<T, ConfigError> {
        let Some(raw) = raw else { return Ok(default) };
        parse(raw.get_ref()).ok_or_else(|| self.error(key, raw, one_of(words)))
    }

    /// A number is read as any value first, so that what is allowed can be told of another kind of value too.
    fn number<T>(
        &self,
        key: &str,
        raw: Option<&Spanned<toml::Value>>,
        default: T,
        min: T,
        max: T,
    ) -> Result<T, ConfigError>
    where
        T: TryFrom<i64> + PartialOrd + std::fmt::Display,
    {
        let Some(raw) = raw else { return Ok(default) };
        match raw.get_ref().as_integer().map(T::try_from) {
            Some(Ok(number)) if number >= min && number <= max => Ok(number),
            Some(_) => Err(self.error(key, raw, format!("a number from {min} to {max}"))),
            None => Err(self.error(key, raw, format!("a whole number from {min} to {max}, without quotes"))),
        }
    }

    fn error<T>(&self, key: &str, raw: &Spanned<T>, allowed: impl std::fmt::Display) -> ConfigError {
        let span = raw.span();
        ConfigError::Value {
            file: self.path.clone(),
            line: line_of(&self.text, span.start),
            key: key.to_owned(),
            value: shown(self.text.get(span).unwrap_or_default()),
            allowed: allowed.to_string(),
        }
    }
}

/// Reads a certificate from base64 text.
pub(crate) fn decode_certificate(text: &str) -> Result<SignedCertificate, String> {
    // Base64 needs four characters for three bytes.
    if text.len() > CERTIFICATE_BYTES_MAX * 2 {
        return Err(format!("a certificate is at most {CERTIFICATE_BYTES_MAX} bytes"));
    }
    let bytes = BASE64_STANDARD.decode(text.trim()).map_err(|error| format!("base64 is expected: {error}"))?;
    SignedCertificate::decode(&bytes).map_err(|error| error.to_string())
}

fn one_of(words: &[&str]) -> String {
    format!("allowed are {}", words.join(", "))
}
