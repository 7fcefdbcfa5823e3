//! One run: `run`, `replay`, `shrink`.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;

use crate::scenario::batch::{self, Order, jobs};
use crate::scenario::command::{Replay, Run, Shrink, load, out};
use crate::scenario::format::Scenario;
use crate::scenario::report;
use crate::scenario::shrink::{self, Smallest};
use crate::scenario::simulated;
use crate::scenario::verdict::{Outcome, Verdict};

/// Runs scenario files; the worst verdict counts.
pub(super) fn run(order: &Run) -> anyhow::Result<u8> {
    anyhow::ensure!(
        order.files.len() == 1 || (order.report.is_none() && order.history.is_none()),
        "--report and --history take one run; name one FILE"
    );
    let mut orders = Vec::new();
    for file in &order.files {
        let loaded = load(file)?;
        let seed = order.seed.unwrap_or(loaded.scenario.seed);
        orders.push(Order { scenario: Some(loaded.scenario), file: Some(loaded.name), seed });
    }
    if let (Some(path), [one]) = (&order.history, orders.as_slice()) {
        let (outcome, history) = simulated::run_with_history(&one.scenario(), one.seed)?;
        fs::write(path, history).with_context(|| format!("{} cannot be written", path.display()))?;
        let outcome = Outcome { file: one.file.clone(), reproduce: one.reproduce(), ..outcome };
        return tell_run(order, one, &outcome).map(|()| outcome.verdict.exit_code());
    }
    let mut worst = Verdict::Pass;
    let mut told = Ok(());
    batch::run(&orders, jobs(order.jobs), |one, outcome| {
        worst = worst.min(outcome.verdict);
        told = tell_run(order, one, &outcome);
        told.is_ok()
    })?;
    told.map(|()| worst.exit_code())
}

fn tell_run(order: &Run, one: &Order, outcome: &Outcome) -> anyhow::Result<()> {
    // Written even if nobody reads what is printed.
    if let Some(path) = &order.report {
        write_report(path, one, outcome)?;
    }
    if order.brief && outcome.verdict == Verdict::Pass {
        out::line(report::brief(outcome))?;
    } else {
        tell(one, outcome, order.json, order.verbose)?;
    }
    Ok(())
}

fn tell(order: &Order, outcome: &Outcome, json: bool, verbose: bool) -> io::Result<()> {
    if json {
        out::line(report::whole(outcome, &order.scenario().to_string()))
    } else {
        out::line(report::text(outcome, verbose))
    }
}

/// Writes the report of a run for machines.
pub(super) fn write_report(path: &Path, order: &Order, outcome: &Outcome) -> anyhow::Result<()> {
    let report = report::whole(outcome, &order.scenario().to_string());
    fs::write(path, format!("{report:#}\n")).with_context(|| format!("{} cannot be written", path.display()))
}

/// What a report says of how to run it again.
#[derive(Deserialize)]
pub(super) struct Reported {
    seed: u64,
    history_hash: String,
    scenario_toml: String,
    file: Option<String>,
}

impl Reported {
    fn read(path: &str) -> anyhow::Result<Reported> {
        let text = fs::read_to_string(path).with_context(|| format!("{path} cannot be read"))?;
        serde_json::from_str(&text).with_context(|| format!("{path} is no report of `vatra-chaos sim run --report`"))
    }
}

/// What a word of the command line means: a seed that draws its scenario, a report, or a scenario file.
pub(super) fn order_of(what: &str, seed: Option<u64>) -> anyhow::Result<(Order, Option<String>)> {
    if let Ok(seed) = what.parse() {
        return Ok((Order::drawn(seed), None));
    }
    if Path::new(what).extension().is_some_and(|extension| extension == "json") {
        let reported = Reported::read(what)?;
        let scenario = Scenario::read(what, &reported.scenario_toml)?;
        simulated::check(what, &scenario)?;
        // A drawn scenario has no file: its text is in the report.
        let file = Some(reported.file.unwrap_or_else(|| what.to_owned()));
        return Ok((Order { scenario: Some(scenario), file, seed: reported.seed }, Some(reported.history_hash)));
    }
    let loaded = load(what)?;
    let seed = seed.unwrap_or(loaded.scenario.seed);
    Ok((Order { scenario: Some(loaded.scenario), file: Some(loaded.name), seed }, None))
}

/// Runs something again, and says whether it went the same way.
pub(super) fn replay(order: &Replay) -> anyhow::Result<u8> {
    let (one, hash) = order_of(&order.what, None)?;
    if order.print {
        out::text(one.scenario())?;
        return Ok(0);
    }
    let outcome = one.run()?;
    tell(&one, &outcome, order.json, order.verbose)?;
    if let Some(hash) = hash.filter(|hash| *hash != outcome.history_hash) {
        anyhow::bail!(
            "the run went another way than the report says: history {} instead of {hash}; it was made by another build",
            outcome.history_hash
        );
    }
    Ok(outcome.verdict.exit_code())
}

/// Finds the smallest scenario that still fails, and prints it.
pub(super) fn shrink(order: &Shrink) -> anyhow::Result<u8> {
    let (one, _) = order_of(&order.what, order.seed)?;
    let is_terminal = std::io::stderr().is_terminal();
    let mut tell = |smaller: &Scenario, tried: u64| {
        let size = format!(
            "{} steps, {} nodes, {} (after {tried} runs)",
            smaller.steps.len(),
            smaller.everybody().count(),
            smaller.duration
        );
        if is_terminal {
            drop(write!(io::stderr(), "\r\x1b[K{size}"));
        }
    };
    let found = shrink::shrink(&one.scenario(), one.seed, Duration::from_secs(order.seconds), &mut tell)?;
    if is_terminal {
        out::note("");
    }
    let Smallest { scenario, outcome, tried, is_cut_short } = found;
    let text = scenario.to_string();
    let name = match &order.out {
        Some(path) => {
            fs::write(path, &text).with_context(|| format!("{} cannot be written", path.display()))?;
            path.display().to_string()
        }
        None => "FILE".to_owned(),
    };
    out::text(&text)?;
    let ended = if is_cut_short { "time ran out; there may be smaller ones" } else { "nothing smaller fails" };
    let (steps, nodes) = (scenario.steps.len(), scenario.everybody().count());
    out::note(format_args!("# {steps} steps, {nodes} nodes after {tried} runs; {ended}"));
    for violation in outcome.violations.iter().take(1) {
        let what = report::named(violation.what.lines().next().unwrap_or_default(), &outcome.nodes);
        out::note(format_args!("# {}: {what}", violation.invariant));
    }
    out::note(format_args!("# to reproduce: vatra-chaos sim run {name} --seed {}", one.seed));
    Ok(outcome.verdict.exit_code())
}
