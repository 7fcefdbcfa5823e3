//! What a scenario and a seed come to: every range drawn, every choice made, in the order of time.
//!
//! Each step draws from a stream that its own text names, so that leaving one out changes no other.

use std::collections::BTreeMap;

use crate::scenario::format::Scenario;
use crate::scenario::format::choice::{Links, Nodes};
use crate::scenario::format::compare::Condition;
use crate::scenario::format::mesh::Topology;
use crate::scenario::format::quantity::{Between, Offset, Share, Span};
use crate::scenario::format::step::{Action, Argument, Step, When};
use crate::scenario::format::verbs::Verb;
use crate::scenario::swarm;
use crate::sim::chance::Chance;

/// Things that happen in one run.
pub const OCCURRENCES_MAX: usize = 20_000;

/// Everything that will happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// By time.
    pub timed: Vec<Occurrence>,
    /// What waits for something to be so.
    pub waiting: Vec<(Condition, Occurrence)>,
    /// Names of nodes that stay broken in the liveness phase.
    pub keep_broken: Vec<String>,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// When.
    pub at: Span,
    /// How long it lasts.
    pub lasts: Option<Span>,
    /// What it is: no choice is left in it.
    pub action: Action,
}

impl Occurrence {
    /// As a step of a file.
    #[must_use]
    pub fn step(&self) -> Step {
        Step {
            line: 0,
            when: When::At(Between::just(self.at)),
            lasts: self.lasts.map(Between::just),
            action: self.action.clone(),
        }
    }
}

/// A time from a range, in whole milliseconds where the range is not finer.
pub fn draw(chance: &mut Chance, range: Between<Span>) -> Span {
    let drawn = chance.between(range.low.0, range.high.0);
    Span((drawn / 1_000 * 1_000).max(range.low.0))
}

impl Plan {
    /// Draws everything that a scenario leaves open.
    #[must_use]
    pub fn new(scenario: &Scenario, seed: u64) -> Plan {
        let mut draws = Draws { scenario, links: links_of(scenario) };
        let mut plan = Plan { timed: Vec::new(), waiting: Vec::new(), keep_broken: draws.keep_broken(seed) };
        let mut alike: BTreeMap<String, u64> = BTreeMap::new();
        for step in &scenario.steps {
            let text = step.to_string();
            let number = alike.entry(text.clone()).or_insert(0);
            let mut chance = Chance::new(seed, &format!("step {number} {text}"));
            *number += 1;
            draws.step(&mut chance, step, &mut plan);
        }
        if let Some(swarm) = &scenario.swarm {
            let mut chance = Chance::new(seed, "swarm");
            for step in swarm::steps(swarm, scenario, &mut chance) {
                draws.step(&mut chance, &step, &mut plan);
            }
        }
        plan.timed.sort_by_key(|occurrence| occurrence.at);
        plan.timed.truncate(OCCURRENCES_MAX);
        plan
    }

    /// The scenario that says exactly this: nothing in it is left to chance.
    #[must_use]
    pub fn fixed(&self, scenario: &Scenario, seed: u64) -> Scenario {
        let waiting = self
            .waiting
            .iter()
            .map(|(condition, occurrence)| Step { when: When::Once(condition.clone()), ..occurrence.step() });
        Scenario {
            seed,
            steps: self.timed.iter().map(Occurrence::step).chain(waiting).collect(),
            swarm: None,
            keep_broken: Some(Nodes::Named(self.keep_broken.clone())),
            ..scenario.clone()
        }
    }
}

/// Pairs of names that are linked.
#[must_use]
pub fn links_of(scenario: &Scenario) -> Vec<(String, String)> {
    let names: Vec<&str> = scenario.everybody().collect();
    let count = names.len();
    let pair = |a: usize, b: usize| (names[a].to_owned(), names[b].to_owned());
    let all = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
    match &scenario.mesh.topology {
        Topology::Full => all.map(|(a, b)| pair(a, b)).collect(),
        Topology::Line => all.filter(|(a, b)| a + 1 == *b).map(|(a, b)| pair(a, b)).collect(),
        Topology::Ring => {
            all.filter(|(a, b)| a + 1 == *b || (*a == 0 && b + 1 == count)).map(|(a, b)| pair(a, b)).collect()
        }
        Topology::Star => all.filter(|(a, _)| *a == 0).map(|(a, b)| pair(a, b)).collect(),
        Topology::Links(pairs) => pairs.clone(),
    }
}

struct Draws<'s> {
    scenario: &'s Scenario,
    links: Vec<(String, String)>,
}

impl Draws<'_> {
    fn step(&mut self, chance: &mut Chance, step: &Step, plan: &mut Plan) {
        let end = self.scenario.duration;
        match &step.when {
            When::At(at) => {
                let at = draw(chance, *at);
                let occurrence = self.occurrence(chance, at, step);
                plan.timed.push(occurrence);
            }
            When::Every { from, to, every } => {
                let mut at = *from;
                while at <= *to && at < end && plan.timed.len() < OCCURRENCES_MAX {
                    let occurrence = self.occurrence(chance, at, step);
                    plan.timed.push(occurrence);
                    at = Span(at.0 + draw(chance, *every).0);
                }
            }
            When::Once(condition) => {
                let occurrence = self.occurrence(chance, Span(0), step);
                plan.waiting.push((condition.clone(), occurrence));
            }
        }
    }

    fn occurrence(&mut self, chance: &mut Chance, at: Span, step: &Step) -> Occurrence {
        let lasts = step.lasts.map(|range| draw(chance, range));
        let action = self.action(chance, &step.action);
        // A whole millisecond is what a run can tell apart.
        Occurrence { at: Span(at.0 / 1_000 * 1_000), lasts, action }
    }

    fn action(&mut self, chance: &mut Chance, action: &Action) -> Action {
        let mut drawn = Action { arguments: BTreeMap::new(), ..action.clone() };
        for (key, argument) in &action.arguments {
            let argument = match argument {
                Argument::Nodes(nodes) => {
                    let among = self.among(action.verb);
                    Argument::Nodes(Nodes::Named(choose(chance, nodes, &among)))
                }
                Argument::Links(Links::Random) => match chance.pick(&self.links).cloned() {
                    Some((a, b)) => Argument::Links(Links::Matching { from: Some(a), to: Some(b), both: true }),
                    None => Argument::Links(Links::All),
                },
                Argument::Groups(groups) => Argument::Groups(self.groups(chance, groups)),
                // Drawn anew at each change.
                Argument::Span(range) if action.verb == Verb::Flap => Argument::Span(*range),
                Argument::Span(range) => Argument::Span(Between::just(draw(chance, *range))),
                other => other.clone(),
            };
            drawn.arguments.insert(key, argument);
        }
        drawn
    }

    /// Whom chance may choose.
    fn among(&self, verb: Verb) -> Vec<String> {
        match verb {
            Verb::Byz => self.scenario.mesh.byzantine.clone(),
            _ => self.scenario.everybody().map(str::to_owned).collect(),
        }
    }

    fn groups(&self, chance: &mut Chance, groups: &[Nodes]) -> Vec<Nodes> {
        let all: Vec<String> = self.scenario.everybody().map(str::to_owned).collect();
        let mut taken: Vec<String> = Vec::new();
        let mut drawn: Vec<Option<Vec<String>>> = Vec::new();
        for group in groups {
            let left: Vec<String> = all.iter().filter(|name| !taken.contains(name)).cloned().collect();
            let names = match group {
                Nodes::All => None,
                Nodes::Named(names) => Some(names.clone()),
                Nodes::Minority => Some(choose(chance, &Nodes::Minority, &all)),
                other => Some(choose(chance, other, &left)),
            };
            taken.extend(names.iter().flatten().cloned());
            drawn.push(names);
        }
        let rest = |names: Option<Vec<String>>| {
            Nodes::Named(names.unwrap_or_else(|| all.iter().filter(|name| !taken.contains(name)).cloned().collect()))
        };
        // A group that nobody is left for is none.
        drawn.into_iter().map(rest).filter(|group| *group != Nodes::Named(Vec::new())).collect()
    }

    /// Nodes that stay broken: those that the file names, else fewer than half by chance, so that the rest is
    /// linked, two honest ones of it with each other. Hostile ones are broken anyway.
    fn keep_broken(&self, seed: u64) -> Vec<String> {
        let mut chance = Chance::new(seed, "core");
        let correct: Vec<String> = self
            .scenario
            .everybody()
            .filter(|name| !self.scenario.mesh.byzantine.iter().any(|byzantine| byzantine == name))
            .map(str::to_owned)
            .collect();
        match &self.scenario.keep_broken {
            Some(Nodes::Named(names)) => names.clone(),
            Some(other) => self.as_far_as_linked(choose(&mut chance, other, &correct)),
            None => {
                let most = (correct.len().max(1) - 1) / 2;
                let count = chance.below(most as u64 + 1) as usize;
                let mut names = correct;
                chance.shuffle(&mut names);
                names.truncate(count);
                self.as_far_as_linked(names)
            }
        }
    }

    fn as_far_as_linked(&self, candidates: Vec<String>) -> Vec<String> {
        let mut broken: Vec<String> = Vec::new();
        for name in candidates {
            broken.push(name);
            let core: Vec<&str> = self.scenario.everybody().filter(|name| !broken.iter().any(|b| b == name)).collect();
            let is_broken = |name: &str| broken.iter().any(|other| other == name);
            if !are_linked(&core, &self.links) || !self.scenario.leaves_a_core(is_broken) {
                broken.pop();
            }
        }
        broken
    }
}

/// Whether each of these nodes reaches each other over links among themselves.
#[must_use]
pub fn are_linked(names: &[&str], links: &[(String, String)]) -> bool {
    let Some(first) = names.first() else { return false };
    let mut reached = vec![*first];
    let mut next = 0;
    while let Some(from) = reached.get(next).copied() {
        next += 1;
        for name in names {
            let linked = links.iter().any(|(a, b)| (a == from && b == name) || (b == from && a == name));
            if linked && !reached.contains(name) {
                reached.push(name);
            }
        }
    }
    reached.len() == names.len()
}

/// The names that a choice comes to.
fn choose(chance: &mut Chance, nodes: &Nodes, among: &[String]) -> Vec<String> {
    let some = |chance: &mut Chance, count: usize| {
        let mut names = among.to_vec();
        chance.shuffle(&mut names);
        names.truncate(count);
        names.sort_by_key(|name| among.iter().position(|other| other == name));
        names
    };
    match nodes {
        Nodes::Named(names) => names.clone(),
        Nodes::All => among.to_vec(),
        Nodes::AllBut(but) => among.iter().filter(|name| !but.contains(name)).cloned().collect(),
        Nodes::Random(count) => some(chance, *count as usize),
        Nodes::Minority => {
            let most = (among.len().max(1) - 1) / 2;
            let count = if most == 0 { 0 } else { chance.between(1, most as u64) };
            some(chance, usize::try_from(count).unwrap_or(0))
        }
        // Refused by every backend without one, before anything is drawn.
        Nodes::Leader => some(chance, 1),
    }
}

/// A share of a time.
#[must_use]
pub fn share_of(span: Span, share: Share) -> Span {
    Span(u64::try_from(u128::from(span.0) * u128::from(share.0) / 1_000_000).unwrap_or(span.0))
}

/// An offset in whole milliseconds.
#[must_use]
pub fn offset_ms(offset: Offset) -> i64 {
    offset.0 / 1_000
}
