//! L1: a running node with a working disk answers every well-formed write within a second, whatever is cut.

use std::collections::BTreeMap;

use crate::sim::world::World;

/// Time that an answer may take, in microseconds.
pub const ANSWER_US_MAX: u64 = 1_000_000;
/// Answers of which the time is kept.
const TIMES_MAX: usize = 100_000;

/// The writes of one node.
#[derive(Debug, Default)]
pub struct Writes {
    open: BTreeMap<u64, u64>,
    times: Vec<u32>,
}

impl Writes {
    /// A write begins.
    pub fn begin(&mut self, token: u64, at: u64) {
        self.open.insert(token, at);
    }

    /// A write was answered.
    pub fn answer(&mut self, token: u64, at: u64) {
        let Some(begun) = self.open.remove(&token) else { return };
        if self.times.len() < TIMES_MAX {
            self.times.push(u32::try_from(at - begun).unwrap_or(u32::MAX));
        }
    }

    /// What is open is counted from now on only.
    pub fn excuse(&mut self, at: u64) {
        self.open.values_mut().for_each(|begun| *begun = at);
    }

    /// The process ended: nobody waits any more.
    pub fn forget(&mut self) {
        self.open.clear();
    }

    /// The time of which so many in a thousand answers took no more, in microseconds.
    #[must_use]
    pub fn quantile_us(&self, permille: usize) -> Option<u32> {
        let mut times = self.times.clone();
        times.sort_unstable();
        times.get((times.len().checked_sub(1)? * permille) / 1_000).copied()
    }
}

/// Writes that wait for longer than they may.
pub fn check(world: &mut World) -> Vec<String> {
    let now = world.now_us();
    let mut found = Vec::new();
    for (index, node) in world.nodes.iter().enumerate() {
        let writes = &mut world.watch.writes[index];
        if !node.is_running() || now < node.trouble_until_us || node.disk.is_full {
            writes.excuse(now);
            continue;
        }
        let late = writes.open.iter().find(|(_, begun)| now - **begun > ANSWER_US_MAX);
        if let Some((token, begun)) = late.map(|(token, begun)| (*token, *begun)) {
            found.push(format!("node {index} has not answered write {token} for {} ms (L1)", (now - begun) / 1_000));
            writes.open.remove(&token);
        }
    }
    found
}

impl World {
    /// A write was refused: that is an answer only where a node cannot or may not write.
    pub(crate) fn refused(&mut self, index: usize, token: u64) {
        let now = self.now_us();
        self.watch.answered(index, token, now);
        let node = &self.nodes[index];
        let in_trouble = node.disk.is_full || now < node.trouble_until_us;
        if self.may_write(index) && !in_trouble && self.is_honest(index) {
            self.violation(format!("node {index} refused a write though nothing is wrong with it (L1)"));
        }
    }

    /// Whether a node runs that is of a full member, as far as it knows itself.
    pub(crate) fn may_write(&self, index: usize) -> bool {
        let node = &self.nodes[index];
        node.replica.as_ref().is_some_and(|replica| {
            let member = replica.trust().charter().current().member(node.site.member);
            replica.trust().node(&node.key()).is_some()
                && member.is_some_and(|member| member.role == vatra_model::charter::MemberRole::Member)
        })
    }
}
