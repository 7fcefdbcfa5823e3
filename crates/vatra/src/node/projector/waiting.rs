//! The turn of changes that waited for what has now come.

use vatra_model::RecordId;
use vatra_record::{Applied, Lack, Record};

use super::round::Round;
use super::working::{Unlocked, Working};
use super::{PART_UNLOCKED_MAX, Projector, Reason, provoke};
use crate::node::pending::{self, Pending, Place};
use crate::node::views::is_of_the_disk;

impl Projector {
    /// Gives their turn to changes that wait for something that has come, and to those that wait for them. What became
    /// part of the record, oldest first. What exceeds a commit stays in the backlog for the next.
    pub(super) fn unlock(
        &mut self,
        round: &mut Round<'_>,
        working: &mut Working,
        record: RecordId,
        mut lacks: Vec<Lack>,
    ) -> anyhow::Result<Vec<Unlocked>> {
        let (at, under_work) = (self.at, round.out.hashes.last().copied());
        let mut unlocked = Vec::new();
        while let Some(lack) = lacks.pop() {
            let room = PART_UNLOCKED_MAX.saturating_sub(round.unlocked);
            let (rows, mut is_cut) = working.waiting_for(round, record, lack, room)?;
            let before = round.unlocked;
            for (key, place, pending) in rows {
                if round.unlocked >= PART_UNLOCKED_MAX {
                    is_cut = true;
                    break;
                }
                let Some(pending) = pending.map_or_else(|| self.read_pending(round, record, place), |p| Ok(Some(p)))?
                else {
                    continue;
                };
                round.unlocked += 1;
                if let Some(done) = self.bring(round, working, record, key, pending) {
                    lacks.push(Lack::Change(done.pending.id));
                    unlocked.push(done);
                }
            }
            // A row that cannot be read is no reason to come back at once.
            if is_cut && (room == 0 || round.unlocked > before) {
                round.out.backlog.insert((record, lack), true);
            }
        }
        self.at = at;
        if let Some(entry) = under_work {
            self.guard.begin(entry);
        }
        unlocked.sort_by_key(|done| (done.pending.entry.entry.header.hlc, done.pending.id));
        Ok(unlocked)
    }

    fn read_pending(&self, round: &Round<'_>, record: RecordId, place: Place) -> anyhow::Result<Option<Pending>> {
        let at = (place.log, place.seq);
        let known = round.entries.iter().find(|entry| (entry.stored, entry.entry.header.seq) == at);
        let read = match known {
            Some(entry) => pending::of_entry(entry.clone(), place.index),
            None => pending::read(&self.views, &round.snapshot, place),
        };
        match read {
            Ok(pending) => Ok(Some(pending)),
            Err(error) if is_of_the_disk(&error) => Err(error),
            Err(error) => {
                tracing::error!(%record, error = format!("{error:#}"), "a change that waits cannot be read");
                Ok(None)
            }
        }
    }

    /// Brings one change that waited to its record.
    fn bring(
        &mut self,
        round: &mut Round<'_>,
        working: &mut Working,
        record_id: RecordId,
        key: Vec<u8>,
        pending: Pending,
    ) -> Option<Unlocked> {
        let place = pending.place();
        let at = (place.log, place.seq, place.index);
        self.at = Some(at);
        working.is_changed = true;
        working.waiting.insert(key, None);
        if self.views.is_past_end(&pending.entry) {
            return None;
        }
        let change = pending.entry.change(pending.index).ok();
        let (Some(change), false) = (change, round.skipped.contains(&at)) else {
            round.quarantine(&pending.entry, pending.index, Reason::Panicked);
            return None;
        };
        self.guard.begin(pending.entry.hash);
        provoke(&change);
        let record = working.record.as_mut().expect("a record under work is loaded");
        let authored = pending.entry.authored(pending.index, &change);
        if let Some(lack) = record.lack(authored) {
            working.wait(record_id, lack, pending);
            return None;
        }
        working.is_edited = true;
        match record.apply(authored) {
            Applied::Refused(reason) => {
                round.quarantine(&pending.entry, pending.index, Reason::Refused(reason));
                None
            }
            Applied::Waiting | Applied::Overflow => {
                working.wait(record_id, Lack::Create, pending);
                None
            }
            Applied::Applied | Applied::Duplicate | Applied::Quarantined(_) => {
                let reason = record.quarantine_of(pending.section, &pending.id).map(Reason::Quarantined);
                Some(Unlocked { pending, reason })
            }
        }
    }

    /// Goes on with what earlier commits left in the backlog.
    pub(super) fn work_off(&mut self, round: &mut Round<'_>) -> anyhow::Result<()> {
        for (record, lack) in self.backlog.clone() {
            if round.unlocked >= PART_UNLOCKED_MAX {
                break;
            }
            round.out.backlog.insert((record, lack), false);
            if let Err(error) = self.work_off_one(round, record, lack) {
                if is_of_the_disk(&error) {
                    return Err(error);
                }
                tracing::error!(%record, error = format!("{error:#}"), "what waits cannot have its turn");
            }
        }
        self.at = None;
        Ok(())
    }

    fn work_off_one(&mut self, round: &mut Round<'_>, record: RecordId, lack: Lack) -> anyhow::Result<()> {
        let mut working = self.take_working(round, record)?;
        let has_come = |record: &&Record| match lack {
            Lack::Change(id) => record.has_change(&id),
            Lack::Create => true,
        };
        let result = match working.record.as_ref().filter(has_come).and_then(Record::view) {
            // A revocation took back what had come.
            None => Ok(()),
            Some(_) => self.unlock(round, &mut working, record, vec![lack]).map(|unlocked| {
                let view = working.record.as_ref().and_then(Record::view);
                if let Some(view) = view.filter(|_| !unlocked.is_empty()) {
                    let bytes = working.show(round, record, &view);
                    working.tell(round, record, &view, &bytes, unlocked);
                }
            }),
        };
        round.working.insert(record, working);
        result
    }
}

impl Working {
    /// What waits for one thing: keys, places, and the changes of this batch.
    #[expect(clippy::type_complexity, reason = "used in one place")]
    fn waiting_for(
        &self,
        round: &Round<'_>,
        record: RecordId,
        lack: Lack,
        max: usize,
    ) -> anyhow::Result<(Vec<(Vec<u8>, Place, Option<Pending>)>, bool)> {
        let prefix = pending::prefix(record, lack);
        let fresh = self.waiting.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
        let fresh = fresh.filter_map(|(key, pending)| Some((key.clone(), pending.clone()?)));
        let mut rows: Vec<_> = fresh.map(|(key, pending)| (key, pending.place(), Some(pending))).collect();
        let mut is_cut = false;
        if self.has_rows {
            // Rows that this batch has deleted are still in the snapshot.
            let deleted = self.waiting.len();
            let (stored, more) = pending::waiting_for(&round.snapshot, record, lack, max.saturating_add(deleted))?;
            rows.extend(
                stored.into_iter().filter(|(key, _)| !self.waiting.contains_key(key)).map(|(k, p)| (k, p, None)),
            );
            is_cut = more;
        }
        Ok((rows, is_cut))
    }
}
