//! What is remembered of a peer between links: frontiers told to it and heard from it, so that the next link
//! begins with what changed, and the beacons that it was shown. Lost with the process; then all is said again.
//!
//! What it may still say is kept apart from that: a peer can bring about that the rest is forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use vatra_model::limits::LINKS_MAX;
use vatra_model::{Frontier, MonoMs, NodeKey};

use crate::allowance::{Allowances, REFILL_MS};

/// Frontiers told to one peer that are remembered: it may have missed the last when its link broke.
const TOLD_MAX: usize = 3;

/// Nodes of which it is kept what they may say: as many as can be known, so that none makes another's be forgotten.
const ALLOWANCES_MAX: usize = 4096;

/// Links in a row on which a peer says nothing until what is remembered of it is forgotten.
const DOUBTS_MAX: u8 = 2;

/// What was sent so shortly before a link broke may be lost, in milliseconds.
const UNCERTAIN_MS: u64 = 30_000;

/// A frontier with its hash.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) hash: [u8; 32],
    pub(crate) frontier: Frontier,
}

/// One peer, as far as earlier links told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remembered {
    /// The protocol version that it spoke last.
    pub(crate) version: u16,
    /// The last frontier heard from it.
    pub(crate) heard: Option<Arc<Snapshot>>,
    told: VecDeque<Arc<Snapshot>>,
    /// Count and links of the last beacon of each node that it was shown, or showed us.
    shown: BTreeMap<NodeKey, (Shown, MonoMs)>,
    used: MonoMs,
    /// Links in a row on which it said nothing.
    pub(crate) doubts: u8,
}

/// A beacon that a peer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) boot: u64,
    pub(crate) counter: u64,
    pub(crate) links: u64,
}

/// All peers of late; as many as there may be links.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    peers: BTreeMap<NodeKey, Remembered>,
    /// What nodes may still say, as their last links left it, and when that was.
    allowances: BTreeMap<NodeKey, (Allowances, MonoMs)>,
    /// The last snapshot taken: equal ones are shared.
    last: Option<Arc<Snapshot>>,
}

impl Snapshot {
    fn of(frontier: Frontier) -> Arc<Snapshot> {
        Arc::new(Snapshot { hash: frontier.hash(), frontier })
    }
}

impl Remembered {
    /// It was told this frontier.
    pub(crate) fn tell(&mut self, snapshot: Arc<Snapshot>) {
        if self.told.iter().any(|told| told.hash == snapshot.hash) {
            return;
        }
        if self.told.len() >= TOLD_MAX {
            self.told.pop_front();
        }
        self.told.push_back(snapshot);
    }

    /// The last beacon of a node that it has.
    pub(crate) fn shown(&self, node: &NodeKey) -> Option<Shown> {
        self.shown.get(node).map(|(shown, _)| *shown)
    }

    /// It was shown a beacon, or showed it.
    pub(crate) fn show(&mut self, node: NodeKey, shown: Shown, now: MonoMs) {
        self.shown.insert(node, (shown, now));
    }

    /// It started anew and knows of no beacon.
    pub(crate) fn forget_shown(&mut self) {
        self.shown.clear();
    }

    /// Its link broke: what was shown just before may not have come.
    pub(crate) fn doubt_shown(&mut self, now: MonoMs) {
        self.shown.retain(|_, (_, at)| now.since(*at) > UNCERTAIN_MS);
    }

    /// The frontier with this hash, if it was told lately.
    pub(crate) fn told(&self, hash: &[u8; 32]) -> Option<Arc<Snapshot>> {
        self.told.iter().find(|told| told.hash == *hash).cloned()
    }
}

impl Memory {
    /// What is remembered of a peer; the one longest not used makes room for a new one.
    pub(crate) fn of(&mut self, peer: NodeKey, now: MonoMs) -> &mut Remembered {
        if !self.peers.contains_key(&peer) && self.peers.len() >= LINKS_MAX {
            let oldest = self.peers.iter().min_by_key(|(key, known)| (known.used, **key)).map(|(key, _)| *key);
            self.peers.remove(&oldest.expect("there are some"));
        }
        let known = self.peers.entry(peer).or_default();
        known.used = now;
        known
    }

    /// What is remembered of a peer, if anything is.
    pub(crate) fn get(&self, peer: &NodeKey) -> Option<&Remembered> {
        self.peers.get(peer)
    }

    /// A link broke before a word of the peer came: if that goes on, it may no longer speak as it did.
    pub(crate) fn doubt(&mut self, peer: &NodeKey) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.doubts += 1;
            if known.doubts >= DOUBTS_MAX {
                self.peers.remove(peer);
            }
        }
    }

    /// What a peer may say on a new link.
    pub(crate) fn allowances(&self, peer: &NodeKey) -> Allowances {
        self.allowances.get(peer).map(|(left, _)| left.on_a_new_link()).unwrap_or_default()
    }

    /// A link ended: what its peer may still say is kept until it would be full again anyway.
    pub(crate) fn keep_allowances(&mut self, peer: NodeKey, left: Allowances, now: MonoMs) {
        if self.allowances.len() >= LINKS_MAX {
            self.allowances.retain(|_, (_, since)| now.since(*since) < REFILL_MS);
        }
        if self.allowances.len() >= ALLOWANCES_MAX && !self.allowances.contains_key(&peer) {
            let oldest = self.allowances.iter().min_by_key(|(key, (_, since))| (*since, **key)).map(|(key, _)| *key);
            self.allowances.remove(&oldest.expect("there are some"));
        }
        self.allowances.insert(peer, (left, now));
    }

    /// Of how many nodes it is kept what they may say.
    pub(crate) fn allowance_count(&self) -> usize {
        self.allowances.len()
    }

    /// Logs in the frontiers that are remembered, each frontier once, and marks of beacons that were shown.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let peers = || self.peers.values();
        let snapshots = peers().flat_map(|known| known.told.iter().chain(&known.heard)).chain(&self.last);
        let different: BTreeMap<*const Snapshot, usize> =
            snapshots.map(|snapshot| (Arc::as_ptr(snapshot), snapshot.frontier.0.len())).collect();
        (different.values().sum(), peers().map(|known| known.shown.len()).sum())
    }

    /// A snapshot of this frontier, shared with the last one if that was the same.
    pub(crate) fn snapshot(&mut self, frontier: Frontier) -> Arc<Snapshot> {
        if let Some(last) = self.last.as_ref().filter(|last| last.frontier == frontier) {
            return last.clone();
        }
        let snapshot = Snapshot::of(frontier);
        self.last = Some(snapshot.clone());
        snapshot
    }
}

#[cfg(test)]
mod tests {
    use vatra_model::wire::Message;
    use vatra_model::{EntryHash, Head, LogId};

    use super::*;

    fn frontier(height: u64) -> Frontier {
        Frontier([(LogId([1; 16]), Head { height, head: EntryHash([2; 32]) })].into())
    }

    #[test]
    fn the_last_few_frontiers_are_remembered() {
        let mut memory = Memory::default();
        let peer = NodeKey([1; 32]);
        for height in 1..=5 {
            let snapshot = memory.snapshot(frontier(height));
            memory.of(peer, MonoMs(0)).tell(snapshot);
        }
        let told = |height| memory.get(&peer).expect("there").told(&frontier(height).hash()).is_some();
        assert_eq!([1, 2, 3, 4, 5].map(told), [false, false, true, true, true]);
        memory.doubt(&peer);
        assert!(memory.get(&peer).is_some(), "once may be an accident");
        memory.doubt(&peer);
        assert!(memory.get(&peer).is_none());
    }

    #[test]
    fn peers_are_bounded_and_the_longest_unused_goes() {
        let mut memory = Memory::default();
        for number in 0..=LINKS_MAX {
            memory.of(NodeKey([u8::try_from(number).expect("few"); 32]), MonoMs(number as u64));
        }
        assert_eq!(memory.peers.len(), LINKS_MAX);
        assert!(memory.get(&NodeKey([0; 32])).is_none() && memory.get(&NodeKey([1; 32])).is_some());
    }

    #[test]
    fn allowances_outlive_doubts_and_are_forgotten_when_full_again() {
        let mut memory = Memory::default();
        let (peer, charter) = (NodeKey([1; 32]), Message::Charter { bytes: vec![] });
        let mut spent = Allowances::default();
        while spent.admit(MonoMs(1_000), &charter).is_ok() {}
        memory.of(peer, MonoMs(1_000));
        memory.keep_allowances(peer, spent, MonoMs(1_000));
        memory.doubt(&peer);
        memory.doubt(&peer);
        assert!(memory.get(&peer).is_none());
        assert!(memory.allowances(&peer).admit(MonoMs(1_000), &charter).is_err());
        for number in 0..ALLOWANCES_MAX as u64 + 9 {
            let node = NodeKey([number.to_be_bytes(); 4].concat().try_into().expect("32 bytes"));
            memory.keep_allowances(node, spent, MonoMs(2_000));
        }
        assert_eq!(memory.allowance_count(), ALLOWANCES_MAX);
        let last = NodeKey([(ALLOWANCES_MAX as u64 + 8).to_be_bytes(); 4].concat().try_into().expect("32 bytes"));
        assert!(memory.allowances(&last).admit(MonoMs(2_000 + REFILL_MS), &charter).is_ok());
        memory.keep_allowances(peer, spent, MonoMs(2_000 + REFILL_MS));
        assert_eq!(memory.allowance_count(), 1);
    }

    #[test]
    fn equal_snapshots_are_shared() {
        let mut memory = Memory::default();
        let (a, b) = (memory.snapshot(frontier(1)), memory.snapshot(frontier(1)));
        assert!(Arc::ptr_eq(&a, &b));
    }
}
