//! L4: a node that starts after a fault takes writes again within seconds, without an operator.

use crate::sim::world::World;

/// Time from a start, and from the first write after it, to the first acknowledgement, in microseconds.
pub const WRITE_US_MAX: u64 = 5_000_000;

/// What a node did since its last start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recovery {
    started_us: u64,
    first_asked_us: Option<u64>,
    is_done: bool,
}

impl Recovery {
    /// The node starts.
    pub fn start(&mut self, at: u64) {
        *self = Recovery { started_us: at, first_asked_us: None, is_done: false };
    }

    /// Somebody writes at it.
    pub fn ask(&mut self, at: u64) {
        self.first_asked_us.get_or_insert(at);
    }

    /// It acknowledged a write.
    pub fn acknowledge(&mut self) {
        self.is_done = true;
    }
}

/// Nodes that were asked to write after their last start, and have not for too long.
pub fn check(world: &mut World) -> Vec<String> {
    let now = world.now_us();
    let mut found = Vec::new();
    for index in 0..world.nodes.len() {
        let node = &world.nodes[index];
        let is_able = node.is_running() && now >= node.trouble_until_us && !node.disk.is_full;
        let is_excused = !is_able || !world.is_honest(index) || !world.may_write(index);
        let recovery = &mut world.watch.recoveries[index];
        let Some(asked) = recovery.first_asked_us.filter(|_| !recovery.is_done) else { continue };
        if is_excused {
            // Its time begins anew with the next write after that.
            recovery.first_asked_us = None;
            continue;
        }
        if now - asked.max(recovery.started_us) > WRITE_US_MAX {
            found.push(format!(
                "node {index} takes no writes {} ms after its start (L4)",
                (now - recovery.started_us) / 1_000
            ));
            recovery.is_done = true;
        }
    }
    found
}
