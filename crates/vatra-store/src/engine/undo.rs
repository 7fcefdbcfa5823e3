//! Old values of rows, so that an engine without snapshots can show one moment of the past.
//!
//! Each commit notes what its rows were before it. A snapshot of generation g sees, for each row, what it was
//! before the first commit after g, or the present value. A commit is published only once it is durable, so
//! nobody sees rows that a power cut could take away.

use std::collections::BTreeMap;
use std::ops::Bound;

/// Old values kept at most; past it the oldest snapshots are given up.
pub(crate) const UNDO_ROWS_MAX: usize = 1_000_000;

/// The old values that open snapshots may need.
#[derive(Debug, Default)]
pub(crate) struct Undo {
    /// The generation that new snapshots see: that of the last durable commit.
    published: u64,
    /// Snapshots below this generation were given up.
    floor: u64,
    /// By key: what the row was before the commit of that generation, oldest first.
    rows: BTreeMap<Vec<u8>, Vec<Before>>,
    row_count: usize,
    /// How many snapshots see each generation.
    open: BTreeMap<u64, usize>,
}

#[derive(Debug)]
struct Before {
    generation: u64,
    value: Option<Vec<u8>>,
}

impl Undo {
    /// Notes what a row is before the next commit changes it. Noting it again has no effect until the commit is
    /// published, so a commit that failed half-way can be followed by another.
    pub(crate) fn note(&mut self, key: &[u8], value: Option<Vec<u8>>) {
        let generation = self.published + 1;
        let olds = self.rows.entry(key.to_vec()).or_default();
        if olds.last().is_none_or(|last| last.generation < generation) {
            olds.push(Before { generation, value });
            self.row_count += 1;
        }
    }

    /// The rows that the unpublished commit may have changed, as they were before it.
    pub(crate) fn unpublished(&self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let changed = self.rows.iter().filter_map(|(key, olds)| {
            let last = olds.last().filter(|last| last.generation > self.published)?;
            Some((key.clone(), last.value.clone()))
        });
        changed.collect()
    }

    /// The next commit is durable: from now on snapshots see it.
    pub(crate) fn publish(&mut self) {
        self.published += 1;
        self.prune();
    }

    /// Begins a snapshot of the present generation.
    pub(crate) fn begin(&mut self) -> u64 {
        *self.open.entry(self.published).or_default() += 1;
        self.published
    }

    /// Ends a snapshot.
    pub(crate) fn end(&mut self, generation: u64) {
        if let Some(count) = self.open.get_mut(&generation) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(&generation);
            }
        }
        self.prune();
    }

    /// Whether a snapshot of this generation was given up.
    pub(crate) fn is_given_up(&self, generation: u64) -> bool {
        generation < self.floor
    }

    /// What a row was at a generation, if it changed since: `Some(None)` when it did not exist.
    pub(crate) fn old(&self, key: &[u8], generation: u64) -> Option<Option<&[u8]>> {
        first_after(self.rows.get(key)?, generation)
    }

    /// The rows of a range that changed since a generation, as they were then.
    pub(crate) fn old_range(
        &self,
        range: (Bound<Vec<u8>>, Bound<Vec<u8>>),
        generation: u64,
    ) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.rows
            .range::<Vec<u8>, _>(range)
            .filter_map(move |(key, olds)| Some((key.as_slice(), first_after(olds, generation)?)))
    }

    /// Drops old values that no open snapshot can ask for.
    fn prune(&mut self) {
        if self.row_count > UNDO_ROWS_MAX {
            self.floor = self.published;
        }
        let oldest = self.open.range(self.floor..).next().map_or(self.published, |(generation, _)| *generation);
        if self.row_count == 0 {
            return;
        }
        let mut kept = 0;
        self.rows.retain(|_, olds| {
            olds.retain(|old| old.generation > oldest);
            kept += olds.len();
            !olds.is_empty()
        });
        self.row_count = kept;
    }
}

fn first_after(olds: &[Before], generation: u64) -> Option<Option<&[u8]>> {
    olds.iter().find(|old| old.generation > generation).map(|old| old.value.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_sees_rows_as_they_were_and_old_values_go_with_it() {
        let mut undo = Undo::default();
        undo.note(b"a", None);
        assert_eq!(undo.old(b"a", 0), Some(None), "unpublished rows are hidden");
        undo.publish();
        assert_eq!(undo.row_count, 0, "nobody looks at generation 0");
        let first = undo.begin();
        undo.note(b"a", Some(b"1".to_vec()));
        undo.note(b"a", Some(b"never".to_vec()));
        undo.publish();
        undo.note(b"a", Some(b"2".to_vec()));
        undo.publish();
        assert_eq!(undo.old(b"a", first), Some(Some(&b"1"[..])));
        assert_eq!(undo.old(b"a", first + 1), Some(Some(&b"2"[..])));
        assert_eq!(undo.old(b"a", first + 2), None);
        undo.end(first);
        assert_eq!(undo.row_count, 0);
    }

    #[test]
    fn rows_of_a_failed_commit_can_be_put_back() {
        let mut undo = Undo::default();
        undo.note(b"a", Some(b"old".to_vec()));
        undo.note(b"b", None);
        assert_eq!(undo.unpublished(), [(b"a".to_vec(), Some(b"old".to_vec())), (b"b".to_vec(), None)]);
        undo.publish();
        assert_eq!(undo.unpublished(), []);
    }
}
