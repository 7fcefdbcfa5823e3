//! `vatra tail`: follows a node's stream, and comes back by itself where it was.
//!
//! Nothing is saved: the last cursor lives in memory and is printed when the command gives up.

use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use super::api::{ApiError, query};
use super::exit::Exit;
use super::input;
use super::print::{self, Printer};
use super::status::text;
use super::target::Target;

/// Longest event that is read; a longer one is no event of ours.
const EVENT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// First pause before coming back, doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// Longest pause before coming back.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Most characters of a title on a line.
const TITLE_CHARS_MAX: usize = 42;

#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// Begin with the oldest that the node holds instead of now.
    #[arg(long, conflicts_with = "cursor")]
    from_start: bool,
    /// Go on after this cursor, of this node or portable.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// Only what matches, as severity=severe or owner=LT; repeated filters must all match.
    #[arg(long = "filter", value_name = "NAME=VALUE", value_parser = input::filter)]
    filters: Vec<(String, String)>,
    /// Also print heartbeats and checkpoints.
    #[arg(long)]
    checkpoints: bool,
    /// End after this many events.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// Follows the stream until the count is reached, the node refuses, or somebody ends the process.
pub(crate) fn run(args: &TailArgs, target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    let api = target.connect()?;
    let mut tail = Tail { args, out, cursor: args.cursor.clone(), printed: 0, events: 0 };
    let mut pause = PAUSE_MIN;
    let mut was_connected = false;
    loop {
        let seen = tail.events;
        let end = match api.open_stream(&tail.path()) {
            Ok(stream) => {
                was_connected = true;
                tail.follow(stream)?
            }
            // A node that was never there is an error at once; one that was there may come back.
            Err(error) if was_connected && may_pass(&error) => End::Broken(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        let End::Broken(reason) = end else { return Ok(Exit::Done) };
        if tail.events > seen {
            pause = PAUSE_MIN;
        }
        let place = tail.cursor.as_deref().unwrap_or("now: events of the pause may be missing");
        print::note(&format!("stream of {} ended ({reason}); going on from {place}", api.base()));
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Whether asking again later may succeed.
fn may_pass(error: &ApiError) -> bool {
    match error {
        ApiError::Unreachable { .. } => true,
        ApiError::Problem(problem) => problem.status == 429 || problem.status >= 500,
        ApiError::Unexpected { .. } => false,
    }
}

/// Why reading one answer ended.
enum End {
    /// All events that were asked for are printed.
    Complete,
    /// The connection ended or was ended.
    Broken(String),
}

struct Tail<'a> {
    args: &'a TailArgs,
    out: &'a mut Printer,
    cursor: Option<String>,
    printed: u64,
    events: u64,
}

impl Tail<'_> {
    fn path(&self) -> String {
        let from = match (&self.cursor, self.args.from_start) {
            (Some(_), _) => None,
            (None, true) => Some("start".to_owned()),
            (None, false) => Some("now".to_owned()),
        };
        let mut parameters = vec![("from", from), ("cursor", self.cursor.clone())];
        parameters.extend(self.args.filters.iter().map(|(name, value)| (name.as_str(), Some(value.clone()))));
        format!("/api/v1/stream.ndjson{}", query(&parameters))
    }

    fn follow(&mut self, stream: impl Read) -> anyhow::Result<End> {
        let mut reader = BufReader::new(stream);
        loop {
            let line = match read_line(&mut reader) {
                Ok(Some(line)) => line,
                Ok(None) => return Ok(End::Broken("the node closed it".to_owned())),
                Err(error) => return Ok(End::Broken(error.to_string())),
            };
            if line.trim_ascii().is_empty() {
                continue;
            }
            let event: Value = serde_json::from_slice(&line).context("an event that is no JSON")?;
            self.take(&event)?;
            if self.args.count.is_some_and(|count| self.printed >= count) {
                return Ok(End::Complete);
            }
        }
    }

    /// Prints an event and remembers its cursor, in this order: what was printed is behind us.
    fn take(&mut self, event: &Value) -> anyhow::Result<()> {
        self.events += 1;
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
        match kind {
            "vatra.checkpoint" | "vatra.heartbeat" => {
                if self.args.checkpoints {
                    self.print(event)?;
                }
            }
            "vatra.lagged" => print::warning("this reader was too slow; the node goes on from its cursor"),
            "vatra.reset" => print::warning("the cursor is older than what the node holds; it starts over"),
            _ => {
                self.print(event)?;
                self.printed += 1;
            }
        }
        if let Some(cursor) = cursor_of(event) {
            self.cursor = Some(cursor.to_owned());
        }
        Ok(())
    }

    fn print(&mut self, event: &Value) -> anyhow::Result<()> {
        if self.out.is_json() {
            self.out.json_line(event)?;
        } else {
            self.out.line(&human(event))?;
        }
        Ok(())
    }
}

/// The place after an event: its extension attribute `cursor`.
fn cursor_of(event: &Value) -> Option<&str> {
    event.get("cursor").and_then(Value::as_str)
}

/// One line of a stream without its end; `None` at the end of the stream.
fn read_line(reader: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let length = reader.take(EVENT_BYTES_MAX).read_until(b'\n', &mut line)?;
    if length == 0 {
        return Ok(None);
    }
    if line.pop_if(|last| *last == b'\n').is_none() {
        // The connection broke inside an event: it will come again, whole.
        return Err(std::io::Error::other("it broke off inside an event"));
    }
    Ok(Some(line))
}

fn human(event: &Value) -> String {
    let data = event.get("data").unwrap_or(&Value::Null);
    let time = text(event, "time");
    let time = time.get(11..19).unwrap_or(&time);
    let kind = text(event, "type");
    let kind = kind.strip_prefix("vatra.").unwrap_or(&kind);
    let severity = text(data, "severity");
    let name = if data.get("title").is_some() { text(data, "title") } else { text(data, "name") };
    let line = format!(
        "{time} {kind:<16} {severity:<8} {:<5} {} {}",
        text(data, "owner"),
        text(event, "subject").get(..8).unwrap_or("-"),
        print::shortened(&name, TITLE_CHARS_MAX),
    );
    print::severity(&severity, &print::clean(&line))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn args() -> TailArgs {
        TailArgs { from_start: false, cursor: None, filters: Vec::new(), checkpoints: false, count: None }
    }

    #[test]
    fn a_stream_goes_on_from_its_last_cursor() {
        let args = TailArgs { from_start: true, filters: vec![("owner".into(), "LT".into())], ..args() };
        let mut out = Printer::new(true);
        let mut tail = Tail { args: &args, out: &mut out, cursor: None, printed: 0, events: 0 };
        assert_eq!(tail.path(), "/api/v1/stream.ndjson?from=start&owner=LT");
        tail.take(&json!({"type": "vatra.checkpoint", "cursor": "ab.7"})).unwrap();
        assert_eq!(tail.path(), "/api/v1/stream.ndjson?cursor=ab.7&owner=LT");
        assert_eq!((tail.printed, tail.events), (0, 1));
    }

    #[test]
    fn half_an_event_is_no_event() {
        assert_eq!(read_line(&mut &b"{}\n{"[..]).unwrap(), Some(b"{}".to_vec()));
        assert!(read_line(&mut &b"{\"a\""[..]).is_err());
        assert_eq!(read_line(&mut &b""[..]).unwrap(), None);
    }

    #[test]
    fn only_passing_troubles_are_waited_for() {
        let problem = |status| ApiError::Problem(super::super::api::Problem { status, ..Default::default() });
        assert!(may_pass(&problem(503)) && may_pass(&problem(429)));
        assert!(!may_pass(&problem(401)) && !may_pass(&problem(400)));
    }
}
