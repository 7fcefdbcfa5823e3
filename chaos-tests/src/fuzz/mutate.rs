//! Bytes made from other bytes.

use rand::RngExt;
use rand::rngs::StdRng;

/// Bytes that an input may grow to.
const INPUT_BYTES_MAX: usize = 96 * 1024;
/// Changes of one input.
const STEPS_MAX: u32 = 6;
/// Numbers at which code tends to break.
const EDGES: &[u64] = &[0, 1, 127, 128, 250, 251, 252, 253, 255, 256, 4095, 4096, 65_535, 65_536, 1 << 31, u64::MAX];
/// Heads of CBOR items: large and indefinite lengths, tags, simple values.
const CBOR_HEADS: &[u8] = &[0x1b, 0x3b, 0x5b, 0x5f, 0x7b, 0x7f, 0x9b, 0x9f, 0xbb, 0xbf, 0xc0, 0xdb, 0xf6, 0xfb, 0xff];
/// The beginnings of Automerge's own formats: a document, a change, a compressed change.
const AUTOMERGE: &[&[u8]] = &[
    &[0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 0],
    &[0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 1],
    &[0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 2],
];

/// An input made from one of the corpus and parts of others.
pub(super) fn mutate(random: &mut StdRng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let pick = |random: &mut StdRng| corpus.get(random.random_range(0..corpus.len().max(1))).cloned();
    let mut bytes = pick(random).unwrap_or_default();
    for _ in 0..random.random_range(1..=STEPS_MAX) {
        let other = pick(random).unwrap_or_default();
        step(random, &mut bytes, &other);
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

fn step(random: &mut StdRng, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = random.random_range(0..=bytes.len());
    let span = |random: &mut StdRng, len: usize| random.random_range(0..=len.min(64));
    match random.random_range(0..10_u32) {
        0 => bytes.truncate(at),
        1 => {
            let end = at + span(random, bytes.len() - at);
            bytes.drain(at..end);
        }
        2 => {
            let end = at + span(random, bytes.len() - at);
            let again = bytes[at..end].repeat(random.random_range(1..40));
            bytes.splice(at..at, again);
        }
        3 => {
            let from = random.random_range(0..=other.len());
            let taken = other[from..from + span(random, other.len() - from)].to_vec();
            bytes.splice(at..at, taken);
        }
        4 => {
            let edge = EDGES[random.random_range(0..EDGES.len())].to_le_bytes();
            let width = [1, 2, 4, 8][random.random_range(0..4)];
            overwrite(bytes, at, &edge[..width]);
        }
        5 => {
            let head = CBOR_HEADS[random.random_range(0..CBOR_HEADS.len())];
            bytes.splice(at..at, std::iter::repeat_n(head, random.random_range(1..40)));
        }
        6 => {
            let chunk = AUTOMERGE[random.random_range(0..AUTOMERGE.len())];
            bytes.splice(at..at, chunk.iter().copied());
        }
        7 => {
            let noise: Vec<u8> = (0..random.random_range(1..16)).map(|_| random.random()).collect();
            overwrite(bytes, at, &noise);
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.random_range(0..8);
            }
        }
    }
}

fn overwrite(bytes: &mut Vec<u8>, at: usize, with: &[u8]) {
    let end = (at + with.len()).min(bytes.len());
    bytes.splice(at..end, with.iter().copied());
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn inputs_differ_stay_bounded_and_can_be_made_again() {
        let corpus = vec![vec![7; 200], b"another input".to_vec()];
        let made = |seed| {
            let mut random = StdRng::seed_from_u64(seed);
            (0..2_000).map(|_| mutate(&mut random, &corpus)).collect::<Vec<_>>()
        };
        let first = made(1);
        assert_eq!(first, made(1));
        assert_ne!(first, made(2));
        let distinct: std::collections::BTreeSet<_> = first.iter().collect();
        assert!(distinct.len() > 1_500, "{} of 2000 differ", distinct.len());
        assert!(first.iter().all(|bytes| bytes.len() <= INPUT_BYTES_MAX));
        assert!(mutate(&mut StdRng::seed_from_u64(3), &[]).len() <= INPUT_BYTES_MAX, "nothing is needed to begin");
    }
}
