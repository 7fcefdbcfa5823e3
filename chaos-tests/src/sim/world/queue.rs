//! What will happen, in the order in which it will.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::sim::world::Event;

/// Events by their time; those of one time in the order in which they were put in.
#[derive(Default)]
pub(crate) struct Queue {
    events: BinaryHeap<Reverse<Queued>>,
    put_in: u64,
}

struct Queued {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Queued) -> bool {
        self.number == other.number
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Queued) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Queued) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl Queue {
    pub(crate) fn push(&mut self, at: u64, event: Event) {
        self.put_in += 1;
        self.events.push(Reverse(Queued { at, number: self.put_in, event }));
    }

    /// The next event and its time.
    pub(crate) fn pop(&mut self) -> Option<(u64, Event)> {
        self.events.pop().map(|Reverse(queued)| (queued.at, queued.event))
    }

    /// When the next event happens.
    pub(crate) fn next_at(&self) -> Option<u64> {
        self.events.peek().map(|Reverse(queued)| queued.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_time_keep_their_order() {
        let mut queue = Queue::default();
        for (at, node) in [(5, 1), (3, 2), (5, 3), (3, 4), (1, 5)] {
            queue.push(at, Event::Tick { node });
        }
        assert_eq!(queue.next_at(), Some(1));
        let order = std::iter::from_fn(|| queue.pop());
        let order: Vec<_> = order.map(|(at, event)| (at, format!("{event:?}"))).collect();
        let tick = |at, node: usize| (at, format!("{:?}", Event::Tick { node }));
        assert_eq!(order, [tick(1, 5), tick(3, 2), tick(3, 4), tick(5, 1), tick(5, 3)]);
        assert_eq!(queue.next_at(), None);
    }
}
