//! The command line as an operator uses it, aimed at one node.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

/// A command that is not a node ends by then.
const COMMAND_SECONDS_MAX: u64 = 60;

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

/// Runs a command to its end. An operator's own settings do not reach it; one that does not end is
/// killed and is an error.
pub(super) fn run(command: &mut Command) -> anyhow::Result<Outcome> {
    command.env_remove("VATRA_API").env_remove("VATRA_TOKEN");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("run {command:?}"))?;
    let out = read_all(child.stdout.take().context("standard output is piped")?);
    let err = read_all(child.stderr.take().context("standard error is piped")?);
    let deadline = Instant::now() + Duration::from_secs(COMMAND_SECONDS_MAX);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            bail!("{command:?} did not end within {COMMAND_SECONDS_MAX} s");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let text = |reader: JoinHandle<Vec<u8>>| {
        let bytes = reader.join().map_err(|_| anyhow!("a reader panicked"))?;
        anyhow::Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(Outcome { code: status.code(), out: text(out)?, err: text(err)? })
}

fn read_all(mut source: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is what the command printed.
        let _cut_off = source.read_to_end(&mut bytes);
        bytes
    })
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
