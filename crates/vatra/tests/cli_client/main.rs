//! The commands that talk to a node, against a small server that answers as the API promises.

mod fake_node;

use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use fake_node::{Answer, FakeNode};

fn vatra(node: &FakeNode, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vatra"));
    command.args(arguments).args(["--api", node.url(), "--token", "t0ken"]).stdin(Stdio::null());
    command.output().expect("the binary runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const PUBLISH: [&str; 7] =
    ["alert", "publish", "--kind=outage", "--title=Grid", "--severity=severe", "--sector=energy,water", "--tlp=green"];

/// Answers a bulk request: lines whose title is `bad` are refused, `old` ones were there.
fn bulk(body: &[u8]) -> Answer {
    let mut lines = String::new();
    for (index, line) in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).enumerate() {
        let alert: Value = serde_json::from_slice(line).expect("each line is an alert");
        let answer = match alert["title"].as_str() {
            Some("bad") => json!({"line": index + 1, "problem": {"field": "title", "detail": "is bad"}}),
            Some("old") => json!({"line": index + 1, "id": "00", "created": false}),
            _ => json!({"line": index + 1, "id": "00", "created": true}),
        };
        lines.push_str(&format!("{answer}\n"));
    }
    Answer::text(200, lines)
}

fn line(title: &str) -> String {
    json!({"kind": "outage", "title": title, "severity": "minor", "sectors": ["energy"], "tlp": "green"}).to_string()
}

#[test]
fn publishing_sends_the_fields_with_a_key_and_the_token() {
    let id = "ab".repeat(16);
    let answer = json!({"id": id, "position": 7, "log": "cd", "seq": 3});
    let node = FakeNode::start(move |_| Answer::json(201, &answer));
    let output = vatra(&node, &PUBLISH);
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), format!("published {id} at position 7\n")));
    let request = node.requests().remove(0);
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/api/v1/alerts"));
    assert_eq!(request.header("authorization"), Some("Bearer t0ken"));
    assert!(request.header("idempotency-key").is_some_and(|key| key.len() == 36));
    let expected = json!({
        "kind": "outage", "title": "Grid", "severity": "severe", "sectors": ["energy", "water"], "tlp": "green"});
    assert_eq!(serde_json::from_slice::<Value>(&request.body).unwrap(), expected);
}

#[test]
fn a_refusal_is_printed_with_field_detail_and_remedy() {
    let problem = json!({"type": "about:blank", "title": "Unprocessable", "status": 422, "field": "title",
        "detail": "is 300 characters, at most 256", "remedy": "shorten it"});
    let node = FakeNode::start(move |_| Answer::json(422, &problem));
    let output = vatra(&node, &PUBLISH);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "error: title: is 300 characters, at most 256 (HTTP 422)\nhint: shorten it\n");
}

#[test]
fn other_programs_and_hostile_texts_do_no_harm() {
    let node = FakeNode::start(|_| Answer::text(500, "\u{1b}[2Jboom".into()));
    let output = vatra(&node, &["status"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!stderr(&output).contains('\u{1b}') && stderr(&output).contains("boom"), "{}", stderr(&output));

    let alert = json!({"items": [{"id": "00", "title": "a\u{1b}]0;x\u{7}b\u{202e}c"}], "next": null, "total": 1});
    let node = FakeNode::start(move |_| Answer::json(200, &alert));
    let output = vatra(&node, &["alert", "list"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(!stdout(&output).contains(['\u{1b}', '\u{7}', '\u{202e}']), "{}", stdout(&output));

    let node = FakeNode::start(|_| Answer::text(200, "<html>".into()));
    assert!(stderr(&vatra(&node, &["status"])).contains("not understood: no JSON"));
}

#[test]
fn an_import_is_whole_partial_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alerts.ndjson");
    let cases = [
        (vec![line("a"), line("b"), line("old")], 0, "2 new, 1 already there\n"),
        (vec![line("old")], 0, "0 new, 1 already there\n"),
        (vec![line("a"), "{broken".to_owned(), line("bad")], 3, "1 new, 0 already there, 2 refused\n"),
        (vec!["{broken".to_owned()], 1, "0 new, 0 already there, 1 refused\n"),
    ];
    for (lines, code, summary) in cases {
        fs::write(&path, lines.join("\n")).unwrap();
        let node = FakeNode::start(|request| bulk(&request.body));
        let output = vatra(&node, &["alert", "import", path.to_str().unwrap()]);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(code), summary), "{}", stderr(&output));
    }
    fs::write(&path, [line("a"), "{broken".to_owned(), line("bad")].join("\n")).unwrap();
    let node = FakeNode::start(|request| bulk(&request.body));
    let errors = stderr(&vatra(&node, &["alert", "import", path.to_str().unwrap()]));
    assert!(errors.contains("error: line 2: ") && errors.contains("error: line 3: title: is bad"), "{errors}");
}

#[test]
fn a_large_import_goes_in_bounded_requests() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alerts.ndjson");
    let lines: Vec<String> = (0..2_500).map(|number| line(&format!("alert {number}"))).collect();
    fs::write(&path, lines.join("\n")).unwrap();
    let node = FakeNode::start(|request| bulk(&request.body));
    let output = vatra(&node, &["alert", "import", path.to_str().unwrap(), "--json"]);
    let summary: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&summary["new"], &summary["refused"]), (&json!(2_500), &json!(0)));
    let sizes: Vec<usize> =
        node.requests().iter().map(|request| request.body.iter().filter(|byte| **byte == b'\n').count()).collect();
    assert_eq!(sizes, [1000, 1000, 500]);
}

#[test]
fn a_node_that_vanishes_during_an_import_ends_with_4() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alerts.ndjson");
    fs::write(&path, [line("a"), line("b")].join("\n")).unwrap();
    let node = FakeNode::start(|_| Answer::cut_off("{\"line\":1,\"id\":\"00\",\"created\":true}\n"));
    let output = vatra(&node, &["alert", "import", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stdout(&output).starts_with("1 new"), "{}", stdout(&output));
    assert!(stderr(&output).contains("alerts taken before this: 1"), "{}", stderr(&output));
}

#[test]
fn lists_are_read_page_by_page() {
    let node = FakeNode::start(|request| {
        let next = if request.path.contains("cursor=") { json!(null) } else { json!("c 1") };
        Answer::json(200, &json!({"items": [{"id": request.path}], "next": next, "total": 2}))
    });
    let output = vatra(&node, &["alert", "list", "--owner", "LT", "--text", "a b", "--json"]);
    let list: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    let paths: Vec<String> = node.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths[0], "/api/v1/alerts?owner=LT&text=a%20b&limit=50");
    assert_eq!(paths[1], "/api/v1/alerts?owner=LT&text=a%20b&limit=49&cursor=c%201");
}

#[test]
fn a_search_goes_on_over_pages_on_which_nothing_matches() {
    let node = FakeNode::start(|request| {
        let page = match request.path.split("cursor=").nth(1) {
            None => json!({"items": [{"id": "first"}], "next": "1", "total": 1}),
            Some("1") => json!({"items": [], "next": "2", "total": 0}),
            Some("2") => json!({"items": [{"id": "third"}], "next": "3", "total": 1}),
            Some(_) => json!({"items": [], "next": "3", "total": 0}),
        };
        Answer::json(200, &page)
    });
    let output = vatra(&node, &["alert", "list", "--text", "rare"]);
    assert!(stdout(&output).contains("first") && stdout(&output).contains("third"), "{}", stdout(&output));
    assert!(stderr(&output).contains("2 alerts"), "what is no total is not told: {}", stderr(&output));
    assert_eq!(node.requests().len(), 4, "a node that goes on nowhere is not asked for ever");
}

#[test]
fn a_tail_comes_back_where_it_was() {
    let node = FakeNode::start(|request| {
        let event = |number: usize| {
            json!({"type": "vatra.alert.created", "subject": "ab".repeat(16),
            "time": "2026-11-24T02:30:00.000Z", "cursor": format!("s.{number}"), "data": {"title": number}})
        };
        match request.path.as_str() {
            "/api/v1/stream.ndjson?from=start" => Answer::cut_off(&format!("{}\n{}\n{{\"type", event(1), event(2))),
            "/api/v1/stream.ndjson?cursor=s.2" => Answer::text(200, format!("{}\n", event(3))),
            "/api/v1/stream.ndjson?cursor=s.3" => Answer::json(410, &json!({"detail": "too old"})),
            other => Answer::json(404, &json!({"detail": other})),
        }
    });
    let output = vatra(&node, &["tail", "--from-start", "--json", "--count", "3"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let titles: Vec<Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["data"]["title"].clone())
        .collect();
    assert_eq!(titles, [1, 2, 3]);

    let output = vatra(&node, &["tail", "--from-start", "--count", "4"]);
    assert_eq!(output.status.code(), Some(1), "a refused cursor is not tried again");
    assert!(stderr(&output).contains("too old"), "{}", stderr(&output));
}

#[test]
fn the_other_commands_use_the_routes_of_the_api() {
    let id = "ab".repeat(16);
    let alert = format!("/api/v1/alerts/{id}");
    let contact = format!("/api/v1/contacts/{id}");
    let cases: Vec<(Vec<&str>, &str, String, Value)> = vec![
        (vec!["alert", "update", &id, "--title=t"], "PATCH", alert.clone(), json!({"title": "t"})),
        (vec!["alert", "respond", &id, "--note=n"], "PUT", format!("{alert}/response"), json!({"note": "n"})),
        (vec!["alert", "cancel", &id, "--reason=r"], "POST", format!("{alert}/cancel"), json!({"reason": "r"})),
        (vec!["alert", "resolve", &id], "POST", format!("{alert}/resolve"), json!({})),
        (vec!["alert", "reach", &id], "GET", format!("{alert}/reach"), Value::Null),
        (vec!["alert", "show", &id], "GET", alert.clone(), Value::Null),
        (vec!["alert", "show", &id, "--history"], "GET", format!("{alert}/history"), Value::Null),
        (vec!["contact", "add", "--name=n"], "POST", "/api/v1/contacts".into(), json!({"name": "n"})),
        (vec!["contact", "update", &id, "--clear=note"], "PATCH", contact.clone(), json!({"note": null})),
        (vec!["contact", "show", &id], "GET", contact.clone(), Value::Null),
        (vec!["contact", "remove", &id], "DELETE", contact.clone(), Value::Null),
        (
            vec!["link", "cut", "LT,PL", "--for=30s", "--reason=drill"],
            "POST",
            "/api/v1/links/cut".into(),
            json!({"members": ["LT", "PL"], "seconds": 30, "reason": "drill"}),
        ),
        (vec!["link", "heal"], "POST", "/api/v1/links/heal".into(), Value::Null),
        (vec!["status"], "GET", "/api/v1/status".into(), Value::Null),
        (vec!["digest"], "GET", "/api/v1/status".into(), Value::Null),
    ];
    for (arguments, method, path, body) in cases {
        let node = FakeNode::start(|_| Answer::json(200, &json!({"id": "00", "digest": "00ff"})));
        let output = vatra(&node, &arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
        let request = node.requests().remove(0);
        assert_eq!((request.method.as_str(), &request.path), (method, &path), "{arguments:?}");
        let sent = if request.body.is_empty() { Value::Null } else { serde_json::from_slice(&request.body).unwrap() };
        assert_eq!(sent, body, "{arguments:?}");
    }
}

#[test]
fn a_lab_directory_is_enough_to_reach_its_node() {
    let node = FakeNode::start(|_| Answer::json(200, &json!({"digest": "00ff"})));
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("lab");
    let made = Command::new(env!("CARGO_BIN_EXE_vatra"))
        .args(["lab", "new", "--members", "UA", "--base-port", "4500", "--dir"])
        .arg(&dir)
        .output()
        .unwrap();
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    let config = dir.join("ua-1/node.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("127.0.0.1:4501", node.url().trim_start_matches("http://"))).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_vatra"))
        .args(["digest", "--dir"])
        .arg(dir.join("ua-1"))
        .env("VATRA_API", "http://127.0.0.1:1")
        .output()
        .unwrap();
    assert_eq!(stdout(&output), "00ff\n", "{}", stderr(&output));
    let token = fs::read_to_string(dir.join("ua-1/admin.token")).unwrap();
    assert_eq!(node.requests()[0].header("authorization"), Some(format!("Bearer {}", token.trim()).as_str()));
}
