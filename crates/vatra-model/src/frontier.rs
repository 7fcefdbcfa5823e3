//! Frontiers: how much of every log a node holds without a gap.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use sha2::{Digest, Sha256};

use crate::ids::{EntryHash, LogId};

/// Contiguous entries held of one log: `height` of them, the last one named by `head`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Head {
    /// Number of contiguous entries from seq 0; 0 = none.
    pub height: u64,
    /// Hash of entry `height - 1`; [`EntryHash::ZERO`] at height 0.
    pub head: EntryHash,
}

impl Head {
    /// Nothing held.
    pub const EMPTY: Head = Head { height: 0, head: EntryHash::ZERO };
}

/// Heads of all logs of which at least one entry is held. A forked log of whose trunk nothing is held has a head at
/// height 0: that of its fork.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier(pub BTreeMap<LogId, Head>);

impl Frontier {
    /// What is held of a log.
    #[must_use]
    pub fn head(&self, log: &LogId) -> Head {
        self.0.get(log).copied().unwrap_or(Head::EMPTY)
    }

    /// SHA-256 over (log, height, head) in order of log id: equal for equal frontiers.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"vatra frontier v1");
        for (log, head) in self.0.iter().filter(|(_, head)| **head != Head::EMPTY) {
            hash.update(log.0);
            hash.update(head.height.to_le_bytes());
            hash.update(head.head.0);
        }
        hash.finalize().into()
    }

    /// Takes the higher head of each log: the least frontier that covers both.
    pub fn join(&mut self, other: &Frontier) {
        for (log, head) in &other.0 {
            let mine = self.0.entry(*log).or_insert(Head::EMPTY);
            if head.height > mine.height {
                *mine = *head;
            }
        }
    }

    /// Whether every entry that `other` covers is covered here.
    #[must_use]
    pub fn covers(&self, other: &Frontier) -> bool {
        other.0.iter().all(|(log, head)| self.head(log).height >= head.height)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Heads that agree whenever their heights do, as those of unforked logs.
    fn frontiers() -> impl Strategy<Value = Frontier> {
        prop::collection::btree_map(0..6_u8, 1..9_u64, 0..6).prop_map(|heights| {
            let head = |log: u8, height: u64| {
                let mut hash = [log; 32];
                hash[0] = u8::try_from(height).expect("below 9");
                Head { height, head: EntryHash(hash) }
            };
            Frontier(heights.into_iter().map(|(log, height)| (LogId([log; 16]), head(log, height))).collect())
        })
    }

    fn joined(a: &Frontier, b: &Frontier) -> Frontier {
        let mut out = a.clone();
        out.join(b);
        out
    }

    proptest! {
        #[test]
        fn joining_is_a_lattice(a in frontiers(), b in frontiers(), c in frontiers()) {
            prop_assert_eq!(joined(&a, &a), a.clone());
            prop_assert_eq!(joined(&a, &b), joined(&b, &a));
            prop_assert_eq!(joined(&joined(&a, &b), &c), joined(&a, &joined(&b, &c)));
            prop_assert!(joined(&a, &b).covers(&a) && joined(&a, &b).covers(&b));
            prop_assert_eq!(a.covers(&b) && b.covers(&a), a.hash() == b.hash());
        }
    }
}
