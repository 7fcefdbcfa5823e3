//! A run, told to people and to machines.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use crate::scenario::verdict::{INVARIANTS, Outcome, Standing, Verdict, Violation};

const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const ODD: Style = AnsiColor::Yellow.on_default();
const FAINT: Style = Style::new().dimmed();

/// Columns of a report.
const WIDTH: usize = 100;
/// Pieces of evidence that are shown of one invariant.
const EVIDENCE_MAX: usize = 3;
/// Lines of one piece of evidence.
const EVIDENCE_LINES_MAX: usize = 16;

/// What no run in the simulator shows.
pub const NOT_SHOWN: &[&str] = &[
    "real disks, file systems and engines: a simulated disk keeps whole batches, and finds a torn one when it starts",
    "real QUIC, TLS and kernels: lines are modelled, with their delays, losses and queues",
    "threads, memory, open files and time on a processor: the core runs alone and takes no time",
    "heartbeats and keep-alives of connections: idle lines carry what the core says, no more",
    "the HTTP interface, streams, webhooks, sealing and everything else outside of the core",
];

/// The color of a verdict.
#[must_use]
pub fn style(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Pass => GOOD,
        Verdict::Void => ODD,
        Verdict::Safety | Verdict::Liveness => BAD,
    }
}

/// A verdict in capitals, with what kind of failure it is.
#[must_use]
pub fn headline(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "PASS",
        Verdict::Safety => "FAIL (safety)",
        Verdict::Liveness => "FAIL (liveness)",
        Verdict::Void => "VOID (the faults did not bite)",
    }
}

/// A run on one line.
#[must_use]
pub fn brief(outcome: &Outcome) -> String {
    let color = style(outcome.verdict);
    format!(
        "{color}{:<5}{color:#} {:<20} seed {:<6} {:4.0} s simulated in {:6.2} s",
        headline(outcome.verdict),
        outcome.scenario,
        outcome.seed,
        outcome.simulated_s,
        outcome.wall_s
    )
}

/// A run for people. `wordy` adds what happened.
#[must_use]
pub fn text(outcome: &Outcome, wordy: bool) -> String {
    let mut out = String::new();
    let color = style(outcome.verdict);
    let _ = writeln!(
        out,
        "{BOLD}{}{BOLD:#}, seed {}: {color}{}{color:#}",
        outcome.scenario,
        outcome.seed,
        headline(outcome.verdict)
    );
    let _ = writeln!(
        out,
        "{FAINT}{:.0} s simulated in {:.2} s; history {}{FAINT:#}",
        outcome.simulated_s,
        outcome.wall_s,
        &outcome.history_hash.get(..16).unwrap_or(&outcome.history_hash)
    );
    if wordy {
        for line in &outcome.timeline {
            let _ = writeln!(out, "  {}", cut_off(line, WIDTH - 2));
        }
    }
    out.push('\n');
    for invariant in INVARIANTS {
        let standing = outcome.standing(invariant);
        let color = match standing {
            Standing::Pass => GOOD,
            Standing::Fail => BAD,
            Standing::Void => ODD,
            Standing::NotTested => FAINT,
        };
        let _ = writeln!(out, "  {:<4} {color}{:<10}{color:#} {}", invariant.id, standing.word(), invariant.promise);
        if let Some(why) = outcome.untested.get(invariant.id).filter(|_| standing == Standing::NotTested) {
            let _ = writeln!(out, "       {FAINT}{}{FAINT:#}", cut_off(why, WIDTH - 7));
        }
        write_evidence(&mut out, outcome, invariant.id);
    }
    write_evidence(&mut out, outcome, "expect");
    out.push('\n');
    write_figures(&mut out, outcome);
    if outcome.verdict != Verdict::Pass {
        let _ = writeln!(out, "\n{BOLD}to reproduce:{BOLD:#} {}", outcome.reproduce);
    }
    out
}

fn write_evidence(out: &mut String, outcome: &Outcome, id: &str) {
    let of = |violation: &&Violation| violation.invariant == id;
    // The shortest say most.
    let mut found: Vec<&Violation> = outcome.violations.iter().filter(of).collect();
    found.sort_by_key(|violation| (violation.what.lines().count(), violation.at_ms));
    for violation in found.iter().take(EVIDENCE_MAX) {
        let at = violation.at_ms as f64 / 1_000.0;
        let mut lines = violation.what.lines();
        let first = named(lines.next().unwrap_or_default(), &outcome.nodes);
        // Whole, for it names what to ask `why` for.
        for line in wrapped_words(&format!("at {at:.3} s: {first}"), WIDTH - 7) {
            let _ = writeln!(out, "       {line}");
        }
        for line in lines.take(EVIDENCE_LINES_MAX) {
            let _ = writeln!(out, "       {}", cut_off(&named(line, &outcome.nodes), WIDTH - 7));
        }
    }
    if found.len() > EVIDENCE_MAX {
        let _ = writeln!(out, "       and {} more", found.len() - EVIDENCE_MAX);
    }
}

fn write_figures(out: &mut String, outcome: &Outcome) {
    for bite in &outcome.bites {
        let (color, word) = if bite.holds { (GOOD, "bit") } else { (ODD, "did not bite") };
        let _ = writeln!(out, "  {color}{word:<12}{color:#} {} {}, wanted {}", bite.counter, bite.was, bite.wanted);
    }
    let took = |ms: Option<u64>| ms.map_or("never".to_owned(), |ms| format!("{:.2} s", ms as f64 / 1_000.0));
    for (index, line) in wrapped_words(&whereabouts(outcome), WIDTH - 15).into_iter().enumerate() {
        let _ = writeln!(out, "  {:<12} {line}", if index == 0 { "healed" } else { "" });
    }
    let _ = writeln!(
        out,
        "  agreed       the core after {}, everybody after {}",
        took(outcome.core_agreed_ms),
        took(outcome.all_agreed_ms)
    );
    let [half, most, all] = outcome.answer_ms;
    let _ = writeln!(out, "  answered     writes within {half:.0} ms (p50), {most:.0} ms (p99), {all:.0} ms (all)");
    let _ = writeln!(out, "  copies       {:.3} for each delivery", outcome.copies_per_delivery);
    if let Some(traffic) = &outcome.traffic {
        let idle = traffic.idle_metered_bits;
        let idle = idle.map_or_else(String::new, |bits| format!("; {bits:.0} bit/s on the busiest idle metered link"));
        let (copies, bytes) = (traffic.spread.copies, traffic.spread.bytes);
        let _ = writeln!(out, "  healthy      {copies:.3} copies, {bytes:.2} bytes for each byte delivered{idle}");
    }
    let counted: Vec<String> = outcome.counters.iter().map(|(name, count)| format!("{name} {count}")).collect();
    for (index, line) in wrapped(&counted, WIDTH - 15).into_iter().enumerate() {
        let _ = writeln!(out, "  {:<12} {line}", if index == 0 { "counted" } else { "" });
    }
    for (index, line) in NOT_SHOWN.iter().flat_map(|what| wrapped_words(what, WIDTH - 15)).enumerate() {
        let _ = writeln!(out, "  {FAINT}{:<12} {line}{FAINT:#}", if index == 0 { "not shown" } else { "" });
    }
}

/// Where everybody was while the core had to agree.
fn whereabouts(outcome: &Outcome) -> String {
    let list = |names: &[String]| if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
    let mut text = format!("{}; kept broken: {}", list(&outcome.core), list(&outcome.kept_broken));
    for (why, names) in &outcome.outside {
        let _ = write!(text, "; {why}: {}", list(names));
    }
    text
}

/// A text in lines that are not too long; all but the first are moved in.
fn wrapped_words(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(format!("  {word}")),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Items in lines that are not too long.
fn wrapped(items: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for item in items {
        match lines.last_mut() {
            Some(line) if line.len() + item.len() + 2 <= width => {
                line.push_str(", ");
                line.push_str(item);
            }
            _ => lines.push(item.clone()),
        }
    }
    lines
}

/// "node 3" with the name that the scenario gave it.
#[must_use]
pub fn named(text: &str, nodes: &[String]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("node ") {
        let (before, from) = rest.split_at(at + "node ".len());
        out.push_str(before);
        let digits = from.bytes().take_while(u8::is_ascii_digit).count();
        let (number, behind) = from.split_at(digits);
        out.push_str(number);
        if let Some(name) = number.parse::<usize>().ok().and_then(|index| nodes.get(index)) {
            let _ = write!(out, " ({name})");
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// A line that fits.
fn cut_off(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let mut short: String = line.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// The line for machines that `seeds --json` prints of each seed.
#[must_use]
pub fn line(outcome: &Outcome) -> Value {
    json!({
        "seed": outcome.seed,
        "verdict": outcome.verdict.word(),
        "history_hash": outcome.history_hash,
        "simulated_s": outcome.simulated_s,
        "wall_s": outcome.wall_s,
        "violations": outcome.violations,
        "traffic": outcome.traffic,
    })
}

/// The whole report for machines. `scenario` is the text that replays it.
#[must_use]
pub fn whole(outcome: &Outcome, scenario: &str) -> Value {
    let standings: serde_json::Map<String, Value> = INVARIANTS
        .iter()
        .map(|invariant| (invariant.id.to_owned(), outcome.standing(invariant).word().into()))
        .collect();
    json!({
        "schema": 1,
        "scenario": outcome.scenario,
        "file": outcome.file,
        "seed": outcome.seed,
        "verdict": outcome.verdict.word(),
        "exit_code": outcome.verdict.exit_code(),
        "history_hash": outcome.history_hash,
        "simulated_s": outcome.simulated_s,
        "wall_s": outcome.wall_s,
        "violations": outcome.violations,
        "invariants": standings,
        "must_bite": outcome.bites,
        "counters": outcome.counters,
        "nodes": outcome.nodes,
        "core": outcome.core,
        "kept_broken": outcome.kept_broken,
        "outside": outcome.outside,
        "core_agreed_ms": outcome.core_agreed_ms,
        "all_agreed_ms": outcome.all_agreed_ms,
        "copies_per_delivery": outcome.copies_per_delivery,
        "traffic": outcome.traffic,
        "untested": outcome.untested,
        "answer_ms": { "p50": outcome.answer_ms[0], "p99": outcome.answer_ms[1], "max": outcome.answer_ms[2] },
        "timeline": outcome.timeline,
        "not_shown": NOT_SHOWN,
        "reproduce": outcome.reproduce,
        "scenario_toml": scenario,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_get_their_names() {
        let nodes = vec!["ee".to_owned(), "lv".to_owned()];
        assert_eq!(
            named("node 1 lost what node 0 has, node 7 not", &nodes),
            "node 1 (lv) lost what node 0 (ee) has, node 7 not"
        );
        assert_eq!(named("no such thing", &nodes), "no such thing");
    }

    #[test]
    fn lines_fit() {
        assert_eq!(cut_off("abcdef", 4), "abc…");
        assert_eq!(wrapped(&["aa".to_owned(), "bb".to_owned(), "cc".to_owned()], 6), ["aa, bb", "cc"]);
        assert_eq!(wrapped_words("aa bb cc dd", 6), ["aa bb", "  cc", "  dd"]);
    }
}
