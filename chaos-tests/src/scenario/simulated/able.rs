//! What of a scenario the simulator can do: everything else is refused before a run begins.

use vatra_model::schema::BODY_BYTES_MAX;

use crate::scenario::format::choice::Nodes;
use crate::scenario::format::error::{FileError, Problem, nearest};
use crate::scenario::format::mesh::SizeLaw;
use crate::scenario::format::step::{Action, Argument, Step, When};
use crate::scenario::format::verbs::Verb;
use crate::scenario::format::{Backend, Scenario, SwarmKind};
use crate::scenario::simulated::counters::{COUNTERS, NODE_COUNTERS};

/// Kinds of faults that `[swarm]` may name.
pub const SWARM: &[SwarmKind] = &[
    SwarmKind::Partition,
    SwarmKind::OneWay,
    SwarmKind::Flap,
    SwarmKind::Swizzle,
    SwarmKind::Lines,
    SwarmKind::Kill,
    SwarmKind::Pause,
    SwarmKind::Power,
    SwarmKind::Clock,
    SwarmKind::Disk,
    SwarmKind::Wipe,
    SwarmKind::Bundle,
    SwarmKind::Rot,
    SwarmKind::Rollback,
    SwarmKind::Byz,
    SwarmKind::Revoke,
];

/// Backends that run processes.
pub const PROCESSES: &[&str] = &["netns", "compose"];

/// A verb that the simulator refuses, or one word of it.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// The verb.
    pub verb: Verb,
    /// The key and its value, if only these are refused.
    pub only: Option<(&'static str, &'static str)>,
    /// Why, in words.
    pub why: &'static str,
}

const fn refused(verb: Verb, why: &'static str) -> Refused {
    Refused { verb, only: None, why }
}

/// Everything of the verbs that the simulator refuses; processes can do it.
pub const REFUSED: &[Refused] = &[
    refused(Verb::Cpu, "it has no processes"),
    refused(Verb::Memory, "it has no processes"),
    refused(Verb::Fds, "it has no processes"),
    refused(Verb::Truncate, "its stores are no files"),
    refused(Verb::Subscriber, "it has no streams"),
    refused(Verb::Webhook, "it has no streams"),
    Refused { verb: Verb::Disk, only: Some(("fault", "flip")), why: "the verb \"bitflip\" damages what is stored" },
    Refused { verb: Verb::Import, only: Some(("damage", "flipped")), why: "its bundles are no files" },
];

impl Refused {
    /// Whether a step asks for it.
    fn is(&self, action: &Action) -> bool {
        action.verb == self.verb && self.only.is_none_or(|(key, word)| action.word(key) == Some(word))
    }
}

/// Why the simulator cannot do something.
type Refusal = (String, &'static [&'static str]);

fn refuse<T>(what: impl Into<String>, can: &'static [&'static str]) -> Result<T, Refusal> {
    Err((what.into(), can))
}

/// Whether the simulator can run a scenario.
///
/// # Errors
/// The first thing that it cannot do, with the backends that can.
pub fn check(file: &str, scenario: &Scenario) -> Result<(), FileError> {
    let error = |line: usize, key: &str, (what, can): Refusal| FileError {
        file: file.to_owned(),
        line,
        key: key.to_owned(),
        problem: Box::new(Problem::Unsupported { backend: "sim", what, can }),
    };
    if !scenario.backends.contains(&Backend::Sim) {
        let why = "the list does not name \"sim\", so that the simulator must not run this file".to_owned();
        return Err(FileError {
            file: file.to_owned(),
            line: 0,
            key: "backends".into(),
            problem: Box::new(Problem::Senseless(why)),
        });
    }
    workload(scenario).map_err(|refusal| error(0, "workload", refusal))?;
    for (index, step) in scenario.steps.iter().enumerate() {
        let key = format!("step[{}]", index + 1);
        if everybody_leaves(scenario, &step.action) {
            let why = "all full members would leave, and a federation needs one; name those that leave".to_owned();
            let problem = Box::new(Problem::Senseless(why));
            return Err(FileError { file: file.to_owned(), line: step.line, key: format!("{key}.node"), problem });
        }
        action(&step.action).map_err(|refusal| error(step.line, &key, refusal))?;
    }
    for kind in scenario.swarm.iter().flat_map(|swarm| &swarm.kinds) {
        if !SWARM.contains(kind) {
            let name = crate::scenario::format::SWARM_KINDS.iter().find(|(_, other)| other == kind);
            let name = name.map_or("", |(name, _)| name);
            return Err(error(0, "swarm.kinds", (format!("faults of kind \"{name}\""), PROCESSES)));
        }
    }
    counters(file, scenario)
}

fn workload(scenario: &Scenario) -> Result<(), Refusal> {
    let work = &scenario.workload;
    if work.sealed.0 > 0 {
        return refuse("alerts for some only (workload.sealed): this version does not seal yet", &[]);
    }
    let count = scenario.everybody().count() as u64;
    if work.subscribers > count {
        return refuse(
            format!("more subscribers than nodes ({count}): it has one at each node in any case"),
            PROCESSES,
        );
    }
    if work.readers.count > 0 {
        return refuse("readers (workload.readers): it has no API", PROCESSES);
    }
    let (SizeLaw::Uniform(size) | SizeLaw::Zipf(size)) = work.size;
    // Room for everything else in a change.
    let most = BODY_BYTES_MAX as u64 - 4_096;
    if size.high.0 > most {
        return refuse(format!("alerts of more than {most}B (workload.size)"), &[]);
    }
    Ok(())
}

/// Whether a step takes all full members out of the federation at once.
fn everybody_leaves(scenario: &Scenario, action: &Action) -> bool {
    let leaves = |name: &String| match action.nodes("node") {
        Some(Nodes::Named(names)) => names.contains(name),
        Some(Nodes::AllBut(name_left)) => !name_left.contains(name),
        Some(Nodes::All) => true,
        _ => false,
    };
    action.verb == Verb::Leave && scenario.mesh.nodes.iter().all(leaves)
}

/// Whether the simulator can do a step: the other side of `Stage::perform`.
fn action(action: &Action) -> Result<(), Refusal> {
    let verb = action.verb.name();
    let leads = action.arguments.values().any(|argument| *argument == Argument::Nodes(Nodes::Leader));
    if leads {
        return refuse("\"leader\": the mesh elects none", &[]);
    }
    match REFUSED.iter().find(|refused| refused.is(action)) {
        None => Ok(()),
        Some(Refused { only: None, why, .. }) => refuse(format!("the verb \"{verb}\": {why}"), PROCESSES),
        Some(Refused { only: Some((key, word)), why, .. }) => {
            refuse(format!("\"{verb}\" with {key} = \"{word}\": {why}"), PROCESSES)
        }
    }
}

fn counters(file: &str, scenario: &Scenario) -> Result<(), FileError> {
    let unknown = |line: usize, key: String, name: &str, known: Vec<&str>| {
        let nearest = nearest(name, known.iter().copied());
        let known = known.into_iter().map(str::to_owned).collect();
        let problem = Problem::UnknownWord { found: name.to_owned(), what: "counter", nearest, known };
        Err(FileError { file: file.to_owned(), line, key, problem: Box::new(problem) })
    };
    let known = || COUNTERS.iter().map(|counter| counter.name).collect::<Vec<_>>();
    let knows = |name: &str| COUNTERS.iter().any(|counter| counter.name == name);
    for (name, _) in &scenario.must_bite {
        if !knows(name) {
            return unknown(0, format!("must_bite.{name}"), name, known());
        }
    }
    for (name, _) in &scenario.expect.metrics {
        if !knows(name) {
            return unknown(0, format!("expect.metric.\"{name}\""), name, known());
        }
    }
    for (index, step) in scenario.steps.iter().enumerate() {
        let Step { when: When::Once(condition), line, .. } = step else { continue };
        let name = condition.counter.as_str();
        let key = format!("step[{}].when", index + 1);
        if condition.node.is_some() && !NODE_COUNTERS.iter().any(|(other, _)| *other == name) {
            return unknown(*line, key, name, NODE_COUNTERS.iter().map(|(name, _)| *name).collect());
        }
        if condition.node.is_none() && !knows(name) {
            return unknown(*line, key, name, known());
        }
    }
    Ok(())
}
