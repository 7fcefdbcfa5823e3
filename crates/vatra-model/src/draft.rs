//! What people and programs send in: JSON read strictly, checked with errors that name the field, turned into ops.
//!
//! A draft makes a record, a patch edits one, a response draft edits this member's answer. Nothing here knows
//! of nodes, logs or clocks; what they need is an argument.

mod alert;
mod alert_patch;
mod contact;
mod json;
mod ops;
mod patched;
mod response;

pub use crate::schema::check::DraftError;
pub use alert::AlertDraft;
pub use alert_patch::AlertPatch;
pub use contact::{ContactDraft, ContactPatch};
pub use patched::{Patched, SetPatch};
pub use response::{AcknowledgementDraft, ResponseDraft};

#[cfg(test)]
mod tests;
