//! All chance of a world, as streams that do not disturb each other.

use sha2::{Digest, Sha256};

/// One stream of numbers: xoshiro256** (Blackman and Vigna), seeded by SHA-256.
#[derive(Clone, Debug)]
pub struct Chance([u64; 4]);

impl Chance {
    /// The stream of a seed with this name; streams of other names do not depend on how much of it is used.
    #[must_use]
    pub fn new(seed: u64, name: &str) -> Chance {
        let bytes = bytes(seed, name);
        let word = |index: usize| {
            let part = bytes[8 * index..].first_chunk().expect("a hash has four words");
            u64::from_le_bytes(*part)
        };
        Chance([word(0), word(1), word(2), word(3)])
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        let state = &mut self.0;
        let result = state[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = state[1] << 17;
        state[2] ^= state[0];
        state[3] ^= state[1];
        state[1] ^= state[2];
        state[0] ^= state[3];
        state[2] ^= shifted;
        state[3] = state[3].rotate_left(45);
        result
    }

    /// A number below `bound`, or 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64().checked_rem(bound).unwrap_or(0)
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
        nonce[..8].copy_from_slice(&self.next_u64().to_le_bytes());
        nonce[8..].copy_from_slice(&self.next_u64().to_le_bytes());
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
