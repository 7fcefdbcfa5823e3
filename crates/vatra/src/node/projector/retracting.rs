//! Changes that lose their effect because a revocation ends their log before them (DESIGN 4, ADR 0031).
//!
//! A charter that ends a log makes the log be looked through from there on, and each record with a change past the end
//! be made anew without it. Both are done a part at a time, noted in rows of the index, so that a crash loses nothing of
//! it and no commit becomes large. Readers are told of every change that they were told before.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context, anyhow};
use vatra_model::charter::{Charter, LogEnd};
use vatra_model::fork::stray_log;
use vatra_model::limits::STRAYS_MAX;
use vatra_model::view::Summary;
use vatra_model::{Change, LogId, RecordId, RecordKind, Seq, codec};
use vatra_record::{Lack, Record};
use vatra_store::{PAGE_ROWS_MAX, PageLimits, ReadError, Snapshot, StreamRow};
use vatra_stream::EventType;

use super::Projector;
use super::round::{Round, record_of, uncount};
use crate::node::pending::{Pending, Place, section_of};
use crate::node::views::{
    DecodedEntry, RETRACT_PREFIX, Taken, all_positions, event_type, is_of_the_disk, retraction_data,
};

/// What the keys of rows begin with that tell how far an ended log was looked through; the log follows.
const ENDED_PREFIX: &[u8] = b"ended/";
/// Entries that one commit looks through, and bytes of them.
const LOOK_ENTRIES_MAX: usize = 64;
const LOOK_BYTES_MAX: usize = 4 << 20;
/// Records that one commit makes anew: each may be large, and takes some events.
const RECORDS_MAX: usize = if cfg!(test) { 4 } else { 64 };
/// Changes that one commit takes back.
pub(super) const RETRACTED_MAX: usize = if cfg!(test) { 8 } else { 512 };

/// How far an ended log was looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub(crate) struct Look {
    end: LogEnd,
    /// The next place; `None` once all was looked at.
    next: Option<u64>,
    /// The number of the next of its strays; `None` once all were looked at.
    next_stray: Option<u32>,
}

impl Look {
    fn of(end: LogEnd) -> Look {
        Look { end, next: Some(end.last.map_or(0, |(last, _)| last.0)), next_stray: Some(0) }
    }

    fn is_open(&self) -> bool {
        self.next.is_some() || self.next_stray.is_some()
    }
}

/// Where logs end, as far as they were looked through.
///
/// # Errors
/// The store cannot be read.
pub(crate) fn ended_places(snapshot: &Snapshot) -> anyhow::Result<BTreeMap<LogId, u64>> {
    let (mut places, mut after) = (BTreeMap::new(), None);
    loop {
        let page = snapshot.index_with_prefix(ENDED_PREFIX, after.as_deref(), PAGE_ROWS_MAX)?;
        for (key, row) in &page.rows {
            let log = key.strip_prefix(ENDED_PREFIX).and_then(|log| log.try_into().ok()).map(LogId);
            // One that is damaged says nothing: the log is looked through anew.
            let look = codec::decode::<Look>(row, "an ended log's row").ok();
            places.extend(log.zip(look.map(|look| look.end.place())));
        }
        match page.last {
            Some(last) if page.is_cut => after = Some(last),
            _ => return Ok(places),
        }
    }
}

/// What is left to be done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retracting {
    looks: BTreeMap<LogId, Look>,
    has_records: bool,
    /// The key of the last record that had its turn, while the rest has not.
    after: Option<Vec<u8>>,
}

impl Retracting {
    /// Whether there is something left.
    pub(crate) fn is_open(&self) -> bool {
        self.has_records || !self.looks.is_empty()
    }

    /// Something was repaired: records that could not be read get another turn.
    pub(super) fn try_again(&mut self) {
        (self.has_records, self.after) = (true, None);
    }
}

impl Projector {
    /// A charter is in force: logs that it ends otherwise than was known are to be looked through.
    pub(crate) fn heed(&mut self, charter: &Charter, snapshot: &Snapshot) -> anyhow::Result<()> {
        self.views.origins.heed(charter);
        for (log, end) in self.views.origins.ended() {
            // One that is damaged says nothing: the log is looked through anew.
            let known = match snapshot.index(&[ENDED_PREFIX, &log.0].concat()) {
                Ok(known) => known.and_then(|row| codec::decode::<Look>(&row, "an ended log's row").ok()),
                Err(ReadError::Damaged(_)) => None,
                Err(error) => return Err(error.into()),
            };
            let look = known.filter(|known| known.end == end).unwrap_or(Look::of(end));
            if look.is_open() {
                tracing::warn!(%log, place = end.place(), "a revocation ends a log; what it did past that is taken back");
                self.retracting.looks.insert(log, look);
            }
        }
        let page = snapshot.index_with_prefix(RETRACT_PREFIX, None, 1)?;
        if !(page.rows.is_empty() && page.damaged.is_empty()) {
            self.retracting.try_again();
        }
        Ok(())
    }

    /// Does the next part of what is left.
    pub(super) fn retract(&mut self, round: &mut Round<'_>) -> anyhow::Result<()> {
        if !self.retracting.is_open() || (self.awaits_charter && round.batch.charter.is_none()) {
            return Ok(());
        }
        let mut left = self.retracting.clone();
        if left.has_records {
            let page = round.snapshot.index_with_prefix(RETRACT_PREFIX, left.after.as_deref(), RECORDS_MAX)?;
            left.has_records = page.is_cut;
            left.after = page.last.filter(|_| page.is_cut);
            // What stands in the key is whole even if the empty value's checksum is not.
            let damaged = page.damaged.iter().map(|damage| damage.key.to_vec());
            for key in page.rows.into_iter().map(|(key, _)| key).chain(damaged) {
                if round.retracted >= RETRACTED_MAX {
                    left.try_again();
                    break;
                }
                let Some(record) = key.strip_prefix(RETRACT_PREFIX).and_then(RecordId::from_slice) else { continue };
                match self.retract_from(round, record)? {
                    Turn::Done => round.out.commit.index.push((key, None)),
                    Turn::Unfinished => {
                        round.out.commit.index.push((key, Some(Taken::row(self.views.origins.ended()))));
                        left.try_again();
                    }
                    // It gets another turn when something is put back, and at the next start.
                    Turn::Unreadable => {}
                }
            }
        }
        if let Some((log, look)) = left.looks.pop_first() {
            let (look, found) = self.look_through(round, log, look)?;
            if !found.is_empty() {
                left.try_again();
            }
            for record in found {
                let key = [RETRACT_PREFIX, &record.0].concat();
                // One that was just made anew is named again: what this part found of it was not looked at. One that is
                // named already keeps what its row says.
                let now = round.out.commit.index.iter().rev().find(|(changed, _)| *changed == key);
                let is_named = match now {
                    Some((_, row)) => row.is_some(),
                    None => matches!(round.snapshot.index(&key), Ok(Some(_)) | Err(ReadError::Damaged(_))),
                };
                if !is_named {
                    round.out.commit.index.push((key, Some(Vec::new())));
                }
            }
            round.out.commit.index.push(([ENDED_PREFIX, &log.0].concat(), Some(codec::encode(&look))));
            if look.is_open() {
                left.looks.insert(log, look);
            }
        }
        round.out.retracting = Some(left);
        Ok(())
    }

    /// The records with changes in the next entries past the end of a log, and how far that went.
    fn look_through(
        &self,
        round: &Round<'_>,
        log: LogId,
        mut look: Look,
    ) -> anyhow::Result<(Look, BTreeSet<RecordId>)> {
        let (snapshot, mut found) = (&round.snapshot, BTreeSet::new());
        if let Some(from) = look.next {
            let limits = PageLimits { rows_max: LOOK_ENTRIES_MAX, bytes_max: LOOK_BYTES_MAX };
            let page = snapshot.entries(log, Seq(from), Seq(u64::MAX), limits)?;
            for damage in &page.damaged {
                tracing::error!(%log, %damage, "an entry past the end of its log is damaged: what it changed stays");
            }
            for row in &page.rows {
                self.records_of(snapshot, log, row.seq, &mut found)?;
            }
            look.next = page.last.and_then(Seq::next).filter(|_| page.is_cut).map(|next| next.0);
        } else if let Some(number) = look.next_stray {
            let limits = PageLimits { rows_max: STRAYS_MAX, bytes_max: LOOK_BYTES_MAX };
            let strays = snapshot.strays(log, limits)?.rows;
            let next = number as usize + LOOK_ENTRIES_MAX;
            for stray in strays.iter().take(next).skip(number as usize) {
                if !look.end.covers(stray.seq, stray.hash) {
                    self.records_of(snapshot, stray_log(log, stray.hash), stray.seq, &mut found)?;
                }
            }
            look.next_stray = u32::try_from(next).ok().filter(|next| (*next as usize) < strays.len());
        }
        Ok((look, found))
    }

    /// Adds the records of an entry that is past the end of its log.
    fn records_of(
        &self,
        snapshot: &Snapshot,
        stored: LogId,
        seq: Seq,
        found: &mut BTreeSet<RecordId>,
    ) -> anyhow::Result<()> {
        let decoded = match self.views.entry(snapshot, stored, seq) {
            Ok(decoded) => decoded,
            Err(error) if is_of_the_disk(&error) => return Err(error),
            Err(error) => {
                tracing::error!(%stored, seq = seq.0, error = format!("{error:#}"), "an entry past the end of its log cannot be read: what it changed stays");
                return Ok(());
            }
        };
        if self.views.is_past_end(&decoded) {
            let changes = (0..decoded.entry.header.change_count).filter_map(|index| decoded.change(index).ok());
            found.extend(changes.filter_map(|change| record_of(&change, &decoded)));
        }
        Ok(())
    }

    /// Makes a record anew without the changes past the ends of their logs, and tells what that takes back.
    fn retract_from(&mut self, round: &mut Round<'_>, record: RecordId) -> anyhow::Result<Turn> {
        // Nothing of the round is touched before all that may fail is done.
        let made = catch_unwind(AssertUnwindSafe(|| self.make_anew(&round.snapshot, record)));
        let made = made.unwrap_or_else(|_| {
            self.metrics.panics.inc();
            Err(anyhow!("making it anew makes this program panic"))
        });
        let (told, whole, kind) = match made {
            Ok(made) => made,
            Err(error) if is_of_the_disk(&error) => return Err(error),
            Err(error) => return Ok(self.leave_unread(record, &error)),
        };
        if round.snapshot.id(record)?.is_none() {
            return Ok(Turn::Done);
        }
        let taken = catch_unwind(AssertUnwindSafe(|| self.take_working(round, record)));
        let mut working = match taken.unwrap_or_else(|_| Err(anyhow!("reading it makes this program panic"))) {
            Ok(working) => working,
            Err(error) if is_of_the_disk(&error) => return Err(error),
            Err(error) => return Ok(self.leave_unread(record, &error)),
        };
        (working.is_edited, working.is_changed) = (true, true);
        working.record = Some(whole);
        let was_shown = working.item.is_some();
        let view = working.record.as_ref().and_then(Record::view);
        match &view {
            Some(view) => drop(working.show(round, record, view)),
            None => working.hide(round),
        }
        let mut turn = Turn::Done;
        for Told { decoded, change, row, is_retracted, lack } in &told {
            if let Some(lack) = *lack {
                // It rests on what is no more: it waits, as at a node that never had that.
                let (entry, index, id) = (decoded.clone(), row.change_index, decoded.change_id(row.change_index));
                working.wait(record, lack, Pending { entry, index, section: section_of(change), id });
            }
            if *is_retracted || (lack.is_none() && !self.views.is_past_end(decoded)) {
                continue;
            }
            if round.retracted >= RETRACTED_MAX {
                turn = Turn::Unfinished;
                continue;
            }
            // Who was told of it is told that it is no more, though what is left may not pass the same filter.
            let summary = summary_of(row)?;
            let (kind, bytes) = (retraction_of(&summary), retraction_data(record, &summary, view.as_ref()));
            working.id.latest = round.emit(decoded, row.change_index, record, kind, summary, bytes);
            round.retracted += 1;
        }
        if let (true, None, Some(kind)) = (was_shown, &view, kind) {
            uncount(&mut round.out.state, kind);
        }
        match &view {
            Some(view) => round.out.noted.push((record, working.id.latest, view.summary())),
            None => round.out.hidden.push(record),
        }
        tracing::debug!(%record, shown = view.is_some(), "a record was made anew without changes of a revoked key");
        round.working.insert(record, working);
        Ok(turn)
    }

    fn leave_unread(&self, record: RecordId, error: &anyhow::Error) -> Turn {
        self.metrics.put_off.inc();
        let error = format!("{error:#}");
        tracing::error!(%record, error, "a record keeps changes of a revoked key until it can be read");
        Turn::Unreadable
    }

    /// What readers were told of a record, the record without what lies past the ends of logs, and as what it was told
    /// last, if that can be read.
    fn make_anew(
        &self,
        snapshot: &Snapshot,
        record: RecordId,
    ) -> anyhow::Result<(Vec<Told>, Record, Option<RecordKind>)> {
        let mut told = self.told_changes(snapshot, record)?;
        let valid = told.iter().filter(|told| !self.views.is_past_end(&told.decoded));
        let authored = valid.map(|told| told.decoded.authored(told.row.change_index, &told.change));
        let (whole, lacking) = Record::of_what_is_whole(record, authored);
        let lacking: BTreeMap<_, Lack> = lacking.into_iter().map(|(authored, lack)| (authored.id, lack)).collect();
        for told in &mut told {
            told.lack = lacking.get(&told.decoded.change_id(told.row.change_index)).copied();
            summary_of(&told.row)?;
        }
        let last = all_positions(snapshot, record)?.last().copied();
        let last = last.map(|position| snapshot.stream_row(position)).transpose()?.flatten();
        let kind = last.map(|row| summary_of(&row)).transpose()?.map(|summary| summary.record_kind);
        Ok((told, whole, kind))
    }

    /// The changes of a record that readers were told of, each once, in the order in which they were first told.
    fn told_changes(&self, snapshot: &Snapshot, record: RecordId) -> anyhow::Result<Vec<Told>> {
        let mut told: Vec<Told> = Vec::new();
        let mut places: BTreeMap<Place, usize> = BTreeMap::new();
        for position in all_positions(snapshot, record)? {
            let row = snapshot.stream_row(position)?.with_context(|| format!("position {position} is gone"))?;
            let is_retracted = event_type(row.kind).is_some_and(EventType::is_retraction);
            let place = Place::of(&row);
            match places.get(&place) {
                // What was taken back may have got its turn again, and the other way round.
                Some(known) => (told[*known].row, told[*known].is_retracted) = (row, is_retracted),
                None => {
                    let decoded = match self.views.entry(snapshot, row.log, row.seq) {
                        // What it did is gone without it; only nobody can be told of that.
                        Err(error) if !is_of_the_disk(&error) && self.views.is_past_unread(snapshot, &row)? => {
                            tracing::error!(log = %row.log, seq = row.seq.0, error = format!("{error:#}"),
                                "an entry past the end of its log cannot be read, so nobody is told what it did");
                            continue;
                        }
                        read => read?,
                    };
                    let change = decoded.change(row.change_index)?;
                    places.insert(place, told.len());
                    told.push(Told { decoded, change, row, is_retracted, lack: None });
                }
            }
        }
        Ok(told)
    }
}

fn summary_of(row: &StreamRow) -> anyhow::Result<Summary> {
    Summary::from_bytes(&row.summary).context("a stream row's summary is damaged")
}

fn retraction_of(summary: &Summary) -> EventType {
    if summary.record_kind == RecordKind::Contact { EventType::ContactRetracted } else { EventType::AlertRetracted }
}

/// What came of a record's turn.
enum Turn {
    Done,
    /// More of it is to be taken back than one commit tells.
    Unfinished,
    Unreadable,
}

/// A change that readers were told of.
struct Told {
    decoded: std::sync::Arc<DecodedEntry>,
    change: Change,
    /// Where it was told last.
    row: StreamRow,
    /// It was taken back then.
    is_retracted: bool,
    /// What it lacks without what lies past the ends of logs.
    lack: Option<Lack>,
}
