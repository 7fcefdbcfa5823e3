//! `vatra doctor`: what is wrong with a node, what it means and what to do.

use clap::Args;
use serde_json::Value;

use super::api::ApiError;
use super::exit::{Exit, usage};
use super::print::{self, Printer, health, wrapped};
use super::status::{moment, text};
use super::target::Target;
use crate::doctor;

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 when nothing needs a person, 1 when something does, 4 when the node does not answer and no --dir is given.")]
pub(crate) struct DoctorArgs {
    /// Look at the directory alone, without asking the node; it must not run.
    #[arg(long)]
    stopped: bool,
}

/// Asks a running node, or looks at the directory of a stopped one, and prints what was found.
pub(crate) fn run(args: &DoctorArgs, target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    let (diagnosis, source) = examine(args, target)?;
    let is_healthy = diagnosis.get("healthy").and_then(Value::as_bool).unwrap_or(false);
    let exit = if is_healthy { Exit::Done } else { Exit::Refused };
    if out.is_json() {
        out.json(&diagnosis)?;
        return Ok(exit);
    }
    let findings = diagnosis.get("findings").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    out.line(&health(is_healthy, &heading(&diagnosis, findings, source)))?;
    for finding in findings {
        out.line("")?;
        for line in finding_lines(finding) {
            out.line(&line)?;
        }
    }
    Ok(exit)
}

/// Where a diagnosis came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Node,
    Directory,
}

fn examine(args: &DoctorArgs, target: &Target) -> anyhow::Result<(Value, Source)> {
    let silence = if args.stopped {
        None
    } else {
        match target.connect().and_then(|api| Ok(api.get("/api/v1/doctor")?)) {
            Ok(diagnosis) => return Ok((diagnosis, Source::Node)),
            Err(error) => {
                let is_unreachable = matches!(error.downcast_ref(), Some(ApiError::Unreachable { .. }));
                // Without its token a node may run all the same; its lock on the store tells.
                let is_silent = is_unreachable || error.downcast_ref::<std::io::Error>().is_some();
                if target.dir.is_none() || !is_silent {
                    return Err(error);
                }
                Some(format!("{error:#}"))
            }
        }
    };
    let dir = target.dir.as_ref().ok_or_else(|| usage("--stopped looks at a directory: name it with --dir DIR"))?;
    Ok((serde_json::to_value(doctor::examine(dir, silence.as_deref())?)?, Source::Directory))
}

fn heading(diagnosis: &Value, findings: &[Value], source: Source) -> String {
    let count = |severity: &str| findings.iter().filter(|finding| text(finding, "severity") == severity).count();
    let who = print::clean(&format!("{} of {}", text(diagnosis, "name"), text(diagnosis, "member")));
    let has = |code: &str| findings.iter().any(|finding| text(finding, "code") == code);
    let state = match source {
        Source::Node => "running",
        Source::Directory if has(doctor::RUNNING) => "running",
        Source::Directory if has(doctor::SILENT) => "not answering",
        Source::Directory => "not running",
    };
    match (count("critical"), count("warning")) {
        (0, 0) => format!("HEALTHY  {who}, {state}: nothing needs you"),
        (critical, warnings) => format!("UNHEALTHY  {who}, {state}: {critical} critical, {warnings} warnings"),
    }
}

fn finding_lines(finding: &Value) -> Vec<String> {
    let severity = text(finding, "severity");
    let label = print::gravity(&severity, &format!("{:<8}", severity.to_uppercase()));
    let since = match finding.get("since").and_then(Value::as_str) {
        Some(since) => format!(" (since {})", moment(since)),
        None => String::new(),
    };
    let what = print::clean(&format!("{}{since}", text(finding, "what")));
    let code = print::clean(&text(finding, "code"));
    let mut lines = wrapped(&format!("{code}: {what}"), WIDTH);
    if let Some(first) = lines.first_mut() {
        *first = format!("{label} {first}");
    }
    for line in lines.iter_mut().skip(1) {
        line.insert_str(0, INDENT);
    }
    let remedy = format!("-> {}", print::clean(&text(finding, "remedy")));
    lines.extend(wrapped(&remedy, WIDTH).into_iter().map(|line| format!("{INDENT}{line}")));
    lines
}

/// Columns of a finding's text, behind its label.
const WIDTH: usize = 91;
const INDENT: &str = "         ";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_heading_says_at_once_how_it_is() {
        let node = json!({"name": "kyiv-1", "member": "UA"});
        let note = json!({"severity": "note"});
        assert_eq!(
            heading(&node, std::slice::from_ref(&note), Source::Node),
            "HEALTHY  kyiv-1 of UA, running: nothing needs you"
        );
        let findings = [note, json!({"severity": "critical"}), json!({"severity": "warning"})];
        assert_eq!(
            heading(&node, &findings, Source::Directory),
            "UNHEALTHY  kyiv-1 of UA, not running: 1 critical, 1 warnings"
        );
        let running = [json!({"severity": "warning", "code": "node-running"})];
        assert_eq!(
            heading(&node, &running, Source::Directory),
            "UNHEALTHY  kyiv-1 of UA, running: 0 critical, 1 warnings"
        );
    }

    #[test]
    fn a_finding_fits_a_hundred_columns_and_drives_no_terminal() {
        let finding = json!({
            "severity": "warning", "code": "peer-clock", "what": format!("{} \u{1b}[2J end", "word ".repeat(50)),
            "remedy": "check NTP", "since": "2026-11-27T08:00:12.345Z",
        });
        let lines = finding_lines(&finding);
        assert!(lines.len() > 3, "{lines:?}");
        assert!(!lines.concat().contains("\u{1b}[2J"), "{lines:?}");
        assert!(lines.iter().skip(1).all(|line| line.chars().count() <= 100), "{lines:?}");
        assert!(lines.concat().contains("(since 2026-11-27 08:00:12)"), "{lines:?}");
        assert!(lines.last().unwrap().ends_with("-> check NTP"), "{lines:?}");
    }
}
