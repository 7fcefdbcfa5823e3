//! L3: during and after any fault dials, requests and bytes of every node stay within bounds, and an urgent alert
//! overtakes a backlog.

use vatra_model::LogId;

use crate::sim::world::World;

/// Dials that one node makes in a second at most, in a mesh of few links.
pub const DIALS_MAX: u32 = 40;
/// And for each of its links: all its peers at once after a start, and each again.
pub const DIALS_PER_LINK_MAX: u32 = 2;
/// Frames that one node sends in a second at most, for each of its links.
pub const FRAMES_PER_LINK_MAX: u32 = 2_000;
/// Bytes that one node sends in a second at most.
pub const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What one node did in the present second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Dials.
    pub dials: u32,
    /// Frames.
    pub frames: u32,
    /// Bytes of frames.
    pub bytes: u64,
}

/// The last second of every honest node.
pub fn check(world: &mut World) -> Vec<String> {
    let mut found = Vec::new();
    for index in 0..world.nodes.len() {
        let load = std::mem::take(&mut world.watch.storm[index]);
        if !world.is_honest(index) {
            continue;
        }
        let links = u32::try_from(world.peers_of(index).len()).unwrap_or(u32::MAX).max(1);
        if load.dials > DIALS_MAX.max(links.saturating_mul(DIALS_PER_LINK_MAX)) {
            found.push(format!("node {index} dialled {} times in a second (L3)", load.dials));
        }
        if load.frames > links.saturating_mul(FRAMES_PER_LINK_MAX) {
            found.push(format!("node {index} sent {} frames over {links} links in a second (L3)", load.frames));
        }
        if load.bytes > BYTES_MAX {
            found.push(format!("node {index} sent {} bytes in a second (L3)", load.bytes));
        }
    }
    found
}

/// Nodes that do not hold an urgent entry so many milliseconds after it was acknowledged.
#[must_use]
pub fn without_urgent(world: &World, nodes: &[usize], log: LogId, seq: u64, ms: u64) -> Vec<String> {
    let lacks = |node: &&usize| world.nodes[**node].disk.durable().hash(log, seq).is_none();
    let late = |node| format!("node {node} does not hold the urgent entry {seq} of {log} after {ms} ms (L3)");
    nodes.iter().filter(lacks).map(late).collect()
}
