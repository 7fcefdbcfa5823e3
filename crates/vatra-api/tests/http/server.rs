//! Bounds on connections: number, stalls, heads.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use vatra_api::ServerConfig;

use crate::client::{Exchange, PATIENCE};
use crate::over_memory::{Plan, Server};

/// Reads to the end of the connection, however it ends.
fn read_to_end(mut socket: &TcpStream) -> Vec<u8> {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    if let Err(error) = socket.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "the connection stayed open");
    }
    bytes
}

fn plan(config: ServerConfig) -> Plan {
    Plan { server: config, ..Plan::default() }
}

#[test]
fn connections_are_bounded() {
    let server = Server::start(&plan(ServerConfig { connections_max: 2, ..ServerConfig::default() }));
    let client = server.admin();
    let mut streams: Vec<_> = (0..2).map(|_| client.follow("/api/v1/stream", &[])).collect();
    let refused = Exchange::open(server.address, "").answer();
    assert_eq!((refused.status, refused.problem_field()), (503, None));
    drop(streams.pop());
    // The place is given back as soon as the server sees the end.
    let deadline = std::time::Instant::now() + PATIENCE;
    while client.get("/livez").status != 200 {
        assert!(std::time::Instant::now() < deadline, "the place was not given back");
    }
}

#[test]
fn a_head_that_does_not_come_or_is_too_large_ends_the_connection() {
    let server =
        Server::start(&plan(ServerConfig { head_timeout: Duration::from_millis(200), ..ServerConfig::default() }));
    let socket = TcpStream::connect(server.address).unwrap();
    (&socket).write_all(b"GET /livez HTTP/1.1\r\nHost").unwrap();
    read_to_end(&socket);
    let large = TcpStream::connect(server.address).unwrap();
    let _closed_early = (&large).write_all(format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(100_000)).as_bytes());
    let answer = read_to_end(&large);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    let garbage = TcpStream::connect(server.address).unwrap();
    (&garbage).write_all(b"\x16\x03\x01\x02\x00\x01\x00 nonsense\r\n\r\n").unwrap();
    read_to_end(&garbage);
    assert_eq!(server.admin().get("/livez").status, 200);
}

#[test]
fn ambiguous_lengths_are_refused_and_the_connection_closed() {
    let server = Server::start(&Plan::default());
    let client = server.admin();
    for headers in [
        [("Content-Length", "5"), ("Content-Length", "6")],
        [("Transfer-Encoding", "chunked, identity"), ("X", "y")],
        [("Content-Length", "+5"), ("X", "y")],
    ] {
        let head = client.head("POST", "/api/v1/alerts", &headers);
        let socket = TcpStream::connect(server.address).unwrap();
        (&socket).write_all(format!("{head}\r\n0\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        let answer = String::from_utf8_lossy(&read_to_end(&socket)).into_owned();
        assert!(answer.starts_with("HTTP/1.1 400"), "{headers:?}: {answer}");
        assert!(!answer.contains("live"), "{headers:?}: a second request was smuggled");
    }
}

#[test]
fn a_client_that_takes_nothing_is_let_go() {
    let server =
        Server::start(&plan(ServerConfig { stall_timeout: Duration::from_millis(300), ..ServerConfig::default() }));
    let client = server.admin();
    server.memory.padding.store(256 * 1024, std::sync::atomic::Ordering::Relaxed);
    for number in 0..100 {
        client.publish(&format!("number {number}"));
    }
    let deaf = client.follow("/api/v1/stream?from=start", &[]);
    let deadline = std::time::Instant::now() + PATIENCE;
    while client.get("/api/v1/status").json()["streams"]["subscribers"] != 0 {
        assert!(std::time::Instant::now() < deadline, "the deaf reader kept its place");
        std::thread::yield_now();
    }
    drop(deaf);
}

#[test]
fn a_stopping_server_finishes_what_it_began() {
    let mut server = Server::start(&Plan::default());
    let idle = TcpStream::connect(server.address).unwrap();
    let client = server.admin();
    let head = client.head(
        "POST",
        "/api/v1/alerts/bulk",
        &[("Content-Type", "application/x-ndjson"), ("Transfer-Encoding", "chunked")],
    );
    let line = format!("{}\n", crate::client::alert("x"));
    let mut exchange = Exchange::open(server.address, &format!("{head}\r\n{:x}\r\n{line}\r\n", line.len()));
    assert_eq!(exchange.head().0, 200);
    assert!(exchange.chunk().is_some());
    let mut socket = exchange.socket.try_clone().unwrap();
    let finish = std::thread::spawn(move || {
        socket.write_all(format!("{:x}\r\n{line}\r\n0\r\n\r\n", line.len()).as_bytes()).unwrap();
        exchange.chunk()
    });
    server.stop();
    assert!(finish.join().unwrap().is_some());
    assert!(read_to_end(&idle).is_empty());
    assert!(TcpStream::connect(server.address).is_err());
}
