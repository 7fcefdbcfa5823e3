//! Changes out of CBOR: what is not known is left out, what is malformed is named.

use std::str::FromStr;

use minicbor::Decoder;
use minicbor::data::Type;

use super::keys::*;
use super::{Change, ChangeError, Create, Edit, LogOpen, Naming, Op, PreviousLog, RecordKind, SectionId, Value};
use crate::cbor;
use crate::ids::{AudienceId, ChangeId, EntryHash, Incarnation, LogId, MemberCode, ParseIdError, RecordId, Seq};
use crate::limits::{
    CHANGE_BYTES_MAX, CHANGE_DEPS_MAX, CHANGE_OPS_MAX, EXTERNAL_ID_BYTES_MAX, FIELD_NAME_BYTES_MAX, RECORD_WRITERS_MAX,
    SET_KEY_BYTES_MAX,
};

/// Top-level keys of one change, known and unknown.
const CHANGE_KEYS_MAX: usize = 64;

/// The known keys of a change's map, before they are fitted together.
#[derive(Default)]
pub(super) struct Parts {
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
    pub(super) fn read(d: &mut Decoder<'_>) -> Result<Parts, ChangeError> {
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

    pub(super) fn into_change(self) -> Result<Change, ChangeError> {
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
