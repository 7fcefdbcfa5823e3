//! `vatra-chaos`: the demo and the benchmarks through real nodes, and the simulator.

use std::path::PathBuf;
use std::process::ExitCode;

use chaos_tests::scenario::command as simulator;
use chaos_tests::scenario::verdict::HARNESS_EXIT_CODE;
use chaos_tests::{bench, demo};
use clap::{Parser, Subcommand};

/// Demo and benchmarks of the alert mesh with real `vatra` processes on this machine, and its simulator.
#[derive(Debug, Parser)]
#[command(name = "vatra-chaos", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Three members lose one of them, go on, meet again and agree.
    Demo {
        /// Leave the nodes running at the end and say how to talk to them.
        #[arg(long)]
        keep: bool,
    },
    /// Measure latency, throughput, healing and restart.
    Bench(BenchArguments),
    /// Simulate meshes, faults and hostile members from seeds and scenario files.
    ///
    /// Exit codes: 0 pass, 1 an invariant was broken (safety), 2 the mesh did not come together (liveness), 3 void:
    /// the faults did not bite, 4 the harness failed (a bad file, an unknown key, a panic of its own), 141 the reader of
    /// the output left before its end.
    #[command(subcommand)]
    Sim(simulator::Verb),
}

#[derive(Debug, clap::Args)]
struct BenchArguments {
    /// What to measure.
    #[arg(long, value_enum, default_value_t = bench::Scenario::All)]
    scenario: bench::Scenario,
    /// How often; the medians are reported.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20))]
    runs: u32,
    /// Alerts for throughput and restart.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    alerts: u64,
    /// Also write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Folder for the nodes' stores; the system's temporary folder by default. Its disk is part of
    /// what is measured.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// The arguments; what is wrong with those of the simulator is a failure of the harness.
fn arguments() -> Arguments {
    Arguments::try_parse().unwrap_or_else(|error| {
        let is_sim = std::env::args().nth(1).is_some_and(|word| word == "sim");
        if is_sim && error.use_stderr() {
            // What cannot be printed cannot be told either.
            drop(error.print());
            std::process::exit(i32::from(HARNESS_EXIT_CODE));
        }
        error.exit()
    })
}

fn main() -> ExitCode {
    let outcome = match arguments().command {
        Command::Sim(verb) => return simulator::execute(verb),
        Command::Demo { keep } => demo::run(keep),
        Command::Bench(arguments) => bench::run(&bench::Order {
            scenario: arguments.scenario,
            runs: arguments.runs,
            alerts: arguments.alerts,
            json: arguments.json,
            dir: arguments.dir,
        }),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
