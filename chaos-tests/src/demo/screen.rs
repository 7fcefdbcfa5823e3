//! The live view of the demo: redrawn in place on a terminal, plain lines elsewhere.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use serde_json::Value;

use super::shortened;
use crate::lab::{Client, Event, Follower, Lab, Start, text};

/// Columns of the view.
const WIDTH: usize = 100;
/// Arrivals shown.
const ARRIVALS_SHOWN: usize = 9;
/// Notes shown.
const NOTES_SHOWN: usize = 6;
/// Redraw on a terminal.
const REDRAW: Duration = Duration::from_millis(250);
/// A line of progress elsewhere.
const PROGRESS: Duration = Duration::from_secs(2);
/// Messages that wait for the drawing thread.
const MESSAGES_MAX: usize = 64;

const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const FAINT: Style = Style::new().dimmed();

enum Message {
    Step(String),
    Note(String),
}

/// The view; drawn by a thread of its own so that it moves while the demo waits.
pub(super) struct Screen {
    messages: SyncSender<Message>,
    thread: JoinHandle<()>,
}

impl Screen {
    /// Subscribes to every node and starts drawing.
    pub(super) fn open(lab: &Lab) -> anyhow::Result<Screen> {
        let mut nodes = Vec::with_capacity(lab.len());
        for node in lab.nodes() {
            nodes.push(Watched {
                name: node.name().to_owned(),
                member: node.member().to_owned(),
                client: node.client().clone(),
                follower: node.client().follow(Start::Now)?,
                seen: 0,
                status: Value::Null,
            });
        }
        let (messages, inbox) = sync_channel(MESSAGES_MAX);
        let board = Board {
            nodes,
            begin: Instant::now(),
            step: String::new(),
            notes: VecDeque::new(),
            arrivals: VecDeque::new(),
            live: std::io::stdout().is_terminal(),
            lines_drawn: 0,
        };
        let thread = std::thread::Builder::new().name("screen".to_owned()).spawn(move || board.run(&inbox))?;
        Ok(Screen { messages, thread })
    }

    /// The headline from now on.
    pub(super) fn step(&self, text: &str) {
        // An error means that the drawing thread has ended; the demo itself goes on without it.
        let _undrawn = self.messages.send(Message::Step(text.to_owned()));
    }

    /// Something worth telling.
    pub(super) fn note(&self, text: &str) {
        let _undrawn = self.messages.send(Message::Note(text.to_owned()));
    }

    /// Draws once more and ends.
    pub(super) fn close(self) {
        drop(self.messages);
        let _panicked = self.thread.join();
    }
}

struct Watched {
    name: String,
    member: String,
    client: Client,
    follower: Follower,
    seen: usize,
    status: Value,
}

struct Board {
    nodes: Vec<Watched>,
    begin: Instant,
    step: String,
    notes: VecDeque<String>,
    arrivals: VecDeque<String>,
    live: bool,
    lines_drawn: usize,
}

impl Board {
    fn run(mut self, inbox: &Receiver<Message>) {
        let every = if self.live { REDRAW } else { PROGRESS };
        let mut due = Instant::now();
        loop {
            match inbox.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => {
                    self.look();
                    self.show();
                    due = Instant::now() + every;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.look();
        self.show();
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Step(text) => {
                if !self.live {
                    println!("\n[{:>5.1} s] {text}", self.begin.elapsed().as_secs_f64());
                }
                self.step = text;
            }
            Message::Note(text) => {
                if !self.live {
                    println!("  - {text}");
                }
                self.notes.push_back(format!("{:>5.1} s  {text}", self.begin.elapsed().as_secs_f64()));
                if self.notes.len() > NOTES_SHOWN {
                    self.notes.pop_front();
                }
            }
        }
    }

    /// Asks every node how it is and collects what has arrived.
    fn look(&mut self) {
        let mut news_of_all = Vec::new();
        for node in &mut self.nodes {
            node.status = node.client.status().unwrap_or(Value::Null);
            let news = node.follower.events_after(node.seen);
            node.seen += news.len();
            let alerts = news.into_iter().filter(|event| event.kind.starts_with("vatra.alert."));
            news_of_all.extend(alerts.map(|event| (event.at, arrival(&node.name, &event, self.begin))));
        }
        news_of_all.sort();
        self.arrivals.extend(news_of_all.into_iter().map(|(_, line)| line));
        let surplus = self.arrivals.len().saturating_sub(ARRIVALS_SHOWN);
        self.arrivals.drain(..surplus);
    }

    fn show(&mut self) {
        if !self.live {
            let nodes: Vec<String> = self
                .nodes
                .iter()
                .map(|node| {
                    let digest = shortened(&text(&node.status, "digest"));
                    format!("{} {} alerts, {}, {digest}", node.name, node.status["alerts"], links(&node.status, false))
                })
                .collect();
            println!("  {}", clip(&nodes.join(" | "), WIDTH + 40));
            return;
        }
        let lines = self.lines();
        let mut frame = String::new();
        if self.lines_drawn > 0 {
            frame.push_str(&format!("\x1b[{}A\r", self.lines_drawn));
        }
        for line in &lines {
            frame.push_str(line);
            frame.push_str("\x1b[K\n");
        }
        frame.push_str("\x1b[J");
        self.lines_drawn = lines.len();
        let mut out = anstream::stdout().lock();
        // A terminal that went away is no reason to fail.
        let _gone = out.write_all(frame.as_bytes()).and_then(|()| out.flush());
    }

    /// The whole view; always the same number of lines, so that it does not jump.
    fn lines(&self) -> Vec<String> {
        let clock = format!("{:>5.1} s", self.begin.elapsed().as_secs_f64());
        let mut lines = vec![
            String::new(),
            format!("{BOLD}Vatra demo{BOLD:#}  UA, LT and PL: three processes, QUIC links, a store each    {clock}"),
            String::new(),
            format!("  {BOLD}{}{BOLD:#}", clip(&self.step, WIDTH - 2)),
            String::new(),
            format!(
                "  {FAINT}{:<6} {:<24} {:>7}  {:<30} {:<12}{FAINT:#}",
                "node", "links", "alerts", "behind", "digest"
            ),
        ];
        for node in &self.nodes {
            // Padding is computed on the plain text: colour codes have no width.
            let plain = links(&node.status, false);
            let padding = " ".repeat(24usize.saturating_sub(plain.chars().count()));
            lines.push(format!(
                "  {:<6} {}{padding} {:>7}  {:<30} {:<12}",
                node.name,
                links(&node.status, true),
                node.status["alerts"].to_string(),
                clip(&behind(&node.status, &node.member), 30),
                shortened(&text(&node.status, "digest")),
            ));
        }
        lines.push(String::new());
        for index in 0..ARRIVALS_SHOWN {
            lines.push(format!("  {}", self.arrivals.get(index).map_or("", String::as_str)));
        }
        lines.push(String::new());
        for index in 0..NOTES_SHOWN {
            lines.push(format!(
                "  {FAINT}{}{FAINT:#}",
                clip(self.notes.get(index).map_or("", String::as_str), WIDTH - 2)
            ));
        }
        lines
    }
}

/// One line for an event: when, where, from whom, how grave, what.
fn arrival(node: &str, event: &Event, begin: Instant) -> String {
    let view = &event.body["data"];
    let verb = event.kind.rsplit('.').next().unwrap_or_default();
    let at = event.at.saturating_duration_since(begin).as_secs_f64();
    let (owner, severity) = (text(view, "owner"), text(view, "severity"));
    clip(&format!("{at:>5.1} s  {node:<5} {verb:<9} {owner:<3} {severity:<8} {}", text(view, "title")), WIDTH - 2)
}

fn links(status: &Value, coloured: bool) -> String {
    let Some(mut links) = status["links"].as_array().cloned() else { return "does not answer".to_owned() };
    links.sort_by_key(|link| text(link, "member"));
    let shown: Vec<String> = links
        .iter()
        .map(|link| {
            let up = link["state"] == "up";
            let plain = format!("{} {}", text(link, "member"), if up { "up" } else { "down" });
            let style = if up { GOOD } else { BAD };
            if coloured { format!("{style}{plain}{style:#}") } else { plain }
        })
        .collect();
    if shown.is_empty() { "no links".to_owned() } else { shown.join("  ") }
}

/// Who this node is behind of, and since when.
fn behind(status: &Value, own_member: &str) -> String {
    let entry = |member: String, lag: &Value| {
        let (entries, seconds) = (lag["entries"].as_f64().unwrap_or(0.0), lag["seconds"].as_f64().unwrap_or(0.0));
        let shown = member != own_member && (entries > 0.0 || seconds >= 1.0);
        shown.then(|| format!("{member} {entries:.0} entries {seconds:.0} s"))
    };
    let shown: Vec<String> = match &status["behind"] {
        Value::Object(members) => members.iter().filter_map(|(member, lag)| entry(member.clone(), lag)).collect(),
        Value::Array(items) => items.iter().filter_map(|lag| entry(text(lag, "member"), lag)).collect(),
        _ => Vec::new(),
    };
    let links = status["links"].as_array().map_or(&[][..], Vec::as_slice);
    match shown.is_empty() {
        false => shown.join(", "),
        // Who hears nobody does not know.
        true if !links.is_empty() && links.iter().all(|link| link["state"] != "up") => "not known: cut off".to_owned(),
        true => "nothing".to_owned(),
    }
}

/// At most this many characters, nothing that moves the cursor.
fn clip(text: &str, width: usize) -> String {
    let mut clean: String = text.chars().filter(|character| !character.is_control()).take(width + 1).collect();
    if clean.chars().count() > width {
        clean = clean.chars().take(width.saturating_sub(1)).collect();
        clean.push('…');
    }
    clean
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lag_is_read_from_objects_and_lists() {
        let object = json!({"behind": {"LT": {"entries": 3, "seconds": 12.2}, "PL": {"entries": 0, "seconds": 0}}});
        assert_eq!(behind(&object, "UA"), "LT 3 entries 12 s");
        let list = json!({"behind": [{"member": "UA", "entries": 9, "seconds": 1}]});
        assert_eq!(behind(&list, "UA"), "nothing");
        let alone = json!({"behind": {}, "links": [{"member": "LT", "state": "down"}]});
        assert_eq!(behind(&alone, "UA"), "not known: cut off");
    }

    #[test]
    fn foreign_text_cannot_move_the_cursor_or_the_width() {
        assert_eq!(clip("a\x1b[2Jb\nc", 10), "a[2Jbc");
        assert_eq!(clip("abcdef", 4), "abc…");
        assert_eq!(clip("abcd", 4), "abcd");
    }
}
