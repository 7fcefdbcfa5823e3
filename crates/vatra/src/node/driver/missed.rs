//! Telling again what readers of the stream went past because it could not be read.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use vatra_model::view::Summary;
use vatra_model::{Position, RecordId};
use vatra_store::{Commit, IdRow, Snapshot, StreamRow};
use vatra_stream::StoredEvent;

use super::Driver;
use crate::node::clock::wall;
use crate::node::missed;

/// Noted events, and events to be noted, that one round looks at.
const LOOK_MAX: usize = 256;
/// Time that a round spends on them; it looks at one at least.
const LOOK_TIME_MAX: Duration = Duration::from_millis(50);
/// Time between looks at all that is noted, while something is.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Looks at the noted events: where one is under way, and when the next begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looks {
    /// The last position that was looked at, while a look is under way.
    under_way: Option<Option<Position>>,
    /// When the next begins by itself; `None` while nothing is known to be noted.
    next: Option<Instant>,
    /// Something looked at stays noted.
    leaves: bool,
}

impl Looks {
    /// One begins now: the node starts, or an entry was put back.
    pub(crate) fn begin() -> Looks {
        Looks { under_way: Some(None), next: None, leaves: false }
    }

    fn proceed(&mut self, last: Option<Position>, is_done: bool) {
        self.under_way = (!is_done).then_some(last.or(self.under_way.flatten()));
        if is_done && self.leaves {
            self.next = Some(Instant::now() + LOOK_EVERY);
        }
    }
}

/// What a round comes to.
#[derive(Default)]
struct Told {
    commit: Commit,
    events: Vec<StoredEvent>,
    noted: Vec<(RecordId, Position, Summary)>,
    ids: BTreeMap<RecordId, IdRow>,
}

impl Driver {
    /// Notes what readers went past, and tells again what of it can be read. A start, and a damaged entry that was put
    /// back, are reasons to look at all that was noted before; so is a minute.
    pub(super) fn tell_missed(&mut self) {
        let missed = &self.shared.views.missed;
        let unnoted = missed.take_unnoted();
        if unnoted > 0 {
            self.shared.metrics.unnoted.inc_by(unnoted);
            tracing::error!(
                events = unnoted,
                "events that readers went past will not be told again: there are too many"
            );
        }
        if self.looks.under_way.is_none() && self.looks.next.is_some_and(|next| next <= Instant::now()) {
            self.looks = Looks::begin();
        }
        let fresh = missed.waiting(LOOK_MAX);
        if !self.is_writable() || (fresh.is_empty() && self.looks.under_way.is_none()) {
            return;
        }
        if let Err(error) = self.try_tell_missed(&fresh) {
            tracing::error!(error = format!("{error:#}"), "events that readers went past cannot be told again now");
        }
    }

    fn try_tell_missed(&mut self, fresh: &BTreeSet<Position>) -> anyhow::Result<()> {
        let snapshot = self.shared.views.reader.snapshot()?;
        let (noted, is_cut) = match self.looks.under_way {
            Some(after) => missed::noted(&snapshot, after, LOOK_MAX)?,
            None => (Vec::new(), false),
        };
        let (mut told, mut looks, started) = (Told::default(), self.looks, Instant::now());
        let has_time = || started.elapsed() < LOOK_TIME_MAX;
        let mut settled = BTreeSet::new();
        for position in fresh {
            if !settled.is_empty() && !has_time() {
                break;
            }
            settled.insert(*position);
            let is_open = !self.tell_again(&snapshot, *position, &mut told);
            looks.leaves |= is_open;
            // What cannot be read yet is noted, unless it was before.
            if is_open && snapshot.index(&missed::key(*position)).ok().flatten().is_none() {
                told.commit.index.push((missed::key(*position), Some(Vec::new())));
            }
        }
        let mut last = None;
        for position in &noted {
            if (last.is_some() || !settled.is_empty()) && !has_time() {
                break;
            }
            last = Some(*position);
            if !settled.contains(position) {
                looks.leaves |= !self.tell_again(&snapshot, *position, &mut told);
            }
        }
        self.commit_told(told)?;
        self.shared.views.missed.settle(&settled);
        if looks.under_way.is_some() {
            looks.proceed(last, !is_cut && last == noted.last().copied());
        } else if looks.leaves && looks.next.is_none() {
            looks.next = Some(Instant::now() + LOOK_EVERY);
        }
        self.looks = looks;
        Ok(())
    }

    /// Tells one event again if it can be read, and takes its note away; `false` if it cannot be read yet.
    fn tell_again(&self, snapshot: &Snapshot, position: Position, told: &mut Told) -> bool {
        let next = Position(self.store.next_position().0 + told.commit.stream.len() as u64);
        let read = || -> anyhow::Result<Option<(StreamRow, StoredEvent, IdRow)>> {
            let row = snapshot.stream_row(position)?.ok_or_else(|| anyhow!("its stream row is gone"))?;
            let known = told.ids.get(&row.record).copied();
            let id = known.map_or_else(|| snapshot.id(row.record), |id| Ok(Some(id)))?;
            let id = id.ok_or_else(|| anyhow!("its record's id row is gone"))?;
            let row = StreamRow { position: next, received: wall(), ..row };
            let Some(event) = self.shared.views.event(snapshot, &row)? else { return Ok(None) };
            let row = StreamRow { summary: event.summary.to_bytes(), ..row };
            Ok(Some((row, event, id)))
        };
        // What made a panic is an event of its own; the others are told all the same.
        let found = catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
            self.shared.metrics.panics.inc();
            Err(anyhow!("reading it makes this program panic"))
        });
        match found {
            Ok(Some((row, event, id))) => {
                told.ids.insert(row.record, IdRow { latest: next, ..id });
                told.noted.push((row.record, next, event.summary));
                told.events.push(event);
                told.commit.stream.push(row);
            }
            // Its record is not shown any more.
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(position = position.0, error = format!("{error:#}"), "an event cannot be read yet");
                return false;
            }
        }
        told.commit.index.push((missed::key(position), None));
        true
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
