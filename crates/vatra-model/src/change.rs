//! Typed changes: what one entry carries, as CBOR (RFC 8949) with numbered keys.
//!
//! A change is signed once and must stay readable for years, so unknown keys and ops are tolerated and
//! the bytes are hashed and kept as they came; nothing here is ever re-encoded by a receiver.
//! `docs/protocol.md` describes every key.

use std::fmt;
use std::str::FromStr;

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use thiserror::Error;

use crate::cbor;
use crate::ids::{
    AudienceId, ChangeId, EntryHash, Incarnation, LogId, MemberCode, ParseIdError, RecordId, Seq, digest16,
};
use crate::limits::{
    CHANGE_BYTES_MAX, CHANGE_DEPS_MAX, CHANGE_OPS_MAX, EXTERNAL_ID_BYTES_MAX, FIELD_NAME_BYTES_MAX, RECORD_WRITERS_MAX,
    SET_KEY_BYTES_MAX,
};

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

const TYPE_CREATE: u64 = 1;
const TYPE_EDIT: u64 = 2;
const TYPE_OPEN: u64 = 3;

const KEY_TYPE: u64 = 0;
const KEY_KIND: u64 = 1;
const KEY_WRITERS: u64 = 2;
const KEY_NONCE: u64 = 3;
const KEY_EXTERNAL: u64 = 4;
const KEY_OPS: u64 = 5;
const KEY_RECORD: u64 = 6;
const KEY_SECTION: u64 = 7;
const KEY_DEPS: u64 = 8;
const KEY_CERTIFICATE: u64 = 9;
const KEY_INCARNATION: u64 = 10;
const KEY_AUDIENCE: u64 = 11;
const KEY_PREVIOUS: u64 = 12;

/// Top-level keys of one change, known and unknown.
const CHANGE_KEYS_MAX: usize = 64;

const OP_SET: u64 = 1;
const OP_ADD: u64 = 2;
const OP_REMOVE: u64 = 3;

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

type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;
type Writer<'a> = Encoder<&'a mut Vec<u8>>;

fn encode_create(e: &mut Writer<'_>, create: &Create) -> Written {
    e.map(5)?.u64(KEY_TYPE)?.u64(TYPE_CREATE)?;
    e.u64(KEY_KIND)?.u8(create.kind as u8)?;
    e.u64(KEY_WRITERS)?.array(create.writers.len() as u64)?;
    for writer in &create.writers {
        e.str(writer.as_str())?;
    }
    match &create.naming {
        Naming::Nonce(nonce) => e.u64(KEY_NONCE)?.bytes(nonce)?,
        Naming::External(text) => e.u64(KEY_EXTERNAL)?.str(text)?,
    };
    encode_ops(e, &create.ops)
}

fn encode_edit(e: &mut Writer<'_>, edit: &Edit) -> Written {
    let section = match edit.section {
        SectionId::Core => None,
        SectionId::Response(member) => Some(member),
    };
    e.map(4 + u64::from(section.is_some()))?.u64(KEY_TYPE)?.u64(TYPE_EDIT)?;
    e.u64(KEY_RECORD)?.bytes(&edit.record.0)?;
    if let Some(member) = section {
        e.u64(KEY_SECTION)?.str(member.as_str())?;
    }
    e.u64(KEY_DEPS)?.array(edit.deps.len() as u64)?;
    for dep in &edit.deps {
        e.bytes(&dep.0)?;
    }
    encode_ops(e, &edit.ops)
}

fn encode_open(e: &mut Writer<'_>, open: &LogOpen) -> Written {
    e.map(4 + u64::from(open.previous.is_some()))?.u64(KEY_TYPE)?.u64(TYPE_OPEN)?;
    e.u64(KEY_CERTIFICATE)?.bytes(&open.certificate)?;
    e.u64(KEY_INCARNATION)?.u64(open.incarnation.0)?;
    e.u64(KEY_AUDIENCE)?.bytes(&open.audience.0)?;
    if let Some(previous) = &open.previous {
        e.u64(KEY_PREVIOUS)?.array(3)?.bytes(&previous.log.0)?;
        e.u64(previous.height.0)?.bytes(&previous.head.0)?;
    }
    Ok(())
}

fn encode_ops(e: &mut Writer<'_>, ops: &[Op]) -> Written {
    e.u64(KEY_OPS)?.array(ops.len() as u64)?;
    for op in ops {
        match op {
            Op::Set { field, value } => {
                e.array(3)?.u64(OP_SET)?.str(field)?;
                encode_value(e, value)?;
            }
            Op::Add { set, key, value } => {
                e.array(4)?.u64(OP_ADD)?.str(set)?.str(key)?;
                encode_value(e, value)?;
            }
            Op::Remove { set, key } => {
                e.array(3)?.u64(OP_REMOVE)?.str(set)?.str(key)?;
            }
            Op::Unknown { code } => {
                e.array(1)?.u64(*code)?;
            }
        }
    }
    Ok(())
}

fn encode_value(e: &mut Writer<'_>, value: &Value) -> Written {
    match value {
        Value::Null => e.null()?,
        Value::Bool(yes) => e.bool(*yes)?,
        Value::Int(number) => e.i64(*number)?,
        Value::Text(text) => e.str(text)?,
    };
    Ok(())
}

/// The known keys of a change's map, before they are fitted together.
#[derive(Default)]
struct Parts {
    kind: Option<u64>,
    record_kind: Option<RecordKind>,
    writers: Option<Vec<MemberCode>>,
    naming: Option<Naming>,
    ops: Option<Vec<Op>>,
    record: Option<RecordId>,
    section: Option<SectionId>,
    deps: Option<Vec<ChangeId>>,
    certificate: Option<Vec<u8>>,
    incarnation: Option<Incarnation>,
    audience: Option<AudienceId>,
    previous: Option<PreviousLog>,
    newer: bool,
}

impl Parts {
    fn read(d: &mut Decoder<'_>) -> Result<Parts, ChangeError> {
        let mut parts = Parts::default();
        let mut seen = 0_u64;
        for _ in 0..cbor::map(d, "keys", CHANGE_KEYS_MAX)? {
            let key = cbor::unsigned(d, "a key")?;
            if key < 64 {
                if seen & (1 << key) != 0 {
                    return Err(ChangeError::Malformed { what: "a repeated key" });
                }
                seen |= 1 << key;
            }
            parts.read_value(d, key)?;
        }
        Ok(parts)
    }

    fn read_value(&mut self, d: &mut Decoder<'_>, key: u64) -> Result<(), ChangeError> {
        match key {
            KEY_TYPE => self.kind = Some(cbor::unsigned(d, "type")?),
            KEY_KIND => {
                let number = cbor::unsigned(d, "record kind")?;
                self.record_kind = u8::try_from(number).ok().and_then(RecordKind::from_u8);
                self.newer |= self.record_kind.is_none();
            }
            KEY_WRITERS => self.writers = Some(read_writers(d)?),
            KEY_NONCE => self.naming = Some(Naming::Nonce(cbor::fixed(d, "nonce")?)),
            KEY_EXTERNAL => {
                let text = cbor::text(d, "external id", EXTERNAL_ID_BYTES_MAX)?;
                self.naming = Some(Naming::External(text.to_owned()));
            }
            KEY_OPS => self.ops = Some(read_ops(d)?),
            KEY_RECORD => self.record = Some(RecordId(cbor::fixed(d, "record")?)),
            KEY_SECTION => {
                let member = cbor::text(d, "section", 8)?.parse();
                let member = member.map_err(|_: ParseIdError| ChangeError::Malformed { what: "section" })?;
                self.section = Some(SectionId::Response(member));
            }
            KEY_DEPS => self.deps = Some(read_deps(d)?),
            KEY_CERTIFICATE => {
                let bytes = d.bytes().map_err(|_| ChangeError::Malformed { what: "certificate" })?;
                self.certificate = Some(bytes.to_vec());
            }
            KEY_INCARNATION => self.incarnation = Some(Incarnation(cbor::unsigned(d, "incarnation")?)),
            KEY_AUDIENCE => self.audience = Some(AudienceId(cbor::fixed(d, "audience")?)),
            KEY_PREVIOUS => self.previous = Some(read_previous(d)?),
            _ => cbor::skip(d, "a value of a newer version")?,
        }
        Ok(())
    }

    fn into_change(self) -> Result<Change, ChangeError> {
        let missing = |what| ChangeError::Missing { what };
        match self.kind.ok_or(missing("type"))? {
            TYPE_CREATE if self.newer => Ok(Change::Unknown { kind: TYPE_CREATE }),
            TYPE_CREATE => Ok(Change::Create(Create {
                kind: self.record_kind.ok_or(missing("record kind"))?,
                writers: self.writers.ok_or(missing("writers"))?,
                naming: self.naming.ok_or(missing("nonce or external id"))?,
                ops: self.ops.ok_or(missing("ops"))?,
            })),
            TYPE_EDIT => Ok(Change::Edit(Edit {
                record: self.record.ok_or(missing("record"))?,
                section: self.section.unwrap_or(SectionId::Core),
                deps: self.deps.ok_or(missing("deps"))?,
                ops: self.ops.ok_or(missing("ops"))?,
            })),
            TYPE_OPEN => Ok(Change::Open(LogOpen {
                certificate: self.certificate.ok_or(missing("certificate"))?,
                incarnation: self.incarnation.ok_or(missing("incarnation"))?,
                audience: self.audience.ok_or(missing("audience"))?,
                previous: self.previous,
            })),
            kind => Ok(Change::Unknown { kind }),
        }
    }
}

fn read_writers(d: &mut Decoder<'_>) -> Result<Vec<MemberCode>, ChangeError> {
    let count = cbor::array(d, "writers", RECORD_WRITERS_MAX)?;
    let mut writers = Vec::with_capacity(count);
    for _ in 0..count {
        let code = MemberCode::from_str(cbor::text(d, "a writer", 8)?);
        writers.push(code.map_err(|_| ChangeError::Malformed { what: "a writer" })?);
    }
    if writers.is_empty() {
        return Err(ChangeError::Missing { what: "writers" });
    }
    sorted(writers, "writers")
}

fn read_deps(d: &mut Decoder<'_>) -> Result<Vec<ChangeId>, ChangeError> {
    let count = cbor::array(d, "deps", CHANGE_DEPS_MAX)?;
    let mut deps = Vec::with_capacity(count);
    for _ in 0..count {
        deps.push(ChangeId(cbor::fixed(d, "a dep")?));
    }
    sorted(deps, "deps")
}

fn sorted<T: Ord>(items: Vec<T>, what: &'static str) -> Result<Vec<T>, ChangeError> {
    if items.is_sorted_by(|a, b| a < b) { Ok(items) } else { Err(ChangeError::Unsorted { what }) }
}

fn read_previous(d: &mut Decoder<'_>) -> Result<PreviousLog, ChangeError> {
    if cbor::array(d, "previous log", 3)? != 3 {
        return Err(ChangeError::Malformed { what: "previous log" });
    }
    Ok(PreviousLog {
        log: LogId(cbor::fixed(d, "previous log")?),
        height: Seq(cbor::unsigned(d, "previous height")?),
        head: EntryHash(cbor::fixed(d, "previous head")?),
    })
}

fn read_ops(d: &mut Decoder<'_>) -> Result<Vec<Op>, ChangeError> {
    let count = cbor::array(d, "ops", CHANGE_OPS_MAX)?;
    let mut ops = Vec::with_capacity(count);
    for _ in 0..count {
        ops.push(read_op(d)?);
    }
    Ok(ops)
}

fn read_op(d: &mut Decoder<'_>) -> Result<Op, ChangeError> {
    let parts = cbor::array(d, "an op", 16)?;
    if parts == 0 {
        return Err(ChangeError::Malformed { what: "an op" });
    }
    let code = cbor::unsigned(d, "an op's number")?;
    let field = |d: &mut Decoder<'_>| cbor::text(d, "a field name", FIELD_NAME_BYTES_MAX).map(str::to_owned);
    let key = |d: &mut Decoder<'_>| cbor::text(d, "a set key", SET_KEY_BYTES_MAX).map(str::to_owned);
    Ok(match (code, parts) {
        (OP_SET, 3) => Op::Set { field: field(d)?, value: read_value(d)? },
        (OP_ADD, 4) => Op::Add { set: field(d)?, key: key(d)?, value: read_value(d)? },
        (OP_REMOVE, 3) => Op::Remove { set: field(d)?, key: key(d)? },
        _ => {
            for _ in 1..parts {
                cbor::skip(d, "an op of a newer version")?;
            }
            Op::Unknown { code }
        }
    })
}

fn read_value(d: &mut Decoder<'_>) -> Result<Value, ChangeError> {
    let malformed = |_| ChangeError::Malformed { what: "a value" };
    Ok(match d.datatype().map_err(malformed)? {
        Type::Null => {
            d.null().map_err(malformed)?;
            Value::Null
        }
        Type::Bool => Value::Bool(d.bool().map_err(malformed)?),
        Type::String => Value::Text(cbor::text(d, "a text value", CHANGE_BYTES_MAX)?.to_owned()),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => {
            Value::Int(d.i64().map_err(malformed)?)
        }
        _ => return Err(ChangeError::Malformed { what: "a value" }),
    })
}

impl fmt::Display for SectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SectionId::Core => f.write_str("core"),
            SectionId::Response(member) => write!(f, "response({member})"),
        }
    }
}
