//! `vatra status` and `vatra digest`: how a node is, and whether two nodes show the same.

use serde_json::Value;

use super::exit::Exit;
use super::print::{self, Printer, health, wrapped};
use super::target::Target;

/// Shows a node's state: first whether all is well, then the members, then the details.
pub(crate) fn status(target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    let status = target.connect()?.get("/api/v1/status")?;
    if out.is_json() {
        out.json(&status)?;
        return Ok(Exit::Done);
    }
    let troubles = troubles(&status);
    out.line(&health(troubles.is_empty(), &print::clean(&heading(&status, &troubles))))?;
    for trouble in &troubles {
        for line in trouble_lines(trouble) {
            out.line(&line)?;
        }
    }
    for cut in list(&status, "cuts") {
        out.line(&print::clean(&drill(cut)))?;
    }
    let members = list(&status, "members");
    if !members.is_empty() {
        out.line("")?;
        let columns = ["member", "state", "since", "behind", "caught up", "forks", "no effect"];
        out.table(&columns, members.iter().map(member_row).collect())?;
    }
    out.line("")?;
    for (name, value) in facts(&status) {
        out.line(&format!("{} {}", print::bold(&format!("{name:<13}")), print::clean(&value)))?;
    }
    let links = list(&status, "links");
    out.line("")?;
    if links.is_empty() {
        out.line("no links")?;
    } else {
        let up = links.iter().filter(|link| text(link, "state") == "up").count();
        let heading = format!("{up} of {} links up", links.len());
        out.line(&health(up == links.len(), &heading))?;
        out.table(&["node", "member", "state", "since", "rtt"], links.iter().map(link_row).collect())?;
    }
    Ok(Exit::Done)
}

fn heading(status: &Value, troubles: &[String]) -> String {
    let who = format!("{} of {}", text(status, "name"), text(status, "member"));
    let others = || list(status, "members").iter().filter(|member| text(member, "standing") != "own");
    let reached = others().filter(|member| text(member, "standing") != "unreachable").count();
    if troubles.is_empty() {
        format!("HEALTHY  {who}: {reached} of {} other members in reach, nothing needs you", others().count())
    } else {
        format!("UNHEALTHY  {who}: {}; `vatra doctor` says what to do", counted(troubles.len(), "trouble"))
    }
}

/// What keeps a node from being well, each in a line. The node judges itself, by the rules of its doctor.
fn troubles(status: &Value) -> Vec<String> {
    if status.get("healthy").is_none() {
        return vec!["this version of the node does not say how it is".to_owned()];
    }
    let trouble = |trouble: &Value| match since(trouble) {
        Some(since) => format!("{} (since {since})", text(trouble, "what")),
        None => text(trouble, "what"),
    };
    list(status, "troubles").iter().map(trouble).collect()
}

/// A trouble as it is printed, as wide as the tables below it.
fn trouble_lines(trouble: &str) -> Vec<String> {
    let lines = wrapped(&print::clean(trouble), TROUBLE_WIDTH).into_iter().enumerate();
    lines.map(|(number, line)| format!("{}{line}", if number == 0 { "  - " } else { "    " })).collect()
}

/// Columns of a trouble's text, behind its dash.
const TROUBLE_WIDTH: usize = 96;

fn member_row(member: &Value) -> Vec<String> {
    let standing = text(member, "standing");
    let state = match member.get("reason").and_then(Value::as_str) {
        Some(reason) if standing != "linked" => format!("{standing} ({})", print::shortened(reason, 30)),
        _ => standing,
    };
    let behind = &member["behind"];
    let lag = match number(behind, "entries") {
        None | Some(0) => "-".to_owned(),
        Some(_) => format!("{}, {}", behind_entries(behind), duration(number(behind, "seconds"))),
    };
    let eta = number(behind, "eta_seconds").map_or_else(|| "-".to_owned(), |eta| format!("in {}", duration(Some(eta))));
    let forks = match (number(member, "forks"), number(member, "strays")) {
        (None | Some(0), _) => "-".to_owned(),
        (Some(forks), Some(strays)) => format!("{forks} ({})", counted(strays, "stray")),
        (Some(forks), None) => forks.to_string(),
    };
    let quarantined = number(member, "quarantined").filter(|changes| *changes > 0);
    let quarantined = quarantined.map_or_else(|| "-".to_owned(), |changes| changes.to_string());
    vec![text(member, "member"), state, since(member).unwrap_or_else(|| "-".to_owned()), lag, eta, forks, quarantined]
}

fn behind_entries(behind: &Value) -> String {
    let entries = number(behind, "entries").unwrap_or(0);
    if entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") }
}

fn counted(count: impl TryInto<u64>, what: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn number(value: &Value, field: &str) -> Option<u64> {
    value.get(field).and_then(Value::as_u64)
}

fn since(value: &Value) -> Option<String> {
    value.get("since").and_then(Value::as_str).map(moment)
}

/// A time as people read it, to the second: `2026-11-24 02:30:05`, of UTC.
pub(crate) fn moment(time: &str) -> String {
    let to_second: String = time.chars().take("2026-11-24T02:30:05".len()).collect();
    print::clean(&to_second.replace('T', " "))
}

/// Seconds in at most two units: `45 s`, `3 min 5 s`, `2 h 7 min`, `3 d 4 h`.
pub(crate) fn duration(seconds: Option<u64>) -> String {
    let Some(seconds) = seconds else { return "-".to_owned() };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Prints a node's digest alone, so that a script can compare two.
pub(crate) fn digest(target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    let api = target.connect()?;
    let status = api.get("/api/v1/status")?;
    let digest = status.get("digest").and_then(Value::as_str).map(str::to_owned);
    let digest = digest.ok_or_else(|| api.unexpected("the status has no digest".to_owned()))?;
    if out.is_json() {
        let counts = |name: &str| status.get(name).cloned().unwrap_or(Value::Null);
        out.json(&serde_json::json!({
            "digest": digest, "alerts": counts("alerts"), "contacts": counts("contacts"), "node": counts("node"),
        }))?;
    } else {
        out.line(&print::clean(&digest))?;
    }
    Ok(Exit::Done)
}

/// The single facts of a status in a fixed order; what a node does not tell is left out.
fn facts(status: &Value) -> Vec<(&'static str, String)> {
    let names = [
        "name",
        "node",
        "member",
        "site",
        "incarnation",
        "version",
        "started_at",
        "charter_epoch",
        "position",
        "alerts",
        "contacts",
        "digest",
    ];
    let mut facts: Vec<(&'static str, String)> = names
        .into_iter()
        .filter(|name| status.get(*name).is_some_and(|value| !value.is_null()))
        .map(|name| (name, text(status, name)))
        .collect();
    if let Some(store) = status.get("store").filter(|value| !value.is_null()) {
        facts.push(("store", flat(store)));
    }
    facts
}

/// A cut in words; an empty list of members means all.
fn drill(cut: &Value) -> String {
    let members = match list(cut, "members") {
        [] => "all members".to_owned(),
        members => members.iter().map(flat).collect::<Vec<_>>().join(", "),
    };
    let (until, reason, by) = (text(cut, "until"), text(cut, "reason"), text(cut, "by"));
    format!("drill: cut from {members} until {until}: {reason} (by {by})")
}

fn link_row(link: &Value) -> Vec<String> {
    let state = match link.get("reason").and_then(Value::as_str) {
        Some(reason) => format!("{} ({})", text(link, "state"), print::shortened(reason, 40)),
        None => text(link, "state"),
    };
    let rtt = match link.get("rtt_ms").and_then(Value::as_f64) {
        Some(rtt) => format!("{rtt:.1} ms"),
        None => "-".to_owned(),
    };
    let node = match link.get("name").and_then(Value::as_str) {
        Some(name) => name.to_owned(),
        None => print::shortened(&text(link, "node"), 16),
    };
    vec![node, text(link, "member"), state, text(link, "since"), rtt]
}

/// The items of a list field, none when it is absent.
fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A field as text: strings bare, absent or null as a dash.
pub(crate) fn text(value: &Value, field: &str) -> String {
    match value.get(field) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(value) => flat(value),
    }
}

/// A value on one line: strings bare, lists joined, objects as `name value` pairs.
pub(crate) fn flat(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(flat).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| format!("{name} {}", flat(value))).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_is_read_as_far_as_it_goes() {
        let status = json!({"node": "kyiv-1", "member": "UA", "alerts": 3, "digest": "00ff", "store": {"state": "ok"}});
        let facts = facts(&status);
        assert_eq!(facts.first(), Some(&("node", "kyiv-1".to_owned())));
        assert_eq!(facts.last(), Some(&("store", "state ok".to_owned())));
        let link = json!({"node": "ab".repeat(32), "member": "LT", "state": "up", "since": "s", "rtt_ms": 1.25});
        assert_eq!(link_row(&link), ["abababababababa…", "LT", "up", "s", "1.2 ms"]);
    }

    #[test]
    fn a_drill_is_told_in_words() {
        let cut = json!({"members": [], "until": "u", "reason": "r", "by": "admin"});
        assert_eq!(drill(&cut), "drill: cut from all members until u: r (by admin)");
        let cut = json!({"members": ["LT", "PL"], "until": "u", "reason": "r", "by": "admin"});
        assert_eq!(drill(&cut), "drill: cut from LT, PL until u: r (by admin)");
    }

    fn member(standing: &str, extra: &Value) -> Value {
        let mut member = json!({
            "member": "LT", "standing": standing, "since": "2026-11-24T02:30:05.123Z",
            "behind": {"entries": 0, "seconds": 0}, "forks": 0, "strays": 0, "quarantined": 0,
        });
        for (name, value) in extra.as_object().unwrap() {
            member[name] = value.clone();
        }
        member
    }

    #[test]
    fn a_member_is_one_row() {
        let row = |member: &Value| member_row(member).join(" | ");
        assert_eq!(row(&member("linked", &json!({}))), "LT | linked | 2026-11-24 02:30:05 | - | - | - | -");
        let worst = json!({
            "reason": "silent for 3 s", "behind": {"entries": 1200, "seconds": 185, "eta_seconds": 7_500},
            "forks": 1, "strays": 3, "quarantined": 2,
        });
        assert_eq!(
            row(&member("unreachable", &worst)),
            "LT | unreachable (silent for 3 s) | 2026-11-24 02:30:05 | 1200 entries, 3 min 5 s | in 2 h 5 min | \
             1 (3 strays) | 2"
        );
        let unheard = json!({"since": null});
        assert_eq!(row(&member("unreachable", &unheard)), "LT | unreachable | - | - | - | - | -");
    }

    #[test]
    fn the_heading_tells_trouble_from_health() {
        let members = [member("own", &json!({"member": "UA"})), member("unreachable", &json!({}))];
        let well = json!({"name": "kyiv-1", "member": "UA", "members": members, "healthy": true, "troubles": []});
        assert_eq!(troubles(&well), Vec::<String>::new(), "whom a drill cuts off is no trouble");
        assert_eq!(heading(&well, &[]), "HEALTHY  kyiv-1 of UA: 0 of 1 other members in reach, nothing needs you");

        let mut ill = well;
        ill["healthy"] = json!(false);
        ill["troubles"] = json!([
            {"severity": "critical", "code": "store-read-only", "what": "the disk is full"},
            {"severity": "warning", "code": "link-down", "what": "a link is down", "since": "2026-11-24T02:30:05.123Z"},
        ]);
        let expected = ["the disk is full", "a link is down (since 2026-11-24 02:30:05)"];
        assert_eq!(troubles(&ill), expected);
        let text = heading(&ill, &troubles(&ill));
        assert_eq!(text, "UNHEALTHY  kyiv-1 of UA: 2 troubles; `vatra doctor` says what to do");
        assert_eq!(troubles(&json!({})).len(), 1, "a node that does not judge itself is not taken for a healthy one");
    }

    #[test]
    fn a_trouble_fits_a_hundred_columns() {
        let lines = trouble_lines(&format!("{}\u{1b}[2J end", "word ".repeat(50)));
        assert!(lines.len() > 2 && lines.iter().all(|line| line.chars().count() <= 100), "{lines:?}");
        assert!(lines[0].starts_with("  - word") && lines[1].starts_with("    word"), "{lines:?}");
        assert!(!lines.concat().contains('\u{1b}'), "{lines:?}");
    }

    #[test]
    fn durations_have_two_units_at_most() {
        let all = [59, 60, 3_599, 3_600, 86_399, 86_400, 999_999].map(|seconds| duration(Some(seconds)));
        assert_eq!(all, ["59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "23 h 59 min", "1 d 0 h", "11 d 13 h"]);
    }
}
