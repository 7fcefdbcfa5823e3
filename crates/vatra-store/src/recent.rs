//! Id rows that were written lately and not yet put where they belong.
//!
//! Record ids are hashes: each new id row lies on another page of the `ids` space, and writing those pages costs
//! more than all the rest of a commit. So a commit writes its id rows side by side into one row of the `recent`
//! space, and memory knows them. Once there are many, a sweep through the ids in order moves some at a time,
//! neighbours together, into `ids`. Reopening replays the `recent` rows.
//!
//! What must stay true: `recent` rows replayed in order give the rows in memory; a `recent` row is deleted only
//! after a whole sweep has passed since it was written; for each id, memory is newer than the `ids` space.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vatra_model::{Position, RecordId};

use crate::damage::checksum;
use crate::engine::Batch;
use crate::rows::{Fields, ID_VALUE_BYTES, IdRow};
use crate::space::Space;

/// Id rows in memory before the sweep begins to move some: 48 bytes each.
pub(crate) const RECENT_ROWS_MAX: usize = 64 * 1024;
/// Id rows that the sweep moves at least, when it moves any.
const SETTLE_ROWS_MIN: usize = 512;
/// `recent` rows that one commit deletes at most.
const DELETED_ROWS_MAX: u64 = 4;
/// Rows are kept by the first 12 bits of their id.
const BUCKETS: u16 = 1 << 12;
/// How many states back a reader may still find its own.
const VERSIONS_MAX: usize = 64;

/// Buckets that a new state shares together, so that a commit of one change copies little.
const GROUP_BUCKETS: u16 = 1 << 6;

type Bucket = Vec<(RecordId, IdRow)>;
type Group = Vec<Arc<Bucket>>;

/// The recent id rows after one commit. Cloning shares the buckets.
#[derive(Clone, Debug)]
pub(crate) struct RecentIds {
    /// Numbers the commits that held id rows, from 1; the key of their `recent` row.
    stage: u64,
    /// Records that have a position.
    record_count: u64,
    groups: Vec<Arc<Group>>,
    row_count: usize,
    /// The bucket that the sweep comes to next.
    next_bucket: u16,
    /// The last stage before the present sweep began.
    sweep_stage: u64,
    /// `recent` rows up to this stage are no longer needed.
    needless_stage: u64,
    /// The oldest `recent` row on disk.
    oldest_stage: u64,
}

/// What a `recent` row says.
struct StageRow {
    record_count: u64,
    /// The buckets that were moved into `ids`: from the first to before the second.
    settled: (u16, u16),
    ids: Vec<(RecordId, IdRow)>,
}

impl RecentIds {
    pub(crate) fn new() -> RecentIds {
        RecentIds {
            stage: 0,
            record_count: 0,
            groups: (0..BUCKETS / GROUP_BUCKETS)
                .map(|_| Arc::new(vec![Arc::default(); usize::from(GROUP_BUCKETS)]))
                .collect(),
            row_count: 0,
            next_bucket: 0,
            sweep_stage: 0,
            needless_stage: 0,
            oldest_stage: 1,
        }
    }

    /// Records that have a position.
    pub(crate) fn record_count(&self) -> u64 {
        self.record_count
    }

    /// The recent row of a record.
    pub(crate) fn id(&self, record: RecordId) -> Option<IdRow> {
        let bucket = self.bucket(bucket_of(record));
        let place = bucket.binary_search_by_key(&record, |(record, _)| *record).ok()?;
        Some(bucket[place].1)
    }

    /// Recent rows by id from one id on.
    pub(crate) fn from(&self, record: RecordId) -> impl Iterator<Item = (RecordId, IdRow)> {
        let buckets = (bucket_of(record)..BUCKETS).map(|bucket| self.bucket(bucket));
        buckets.flatten().copied().skip_while(move |(id, _)| *id < record)
    }

    /// The state after a commit with these id rows, and what it writes. `first` is the first position of the
    /// commit: records created from there on are new.
    pub(crate) fn staged(&self, ids: &[(RecordId, IdRow)], first: Position, batch: &mut Batch) -> RecentIds {
        let mut next = self.clone();
        if ids.is_empty() {
            return next;
        }
        next.stage += 1;
        let from = next.next_bucket;
        let to = next.settle(ids.len(), batch);
        next.pass(from, to);
        next.insert(ids);
        next.record_count += ids.iter().filter(|(_, id)| id.created >= first).count() as u64;
        next.delete_needless(batch);
        let row = StageRow { record_count: next.record_count, settled: (from, to), ids: ids.to_vec() };
        put(batch, Space::Recent, &next.stage.to_be_bytes(), &row.encode());
        next
    }

    /// Repeats what a commit did. Stages come in order; one that is damaged is left out. `None`: the row is
    /// malformed, and nothing changed.
    pub(crate) fn replay(&mut self, stage: u64, value: &[u8]) -> Option<()> {
        let row = StageRow::decode(value)?;
        if self.stage == 0 {
            self.oldest_stage = stage;
            self.needless_stage = stage - 1;
            self.sweep_stage = stage - 1;
        }
        self.stage = stage;
        self.record_count = row.record_count;
        let (from, to) = row.settled;
        for bucket in from..to {
            self.empty(bucket);
        }
        self.next_bucket = from;
        self.pass(from, to);
        self.insert(&row.ids);
        Some(())
    }

    /// Writes rows from the next bucket on to where they belong, if there are too many; says up to which bucket.
    fn settle(&mut self, coming: usize, batch: &mut Batch) -> u16 {
        let from = self.next_bucket;
        if self.row_count + coming <= RECENT_ROWS_MAX {
            return from;
        }
        let wanted = SETTLE_ROWS_MIN.max(2 * coming);
        let mut moved = 0;
        let mut to = from;
        while to < BUCKETS && moved < wanted {
            for (record, id) in self.bucket(to) {
                put(batch, Space::Ids, &record.0, &id.encode());
            }
            moved += self.empty(to);
            to += 1;
        }
        to
    }

    /// The sweep passed these buckets; at the end it begins anew.
    fn pass(&mut self, from: u16, to: u16) {
        if from == to {
            return;
        }
        if from == 0 {
            self.sweep_stage = self.stage - 1;
        }
        self.next_bucket = to;
        if to == BUCKETS {
            self.next_bucket = 0;
            // Everything written before this sweep began was passed by it.
            self.needless_stage = self.sweep_stage;
        }
    }

    fn empty(&mut self, bucket: u16) -> usize {
        let rows = self.bucket(bucket).len();
        if rows > 0 {
            *self.bucket_mut(bucket) = Arc::default();
        }
        self.row_count -= rows;
        rows
    }

    fn insert(&mut self, ids: &[(RecordId, IdRow)]) {
        for (record, id) in ids {
            let bucket = Arc::make_mut(self.bucket_mut(bucket_of(*record)));
            match bucket.binary_search_by_key(record, |(record, _)| *record) {
                Ok(place) => bucket[place].1 = *id,
                Err(place) => {
                    bucket.insert(place, (*record, *id));
                    self.row_count += 1;
                }
            }
        }
    }

    fn bucket(&self, bucket: u16) -> &Bucket {
        &self.groups[usize::from(bucket / GROUP_BUCKETS)][usize::from(bucket % GROUP_BUCKETS)]
    }

    fn bucket_mut(&mut self, bucket: u16) -> &mut Arc<Bucket> {
        let group = Arc::make_mut(&mut self.groups[usize::from(bucket / GROUP_BUCKETS)]);
        &mut group[usize::from(bucket % GROUP_BUCKETS)]
    }

    /// A few at a time: a commit of one change must not pay for thousands.
    fn delete_needless(&mut self, batch: &mut Batch) {
        for _ in 0..DELETED_ROWS_MAX {
            if self.oldest_stage > self.needless_stage {
                return;
            }
            batch.delete(Space::Recent, &self.oldest_stage.to_be_bytes());
            self.oldest_stage += 1;
        }
    }
}

impl StageRow {
    fn encode(&self) -> Vec<u8> {
        const HEAD_BYTES: usize = 8 + 2 + 2;
        let mut value = Vec::with_capacity(HEAD_BYTES + self.ids.len() * (RecordId::LEN + ID_VALUE_BYTES));
        value.extend(self.record_count.to_be_bytes());
        value.extend(self.settled.0.to_be_bytes());
        value.extend(self.settled.1.to_be_bytes());
        for (record, id) in &self.ids {
            value.extend(record.0);
            value.extend(id.encode());
        }
        value
    }

    fn decode(value: &[u8]) -> Option<StageRow> {
        let mut fields = Fields(value);
        let record_count = fields.u64()?;
        let settled = (u16::from_be_bytes(fields.take()?), u16::from_be_bytes(fields.take()?));
        if settled.0 > settled.1 || settled.1 > BUCKETS {
            return None;
        }
        let mut ids = Vec::new();
        while !fields.0.is_empty() {
            let record = RecordId(fields.take()?);
            ids.push((record, IdRow::decode(&fields.take::<ID_VALUE_BYTES>()?)?));
        }
        Some(StageRow { record_count, settled, ids })
    }
}

/// The id rows that a `recent` row holds.
pub(crate) fn ids_of(value: &[u8]) -> Option<Vec<(RecordId, IdRow)>> {
    StageRow::decode(value).map(|row| row.ids)
}

pub(crate) fn put(batch: &mut Batch, space: Space, key: &[u8], value: &[u8]) {
    batch.put_parts(space, key, &[value, &checksum(space, key, value)]);
}

fn bucket_of(record: RecordId) -> u16 {
    u16::from_be_bytes([record.0[0], record.0[1]]) >> 4
}

/// The latest states, so that each reader finds the one that its engine snapshot goes with.
#[derive(Debug)]
pub(crate) struct RecentVersions {
    versions: Mutex<VecDeque<Arc<RecentIds>>>,
}

impl RecentVersions {
    pub(crate) fn new(first: RecentIds) -> RecentVersions {
        RecentVersions { versions: Mutex::new(VecDeque::from([Arc::new(first)])) }
    }

    /// The state after the last commit.
    pub(crate) fn latest(&self) -> Arc<RecentIds> {
        Arc::clone(self.lock().back().expect("there is always a state"))
    }

    /// The state after the commit of a stage, unless that is long ago.
    pub(crate) fn of_stage(&self, stage: u64) -> Option<Arc<RecentIds>> {
        self.lock().iter().rev().find(|version| version.stage == stage).map(Arc::clone)
    }

    /// Adds the state after a commit that is about to be made, so that it is there when its rows are.
    pub(crate) fn add(&self, next: RecentIds) {
        let mut versions = self.lock();
        if versions.len() == VERSIONS_MAX {
            versions.pop_front();
        }
        versions.push_back(Arc::new(next));
    }

    /// The commit of the latest state failed.
    pub(crate) fn take_back(&self) {
        let mut versions = self.lock();
        versions.pop_back();
        assert!(!versions.is_empty(), "only a state that was added is taken back");
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<RecentIds>>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
