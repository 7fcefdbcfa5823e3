//! Typed changes: what one entry carries, as CBOR (RFC 8949) with numbered keys.
//!
//! A change is signed once and must stay readable for years, so unknown keys and ops are tolerated and
//! the bytes are hashed and kept as they came; nothing here is ever re-encoded by a receiver.
//! `docs/protocol.md` describes every key.

mod keys;
mod read;
mod write;

use std::fmt;

use minicbor::{Decoder, Encoder};
use thiserror::Error;

use keys::KEY_TYPE;
use read::Parts;
use write::{encode_create, encode_edit, encode_open};

use crate::ids::{AudienceId, ChangeId, EntryHash, Incarnation, LogId, MemberCode, RecordId, Seq, digest16};
use crate::limits::CHANGE_BYTES_MAX;

/// One typed change of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new record.
    Create(Create),
    /// A change of one section of a record.
    Edit(Edit),
    /// Entry 0 of a log.
    Open(LogOpen),
    /// A change of a newer version: kept and relayed, shown as newer than this node.
    Unknown {
        /// Its type number.
        kind: u64,
    },
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// A warning or request from one member to others.
    Alert = 1,
    /// A child of an alert with an audience of its own.
    Annex = 2,
    /// A person or team of a member's roster.
    Contact = 3,
}

impl RecordKind {
    /// The kind with this number; `None` for one of a newer version.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<RecordKind> {
        match number {
            1 => Some(RecordKind::Alert),
            2 => Some(RecordKind::Annex),
            3 => Some(RecordKind::Contact),
            _ => None,
        }
    }
}

/// The part of a record that one set of members may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SectionId {
    /// Written by the record's writers.
    Core,
    /// Written by one member: its answer.
    Response(MemberCode),
}

/// What makes a created record's id unique.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Naming {
    /// Random bytes: a record made here.
    Nonce([u8; 16]),
    /// The id that the record has elsewhere, such as a STIX or MISP id: importing twice makes one record.
    External(String),
}

/// A new record: its identity and first field values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    /// What the record is.
    pub kind: RecordKind,
    /// Members that may write its core, sorted, at least one; the creating node's member is among them.
    pub writers: Vec<MemberCode>,
    /// What makes its id unique.
    pub naming: Naming,
    /// First values.
    pub ops: Vec<Op>,
}

/// A change of one section of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The record.
    pub record: RecordId,
    /// The section.
    pub section: SectionId,
    /// The changes of the section that the author's view rested on, sorted, without repeats.
    pub deps: Vec<ChangeId>,
    /// What changes, in order.
    pub ops: Vec<Op>,
}

/// One step of a create or an edit, on a flat key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Gives a register a value; `Null` clears it.
    Set {
        /// The register.
        field: String,
        /// Its new value.
        value: Value,
    },
    /// Puts an element into a set.
    Add {
        /// The set.
        set: String,
        /// The element's key.
        key: String,
        /// What is known of the element; `Bool(true)` when the key says it all.
        value: Value,
    },
    /// Takes an element out of a set.
    Remove {
        /// The set.
        set: String,
        /// The element's key.
        key: String,
    },
    /// An op of a newer version: has no effect here and marks the view as newer than this node.
    Unknown {
        /// Its number.
        code: u64,
    },
}

/// A scalar. Structured set elements are JSON text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// No value.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A whole number or Unix milliseconds.
    Int(i64),
    /// A text.
    Text(String),
}

/// Entry 0 of a log: who writes it, and what came before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOpen {
    /// Signed certificate of the origin, encoded.
    pub certificate: Vec<u8>,
    /// The life of the origin's store in which the log is written.
    pub incarnation: Incarnation,
    /// Who may read the log.
    pub audience: AudienceId,
    /// The same audience's log of the origin's previous life, as far as the origin knows it.
    pub previous: Option<PreviousLog>,
}

/// What an origin knew of its previous log when it opened a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviousLog {
    /// The log.
    pub log: LogId,
    /// How many entries of it the origin held.
    pub height: Seq,
    /// Hash of the last of them.
    pub head: EntryHash,
}

/// Bytes are not a change that this version accepts. The entry is kept and relayed; the change has no effect.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// Not CBOR of the expected type.
    #[error("malformed change: {what}")]
    Malformed {
        /// The part.
        what: &'static str,
    },
    /// A part exceeds its bound, or has not the length it must have.
    #[error("{what} of a change has length {found}, the limit is {limit}")]
    TooLong {
        /// The part.
        what: &'static str,
        /// The bound.
        limit: usize,
        /// What was found.
        found: usize,
    },
    /// A part that must be there is not.
    #[error("a change lacks {what}")]
    Missing {
        /// The part.
        what: &'static str,
    },
    /// A list that must be sorted and free of repeats is not.
    #[error("{what} of a change must be sorted and without repeats")]
    Unsorted {
        /// The list.
        what: &'static str,
    },
}

/// Id of the record that a create of this owner makes.
///
/// `SHA-256("vatra record v1" || kind u8 || owner [8] || writer count u8 || writers [8 each] || naming tag u8 || naming)[..16]`,
/// naming tag 0 with the nonce or 1 with the external id. So a creation can neither be forged by another
/// member nor collide, and importing the same foreign object twice makes one record.
#[must_use]
pub fn record_id(owner: MemberCode, create: &Create) -> RecordId {
    let writers: Vec<u8> = create.writers.iter().flat_map(MemberCode::padded).collect();
    let (tag, naming) = match &create.naming {
        Naming::Nonce(nonce) => (0, nonce.as_slice()),
        Naming::External(text) => (1, text.as_bytes()),
    };
    let count = u8::try_from(create.writers.len()).unwrap_or(u8::MAX);
    let head = [create.kind as u8];
    RecordId(digest16("vatra record v1", &[&head, &owner.padded(), &[count], &writers, &[tag], naming]))
}

impl Change {
    /// The change as CBOR.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        let mut e = Encoder::new(&mut bytes);
        match self {
            Change::Create(create) => encode_create(&mut e, create),
            Change::Edit(edit) => encode_edit(&mut e, edit),
            Change::Open(open) => encode_open(&mut e, open),
            Change::Unknown { kind } => e.map(1).and_then(|e| e.u64(KEY_TYPE)).and_then(|e| e.u64(*kind)).map(|_| ()),
        }
        .expect("writing to memory does not fail");
        bytes
    }

    /// Reads a change; all of the bytes must belong to it.
    ///
    /// # Errors
    /// [`ChangeError`] names the first part that is malformed, missing or out of bounds.
    pub fn decode(bytes: &[u8]) -> Result<Change, ChangeError> {
        if bytes.len() > CHANGE_BYTES_MAX {
            return Err(ChangeError::TooLong { what: "all", limit: CHANGE_BYTES_MAX, found: bytes.len() });
        }
        let mut d = Decoder::new(bytes);
        let parts = Parts::read(&mut d)?;
        if d.position() != bytes.len() {
            return Err(ChangeError::Malformed { what: "trailing bytes" });
        }
        parts.into_change()
    }
}

impl fmt::Display for SectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SectionId::Core => f.write_str("core"),
            SectionId::Response(member) => write!(f, "response({member})"),
        }
    }
}
