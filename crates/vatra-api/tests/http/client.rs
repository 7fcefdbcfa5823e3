//! A small HTTP/1.1 client that can do what libraries refuse: stop reading, send halves, break rules.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// A test that waits this long hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An answer that was read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Checks that it is a problem document about its own status, and gives its field.
    pub(crate) fn problem_field(&self) -> Option<String> {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text());
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        for name in ["type", "title", "detail"] {
            assert!(problem[name].is_string(), "{name} is missing in {problem}");
        }
        problem["field"].as_str().map(str::to_owned)
    }
}

/// A connection on which a request was sent.
pub(crate) struct Exchange {
    pub(crate) socket: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Exchange {
    pub(crate) fn open(address: SocketAddr, head: &str) -> Exchange {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(head.as_bytes()).unwrap();
        let reader = BufReader::new(socket.try_clone().unwrap());
        Exchange { socket, reader }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Status and headers, names in lower case.
    pub(crate) fn head(&mut self) -> (u16, Vec<(String, String)>) {
        let status = self.line();
        let status = status.split(' ').nth(1).unwrap_or_else(|| panic!("no status in {status:?}")).parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(':') else { return (status, headers) };
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
    }

    pub(crate) fn answer(mut self) -> Answer {
        let (status, headers) = self.head();
        let find = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let mut body = Vec::new();
        if find("transfer-encoding").as_deref() == Some("chunked") {
            while let Some(chunk) = self.chunk() {
                body.extend(chunk);
            }
        } else if let Some(length) = find("content-length") {
            body.resize(length.parse().unwrap(), 0);
            self.reader.read_exact(&mut body).unwrap();
        }
        Answer { status, headers, body }
    }

    /// The next chunk; `None` at the end of the body, also when the connection just ends.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let length = usize::from_str_radix(&self.line(), 16).ok()?;
        let mut chunk = vec![0; length + 2];
        self.reader.read_exact(&mut chunk).ok()?;
        chunk.truncate(length);
        (length > 0).then_some(chunk)
    }
}

/// A caller with a token.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
}

impl Client {
    pub(crate) fn head(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> String {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        if !self.token.is_empty() {
            head.push_str(&format!("Authorization: Bearer {}\r\n", self.token));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head
    }

    pub(crate) fn open(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Exchange {
        let mut head = self.head(method, path, headers);
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        let mut exchange = Exchange::open(self.address, &format!("{head}\r\n"));
        // The server may refuse by the head and close before it has read everything.
        let _refused_early = exchange.socket.write_all(body);
        exchange
    }

    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.open(method, path, headers, body).answer()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub(crate) fn json(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.send(method, path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    /// Publishes an alert with this title and gives its id.
    pub(crate) fn publish(&self, title: &str) -> String {
        let answer = self.json("POST", "/api/v1/alerts", &alert(title));
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn follow(&self, path: &str, headers: &[(&str, &str)]) -> Events {
        let mut exchange = self.open("GET", path, headers, b"");
        let (status, _) = exchange.head();
        assert_eq!(status, 200, "{path}");
        Events { exchange, text: Vec::new(), is_sse: !path.contains("ndjson") }
    }
}

/// The smallest alert.
pub(crate) fn alert(title: &str) -> Value {
    serde_json::json!({"kind": "incident", "title": title, "severity": "minor", "sectors": ["energy"], "tlp": "green"})
}

/// A stream that is being read.
pub(crate) struct Events {
    pub(crate) exchange: Exchange,
    text: Vec<u8>,
    is_sse: bool,
}

impl Events {
    /// The next event with its SSE id; `None` at the end.
    pub(crate) fn next_with_id(&mut self) -> Option<(String, Value)> {
        let end: &[u8] = if self.is_sse { b"\n\n" } else { b"\n" };
        loop {
            if let Some(at) = self.text.windows(end.len()).position(|window| window == end) {
                let message: Vec<u8> = self.text.drain(..at + end.len()).collect();
                let message = String::from_utf8(message).unwrap();
                if !self.is_sse {
                    return Some((String::new(), serde_json::from_str(&message).unwrap()));
                }
                let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                if let Some(data) = field("data: ") {
                    return Some((field("id: ").unwrap(), serde_json::from_str(&data).unwrap()));
                }
                continue;
            }
            let chunk = self.exchange.chunk()?;
            self.text.extend(chunk);
        }
    }

    pub(crate) fn next(&mut self) -> Option<Value> {
        self.next_with_id().map(|(_, event)| event)
    }

    /// The next event that is about a record.
    pub(crate) fn next_record(&mut self) -> Value {
        loop {
            let event = self.next().expect("the stream goes on");
            if event["subject"].is_string() {
                return event;
            }
        }
    }
}
