//! The replica core: which entries we hold, accept and owe.
//!
//! [`Replica::handle`] takes what happened and the time, and says what to do. There is no clock, disk, socket,
//! thread or randomness in here, so the same code runs in a node and in a simulator. Nothing leaves a node
//! before it is durable: what was accepted is staged, [`Replica::flush`] makes one batch of it, and only
//! [`Input::Persisted`] releases what may be told.

mod replica;

mod input;
mod talk;

mod allowance;
mod answers;
mod batches;
mod beacons;
mod fork;
mod forks;
mod frontiers;
mod held;
mod herald;
mod intake;
mod lag;
mod logs;
mod memory;
mod mending;
mod peers;
mod planner;
mod publish;
mod ranges;
mod relay;
mod spread;
mod stranded;
mod strays;
mod topology;
mod turned_away;
mod urgent;
mod weight;

mod link;
mod pace;
mod revoked;
mod searches;
mod seeded;
mod status;
mod trust;

pub use fork::CheckedFork;
pub use input::{Batch, Effect, Event, Input, NewLife, Now, Reject, RestoredLog};
pub use link::{Heard, Received, Told};
pub use logs::{AheadRow, LogRow};
pub use publish::{FLASH_ENTRY_BYTES_MAX, FLASH_ENTRY_CHANGES_MAX};
pub use replica::{Replica, ReplicaConfig, Restored};
pub use seeded::Seeded;
pub use status::{LinkStatus, LogStatus, MemberLag, NodeStatus, Reach, ReplicaStatus};
pub use stranded::UNASKED;
pub use topology::Cost;
pub use trust::{CheckedBeacon, CheckedLog, Trust};
