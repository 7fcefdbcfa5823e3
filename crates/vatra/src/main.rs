//! The `vatra` binary: one command line for nodes, their keys and the alerts they hold.

mod cli;
mod config;
mod federation;
mod keys;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
