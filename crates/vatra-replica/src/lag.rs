//! What this node believes to be missing here: heights that carry a signature of the log's own node, or are told by a
//! peer that gives what it tells of.
//!
//! A height of somebody else's log is a bare word. It is taken at once, as there may be nobody else left to tell, and
//! counts no more once the peer was asked and gave nothing, however often it is said again, until it gives an entry.

use std::collections::BTreeMap;

use vatra_model::{LogId, NodeKey};

use crate::input::{Effect, Event, Now};
use crate::logs::LogState;
use crate::planner::held_height;
use crate::replica::Replica;

impl Replica {
    /// The height of a log that is believed to exist.
    pub(crate) fn believed(&self, log: &LogId) -> u64 {
        let vouched = self.peers.values().map(|peer| peer.vouched(log)).max().unwrap_or(0);
        let state = self.logs.get(log);
        let told = state.map_or(0, |state| self.told_by_origin(log, state));
        vouched.max(told).min(state.map_or(u64::MAX, LogState::end))
    }

    /// The same of all logs that are held.
    pub(crate) fn believed_heights(&self) -> BTreeMap<LogId, u64> {
        let told = |(log, state): (&LogId, &LogState)| (*log, self.told_by_origin(log, state));
        let mut heights: BTreeMap<LogId, u64> = self.logs.iter().map(told).collect();
        for peer in self.peers.values() {
            for (log, _) in peer.known_logs() {
                if let Some(height) = heights.get_mut(log) {
                    *height = peer.vouched(log).max(*height);
                }
            }
        }
        heights
    }

    /// What the node that writes a log signed of its height.
    fn told_by_origin(&self, log: &LogId, state: &LogState) -> u64 {
        self.beacons.get(&state.origin()).and_then(|heard| heard.heights.get(log)).copied().unwrap_or(0)
    }

    /// A height of a log was told.
    pub(crate) fn note_behind(&mut self, now: Now, log: LogId) {
        if self.believed(&log) > held_height(self.logs.get(&log)) {
            self.behind_since.entry(log).or_insert(now.mono);
        }
    }

    /// Heights that a node which is no peer told of its own logs.
    pub(crate) fn note_origin_ahead(&mut self, now: Now, node: &NodeKey, heights: &[(LogId, u64)]) {
        for (log, height) in heights {
            if self.logs.get(log).is_some_and(|state| state.origin() == *node && state.accepted_height() < *height) {
                self.note_behind(now, *log);
            }
        }
    }

    /// Less of a log may be believed to exist than before.
    pub(crate) fn forget_behind(&mut self, log: &LogId) {
        if self.behind_since.contains_key(log) && self.believed(log) <= held_height(self.logs.get(log)) {
            self.behind_since.remove(log);
        }
    }

    /// More of a log is durable.
    pub(crate) fn note_progress(&mut self, log: LogId, height: u64, effects: &mut Vec<Effect>) {
        if self.behind_since.contains_key(&log) && height >= self.believed(&log) {
            self.behind_since.remove(&log);
            effects.push(Effect::Event(Event::CaughtUp { log, height }));
        }
    }
}
