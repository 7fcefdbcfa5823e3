//! What people and programs see of a record: plain structs, the same bytes on every node that holds the same changes.
//!
//! A view holds nothing local: no clock, position, arrival or node state. What depends on the time of
//! looking (expired, on call, age of contact) is a function beside the view, never a field of it.
//! `vatra-record` makes views; the JSON here is the API's and the digest's.

mod alert;
mod contact;
mod digest;
mod summary;

pub use alert::{AlertView, ResponseView};
pub use contact::ContactView;
pub use digest::{Digest, ParseDigestError};
pub use summary::Summary;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::change::RecordKind;
use crate::ids::{MemberCode, RecordId};
use crate::time::WallMs;

/// The view of a record. JSON has the variant's name in `record`, beside the fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "lowercase")]
pub enum View {
    /// An alert with its answers.
    Alert(Box<AlertView>),
    /// A contact of a roster.
    Contact(Box<ContactView>),
}

impl View {
    /// The record.
    #[must_use]
    pub fn id(&self) -> RecordId {
        match self {
            View::Alert(alert) => alert.id,
            View::Contact(contact) => contact.id,
        }
    }

    /// The member that made the record.
    #[must_use]
    pub fn owner(&self) -> MemberCode {
        match self {
            View::Alert(alert) => alert.owner,
            View::Contact(contact) => contact.owner,
        }
    }

    /// What the record is.
    #[must_use]
    pub fn kind(&self) -> RecordKind {
        match self {
            View::Alert(_) => RecordKind::Alert,
            View::Contact(_) => RecordKind::Contact,
        }
    }

    /// The alert, if it is one.
    #[must_use]
    pub fn as_alert(&self) -> Option<&AlertView> {
        match self {
            View::Alert(alert) => Some(alert),
            View::Contact(_) => None,
        }
    }

    /// The contact, if it is one.
    #[must_use]
    pub fn as_contact(&self) -> Option<&ContactView> {
        match self {
            View::Contact(contact) => Some(contact),
            View::Alert(_) => None,
        }
    }

    /// Shows that a change of the record lies past a fork. Whether one does follows from the forks known, not from the
    /// record's changes, so the mark is no part of what the digest adds up.
    pub fn mark_forked(&mut self) {
        match self {
            View::Alert(alert) => alert.forked = true,
            View::Contact(contact) => contact.forked = true,
        }
    }

    /// The view as JSON; equal views have equal bytes on every node.
    #[must_use]
    pub fn canonical_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1024);
        serde_json::to_writer(&mut bytes, self).expect("views have text keys and memory does not fail");
        bytes
    }

    /// What the record adds to the digest of all views: `SHA-256(record id || canonical bytes)`.
    #[must_use]
    pub fn digest_item(&self) -> [u8; 32] {
        Digest::item(self.id(), &self.canonical_bytes())
    }

    /// The few facts by which lists and filters choose.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary::of(self)
    }
}

/// Concurrent values of fields, by field; elements of sets by `set/key`. The newest change's value is first.
pub type Conflicts = BTreeMap<String, Vec<Scalar>>;

/// One of several concurrent values of a field. Structured values are their JSON text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// Cleared or removed.
    Null(()),
    /// Yes or no.
    Bool(bool),
    /// A number.
    Int(i64),
    /// A text, a word, or a time as RFC 3339.
    Text(String),
}

/// Unix microseconds. The first three fraction digits of a `modified_at` are time, the last three tell states
/// of one millisecond apart, so that no two states share record and time (STIX 2.1 section 3.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallUs(pub u64);

impl WallUs {
    /// A time with three more digits, taken modulo 1000.
    #[must_use]
    pub fn new(at: WallMs, digits: u16) -> WallUs {
        WallUs(at.0.saturating_mul(1000).saturating_add(u64::from(digits % 1000)))
    }

    /// Milliseconds, rounded down.
    #[must_use]
    pub fn to_ms(self) -> WallMs {
        WallMs(self.0 / 1000)
    }
}

impl fmt::Display for WallUs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_ms().to_string();
        let without_zone = text.strip_suffix('Z').unwrap_or(&text);
        f.pad(&format!("{without_zone}{:03}Z", self.0 % 1000))
    }
}

impl Serialize for WallUs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WallUs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let digits = text.strip_suffix('Z').and_then(|text| text.get(text.len().checked_sub(3)?..)?.parse().ok());
        let parsed = WallMs::parse(&text).zip(digits).map(|(at, digits)| WallUs::new(at, digits));
        parsed.ok_or_else(|| de::Error::custom(format!("a time is RFC 3339 with six fraction digits, not {text:?}")))
    }
}

/// Short code of a record for speech: eight characters of Crockford's base 32 as `7F3K-2Q9M`.
#[must_use]
pub fn spoken_code(record: RecordId) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let bits = record.0[..5].iter().fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
    let mut code = String::with_capacity(9);
    for place in 0..8_u32 {
        if place == 4 {
            code.push('-');
        }
        let digit = (bits >> (35 - 5 * place)) & 31;
        code.push(char::from(ALPHABET[usize::try_from(digit).expect("below 32")]));
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_golden() {
        let mut id = RecordId([0; 16]);
        assert_eq!(spoken_code(id), "0000-0000");
        id.0[..5].copy_from_slice(&[0xff, 0xee, 0xdd, 0xcc, 0xbb]);
        assert_eq!(spoken_code(id), "ZZQD-VK5V");
    }

    #[test]
    fn microseconds_survive_json() {
        let at = WallUs::new(WallMs(1_764_000_000_123), 45);
        assert_eq!(at.to_string(), "2025-11-24T16:00:00.123045Z");
        let json = serde_json::to_string(&at).expect("serialises");
        assert_eq!(serde_json::from_str::<WallUs>(&json).expect("parses"), at);
        assert!(serde_json::from_str::<WallUs>("\"Z\"").is_err());
        assert!(serde_json::from_str::<WallUs>("\"\"").is_err());
    }
}
