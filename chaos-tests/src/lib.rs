//! The process lab with its demo and benchmarks: real nodes, real links, real disks.
//!
//! What runs here knows a node as an operator does: through the `vatra` binary and its HTTP API.

pub mod lab;

pub mod corpus;

pub mod bench;
pub mod demo;

pub mod fuzz;
pub mod sim;

pub mod scenario;

/// Simulations make and drop many small things, for which this one is faster. Nodes of the lab are processes of their
/// own and keep theirs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
