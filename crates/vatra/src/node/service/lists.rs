//! Lists and histories.

use std::sync::PoisonError;

use anyhow::Context;
use vatra_api::{HistoryItem, HistoryOp, HistoryQuery, ListQuery, Page, ViewJson};
use vatra_model::{Change, ChangeId, Position, RecordId, RecordKind, SectionId};

use super::Inner;
use crate::node::listing::ListRow;

/// Views that one list reads when a condition can only be judged from views: bounds the time of a rare search.
const VIEWS_READ_MAX: usize = 200_000;

/// A page of records, newest arrival first, and how many match in all.
pub(super) fn records(inner: &Inner, kind: RecordKind, query: &ListQuery) -> anyhow::Result<Page<ViewJson>> {
    let fits = |row: &&ListRow| {
        row.summary.record_kind == kind
            && row.summary.tlp <= query.clearance
            && query.since.is_none_or(|since| row.latest > since)
            && query.filter.matches_summary(&row.summary)
    };
    let rows: Vec<ListRow> = {
        let listing = inner.shared.listing.read().unwrap_or_else(PoisonError::into_inner);
        listing.newest_first(None).filter(fits).copied().collect()
    };
    if query.filter.needs_view() {
        return search(inner, query, &rows);
    }
    let before = query.before.unwrap_or(Position(u64::MAX));
    let wanted: Vec<&ListRow> = rows.iter().filter(|row| row.created < before).take(query.limit + 1).collect();
    let snapshot = inner.shared.views.reader.snapshot()?;
    let mut items = Vec::with_capacity(query.limit);
    for row in wanted.iter().take(query.limit) {
        if let Some(view) = inner.shared.views.view(&snapshot, row.record)? {
            items.push(ViewJson { summary: view.summary(), json: view.canonical_bytes().into() });
        }
    }
    let next = if wanted.len() > query.limit { wanted.get(query.limit - 1).map(|row| row.created) } else { None };
    Ok(Page { items, next, total: rows.len() as u64 })
}

/// The same where views must be looked into.
fn search(inner: &Inner, query: &ListQuery, rows: &[ListRow]) -> anyhow::Result<Page<ViewJson>> {
    let snapshot = inner.shared.views.reader.snapshot()?;
    let before = query.before.unwrap_or(Position(u64::MAX));
    let mut page = Page { items: Vec::new(), next: None, total: 0 };
    let mut last = None;
    for row in rows.iter().take(VIEWS_READ_MAX) {
        let Some(view) = inner.shared.views.view(&snapshot, row.record)? else { continue };
        let json = view.canonical_bytes();
        if !query.filter.matches_view(&json) {
            continue;
        }
        page.total += 1;
        if row.created >= before {
            continue;
        }
        if page.items.len() < query.limit {
            page.items.push(ViewJson { summary: view.summary(), json: json.into() });
            last = Some(row.created);
        } else {
            page.next = last;
        }
    }
    Ok(page)
}

/// A record's changes in the order of their arrival here; `None` if it is not known.
pub(super) fn history(
    inner: &Inner,
    record: RecordId,
    query: HistoryQuery,
) -> anyhow::Result<Option<Page<HistoryItem>>> {
    let snapshot = inner.shared.views.reader.snapshot()?;
    if snapshot.id(record)?.is_none_or(|id| id.created == Position(0)) {
        return Ok(None);
    }
    let after = query.after.unwrap_or(Position(0));
    let positions = snapshot.history(record, after, query.limit + 1)?;
    let mut items = Vec::with_capacity(positions.len());
    for position in positions.iter().take(query.limit) {
        let row = snapshot.stream_row(*position)?.with_context(|| format!("position {position} is gone"))?;
        let decoded = inner.shared.views.entry(&snapshot, row.log, row.seq)?;
        let change = decoded.change(row.change_index)?;
        let (section, action, ops) = match &change {
            Change::Create(create) => (SectionId::Core, "create", &create.ops),
            Change::Edit(edit) => (edit.section, "edit", &edit.ops),
            Change::Open(_) | Change::Unknown { .. } => continue,
        };
        items.push(HistoryItem {
            change: ChangeId::derive(&decoded.hash, row.change_index),
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
    let total = snapshot.history(record, Position(0), usize::MAX)?.len() as u64;
    Ok(Some(Page { items, next, total }))
}
