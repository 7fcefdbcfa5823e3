//! The envelope of stream events: CloudEvents 1.0.2, JSON format, structured mode.
//!
//! Only what the stream uses: `data` is JSON, so `data_base64` is refused. Extension attributes stand beside
//! the core ones, as the JSON format demands.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vatra_model::WallMs;

/// Media type of one event.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";
/// Media type of a JSON array of events.
pub const BATCH_CONTENT_TYPE: &str = "application/cloudevents-batch+json";
/// Bytes of one attribute's text; the specification asks intermediaries to forward 64 KiB in all.
pub const ATTRIBUTE_BYTES_MAX: usize = 2048;
/// Extension attributes of one event.
pub const EXTENSIONS_MAX: usize = 32;
/// Characters of an extension attribute's name (the specification's SHOULD).
pub const NAME_CHARS_MAX: usize = 20;

const SPEC_VERSION: &str = "1.0";
const JSON: &str = "application/json";
const CORE: &[&str] =
    &["data", "data_base64", "datacontenttype", "dataschema", "id", "source", "specversion", "subject", "time", "type"];

/// One event. `D` is its data: any serialisable type to write, any deserialisable one to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CloudEvent<D> {
    /// `1.0`.
    specversion: String,
    /// Id of the event; with `source` it is unique and stays the same when the event is sent again.
    pub id: String,
    /// Where it comes from, a URI reference.
    pub source: String,
    /// What it tells, such as `vatra.alert.created`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about, such as a record id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<WallMs>,
    /// Media type of the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datacontenttype: Option<String>,
    /// Schema of the data, a URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataschema: Option<String>,
    /// The data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<D>,
    /// Extension attributes: lower-case letters and digits.
    #[serde(flatten)]
    pub extensions: BTreeMap<String, Attribute>,
}

/// Value of an extension attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Attribute {
    /// Boolean.
    Bool(bool),
    /// Integer of 32 bits, as the specification has no larger ones.
    Integer(i32),
    /// String, URI, URI reference or timestamp.
    Text(String),
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Attribute {
        Attribute::Text(text.to_owned())
    }
}

/// An event breaks the specification. Its sender corrects it; nothing was read or written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EventError {
    /// An attribute that must be there is empty, or one that may be absent is there and empty.
    #[error("{attribute} is empty")]
    Empty {
        /// Its name.
        attribute: String,
    },
    /// An attribute exceeds its bound.
    #[error("{attribute} has {found} bytes, the limit is {ATTRIBUTE_BYTES_MAX}")]
    TooLong {
        /// Its name, cut to the limit of names.
        attribute: String,
        /// Bytes found.
        found: usize,
    },
    /// An attribute contains a control character.
    #[error("{attribute} contains a control character")]
    Control {
        /// Its name.
        attribute: String,
    },
    /// An attribute that must be a URI is none.
    #[error("{attribute} is not a URI")]
    NotUri {
        /// Its name.
        attribute: String,
    },
    /// An extension's name is not made of 1 to 20 lower-case letters and digits, or is one of the core names.
    #[error("{name:?} cannot name an extension: use 1 to {NAME_CHARS_MAX} of a-z and 0-9, and no core attribute")]
    Name {
        /// The name, cut to 40 characters.
        name: String,
    },
    /// Too many extensions.
    #[error("the event has {found} extensions, the limit is {EXTENSIONS_MAX}")]
    TooMany {
        /// How many there are.
        found: usize,
    },
    /// Another version of the specification.
    #[error("specversion is {found:?}, only {SPEC_VERSION:?} is known")]
    Version {
        /// The version, cut to 40 characters.
        found: String,
    },
    /// Not JSON of this shape.
    #[error("not a CloudEvent in JSON: {why}")]
    Json {
        /// What the reader said.
        why: String,
    },
}

impl<D> CloudEvent<D> {
    /// An event with JSON data and no optional attributes.
    #[must_use]
    pub fn new(id: impl Into<String>, source: impl Into<String>, kind: impl Into<String>, data: D) -> CloudEvent<D> {
        CloudEvent {
            specversion: SPEC_VERSION.to_owned(),
            id: id.into(),
            source: source.into(),
            kind: kind.into(),
            subject: None,
            time: None,
            datacontenttype: Some(JSON.to_owned()),
            dataschema: None,
            data: Some(data),
            extensions: BTreeMap::new(),
        }
    }

    /// The event about this subject.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> CloudEvent<D> {
        self.subject = Some(subject.into());
        self
    }

    /// The event at this time.
    #[must_use]
    pub fn at(mut self, time: WallMs) -> CloudEvent<D> {
        self.time = Some(time);
        self
    }

    /// The event with one more extension attribute.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Attribute>) -> CloudEvent<D> {
        self.extensions.insert(name.to_owned(), value.into());
        self
    }

    /// Checks names, lengths and what must not be empty.
    ///
    /// # Errors
    /// [`EventError`] names the first attribute that breaks the specification or a bound.
    pub fn check(&self) -> Result<(), EventError> {
        if self.specversion != SPEC_VERSION {
            return Err(EventError::Version { found: cut(&self.specversion, 40) });
        }
        let required = [("id", &self.id), ("source", &self.source), ("type", &self.kind)];
        for (name, text) in required {
            check_text(name, text)?;
        }
        for (name, text) in [("subject", &self.subject), ("datacontenttype", &self.datacontenttype)] {
            text.as_deref().map_or(Ok(()), |text| check_text(name, text))?;
        }
        check_uri("source", &self.source)?;
        if let Some(schema) = &self.dataschema {
            check_text("dataschema", schema)?;
            check_uri("dataschema", schema)?;
            if !schema.contains(':') {
                return Err(EventError::NotUri { attribute: "dataschema".to_owned() });
            }
        }
        if self.extensions.len() > EXTENSIONS_MAX {
            return Err(EventError::TooMany { found: self.extensions.len() });
        }
        self.extensions.iter().try_for_each(|(name, value)| check_extension(name, value))
    }
}

impl<D: for<'de> Deserialize<'de>> CloudEvent<D> {
    /// Reads and checks one event.
    ///
    /// # Errors
    /// [`EventError`] if it is not JSON of this shape, or breaks the specification.
    pub fn from_json(bytes: &[u8]) -> Result<CloudEvent<D>, EventError> {
        let event: CloudEvent<D> =
            serde_json::from_slice(bytes).map_err(|error| EventError::Json { why: cut(&error.to_string(), 200) })?;
        event.check()?;
        Ok(event)
    }
}

fn check_text(attribute: &str, text: &str) -> Result<(), EventError> {
    let attribute = || attribute.to_owned();
    if text.is_empty() {
        Err(EventError::Empty { attribute: attribute() })
    } else if text.len() > ATTRIBUTE_BYTES_MAX {
        Err(EventError::TooLong { attribute: attribute(), found: text.len() })
    } else if text.chars().any(char::is_control) {
        Err(EventError::Control { attribute: attribute() })
    } else {
        Ok(())
    }
}

/// The characters of RFC 3986; its grammar beyond them is the sender's business.
fn check_uri(attribute: &str, text: &str) -> Result<(), EventError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    if text.bytes().all(allowed) { Ok(()) } else { Err(EventError::NotUri { attribute: attribute.to_owned() }) }
}

fn check_extension(name: &str, value: &Attribute) -> Result<(), EventError> {
    let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !letters || CORE.contains(&name) {
        return Err(EventError::Name { name: cut(name, 40) });
    }
    match value {
        Attribute::Text(text) => check_text(name, text),
        Attribute::Bool(_) | Attribute::Integer(_) => Ok(()),
    }
}

fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn event() -> CloudEvent<Value> {
        CloudEvent::new("s1.42", "/nodes/kyiv-1", "vatra.alert.created", json!({"title": "т"}))
            .about("00ff")
            .at(WallMs(1_764_000_000_123))
            .with("sequence", "0000000042")
            .with("dataclassification", "clear")
    }

    #[test]
    fn an_event_is_written_as_the_json_format_says() {
        let written = serde_json::to_value(event()).expect("serialises");
        assert_eq!(
            written,
            json!({
                "specversion": "1.0",
                "id": "s1.42",
                "source": "/nodes/kyiv-1",
                "type": "vatra.alert.created",
                "subject": "00ff",
                "time": "2025-11-24T16:00:00.123Z",
                "datacontenttype": "application/json",
                "data": {"title": "т"},
                "sequence": "0000000042",
                "dataclassification": "clear",
            })
        );
        let read = CloudEvent::from_json(written.to_string().as_bytes());
        assert_eq!(read, Ok(event()));
    }

    #[test]
    fn what_breaks_the_specification_is_named() {
        type Change = fn(&mut CloudEvent<Value>);
        let broken = |change: Change| {
            let mut event = event();
            change(&mut event);
            event.check().map_err(|error| error.to_string())
        };
        let cases: [(Change, &str); 10] = [
            (|e| e.id.clear(), "id is empty"),
            (|e| e.kind.clear(), "type is empty"),
            (|e| e.subject = Some(String::new()), "subject is empty"),
            (|e| e.source = "a b".into(), "source is not a URI"),
            (|e| e.id = "x".repeat(2049), "id has 2049 bytes, the limit is 2048"),
            (|e| e.subject = Some("a\nb".into()), "subject contains a control character"),
            (|e| e.dataschema = Some("relative".into()), "dataschema is not a URI"),
            (
                |e| drop(e.extensions.insert("myExt".into(), Attribute::Bool(true))),
                "\"myExt\" cannot name an extension: use 1 to 20 of a-z and 0-9, and no core attribute",
            ),
            (
                |e| drop(e.extensions.insert("data_base64".into(), "AA==".into())),
                "\"data_base64\" cannot name an extension: use 1 to 20 of a-z and 0-9, and no core attribute",
            ),
            (
                |e| e.extensions = (0..33).map(|n| (format!("e{n}"), Attribute::Integer(n))).collect(),
                "the event has 33 extensions, the limit is 32",
            ),
        ];
        for (change, error) in cases {
            assert_eq!(broken(change), Err(error.to_owned()));
        }
    }

    #[test]
    fn other_versions_and_shapes_are_refused() {
        let read = |json: Value| CloudEvent::<Value>::from_json(json.to_string().as_bytes()).map_err(|e| e.to_string());
        let version = read(json!({"specversion": "2.0", "id": "1", "source": "/", "type": "t"}));
        assert_eq!(version, Err("specversion is \"2.0\", only \"1.0\" is known".to_owned()));
        let missing = read(json!({"specversion": "1.0", "source": "/", "type": "t"}));
        assert!(missing.is_err_and(|error| error.contains("missing field `id`")));
        let nested = read(json!({"specversion": "1.0", "id": "1", "source": "/", "type": "t", "ext": {"a": 1}}));
        assert!(nested.is_err());
        let bare = read(json!({"specversion": "1.0", "id": "1", "source": "/", "type": "t"}));
        assert_eq!(bare.map(|event| event.data), Ok(None));
    }

    proptest! {
        #[test]
        fn whatever_passes_the_check_survives_json(
            id in ".{0,40}", source in "[ -~]{0,20}", name in "[a-z0-9A-Z_]{0,22}", text in ".{0,20}", number: i32,
        ) {
            let event = CloudEvent::new(id, source, "t", json!([number])).with(&name, text.as_str());
            if event.check().is_ok() {
                let json = serde_json::to_vec(&event).expect("serialises");
                prop_assert_eq!(CloudEvent::from_json(&json), Ok(event));
            }
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = CloudEvent::<Value>::from_json(&bytes);
        }
    }
}
