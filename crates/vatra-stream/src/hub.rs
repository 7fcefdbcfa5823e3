//! The meeting point of the store's events and the subscribers: admission, the ring, and its feeder.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Notify, Semaphore, watch};
use vatra_model::Position;
use vatra_model::schema::words::Tlp;

use crate::cursor::{CursorError, StoreId};
use crate::event::{EncodedEvent, Origin};
use crate::filter::Filter;
use crate::ring::Ring;
use crate::source::{EventBatch, EventSource};
use crate::subscription::{Start, Subscription};

/// Positions that the feeder reads at once.
const FEED_POSITIONS: usize = 256;
/// A stretch this short is read where the feeder runs; a longer one where blocking is allowed.
const FEED_INLINE_POSITIONS: u64 = 8;
/// Subscribers that may read the store at the same time to catch up.
const CATCH_UP_READERS_MAX: usize = 4;

/// Bounds of a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubConfig {
    /// Most subscribers at a time; one more is refused.
    pub subscribers_max: usize,
    /// A subscriber that does not come for its next item this long, while there is one, is cut off. Too low cuts
    /// off readers on a bad line, too high keeps dead ones.
    pub lag_after: Duration,
    /// How often a subscriber gets a checkpoint at least, whatever its filter passes. Too low wastes bytes on
    /// idle streams, too high lets an idle subscriber's cursor grow old.
    pub checkpoint_every: Duration,
    /// Most events that are kept encoded.
    pub ring_events_max: usize,
    /// Most bytes of events that are kept encoded.
    pub ring_bytes_max: usize,
}

impl Default for HubConfig {
    fn default() -> HubConfig {
        HubConfig {
            subscribers_max: 4096,
            lag_after: Duration::from_secs(30),
            checkpoint_every: Duration::from_secs(5),
            ring_events_max: 4096,
            ring_bytes_max: 8 * 1024 * 1024,
        }
    }
}

/// A subscription was refused. Nothing was opened.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SubscribeError {
    /// There is no room; retry later or at another node.
    #[error("all {max} places for subscribers are taken")]
    Full {
        /// The number of places.
        max: usize,
    },
    /// The place to begin is unusable.
    #[error(transparent)]
    Cursor(#[from] CursorError),
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HubStats {
    /// Subscribers at the moment.
    pub subscribers: usize,
    /// Subscribers that were cut off because they were too slow.
    pub lagged_count: u64,
    /// Subscriptions refused for lack of room.
    pub refused_count: u64,
    /// Reads of the store that failed.
    pub read_failed_count: u64,
}

/// Hands the store's events to subscribers. Clones are the same hub; its subscriptions end with the last of them.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
    _open: Arc<Open>,
}

/// Lives as long as the handles of a hub.
struct Open {
    shared: Arc<Shared>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// How far the ring goes, as subscribers and the feeder watch it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) position: Position,
    pub(crate) is_closed: bool,
}

pub(crate) struct Shared {
    pub(crate) source: Arc<dyn EventSource>,
    pub(crate) store: StoreId,
    pub(crate) teller: Origin,
    pub(crate) config: HubConfig,
    pub(crate) catch_up: Semaphore,
    ring: Mutex<Ring>,
    /// Sent after each append.
    head: watch::Sender<Head>,
    wanted: Notify,
    subscribers: AtomicUsize,
    pub(crate) lagged_count: AtomicU64,
    refused_count: AtomicU64,
    pub(crate) read_failed_count: AtomicU64,
}

impl Hub {
    /// A hub over a source, told by this node. Must be called within a tokio runtime.
    #[must_use]
    pub fn start(source: Arc<dyn EventSource>, teller: Origin, config: HubConfig) -> Hub {
        let durable = source.durable();
        let last = *durable.borrow();
        let shared = Arc::new(Shared {
            store: source.store_id(),
            source,
            teller,
            config,
            catch_up: Semaphore::new(CATCH_UP_READERS_MAX),
            ring: Mutex::new(Ring::new(last, config.ring_events_max, config.ring_bytes_max)),
            head: watch::Sender::new(Head { position: last, is_closed: false }),
            wanted: Notify::new(),
            subscribers: AtomicUsize::new(0),
            lagged_count: AtomicU64::new(0),
            refused_count: AtomicU64::new(0),
            read_failed_count: AtomicU64::new(0),
        });
        tokio::spawn(feed(Arc::clone(&shared), durable));
        Hub { _open: Arc::new(Open { shared: Arc::clone(&shared) }), shared }
    }

    /// Ends all subscriptions; their readers come back with their cursors.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Opens a subscription for a reader with this clearance: records with a stricter label do not pass.
    ///
    /// # Errors
    /// See [`SubscribeError`].
    pub fn subscribe(&self, start: &Start, filter: Filter, clearance: Tlp) -> Result<Subscription, SubscribeError> {
        let last = *self.shared.source.durable().borrow();
        let at = match start {
            Start::Beginning => self.shared.source.pruned_to(),
            Start::Now => last,
            Start::After(place) => place.resolve(self.shared.store, last)?,
        };
        let max = self.shared.config.subscribers_max;
        let taken = self
            .shared
            .subscribers
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| (count < max).then_some(count + 1));
        if taken.is_err() {
            self.shared.refused_count.fetch_add(1, Ordering::Relaxed);
            return Err(SubscribeError::Full { max });
        }
        // From the first subscriber on the feeder has work.
        self.shared.wanted.notify_one();
        Ok(Subscription::new(Arc::clone(&self.shared), self.shared.head.subscribe(), at, filter, clearance))
    }

    /// The store whose positions the cursors are.
    #[must_use]
    pub fn store_id(&self) -> StoreId {
        self.shared.store
    }

    /// The last durable position.
    #[must_use]
    pub fn last_position(&self) -> Position {
        *self.shared.source.durable().borrow()
    }

    /// Counts since the start.
    #[must_use]
    pub fn stats(&self) -> HubStats {
        HubStats {
            subscribers: self.shared.subscribers.load(Ordering::Acquire),
            lagged_count: self.shared.lagged_count.load(Ordering::Relaxed),
            refused_count: self.shared.refused_count.load(Ordering::Relaxed),
            read_failed_count: self.shared.read_failed_count.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    pub(crate) fn ring(&self) -> MutexGuard<'_, Ring> {
        // Whoever panicked with the lock held did so before or after a whole append.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn leave(&self) {
        self.subscribers.fetch_sub(1, Ordering::AcqRel);
    }

    /// Follows the store up to `last`.
    async fn catch_up_to(self: &Arc<Shared>, last: Position) {
        loop {
            let at = {
                let mut ring = self.ring();
                ring.forget_to(self.source.rewritten_to());
                ring.end()
            };
            if at >= last {
                return;
            }
            let missing = last.0 - at.0;
            let window = self.config.ring_events_max.max(FEED_POSITIONS) as u64;
            if missing > window {
                // Whoever is behind reads the store by itself; the window begins where it is useful.
                self.move_to(Position(last.0 - window));
                continue;
            }
            match self.read(at, missing).await {
                Some(batch) => {
                    let encoded: Vec<_> =
                        batch.events.iter().map(|event| EncodedEvent::of(event, self.store)).collect();
                    self.ring().append(encoded, batch.end);
                    self.head.send_modify(|head| head.position = batch.end);
                }
                // Subscribers read by themselves, fail, and come back: nobody waits in silence.
                None => {
                    self.read_failed_count.fetch_add(1, Ordering::Relaxed);
                    return self.move_to(last);
                }
            }
        }
    }

    /// Reads on from a position; `None` when the source fails, panics or does not advance in order.
    async fn read(&self, at: Position, missing: u64) -> Option<EventBatch> {
        let source = Arc::clone(&self.source);
        let read = move || {
            // A panic while one record is projected must not end the feeder for all.
            let batch = catch_unwind(AssertUnwindSafe(|| source.events_after(at, FEED_POSITIONS)));
            batch.ok()?.ok().filter(|batch| batch.follows(at))
        };
        if missing <= FEED_INLINE_POSITIONS { read() } else { tokio::task::spawn_blocking(read).await.ok()? }
    }

    fn move_to(&self, at: Position) {
        self.ring().restart(at);
        self.head.send_modify(|head| head.position = at);
    }

    fn close(&self) {
        self.head.send_modify(|head| head.is_closed = true);
        self.wanted.notify_one();
    }
}

/// Keeps the ring at the end of the store while anybody listens.
async fn feed(shared: Arc<Shared>, mut durable: watch::Receiver<Position>) {
    while !shared.head.borrow().is_closed {
        let last = *durable.borrow_and_update();
        if shared.subscribers.load(Ordering::Acquire) > 0 {
            shared.catch_up_to(last).await;
        }
        tokio::select! {
            changed = durable.changed() => if changed.is_err() { return shared.close() },
            () = shared.wanted.notified() => {}
        }
    }
}
