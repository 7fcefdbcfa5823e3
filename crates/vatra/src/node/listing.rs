//! What lists choose from: one small row per record, in memory, in order of arrival here.
//!
//! Rebuilt from the stream rows at start, so that a commit need not write filter indexes.

use std::collections::{BTreeSet, HashMap};

use anyhow::Context;
use vatra_model::view::Summary;
use vatra_model::{LogId, Position, RecordId};
use vatra_store::{PAGE_ROWS_MAX, Reader};
use vatra_stream::EventType;

use crate::node::projector::ended_places;
use crate::node::views::{DocumentRow, event_type};

/// One record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListRow {
    /// Where it was created here.
    pub(crate) created: Position,
    /// Where it was last changed here.
    pub(crate) latest: Position,
    pub(crate) record: RecordId,
    pub(crate) summary: Summary,
    /// It is shown no longer.
    is_hidden: bool,
}

/// All records that have a view.
#[derive(Default)]
pub(crate) struct Listing {
    rows: Vec<ListRow>,
    places: HashMap<RecordId, usize>,
}

impl Listing {
    /// Reads the whole stream once.
    pub(crate) fn load(reader: &Reader) -> anyhow::Result<Listing> {
        let mut listing = Listing::default();
        let mut retracted = BTreeSet::new();
        let snapshot = reader.snapshot()?;
        let ends = ended_places(&snapshot)?;
        let logs: BTreeSet<LogId> = snapshot.log_rows()?.rows.into_iter().map(|(log, _)| log).collect();
        let mut after = Position(0);
        loop {
            let page = snapshot.stream_after(after, PAGE_ROWS_MAX)?;
            for damage in &page.damaged {
                tracing::error!(%damage, "a stream row is damaged; run `vatra fsck`");
            }
            for row in &page.rows {
                let summary = Summary::from_bytes(&row.summary).context("a stream row's summary is damaged")?;
                listing.note(row.record, row.position, summary);
                // What is past the end of its log, or beside a log, and cannot be read was taken back without a word.
                let may_be_past = || match ends.get(&row.log) {
                    Some(place) => row.seq.0 >= *place,
                    None => !ends.is_empty() && !logs.contains(&row.log),
                };
                if event_type(row.kind).is_some_and(EventType::is_retraction) || may_be_past() {
                    retracted.insert(row.record);
                }
            }
            match page.last {
                Some(last) if page.is_cut => after = last,
                _ => break,
            }
        }
        for record in retracted {
            // A document that cannot be read says nothing; then the record is listed as its last change was told.
            let document = snapshot.document(record).ok().flatten();
            let Some(row) = document.and_then(|row| DocumentRow::read(&row).ok()) else { continue };
            match (row.item, row.record.ok().and_then(|record| record.view())) {
                (None, _) => listing.hide(&record),
                (Some(_), Some(view)) => listing.describe(&record, view.summary()),
                (Some(_), None) => {}
            }
        }
        Ok(listing)
    }

    /// A record was created or changed at a position.
    pub(crate) fn note(&mut self, record: RecordId, position: Position, summary: Summary) {
        match self.places.get(&record) {
            Some(&place) => {
                let row = &mut self.rows[place];
                (row.latest, row.summary, row.is_hidden) = (position, summary, false);
            }
            None => {
                self.places.insert(record, self.rows.len());
                self.rows.push(ListRow { created: position, latest: position, record, summary, is_hidden: false });
            }
        }
    }

    /// What a record is now, whatever its last change was told as.
    fn describe(&mut self, record: &RecordId, summary: Summary) {
        if let Some(place) = self.places.get(record) {
            self.rows[*place].summary = summary;
        }
    }

    /// A record is shown no longer. Should it be again, it stands where it stood, as it would after a restart.
    pub(crate) fn hide(&mut self, record: &RecordId) {
        if let Some(place) = self.places.get(record) {
            self.rows[*place].is_hidden = true;
        }
    }

    /// Rows created before a position, newest first.
    pub(crate) fn newest_first(&self, before: Option<Position>) -> impl Iterator<Item = &ListRow> {
        let end = before.map_or(self.rows.len(), |before| self.rows.partition_point(|row| row.created < before));
        self.rows[..end].iter().rev().filter(|row| !row.is_hidden)
    }

    /// Rows created after a position, oldest first.
    pub(crate) fn oldest_first(&self, after: Option<Position>) -> impl Iterator<Item = &ListRow> {
        let start = after.map_or(0, |after| self.rows.partition_point(|row| row.created <= after));
        self.rows[start..].iter().filter(|row| !row.is_hidden)
    }
}
