//! Identifiers: one type each, so that no two of them can be mixed up.
//!
//! Binary ids print, parse and serialise as lower-case hexadecimal. Numbers serialise as numbers.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// A text is not the identifier it should be. Nothing was changed; correct the text and try again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseIdError {
    /// The text is not hexadecimal of the right length.
    #[error("{what} must be {hex_chars} hexadecimal characters, not {found:?}")]
    NotHex {
        /// The kind of identifier that was expected.
        what: &'static str,
        /// How many hexadecimal characters it has.
        hex_chars: usize,
        /// The text found, cut to 80 characters.
        found: String,
    },
    /// The text is not a member code.
    #[error("a member code is 2 to 8 characters of A-Z and 0-9 that start with a letter, not {found:?}")]
    NotMemberCode {
        /// The text found, cut to 80 characters.
        found: String,
    },
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

/// As a number that orders as the bytes do; of fewer than eight bytes nothing.
#[inline]
fn first_eight(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, bincode::Encode, bincode::Decode)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The identifier with these bytes; `None` unless there are exactly [`Self::LEN`] of them.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The first eight hexadecimal characters, for people.
            #[must_use]
            pub fn short(&self) -> String {
                hex::encode(&self.0[..4])
            }
        }

        impl PartialOrd for $name {
            #[inline]
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            /// The order of the bytes. Identifiers look random, so that the first eight nearly always decide.
            #[inline]
            fn cmp(&self, other: &Self) -> Ordering {
                first_eight(&self.0).cmp(&first_eight(&other.0)).then_with(|| self.0.cmp(&other.0))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), hex::encode(self.0))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let mut bytes = [0; $len];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseIdError::NotHex {
                    what: $what,
                    hex_chars: $len * 2,
                    found: shortened(text),
                })?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut text = [0; $len * 2];
                hex::encode_to_slice(self.0, &mut text).expect("the buffer has two characters per byte");
                serializer.serialize_str(std::str::from_utf8(&text).expect("hexadecimal is ASCII"))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

byte_id!(
    /// Ed25519 public key of a node: its identity on links, in TLS and as signer of its logs.
    NodeKey, 32, "a node key"
);
byte_id!(
    /// Ed25519 public key of a member's offline root.
    RootKey, 32, "a root key"
);
byte_id!(
    /// Names a log: the entries of one (member, origin, incarnation, audience). See [`LogId::derive`].
    LogId, 16, "a log id"
);
byte_id!(
    /// Names a record: alert, annex or contact. See [`crate::change::record_id`].
    RecordId, 16, "a record id"
);
byte_id!(
    /// Names a change: its entry and its place in it. See [`ChangeId::derive`].
    ChangeId, 16, "a change id"
);
byte_id!(
    /// SHA-256 of an entry header's signed bytes.
    EntryHash, 32, "an entry hash"
);
byte_id!(
    /// Names who may read a log. [`AudienceId::FEDERATION`] is every member.
    AudienceId, 16, "an audience id"
);
byte_id!(
    /// `ops` or one exercise; part of what is signed, so a drill can never verify as the real thing.
    Realm, 8, "a realm"
);

impl EntryHash {
    /// The `prev` of a log's first entry.
    pub const ZERO: EntryHash = EntryHash([0; 32]);
}

impl AudienceId {
    /// Every member of the federation.
    pub const FEDERATION: AudienceId = AudienceId([0; 16]);
}

impl Realm {
    /// Operations: alerts that are meant.
    pub const OPS: Realm = Realm(*b"ops\0\0\0\0\0");
}

/// First 16 bytes of SHA-256 over a domain label and parts.
pub(crate) fn digest16(label: &str, parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(label.as_bytes());
    for part in parts {
        hash.update(part);
    }
    let full: [u8; 32] = hash.finalize().into();
    let mut short = [0; 16];
    short.copy_from_slice(&full[..16]);
    short
}

impl LogId {
    /// `SHA-256("vatra log v2" || member code padded || origin || incarnation as u64 LE || audience)[..16]`.
    ///
    /// The member is a part of it, as a node signs this id with each entry and says by that whose node it is: a
    /// certificate shows the consent of its member only.
    #[must_use]
    pub fn derive(member: MemberCode, origin: &NodeKey, incarnation: Incarnation, audience: &AudienceId) -> LogId {
        let parts = [&member.padded()[..], &origin.0, &incarnation.0.to_le_bytes(), &audience.0];
        LogId(digest16("vatra log v2", &parts))
    }
}

impl ChangeId {
    /// `SHA-256("vatra change v1" || entry hash || index as u16 LE)[..16]`.
    #[must_use]
    pub fn derive(entry: &EntryHash, index: u16) -> ChangeId {
        ChangeId(digest16("vatra change v1", &[&entry.0, &index.to_le_bytes()]))
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone,
            Copy,
            Debug,
            Default,
            PartialEq,
            Eq,
            PartialOrd,
            Ord,
            Hash,
            Serialize,
            Deserialize,
            bincode::Encode,
            bincode::Decode,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number_id!(
    /// Random number of one unbroken life of a node's store.
    Incarnation
);
number_id!(
    /// Place of an entry in its log, counted from 0.
    Seq
);
number_id!(
    /// This store's own growing number of a stored change, counted from 1; 0 is before the first.
    Position
);

impl Seq {
    /// The following place; `None` at the end of the number range.
    #[must_use]
    pub fn next(self) -> Option<Seq> {
        self.0.checked_add(1).map(Seq)
    }
}

/// Code of a member: 2 to 8 characters of A-Z and 0-9 that start with a letter, such as `UA`, `EU`, `NATO`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberCode([u8; 8]);

impl MemberCode {
    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let len = self.0.iter().position(|&b| b == 0).unwrap_or(self.0.len());
        std::str::from_utf8(&self.0[..len]).expect("a member code is ASCII by construction")
    }

    /// The code padded with zero bytes to eight, as signed bytes contain it.
    #[must_use]
    pub fn padded(&self) -> [u8; 8] {
        self.0
    }
}

impl FromStr for MemberCode {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let bytes = text.as_bytes();
        let letters = bytes.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        let starts = bytes.first().is_some_and(u8::is_ascii_uppercase);
        if !(2..=8).contains(&bytes.len()) || !letters || !starts {
            return Err(ParseIdError::NotMemberCode { found: shortened(text) });
        }
        let mut code = [0; 8];
        code[..bytes.len()].copy_from_slice(bytes);
        Ok(MemberCode(code))
    }
}

impl fmt::Display for MemberCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for MemberCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemberCode({})", self.as_str())
    }
}

impl Serialize for MemberCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for MemberCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_codes_are_checked() {
        for good in ["UA", "EU", "NATO", "X1", "ABCDEFGH"] {
            assert_eq!(good.parse::<MemberCode>().map(|c| c.to_string()), Ok(good.to_string()));
        }
        for bad in ["", "U", "ua", "1A", "ABCDEFGHI", "U A", "ÜA"] {
            assert!(bad.parse::<MemberCode>().is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn ids_survive_text_and_refuse_other_lengths() {
        let id = RecordId([7; 16]);
        assert_eq!(id.to_string().parse::<RecordId>(), Ok(id));
        assert!("07".parse::<RecordId>().is_err());
        assert_eq!(RecordId::from_slice(&[1; 15]), None);
    }

    #[test]
    fn log_id_is_golden() {
        let id = LogId::derive("UA".parse().unwrap(), &NodeKey([1; 32]), Incarnation(2), &AudienceId::FEDERATION);
        assert_eq!(id.to_string(), "090c579599fee88d14aee59713ef7f72");
    }
}
