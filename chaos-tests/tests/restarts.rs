//! Ends and starts of processes: what was acknowledged is there afterwards.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use chaos_tests::corpus::Corpus;
use chaos_tests::lab::{Client, Lab, Plan};

const SECONDS_MAX: u64 = 30;
/// Alerts after which a node counts as busy.
const BUSY_ALERTS: u64 = 20;

/// Publishes one after the other until told to stop or refused; gives what was acknowledged.
fn publish_until(
    client: &Client,
    corpus: &Corpus,
    first: u64,
    stop: &AtomicBool,
    has_begun: &AtomicBool,
) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in first.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match client.publish(&corpus.alert(number)) {
            Ok(published) => {
                acknowledged.push(published.id);
                has_begun.store(true, Ordering::Relaxed);
            }
            // The node was ended under our hands: nobody was told that this one is safe.
            Err(_) => break,
        }
    }
    acknowledged
}

fn check(lab: &Lab, index: usize, ids: &[String]) -> anyhow::Result<()> {
    for id in ids {
        ensure!(lab.client(index).has_alert(id)?, "{} lost {id}, which was acknowledged", lab.node(index).name());
    }
    Ok(())
}

#[test]
fn ten_thousand_alerts_survive_a_restart() -> anyhow::Result<()> {
    const ALERTS: u64 = 10_000;
    let corpus = Corpus::load()?;
    let mut lab = Lab::running(&Plan::of(&["UA", "LT"]))?;
    for first in (0..ALERTS).step_by(2_500) {
        let answers = lab.client(0).bulk(corpus.lines(first..first + 2_500))?;
        ensure!(answers.iter().all(|answer| answer["id"].is_string()), "a line was refused");
    }
    lab.wait_all_hold(ALERTS, SECONDS_MAX)?;
    let digest = lab.client(0).digest()?;
    for index in [0, 1] {
        lab.node_mut(index).stop()?;
        lab.start(index)?;
        assert_eq!(lab.client(index).alert_count()?, ALERTS);
        assert_eq!(lab.client(index).digest()?, digest);
    }
    Ok(())
}

#[test]
fn kill_after_kill_loses_nothing_that_was_acknowledged() -> anyhow::Result<()> {
    const ROUNDS: u64 = 6;
    let corpus = Corpus::load()?;
    let mut lab = Lab::running(&Plan::of(&["UA", "LT", "PL"]))?;
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..ROUNDS {
        let client = lab.client(0).clone();
        let (corpus, never, has_begun) = (&corpus, AtomicBool::new(false), AtomicBool::new(false));
        let fresh = std::thread::scope(|scope| {
            let publisher = scope.spawn(|| publish_until(&client, corpus, round * 100_000, &never, &has_begun));
            // At another moment in each round, once there is something to lose.
            let deadline = Instant::now() + Duration::from_secs(SECONDS_MAX);
            while !has_begun.load(Ordering::Relaxed) && !publisher.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            std::thread::sleep(Duration::from_millis(130 * round));
            let killed = lab.node_mut(0).kill();
            never.store(true, Ordering::Relaxed);
            let fresh = publisher.join().map_err(|_| anyhow!("the publisher panicked"))?;
            killed.map(|()| fresh)
        })?;
        ensure!(!fresh.is_empty(), "nothing was acknowledged before kill {round}: the round shows nothing");
        lab.start(0)?;
        check(&lab, 0, &fresh)?;
        acknowledged.extend(fresh);
    }
    let held = lab.client(0).alert_count()?;
    ensure!(held >= acknowledged.len() as u64, "{held} alerts held, {} acknowledged", acknowledged.len());
    lab.wait_all_hold(held, SECONDS_MAX)?;
    (1..lab.len()).try_for_each(|index| check(&lab, index, &acknowledged))
}

#[test]
fn a_node_stops_in_time_while_it_is_busy() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let mut lab = Lab::running(&Plan::of(&["UA", "LT"]))?;
    let client = lab.client(0).clone();
    // A subscriber that never ends must not keep the node from stopping.
    let follower = lab.client(0).follow(chaos_tests::lab::Start::Now)?;
    let stop = AtomicBool::new(false);
    let (acknowledged, status, took) = std::thread::scope(|scope| {
        let publisher = scope.spawn(|| publish_until(&client, &corpus, 0, &stop, &AtomicBool::new(false)));
        let give_up = Instant::now() + Duration::from_secs(SECONDS_MAX);
        while client.alert_count().is_ok_and(|count| count < BUSY_ALERTS) && Instant::now() < give_up {
            std::thread::yield_now();
        }
        let stopped = lab.node_mut(0).stop();
        stop.store(true, Ordering::Relaxed);
        let acknowledged = publisher.join().map_err(|_| anyhow!("the publisher panicked"))?;
        stopped.map(|(status, took)| (acknowledged, status, took))
    })?;
    assert_eq!(status.code(), Some(0), "exit after SIGTERM, {took:?}");
    drop(follower);
    lab.start(0)?;
    check(&lab, 0, &acknowledged)?;
    let held = lab.client(0).alert_count()?;
    lab.wait_all_hold(held, SECONDS_MAX)?;
    check(&lab, 1, &acknowledged)
}

#[test]
fn a_whole_federation_starts_cold() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let mut lab = Lab::running(&Plan::of(&["UA", "LT", "PL"]))?;
    let mut ids = Vec::new();
    for number in 0..60 {
        ids.push(lab.client(number % 3).publish(&corpus.alert(number as u64))?.id);
    }
    // All at once, before they had time to tell each other everything.
    (0..3).try_for_each(|index| lab.node_mut(index).kill())?;
    for index in [2, 0, 1] {
        lab.start(index)?;
    }
    lab.wait_all_hold(60, SECONDS_MAX)?;
    (0..3).try_for_each(|index| check(&lab, index, &ids))
}
