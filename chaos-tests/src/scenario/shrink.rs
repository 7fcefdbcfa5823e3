//! The smallest scenario that still fails: steps dropped, times halved, nodes and people left out.

use std::time::{Duration, Instant};

use crate::scenario::format::Scenario;
use crate::scenario::format::choice::{Links, Nodes};
use crate::scenario::format::mesh::Topology;
use crate::scenario::format::quantity::{Between, Pace, Share, Span};
use crate::scenario::format::step::{Argument, Step, When};
use crate::scenario::plan::Plan;
use crate::scenario::simulated::{self, HarnessPanic};
use crate::scenario::verdict::{Outcome, Verdict};

/// Why nothing was made smaller.
#[derive(Debug, thiserror::Error)]
pub enum ShrinkError {
    /// There is no failure.
    #[error("the run does not fail, so that there is nothing to make smaller")]
    Passes,
    /// The harness panicked.
    #[error(transparent)]
    Harness(#[from] HarnessPanic),
}

/// What shrinking comes to.
pub struct Smallest {
    /// The scenario: nothing in it is left to chance but the world itself.
    pub scenario: Scenario,
    /// How it fails.
    pub outcome: Outcome,
    /// Runs that were tried.
    pub tried: u64,
    /// Time ran out before everything was tried.
    pub is_cut_short: bool,
}

struct Search<'f> {
    seed: u64,
    best: Scenario,
    outcome: Outcome,
    invariants: Vec<String>,
    until: Instant,
    tried: u64,
    tell: &'f mut dyn FnMut(&Scenario, u64),
}

/// Looks for the smallest scenario that breaks one of the same invariants. `tell` hears of each smaller one.
///
/// # Errors
/// The scenario does not fail, or the harness did.
pub fn shrink(
    scenario: &Scenario,
    seed: u64,
    budget: Duration,
    tell: &mut dyn FnMut(&Scenario, u64),
) -> Result<Smallest, ShrinkError> {
    let until = Instant::now() + budget;
    let fixed = Plan::new(scenario, seed).fixed(scenario, seed);
    // What bites less is as good a failure.
    let fixed = Scenario { must_bite: Vec::new(), ..fixed };
    let mut outcome = simulated::run(&fixed, seed)?;
    let mut best = fixed;
    if !fails(&outcome) {
        // What was drawn in the file's own way may matter.
        best = Scenario { must_bite: Vec::new(), seed, ..scenario.clone() };
        outcome = simulated::run(&best, seed)?;
    }
    if !fails(&outcome) {
        return Err(ShrinkError::Passes);
    }
    let invariants = outcome.violations.iter().map(|violation| violation.invariant.clone()).collect();
    let mut search = Search { seed, best, outcome, invariants, until, tried: 1, tell };
    while search.round() {}
    let is_cut_short = search.is_late();
    Ok(Smallest { scenario: search.best, outcome: search.outcome, tried: search.tried, is_cut_short })
}

fn fails(outcome: &Outcome) -> bool {
    matches!(outcome.verdict, Verdict::Safety | Verdict::Liveness)
}

impl Search<'_> {
    fn is_late(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Tries a smaller scenario; keeps it if it fails for the same reason.
    fn attempt(&mut self, smaller: Scenario) -> bool {
        if self.is_late() || smaller == self.best || smaller.must_make_sense("smaller").is_err() {
            return false;
        }
        self.tried += 1;
        let Ok(outcome) = simulated::run(&smaller, self.seed) else { return false };
        let same = outcome.violations.iter().any(|violation| self.invariants.contains(&violation.invariant));
        if fails(&outcome) && same {
            (self.tell)(&smaller, self.tried);
            self.best = smaller;
            self.outcome = outcome;
            return true;
        }
        false
    }

    /// Tries everything once; `true` if something became smaller.
    fn round(&mut self) -> bool {
        let before = self.best.clone();
        self.drop_steps();
        self.shorten_run();
        self.drop_nodes();
        self.drop_steps();
        self.halve_times();
        self.simplify();
        self.best != before && !self.is_late()
    }

    /// Drops half of the steps, then a quarter, and so on down to single ones.
    fn drop_steps(&mut self) {
        let mut size = self.best.steps.len().div_ceil(2);
        while size > 0 && !self.is_late() {
            let mut at = 0;
            while at < self.best.steps.len() {
                let mut steps = self.best.steps.clone();
                steps.drain(at..(at + size).min(steps.len()));
                if !self.attempt(Scenario { steps, ..self.best.clone() }) {
                    at += size;
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }

    /// Ends the run earlier: right after the last step, then at half of its time.
    fn shorten_run(&mut self) {
        let last = self.best.steps.iter().map(|step| match &step.when {
            When::At(at) => at.high.0,
            When::Every { to, .. } => to.0,
            When::Once(_) => self.best.duration.0,
        });
        let last = last.max().unwrap_or(0);
        for extra in [100_000, 1_000_000, 5_000_000] {
            if last + extra < self.best.duration.0
                && self.attempt(Scenario { duration: Span(last + extra), ..self.best.clone() })
            {
                break;
            }
        }
        while self.best.duration.0 > 200_000 {
            let duration = Span((self.best.duration.0 / 2).next_multiple_of(1_000));
            let ends = |step: &Step| matches!(&step.when, When::At(at) if at.high > duration);
            let steps = self.best.steps.iter().filter(|step| !ends(step)).cloned().collect();
            if !self.attempt(Scenario { duration, steps, ..self.best.clone() }) {
                break;
            }
        }
    }

    fn drop_nodes(&mut self) {
        let names: Vec<String> = self.best.everybody().map(str::to_owned).collect();
        for name in names.iter().rev() {
            let smaller = without_node(&self.best, name);
            self.attempt(smaller);
        }
    }

    /// Halves how long steps last, how late nodes restart, and when steps happen.
    fn halve_times(&mut self) {
        for index in 0..self.best.steps.len() {
            for halve in [halve_for, halve_restart, halve_at] {
                while let Some(step) = self.best.steps.get(index).and_then(halve) {
                    let mut smaller = self.best.clone();
                    smaller.steps[index] = step;
                    if !self.attempt(smaller) {
                        break;
                    }
                }
            }
        }
    }

    /// Makes mesh, lines and people plainer.
    fn simplify(&mut self) {
        let best = &self.best;
        let mut plainer = Vec::new();
        let mut work = best.workload.clone();
        work.updates = Share(0);
        work.retracts = Share(0);
        plainer.push(Scenario { workload: work.clone(), ..best.clone() });
        work.alerts = Pace { count: (best.workload.alerts.count / 2).max(1), ..best.workload.alerts };
        plainer.push(Scenario { workload: work, ..best.clone() });
        plainer.push(Scenario { links: Vec::new(), ..best.clone() });
        plainer.push(Scenario { keep_broken: Some(Nodes::Named(Vec::new())), ..best.clone() });
        if best.mesh.topology != Topology::Full {
            let mut whole = best.clone();
            whole.mesh.topology = Topology::Full;
            plainer.push(whole);
        }
        for index in 0..best.links.len() {
            let mut links = best.links.clone();
            links.remove(index);
            plainer.push(Scenario { links, ..best.clone() });
        }
        for candidate in plainer {
            // Each is made from the scenario before the first of them was taken: the next round combines them.
            if self.attempt(candidate) {
                break;
            }
        }
    }
}

/// Half of a time in whole milliseconds, if it is worth it.
fn half(span: Span) -> Option<Span> {
    (span.0 > 20_000).then(|| Span((span.0 / 2).next_multiple_of(1_000)))
}

fn halve_for(step: &Step) -> Option<Step> {
    let lasts = half(step.lasts?.high)?;
    Some(Step { lasts: Some(Between::just(lasts)), ..step.clone() })
}

fn halve_restart(step: &Step) -> Option<Step> {
    let after = half(step.action.span("restart_after")?)?;
    let mut shorter = step.clone();
    shorter.action.arguments.insert("restart_after", Argument::Span(Between::just(after)));
    Some(shorter)
}

fn halve_at(step: &Step) -> Option<Step> {
    let When::At(at) = &step.when else { return None };
    Some(Step { when: When::At(Between::just(half(at.high)?)), ..step.clone() })
}

/// The scenario without a node, and without the steps that are about nobody else.
fn without_node(scenario: &Scenario, name: &str) -> Scenario {
    let keep = |names: &[String]| names.iter().filter(|other| *other != name).cloned().collect::<Vec<String>>();
    let mut smaller = scenario.clone();
    smaller.mesh.nodes = keep(&scenario.mesh.nodes);
    smaller.mesh.observers = keep(&scenario.mesh.observers);
    smaller.mesh.byzantine = keep(&scenario.mesh.byzantine);
    smaller.mesh.version.remove(name);
    if let Topology::Links(pairs) = &mut smaller.mesh.topology {
        pairs.retain(|(a, b)| a != name && b != name);
    }
    smaller.links.retain(|(links, _)| !links.names().any(|other| other == name));
    if let Some(Nodes::Named(names)) = &scenario.keep_broken {
        smaller.keep_broken = Some(Nodes::Named(keep(names)));
    }
    smaller.steps = scenario.steps.iter().filter_map(|step| step_without(step, name)).collect();
    smaller
}

fn step_without(step: &Step, name: &str) -> Option<Step> {
    if matches!(&step.when, When::Once(condition) if condition.node.as_deref() == Some(name)) {
        return None;
    }
    let mut smaller = step.clone();
    let without = |nodes: &Nodes| match nodes {
        Nodes::Named(names) => {
            let names: Vec<String> = names.iter().filter(|other| *other != name).cloned().collect();
            (!names.is_empty()).then_some(Nodes::Named(names))
        }
        other => Some(other.clone()),
    };
    for argument in smaller.action.arguments.values_mut() {
        match argument {
            Argument::Nodes(nodes) => *nodes = without(nodes)?,
            Argument::Groups(groups) => {
                *groups = groups.iter().filter_map(without).collect();
                if groups.len() < 2 {
                    return None;
                }
            }
            Argument::Links(links @ Links::Matching { .. }) if links.names().any(|other| other == name) => return None,
            _ => {}
        }
    }
    Some(smaller)
}
