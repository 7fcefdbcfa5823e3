//! The core through its inputs and effects, without network or disk.

mod liar;
mod support;

mod crowding;
mod flooding;
mod forking;
mod mending;
mod mesh;
mod pair;
mod parting;
mod planning;
mod publishing;
mod resuming;
mod revoking;
mod rooms;
mod seen;
mod spreading;
mod trusting;
mod writing;
