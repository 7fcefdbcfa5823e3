//! Benchmarks through real nodes: what is measured, how often, and how it is reported.
//!
//! Each scenario has a file and a lab of its own; `figure` names the figures and their targets.

mod figure;
mod heal;
mod latency;
mod load;
mod machine;
mod report;
mod restart;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::ensure;
use clap::ValueEnum;

pub use self::figure::Figure;

use crate::corpus::Corpus;
use crate::lab::wire::{self, InterfaceCounter};
use crate::lab::{Lab, Plan, binary};

/// The members of every benchmark: one node each.
const MEMBERS: [&str; 3] = ["UA", "LT", "PL"];

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// 50 alerts a second: publish to acknowledgement and to delivery at every other node.
    Latency,
    /// The bulk route until every node holds all alerts: rate, processor, wire, memory, disk.
    Throughput,
    /// A cut of 30 s with 2,000 alerts on each side, then the heal.
    Heal,
    /// A node with all alerts of the throughput scenario, stopped and killed: until it serves.
    Restart,
    /// Everything.
    All,
}

impl Scenario {
    fn includes(self, other: Scenario) -> bool {
        self == Scenario::All || self == other
    }
}

/// What was ordered on the command line.
#[derive(Clone, Debug)]
pub struct Order {
    /// What to measure.
    pub scenario: Scenario,
    /// How often.
    pub runs: u32,
    /// Alerts for throughput and restart.
    pub alerts: u64,
    /// Where to write JSON.
    pub json: Option<PathBuf>,
    /// Folder for the labs.
    pub dir: Option<PathBuf>,
}

/// Values of each figure, one for each run.
type Values = BTreeMap<Figure, Vec<f64>>;

/// Measures, prints a table and writes JSON.
pub fn run(order: &Order) -> anyhow::Result<()> {
    let binary = binary::find()?;
    if !binary::is_release(&binary) {
        println!("warning: {} is no release build; its figures say little", binary.display());
    }
    let corpus = Corpus::load()?;
    let parent = order.dir.clone().unwrap_or_else(std::env::temp_dir);
    ensure!(parent.is_dir(), "--dir {}: no such folder", parent.display());
    let machine = machine::Machine::look(&parent)?;
    println!("{machine}");
    let mut values = Values::new();
    for run in 1..=order.runs {
        if order.runs > 1 {
            println!("run {run} of {}", order.runs);
        }
        let bench = Bench { order, corpus: &corpus };
        for (figure, value) in bench.once()? {
            values.entry(figure).or_default().push(value);
        }
    }
    report::print(&values);
    if let Some(path) = &order.json {
        report::write(path, order, &machine, &values)?;
        println!("written to {}", path.display());
    }
    Ok(())
}

struct Bench<'a> {
    order: &'a Order,
    corpus: &'a Corpus,
}

impl Bench<'_> {
    fn once(&self) -> anyhow::Result<Vec<(Figure, f64)>> {
        let mut figures = Vec::new();
        let scenario = self.order.scenario;
        if scenario.includes(Scenario::Latency) {
            println!("latency: {} alerts at {} a second", latency::ALERTS, latency::PER_SECOND);
            figures.extend(self.in_a_lab(|lab| latency::measure(lab, self.corpus))?);
        }
        if scenario.includes(Scenario::Heal) {
            println!("heal: {} s cut, {} alerts on each side", heal::CUT.as_secs(), heal::ALERTS_PER_SIDE);
            figures.extend(self.in_a_lab(|lab| heal::measure(lab, self.corpus))?);
        }
        if scenario.includes(Scenario::Throughput) || scenario.includes(Scenario::Restart) {
            println!("throughput: {} alerts through the bulk routes of all nodes", self.order.alerts);
            figures.extend(self.in_a_lab(|lab| self.load_and_restart(lab))?);
        }
        Ok(figures)
    }

    fn load_and_restart(&self, lab: &mut Lab) -> anyhow::Result<Vec<(Figure, f64)>> {
        let mut figures = load::measure(lab, self.corpus, self.order.alerts)?;
        if !self.order.scenario.includes(Scenario::Throughput) {
            figures.clear();
        }
        if self.order.scenario.includes(Scenario::Restart) {
            println!("restart: a node with {} alerts", self.order.alerts);
            figures.extend(restart::measure(lab, self.order.alerts)?);
        }
        Ok(figures)
    }

    /// Measures in a lab of its own; an error tells how its nodes were.
    fn in_a_lab<T>(&self, measure: impl FnOnce(&mut Lab) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let mut plan = Plan::of(&MEMBERS);
        plan.parent = self.order.dir.clone();
        let mut lab = Lab::running(&plan)?;
        measure(&mut lab).inspect_err(|_| eprintln!("the nodes, as they are:\n{}", lab.explain()))
    }
}

/// Counts bytes on the wire over a scenario: by the links themselves, and at the interface where that
/// is possible.
struct WireMeter<'a> {
    lab: &'a Lab,
    own: u64,
    interface: Option<(InterfaceCounter, u64)>,
}

impl<'a> WireMeter<'a> {
    fn start(lab: &'a Lab) -> anyhow::Result<WireMeter<'a>> {
        let interface = match InterfaceCounter::install(lab) {
            Ok(counter) => Some((counter, 0)),
            Err(error) => {
                println!("  bytes at the interface: not checked ({error:#})");
                None
            }
        };
        let mut meter = WireMeter { lab, own: 0, interface };
        meter.reset()?;
        Ok(meter)
    }

    /// Counts from now on.
    fn reset(&mut self) -> anyhow::Result<()> {
        self.own = wire::own_bytes_of_all(self.lab)?;
        if let Some((counter, since)) = &mut self.interface {
            *since = counter.bytes()?;
        }
        Ok(())
    }

    /// Bytes by the links' own counters, and of packets at the interface.
    fn read(&self) -> anyhow::Result<(f64, Option<f64>)> {
        let own = wire::own_bytes_of_all(self.lab)?.saturating_sub(self.own);
        let interface = match &self.interface {
            Some((counter, since)) => Some(counter.bytes()?.saturating_sub(*since) as f64),
            None => None,
        };
        Ok((own as f64, interface))
    }
}

/// A wire figure twice: from the links' counters and from the interface.
fn wire_figures(own: Figure, interface: Figure, bytes: (f64, Option<f64>), per: f64) -> Vec<(Figure, f64)> {
    let mut figures = vec![(own, bytes.0 / per)];
    figures.extend(bytes.1.map(|bytes| (interface, bytes / per)));
    figures
}

/// Processor time of all nodes since their start, in microseconds.
fn cpu_microseconds(lab: &Lab) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for node in lab.nodes() {
        sum += node.usage()?.cpu.as_secs_f64() * 1e6;
    }
    Ok(sum)
}
