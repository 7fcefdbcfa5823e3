//! Nodes that are unwell or unwilling: bad disks, copies that run beside their original, hostile members; and bundles
//! that people carry.

use std::collections::BTreeSet;
use std::sync::Arc;

use vatra_model::{CheckedEntry, EntryHash};
use vatra_replica::Input;

use crate::scenario::format::quantity::Share;
use crate::scenario::format::step::Action;
use crate::scenario::simulated::lines::Ticket;
use crate::scenario::simulated::stage::Stage;
use crate::sim::disk::{Image, Keep};
use crate::sim::hostile::Act;

/// Entries that are read of a bundle at once.
const CARRIED_ENTRIES: usize = 256;

/// What a step makes a hostile member do.
#[derive(Debug)]
pub(super) struct Hostility {
    ticket: Ticket,
    node: usize,
    act: Act,
    /// The member was able to do it, and that was counted.
    is_counted: bool,
}

impl Stage {
    /// A disk becomes a bad one.
    pub(super) fn spoil_disk(&mut self, node: usize, action: &Action) {
        match action.word("fault") {
            Some("eio") => {
                let often = action.share("share").map_or(0, Share::permille);
                self.world.fail_writes(node, often);
            }
            Some("slow" | "fsync_delay") => {
                self.world.slow_disk(node, true);
                let delay_us = action.span("delay").map_or(0, |delay| delay.0);
                self.world.nodes[node].slow_sync_us = Some((delay_us, delay_us));
            }
            Some("lie") => self.world.lie_about_writes(node, true),
            _ => self.world.fill_disk(node, true),
        }
    }

    /// A disk is a good one again.
    pub(super) fn mend_disk(&mut self, node: usize, action: &Action) {
        match action.word("fault") {
            Some("eio") => self.world.fail_writes(node, 0),
            Some("slow" | "fsync_delay") => self.world.slow_disk(node, false),
            Some("lie") => self.world.lie_about_writes(node, false),
            _ => self.world.fill_disk(node, false),
        }
    }

    /// A copy of a node runs beside it, with the same key.
    pub(super) fn run_twice(&mut self, ticket: Ticket, node: usize) {
        // A copy of a copy shows nothing new.
        if !self.members[node] || self.twins.iter().any(|(_, twin, _)| *twin == node) {
            return;
        }
        let twin = self.world.clone_node(node);
        let name = format!("{}-copy", self.names[node]);
        self.tell(&format!("{name} runs beside {}", self.names[node]));
        self.names.push(name);
        self.writers.push(self.writers[node]);
        self.members.push(true);
        self.twins.push((ticket, twin, node));
    }

    /// Copies that a step started stop, and do not come back.
    pub(super) fn stop_twins(&mut self, ticket: Ticket) {
        let own: Vec<usize> =
            self.twins.iter().filter(|(other, _, _)| *other == ticket).map(|(_, twin, _)| *twin).collect();
        for twin in own {
            self.members[twin] = false;
            self.world.crash(twin, Keep::Unsynced);
        }
    }

    /// Writes what nodes hold to a file.
    pub(super) fn pack_bundle(&mut self, nodes: &[usize], action: &Action) {
        let label = action.label("name").unwrap_or_default();
        if let Some(node) = nodes.first() {
            let image = self.world.nodes[*node].disk.backup();
            self.bundles.insert(label.to_owned(), image);
        }
    }

    /// Reads the file of a bundle at a node.
    pub(super) fn import(&mut self, node: usize, action: &Action) {
        let label = action.label("name").unwrap_or_default();
        let Some(image) = self.bundles.get(label).cloned() else {
            return self.tell("there is no such bundle yet");
        };
        if !self.world.nodes[node].is_running() {
            return self.tell(&format!("{} does not run and reads nothing", self.names[node]));
        }
        let is_whole = action.word("damage") != Some("truncated");
        let mut read = BTreeSet::new();
        for _ in 0..action.count("times").unwrap_or(1) {
            let before = read.len();
            self.read_bundle(node, &image, is_whole, &mut read);
            self.count(if read.len() > before { "imports" } else { "imports_again" }, 1);
        }
    }

    /// Gives a node what is in a bundle, and notes what of it the node has neither held nor read before.
    fn read_bundle(&mut self, node: usize, image: &Image, is_whole: bool, read: &mut BTreeSet<EntryHash>) {
        let held = image.entries.values().chain(image.strays.values());
        let mut entries: Vec<Arc<CheckedEntry>> = held.cloned().collect();
        if !is_whole {
            entries.truncate(entries.len() / 2);
        }
        for part in entries.chunks(CARRIED_ENTRIES) {
            let Some(replica) = &self.world.nodes[node].replica else { return };
            // A log that the reader does not believe is left out.
            let descriptors = image.logs.values().map(|row| row.descriptor.clone());
            let logs: Vec<_> = descriptors.filter_map(|known| replica.trust().check_log(known).ok()).collect();
            let known = |entry: &&Arc<CheckedEntry>| logs.iter().any(|log| log.id == entry.header().log);
            let entries: Vec<_> = part.iter().filter(known).cloned().collect();
            let disk = self.world.nodes[node].disk.durable();
            let is_new = |entry: &&Arc<CheckedEntry>| {
                disk.entry(entry.header().log, entry.header().seq.0, entry.hash()).is_none()
            };
            read.extend(entries.iter().filter(is_new).map(|entry| entry.hash()));
            self.world.feed(node, Input::Entries { peer: None, request: None, logs, entries });
        }
    }

    /// A member turns hostile.
    pub(super) fn turn_hostile(&mut self, ticket: Ticket, node: usize, action: &Action) {
        if let Some(act) = action.word("act").and_then(Act::from_name) {
            self.acts.push(Hostility { ticket, node, act, is_counted: false });
            self.act_on(node);
            self.count_acts(node);
        }
    }

    /// Counts what a member was told to do as soon as it can: one that is down, or that lost its key and its links,
    /// does nothing.
    pub(super) fn count_acts(&mut self, node: usize) {
        let is_linked = |peer: usize| self.world.is_up(node, peer) || self.world.is_up(peer, node);
        if !self.runs(node) || !(self.members[node] || (0..self.names.len()).any(is_linked)) {
            return;
        }
        let mut count = 0;
        for doing in self.acts.iter_mut().filter(|doing| doing.node == node) {
            count += u64::from(!std::mem::replace(&mut doing.is_counted, true));
        }
        self.count("hostile_acts", count);
    }

    /// What a step made a member do ends; it is not believed to be honest again.
    pub(super) fn stop_act(&mut self, ticket: Ticket, node: usize) {
        self.acts.retain(|doing| doing.ticket != ticket);
        self.act_on(node);
    }

    fn act_on(&mut self, node: usize) {
        let acts: Vec<Act> = self.acts.iter().filter(|doing| doing.node == node).map(|doing| doing.act).collect();
        self.world.make_hostile(node, &acts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::format::verbs::ACTS;

    #[test]
    fn the_format_and_the_simulator_know_the_same_acts() {
        let known: Vec<&str> = Act::ALL.into_iter().map(Act::name).collect();
        assert_eq!(known, ACTS);
    }
}
