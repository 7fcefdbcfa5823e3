//! Cuts of every kind: both sides go on, and after the heal they are equal and nothing is lost.

use std::time::Duration;

use anyhow::ensure;
use chaos_tests::corpus::Corpus;
use chaos_tests::lab::{Lab, Plan, Topology};
use serde_json::json;

const ALL: [usize; 3] = [0, 1, 2];
const SECONDS_MAX: u64 = 20;

fn three() -> anyhow::Result<Lab> {
    Lab::running(&Plan::of(&["UA", "LT", "PL"]))
}

fn publish(lab: &Lab, corpus: &Corpus, index: usize, numbers: std::ops::Range<u64>) -> anyhow::Result<Vec<String>> {
    numbers.map(|number| Ok(lab.client(index).publish(&corpus.alert(number))?.id)).collect()
}

fn check_everywhere(lab: &Lab, ids: &[String]) -> anyhow::Result<()> {
    for index in 0..lab.len() {
        for id in ids {
            ensure!(lab.client(index).has_alert(id)?, "{} lacks {id}", lab.node(index).name());
        }
    }
    Ok(())
}

fn links_up(lab: &Lab, index: usize, count: usize) -> anyhow::Result<()> {
    lab.wait_until(SECONDS_MAX, &format!("{count} links of {}", lab.node(index).name()), || {
        Ok(lab.client(index).links_up()?.len() == count)
    })?;
    Ok(())
}

#[test]
fn a_stopped_node_catches_up() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let mut lab = three()?;
    let mut ids = publish(&lab, &corpus, 2, 0..10)?;
    lab.wait_all_hold(10, SECONDS_MAX)?;
    let (status, _) = lab.node_mut(2).stop()?;
    assert_eq!(status.code(), Some(0), "exit of a node that was asked to stop");
    links_up(&lab, 0, 1)?;
    ids.extend(publish(&lab, &corpus, 0, 100..130)?);
    ids.extend(publish(&lab, &corpus, 1, 200..230)?);
    lab.start(2)?;
    lab.wait_all_hold(70, SECONDS_MAX)?;
    check_everywhere(&lab, &ids)
}

#[test]
fn a_killed_node_catches_up() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let mut lab = three()?;
    let mut ids = publish(&lab, &corpus, 2, 0..10)?;
    // What it acknowledged a moment before its end is there afterwards.
    lab.node_mut(2).kill()?;
    ids.extend(publish(&lab, &corpus, 0, 100..130)?);
    links_up(&lab, 0, 1)?;
    ids.extend(publish(&lab, &corpus, 1, 200..230)?);
    lab.start(2)?;
    lab.wait_all_hold(70, SECONDS_MAX)?;
    check_everywhere(&lab, &ids)
}

#[test]
fn a_drill_cuts_and_heals() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let lab = three()?;
    let joint = json!({
        "kind": "campaign", "title": "Before the cut", "severity": "minor", "sectors": ["energy"], "tlp": "green",
        "writers": ["LT", "UA"],
    });
    let joint = lab.client(0).publish(&joint)?.id;
    lab.wait_all_hold(1, SECONDS_MAX)?;

    lab.client(0).cut(json!("all"), 60, "drill")?;
    links_up(&lab, 0, 0)?;
    links_up(&lab, 1, 1)?;
    let status = lab.client(0).status()?.to_string();
    assert!(status.contains("drill"), "the status does not show the drill: {status}");
    let mut ids = publish(&lab, &corpus, 0, 0..20)?;
    ids.extend(publish(&lab, &corpus, 1, 100..120)?);
    lab.client(0).update(&joint, &json!({"title": "As UA sees it"}))?;
    lab.client(1).update(&joint, &json!({"title": "As LT sees it"}))?;
    lab.wait_until(SECONDS_MAX, "LT and PL equal", || Ok(lab.client(1).digest()? == lab.client(2).digest()?))?;
    assert_ne!(lab.client(0).digest()?, lab.client(1).digest()?);
    for id in &ids[..20] {
        assert!(!lab.client(1).has_alert(id)?, "an alert crossed the cut");
    }

    lab.client(0).heal()?;
    lab.wait_all_hold(41, SECONDS_MAX)?;
    check_everywhere(&lab, &ids)?;
    for index in ALL {
        let shown = lab.client(index).alert(&joint)?;
        let titles = shown["conflicts"]["title"].as_array().map_or(0, Vec::len);
        assert_eq!(titles, 2, "both titles are shown: {shown}");
    }
    Ok(())
}

#[test]
fn a_drill_ends_by_its_own_timer() -> anyhow::Result<()> {
    let lab = three()?;
    lab.client(0).cut(json!(["LT"]), 4, "drill")?;
    lab.wait_until(SECONDS_MAX, "cut to LT alone", || {
        let up: Vec<String> = lab.client(0).links_up()?.into_iter().map(|link| link.member).collect();
        Ok(up == ["PL"])
    })?;
    // PL relays meanwhile.
    let id = lab.client(0).publish(&Corpus::load()?.alert(1))?.id;
    lab.wait_until(SECONDS_MAX, "alert over PL", || lab.client(1).has_alert(&id))?;
    links_up(&lab, 0, 2)?;
    Ok(())
}

#[test]
fn a_paused_node_is_noticed_and_comes_back() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let lab = three()?;
    lab.node(2).pause()?;
    // A paused process keeps its sockets: only its silence tells.
    let noticed = lab.wait_until(SECONDS_MAX, "pause noticed", || Ok(lab.client(0).links_up()?.len() == 1))?;
    assert!(noticed < Duration::from_secs(8), "a silent node was noticed after {noticed:?}");
    let ids = publish(&lab, &corpus, 0, 0..30)?;
    lab.node(2).resume()?;
    lab.wait_all_hold(30, SECONDS_MAX)?;
    check_everywhere(&lab, &ids)?;
    lab.wait_linked(Topology::Full)?;
    Ok(())
}
