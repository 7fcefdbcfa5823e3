//! What disks hold, as the checks of views and of agreement compare it.

use std::collections::BTreeSet;

use vatra_model::{EntryHash, LogId};

use crate::sim::disk::Image;
use crate::sim::node::Node;
use crate::sim::world::World;

/// All entries, and where logs are known to be forked.
pub(super) type Held = (BTreeSet<(LogId, u64, EntryHash)>, Vec<(LogId, u64)>);

/// What a disk holds.
pub(super) fn held(image: &Image) -> Held {
    (image.held(), image.forked().collect())
}

/// Honest nodes that run, by index.
pub(super) fn running(world: &World) -> impl Iterator<Item = (usize, &Node)> {
    world.nodes.iter().enumerate().filter(|(index, node)| node.replica.is_some() && world.is_honest(*index))
}
