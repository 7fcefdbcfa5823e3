//! Ops from fields: one builder for creates, which only add, and patches, which also clear and remove.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::change::{Op, Value};
use crate::draft::{DraftError, Patched, SetPatch};
use crate::limits::{CHANGE_BYTES_MAX, CHANGE_OPS_MAX};
use crate::schema::alert_parts::{Keyed, write_element};
use crate::time::WallMs;

/// Bytes of a change that are not ops: type, writers, naming, deps.
const CHANGE_HEAD_BYTES: usize = 1024;

/// Collects ops in the order in which they are named.
#[derive(Default)]
pub(super) struct Ops(Vec<Op>);

impl Ops {
    pub(super) fn with_capacity(count: usize) -> Ops {
        Ops(Vec::with_capacity(count))
    }

    pub(super) fn set(&mut self, field: &str, value: Value) {
        self.0.push(Op::Set { field: field.to_owned(), value });
    }

    pub(super) fn text(&mut self, field: &str, text: Option<String>) {
        if let Some(text) = text {
            self.set(field, Value::Text(text));
        }
    }

    pub(super) fn word(&mut self, field: &str, word: Option<&'static str>) {
        if let Some(word) = word {
            self.set(field, Value::Text(word.to_owned()));
        }
    }

    pub(super) fn time(&mut self, field: &str, at: Option<WallMs>) {
        if let Some(at) = at {
            self.set(field, time_value(at));
        }
    }

    /// Elements whose key says it all.
    pub(super) fn keys(&mut self, set: &str, keys: impl IntoIterator<Item = String>) {
        for key in keys {
            self.0.push(Op::Add { set: set.to_owned(), key, value: Value::Bool(true) });
        }
    }

    /// Elements with content; two that share a key are refused.
    pub(super) fn elements<T: Keyed>(&mut self, set: &str, items: &[T]) -> Result<(), DraftError> {
        let mut seen = BTreeMap::new();
        for (index, item) in items.iter().enumerate() {
            let key = item.key();
            if items.len() > 1
                && let Some(first) = seen.insert(key.clone(), index)
            {
                let field = format!("{set}[{index}]");
                return Err(DraftError::new(field, format!("repeats {set}[{first}]"), "leave one of them out"));
            }
            self.0.push(Op::Add { set: set.to_owned(), key, value: Value::Text(write_element(item)) });
        }
        Ok(())
    }

    pub(super) fn element<T: Serialize>(&mut self, set: &str, key: String, element: &T) {
        self.0.push(Op::Add { set: set.to_owned(), key, value: Value::Text(write_element(element)) });
    }

    pub(super) fn remove(&mut self, set: &str, key: String) {
        self.0.push(Op::Remove { set: set.to_owned(), key });
    }

    /// A register of a patch.
    pub(super) fn patched<T>(&mut self, field: &str, patched: Patched<T>, value: impl FnOnce(T) -> Value) {
        match patched {
            Patched::Keep => {}
            Patched::Clear => self.set(field, Value::Null),
            Patched::To(new) => self.set(field, value(new)),
        }
    }

    /// A set of a patch whose elements are keys, given what the set holds now.
    pub(super) fn patched_keys(&mut self, set: &str, patch: SetPatch<String>, now: &[String]) {
        let (add, remove) = match patch {
            SetPatch::Keep => return,
            SetPatch::Exactly(new) => {
                let remove = now.iter().filter(|key| !new.contains(key)).cloned().collect();
                (new.into_iter().filter(|key| !now.contains(key)).collect(), remove)
            }
            SetPatch::Change { add, remove } => (add, remove),
        };
        for key in remove {
            self.remove(set, key);
        }
        self.keys(set, add);
    }

    /// A set of a patch whose elements have content, given what the set holds now.
    pub(super) fn patched_elements<T>(&mut self, set: &str, patch: &SetPatch<T>, now: &[T]) -> Result<(), DraftError>
    where
        T: Keyed + PartialEq,
    {
        match patch {
            SetPatch::Keep => Ok(()),
            SetPatch::Change { add, remove } => {
                for key in remove {
                    self.remove(set, T::key_meant(key));
                }
                self.elements(set, add)
            }
            SetPatch::Exactly(new) => {
                let mut missing: BTreeMap<String, &T> = now.iter().map(|item| (item.key(), item)).collect();
                let kept_before = self.0.len();
                self.elements(set, new)?;
                // Unchanged elements need no op; those that the list lacks go.
                let mut index = kept_before;
                for item in new {
                    match missing.remove(&item.key()) {
                        Some(old) if old == item => {
                            self.0.remove(index);
                        }
                        _ => index += 1,
                    }
                }
                for key in missing.into_keys() {
                    self.remove(set, key);
                }
                Ok(())
            }
        }
    }

    /// The ops, if they fit into one change.
    pub(super) fn finish(self) -> Result<Vec<Op>, DraftError> {
        let ops = self.0;
        if ops.len() > CHANGE_OPS_MAX {
            let problem = format!("has {} values, one change holds {CHANGE_OPS_MAX}", ops.len());
            return Err(DraftError::new("", problem, "send a part now and add the rest with further patches"));
        }
        let bytes: usize = ops.iter().map(op_bytes).sum();
        if bytes + CHANGE_HEAD_BYTES > CHANGE_BYTES_MAX {
            let limit = CHANGE_BYTES_MAX - CHANGE_HEAD_BYTES;
            let problem = format!("has {bytes} bytes in all, one change holds {limit}");
            return Err(DraftError::new("", problem, "shorten it, attach a file or add the rest with further patches"));
        }
        Ok(ops)
    }
}

pub(super) fn time_value(at: WallMs) -> Value {
    Value::Int(i64::try_from(at.0).unwrap_or(i64::MAX))
}

/// Most bytes that an op takes in CBOR: every text with a head of up to five bytes.
fn op_bytes(op: &Op) -> usize {
    let value_bytes = |value: &Value| match value {
        Value::Text(text) => text.len() + 5,
        Value::Null | Value::Bool(_) | Value::Int(_) => 9,
    };
    match op {
        Op::Set { field, value } => 2 + field.len() + 5 + value_bytes(value),
        Op::Add { set, key, value } => 2 + set.len() + 5 + key.len() + 5 + value_bytes(value),
        Op::Remove { set, key } => 2 + set.len() + 5 + key.len() + 5,
        Op::Unknown { .. } => 10,
    }
}
