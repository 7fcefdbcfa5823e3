//! Which lines are cut and bent, and by which steps: a line works again when the last step that cut it ends.

use std::collections::{BTreeMap, BTreeSet};

use crate::scenario::format::Scenario;
use crate::scenario::format::choice::{Links, Nodes};
use crate::scenario::format::line::LineChange;
use crate::scenario::simulated::setup::{line_between, shape_line};
use crate::sim::World;

/// A step that is under way.
pub(super) type Ticket = u64;

/// What is cut and bent.
#[derive(Debug, Default)]
pub struct Lines {
    cuts: BTreeMap<(usize, usize), BTreeSet<Ticket>>,
    bends: BTreeMap<(usize, usize), Vec<(Ticket, LineChange)>>,
}

impl Lines {
    /// Whether nothing gets through in a direction.
    #[must_use]
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.get(&(from, to)).is_some_and(|tickets| !tickets.is_empty())
    }

    /// A step cuts directions; gives how many of them still carried something.
    pub fn cut(
        &mut self,
        world: &mut World,
        ticket: Ticket,
        directions: impl IntoIterator<Item = (usize, usize)>,
    ) -> u64 {
        let mut count = 0;
        for (from, to) in directions {
            if world.link(from, to).is_none() {
                continue;
            }
            let tickets = self.cuts.entry((from, to)).or_default();
            if tickets.is_empty() {
                world.cut_one_way(from, to);
                count += 1;
            }
            tickets.insert(ticket);
        }
        count
    }

    /// A step no longer cuts these directions, or any of its.
    pub fn mend(&mut self, world: &mut World, ticket: Ticket, only: Option<(usize, usize)>) {
        for (direction, tickets) in &mut self.cuts {
            if only.is_none_or(|only| only == *direction) && tickets.remove(&ticket) && tickets.is_empty() {
                world.heal_pipe(direction.0, direction.1);
            }
        }
    }

    /// A step makes directions other ones.
    pub fn bend(&mut self, ticket: Ticket, directions: impl IntoIterator<Item = (usize, usize)>, line: LineChange) {
        for direction in directions {
            self.bends.entry(direction).or_default().push((ticket, line));
        }
    }

    /// A step no longer bends anything.
    pub fn unbend(&mut self, ticket: Ticket) {
        for bends in self.bends.values_mut() {
            bends.retain(|(other, _)| *other != ticket);
        }
    }

    /// Makes all lines what file and steps say now.
    pub fn reshape(&self, world: &mut World, scenario: &Scenario, names: &[String]) {
        for (from, to) in directions(world) {
            let base = line_between(scenario, &names[from], &names[to]);
            let bends = self.bends.get(&(from, to)).into_iter().flatten();
            let line = bends.fold(base, |line, (_, change)| change.over(line));
            shape_line(world, from, to, line);
        }
    }

    /// Nothing is cut or bent any more where this holds.
    pub fn forget(&mut self, world: &mut World, mut is_meant: impl FnMut(usize, usize) -> bool) {
        for (direction, tickets) in &mut self.cuts {
            if is_meant(direction.0, direction.1) && !tickets.is_empty() {
                tickets.clear();
                world.heal_pipe(direction.0, direction.1);
            }
        }
        self.bends.retain(|direction, _| !is_meant(direction.0, direction.1));
    }
}

/// All directions of all links.
#[must_use]
pub(super) fn directions(world: &World) -> Vec<(usize, usize)> {
    world.lines()
}

/// Directions that a choice of links means.
#[must_use]
pub(super) fn matching(world: &World, names: &[String], links: &Links) -> Vec<(usize, usize)> {
    directions(world).into_iter().filter(|(from, to)| links.matches(&names[*from], &names[*to])).collect()
}

/// Directions between nodes that share no group. A node in no group is alone.
#[must_use]
pub(super) fn between_groups(world: &World, names: &[String], groups: &[Nodes]) -> Vec<(usize, usize)> {
    let member = |group: &Nodes, node: usize| matches!(group, Nodes::Named(named) if named.contains(&names[node]));
    let share = |a: usize, b: usize| groups.iter().any(|group| member(group, a) && member(group, b));
    directions(world).into_iter().filter(|(from, to)| !share(*from, *to)).collect()
}

/// Directions among nodes that are not in the shape: everything but these neighbours.
#[must_use]
pub(super) fn outside_shape(
    world: &World,
    order: &[usize],
    neighbours: impl Fn(usize, usize) -> bool,
) -> Vec<(usize, usize)> {
    let place = |node: usize| order.iter().position(|other| *other == node);
    let keeps = |from: usize, to: usize| match (place(from), place(to)) {
        (Some(a), Some(b)) => neighbours(a, b) || neighbours(b, a),
        // Those that the step does not name stay as they are among themselves and to the rest.
        _ => true,
    };
    directions(world).into_iter().filter(|(from, to)| !keeps(*from, *to)).collect()
}
