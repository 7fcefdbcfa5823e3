//! A server of one answer per connection, so that each answer can be given, and broken, on purpose.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
    headers: Vec<(String, String)>,
}

impl Request {
    /// A header by its lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// What to answer.
pub(crate) struct Answer {
    status: u16,
    content_type: &'static str,
    body: String,
    is_cut_off: bool,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &Value) -> Answer {
        Answer { status, content_type: "application/json", body: body.to_string(), is_cut_off: false }
    }

    pub(crate) fn text(status: u16, body: String) -> Answer {
        Answer { status, content_type: "text/plain", body, is_cut_off: false }
    }

    /// An answer whose connection breaks after these bytes.
    pub(crate) fn cut_off(body: &str) -> Answer {
        Answer { status: 200, content_type: "text/plain", body: body.to_owned(), is_cut_off: true }
    }
}

/// A node as far as its clients can tell. Its thread ends with the test process.
pub(crate) struct FakeNode {
    url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl FakeNode {
    /// Serves on a free port of loopback.
    pub(crate) fn start(answer: impl Fn(&Request) -> Answer + Send + 'static) -> FakeNode {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(request) = read_request(&stream) else { continue };
                let answer = answer(&request);
                seen.lock().expect("no holder panics").push(request);
                write_answer(stream, &answer);
            }
        });
        FakeNode { url, requests }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no holder panics").clone()
    }
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        Some(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request { method, path, body: Vec::new(), headers };
    let length = request.header("content-length").map_or(0, |length| length.parse().expect("a length is a number"));
    request.body.resize(length, 0);
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}

/// A client that went away is no failure of this server.
fn write_answer(mut stream: TcpStream, answer: &Answer) {
    let promised = answer.body.len() + usize::from(answer.is_cut_off);
    let head = format!(
        "HTTP/1.1 {} X\r\ncontent-type: {}\r\ncontent-length: {promised}\r\nconnection: close\r\n\r\n",
        answer.status, answer.content_type
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(answer.body.as_bytes()));
}
