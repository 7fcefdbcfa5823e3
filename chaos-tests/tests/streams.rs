//! Streams: at least once, in the node's order, no hole over the end of a node.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;

use anyhow::ensure;
use chaos_tests::corpus::Corpus;
use chaos_tests::lab::{Event, Lab, Plan, Start};
use serde_json::json;

const SECONDS_MAX: u64 = 20;

fn created(events: &[Event]) -> BTreeSet<String> {
    events.iter().filter(|event| event.is_new_alert()).map(|event| event.subject.clone()).collect()
}

#[test]
fn a_stream_resumes_over_the_end_of_its_node() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let mut lab = Lab::running(&Plan::of(&["UA", "LT"]))?;
    let mut published = BTreeSet::new();
    let follower = lab.client(1).follow(Start::Now)?;
    for number in 0..40 {
        published.insert(lab.client(0).publish(&corpus.alert(number))?.id);
    }
    follower.wait(SECONDS_MAX, "half of the alerts", |events| created(events).len() >= 20)?;
    lab.node_mut(1).kill()?;
    let first = follower.events();
    let cursor = follower.cursor().expect("events carry cursors");
    drop(follower);
    for number in 40..80 {
        published.insert(lab.client(0).publish(&corpus.alert(number))?.id);
    }
    lab.start(1)?;
    let follower = lab.client(1).follow(Start::After(cursor))?;
    let wanted = published.clone();
    follower.wait(SECONDS_MAX, "every alert", |events| {
        let mut heard = created(&first);
        heard.extend(created(events));
        heard.is_superset(&wanted)
    })?;
    let second = created(&follower.events());
    let twice = created(&first).intersection(&second).count();
    assert_eq!(twice, 0, "a cursor stands after the event that carries it");
    Ok(())
}

#[test]
fn every_kind_of_change_is_told_with_the_view() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let lab = Lab::running(&Plan::of(&["UA", "LT"]))?;
    let follower = lab.client(1).follow(Start::First)?;
    let lines = lab.client(1).follow_lines(Start::First)?;
    let id = lab.client(0).publish(&corpus.alert(1))?.id;
    follower.wait(SECONDS_MAX, "the alert", |events| !created(events).is_empty())?;
    lab.client(0).update(&id, &json!({"title": "Another title"}))?;
    lab.client(1).respond(&id, &json!({"note": "Seen here too."}))?;
    lab.client(0).post(&format!("/api/v1/alerts/{id}/resolve"), &json!({}))?.expect_status(200)?;
    let gone = lab.client(0).publish(&corpus.alert(2))?.id;
    lab.client(0).post(&format!("/api/v1/alerts/{gone}/cancel"), &json!({}))?.expect_status(200)?;
    let kinds = ["created", "updated", "responded", "resolved", "cancelled"];
    for stream in [&follower, &lines] {
        stream.wait(SECONDS_MAX, "one event of each kind", |events| {
            kinds.iter().all(|kind| events.iter().any(|event| event.kind == format!("vatra.alert.{kind}")))
        })?;
    }
    for event in follower.events().iter().filter(|event| event.kind.starts_with("vatra.alert.")) {
        assert_eq!(event.body["specversion"], "1.0", "{}", event.body);
        assert_eq!(event.body["data"]["id"].as_str(), Some(event.subject.as_str()));
        assert!(!event.cursor.is_empty() && event.body["id"].is_string() && event.body["source"].is_string());
    }
    Ok(())
}

#[test]
fn two_nodes_give_one_event_the_same_id() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let lab = Lab::running(&Plan::of(&["UA", "LT"]))?;
    let followers = [lab.client(0).follow(Start::First)?, lab.client(1).follow(Start::First)?];
    for number in 0..20 {
        lab.client(number % 2).publish(&corpus.alert(number as u64))?;
    }
    let mut ids: Vec<BTreeMap<String, String>> = Vec::new();
    for follower in &followers {
        follower.wait(SECONDS_MAX, "every alert", |events| created(events).len() == 20)?;
        let events = follower.events();
        let events = events.iter().filter(|event| event.is_new_alert());
        ids.push(events.map(|event| (event.subject.clone(), event.body["id"].to_string())).collect());
    }
    assert_eq!(ids[0], ids[1]);
    Ok(())
}

#[test]
fn a_reader_that_never_reads_harms_nobody() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let lab = Lab::running(&Plan::of(&["UA", "LT"]))?;
    let before = lab.node(1).usage()?.rss_bytes;
    let mut deaf = Vec::new();
    for _ in 0..20 {
        let mut socket = TcpStream::connect(lab.node(1).api())?;
        write!(
            socket,
            "GET /api/v1/stream?from=start HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
            lab.client(1).token()
        )?;
        deaf.push(socket);
    }
    let follower = lab.client(1).follow(Start::First)?;
    for first in [0, 5_000] {
        lab.client(0).bulk(corpus.lines(first..first + 5_000))?;
    }
    follower.wait(SECONDS_MAX, "10,000 alerts beside deaf readers", |events| {
        // Checkpoints are events, too; the whole set is only made when it can be complete.
        events.len() >= 10_000 && created(events).len() == 10_000
    })?;
    let grown = lab.node(1).usage()?.rss_bytes.saturating_sub(before);
    ensure!(grown < 150_000_000, "20 deaf readers made the node grow by {grown} bytes");
    Ok(())
}

#[test]
fn a_foreign_cursor_is_refused_aloud() -> anyhow::Result<()> {
    let lab = Lab::running(&Plan::of(&["UA", "LT"]))?;
    for cursor in ["nonsense", "0000000000000000.1", "%00", "-1"] {
        let answer = lab.client(0).follow(Start::After(cursor.to_owned()));
        match answer {
            // A refusal names the cursor; a stream must start with an explicit reset.
            Err(error) => assert!(format!("{error:#}").contains("cursor"), "{cursor}: {error:#}"),
            Ok(follower) => {
                follower.wait(SECONDS_MAX, "a reset", |events| {
                    events.first().is_some_and(|event| event.kind == "vatra.reset")
                })?;
            }
        }
    }
    Ok(())
}
