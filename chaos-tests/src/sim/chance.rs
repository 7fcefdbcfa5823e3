//! All chance of a world, as streams that do not disturb each other.

use sha2::{Digest, Sha256};
use vatra_replica::Seeded;

/// One stream of numbers.
#[derive(Clone, Debug)]
pub struct Chance(Seeded);

impl Chance {
    /// The stream of a seed with this name; streams of other names do not depend on how much of it is used.
    #[must_use]
    pub fn new(seed: u64, name: &str) -> Chance {
        Chance(Seeded::new(bytes(seed, name)))
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Whether something happens that happens so often in a thousand times.
    pub fn permille(&mut self, often: u32) -> bool {
        often > 0 && self.below(1000) < u64::from(often)
    }

    /// One of several.
    pub fn pick<'t, T>(&mut self, items: &'t [T]) -> Option<&'t T> {
        let index = usize::try_from(self.below(items.len() as u64)).ok()?;
        items.get(index)
    }

    /// Puts items into another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            let other = self.below(end as u64 + 1);
            items.swap(end, usize::try_from(other).expect("below the length"));
        }
    }

    /// Sixteen bytes.
    pub fn nonce(&mut self) -> [u8; 16] {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.0.next_u64().to_le_bytes());
        nonce[8..].copy_from_slice(&self.0.next_u64().to_le_bytes());
        nonce
    }
}

/// Thirty-two bytes that belong to a seed and a name.
#[must_use]
pub fn bytes(seed: u64, name: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(name);
    hash.finalize().into()
}
