//! One run under way: the world, what is broken in it, and what happens next.

use std::collections::{BTreeMap, BTreeSet};

use crate::scenario::format::Scenario;
use crate::scenario::format::compare::Condition;
use crate::scenario::format::quantity::Span;
use crate::scenario::plan::{Occurrence, Plan};
use crate::scenario::simulated::ailing::Hostility;
use crate::scenario::simulated::lines::{Lines, Ticket};
use crate::scenario::simulated::setup::{Cast, cast};
use crate::scenario::simulated::watch::Agreement;
use crate::scenario::simulated::work::Work;
use crate::scenario::verdict::Violation;
use crate::sim::World;
use crate::sim::chance::Chance;
use crate::sim::disk::Image;

/// Time between looks at what steps wait for.
const LOOK_MS: u64 = 50;

/// A run under way.
pub struct Stage {
    /// What is played.
    pub scenario: Scenario,
    /// The world.
    pub world: World,
    /// Names of nodes, by index.
    pub names: Vec<String>,
    /// Those that may write.
    pub writers: Vec<bool>,
    /// Those that are of the federation now.
    pub members: Vec<bool>,
    /// Cut and bent lines.
    pub lines: Lines,
    /// What is counted here and not in the world.
    pub counted: BTreeMap<&'static str, u64>,
    /// What had to bite, as it was counted when the steps were over.
    pub(super) bitten: BTreeMap<String, u64>,
    /// What was broken in the run's own eyes.
    pub violations: Vec<Violation>,
    /// What happened, for people.
    pub timeline: Vec<String>,
    /// Copies of stores, by node and label.
    pub copies: BTreeMap<(usize, String), Image>,
    /// What people do.
    pub work: Work,
    /// Bundles by label.
    pub(super) bundles: BTreeMap<String, Image>,
    /// Copies of nodes that run beside them: step, copy, original.
    pub(super) twins: Vec<(Ticket, usize, usize)>,
    /// What hostile members do.
    pub(super) acts: Vec<Hostility>,
    pub(super) todo: BTreeMap<(u64, u64), Todo>,
    pub(super) under_way: BTreeMap<Ticket, Occurrence>,
    pub(super) agreements: Vec<Agreement>,
    /// Offsets of clocks before steps changed them.
    pub(super) clocks: BTreeMap<Ticket, Vec<(usize, i64)>>,
    pub(super) drifting: BTreeSet<Ticket>,
    waiting: Vec<(Condition, Occurrence)>,
    next: u64,
}

/// Something to do at a time.
#[derive(Debug)]
pub(super) enum Todo {
    /// A step begins.
    Begin(Box<Occurrence>),
    /// A step ends.
    End(Ticket),
    /// A flapping line changes.
    Flap { ticket: Ticket, is_cut: bool, chance: Box<Chance> },
    /// One node of a swizzle is cut off, or let back in.
    Swizzle { ticket: Ticket, node: usize, is_cut: bool },
    /// A node starts again, unless something else happened to it since.
    Restart { node: usize, run: u64 },
    /// A clock drifts on: microseconds each second.
    Drift { ticket: Ticket, node: usize, gain_us: i64, owed_us: i64 },
    /// Somebody writes.
    Write,
    /// Somebody looks whether writes were answered.
    Answers,
    /// Conditions and agreements are looked at.
    Look,
}

/// Lines of the timeline that are kept.
const TIMELINE_MAX: usize = 2_000;

impl Stage {
    /// A run at its beginning.
    #[must_use]
    pub fn new(scenario: &Scenario, plan: Plan, seed: u64) -> Stage {
        let Cast { world, names, writers, members } = cast(scenario, &plan, seed);
        let mut stage = Stage {
            scenario: scenario.clone(),
            world,
            names,
            writers,
            members,
            lines: Lines::default(),
            counted: BTreeMap::new(),
            bitten: BTreeMap::new(),
            violations: Vec::new(),
            timeline: Vec::new(),
            copies: BTreeMap::new(),
            work: Work::new(seed),
            bundles: BTreeMap::new(),
            twins: Vec::new(),
            acts: Vec::new(),
            todo: BTreeMap::new(),
            under_way: BTreeMap::new(),
            agreements: Vec::new(),
            clocks: BTreeMap::new(),
            drifting: BTreeSet::new(),
            waiting: plan.waiting,
            next: 0,
        };
        for occurrence in plan.timed {
            stage.later(occurrence.at.ms(), Todo::Begin(Box::new(occurrence)));
        }
        if !stage.waiting.is_empty() {
            stage.later(LOOK_MS, Todo::Look);
        }
        stage
    }

    /// Does something at a time.
    pub(super) fn later(&mut self, at_ms: u64, todo: Todo) {
        self.next += 1;
        self.todo.insert((at_ms, self.next), todo);
    }

    /// A number that no other step has.
    pub(super) fn ticket(&mut self) -> Ticket {
        self.next += 1;
        self.next
    }

    /// Counts something.
    pub fn count(&mut self, name: &'static str, more: u64) {
        *self.counted.entry(name).or_insert(0) += more;
    }

    /// Writes a line of the timeline.
    pub fn tell(&mut self, what: &str) {
        if self.timeline.len() < TIMELINE_MAX {
            let at = Span(self.world.now_ms() * 1_000).seconds();
            self.timeline.push(format!("{at:9.3} s  {what}"));
        }
    }

    /// The index of a name; names were checked when the file was read.
    #[must_use]
    pub fn index(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|other| other == name)
    }

    /// Whether a node runs, frozen or not.
    #[must_use]
    pub fn runs(&self, node: usize) -> bool {
        self.world.nodes[node].replica.is_some()
    }

    /// Lets time pass and does what is to be done in it.
    pub fn play_until(&mut self, end_ms: u64) {
        while let Some((&(at, number), _)) = self.todo.first_key_value() {
            if at > end_ms {
                break;
            }
            self.run_to(at);
            if let Some(todo) = self.todo.remove(&(at, number)) {
                self.act(todo);
            }
        }
        self.run_to(end_ms);
    }

    fn run_to(&mut self, at_ms: u64) {
        self.world.run_for(at_ms.saturating_sub(self.world.now_ms()));
    }

    fn act(&mut self, todo: Todo) {
        match todo {
            Todo::Begin(occurrence) => self.begin(*occurrence),
            Todo::End(ticket) => self.end(ticket),
            Todo::Flap { ticket, is_cut, chance } => self.flap(ticket, is_cut, *chance),
            Todo::Swizzle { ticket, node, is_cut } => self.swizzle(ticket, node, is_cut),
            Todo::Restart { node, run } => {
                if self.world.nodes[node].run == run {
                    self.start(node);
                }
            }
            Todo::Drift { ticket, node, gain_us, owed_us } => self.drift(ticket, node, gain_us, owed_us),
            Todo::Write => self.write_next(),
            Todo::Answers => self.look_for_answers(),
            Todo::Look => self.look(),
        }
    }

    /// Begins what waited for something that is so now.
    fn look(&mut self) {
        let (ready, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(condition, _)| self.is_so(condition));
        self.waiting = waiting;
        for (condition, occurrence) in ready {
            self.tell(&format!("now {condition}"));
            self.begin(occurrence);
        }
        self.look_for_agreement();
        if !self.waiting.is_empty() || !self.agreements.is_empty() {
            let at = self.world.now_ms() + LOOK_MS;
            self.later(at, Todo::Look);
        }
    }

    /// Looks soon at what steps wait for.
    pub(super) fn look_soon(&mut self) {
        if !self.todo.values().any(|todo| matches!(todo, Todo::Look)) {
            let at = self.world.now_ms() + LOOK_MS;
            self.later(at, Todo::Look);
        }
    }
}
