//! One subscriber's way through the stream.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use vatra_model::schema::words::Tlp;
use vatra_model::{Position, WallMs};
use vatra_store::ReadError;

use crate::cursor::Place;
use crate::event::{EncodedEvent, LocalEvent};
use crate::filter::Filter;
use crate::hub::{Head, Shared};
use crate::ring::Stretch;

/// Events that a subscriber takes from the ring at once.
const TAKE_EVENTS: usize = 64;
/// Positions that a subscriber reads from the store at once.
const READ_POSITIONS: usize = 128;
/// Bytes of events that a subscriber holds, beyond its first.
const HELD_BYTES_MAX: usize = 1024 * 1024;

/// Where a subscription begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest event that the store holds.
    Beginning,
    /// With what comes from now on.
    Now,
    /// After a cursor.
    After(Place),
}

/// What a subscription yields.
#[derive(Clone, Debug)]
pub enum Item {
    /// An event that passes the filter.
    Event(Arc<EncodedEvent>),
    /// A place to come back to: everything up to it was told or did not match. Also the sign of life.
    Checkpoint(EncodedEvent),
    /// The reader was too slow; the last item.
    Lagged(EncodedEvent),
    /// Part of what the reader's cursor promised is no longer held; the stream goes on after it.
    Reset(EncodedEvent),
}

impl Item {
    /// The bytes to send.
    #[must_use]
    pub fn encoded(&self) -> &EncodedEvent {
        match self {
            Item::Event(event) => event,
            Item::Checkpoint(event) | Item::Lagged(event) | Item::Reset(event) => event,
        }
    }
}

/// The stream cannot go on. The reader comes back with its cursor; an operator looks at the store.
#[derive(Debug, Error)]
pub enum StreamError {
    /// The store could not be read.
    #[error("the stream after position {at} cannot be read: {source}")]
    Read {
        /// The last position that was told.
        at: Position,
        /// What the store says.
        source: ReadError,
    },
    /// The source failed on a record, or gave events that do not follow: a fault of this program.
    #[error("the stream after position {at} is broken")]
    Broken {
        /// The last position that was told.
        at: Position,
    },
}

/// A filter with a place in the stream. It takes events only when asked, so a slow reader costs its own place and
/// nobody else's.
pub struct Subscription {
    shared: Arc<Shared>,
    head: watch::Receiver<Head>,
    filter: Filter,
    clearance: Tlp,
    /// Everything up to here was told or did not match.
    at: Position,
    /// Events to tell next; all of them are after `at`.
    held: VecDeque<Arc<EncodedEvent>>,
    /// Nothing else up to here matches, once `held` is told.
    held_to: Position,
    /// When the last item was given; a reader that is not slow asks for the next at once.
    given_at: Option<Instant>,
    checkpoint_at: Instant,
    is_over: bool,
}

impl Subscription {
    pub(crate) fn new(
        shared: Arc<Shared>,
        head: watch::Receiver<Head>,
        at: Position,
        filter: Filter,
        clearance: Tlp,
    ) -> Subscription {
        Subscription {
            shared,
            head,
            filter,
            clearance,
            at,
            held: VecDeque::new(),
            held_to: at,
            given_at: None,
            // The first item is a checkpoint, so that a reader has a cursor before anything happens.
            checkpoint_at: Instant::now(),
            is_over: false,
        }
    }

    /// The next item; waits for it. `None` after the last one, or when the hub was closed.
    ///
    /// # Errors
    /// See [`StreamError`]; the subscription is over then.
    pub async fn next(&mut self) -> Result<Option<Item>, StreamError> {
        if self.was_too_slow() {
            return Ok(Some(self.cut_off()));
        }
        while !self.is_over {
            if let Some(item) = self.ready()? {
                return Ok(Some(item));
            }
            self.advance().await.inspect_err(|_| self.is_over = true)?;
        }
        Ok(None)
    }

    /// The next item if it is there without waiting, for readers that send several at once.
    ///
    /// # Errors
    /// As [`Subscription::next`].
    pub fn try_next(&mut self) -> Result<Option<Item>, StreamError> {
        if self.is_over { Ok(None) } else { self.ready() }
    }

    /// Everything up to here was told or did not match.
    #[must_use]
    pub fn position(&self) -> Position {
        self.at
    }

    /// Whether the reader stayed away too long from something that waits for it.
    fn was_too_slow(&mut self) -> bool {
        let stayed_away = self.given_at.take().is_some_and(|at| at.elapsed() > self.shared.config.lag_after);
        stayed_away && !self.is_over && self.last() > self.at
    }

    fn cut_off(&mut self) -> Item {
        self.is_over = true;
        self.shared.lagged_count.fetch_add(1, Ordering::Relaxed);
        Item::Lagged(self.encode(LocalEvent::Lagged { from: self.at, to: self.last() }))
    }

    /// What can be told at once.
    fn ready(&mut self) -> Result<Option<Item>, StreamError> {
        let now = Instant::now();
        let item = if let Some(event) = self.held.pop_front() {
            self.at = event.position();
            Item::Event(event)
        } else {
            self.at = self.at.max(self.held_to);
            let pruned_to = self.shared.source.pruned_to();
            if self.at < pruned_to {
                let gap = LocalEvent::Reset { from: self.at, to: pruned_to };
                (self.at, self.held_to) = (pruned_to, pruned_to);
                Item::Reset(self.encode(gap))
            } else if now >= self.checkpoint_at {
                Item::Checkpoint(self.encode(LocalEvent::Checkpoint { at: self.at }))
            } else {
                return Ok(None);
            }
        };
        if !matches!(item, Item::Event(_)) {
            self.checkpoint_at = now + self.shared.config.checkpoint_every;
        }
        self.given_at = Some(now);
        Ok(Some(item))
    }

    /// Looks further along the stream, or waits for it to grow or for a checkpoint to be due.
    async fn advance(&mut self) -> Result<(), StreamError> {
        if self.head.borrow_and_update().is_closed {
            self.is_over = true;
            return Ok(());
        }
        let stretch = self.shared.ring().after(self.at, TAKE_EVENTS);
        match stretch {
            Stretch::Events(events, end) => {
                self.hold(events, end);
                Ok(())
            }
            Stretch::TooOld => self.read_store().await,
            Stretch::UpToDate => {
                tokio::select! {
                    changed = self.head.changed() => self.is_over |= changed.is_err(),
                    () = sleep_until(self.checkpoint_at) => {}
                }
                Ok(())
            }
        }
    }

    async fn read_store(&mut self) -> Result<(), StreamError> {
        let at = self.at;
        let shared = Arc::clone(&self.shared);
        // The semaphore is never closed; were it, reading without a turn would only be less fair.
        let turn = self.shared.catch_up.acquire().await.ok();
        let read = tokio::task::spawn_blocking(move || {
            let batch = shared.source.events_after(at, READ_POSITIONS)?;
            let follows = batch.follows(at);
            let store = shared.store;
            let events: Vec<_> = batch.events.iter().map(|event| Arc::new(EncodedEvent::of(event, store))).collect();
            Ok(follows.then_some((events, batch.end)))
        });
        let read = read.await;
        drop(turn);
        match read {
            Ok(Ok(Some((events, end)))) => {
                self.hold(events, end);
                Ok(())
            }
            Ok(Err(source)) => {
                self.shared.read_failed_count.fetch_add(1, Ordering::Relaxed);
                Err(StreamError::Read { at, source })
            }
            Ok(Ok(None)) | Err(_) => Err(StreamError::Broken { at }),
        }
    }

    /// Takes what passes of a stretch up to `end`.
    fn hold(&mut self, events: Vec<Arc<EncodedEvent>>, end: Position) {
        debug_assert!(self.held.is_empty(), "a stretch is taken when the one before is told");
        self.held_to = end;
        let mut bytes = 0;
        for event in events {
            if !self.passes(&event) {
                continue;
            }
            bytes += event.bytes();
            if bytes > HELD_BYTES_MAX && !self.held.is_empty() {
                self.held_to = self.held.back().map_or(self.at, |last| last.position());
                return;
            }
            self.held.push_back(event);
        }
    }

    fn passes(&self, event: &EncodedEvent) -> bool {
        event.summary().is_some_and(|summary| {
            summary.tlp <= self.clearance
                && self.filter.matches_summary(summary)
                && self.filter.matches_view(event.view())
        })
    }

    fn last(&self) -> Position {
        self.head.borrow().position.max(self.held_to)
    }

    fn encode(&self, event: LocalEvent) -> EncodedEvent {
        event.encode(self.shared.store, self.shared.teller, now())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.leave();
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("at", &self.at).field("filter", &self.filter).finish_non_exhaustive()
    }
}

fn now() -> WallMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    WallMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
