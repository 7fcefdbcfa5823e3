//! Fuzzing of every decoder that takes bytes from outside, by mutation of a kept corpus.
//!
//! A [`Target`] asserts what must hold for any bytes: no panic, bounds kept, what was decoded survives encoding. The
//! mutator knows the formats: it changes the inside of what is packed or signed and packs and signs it again, so that
//! checks further in are reached. It is blind to coverage; what it lacks in aim it makes up by knowing the formats and
//! by the corpus, which keeps what was found once.

mod mutate;
mod run;
mod seeds;
mod targets;

pub use run::{Outcome, crashes_dir, fuzz, kept, replay};
pub use targets::Target;
