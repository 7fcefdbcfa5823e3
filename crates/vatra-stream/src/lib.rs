//! Who on this site gets told, and how far they got.
//!
//! A subscription is a [`Filter`] with a place in this store. It has no queue of its own: the store is the
//! queue, and [`Hub`] keeps the newest events encoded once for all subscribers. What HTTP makes of an event is
//! `vatra-api`'s business; how a record becomes a view is known to the [`EventSource`] alone.

mod cursor;
mod event;
mod filter;
mod hub;
mod ring;
mod source;
mod subscription;

pub use cursor::{CURSOR_BYTES_MAX, Cursor, CursorError, Place, StoreId};
pub use event::{EncodedEvent, EventType, LocalEvent, Origin, StoredEvent};
pub use filter::{FILTER_CONDITIONS_MAX, FILTER_KEYS, FILTER_VALUE_BYTES_MAX, Filter, FilterError};
pub use hub::{Hub, HubConfig, HubStats, SubscribeError};
pub use source::{EventBatch, EventSource};
pub use subscription::{Item, Start, StreamError, Subscription};
