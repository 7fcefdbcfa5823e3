//! The running node: everything wired together.
//!
//! Threads: the driver (decides and writes), two that check what comes in, one that pushes, one that answers
//! requests from the store, one that looks through it for damage, and the runtime of mesh and API. Each hands on by a bounded queue.

mod boot;
mod bundles;
mod clock;
mod copies;
mod drill;
mod driver;
mod egress;
mod fsck;
mod guard;
mod ingest;
mod intake;
mod lifecycle;
mod links;
mod listing;
mod lives;
mod local;
mod logging;
mod mailbox;
mod mesh_metrics;
mod metrics;
mod missed;
mod origins;
mod packing;
mod pending;
mod projector;
mod quarantine;
mod recent;
mod revoked;
mod run;
mod scrub;
mod service;
mod source;
mod stopped;
mod strays;
mod turns;
mod views;
mod wants;

#[cfg(test)]
mod tests;

pub(crate) use clock::wall;
pub(crate) use copies::{back_up, put_back, take_along};
pub(crate) use fsck::fsck;
pub(crate) use lives::{REVEALED, shown};
pub(crate) use logging::LogFormat;
pub(crate) use run::run;
pub(crate) use stopped::{StoppedStore, has_lost_store, look, not_admitted};
