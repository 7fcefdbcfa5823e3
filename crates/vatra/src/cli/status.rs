//! `vatra status` and `vatra digest`: how a node is, and whether two nodes show the same.

use serde_json::Value;

use super::exit::Exit;
use super::print::{self, Printer, health};
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
        out.line(&print::clean(&format!("  - {trouble}")))?;
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
        format!("HEALTHY  {who}: {reached} of {} other members in reach, nothing missing", others().count())
    } else {
        format!("UNHEALTHY  {who}: {}; `vatra doctor` says what to do", counted(troubles.len(), "trouble"))
    }
}

/// What keeps a node from being well, each in a line.
fn troubles(status: &Value) -> Vec<String> {
    let mut troubles = Vec::new();
    let store = &status["store"];
    if store.is_object() && text(store, "state") != "ok" {
        troubles.push(format!("the store is {}: {}", text(store, "state"), text(store, "reason")));
    }
    if let Some(rows) = number(store, "damaged").filter(|rows| *rows > 0) {
        troubles.push(format!("{} of the store damaged", counted(rows, "row")));
    }
    for member in list(status, "members") {
        let code = text(member, "member");
        if text(member, "standing") == "unreachable" {
            let since = since(member).map_or_else(|| "since the start".to_owned(), |at| format!("since {at}"));
            troubles.push(format!("{code} is out of reach {since}"));
        }
        let behind = &member["behind"];
        if number(behind, "seconds").is_some_and(|seconds| seconds >= BEHIND_SECONDS) {
            troubles.push(format!(
                "{} of {code} missing for {}",
                behind_entries(behind),
                duration(number(behind, "seconds"))
            ));
        }
    }
    for fork in list(status, "forks").iter().filter(|fork| fork["settled"] != true) {
        troubles.push(format!("{}/{} forked its log {}", text(fork, "member"), text(fork, "name"), text(fork, "log")));
    }
    let held_back = list(status, "quarantine").iter().filter(|change| change["is_fault"] == true).count();
    if held_back > 0 {
        troubles.push(format!("{} held back, because this version crashes on them", counted(held_back, "change")));
    }
    troubles.extend(list(status, "cuts").iter().map(drill));
    troubles
}

/// Lag from which a person should look, in seconds.
const BEHIND_SECONDS: u64 = 60;

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
        let node = |members: Vec<Value>| json!({"name": "kyiv-1", "member": "UA", "store": {"state": "ok", "damaged": 0}, "members": members});
        let well = node(vec![member("own", &json!({"member": "UA"})), member("relayed", &json!({}))]);
        assert_eq!(troubles(&well), Vec::<String>::new());
        let text = heading(&well, &[]);
        assert_eq!(text, "HEALTHY  kyiv-1 of UA: 1 of 1 other members in reach, nothing missing");

        let mut ill = node(vec![
            member("unreachable", &json!({})),
            member("linked", &json!({"member": "PL", "behind": {"entries": 1, "seconds": 61}})),
        ]);
        ill["store"] = json!({"state": "read-only", "reason": "the disk is full", "damaged": 1});
        ill["forks"] = json!([{"member": "PL", "name": "pl-1", "log": "ab", "settled": false}, {"settled": true}]);
        ill["quarantine"] = json!([{"is_fault": true}, {"is_fault": false}, {"is_fault": true}]);
        let expected = [
            "the store is read-only: the disk is full",
            "1 row of the store damaged",
            "LT is out of reach since 2026-11-24 02:30:05",
            "1 entry of PL missing for 1 min 1 s",
            "PL/pl-1 forked its log ab",
            "2 changes held back, because this version crashes on them",
        ];
        assert_eq!(troubles(&ill), expected);
        let text = heading(&ill, &troubles(&ill));
        assert_eq!(text, "UNHEALTHY  kyiv-1 of UA: 6 troubles; `vatra doctor` says what to do");
    }

    #[test]
    fn durations_have_two_units_at_most() {
        let all = [59, 60, 3_599, 3_600, 86_399, 86_400, 999_999].map(|seconds| duration(Some(seconds)));
        assert_eq!(all, ["59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "23 h 59 min", "1 d 0 h", "11 d 13 h"]);
    }
}
