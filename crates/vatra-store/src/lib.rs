//! What is on this disk: durable batches over redb, sled or memory.
//!
//! [`Store`] writes [`Commit`]s, [`Reader`]s see snapshots, [`Fence`] remembers outside the store how far this
//! node numbered its entries, [`fsck`] checks everything. This is the only crate that names the engines. It does
//! not know what an entry or a document contains.

mod commit;
mod damage;
mod directory;
mod durable_file;
pub mod engine;
mod fence;
pub mod fsck;
mod page;
mod reader;
mod rebuild;
mod recent;
mod rows;
mod scrub;
mod snapshot;
mod space;
mod store;
#[cfg(test)]
mod testing;

pub use commit::{COMMIT_BYTES_MAX, COMMIT_CHANGES_MAX, Commit, CommitError, GROUP_CHANGES};
pub use damage::{Damage, DamageKind};
pub use directory::{FORMAT_VERSION, FORMAT_VERSION_MIN, OpenError, StoreLock};
pub use engine::{EngineKind, Health, MemoryDisk, ReadOnlyReason, panics_are_errors};
pub use fence::{FENCE_STEP, Fence, FenceError, FenceMark, FenceState, MemoryFence};
pub use page::{PAGE_DAMAGED_MAX, PAGE_ROWS_MAX, Page, PageLimits};
pub use reader::Reader;
pub use rebuild::REBUILD_RECORDS_MAX;
pub use rows::{EntryRow, IdRow, MetaKey, StrayRow, StreamRow};
pub use scrub::{DAMAGED_ROWS_MAX, Scrubbed};
pub use snapshot::{Counts, ReadError, SmallRows, Snapshot};
pub use space::Space;
pub use store::{CACHE_BYTES_DEFAULT, OpenOptions, RebuildError, Store, StoreHealth};
