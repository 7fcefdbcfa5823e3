//! How many pushed entries of each origin are taken in from each peer: what exceeds it is left to catch-up, which goes
//! by class and byte budget, so that a flood of one origin never keeps the pushes of others waiting. Nothing is refused
//! by it. Each peer has allowances of its own, so that one that pushes what an origin wrote long ago, again and again,
//! uses up nothing of what others push of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use vatra_model::NodeKey;
use vatra_model::limits::LINKS_MAX;

/// Changes that count as one entry: an entry of many changes is no cheaper for being one.
const CHANGES_PER_UNIT: usize = 16;
/// An origin may save up this long, so that what counts is what it sustains: an import is no flood.
const SAVED_UP: Duration = Duration::from_secs(60);
/// Origins of one peer that are remembered; those that have saved up everything are forgotten first.
const ORIGINS_MAX: usize = 512;
/// The same over all peers, those of links that are gone included.
const ALLOWANCES_MAX: usize = LINKS_MAX * ORIGINS_MAX;

/// The allowances of all origins.
pub(crate) struct Intake {
    per_second: u32,
    /// By peer and origin.
    allowances: BTreeMap<(NodeKey, NodeKey), Allowance>,
}

struct Allowance {
    entries: f64,
    at: Instant,
}

impl Intake {
    pub(crate) fn new(per_second: u32) -> Intake {
        Intake { per_second, allowances: BTreeMap::new() }
    }

    /// Whether one more entry of an origin, with so many changes, that a peer pushed is taken in.
    pub(crate) fn admits(&mut self, (peer, origin): (NodeKey, NodeKey), changes: usize, now: Instant) -> bool {
        let cost = u32::try_from(changes.div_ceil(CHANGES_PER_UNIT)).map_or(f64::MAX, f64::from).max(1.0);
        let rate = f64::from(self.per_second);
        let full = rate * SAVED_UP.as_secs_f64();
        let grown = |allowance: &Allowance| {
            let since = now.saturating_duration_since(allowance.at).as_secs_f64();
            (allowance.entries + since * rate).min(full)
        };
        let is_full = |allowances: &BTreeMap<(NodeKey, NodeKey), Allowance>| {
            let of_peer = allowances.range((peer, NodeKey([0; 32]))..=(peer, NodeKey([0xff; 32])));
            of_peer.count() >= ORIGINS_MAX || allowances.len() >= ALLOWANCES_MAX
        };
        if !self.allowances.contains_key(&(peer, origin)) && is_full(&self.allowances) {
            self.allowances.retain(|_, allowance| grown(allowance) < full);
            if is_full(&self.allowances) {
                return false;
            }
        }
        let allowance = self.allowances.entry((peer, origin)).or_insert(Allowance { entries: full, at: now });
        *allowance = Allowance { entries: grown(allowance), at: now };
        // What is there may be overdrawn once, or a large entry would never fit a small allowance.
        if allowance.entries < 1.0 {
            return false;
        }
        allowance.entries -= cost;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeKey = NodeKey([7; 32]);

    #[test]
    fn an_origin_saves_up_a_minute_and_then_gets_its_rate() {
        let mut intake = Intake::new(10);
        let start = Instant::now();
        let mut take = |origin: u8, after: u64| {
            let now = start + Duration::from_secs(after);
            (0..5_000).filter(|_| intake.admits((PEER, NodeKey([origin; 32])), 1, now)).count()
        };
        assert_eq!(take(1, 0), 600);
        assert_eq!(take(1, 1), 10);
        assert_eq!(take(2, 1), 600, "one origin's flood is not the other's");
        assert_eq!(take(1, 3), 20);
        assert_eq!(take(1, 1_000), 600);
    }

    #[test]
    fn an_entry_of_many_changes_counts_for_several() {
        let mut intake = Intake::new(10);
        let start = Instant::now();
        let mut take = |after: u64| {
            (0..5_000)
                .filter(|_| intake.admits((PEER, NodeKey([1; 32])), 256, start + Duration::from_secs(after)))
                .count()
        };
        assert_eq!(take(0), 38, "600 saved up, 16 for each");
        assert_eq!(take(1), 1);
        assert_eq!(take(2), 0, "what was overdrawn is paid back");
        assert_eq!(take(3), 1);
    }

    #[test]
    fn origins_are_bounded_and_no_peer_uses_up_what_others_push() {
        let mut intake = Intake::new(1);
        let start = Instant::now();
        let key = |number: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            NodeKey(key)
        };
        for number in 0..=ORIGINS_MAX {
            assert_eq!(intake.admits((PEER, key(number)), 1, start), number < ORIGINS_MAX);
        }
        let replays = (0..5_000).filter(|_| intake.admits((PEER, key(1)), 1, start)).count();
        assert_eq!(replays, 59);
        let other = NodeKey([8; 32]);
        assert!(intake.admits((other, key(1)), 1, start), "another peer pushes what the origin wrote just now");
        assert!(intake.admits((other, key(ORIGINS_MAX)), 1, start));
        assert!(intake.admits((PEER, NodeKey([9; 32])), 1, start + Duration::from_secs(62)), "all have saved up again");
    }
}
