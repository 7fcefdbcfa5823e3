//! `vatra-chaos sim`: the verbs of the command line.

mod compare;
mod many;
mod one;
mod out;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::scenario::simulated;
use crate::scenario::verdict::HARNESS_EXIT_CODE;

/// What the simulator does.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a scenario.
    Run(Run),
    /// Run many seeds: of a scenario, or each of a scenario drawn from the seed.
    Seeds(Seeds),
    /// Run drawn scenarios for a while.
    Swarm(Swarm),
    /// Run again what a seed draws, or what failed in a report.
    Replay(Replay),
    /// Find the smallest scenario that still fails.
    Shrink(Shrink),
    /// Show the first event in which two runs differ.
    Diff(Diff),
    /// Tell which node accepted the entries of a record, when, and by which path.
    Why(Why),
    /// List the scenarios that come with the program.
    List(List),
    /// Explain a scenario, a verb, an invariant, a counter or a profile.
    Explain(Explain),
}

/// Run a scenario.
#[derive(Debug, Args)]
pub struct Run {
    /// Scenario files, or names from `list`.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<String>,
    /// Another seed than the file's.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Print the report as JSON, one line for each file.
    #[arg(long)]
    pub json: bool,
    /// Also write the report, as JSON, to this file.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Also write every event to this file, for `diff`.
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// Tell every step as well.
    #[arg(long, short)]
    pub verbose: bool,
    /// Tell one line of each run that passes.
    #[arg(long, conflicts_with_all = ["json", "verbose"])]
    pub brief: bool,
    /// Runs at the same time, of several files; one for each processor by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
}

/// Run many seeds.
#[derive(Debug, Args)]
pub struct Seeds {
    /// Seeds from A up to but not including B, as in Rust.
    #[arg(value_name = "A..B", value_parser = many::range)]
    pub seeds: std::ops::Range<u64>,
    /// The scenario; without, each seed draws its own mesh, lines, work and faults.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<String>,
    /// Print one line of JSON for each seed.
    #[arg(long)]
    pub json: bool,
    /// Write the report of the first failure, as JSON, to this file.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Run the seeds and scenarios that are kept in this folder first.
    #[arg(long, value_name = "DIR")]
    pub kept: Option<PathBuf>,
    /// Runs at the same time; one for each processor by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
}

/// Run drawn scenarios for a while.
#[derive(Debug, Args)]
pub struct Swarm {
    /// How long.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub minutes: u64,
    /// The first seed; drawn by default.
    #[arg(long, value_name = "N")]
    pub from: Option<u64>,
    /// Print one line of JSON for each seed.
    #[arg(long)]
    pub json: bool,
    /// Write the report of the first failure, as JSON, to this file.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Runs at the same time; one for each processor by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
}

/// Run something again.
#[derive(Debug, Args)]
pub struct Replay {
    /// A seed, or a report of `--report`.
    #[arg(value_name = "SEED|REPORT")]
    pub what: String,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
    /// Print the scenario instead of running it.
    #[arg(long)]
    pub print: bool,
    /// Tell every step as well.
    #[arg(long, short)]
    pub verbose: bool,
}

/// Find the smallest scenario that still fails.
#[derive(Debug, Args)]
pub struct Shrink {
    /// A seed, a report of `--report`, a scenario file, or a name from `list`.
    #[arg(value_name = "SEED|REPORT|FILE")]
    pub what: String,
    /// The seed, of a scenario file.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Give up looking for smaller ones after so many seconds.
    #[arg(long, value_name = "S", default_value_t = 110, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Also write the scenario to this file.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Show where two runs part.
#[derive(Debug, Args)]
pub struct Diff {
    /// A history of `run --history`, a report, a seed, or FILE@SEED.
    #[arg(value_name = "A")]
    pub a: String,
    /// The other one.
    #[arg(value_name = "B")]
    pub b: String,
    /// The scenario that seeds run; without, each draws its own.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<String>,
}

/// Tell how a record got where it is.
#[derive(Debug, Args)]
pub struct Why {
    /// The beginning of a record's id, of an entry's hash or of a log's id, or LOG/NUMBER for one entry of a log.
    #[arg(value_name = "RECORD")]
    pub record: String,
    /// What to run: a scenario file, a name from `list`, a report, or a seed that draws its own.
    #[arg(long, value_name = "FILE|REPORT|SEED")]
    pub run: String,
    /// The seed, of a scenario file.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// List the scenarios.
#[derive(Debug, Args)]
pub struct List {
    /// Print one line of JSON for each.
    #[arg(long)]
    pub json: bool,
}

/// Explain something.
#[derive(Debug, Args)]
pub struct Explain {
    /// A scenario, a verb, an invariant, a counter or a profile; without, all words.
    #[arg(value_name = "WORD")]
    pub word: Option<String>,
}

/// Does what the command line says.
#[must_use]
pub fn execute(verb: Verb) -> ExitCode {
    let done = match verb {
        Verb::Run(order) => one::run(&order),
        Verb::Seeds(order) => many::seeds(&order),
        Verb::Swarm(order) => many::swarm(&order),
        Verb::Replay(order) => one::replay(&order),
        Verb::Shrink(order) => one::shrink(&order),
        Verb::Diff(order) => compare::diff(&order),
        Verb::Why(order) => compare::why(&order),
        Verb::List(order) => words::list(&order),
        Verb::Explain(order) => words::explain(&order),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) if out::is_closed_pipe(&error) => ExitCode::from(out::CLOSED_EXIT_CODE),
        Err(error) => {
            out::note(format_args!("error: {error:#}"));
            ExitCode::from(HARNESS_EXIT_CODE)
        }
    }
}

/// A scenario from the command line, if the simulator can run it.
fn load(name: &str) -> anyhow::Result<crate::scenario::library::Loaded> {
    let loaded = crate::scenario::library::load(name)?;
    simulated::check(name, &loaded.scenario)?;
    Ok(loaded)
}
