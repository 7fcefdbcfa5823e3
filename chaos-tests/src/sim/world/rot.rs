//! Rows that a disk no longer gives back: how they come about, are noticed, and are mended or given up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use vatra_model::{Class, EntryHash, LogId, Seq};
use vatra_replica::Input;

use crate::sim::checks::o1_damage;
use crate::sim::disk::Keep;
use crate::sim::node::Portion;
use crate::sim::planted::Bug;
use crate::sim::world::World;
use crate::sim::world::perform::lane_of;

/// A start reads the entries past the height that a log's row tells, which is written in steps of so many.
const ROW_STEP: u64 = 16;

impl World {
    /// Entries of a node's disk, some chosen by chance, can no longer be read.
    pub fn flip_bits(&mut self, node: usize, rows: usize) {
        let mut places: Vec<(LogId, u64)> = self.nodes[node].disk.durable().entries.keys().collect();
        self.fault_chance.shuffle(&mut places);
        for place in places.into_iter().take(rows) {
            self.tally.bite_times("flips", u64::from(self.nodes[node].damaged.insert(place)));
        }
    }

    /// A node looks through its store and finds what cannot be read.
    pub fn scrub(&mut self, node: usize) {
        if self.is_planted(Bug::DamagedRowServed) || self.nodes[node].replica.is_none() {
            return;
        }
        let places: Vec<(LogId, u64)> = self.nodes[node].damaged.iter().copied().collect();
        self.tell_damage(node, places);
        self.drain();
    }

    fn tell_damage(&mut self, node: usize, places: Vec<(LogId, u64)>) {
        let mut by_log: BTreeMap<LogId, Vec<Seq>> = BTreeMap::new();
        for (log, seq) in places {
            by_log.entry(log).or_default().push(Seq(seq));
        }
        self.inbox.extend(by_log.into_iter().map(|(log, places)| (node, Input::Damaged { log, places })));
    }

    /// Answers a request from a node's disk; rows that cannot be read are told and left out.
    pub(crate) fn serve(&mut self, index: usize, to: usize, lane: usize, want: vatra_model::wire::Want) {
        if self.withholds_answer(index) {
            return;
        }
        let before = self.nodes[index].serving.get(&(to, lane)).map_or(0, VecDeque::len);
        let unreadable = self.nodes[index].serve(to, lane, want);
        self.check_answer(index, (to, lane), before);
        self.tally.bite_times("flips_met", unreadable.len() as u64);
        self.tell_damage(index, unreadable);
        if self.is_planted(Bug::AnsweredTwice) {
            let _ = self.nodes[index].serve(to, lane, want);
        }
    }

    /// The same for strays.
    pub(crate) fn serve_strays(
        &mut self,
        index: usize,
        to: usize,
        request: u32,
        log: LogId,
        items: &[(u64, EntryHash)],
    ) {
        let lane = lane_of(Class::Bulk);
        let before = self.nodes[index].serving.get(&(to, lane)).map_or(0, VecDeque::len);
        self.nodes[index].serve_strays(to, lane, request, log, items);
        self.check_answer(index, (to, lane), before);
    }

    /// What was just read for an answer was readable; what rots after that was read in time.
    fn check_answer(&mut self, index: usize, line: (usize, usize), before: usize) {
        let node = &self.nodes[index];
        let read = node.serving.get(&line).into_iter().flat_map(|portions| portions.iter().skip(before));
        let entries = read.filter_map(|portion| match portion {
            Portion::Entries(_, entries) => Some(entries),
            Portion::Done { .. } => None,
        });
        let damaged: Vec<String> = entries.filter_map(|entries| o1_damage::in_answer(node, entries)).collect();
        for damaged in damaged {
            self.violation(format!("node {index} sends a row that it cannot read: {damaged} (O1)"));
        }
    }

    /// What a start does about rows that it reads and that are damaged: they count as missing, and peers are asked.
    pub(crate) fn drop_damaged(&mut self, node: usize) {
        let disk = self.nodes[node].disk.durable();
        let is_read = |(log, seq): &&(LogId, u64)| {
            let height = disk.logs.get(log).map_or(0, |row| row.head.height);
            *seq >= height - height % ROW_STEP
        };
        let read = self.nodes[node].damaged.iter().filter(is_read).copied().collect();
        self.drop_rows(node, read);
    }

    /// Of what cannot be read and no other of these nodes can give, no copy is left: the node starts anew without it.
    pub(crate) fn give_up_lost(&mut self, node: usize, among: &[usize]) {
        let has = |other: usize, place: &(LogId, u64)| {
            // Another branch of a fork is no copy.
            let (own, other) = (&self.nodes[node], &self.nodes[other]);
            let hash = own.disk.durable().hash(place.0, place.1);
            other.disk.durable().hash(place.0, place.1) == hash && !other.damaged.contains(place)
        };
        let is_elsewhere = |place: &(LogId, u64)| among.iter().any(|other| *other != node && has(*other, place));
        let is_stray = |(log, seq): &(LogId, u64)| self.nodes[node].disk.durable().is_stray(log, *seq);
        let damaged = self.nodes[node].damaged.iter().copied();
        let lost: BTreeSet<_> = damaged.filter(|place| is_stray(place) || !is_elsewhere(place)).collect();
        if lost.is_empty() {
            return;
        }
        self.crash(node, Keep::Unsynced);
        self.drop_rows(node, lost);
        self.start(node);
    }

    /// Rows are gone for good on a disk whose node does not run.
    fn drop_rows(&mut self, node: usize, places: BTreeSet<(LogId, u64)>) {
        let held = &self.nodes[node].disk.durable().entries;
        let still: BTreeSet<(LogId, u64)> = places.iter().filter(|place| held.contains(**place)).copied().collect();
        if self.is_planted(Bug::DamagedRowServed) {
            return;
        }
        self.nodes[node].damaged.retain(|place| !places.contains(place));
        if still.is_empty() {
            return;
        }
        self.tally.bite_times("flips_found", still.len() as u64);
        let certificate = self.nodes[node].site.certificate.certificate().clone();
        let life = self.nodes[node].disk.durable().life;
        let own = life.map(|life| certificate.log(life.incarnation, &vatra_model::AudienceId::FEDERATION));
        let mut image = self.nodes[node].disk.backup();
        image.entries.retain(|place| !still.contains(&place));
        // What others hold must come back; what nobody else held is gone with its row.
        self.owe_what_is_not_in(node, &image);
        self.nodes[node].disk.drop_rows(&still, own);
        self.forget_what_is_nowhere();
    }
}
