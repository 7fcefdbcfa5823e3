//! Reading rows only to see whether they are whole, and what is known of those that are not.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vatra_model::{LogId, Seq};

use crate::damage::{Damage, unseal};
use crate::engine::{Batch, Direction, KeyRange};
use crate::page::PageLimits;
use crate::rows::{entry_key, parse_entry_key};
use crate::snapshot::{ReadError, Snapshot, successor};
use crate::space::Space;

/// Damaged rows that are kept in mind; more are met again when they are read again.
pub const DAMAGED_ROWS_MAX: usize = 4096;

/// Places of one gap between entries that are told, the highest: gaps are filled from above.
const GAP_MAX: usize = 64;

/// Damaged rows that were met and not written since.
#[derive(Debug, Default)]
pub(crate) struct KnownDamage(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    rows: BTreeSet<(Space, Vec<u8>)>,
    /// Entries that were met since they were last asked for.
    untold: BTreeSet<(LogId, Seq)>,
}

impl KnownDamage {
    /// A damaged row was met; `true` if that is news.
    pub(crate) fn note(&self, damage: &Damage) -> bool {
        let mut known = self.lock();
        // Told each time, as whoever heard of it before may have forgotten it.
        let place = parse_entry_key(&damage.key).filter(|_| damage.space == Space::Entries);
        if let Some(place) = place.filter(|_| known.untold.len() < DAMAGED_ROWS_MAX) {
            known.untold.insert(place);
        }
        known.rows.len() < DAMAGED_ROWS_MAX && known.rows.insert((damage.space, damage.key.clone()))
    }

    /// Between two neighbouring rows of a log some places have none. Whether there should be any is for others to say.
    fn note_gap(&self, log: LogId, from: Seq, to: Seq) {
        let mut known = self.lock();
        let room = DAMAGED_ROWS_MAX.saturating_sub(known.untold.len()).min(GAP_MAX);
        known.untold.extend((from.0..to.0).rev().map(|seq| (log, Seq(seq))).take(room));
    }

    /// These rows were written.
    pub(crate) fn written(&self, batch: &Batch) {
        let mut known = self.lock();
        if known.rows.is_empty() {
            return;
        }
        for op in batch.sorted() {
            known.rows.remove(&(op.space, op.key.to_vec()));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().rows.len()
    }

    pub(crate) fn take_entries(&self) -> BTreeSet<(LogId, Seq)> {
        std::mem::take(&mut self.lock().untold)
    }

    /// These could not be looked at again.
    pub(crate) fn put_back(&self, places: BTreeSet<(LogId, Seq)>) {
        let mut known = self.lock();
        let room = DAMAGED_ROWS_MAX.saturating_sub(known.untold.len());
        known.untold.extend(places.into_iter().take(room));
    }

    /// The row is whole: whoever noted it saw a moment before it was written.
    pub(crate) fn is_whole(&self, space: Space, key: &[u8]) {
        self.lock().rows.remove(&(space, key.to_vec()));
    }

    /// All rows of a space after one key, up to another, were looked at; these alone are damaged.
    fn looked_at(&self, space: Space, after: Option<&[u8]>, last: Option<&[u8]>, damaged: &[Damage]) {
        let mut known = self.lock();
        if known.rows.is_empty() {
            return;
        }
        let damaged: BTreeSet<&[u8]> = damaged.iter().map(|damage| &damage.key[..]).collect();
        let is_past = |key: &[u8]| after.is_some_and(|after| key <= after) || last.is_some_and(|last| key > last);
        known.rows.retain(|(of, key)| *of != space || is_past(key) || damaged.contains(&key[..]));
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Nothing in here can be left half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a look at rows went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// The last key looked at; the next look goes on after it.
    pub last: Option<Vec<u8>>,
    /// Whether a limit ended the look, so that there may be more.
    pub is_cut: bool,
    /// Rows looked at.
    pub rows: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Damaged rows among them; they are known from now on.
    pub damaged: u64,
}

impl Snapshot {
    /// Looks at rows of a space after a key, or from the first, until a limit is met. Places between entries of a log
    /// that have no row are told with the damaged entries.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn scrub(&self, space: Space, after: Option<&[u8]>, limits: PageLimits) -> Result<Scrubbed, ReadError> {
        let from = after.map(successor);
        let mut seen = Scrubbed::default();
        let mut damaged = Vec::new();
        let mut previous = after.and_then(parse_entry_key);
        let range = KeyRange { from: from.as_deref(), to: None };
        self.raw().scan(space, range, Direction::Forward, &mut |key, stored| {
            if seen.rows as usize >= limits.rows_max || seen.bytes as usize >= limits.bytes_max {
                seen.is_cut = true;
                return ControlFlow::Break(());
            }
            seen.rows += 1;
            seen.bytes += stored.len() as u64;
            let place = parse_entry_key(key).filter(|_| space == Space::Entries);
            if let (Some((log, seq)), Some((before, last))) = (place, previous)
                && log == before
                && seq.0 > last.0 + 1
            {
                self.damage.note_gap(log, Seq(last.0 + 1), seq);
            }
            previous = place;
            seen.last = Some(key.to_vec());
            damaged.extend(unseal(space, key, stored).err());
            ControlFlow::Continue(())
        })?;
        seen.damaged = damaged.len() as u64;
        self.count(&damaged);
        // A look that was not cut went to the end of the space.
        let last = seen.last.as_deref().filter(|_| seen.is_cut);
        self.damage.looked_at(space, after, last, &damaged);
        Ok(seen)
    }

    /// Those of some entries that are damaged, or not there, at this moment.
    pub(crate) fn still_damaged(
        &self,
        mut places: BTreeSet<(LogId, Seq)>,
    ) -> Result<BTreeSet<(LogId, Seq)>, ReadError> {
        let mut whole = BTreeSet::new();
        for (log, seq) in &places {
            let key = entry_key(*log, *seq);
            let stored = self.raw().get(Space::Entries, &key)?;
            if stored.is_some_and(|stored| unseal(Space::Entries, &key, &stored).is_ok()) {
                self.damage.is_whole(Space::Entries, &key);
                whole.insert((*log, *seq));
            }
        }
        places.retain(|place| !whole.contains(place));
        Ok(places)
    }
}
