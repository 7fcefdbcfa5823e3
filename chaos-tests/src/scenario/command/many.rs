//! Many runs: `seeds` and `swarm`.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use crate::scenario::batch::{self, Order, jobs};
use crate::scenario::command::one::write_report;
use crate::scenario::command::{Seeds, Swarm, load, out};
use crate::scenario::report;
use crate::scenario::verdict::{Outcome, Verdict};

/// Seeds of one command.
const SEEDS_MAX: u64 = 10_000_000;
/// Failures that are shown in full.
const SHOWN_MAX: u64 = 3;
/// Drawn scenarios that are ordered at once.
const CHUNK: u64 = 64;

/// Reads `A..B`.
pub(super) fn range(text: &str) -> Result<Range<u64>, String> {
    let expected = "expected A..B, such as 0..500: seeds from A up to but not including B";
    let (from, to) = text.split_once("..").ok_or(expected)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("\"{text}\" is no number; {expected}"));
    let (from, to) = (number(from)?, number(to)?);
    if from >= to {
        return Err(format!("{from}..{to} has no seeds; {expected}"));
    }
    if to - from > SEEDS_MAX {
        return Err(format!("{from}..{to} has more than {SEEDS_MAX} seeds"));
    }
    Ok(from..to)
}

/// What many runs come to.
struct Tale<'r> {
    json: bool,
    report: Option<&'r Path>,
    worst: Verdict,
    passed: u64,
    failed: u64,
    void: u64,
    simulated_s: f64,
    began: Instant,
    bar: ProgressBar,
}

impl<'r> Tale<'r> {
    fn new(json: bool, report: Option<&'r Path>, count: Option<u64>) -> Tale<'r> {
        let bar = match count {
            // Hidden where standard error is no terminal.
            Some(count) => ProgressBar::new(count),
            None => ProgressBar::new_spinner(),
        };
        let template =
            if count.is_some() { "{bar:40} {pos}/{len} seeds, {eta} left {msg}" } else { "{pos} seeds {msg}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Tale {
            json,
            report,
            worst: Verdict::Pass,
            passed: 0,
            failed: 0,
            void: 0,
            simulated_s: 0.0,
            began: Instant::now(),
            bar,
        }
    }

    /// Hears of one run.
    fn hear(&mut self, order: &Order, outcome: &Outcome) -> anyhow::Result<()> {
        self.worst = self.worst.min(outcome.verdict);
        self.simulated_s += outcome.simulated_s;
        self.bar.inc(1);
        let is_first_failure = self.failed == 0;
        match outcome.verdict {
            Verdict::Pass => self.passed += 1,
            Verdict::Void => self.void += 1,
            Verdict::Safety | Verdict::Liveness => self.failed += 1,
        }
        let fails = matches!(outcome.verdict, Verdict::Safety | Verdict::Liveness);
        // Written even if nobody reads what is printed.
        if let Some(path) = self.report.filter(|_| fails && is_first_failure) {
            write_report(path, order, outcome)?;
        }
        if self.json {
            out::line(report::line(outcome))?;
        } else if outcome.verdict != Verdict::Pass && self.failed + self.void <= SHOWN_MAX {
            self.bar.suspend(|| out::line(report::text(outcome, false)))?;
        } else if outcome.verdict != Verdict::Pass {
            let line = format!("{}: to reproduce: {}", report::headline(outcome.verdict), order.reproduce());
            self.bar.suspend(|| out::line(line))?;
        }
        if self.json && outcome.verdict != Verdict::Pass {
            self.bar.suspend(|| out::note(format_args!("to reproduce: {}", order.reproduce())));
        }
        Ok(())
    }

    fn end(self) -> anyhow::Result<u8> {
        self.bar.finish_and_clear();
        let took = self.began.elapsed().as_secs_f64();
        let text = format!(
            "{} seeds: {} passed, {} failed, {} void; {:.0} s simulated in {took:.1} s ({:.0} times as fast)",
            self.passed + self.failed + self.void,
            self.passed,
            self.failed,
            self.void,
            self.simulated_s,
            self.simulated_s / took.max(0.001)
        );
        if self.json {
            out::note(text);
        } else {
            let color = report::style(self.worst);
            out::line(format_args!("{color}{text}{color:#}"))?;
        }
        Ok(self.worst.exit_code())
    }
}

/// Runs orders and tells of each; an error while telling ends them.
fn run(orders: &[Order], jobs: usize, tale: &mut Tale<'_>) -> anyhow::Result<()> {
    let mut told = Ok(());
    batch::run(orders, jobs, |order, outcome| {
        told = tale.hear(order, &outcome);
        told.is_ok()
    })?;
    told
}

/// Runs a range of seeds.
pub(super) fn seeds(order: &Seeds) -> anyhow::Result<u8> {
    let mut orders = match &order.kept {
        Some(dir) => kept(dir)?,
        None => Vec::new(),
    };
    let loaded = order.scenario.as_deref().map(load).transpose()?;
    orders.extend(order.seeds.clone().map(|seed| match &loaded {
        Some(loaded) => Order { scenario: Some(loaded.scenario.clone()), file: Some(loaded.name.clone()), seed },
        None => Order::drawn(seed),
    }));
    let mut tale = Tale::new(order.json, order.report.as_deref(), Some(orders.len() as u64));
    run(&orders, jobs(order.jobs), &mut tale)?;
    tale.end()
}

/// Seeds and scenarios that failed once: `drawn.txt`, a seed and its story a line, and scenario files.
fn kept(dir: &Path) -> anyhow::Result<Vec<Order>> {
    let mut orders = Vec::new();
    let drawn = dir.join("drawn.txt");
    if drawn.is_file() {
        let text = fs::read_to_string(&drawn).with_context(|| format!("{} cannot be read", drawn.display()))?;
        for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            let seed = line.split_whitespace().next().and_then(|word| word.parse().ok());
            let seed = seed.with_context(|| format!("{}: \"{line}\" does not begin with a seed", drawn.display()))?;
            orders.push(Order::drawn(seed));
        }
    }
    let files = fs::read_dir(dir).with_context(|| format!("{} cannot be read", dir.display()))?;
    let mut paths = Vec::new();
    for file in files {
        paths.push(file.with_context(|| format!("{} cannot be read", dir.display()))?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    for path in paths {
        let loaded = load(&path.display().to_string())?;
        let seed = loaded.scenario.seed;
        orders.push(Order { scenario: Some(loaded.scenario), file: Some(loaded.name), seed });
    }
    Ok(orders)
}

/// Runs drawn scenarios until time is up.
pub(super) fn swarm(order: &Swarm) -> anyhow::Result<u8> {
    let from = order.from.unwrap_or_else(|| rand::random::<u64>() >> 24);
    out::note(format_args!("seeds from {from}; `--from {from}` runs the same"));
    let until = Instant::now() + Duration::from_secs(order.minutes * 60);
    let mut tale = Tale::new(order.json, order.report.as_deref(), None);
    let mut next = from;
    while Instant::now() < until {
        let orders: Vec<Order> = (next..next.saturating_add(CHUNK)).map(Order::drawn).collect();
        let mut told = Ok(());
        batch::run(&orders, jobs(order.jobs), |order, outcome| {
            told = tale.hear(order, &outcome);
            told.is_ok() && Instant::now() < until
        })?;
        told?;
        next = next.saturating_add(CHUNK);
    }
    tale.end()
}
