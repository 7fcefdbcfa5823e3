//! One node of a lab: its folder, its process and the signals it gets.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::client::Client;
use super::usage::{self, Usage};

/// Bytes of a log that a failure's message shows.
const LOG_TAIL_BYTES: u64 = 4_000;
/// How long a stopped node may drain: the promise of `vatra node run`.
pub const STOP_SECONDS_MAX: u64 = 5;

/// One node: its folder for good, its process from time to time.
pub struct Node {
    name: String,
    member: String,
    dir: PathBuf,
    mesh: SocketAddr,
    api: SocketAddr,
    client: Client,
    log: PathBuf,
    detached: bool,
    environment: Vec<(String, String)>,
    process: Option<Child>,
}

impl Node {
    pub(super) fn open(
        name: &str,
        member: &str,
        dir: &Path,
        mesh: SocketAddr,
        api: SocketAddr,
        log: PathBuf,
        detached: bool,
    ) -> anyhow::Result<Node> {
        let token_path = dir.join("admin.token");
        let token = fs::read_to_string(&token_path).with_context(|| token_path.display().to_string())?;
        Ok(Node {
            name: name.to_owned(),
            member: member.to_owned(),
            dir: dir.to_owned(),
            mesh,
            api,
            client: Client::new(api, token.trim()),
            log,
            detached,
            environment: Vec::new(),
            process: None,
        })
    }

    /// Sets a variable of the environment of the processes to come.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// The name that the lab gave it, as `ua-1`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The code of its member, as `UA`.
    pub fn member(&self) -> &str {
        &self.member
    }

    /// Its folder: configuration, keys, token and store.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where it listens for other nodes (UDP).
    pub fn mesh(&self) -> SocketAddr {
        self.mesh
    }

    /// Where it serves its API (TCP).
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// Its API.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Changes where its configuration says that a peer listens; it takes effect at its next start.
    pub fn set_address_of_peer(&self, before: SocketAddr, now: SocketAddr) -> anyhow::Result<()> {
        let path = self.dir.join("node.toml");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let (old, new) = (format!("address = \"{before}\""), format!("address = \"{now}\""));
        anyhow::ensure!(text.contains(&old), "{} has no peer at {before}", self.name);
        fs::write(&path, text.replace(&old, &new)).with_context(|| path.display().to_string())
    }

    /// The process number while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Whether its process was started and not waited for yet.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Processor time and memory since its start.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        usage::of_process(self.pid().with_context(|| format!("{} does not run", self.name))?)
    }

    /// Bytes that its store takes on the disk.
    pub fn disk_bytes(&self) -> anyhow::Result<u64> {
        usage::disk_bytes(&self.dir.join("store"))
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let tail = || -> std::io::Result<String> {
            let mut file = fs::File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        tail().unwrap_or_else(|error| format!("{}: {error}", self.log.display()))
    }

    /// The whole log so far.
    pub fn log(&self) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.log).with_context(|| self.log.display().to_string())?).into_owned())
    }

    pub(super) fn start(&mut self, binary: &Path) -> anyhow::Result<()> {
        if self.is_running() {
            bail!("{} runs already", self.name);
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| self.log.display().to_string())?;
        let mut command = Command::new(binary);
        command.args(["node", "run", "--dir"]).arg(&self.dir);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // A manager of services of the machine must not be told about a lab.
        command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if self.detached {
            command.process_group(0);
        }
        self.process = Some(command.spawn().with_context(|| format!("start {}", binary.display()))?);
        Ok(())
    }

    /// How its process ended, if it did by itself.
    pub fn exit_status(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        match &mut self.process {
            Some(process) => Ok(process.try_wait()?),
            None => Ok(None),
        }
    }

    /// Forgets a process that has ended by itself; whether it had.
    pub fn reap(&mut self) -> anyhow::Result<bool> {
        let has_ended = self.exit_status()?.is_some();
        if has_ended {
            self.process = None;
        }
        Ok(has_ended)
    }

    /// Asks the node to stop and waits; says how it ended and how long it took. A node that does not
    /// stop in time is killed and is an error.
    pub fn stop(&mut self) -> anyhow::Result<(ExitStatus, Duration)> {
        let begin = Instant::now();
        self.signal(Signal::TERM)?;
        let deadline = begin + Duration::from_secs(STOP_SECONDS_MAX);
        while Instant::now() < deadline {
            if let Some(status) = self.exit_status()? {
                self.process = None;
                return Ok((status, begin.elapsed()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill()?;
        bail!("{} did not stop within {STOP_SECONDS_MAX} s of SIGTERM\n{}", self.name, self.log_tail())
    }

    /// Ends the process at once, as a power cut would end it for everybody but the disk.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Stops the process where it stands: it keeps its sockets and says nothing.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a paused process go on.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let process = self.process.as_ref().with_context(|| format!("{} does not run", self.name))?;
        kill_process(Pid::from_child(process), signal).with_context(|| format!("signal {}", self.name))
    }

    /// Gives the process up: it lives on without us.
    pub(super) fn release(&mut self) {
        self.process = None;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // Errors mean that it is gone already, which is what we want.
            let _gone = process.kill();
            let _gone = process.wait();
        }
    }
}
