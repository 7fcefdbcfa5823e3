//! The newest events, kept in memory so that followers at the end of the stream never read the disk.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use vatra_model::Position;
use vatra_stream::StoredEvent;

/// Events kept.
const EVENTS_MAX: usize = 8_192;
/// Bytes of views kept.
const BYTES_MAX: usize = 16 << 20;

/// A window at the end of the stream.
#[derive(Default)]
pub(crate) struct Recent {
    window: RwLock<Window>,
    /// What was told up to here may read otherwise since.
    rewritten: AtomicU64,
}

#[derive(Default)]
struct Window {
    events: VecDeque<StoredEvent>,
    bytes: usize,
    /// Everything after this position is in the window.
    after: Position,
}

impl Recent {
    /// An empty window at the end of the stream.
    pub(crate) fn at(end: Position) -> Recent {
        Recent { window: RwLock::new(Window { after: end, ..Window::default() }), rewritten: AtomicU64::new(0) }
    }

    /// Adds events that have become durable, in order.
    pub(crate) fn add(&self, events: Vec<StoredEvent>) {
        let mut window = self.window.write().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            window.bytes += event.view.len();
            window.events.push_back(event);
        }
        while window.events.len() > EVENTS_MAX || window.bytes > BYTES_MAX {
            let Some(oldest) = window.events.pop_front() else { break };
            window.bytes -= oldest.view.len();
            window.after = oldest.position;
        }
    }

    /// Events up to a position are read from the store from now on: some have lost their effect.
    pub(crate) fn forget_to(&self, at: Position) {
        let mut window = self.window.write().unwrap_or_else(PoisonError::into_inner);
        let count = window.events.partition_point(|event| event.position <= at);
        let bytes = window.events.drain(..count).map(|event| event.view.len()).sum::<usize>();
        window.bytes -= bytes;
        window.after = window.after.max(at);
        self.rewritten.store(at.0, Ordering::Release);
    }

    /// Up to where what was told may read otherwise since.
    pub(crate) fn rewritten_to(&self) -> Position {
        Position(self.rewritten.load(Ordering::Acquire))
    }

    /// Events after a position, `None` if the window begins later than that.
    pub(crate) fn after(&self, after: Position, limit: usize) -> Option<Vec<StoredEvent>> {
        let window = self.window.read().unwrap_or_else(PoisonError::into_inner);
        if after < window.after {
            return None;
        }
        let from = window.events.partition_point(|event| event.position <= after);
        Some(window.events.range(from..).take(limit).cloned().collect())
    }
}
