//! Whether the parts of a scenario file fit each other.

use crate::scenario::format::choice::Nodes;
use crate::scenario::format::error::{FileError, Problem, nearest};
use crate::scenario::format::mesh::{NODES_MAX, Topology};
use crate::scenario::format::step::{Argument, Step, When};
use crate::scenario::format::verbs::Verb;
use crate::scenario::format::{DURATION_MAX, STEPS_MAX, Scenario, SwarmKind};
use crate::scenario::plan::links_of;

/// An error of a file as a whole.
fn whole(file: &str, line: usize, key: &str, problem: Problem) -> FileError {
    FileError { file: file.to_owned(), line, key: key.to_owned(), problem: Box::new(problem) }
}

impl Scenario {
    /// Whether its parts fit each other: names that exist, steps within the run.
    pub(crate) fn must_make_sense(&self, file: &str) -> Result<(), FileError> {
        let count = self.mesh.nodes.len() + self.mesh.observers.len();
        let is_both = self.mesh.observers.iter().any(|name| self.mesh.nodes.contains(name));
        let senseless = [
            (
                self.mesh.nodes.is_empty() || count > NODES_MAX,
                "mesh.nodes",
                format!("a mesh has 1 to {NODES_MAX} nodes, this one has {count}"),
            ),
            (is_both, "mesh.observers", "a node is a member or an observer, not both".to_owned()),
            (
                self.duration > DURATION_MAX || self.duration.0 < 1_000 || self.settle > DURATION_MAX,
                "duration",
                format!("a run lasts from 1ms to {DURATION_MAX}"),
            ),
            (self.steps.len() > STEPS_MAX, "step", format!("a scenario has at most {STEPS_MAX} steps")),
        ];
        match senseless.into_iter().find(|(is_so, _, _)| *is_so) {
            Some((_, key, why)) => Err(whole(file, 0, key, Problem::Senseless(why))),
            None => {
                self.names_exist(file).and_then(|()| self.somebody_is_left(file)).and_then(|()| self.steps_fit(file))
            }
        }
    }

    fn exists(&self, file: &str, line: usize, key: &str, name: &str) -> Result<(), FileError> {
        if self.everybody().any(|other| other == name) {
            return Ok(());
        }
        let mut known: Vec<String> = self.everybody().map(str::to_owned).collect();
        known.sort();
        let nearest = nearest(name, known.iter().map(String::as_str));
        let found = name.to_owned();
        Err(whole(file, line, key, Problem::UnknownWord { found, what: "node of this mesh", nearest, known }))
    }

    /// Whether all nodes that the tables name are there.
    fn names_exist(&self, file: &str) -> Result<(), FileError> {
        for name in &self.mesh.byzantine {
            self.exists(file, 0, "mesh.byzantine", name)?;
        }
        for name in self.mesh.version.keys() {
            self.exists(file, 0, "mesh.version", name)?;
        }
        if let Topology::Links(pairs) = &self.mesh.topology {
            for name in pairs.iter().flat_map(|(a, b)| [a, b]) {
                self.exists(file, 0, "mesh.links", name)?;
            }
        }
        for (links, _) in &self.links {
            for name in links.names() {
                self.exists(file, 0, &format!("link.\"{links}\""), name)?;
            }
        }
        if let Some(Nodes::Named(names) | Nodes::AllBut(names)) = &self.keep_broken {
            for name in names {
                self.exists(file, 0, "core.keep_broken", name)?;
            }
        }
        Ok(())
    }

    /// Whether honest nodes are left that can agree, and hostile ones where chance draws from them.
    fn somebody_is_left(&self, file: &str) -> Result<(), FileError> {
        let byzantine = &self.mesh.byzantine;
        let draws_hostile = self.swarm.as_ref().is_some_and(|swarm| swarm.kinds.contains(&SwarmKind::Byz));
        let senseless = [
            (
                self.everybody().all(|name| byzantine.iter().any(|other| other == name)),
                "mesh.byzantine",
                "all nodes may turn hostile, and nothing is promised to those; leave one out at least",
            ),
            (
                draws_hostile && byzantine.is_empty(),
                "swarm.kinds",
                "\"byz\" draws from mesh.byzantine, which names nobody; name nodes there, or leave \"byz\" out here",
            ),
            (
                self.breaks_the_core(),
                "core.keep_broken",
                "no core is left that could agree; name fewer, so that two linked nodes at least that are not in \
                 mesh.byzantine are healed",
            ),
        ];
        match senseless.into_iter().find(|(is_so, _, _)| *is_so) {
            Some((_, key, why)) => Err(whole(file, 0, key, Problem::Senseless(why.to_owned()))),
            None => Ok(()),
        }
    }

    /// Whether the file names so many nodes to stay broken that nobody is left to agree.
    fn breaks_the_core(&self) -> bool {
        let is_among = |names: &[String], name: &str| names.iter().any(|other| other == name);
        match &self.keep_broken {
            Some(Nodes::All) => !self.leaves_a_core(|_| true),
            Some(Nodes::Named(broken)) => !self.leaves_a_core(|name| is_among(broken, name)),
            Some(Nodes::AllBut(left)) => !self.leaves_a_core(|name| !is_among(left, name)),
            Some(Nodes::Random(count)) => {
                let honest = self.everybody().filter(|name| !is_among(&self.mesh.byzantine, name)).count();
                honest > 1 && *count as usize + 2 > honest
            }
            // Fewer than half.
            Some(Nodes::Minority | Nodes::Leader) | None => false,
        }
    }

    /// Whether two honest nodes that are linked with each other are left; a mesh that has none has none to lose.
    pub(crate) fn leaves_a_core(&self, is_broken: impl Fn(&str) -> bool) -> bool {
        let is_honest = |name: &str| !self.mesh.byzantine.iter().any(|other| other == name);
        let links = links_of(self);
        let is_left = |name: &str| is_honest(name) && !is_broken(name);
        let has_core = links.iter().any(|(a, b)| is_honest(a) && is_honest(b));
        !has_core || links.iter().any(|(a, b)| is_left(a) && is_left(b))
    }

    /// Whether steps are about nodes that are there, and begin within the run.
    fn steps_fit(&self, file: &str) -> Result<(), FileError> {
        for (index, step) in self.steps.iter().enumerate() {
            let key = format!("step[{}]", index + 1);
            for name in step.names() {
                self.exists(file, step.line, &key, name)?;
            }
            if step.begins_by().is_some_and(|by| by > self.duration) {
                let why = format!("it begins after the run's end at {}", self.duration);
                return Err(whole(file, step.line, &key, Problem::Senseless(why)));
            }
            if let Some(stray) = self.not_byzantine(step) {
                let why = format!("\"{stray}\" is not named in mesh.byzantine, so it cannot turn hostile");
                return Err(whole(file, step.line, &key, Problem::Senseless(why)));
            }
        }
        Ok(())
    }

    fn not_byzantine(&self, step: &Step) -> Option<String> {
        if step.action.verb != Verb::Byz {
            return None;
        }
        match step.action.nodes("node") {
            Some(Nodes::Named(names)) => names.iter().find(|name| !self.mesh.byzantine.contains(name)).cloned(),
            // Chance draws from the hostile ones only.
            _ if self.mesh.byzantine.is_empty() => Some("*".to_owned()),
            _ => None,
        }
    }
}

impl Step {
    /// The last moment at which it first happens.
    fn begins_by(&self) -> Option<crate::scenario::format::quantity::Span> {
        match &self.when {
            When::At(at) => Some(at.high),
            When::Every { from, .. } => Some(*from),
            When::Once(_) => None,
        }
    }

    /// Names of nodes in it.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        fn of(nodes: &Nodes) -> &[String] {
            match nodes {
                Nodes::Named(names) | Nodes::AllBut(names) => names,
                _ => &[],
            }
        }
        for argument in self.action.arguments.values() {
            match argument {
                Argument::Nodes(nodes) => names.extend(of(nodes).iter().map(String::as_str)),
                Argument::Groups(groups) => names.extend(groups.iter().flat_map(of).map(String::as_str)),
                Argument::Links(links) => names.extend(links.names()),
                _ => {}
            }
        }
        if let When::Once(condition) = &self.when {
            names.extend(condition.node.as_deref());
        }
        names
    }
}
