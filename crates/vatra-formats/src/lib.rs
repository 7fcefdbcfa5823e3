//! Standard formats mapped to and from alerts: KEV, MISP, STIX 2.1, CloudEvents.
//!
//! Pure mapping: bytes in, drafts and envelopes out. No clock, disk, socket, thread or randomness, and no
//! knowledge of nodes, logs or stores.

pub mod import;

pub mod cloudevents;

pub use import::{Format, ImportDefaults, ImportProblem, Imported, Importer, Place, detect, import};
