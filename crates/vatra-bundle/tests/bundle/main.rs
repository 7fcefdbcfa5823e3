//! Bundles written, carried, damaged and read.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod damage;
mod golden;
mod hostile;
mod receipts;
mod roundtrip;
mod support;
