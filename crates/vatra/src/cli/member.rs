//! `vatra member`: a member's own keys.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use vatra_model::MemberCode;

use super::exit::Exit;
use super::print::Printer;
use crate::federation::MemberKeys;
use crate::keys::Purpose;

#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Make a member's root and sealing keys, and the public file to hand over.
    New(NewArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// Code of the member: 2 to 8 of A-Z and 0-9, a letter first.
    #[arg(long, value_name = "CODE")]
    code: MemberCode,
    /// Name of the member.
    #[arg(long, value_name = "TEXT")]
    name: String,
    /// Directory for root.key, sealing.key and member.toml; existing files are never overwritten.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Runs a member command.
pub(crate) fn run(command: &MemberCommand, out: &mut Printer) -> anyhow::Result<Exit> {
    let MemberCommand::New(args) = command;
    let keys = MemberKeys::create(&args.out, args.code, &args.name, Purpose::Real)?;
    let public = &keys.public;
    let dir = args.out.display();
    if out.is_json() {
        out.json(&json!({
            "code": public.code, "root": public.root, "sealing": public.sealing, "fingerprint": public.fingerprint(),
        }))?;
        return Ok(Exit::Done);
    }
    out.line(&format!("{dir}/root.key     secret: signs node certificates and charters; keep it offline"))?;
    out.line(&format!("{dir}/sealing.key  secret: opens what is sealed to the member"))?;
    out.line(&format!("{dir}/member.toml  public: hand it to the keeper of the charter"))?;
    out.line(&format!("fingerprint    {}", public.fingerprint()))?;
    Ok(Exit::Done)
}
