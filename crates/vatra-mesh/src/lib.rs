//! The border: authenticated links between nodes.
//!
//! The mesh moves opaque frames between allowed node keys over QUIC and keeps the links alive: it dials, chooses
//! one connection per peer, notices silence, dials again. It knows nothing of entries, charters or members; who
//! is allowed and where peers live is told by the caller. This is the only crate that names libp2p.

mod handle;
mod swarm;

mod config;
mod events;
mod identity;

mod link;

mod choice;
mod dialer;
mod heartbeat;

mod counters;
mod frame;
mod lane;
mod protocol;

pub use config::{LinkProfile, MeshConfig, MeshLimits, ParseProfileError, PeerAddress};
pub use counters::{LaneCounters, MeshTotals};
pub use events::{DownReason, Frame, Frames, LinkEvent, LinkEvents, LinkId, MeshEvent, MeshEvents, RefusedReason};
pub use handle::{Affected, Mesh};
pub use identity::Identity;
pub use lane::Lane;
pub use link::{LinkInfo, Queued, SendError};
pub use swarm::{StartError, start};
