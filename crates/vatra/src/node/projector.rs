//! From a batch of accepted entries to one commit: rows, positions, views, digest, events.
//!
//! Most alerts are never edited; they go straight from their fields to a view, and only an edited record gets a
//! document row. Within one batch a record may be touched several times, so what was worked out is kept at hand.

mod applying;
mod retracting;
mod round;
mod rows;
mod waiting;
mod working;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use vatra_model::change::record_id;
use vatra_model::charter::Charter;
use vatra_model::fork::stray_log;
use vatra_model::pack::Packer;
use vatra_model::view::Summary;
use vatra_model::{Change, CheckedEntry, EntryHash, LogId, MemberCode, Position, RecordId, Seq};
use vatra_record::Lack;
use vatra_replica::Batch;
use vatra_store::{Commit, EntryRow, MetaKey, ReadError};
use vatra_stream::StoredEvent;

use crate::node::boot::{LifeRow, StateRow};
use crate::node::guard::Guard;
use crate::node::metrics::Metrics;
use crate::node::packing::pack_entry;
use crate::node::quarantine::{Quarantine, QuarantinedChange, Reason, WHOLE_ENTRY};
use crate::node::strays::stray_row;
use crate::node::views::{DecodedEntry, Views};

pub(crate) use retracting::ended_places;
use retracting::{RETRACTED_MAX, Retracting};
use round::Round;

/// Changes after which one commit takes no further entry.
const PART_CHANGES: usize = 2048;
/// Bytes of entries and documents after which one commit takes no further entry.
const PART_BYTES: usize = 16 << 20;
/// Changes that waited and have their turn in one commit; more have it in the next.
const PART_UNLOCKED_MAX: usize = if cfg!(test) { 320 } else { 1024 };
/// Bytes of documents in one commit; records beyond it are left to be made anew from their changes.
const PART_DOCUMENT_BYTES_MAX: usize = 40 << 20;
/// Changes that may panic in one commit before the fault is taken to lie elsewhere.
const PANICS_MAX: usize = 16;
/// Time that one entry may take; what takes longer is counted, and is no reason to judge it otherwise.
const ENTRY_TIME_MAX: Duration = Duration::from_millis(50);
/// Time between two log lines about changes without effect.
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);

// With the changes of one more entry a part still fits a commit.
const _: () = assert!(
    PART_CHANGES + PART_UNLOCKED_MAX + RETRACTED_MAX + vatra_model::limits::ENTRY_CHANGES_MAX
        <= vatra_store::COMMIT_CHANGES_MAX
);

/// Where each change of this node's own entries stands, by entry and place in it.
pub(crate) type Positions = HashMap<(Seq, u16), Stored>;

/// What a part of a batch comes to.
pub(crate) struct Projected {
    pub(crate) commit: Commit,
    /// The first entry of the batch that is not in the commit.
    pub(crate) next_entry: usize,
    /// Where each effective change of this node's own entries stands.
    pub(crate) positions: Positions,
    /// What readers learn once the commit is durable.
    pub(crate) events: Vec<StoredEvent>,
    pub(crate) noted: Vec<(RecordId, Position, Summary)>,
    /// Changes that have no effect.
    pub(crate) quarantined: Vec<QuarantinedChange>,
    /// The state after the batch.
    pub(crate) state: StateRow,
    /// How far the rows of logs tell that they go, once the commit is durable.
    heights: Vec<(LogId, u64)>,
    /// What has come although not all that waited for it had its turn, and what is no longer of that kind.
    backlog: BTreeMap<(RecordId, Lack), bool>,
    hashes: Vec<EntryHash>,
    /// An entry that could not be read was put back.
    pub(crate) has_put_back: bool,
    /// Records that are shown no longer.
    pub(crate) hidden: Vec<RecordId>,
    /// What is left to be taken back once the commit is durable, if that changes.
    retracting: Option<Retracting>,
}

/// A change of this node's own, in place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub(crate) record: RecordId,
    pub(crate) position: Position,
    pub(crate) is_new: bool,
}

/// Where a change stands: log, entry, place in the entry.
type At = (LogId, Seq, u16);

/// Works batches out. Holds what the last durable commit left.
pub(crate) struct Projector {
    pub(crate) views: Arc<Views>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) quarantine: Arc<Quarantine>,
    pub(crate) guard: Guard,
    pub(crate) packer: Packer,
    pub(crate) state: StateRow,
    pub(crate) life: LifeRow,
    /// What has come although not all that waited for it had its turn.
    pub(crate) backlog: BTreeSet<(RecordId, Lack)>,
    /// What revocations take back and has not had its turn.
    retracting: Retracting,
    /// A charter is heeded that is not on disk yet: what it takes back is not noted before that.
    awaits_charter: bool,
    /// The change under work.
    at: Option<At>,
    /// How far the rows of logs tell that they go.
    heights: BTreeMap<LogId, u64>,
    complained: Option<Instant>,
}

impl Projector {
    pub(crate) fn new(
        views: Arc<Views>,
        metrics: Arc<Metrics>,
        quarantine: Arc<Quarantine>,
        state: StateRow,
        life: LifeRow,
    ) -> Projector {
        metrics.show_quarantine(quarantine.by_member());
        Projector {
            views,
            metrics,
            quarantine,
            guard: Guard::default(),
            packer: Packer::new(),
            state,
            life,
            backlog: BTreeSet::new(),
            retracting: Retracting::default(),
            awaits_charter: false,
            at: None,
            heights: BTreeMap::new(),
            complained: None,
        }
    }

    /// Works out a batch from one of its entries on, as far as one commit can hold it. Nothing is remembered until
    /// [`Projector::settle`]. A change that makes this code panic is held back, so that it cannot keep the rest of its
    /// log away.
    pub(crate) fn project(
        &mut self,
        batch: &Batch,
        from: usize,
        own_log: LogId,
        next: Position,
    ) -> anyhow::Result<Projected> {
        let mut skipped = BTreeSet::new();
        loop {
            // Nothing but the packer outlives a panic: the round is thrown away as a whole.
            let worked = catch_unwind(AssertUnwindSafe(|| self.work_out(batch, from, own_log, next, &skipped)));
            self.guard.end();
            match worked {
                Ok(projected) => return projected,
                Err(panic) => {
                    self.packer = Packer::new();
                    self.metrics.panics.inc();
                    match self.at.take() {
                        Some(at) if skipped.len() < PANICS_MAX && skipped.insert(at) => {
                            let (log, seq, index) = at;
                            tracing::error!(%log, seq = seq.0, index, "a change makes this program panic; this is a fault");
                        }
                        _ => resume_unwind(panic),
                    }
                }
            }
        }
    }

    fn work_out(
        &mut self,
        batch: &Batch,
        from: usize,
        own_log: LogId,
        next: Position,
        skipped: &BTreeSet<At>,
    ) -> anyhow::Result<Projected> {
        let snapshot = self.views.reader.snapshot()?;
        let mut round = Round::new(snapshot, batch, from, own_log, next, &self.state, skipped);
        self.views.origins.add(batch.logs.iter().map(|(log, row)| (log, row)));
        self.views.origins.set_forks(&batch.forks);
        if let Some(charter) = &batch.charter {
            let charter = Charter::decode(charter).context("the core verified the charter")?;
            self.awaits_charter = true;
            self.heed(&charter, &round.snapshot)?;
        }
        self.retract(&mut round)?;
        self.work_off(&mut round)?;
        for entry in batch.entries[from..].iter().take(self.guard.part_entries_max()) {
            let others = round.unlocked + round.retracted;
            if round.out.commit.stream.len() >= PART_CHANGES + others || round.bytes >= PART_BYTES {
                break;
            }
            let started = Instant::now();
            self.project_entry(&mut round, entry)?;
            if started.elapsed() > ENTRY_TIME_MAX {
                self.metrics.slow_entries.inc();
            }
            round.out.next_entry += 1;
        }
        self.at = None;
        self.guard.join(round.entries.len());
        self.finish(round)
    }

    /// The commit is durable.
    pub(crate) fn settle(&mut self, projected: &Projected) {
        self.state = projected.state;
        self.heights.extend(projected.heights.iter().copied());
        for (item, is_left) in &projected.backlog {
            if *is_left {
                self.backlog.insert(*item);
            } else {
                self.backlog.remove(item);
            }
        }
        self.awaits_charter &= !projected.commit.meta.iter().any(|(key, _)| *key == MetaKey::CHARTER);
        if let Some(left) = &projected.retracting {
            self.retracting = left.clone();
        }
        if projected.has_put_back && self.views.origins.any_ended() {
            self.retracting.try_again();
        }
        let retracted = projected.events.iter().filter(|event| event.event_type.is_retraction()).count();
        self.metrics.retracted.inc_by(retracted as u64);
        self.guard.stored(projected.hashes.iter().copied());
        self.quarantine.add(&projected.quarantined);
        for change in &projected.quarantined {
            self.metrics.quarantined(change.reason);
        }
        if !projected.quarantined.is_empty() {
            self.metrics.show_quarantine(self.quarantine.by_member());
        }
        self.complain(&projected.quarantined);
    }

    /// Whether something is left to be done beside what comes in.
    pub(crate) fn has_work(&self) -> bool {
        !self.backlog.is_empty() || (self.retracting.is_open() && !self.awaits_charter)
    }

    /// Says now and then that there are changes without effect; all of them stand in the quarantine.
    fn complain(&mut self, changes: &[QuarantinedChange]) {
        let Some(first) = changes.first() else { return };
        if self.complained.is_some_and(|last| last.elapsed() < COMPLAIN_EVERY) {
            return;
        }
        self.complained = Some(Instant::now());
        let (log, seq, index, reason) = (first.log, first.seq.0, first.index, first.reason.name());
        tracing::warn!(member = %first.member, %log, seq, index, reason, count = changes.len(),
            "changes have no effect");
    }

    fn project_entry(&mut self, round: &mut Round<'_>, checked: &Arc<CheckedEntry>) -> anyhow::Result<()> {
        let header = *checked.header();
        let hash = checked.hash();
        let origin = self.views.origins.get(&header.log).context("an accepted entry's log is described")?;
        let member = origin.member;
        let held = match self.guard.is_held(&hash) {
            true => Some(Reason::Crashed),
            false if header.log != round.own_log && self.quarantine.is_origin_held(&origin.node) => {
                Some(Reason::OriginHeld)
            }
            false => None,
        };
        if held.is_none() {
            self.guard.begin(hash);
        }
        let bytes = pack_entry(&mut self.packer, checked.entry());
        round.bytes += bytes.len();
        let is_stray = round.batch.strays.contains(&hash);
        let stored = if is_stray { stray_log(header.log, hash) } else { header.log };
        round.out.commit.entries.push(EntryRow { log: stored, seq: header.seq, bytes });
        // An entry whose row is there had its effects when that was written.
        let is_damaged = || matches!(round.snapshot.entry(stored, header.seq), Err(ReadError::Damaged(_)));
        let is_put_back =
            round.batch.mended.contains(&hash) || (is_damaged() && had_effects(round, stored, checked, member));
        if is_stray {
            round.out.commit.strays.push(stray_row(header.log, header.seq, hash, header.prev));
        }
        round.out.hashes.push(hash);
        let decoded = DecodedEntry { entry: checked.entry().clone(), hash, stored, origin };
        round.entries.push(Arc::new(decoded));
        let place = round.entries.len() - 1;
        if self.views.is_past_end(&round.entries[place]) {
            // It is kept as evidence.
            return Ok(());
        }
        if is_put_back {
            return round.put_back(place);
        }
        if let Some(reason) = held {
            let decoded = round.entries[place].clone();
            tracing::error!(log = %header.log, seq = header.seq.0, member = %decoded.origin.member,
                reason = reason.name(), "an entry is kept but not tried, because it may crash this program");
            round.quarantine(&decoded, WHOLE_ENTRY, reason);
            return Ok(());
        }
        for index in 0..header.change_count {
            let at = (header.log, header.seq, index);
            self.at = Some(at);
            if round.skipped.contains(&at) {
                let decoded = round.entries[place].clone();
                round.quarantine(&decoded, index, Reason::Panicked);
            } else {
                self.project_change(round, place, index)?;
            }
        }
        Ok(())
    }
}

/// Whether the stream tells of an entry's creates that they stood in this place: another entry for the place, of a
/// writer that contradicts itself, creates something else.
fn had_effects(round: &Round<'_>, stored: LogId, checked: &CheckedEntry, member: MemberCode) -> bool {
    let header = checked.header();
    let mut creates = checked.changes().filter_map(|(_, index, bytes)| match Change::decode(bytes?) {
        Ok(Change::Create(create)) => Some((index, record_id(member, &create))),
        _ => None,
    });
    creates.all(|(index, record)| match round.snapshot.id(record) {
        Ok(Some(id)) if id.created.0 > 0 => match round.snapshot.stream_row(id.created) {
            // A record may be created twice, of which the first counts.
            Ok(Some(row)) => (row.log, row.seq, row.change_index) == (stored, header.seq, index) || row.log != stored,
            _ => true,
        },
        Ok(Some(_)) => true,
        Ok(None) => false,
        Err(_) => true,
    })
}

/// Lets tests see what a panic and what a crash of the process does; nothing of it is in a production build.
fn provoke(_change: &Change) {
    #[cfg(test)]
    tests::provoke_panic(_change);
    #[cfg(debug_assertions)]
    crate::node::guard::provoke_crash(_change);
}

#[cfg(test)]
pub(in crate::node) mod tests;
