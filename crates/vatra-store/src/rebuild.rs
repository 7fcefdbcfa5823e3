//! Making id and history rows anew from the stream, where they were damaged.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use vatra_model::{Position, RecordId};

use crate::damage::unseal;
use crate::engine::{Direction, KeyRange};
use crate::rows::{IdRow, StreamRow, parse_position_key};
use crate::snapshot::{ReadError, Snapshot};
use crate::space::Space;

/// Records whose id rows can be made anew at once.
pub const REBUILD_RECORDS_MAX: usize = 1_000_000;

/// Id rows that are missing, damaged or behind the stream, as they should be, and the positions of their records.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    pub(crate) ids: BTreeMap<RecordId, IdRow>,
    pub(crate) history: Vec<(RecordId, Position)>,
}

/// Compares every stream and document row with the id rows.
pub(crate) fn missing_ids(snapshot: &Snapshot) -> Result<Missing, ReadError> {
    let mut missing = Missing::default();
    snapshot.raw().scan(Space::Stream, KeyRange::ALL, Direction::Forward, &mut |key, stored| {
        let row = parse_position_key(key)
            .and_then(|position| StreamRow::decode(position, unseal(Space::Stream, key, stored).ok()?));
        if let Some(row) = row {
            missing.look_at(snapshot, &row);
        }
        go_on(&missing)
    })?;
    snapshot.raw().scan(Space::Documents, KeyRange::ALL, Direction::Forward, &mut |key, _| {
        if let Some(record) = RecordId::from_slice(key) {
            missing.look_at_document(snapshot, record);
        }
        go_on(&missing)
    })?;
    Ok(missing)
}

fn go_on(missing: &Missing) -> ControlFlow<()> {
    if missing.ids.len() < REBUILD_RECORDS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

impl Missing {
    fn look_at(&mut self, snapshot: &Snapshot, row: &StreamRow) {
        if let Some(id) = self.ids.get_mut(&row.record) {
            id.latest = row.position;
            self.history.push((row.record, row.position));
            return;
        }
        match snapshot.id(row.record) {
            Ok(Some(id)) if id.created <= row.position && row.position <= id.latest => {}
            Ok(Some(id)) if id.created <= row.position && id.created.0 > 0 => {
                self.ids.insert(row.record, IdRow { latest: row.position, ..id });
                self.history.push((row.record, row.position));
            }
            _ => {
                let id = IdRow { created: row.position, latest: row.position, flags: [0; 8] };
                self.ids.insert(row.record, id);
            }
        }
    }

    fn look_at_document(&mut self, snapshot: &Snapshot, record: RecordId) {
        if let Some(id) = self.ids.get_mut(&record) {
            id.flags[0] |= IdRow::HAS_DOCUMENT;
        } else if !matches!(snapshot.id(record), Ok(Some(_))) {
            let flags = [IdRow::HAS_DOCUMENT, 0, 0, 0, 0, 0, 0, 0];
            self.ids.insert(record, IdRow { created: Position(0), latest: Position(0), flags });
        }
    }
}
