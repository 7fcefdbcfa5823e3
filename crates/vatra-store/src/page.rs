//! Pages: some rows of a range, with limits, and the damaged ones named.

use std::collections::BTreeMap;

use vatra_model::RecordId;

use crate::damage::Damage;
use crate::rows::IdRow;

/// Rows that one page may hold; greater limits are cut to this.
pub const PAGE_ROWS_MAX: usize = 65_536;
/// Damaged rows that one page names; more are only counted.
pub const PAGE_DAMAGED_MAX: usize = 1024;

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

impl<T, K> Page<T, K> {
    pub(crate) fn empty() -> Page<T, K> {
        Page { rows: Vec::new(), damaged: Vec::new(), last: None, is_cut: false }
    }
}

/// A page of settled id rows with the recent ones among them, which are newer.
pub(crate) fn with_recent(
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
pub(crate) struct Filling<'a, T, K> {
    page: &'a mut Page<T, K>,
    limits: PageLimits,
    keys_seen: usize,
    bytes_seen: usize,
}

impl<'a, T, K> Filling<'a, T, K> {
    pub(crate) fn new(page: &'a mut Page<T, K>, limits: PageLimits) -> Filling<'a, T, K> {
        let rows_max = limits.rows_max.min(PAGE_ROWS_MAX);
        Filling { page, limits: PageLimits { rows_max, ..limits }, keys_seen: 0, bytes_seen: 0 }
    }

    /// Called when there is a further row: whether it has to wait for the next page.
    pub(crate) fn is_full(&mut self) -> bool {
        let by_bytes = self.keys_seen > 0 && self.bytes_seen >= self.limits.bytes_max;
        self.page.is_cut = self.keys_seen >= self.limits.rows_max || by_bytes;
        self.page.is_cut
    }

    pub(crate) fn add(&mut self, key: K, bytes: usize, row: Result<T, Damage>) {
        self.keys_seen += 1;
        self.bytes_seen += bytes;
        self.page.last = Some(key);
        match row {
            Ok(row) => self.page.rows.push(row),
            Err(damage) => self.add_damaged(damage),
        }
    }

    pub(crate) fn add_damaged(&mut self, damage: Damage) {
        if self.page.damaged.len() < PAGE_DAMAGED_MAX {
            self.page.damaged.push(damage);
        }
    }
}
