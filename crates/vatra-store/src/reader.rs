//! Reading a store: consistent snapshots that never block the writer, every value checked.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;
use vatra_model::{EntryHash, LogId, Position, RecordId, Seq};

use crate::damage::{Damage, DamageKind, unseal};
use crate::engine::{Direction, Engine, EngineError, EngineKind, EngineSnapshot, Health, KeyRange};
use crate::recent::{RecentIds, RecentVersions};
use crate::rows::{
    EntryRow, IdRow, MetaKey, StrayRow, StreamRow, entry_key, history_key, parse_entry_key, parse_history_key,
    parse_position_key, parse_stray_key, position_key, stray_key,
};
use crate::space::Space;

/// Rows that one page may hold; greater limits are cut to this.
pub const PAGE_ROWS_MAX: usize = 65_536;
/// Damaged rows that one page names; more are only counted.
pub const PAGE_DAMAGED_MAX: usize = 1024;

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

/// Where a page ends: whichever limit is met first. A page holds at least one row where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimits {
    /// Rows at most.
    pub rows_max: usize,
    /// Bytes of values at most; the first row may exceed it.
    pub bytes_max: usize,
}

impl PageLimits {
    /// So many rows of any size.
    #[must_use]
    pub const fn rows(rows_max: usize) -> PageLimits {
        PageLimits { rows_max, bytes_max: usize::MAX }
    }
}

/// Some rows of a range, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, K> {
    /// The whole rows.
    pub rows: Vec<T>,
    /// Rows that are damaged, at most [`PAGE_DAMAGED_MAX`].
    pub damaged: Vec<Damage>,
    /// The last key looked at, whole or damaged; the next page goes on after it.
    pub last: Option<K>,
    /// Whether a limit ended the page, so that there may be more.
    pub is_cut: bool,
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

/// What readers and the writer of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) recent: RecentVersions,
    damaged_count: Arc<AtomicU64>,
}

/// How often a reader that was overtaken by very many commits starts again.
const SNAPSHOT_TRIES_MAX: usize = 100;

impl Shared {
    pub(crate) fn new(engine: Box<dyn Engine>, recent: RecentIds) -> Shared {
        Shared { engine, recent: RecentVersions::new(recent), damaged_count: Arc::default() }
    }

    /// A snapshot of the engine with the recent id rows that go with it.
    fn snapshot(&self) -> Result<(Box<dyn EngineSnapshot>, Arc<RecentIds>), EngineError> {
        for _ in 0..SNAPSHOT_TRIES_MAX {
            let snapshot = self.engine.snapshot()?;
            if let Some(recent) = self.recent.of_stage(last_stage(&*snapshot)?) {
                return Ok((snapshot, recent));
            }
        }
        Err(EngineError::Reopened)
    }
}

/// The number of the last commit that a snapshot shows and that held id rows.
fn last_stage(snapshot: &dyn EngineSnapshot) -> Result<u64, EngineError> {
    let mut stage = 0;
    snapshot.scan(Space::Recent, KeyRange::ALL, Direction::Reverse, &mut |key, _| {
        stage = parse_position_key(key).unwrap_or_default().0;
        ControlFlow::Break(())
    })?;
    Ok(stage)
}

/// Reads a store from any thread; clones are cheap. Each method sees one moment; take a [`Snapshot`] to see the
/// same moment several times.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

macro_rules! on_a_fresh_snapshot {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// See [`ReadError`].
        pub fn $name(&self, $($arg: $type),*) -> Result<$out, ReadError> {
            self.with_snapshot(|snapshot| snapshot.$name($($arg),*))
        }
    )*};
}

impl Reader {
    /// A view of this moment.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn snapshot(&self) -> Result<Snapshot, ReadError> {
        let (engine, recent) = self.shared.snapshot()?;
        Ok(Snapshot { engine, recent, damaged_count: Arc::clone(&self.shared.damaged_count) })
    }

    on_a_fresh_snapshot! {
        /// [`Snapshot::entry`] of this moment.
        entry(log: LogId, seq: Seq) -> Option<Vec<u8>>;
        /// [`Snapshot::entries`] of this moment.
        entries(log: LogId, from: Seq, to: Seq, limits: PageLimits) -> Page<EntryRow, Seq>;
        /// [`Snapshot::entries_reverse`] of this moment.
        entries_reverse(log: LogId, from: Seq, to: Seq, limits: PageLimits) -> Page<EntryRow, Seq>;
        /// [`Snapshot::log_row`] of this moment.
        log_row(log: LogId) -> Option<Vec<u8>>;
        /// [`Snapshot::log_rows`] of this moment.
        log_rows() -> Page<(LogId, Vec<u8>), LogId>;
        /// [`Snapshot::strays`] of this moment.
        strays(log: LogId, limits: PageLimits) -> Page<StrayRow, (LogId, Seq, EntryHash)>;
        /// [`Snapshot::id`] of this moment.
        id(record: RecordId) -> Option<IdRow>;
        /// [`Snapshot::ids_after`] of this moment.
        ids_after(after: Option<RecordId>, limit: usize) -> Page<(RecordId, IdRow), RecordId>;
        /// [`Snapshot::document`] of this moment.
        document(record: RecordId) -> Option<Vec<u8>>;
        /// [`Snapshot::documents_after`] of this moment.
        documents_after(after: Option<RecordId>, limits: PageLimits) -> Page<(RecordId, Vec<u8>), RecordId>;
        /// [`Snapshot::last_position`] of this moment.
        last_position() -> Position;
        /// [`Snapshot::stream_row`] of this moment.
        stream_row(position: Position) -> Option<StreamRow>;
        /// [`Snapshot::stream_after`] of this moment.
        stream_after(after: Position, limit: usize) -> Page<StreamRow, Position>;
        /// [`Snapshot::stream_before`] of this moment.
        stream_before(before: Option<Position>, limit: usize) -> Page<StreamRow, Position>;
        /// [`Snapshot::history`] of this moment.
        history(record: RecordId, after: Position, limit: usize) -> Vec<Position>;
        /// [`Snapshot::meta`] of this moment.
        meta(key: MetaKey) -> Option<Vec<u8>>;
        /// [`Snapshot::index`] of this moment.
        index(key: &[u8]) -> Option<Vec<u8>>;
        /// [`Snapshot::index_with_prefix`] of this moment.
        index_with_prefix(prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Page<(Vec<u8>, Vec<u8>), Vec<u8>>;
        /// [`Snapshot::site`] of this moment.
        site(key: &[u8]) -> Option<Vec<u8>>;
        /// [`Snapshot::counts`] of this moment.
        counts() -> Counts;
    }

    /// Bytes the store's data takes on disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.shared.engine.disk_bytes()
    }

    /// Whether the store takes writes.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.engine.health()
    }

    /// The engine under the store.
    #[must_use]
    pub fn engine(&self) -> EngineKind {
        self.shared.engine.kind()
    }

    /// How many damaged rows were met since the store was opened; the same row counts each time.
    #[must_use]
    pub fn damaged_count(&self) -> u64 {
        self.shared.damaged_count.load(Ordering::Relaxed)
    }

    /// Reads at one moment, and once more when the engine was reopened just then.
    fn with_snapshot<T>(&self, read: impl Fn(&Snapshot) -> Result<T, ReadError>) -> Result<T, ReadError> {
        match self.snapshot().and_then(|snapshot| read(&snapshot)) {
            Err(ReadError::Engine(EngineError::Reopened)) => read(&self.snapshot()?),
            result => result,
        }
    }
}

/// One moment of a store. Holding it keeps space on disk from being used again: let go of it soon.
pub struct Snapshot {
    engine: Box<dyn EngineSnapshot>,
    recent: Arc<RecentIds>,
    damaged_count: Arc<AtomicU64>,
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

    /// The position of the latest change; 0 in an empty store.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn last_position(&self) -> Result<Position, ReadError> {
        // Keys beyond the last whole row count only where they go on without a gap, so that a damaged key
        // cannot make positions jump.
        let mut beyond = Vec::new();
        let mut whole = Position(0);
        self.engine.scan(Space::Stream, KeyRange::ALL, Direction::Reverse, &mut |key, stored| {
            let position = parse_position_key(key);
            match (unseal(Space::Stream, key, stored), position) {
                (Ok(_), Some(position)) => {
                    whole = position;
                    return ControlFlow::Break(());
                }
                (_, Some(position)) => beyond.push(position),
                (_, None) => {}
            }
            if beyond.len() < PAGE_DAMAGED_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let mut last = whole;
        for position in beyond.into_iter().rev() {
            if position.0 == last.0 + 1 {
                last = position;
            }
        }
        Ok(last)
    }

    /// The change stored at a position.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn stream_row(&self, position: Position) -> Result<Option<StreamRow>, ReadError> {
        let key = position_key(position);
        let Some(value) = self.value(Space::Stream, &key)? else { return Ok(None) };
        self.decoded(Space::Stream, &key, StreamRow::decode(position, &value)).map(Some)
    }

    /// Changes after a position, oldest first.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn stream_after(&self, after: Position, limit: usize) -> Result<Page<StreamRow, Position>, ReadError> {
        let Some(first) = after.0.checked_add(1) else { return Ok(Page::empty()) };
        let from = position_key(Position(first));
        self.stream_page(KeyRange { from: Some(&from), to: None }, Direction::Forward, limit)
    }

    /// Changes before a position, or from the latest, newest first.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn stream_before(
        &self,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Page<StreamRow, Position>, ReadError> {
        let to = match before {
            None => None,
            Some(Position(0)) => return Ok(Page::empty()),
            Some(before) => Some(position_key(Position(before.0 - 1))),
        };
        let range = KeyRange { from: None, to: to.as_ref().map(|key| &key[..]) };
        self.stream_page(range, Direction::Reverse, limit)
    }

    /// The positions of a record's changes after a position, oldest first, its creation included.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn history(&self, record: RecordId, after: Position, limit: usize) -> Result<Vec<Position>, ReadError> {
        let Some(id) = self.id(record)? else { return Ok(Vec::new()) };
        let limit = limit.min(PAGE_ROWS_MAX);
        let mut positions = Vec::new();
        if id.created > after && limit > 0 {
            positions.push(id.created);
        }
        let Some(first) = after.0.checked_add(1) else { return Ok(positions) };
        let from = history_key(record, Position(first));
        let to = history_key(record, Position(u64::MAX));
        let range = KeyRange { from: Some(&from), to: Some(&to) };
        let limits = PageLimits::rows(limit.saturating_sub(positions.len()));
        let page =
            self.page(Space::History, range, Direction::Forward, limits, parse_history_key, |key, _| Some(key))?;
        match page.damaged.into_iter().next() {
            Some(damage) => Err(damage.into()),
            None => {
                positions.extend(page.rows.into_iter().map(|(_, position)| position));
                Ok(positions)
            }
        }
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
    pub fn index_with_prefix(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page<(Vec<u8>, Vec<u8>), Vec<u8>>, ReadError> {
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
        Snapshot { engine, recent: Arc::new(recent), damaged_count: Arc::default() }
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

    fn stream_page(
        &self,
        range: KeyRange<'_>,
        direction: Direction,
        limit: usize,
    ) -> Result<Page<StreamRow, Position>, ReadError> {
        self.page(Space::Stream, range, direction, PageLimits::rows(limit), parse_position_key, StreamRow::decode)
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

    fn count(&self, damaged: &[Damage]) {
        for damage in damaged {
            tracing::error!(%damage, "a stored row is damaged and is not served");
            self.damaged_count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<T, K> Page<T, K> {
    fn empty() -> Page<T, K> {
        Page { rows: Vec::new(), damaged: Vec::new(), last: None, is_cut: false }
    }
}

/// A page of settled id rows with the recent ones among them, which are newer.
fn with_recent(
    settled: Page<(RecordId, IdRow), RecordId>,
    recent: impl Iterator<Item = (RecordId, IdRow)>,
    limit: usize,
) -> Page<(RecordId, IdRow), RecordId> {
    // Past the last settled row of a cut page there may be settled rows that were not read.
    let end = if settled.is_cut { settled.last } else { None };
    let mut keys: BTreeMap<RecordId, Option<IdRow>> =
        settled.rows.into_iter().map(|(record, id)| (record, Some(id))).collect();
    keys.extend(settled.damaged.iter().filter_map(|damage| Some((RecordId::from_slice(&damage.key)?, None))));
    let recent = recent.take_while(|(record, _)| end.is_none_or(|end| *record <= end)).take(limit + 1);
    keys.extend(recent.map(|(record, id)| (record, Some(id))));
    let is_cut = settled.is_cut || keys.len() > limit;
    let mut page = Page { rows: Vec::new(), damaged: settled.damaged, last: None, is_cut };
    for (record, id) in keys.into_iter().take(limit) {
        page.last = Some(record);
        page.rows.extend(id.map(|id| (record, id)));
    }
    let last = page.last;
    page.damaged.retain(|damage| RecordId::from_slice(&damage.key).is_none_or(|key| Some(key) <= last));
    page
}

/// A page being filled up to its limits.
struct Filling<'a, T, K> {
    page: &'a mut Page<T, K>,
    limits: PageLimits,
    keys_seen: usize,
    bytes_seen: usize,
}

impl<'a, T, K> Filling<'a, T, K> {
    fn new(page: &'a mut Page<T, K>, limits: PageLimits) -> Filling<'a, T, K> {
        let rows_max = limits.rows_max.min(PAGE_ROWS_MAX);
        Filling { page, limits: PageLimits { rows_max, ..limits }, keys_seen: 0, bytes_seen: 0 }
    }

    /// Called when there is a further row: whether it has to wait for the next page.
    fn is_full(&mut self) -> bool {
        let by_bytes = self.keys_seen > 0 && self.bytes_seen >= self.limits.bytes_max;
        self.page.is_cut = self.keys_seen >= self.limits.rows_max || by_bytes;
        self.page.is_cut
    }

    fn add(&mut self, key: K, bytes: usize, row: Result<T, Damage>) {
        self.keys_seen += 1;
        self.bytes_seen += bytes;
        self.page.last = Some(key);
        match row {
            Ok(row) => self.page.rows.push(row),
            Err(damage) => self.add_damaged(damage),
        }
    }

    fn add_damaged(&mut self, damage: Damage) {
        if self.page.damaged.len() < PAGE_DAMAGED_MAX {
            self.page.damaged.push(damage);
        }
    }
}

/// The next key after a key.
fn successor(key: &[u8]) -> Vec<u8> {
    let mut next = key.to_vec();
    next.push(0);
    next
}
