//! How many pushed entries of each origin are taken in: what exceeds it is left to catch-up, which goes by class and
//! byte budget, so that a flood of one origin never keeps the pushes of others waiting. Nothing is refused by it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use vatra_model::NodeKey;

/// Changes that count as one entry: an entry of many changes is no cheaper for being one.
const CHANGES_PER_UNIT: usize = 16;
/// An origin may save up this long, so that what counts is what it sustains: an import is no flood.
const SAVED_UP: Duration = Duration::from_secs(60);
/// Origins that are remembered; those that have saved up everything are forgotten first.
const ORIGINS_MAX: usize = 4096;

/// The allowances of all origins.
pub(crate) struct Intake {
    per_second: u32,
    origins: BTreeMap<NodeKey, Allowance>,
}

struct Allowance {
    entries: f64,
    at: Instant,
}

impl Intake {
    pub(crate) fn new(per_second: u32) -> Intake {
        Intake { per_second, origins: BTreeMap::new() }
    }

    /// Whether one more pushed entry of an origin, with so many changes, is taken in.
    pub(crate) fn admits(&mut self, origin: NodeKey, changes: usize, now: Instant) -> bool {
        let cost = u32::try_from(changes.div_ceil(CHANGES_PER_UNIT)).map_or(f64::MAX, f64::from).max(1.0);
        let rate = f64::from(self.per_second);
        let full = rate * SAVED_UP.as_secs_f64();
        let grown = |allowance: &Allowance| {
            let since = now.saturating_duration_since(allowance.at).as_secs_f64();
            (allowance.entries + since * rate).min(full)
        };
        if !self.origins.contains_key(&origin) && self.origins.len() >= ORIGINS_MAX {
            self.origins.retain(|_, allowance| grown(allowance) < full);
            if self.origins.len() >= ORIGINS_MAX {
                return false;
            }
        }
        let allowance = self.origins.entry(origin).or_insert(Allowance { entries: full, at: now });
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

    #[test]
    fn an_origin_saves_up_a_minute_and_then_gets_its_rate() {
        let mut intake = Intake::new(10);
        let start = Instant::now();
        let mut take = |origin: u8, after: u64| {
            let now = start + Duration::from_secs(after);
            (0..5_000).filter(|_| intake.admits(NodeKey([origin; 32]), 1, now)).count()
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
            (0..5_000).filter(|_| intake.admits(NodeKey([1; 32]), 256, start + Duration::from_secs(after))).count()
        };
        assert_eq!(take(0), 38, "600 saved up, 16 for each");
        assert_eq!(take(1), 1);
        assert_eq!(take(2), 0, "what was overdrawn is paid back");
        assert_eq!(take(3), 1);
    }

    #[test]
    fn origins_are_bounded() {
        let mut intake = Intake::new(1);
        let start = Instant::now();
        for number in 0..=ORIGINS_MAX {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            assert_eq!(intake.admits(NodeKey(key), 1, start), number < ORIGINS_MAX);
        }
        assert!(intake.admits(NodeKey([9; 32]), 1, start + Duration::from_secs(5)), "the others have saved up all");
    }
}
