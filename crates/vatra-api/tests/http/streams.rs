//! Streams over sockets: resumption, framing, filters, slow readers, room.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use vatra_formats::cloudevents::CloudEvent;
use vatra_stream::HubConfig;

use crate::memory::STORE;
use crate::over_memory::{Plan, Server};

fn numbers(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| event["data"]["title"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_stream_resumes_by_its_last_event_without_loss_or_repetition() {
    let server = Server::start(&Plan::default());
    let client = server.admin();
    let titles: Vec<String> = (0..60).map(|number| format!("number {number}")).collect();
    for title in &titles[..20] {
        client.publish(title);
    }
    let (mut seen, mut last) = (Vec::new(), None::<String>);
    let mut published = 20;
    while seen.len() < titles.len() {
        let headers: Vec<(&str, &str)> = last.iter().map(|id| ("Last-Event-ID", id.as_str())).collect();
        let mut events = client.follow("/api/v1/stream?from=start", &headers);
        for _ in 0..13 {
            if published < titles.len() {
                client.publish(&titles[published]);
                published += 1;
            }
            let (id, event) = events.next_with_id().unwrap();
            assert_eq!(event["cursor"], id.as_str());
            last = Some(id);
            if event["subject"].is_string() {
                seen.push(event);
            }
            if seen.len() == titles.len() {
                break;
            }
        }
    }
    assert_eq!(numbers(&seen), titles);
}

#[test]
fn both_framings_carry_the_same_cloud_events() {
    let server = Server::start(&Plan::default());
    let client = server.admin();
    let id = client.publish("One");
    client.send("POST", &format!("/api/v1/alerts/{id}/cancel"), &[], b"");
    let collect = |path: &str| -> Vec<Value> {
        let mut events = client.follow(path, &[]);
        (0..2).map(|_| events.next_record()).collect()
    };
    let sse = collect("/api/v1/stream?from=start");
    assert_eq!(sse, collect("/api/v1/stream.ndjson?from=start"));
    let kinds: Vec<&Value> = sse.iter().map(|event| &event["type"]).collect();
    assert_eq!(kinds, ["vatra.alert.created", "vatra.alert.cancelled"]);
    for event in sse {
        let parsed: CloudEvent<Value> = serde_json::from_value(event.clone()).unwrap();
        assert_eq!((parsed.subject.as_deref(), parsed.data.unwrap()["id"].as_str()), (Some(&*id), Some(&*id)));
    }
}

#[test]
fn an_idle_stream_beats_and_its_cursor_advances_past_what_does_not_match() {
    let hub = HubConfig { checkpoint_every: Duration::from_millis(50), ..HubConfig::default() };
    let server = Server::start(&Plan { hub, ..Plan::default() });
    let client = server.admin();
    let mut events = client.follow("/api/v1/stream?severity=extreme", &[]);
    assert_eq!(events.next().unwrap()["cursor"], format!("{STORE}.0"));
    client.publish("minor");
    loop {
        let event = events.next().unwrap();
        assert_eq!(event["type"], "vatra.checkpoint");
        if event["cursor"] == format!("{STORE}.1") {
            break;
        }
    }
}

#[test]
fn records_above_the_clearance_are_not_streamed() {
    let server = Server::start(&Plan::default());
    server.admin().publish("green");
    let mut clear = crate::client::alert("clear");
    clear["tlp"] = "clear".into();
    server.admin().json("POST", "/api/v1/alerts", &clear);
    let mut events = server.with_token("token-low").follow("/api/v1/stream.ndjson?from=start", &[]);
    assert_eq!(events.next_record()["data"]["title"], "clear");
}

#[test]
fn a_reader_that_stops_is_told_what_it_missed_and_resumes() {
    let hub = HubConfig { lag_after: Duration::from_millis(300), ..HubConfig::default() };
    let server = Server::start(&Plan { hub, ..Plan::default() });
    let client = server.admin();
    // More than any socket buffers.
    server.memory.padding.store(256 * 1024, Ordering::Relaxed);
    let mut slow = client.follow("/api/v1/stream.ndjson?from=now", &[]);
    let mut quick = client.follow("/api/v1/stream.ndjson?from=now", &[]);
    for number in 0..100 {
        client.publish(&format!("number {number}"));
        assert_eq!(quick.next_record()["data"]["title"], format!("number {number}"), "others go on");
    }
    // The time that a reader stays away is what is tested.
    std::thread::sleep(Duration::from_millis(600));
    let (mut seen, mut last) = (Vec::new(), Value::Null);
    while let Some(event) = slow.next() {
        if event["subject"].is_string() {
            seen.push(event.clone());
        }
        last = event;
    }
    assert_eq!(last["type"], "vatra.lagged", "{last}");
    assert_eq!(last["data"]["from"], format!("{STORE}.{}", seen.len()));
    assert_eq!(last["data"]["to"], format!("{STORE}.100"));
    let cursor = last["cursor"].as_str().unwrap();
    let mut again = client.follow(&format!("/api/v1/stream.ndjson?cursor={cursor}"), &[]);
    while seen.len() < 100 {
        seen.push(again.next_record());
    }
    assert_eq!(numbers(&seen), (0..100).map(|number| format!("number {number}")).collect::<Vec<_>>());
    let status = client.get("/api/v1/status").json();
    assert_eq!(status["streams"]["lagged"], 1);
}

#[test]
fn subscribers_are_bounded() {
    let hub = HubConfig { subscribers_max: 2, ..HubConfig::default() };
    let server = Server::start(&Plan { hub, ..Plan::default() });
    let client = server.admin();
    let mut open: Vec<_> = (0..2).map(|_| client.follow("/api/v1/stream", &[])).collect();
    for events in &mut open {
        assert!(events.next().is_some());
    }
    let refused = client.get("/api/v1/stream");
    assert_eq!((refused.status, refused.problem_field()), (503, None));
    assert_eq!((refused.header("retry-after"), &refused.json()["limit"]), (Some("1"), &json!(2)));
}

#[test]
fn a_server_that_stops_ends_its_streams() {
    let mut server = Server::start(&Plan::default());
    let mut events = server.admin().follow("/api/v1/stream", &[]);
    assert!(events.next().is_some());
    server.stop();
    assert!(events.next().is_none());
}
