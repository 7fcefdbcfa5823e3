//! Checking a whole store: checksums, keys, order, and that rows of one space agree with those they refer to.
//!
//! What an entry or a document contains is the caller's to check, through an [`Inspector`].

use std::fmt;
use std::ops::ControlFlow;

use vatra_model::fork::stray_log;
use vatra_model::{LogId, Position, RecordId, Seq};

use crate::damage::{DamageKind, unseal};
use crate::engine::{Direction, KeyRange};
use crate::reader::Reader;
use crate::recent;
use crate::rows::{
    EntryRow, IdRow, StreamRow, entry_key, history_key, parse_entry_key, parse_history_key, parse_position_key,
    parse_stray_key, position_key,
};
use crate::snapshot::{ReadError, Snapshot};
use crate::space::Space;

/// Findings that a report names; more are only counted.
pub const FINDINGS_MAX: usize = 10_000;

/// Rows between two calls of [`Inspector::progress`].
const PROGRESS_ROWS: u64 = 4096;

/// Looks into what the store only keeps. Each method says what is wrong with a row, if anything is.
pub trait Inspector {
    /// So many rows of so many are done.
    fn progress(&mut self, _done: u64, _total: u64) {}

    /// Checks a log row.
    ///
    /// # Errors
    /// What is wrong with it.
    fn log(&mut self, _log: LogId, _bytes: &[u8]) -> Result<(), String> {
        Ok(())
    }

    /// Checks an entry: its hashes and signature.
    ///
    /// # Errors
    /// What is wrong with it.
    fn entry(&mut self, _entry: &EntryRow) -> Result<(), String> {
        Ok(())
    }

    /// Checks that a stream row tells of the change it refers to in this packed entry.
    ///
    /// # Errors
    /// What is wrong with it.
    fn change(&mut self, _row: &StreamRow, _entry: &[u8]) -> Result<(), String> {
        Ok(())
    }

    /// Checks an edited record.
    ///
    /// # Errors
    /// What is wrong with it.
    fn document(&mut self, _record: RecordId, _bytes: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

/// Looks into nothing: only what the store itself knows is checked.
impl Inspector for () {}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// Rows looked at, by the slots of [`Space::ALL`].
    pub rows: [u64; Space::COUNT],
    /// What is wrong, at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// How many findings there are in all.
    pub findings_count: u64,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The space.
    pub space: Space,
    /// The key of the row; empty when it is about the space as a whole.
    pub key: Vec<u8>,
    /// What is wrong.
    pub why: Why,
}

/// What is wrong with a row or a space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The row is not what was written.
    Damaged(DamageKind),
    /// The row comes after one with a greater or equal key.
    OutOfOrder,
    /// Stream positions are missing.
    Gap {
        /// The first missing position.
        first: Position,
        /// The last missing position.
        last: Position,
    },
    /// The row refers to a row that is missing or damaged.
    Dangling {
        /// The space of the row referred to.
        space: Space,
        /// Its key.
        key: Vec<u8>,
    },
    /// The row says something else than the row it refers to.
    Disagrees(&'static str),
    /// The caller's inspector is not content with it.
    Content(String),
    /// The engine counts another number of rows than there are.
    Miscounted {
        /// The number the engine keeps.
        recorded: u64,
        /// The number of rows found.
        found: u64,
    },
    /// The engine could not read on in this space.
    Unreadable(String),
}

impl FsckReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings_count == 0
    }

    /// Rows looked at in one space.
    #[must_use]
    pub fn rows_of(&self, space: Space) -> u64 {
        self.rows[space.slot()]
    }

    fn add(&mut self, space: Space, key: &[u8], why: Why) {
        self.findings_count += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { space, key: key.to_vec(), why });
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.space)?;
        if !self.key.is_empty() {
            write!(f, " {}", Hex(&self.key))?;
        }
        write!(f, ": {}", self.why)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Damaged(kind) => write!(f, "{kind}"),
            Why::OutOfOrder => write!(f, "is out of order"),
            Why::Gap { first, last } => write!(f, "positions {first} to {last} are missing before it"),
            Why::Dangling { space, key } => write!(f, "refers to {space} {}, which is missing or damaged", Hex(key)),
            Why::Disagrees(what) => write!(f, "{what}"),
            Why::Content(what) => write!(f, "{what}"),
            Why::Miscounted { recorded, found } => write!(f, "holds {found} rows, but the engine counts {recorded}"),
            Why::Unreadable(error) => write!(f, "could not be read to its end: {error}"),
        }
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Checks every row of a store at one moment. Reads everything once; memory stays small.
///
/// # Errors
/// [`ReadError`] when no row can be read at all. Unreadable parts are findings.
pub fn verify(reader: &Reader, inspector: &mut dyn Inspector) -> Result<FsckReport, ReadError> {
    let snapshot = reader.snapshot()?;
    let mut total = 0;
    for space in Space::ALL {
        total += snapshot.raw().len(space)?;
    }
    let mut check =
        Check { snapshot: &snapshot, inspector, report: FsckReport::default(), done: 0, total, entry: None };
    // Logs first: an inspector needs to know a log's origin before it sees the entries.
    check.space(Space::Logs);
    for space in Space::ALL.into_iter().filter(|space| *space != Space::Logs) {
        check.space(space);
    }
    check.inspector.progress(check.done, total);
    Ok(check.report)
}

struct Check<'a> {
    snapshot: &'a Snapshot,
    inspector: &'a mut dyn Inspector,
    report: FsckReport,
    done: u64,
    total: u64,
    /// The entry read last, because neighbours in the stream share one.
    entry: Option<((LogId, Seq), Vec<u8>)>,
}

impl Check<'_> {
    fn space(&mut self, space: Space) {
        let snapshot = self.snapshot;
        let mut previous: Option<Vec<u8>> = None;
        let mut last_position = Position(0);
        let mut found = 0;
        let scanned = snapshot.raw().scan(space, KeyRange::ALL, Direction::Forward, &mut |key, stored| {
            found += 1;
            self.step();
            if previous.as_deref().is_some_and(|previous| previous >= key) {
                self.report.add(space, key, Why::OutOfOrder);
            }
            previous = Some(key.to_vec());
            if space == Space::Stream {
                self.contiguous(key, &mut last_position);
            }
            let why = match unseal(space, key, stored) {
                Ok(value) => self.row(space, key, value),
                Err(damage) => Err(Why::Damaged(damage.why)),
            };
            if let Err(why) = why {
                self.report.add(space, key, why);
            }
            ControlFlow::Continue(())
        });
        self.report.rows[space.slot()] = found;
        if let Err(error) = scanned {
            self.report.add(space, &[], Why::Unreadable(error.to_string()));
        } else if let Ok(recorded) = snapshot.raw().len(space)
            && recorded != found
        {
            self.report.add(space, &[], Why::Miscounted { recorded, found });
        }
    }

    fn step(&mut self) {
        self.done += 1;
        if self.done.is_multiple_of(PROGRESS_ROWS) {
            self.inspector.progress(self.done, self.total);
        }
    }

    fn contiguous(&mut self, key: &[u8], last: &mut Position) {
        let Some(position) = parse_position_key(key) else { return };
        if position.0 > last.0 + 1 {
            let gap = Why::Gap { first: Position(last.0 + 1), last: Position(position.0 - 1) };
            self.report.add(Space::Stream, key, gap);
        }
        *last = position;
    }

    fn row(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<(), Why> {
        let bad_key = Why::Damaged(DamageKind::Key);
        match space {
            Space::Entries => {
                let (log, seq) = parse_entry_key(key).ok_or(bad_key)?;
                let entry = EntryRow { log, seq, bytes: value.to_vec() };
                self.inspector.entry(&entry).map_err(Why::Content)
            }
            Space::Logs => {
                let log = LogId::from_slice(key).ok_or(bad_key)?;
                self.inspector.log(log, value).map_err(Why::Content)
            }
            Space::Strays => {
                let (log, seq, hash) = parse_stray_key(key).ok_or(bad_key)?;
                let stored = entry_key(stray_log(log, hash), seq);
                match self.snapshot.raw().get(Space::Entries, &stored) {
                    Ok(Some(_)) => Ok(()),
                    _ => Err(Why::Dangling { space: Space::Entries, key: stored.to_vec() }),
                }
            }
            Space::Ids => {
                let record = RecordId::from_slice(key).ok_or(bad_key)?;
                self.id(record, IdRow::decode(value).ok_or(Why::Damaged(DamageKind::Value))?)
            }
            Space::Recent => {
                parse_position_key(key).ok_or(bad_key)?;
                let ids = recent::ids_of(value).ok_or(Why::Damaged(DamageKind::Value))?;
                ids.into_iter().try_for_each(|(record, id)| self.id(record, id))
            }
            Space::History => {
                let (record, position) = parse_history_key(key).ok_or(bad_key)?;
                self.record_at(record, position)
            }
            Space::Documents => {
                let record = RecordId::from_slice(key).ok_or(bad_key)?;
                self.known(record)?;
                self.inspector.document(record, value).map_err(Why::Content)
            }
            Space::Stream => {
                let position = parse_position_key(key).ok_or(bad_key)?;
                let row = StreamRow::decode(position, value).ok_or(Why::Damaged(DamageKind::Value))?;
                self.stream(&row)
            }
            Space::Index | Space::Meta | Space::Site => Ok(()),
        }
    }

    /// An id row points at two stream rows of its record, or at none.
    fn id(&mut self, record: RecordId, id: IdRow) -> Result<(), Why> {
        if id.latest == Position(0) && id.created == Position(0) {
            return Ok(());
        }
        if id.created > id.latest {
            return Err(Why::Disagrees("says that the record was changed before it was created"));
        }
        self.record_at(record, id.created)?;
        if id.latest == id.created { Ok(()) } else { self.record_at(record, id.latest) }
    }

    /// A stream row points at an entry, and its record points back.
    fn stream(&mut self, row: &StreamRow) -> Result<(), Why> {
        let id = self.known(row.record)?;
        if row.position < id.created || row.position > id.latest {
            return Err(Why::Disagrees("lies outside what its record's id row says"));
        }
        if row.position != id.created {
            let key = history_key(row.record, row.position);
            let present = matches!(self.snapshot.raw().get(Space::History, &key), Ok(Some(_)));
            if !present {
                return Err(Why::Dangling { space: Space::History, key: key.to_vec() });
            }
        }
        let place = (row.log, row.seq);
        if self.entry.as_ref().is_none_or(|(at, _)| *at != place) {
            let bytes = self.snapshot.entry(row.log, row.seq).ok().flatten();
            self.entry = bytes.map(|bytes| (place, bytes));
        }
        let Some((_, bytes)) = &self.entry else {
            let key = crate::rows::entry_key(row.log, row.seq).to_vec();
            return Err(Why::Dangling { space: Space::Entries, key });
        };
        self.inspector.change(row, bytes).map_err(Why::Content)
    }

    fn known(&self, record: RecordId) -> Result<IdRow, Why> {
        let id = self.snapshot.id(record).ok().flatten();
        id.ok_or_else(|| Why::Dangling { space: Space::Ids, key: record.0.to_vec() })
    }

    fn record_at(&self, record: RecordId, position: Position) -> Result<(), Why> {
        match self.snapshot.stream_row(position) {
            Ok(Some(row)) if row.record == record => Ok(()),
            Ok(Some(_)) => Err(Why::Disagrees("points at a stream row of another record")),
            _ => Err(Why::Dangling { space: Space::Stream, key: position_key(position).to_vec() }),
        }
    }
}

#[cfg(test)]
mod tests;
