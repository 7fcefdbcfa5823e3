//! Entries beyond a gap that no linked peer can fill: the disk that held what is missing was lost or put back.
//!
//! Heights tell nothing of such entries, so nobody would ask for them. They are given to every peer unasked,
//! once on each link, and apply there alone; what is still missing may come later all the same.

use vatra_model::wire::{Want, WantClasses};
use vatra_model::{CheckedEntry, LogId, NodeKey};

use crate::input::{Effect, Now};
use crate::peers::BUDGET_MAX;
use crate::replica::Replica;

/// Number of the request that an unasked answer names; real requests begin at 1.
const UNASKED: u32 = 0;
/// Logs of which entries are given in one round.
const LOGS_PER_ROUND: usize = 16;

/// Time after which given entries are given onward, in milliseconds: they are durable by then.
const ONWARD_MS: u64 = 500;

impl Replica {
    /// A peer gave entries unasked: they are given onward soon.
    pub(crate) fn take_stranded(&mut self, now: Now, request: Option<u32>, entries: &[CheckedEntry]) {
        if request == Some(UNASKED) {
            self.stuck.extend(entries.iter().map(|entry| entry.header().log));
            self.timers.backstop = self.timers.backstop.min(now.mono.plus(ONWARD_MS));
        }
    }

    /// Gives stranded entries to peers that were not given them. Called now and then.
    pub(crate) fn give_stranded(&mut self, effects: &mut Vec<Effect>) {
        let stuck: Vec<LogId> = self
            .logs
            .iter()
            .filter(|(log, state)| state.ahead_count() > 0 && self.target(log) <= state.accepted().height)
            .map(|(log, _)| *log)
            .collect();
        // Only what was stuck the last time too: a push or an announcement may just be on its way.
        let lasting = stuck.iter().filter(|log| self.stuck.contains(*log)).take(LOGS_PER_ROUND);
        for log in lasting.copied().collect::<Vec<_>>() {
            let Some((from, to, count)) = self.logs.get(&log).and_then(crate::logs::LogState::durably_ahead) else {
                continue;
            };
            let peers = self.peers.iter_mut().filter(|(_, peer)| peer.greeted);
            let lacking: Vec<NodeKey> = peers
                .filter_map(|(key, peer)| (peer.given.insert(log, count) != Some(count)).then_some(*key))
                .collect();
            let want = Want { request: UNASKED, log, from, to, classes: WantClasses::All, budget: BUDGET_MAX };
            effects.extend(lacking.into_iter().map(|peer| Effect::Serve { peer, want }));
        }
        self.stuck = stuck.into_iter().collect();
    }
}
