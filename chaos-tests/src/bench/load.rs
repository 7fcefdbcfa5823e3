//! Throughput: many alerts through the bulk routes of all nodes at once, until all hold all.

use std::time::Instant;

use anyhow::{anyhow, ensure};

use super::{Figure, WireMeter, cpu_microseconds, wire_figures};
use crate::corpus::Corpus;
use crate::lab::{Client, Lab};

/// Lines of one bulk request.
const LINES_PER_REQUEST: u64 = 5_000;
/// How long everybody may take to hold everything.
const HELD_SECONDS_MAX: u64 = 300;

pub(super) fn measure(lab: &Lab, corpus: &Corpus, alerts: u64) -> anyhow::Result<Vec<(Figure, f64)>> {
    let shares = shares(alerts, lab.len() as u64);
    // Made before the clock starts: the sender's work is not the nodes'.
    let requests: Vec<Vec<Vec<u8>>> = shares.iter().map(|share| requests(corpus, share.clone())).collect();
    let meter = WireMeter::start(lab)?;
    let cpu = cpu_microseconds(lab)?;
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let senders: Vec<_> = requests
            .into_iter()
            .zip(lab.nodes())
            .map(|(requests, node)| scope.spawn(move || send(node.client(), requests)))
            .collect();
        senders.into_iter().try_for_each(|sender| sender.join().map_err(|_| anyhow!("a sender panicked"))?)
    })?;
    let acknowledged = begin.elapsed().as_secs_f64();
    lab.wait_all_hold(alerts, HELD_SECONDS_MAX)?;
    let held = begin.elapsed().as_secs_f64();

    let per = alerts as f64;
    let cpu = cpu_microseconds(lab)? - cpu;
    let wire = meter.read()?;
    let (mut memory, mut disk) = (0, 0);
    for node in lab.nodes() {
        memory = memory.max(node.usage()?.rss_peak_bytes);
        disk = disk.max(node.disk_bytes()?);
    }
    let mut figures = vec![
        (Figure::Rate, per / held),
        (Figure::AckRate, per / acknowledged),
        (Figure::Cpu, cpu / per),
        (Figure::Memory, memory as f64 / 1e6),
        (Figure::Disk, disk as f64 / per),
    ];
    figures.extend(wire_figures(Figure::Wire, Figure::WireInterface, wire, per));
    Ok(figures)
}

/// Splits alert numbers into one range for each node.
fn shares(alerts: u64, nodes: u64) -> Vec<std::ops::Range<u64>> {
    (0..nodes).map(|node| alerts * node / nodes..alerts * (node + 1) / nodes).collect()
}

fn requests(corpus: &Corpus, numbers: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    let mut from = numbers.start;
    while from < numbers.end {
        let until = numbers.end.min(from + LINES_PER_REQUEST);
        requests.push(corpus.lines(from..until));
        from = until;
    }
    requests
}

fn send(client: &Client, requests: Vec<Vec<u8>>) -> anyhow::Result<()> {
    for lines in requests {
        let sent = lines.iter().filter(|byte| **byte == b'\n').count();
        let answers = client.bulk(lines)?;
        ensure!(answers.len() == sent, "{sent} lines sent, {} answered", answers.len());
        if let Some(refused) = answers.iter().find(|answer| !answer["id"].is_string()) {
            anyhow::bail!("bulk refused a line: {refused}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::shares;

    #[test]
    fn every_number_has_one_node() {
        assert_eq!(shares(100, 3), [0..33, 33..66, 66..100]);
        assert_eq!(shares(2, 3), [0..0, 0..1, 1..2]);
    }
}
