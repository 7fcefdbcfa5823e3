//! An alert that crashes every node it reaches must not take the federation down: each node that is started again after
//! its crash holds the alert back after the second one, and goes on with all others.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaos_tests::corpus::Corpus;
use chaos_tests::lab::{Lab, Plan};
use serde_json::json;

const SECONDS_MAX: u64 = 60;
/// The text that crashes a node in builds for tests.
const POISON: &str = "an alert that crashes this program";
/// The variable that names it.
const CRASH_VARIABLE: &str = "VATRA_TEST_CRASH_ON";
/// Crashes of one node over one alert.
const CRASHES_MAX: usize = 2;

/// Starts nodes again that have ended, as a manager of services does, until a condition holds; adds up their ends.
fn keep_running(
    lab: &mut Lab,
    crashes: &mut [usize],
    mut holds: impl FnMut(&Lab) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(SECONDS_MAX);
    loop {
        for (index, ends) in crashes.iter_mut().enumerate() {
            if lab.node_mut(index).reap()? {
                *ends += 1;
                ensure!(*ends <= CRASHES_MAX, "{} goes on crashing\n{}", lab.node(index).name(), lab.explain());
                // It may crash again before it answers; then the next round starts it again.
                let _crashed_again = lab.start(index);
            }
        }
        if holds(lab).unwrap_or(false) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "no end of it\n{}", lab.explain());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn quarantined(lab: &Lab, index: usize) -> anyhow::Result<bool> {
    let metrics = lab.client(index).get("/metrics")?;
    Ok(metrics.text.contains("vatra_changes_quarantined_total{reason=\"crashed\"} 1"))
}

#[test]
fn an_alert_that_crashes_every_node_stops_none_for_good() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let mut lab = Lab::new(&Plan::of(&["UA", "LT", "PL"]))?;
    // The node that publishes it does not crash: the poison is for those that it reaches.
    for index in [1, 2] {
        lab.node_mut(index).set_environment(CRASH_VARIABLE, POISON);
    }
    lab.start_all()?;
    let before = lab.client(1).publish(&corpus.alert(1))?;
    let mut poison = corpus.alert(2);
    poison["title"] = json!(POISON);
    lab.client(0).publish(&poison)?;
    let mut crashes = [0; 3];
    keep_running(&mut lab, &mut crashes, |lab| Ok(quarantined(lab, 1)? && quarantined(lab, 2)?))?;
    assert_eq!(crashes, [0, CRASHES_MAX, CRASHES_MAX], "crashes of each node");

    // All others flow in every direction, and nobody crashes any more, not after a restart either.
    let mut ids = vec![before.id];
    for index in 0..3 {
        ids.push(lab.client(index).publish(&corpus.alert(10 + index as u64))?.id);
    }
    let all_there = |lab: &Lab, ids: &[String]| {
        ids.iter().try_fold(true, |there, id| {
            (0..3).try_fold(there, |there, index| Ok::<_, anyhow::Error>(there && lab.client(index).has_alert(id)?))
        })
    };
    keep_running(&mut lab, &mut crashes, |lab| all_there(lab, &ids))?;
    for index in [1, 2] {
        lab.node_mut(index).stop()?;
        lab.start(index)?;
    }
    ids.push(lab.client(1).publish(&corpus.alert(20))?.id);
    keep_running(&mut lab, &mut crashes, |lab| all_there(lab, &ids))?;
    assert_eq!(crashes, [0, CRASHES_MAX, CRASHES_MAX], "crashes of each node at the end");

    // The entry itself is held by all, so that it reaches others and has its turn with the next version.
    let entries = |index: usize| {
        let status = lab.client(index).status()?;
        status["frontier"]["hash"].as_str().map(str::to_owned).context("the status has no frontier")
    };
    let deadline = Instant::now() + Duration::from_secs(SECONDS_MAX);
    while entries(0)? != entries(1)? || entries(0)? != entries(2)? {
        ensure!(Instant::now() < deadline, "logs differ\n{}", lab.explain());
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
