//! S7: a change takes effect only after what it rests on.

use crate::sim::world::World;

/// No view shows an edit without the changes that the edit rests on.
#[must_use]
pub fn check(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for (index, node) in world.nodes.iter().enumerate() {
        for change in node.views.premature() {
            found.push(format!("node {index} shows {change} before what it rests on (S7)"));
        }
    }
    found
}
