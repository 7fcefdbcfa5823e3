//! Lists and histories.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock};

use anyhow::Context;
use vatra_api::{HistoryItem, HistoryOp, HistoryQuery, ListQuery, Page, ViewJson};
use vatra_model::{Change, Position, RecordId, RecordKind, SectionId};
use vatra_store::Snapshot;
use vatra_stream::EventType;

use super::Inner;
use crate::node::listing::{ListRow, Listing};
use crate::node::pending::Place;
use crate::node::views::{Views, all_positions, event_type, is_of_the_disk};

/// Views that one list reads when a condition can only be judged from views: bounds the time of a rare search.
const VIEWS_READ_MAX: usize = 50_000;
/// Rows looked at before the driver may add some: a list must not hold up a commit.
const ROWS_AT_A_TIME: usize = 32_768;

/// A page of records, newest arrival first, and how many match in all.
pub(super) fn records(inner: &Inner, kind: RecordKind, query: &ListQuery) -> anyhow::Result<Page<ViewJson>> {
    let shared = &inner.shared;
    if query.filter.needs_view() {
        search(&shared.listing, &shared.views, kind, query, VIEWS_READ_MAX)
    } else {
        page(&shared.listing, &shared.views, kind, query)
    }
}

fn page(
    listing: &RwLock<Listing>,
    views: &Views,
    kind: RecordKind,
    query: &ListQuery,
) -> anyhow::Result<Page<ViewJson>> {
    let before = query.before.unwrap_or(Position(u64::MAX));
    let mut page = Page { items: Vec::new(), next: None, total: 0 };
    let mut wanted: Vec<ListRow> = Vec::with_capacity(query.limit + 1);
    for_each_fitting(listing, kind, query, |row| {
        page.total += 1;
        if row.created < before && wanted.len() <= query.limit {
            wanted.push(*row);
        }
    });
    if wanted.len() > query.limit {
        wanted.truncate(query.limit);
        page.next = wanted.last().map(|row| row.created);
    }
    let snapshot = views.reader.snapshot()?;
    for row in wanted {
        page.items.extend(shown(views, &snapshot, row.record, query)?);
    }
    Ok(page)
}

/// The same where views must be looked into. Of more than `views_max` records only so many are looked into, from
/// where the page before ended: then the total is of these alone, and the next page goes on after them.
fn search(
    listing: &RwLock<Listing>,
    views: &Views,
    kind: RecordKind,
    query: &ListQuery,
    views_max: usize,
) -> anyhow::Result<Page<ViewJson>> {
    let before = query.before.unwrap_or(Position(u64::MAX));
    let (mut all, mut older) = (Vec::new(), Vec::new());
    let mut older_count = 0;
    for_each_fitting(listing, kind, query, |row| {
        let place = (row.created, row.record);
        if all.len() <= views_max {
            all.push(place);
        }
        if row.created < before {
            older_count += 1;
            if older.len() < views_max {
                older.push(place);
            }
        }
    });
    let rows = if all.len() <= views_max { all } else { older };
    let end = rows.last().map(|(created, _)| *created);
    let snapshot = views.reader.snapshot()?;
    let mut page = Page { items: Vec::new(), next: None, total: 0 };
    let mut last = None;
    for (created, record) in rows {
        let Some(found) = shown(views, &snapshot, record, query)?.filter(|view| query.filter.matches_view(&view.json))
        else {
            continue;
        };
        page.total += 1;
        if created >= before {
            continue;
        }
        if page.items.len() < query.limit {
            page.items.push(found);
            last = Some(created);
        } else {
            page.next = last;
        }
    }
    if page.next.is_none() && older_count > views_max {
        page.next = end;
    }
    Ok(page)
}

/// Gives the rows that fit as far as their summaries tell, newest first.
fn for_each_fitting(listing: &RwLock<Listing>, kind: RecordKind, query: &ListQuery, mut give: impl FnMut(&ListRow)) {
    let mut before = None;
    loop {
        let listing = listing.read().unwrap_or_else(PoisonError::into_inner);
        let mut last = None;
        for row in listing.newest_first(before).take(ROWS_AT_A_TIME) {
            last = Some(row.created);
            let fits = row.summary.record_kind == kind
                && row.summary.tlp <= query.clearance
                && query.since.is_none_or(|since| row.latest > since)
                && query.filter.matches_summary(&row.summary);
            if fits {
                give(row);
            }
        }
        match last {
            Some(_) => before = last,
            None => return,
        }
    }
}

/// A record as it is shown now; `None` if its label has become stricter since it was chosen, or what this store
/// holds of it is damaged: that is told in the status, and the rest of the list is served.
fn shown(views: &Views, snapshot: &Snapshot, record: RecordId, query: &ListQuery) -> anyhow::Result<Option<ViewJson>> {
    match views.shown(snapshot, record) {
        Ok(view) => Ok(view
            .filter(|view| view.summary().tlp <= query.clearance)
            .map(|view| ViewJson { summary: view.summary(), json: view.canonical_bytes().into() })),
        Err(error) if is_of_the_disk(&error) => Err(error),
        Err(error) => {
            tracing::error!(%record, error = format!("{error:#}"), "a record cannot be listed");
            Ok(None)
        }
    }
}

/// A record's changes in the order of their arrival here; `None` if it is not known.
pub(super) fn history(
    inner: &Inner,
    record: RecordId,
    query: HistoryQuery,
) -> anyhow::Result<Option<Page<HistoryItem>>> {
    history_page(&inner.shared.views, record, query)
}

/// The same, with nothing but what views are made from.
pub(in crate::node) fn history_page(
    views: &Views,
    record: RecordId,
    query: HistoryQuery,
) -> anyhow::Result<Option<Page<HistoryItem>>> {
    let snapshot = views.reader.snapshot()?;
    let is_told = snapshot.id(record)?.is_some_and(|id| id.created > Position(0));
    if !is_told || !views.is_shown(&snapshot, record)? {
        return Ok(None);
    }
    let (in_force, total) = changes_in_force(views, &snapshot, record)?;
    let after = query.after.unwrap_or(Position(0));
    let positions = snapshot.history(record, after, query.limit + 1)?;
    let mut items = Vec::with_capacity(positions.len());
    // One that readers went past, because it could not be read, stands there again where it was told again.
    let mut seen = BTreeSet::new();
    for position in positions.iter().take(query.limit) {
        let row = snapshot.stream_row(*position)?.with_context(|| format!("position {position} is gone"))?;
        let is_retraction = event_type(row.kind).is_some_and(EventType::is_retraction);
        if is_retraction || in_force.as_ref().is_some_and(|told| told.get(&Place::of(&row)) != Some(position)) {
            continue;
        }
        let decoded = views.entry(&snapshot, row.log, row.seq)?;
        let change = decoded.change(row.change_index)?;
        let (section, action, ops) = match &change {
            Change::Create(create) => (SectionId::Core, "create", &create.ops),
            Change::Edit(edit) => (edit.section, "edit", &edit.ops),
            Change::Open(_) | Change::Unknown { .. } => continue,
        };
        let id = decoded.change_id(row.change_index);
        if !seen.insert(id) {
            continue;
        }
        items.push(HistoryItem {
            change: id,
            position: *position,
            at: decoded.entry.header.hlc.wall(),
            received_at: row.received,
            member: decoded.origin.member,
            node: decoded.origin.node,
            log: row.log,
            seq: row.seq,
            section: HistoryItem::section_name(section),
            action,
            ops: ops.iter().map(HistoryOp::from).collect(),
        });
    }
    let next = if positions.len() > query.limit { positions.get(query.limit - 1).copied() } else { None };
    Ok(Some(Page { items, next, total }))
}

/// The changes of a record that were told and not taken back, each with where it was first told since, and how many
/// these are; `None` for all while no revocation ends any log.
fn changes_in_force(
    views: &Views,
    snapshot: &Snapshot,
    record: RecordId,
) -> anyhow::Result<(Option<BTreeMap<Place, Position>>, u64)> {
    let positions = all_positions(snapshot, record)?;
    if !views.origins.any_ended() {
        return Ok((None, positions.len() as u64));
    }
    let mut in_force = BTreeMap::new();
    for position in positions {
        let row = snapshot.stream_row(position)?.with_context(|| format!("position {position} is gone"))?;
        if event_type(row.kind).is_some_and(EventType::is_retraction) {
            in_force.remove(&Place::of(&row));
        } else if !views.is_without_effect(snapshot, &row)? {
            in_force.entry(Place::of(&row)).or_insert(position);
        }
    }
    let count = in_force.len() as u64;
    Ok((Some(in_force), count))
}

#[cfg(test)]
mod tests;
