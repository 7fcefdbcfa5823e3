//! S2: equal entries make equal views.

use std::collections::BTreeMap;

use crate::sim::checks::held::{Held, held, running};
use crate::sim::world::World;

/// Nodes that hold the same entries show the same.
#[must_use]
pub fn check(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    if !world.setup.views {
        return found;
    }
    let mut digests: BTreeMap<Held, (usize, [u8; 32])> = BTreeMap::new();
    for (index, node) in running(world) {
        let held = held(node.disk.durable());
        let digest = node.views.digest().0;
        match digests.get(&held) {
            Some((other, theirs)) if *theirs != digest => {
                found.push(format!("nodes {other} and {index} hold the same and show different views (S2)"));
            }
            Some(_) => {}
            None => drop(digests.insert(held, (index, digest))),
        }
    }
    found
}
