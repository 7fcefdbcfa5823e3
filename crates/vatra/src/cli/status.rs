//! `vatra status` and `vatra digest`: how a node is, and whether two nodes show the same.

use serde_json::Value;

use super::exit::Exit;
use super::print::{self, Printer, health};
use super::target::Target;

/// Shows a node's state.
pub(crate) fn status(target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    let status = target.connect()?.get("/api/v1/status")?;
    if out.is_json() {
        out.json(&status)?;
        return Ok(Exit::Done);
    }
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
    let behind = behind_rows(status.get("behind"));
    if !behind.is_empty() {
        out.line("")?;
        out.table(&["behind", "entries", "seconds"], behind)?;
    }
    for cut in list(&status, "cuts") {
        out.line(&health(false, &print::clean(&drill(cut))))?;
    }
    Ok(Exit::Done)
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

/// The members that this node is behind of. `behind` is an object by member, or a list that names the member in
/// each item.
fn behind_rows(behind: Option<&Value>) -> Vec<Vec<String>> {
    let row = |member: String, lag: &Value| vec![member, text(lag, "entries"), text(lag, "seconds")];
    match behind {
        Some(Value::Object(members)) => {
            let lags = members.iter().filter(|(_, lag)| lag["entries"] != 0);
            lags.map(|(member, lag)| row(member.clone(), lag)).collect()
        }
        Some(Value::Array(items)) => items.iter().map(|lag| row(text(lag, "member"), lag)).collect(),
        _ => Vec::new(),
    }
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

    #[test]
    fn lag_comes_as_object_or_list() {
        let expected = vec![vec!["LT".to_owned(), "4".to_owned(), "2".to_owned()]];
        assert_eq!(behind_rows(Some(&json!({"LT": {"entries": 4, "seconds": 2}}))), expected);
        assert_eq!(behind_rows(Some(&json!([{"member": "LT", "entries": 4, "seconds": 2}]))), expected);
    }
}
