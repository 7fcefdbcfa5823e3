//! Latency: alerts one at a time at every node in turn, with a subscriber at each.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::{Figure, WireMeter, cpu_microseconds, wire_figures};
use crate::corpus::Corpus;
use crate::lab::{Follower, Lab, Start};

/// Alerts measured.
pub(super) const ALERTS: u64 = 1_500;
/// Their rate.
pub(super) const PER_SECOND: u64 = 50;
/// Alerts before, that are not measured.
const WARM_UP: u64 = 100;
/// How long the last deliveries may take.
const DELIVERY_SECONDS_MAX: u64 = 10;

struct Sent {
    node: usize,
    at: Instant,
    acknowledged: Duration,
}

pub(super) fn measure(lab: &Lab, corpus: &Corpus) -> anyhow::Result<Vec<(Figure, f64)>> {
    publish(lab, corpus, 0..WARM_UP)?;
    lab.wait_all_hold(WARM_UP, DELIVERY_SECONDS_MAX)?;
    let followers: Vec<Follower> =
        lab.nodes().iter().map(|node| node.client().follow(Start::Now)).collect::<Result<_, _>>()?;
    let meter = WireMeter::start(lab)?;
    let cpu = cpu_microseconds(lab)?;

    let sent = publish(lab, corpus, WARM_UP..WARM_UP + ALERTS)?;
    for follower in &followers {
        follower.wait(DELIVERY_SECONDS_MAX, "every alert", |events| {
            events.iter().filter(|event| event.is_new_alert()).count() >= sent.len()
        })?;
    }

    let per = sent.len() as f64;
    let cpu = cpu_microseconds(lab)? - cpu;
    let wire = meter.read()?;
    let mut acknowledged: Vec<f64> = sent.values().map(|sent| milliseconds(sent.acknowledged)).collect();
    let mut delivered = Vec::new();
    for (index, follower) in followers.iter().enumerate() {
        for event in follower.events().iter().filter(|event| event.is_new_alert()) {
            let sent = sent.get(&event.subject).context("an alert was delivered that nobody published")?;
            if sent.node != index {
                delivered.push(milliseconds(event.at.saturating_duration_since(sent.at)));
            }
        }
    }
    acknowledged.sort_by(f64::total_cmp);
    delivered.sort_by(f64::total_cmp);
    let mut figures = vec![
        (Figure::AckP50, quantile(&acknowledged, 0.5)),
        (Figure::AckP99, quantile(&acknowledged, 0.99)),
        (Figure::AckMax, quantile(&acknowledged, 1.0)),
        (Figure::DeliveredP50, quantile(&delivered, 0.5)),
        (Figure::DeliveredP99, quantile(&delivered, 0.99)),
        (Figure::DeliveredMax, quantile(&delivered, 1.0)),
        (Figure::SingleCpu, cpu / per),
    ];
    figures.extend(wire_figures(Figure::SingleWire, Figure::SingleWireInterface, wire, per));
    Ok(figures)
}

/// Publishes at the nodes in turn, at the rate.
fn publish(lab: &Lab, corpus: &Corpus, numbers: std::ops::Range<u64>) -> anyhow::Result<BTreeMap<String, Sent>> {
    let begin = Instant::now();
    let mut sent = BTreeMap::new();
    for (turn, number) in numbers.enumerate() {
        let draft = corpus.alert(number);
        let due = begin + Duration::from_secs(1) * u32::try_from(turn)? / u32::try_from(PER_SECOND)?;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let node = turn % lab.len();
        let at = Instant::now();
        let published = lab.client(node).publish(&draft)?;
        sent.insert(published.id, Sent { node, at, acknowledged: at.elapsed() });
    }
    Ok(sent)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The value below which this share of a sorted list lies (nearest rank).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!([0.5, 0.99, 1.0].map(|share| quantile(&values, share)), [100.0, 198.0, 200.0]);
        assert_eq!(quantile(&[5.0], 0.5), 5.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
