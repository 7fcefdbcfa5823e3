//! A batch: puts and deletes across spaces that become durable together or not at all.

use std::ops::Range;

use crate::space::Space;

/// Puts and deletes for one atomic commit. All keys and values lie in one buffer.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    ops: Vec<Op>,
}

#[derive(Clone, Debug)]
struct Op {
    space: Space,
    key: Range<usize>,
    value: Option<Range<usize>>,
}

/// One put (`value` is there) or delete (it is not) of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpRef<'a> {
    /// The space of the row.
    pub space: Space,
    /// The key of the row.
    pub key: &'a [u8],
    /// The new value; `None` deletes the row.
    pub value: Option<&'a [u8]>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Batch {
        Batch::default()
    }

    /// An empty batch with room for this many operations and bytes.
    #[must_use]
    pub fn with_capacity(ops: usize, bytes: usize) -> Batch {
        Batch { bytes: Vec::with_capacity(bytes), ops: Vec::with_capacity(ops) }
    }

    /// Adds or replaces a row.
    pub fn put(&mut self, space: Space, key: &[u8], value: &[u8]) {
        self.put_parts(space, key, &[value]);
    }

    /// Adds or replaces a row whose value is these parts one after another.
    pub fn put_parts(&mut self, space: Space, key: &[u8], value: &[&[u8]]) {
        let key = self.append(&[key]);
        let value = Some(self.append(value));
        self.ops.push(Op { space, key, value });
    }

    /// Removes a row; a missing row is no error.
    pub fn delete(&mut self, space: Space, key: &[u8]) {
        let key = self.append(&[key]);
        self.ops.push(Op { space, key, value: None });
    }

    /// The number of operations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The bytes of all keys and values.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The operations by (space, key), one for each row: the last one given wins.
    #[must_use]
    pub fn sorted(&self) -> Vec<OpRef<'_>> {
        let mut ops: Vec<OpRef<'_>> = self
            .ops
            .iter()
            .map(|op| OpRef {
                space: op.space,
                key: &self.bytes[op.key.clone()],
                value: op.value.as_ref().map(|value| &self.bytes[value.clone()]),
            })
            .collect();
        ops.sort_by_key(|op| (op.space, op.key));
        let mut unique: Vec<OpRef<'_>> = Vec::with_capacity(ops.len());
        for op in ops {
            match unique.last_mut() {
                Some(last) if last.space == op.space && last.key == op.key => *last = op,
                _ => unique.push(op),
            }
        }
        unique
    }

    fn append(&mut self, parts: &[&[u8]]) -> Range<usize> {
        let start = self.bytes.len();
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        start..self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_keeps_the_last_operation_of_a_row() {
        let mut batch = Batch::new();
        batch.put(Space::Meta, b"b", b"1");
        batch.put(Space::Entries, b"z", b"2");
        batch.delete(Space::Meta, b"b");
        batch.put(Space::Meta, b"a", b"3");
        assert_eq!(
            batch.sorted(),
            [
                OpRef { space: Space::Entries, key: b"z", value: Some(b"2") },
                OpRef { space: Space::Meta, key: b"a", value: Some(b"3") },
                OpRef { space: Space::Meta, key: b"b", value: None },
            ]
        );
    }
}
