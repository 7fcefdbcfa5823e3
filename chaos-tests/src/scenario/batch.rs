//! Many runs at once, told in the order in which they were asked for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use crate::scenario::format::Scenario;
use crate::scenario::simulated::{self, HarnessPanic, SWARM};
use crate::scenario::swarm;
use crate::scenario::verdict::Outcome;

/// One run to make.
#[derive(Clone, Debug)]
pub struct Order {
    /// The scenario; `None` = drawn from the seed.
    pub scenario: Option<Scenario>,
    /// The file that it came from.
    pub file: Option<String>,
    /// The seed.
    pub seed: u64,
}

impl Order {
    /// A run of a scenario that is drawn from the seed.
    #[must_use]
    pub fn drawn(seed: u64) -> Order {
        Order { scenario: None, file: None, seed }
    }

    /// What is run.
    #[must_use]
    pub fn scenario(&self) -> Scenario {
        self.scenario.clone().unwrap_or_else(|| swarm::scenario(self.seed, SWARM))
    }

    /// The line that runs it again.
    #[must_use]
    pub fn reproduce(&self) -> String {
        match &self.file {
            Some(file) => format!("vatra-chaos sim run {file} --seed {}", self.seed),
            None => format!("vatra-chaos sim replay {}", self.seed),
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// The harness panicked.
    pub fn run(&self) -> Result<Outcome, HarnessPanic> {
        let outcome = simulated::run(&self.scenario(), self.seed)?;
        Ok(Outcome { file: self.file.clone(), reproduce: self.reproduce(), ..outcome })
    }
}

/// How many runs to make at the same time: as many as asked for, or one for each processor.
#[must_use]
pub fn jobs(asked: Option<u16>) -> usize {
    let processors = || thread::available_parallelism().map_or(1, std::num::NonZero::get);
    asked.map_or_else(processors, usize::from)
}

/// Runs everything on so many threads. `tell` hears of each run in order, and says whether to go on.
///
/// # Errors
/// The harness panicked.
pub fn run(orders: &[Order], jobs: usize, mut tell: impl FnMut(&Order, Outcome) -> bool) -> Result<(), HarnessPanic> {
    let next = AtomicUsize::new(0);
    let is_over = AtomicBool::new(false);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, orders.len().max(1)) {
            let sender = sender.clone();
            let (next, is_over) = (&next, &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(order) = orders.get(index) else { return };
                    if sender.send((index, order.run())).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let told = in_order(&receiver, orders, &mut tell);
        is_over.store(true, Ordering::Relaxed);
        told
    })
}

fn in_order(
    receiver: &mpsc::Receiver<(usize, Result<Outcome, HarnessPanic>)>,
    orders: &[Order],
    tell: &mut impl FnMut(&Order, Outcome) -> bool,
) -> Result<(), HarnessPanic> {
    let mut early: BTreeMap<usize, Outcome> = BTreeMap::new();
    let mut next = 0;
    for (index, outcome) in receiver {
        early.insert(index, outcome?);
        while let Some(outcome) = early.remove(&next) {
            if !tell(&orders[next], outcome) {
                return Ok(());
            }
            next += 1;
        }
    }
    Ok(())
}
