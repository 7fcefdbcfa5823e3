//! Telling again what readers of the stream went past because it could not be read.

use std::collections::{BTreeMap, BTreeSet};

use vatra_model::view::Summary;
use vatra_model::{Position, RecordId};
use vatra_store::{Commit, IdRow, StreamRow};
use vatra_stream::StoredEvent;

use super::Driver;
use crate::node::clock::wall;
use crate::node::missed;
use crate::node::views::is_of_the_disk;

/// Noted events that one commit looks at.
const LOOK_MAX: usize = 256;

/// How far the noted events were looked through since there was last reason to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look(Option<Position>);

impl Look {
    /// From the first on.
    pub(crate) const BEGIN: Look = Look(None);
}

/// What a look comes to.
#[derive(Default)]
struct Told {
    commit: Commit,
    events: Vec<StoredEvent>,
    noted: Vec<(RecordId, Position, Summary)>,
    ids: BTreeMap<RecordId, IdRow>,
}

impl Driver {
    /// Notes what readers went past, and tells again what of it can be read. A damaged entry that was put back, and a
    /// start, are reasons to look at all that was noted before.
    pub(super) fn tell_missed(&mut self) {
        let fresh = self.shared.views.missed.waiting();
        if !self.is_writable() || (fresh.is_empty() && self.look.is_none()) {
            return;
        }
        if let Err(error) = self.try_tell_missed(&fresh) {
            tracing::error!(error = format!("{error:#}"), "events that readers went past cannot be told again now");
        }
    }

    fn try_tell_missed(&mut self, fresh: &BTreeSet<Position>) -> anyhow::Result<()> {
        let snapshot = self.shared.views.reader.snapshot()?;
        let noted = match self.look {
            Some(Look(after)) => missed::noted(&snapshot, after, LOOK_MAX)?,
            None => Vec::new(),
        };
        let mut told = Told::default();
        let mut next = self.store.next_position();
        for position in fresh.iter().take(LOOK_MAX).chain(noted.iter().filter(|position| !fresh.contains(position))) {
            let row = snapshot.stream_row(*position).ok().flatten();
            let event = row.map(|row| {
                let again = StreamRow { position: next, received: wall(), ..row };
                self.shared.views.event(&snapshot, &again).map(|event| (again, event))
            });
            let is_open = match event {
                Some(Ok((row, Some(event)))) => {
                    let id = match told.ids.get(&row.record) {
                        Some(id) => Some(*id),
                        None => snapshot.id(row.record)?,
                    };
                    // A record without an id row is made whole at the next start.
                    if let Some(id) = id {
                        told.ids.insert(row.record, IdRow { latest: next, ..id });
                        told.noted.push((row.record, next, event.summary));
                        told.events.push(event);
                        told.commit.stream.push(row);
                        next = Position(next.0 + 1);
                    }
                    id.is_none()
                }
                Some(Ok((_, None))) => false,
                Some(Err(error)) if is_of_the_disk(&error) => return Err(error),
                Some(Err(_)) | None => true,
            };
            // What cannot be read yet is noted, unless it is.
            if !is_open || fresh.contains(position) {
                told.commit.index.push((missed::key(*position), is_open.then(Vec::new)));
            }
        }
        let settled: BTreeSet<Position> = fresh.iter().take(LOOK_MAX).copied().collect();
        self.commit_told(told)?;
        self.shared.views.missed.settle(&settled);
        if !settled.is_empty() {
            // Readers that found no room go on.
            self.shared.durable.send_modify(|_| {});
        }
        self.look = match self.look {
            Some(_) if noted.len() == LOOK_MAX => Some(Look(noted.last().copied())),
            _ => None,
        };
        Ok(())
    }

    fn commit_told(&mut self, mut told: Told) -> anyhow::Result<()> {
        if told.commit.stream.is_empty() && told.commit.index.is_empty() {
            return Ok(());
        }
        told.commit.ids.extend(told.ids);
        self.store.commit(&told.commit)?;
        if !told.events.is_empty() {
            tracing::info!(events = told.events.len(), "events that readers went past are told again");
        }
        self.shared.metrics.told_again.inc_by(told.events.len() as u64);
        self.show_events(told.noted, told.events, self.projector.state);
        Ok(())
    }
}
