//! `vatra alert import`: a file of alerts, in any format that is known, sent in batches.
//!
//! Every alert carries an external id, so that a second import changes nothing; a half-broken file
//! gives its good part, and its bad part by number on standard error.

mod batch;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use vatra_formats::import::{
    DETECT_HEAD_BYTES, Format, INPUT_BYTES_MAX, ImportDefaults, Imported, Place, detect, import,
};
use vatra_model::schema::words::{Sector, Tlp};
use vatra_model::{Class, MemberCode};

use self::batch::{Batch, LineOutcome};
use crate::cli::api::Api;
use crate::cli::exit::Exit;
use crate::cli::fields::word;
use crate::cli::input;
use crate::cli::print::{self, Printer};
use crate::cli::target::Target;

/// Most problems that the JSON summary lists; all of them go to standard error.
const PROBLEMS_LISTED_MAX: usize = 1000;
/// How often the progress bar moves when nothing happens.
const TICK: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The file, or `-` for standard input.
    file: PathBuf,
    /// Format of the file; by default it is detected.
    #[arg(long, value_name = "ndjson|kev|misp|stix")]
    format: Option<Format>,
    /// Label of what carries none; without it the unlabelled is refused.
    #[arg(long, value_parser = word(Tlp::ALL, Tlp::as_str))]
    unlabelled_tlp: Option<Tlp>,
    /// Label in place of a stricter one; it discloses more, so the source must have agreed.
    #[arg(long, value_parser = word(Tlp::ALL, Tlp::as_str))]
    relabel_tlp: Option<Tlp>,
    /// Sectors of what names none.
    #[arg(long = "sector", value_name = "SECTOR", value_delimiter = ',',
          value_parser = word(Sector::ALL, Sector::as_str))]
    sectors: Vec<Sector>,
    /// Urgency lane of what names none.
    #[arg(long)]
    class: Option<Class>,
    /// Members that may edit the alerts; by default their owner alone.
    #[arg(long = "writer", value_name = "MEMBER", value_delimiter = ',')]
    writers: Vec<MemberCode>,
    /// Read and check the file without sending anything.
    #[arg(long)]
    dry_run: bool,
}

/// What became of the items of a file.
#[derive(Debug, Default)]
struct Tally {
    created: usize,
    existing: usize,
    refused: usize,
    /// The first problems, for the JSON summary.
    problems: Vec<(Place, String)>,
}

/// Imports a file.
pub(crate) fn run(args: &ImportArgs, target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    let api = if args.dry_run { None } else { Some(target.connect()?) };
    let bytes = input::read_bounded(&args.file, INPUT_BYTES_MAX as u64)?;
    let head = bytes.get(..DETECT_HEAD_BYTES).unwrap_or(&bytes);
    let format = match args.format.or_else(|| detect(head, &args.file.to_string_lossy())) {
        Some(format) => format,
        None => anyhow::bail!(
            "{}: this is no format that is known; expected are alerts as NDJSON, a KEV catalogue, a MISP \
             event or a STIX 2.1 bundle (--format tells which)",
            args.file.display()
        ),
    };
    let defaults = ImportDefaults {
        unlabelled_tlp: args.unlabelled_tlp,
        relabel_tlp: args.relabel_tlp,
        sectors: args.sectors.clone(),
        class: args.class,
        writers: args.writers.clone(),
    };
    let bar = progress(|| import(&bytes, format, &defaults).count());
    let mut tally = Tally::default();
    let sent = send_all(import(&bytes, format, &defaults), api.as_ref(), &mut tally, &bar);
    bar.finish_and_clear();
    tally.print(args.dry_run, out)?;
    if tally.refused > 0 && format != Format::Ndjson && args.unlabelled_tlp.is_none() {
        print::hint("--unlabelled-tlp clear|green names the label of what carries none");
    }
    sent.with_context(|| {
        let taken = tally.created + tally.existing;
        format!("alerts taken before this: {taken}; importing again goes on from there")
    })?;
    Ok(tally.exit())
}

/// Sends the items in batches; `api` is absent in a dry run, where every good item counts as created.
fn send_all(
    items: impl Iterator<Item = Imported>,
    api: Option<&Api>,
    tally: &mut Tally,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let mut batch = Batch::default();
    for item in items {
        bar.inc(1);
        let draft = match item.result {
            Ok(draft) => draft,
            Err(problem) => {
                tally.refuse(item.place, problem.to_string(), bar);
                continue;
            }
        };
        let line = serde_json::to_vec(&draft).context("an alert is always JSON")?;
        if !batch.has_room_for(&line) {
            flush(&mut batch, api, tally, bar)?;
        }
        batch.push(item.place, &line);
    }
    flush(&mut batch, api, tally, bar)
}

fn flush(batch: &mut Batch, api: Option<&Api>, tally: &mut Tally, bar: &ProgressBar) -> anyhow::Result<()> {
    let batch = std::mem::take(batch);
    let Some(api) = api else {
        tally.created += batch.len();
        return Ok(());
    };
    if batch.len() == 0 {
        return Ok(());
    }
    batch.send(api, |place, outcome| match outcome {
        LineOutcome::Created => tally.created += 1,
        LineOutcome::Existing => tally.existing += 1,
        LineOutcome::Refused(problem) => tally.refuse(place, problem.to_string(), bar),
    })
}

/// A bar on a terminal, hidden elsewhere; only a shown bar needs to know how many items there are.
fn progress(count: impl FnOnce() -> usize) -> ProgressBar {
    if !print::stderr_is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::new(count() as u64);
    let template = "{bar:40} {human_pos}/{human_len} alerts, {per_sec}, {eta} to go";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}

impl Tally {
    fn refuse(&mut self, place: Place, problem: String, bar: &ProgressBar) {
        self.refused += 1;
        bar.suspend(|| print::error(&format!("{place}: {problem}")));
        if self.problems.len() < PROBLEMS_LISTED_MAX {
            self.problems.push((place, problem));
        }
    }

    fn print(&self, dry_run: bool, out: &mut Printer) -> anyhow::Result<()> {
        if out.is_json() {
            let problems = self.problems.iter();
            let problems: Vec<_> =
                problems.map(|(place, problem)| json!({"place": place.to_string(), "problem": problem})).collect();
            out.json(&json!({
                "new": self.created, "existing": self.existing, "refused": self.refused,
                "problems": problems, "dry_run": dry_run,
            }))?;
            return Ok(());
        }
        let refused = if self.refused > 0 { format!(", {} refused", self.refused) } else { String::new() };
        if dry_run {
            out.line(&format!("{} good{refused}; nothing was sent", self.created))?;
        } else {
            out.line(&format!("{} new, {} already there{refused}", self.created, self.existing))?;
        }
        Ok(())
    }

    fn exit(&self) -> Exit {
        match (self.created + self.existing, self.refused) {
            (_, 0) => Exit::Done,
            (0, _) => Exit::Refused,
            _ => Exit::Partly,
        }
    }
}
