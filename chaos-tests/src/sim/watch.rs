//! What the invariants remember while a world runs. Each keeps its own part; this file hands them what happens.

use std::collections::{BTreeMap, BTreeSet};

use crate::sim::checks::s1_acknowledged::Place;
use crate::sim::checks::{
    l1_local_writes, l3_no_storm, l4_recovery, o1_damage, r1_memory, r2_disk, r3_queues, s6_session, s8_stream,
};
use crate::sim::world::World;

/// Time between two looks at everything cheap, in microseconds.
const LOOK_US: u64 = 1_000_000;

/// Everything that is remembered.
#[derive(Default)]
pub struct Watch {
    /// L1.
    pub writes: Vec<l1_local_writes::Writes>,
    /// L3.
    pub storm: Vec<l3_no_storm::Load>,
    /// L3: what nodes ask others for, by both.
    pub asking: BTreeMap<(usize, usize), l3_no_storm::Asking>,
    /// L4.
    pub recoveries: Vec<l4_recovery::Recovery>,
    /// S6.
    pub sessions: Vec<s6_session::Session>,
    /// S11: what lay past the end of its log, and stays as evidence.
    pub evidence: Vec<BTreeSet<Place>>,
    /// S8.
    pub subscribers: Vec<s8_stream::Subscriber>,
    /// R1: the most bytes that a core held.
    pub core_bytes_max: usize,
    /// R3: the most frames that waited in one direction of a link.
    pub queued_max: usize,
    next_look_us: u64,
}

impl Watch {
    /// Room for one node more.
    pub fn grow(&mut self, node: usize) {
        let count = node + 1;
        self.writes.resize_with(count.max(self.writes.len()), Default::default);
        self.storm.resize_with(count.max(self.storm.len()), Default::default);
        self.recoveries.resize_with(count.max(self.recoveries.len()), Default::default);
        self.evidence.resize_with(count.max(self.evidence.len()), Default::default);
        self.sessions.resize_with(count.max(self.sessions.len()), Default::default);
        self.subscribers.resize_with(count.max(self.subscribers.len()), Default::default);
    }

    pub(crate) fn began(&mut self, node: usize, token: u64, at: u64) {
        self.writes[node].begin(token, at);
        self.recoveries[node].ask(at);
    }

    pub(crate) fn answered(&mut self, node: usize, token: u64, at: u64) {
        self.writes[node].answer(token, at);
    }

    /// Nobody blames a node for writes that were under way until now.
    pub(crate) fn excuse(&mut self, node: usize, at: u64) {
        self.writes[node].excuse(at);
    }

    pub(crate) fn dialled(&mut self, a: usize, _b: usize) {
        self.storm[a].dials += 1;
    }

    pub(crate) fn sent(&mut self, from: usize, bytes: usize) {
        self.storm[from].bytes += bytes as u64;
        self.storm[from].frames += 1;
    }
}

impl World {
    /// Every second of the world: what is cheap to check is checked.
    pub(crate) fn look_in_time(&mut self) {
        if self.now_us < self.watch.next_look_us {
            return;
        }
        self.watch.next_look_us = self.now_us + LOOK_US;
        let mut found = l1_local_writes::check(self);
        found.extend(l3_no_storm::check(self));
        found.extend(l4_recovery::check(self));
        found.extend(r1_memory::check(self));
        found.extend(r2_disk::check(self));
        found.extend(r3_queues::check(self));
        for what in found {
            self.violation(what);
        }
    }

    /// A node is about to stop: what it showed is remembered.
    pub(crate) fn remember_shown(&mut self, node: usize) {
        if self.setup.views && self.nodes[node].replica.is_some() {
            let (session, stopped) = (&mut self.watch.sessions[node], &self.nodes[node]);
            session.remember(&stopped.views, stopped.disk.durable().past_end().count());
        }
    }

    /// A node goes by a newer charter: what that leaves past the ends of logs stays on its disk.
    pub(crate) fn remember_evidence(&mut self, node: usize) {
        let past_end = self.nodes[node].disk.durable().past_end();
        let places = past_end.map(|entry| (entry.header().log, entry.header().seq.0, entry.hash()));
        self.watch.evidence[node].extend(places);
    }

    /// A node has started from its disk.
    pub(crate) fn check_start(&mut self, node: usize) {
        let mut found = Vec::new();
        if self.setup.views {
            let (session, started) = (&mut self.watch.sessions[node], &self.nodes[node]);
            found.extend(session.compare(node, &started.views, started.disk.durable().past_end().count()));
        }
        found.into_iter().for_each(|what| self.violation(what));
    }

    /// A node has looked through its store after a start.
    pub(crate) fn check_damage(&mut self, node: usize) {
        for what in o1_damage::at_start(self, node) {
            self.violation(what);
        }
    }

    /// A node's store was replaced: what it showed before need not come back by itself.
    pub(crate) fn forget_shown(&mut self, node: usize) {
        self.watch.sessions[node] = Default::default();
        self.watch.evidence[node].clear();
    }
}
