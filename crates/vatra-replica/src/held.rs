//! What another node is known to hold, for what is carried to it by hand.

use std::collections::BTreeMap;

use vatra_model::{LogId, NodeKey};

use crate::replica::Replica;

impl Replica {
    /// The heights that a node has told, in its beacons and over a link. Empty for a node that was not heard since
    /// this one started.
    #[must_use]
    pub fn heights_of(&self, node: &NodeKey) -> BTreeMap<LogId, u64> {
        let mut heights = self.beacons.get(node).map(|heard| heard.heights.clone()).unwrap_or_default();
        for (log, known) in self.peers.get(node).into_iter().flat_map(|peer| peer.known_logs()) {
            let height = heights.entry(*log).or_insert(0);
            *height = (*height).max(*known);
        }
        heights
    }

    /// All logs of which anything is described, by id.
    pub fn known_logs(&self) -> impl Iterator<Item = LogId> {
        self.logs.iter().map(|(log, _)| *log)
    }
}
