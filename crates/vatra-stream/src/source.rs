//! What this crate needs of the node: the durable events of its store, in order.

use tokio::sync::watch;
use vatra_model::Position;
use vatra_store::ReadError;

use crate::cursor::StoreId;
use crate::event::StoredEvent;

/// A stretch of the stream.
#[derive(Clone, Debug)]
pub struct EventBatch {
    /// The events, by ascending position. Positions of changes that are no event (control statements, records
    /// of kinds that are not shown) are left out.
    pub events: Vec<StoredEvent>,
    /// Every event up to here is in the batch or before it. At the end of the store it is the last position,
    /// otherwise greater than what was asked for.
    pub end: Position,
}

impl EventBatch {
    /// Whether the batch goes on from a position, in order.
    #[must_use]
    pub fn follows(&self, at: Position) -> bool {
        let mut last = at;
        let in_order = self.events.iter().all(|event| {
            let is_next = event.position > last;
            last = event.position;
            is_next
        });
        in_order && last <= self.end && self.end > at
    }
}

/// The durable events of a store. Methods may read the disk and are called where blocking is allowed, except
/// for short stretches at the end of the stream.
pub trait EventSource: Send + Sync + 'static {
    /// The store whose positions these are.
    fn store_id(&self) -> StoreId;

    /// The position before the oldest event still held; 0 while nothing was pruned. A cursor before it is
    /// answered with a `reset`.
    fn pruned_to(&self) -> Position;

    /// Events after a position; it looks at `limit` positions at most. Each view is the record's current one or
    /// any that is not older than the event's change.
    ///
    /// # Errors
    /// The store could not be read; subscribers behind it are ended and come back with their cursors.
    fn events_after(&self, after: Position, limit: usize) -> Result<EventBatch, ReadError>;

    /// What was read up to this position may read otherwise since, as changes have lost their effect: events up to here
    /// that are kept in memory are read anew. 0 if there is none.
    fn rewritten_to(&self) -> Position {
        Position(0)
    }

    /// The last durable position, as it grows. Sent only after the commit is on the disk.
    fn durable(&self) -> watch::Receiver<Position>;
}
