//! Catch-up: which missing range is asked of which peer, and what is owed to peers that ask.
//!
//! A missing range is asked of exactly one peer at a time; another gets it only when the first stops making
//! progress or says it is done. Urgent entries are asked for first, then the newest.

use vatra_model::limits::AHEAD_ENTRIES_MAX;
use vatra_model::wire::{Message, Want};
use vatra_model::{LogId, MonoMs, NodeKey};

use crate::input::{Effect, Now, Reject};
use crate::logs::LogState;
use crate::peers::{Asked, BUDGET_MAX, BUDGET_MIN};
use crate::replica::Replica;

/// Entries that one request asks for at most.
const WANT_ENTRIES_MAX: u64 = 4096;
/// Requests under way per peer.
const WANTS_PER_PEER: usize = 3;
/// Requests given out by one planning, over all peers.
const WANTS_PER_PLAN: usize = 64;
/// Missing entries of a log above which urgent ones are asked for first.
const URGENT_PASS_MIN: u64 = 32;
/// Gaps of one log that a planning looks at.
const GAPS_MAX: usize = 16;

/// Heights announced and given time to come by push before they are pulled.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ripening {
    /// Entries below this may be pulled.
    ripe: u64,
    /// A height that becomes ripe at a time.
    soon: Option<(u64, MonoMs)>,
}

impl Replica {
    /// Entries below `height` were announced; those that have not come by `due` are pulled.
    pub(crate) fn expect(&mut self, log: LogId, height: u64, due: MonoMs) {
        let ripening = self.ripening.entry(log).or_default();
        if height > ripening.ripe && ripening.soon.is_none() {
            ripening.soon = Some((height, due));
        }
    }

    /// Everything that peers are known to hold of a log may be pulled now.
    pub(crate) fn ripen(&mut self, log: LogId) {
        let target = self.target(&log);
        let ripening = self.ripening.entry(log).or_default();
        ripening.ripe = ripening.ripe.max(target);
        ripening.soon = None;
    }

    /// Lets announcements ripen whose time has come.
    pub(crate) fn ripen_due(&mut self, now: Now) {
        let mut again = Vec::new();
        for (log, ripening) in &mut self.ripening {
            if let Some((height, due)) = ripening.soon
                && due <= now.mono
            {
                ripening.ripe = ripening.ripe.max(height);
                ripening.soon = None;
                self.plan_stale = true;
                again.push(*log);
            }
        }
        for log in again {
            let target = self.target(&log);
            let wait = self.peers.values().map(crate::peers::Peer::push_wait_ms).max().unwrap_or(0);
            if target > self.ripening[&log].ripe {
                self.expect(log, target, now.mono.plus(wait));
            }
        }
    }

    /// When the next announcement ripens.
    pub(crate) fn next_ripe(&self) -> Option<MonoMs> {
        self.ripening.values().filter_map(|ripening| ripening.soon.map(|(_, due)| due)).min()
    }

    /// The greatest height of a log that any linked peer is known to hold.
    pub(crate) fn target(&self, log: &LogId) -> u64 {
        self.peers.values().map(|peer| peer.known(log)).max().unwrap_or(0)
    }

    /// Drops requests without progress, then asks for what is missing and free.
    pub(crate) fn plan(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.plan_stale = false;
        if !self.writable {
            return;
        }
        for peer in self.peers.values_mut() {
            let patience = peer.patience_ms();
            let before = peer.wants.len();
            peer.wants.retain(|_, asked| now.mono.since(asked.progress) < patience);
            if peer.wants.len() < before {
                peer.budget = (peer.budget / 2).max(BUDGET_MIN);
            }
        }
        let mut logs: Vec<LogId> = self.ripening.keys().copied().collect();
        let held = |log: &LogId| self.logs.get(log).map_or(0, |state| state.accepted().height);
        logs.retain(|log| self.ripening[log].ripe > held(log));
        let mut left = WANTS_PER_PLAN;
        for urgent in [true, false] {
            for log in &logs {
                while left > 0 && self.ask_for(now, *log, urgent, effects) {
                    left -= 1;
                }
            }
        }
        let done: Vec<LogId> = self
            .ripening
            .iter()
            .filter(|(log, ripening)| ripening.soon.is_none() && ripening.ripe <= held_height(self.logs.get(log)))
            .map(|(log, _)| *log)
            .collect();
        for log in done {
            self.ripening.remove(&log);
        }
    }

    /// Asks one peer for one range of a log; `false` when nothing of it is both missing and free.
    fn ask_for(&mut self, now: Now, log: LogId, urgent: bool, effects: &mut Vec<Effect>) -> bool {
        let ripe = self.ripening[&log].ripe.min(self.target(&log));
        let range = if urgent { self.urgent_range(&log, ripe) } else { self.free_range(&log, ripe) };
        let Some((from, to)) = range else { return false };
        let free =
            |peer: &crate::peers::Peer| peer.greeted && peer.wants.len() < WANTS_PER_PEER && peer.known(&log) > from;
        let asked_urgent =
            |peer: &crate::peers::Peer| urgent && peer.urgent_asked.get(&log).is_some_and(|asked| *asked >= to);
        let best = self
            .peers
            .iter()
            .filter(|(_, peer)| free(peer) && !asked_urgent(peer))
            .min_by_key(|(key, peer)| (peer.cost, peer.wants.len(), peer.rtt_ms, **key));
        let Some((&key, _)) = best else { return false };
        let peer = self.peers.get_mut(&key).expect("found above");
        let to = to.min(peer.known(&log));
        let request = peer.next_request;
        peer.next_request = peer.next_request.wrapping_add(1).max(1);
        let want = Want { request, log, from, to, urgent_only: urgent, budget: peer.budget };
        peer.wants.insert(request, Asked { want, asked: now.mono, progress: now.mono, received: 0 });
        if urgent {
            for other in self.peers.values_mut() {
                other.urgent_asked.insert(log, to);
            }
        }
        effects.push(Effect::Send { peer: key, message: Message::Want(want) });
        true
    }

    /// The whole gap, if it is large and no peer was asked for its urgent entries yet.
    fn urgent_range(&self, log: &LogId, ripe: u64) -> Option<(u64, u64)> {
        let from = held_height(self.logs.get(log));
        let asked = self.peers.values().filter_map(|peer| peer.urgent_asked.get(log)).max().copied().unwrap_or(0);
        let from = from.max(asked);
        (ripe > from && ripe - from >= URGENT_PASS_MIN).then_some((from, ripe))
    }

    /// The newest missing range that is not being asked for; the oldest while much is held beyond the gap.
    fn free_range(&self, log: &LogId, ripe: u64) -> Option<(u64, u64)> {
        let state = self.logs.get(log);
        let crowded = state.is_some_and(|state| state.ahead_count() >= AHEAD_ENTRIES_MAX / 2);
        let mut gaps = match state {
            None => vec![(0, ripe)],
            Some(state) if crowded => state.missing(ripe, GAPS_MAX),
            Some(state) => state.missing_newest_first(ripe, GAPS_MAX),
        };
        let wants = self.peers.values().flat_map(|peer| peer.wants.values());
        for asked in wants.filter(|asked| asked.want.log == *log && !asked.want.urgent_only) {
            gaps = gaps.into_iter().flat_map(|gap| subtract(gap, (asked.want.from, asked.want.to))).collect();
        }
        if crowded {
            let (from, to) = gaps.into_iter().filter(|(from, to)| from < to).min()?;
            return Some((from, to.min(from + WANT_ENTRIES_MAX)));
        }
        let (from, to) = gaps.into_iter().filter(|(from, to)| from < to).max()?;
        Some((from.max(to.saturating_sub(WANT_ENTRIES_MAX)), to))
    }

    pub(crate) fn want_progressed(&mut self, now: Now, peer: NodeKey, request: u32, entries: u64) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        // On a slow link several answers share the rate: any of them moving means that the link moves.
        for asked in state.wants.values_mut() {
            asked.progress = now.mono;
        }
        if let Some(asked) = state.wants.get_mut(&request) {
            asked.received += entries;
        }
    }

    pub(crate) fn finish_want(&mut self, now: Now, peer: NodeKey, request: u32, more: bool) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let Some(asked) = state.wants.remove(&request) else { return };
        let took = now.mono.since(asked.asked);
        if more && took < 500 {
            state.budget = state.budget.saturating_mul(2).min(BUDGET_MAX);
        } else if took > 3_000 {
            state.budget = (state.budget / 2).max(BUDGET_MIN);
        }
        if asked.received == 0 && !more && !asked.want.urgent_only {
            state.unlearn(&asked.want.log, asked.want.from);
        }
        self.plan_stale = true;
    }

    /// Owes a peer what it wants, as far as it is durable here.
    pub(crate) fn serve(&mut self, peer: NodeKey, want: Want, effects: &mut Vec<Effect>) -> Result<(), Reject> {
        let durable = self.logs.get(&want.log).map_or(0, |state| state.durable().height);
        if want.from > want.to {
            return Err(Reject::Malformed { what: "want", detail: format!("{} to {}", want.from, want.to) });
        }
        let want = Want { to: want.to.min(durable), budget: want.budget.clamp(BUDGET_MIN, BUDGET_MAX), ..want };
        effects.push(Effect::Serve { peer, want });
        Ok(())
    }
}

fn held_height(state: Option<&LogState>) -> u64 {
    state.map_or(0, LogState::accepted_height)
}

/// The parts of a range that another does not cover.
fn subtract((from, to): (u64, u64), (cut_from, cut_to): (u64, u64)) -> Vec<(u64, u64)> {
    let parts = [(from, to.min(cut_from)), (from.max(cut_to), to)];
    parts.into_iter().filter(|(from, to)| from < to).collect()
}

#[cfg(test)]
mod tests {
    use super::subtract;

    #[test]
    fn ranges_are_cut_out() {
        assert_eq!(subtract((0, 10), (3, 5)), vec![(0, 3), (5, 10)]);
        assert_eq!(subtract((0, 10), (0, 10)), vec![]);
        assert_eq!(subtract((0, 10), (20, 30)), vec![(0, 10)]);
        assert_eq!(subtract((5, 10), (0, 7)), vec![(7, 10)]);
    }
}
