//! The command line as an operator uses it, aimed at one node.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::Context;
use serde_json::Value;

/// Runs `vatra` for one node's folder.
pub struct Cli<'a> {
    binary: &'a Path,
    dir: PathBuf,
}

/// What a command printed and how it ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl<'a> Cli<'a> {
    pub(super) fn new(binary: &'a Path, dir: &Path) -> Cli<'a> {
        Cli { binary, dir: dir.to_owned() }
    }

    /// Runs a command for this node, `--dir` added.
    pub fn run<I: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> anyhow::Result<Outcome> {
        run(Command::new(self.binary).args(arguments).arg("--dir").arg(&self.dir))
    }
}

/// Runs a command to its end. An operator's own settings do not reach it.
pub(super) fn run(command: &mut Command) -> anyhow::Result<Outcome> {
    command.env_remove("VATRA_API").env_remove("VATRA_TOKEN").stdin(Stdio::null());
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    Ok(Outcome::from(output))
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Outcome {
        Outcome {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Outcome {
    /// This outcome if it ended with the code, an error with all it printed otherwise.
    pub fn expect_code(self, code: i32) -> anyhow::Result<Outcome> {
        anyhow::ensure!(
            self.code == Some(code),
            "exit code {:?} instead of {code}\nstdout: {}\nstderr: {}",
            self.code,
            self.out,
            self.err
        );
        Ok(self)
    }

    /// Standard output as JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.out).with_context(|| format!("not JSON: {}", self.out))
    }
}
