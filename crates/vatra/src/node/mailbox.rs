//! The driver's mailbox: bounded queues by urgency, read by one thread.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Which queue an item waits in; a lower one is read first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Links, hellos, beacons, requests, questions.
    Control = 0,
    /// Entries and local changes of class `flash` and `priority`.
    Urgent = 1,
    /// Local changes of other classes.
    Local = 2,
    /// Everything else.
    Bulk = 3,
}

const QUEUES: usize = 4;
/// Items that one queue holds; senders wait for room.
const QUEUE_ITEMS_MAX: usize = 4096;
/// Bytes that one queue holds, not counting the first item.
const QUEUE_BYTES_MAX: usize = 8 << 20;

/// What an item costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weight {
    /// Changes that it brings; one round takes a bounded number.
    pub(crate) changes: usize,
    /// Bytes that it holds while it waits.
    pub(crate) bytes: usize,
}

impl Weight {
    /// Of what brings no changes and holds next to nothing.
    pub(crate) const SMALL: Weight = Weight { changes: 1, bytes: 0 };
}

/// Items on their way to one thread. Queues are bounded in items and bytes; one round takes a bounded number of
/// changes.
pub(crate) struct Mailbox<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
    room: Condvar,
}

struct State<T> {
    queues: [VecDeque<(Weight, T)>; QUEUES],
    bytes: [usize; QUEUES],
    is_closed: bool,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        let state = State { queues: std::array::from_fn(|_| VecDeque::new()), bytes: [0; QUEUES], is_closed: false };
        Mailbox { state: Mutex::new(state), arrived: Condvar::new(), room: Condvar::new() }
    }
}

impl<T> Mailbox<T> {
    /// Puts an item in, waiting for room; `false` once the mailbox is closed. Not for async code.
    pub(crate) fn post(&self, urgency: Urgency, weight: Weight, item: T) -> bool {
        let mut state = self.lock();
        while !state.has_room(urgency, weight) && !state.is_closed {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.put(state, urgency, weight, item)
    }

    /// Puts an item in if there is room, else gives it back.
    pub(crate) fn try_post(&self, urgency: Urgency, weight: Weight, item: T) -> Result<(), T> {
        let state = self.lock();
        if state.is_closed || !state.has_room(urgency, weight) {
            return Err(item);
        }
        self.put(state, urgency, weight, item);
        Ok(())
    }

    fn put(&self, mut state: MutexGuard<'_, State<T>>, urgency: Urgency, weight: Weight, item: T) -> bool {
        if state.is_closed {
            return false;
        }
        state.bytes[urgency as usize] += weight.bytes;
        state.queues[urgency as usize].push_back((weight, item));
        drop(state);
        self.arrived.notify_one();
        true
    }

    /// Takes items, most urgent first, up to a number of changes (at least one item), waiting until `deadline` for the
    /// first. Appends them to `items`; `false` once the mailbox is closed and empty.
    pub(crate) fn take(&self, deadline: Instant, changes_max: usize, items: &mut Vec<T>) -> bool {
        let mut state = self.lock();
        while state.is_empty() && !state.is_closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return true;
            }
            state = self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.is_empty() {
            return false;
        }
        let mut changes = 0;
        for queue in 0..QUEUES {
            while changes < changes_max {
                let Some((weight, item)) = state.queues[queue].pop_front() else { break };
                state.bytes[queue] -= weight.bytes;
                changes += weight.changes.max(1);
                items.push(item);
            }
        }
        drop(state);
        self.room.notify_all();
        true
    }

    /// Refuses further items; those inside are still taken.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.arrived.notify_all();
        self.room.notify_all();
    }

    /// Whether no more items are taken in.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// How many items wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().queues.iter().map(VecDeque::len).sum()
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn has_room(&self, urgency: Urgency, weight: Weight) -> bool {
        let (queue, bytes) = (&self.queues[urgency as usize], self.bytes[urgency as usize]);
        queue.is_empty() || (queue.len() < QUEUE_ITEMS_MAX && bytes + weight.bytes <= QUEUE_BYTES_MAX)
    }

    fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn urgent_items_overtake() {
        let mailbox = Mailbox::default();
        for number in 0..3 {
            assert!(mailbox.post(Urgency::Bulk, Weight::SMALL, number));
        }
        assert!(mailbox.post(Urgency::Urgent, Weight::SMALL, 100));
        let mut items = Vec::new();
        assert!(mailbox.take(soon(), 2, &mut items));
        assert_eq!(items, [100, 0]);
    }

    #[test]
    fn a_full_queue_refuses_and_a_closed_one_drains() {
        let mailbox = Mailbox::default();
        for number in 0..QUEUE_ITEMS_MAX {
            assert_eq!(mailbox.try_post(Urgency::Local, Weight::SMALL, number), Ok(()));
        }
        assert_eq!(mailbox.try_post(Urgency::Local, Weight::SMALL, 7), Err(7));
        assert_eq!(mailbox.try_post(Urgency::Control, Weight::SMALL, 8), Ok(()));
        mailbox.close();
        assert!(!mailbox.post(Urgency::Control, Weight::SMALL, 9));
        let mut items = Vec::new();
        while mailbox.take(soon(), usize::MAX, &mut items) {}
        assert_eq!(items.len(), QUEUE_ITEMS_MAX + 1);
    }

    #[test]
    fn bytes_are_bounded_but_one_item_always_fits() {
        let mailbox = Mailbox::default();
        let huge = Weight { changes: 1, bytes: 2 * QUEUE_BYTES_MAX };
        assert_eq!(mailbox.try_post(Urgency::Bulk, huge, 1), Ok(()));
        assert_eq!(mailbox.try_post(Urgency::Bulk, Weight { changes: 1, bytes: 1 }, 2), Err(2));
        let mut items = Vec::new();
        assert!(mailbox.take(soon(), 1, &mut items));
        assert_eq!(mailbox.try_post(Urgency::Bulk, Weight { changes: 1, bytes: 1 }, 2), Ok(()));
    }

    #[test]
    fn senders_wait_for_room() {
        let mailbox = std::sync::Arc::new(Mailbox::default());
        for number in 0..QUEUE_ITEMS_MAX {
            assert!(mailbox.post(Urgency::Bulk, Weight::SMALL, number));
        }
        let sender = {
            let mailbox = mailbox.clone();
            std::thread::spawn(move || mailbox.post(Urgency::Bulk, Weight::SMALL, usize::MAX))
        };
        let mut items = Vec::new();
        while items.len() <= QUEUE_ITEMS_MAX {
            assert!(mailbox.take(soon(), 10, &mut items));
        }
        assert_eq!(items.last(), Some(&usize::MAX));
        assert!(sender.join().expect("the sender ended"));
    }
}
