//! One moment of a store, every value checked.

mod stream;

use std::ops::ControlFlow;
use std::sync::Arc;

use thiserror::Error;
use vatra_model::{EntryHash, LogId, RecordId, Seq};

use crate::damage::{Damage, DamageKind, unseal};
use crate::engine::{Direction, EngineError, EngineSnapshot, KeyRange};
use crate::page::{Filling, PAGE_ROWS_MAX, Page, PageLimits, with_recent};
use crate::recent::RecentIds;
use crate::rows::{EntryRow, IdRow, MetaKey, StrayRow, entry_key, parse_entry_key, parse_stray_key, stray_key};
use crate::scrub::KnownDamage;
use crate::space::Space;

/// A row could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The row is not what was written, and is not served. Fetch it from a peer, or rebuild it.
    #[error("{0}")]
    Damaged(#[from] Damage),
    /// The engine could not read.
    #[error("{0}")]
    Engine(#[from] EngineError),
}

/// The number of rows of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries held.
    pub entries: u64,
    /// Logs known.
    pub logs: u64,
    /// Entries past forks.
    pub strays: u64,
    /// Records of which something is in the stream.
    pub records: u64,
    /// Records that were edited.
    pub documents: u64,
    /// Changes in the stream.
    pub changes: u64,
}

/// Small rows by key.
pub type SmallRows = Page<(Vec<u8>, Vec<u8>), Vec<u8>>;

/// One moment of a store. Holding it keeps space on disk from being used again: let go of it soon.
pub struct Snapshot {
    pub(crate) engine: Box<dyn EngineSnapshot>,
    pub(crate) recent: Arc<RecentIds>,
    pub(crate) damage: Arc<KnownDamage>,
}

impl Snapshot {
    /// The packed bytes of an entry.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn entry(&self, log: LogId, seq: Seq) -> Result<Option<Vec<u8>>, ReadError> {
        self.value(Space::Entries, &entry_key(log, seq))
    }

    /// Entries of a log from one seq to another, both included, smallest first; gaps are skipped.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn entries(
        &self,
        log: LogId,
        from: Seq,
        to: Seq,
        limits: PageLimits,
    ) -> Result<Page<EntryRow, Seq>, ReadError> {
        self.entry_page(log, from, to, limits, Direction::Forward)
    }

    /// The same entries, greatest seq first.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn entries_reverse(
        &self,
        log: LogId,
        from: Seq,
        to: Seq,
        limits: PageLimits,
    ) -> Result<Page<EntryRow, Seq>, ReadError> {
        self.entry_page(log, from, to, limits, Direction::Reverse)
    }

    /// What is known of a log, in the caller's encoding.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn log_row(&self, log: LogId) -> Result<Option<Vec<u8>>, ReadError> {
        self.value(Space::Logs, &log.0)
    }

    /// What is known of all logs (their number is bounded by the model).
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn log_rows(&self) -> Result<Page<(LogId, Vec<u8>), LogId>, ReadError> {
        let limits = PageLimits::rows(PAGE_ROWS_MAX);
        self.page(Space::Logs, KeyRange::ALL, Direction::Forward, limits, LogId::from_slice, |log, value| {
            Some((log, value.to_vec()))
        })
    }

    /// The entries kept past a log's fork.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn strays(&self, log: LogId, limits: PageLimits) -> Result<Page<StrayRow, (LogId, Seq, EntryHash)>, ReadError> {
        let from = stray_key(log, Seq(0), EntryHash::ZERO);
        let to = stray_key(log, Seq(u64::MAX), EntryHash([0xff; 32]));
        let range = KeyRange { from: Some(&from), to: Some(&to) };
        self.page(Space::Strays, range, Direction::Forward, limits, parse_stray_key, |(log, seq, hash), value| {
            Some(StrayRow { log, seq, hash, bytes: value.to_vec() })
        })
    }

    /// Where a record was created and last changed; `None` if this store does not know it.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn id(&self, record: RecordId) -> Result<Option<IdRow>, ReadError> {
        if let Some(id) = self.recent.id(record) {
            return Ok(Some(id));
        }
        let Some(value) = self.value(Space::Ids, &record.0)? else { return Ok(None) };
        self.decoded(Space::Ids, &record.0, IdRow::decode(&value)).map(Some)
    }

    /// Records by id after one id, or from the first.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn ids_after(
        &self,
        after: Option<RecordId>,
        limit: usize,
    ) -> Result<Page<(RecordId, IdRow), RecordId>, ReadError> {
        let start = match after {
            None => RecordId([0; 16]),
            Some(after) => match u128::from_be_bytes(after.0).checked_add(1) {
                None => return Ok(Page::empty()),
                Some(next) => RecordId(next.to_be_bytes()),
            },
        };
        let range = KeyRange { from: Some(&start.0), to: None };
        let settled = self.page(
            Space::Ids,
            range,
            Direction::Forward,
            PageLimits::rows(limit),
            RecordId::from_slice,
            |record, value| Some((record, IdRow::decode(value)?)),
        )?;
        Ok(with_recent(settled, self.recent.from(start), limit.min(PAGE_ROWS_MAX)))
    }

    /// An edited record in the caller's encoding; `None` if it was never edited.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn document(&self, record: RecordId) -> Result<Option<Vec<u8>>, ReadError> {
        self.value(Space::Documents, &record.0)
    }

    /// Edited records by id after one id, or from the first.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn documents_after(
        &self,
        after: Option<RecordId>,
        limits: PageLimits,
    ) -> Result<Page<(RecordId, Vec<u8>), RecordId>, ReadError> {
        let from = after.map(|record| successor(&record.0));
        let range = KeyRange { from: from.as_deref(), to: None };
        self.page(Space::Documents, range, Direction::Forward, limits, RecordId::from_slice, |record, value| {
            Some((record, value.to_vec()))
        })
    }

    /// A single value of the store as a whole.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn meta(&self, key: MetaKey) -> Result<Option<Vec<u8>>, ReadError> {
        self.value(Space::Meta, key.as_bytes())
    }

    /// A small auxiliary row.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn index(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.value(Space::Index, key)
    }

    /// Small auxiliary rows whose keys start alike, as (key, value), after one key or from the first.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn index_with_prefix(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<SmallRows, ReadError> {
        let from = after.map_or_else(|| prefix.to_vec(), successor);
        let mut page = Page::empty();
        let limits = PageLimits::rows(limit);
        let mut filling = Filling::new(&mut page, limits);
        self.engine.scan(
            Space::Index,
            KeyRange { from: Some(&from), to: None },
            Direction::Forward,
            &mut |key, stored| {
                if !key.starts_with(prefix) || filling.is_full() {
                    return ControlFlow::Break(());
                }
                let row = unseal(Space::Index, key, stored).map(|value| (key.to_vec(), value.to_vec()));
                filling.add(key.to_vec(), stored.len(), row);
                ControlFlow::Continue(())
            },
        )?;
        self.count(&page.damaged);
        Ok(page)
    }

    /// A row of the site plane.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn site(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.value(Space::Site, key)
    }

    /// The number of rows of each kind. Constant time except with sled, which counts them.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn counts(&self) -> Result<Counts, ReadError> {
        Ok(Counts {
            entries: self.engine.len(Space::Entries)?,
            logs: self.engine.len(Space::Logs)?,
            strays: self.engine.len(Space::Strays)?,
            records: self.recent.record_count(),
            documents: self.engine.len(Space::Documents)?,
            changes: self.engine.len(Space::Stream)?,
        })
    }

    /// A view of an engine whose recent id rows are being loaded.
    pub(crate) fn while_loading(engine: Box<dyn EngineSnapshot>, recent: RecentIds) -> Snapshot {
        Snapshot { engine, recent: Arc::new(recent), damage: Arc::default() }
    }

    /// The engine's view, for checks that need the raw rows.
    pub(crate) fn raw(&self) -> &dyn EngineSnapshot {
        &*self.engine
    }

    fn entry_page(
        &self,
        log: LogId,
        from: Seq,
        to: Seq,
        limits: PageLimits,
        direction: Direction,
    ) -> Result<Page<EntryRow, Seq>, ReadError> {
        let (from, to) = (entry_key(log, from), entry_key(log, to));
        let range = KeyRange { from: Some(&from), to: Some(&to) };
        let seq_of = |key: &[u8]| parse_entry_key(key).map(|(_, seq)| seq);
        self.page(Space::Entries, range, direction, limits, seq_of, |seq, value| {
            Some(EntryRow { log, seq, bytes: value.to_vec() })
        })
    }

    /// Reads rows of a range until a limit is met. Damaged rows are named and passed over.
    fn page<T, K: Copy>(
        &self,
        space: Space,
        range: KeyRange<'_>,
        direction: Direction,
        limits: PageLimits,
        parse_key: impl Fn(&[u8]) -> Option<K>,
        decode: impl Fn(K, &[u8]) -> Option<T>,
    ) -> Result<Page<T, K>, ReadError> {
        let mut page = Page::empty();
        let mut filling = Filling::new(&mut page, limits);
        self.engine.scan(space, range, direction, &mut |key, stored| {
            if filling.is_full() {
                return ControlFlow::Break(());
            }
            let damage = |why| Damage { space, key: key.to_vec(), why };
            match parse_key(key) {
                None => filling.add_damaged(damage(DamageKind::Key)),
                Some(parsed) => {
                    let row = unseal(space, key, stored)
                        .and_then(|value| decode(parsed, value).ok_or_else(|| damage(DamageKind::Value)));
                    filling.add(parsed, stored.len(), row);
                }
            }
            ControlFlow::Continue(())
        })?;
        self.count(&page.damaged);
        Ok(page)
    }

    fn value(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(mut stored) = self.engine.get(space, key)? else { return Ok(None) };
        match unseal(space, key, &stored).map(<[u8]>::len) {
            Ok(len) => {
                stored.truncate(len);
                Ok(Some(stored))
            }
            Err(damage) => Err(self.met(damage)),
        }
    }

    fn decoded<T>(&self, space: Space, key: &[u8], row: Option<T>) -> Result<T, ReadError> {
        row.ok_or_else(|| self.met(Damage { space, key: key.to_vec(), why: DamageKind::Value }))
    }

    fn met(&self, damage: Damage) -> ReadError {
        self.count(std::slice::from_ref(&damage));
        ReadError::Damaged(damage)
    }

    pub(crate) fn count(&self, damaged: &[Damage]) {
        for damage in damaged.iter().filter(|damage| self.damage.note(damage)) {
            tracing::error!(%damage, "a stored row is damaged and is not served");
        }
    }
}

/// The next key after a key.
pub(crate) fn successor(key: &[u8]) -> Vec<u8> {
    let mut next = key.to_vec();
    next.push(0);
    next
}
