//! A member that publishes as fast as its own node takes it delays only itself: the alerts of another member reach
//! everybody in time meanwhile, no node grows without bound, and nothing of the flood is lost.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use chaos_tests::corpus::Corpus;
use chaos_tests::lab::{Client, Follower, Lab, Plan, Start, Topology};

const UA: usize = 0;
const LT: usize = 1;
/// How long the flood lasts.
const FLOOD: Duration = Duration::from_secs(20);
/// Alerts of one bulk request of the flood.
const BULK: u64 = 500;
/// Rate of the honest member.
const HONEST_PER_SECOND: u32 = 5;
/// How late 99 of 100 honest alerts may be.
const HONEST_LATE_MAX: Duration = Duration::from_secs(3);
const RSS_BYTES_MAX: u64 = 256 << 20;
const CONVERGED_SECONDS_MAX: u64 = 120;
/// Entries of one origin that a node takes in by push, sustained; so low that the flood of a slow machine exceeds it,
/// while what is saved up for a minute carries the honest member through the test.
const ORIGIN_ENTRIES_PER_SECOND: u32 = 2;

fn limit_origins(lab: &Lab) -> anyhow::Result<()> {
    for node in lab.nodes() {
        let path = node.dir().join("node.toml");
        let mut file = OpenOptions::new().append(true).open(&path).with_context(|| path.display().to_string())?;
        writeln!(file, "\n[limits]\norigin_entries_per_second = {ORIGIN_ENTRIES_PER_SECOND}")?;
    }
    Ok(())
}

/// Publishes in bulk until told to stop; how many alerts were taken.
fn flood(client: &Client, corpus: &Corpus, stop: &AtomicBool) -> anyhow::Result<u64> {
    let mut taken = 0;
    let mut next = 1_000_000;
    while !stop.load(Ordering::Relaxed) {
        let answers = client.bulk(corpus.lines(next..next + BULK))?;
        taken += answers.iter().filter(|answer| answer["id"].is_string()).count() as u64;
        next += BULK;
    }
    Ok(taken)
}

/// Publishes at a rate; ids and when each was handed in.
fn publish_steadily(client: &Client, corpus: &Corpus, during: Duration) -> anyhow::Result<Vec<(String, Instant)>> {
    let begin = Instant::now();
    let mut sent = Vec::new();
    for number in 0.. {
        let due = begin + Duration::from_secs(1) * number / HONEST_PER_SECOND;
        if due > begin + during {
            break;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let at = Instant::now();
        sent.push((client.publish(&corpus.alert(u64::from(number)))?.id, at));
    }
    Ok(sent)
}

/// How late each honest alert came at a follower, sorted.
fn delays(follower: &Follower, sent: &[(String, Instant)]) -> anyhow::Result<Vec<Duration>> {
    let events = follower.events();
    let mut delays = Vec::with_capacity(sent.len());
    for (id, at) in sent {
        let event = events.iter().find(|event| event.subject == *id);
        delays.push(event.with_context(|| format!("{id} never came"))?.at.saturating_duration_since(*at));
    }
    delays.sort();
    Ok(delays)
}

fn counter(client: &Client, name: &str) -> anyhow::Result<u64> {
    let metrics = client.get("/metrics")?.text;
    let line = metrics.lines().find(|line| line.starts_with(name)).with_context(|| format!("no {name}"))?;
    let value = line.rsplit(' ').next().context("a value")?;
    value.parse().with_context(|| line.to_owned())
}

#[test]
fn a_flood_of_one_member_delays_only_itself() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let mut lab = Lab::new(&Plan::of(&["UA", "LT", "PL"]))?;
    limit_origins(&lab)?;
    lab.start_all()?;
    lab.wait_linked(Topology::Full)?;
    let followers = [0, 2].map(|index| lab.client(index).follow(Start::Now));
    let (flooding, honest, stop) = (lab.client(UA).clone(), lab.client(LT).clone(), AtomicBool::new(false));
    let (flooded, sent) = std::thread::scope(|scope| {
        let flooder = scope.spawn(|| flood(&flooding, &corpus, &stop));
        let sent = publish_steadily(&honest, &corpus, FLOOD);
        stop.store(true, Ordering::Relaxed);
        let flooded = flooder.join().map_err(|_| anyhow!("the flooder panicked"))?;
        Ok::<_, anyhow::Error>((flooded?, sent?))
    })?;
    let total = flooded + sent.len() as u64;
    ensure!(flooded > 20 * sent.len() as u64, "{flooded} alerts beside {} are no flood", sent.len());

    let took = lab.wait_all_hold(total, CONVERGED_SECONDS_MAX)?;
    for (follower, name) in followers.into_iter().zip(["UA", "PL"]) {
        let follower = follower?;
        follower.wait(CONVERGED_SECONDS_MAX, "every honest alert", |events| {
            sent.iter().all(|(id, _)| events.iter().any(|event| event.subject == *id))
        })?;
        let delays = delays(&follower, &sent)?;
        let late = delays[(delays.len() * 99 / 100).min(delays.len() - 1)];
        println!("{name}: {flooded} flooding alerts, honest p50 {:?}, p99 {late:?}", delays[delays.len() / 2]);
        ensure!(late <= HONEST_LATE_MAX, "at {name}, 1 of 100 honest alerts was {late:?} late\n{}", lab.explain());
    }
    let mut throttled = 0;
    for (index, node) in lab.nodes().iter().enumerate() {
        let usage = node.usage()?;
        println!("{}: {} MiB at most, converged {took:?} after the flood", node.name(), usage.rss_peak_bytes >> 20);
        ensure!(usage.rss_peak_bytes <= RSS_BYTES_MAX, "{} took {} bytes", node.name(), usage.rss_peak_bytes);
        throttled += counter(lab.client(index), "vatra_pushes_throttled_total")?;
        ensure!(counter(lab.client(index), "vatra_panics_total")? == 0, "{} panicked", node.name());
    }
    ensure!(throttled > 0, "nothing of the flood was throttled");
    Ok(())
}
