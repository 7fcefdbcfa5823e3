//! `vatra completions` and `vatra man`: what a package installs beside the binary.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::exit::{self, Exit};
use super::print::Printer;

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell to complete in.
    shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write one page per command into this directory instead of printing the first.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Prints the completion script of a shell.
pub(crate) fn completions(args: &CompletionsArgs, out: &mut Printer) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "vatra", &mut script);
    out.raw(&script)?;
    Ok(Exit::Done)
}

/// Prints the manual page, or writes one per command.
pub(crate) fn man(args: &ManArgs, out: &mut Printer) -> anyhow::Result<Exit> {
    let mut command = super::Cli::command().disable_help_subcommand(true);
    command.build();
    let Some(dir) = &args.out else {
        out.raw(&page(&command)?)?;
        return Ok(Exit::Done);
    };
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let count = write_pages(&command, dir)?;
    out.line(&format!("{count} pages in {}", dir.display()))?;
    Ok(Exit::Done)
}

fn write_pages(command: &Command, dir: &Path) -> anyhow::Result<usize> {
    let man = Man::new(command.clone());
    let path = dir.join(man.get_filename());
    fs::write(&path, page(command)?).with_context(|| path.display().to_string())?;
    let mut count = 1;
    for child in command.get_subcommands() {
        count += write_pages(child, dir)?;
    }
    Ok(count)
}

/// One page; every page tells the exit codes, not only the first.
fn page(command: &Command) -> anyhow::Result<Vec<u8>> {
    let command = command.clone().after_long_help(exit::HELP);
    let mut bytes = Vec::new();
    Man::new(command).manual("Vatra").render(&mut bytes)?;
    Ok(bytes)
}
