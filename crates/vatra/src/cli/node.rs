//! `vatra node`: a node's directory, made, shown, checked and told its peers.
//!
//! `node run` starts what `crate::node` builds from the configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde_json::json;

use super::copies::{self, BackupArgs, CloneArgs, RestoreArgs};
use super::exit::Exit;
use super::input;
use super::print::{self, Printer};
use crate::config::{ConfigFile, EngineKind, LinkProfile, NodeConfig};
use crate::federation::{MemberKeys, NodePlan, PeerAddition, add_peer, certificate_text, read_certificate};
use crate::keys::Purpose;
use crate::node::LogFormat;

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Run a node in the foreground until SIGTERM or SIGINT.
    Run(RunArgs),
    /// Make a node's key, certificate, configuration and first token.
    Init(InitArgs),
    /// Print a node's certificate, to hand over to the operators of other nodes.
    Show(DirArgs),
    /// Check a node's configuration, keys, certificate and charter without starting it.
    Check(DirArgs),
    /// Copy a stopped node's store into a new directory.
    Backup(BackupArgs),
    /// Put a backup's store in place of a stopped node's; the store that was there is kept.
    Restore(RestoreArgs),
    /// Make a second node, with a key of its own, from a stopped node's store.
    Clone(CloneArgs),
    /// Keep the list of nodes that a node links with.
    #[command(subcommand)]
    Peer(PeerCommand),
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Directory of the node.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// How log lines on standard error look; VATRA_LOG chooses what is logged, as info.
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Directory of the member, with its root.key.
    #[arg(long, value_name = "DIR")]
    member: PathBuf,
    /// Name of the site, as kyiv.
    #[arg(long, value_name = "NAME")]
    site: String,
    /// Name of the node, as kyiv-1.
    #[arg(long, value_name = "NAME")]
    node: String,
    /// Directory to make for the node; existing files are never overwritten.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// UDP address that the node listens on for links, as 192.0.2.7:4100.
    #[arg(long, value_name = "ADDR")]
    mesh: SocketAddr,
    /// TCP address that the node serves its API on, as 127.0.0.1:4101.
    // The global --api is a text, and one option has one type.
    #[arg(long, value_name = "ADDR", value_parser = address_text)]
    api: String,
    /// Serve the API beyond loopback, without TLS, on a network that you trust.
    #[arg(long)]
    allow_non_loopback: bool,
    /// What the node's links cost.
    #[arg(long, default_value = "wan", value_parser = PossibleValuesParser::new(LinkProfile::WORDS))]
    profile: String,
    /// Charter to put beside the configuration; it can be put there later as charter.vatra.
    #[arg(long, value_name = "FILE")]
    charter: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DirArgs {
    /// Directory of the node.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PeerCommand {
    /// Add a node that another operator has handed the certificate of.
    Add(PeerArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PeerArgs {
    /// Directory of this node.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Certificate of the other node, as `vatra node show` prints it.
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// UDP address that the other node listens on.
    #[arg(long, value_name = "ADDR")]
    address: SocketAddr,
    /// Wait for the other node to dial.
    #[arg(long)]
    no_dial: bool,
}

/// An address as an argument, checked but kept as text.
pub(super) fn address_text(text: &str) -> Result<String, String> {
    text.parse::<SocketAddr>().map(|address| address.to_string()).map_err(|error| error.to_string())
}

/// Runs a node command. A running node ends with its own exit code.
pub(crate) fn run(command: NodeCommand, out: &mut Printer) -> anyhow::Result<ExitCode> {
    let exit = match command {
        NodeCommand::Run(args) => return crate::node::run(NodeConfig::load(&args.dir)?, args.log_format),
        NodeCommand::Init(args) => init(&args, out)?,
        NodeCommand::Show(args) => show(&args, out)?,
        NodeCommand::Check(args) => check(&args, out)?,
        NodeCommand::Backup(args) => copies::backup(&args, out)?,
        NodeCommand::Restore(args) => copies::restore(&args, out)?,
        NodeCommand::Clone(args) => copies::clone(&args, out)?,
        NodeCommand::Peer(PeerCommand::Add(args)) => peer_add(&args, out)?,
    };
    Ok(exit.into())
}

fn init(args: &InitArgs, out: &mut Printer) -> anyhow::Result<Exit> {
    let member = MemberKeys::load(&args.member)?;
    let charter = args.charter.as_ref().map(|path| crate::config::read_charter(path)).transpose()?;
    let plan = NodePlan {
        site: args.site.clone(),
        node: args.node.clone(),
        mesh: args.mesh,
        api: args.api.parse().context("the parser allows only addresses")?,
        allow_non_loopback: args.allow_non_loopback,
        profile: LinkProfile::parse(&args.profile).context("the parser allows only known profiles")?,
        charter: charter.map(|charter| charter.encode()),
        purpose: Purpose::Real,
        engine: EngineKind::Redb,
    };
    let certificate = plan.create(&args.dir, &member, input::now())?;
    let key = certificate.certificate().key;
    let dir = args.dir.display();
    if out.is_json() {
        out.json(&json!({"dir": args.dir, "node": args.node, "member": member.public.code, "key": key}))?;
        return Ok(Exit::Done);
    }
    out.line(&format!("node {} of {}, key {key}", args.node, member.public.code))?;
    out.line(&format!("{dir}/admin.token  secret, for the API; only its hash stands in node.toml"))?;
    if plan.charter.is_none() {
        print::hint(&format!("put the charter at {dir}/charter.vatra before the node is started"));
    }
    print::hint(&format!("hand over what `vatra node show --dir {dir}` prints"));
    Ok(Exit::Done)
}

fn show(args: &DirArgs, out: &mut Printer) -> anyhow::Result<Exit> {
    let file = ConfigFile::read(&args.dir)?;
    let identity = file.identity()?;
    let listen = file.mesh()?.listen;
    let text = certificate_text(&identity.certificate, listen);
    if out.is_json() {
        let line = text.lines().last().unwrap_or_default();
        let key = identity.certificate.certificate().key;
        out.json(&json!({
            "node": identity.name, "member": identity.member, "site": identity.site, "key": key,
            "mesh": listen, "api": file.api_listen()?, "certificate": line,
        }))?;
    } else {
        out.raw(text.as_bytes())?;
    }
    Ok(Exit::Done)
}

fn check(args: &DirArgs, out: &mut Printer) -> anyhow::Result<Exit> {
    let config = NodeConfig::load(&args.dir)?;
    let epoch = config.charter.current();
    match crate::node::not_admitted(&config) {
        Ok(None) => {}
        Ok(Some(error)) => return Err(anyhow!("{error}, as the charter in the store has it; {}", error.remedy())),
        Err(error) => print::warning(&format!(
            "the store cannot be opened, so the charter in it was not looked at; `vatra doctor --dir {}` says more: \
             {error:#}",
            config.dir.display()
        )),
    }
    for warning in &config.warnings {
        print::warning(warning);
    }
    if config.key.purpose() == Purpose::Lab {
        print::warning("the keys were made for a lab; never use them in operations");
    }
    if out.is_json() {
        out.json(&json!({
            "node": config.name, "member": config.member, "site": config.site, "mesh": config.mesh.listen,
            "api": config.api.listen, "peers": config.peers.len(), "charter_epoch": epoch.epoch,
            "members": epoch.members.len(), "warnings": config.warnings, "dir": config.dir,
            "key": config.certificate.certificate().key, "engine": config.store.engine.as_str(),
            "store": config.store.path, "cache_mib": config.store.cache_mib, "limits": {
                "links": config.limits.links, "subscribers": config.limits.subscribers,
                "origin_entries_per_second": config.limits.origin_entries_per_second,
            },
            "tokens": config.api.tokens.iter()
                .map(|token| json!({"name": token.name, "role": token.role.as_str(), "tlp": token.tlp}))
                .collect::<Vec<_>>(),
        }))?;
        return Ok(Exit::Done);
    }
    for token in &config.api.tokens {
        let name = print::clean(&token.name);
        out.line(&format!("token {name}: {}, reads up to TLP {}", token.role.as_str(), token.tlp))?;
    }
    out.line(&format!(
        "good: node {} of {}, charter epoch {} of {} with {} members, {} peers, mesh {}, API {}",
        config.name,
        config.member,
        epoch.epoch,
        print::clean(&epoch.federation),
        epoch.members.len(),
        config.peers.len(),
        config.mesh.listen,
        config.api.listen,
    ))?;
    Ok(Exit::Done)
}

fn peer_add(args: &PeerArgs, out: &mut Printer) -> anyhow::Result<Exit> {
    let certificate = read_certificate(&args.certificate)?;
    let certified = certificate.certificate().clone();
    add_peer(&args.dir, PeerAddition { certificate, address: args.address, dial: !args.no_dial })?;
    if out.is_json() {
        out.json(&json!({"node": certified.node, "member": certified.member, "key": certified.key}))?;
    } else {
        out.line(&format!("added {} of {} at {}", certified.node, certified.member, args.address))?;
    }
    Ok(Exit::Done)
}
