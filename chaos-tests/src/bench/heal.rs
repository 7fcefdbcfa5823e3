//! Heal: one node is cut off, both sides write, then the time and the bytes until all are equal.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use serde_json::json;

use super::{Figure, WireMeter, wire_figures};
use crate::corpus::Corpus;
use crate::lab::{Client, Lab};

/// Length of the cut.
pub(super) const CUT: Duration = Duration::from_secs(30);
/// Alerts written on each side meanwhile, evenly over the cut.
pub(super) const ALERTS_PER_SIDE: u32 = 2_000;
/// Share of the cut in which they are written; the rest lets the far side settle.
const WRITING: Duration = Duration::from_secs(28);
/// The drill's own end, in case this program dies.
const CUT_SECONDS_MAX: u64 = 120;
/// How long the nodes may take to be equal again.
const HEAL_SECONDS_MAX: u64 = 120;
/// How long the cut may take to show.
const CUT_SHOWN_SECONDS_MAX: u64 = 20;

const CUT_OFF: usize = 0;
const WRITER_OF_THE_REST: usize = 1;

pub(super) fn measure(lab: &Lab, corpus: &Corpus) -> anyhow::Result<Vec<(Figure, f64)>> {
    let mut meter = WireMeter::start(lab)?;
    lab.client(CUT_OFF).cut(json!("all"), CUT_SECONDS_MAX, "benchmark")?;
    let begin = Instant::now();
    lab.wait_until(CUT_SHOWN_SECONDS_MAX, "cut", || Ok(lab.client(CUT_OFF).links_up()?.is_empty()))?;
    let (cut_off, rest) = std::thread::scope(|scope| {
        let cut_off = scope.spawn(|| write(lab.client(CUT_OFF), corpus, 0));
        let rest = scope.spawn(|| write(lab.client(WRITER_OF_THE_REST), corpus, 1_000_000));
        let cut_off = cut_off.join().map_err(|_| anyhow!("a writer panicked"))??;
        let rest = rest.join().map_err(|_| anyhow!("a writer panicked"))??;
        anyhow::Ok((cut_off, rest))
    })?;
    let others: Vec<usize> = (1..lab.len()).collect();
    lab.wait_equal(&others, HEAL_SECONDS_MAX)?;
    std::thread::sleep(CUT.saturating_sub(begin.elapsed()));

    meter.reset()?;
    let healed = Instant::now();
    lab.client(CUT_OFF).heal()?;
    lab.wait_until(HEAL_SECONDS_MAX, "links", || Ok(lab.client(CUT_OFF).links_up()?.len() == others.len()))?;
    let relinked = healed.elapsed().as_secs_f64();
    lab.wait_all_hold(u64::from(ALERTS_PER_SIDE) * 2, HEAL_SECONDS_MAX)?;
    let equal = healed.elapsed().as_secs_f64();
    let wire = meter.read()?;
    // Each other node lacks what the cut-off one wrote, and it lacks what the others wrote.
    let missing = cut_off * others.len() as u64 + rest;
    let mut figures = vec![(Figure::Relinked, relinked), (Figure::Healed, equal)];
    figures.extend(wire_figures(Figure::HealWire, Figure::HealWireInterface, wire, missing as f64));
    Ok(figures)
}

/// Publishes one side's alerts evenly; gives their JSON bytes.
fn write(client: &Client, corpus: &Corpus, first: u64) -> anyhow::Result<u64> {
    let begin = Instant::now();
    let mut bytes = 0;
    for number in 0..ALERTS_PER_SIDE {
        let draft = corpus.alert(first + u64::from(number));
        bytes += draft.to_string().len() as u64;
        let due = begin + WRITING * number / ALERTS_PER_SIDE;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        client.publish(&draft)?;
    }
    Ok(bytes)
}
