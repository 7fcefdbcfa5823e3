//! A node's directory: its key, the certificate for it, `node.toml` and the first token.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use vatra_model::certificate::{CERTIFICATE_BYTES_MAX, NodeCertificate, SignedCertificate, check_name};
use vatra_model::{NodeKey, WallMs};

use super::{MemberKeys, create_private_dir, refuse_existing, replace_file};
use crate::config::{
    ADMIN_TOKEN_FILE, CHARTER_FILE, CONFIG_FILE, ConfigFile, EngineKind, KEY_FILE, decode_certificate, read_charter,
    read_file,
};
use crate::keys::{Key, KeyKind, Purpose, write_new};

/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;
/// Largest file that holds a certificate.
const CERTIFICATE_FILE_BYTES_MAX: usize = 16 * 1024;

/// A node that is to be made.
#[derive(Clone, Debug)]
pub(crate) struct NodePlan {
    /// The site.
    pub(crate) site: String,
    /// The node's name.
    pub(crate) node: String,
    /// UDP address that it listens on.
    pub(crate) mesh: SocketAddr,
    /// TCP address that its API is served on.
    pub(crate) api: SocketAddr,
    /// Whether the API may be served beyond loopback.
    pub(crate) allow_non_loopback: bool,
    /// What its links cost.
    pub(crate) profile: crate::config::LinkProfile,
    /// Charter to put beside the configuration, as encoded.
    pub(crate) charter: Option<Vec<u8>>,
    /// Whether its keys are meant or made for a lab.
    pub(crate) purpose: Purpose,
    /// What keeps its store.
    pub(crate) engine: EngineKind,
}

impl NodePlan {
    /// Makes the node's directory. Nothing is written if any of its files exists.
    pub(crate) fn create(&self, dir: &Path, member: &MemberKeys, now: WallMs) -> anyhow::Result<SignedCertificate> {
        self.check(dir)?;
        let path = |name: &str| dir.join(name);
        create_private_dir(dir)?;
        let key = Key::create(&path(KEY_FILE), KeyKind::Node, self.purpose)?;
        let certificate = NodeCertificate {
            member: member.public.code,
            site: self.site.clone(),
            node: self.node.clone(),
            key: NodeKey(key.public()),
            not_before: now,
            // Grows with time, so that a renewed certificate replaces the one before it.
            serial: now.0,
        };
        let certificate = certificate.sign(&member.root.secret())?;
        let token = random_token()?;
        write_new(&path(ADMIN_TOKEN_FILE), format!("{token}\n").as_bytes(), 0o600)?;
        if let Some(charter) = &self.charter {
            write_new(&path(CHARTER_FILE), charter, 0o644)?;
        }
        write_new(&path(CONFIG_FILE), self.config_text(&certificate, &token).as_bytes(), 0o600)?;
        Ok(certificate)
    }

    /// Refuses what could not be made, before anything is written.
    pub(crate) fn check(&self, dir: &Path) -> anyhow::Result<()> {
        let path = |name: &str| dir.join(name);
        refuse_existing(&[path(CONFIG_FILE), path(KEY_FILE), path(ADMIN_TOKEN_FILE), path(CHARTER_FILE)])?;
        check_name("site", &self.site)?;
        check_name("node", &self.node)?;
        for (option, address) in [("--mesh", self.mesh), ("--api", self.api)] {
            anyhow::ensure!(address.port() != 0, "{option} {address}: a port above 0 is needed");
        }
        anyhow::ensure!(
            self.api.ip().is_loopback() || self.allow_non_loopback,
            "--api {}: this version serves the API without TLS; give a loopback address, or \
             --allow-non-loopback on a network that you trust",
            self.api
        );
        Ok(())
    }

    fn config_text(&self, certificate: &SignedCertificate, token: &str) -> String {
        let certified = certificate.certificate();
        let lab = match self.purpose {
            Purpose::Lab => "# LAB NODE: its keys were made by a program for a test.\n",
            Purpose::Real => "",
        };
        let non_loopback = if self.allow_non_loopback { "allow_non_loopback = true\n" } else { "" };
        format!(
            "{lab}# A Vatra node. `vatra node check --dir DIR` tells whether all of this holds.\n\n\
             [node]\nname = \"{name}\"\nmember = \"{member}\"\nsite = \"{site}\"\n\
             certificate = \"{certificate}\"\nkey_file = \"{KEY_FILE}\"\ncharter_file = \"{CHARTER_FILE}\"\n\n\
             [mesh]\nlisten = \"{mesh}\"\nprofile = \"{profile}\"\n\n\
             [api]\nlisten = \"{api}\"\n{non_loopback}\n\
             # The token itself stands in {ADMIN_TOKEN_FILE}; keep it elsewhere and delete that file.\n\
             [[api.token]]\nname = \"admin\"\nsha256 = \"{sha256}\"\nrole = \"admin\"\ntlp = \"green\"\n\n\
             [store]\npath = \"store\"\nengine = \"{engine}\"\ncache_mib = 32\n",
            name = certified.node,
            member = certified.member,
            site = certified.site,
            certificate = BASE64_STANDARD.encode(certificate.encode()),
            mesh = self.mesh,
            profile = self.profile.as_str(),
            api = self.api,
            engine = self.engine.as_str(),
            sha256 = hex::encode(Sha256::digest(token)),
        )
    }
}

/// A token that nobody else has.
fn random_token() -> anyhow::Result<String> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).context("no random bytes")?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// A peer that is to be added to a node's configuration.
#[derive(Clone, Debug)]
pub(crate) struct PeerAddition {
    /// Who it is.
    pub(crate) certificate: SignedCertificate,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Whether to dial it.
    pub(crate) dial: bool,
}

/// Adds peers to a node's configuration, which is otherwise kept to the byte, comments included.
pub(crate) fn add_peers(dir: &Path, peers: &[PeerAddition]) -> anyhow::Result<()> {
    let file = ConfigFile::read(dir)?;
    let own = file.identity()?.certificate.certificate().key;
    let mut text = file.text().to_owned();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for peer in peers {
        let certified = peer.certificate.certificate();
        text.push_str(&format!(
            "\n# {} of {}\n[[peer]]\ncertificate = \"{}\"\naddress = \"{}\"\ndial = {}\n",
            certified.node,
            certified.member,
            BASE64_STANDARD.encode(peer.certificate.encode()),
            peer.address,
            peer.dial,
        ));
    }
    let path = dir.join(CONFIG_FILE);
    ConfigFile::parse(path.clone(), text.clone())?.peers(own)?;
    replace_file(&path, text.as_bytes()).with_context(|| path.display().to_string())
}

/// Adds one peer; a charter beside the configuration must admit it.
pub(crate) fn add_peer(dir: &Path, peer: PeerAddition) -> anyhow::Result<()> {
    let charter_path: PathBuf = dir.join(ConfigFile::read(dir)?.identity()?.charter_file);
    if fs::exists(&charter_path).with_context(|| charter_path.display().to_string())? {
        let charter = read_charter(&charter_path)?;
        charter
            .admit(&peer.certificate)
            .with_context(|| format!("charter epoch {} does not admit the peer", charter.current().epoch))?;
    }
    add_peers(dir, &[peer])
}

/// A certificate as text to hand to the operators of other nodes.
pub(crate) fn certificate_text(certificate: &SignedCertificate, mesh: SocketAddr) -> String {
    let certified = certificate.certificate();
    format!(
        "# Vatra node certificate: {} of {}, site {}, listens on {mesh}. No secret.\n# Node key {}\n{}\n",
        certified.node,
        certified.member,
        certified.site,
        certified.key,
        BASE64_STANDARD.encode(certificate.encode())
    )
}

/// Reads a certificate that another operator handed over.
pub(crate) fn read_certificate(path: &Path) -> anyhow::Result<SignedCertificate> {
    let named = || path.display().to_string();
    let bytes = read_file(path, CERTIFICATE_FILE_BYTES_MAX).with_context(named)?;
    let what = "this is no certificate file; give what `vatra node show` prints at the other node";
    let text = String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("{}: {what}", named()))?;
    let lines: Vec<&str> =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let [line] = lines[..] else {
        anyhow::bail!("{}: {what} (one line of base64 is expected, of at most {CERTIFICATE_BYTES_MAX} bytes)", named());
    };
    decode_certificate(line).map_err(|problem| anyhow::anyhow!("{}: {what} ({problem})", named()))
}
