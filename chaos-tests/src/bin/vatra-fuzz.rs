//! `vatra-fuzz`: tries the decoders of bytes from outside with inputs made of a kept corpus.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use chaos_tests::fuzz::{Target, crashes_dir, fuzz, replay};
use clap::Parser;

/// Fuzzes one target, or all of them one after the other.
#[derive(Debug, Parser)]
#[command(name = "vatra-fuzz", version, max_term_width = 100)]
struct Arguments {
    /// entry, frame, change, charter, beacon, bundle, saved, or all.
    #[arg(default_value = "all")]
    target: String,
    /// Seconds for each target; 0 tries what is kept and nothing else.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// The same seed makes the same inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder for inputs that something does not hold for; the kept ones of the repository by default.
    #[arg(long, value_name = "DIR")]
    found: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let targets = match arguments.target.as_str() {
        "all" => Target::ALL.to_vec(),
        name => vec![name.parse().map_err(anyhow::Error::msg)?],
    };
    let mut all_hold = true;
    for target in targets {
        let kept = replay(target)?;
        let found = arguments.found.clone().unwrap_or_else(|| crashes_dir(target));
        let outcome = fuzz(target, Duration::from_secs(arguments.seconds), arguments.seed, &found)?;
        println!("{target}: {} kept inputs, {} made, {} findings", kept.inputs, outcome.inputs, outcome.findings.len());
        for path in &outcome.findings {
            println!("  {}", path.display());
        }
        all_hold &= outcome.findings.is_empty();
    }
    Ok(if all_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
