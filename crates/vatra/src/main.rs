//! The `vatra` binary: one command line for nodes, their keys and the alerts they hold.

mod cli;
mod config;
mod doctor;
mod federation;
mod keys;
mod node;

use std::env;
use std::os::unix::process::CommandExt;
use std::panic;
use std::process::{Command, ExitCode};

/// TLS libraries write session secrets into the file that this variable names.
const SECRETS_VARIABLE: &str = "SSLKEYLOGFILE";

fn main() -> ExitCode {
    if env::var_os(SECRETS_VARIABLE).is_some() {
        return restart_without_secrets_variable();
    }
    // The first provider that is installed stays; nothing ran before this, so it is ours.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    keep_caught_panics_quiet();
    cli::main()
}

/// What the store makes an error of is told as that error, not as a fault of this program as well.
fn keep_caught_panics_quiet() {
    let former = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if vatra_store::panics_are_errors() {
            tracing::debug!(%info, "the store's engine panicked; it is told as an error");
        } else {
            former(info);
        }
    }));
}

/// A running program cannot safely change its environment, so it becomes a new one with the same
/// process id and arguments. Only returns if that is impossible: then nothing runs.
fn restart_without_secrets_variable() -> ExitCode {
    let program = env::current_exe();
    let error = match program {
        Ok(program) => Command::new(program).args(env::args_os().skip(1)).env_remove(SECRETS_VARIABLE).exec(),
        Err(error) => error,
    };
    cli::exit::report(&anyhow::anyhow!(
        "{SECRETS_VARIABLE} is set, would write session secrets to disk, and could not be removed: {error}"
    ))
    .into()
}
