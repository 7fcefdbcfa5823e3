//! Invariants, one in each file. They are checked while a world runs or whenever it is looked at.

pub mod told;

pub mod acknowledged;
pub mod agreement;
pub mod authentic;
pub mod causal;
pub mod clocks;

use crate::sim::world::World;

/// Everything that must hold at any time.
#[must_use]
pub fn all(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(acknowledged::check(world));
    found.extend(agreement::check(world));
    found.extend(authentic::check(world));
    found.extend(causal::check(world));
    found.extend(clocks::check(world));
    found
}
