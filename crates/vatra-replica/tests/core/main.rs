//! The core through its inputs and effects, without network or disk.

mod support;

mod forking;
mod mesh;
mod planning;
mod publishing;
mod seen;
mod trusting;
mod writing;
