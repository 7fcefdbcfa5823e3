//! Alert and contact records: typed changes applied, projected to views.
//!
//! A record has sections, each one small Automerge document that every replica derives from the typed
//! changes it holds; no Automerge bytes ever come from a peer. The same changes give
//! the same views, byte for byte, in whatever order they come.
//!
//! What is not here: which changes are genuine and whose (vatra-replica), where they are kept (vatra-store),
//! what JSON comes in (vatra-model's `draft`). No clock, disk or network.

mod record;

mod authority;
mod history;
mod saved;

mod graph;
mod section;

mod document;
mod meaning;

mod project;
mod unedited;

pub use authority::RefuseReason;
pub use history::{HistoryField, HistoryItem};
pub use record::{Applied, AuthoredChange, Lack, QuarantineReason, Record};
pub use saved::LoadError;
pub use unedited::view_of_create;
