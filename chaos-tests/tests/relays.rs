//! Cut cables: what passes between two nodes stops from one moment to the next, one way or both, and nobody is told.

use std::time::{Duration, Instant};

use anyhow::ensure;
use chaos_tests::corpus::Corpus;
use chaos_tests::lab::{Lab, Plan, Relay, Topology, Way};

const SECONDS_MAX: u64 = 30;
/// Both ends of a `wan` link know within 3 seconds that it is dead; the rest is for a busy machine.
const NOTICED_MAX: Duration = Duration::from_secs(6);
/// A link that is cut is tried again each second, later every five.
const RELINKED_MAX: Duration = Duration::from_secs(12);

/// Two members whose link runs through a relay.
fn two() -> anyhow::Result<(Lab, Relay)> {
    let mut lab = Lab::new(&Plan::of(&["UA", "LT"]))?;
    let relay = lab.relay(0, 1)?;
    lab.start_all()?;
    lab.wait_linked(Topology::Full)?;
    Ok((lab, relay))
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

/// Waits until a node has no link left; says how long that took.
fn alone(lab: &Lab, index: usize) -> anyhow::Result<Duration> {
    lab.wait_until(SECONDS_MAX, "end of the link", || Ok(lab.client(index).links_up()?.is_empty()))
}

/// Cuts by the given means, publishes at both ends, heals, and expects both to be equal with nothing lost.
fn cut_and_heal(cut: impl FnOnce(&Relay)) -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let (lab, relay) = two()?;
    let mut ids = publish(&lab, &corpus, 0, 0..10)?;
    lab.wait_all_hold(10, SECONDS_MAX)?;

    let begin = Instant::now();
    cut(&relay);
    for index in [0, 1] {
        alone(&lab, index)?;
        let noticed = begin.elapsed();
        println!("{} noticed the cut after {noticed:?}", lab.node(index).name());
        ensure!(noticed < NOTICED_MAX, "{} noticed the cut after {noticed:?}", lab.node(index).name());
    }
    ids.extend(publish(&lab, &corpus, 0, 100..120)?);
    ids.extend(publish(&lab, &corpus, 1, 200..220)?);
    for (index, other) in [(0, "LT"), (1, "UA")] {
        let shown = lab.cli(index).run(["status"])?.expect_code(0)?.out;
        ensure!(shown.starts_with("UNHEALTHY"), "the cut is not told first: {shown}");
        // Troubles are wrapped.
        let words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        let told = words.split_once(&format!("- {other} is out of reach")).map(|(_, told)| told);
        let told = told.and_then(|told| told.split(" - ").next());
        ensure!(told.is_some_and(|told| told.contains("(since 20")), "since when is not told: {shown}");
    }
    let dropped = relay.counts(Way::There).1 + relay.counts(Way::Back).1;
    ensure!(dropped > 0, "the cut dropped nothing: this test shows nothing");

    let begin = Instant::now();
    relay.heal();
    lab.wait_linked(Topology::Full)?;
    let relinked = begin.elapsed();
    println!("linked again {relinked:?} after the heal");
    ensure!(relinked < RELINKED_MAX, "linked again only {relinked:?} after the heal");
    lab.wait_all_hold(50, SECONDS_MAX)?;
    check_everywhere(&lab, &ids)
}

#[test]
fn a_cut_cable_is_noticed_at_both_ends() -> anyhow::Result<()> {
    cut_and_heal(Relay::cut)
}

#[test]
fn a_cable_that_is_cut_one_way_is_noticed_at_both_ends() -> anyhow::Result<()> {
    cut_and_heal(|relay| relay.cut_one_way(Way::There))
}

#[test]
fn a_cable_that_is_cut_the_other_way_is_noticed_at_both_ends() -> anyhow::Result<()> {
    cut_and_heal(|relay| relay.cut_one_way(Way::Back))
}

#[test]
fn a_ring_that_is_never_healed_converges() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let mut lab = Lab::new(&Plan::of(&["AA", "BB", "CC", "DD"]).linked(Topology::Ring))?;
    let relay = lab.relay(1, 2)?;
    lab.start_all()?;
    lab.wait_linked(Topology::Ring)?;
    let mut ids = publish(&lab, &corpus, 1, 0..10)?;
    lab.wait_all_hold(10, SECONDS_MAX)?;

    // From here on it is a line of AA's two neighbours and theirs, for ever.
    relay.cut();
    for index in 0..lab.len() {
        let first = 100 * (index as u64 + 1);
        ids.extend(publish(&lab, &corpus, index, first..first + 20)?);
    }
    lab.wait_all_hold(90, SECONDS_MAX)?;
    check_everywhere(&lab, &ids)?;
    lab.wait_until(SECONDS_MAX, "end of the link between BB and CC", || {
        let up: Vec<String> = lab.client(1).links_up()?.into_iter().map(|link| link.member).collect();
        Ok(up == ["AA"])
    })?;
    ids.extend(publish(&lab, &corpus, 2, 900..905)?);
    lab.wait_all_hold(95, SECONDS_MAX)?;
    check_everywhere(&lab, &ids)?;
    // Nobody is out of reach, because the others relay, and the status says how.
    let status = lab.client(1).status()?;
    let standing = |code: &str| {
        let members = status["members"].as_array().map_or(&[][..], Vec::as_slice);
        members.iter().find(|member| member["member"] == code).map(|member| member["standing"].clone())
    };
    assert_eq!(standing("CC"), Some("relayed".into()), "{status}");
    assert_eq!(standing("DD"), Some("relayed".into()), "{status}");
    Ok(())
}

#[test]
fn a_long_lossy_link_carries_everything() -> anyhow::Result<()> {
    const ONE_WAY: Duration = Duration::from_millis(300);
    const ROUNDS_MAX: u64 = 10;
    let corpus = Corpus::load()?;
    let (lab, relay) = two()?;
    for way in [Way::There, Way::Back] {
        relay.delay(way, ONE_WAY);
        relay.lose(way, 0.05);
    }
    let (mut ids, mut passed, mut dropped) = (Vec::new(), 0, 0);
    // Until the line has lost something of what it had to carry.
    for round in 0..ROUNDS_MAX {
        let first = 100 * round;
        ids.extend(publish(&lab, &corpus, 0, first..first + 40)?);
        ids.extend(publish(&lab, &corpus, 1, first + 50..first + 90)?);
        lab.wait_all_hold(ids.len() as u64, 60)?;
        (passed, dropped) = relay.counts(Way::There);
        if dropped > 0 {
            break;
        }
    }
    check_everywhere(&lab, &ids)?;
    ensure!(dropped > 0, "nothing of {passed} datagrams was lost: this test shows nothing");
    Ok(())
}
