//! Batches into the store, and what became durable before the eyes of readers.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Instant;

use vatra_model::view::Summary;
use vatra_model::{Incarnation, LogId, Position, RecordId};
use vatra_replica::{Batch, Effect, Input};
use vatra_stream::StoredEvent;

use super::{Driver, Looks};
use crate::node::boot::{StateRow, restore_logs};
use crate::node::projector::{Positions, Projected};

impl Driver {
    /// Signs nothing of what waits, because the fence does not cover it. Entries of others are kept for the next
    /// flush.
    pub(super) fn refuse_publications(&mut self, effects: &mut Vec<Effect>) {
        self.replica.set_writable(false);
        self.replica.flush(self.clock.now(), effects);
        self.replica.set_writable(self.is_writable());
    }

    /// Writes a batch, in parts that a commit can hold, and tells readers; says what to tell the core.
    pub(super) fn persist(&mut self, batch: &Batch) -> anyhow::Result<(Input, Positions)> {
        let own_log = self.replica.own_log();
        let mut positions = HashMap::new();
        let mut next = 0;
        loop {
            match self.persist_part(batch, next, own_log) {
                Ok(projected) => {
                    next = projected.next_entry;
                    positions.extend(self.publish(projected));
                }
                Err(error) => {
                    self.shared.metrics.commits_failed.inc();
                    self.has_lost_batch = true;
                    tracing::error!(error = format!("{error:#}"), "a batch was not stored");
                    // What the core holds to be missing, it writes again: it must not be told less than there is.
                    let stored = restore_logs(&self.projector.views.reader)?;
                    self.leaves_log = !stored.tells_end_of(&own_log);
                    return Ok((Input::PersistFailed { batch: batch.id, logs: stored.logs }, HashMap::new()));
                }
            }
            if next == batch.entries.len() {
                return Ok((Input::Persisted { batch: batch.id }, positions));
            }
        }
    }

    /// A life that began while the node runs is in the store: the fence goes with it at once, as at a start, or the next
    /// start would take the store for another one's. That it failed was told, and it is tried again.
    pub(super) fn move_fence(&mut self, incarnation: Incarnation) {
        let begun = self.fence.begin(incarnation, self.projector.life.boot);
        let _ = self.note_fence(begun);
    }

    fn persist_part(&mut self, batch: &Batch, from: usize, own_log: LogId) -> anyhow::Result<Projected> {
        let started = Instant::now();
        let projected = self.projector.project(batch, from, own_log, self.store.next_position())?;
        self.store.commit(&projected.commit)?;
        let metrics = &self.shared.metrics;
        metrics.commits.inc();
        metrics.stored.inc_by(projected.commit.entries.len() as u64);
        metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
        Ok(projected)
    }

    /// What was committed becomes visible to readers.
    pub(super) fn publish(&mut self, projected: Projected) -> Positions {
        self.projector.settle(&projected);
        if projected.has_put_back {
            self.looks = Looks::begin();
        }
        let first = projected.events.first().map(|event| event.position);
        if projected.events.iter().any(|event| event.event_type.is_retraction()) {
            // What was told before is read anew by whoever asks for it again.
            self.shared.recent.forget_to(first.map_or(Position(0), |first| Position(first.0 - 1)));
        }
        self.show_events(projected.noted, projected.events, projected.state);
        let mut listing = self.shared.listing.write().unwrap_or_else(PoisonError::into_inner);
        projected.hidden.iter().for_each(|record| listing.hide(record));
        drop(listing);
        projected.positions
    }

    /// Events that are durable become visible to readers.
    pub(super) fn show_events(
        &self,
        noted: Vec<(RecordId, Position, Summary)>,
        events: Vec<StoredEvent>,
        state: StateRow,
    ) {
        let mut listing = self.shared.listing.write().unwrap_or_else(PoisonError::into_inner);
        for (record, position, summary) in noted {
            listing.note(record, position, summary);
        }
        drop(listing);
        let last = events.last().map(|event| event.position);
        self.shared.recent.add(events);
        self.shared.state.send_replace(state);
        if let Some(last) = last {
            self.shared.durable.send_replace(last);
        }
    }
}
