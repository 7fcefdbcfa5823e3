//! Waiting for something to be so: conditions of steps, and nodes that must come to agree.

use std::collections::BTreeSet;

use crate::sim::checks::s1_acknowledged::Place;

use crate::scenario::format::compare::Condition;
use crate::scenario::format::quantity::Span;
use crate::scenario::simulated::counters;
use crate::scenario::simulated::stage::Stage;
use crate::scenario::verdict::Violation;

/// Nodes that must come to hold what was acknowledged at them when a step asked.
#[derive(Debug)]
pub(super) struct Agreement {
    nodes: Vec<usize>,
    places: BTreeSet<Place>,
    asked_ms: u64,
    until_ms: u64,
}

impl Stage {
    /// Whether a condition holds.
    pub(super) fn is_so(&self, condition: &Condition) -> bool {
        let value = match &condition.node {
            Some(name) => {
                let node = self.index(name);
                node.map_or(0, |node| counters::of_node(self, node, &condition.counter))
            }
            None => counters::value(self, &condition.counter),
        };
        condition.is.holds(&value)
    }

    /// These nodes must hold, in time, whatever was acknowledged at any of them by now.
    pub(super) fn must_agree(&mut self, nodes: &[usize], within: Span) {
        let nodes: Vec<usize> = nodes.iter().copied().filter(|node| self.runs(*node)).collect();
        let places = nodes.iter().flat_map(|node| self.world.nodes[*node].acknowledged.iter().copied()).collect();
        let now = self.world.now_ms();
        self.agreements.push(Agreement { nodes, places, asked_ms: now, until_ms: now + within.ms() });
        self.look_soon();
    }

    /// Ends agreements that are reached, or too late.
    pub(super) fn look_for_agreement(&mut self) {
        let now = self.world.now_ms();
        for agreement in std::mem::take(&mut self.agreements) {
            match self.missing(&agreement) {
                None => {
                    let took = Span((now - agreement.asked_ms) * 1_000);
                    self.tell(&format!("{} hold the same after {took}", self.list(&agreement.nodes)));
                }
                Some(missing) if now >= agreement.until_ms => {
                    let within = Span((agreement.until_ms - agreement.asked_ms) * 1_000);
                    let what = format!("not together within {within} of a check: {missing}");
                    self.violations.push(Violation::new("L2", now, what));
                }
                Some(_) => self.agreements.push(agreement),
            }
        }
    }

    /// What keeps nodes from agreeing: nodes that went down since are not waited for.
    fn missing(&self, agreement: &Agreement) -> Option<String> {
        for &node in agreement.nodes.iter().filter(|node| self.runs(**node)) {
            let disk = self.world.nodes[node].disk.durable();
            let is_lost =
                |(log, seq, hash): &&Place| disk.entry(*log, *seq, *hash).is_none() && disk.covers(log, *seq, *hash);
            if let Some((log, seq, _)) = agreement.places.iter().find(is_lost) {
                return Some(format!("{} has no {log}/{seq}", self.names[node]));
            }
        }
        None
    }

    /// Names of nodes, for people.
    pub(super) fn list(&self, nodes: &[usize]) -> String {
        nodes.iter().map(|node| self.names[*node].as_str()).collect::<Vec<_>>().join(", ")
    }
}
