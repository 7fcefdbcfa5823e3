//! `vatra alert reach`: who has an alert, who cannot have it, and since when they are out of reach.

use clap::Args;
use serde_json::Value;
use vatra_model::RecordId;

use crate::cli::exit::Exit;
use crate::cli::input;
use crate::cli::print::{self, Printer, health};
use crate::cli::status::{moment, text};
use crate::cli::target::Target;

#[derive(Debug, Args)]
pub(crate) struct ReachArgs {
    /// Id of the alert.
    #[arg(value_parser = input::record_id)]
    id: RecordId,
}

/// Shows which members and nodes hold an alert.
pub(crate) fn reach(args: &ReachArgs, target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    let answer = target.connect()?.get(&format!("/api/v1/alerts/{}/reach", args.id))?;
    if out.is_json() {
        out.json(&answer)?;
        return Ok(Exit::Done);
    }
    let members = list(&answer, "members");
    let holders = members.iter().filter(|member| member["holds"] == true).count();
    let heading = format!("held by {holders} of {} members", members.len());
    out.line(&health(holders == members.len(), &heading))?;
    out.table(&["member", "node", "alert", "node is", "last heard"], members.iter().flat_map(rows).collect())?;
    Ok(Exit::Done)
}

/// A row for each node of a member.
fn rows(member: &Value) -> Vec<Vec<String>> {
    let code = text(member, "member");
    let nodes = list(member, "delivery");
    if nodes.is_empty() {
        let state = if member["holds"] == true { "holds it" } else { "unknown" };
        return vec![vec![code, "no node known".to_owned(), state.to_owned(), "-".to_owned(), heard(member)]];
    }
    let row = |node: &Value| vec![code.clone(), text(node, "name"), state(node), standing(node), heard(node)];
    nodes.iter().map(row).collect()
}

/// How far the alert has come to a node.
fn state(node: &Value) -> String {
    let missing = match node.get("missing").and_then(Value::as_u64) {
        None | Some(0) => String::new(),
        Some(1) => ": lacks 1 entry".to_owned(),
        Some(missing) => format!(": lacks {missing} entries"),
    };
    match text(node, "state").as_str() {
        "holds" => "holds it".to_owned(),
        "behind" => format!("not yet{missing}"),
        _ if missing.is_empty() => "unknown".to_owned(),
        _ => format!("not when last heard{missing}"),
    }
}

fn standing(node: &Value) -> String {
    let standing = match text(node, "standing").as_str() {
        "own" => return "this one".to_owned(),
        "linked" => return "linked".to_owned(),
        "relayed" => return "relayed by others".to_owned(),
        "unreachable" => "out of reach",
        other => return print::clean(other),
    };
    match node.get("since").and_then(Value::as_str) {
        Some(since) => format!("{standing} since {}", moment(since)),
        None => format!("{standing} since the start"),
    }
}

fn heard(value: &Value) -> String {
    value.get("heard_at").and_then(Value::as_str).map_or_else(|| "never".to_owned(), moment)
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_node_has_a_row_that_says_who_has_it_and_who_cannot() {
        let at = "2026-11-24T02:30:05.123Z";
        let node = |state: &str, missing: Value, standing: &str, at: Value| json!({"name": "n", "state": state, "missing": missing, "standing": standing, "since": at, "heard_at": at});
        let member = json!({"member": "LT", "holds": true, "delivery": [
            node("holds", json!(0), "own", json!(at)),
            node("behind", json!(1), "relayed", json!(at)),
            node("unknown", json!(3), "unreachable", json!(at)),
            node("unknown", Value::Null, "unreachable", Value::Null),
        ]});
        let rows: Vec<String> = rows(&member).into_iter().map(|row| row.join(" | ")).collect();
        assert_eq!(
            rows,
            [
                "LT | n | holds it | this one | 2026-11-24 02:30:05",
                "LT | n | not yet: lacks 1 entry | relayed by others | 2026-11-24 02:30:05",
                "LT | n | not when last heard: lacks 3 entries | out of reach since 2026-11-24 02:30:05 | \
             2026-11-24 02:30:05",
                "LT | n | unknown | out of reach since the start | never",
            ]
        );
        let unknown = json!({"member": "PL", "holds": false, "nodes": [], "heard_at": null});
        assert_eq!(super::rows(&unknown), [["PL", "no node known", "unknown", "-", "never"].map(str::to_owned)]);
    }
}
