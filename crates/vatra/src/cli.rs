//! The command line: the tree of commands, and how an outcome becomes an exit code.
//!
//! One file per command group. What a running node knows is asked over its HTTP API.

pub(crate) mod exit;

mod alert;
mod api;
mod bundle;
mod charter;
mod contact;
mod copies;
mod doctor;
mod fields;
mod fsck;
mod input;
mod lab;
mod link;
mod member;
mod node;
mod print;
mod shell;
mod status;
mod tail;
mod target;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::exit::Exit;
use self::print::Printer;
use self::target::Target;

/// Vatra, the alert replication mesh: node and command line.
///
/// Commands that read or write alerts talk to a running node: name its directory with --dir, or its
/// API with --api and --token.
#[derive(Debug, Parser)]
#[command(name = "vatra", version, after_long_help = exit::HELP, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish, import, read and answer alerts.
    #[command(subcommand)]
    Alert(alert::AlertCommand),
    /// Keep this member's roster of contacts.
    #[command(subcommand)]
    Contact(contact::ContactCommand),
    /// Follow what a node stores, as it stores it.
    Tail(tail::TailArgs),
    /// Show how a node is: members and since when they are linked or not, lag, forks, store, digest.
    Status,
    /// Say what is wrong with a node, running or stopped, and what to do.
    Doctor(doctor::DoctorArgs),
    /// Print the digest over all records of a node: equal digests, equal views.
    Digest,
    /// Drill: cut links on purpose and heal them.
    #[command(subcommand)]
    Link(link::LinkCommand),
    /// Carry entries by hand: write them as a file, look at one, take one in.
    #[command(subcommand)]
    Bundle(bundle::BundleCommand),
    /// Run a node; make its directory, show it, check it, add its peers; back it up, restore or clone it.
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Check the store of a stopped node and say what is damaged.
    Fsck(fsck::FsckArgs),
    /// Make a member's keys.
    #[command(subcommand)]
    Member(member::MemberCommand),
    /// Draft, sign and verify the charter of a federation.
    #[command(subcommand)]
    Charter(charter::CharterCommand),
    /// Make a whole federation for a lab.
    #[command(subcommand)]
    Lab(lab::LabCommand),
    /// Print a completion script for a shell.
    Completions(shell::CompletionsArgs),
    /// Print the manual page, or write one page per command.
    Man(shell::ManArgs),
}

/// Parses the arguments, runs the command and turns its outcome into an exit code.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => exit::report(&error).into(),
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { target, command } = cli;
    let mut out = Printer::new(target.json);
    let exit: Exit = match command {
        Command::Alert(command) => alert::run(command, &target, &mut out)?,
        Command::Contact(command) => contact::run(command, &target, &mut out)?,
        Command::Tail(args) => tail::run(&args, &target, &mut out)?,
        Command::Status => status::status(&target, &mut out)?,
        Command::Doctor(args) => doctor::run(&args, &target, &mut out)?,
        Command::Digest => status::digest(&target, &mut out)?,
        Command::Link(command) => link::run(command, &target, &mut out)?,
        Command::Bundle(command) => bundle::run(command, &target, &mut out)?,
        Command::Node(command) => return node::run(command, &mut out),
        Command::Fsck(args) => fsck::run(&args, &mut out)?,
        Command::Member(command) => member::run(&command, &mut out)?,
        Command::Charter(command) => charter::run(command, &target, &mut out)?,
        Command::Lab(command) => lab::run(command, &mut out)?,
        Command::Completions(args) => shell::completions(&args, &mut out)?,
        Command::Man(args) => shell::man(&args, &mut out)?,
    };
    Ok(exit.into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_tree_is_consistent() {
        Cli::command().debug_assert();
    }
}
