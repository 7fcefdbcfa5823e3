//! Structured elements of an alert's sets. In changes they are JSON texts; the JSON is the same in drafts and views.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::schema::check::{self, Checked, DraftError};
use crate::schema::{BODY_BYTES_MAX, NOTE_BYTES_MAX, PATTERN_BYTES_MAX};
use crate::time::WallMs;

/// A structured element of a set or a structured value of a register.
pub trait Element: Serialize + DeserializeOwned {
    /// Names of its fields in this version.
    const FIELDS: &'static [&'static str];

    /// Checks its texts and numbers.
    ///
    /// # Errors
    /// The field that is not acceptable.
    fn check(&self) -> Checked;
}

/// An element that stands in a set under a key of its own.
pub trait Keyed: Element {
    /// The key that says which elements are the same.
    fn key(&self) -> String;

    /// The key of the element that a person means by this text.
    #[must_use]
    fn key_meant(text: &str) -> String {
        text.to_owned()
    }
}

/// Reads an element from the JSON text of a change. `None` when it is not acceptable.
/// The flag says that it has fields of a newer version, which are left out.
#[must_use]
pub fn read_element<T: Element>(json: &str) -> Option<(T, IsNewer)> {
    let (element, newer) = match serde_json::from_str::<T>(json) {
        Ok(element) => (element, IsNewer::No),
        Err(_) => {
            let mut fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).ok()?;
            fields.retain(|name, _| T::FIELDS.contains(&name.as_str()));
            (serde_json::from_value(serde_json::Value::Object(fields)).ok()?, IsNewer::Yes)
        }
    };
    element.check().ok()?;
    Some((element, newer))
}

/// Whether something contains what only a newer version understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsNewer {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// The JSON text of an element, as changes carry it.
#[must_use]
pub fn write_element<T: Serialize>(element: &T) -> String {
    serde_json::to_string(element).expect("elements have text keys and no fallible parts")
}

/// Where more can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Who publishes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its id at the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// SHA-256 of its content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

impl Element for Reference {
    const FIELDS: &'static [&'static str] = &["source", "url", "id", "hash"];

    fn check(&self) -> Checked {
        if self.url.is_none() && self.id.is_none() {
            return Err(DraftError::new("url", "is missing", "give the reference a url or an id"));
        }
        check::optional(&self.source, |text| check::line("source", text))?;
        check::optional(&self.url, |text| check::url("url", text))?;
        check::optional(&self.id, |text| check::line("id", text))?;
        check::optional(&self.hash, |text| check::hexadecimal("hash", text, 64))
    }
}

impl Keyed for Reference {
    fn key(&self) -> String {
        match (&self.url, &self.source, &self.id) {
            (Some(url), _, _) => url.clone(),
            (None, Some(source), Some(id)) => format!("{source}:{id}"),
            (None, _, id) => id.clone().unwrap_or_default(),
        }
    }
}

/// Something to look for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Indicator {
    /// Its id, unique in the alert.
    pub iid: String,
    /// What kind of value it has, such as `domain`, `ipv4-addr`, `sha256`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The value; this or `pattern` is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// A STIX pattern.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Since when it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<WallMs>,
    /// Until when it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<WallMs>,
    /// Whether it is fit for automatic detection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_ids: Option<bool>,
}

impl Element for Indicator {
    const FIELDS: &'static [&'static str] = &["iid", "type", "value", "pattern", "valid_from", "valid_until", "to_ids"];

    fn check(&self) -> Checked {
        check::id("iid", &self.iid)?;
        check::id("type", &self.kind)?;
        if self.value.is_none() && self.pattern.is_none() {
            return Err(DraftError::new("value", "is missing", "give the indicator a value or a pattern"));
        }
        check::optional(&self.value, |text| check::text("value", text, PATTERN_BYTES_MAX))?;
        check::optional(&self.pattern, |text| check::text("pattern", text, PATTERN_BYTES_MAX))?;
        in_order("valid_until", self.valid_from, self.valid_until)
    }
}

impl Keyed for Indicator {
    fn key(&self) -> String {
        self.iid.clone()
    }
}

/// A file that belongs to an alert, fetched on demand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
    /// Its bytes.
    pub size: u64,
    /// Its media type.
    pub mime: String,
    /// Its name.
    pub name: String,
}

/// Bytes that an attachment may have.
pub const ATTACHMENT_BYTES_MAX: u64 = 1 << 40;

impl Element for Attachment {
    const FIELDS: &'static [&'static str] = &["sha256", "size", "mime", "name"];

    fn check(&self) -> Checked {
        check::hexadecimal("sha256", &self.sha256, 64)?;
        check::number("size", &self.size, &0, &ATTACHMENT_BYTES_MAX)?;
        check::id("mime", &self.mime)?;
        check::line("name", &self.name)
    }
}

impl Keyed for Attachment {
    fn key(&self) -> String {
        self.sha256.clone()
    }
}

/// Something that happened in the course of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimelineEntry {
    /// When.
    pub at: WallMs,
    /// Who wrote it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What.
    pub text: String,
}

impl Element for TimelineEntry {
    const FIELDS: &'static [&'static str] = &["at", "author", "text"];

    fn check(&self) -> Checked {
        check::optional(&self.author, |text| check::line("author", text))?;
        check::text("text", &self.text, NOTE_BYTES_MAX)
    }
}

impl Keyed for TimelineEntry {
    /// Time and content, so that entries sort by time and the same entry stands there once.
    fn key(&self) -> String {
        let hash = Sha256::digest(write_element(self));
        format!("{:015}-{}", self.at.0, hex::encode(&hash[..8]))
    }
}

/// An alert's texts in another language.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Translation {
    /// Title.
    pub title: String,
    /// Body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

impl Element for Translation {
    const FIELDS: &'static [&'static str] = &["title", "body"];

    fn check(&self) -> Checked {
        check::line("title", &self.title)?;
        check::optional(&self.body, |text| check::text("body", text, BODY_BYTES_MAX))
    }
}

/// A later bound is not before the earlier one.
pub(crate) fn in_order(field: &str, from: Option<WallMs>, until: Option<WallMs>) -> Checked {
    match (from, until) {
        (Some(from), Some(until)) if until < from => {
            Err(DraftError::new(field, format!("{until} is before {from}"), "correct the times"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_newer_version_are_left_out_and_flagged() {
        let json = r#"{"url":"https://a.example","mood":"good"}"#;
        let (reference, newer) = read_element::<Reference>(json).expect("the known part is fine");
        assert_eq!((reference.key().as_str(), newer), ("https://a.example", IsNewer::Yes));
        assert_eq!(read_element::<Reference>(r#"{"source":"x"}"#), None);
        assert_eq!(read_element::<Reference>("[1]"), None);
    }

    #[test]
    fn every_field_that_an_element_writes_is_in_its_list() {
        fn written<T: Element>(json: &str) -> T {
            let element: T = serde_json::from_str(json).expect("a full element");
            let value = serde_json::to_value(&element).expect("serialises");
            let names: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
            let mut fields = T::FIELDS.to_vec();
            fields.sort_unstable();
            assert_eq!(names, fields);
            element
        }
        written::<Reference>(r#"{"source":"a","url":"b","id":"c","hash":"d"}"#);
        written::<Indicator>(
            r#"{"iid":"a","type":"b","value":"c","pattern":"d","valid_from":"2026-01-01T00:00:00Z",
                "valid_until":"2026-01-01T00:00:00Z","to_ids":true}"#,
        );
        written::<Attachment>(r#"{"sha256":"a","size":1,"mime":"b","name":"c"}"#);
        written::<TimelineEntry>(r#"{"at":"2026-01-01T00:00:00Z","author":"a","text":"b"}"#);
        written::<Translation>(r#"{"title":"a","body":"b"}"#);
    }
}
