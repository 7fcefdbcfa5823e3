//! Strict JSON reading: the fast way first; when it fails, once more with a note of the path for the error.

use serde::de::DeserializeOwned;

use crate::draft::DraftError;

const OBJECT_HINT: &str = "send one JSON object in UTF-8";

/// Reads one JSON object; an error names the field.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8], remedies: &[(&str, &str)]) -> Result<T, DraftError> {
    // A list would be taken for the fields in their order; nobody means that.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(DraftError::new("", "must be one JSON object, not a list", OBJECT_HINT));
    }
    serde_json::from_slice(bytes).map_err(|error| explain::<T>(bytes, error, remedies))
}

/// Why bytes are not a `T`. `remedies` are hints for fields that people often send in vain.
fn explain<T: DeserializeOwned>(bytes: &[u8], error: serde_json::Error, remedies: &[(&str, &str)]) -> DraftError {
    if !error.is_data() {
        let place = format!("is not JSON: {error}");
        return DraftError::new("", place, OBJECT_HINT);
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let (path, message) = match serde_path_to_error::deserialize::<_, T>(&mut reader) {
        Ok(_) => (String::new(), error.to_string()),
        Err(error) => (error.path().to_string(), error.into_inner().to_string()),
    };
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    let outer = path.trim_end_matches('?').trim_end_matches('.');
    if let Some(field) = quoted_after(message, "missing field ") {
        return DraftError::new(joined(outer, field), "is missing", "add it");
    }
    if let Some(field) = quoted_after(message, "unknown field ") {
        let known = message.split_once(", expected ").map_or("", |(_, known)| known);
        let known = known.trim_start_matches("one of ").replace('`', "");
        let hint = remedies.iter().find(|(name, _)| *name == field).map(|(_, hint)| (*hint).to_owned());
        // The reader may or may not have entered the field.
        let field =
            if outer == field || outer.ends_with(&format!(".{field}")) { outer.into() } else { joined(outer, field) };
        return DraftError::new(field, "is not a known field", hint.unwrap_or(format!("known are {known}")));
    }
    if let Some(field) = quoted_after(message, "duplicate field ") {
        return DraftError::new(joined(outer, field), "is a duplicate field", "send it once");
    }
    DraftError::new(outer, said_of_field(message), "correct the value")
}

/// A reader's message as a sentence whose subject is the field.
fn said_of_field(message: &str) -> String {
    if message.starts_with("must ") {
        return message.to_owned();
    }
    let (found, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    if let Some(word) = quoted_after(found, "unknown variant ") {
        return format!("must be {}, not {word:?}", expected.replace('`', ""));
    }
    match ["invalid type: ", "invalid value: "].iter().find_map(|prefix| found.strip_prefix(prefix)) {
        Some(found) if !expected.is_empty() => format!("must be {expected}, not {found}"),
        _ => format!("is not acceptable: {message}"),
    }
}

fn quoted_after<'a>(message: &'a str, prefix: &str) -> Option<&'a str> {
    message.strip_prefix(prefix)?.strip_prefix('`')?.split('`').next()
}

fn joined(outer: &str, field: &str) -> String {
    if outer.is_empty() { field.to_owned() } else { format!("{outer}.{field}") }
}
