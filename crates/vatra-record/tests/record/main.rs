//! What records must do, seen from outside the crate.

mod support;

mod authority;
mod boundary;
mod golden;
mod hostile;
mod joins;
mod order;
mod unedited;
