//! What commands read: JSON from a file or standard input, ids, times and FIELD=VALUE pairs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::Serialize;
use serde_json::{Map, Value};
use vatra_model::{RecordId, WallMs};

use super::exit::usage;

/// Largest JSON file that a command takes for one record.
const RECORD_BYTES_MAX: u64 = 1024 * 1024;
/// Furthest time that may be given as a duration from now.
const DURATION_DAYS_MAX: u64 = 3660;

/// Reads one JSON object from a file, or from standard input when the name is `-`.
pub(crate) fn read_object(path: &Path) -> anyhow::Result<Map<String, Value>> {
    let bytes = read_bounded(path, RECORD_BYTES_MAX)?;
    match serde_json::from_slice(&bytes).with_context(|| format!("{}: not valid JSON", path.display()))? {
        Value::Object(object) => Ok(object),
        _ => anyhow::bail!("{}: a JSON object is expected, not another value", path.display()),
    }
}

/// Reads a file, or standard input when the name is `-`, of at most `bytes_max` bytes.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        io::stdin().lock().take(bytes_max + 1).read_to_end(&mut bytes)
    } else {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        file.take(bytes_max + 1).read_to_end(&mut bytes)
    };
    let length = read.with_context(|| path.display().to_string())?;
    anyhow::ensure!(length as u64 <= bytes_max, "{}: larger than {bytes_max} bytes", path.display());
    Ok(bytes)
}

/// A record id as an argument.
pub(crate) fn record_id(text: &str) -> Result<RecordId, String> {
    text.parse().map_err(|error: vatra_model::ids::ParseIdError| error.to_string())
}

/// A time as an argument: RFC 3339, or a duration from now such as `48h`.
pub(crate) fn time(text: &str) -> Result<WallMs, String> {
    if let Some(at) = WallMs::parse(text) {
        return Ok(at);
    }
    let ahead = humantime::parse_duration(text)
        .map_err(|_| "a time is RFC 3339, as 2026-11-24T02:30:00Z, or a duration from now, as 48h".to_owned())?;
    if ahead.as_secs() > DURATION_DAYS_MAX * 24 * 60 * 60 {
        return Err(format!("a duration from now is at most {DURATION_DAYS_MAX} days"));
    }
    let ahead_ms = u64::try_from(ahead.as_millis()).map_err(|error| error.to_string())?;
    Ok(WallMs(now().0.saturating_add(ahead_ms)))
}

/// The wall clock of this machine.
pub(crate) fn now() -> WallMs {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallMs(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

/// A text, or JSON when it starts as an object or an array.
pub(crate) fn value(text: &str) -> Result<Value, String> {
    if !text.starts_with(['{', '[']) {
        return Ok(Value::String(text.to_owned()));
    }
    serde_json::from_str(text).map_err(|error| format!("not valid JSON: {error}"))
}

/// A `FIELD=KEY` argument: the element of a list field that is to go.
pub(crate) fn field_key(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((field, key)) if !field.is_empty() && !key.is_empty() => Ok((field.to_owned(), key.to_owned())),
        _ => Err("FIELD=KEY is expected".to_owned()),
    }
}

/// A `FIELD=VALUE` argument.
pub(crate) fn pair(text: &str) -> Result<(String, Value), String> {
    let (field, rest) = text.split_once('=').ok_or("FIELD=VALUE is expected")?;
    if field.is_empty() {
        return Err("the field before = is empty".to_owned());
    }
    Ok((field.to_owned(), value(rest)?))
}

/// A `NAME=VALUE` filter; which names there are is the node's to say.
pub(crate) fn filter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE is expected")?;
    if name.is_empty() || matches!(name, "cursor" | "from" | "limit" | "since") {
        return Err(format!("{name:?} is no filter"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// What a list field gains and loses.
#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    add: Vec<&'a Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remove: Vec<&'a String>,
}

/// Builds the JSON of a change to a record: fields set by options, sets added to and removed from,
/// fields cleared.
pub(crate) fn patch(
    mut fields: Map<String, Value>,
    clear: &[String],
    add: &[(String, Value)],
    remove: &[(String, String)],
) -> anyhow::Result<Map<String, Value>> {
    for field in clear {
        if fields.insert(field.clone(), Value::Null).is_some() {
            return Err(usage(format!("{field} is both set and cleared")));
        }
    }
    let mut deltas: BTreeMap<&str, Delta> = BTreeMap::new();
    for (field, value) in add {
        deltas.entry(field).or_default().add.push(value);
    }
    for (field, key) in remove {
        deltas.entry(field).or_default().remove.push(key);
    }
    for (field, delta) in deltas {
        if fields.insert(field.to_owned(), serde_json::to_value(delta)?).is_some() {
            return Err(usage(format!("{field} is both given whole and changed with --add or --remove")));
        }
    }
    if fields.is_empty() {
        return Err(usage("nothing to change: give at least one field"));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_absolute_or_ahead() {
        assert_eq!(time("2025-11-24T16:00:00.123Z"), Ok(WallMs(1_764_000_000_123)));
        let before = now().0;
        let ahead = time("48h").unwrap().0;
        assert!((before + 48 * 3_600_000..=now().0 + 48 * 3_600_000).contains(&ahead));
        for bad in ["", "tomorrow", "2025-13-01T00:00:00Z", "4000days"] {
            assert!(time(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn filters_are_names_with_values() {
        assert_eq!(filter("severity=severe"), Ok(("severity".into(), "severe".into())));
        assert!(filter("severity").is_err() && filter("=x").is_err() && filter("cursor=x").is_err());
    }

    #[test]
    fn a_patch_collects_sets_deltas_and_clears() {
        let fields = json!({"title": "t"}).as_object().cloned().unwrap();
        let add = [pair("countries=UA").unwrap(), pair(r#"references={"url":"https://x"}"#).unwrap()];
        let remove = [field_key("countries=LT").unwrap()];
        let patch = patch(fields, &["lang".into()], &add, &remove).unwrap();
        let expected = json!({
            "title": "t", "lang": null,
            "countries": {"add": ["UA"], "remove": ["LT"]},
            "references": {"add": [{"url": "https://x"}]},
        });
        assert_eq!(Value::Object(patch), expected);
    }

    #[test]
    fn a_patch_refuses_contradictions() {
        let fields = || json!({"countries": ["UA"]}).as_object().cloned().unwrap();
        assert!(patch(fields(), &["countries".into()], &[], &[]).is_err());
        assert!(patch(fields(), &[], &[("countries".into(), json!("LT"))], &[]).is_err());
        assert!(patch(Map::new(), &[], &[], &[]).is_err());
        assert!(field_key("x=").is_err() && pair("=x").is_err() && pair("x").is_err() && pair("x={").is_err());
    }
}
