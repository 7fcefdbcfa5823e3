//! Scenario files: what they say, apart from who runs them. `docs/simulator.md` is the reference.

pub mod error;
pub mod quantity;
pub mod section;

pub mod choice;
pub mod compare;
pub mod line;
pub mod mesh;
pub mod print;
mod sense;
pub mod step;
pub mod verbs;

use toml::de::DeTable;

use crate::scenario::format::choice::{Links, Nodes};
use crate::scenario::format::compare::Comparison;
use crate::scenario::format::error::{FileError, Problem};
use crate::scenario::format::line::LineChange;
use crate::scenario::format::mesh::{Mesh, Workload};
use crate::scenario::format::quantity::{Between, Quantity, Share, Span};
use crate::scenario::format::section::{Section, Source};
use crate::scenario::format::step::Step;

/// The version of the format.
pub const SCHEMA: i64 = 1;
/// Steps of a scenario.
pub const STEPS_MAX: usize = 1_000;
/// The longest scenario.
pub const DURATION_MAX: Span = Span(86_400_000_000);

/// What runs a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The simulator.
    Sim,
    /// Processes in network namespaces.
    Netns,
    /// Containers.
    Compose,
}

/// Backends by name.
pub const BACKENDS: &[(&str, Backend)] =
    &[("sim", Backend::Sim), ("netns", Backend::Netns), ("compose", Backend::Compose)];

/// A whole scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub why: String,
    /// Everything that is drawn comes from it.
    pub seed: u64,
    /// What can run it.
    pub backends: Vec<Backend>,
    /// How long faults last.
    pub duration: Span,
    /// Time for a healed mesh to agree.
    pub settle: Span,
    /// Who takes part.
    pub mesh: Mesh,
    /// What links are like, in the order of the file; a later rule wins over an earlier one.
    pub links: Vec<(Links, LineChange)>,
    /// What people do.
    pub workload: Workload,
    /// What goes wrong, and when.
    pub steps: Vec<Step>,
    /// What goes wrong by chance.
    pub swarm: Option<Swarm>,
    /// Who stays broken in the liveness phase; `None` = drawn.
    pub keep_broken: Option<Nodes>,
    /// What must come of it beyond the invariants.
    pub expect: Expect,
    /// What must have happened for the verdict to mean anything.
    pub must_bite: Vec<(String, Comparison<u64>)>,
}

/// Faults by chance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swarm {
    /// Which.
    pub kinds: Vec<SwarmKind>,
    /// Time from one fault to the next.
    pub period: Between<Span>,
    /// Share of the run without any, at its end.
    pub quiet: Share,
}

/// A kind of fault that a swarm draws from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "they are verbs or groups of verbs")]
pub enum SwarmKind {
    Partition,
    OneWay,
    Flap,
    Swizzle,
    Lines,
    Kill,
    Pause,
    Power,
    Clock,
    Disk,
    Rollback,
    Wipe,
    Byz,
    Bundle,
    Rot,
    Revoke,
}

/// Kinds by name.
pub const SWARM_KINDS: &[(&str, SwarmKind)] = &[
    ("partition", SwarmKind::Partition),
    ("one_way", SwarmKind::OneWay),
    ("flap", SwarmKind::Flap),
    ("swizzle", SwarmKind::Swizzle),
    ("lines", SwarmKind::Lines),
    ("kill", SwarmKind::Kill),
    ("pause", SwarmKind::Pause),
    ("power", SwarmKind::Power),
    ("clock", SwarmKind::Clock),
    ("disk", SwarmKind::Disk),
    ("rollback", SwarmKind::Rollback),
    ("wipe", SwarmKind::Wipe),
    ("byz", SwarmKind::Byz),
    ("bundle", SwarmKind::Bundle),
    ("rot", SwarmKind::Rot),
    ("revoke", SwarmKind::Revoke),
];

/// What must come of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expect {
    /// Time from the heal until the core agrees.
    pub converge_after_heal: Option<Comparison<Span>>,
    /// Time from a write to its acknowledgement, 99 of 100.
    pub local_write_p99: Option<Comparison<Span>>,
    /// Metrics and counters by name.
    pub metrics: Vec<(String, Comparison<f64>)>,
}

impl Scenario {
    /// Reads a file's text. `name` is the file's name, for errors.
    ///
    /// # Errors
    /// The text is no scenario: the error says where and why.
    pub fn read(name: &str, text: &str) -> Result<Scenario, FileError> {
        let source = Source { name, text };
        let syntax = |error: toml::de::Error| {
            let line = error.span().map_or(0, |span| source.line(span.start));
            let problem = Problem::Syntax(error.message().replace('\n', " "));
            FileError { file: name.to_owned(), line, key: String::new(), problem: Box::new(problem) }
        };
        let table = DeTable::parse(text).map_err(syntax)?;
        let mut root = Section::new(source, "", 1, table.get_ref());
        read_schema(&mut root)?;
        let scenario = read_root(&mut root)?;
        root.finish()?;
        scenario.must_make_sense(name)?;
        Ok(scenario)
    }

    /// Names of all nodes, observers last.
    pub fn everybody(&self) -> impl Iterator<Item = &str> {
        self.mesh.nodes.iter().chain(&self.mesh.observers).map(String::as_str)
    }
}

fn read_schema(root: &mut Section<'_>) -> Result<(), FileError> {
    let found = root.take("schema");
    let found = root.required("schema", found, "schema = 1")?;
    let toml::de::DeValue::Integer(number) = found.value else {
        let problem = Problem::WrongType { found: "no whole number", expected: "schema = 1".to_owned() };
        return Err(root.error("schema", found.line, problem));
    };
    let number = i64::from_str_radix(number.as_str(), number.radix()).unwrap_or(i64::MAX);
    if number == SCHEMA { Ok(()) } else { Err(root.error("schema", found.line, Problem::Schema { found: number })) }
}

fn read_root(root: &mut Section<'_>) -> Result<Scenario, FileError> {
    let name = root.text("name", "a short name")?;
    let name = root.required("name", name, "a short name")?.to_owned();
    let why = root.text("why", "one sentence")?.unwrap_or_default().to_owned();
    let seed = root.number("seed", 0, u64::MAX)?.unwrap_or(1);
    let backends = read_backends(root)?;
    let duration = root.quantity("duration")?;
    let duration = root.required("duration", duration, Span::EXPECTED)?;
    let settle = root.quantity("settle")?.unwrap_or(Span(15_000_000));
    let mesh = root.table("mesh")?;
    let mesh = Mesh::read(root.required("mesh", mesh, "a table [mesh] with at least \"nodes\"")?)?;
    let links = root.table("link")?.map(read_links).transpose()?.unwrap_or_default();
    let workload = root.table("workload")?.map(Workload::read).transpose()?.unwrap_or_default();
    let steps = root.tables("step")?.into_iter().map(Step::read).collect::<Result<Vec<Step>, FileError>>()?;
    let swarm = root.table("swarm")?.map(read_swarm).transpose()?;
    let keep_broken = match root.table("core")? {
        None => None,
        Some(mut core) => {
            let broken = match core.take("keep_broken") {
                // An empty list: everybody is healed.
                Some(found) if matches!(found.value, toml::de::DeValue::Array(list) if list.is_empty()) => {
                    Some(Nodes::Named(Vec::new()))
                }
                _ => step::read_nodes(&mut core, "keep_broken")?,
            };
            core.finish()?;
            broken
        }
    };
    let expect = root.table("expect")?.map(read_expect).transpose()?.unwrap_or_default();
    let must_bite = root.table("must_bite")?.map(read_must_bite).transpose()?.unwrap_or_default();
    Ok(Scenario {
        name,
        why,
        seed,
        backends,
        duration,
        settle,
        mesh,
        links,
        workload,
        steps,
        swarm,
        keep_broken,
        expect,
        must_bite,
    })
}

fn read_backends(root: &mut Section<'_>) -> Result<Vec<Backend>, FileError> {
    const EXPECTED: &str = "a list of backends, such as [\"sim\"]";
    let Some(found) = root.take("backends") else { return Ok(vec![Backend::Sim]) };
    let names = root.as_texts("backends", found, EXPECTED)?;
    if names.is_empty() {
        return Err(root.error("backends", found.line, Problem::Senseless("the list is empty".to_owned())));
    }
    names.into_iter().map(|name| root.word("backends", found.line, name, "backend", BACKENDS)).collect()
}

fn read_links(mut section: Section<'_>) -> Result<Vec<(Links, LineChange)>, FileError> {
    let mut links = Vec::new();
    for (key, found) in section.take_all() {
        let which = match key {
            "default" => Links::All,
            key => section.parse(key, found.line, key, choice::LINKS_EXPECTED)?,
        };
        if which == Links::Random {
            let why = "a link cannot be chosen by chance here; use the step \"set\"".to_owned();
            return Err(section.error(key, found.line, Problem::Senseless(why)));
        }
        let mut line = section.as_table(key, found)?;
        let change = LineChange::read(&mut line)?;
        line.finish()?;
        // The default stands below everything else, wherever it is written.
        let at = if key == "default" { 0 } else { links.len() };
        links.insert(at, (which, change));
    }
    Ok(links)
}

fn read_swarm(mut section: Section<'_>) -> Result<Swarm, FileError> {
    const EXPECTED: &str = "a list of kinds, such as [\"partition\", \"kill\"]";
    let found = section.take("kinds");
    let found = section.required("kinds", found, EXPECTED)?;
    let names = section.as_texts("kinds", found, EXPECTED)?;
    let kinds: Result<Vec<SwarmKind>, FileError> =
        names.into_iter().map(|name| section.word("kinds", found.line, name, "kind of fault", SWARM_KINDS)).collect();
    let kinds = kinds?;
    if kinds.is_empty() {
        return Err(section.error("kinds", found.line, Problem::Senseless("the list is empty".to_owned())));
    }
    let period = section.range("period")?;
    let period: Between<Span> = section.required("period", period, Span::EXPECTED)?;
    if period.low < Span(10_000) {
        return Err(section.error_at("period", Problem::Senseless("faults are at least 10ms apart".to_owned())));
    }
    let quiet = section.quantity("quiet")?.unwrap_or(Share(250_000));
    section.finish()?;
    Ok(Swarm { kinds, period, quiet })
}

fn read_expect(mut section: Section<'_>) -> Result<Expect, FileError> {
    const SPAN: &str = "a comparison with a duration, such as \"<= 5s\"";
    let converge_after_heal = section.parsed("converge_after_heal", SPAN)?;
    let local_write_p99 = section.parsed("local_write_p99", SPAN)?;
    let mut metrics = Vec::new();
    if let Some(mut table) = section.table("metric")? {
        for (key, found) in table.take_all() {
            const NUMBER: &str = "a comparison with a number, such as \"== 0\"";
            let text = table.as_text(key, found, NUMBER)?;
            metrics.push((key.to_owned(), table.parse(key, found.line, text, NUMBER)?));
        }
    }
    section.finish()?;
    Ok(Expect { converge_after_heal, local_write_p99, metrics })
}

fn read_must_bite(mut section: Section<'_>) -> Result<Vec<(String, Comparison<u64>)>, FileError> {
    const NUMBER: &str = "a comparison with a whole number, such as \">= 100\"";
    let mut bites = Vec::new();
    for (key, found) in section.take_all() {
        let text = section.as_text(key, found, NUMBER)?;
        bites.push((key.to_owned(), section.parse(key, found.line, text, NUMBER)?));
    }
    Ok(bites)
}

#[cfg(test)]
mod tests;
