//! One change and its record: whether it takes effect, and what readers learn of it.

use std::sync::Arc;

use anyhow::Context;
use vatra_model::view::{Digest, View};
use vatra_model::{Change, Position, RecordId};
use vatra_record::{Applied, Lack, Record, view_of_create};
use vatra_store::IdRow;

use super::round::{Round, count, created_type, edited_type, record_of, updated_type};
use super::working::Working;
use super::{Projector, provoke};
use crate::node::pending::{Pending, section_of};
use crate::node::quarantine::Reason;
use crate::node::views::is_of_the_disk;

impl Projector {
    pub(super) fn project_change(&mut self, round: &mut Round<'_>, place: usize, index: u16) -> anyhow::Result<()> {
        let decoded = round.entries[place].clone();
        let Ok(change) = decoded.change(index) else {
            // The entry is kept and relayed; the change has no effect, here as everywhere.
            round.quarantine(&decoded, index, Reason::Malformed);
            return Ok(());
        };
        let Some(record) = record_of(&change, &decoded) else {
            self.metrics.newer.inc_by(u64::from(matches!(change, Change::Unknown { .. })));
            return Ok(());
        };
        provoke(&change);
        match self.project_onto(round, place, index, record, &change) {
            Err(error) if !is_of_the_disk(&error) => {
                // What this store holds of the record is damaged. That must not keep the rest of the log away.
                self.metrics.put_off.inc();
                tracing::error!(%record, error = format!("{error:#}"), "a change waits for its record's repair");
                round.put_off(record, &decoded, index)
            }
            result => result,
        }
    }

    fn project_onto(
        &mut self,
        round: &mut Round<'_>,
        place: usize,
        index: u16,
        record: RecordId,
        change: &Change,
    ) -> anyhow::Result<()> {
        if let Change::Create(create) = change
            && !round.working.contains_key(&record)
            && round.snapshot.id(record)?.is_none()
        {
            let authored = round.entries[place].authored(index, change);
            if let Some(view) = view_of_create(record, authored.id, authored.author, authored.hlc, create) {
                note_create(round, place, index, record, &view);
                return Ok(());
            }
        }
        self.apply(round, place, index, record, change)
    }

    /// Any other change of a record.
    fn apply(
        &mut self,
        round: &mut Round<'_>,
        place: usize,
        index: u16,
        record_id: RecordId,
        change: &Change,
    ) -> anyhow::Result<()> {
        let decoded = round.entries[place].clone();
        let mut working = self.take_working(round, record_id)?;
        let record = working.record.as_mut().expect("a record under work is loaded");
        let authored = decoded.authored(index, change);
        let pending =
            || Pending { entry: decoded.clone(), index, section: section_of(change), id: decoded.change_id(index) };
        let result = match record.lack(authored) {
            Some(lack) => {
                working.wait(record_id, lack, pending());
                Ok(())
            }
            None => match record.apply(authored) {
                Applied::Duplicate => Ok(()),
                Applied::Refused(reason) => {
                    round.quarantine(&decoded, index, Reason::Refused(reason));
                    Ok(())
                }
                Applied::Applied => self.show(round, &mut working, record_id, pending(), Some(change)),
                Applied::Quarantined(reason) => {
                    round.quarantine(&decoded, index, Reason::Quarantined(reason));
                    self.show(round, &mut working, record_id, pending(), None)
                }
                // Only what lacks something waits.
                Applied::Waiting | Applied::Overflow => {
                    working.wait(record_id, Lack::Create, pending());
                    Ok(())
                }
            },
        };
        round.working.insert(record_id, working);
        result
    }

    /// A change has become part of a record: what waited for it gets its turn, and readers learn of all of it.
    /// `change` is given if it has an effect.
    fn show(
        &mut self,
        round: &mut Round<'_>,
        working: &mut Working,
        record_id: RecordId,
        pending: Pending,
        change: Option<&Change>,
    ) -> anyhow::Result<()> {
        (working.is_edited, working.is_changed) = (true, true);
        let Some(mut view) = working.record.as_ref().and_then(Record::view) else {
            working.hide(round);
            working.wait(record_id, Lack::Create, pending);
            return Ok(());
        };
        let unlocked = if working.may_wait() {
            let lacks = vec![Lack::Change(pending.id), Lack::Create];
            self.unlock(round, working, record_id, lacks)?
        } else {
            Vec::new()
        };
        if !unlocked.is_empty() {
            view = working.record.as_ref().and_then(Record::view).context("a record that was shown is shown")?;
        }
        let was_shown = working.item.is_some();
        let bytes = working.show(round, record_id, &view);
        let event_type = match (was_shown, change) {
            (false, _) => created_type(&view),
            (true, Some(change)) => edited_type(change, &view),
            (true, None) => updated_type(&view),
        };
        let position = round.emit(&pending.entry, pending.index, record_id, event_type, view.summary(), bytes.clone());
        if change.is_none() {
            round.out.positions.remove(&(pending.entry.entry.header.seq, pending.index));
        }
        working.id.latest = position;
        if !was_shown {
            round.out.hidden.retain(|hidden| *hidden != record_id);
            // One that was shown before a revocation took it back keeps its first place.
            if working.id.created == Position(0) {
                working.id.created = position;
            }
            count(&mut round.out.state, &view, 1);
        }
        working.tell(round, record_id, &view, &bytes, unlocked);
        Ok(())
    }
}

/// A record that is new here and has nothing but its create.
fn note_create(round: &mut Round<'_>, place: usize, index: u16, record: RecordId, view: &View) {
    let bytes: Arc<[u8]> = view.canonical_bytes().into();
    let item = Digest::item(record, &bytes);
    let decoded = round.entries[place].clone();
    let position = round.emit(&decoded, index, record, created_type(view), view.summary(), bytes);
    round.digest.add(&item);
    count(&mut round.out.state, view, 1);
    let id = IdRow { created: position, latest: position, flags: [0; 8] };
    let fresh = Some((place, index));
    let working = Working { fresh, item: Some(item), is_changed: true, ..Working::new(id, None) };
    round.working.insert(record, working);
}
