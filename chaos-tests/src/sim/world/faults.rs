//! What goes wrong with nodes and their disks, clocks and copies. Cuts are in `cuts`, crashes in `control`.
//!
//! Whatever bites is counted by name, see [`World::bites`].

use std::collections::BTreeMap;
use std::sync::Arc;

use vatra_model::CheckedEntry;
use vatra_replica::Input;

use crate::sim::checks;
use crate::sim::disk::{Disk, Image, Keep};
use crate::sim::network::LineCounts;
use crate::sim::node::Node;
use crate::sim::planted::Bug;
use crate::sim::world::World;
use crate::sim::world::links::Link;

/// After a disk's trouble a node may take so long to write again, in microseconds.
pub(crate) const DISK_GRACE_US: u64 = 12_000_000;
/// Time that a write takes on a slow disk, from and to, in microseconds.
const SLOW_SYNC_US: (u64, u64) = (500_000, 2_000_000);
/// Entries that one carried bundle holds.
const CARRIED_ENTRIES: usize = 256;

impl World {
    /// How often each fault bit since the start, by name.
    #[must_use]
    pub fn bites(&self) -> BTreeMap<String, u64> {
        let mut all: BTreeMap<String, u64> =
            self.tally.bites.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let lines = self.line_counts();
        let counted = [
            ("crashes", self.tally.crashes),
            ("lost_batches", self.tally.lost_batches),
            ("duplicates", self.tally.twice),
            ("lost_packets", lines.lost),
            ("burst_losses", lines.burst),
            ("corrupt_packets", lines.corrupt),
            ("corrupt_frames", lines.corrupt_deep),
            ("reordered", lines.reordered),
            ("black_holes", lines.black_holes),
            ("dropped_by_cut", lines.cut),
            ("dropped_by_kill", lines.killed),
        ];
        for (name, count) in counted.into_iter().filter(|(_, count)| *count > 0) {
            *all.entry(name.to_owned()).or_insert(0) += count;
        }
        all
    }

    /// What all lines did to what they carried.
    #[must_use]
    pub fn line_counts(&self) -> LineCounts {
        let mut sum = LineCounts::default();
        for link in self.links.values() {
            link.pipes.iter().for_each(|pipe| sum += pipe.counts);
        }
        sum
    }

    /// What the line from one node to another did to what it carried.
    #[must_use]
    pub fn line_counts_of(&self, from: usize, to: usize) -> LineCounts {
        self.link(from, to).map_or_else(LineCounts::default, |link| link.pipes[usize::from(from > to)].counts)
    }

    /// Freezes a node's process: it handles nothing, while clocks and the world go on.
    pub fn pause(&mut self, node: usize) {
        if !self.nodes[node].is_running() {
            return;
        }
        self.tally.bite("pauses");
        self.history.note(self.now_us, node, b"pause");
        self.nodes[node].is_paused = true;
        for peer in self.peers_of(node) {
            self.fall_silent(peer, node);
        }
    }

    /// A frozen process goes on: what waited for it happens now.
    pub fn resume(&mut self, node: usize) {
        if !self.nodes[node].is_paused {
            return;
        }
        self.history.note(self.now_us, node, b"resume");
        self.nodes[node].is_paused = false;
        for event in std::mem::take(&mut self.nodes[node].deferred) {
            self.schedule(self.now_us, event);
        }
        self.watch.excuse(node, self.now_us);
        self.inbox.push_back((node, Input::Tick));
        self.drain();
    }

    /// A node loses its disk, the fence too, and starts empty when it is started.
    pub fn wipe(&mut self, node: usize) {
        self.crash(node, Keep::Nothing);
        self.tally.bite("wipes");
        self.put_back(node, Image::default());
        self.nodes[node].disk = Disk::default();
    }

    /// A second node comes up with a copy of a node's disk and its key, as a copied virtual machine does; gives its
    /// index. Peers keep one link to each key, so the two take turns.
    pub fn clone_node(&mut self, node: usize) -> usize {
        let twin = self.nodes.len();
        self.tally.bite("clones");
        self.history.note(self.now_us, node, b"clone");
        let original = &self.nodes[node];
        let mut copy = Node::new(original.site.clone(), original.skew_ms);
        copy.disk = original.disk.clone();
        copy.disk.crash(Keep::Nothing);
        copy.acknowledged = original.acknowledged.clone();
        copy.run = 1_000 * (twin as u64 + 1);
        self.nodes.push(copy);
        self.watch.grow(twin);
        for peer in self.peers_of(node) {
            let shape = self.pipe(node, peer).shape;
            self.links.insert(peer, twin, Link::new(shape));
        }
        self.twins.entry(self.nodes[node].key()).or_insert_with(|| vec![node]).push(twin);
        self.start(twin);
        twin
    }

    /// What others hold and this image does not must come back to a node; until then it is not held to it.
    pub(crate) fn owe_what_is_not_in(&mut self, node: usize, image: &Image) {
        let elsewhere = checks::s1_acknowledged::held_elsewhere(self, node);
        let held = |(log, seq, hash): &checks::s1_acknowledged::Place| image.entry(*log, *seq, *hash).is_some();
        self.owed.extend(elsewhere.into_iter().filter(|place| !held(place)));
        self.nodes[node].acknowledged.retain(held);
        self.forget_shown(node);
    }

    /// What stood on no other disk than the one that lost it, and those of nodes that nobody links any more, is gone.
    pub(crate) fn forget_what_is_nowhere(&mut self) {
        let charter = self.federation.charter();
        let is_admitted = |node: &&Node| charter.admit(&node.site.certificate).is_ok();
        let nodes: Vec<&Node> = self.nodes.iter().filter(is_admitted).collect();
        self.owed
            .retain(|(log, seq, hash)| nodes.iter().any(|node| node.disk.durable().entry(*log, *seq, *hash).is_some()));
    }

    /// A subscriber comes back to its node and reads on.
    pub(crate) fn resume_subscriber(&mut self, node: usize) {
        let skips = self.is_planted(Bug::CursorSkips);
        let (subscriber, image) = (&mut self.watch.subscribers[node], self.nodes[node].disk.durable());
        if skips { subscriber.skip(image) } else { subscriber.read(image) }
    }

    /// Writes take long on a node's disk, or as long as everywhere again.
    pub fn slow_disk(&mut self, node: usize, is_slow: bool) {
        self.nodes[node].slow_sync_us = is_slow.then_some(SLOW_SYNC_US);
        self.nodes[node].trouble_until_us = if is_slow { u64::MAX } else { self.now_us + DISK_GRACE_US };
    }

    /// So many in a thousand writes of a node fail with an error; 0 ends it.
    pub fn fail_writes(&mut self, node: usize, permille: u32) {
        self.nodes[node].write_errors_permille = permille;
        self.nodes[node].trouble_until_us = if permille > 0 { u64::MAX } else { self.now_us + DISK_GRACE_US };
    }

    /// Whether a write that is due now fails.
    pub(crate) fn write_fails(&mut self, node: usize) -> bool {
        let errors = self.nodes[node].write_errors_permille;
        let fails = self.fault_chance.permille(errors);
        self.tally.bite_times("write_errors", u64::from(fails));
        self.tally.bite_times("full_disks", u64::from(self.nodes[node].disk.is_full));
        fails || self.nodes[node].disk.is_full
    }

    /// A node's disk claims to have written what a loss of power will take.
    pub fn lie_about_writes(&mut self, node: usize, lies: bool) {
        if lies {
            let is_new = self.nodes[node].disk.begin_to_lie();
            self.tally.bite_times("lies", u64::from(is_new));
        } else {
            self.nodes[node].disk.stop_lying();
        }
    }

    /// After a loss of power a disk that lied holds less than it said.
    pub(crate) fn find_out_lies(&mut self, node: usize) {
        let Some(truth) = self.nodes[node].disk.take_truth() else { return };
        let lost = self.nodes[node].disk.durable().entries.len() - truth.entries.len();
        self.tally.bite_times("lied_entries", lost as u64);
        self.admit(node, truth);
    }

    /// A node's wall clock jumps by so many milliseconds.
    pub fn jump_clock(&mut self, node: usize, by_ms: i64) {
        self.tally.bite("clock_jumps");
        self.nodes[node].skew_ms = self.nodes[node].skew_ms.saturating_add(by_ms);
    }

    /// A node's wall clock shows a time before 1970, which a node reads as 1970.
    pub fn clock_before_1970(&mut self, node: usize) {
        self.tally.bite("clock_jumps");
        self.nodes[node].skew_ms = i64::MIN / 4;
    }

    /// A node's wall clock runs too fast by so many parts in a million, or too slow.
    pub fn drift_clock(&mut self, node: usize, ppm: i64) {
        self.tally.bite("clock_drifts");
        self.nodes[node].drift_ppm = ppm;
    }

    /// Somebody carries all entries of one node's disk to another, in files of limited size.
    pub fn carry(&mut self, from: usize, to: usize) {
        if !self.nodes[to].is_running() {
            return;
        }
        self.tally.bite("bundles");
        let image = self.nodes[from].disk.durable();
        let entries: Vec<Arc<CheckedEntry>> = image.entries.values().cloned().collect();
        let descriptors: Vec<_> = image.logs.values().map(|row| row.descriptor.clone()).collect();
        for part in entries.chunks(CARRIED_ENTRIES) {
            let Some(replica) = &self.nodes[to].replica else { return };
            // A log that the receiver does not believe, such as that of a member it has not heard of, is left out.
            let logs: Vec<_> =
                descriptors.iter().filter_map(|known| replica.trust().check_log(known.clone()).ok()).collect();
            let known = |entry: &&Arc<CheckedEntry>| logs.iter().any(|log| log.id == entry.header().log);
            let entries = part.iter().filter(known).cloned().collect();
            self.inbox.push_back((to, Input::Entries { peer: None, request: None, logs, entries }));
            self.drain();
        }
    }

    /// Nodes by index that have this key; more than one after [`World::clone_node`].
    pub(crate) fn index_of(&self, from: usize, key: &vatra_model::NodeKey) -> Option<usize> {
        let first = self.index.get(key).copied()?;
        let Some(twins) = self.twins.get(key) else { return Some(first) };
        Some(twins.iter().copied().find(|twin| self.is_up(from, *twin)).unwrap_or(first))
    }

    /// Whether one of the nodes is linked with another node that has the other's key, or they have the same.
    pub(crate) fn twin_is_up(&self, a: usize, b: usize) -> bool {
        let other = |node: usize, peer: usize| {
            let twins = self.twins.get(&self.nodes[peer].key()).map(Vec::as_slice).unwrap_or_default();
            twins.iter().any(|twin| *twin != peer && (*twin == node || self.is_up(node, *twin)))
        };
        other(a, b) || other(b, a)
    }
}
