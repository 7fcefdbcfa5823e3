//! R1: what a core holds in memory stays within its bound, whoever floods it.

use crate::sim::world::World;

/// Bytes that one core holds at most, of the 256 MiB that a node may use.
pub const CORE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Cores that hold too much.
pub fn check(world: &mut World) -> Vec<String> {
    let mut found = Vec::new();
    for (index, node) in world.nodes.iter().enumerate() {
        let held = node.replica.as_ref().map_or(0, vatra_replica::Replica::held_bytes);
        world.watch.core_bytes_max = world.watch.core_bytes_max.max(held);
        if held > CORE_BYTES_MAX {
            found.push(format!("the core of node {index} holds {held} bytes (R1)"));
        }
    }
    found
}
