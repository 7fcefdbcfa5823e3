//! The simulator as a backend of scenarios.

mod able;
mod ailing;
mod calm;
mod charter;
mod counters;
mod lines;
mod perform;
mod phases;
mod setup;
mod stage;
mod untested;
mod watch;
mod work;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::scenario::format::Scenario;
use crate::scenario::plan::Plan;
use crate::scenario::simulated::phases::Agreed;
use crate::scenario::verdict::{Bite, Outcome, Verdict, Violation};
use crate::sim::checks;
use crate::sim::kept::Kept;

pub use able::{PROCESSES, REFUSED, SWARM, check};
pub use calm::Traffic;
pub use counters::{COUNTERS, NODE_COUNTERS};
pub use stage::Stage;

/// A run that the harness itself did not survive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the harness panicked at {place}: {message}")]
pub struct HarnessPanic {
    /// File and line.
    pub place: String,
    /// What it said.
    pub message: String,
}

/// Runs a scenario with a seed. The scenario has passed [`check`].
///
/// # Errors
/// The harness itself panicked; a panic of the core is a violation.
pub fn run(scenario: &Scenario, seed: u64) -> Result<Outcome, HarnessPanic> {
    let plan = Plan::new(scenario, seed);
    let mut stage = Stage::new(scenario, plan.clone(), seed);
    play(&mut stage, &plan)
}

/// Runs a scenario and keeps everything that happened, as lines for `diff`.
///
/// # Errors
/// As [`run`].
pub fn run_with_history(scenario: &Scenario, seed: u64) -> Result<(Outcome, String), HarnessPanic> {
    let (stage, outcome) = run_kept(scenario, seed)?;
    Ok((outcome, stage.world.kept().map(Kept::lines).unwrap_or_default()))
}

/// Runs a scenario and keeps everything that happened.
///
/// # Errors
/// As [`run`].
pub fn run_kept(scenario: &Scenario, seed: u64) -> Result<(Stage, Outcome), HarnessPanic> {
    let plan = Plan::new(scenario, seed);
    let mut stage = Stage::new(scenario, plan.clone(), seed);
    stage.world.keep_history();
    let outcome = play(&mut stage, &plan)?;
    Ok((stage, outcome))
}

fn play(stage: &mut Stage, plan: &Plan) -> Result<Outcome, HarnessPanic> {
    let began = Instant::now();
    let played = crate::scenario::panics::watch(|| catch_unwind(AssertUnwindSafe(|| stage.play(plan))));
    let agreed = match played {
        Ok(agreed) => agreed,
        Err(panic) if panic.is_of_the_core() => {
            let what = format!("a panic at {}: {}", panic.place, panic.message);
            stage.violations.push(Violation::new("O4", stage.world.now_ms(), what));
            Agreed::default()
        }
        Err(panic) => return Err(HarnessPanic { place: panic.place, message: panic.message }),
    };
    Ok(outcome(stage, &agreed, began.elapsed().as_secs_f64()))
}

fn outcome(stage: &Stage, agreed: &Agreed, wall_s: f64) -> Outcome {
    let scenario = &stage.scenario;
    let mut violations: Vec<Violation> = stage.world.violations.iter().map(|text| of_world(text, stage)).collect();
    violations.extend(stage.violations.iter().cloned());
    violations.extend(unexpected(stage, scenario, agreed));
    let bites: Vec<Bite> = scenario.must_bite.iter().map(|(name, wanted)| bite(stage, name, wanted)).collect();
    let verdict = if violations.iter().any(|violation| !violation.is_liveness()) {
        Verdict::Safety
    } else if !violations.is_empty() {
        Verdict::Liveness
    } else if bites.iter().any(|bite| !bite.holds) {
        Verdict::Void
    } else {
        Verdict::Pass
    };
    let counted = COUNTERS.iter().map(|counter| (counter.name.to_owned(), (counter.of)(stage)));
    let quantile = |permille| stage.work.quantile_us(permille).unwrap_or(0) as f64 / 1_000.0;
    Outcome {
        scenario: scenario.name.clone(),
        file: None,
        seed: stage.world.setup.seed,
        verdict,
        history_hash: stage.world.history_hash(),
        simulated_s: stage.world.now_ms() as f64 / 1_000.0,
        wall_s,
        violations,
        bites,
        counters: counted.filter(|(_, value)| *value > 0).collect(),
        nodes: stage.names.clone(),
        core: agreed.core.clone(),
        kept_broken: agreed.broken.clone(),
        outside: agreed.outside.clone(),
        core_agreed_ms: agreed.core_took.map(|took| took.ms()),
        all_agreed_ms: agreed.all_took.map(|took| took.ms()),
        traffic: agreed.traffic.and_then(Result::ok),
        untested: untested::untested(stage, agreed),
        copies_per_delivery: stage.world.tally.copies_per_delivery(),
        answer_ms: [quantile(500), quantile(990), quantile(1_000)],
        timeline: stage.timeline.clone(),
        reproduce: String::new(),
    }
}

fn bite(stage: &Stage, name: &str, wanted: &crate::scenario::format::compare::Comparison<u64>) -> Bite {
    // A run that ends before its faults do has no better count than that of its end.
    let was = stage.bitten.get(name).copied().unwrap_or_else(|| counters::value(stage, name));
    Bite { counter: name.to_owned(), wanted: wanted.to_string(), was, holds: wanted.holds(&was) }
}

/// Expectations of the file that were not met.
fn unexpected(stage: &Stage, scenario: &Scenario, agreed: &Agreed) -> Vec<Violation> {
    let mut found = Vec::new();
    let now = stage.world.now_ms();
    if let (Some(wanted), Some(took)) = (&scenario.expect.converge_after_heal, agreed.core_took)
        && !wanted.holds(&took)
    {
        let what = format!("the core agreed {took} after the heal; expected {wanted}");
        found.push(Violation::new("L2", now, what));
    }
    let p99 = stage.work.quantile_us(990).map(crate::scenario::format::quantity::Span);
    if let (Some(wanted), Some(p99)) = (&scenario.expect.local_write_p99, p99)
        && !wanted.holds(&p99)
    {
        let what = format!("99 of 100 writes were answered within {p99}; expected {wanted}");
        found.push(Violation::new("L1", now, what));
    }
    for (name, wanted) in &scenario.expect.metrics {
        let was = counters::value(stage, name);
        if !wanted.holds(&(was as f64)) {
            found.push(Violation::new("expect", now, format!("{name} is {was}; expected {wanted}")));
        }
    }
    found
}

/// A line of the world's own: `<ms> ms: <what> (<invariant>)`.
fn of_world(text: &str, stage: &Stage) -> Violation {
    let (at_ms, what) = match text.split_once(" ms: ") {
        Some((at, rest)) if at.bytes().all(|byte| byte.is_ascii_digit()) => (at.parse().unwrap_or(0), rest),
        _ => (stage.world.now_ms(), text),
    };
    let known = checks::code_of(what);
    // What is told or written too early breaks the promise that comes before all acknowledgements.
    Violation::new(known.unwrap_or("S1"), at_ms, what)
}
