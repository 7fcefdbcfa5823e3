//! Bundles out and in: streamed, bounded, refused in time and told when they are not whole.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use vatra_api::{ApiConfig, Role};

use crate::client::Client;
use crate::over_memory::{Plan, Server};

const EXPORT: &str = "/api/v1/bundle/export";
const IMPORT: &str = "/api/v1/bundle/import";
const BUNDLE: (&str, &str) = ("Content-Type", "application/vnd.vatra.bundle");
const RECEIPT: (&str, &str) = ("Content-Type", "application/vnd.vatra.receipt");

fn import(client: &Client, body: &[u8]) -> Vec<Value> {
    let answer = client.send("POST", IMPORT, &[BUNDLE], body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_export_is_streamed_with_its_size() {
    let server = Server::start(&Plan::default());
    let operator = server.client(Role::Operator);
    for (path, headers, body) in [(EXPORT, &[][..], &b""[..]), (EXPORT, &[RECEIPT], b"a receipt")] {
        let answer = operator.send("POST", path, headers, body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some(BUNDLE.1));
        assert_eq!(answer.header("vatra-bundle-entries"), Some("100"));
        let expected: Vec<u8> = (0..100_u8).flat_map(|number| vec![number; 1000]).collect();
        assert!(answer.body == expected, "{} bytes", answer.body.len());
    }
}

#[test]
fn an_export_that_fails_half_way_ends_without_its_end() {
    let server = Server::start(&Plan::default());
    let mut exchange = server.client(Role::Operator).open("POST", &format!("{EXPORT}?for=PL"), &[], b"");
    assert_eq!(exchange.head().0, 200);
    let mut bytes = Vec::new();
    // Chunked bodies end with an empty chunk; this one must not.
    let _broken = std::io::Read::read_to_end(&mut exchange.socket, &mut bytes);
    assert!(!bytes.ends_with(b"0\r\n\r\n"), "the caller takes it for whole");
}

#[test]
fn wrong_orders_are_refused_before_anything_is_written() {
    let server = Server::start(&Plan::default());
    let operator = server.client(Role::Operator);
    for (path, header, body, status, field) in [
        (format!("{EXPORT}?for=nobody"), RECEIPT, &b""[..], 400, Some("for")),
        (format!("{EXPORT}?for=LT"), RECEIPT, b"a receipt", 400, Some("for")),
        (format!("{EXPORT}?colour=red"), RECEIPT, b"", 400, Some("colour")),
        (EXPORT.to_owned(), ("Content-Type", "text/plain"), b"a receipt", 415, Some("Content-Type")),
        (EXPORT.to_owned(), RECEIPT, b"foreign", 422, Some("since")),
    ] {
        let answer = operator.send("POST", &path, &[header], body);
        assert_eq!((answer.status, answer.problem_field().as_deref()), (status, field), "{path}");
    }
}

#[test]
fn an_import_tells_its_result_last() {
    let server = Server::start(&Plan::default());
    let operator = server.client(Role::Operator);
    let body = vec![7; 3_000_000];
    let lines = import(&operator, &body);
    let last = &lines.last().unwrap()["result"];
    assert_eq!(last["entries"], body.len());
    assert_eq!(last["receipt"], "cmVjZWlwdA==");
    let slow = import(&operator, b"slow");
    assert_eq!(slow[0]["progress"], json!({"stage": "check", "done": 0, "total": 4}));
    assert_eq!(slow.last().unwrap()["result"]["entries"], 4);
}

#[test]
fn a_refused_import_reads_on_and_says_why() {
    let server = Server::start(&Plan::default());
    let mut body = b"full".to_vec();
    body.resize(5_000_000, 0);
    let lines = import(&server.client(Role::Operator), &body);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(
        (&lines[0]["problem"]["status"], &lines[0]["problem"]["type"]),
        (&507.into(), &"urn:vatra:problem:store-full".into())
    );
}

#[test]
fn a_bundle_that_is_too_large_is_refused_by_its_length_or_by_its_bytes() {
    let plan = Plan { api: ApiConfig { bundle_bytes_max: 1000, ..Plan::default().api }, ..Plan::default() };
    let server = Server::start(&plan);
    let operator = server.client(Role::Operator);
    let declared = operator.send("POST", IMPORT, &[BUNDLE], &[0; 1001]);
    assert_eq!((declared.status, declared.json()["limit"].as_u64()), (413, Some(1000)));
    assert_eq!(declared.json()["field"], "limits.bundle_mib");
    assert!(declared.json()["remedy"].as_str().is_some_and(|remedy| remedy.contains("--since")));
    assert_eq!(import(&operator, &[0; 1000]).last().unwrap()["result"]["entries"], 1000);
    let head = format!(
        "POST {IMPORT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-operator\r\nContent-Type: {}\r\n\
         Transfer-Encoding: chunked\r\n\r\n3ea\r\n{}\r\n0\r\n\r\n",
        BUNDLE.1,
        "x".repeat(1002)
    );
    let answer = crate::client::Exchange::open(server.address, &head).answer();
    let line: Value = serde_json::from_str(answer.text().lines().last().unwrap()).unwrap();
    assert_eq!((&line["problem"]["limit"], &line["problem"]["field"]), (&1000.into(), &"limits.bundle_mib".into()));
}

#[test]
fn a_caller_that_asks_first_is_told_to_go_on_or_why_not() {
    let plan = Plan { api: ApiConfig { bundle_bytes_max: 1000, ..Plan::default().api }, ..Plan::default() };
    let server = Server::start(&plan);
    let first_line = |length: usize| {
        let head = format!(
            "POST {IMPORT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-operator\r\nContent-Type: {}\r\n\
             Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n",
            BUNDLE.1
        );
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line
    };
    assert!(first_line(1000).starts_with("HTTP/1.1 100 "), "it goes on before any answer");
    assert!(first_line(1001).starts_with("HTTP/1.1 413 "), "nothing is sent in vain");
}

#[test]
fn few_bundles_are_under_way_at_a_time() {
    let plan = Plan { api: ApiConfig { bundles_max: 1, ..Plan::default().api }, ..Plan::default() };
    let server = Server::start(&plan);
    let operator = server.client(Role::Operator);
    // One that declares more than it sends keeps its place.
    let head = format!(
        "POST {IMPORT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-operator\r\nContent-Type: {}\r\n\
         Content-Length: 10\r\n\r\n12345",
        BUNDLE.1
    );
    let mut waiting = crate::client::Exchange::open(server.address, &head);
    assert_eq!(waiting.head().0, 200);
    assert_eq!(operator.send("POST", EXPORT, &[], b"").status, 503);
    drop(waiting);
}

#[test]
fn a_frontier_file_is_bytes() {
    let server = Server::start(&Plan::default());
    let answer = server.client(Role::Operator).get("/api/v1/bundle/frontier");
    assert_eq!((answer.status, answer.text().as_str()), (200, "frontier"));
    assert_eq!(answer.header("content-type"), Some(RECEIPT.1));
}
