//! R3: queues of links and unanswered requests stay within their bounds.

use vatra_model::limits::FRAME_BYTES_MAX;

use crate::sim::network::{LANE_BYTES_MAX, LANE_FRAMES_MAX, LANES};
use crate::sim::world::World;

/// Portions of answers that wait for one peer at most.
pub const PORTIONS_MAX: usize = 20_000;

/// Queues that hold more than they may.
pub fn check(world: &mut World) -> Vec<String> {
    let mut found = Vec::new();
    for (a, b) in world.links.pairs() {
        let Some(link) = world.links.get(a, b) else { continue };
        for (pipe, from, to) in [(&link.pipes[0], a, b), (&link.pipes[1], b, a)] {
            let (frames, bytes) = pipe.waiting();
            world.watch.queued_max = world.watch.queued_max.max(frames);
            let over = (0..LANES).any(|lane| pipe.queued(lane) > LANE_FRAMES_MAX);
            if over || bytes > LANES * (LANE_BYTES_MAX + FRAME_BYTES_MAX) {
                found.push(format!("{frames} frames of {bytes} bytes wait from node {from} to node {to} (R3)"));
            }
        }
    }
    for (index, node) in world.nodes.iter().enumerate() {
        let waiting: usize = node.serving.values().map(std::collections::VecDeque::len).sum();
        if waiting > PORTIONS_MAX {
            found.push(format!("node {index} has {waiting} portions of answers waiting (R3)"));
        }
    }
    found
}
