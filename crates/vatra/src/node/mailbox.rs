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

/// Items on their way to the driver. Every item has a weight; one round takes a bounded weight.
pub(crate) struct Mailbox<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
    room: Condvar,
}

struct State<T> {
    queues: [VecDeque<(usize, T)>; QUEUES],
    is_closed: bool,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        let state = State { queues: std::array::from_fn(|_| VecDeque::new()), is_closed: false };
        Mailbox { state: Mutex::new(state), arrived: Condvar::new(), room: Condvar::new() }
    }
}

impl<T> Mailbox<T> {
    /// Puts an item in, waiting for room; `false` once the mailbox is closed. Not for async code.
    pub(crate) fn post(&self, urgency: Urgency, weight: usize, item: T) -> bool {
        let mut state = self.lock();
        while state.queues[urgency as usize].len() >= QUEUE_ITEMS_MAX && !state.is_closed {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.put(state, urgency, weight, item)
    }

    /// Puts an item in if there is room, else gives it back.
    pub(crate) fn try_post(&self, urgency: Urgency, weight: usize, item: T) -> Result<(), T> {
        let state = self.lock();
        if state.is_closed || state.queues[urgency as usize].len() >= QUEUE_ITEMS_MAX {
            return Err(item);
        }
        self.put(state, urgency, weight, item);
        Ok(())
    }

    fn put(&self, mut state: MutexGuard<'_, State<T>>, urgency: Urgency, weight: usize, item: T) -> bool {
        if state.is_closed {
            return false;
        }
        state.queues[urgency as usize].push_back((weight, item));
        drop(state);
        self.arrived.notify_one();
        true
    }

    /// Takes items, most urgent first, up to a weight (at least one item), waiting until `deadline` for the
    /// first. Appends them to `items`; `false` once the mailbox is closed and empty.
    pub(crate) fn take(&self, deadline: Instant, weight_max: usize, items: &mut Vec<T>) -> bool {
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
        let mut weight = 0;
        for queue in &mut state.queues {
            while weight < weight_max {
                let Some((item_weight, item)) = queue.pop_front() else { break };
                weight += item_weight.max(1);
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
            assert!(mailbox.post(Urgency::Bulk, 1, number));
        }
        assert!(mailbox.post(Urgency::Urgent, 1, 100));
        let mut items = Vec::new();
        assert!(mailbox.take(soon(), 2, &mut items));
        assert_eq!(items, [100, 0]);
    }

    #[test]
    fn a_full_queue_refuses_and_a_closed_one_drains() {
        let mailbox = Mailbox::default();
        for number in 0..QUEUE_ITEMS_MAX {
            assert_eq!(mailbox.try_post(Urgency::Local, 1, number), Ok(()));
        }
        assert_eq!(mailbox.try_post(Urgency::Local, 1, 7), Err(7));
        assert_eq!(mailbox.try_post(Urgency::Control, 1, 8), Ok(()));
        mailbox.close();
        assert!(!mailbox.post(Urgency::Control, 1, 9));
        let mut items = Vec::new();
        while mailbox.take(soon(), usize::MAX, &mut items) {}
        assert_eq!(items.len(), QUEUE_ITEMS_MAX + 1);
    }

    #[test]
    fn senders_wait_for_room() {
        let mailbox = std::sync::Arc::new(Mailbox::default());
        for number in 0..QUEUE_ITEMS_MAX {
            assert!(mailbox.post(Urgency::Bulk, 1, number));
        }
        let sender = {
            let mailbox = mailbox.clone();
            std::thread::spawn(move || mailbox.post(Urgency::Bulk, 1, usize::MAX))
        };
        let mut items = Vec::new();
        while items.len() <= QUEUE_ITEMS_MAX {
            assert!(mailbox.take(soon(), 10, &mut items));
        }
        assert_eq!(items.last(), Some(&usize::MAX));
        assert!(sender.join().expect("the sender ended"));
    }
}
