//! Numbers from a seed: the core's only source of chance.

use sha2::{Digest, Sha256};

/// A stream of numbers that is a function of its seed (SHA-256 in counter mode).
#[derive(Clone, Debug)]
pub struct Seeded {
    seed: [u8; 32],
    counter: u64,
}

impl Seeded {
    /// The stream of this seed.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Seeded {
        Seeded { seed, counter: 0 }
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update(self.counter.to_le_bytes());
        self.counter += 1;
        let bytes: [u8; 32] = hash.finalize().into();
        u64::from_le_bytes(*bytes.first_chunk().expect("a hash has 32 bytes"))
    }

    /// A number below `bound`, or 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64().checked_rem(bound).unwrap_or(0)
    }
}
