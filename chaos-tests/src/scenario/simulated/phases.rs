//! The phases of a run: faults while people work (safety), then only a linked core is healed and must agree
//! (liveness), then everybody is and must; then what the healthy mesh sends is counted, see `calm`.

use std::collections::BTreeMap;

use crate::scenario::format::quantity::Span;
use crate::scenario::plan::Plan;
use crate::scenario::simulated::calm::Traffic;
use crate::scenario::simulated::counters;
use crate::scenario::simulated::lines::directions;
use crate::scenario::simulated::stage::Stage;
use crate::scenario::verdict::Violation;
use crate::sim::chance::Chance;
use crate::sim::checks;

/// Time between looks whether a mesh agrees: times are told rounded up to it.
const LOOK_MS: u64 = 20;
/// Time for all to agree in the end, at least.
const REUNION_MS_MIN: u64 = 30_000;

/// Times that a run took to agree.
#[derive(Clone, Debug, Default)]
pub struct Agreed {
    /// Names of the core.
    pub core: Vec<String>,
    /// Names of nodes that stayed broken.
    pub broken: Vec<String>,
    /// Names of all others, by why they were neither.
    pub outside: BTreeMap<String, Vec<String>>,
    /// The core, from the heal on.
    pub core_took: Option<Span>,
    /// Everybody, from the last heal on.
    pub all_took: Option<Span>,
    /// What the healthy mesh sent afterwards; else why that could not be judged.
    pub traffic: Option<Result<Traffic, &'static str>>,
}

impl Stage {
    /// Plays the whole run.
    pub fn play(&mut self, plan: &Plan) -> Agreed {
        self.begin_work();
        self.play_until(self.scenario.duration.ms());
        self.end_work();
        self.check_all();
        self.note_bites();
        let mut agreed = Agreed::default();
        self.liveness(plan, &mut agreed);
        self.reunion(&mut agreed);
        agreed.traffic = Some(self.calm(&agreed));
        self.check_all();
        agreed
    }

    /// What must bite is counted until here: cuts, kills and starts of the later phases are the harness's own.
    fn note_bites(&mut self) {
        let wanted: Vec<String> = self.scenario.must_bite.iter().map(|(name, _)| name.clone()).collect();
        let count = |name: String| {
            let was = counters::value(self, &name);
            (name, was)
        };
        self.bitten = wanted.into_iter().map(count).collect();
    }

    fn check_all(&mut self) {
        let found = checks::all(&self.world);
        self.world.violations.extend(found);
    }

    /// Only a linked core is healed; the rest stays as broken as it is, or becomes broken now.
    fn liveness(&mut self, plan: &Plan, agreed: &mut Agreed) {
        self.todo.clear();
        self.drifting.clear();
        for (ticket, _, _) in self.twins.clone() {
            self.stop_twins(ticket);
        }
        let broken: Vec<usize> = plan.keep_broken.iter().filter_map(|name| self.index(name)).collect();
        let candidates: Vec<usize> = (0..self.names.len())
            .filter(|node| self.members[*node] && !broken.contains(node) && !self.is_hostile(*node))
            .collect();
        let core = self.largest_linked(&candidates);
        self.tell(&format!("healed: {}; not: {}", self.list(&core), self.list(&broken)));
        agreed.core = core.iter().map(|node| self.names[*node].clone()).collect();
        agreed.broken = broken.iter().map(|node| self.names[*node].clone()).collect();
        for node in (0..self.names.len()).filter(|node| !core.contains(node) && !broken.contains(node)) {
            let why = match (self.members[node], self.is_hostile(node)) {
                (false, _) => "no members",
                (true, true) => "hostile",
                (true, false) => "unlinked",
            };
            agreed.outside.entry(why.to_owned()).or_default().push(self.names[node].clone());
        }
        let mut chance = Chance::new(self.world.setup.seed, "what stays broken");
        let ticket = self.ticket();
        for node in 0..self.names.len() {
            if core.contains(&node) || self.is_hostile(node) {
                continue;
            }
            if chance.permille(500) {
                self.world.crash_by_chance(node);
            }
            let own = directions(&self.world).into_iter().filter(|(from, to)| *from == node || *to == node);
            let own: Vec<(usize, usize)> = own.collect();
            self.lines.cut(&mut self.world, ticket, own);
        }
        self.repair(&core, |from, to| core.contains(&from) && core.contains(&to));
        let began = self.world.now_ms();
        for &node in core.iter().filter(|node| self.can_write(**node)).collect::<Vec<_>>() {
            self.write(node);
        }
        self.play_until(began + LOOK_MS.min(self.scenario.settle.ms()));
        agreed.core_took = self.wait(&core, began, self.scenario.settle.ms(), "the core, healed,");
    }

    /// Everybody is healed.
    fn reunion(&mut self, agreed: &mut Agreed) {
        if agreed.core_took.is_none() {
            return;
        }
        let all: Vec<usize> =
            (0..self.names.len()).filter(|node| self.members[*node] && self.world.is_honest(*node)).collect();
        self.tell("everybody is healed");
        self.repair(&all, |_, _| true);
        let began = self.world.now_ms();
        let settle = self.scenario.settle.ms().max(REUNION_MS_MIN);
        agreed.all_took = self.wait(&all, began, settle, "everybody, healed at last,");
        // What a hostile member acknowledged to itself binds nobody.
        if agreed.all_took.is_some() && self.world.hostile_logs().is_empty() {
            let missing = checks::s1_acknowledged::everywhere(&self.world);
            self.world.violations.extend(missing);
        }
    }

    /// Waits until nodes hold the same.
    pub(super) fn wait(&mut self, nodes: &[usize], began: u64, settle_ms: u64, who: &str) -> Option<Span> {
        loop {
            let now = self.world.now_ms();
            if self.agree(nodes) {
                let took = Span((now - began) * 1_000);
                self.tell(&format!("{who} agree after {took}"));
                return Some(took);
            }
            if now - began >= settle_ms {
                let state = checks::l2_convergence::describe(&self.world);
                let what = format!("{who} do not agree after {}\n{state}", Span(settle_ms * 1_000));
                self.violations.push(Violation::new("L2", now, what.trim_end().to_owned()));
                return None;
            }
            // The last look is at the limit itself.
            self.play_until((now + LOOK_MS).min(began + settle_ms));
        }
    }

    /// Whether nodes hold the same and nobody waits for an answer. Of the logs of members that turned hostile only
    /// what honest nodes agree on can be asked for.
    #[must_use]
    pub fn agree(&self, nodes: &[usize]) -> bool {
        let hostile = self.world.hostile_logs();
        if hostile.is_empty() {
            return checks::l2_convergence::these_hold_the_same(&self.world, |node| nodes.contains(&node));
        }
        let running = nodes.iter().filter(|node| self.runs(**node)).map(|node| &self.world.nodes[*node]);
        let mut held = running.map(|node| {
            let own = node.disk.durable().held().into_iter().filter(|(log, _, _)| !hostile.contains(log));
            (node.pending.is_empty(), own.collect::<Vec<_>>())
        });
        let Some((is_idle, first)) = held.next() else { return true };
        is_idle && held.all(|(is_idle, other)| is_idle && other == first)
    }

    /// Whether a node may do anything.
    #[must_use]
    pub fn is_hostile(&self, node: usize) -> bool {
        self.scenario.mesh.byzantine.contains(&self.names[node]) || !self.world.is_honest(node)
    }

    /// The largest part of these nodes that is linked among itself.
    fn largest_linked(&self, nodes: &[usize]) -> Vec<usize> {
        let mut largest: Vec<usize> = Vec::new();
        for &start in nodes {
            let mut part = vec![start];
            let mut next = 0;
            while let Some(from) = part.get(next).copied() {
                next += 1;
                for &to in nodes {
                    if self.world.link(from, to).is_some() && !part.contains(&to) {
                        part.push(to);
                    }
                }
            }
            if part.len() > largest.len() {
                part.sort_unstable();
                largest = part;
            }
        }
        largest
    }
}
