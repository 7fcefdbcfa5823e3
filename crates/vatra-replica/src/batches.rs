//! What is written together: one batch at a time is made of everything staged, and what becomes of it is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use vatra_model::{CheckedEntry, LogId};

use crate::input::{Batch, Effect, Now, RestoredLog};
use crate::planner::Ripening;
use crate::replica::{Came, InFlight, Kept, Replica};
use crate::spread::RETRY_MS;

impl Replica {
    /// Makes one batch of everything staged, unless one is being written.
    pub fn flush(&mut self, now: Now, effects: &mut Vec<Effect>) {
        // Once for all inputs of a round.
        if self.plan_stale {
            self.plan(now, effects);
        }
        if self.in_flight.is_some() {
            return;
        }
        if !self.takes_writes() {
            effects.extend(self.outbox.refuse_all().into_iter().map(|token| Effect::Refused { token }));
            return;
        }
        let tokens = self.sign_outbox(now, effects);
        let (logs, forks) = self.logs.unsaved();
        let charter = self.new_charter.take();
        let is_empty = logs.is_empty() && forks.is_empty() && self.staged.is_empty();
        if is_empty && charter.is_none() && self.new_incarnation.is_none() {
            return;
        }
        let staged = std::mem::take(&mut self.staged);
        let kept =
            |kept: Kept| staged.iter().filter(move |staged| staged.kept == kept).map(|staged| staged.entry.hash());
        let (strays, mended) = (kept(Kept::Beside).collect(), kept(Kept::Again).collect());
        let incarnation = self.new_incarnation.take().map(|why| (self.incarnation, self.opened, why));
        let (came, entries) = staged.into_iter().map(|staged| (staged.came, staged.entry)).unzip();
        let (id, hlc) = (self.next_batch, self.hlc);
        let batch = Arc::new(Batch { id, entries, strays, mended, forks, logs, charter, incarnation, hlc });
        self.next_batch += 1;
        effects.push(Effect::Persist(batch.clone()));
        self.in_flight = Some(InFlight { batch, came, own_log: self.own_log, tokens });
    }

    pub(crate) fn persisted(&mut self, now: Now, batch: u64, effects: &mut Vec<Effect>) {
        let Some(done) = self.in_flight.take() else { return };
        assert_eq!(done.batch.id, batch, "one batch is written at a time");
        let strays = self.logs.settle(&done.batch);
        for (log, stray) in strays {
            self.tell_strays(now, log, Some(stray));
            self.look_into(&log);
        }
        if done.batch.incarnation.is_some() {
            // Pulses of a life that no beacon told of are taken by nobody.
            self.herald.beacon_changed(now.mono);
        }
        self.forks_saved(&done.batch, effects);
        self.look_up_what_was_written();
        let forked = |log: &LogId| self.logs.get(log).is_some_and(|state| state.whole_trunk().is_some());
        for log in done.batch.logs.iter().map(|(log, _)| *log).filter(forked).collect::<Vec<_>>() {
            // Its trunk may have become whole: what stands at the place of the fork must follow it.
            self.tell_strays(now, log, None);
            self.look_into(&log);
        }
        for placed in done.tokens {
            effects.push(Effect::Published { token: placed.token, log: done.own_log, places: placed.places });
        }
        let is_apart = |hash| done.batch.strays.contains(&hash) || done.batch.mended.contains(&hash);
        // A revocation that came while it was written may have ended its log before it.
        let is_spread = |entry: &Arc<CheckedEntry>| !is_apart(entry.hash()) && self.covers(entry);
        if done.batch.entries.iter().all(is_spread) {
            self.spread(now, &done.batch.entries, &done.came, effects);
        } else {
            let pushed = done.batch.entries.iter().zip(&done.came).filter(|(entry, _)| is_spread(entry));
            let (entries, came): (Vec<_>, Vec<_>) = pushed.map(|(entry, came)| (entry.clone(), *came)).unzip();
            self.spread(now, &entries, &came, effects);
        }
        for entry in done.batch.entries.iter().filter(|entry| done.batch.mended.contains(&entry.hash())) {
            self.mended(now, entry, effects);
        }
        for (log, row) in &done.batch.logs {
            self.note_progress(*log, row.head.height, effects);
        }
        self.plan_stale = true;
    }

    /// Whether a batch may be written now.
    pub(crate) fn takes_writes(&self) -> bool {
        self.writable && self.timers.retry.is_none()
    }

    pub(crate) fn persist_failed(&mut self, now: Now, batch: u64, logs: Vec<RestoredLog>, effects: &mut Vec<Effect>) {
        let Some(failed) = self.in_flight.take() else { return };
        assert_eq!(failed.batch.id, batch, "one batch is written at a time");
        for placed in failed.tokens {
            effects.push(Effect::Refused { token: placed.token });
        }
        for token in self.outbox.refuse_all() {
            effects.push(Effect::Refused { token });
        }
        self.new_charter = self.new_charter.take().or_else(|| failed.batch.charter.clone());
        self.new_incarnation = self.new_incarnation.or(failed.batch.incarnation.map(|(_, _, why)| why));
        self.staged.clear();
        self.mending.lost_batch(now.mono);
        self.logs.forget_entries();
        let heights = |replica: &Replica| -> BTreeMap<LogId, u64> {
            replica.logs.iter().map(|(log, state)| (*log, state.durable().height)).collect()
        };
        let before = heights(self);
        for log in logs {
            // The rows were admitted before, and the charter only grows; one that cannot be read is fetched again.
            let _ = self.restore_log(log);
        }
        // What was written of the batch all the same is told, though no longer pushed.
        let now_held = heights(self).into_iter();
        let grown = now_held.filter(|(log, height)| *height > before.get(log).copied().unwrap_or(0));
        let grown: Vec<LogId> = grown.map(|(log, _)| log).collect();
        self.announce_logs(now, &grown);
        for (entry, came) in failed.batch.entries.iter().zip(failed.came) {
            let (log, seq) = (entry.header().log, entry.header().seq.0);
            let is_held = self.logs.get(&log).is_some_and(|state| state.holds(seq));
            if let (false, Came::Fetched(peer) | Came::Pushed(peer)) = (is_held, came) {
                self.note_lost(peer, log, seq);
            }
        }
        // What was refused is asked for again when the backstop comes round.
        self.timers.retry = Some(now.mono.plus(RETRY_MS));
        self.drop_wants();
        self.look_up_what_was_written();
        self.ripening.values_mut().for_each(Ripening::forget_answers);
    }
}
