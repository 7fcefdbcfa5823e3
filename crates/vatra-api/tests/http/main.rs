//! The API over real sockets, with a node in memory behind it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod bulk;
mod bundles;
mod client;
mod lists;
mod memory;
mod over_memory;
mod refusals;
mod roles;
mod server;
mod streams;
