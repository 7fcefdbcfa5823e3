//! Bundles written, carried, damaged and read.

mod damage;
mod golden;
mod hostile;
mod receipts;
mod roundtrip;
mod support;
