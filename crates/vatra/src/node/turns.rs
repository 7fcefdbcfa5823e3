//! Whose frame is checked next: the peer's that has used the least of the checking thread's time.
//!
//! A peer that sends much, or what takes long to check, thus delays only itself. Time that a peer did not use while it
//! had nothing to check is not saved up.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use vatra_model::NodeKey;

/// Peers whose used time is remembered; there are fewer links.
const PEERS_MAX: usize = 4 * vatra_model::limits::LINKS_MAX;

/// What waits to be checked, by peer.
pub(crate) struct Turns<T> {
    peers: BTreeMap<NodeKey, Peer<T>>,
    /// Time used by the peer whose turn was last, when it began.
    now: Duration,
    waiting: usize,
}

struct Peer<T> {
    used: Duration,
    items: VecDeque<T>,
}

impl<T> Default for Turns<T> {
    fn default() -> Turns<T> {
        Turns { peers: BTreeMap::new(), now: Duration::ZERO, waiting: 0 }
    }
}

impl<T> Turns<T> {
    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Something of a peer waits.
    pub(crate) fn put(&mut self, peer: NodeKey, item: T) {
        if self.peers.len() >= PEERS_MAX {
            self.peers.retain(|_, peer| !peer.items.is_empty());
        }
        let now = self.now;
        let peer = self.peers.entry(peer).or_insert_with(|| Peer { used: now, items: VecDeque::new() });
        if peer.items.is_empty() {
            peer.used = peer.used.max(now);
        }
        peer.items.push_back(item);
        self.waiting += 1;
    }

    /// Whoever is next, and what it has.
    pub(crate) fn next(&mut self) -> Option<(NodeKey, T)> {
        let waiting = self.peers.iter_mut().filter(|(_, peer)| !peer.items.is_empty());
        let (key, peer) = waiting.min_by_key(|(_, peer)| peer.used)?;
        self.now = peer.used;
        self.waiting -= 1;
        peer.items.pop_front().map(|item| (*key, item))
    }

    /// A peer has used this much time.
    pub(crate) fn charge(&mut self, peer: &NodeKey, time: Duration) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.used += time;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOD: NodeKey = NodeKey([1; 32]);
    const HONEST: NodeKey = NodeKey([2; 32]);

    /// Takes the next item; a flood's takes long.
    fn step(turns: &mut Turns<u32>) -> Option<u32> {
        let (peer, item) = turns.next()?;
        turns.charge(&peer, Duration::from_millis(if peer == FLOOD { 50 } else { 1 }));
        Some(item)
    }

    #[test]
    fn a_peer_that_takes_long_waits_for_those_that_do_not() {
        let mut turns = Turns::default();
        (0..1_000).for_each(|number| turns.put(FLOOD, number));
        assert_eq!(step(&mut turns), Some(0));
        for number in 0..40 {
            turns.put(HONEST, 10_000 + number);
        }
        let next: Vec<u32> = (0..40).filter_map(|_| step(&mut turns)).collect();
        let honest = next.iter().filter(|item| **item >= 10_000).count();
        assert!(honest >= 39, "{honest} of 40 were the honest peer's");
    }

    #[test]
    fn idle_time_is_not_saved_up() {
        let mut turns = Turns::default();
        turns.put(HONEST, 0);
        assert_eq!(step(&mut turns), Some(0));
        for number in 0..100 {
            turns.put(FLOOD, number);
            assert_eq!(step(&mut turns), Some(number));
        }
        (0..200).for_each(|number| turns.put(HONEST, number));
        (0..10).for_each(|number| turns.put(FLOOD, 1_000 + number));
        let first: Vec<u32> = (0..120).filter_map(|_| step(&mut turns)).collect();
        assert!(first.iter().any(|item| *item >= 1_000), "the other one is not shut out for what it used before");
    }

    #[test]
    fn everything_has_its_turn_and_peers_are_bounded() {
        let mut turns = Turns::default();
        for number in 0..2 * PEERS_MAX {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            turns.put(NodeKey(key), number);
            assert_eq!(turns.next().map(|(_, item)| item), Some(number));
        }
        assert!(turns.is_empty() && turns.next().is_none());
        assert!(turns.peers.len() <= PEERS_MAX);
    }
}
