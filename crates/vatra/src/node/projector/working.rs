//! A record under work: as one batch has left it so far.

use std::collections::BTreeMap;
use std::sync::Arc;

use vatra_model::view::{Digest, View};
use vatra_model::{Position, RecordId};
use vatra_record::{Lack, Record};
use vatra_store::IdRow;

use super::round::{Round, edited_type, updated_type};
use super::{Projector, Reason};
use crate::node::pending::{self, Pending};
use crate::node::views::{FLAG_EDITED, FLAG_PENDING};

/// A record as this batch has left it so far.
pub(super) struct Working {
    pub(super) id: IdRow,
    /// Loaded once an edit needs it; a fresh create is kept as its place in the batch.
    pub(super) record: Option<Record>,
    pub(super) fresh: Option<(usize, u16)>,
    /// What the record adds to the digest in `state`.
    pub(super) item: Option<[u8; 32]>,
    /// Its document row must be written.
    pub(super) is_edited: bool,
    /// Its id row must be written.
    pub(super) is_changed: bool,
    /// A change of it waits for its repair.
    pub(super) is_put_off: bool,
    /// The store has rows of changes that wait for something of this record.
    pub(super) has_rows: bool,
    /// Such rows that this batch puts, or deletes (`None`).
    pub(super) waiting: BTreeMap<Vec<u8>, Option<Pending>>,
}

/// A change that waited and has become part of its record.
pub(super) struct Unlocked {
    pub(super) pending: Pending,
    /// Why it has no effect, if it has none.
    pub(super) reason: Option<Reason>,
}

impl Projector {
    /// Takes a record out of the round to work on it, loaded.
    pub(super) fn take_working(&self, round: &mut Round<'_>, record: RecordId) -> anyhow::Result<Working> {
        if !round.working.contains_key(&record) {
            let working = self.load(round, record)?;
            round.working.insert(record, working);
        }
        let known = &round.working[&record];
        if known.record.is_none() {
            let loaded = round.materialize(&self.views, known.fresh, record)?;
            round.working.get_mut(&record).expect("inserted above").record = Some(loaded);
        }
        Ok(round.working.remove(&record).expect("inserted above"))
    }

    fn load(&self, round: &mut Round<'_>, record: RecordId) -> anyhow::Result<Working> {
        let Some(id) = round.snapshot.id(record)? else {
            let id = IdRow { created: Position(0), latest: Position(0), flags: [0; 8] };
            return Ok(Working::new(id, Some(Record::new(record))));
        };
        let mut working = Working::new(id, None);
        if id.flags[0] & FLAG_EDITED != 0 {
            let (item, loaded) = self.views.edited(&round.snapshot, record)?;
            round.bytes += loaded.weight();
            working.item = item;
            working.record = Some(loaded);
        } else {
            working.item = self.views.view(&round.snapshot, record)?.map(|view| view.digest_item());
            working.record = self.views.record(&round.snapshot, record)?;
        }
        Ok(working)
    }
}

impl Working {
    pub(super) fn new(id: IdRow, record: Option<Record>) -> Working {
        Working {
            id,
            record,
            fresh: None,
            item: None,
            is_edited: false,
            is_changed: false,
            is_put_off: false,
            has_rows: id.flags[0] & FLAG_PENDING != 0,
            waiting: BTreeMap::new(),
        }
    }

    /// Notes a change that has no place in the stream for now.
    pub(super) fn wait(&mut self, record: RecordId, lack: Lack, pending: Pending) {
        (self.is_edited, self.is_changed) = (true, true);
        self.waiting.insert(pending::key(record, lack, pending.place()), Some(pending));
    }

    /// Whether there may be changes that wait.
    pub(super) fn may_wait(&self) -> bool {
        self.has_rows || !self.waiting.is_empty()
    }

    /// The record has no view any more.
    pub(super) fn hide(&mut self, round: &mut Round<'_>) {
        if let Some(item) = self.item.take() {
            round.digest.remove(&item);
        }
    }

    /// The record has this view now; its canonical bytes.
    pub(super) fn show(&mut self, round: &mut Round<'_>, record: RecordId, view: &View) -> Arc<[u8]> {
        self.hide(round);
        let bytes: Arc<[u8]> = view.canonical_bytes().into();
        let item = Digest::item(record, &bytes);
        round.digest.add(&item);
        self.item = Some(item);
        bytes
    }

    /// Gives what waited its place in the stream.
    pub(super) fn tell(
        &mut self,
        round: &mut Round<'_>,
        record: RecordId,
        view: &View,
        bytes: &Arc<[u8]>,
        unlocked: Vec<Unlocked>,
    ) {
        for Unlocked { pending, reason } in unlocked {
            let (entry, index) = (pending.entry, pending.index);
            if let Some(reason) = reason {
                round.quarantine(&entry, index, reason);
            }
            let event_type = match entry.change(index) {
                Ok(change) if reason.is_none() => edited_type(&change, view),
                _ => updated_type(view),
            };
            self.id.latest = round.emit(&entry, index, record, event_type, view.summary(), bytes.clone());
        }
    }

    /// Whether changes wait once this batch is stored.
    pub(super) fn will_wait(&self, round: &Round<'_>, record: RecordId) -> anyhow::Result<bool> {
        if self.is_put_off || self.waiting.values().any(Option::is_some) {
            return Ok(true);
        }
        if !self.has_rows {
            return Ok(false);
        }
        let deleted = self.waiting.len();
        let keys = pending::keys(&round.snapshot, record, deleted.saturating_add(1))?;
        Ok(keys.iter().any(|key| !self.waiting.contains_key(key)))
    }
}
