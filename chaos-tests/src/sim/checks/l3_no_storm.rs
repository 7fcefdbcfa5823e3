//! L3: during and after any fault dials, requests and bytes of every node stay within bounds, nobody asks again and
//! again for what a peer does not give, and an urgent alert overtakes a backlog.

use std::collections::{BTreeMap, VecDeque};

use vatra_model::LogId;
use vatra_model::wire::Message;

use crate::sim::world::World;

/// Dials that one node makes in a second at most, in a mesh of few links.
pub const DIALS_MAX: u32 = 40;
/// And for each of its links: all its peers at once after a start, and each again.
pub const DIALS_PER_LINK_MAX: u32 = 2;
/// Frames that one node sends in a second at most, for each of its links.
pub const FRAMES_PER_LINK_MAX: u32 = 2_000;
/// Bytes that one node sends in a second at most.
pub const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Seconds over which requests are counted that were answered with nothing.
pub const FRUITLESS_SECONDS: usize = 5;
/// Such requests of one node to one peer in that time at most. Meshes of honest nodes came to 30 in 500 drawn seeds,
/// right after faults; a loop that only the round trip paces makes hundreds.
pub const FRUITLESS_MAX: u32 = 100;
/// Requests of one node to one peer that are followed at once.
const OPEN_MAX: usize = 1_024;

/// Requests of one node to one peer.
#[derive(Clone, Debug, Default)]
pub struct Asking {
    /// Those that are not answered yet, and whether anything has come for them.
    open: BTreeMap<u32, bool>,
    /// Those that were answered with nothing, in this second.
    fruitless: u32,
    /// And in the seconds before.
    before: VecDeque<u32>,
    /// All of them.
    pub fruitless_total: u64,
    /// The most in [`FRUITLESS_SECONDS`].
    pub fruitless_peak: u32,
}

impl Asking {
    /// A message goes to the peer.
    pub fn sent(&mut self, message: &Message) {
        let request = match message {
            Message::Want(want) => want.request,
            Message::WantStrays { request, .. } => *request,
            _ => return,
        };
        if self.open.len() >= OPEN_MAX {
            self.open.pop_first();
        }
        self.open.insert(request, false);
    }

    /// Entries came from the peer.
    pub fn got(&mut self, request: u32) {
        if let Some(has_come) = self.open.get_mut(&request) {
            *has_come = true;
        }
    }

    /// The peer says that this is all.
    pub fn answered(&mut self, request: u32) {
        if self.open.remove(&request) == Some(false) {
            self.fruitless += 1;
            self.fruitless_total += 1;
        }
    }

    /// Their connection ended: nothing more comes of it.
    pub fn forget(&mut self) {
        self.open.clear();
    }

    /// A second is over: how many were answered with nothing lately.
    fn turn(&mut self) -> u32 {
        self.before.push_back(std::mem::take(&mut self.fruitless));
        if self.before.len() > FRUITLESS_SECONDS {
            self.before.pop_front();
        }
        let lately = self.before.iter().sum();
        self.fruitless_peak = self.fruitless_peak.max(lately);
        if lately > FRUITLESS_MAX {
            // Told once for what was counted.
            self.before.clear();
        }
        lately
    }
}

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
    let honest: Vec<bool> = (0..world.nodes.len()).map(|index| world.is_honest(index)).collect();
    for ((node, peer), asking) in &mut world.watch.asking {
        let lately = asking.turn();
        if lately > FRUITLESS_MAX && honest.get(*node) == Some(&true) {
            found.push(format!(
                "node {node} asked node {peer} for nothing {lately} times in {FRUITLESS_SECONDS} s (L3)"
            ));
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
