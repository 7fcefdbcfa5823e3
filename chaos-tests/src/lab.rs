//! The process lab: a federation of real `vatra` processes in a folder of its own.
//!
//! A [`Lab`] owns its processes, ports and folder; dropping it ends and removes them, also when a
//! test panics. Nothing here knows how a node works inside.

pub mod binary;
pub mod cli;
pub mod client;
pub mod node;
pub mod ports;
pub mod relay;
pub mod stream;
pub mod usage;
pub mod wire;

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

pub use self::cli::{Cli, Outcome};
pub use self::client::{Answer, Client};
pub use self::node::Node;
pub use self::relay::{Relay, Way};
pub use self::stream::{Event, Follower, Start};

use self::ports::PortBlock;
use crate::corpus::Corpus;

/// How long a node may take from its start until it answers.
pub const READY_SECONDS_MAX: u64 = 20;
/// How long nodes may take to find each other.
pub const LINKED_SECONDS_MAX: u64 = 20;
/// How often a condition is looked at again.
const POLL: Duration = Duration::from_millis(20);

/// Who dials whom in a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// Everybody dials everybody.
    Full,
    /// Each node links with the next one only.
    Line,
    /// A line whose ends are linked.
    Ring,
    /// Everybody links with the first node only.
    Star,
}

impl Topology {
    /// The name that `vatra lab new --topology` takes.
    pub fn name(self) -> &'static str {
        match self {
            Topology::Full => "full",
            Topology::Line => "line",
            Topology::Ring => "ring",
            Topology::Star => "star",
        }
    }
}

/// What a lab is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Member codes, in the order in which their nodes are numbered.
    pub members: Vec<String>,
    /// Nodes of each member.
    pub nodes_per_site: usize,
    /// Who dials whom.
    pub topology: Topology,
    /// Folder in which the lab's own folder is made; the system's temporary folder by default.
    pub parent: Option<PathBuf>,
    /// Whether the nodes outlive this process and its terminal.
    pub detached: bool,
}

impl Plan {
    /// One node for each of these members, all linked.
    pub fn of(members: &[&str]) -> Plan {
        Plan {
            members: members.iter().map(|&code| code.to_owned()).collect(),
            nodes_per_site: 1,
            topology: Topology::Full,
            parent: None,
            detached: false,
        }
    }

    /// The same members, linked in another way.
    pub fn linked(mut self, topology: Topology) -> Plan {
        self.topology = topology;
        self
    }
}

/// A federation of real processes on this machine.
pub struct Lab {
    binary: PathBuf,
    nodes: Vec<Node>,
    ports: PortBlock,
    detached: bool,
    dir: TempDir,
}

impl Lab {
    /// Publishes alerts of a corpus at a node, one after the other; gives their ids.
    pub fn publish(&self, corpus: &Corpus, index: usize, numbers: std::ops::Range<u64>) -> anyhow::Result<Vec<String>> {
        numbers.map(|number| Ok(self.client(index).publish(&corpus.alert(number))?.id)).collect()
    }

    /// Every node holds all of these alerts.
    pub fn check_everywhere(&self, ids: &[String]) -> anyhow::Result<()> {
        for index in 0..self.len() {
            for id in ids {
                ensure!(self.client(index).has_alert(id)?, "{} lacks {id}", self.node(index).name());
            }
        }
        Ok(())
    }

    /// A folder and ports for this many nodes that are still to be made and then adopted.
    pub fn empty(nodes: usize, parent: Option<&Path>) -> anyhow::Result<Lab> {
        let binary = binary::find()?;
        let ports = PortBlock::claim(nodes)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix("vatra-lab-");
        let dir = match parent {
            Some(parent) => builder.tempdir_in(parent),
            None => builder.tempdir(),
        };
        let dir = dir.context("make a folder for the lab")?;
        let logs = dir.path().join("logs");
        fs::create_dir(&logs).with_context(|| logs.display().to_string())?;
        Ok(Lab { binary, nodes: Vec::new(), ports, detached: false, dir })
    }

    /// Makes keys, charter and configurations with `vatra lab new`; starts nothing.
    pub fn new(plan: &Plan) -> anyhow::Result<Lab> {
        let mut lab = Lab::empty(plan.members.len() * plan.nodes_per_site, plan.parent.as_deref())?;
        lab.detached = plan.detached;
        let federation = lab.dir().join("lab");
        let (count, base) = (plan.nodes_per_site.to_string(), lab.ports.base().to_string());
        let (members, dir) = (plan.members.join(","), federation.display().to_string());
        let arguments = ["lab", "new", "--members", &members, "--nodes-per-site", &count, "--base-port", &base];
        lab.vatra(arguments.into_iter().chain(["--topology", plan.topology.name(), "--dir", &dir]))?.expect_code(0)?;
        for member in &plan.members {
            for number in 1..=plan.nodes_per_site {
                let name = format!("{}-{number}", member.to_lowercase());
                lab.adopt(&name, member, &federation.join(&name))?;
            }
        }
        Ok(lab)
    }

    /// Takes in a node whose folder is made; its addresses must be those of [`Lab::addresses`].
    pub fn adopt(&mut self, name: &str, member: &str, dir: &Path) -> anyhow::Result<usize> {
        let index = self.nodes.len();
        let log = self.dir().join("logs").join(format!("{name}.log"));
        let (mesh, api) = self.addresses(index);
        self.nodes.push(Node::open(name, member, dir, mesh, api, log, self.detached)?);
        Ok(index)
    }

    /// Puts a relay between two nodes that do not run yet: each is told that the other listens there.
    pub fn relay(&self, first: usize, second: usize) -> anyhow::Result<Relay> {
        let (here, there) = (self.node(first), self.node(second));
        let relay = Relay::between(here.mesh(), there.mesh(), first as u64 * 100 + second as u64)?;
        here.set_address_of_peer(there.mesh(), relay.address_of_second())?;
        there.set_address_of_peer(here.mesh(), relay.address_of_first())?;
        Ok(relay)
    }

    /// Where the node with this place listens for other nodes (UDP) and serves its API (TCP).
    pub fn addresses(&self, index: usize) -> (SocketAddr, SocketAddr) {
        (self.ports.mesh(index), self.ports.api(index))
    }

    /// Runs the binary with these arguments and no node in mind.
    pub fn vatra<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> anyhow::Result<Outcome> {
        cli::run(Command::new(&self.binary).args(arguments))
    }

    /// A lab whose nodes all run, answer and are linked as planned.
    pub fn running(plan: &Plan) -> anyhow::Result<Lab> {
        let mut lab = Lab::new(plan)?;
        lab.start_all()?;
        lab.wait_linked(plan.topology)?;
        Ok(lab)
    }

    /// The binary that this lab runs.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The lab's own folder, removed at its end.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// All nodes in their order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether the lab has no node at all.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A node by its place in the order.
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// A node by its place in the order, to start or stop it.
    pub fn node_mut(&mut self, index: usize) -> &mut Node {
        &mut self.nodes[index]
    }

    /// The API of a node.
    pub fn client(&self, index: usize) -> &Client {
        self.nodes[index].client()
    }

    /// The command line, aimed at a node.
    pub fn cli(&self, index: usize) -> Cli<'_> {
        Cli::new(&self.binary, self.nodes[index].dir())
    }

    /// Starts a node and waits until it answers; says how long that took.
    pub fn start(&mut self, index: usize) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        self.nodes[index].start(&self.binary)?;
        self.wait_serving(index)?;
        Ok(begin.elapsed())
    }

    /// Starts all nodes that do not run and waits until each answers.
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        for node in &mut self.nodes {
            if !node.is_running() {
                node.start(&self.binary)?;
            }
        }
        (0..self.len()).try_for_each(|index| self.wait_serving(index))
    }

    fn wait_serving(&mut self, index: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(READY_SECONDS_MAX);
        loop {
            if self.nodes[index].client().status().is_ok() {
                return Ok(());
            }
            let node = &mut self.nodes[index];
            if let Some(status) = node.exit_status()? {
                bail!("{} ended while starting: {status}\n{}", node.name(), node.log_tail());
            }
            if Instant::now() >= deadline {
                let name = node.name().to_owned();
                bail!("{name} does not answer after {READY_SECONDS_MAX} s\n{}", self.explain());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Waits until every running node has the links that the topology gives it.
    pub fn wait_linked(&self, topology: Topology) -> anyhow::Result<Duration> {
        let last = self.len() - 1;
        let expected = |index: usize| match topology {
            Topology::Full => last,
            Topology::Ring => last.min(2),
            Topology::Line => usize::from(index > 0) + usize::from(index < last),
            Topology::Star => {
                if index == 0 {
                    last
                } else {
                    1
                }
            }
        };
        self.wait_until(LINKED_SECONDS_MAX, &format!("links as in a {}", topology.name()), || {
            for index in 0..self.len() {
                if self.client(index).links_up()?.len() != expected(index) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// Waits until these nodes show the same digest and the same number of alerts; says how long it
    /// took.
    pub fn wait_equal(&self, indices: &[usize], seconds_max: u64) -> anyhow::Result<Duration> {
        self.wait_until(seconds_max, "equal digests", || {
            let mut shown = Vec::with_capacity(indices.len());
            for &index in indices {
                let status = self.client(index).status()?;
                shown.push((text(&status, "digest"), status["alerts"].clone()));
            }
            Ok(shown.windows(2).all(|pair| pair[0] == pair[1]))
        })
    }

    /// Waits until all nodes are equal and hold this many alerts.
    pub fn wait_all_hold(&self, alerts: u64, seconds_max: u64) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        self.wait_until(seconds_max, &format!("{alerts} alerts at every node"), || {
            for index in 0..self.len() {
                if self.client(index).alert_count()? != alerts {
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        self.wait_equal(&(0..self.len()).collect::<Vec<_>>(), seconds_max)?;
        Ok(begin.elapsed())
    }

    /// Waits until a condition holds; says how long it took, or how every node was when time ran
    /// out. A request that fails counts as "not yet".
    pub fn wait_until(
        &self,
        seconds_max: u64,
        what: &str,
        mut condition: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        loop {
            let outcome = condition();
            if matches!(outcome, Ok(true)) {
                return Ok(begin.elapsed());
            }
            if begin.elapsed() >= Duration::from_secs(seconds_max) {
                let last = outcome.err().map(|error| format!(" (last answer: {error:#})")).unwrap_or_default();
                bail!("no {what} after {seconds_max} s{last}\n{}", self.explain());
            }
            std::thread::sleep(POLL);
        }
    }

    /// The last status and the end of the log of each node: for a failure's message.
    pub fn explain(&self) -> String {
        let mut report = String::new();
        for node in &self.nodes {
            let status = match node.client().status() {
                Ok(status) => serde_json::to_string_pretty(&status).unwrap_or_default(),
                Err(error) => format!("no status: {error:#}"),
            };
            report.push_str(&format!(
                "--- {} status\n{status}\n--- {} log\n{}\n",
                node.name(),
                node.name(),
                node.log_tail()
            ));
        }
        report
    }

    /// Leaves folder and processes as they are and gives the folder up; they are the caller's now.
    pub fn keep(mut self) -> PathBuf {
        self.nodes.iter_mut().for_each(Node::release);
        self.dir.disable_cleanup(true);
        self.dir.path().to_owned()
    }
}

/// A text field of a JSON object; empty when it is absent or no text.
pub fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}
