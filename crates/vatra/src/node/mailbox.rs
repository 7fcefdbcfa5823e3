//! The driver's mailbox: bounded queues by urgency, in each of which sources take turns, read by one thread.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vatra_model::NodeKey;

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
/// Whose an item is. Sources take turns, so that what one of them sends delays only itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source(NodeKey);

impl Source {
    /// This node's own callers.
    pub(crate) const OURS: Source = Source(NodeKey([0; 32]));

    /// A peer, or the origin of entries.
    pub(crate) fn of(node: NodeKey) -> Source {
        Source(node)
    }
}

/// What an item costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weight {
    /// Changes that it brings; one round takes a bounded number.
    pub(crate) changes: usize,
    /// Bytes that it holds while it waits.
    pub(crate) bytes: usize,
    /// Who has to answer for it.
    pub(crate) source: Source,
}

impl Weight {
    /// Of what brings no changes and holds next to nothing.
    pub(crate) const SMALL: Weight = Weight::small(Source::OURS);

    /// The same of some source.
    pub(crate) const fn small(source: Source) -> Weight {
        Weight { changes: 1, bytes: 0, source }
    }
}

/// Items on their way to one thread. Queues are bounded in items and bytes; one round takes a bounded number of
/// changes.
pub(crate) struct Mailbox<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
    room: Condvar,
}

struct State<T> {
    queues: [Queue<T>; QUEUES],
    is_closed: bool,
}

/// What waits with one urgency.
struct Queue<T> {
    sources: BTreeMap<Source, Waiting<T>>,
    /// Sources of which something waits; the first is next.
    turns: VecDeque<Source>,
    items: usize,
    bytes: usize,
}

struct Waiting<T> {
    items: VecDeque<(Weight, T)>,
    bytes: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue { sources: BTreeMap::new(), turns: VecDeque::new(), items: 0, bytes: 0 }
    }
}

impl<T> Queue<T> {
    fn put(&mut self, weight: Weight, item: T) {
        let waiting = self.sources.entry(weight.source).or_insert_with(|| {
            self.turns.push_back(weight.source);
            Waiting { items: VecDeque::new(), bytes: 0 }
        });
        waiting.items.push_back((weight, item));
        waiting.bytes += weight.bytes;
        self.bytes += weight.bytes;
        self.items += 1;
    }

    fn take(&mut self) -> Option<(Weight, T)> {
        let source = self.turns.pop_front()?;
        let waiting = self.sources.get_mut(&source)?;
        let (weight, item) = waiting.items.pop_front()?;
        waiting.bytes -= weight.bytes;
        if waiting.items.is_empty() {
            self.sources.remove(&source);
        } else {
            self.turns.push_back(source);
        }
        self.bytes -= weight.bytes;
        self.items -= 1;
        Some((weight, item))
    }

    fn is_crowded_by(&self, source: Source) -> bool {
        self.sources.get(&source).is_some_and(|waiting| {
            let free_items = QUEUE_ITEMS_MAX.saturating_sub(self.items);
            waiting.items.len() >= free_items || waiting.bytes >= QUEUE_BYTES_MAX.saturating_sub(self.bytes)
        })
    }
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        let state = State { queues: std::array::from_fn(|_| Queue::default()), is_closed: false };
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
        state.queues[urgency as usize].put(weight, item);
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
        for queue in &mut state.queues {
            while changes < changes_max {
                let Some((weight, item)) = queue.take() else { break };
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
        self.lock().queues.iter().map(|queue| queue.items).sum()
    }

    /// Whether a source has as much waiting as there is still free: what it pushes is then left to catch-up. One alone
    /// gets half of a queue, two get a third each, and there is always room for one more (dynamic thresholds after
    /// Choudhury and Hahne, 1998).
    pub(crate) fn is_crowded_by(&self, urgency: Urgency, source: Source) -> bool {
        self.lock().queues[urgency as usize].is_crowded_by(source)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn has_room(&self, urgency: Urgency, weight: Weight) -> bool {
        let queue = &self.queues[urgency as usize];
        queue.items == 0 || (queue.items < QUEUE_ITEMS_MAX && queue.bytes + weight.bytes <= QUEUE_BYTES_MAX)
    }

    fn is_empty(&self) -> bool {
        self.queues.iter().all(|queue| queue.items == 0)
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
        let huge = Weight { bytes: 2 * QUEUE_BYTES_MAX, ..Weight::SMALL };
        assert_eq!(mailbox.try_post(Urgency::Bulk, huge, 1), Ok(()));
        assert_eq!(mailbox.try_post(Urgency::Bulk, Weight { bytes: 1, ..Weight::SMALL }, 2), Err(2));
        let mut items = Vec::new();
        assert!(mailbox.take(soon(), 1, &mut items));
        assert_eq!(mailbox.try_post(Urgency::Bulk, Weight { bytes: 1, ..Weight::SMALL }, 2), Ok(()));
    }

    #[test]
    fn sources_take_turns() {
        let mailbox = Mailbox::default();
        let [flood, honest, other] = [1, 2, 3].map(|number| Source::of(NodeKey([number; 32])));
        let put = |source, item| assert!(mailbox.post(Urgency::Bulk, Weight { changes: 10, bytes: 1, source }, item));
        for number in 0..100 {
            put(flood, number);
        }
        put(honest, 1_000);
        put(other, 2_000);
        put(honest, 1_001);
        let mut items = Vec::new();
        assert!(mailbox.take(soon(), 60, &mut items));
        assert_eq!(items, [0, 1_000, 2_000, 1, 1_001, 2], "each has its turn before the flood has its second");
        items.clear();
        while mailbox.len() > 0 {
            assert!(mailbox.take(soon(), 60, &mut items));
        }
        assert_eq!(items, (3..100).collect::<Vec<_>>(), "and what one source sends stays in order");
    }

    #[test]
    fn a_source_crowds_only_itself() {
        let mailbox = Mailbox::default();
        let [flood, honest] = [1, 2].map(|number| Source::of(NodeKey([number; 32])));
        let share = Weight { changes: 1, bytes: QUEUE_BYTES_MAX / 2, source: flood };
        assert!(!mailbox.is_crowded_by(Urgency::Bulk, flood));
        assert_eq!(mailbox.try_post(Urgency::Bulk, share, 1), Ok(()));
        assert!(mailbox.is_crowded_by(Urgency::Bulk, flood));
        assert!(!mailbox.is_crowded_by(Urgency::Bulk, honest) && !mailbox.is_crowded_by(Urgency::Urgent, flood));
        let mut count = 0;
        while !mailbox.is_crowded_by(Urgency::Bulk, honest) {
            count += 1;
            assert_eq!(mailbox.try_post(Urgency::Bulk, Weight::small(honest), count), Ok(()));
        }
        assert!((1_000..QUEUE_ITEMS_MAX / 2 + 1).contains(&count), "as many as there is room for after that: {count}");
        let third = Source::of(NodeKey([3; 32]));
        assert!(!mailbox.is_crowded_by(Urgency::Bulk, third), "there is room for one more");
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
