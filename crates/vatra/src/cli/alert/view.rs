//! One alert as a person reads it.

use std::io;

use serde_json::Value;

use crate::cli::print::{self, Printer};
use crate::cli::status::{flat, text};

/// Fields of the head, in order, as far as the alert has them.
const HEAD: [&str; 22] = [
    "id",
    "code",
    "owner",
    "status",
    "kind",
    "severity",
    "tlp",
    "class",
    "sectors",
    "countries",
    "urgency",
    "certainty",
    "confidence",
    "effective",
    "onset",
    "expires",
    "issued_at",
    "modified_at",
    "classification",
    "handling",
    "vulnerabilities",
    "actions",
];

/// Prints an alert: head, texts, lists, answers, conflicts.
pub(crate) fn print(alert: &Value, out: &mut Printer) -> io::Result<()> {
    let title = print::clean(&text(alert, "title"));
    out.line(&print::severity(&text(alert, "severity"), &title))?;
    if alert.get("cancel_disputed").and_then(Value::as_bool) == Some(true) {
        out.line(&print::health(false, "cancel disputed: an update and a cancel were made at the same time"))?;
    }
    if alert.get("newer_than_node").and_then(Value::as_bool) == Some(true) {
        out.line(&print::health(false, "newer than this node: it does not understand all of this alert"))?;
    }
    for name in HEAD {
        if let Some(value) = alert.get(name).filter(|value| is_given(value)) {
            out.line(&format!("  {name:<16}{}", print::clean(&flat(value))))?;
        }
    }
    for name in ["body", "instruction"] {
        if let Some(value) = alert.get(name).and_then(Value::as_str).filter(|value| !value.is_empty()) {
            out.line(&format!("\n{}\n{}", print::bold(name), print::clean(value)))?;
        }
    }
    for name in ["references", "indicators", "attachments", "timeline", "supersedes", "related", "translations"] {
        let Some(value) = alert.get(name).filter(|value| is_given(value)) else { continue };
        out.line(&format!("\n{}", print::bold(name)))?;
        for line in lines(value) {
            out.line(&format!("  {}", print::clean(&line)))?;
        }
    }
    sections(alert, out)
}

/// The answers by member and the conflicts by field.
fn sections(alert: &Value, out: &mut Printer) -> io::Result<()> {
    for (name, heading) in [("responses", "answers"), ("conflicts", "conflicts to settle")] {
        let Some(fields) = alert.get(name).and_then(Value::as_object).filter(|fields| !fields.is_empty()) else {
            continue;
        };
        out.line(&format!("\n{}", print::bold(heading)))?;
        for (key, value) in fields {
            let value = match value {
                Value::Array(values) => values.iter().map(flat).collect::<Vec<_>>().join(" | "),
                value => given_fields(value),
            };
            out.line(&format!("  {:<16}{}", print::clean(key), print::clean(&value)))?;
        }
    }
    Ok(())
}

/// An RFC 3339 time to the minute, as lists show it.
pub(crate) fn minutes(time: &str) -> String {
    match time.get(..16) {
        Some(start) if time.len() > 16 => start.replace('T', " "),
        _ => time.to_owned(),
    }
}

/// An RFC 3339 time to the minute without its year, as narrow tables show it.
pub(crate) fn short_minutes(time: &str) -> String {
    let time = minutes(time);
    time.get(5..).filter(|rest| rest.len() == 11).map_or(time.clone(), str::to_owned)
}

fn is_given(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    }
}

fn given_fields(value: &Value) -> String {
    let Some(fields) = value.as_object() else { return flat(value) };
    let given = fields.iter().filter(|(_, value)| is_given(value));
    given.map(|(name, value)| format!("{name} {}", flat(value))).collect::<Vec<_>>().join(", ")
}

fn lines(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().map(given_fields).collect(),
        Value::Object(fields) => fields.iter().map(|(key, value)| format!("{key}: {}", given_fields(value))).collect(),
        other => vec![flat(other)],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_shown_to_the_minute() {
        assert_eq!(minutes("2026-11-24T02:30:00.000Z"), "2026-11-24 02:30");
        assert_eq!(minutes("-"), "-");
        assert_eq!(short_minutes("2026-11-24T02:30:00.000Z"), "11-24 02:30");
        assert_eq!(short_minutes("-"), "-");
    }

    #[test]
    fn empty_fields_are_not_shown() {
        let answer = json!({"assessment": "affected", "note": null, "advisories": [], "impact": {}});
        assert_eq!(given_fields(&answer), "assessment affected");
    }
}
