//! `vatra node backup`, `restore` and `clone`: a stopped node's store, copied, put back, or taken along.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;
use vatra_model::certificate::SignedCertificate;

use super::exit::Exit;
use super::input;
use super::node::address_text;
use super::print::{self, Printer};
use crate::config::{LinkProfile, NodeConfig};
use crate::federation::{MemberKeys, NodePlan, PeerAddition, add_peers};
use crate::node;

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// Directory of the node; the node must not run.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Directory to make for the backup. Keys are not part of it.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// Directory of the node; the node must not run.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// What `vatra node backup` made, a copy of the node's directory, or a copy of its store.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct CloneArgs {
    /// Directory of the node to take the store from; the node must not run.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Directory to make for the new node; existing files are never overwritten.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Directory of the member, with its root.key: it certifies the new node's key.
    #[arg(long, value_name = "DIR")]
    member: PathBuf,
    /// Name of the new node, as kyiv-2.
    #[arg(long, value_name = "NAME")]
    node: String,
    /// Name of its site; the one of the first node by default.
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// UDP address that the new node listens on for links.
    #[arg(long, value_name = "ADDR")]
    mesh: SocketAddr,
    /// TCP address that the new node serves its API on.
    // The global --api is a text, and one option has one type.
    #[arg(long, value_name = "ADDR", value_parser = address_text)]
    api: String,
    /// Serve the API beyond loopback, without TLS, on a network that you trust.
    #[arg(long)]
    allow_non_loopback: bool,
    /// What the new node's links cost; as those of the first node by default.
    #[arg(long, value_parser = PossibleValuesParser::new(LinkProfile::WORDS))]
    profile: Option<String>,
}

pub(crate) fn backup(args: &BackupArgs, out: &mut Printer) -> anyhow::Result<Exit> {
    let config = NodeConfig::load(&args.dir)?;
    let manifest = node::back_up(&config, &args.to, input::now())?;
    if out.is_json() {
        out.json(&manifest)?;
        return Ok(Exit::Done);
    }
    out.line(&format!("backed up the store of {} of {} to {}", manifest.name, manifest.member, args.to.display()))?;
    print::hint("it holds no key: keep node.key and node.toml safe as well");
    Ok(Exit::Done)
}

pub(crate) fn restore(args: &RestoreArgs, out: &mut Printer) -> anyhow::Result<Exit> {
    let config = NodeConfig::load(&args.dir)?;
    let done = node::put_back(&config, &args.from, input::now())?;
    if out.is_json() {
        out.json(&json!({"store": config.store.path, "entries": done.entries, "kept": done.kept}))?;
        return Ok(Exit::Done);
    }
    out.line(&format!("restored: the store of {} has {} entries", config.name, done.entries))?;
    if let Some(kept) = &done.kept {
        out.line(&format!("kept:     the store that was there, at {}", kept.display()))?;
    }
    let dir = args.dir.display();
    print::hint(&format!(
        "start the node: it opens a new incarnation and fetches back what peers hold of it; `vatra doctor --dir {dir}` \
         explains it"
    ));
    Ok(Exit::Done)
}

pub(crate) fn clone(args: &CloneArgs, out: &mut Printer) -> anyhow::Result<Exit> {
    let source = NodeConfig::load(&args.from)?;
    let member = MemberKeys::load(&args.member)?;
    let code = member.public.code;
    anyhow::ensure!(
        code == source.member,
        "{} has the keys of {code}, but the node is of {}",
        args.member.display(),
        source.member
    );
    let profile =
        args.profile.as_deref().map(|word| LinkProfile::parse(word).context("the parser allows only known ones"));
    let mut plan = NodePlan {
        site: args.site.clone().unwrap_or_else(|| source.site.clone()),
        node: args.node.clone(),
        mesh: args.mesh,
        api: args.api.parse().context("the parser allows only addresses")?,
        allow_non_loopback: args.allow_non_loopback,
        profile: profile.transpose()?.unwrap_or(source.mesh.profile),
        charter: None,
        purpose: source.key.purpose(),
        engine: source.store.engine,
    };
    anyhow::ensure!(args.node != source.name, "--node {}: the first node has this name already", args.node);
    // Every address of a machine is another one on another machine.
    let is_taken = args.mesh == source.mesh.listen && !args.mesh.ip().is_unspecified();
    anyhow::ensure!(!is_taken, "--mesh {}: the first node listens there; give the new one another address", args.mesh);
    plan.check(&args.to)?;
    let (charter, entries) = node::take_along(&source, &args.to.join("store"))?;
    plan.charter = Some(charter.encode());
    let certificate = plan.create(&args.to, &member, input::now())?;
    let acquainted = acquaint(args, &source, &certificate)?;
    let key = certificate.certificate().key;
    if out.is_json() {
        out.json(&json!({"dir": args.to, "node": args.node, "member": code, "key": key, "entries": entries}))?;
        return Ok(Exit::Done);
    }
    out.line(&format!("node {} of {code}, key {key}, starts with {entries} entries of {}", args.node, source.name))?;
    if acquainted {
        out.line(&format!("{} and {} are each other's peers now", source.name, args.node))?;
    }
    let to = args.to.display();
    print::hint(&format!(
        "hand over what `vatra node show --dir {to}` prints; the peers of {} are its peers",
        source.name
    ));
    Ok(Exit::Done)
}

/// Gives the new node the peers of the first one, and makes the two each other's peers where their addresses say
/// how they are reached. Says whether they are.
fn acquaint(args: &CloneArgs, source: &NodeConfig, certificate: &SignedCertificate) -> anyhow::Result<bool> {
    let mut peers: Vec<PeerAddition> = source
        .peers
        .iter()
        .map(|peer| PeerAddition { certificate: peer.certificate.clone(), address: peer.address, dial: peer.dial })
        .collect();
    let reachable = |address: SocketAddr| !address.ip().is_unspecified();
    let both = reachable(source.mesh.listen) && reachable(args.mesh);
    if both {
        let address = source.mesh.listen;
        peers.push(PeerAddition { certificate: source.certificate.clone(), address, dial: true });
        let new = PeerAddition { certificate: certificate.clone(), address: args.mesh, dial: true };
        add_peers(&args.from, &[new])?;
    }
    add_peers(&args.to, &peers)?;
    Ok(both)
}
