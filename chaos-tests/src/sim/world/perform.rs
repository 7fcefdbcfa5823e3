//! What a node does for its core: writes, tells, answers; and what it makes of frames that come in.

use std::sync::Arc;

use vatra_model::wire::Message;
use vatra_model::{CheckedEntry, Class, SignedHeader, codec};
use vatra_replica::{Batch, Effect, Input};

use crate::sim::checks::{s5_forks, told};
use crate::sim::network::{CONTROL, Frame};
use crate::sim::node::{Portion, entry_bytes, frames_of};
use crate::sim::planted::Bug;
use crate::sim::signatures::Fidelity;
use crate::sim::sizes::packed_bytes;
use crate::sim::world::{Event, World};

/// Pushes that are remembered for each peer.
const PUSHED_MAX: usize = 20;
/// Time between tries to write to a disk that refused.
const PROBE_US: u64 = 1_000_000;
/// Portions of an answer that may be in a lane's queue at once.
const PORTIONS_QUEUED_MAX: usize = 2;

pub(crate) fn lane_of(class: Class) -> usize {
    class as usize + 1
}

impl World {
    pub(crate) fn perform(&mut self, index: usize, effects: &mut Vec<Effect>) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Persist(batch) => self.persist(index, batch),
                Effect::Send { peer, message } => {
                    let Some(to) = self.index_of(index, &peer) else { continue };
                    self.send(index, to, message);
                }
                Effect::Push { peers, class, entries } => {
                    let entries = self.pushed_by(index, entries);
                    for peer in peers {
                        let Some(to) = self.index_of(index, &peer) else { continue };
                        self.push(index, to, class, &entries);
                    }
                }
                Effect::Serve { peer, want } => {
                    let Some(to) = self.index_of(index, &peer) else { continue };
                    let lane = lane_of(want.classes.answered_as());
                    self.serve(index, to, lane, want);
                    self.pump(index, to);
                }
                Effect::ServeStrays { peer, request, log, items } => {
                    let Some(to) = self.index_of(index, &peer) else { continue };
                    self.serve_strays(index, to, request, log, &items);
                    self.pump(index, to);
                }
                Effect::ServeHeader { peer, log, seq } => {
                    let Some(to) = self.index_of(index, &peer) else { continue };
                    let node = &self.nodes[index];
                    let header = node.disk.durable().entries.get((log, seq));
                    let header = header.filter(|_| !node.damaged.contains(&(log, seq)));
                    let header = header.map(|entry| SignedHeader::of(entry.entry()));
                    self.send(index, to, Message::Header { log, seq, header });
                }
                Effect::Recall { log, from, count_max, stray } => {
                    let disk = &self.nodes[index].disk;
                    let headers = disk.recall(log, from, count_max, &self.nodes[index].damaged);
                    let stray = stray.and_then(|(seq, hash)| disk.durable().entry(log, seq, hash));
                    let stray = stray.map(|entry| Box::new(SignedHeader::of(entry.entry())));
                    self.inbox.push_back((index, Input::Recalled { log, from, count_max, headers, stray }));
                }
                Effect::Published { token, log, places } => {
                    self.tally.acknowledged += 1;
                    self.watch.answered(index, token, self.now_us);
                    self.watch.recoveries[index].acknowledge();
                    let node = &mut self.nodes[index];
                    node.pending.remove(&token);
                    for (seq, _) in places {
                        match node.disk.durable().hash(log, seq.0) {
                            Some(hash) => drop(node.acknowledged.insert((log, seq.0, hash))),
                            None => self
                                .violations
                                .push(format!("node {index} acknowledged {log}/{seq} before it was durable (P2)")),
                        }
                    }
                }
                Effect::Refused { token } => {
                    self.tally.refused += 1;
                    self.refused(index, token);
                    self.nodes[index].pending.remove(&token);
                }
                Effect::Close { peer, .. } => {
                    let Some(to) = self.index_of(index, &peer) else { continue };
                    let until = self.now_us + 30_000_000;
                    if let Some(link) = self.link_mut(index, to) {
                        link.banned_until = until;
                    }
                    self.side_down(index, to);
                }
                Effect::TrustChanged => {
                    let retracted = self.nodes[index].heed(&self.setup, &mut self.readings);
                    self.tally.bite_times("retracted", retracted as u64);
                    self.remember_evidence(index);
                    self.close_strangers(index);
                }
                Effect::Event(event) => self.note(index, event),
            }
        }
    }

    fn persist(&mut self, index: usize, batch: Arc<Batch>) {
        let run = self.nodes[index].run;
        let (low, high) = self.nodes[index].slow_sync_us.unwrap_or(self.setup.sync_us);
        self.tally.bite_times("slow_syncs", u64::from(self.nodes[index].slow_sync_us.is_some()));
        let wait = self.fault_chance.between(low, high);
        let own = self.nodes[index].key();
        for entry in &batch.entries {
            let place = (entry.header().log, entry.header().seq.0);
            let signed_here = self.nodes[index].replica.as_ref().is_some_and(|r| r.own_log() == place.0);
            let known = self.ledger.get(place).is_some_and(|hashes| hashes.contains(&entry.hash()));
            if signed_here && !known {
                self.ledger.at(place).insert(entry.hash());
                self.checked.note(entry);
            } else if !known {
                let (log, seq) = place;
                self.violation(format!("node {index} ({own}) writes {log}/{seq}, which no node signed"));
            }
        }
        self.spoil_write(index, &batch);
        self.nodes[index].disk.write(batch);
        self.schedule(self.now_us + wait, Event::Synced { node: index, run });
    }

    pub(crate) fn synced(&mut self, index: usize, run: u64) {
        if self.nodes[index].run != run || self.nodes[index].replica.is_none() {
            return;
        }
        if self.nodes[index].is_paused {
            return self.nodes[index].deferred.push(Event::Synced { node: index, run });
        }
        if self.write_fails(index) {
            if let Some(batch) = self.nodes[index].disk.fail() {
                if self.is_planted(Bug::FailedWriteTakenForWritten) {
                    return self.inbox.push_back((index, Input::Persisted { batch: batch.id }));
                }
                let logs = self.nodes[index].disk.logs();
                self.inbox.push_back((index, Input::PersistFailed { batch: batch.id, logs }));
                if let Some(replica) = &mut self.nodes[index].replica {
                    replica.set_writable(false);
                }
                self.schedule(self.now_us + PROBE_US, Event::Probe { node: index, run });
            }
            return;
        }
        let Some(batch) = self.nodes[index].disk.sync() else { return };
        self.nodes[index].disk.follow_life();
        let key = self.nodes[index].key();
        for entry in &batch.entries {
            let (log, seq) = (entry.header().log, entry.header().seq.0);
            self.history.note(self.now_us, index, &entry.hash().0);
            if !batch.strays.contains(&entry.hash()) {
                self.nodes[index].damaged.remove(&(log, seq));
            }
            if batch.mended.contains(&entry.hash()) {
                continue;
            }
            let origin = self.nodes[index].disk.durable().origin(&log);
            if origin.is_some_and(|(_, origin)| origin == key) {
                self.tally.written += 1;
                if let Some(fork) = s5_forks::of_own(self, index, (log, seq), entry.hash()) {
                    self.violation(fork);
                }
                self.delays.written(index, self.now_us, (log, seq));
            } else {
                self.tally.deliveries += 1;
                self.tally.delivered_bytes += entry_bytes(entry) as u64;
                self.delays.delivered(index, self.now_us, (log, seq));
            }
            if self.nodes[index].disk.durable().entry(log, seq, entry.hash()).is_none() {
                self.violation(format!("node {index} lost {log}/{seq} between write and sync"));
            }
            if self.setup.views {
                self.nodes[index].show(entry, &mut self.readings);
            }
        }
        self.watch.subscribers[index].read(self.nodes[index].disk.durable());
        for fork in &batch.forks {
            self.tally.forks += 1;
            self.history.note(self.now_us, index, &fork.log.0);
        }
        let told_already = self.is_planted(Bug::AcknowledgedBeforeDurable);
        let never_told = self.is_planted(Bug::DurableNeverTold) && batch.id.is_multiple_of(7);
        if !told_already && !never_told {
            self.inbox.push_back((index, Input::Persisted { batch: batch.id }));
        }
    }

    /// While its disk refuses, a node tries again now and then.
    pub(crate) fn probe(&mut self, index: usize, run: u64) {
        let node = &mut self.nodes[index];
        if node.is_paused {
            return node.deferred.push(Event::Probe { node: index, run });
        }
        let Some(replica) = node.replica.as_mut().filter(|_| node.run == run) else { return };
        if node.disk.is_full {
            return self.schedule(self.now_us + PROBE_US, Event::Probe { node: index, run });
        }
        replica.set_writable(true);
        self.inbox.push_back((index, Input::Tick));
    }

    pub(crate) fn encode(&mut self, message: Message) -> Frame {
        match self.setup.fidelity {
            Fidelity::Real => Frame::Packed(self.pack(&message)),
            Fidelity::Fast => {
                let bytes = packed_bytes(&message);
                Frame::Plain(Arc::new(message), bytes)
            }
        }
    }

    pub(crate) fn pack(&mut self, message: &Message) -> Arc<[u8]> {
        self.packer.pack(&codec::encode(message)).into()
    }

    pub(crate) fn send(&mut self, index: usize, to: usize, message: Message) {
        let Some(message) = self.rewrite(index, to, message) else { return };
        let told_before = self.nodes[index].tells_again(&message);
        if self.is_honest(index)
            && !told_before
            && let Some(early) = told::in_message(&self.nodes[index], &message)
        {
            self.violation(format!("node {index} tells {} before it is durable: {early} (P2)", kind(&message)));
        }
        self.tally.message(kind(&message));
        self.watch.asking.entry((index, to)).or_default().sent(&message);
        let frame = self.encode(message);
        self.tally.control_bytes += frame.bytes() as u64;
        if !self.send_frame(index, to, CONTROL, frame) && self.is_up(index, to) {
            // Control must not have holes: the link starts anew.
            self.side_down(index, to);
        }
    }

    fn push(&mut self, index: usize, to: usize, class: Class, entries: &[Arc<CheckedEntry>]) {
        let class = if self.is_planted(Bug::FlashBehindBulk) { Class::Bulk } else { class };
        for group in frames_of(entries) {
            let pushed = self.nodes[index].pushed.entry(to).or_default();
            pushed.extend(group.iter().cloned());
            while pushed.len() > PUSHED_MAX {
                pushed.pop_front();
            }
            if !self.send_entries(index, to, None, lane_of(class), &group) && self.is_up(index, to) {
                self.tally.shed += 1;
                let peer = self.nodes[to].key();
                self.inbox.push_back((index, Input::Shed { peer }));
            }
        }
    }

    /// Frames entries and queues them; `false` if the lane is full or the link is down.
    pub(crate) fn send_entries(
        &mut self,
        index: usize,
        to: usize,
        request: Option<u32>,
        lane: usize,
        entries: &[Arc<CheckedEntry>],
    ) -> bool {
        if let Some(early) = told::in_entries(&self.nodes[index], entries) {
            self.violation(format!("node {index} sends an entry before it is durable: {early} (P2)"));
        }
        let node = &mut self.nodes[index];
        let Some(replica) = &node.replica else { return false };
        let told = node.told.entry((to, lane)).or_default();
        let plain = entries.iter().map(|entry| entry.entry());
        let mut frame = told.frame(request, plain, |log| replica.descriptor(log).cloned());
        let after = frame.runs.iter().any(|run| !told.knows(&run.log)).then(|| {
            let mut after = told.clone();
            after.sent(&frame);
            after
        });
        self.hollow_out(index, &mut frame);
        self.rename_owners(index, &mut frame);
        let frame = self.encode(Message::Entries(frame));
        if !self.send_frame(index, to, lane, frame) {
            return false;
        }
        self.tally.message(if request.is_some() { "answer" } else { "push" });
        if let Some(after) = after {
            self.nodes[index].told.insert((to, lane), after);
        }
        true
    }

    /// Puts what waits of answers into their lanes, as far as there is room.
    pub(crate) fn pump(&mut self, index: usize, to: usize) {
        if self.nodes[index].is_paused {
            return;
        }
        for lane in 1..crate::sim::network::LANES {
            while self.is_up(index, to) && self.pipe(index, to).queued(lane) < PORTIONS_QUEUED_MAX {
                let waiting = self.nodes[index].serving.get(&(to, lane)).and_then(|portions| portions.front());
                let Some(portion) = waiting.cloned() else { break };
                let sent = match portion {
                    Portion::Entries(request, entries) => self.send_entries(index, to, Some(request), lane, &entries),
                    Portion::Done { request, more } => {
                        let message = Message::Done { request, more };
                        self.tally.message(kind(&message));
                        let frame = self.encode(message);
                        self.send_frame(index, to, lane, frame)
                    }
                };
                if !sent {
                    break;
                }
                if let Some(portions) = self.nodes[index].serving.get_mut(&(to, lane)) {
                    portions.pop_front();
                }
            }
        }
    }

    /// The mesh closes links to nodes that are no longer admitted.
    fn close_strangers(&mut self, index: usize) {
        for peer in self.peers_of(index) {
            let key = self.nodes[peer].key();
            let admitted = self.nodes[index].replica.as_ref().is_some_and(|r| r.trust().node(&key).is_some());
            if !admitted && self.is_up(index, peer) {
                self.side_down(index, peer);
            }
        }
    }
}

/// The name of a message's kind.
pub(crate) fn kind(message: &Message) -> &'static str {
    match message {
        Message::Hello(_) => "hello",
        Message::WantCharter { .. } => "want charter",
        Message::Charter { .. } => "charter",
        Message::Frontier(_) => "frontier",
        Message::Beacon(_) => "beacon",
        Message::Have { .. } => "have",
        Message::Want(_) => "want",
        Message::Entries(_) => "entries",
        Message::Done { .. } => "done",
        Message::Fork(_) => "fork",
        Message::Probe { .. } => "probe",
        Message::Header { .. } => "header",
        Message::WantStrayList { .. } => "want stray list",
        Message::StrayList(_) => "stray list",
        Message::WantStrays { .. } => "want strays",
        Message::Resume { .. } => "resume",
        Message::Pulses { .. } => "pulses",
    }
}
