//! Turns refused connections into few events, however often a stranger knocks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use vatra_model::NodeKey;

/// Time between two events about one key.
const QUIET: Duration = Duration::from_secs(10);

/// Keys remembered. Beyond it, new keys are only counted until others have been quiet for long enough.
const KEYS_MAX: usize = 1_024;

/// When each refused key was last told about, and its refusals since.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    keys: BTreeMap<NodeKey, (Instant, u64)>,
}

impl Refusals {
    /// Notes a refusal; the number of refusals to tell if it is time for an event.
    pub(crate) fn note(&mut self, now: Instant, node: NodeKey) -> Option<u64> {
        if let Some((told, count)) = self.keys.get_mut(&node) {
            *count += 1;
            if now.saturating_duration_since(*told) < QUIET {
                return None;
            }
            *told = now;
            return Some(std::mem::take(count));
        }
        if self.keys.len() >= KEYS_MAX {
            self.keys.retain(|_, (told, _)| now.saturating_duration_since(*told) < QUIET);
        }
        if self.keys.len() >= KEYS_MAX {
            return None;
        }
        self.keys.insert(node, (now, 0));
        Some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_at_once_and_then_every_ten_seconds_with_its_count() {
        let start = Instant::now();
        let mut refusals = Refusals::default();
        let node = NodeKey([1; 32]);
        let told: Vec<(u64, u64)> = (0..25)
            .filter_map(|second| Some((second, refusals.note(start + Duration::from_secs(second), node)?)))
            .collect();
        assert_eq!(told, [(0, 1), (10, 10), (20, 10)]);
    }

    #[test]
    fn many_keys_cost_bounded_memory() {
        let now = Instant::now();
        let mut refusals = Refusals::default();
        let key = |n: u32| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&n.to_le_bytes());
            NodeKey(bytes)
        };
        let told = (0..5_000).filter(|&n| refusals.note(now, key(n)).is_some()).count();
        assert_eq!((told, refusals.keys.len()), (KEYS_MAX, KEYS_MAX));
        assert_eq!(refusals.note(now + QUIET, key(9_999)), Some(1));
        assert_eq!(refusals.keys.len(), 1);
    }
}
