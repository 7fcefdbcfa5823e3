//! `vatra charter`: epochs drafted, signed in copies and put together, all offline; only a revocation asks a node how
//! far it holds the logs.

mod revoke;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use vatra_model::charter::{CharterMember, MemberRole, Revocation};
use vatra_model::{EntryHash, LogId, MemberCode, Seq};

use super::exit::{Exit, usage};
use super::print::{self, Printer};
use super::target::Target;
use crate::config::read_charter;
use crate::federation::{CharterDraft, MemberKeys, PublicMember, fingerprint_of, is_draft};
use crate::keys::write_new;

#[derive(Debug, Subcommand)]
pub(crate) enum CharterCommand {
    /// Draft the first epoch of a federation, or the next epoch of a charter.
    New(NewArgs),
    /// Add members to a draft, or replace them.
    Add(AddArgs),
    /// Remove a member from a draft.
    Remove(RemoveArgs),
    /// Revoke a node's key in a draft; a running node says how far its logs stay valid.
    Revoke(revoke::RevokeArgs),
    /// Sign a draft with a member's root key.
    Sign(SignArgs),
    /// Verify a charter or a draft; put a draft and its signed copies together into a charter.
    Verify(VerifyArgs),
    /// Show what a charter or a draft says.
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// Name of a new federation.
    #[arg(long, value_name = "NAME", required_unless_present = "from", conflicts_with = "from")]
    federation: Option<String>,
    /// Charter that the draft continues.
    #[arg(long, value_name = "CHARTER")]
    from: Option<PathBuf>,
    /// Public files of members to add at once.
    #[arg(long = "member", value_name = "FILE")]
    members: Vec<PathBuf>,
    /// Draft file to write.
    #[arg(long, value_name = "DRAFT")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// Draft file.
    draft: PathBuf,
    /// Public files of the members.
    #[arg(required = true, value_name = "FILE")]
    members: Vec<PathBuf>,
    /// Add them as observers: they read and relay, but originate and vote on nothing.
    #[arg(long)]
    observer: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Draft file.
    draft: PathBuf,
    /// Code of the member.
    code: MemberCode,
}

#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// Draft file; the signature is added to it.
    draft: PathBuf,
    /// Directory of the member that signs, with its root.key.
    #[arg(long, value_name = "DIR")]
    member: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Charter or draft file.
    file: PathBuf,
    /// Copies of the draft that were signed elsewhere.
    #[arg(value_name = "COPY")]
    copies: Vec<PathBuf>,
    /// Write the charter with the new epoch here, once enough members have signed.
    #[arg(long, value_name = "CHARTER")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Charter or draft file.
    file: PathBuf,
}

/// Runs a charter command.
pub(crate) fn run(command: CharterCommand, target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    match command {
        CharterCommand::New(args) => new(&args, out),
        CharterCommand::Add(args) => add(&args, out),
        CharterCommand::Remove(args) => remove(&args, out),
        CharterCommand::Revoke(args) => revoke::run(&args, target, out),
        CharterCommand::Sign(args) => sign(&args, out),
        CharterCommand::Verify(args) => verify(&args, out),
        CharterCommand::Show(args) => show(&args, out),
    }
}

fn new(args: &NewArgs, out: &mut Printer) -> anyhow::Result<Exit> {
    let mut draft = match (&args.federation, &args.from) {
        (Some(name), _) => CharterDraft::first(name),
        (None, Some(path)) => CharterDraft::after(read_charter(path)?),
        (None, None) => return Err(usage("give --federation NAME or --from CHARTER")),
    };
    for path in &args.members {
        draft.add(&PublicMember::read(path)?, MemberRole::Member)?;
    }
    draft.write_new(&args.out)?;
    print_draft(&draft, out)
}

fn add(args: &AddArgs, out: &mut Printer) -> anyhow::Result<Exit> {
    let mut draft = CharterDraft::read(&args.draft)?;
    let role = if args.observer { MemberRole::Observer } else { MemberRole::Member };
    for path in &args.members {
        draft.add(&PublicMember::read(path)?, role)?;
    }
    draft.replace(&args.draft)?;
    print_draft(&draft, out)
}

fn remove(args: &RemoveArgs, out: &mut Printer) -> anyhow::Result<Exit> {
    let mut draft = CharterDraft::read(&args.draft)?;
    draft.remove(args.code)?;
    draft.replace(&args.draft)?;
    print_draft(&draft, out)
}

fn sign(args: &SignArgs, out: &mut Printer) -> anyhow::Result<Exit> {
    let mut draft = CharterDraft::read(&args.draft)?;
    let member = MemberKeys::load(&args.member)?;
    let votes = draft.sign(&member)?;
    draft.replace(&args.draft)?;
    if out.is_json() {
        out.json(&json!({"epoch": draft.epoch_number(), "have": votes.have, "need": votes.need}))?;
    } else {
        out.line(&format!("{} signed epoch {}: {votes}", member.public.code, draft.epoch_number()))?;
    }
    Ok(Exit::Done)
}

fn verify(args: &VerifyArgs, out: &mut Printer) -> anyhow::Result<Exit> {
    if is_draft(&args.file)? {
        return verify_draft(args, out);
    }
    if !args.copies.is_empty() || args.out.is_some() {
        return Err(usage("a finished charter takes no copies and is written nowhere; give a draft"));
    }
    let charter = read_charter(&args.file)?;
    let current = charter.current();
    if out.is_json() {
        out.json(&json!({"epoch": current.epoch, "federation": current.federation, "holds": true}))?;
    } else {
        let name = print::clean(&current.federation);
        out.line(&format!("the charter of {name} holds: {} epochs, each with enough signatures", current.epoch))?;
    }
    Ok(Exit::Done)
}

fn verify_draft(args: &VerifyArgs, out: &mut Printer) -> anyhow::Result<Exit> {
    let mut draft = CharterDraft::read(&args.file)?;
    for path in &args.copies {
        draft.merge(&CharterDraft::read(path)?)?;
    }
    let votes = draft.votes()?;
    let charter = match draft.finish() {
        Ok(charter) => charter,
        Err(_) if votes.have < votes.need => {
            let signers: Vec<String> = draft.signers()?.iter().map(ToString::to_string).collect();
            let signers = if signers.is_empty() { "nobody".to_owned() } else { signers.join(", ") };
            anyhow::bail!("epoch {} is not in force: {votes}; {signers} signed", draft.epoch_number());
        }
        Err(error) => return Err(error),
    };
    if let Some(path) = &args.out {
        write_new(path, &charter.encode(), 0o644)?;
    }
    if out.is_json() {
        out.json(&json!({"epoch": draft.epoch_number(), "have": votes.have, "need": votes.need, "holds": true}))?;
    } else {
        out.line(&format!("epoch {} holds: {votes}", draft.epoch_number()))?;
    }
    if args.out.is_none() {
        print::hint("--out FILE writes the charter");
    }
    Ok(Exit::Done)
}

fn show(args: &ShowArgs, out: &mut Printer) -> anyhow::Result<Exit> {
    if is_draft(&args.file)? {
        return print_draft(&CharterDraft::read(&args.file)?, out);
    }
    let charter = read_charter(&args.file)?;
    let current = charter.current();
    if out.is_json() {
        out.json(&json!({
            "federation": current.federation, "epoch": current.epoch, "draft": false,
            "hash": hex::encode(charter.hash()), "founding_hash": hex::encode(charter.founding_hash()),
            "members": members_json(&current.members), "revoked": revoked_json(&current.revocations),
        }))?;
        return Ok(Exit::Done);
    }
    let name = print::clean(&current.federation);
    out.line(&format!("charter of {name}, epoch {}, hash {}", current.epoch, hex::encode(charter.hash())))?;
    print_members(&current.members, out)?;
    print_revoked(&current.revocations, out)?;
    Ok(Exit::Done)
}

fn print_draft(draft: &CharterDraft, out: &mut Printer) -> anyhow::Result<Exit> {
    // A draft without a full member is not yet an epoch that anybody could sign.
    let votes = if draft.members().iter().any(|member| member.role == MemberRole::Member) {
        Some(draft.votes()?)
    } else {
        None
    };
    if out.is_json() {
        out.json(&json!({
            "federation": draft.federation(), "epoch": draft.epoch_number(), "draft": true,
            "members": members_json(draft.members()), "revoked": revoked_json(draft.revocations()),
            "have": votes.map(|votes| votes.have), "need": votes.map(|votes| votes.need),
        }))?;
        return Ok(Exit::Done);
    }
    let votes = votes.map_or_else(|| "no full member yet".to_owned(), |votes| votes.to_string());
    let name = print::clean(draft.federation());
    out.line(&format!("draft of epoch {} of {name}: {votes}", draft.epoch_number()))?;
    print_members(draft.members(), out)?;
    print_revoked(draft.revocations(), out)?;
    Ok(Exit::Done)
}

fn print_revoked(revocations: &[Revocation], out: &mut Printer) -> anyhow::Result<()> {
    for Revocation { key, last_valid } in revocations {
        let valid = match last_valid.len() {
            0 => "nothing of it stays valid".to_owned(),
            1 => "1 log stays valid up to an entry".to_owned(),
            count => format!("{count} logs stay valid up to an entry"),
        };
        out.line(&format!("revoked node key {key}: {valid}"))?;
    }
    Ok(())
}

fn revoked_json(revocations: &[Revocation]) -> Vec<Value> {
    let last = |(log, seq, hash): &(LogId, Seq, EntryHash)| json!({"log": log, "seq": seq, "hash": hash});
    let revoked = |revocation: &Revocation| {
        let last_valid: Vec<Value> = revocation.last_valid.iter().map(last).collect();
        json!({"key": revocation.key, "last_valid": last_valid})
    };
    revocations.iter().map(revoked).collect()
}

fn print_members(members: &[CharterMember], out: &mut Printer) -> anyhow::Result<()> {
    let rows = members.iter().map(|member| {
        let role = member.role.as_str().to_owned();
        vec![member.code.to_string(), role, member.name.clone(), fingerprint_of(member)]
    });
    out.table(&["code", "role", "name", "fingerprint"], rows.collect())?;
    Ok(())
}

fn members_json(members: &[CharterMember]) -> Vec<Value> {
    let member = |member: &CharterMember| {
        json!({
            "code": member.code, "name": member.name, "role": member.role.as_str(), "root": member.root,
            "sealing": hex::encode(member.sealing), "addresses": member.addresses,
            "fingerprint": fingerprint_of(member),
        })
    };
    members.iter().map(member).collect()
}
