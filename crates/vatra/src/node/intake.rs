//! How many pushed entries of each origin are taken in: what exceeds it is left to catch-up, which goes by class and
//! byte budget, so that a flood of one origin never keeps the pushes of others waiting. Nothing is refused by it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use vatra_model::NodeKey;

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

    /// Whether one more pushed entry of an origin is taken in.
    pub(crate) fn admits(&mut self, origin: NodeKey, now: Instant) -> bool {
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
        if allowance.entries < 1.0 {
            return false;
        }
        allowance.entries -= 1.0;
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
            (0..5_000).filter(|_| intake.admits(NodeKey([origin; 32]), now)).count()
        };
        assert_eq!(take(1, 0), 600);
        assert_eq!(take(1, 1), 10);
        assert_eq!(take(2, 1), 600, "one origin's flood is not the other's");
        assert_eq!(take(1, 3), 20);
        assert_eq!(take(1, 1_000), 600);
    }

    #[test]
    fn origins_are_bounded() {
        let mut intake = Intake::new(1);
        let start = Instant::now();
        for number in 0..=ORIGINS_MAX {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            assert_eq!(intake.admits(NodeKey(key), start), number < ORIGINS_MAX);
        }
        assert!(intake.admits(NodeKey([9; 32]), start + Duration::from_secs(5)), "the others have saved up all");
    }
}
