//! A subscriber: follows a node's stream of events on a thread of its own and notes when each came.
//!
//! Speaks HTTP/1.1 over a plain socket, so that it can be ended from outside and its times are those
//! of the socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

/// Events that a follower keeps.
const EVENTS_MAX: usize = 1_000_000;
/// Longest line of a stream.
const LINE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// A node that does not accept us by then is not there.
const CONNECT: Duration = Duration::from_secs(5);

/// Where a stream begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the first event that the store holds.
    First,
    /// With what comes from now on.
    Now,
    /// After a cursor.
    After(String),
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Server-sent events, with the cursor as their id.
    Sse,
    /// One JSON event a line.
    Ndjson,
}

/// An event as it came.
#[derive(Clone, Debug)]
pub struct Event {
    /// When its last line was read.
    pub at: Instant,
    /// The cursor that stands after it; empty when the event carried none.
    pub cursor: String,
    /// The CloudEvents type.
    pub kind: String,
    /// The record it is about.
    pub subject: String,
    /// The whole event.
    pub body: Value,
}

impl Event {
    /// Whether it tells of a new alert.
    pub fn is_new_alert(&self) -> bool {
        self.kind == "vatra.alert.created"
    }
}

#[derive(Default)]
struct Heard {
    events: Vec<Event>,
    ended: Option<String>,
}

type Shared = Arc<(Mutex<Heard>, Condvar)>;

/// A subscriber; ends with its value.
pub struct Follower {
    socket: TcpStream,
    heard: Shared,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Subscribes and waits for the answer's head.
    pub fn open(address: SocketAddr, token: &str, format: Format, start: &Start) -> anyhow::Result<Follower> {
        let (path, media) = match format {
            Format::Sse => ("/api/v1/stream", "text/event-stream"),
            Format::Ndjson => ("/api/v1/stream.ndjson", "application/x-ndjson"),
        };
        let (query, last) = match (start, format) {
            (Start::First, _) => ("?from=start".to_owned(), String::new()),
            (Start::Now, _) => ("?from=now".to_owned(), String::new()),
            (Start::After(cursor), Format::Sse) => (String::new(), format!("Last-Event-ID: {cursor}\r\n")),
            (Start::After(cursor), Format::Ndjson) => (format!("?cursor={cursor}"), String::new()),
        };
        let mut socket = TcpStream::connect_timeout(&address, CONNECT).with_context(|| address.to_string())?;
        socket.set_nodelay(true)?;
        write!(
            socket,
            "GET {path}{query} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             Accept: {media}\r\n{last}\r\n"
        )?;
        let mut reader = BufReader::with_capacity(256 * 1024, socket.try_clone()?);
        let chunked = read_head(&mut reader)?;
        let heard: Shared = Arc::default();
        let shared = Arc::clone(&heard);
        let thread = std::thread::Builder::new().name(format!("follow {address}")).spawn(move || {
            let ended = match chunked {
                true => {
                    let body = Chunks { inner: reader, left: 0 };
                    read_events(BufReader::with_capacity(256 * 1024, body), format, &shared)
                }
                false => read_events(reader, format, &shared),
            };
            let reason = match ended {
                Ok(()) => "the node closed the stream".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            lock(&shared.0).ended = Some(reason);
            shared.1.notify_all();
        })?;
        Ok(Follower { socket, heard, thread: Some(thread) })
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Event> {
        lock(&self.heard.0).events.clone()
    }

    /// The events that came after the first `count` ones.
    pub fn events_after(&self, count: usize) -> Vec<Event> {
        lock(&self.heard.0).events.get(count..).unwrap_or_default().to_vec()
    }

    /// How many events came so far.
    pub fn count(&self) -> usize {
        lock(&self.heard.0).events.len()
    }

    /// Why the stream ended, if it did.
    pub fn ended(&self) -> Option<String> {
        lock(&self.heard.0).ended.clone()
    }

    /// The newest cursor; none before the first event that carries one.
    pub fn cursor(&self) -> Option<String> {
        let heard = lock(&self.heard.0);
        heard.events.iter().rev().find(|event| !event.cursor.is_empty()).map(|event| event.cursor.clone())
    }

    /// Waits until the events satisfy a condition, without polling.
    pub fn wait(&self, seconds_max: u64, what: &str, condition: impl Fn(&[Event]) -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(seconds_max);
        let mut heard = lock(&self.heard.0);
        loop {
            if condition(&heard.events) {
                return Ok(());
            }
            if let Some(reason) = &heard.ended {
                bail!("the stream ended before {what}: {reason}; {} events came", heard.events.len());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("no {what} on the stream after {seconds_max} s; {} events came", heard.events.len());
            }
            heard = self.heard.1.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // The thread reads until the socket ends; an error means that it has ended already.
        let _ended = self.socket.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads status line and headers; says whether the body comes in chunks.
fn read_head(reader: &mut impl BufRead) -> anyhow::Result<bool> {
    let status = next_line(reader)?.context("the node closed before it answered")?;
    let code = status.split_ascii_whitespace().nth(1).unwrap_or_default().to_owned();
    let mut chunked = false;
    while let Some(line) = next_line(reader)? {
        if line.is_empty() {
            break;
        }
        chunked |= line.to_ascii_lowercase().starts_with("transfer-encoding: chunked");
    }
    if code != "200" {
        let mut body = vec![0; 2_000];
        let length = reader.read(&mut body)?;
        bail!("{status}: {}", String::from_utf8_lossy(&body[..length]));
    }
    Ok(chunked)
}

/// One line without its end; none at the end of the stream.
fn next_line(reader: &mut impl BufRead) -> anyhow::Result<Option<String>> {
    let mut bytes = Vec::new();
    reader.take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    ensure!(bytes.ends_with(b"\n"), "a line is cut off or longer than {LINE_BYTES_MAX} bytes");
    bytes.truncate(bytes.trim_ascii_end().len());
    Ok(Some(String::from_utf8(bytes)?))
}

/// Collects events until the stream ends.
fn read_events(mut reader: impl BufRead, format: Format, shared: &Shared) -> anyhow::Result<()> {
    let (mut cursor, mut data) = (String::new(), String::new());
    while let Some(line) = next_line(&mut reader)? {
        match format {
            Format::Ndjson => {
                if !line.is_empty() {
                    take_event(&line, String::new(), shared)?;
                }
            }
            // Fields up to an empty line (WHATWG HTML, section 9.2).
            Format::Sse => {
                if let Some(value) = line.strip_prefix("id:") {
                    cursor = value.trim_start().to_owned();
                } else if let Some(value) = line.strip_prefix("data:") {
                    if !data.is_empty() {
                        data.push('\n');
                    }
                    data.push_str(value.strip_prefix(' ').unwrap_or(value));
                } else if line.is_empty() && !data.is_empty() {
                    take_event(&data, cursor.clone(), shared)?;
                    data.clear();
                }
            }
        }
    }
    Ok(())
}

fn take_event(data: &str, cursor: String, shared: &Shared) -> anyhow::Result<()> {
    let at = Instant::now();
    let body: Value = serde_json::from_str(data).with_context(|| format!("event data {data:?}"))?;
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let event = Event { at, cursor, kind: text("type"), subject: text("subject"), body };
    let mut heard = lock(&shared.0);
    ensure!(heard.events.len() < EVENTS_MAX, "more than {EVENTS_MAX} events");
    heard.events.push(event);
    drop(heard);
    shared.1.notify_all();
    Ok(())
}

/// The body of a chunked answer.
struct Chunks<R> {
    inner: R,
    left: usize,
}

impl<R: BufRead> Read for Chunks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            let invalid = |what: String| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
            let mut line = next_line(&mut self.inner).map_err(|error| invalid(error.to_string()))?;
            if line.as_deref() == Some("") {
                // The end of the chunk before.
                line = next_line(&mut self.inner).map_err(|error| invalid(error.to_string()))?;
            }
            let Some(line) = line else { return Ok(0) };
            self.left = usize::from_str_radix(&line, 16).map_err(|_| invalid(format!("chunk size {line:?}")))?;
            if self.left == 0 {
                return Ok(0);
            }
        }
        let room = buffer.len().min(self.left);
        let length = self.inner.read(&mut buffer[..room])?;
        self.left -= length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str, chunk: Option<usize>) -> Vec<Event> {
        let shared: Shared = Arc::default();
        match chunk {
            None => read_events(text.as_bytes(), Format::Sse, &shared).unwrap(),
            Some(size) => {
                let mut bytes = Vec::new();
                for part in text.as_bytes().chunks(size) {
                    bytes.extend(format!("{:x}\r\n", part.len()).into_bytes());
                    bytes.extend(part);
                    bytes.extend(b"\r\n");
                }
                bytes.extend(b"0\r\n\r\n");
                read_events(BufReader::new(Chunks { inner: &bytes[..], left: 0 }), Format::Sse, &shared).unwrap();
            }
        }
        lock(&shared.0).events.clone()
    }

    #[test]
    fn events_are_read_whole_and_in_chunks_of_any_size() {
        let text = ": heartbeat\n\nevent: vatra.alert.created\nid: s.1\ndata: {\"type\":\"vatra.alert.created\",\ndata: \"subject\":\"ab\"}\n\nid: s.2\n\ndata:{\"type\":\"x\"}\n\n";
        for chunk in [None, Some(1), Some(7), Some(4096)] {
            let events = heard(text, chunk);
            assert_eq!(events.len(), 2, "chunks of {chunk:?}");
            assert_eq!((events[0].cursor.as_str(), events[0].subject.as_str()), ("s.1", "ab"));
            assert!(events[0].is_new_alert());
            assert_eq!((events[1].cursor.as_str(), events[1].kind.as_str()), ("s.2", "x"));
        }
    }

    #[test]
    fn a_refusal_is_an_error_with_its_body() {
        let mut reader = BufReader::new(&b"HTTP/1.1 401 Unauthorized\r\nx: y\r\n\r\nno token"[..]);
        let error = read_head(&mut reader).unwrap_err().to_string();
        assert!(error.contains("401") && error.contains("no token"), "{error}");
    }
}
