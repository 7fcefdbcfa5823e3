//! The world: nodes, links and the queue of what happens next.

mod checked;
mod control;
mod cuts;
mod faults;
pub(crate) mod lines;
mod links;
pub(crate) mod perform;
mod queue;
mod receive;
mod rot;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use vatra_model::pack::Packer;
use vatra_model::{EntryHash, LogId, NodeKey};
use vatra_replica::{Cost, Effect, Event as Note, Input};

use crate::sim::chance::Chance;
use crate::sim::checks::o4_no_panic;
use crate::sim::delays::Delays;
use crate::sim::disk::Keep;
use crate::sim::federation::{Federation, Site};
use crate::sim::hostile::Hostile;
use crate::sim::network::{Flying, Shape};
use crate::sim::node::Node;
use crate::sim::places::Places;
use crate::sim::planted::Bug;
use crate::sim::readings::Readings;
use crate::sim::signatures::Fidelity;
use crate::sim::tally::{History, Tally};
use crate::sim::watch::Watch;
use crate::sim::world::checked::{CheckedBeacons, CheckedEntries};
use crate::sim::world::links::{Link, Links};
use crate::sim::world::queue::Queue;

/// Who is linked with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// Everybody with everybody.
    Full,
    /// Each with the next.
    Line,
    /// A line whose ends meet.
    Ring,
    /// Everybody with the first.
    Star,
    /// A ring with chords by chance, so that a node has about so many links.
    Sparse(u64),
}

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Everything that looks random comes from it.
    pub seed: u64,
    /// How many nodes, one for each member.
    pub nodes: usize,
    /// Their links.
    pub topology: Topology,
    /// What all links are like.
    pub shape: Shape,
    /// What links cost.
    pub cost: Cost,
    /// Time that a durable write takes, from and to, in microseconds.
    pub sync_us: (u64, u64),
    /// Wall clocks are wrong by up to so much, in milliseconds.
    pub skew_ms: u64,
    /// Make views and digests; without, only logs are compared.
    pub views: bool,
    /// Real signatures and bytes, or cheap ones.
    pub fidelity: Fidelity,
    /// Bytes of entries of one origin that a disk may hold; `None` = not looked at.
    pub origin_bytes_max: Option<u64>,
    /// A mistake to be caught; takes effect with the feature `planted` only.
    pub planted: Option<Bug>,
}

impl Setup {
    /// So many nodes, linked with each other over good lines.
    #[must_use]
    pub fn new(seed: u64, nodes: usize) -> Setup {
        Setup {
            seed,
            nodes,
            topology: Topology::Full,
            shape: Shape::NEAR,
            cost: Cost::Wan,
            sync_us: (300, 2_000),
            skew_ms: 0,
            views: true,
            fidelity: Fidelity::of(seed),
            origin_bytes_max: None,
            planted: None,
        }
    }
}

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Event {
    Tick { node: usize },
    Synced { node: usize, run: u64 },
    LineFree { from: usize, to: usize, number: u64 },
    Arrive { from: usize, to: usize, number: u64, flying: Flying },
    Up { node: usize, peer: usize, number: u64 },
    Measured { node: usize, peer: usize, number: u64 },
    Silent { node: usize, peer: usize, number: u64, cut_number: u64 },
    Dial { a: usize, b: usize },
    Probe { node: usize, run: u64 },
    Line { from: usize, to: usize, is_cut: bool },
    Act { node: usize },
}

/// A whole world.
pub struct World {
    /// What it was made of.
    pub setup: Setup,
    /// Its members.
    pub federation: Federation,
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// What was counted.
    pub tally: Tally,
    /// How long deliveries took.
    pub delays: Delays,
    /// What the cores noted, by node.
    pub notes: Vec<(usize, Note)>,
    /// What must not happen and did.
    pub violations: Vec<String>,
    /// Every entry that the core of its own node ever signed, by place.
    pub ledger: Places<BTreeSet<EntryHash>>,
    /// What the invariants remember.
    pub watch: Watch,
    /// Nodes that share a key.
    pub(crate) twins: BTreeMap<NodeKey, Vec<usize>>,
    /// Nodes that hold a valid key and do as they like.
    pub(crate) hostile: BTreeMap<usize, Hostile>,
    pub(crate) index: BTreeMap<NodeKey, usize>,
    pub(crate) links: Links,
    pub(crate) now_us: u64,
    pub(crate) queue: Queue,
    pub(crate) inbox: VecDeque<(usize, Input)>,
    /// Room for what a core wants done.
    effects: Vec<Effect>,
    pub(crate) history: History,
    pub(crate) network_chance: Chance,
    pub(crate) work_chance: Chance,
    pub(crate) fault_chance: Chance,
    pub(crate) packer: Packer,
    pub(crate) beacons: CheckedBeacons,
    pub(crate) checked: CheckedEntries,
    pub(crate) readings: Readings,
    pub(crate) works: u64,
    /// Acknowledged on a store that was replaced since, and held elsewhere then.
    pub(crate) owed: BTreeSet<(LogId, u64, EntryHash)>,
    /// Copies of stores from earlier runs.
    pub(crate) backups: BTreeMap<usize, crate::sim::disk::Image>,
}

/// Notes and violations that are kept.
const NOTES_MAX: usize = 20_000;

impl World {
    /// A running world.
    #[must_use]
    pub fn new(setup: Setup) -> World {
        let federation = Federation::new("simulated", setup.seed, setup.nodes);
        let sites = federation.sites().to_vec();
        World::with_sites(setup, federation, sites)
    }

    /// A running world of nodes that may be of several federations; each has its own charter.
    #[must_use]
    pub fn with_sites(setup: Setup, federation: Federation, sites: Vec<Site>) -> World {
        let mut clocks = Chance::new(setup.seed, "clocks");
        let mut skew = || {
            let skew = clocks.below(2 * setup.skew_ms + 1);
            i64::try_from(skew).unwrap_or(0) - i64::try_from(setup.skew_ms).unwrap_or(0)
        };
        let nodes: Vec<Node> = sites.iter().map(|site| Node::new(site.clone(), skew())).collect();
        let mut world = World {
            index: sites.iter().enumerate().map(|(index, site)| (site.key, index)).collect(),
            links: Links::default(),
            now_us: 0,
            queue: Queue::default(),
            inbox: VecDeque::new(),
            effects: Vec::new(),
            history: History::default(),
            network_chance: Chance::new(setup.seed, "network"),
            work_chance: Chance::new(setup.seed, "work"),
            fault_chance: Chance::new(setup.seed, "faults"),
            packer: Packer::new(),
            beacons: CheckedBeacons::new(setup.fidelity),
            checked: CheckedEntries::new(setup.fidelity),
            readings: Readings::new(setup.fidelity),
            works: 0,
            owed: BTreeSet::new(),
            backups: BTreeMap::new(),
            watch: Watch::default(),
            twins: BTreeMap::new(),
            hostile: BTreeMap::new(),
            tally: Tally::default(),
            delays: Delays::default(),
            notes: Vec::new(),
            violations: Vec::new(),
            ledger: Places::default(),
            federation,
            nodes,
            setup,
        };
        for (a, b) in world.pairs() {
            world.links.insert(a, b, Link::new(world.setup.shape));
        }
        for node in 0..world.nodes.len() {
            world.watch.grow(node);
        }
        for node in 0..world.nodes.len() {
            world.start(node);
        }
        world
    }

    fn pairs(&self) -> Vec<(usize, usize)> {
        let count = self.nodes.len();
        let all = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
        let ring = |a: usize, b: usize| a + 1 == b || (a == 0 && b + 1 == count);
        let mut chance = Chance::new(self.setup.seed, "chords");
        let mut chord = |degree: u64| chance.below(1_000_000) * (count as u64) < degree.saturating_sub(2) * 1_000_000;
        let linked = |(a, b): &(usize, usize)| match self.setup.topology {
            Topology::Full => true,
            Topology::Line => a + 1 == *b,
            Topology::Ring => ring(*a, *b),
            Topology::Star => *a == 0,
            Topology::Sparse(degree) => chord(degree) || ring(*a, *b),
        };
        all.filter(linked).collect()
    }

    /// Milliseconds since the start.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_us / 1000
    }

    /// Microseconds since the start.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// Hash of everything that happened so far.
    #[must_use]
    pub fn history_hash(&self) -> String {
        self.history.hash()
    }

    /// Lets time pass.
    pub fn run_for(&mut self, ms: u64) {
        let end = self.now_us + ms * 1000;
        while self.queue.next_at().is_some_and(|at| at <= end) {
            self.step();
        }
        self.now_us = end;
    }

    /// Lets time pass until something holds; says after how many milliseconds, or `None` when it did not.
    pub fn run_until(&mut self, ms_max: u64, mut holds: impl FnMut(&World) -> bool) -> Option<u64> {
        const LOOK_MS: u64 = 20;
        let start = self.now_ms();
        loop {
            if holds(self) {
                return Some(self.now_ms() - start);
            }
            if self.now_ms() - start >= ms_max {
                return None;
            }
            self.run_for(LOOK_MS);
        }
    }

    fn step(&mut self) {
        let Some((at, event)) = self.queue.pop() else { return };
        self.now_us = at;
        self.tally.events += 1;
        match event {
            Event::Tick { node } => self.tick(node),
            Event::Synced { node, run } => self.synced(node, run),
            Event::LineFree { from, to, number } => self.line_free(from, to, number),
            Event::Arrive { from, to, number, flying } => self.arrive(from, to, number, flying),
            Event::Up { node, peer, number } => self.up(node, peer, number),
            Event::Measured { node, peer, number } => self.measured(node, peer, number),
            Event::Silent { node, peer, number, cut_number } => self.silent(node, peer, number, cut_number),
            Event::Dial { a, b } => self.dial(a, b),
            Event::Probe { node, run } => self.probe(node, run),
            Event::Line { from, to, is_cut } => self.switch_line(from, to, is_cut),
            Event::Act { node } => self.act(node),
        }
        self.drain();
        self.look_in_time();
    }

    fn tick(&mut self, node: usize) {
        if self.nodes[node].tick_at == Some(self.now_us) && !self.nodes[node].is_paused {
            self.nodes[node].tick_at = None;
            self.inbox.push_back((node, Input::Tick));
        }
    }

    /// Hands waiting inputs to their cores and does what they want done.
    pub(crate) fn drain(&mut self) {
        while let Some((index, input)) = self.inbox.pop_front() {
            let node = &mut self.nodes[index];
            let now = node.now(self.now_us);
            let Some(replica) = node.replica.as_mut().filter(|_| !node.is_paused) else { continue };
            let what = o4_no_panic::name(&input);
            let mut effects = std::mem::take(&mut self.effects);
            let handled = catch_unwind(AssertUnwindSafe(|| {
                replica.handle(now, input, &mut effects);
                replica.flush(now, &mut effects);
                replica.deadline()
            }));
            let deadline = match handled {
                Ok(deadline) => deadline,
                Err(panic) => {
                    self.violation(o4_no_panic::describe(index, what, panic.as_ref()));
                    self.crash(index, Keep::Nothing);
                    // Whatever it wanted done before is not done.
                    continue;
                }
            };
            if deadline <= now.mono {
                self.violation(format!("node {index} wants to be woken at {deadline:?}, which is not after {now:?}"));
            }
            self.perform(index, &mut effects);
            self.effects = effects;
            self.schedule_tick(index, deadline.0.max(now.mono.0 + 1) * 1000);
        }
    }

    fn schedule_tick(&mut self, node: usize, at: u64) {
        if self.nodes[node].tick_at != Some(at) {
            self.nodes[node].tick_at = Some(at);
            self.schedule(at, Event::Tick { node });
        }
    }

    pub(crate) fn schedule(&mut self, at: u64, event: Event) {
        self.queue.push(at.max(self.now_us), event);
    }

    /// Notes what must not happen.
    pub(crate) fn violation(&mut self, what: String) {
        if self.violations.len() < NOTES_MAX {
            self.violations.push(format!("{} ms: {what}", self.now_ms()));
        }
    }

    pub(crate) fn note(&mut self, node: usize, note: Note) {
        match note {
            Note::Damaged { .. } => self.tally.bite("flips_found"),
            Note::Mended { .. } => self.tally.bite("flips_mended"),
            _ => {}
        }
        if self.notes.len() < NOTES_MAX {
            self.notes.push((node, note));
        }
    }
}

/// The seeds of a test: the one that `VATRA_SIM_SEED` asks for, else `first` and so many after it, or so many
/// times as many as `VATRA_SIM_MORE` says.
///
/// # Panics
/// If a variable is set and not a number.
#[must_use]
pub fn seeds(first: u64, count: u64) -> Vec<u64> {
    let asked = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number is asked for"));
    match asked("VATRA_SIM_SEED") {
        Some(seed) => vec![seed],
        None => (first..first + count * asked("VATRA_SIM_MORE").unwrap_or(1)).collect(),
    }
}
