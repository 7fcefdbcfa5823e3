//! The stream's source: recent events from memory, older ones from the store.

use std::sync::Arc;

use tokio::sync::watch;
use vatra_model::Position;
use vatra_store::ReadError;
use vatra_stream::{EventBatch, EventSource, StoreId};

use crate::node::recent::Recent;
use crate::node::views::Views;

/// What subscribers read.
pub(crate) struct NodeEvents {
    pub(crate) store_id: StoreId,
    pub(crate) views: Arc<Views>,
    pub(crate) recent: Arc<Recent>,
    pub(crate) durable: watch::Receiver<Position>,
}

impl EventSource for NodeEvents {
    fn store_id(&self) -> StoreId {
        self.store_id
    }

    fn pruned_to(&self) -> Position {
        Position(0)
    }

    fn events_after(&self, after: Position, limit: usize) -> Result<EventBatch, ReadError> {
        let durable = *self.durable.borrow();
        if let Some(events) = self.recent.after(after, limit) {
            // Events are added before `durable` tells of them; what lies beyond is told by the next call.
            let end = events.last().map_or(durable.max(after), |event| event.position);
            return Ok(EventBatch { events, end });
        }
        let (events, end) = self.views.events(after, limit)?;
        Ok(EventBatch { events, end })
    }

    fn rewritten_to(&self) -> Position {
        self.recent.rewritten_to()
    }

    fn durable(&self) -> watch::Receiver<Position> {
        self.durable.clone()
    }
}
