//! Scenarios: files that say which mesh, which faults and which promises, and what runs them.
//!
//! `format` reads and writes files and knows no backend; `simulated` runs them in the simulator; `command` is the
//! command line. `docs/simulator.md` is the manual.

pub mod format;
pub mod library;

pub mod plan;
pub mod swarm;

pub mod simulated;

pub mod batch;
pub mod shrink;

pub mod explain;
pub mod report;
pub mod verdict;

pub mod command;

mod panics;
