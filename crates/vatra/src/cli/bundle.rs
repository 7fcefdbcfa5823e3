//! `vatra bundle`: entries as a file, for where no link leads.

mod export;
mod files;
mod import;
mod inspect;
mod summary;

use std::io::{IsTerminal, stdout};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use vatra_bundle::RECEIPT_BYTES_MAX;
use vatra_model::MemberCode;

use super::exit::{Exit, usage};
use super::print::Printer;
use super::target::Target;

#[derive(Debug, Subcommand)]
pub(crate) enum BundleCommand {
    /// Write entries as a file, to be carried to another node by hand.
    ///
    /// The file has a signed manifest, the charter, the entries, urgent ones first, and a signed end. It is written
    /// under another name and takes its own when it is whole and on the disk; an export that was interrupted is
    /// simply run again.
    Export(ExportArgs),
    /// Show what a bundle, a receipt or a frontier file holds, and whether it is whole and signed. Needs no node.
    Inspect(InspectArgs),
    /// Take a bundle in, and write a receipt to carry back.
    ///
    /// All of the file is checked before any of it is applied: one that is damaged, cut off, forged or of another
    /// federation changes nothing. Importing again does no harm; an import that was interrupted is run again and
    /// goes on from there.
    Import(ImportArgs),
    /// Print a signed file that says how far the node holds the logs, for the other side's export --since.
    ///
    /// With --json what it says is printed instead, as `vatra bundle inspect` shows it; that is no file for --since.
    Frontier,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// File to write.
    file: PathBuf,
    /// Leave out what this receipt or frontier file of the other side covers.
    #[arg(long, value_name = "FRONTIER", conflicts_with = "receiver")]
    since: Option<PathBuf>,
    /// Leave out what every node of this member is known to hold; what was not heard lately counts as not held.
    #[arg(long = "for", value_name = "MEMBER")]
    receiver: Option<MemberCode>,
    /// Replace a file that is there.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The file.
    file: PathBuf,
    /// Check it against this charter file; by default against the charter that it brings, which only shows that it
    /// agrees with itself.
    #[arg(long, value_name = "CHARTER")]
    charter: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The bundle.
    file: PathBuf,
    /// Where the receipt goes; by default beside the bundle, as FILE.receipt.
    #[arg(long, value_name = "RECEIPT")]
    receipt: Option<PathBuf>,
    /// Replace a receipt, or another file, that is there.
    #[arg(long)]
    force: bool,
}

/// Runs a bundle command.
pub(crate) fn run(command: BundleCommand, target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    match command {
        BundleCommand::Export(args) => export::run(&args, target, out),
        BundleCommand::Inspect(args) => inspect::run(&args, out),
        BundleCommand::Import(args) => import::run(&args, target, out),
        BundleCommand::Frontier => frontier(target, out),
    }
}

fn frontier(target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    if stdout().is_terminal() && !out.is_json() {
        return Err(usage("the frontier file is binary: send it to a file, as `vatra bundle frontier > FILE`"));
    }
    let bytes = target.connect()?.get_bytes("/api/v1/bundle/frontier", RECEIPT_BYTES_MAX as u64)?;
    if out.is_json() {
        return inspect::show_receipt(&bytes, None, out);
    }
    out.raw(&bytes)?;
    Ok(Exit::Done)
}
