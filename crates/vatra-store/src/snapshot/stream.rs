//! The stream and the histories of records, as they were at one moment.

use std::ops::ControlFlow;

use vatra_model::{Position, RecordId};

use super::{ReadError, Snapshot};
use crate::damage::unseal;
use crate::engine::{Direction, KeyRange};
use crate::page::{PAGE_DAMAGED_MAX, PAGE_ROWS_MAX, Page, PageLimits};
use crate::rows::{StreamRow, history_key, parse_history_key, parse_position_key, position_key};
use crate::space::Space;

impl Snapshot {
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

    fn stream_page(
        &self,
        range: KeyRange<'_>,
        direction: Direction,
        limit: usize,
    ) -> Result<Page<StreamRow, Position>, ReadError> {
        self.page(Space::Stream, range, direction, PageLimits::rows(limit), parse_position_key, StreamRow::decode)
    }
}
