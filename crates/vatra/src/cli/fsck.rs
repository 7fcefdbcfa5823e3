//! `vatra fsck`: checks the store of a stopped node and says what is damaged.

use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use vatra_store::Space;

use super::exit::Exit;
use super::print::{self, Printer};
use crate::config::NodeConfig;
use crate::node;

#[derive(Debug, Args)]
pub(crate) struct FsckArgs {
    /// Directory of the node; the node must not run.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

/// Checks a store: checksums, hashes, signatures, indexes, the digest.
pub(crate) fn run(args: &FsckArgs, out: &mut Printer) -> anyhow::Result<Exit> {
    let config = NodeConfig::load(&args.dir)?;
    let bar = progress();
    let checked = node::fsck(&config, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let checked = checked?;
    let report = &checked.report;
    let is_clean = report.is_clean() && checked.wider.is_empty();
    let findings: Vec<String> =
        report.findings.iter().map(ToString::to_string).chain(checked.wider.iter().cloned()).collect();
    for finding in &findings {
        print::error(finding);
    }
    let unlisted = report.findings_count.saturating_sub(report.findings.len() as u64);
    if unlisted > 0 {
        print::error(&format!("and {unlisted} more findings"));
    }
    if out.is_json() {
        let rows: serde_json::Map<_, _> =
            Space::ALL.iter().map(|space| (space.to_string(), json!(report.rows_of(*space)))).collect();
        out.json(&json!({
            "clean": is_clean, "mendable": checked.is_mendable(), "rows": rows, "entries": checked.entries, "findings": findings,
            "findings_count": report.findings_count + checked.wider.len() as u64,
        }))?;
    } else {
        let rows: u64 = Space::ALL.iter().map(|space| report.rows_of(*space)).sum();
        let verdict = if is_clean { "clean" } else { "damaged" };
        out.line(&format!("{verdict}: {rows} rows, {} entries with their signatures", checked.entries))?;
        if checked.is_mendable() {
            out.line("only entries are damaged: a running node fetches them again from its peers")?;
        } else if !is_clean {
            out.line("more than entries is damaged: see \"When something is wrong\" in docs/operations.md")?;
        }
    }
    Ok(if is_clean { Exit::Done } else { Exit::Refused })
}

fn progress() -> ProgressBar {
    if !print::stderr_is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} rows, {eta} to go") {
        bar.set_style(style);
    }
    bar
}
