//! The bulk route: order, groups, good lines beside bad ones, callers that read late or never.

use std::io::Write;
use std::time::Duration;

use serde_json::Value;
use vatra_api::limits::{BULK_GROUP_LINES, BULK_LINE_BYTES_MAX, BULK_LINES_MAX};
use vatra_api::{ApiConfig, Role};

use crate::client::{Client, alert};
use crate::over_memory::{Plan, Server};

const PATH: &str = "/api/v1/alerts/bulk";
const NDJSON: (&str, &str) = ("Content-Type", "application/x-ndjson");

fn lines(count: usize) -> String {
    (0..count).map(|number| format!("{}\n", alert(&format!("number {number}")))).collect()
}

fn post(client: &Client, body: &[u8]) -> Vec<Value> {
    let answer = client.send("POST", PATH, &[NDJSON], body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_caller_that_sends_everything_before_it_reads_gets_every_answer_in_order() {
    let server = Server::start(&Plan::default());
    let count = 100_000;
    let answers = post(&server.client(Role::Contributor), lines(count).as_bytes());
    assert_eq!(answers.len(), count);
    for (index, answer) in answers.iter().enumerate() {
        assert_eq!(answer["line"], index + 1, "{answer}");
        assert!(answer["id"].is_string() && answer["created"] == true, "{answer}");
    }
    assert_eq!(server.memory.alert_count(), count);
    let groups = server.memory.groups();
    assert!(groups.iter().all(|size| *size <= BULK_GROUP_LINES));
    assert!(groups.len() < count / BULK_GROUP_LINES * 4, "{} groups are too many", groups.len());
}

#[test]
fn good_lines_are_taken_beside_bad_ones_and_repetition_changes_nothing() {
    let server = Server::start(&Plan::default());
    let mut long = alert("long");
    long["body"] = "x".repeat(BULK_LINE_BYTES_MAX).into();
    let mut unknown = alert("unknown");
    unknown["colour"] = "red".into();
    let texts = [
        alert("one").to_string(),
        "{".to_owned(),
        String::new(),
        unknown.to_string(),
        alert("full").to_string(),
        "\u{fffd}".to_owned(),
        long.to_string(),
        "[".repeat(1000),
        alert("last").to_string(),
    ];
    let body = texts.join("\r\n");
    let headers = [NDJSON, ("Idempotency-Key", "import-7")];
    let send = || -> Vec<Value> {
        let answer = server.admin().send("POST", PATH, &headers, body.as_bytes());
        answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let answers = send();
    let told: Vec<(u64, Option<u64>)> =
        answers.iter().map(|a| (a["line"].as_u64().unwrap(), a["problem"]["status"].as_u64())).collect();
    let expected = [(1, None), (2, Some(400)), (4, Some(422)), (5, Some(507)), (6, Some(400)), (7, Some(413))];
    assert_eq!(told[..6], expected);
    assert_eq!(told[6..], [(8, Some(400)), (9, None)]);
    assert_eq!(answers[2]["problem"]["field"], "colour");
    assert_eq!(server.memory.alert_count(), 2);
    let again = send();
    assert_eq!((&again[0]["created"], &again[0]["id"]), (&Value::Bool(false), &answers[0]["id"]));
    assert_eq!(server.memory.alert_count(), 2);
}

#[test]
fn answers_come_while_lines_are_still_being_sent() {
    let server = Server::start(&Plan::default());
    let client = server.admin();
    let head = client.head("POST", PATH, &[NDJSON, ("Transfer-Encoding", "chunked")]);
    let mut exchange = crate::client::Exchange::open(server.address, &format!("{head}\r\n"));
    for number in 0..5 {
        let line = format!("{}\n", alert("x"));
        write!(exchange.socket, "{:x}\r\n{line}\r\n", line.len()).unwrap();
        if number == 0 {
            assert_eq!(exchange.head().0, 200);
        }
        let answer: Value = serde_json::from_slice(&exchange.chunk().unwrap()).unwrap();
        assert_eq!(answer["line"], number + 1);
    }
    exchange.socket.write_all(b"0\r\n\r\n").unwrap();
    assert!(exchange.chunk().is_none());
}

#[test]
fn a_request_has_a_bounded_number_of_lines_and_says_where_it_ended() {
    let server = Server::start(&Plan::default());
    // The shortest lines that are answered, so that the number of lines is what ends it.
    let body = "1\n".repeat(BULK_LINES_MAX as usize + 10);
    let exchange = server.admin().open("POST", PATH, &[NDJSON], body.as_bytes());
    let answer = exchange.answer();
    let last: Value = serde_json::from_str(answer.text().lines().last().unwrap()).unwrap();
    assert_eq!(last["problem"]["status"], 413, "{last}");
    let line = last["line"].as_u64().unwrap();
    assert!(line <= BULK_LINES_MAX + 1);
    assert_eq!(answer.text().lines().count() as u64, line, "every line before it is answered");
    let large = server.admin().send("POST", PATH, &[NDJSON, ("Content-Length", "99999999")], b"");
    assert_eq!((large.status, large.problem_field()), (413, None));
}

#[test]
fn a_body_that_breaks_off_or_stops_is_told_at_its_line() {
    let api = ApiConfig { body_timeout: Duration::from_millis(200), ..Plan::default().api };
    let server = Server::start(&Plan { api, ..Plan::default() });
    let client = server.admin();
    let head = client.head("POST", PATH, &[NDJSON, ("Content-Length", "1000")]);
    let text = format!("{head}\r\n{}\n{{\"kind\":", alert("one"));
    let answer = crate::client::Exchange::open(server.address, &text).answer();
    let answers: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert!(answers[0]["id"].is_string());
    assert_eq!((&answers[1]["line"], &answers[1]["problem"]["status"]), (&Value::from(2), &Value::from(408)));
    assert_eq!(server.memory.alert_count(), 1);
}

#[test]
fn a_fault_of_the_node_is_told_for_each_line_of_its_group() {
    let server = Server::start(&Plan::default());
    let body = format!("{}\n{}\n", alert("panic"), alert("beside"));
    let answers = post(&server.admin(), body.as_bytes());
    assert_eq!(answers.len(), 2);
    assert!(answers.iter().all(|answer| answer["problem"]["status"] == 500), "{answers:?}");
    assert_eq!(post(&server.admin(), lines(3).as_bytes()).len(), 3, "the next request is served");
}
