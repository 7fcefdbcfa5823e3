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
    has_run: bool,
    restarts: u64,
    tried: u64,
}

impl Recovery {
    /// A node that nothing has befallen yet, whether it runs or is to start later.
    #[must_use]
    pub fn of_new(runs: bool) -> Recovery {
        Recovery { has_run: runs, ..Recovery::default() }
    }

    /// The node starts.
    pub fn start(&mut self, at: u64) {
        let restarts = self.restarts + u64::from(self.has_run);
        *self = Recovery { started_us: at, has_run: true, restarts, tried: self.tried, ..Recovery::default() };
    }

    /// Somebody writes at it.
    pub fn ask(&mut self, at: u64) {
        let is_first = self.first_asked_us.is_none() && !self.is_done;
        self.tried += u64::from(is_first && self.restarts > 0);
        self.first_asked_us.get_or_insert(at);
    }

    /// Starts after the first one.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Times that somebody wrote at the node after such a start.
    #[must_use]
    pub fn tried(&self) -> u64 {
        self.tried
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
