//! Shapes of a mesh: whoever is linked with whom, all that are connected end up equal.

use anyhow::ensure;
use chaos_tests::corpus::Corpus;
use chaos_tests::lab::{Lab, Plan, Start, Topology};
use serde_json::json;

const SECONDS_MAX: u64 = 20;

/// Publishes this many alerts at each node, each by one bulk request.
fn publish_everywhere(lab: &Lab, corpus: &Corpus, per_node: u64) -> anyhow::Result<()> {
    for index in 0..lab.len() {
        let first = index as u64 * per_node;
        let answers = lab.client(index).bulk(corpus.lines(first..first + per_node))?;
        ensure!(answers.iter().all(|answer| answer["id"].is_string()), "refused: {answers:?}");
    }
    Ok(())
}

#[test]
fn three_nodes_show_the_same_bytes() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let lab = Lab::running(&Plan::of(&["UA", "LT", "PL"]))?;
    let mut ids = Vec::new();
    for number in 0..30 {
        ids.push(lab.client(number % 3).publish(&corpus.alert(number as u64))?.id);
    }
    let contact = json!({"name": "Duty desk", "role": "duty-officer", "tlp": "green"});
    lab.client(1).post("/api/v1/contacts", &contact)?.expect_status(201)?;
    lab.wait_all_hold(30, SECONDS_MAX)?;

    // Answers and edits travel as alerts do.
    lab.client(2).respond(&ids[0], &json!({"assessment": "not-affected"}))?;
    lab.client(0).update(&ids[0], &json!({"severity": "severe"}))?;
    lab.wait_until(SECONDS_MAX, "answer and edit everywhere", || {
        let views: Vec<_> = (0..3).map(|index| lab.client(index).alert(&ids[0])).collect::<Result<_, _>>()?;
        Ok(views.iter().all(|view| view["severity"] == "severe" && view["responses"]["PL"].is_object()))
    })?;
    lab.wait_equal(&[0, 1, 2], SECONDS_MAX)?;

    for id in &ids {
        let path = format!("/api/v1/alerts/{id}");
        let shown: Vec<String> =
            (0..3).map(|index| Ok(lab.client(index).get(&path)?.text)).collect::<anyhow::Result<_>>()?;
        assert_eq!(shown[0], shown[1]);
        assert_eq!(shown[1], shown[2]);
    }
    let roster = lab.client(0).get("/api/v1/roster/LT")?.expect_status(200)?;
    assert!(roster.to_string().contains("Duty desk"), "{roster}");
    Ok(())
}

#[test]
fn a_node_says_which_members_hold_an_alert() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let mut lab = Lab::running(&Plan::of(&["UA", "LT", "PL"]))?;
    lab.node_mut(2).stop()?;
    let id = lab.client(0).publish(&corpus.alert(1))?.id;
    let path = format!("/api/v1/alerts/{id}/reach");
    let reach = || Ok::<_, anyhow::Error>(lab.client(0).get(&path)?.expect_status(200)?.to_string());
    lab.wait_until(SECONDS_MAX, "reach to LT", || Ok(reach()?.contains("LT")))?;
    lab.start(2)?;
    lab.wait_until(SECONDS_MAX, "alert at PL", || lab.client(2).has_alert(&id))?;
    Ok(())
}

#[test]
fn a_line_relays_from_end_to_end() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let mut lab = Lab::running(&Plan::of(&["AA", "BB", "CC", "DD"]).linked(Topology::Line))?;
    publish_everywhere(&lab, &corpus, 50)?;
    lab.wait_all_hold(200, SECONDS_MAX)?;
    let of_the_end: Vec<String> = lab.client(0).links_up()?.into_iter().map(|link| link.member).collect();
    assert_eq!(of_the_end, ["BB"], "the ends of a line have one link");

    // Without CC the line falls apart; what was written meanwhile arrives when it is back.
    lab.node_mut(2).kill()?;
    let at_the_start = lab.client(0).publish(&corpus.alert(1_000))?;
    let at_the_end = lab.client(3).publish(&corpus.alert(1_001))?;
    lab.wait_until(SECONDS_MAX, "alert at BB", || lab.client(1).has_alert(&at_the_start.id))?;
    assert!(!lab.client(3).has_alert(&at_the_start.id)?, "an alert jumped over a missing node");
    lab.start(2)?;
    lab.wait_all_hold(202, SECONDS_MAX)?;
    assert!(lab.client(0).has_alert(&at_the_end.id)?);
    Ok(())
}

#[test]
fn a_ring_goes_the_other_way_round() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let mut lab = Lab::running(&Plan::of(&["AA", "BB", "CC", "DD"]).linked(Topology::Ring))?;
    publish_everywhere(&lab, &corpus, 20)?;
    lab.wait_all_hold(80, SECONDS_MAX)?;
    lab.node_mut(1).kill()?;
    let first = lab.client(0).publish(&corpus.alert(1_000))?;
    let second = lab.client(2).publish(&corpus.alert(1_001))?;
    lab.wait_until(SECONDS_MAX, "alert over DD", || lab.client(2).has_alert(&first.id))?;
    lab.wait_until(SECONDS_MAX, "alert over DD", || lab.client(0).has_alert(&second.id))?;
    lab.wait_equal(&[0, 2, 3], SECONDS_MAX)?;
    Ok(())
}

#[test]
fn a_star_relays_through_its_middle() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let mut lab = Lab::running(&Plan::of(&["AA", "BB", "CC", "DD"]).linked(Topology::Star))?;
    publish_everywhere(&lab, &corpus, 20)?;
    lab.wait_all_hold(80, SECONDS_MAX)?;
    lab.node_mut(0).stop()?;
    let apart = lab.client(1).publish(&corpus.alert(1_000))?;
    lab.start(0)?;
    lab.wait_until(SECONDS_MAX, "alert at another point", || lab.client(3).has_alert(&apart.id))?;
    lab.wait_equal(&[0, 1, 2, 3], SECONDS_MAX)?;
    Ok(())
}

#[test]
fn a_flash_alert_overtakes_a_backlog() -> anyhow::Result<()> {
    const BACKLOG: usize = 1_500;
    let corpus = Corpus::load()?;
    let lab = Lab::running(&Plan::of(&["UA", "LT"]))?;
    lab.client(0).cut(json!("all"), 120, "backlog")?;
    lab.wait_until(SECONDS_MAX, "cut", || Ok(lab.client(1).links_up()?.is_empty()))?;
    // One at a time, so that each is an entry of its own. The corpus has a few flash alerts: they are
    // left out.
    let routine = (0..).map(|number| corpus.alert(number)).filter(|alert| alert["severity"] != "severe");
    for alert in routine.take(BACKLOG) {
        lab.client(0).publish(&alert)?;
    }
    let urgent = json!({
        "kind": "outage", "title": "Written last, read first", "severity": "extreme", "sectors": ["energy"],
        "tlp": "green",
    });
    let urgent = lab.client(0).publish(&urgent)?.id;
    let follower = lab.client(1).follow(Start::Now)?;
    lab.client(0).heal()?;
    follower.wait(SECONDS_MAX, "backlog and flash", |events| {
        events.iter().filter(|event| event.is_new_alert()).count() > BACKLOG
    })?;
    let place = follower.events().iter().filter(|event| event.is_new_alert()).position(|event| event.subject == urgent);
    assert!(place.is_some_and(|place| place < BACKLOG / 10), "the flash alert came as number {place:?} of {BACKLOG}");
    Ok(())
}
