//! The newest events, encoded once for all subscribers.

use std::collections::VecDeque;
use std::sync::Arc;

use vatra_model::Position;

use crate::event::EncodedEvent;

/// A bounded window of the stream: every event after `start` up to and including `end`.
#[derive(Debug)]
pub(crate) struct Ring {
    events: VecDeque<Arc<EncodedEvent>>,
    start: Position,
    end: Position,
    bytes: usize,
    events_max: usize,
    bytes_max: usize,
}

/// What a ring knows of the stream after a position.
#[derive(Debug)]
pub(crate) enum Stretch {
    /// Events up to and including a position that is greater than the one asked for.
    Events(Vec<Arc<EncodedEvent>>, Position),
    /// Nothing is newer.
    UpToDate,
    /// The position is before the window; the store has to be read.
    TooOld,
}

impl Ring {
    pub(crate) fn new(at: Position, events_max: usize, bytes_max: usize) -> Ring {
        Ring { events: VecDeque::new(), start: at, end: at, bytes: 0, events_max, bytes_max }
    }

    /// The last position that the window covers.
    pub(crate) fn end(&self) -> Position {
        self.end
    }

    /// Forgets everything; the window is empty and ends at `at`.
    pub(crate) fn restart(&mut self, at: Position) {
        self.events.clear();
        self.bytes = 0;
        (self.start, self.end) = (at, at);
    }

    /// Forgets the events up to a position.
    pub(crate) fn forget_to(&mut self, at: Position) {
        let count = self.events.partition_point(|event| event.position() <= at);
        self.bytes -= self.events.drain(..count).map(|event| event.bytes()).sum::<usize>();
        self.start = self.start.max(at);
        self.end = self.end.max(at);
    }

    /// Takes the events that follow, up to `end`; the oldest make room.
    pub(crate) fn append(&mut self, events: impl IntoIterator<Item = EncodedEvent>, end: Position) {
        for event in events {
            assert!(event.position() > self.end, "events are appended in order");
            self.end = event.position();
            self.bytes += event.bytes();
            self.events.push_back(Arc::new(event));
        }
        self.end = self.end.max(end);
        while self.events.len() > self.events_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.bytes();
            self.start = oldest.position();
        }
    }

    /// Events after a position, `limit` at most.
    pub(crate) fn after(&self, at: Position, limit: usize) -> Stretch {
        if at < self.start {
            return Stretch::TooOld;
        }
        if at >= self.end {
            return Stretch::UpToDate;
        }
        let from = self.events.partition_point(|event| event.position() <= at);
        let events: Vec<_> = self.events.range(from..).take(limit).cloned().collect();
        let end = match events.last() {
            Some(last) if from + events.len() < self.events.len() => last.position(),
            _ => self.end,
        };
        Stretch::Events(events, end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vatra_model::{MemberCode, NodeKey, WallMs};

    use super::*;
    use crate::cursor::StoreId;
    use crate::event::{LocalEvent, Origin};

    fn event(position: u64) -> EncodedEvent {
        let member: MemberCode = "LT".parse().unwrap();
        let origin = Origin { member, node: NodeKey([1; 32]) };
        LocalEvent::Checkpoint { at: Position(position) }.encode(StoreId([7; 16]), origin, WallMs(0))
    }

    /// Reads the ring as a subscriber does; `None` when it is too old somewhere.
    fn read_all(ring: &Ring, mut at: Position, limit: usize) -> Option<Vec<u64>> {
        let mut seen = Vec::new();
        loop {
            match ring.after(at, limit) {
                Stretch::Events(events, end) => {
                    assert!(end > at, "a stretch advances");
                    seen.extend(events.iter().map(|event| event.position().0));
                    at = end;
                }
                Stretch::UpToDate => return Some(seen),
                Stretch::TooOld => return None,
            }
        }
    }

    #[test]
    fn a_full_ring_forgets_its_oldest_and_says_so() {
        let mut ring = Ring::new(Position(0), 3, usize::MAX);
        ring.append((1..=4).map(event), Position(6));
        assert_eq!(read_all(&ring, Position(0), 10), None);
        assert_eq!(read_all(&ring, Position(1), 10), Some(vec![2, 3, 4]));
        assert_eq!(read_all(&ring, Position(6), 10), Some(vec![]));
        let bytes_max = event(1).bytes() * 2;
        let mut ring = Ring::new(Position(0), 100, bytes_max);
        ring.append((1..=4).map(event), Position(4));
        assert_eq!(read_all(&ring, Position(2), 10), Some(vec![3, 4]));
        assert_eq!(read_all(&ring, Position(1), 10), None);
    }

    #[test]
    fn what_was_forgotten_is_read_from_the_store() {
        let mut ring = Ring::new(Position(0), 10, usize::MAX);
        ring.append((1..=4).map(event), Position(4));
        ring.forget_to(Position(2));
        assert_eq!((read_all(&ring, Position(1), 10), read_all(&ring, Position(2), 10)), (None, Some(vec![3, 4])));
        ring.forget_to(Position(7));
        assert_eq!((ring.end(), ring.bytes), (Position(7), 0));
        assert_eq!((read_all(&ring, Position(6), 10), read_all(&ring, Position(7), 10)), (None, Some(vec![])));
    }

    proptest! {
        #[test]
        fn readers_see_every_event_after_their_place_or_are_told(
            gaps in prop::collection::vec((1..4_u64, any::<bool>()), 1..40),
            at in 0..60_u64,
            limit in 1..5_usize,
            events_max in 1..30_usize,
        ) {
            let mut ring = Ring::new(Position(0), events_max, usize::MAX);
            let (mut position, mut all) = (0, Vec::new());
            for (gap, is_event) in gaps {
                position += gap;
                if is_event {
                    all.push(position);
                }
                ring.append(is_event.then(|| event(position)), Position(position));
            }
            let expected: Vec<u64> = all.into_iter().filter(|p| *p > at).collect();
            match read_all(&ring, Position(at), limit) {
                Some(seen) => prop_assert_eq!(seen, expected),
                None => prop_assert!(expected.len() >= events_max, "too old although it fits"),
            }
        }
    }
}
