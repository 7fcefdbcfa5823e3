//! The simulator: one seed makes one world of real replicas and real records over a simulated network,
//! simulated disks and a virtual clock.
//!
//! What runs in here is the code that runs in a node: `vatra-replica` decides, `vatra-record` makes the views,
//! frames are encoded, packed, signed and checked. Only time, disks, links and people are made up, and all of
//! them come from the seed, so a failure is replayed with `VATRA_SIM_SEED=<seed>`.

pub mod world;

pub mod chance;
pub mod delays;
pub mod disk;
pub mod federation;
pub mod hostile;
pub mod network;
pub mod node;
pub mod places;
pub mod planted;
pub mod records;
pub mod signatures;
pub mod sizes;
pub mod spans;
pub mod workload;

mod lately;
mod readings;

pub mod checks;
pub mod kept;
pub mod tally;
pub mod watch;

pub use federation::Federation;
pub use network::Shape;
pub use signatures::Fidelity;
pub use world::{Setup, Topology, World, seeds};
