//! Words, verbs, invariants, counters and scenarios, explained.

use std::fmt::Write as _;

use crate::scenario::format::Scenario;
use crate::scenario::format::line::PROFILES;
use crate::scenario::format::step::When;
use crate::scenario::format::verbs::{Lasting, ROWS, Row};
use crate::scenario::simulated::{COUNTERS, NODE_COUNTERS, PROCESSES, REFUSED};
use crate::scenario::verdict::INVARIANTS;

/// What a word means, if it is one of the format's.
#[must_use]
pub fn word(word: &str) -> Option<String> {
    if let Some(row) = ROWS.iter().find(|row| row.name == word) {
        return Some(verb(row));
    }
    if let Some(invariant) = INVARIANTS.iter().find(|invariant| invariant.id.eq_ignore_ascii_case(word)) {
        let shown = if invariant.shown_by.is_empty() {
            "The simulator cannot show it broken.".to_owned()
        } else {
            format!("The simulator looks at: {}.", invariant.shown_by)
        };
        return Some(format!("{}: {}.\n{shown}\n", invariant.id, invariant.promise));
    }
    if let Some(counter) = COUNTERS.iter().find(|counter| counter.name == word) {
        return Some(format!("{word}: {}. For [must_bite], [expect.metric] and \"when\".\n", counter.about));
    }
    if let Some((_, about)) = NODE_COUNTERS.iter().find(|(name, _)| *name == word) {
        return Some(format!("{word}: {about}. Of one node, for \"when\": \"NODE.{word} >= 1\".\n"));
    }
    let profile = PROFILES.iter().find(|profile| profile.name == word)?;
    let mut text = format!("profile {word}: {}\n", profile.about);
    for (key, value) in profile.line.pairs() {
        let _ = writeln!(text, "  {key} = \"{value}\"");
    }
    Some(text)
}

fn verb(row: &Row) -> String {
    let mut text = format!("{}: {}.\n", row.name, row.about);
    for parameter in row.parameters {
        let need = if parameter.is_required { "needed" } else { "optional" };
        let _ = writeln!(text, "  {} ({need}): {}; {}", parameter.key, parameter.about, parameter.kind.expected());
    }
    let lasting = match row.lasting {
        Lasting::No => "It is over at once.",
        Lasting::May => "\"for\" undoes it after that time; without, it lasts until \"heal\" or the end.",
        Lasting::Must => "\"for\" says how long it lasts.",
    };
    let _ = writeln!(text, "  {lasting}");
    for refused in REFUSED.iter().filter(|refused| refused.verb == row.verb) {
        let what = refused.only.map_or_else(|| "it".to_owned(), |(key, word)| format!("{key} = \"{word}\""));
        let able = PROCESSES.join(", ");
        let _ = writeln!(text, "  The simulator refuses {what}: {}. Backends that can: {able}.", refused.why);
    }
    text
}

/// Everything that can be explained.
#[must_use]
pub fn words() -> String {
    let list = |names: Vec<&str>| names.join(", ");
    let mut text = String::new();
    let mut part = |title: &str, names: Vec<&str>| {
        let _ = writeln!(text, "{title}: {}", list(names));
    };
    part("verbs", ROWS.iter().map(|row| row.name).collect());
    let refused = REFUSED.iter().filter(|refused| refused.only.is_none());
    part("verbs that the simulator refuses", refused.map(|refused| refused.verb.name()).collect());
    part("invariants", INVARIANTS.iter().map(|invariant| invariant.id).collect());
    part("counters", COUNTERS.iter().map(|counter| counter.name).collect());
    part("counters of a node", NODE_COUNTERS.iter().map(|(name, _)| *name).collect());
    part("profiles of lines", PROFILES.iter().map(|profile| profile.name).collect());
    text
}

/// A scenario in words.
#[must_use]
pub fn scenario(scenario: &Scenario) -> String {
    let mut text = format!("{}: {}\n", scenario.name, scenario.why);
    let names: Vec<&str> = scenario.everybody().collect();
    let _ = writeln!(text, "  {} nodes: {}", names.len(), names.join(", "));
    for (links, line) in &scenario.links {
        let pairs: Vec<String> = line.pairs().iter().map(|(key, value)| format!("{key} {value}")).collect();
        let _ = writeln!(text, "  lines {links}: {}", pairs.join(", "));
    }
    let _ = writeln!(text, "  people write {} alerts for {}", scenario.workload.alerts, scenario.duration);
    for step in &scenario.steps {
        let when = match &step.when {
            When::At(at) => format!("at {at}"),
            When::Every { from, to, every } => format!("from {from} to {to}, every {every}"),
            When::Once(condition) => format!("when {condition}"),
        };
        let lasts = step.lasts.map(|lasts| format!(" for {lasts}")).unwrap_or_default();
        let _ = writeln!(text, "  {when}: {}{lasts}", step.action.brief());
    }
    if let Some(swarm) = &scenario.swarm {
        let _ = writeln!(text, "  every {} a fault by chance, none in the last {}", swarm.period, swarm.quiet);
    }
    if let Some(is) = &scenario.expect.converge_after_heal {
        let _ = writeln!(text, "  the healed core must agree within {}: {is}", scenario.settle);
    }
    for (name, is) in &scenario.must_bite {
        let _ = writeln!(text, "  void unless {name} {is}");
    }
    text
}
