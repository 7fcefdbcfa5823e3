//! Changes as CBOR.

use minicbor::Encoder;

use super::keys::*;
use super::{Create, Edit, LogOpen, Naming, Op, SectionId, Value};

pub(super) type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;
pub(super) type Writer<'a> = Encoder<&'a mut Vec<u8>>;

pub(super) fn encode_create(e: &mut Writer<'_>, create: &Create) -> Written {
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

pub(super) fn encode_edit(e: &mut Writer<'_>, edit: &Edit) -> Written {
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

pub(super) fn encode_open(e: &mut Writer<'_>, open: &LogOpen) -> Written {
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
