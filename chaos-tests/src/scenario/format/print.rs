//! Writing a scenario as a file that reads as the same scenario.

use std::fmt::{self, Write};

use crate::scenario::format::choice::{Links, Nodes};
use crate::scenario::format::mesh::{Mesh, Topology, VERSIONS};
use crate::scenario::format::step::{Action, Argument, Step, When};
use crate::scenario::format::{BACKENDS, SCHEMA, SWARM_KINDS, Scenario};

/// A text in quotes, as TOML writes it.
#[must_use]
pub fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    let texts: Vec<String> = texts.into_iter().map(quoted).collect();
    format!("[{}]", texts.join(", "))
}

fn word<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words.iter().find(|(_, other)| other == value).map_or("", |(name, _)| *name)
}

fn nodes(nodes: &Nodes) -> String {
    match nodes {
        Nodes::Named(names) if names.len() != 1 => list(names.iter().map(String::as_str)),
        nodes => quoted(&nodes.to_string()),
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "schema = {SCHEMA}")?;
        writeln!(f, "name = {}", quoted(&self.name))?;
        writeln!(f, "why = {}", quoted(&self.why))?;
        writeln!(f, "seed = {}", self.seed)?;
        writeln!(f, "backends = {}", list(self.backends.iter().map(|backend| word(BACKENDS, backend))))?;
        writeln!(f, "duration = {}", quoted(&self.duration.to_string()))?;
        writeln!(f, "settle = {}", quoted(&self.settle.to_string()))?;
        write_mesh(f, &self.mesh)?;
        for (which, line) in &self.links {
            let key = if *which == Links::All { "*".to_owned() } else { which.to_string() };
            writeln!(f, "\n[link.{}]", quoted(&key))?;
            for (key, value) in line.pairs() {
                writeln!(f, "{key} = {}", quoted(&value))?;
            }
        }
        let work = &self.workload;
        writeln!(f, "\n[workload]")?;
        writeln!(f, "alerts = \"{}\"\nupdates = \"{}\"", work.alerts, work.updates)?;
        writeln!(f, "retracts = \"{}\"\nsealed = \"{}\"", work.retracts, work.sealed)?;
        writeln!(f, "size = \"{}\"\nsubscribers = {}\nreaders = \"{}\"", work.size, work.subscribers, work.readers)?;
        for step in &self.steps {
            write!(f, "\n[[step]]\n{step}")?;
        }
        if let Some(swarm) = &self.swarm {
            writeln!(f, "\n[swarm]")?;
            writeln!(f, "kinds = {}", list(swarm.kinds.iter().map(|kind| word(SWARM_KINDS, kind))))?;
            writeln!(f, "period = \"{}\"\nquiet = \"{}\"", swarm.period, swarm.quiet)?;
        }
        if let Some(broken) = &self.keep_broken {
            writeln!(f, "\n[core]\nkeep_broken = {}", nodes(broken))?;
        }
        write_expect(f, self)
    }
}

fn write_mesh(f: &mut fmt::Formatter<'_>, mesh: &Mesh) -> fmt::Result {
    writeln!(f, "\n[mesh]")?;
    let names = |names: &'_ [String]| list(names.iter().map(String::as_str));
    writeln!(f, "nodes = {}", names(&mesh.nodes))?;
    writeln!(f, "observers = {}", names(&mesh.observers))?;
    writeln!(f, "byzantine = {}", names(&mesh.byzantine))?;
    match &mesh.topology {
        Topology::Full => writeln!(f, "topology = \"full\"")?,
        Topology::Line => writeln!(f, "topology = \"line\"")?,
        Topology::Ring => writeln!(f, "topology = \"ring\"")?,
        Topology::Star => writeln!(f, "topology = \"star\"")?,
        Topology::Links(pairs) => {
            let pairs: Vec<String> = pairs.iter().map(|(a, b)| format!("{a}<->{b}")).collect();
            writeln!(f, "links = {}", list(pairs.iter().map(String::as_str)))?;
        }
    }
    if !mesh.version.is_empty() {
        let pairs: Vec<String> =
            mesh.version.iter().map(|(node, version)| format!("{node} = \"{}\"", word(VERSIONS, version))).collect();
        writeln!(f, "version = {{ {} }}", pairs.join(", "))?;
    }
    Ok(())
}

fn write_expect(f: &mut fmt::Formatter<'_>, scenario: &Scenario) -> fmt::Result {
    let expect = &scenario.expect;
    if expect.converge_after_heal.is_some() || expect.local_write_p99.is_some() {
        writeln!(f, "\n[expect]")?;
    }
    if let Some(is) = &expect.converge_after_heal {
        writeln!(f, "converge_after_heal = \"{is}\"")?;
    }
    if let Some(is) = &expect.local_write_p99 {
        writeln!(f, "local_write_p99 = \"{is}\"")?;
    }
    if !expect.metrics.is_empty() {
        writeln!(f, "\n[expect.metric]")?;
    }
    for (name, is) in &expect.metrics {
        writeln!(f, "{} = \"{is}\"", quoted(name))?;
    }
    if !scenario.must_bite.is_empty() {
        writeln!(f, "\n[must_bite]")?;
    }
    for (name, is) in &scenario.must_bite {
        writeln!(f, "{} = \"{is}\"", quoted(name))?;
    }
    Ok(())
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.when {
            When::At(at) => writeln!(f, "at = \"{at}\"")?,
            When::Every { from, to, every } => {
                writeln!(f, "from = \"{from}\"\nto = \"{to}\"\nevery = \"{every}\"")?;
            }
            When::Once(condition) => writeln!(f, "when = \"{condition}\"")?,
        }
        if let Some(lasts) = &self.lasts {
            writeln!(f, "for = \"{lasts}\"")?;
        }
        writeln!(f, "do = \"{}\"", self.action.verb.name())?;
        for (key, value) in self.action.pairs() {
            writeln!(f, "{key} = {value}")?;
        }
        Ok(())
    }
}

impl Action {
    /// Keys and values as a file writes them.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let text = |argument: &Argument| match argument {
            Argument::Nodes(chosen) => nodes(chosen),
            Argument::Links(links) => quoted(&links.to_string()),
            Argument::Groups(groups) => {
                let groups: Vec<String> = groups
                    .iter()
                    .map(|group| match group {
                        Nodes::Named(names) => list(names.iter().map(String::as_str)),
                        other => format!("[{}]", quoted(&other.to_string())),
                    })
                    .collect();
                format!("[{}]", groups.join(", "))
            }
            Argument::Span(range) => quoted(&range.to_string()),
            Argument::Offset(offset) => quoted(&offset.to_string()),
            Argument::Share(share) => quoted(&share.to_string()),
            Argument::Bytes(bytes) => quoted(&bytes.to_string()),
            Argument::Count(count) => count.to_string(),
            Argument::Word(word) => quoted(word),
            Argument::Label(label) => quoted(label),
            Argument::Flag(flag) => flag.to_string(),
        };
        let mut pairs: Vec<_> = self.arguments.iter().map(|(key, argument)| (*key, text(argument))).collect();
        if let Some(line) = &self.line {
            pairs.extend(line.pairs().into_iter().map(|(key, value)| (key, quoted(&value))));
        }
        pairs
    }

    /// On one line, for a log.
    #[must_use]
    pub fn brief(&self) -> String {
        let mut text = self.verb.name().to_owned();
        for (key, value) in self.pairs() {
            let _ = write!(text, " {key}={}", value.replace('"', ""));
        }
        text
    }
}
