//! How a command ends: the exit codes, and which error leads to which.

use std::io;
use std::process::ExitCode;

use thiserror::Error;

use super::api::ApiError;
use super::print;

/// The exit codes as `--help` and the manual pages show them.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  refused or failed; nothing was changed unless the message says so
  2  usage: the arguments are wrong, nothing was tried
  3  partly done: some items were taken, the others are named on stderr
  4  unreachable: the node did not answer";

/// How a command ended. The numbers are part of the command line's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// All that was asked for.
    Done = 0,
    /// Refused by the node, or failed here.
    Refused = 1,
    /// The arguments are wrong.
    Usage = 2,
    /// Some items were taken, others refused.
    Partly = 3,
    /// The node did not answer.
    Unreachable = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// The arguments are wrong in a way that only the command itself can see. Nothing was tried.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// A usage error with this message.
pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
    UsageError(message.into()).into()
}

/// Prints an error once, with its chain of causes, and says how the process ends.
pub(crate) fn report(error: &anyhow::Error) -> Exit {
    if is_closed_pipe(error) {
        // The reader of our output has seen enough, as `head` does.
        return Exit::Done;
    }
    let exit = classify(error);
    print::error(&format!("{error:#}"));
    if let Some(remedy) = error.downcast_ref::<ApiError>().and_then(ApiError::remedy) {
        print::hint(&remedy);
    }
    if exit == Exit::Usage {
        print::hint("try --help");
    }
    exit
}

fn classify(error: &anyhow::Error) -> Exit {
    if error.downcast_ref::<UsageError>().is_some() {
        return Exit::Usage;
    }
    match error.downcast_ref::<ApiError>() {
        Some(ApiError::Unreachable { .. }) => Exit::Unreachable,
        _ => Exit::Refused,
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
