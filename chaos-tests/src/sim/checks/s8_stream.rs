//! S8: a subscriber gets every entry that its node stored after its cursor, in the order in which it was stored,
//! whatever restarts lie between.

use crate::sim::disk::{Image, Life};
use crate::sim::world::World;
use vatra_model::{EntryHash, LogId};

/// One subscriber of a node, with its saved cursor.
#[derive(Debug, Default)]
pub struct Subscriber {
    store: Option<Life>,
    cursor: usize,
    received: Vec<(LogId, u64, EntryHash)>,
    /// Cursors that the store no longer knew, and that were told so.
    pub resets: u64,
}

impl Subscriber {
    /// Reads on from its cursor. A store that was replaced no longer knows the cursor and says so.
    pub fn read(&mut self, image: &Image) {
        let same_store = |before: Life| image.life.is_some_and(|life| life.incarnation == before.incarnation);
        let is_known = self.store.is_none_or(same_store) && self.cursor <= image.stream.len();
        if !is_known {
            self.resets += 1;
            self.cursor = 0;
            self.received.clear();
        }
        self.store = image.life.or(self.store);
        self.received.extend_from_slice(&image.stream[self.cursor..]);
        self.cursor = image.stream.len();
    }

    /// A mistake to be caught: what lies between the cursor and the end is left out.
    pub fn skip(&mut self, image: &Image) {
        self.store = image.life.or(self.store);
        self.cursor = image.stream.len();
    }
}

/// What subscribers did not get, or got in another order than it was stored in.
#[must_use]
pub fn check(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for (index, (node, subscriber)) in world.nodes.iter().zip(&world.watch.subscribers).enumerate() {
        let stored = &node.disk.durable().stream;
        if subscriber.cursor > stored.len() || !node.is_running() {
            continue;
        }
        if subscriber.received[..] != stored[..subscriber.cursor] {
            found.push(format!(
                "a subscriber of node {index} got {} of the {} entries up to its cursor, or others (S8)",
                subscriber.received.len(),
                subscriber.cursor
            ));
        }
        let held = node.disk.durable().entries.len();
        if stored.len() < held {
            found.push(format!("node {index} holds {held} entries and streams {} (S8)", stored.len()));
        }
    }
    found
}
