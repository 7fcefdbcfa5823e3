//! What a node does for its core: writes, tells, answers; and what it makes of frames that come in.

use std::sync::Arc;

use vatra_model::limits::FRAME_INFLATED_BYTES_MAX;
use vatra_model::wire::Message;
use vatra_model::{CheckedEntry, Class, Entry, codec};
use vatra_replica::{Batch, Effect, Input, Reject};

use crate::sim::checks::told;
use crate::sim::network::{CONTROL, Flying};
use crate::sim::node::{Portion, frames_of};
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
    pub(crate) fn perform(&mut self, index: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Persist(batch) => self.persist(index, batch),
                Effect::Send { peer, message } => {
                    let Some(&to) = self.index.get(&peer) else { continue };
                    self.send(index, to, &message);
                }
                Effect::Push { peers, class, entries } => {
                    for peer in peers {
                        let Some(&to) = self.index.get(&peer) else { continue };
                        self.push(index, to, class, &entries);
                    }
                }
                Effect::Serve { peer, want } => {
                    let Some(&to) = self.index.get(&peer) else { continue };
                    let lane = lane_of(if want.classes.is_urgent() { Class::Priority } else { Class::Bulk });
                    self.nodes[index].serve(to, lane, want);
                    self.pump(index, to);
                }
                Effect::Published { token, log, places } => {
                    self.tally.acknowledged += 1;
                    let node = &mut self.nodes[index];
                    node.pending.remove(&token);
                    for (seq, _) in places {
                        if node.disk.durable().hash(log, seq.0).is_none() {
                            self.violations
                                .push(format!("node {index} acknowledged {log} {seq} before it was durable"));
                        }
                        node.acknowledged.insert((log, seq.0));
                    }
                }
                Effect::Refused { token } => {
                    self.tally.refused += 1;
                    self.nodes[index].pending.remove(&token);
                }
                Effect::Close { peer, .. } => {
                    let Some(&to) = self.index.get(&peer) else { continue };
                    let until = self.now_us + 30_000_000;
                    if let Some(link) = self.link_mut(index, to) {
                        link.banned_until = until;
                    }
                    self.side_down(index, to);
                }
                Effect::TrustChanged => self.close_strangers(index),
                Effect::Event(event) => self.note(index, event),
            }
        }
    }

    fn persist(&mut self, index: usize, batch: Batch) {
        let run = self.nodes[index].run;
        let wait = self.fault_chance.between(self.setup.sync_us.0, self.setup.sync_us.1);
        let own = self.nodes[index].key();
        for entry in &batch.entries {
            let place = (entry.header().log, entry.header().seq.0);
            let signed_here = self.nodes[index].replica.as_ref().is_some_and(|r| r.own_log() == place.0);
            let known = self.ledger.get(&place).is_some_and(|hashes| hashes.contains(&entry.hash()));
            if signed_here && !known {
                self.ledger.entry(place).or_default().insert(entry.hash());
            } else if !known {
                self.violation(format!("node {index} ({own}) writes {place:?}, which no node signed"));
            }
        }
        self.nodes[index].disk.write(batch);
        self.schedule(self.now_us + wait, Event::Synced { node: index, run });
    }

    pub(crate) fn synced(&mut self, index: usize, run: u64) {
        if self.nodes[index].run != run || self.nodes[index].replica.is_none() {
            return;
        }
        if self.nodes[index].disk.is_full {
            if let Some(batch) = self.nodes[index].disk.fail() {
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
            let origin = crate::sim::records::origin_of(self.nodes[index].disk.durable(), &log);
            if origin.is_some_and(|(_, origin)| origin == key) {
                self.tally.written += 1;
            } else {
                self.tally.deliveries += 1;
            }
            if self.nodes[index].disk.durable().hash(log, seq) != Some(entry.hash()) {
                self.violation(format!("node {index} lost {log} {seq} between write and sync"));
            }
            if self.setup.views {
                self.nodes[index].show(entry);
            }
        }
        self.inbox.push_back((index, Input::Persisted { batch: batch.id }));
    }

    /// While its disk refuses, a node tries again now and then.
    pub(crate) fn probe(&mut self, index: usize, run: u64) {
        let node = &mut self.nodes[index];
        let Some(replica) = node.replica.as_mut().filter(|_| node.run == run) else { return };
        if node.disk.is_full {
            return self.schedule(self.now_us + PROBE_US, Event::Probe { node: index, run });
        }
        replica.set_writable(true);
        self.inbox.push_back((index, Input::Tick));
    }

    fn encode(&mut self, message: &Message) -> Arc<[u8]> {
        self.packer.pack(&codec::encode(message)).into()
    }

    fn send(&mut self, index: usize, to: usize, message: &Message) {
        if let Some(early) = told::in_message(&self.nodes[index], message) {
            self.violation(format!("node {index} tells {} before it is durable: {early}", kind(message)));
        }
        self.tally.message(kind(message));
        let bytes = self.encode(message);
        if !self.send_frame(index, to, CONTROL, bytes) && self.is_up(index, to) {
            // Control must not have holes: the link starts anew.
            self.side_down(index, to);
        }
    }

    fn push(&mut self, index: usize, to: usize, class: Class, entries: &[Arc<CheckedEntry>]) {
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
            self.violation(format!("node {index} sends an entry before it is durable: {early}"));
        }
        let node = &mut self.nodes[index];
        let Some(replica) = &node.replica else { return false };
        let told = node.told.entry((to, lane)).or_default();
        let plain: Vec<&Entry> = entries.iter().map(|entry| entry.entry()).collect();
        let frame = told.frame(request, plain, |log| replica.descriptor(log).cloned());
        let bytes = self.encode(&Message::Entries(frame.clone()));
        if !self.send_frame(index, to, lane, bytes) {
            return false;
        }
        self.tally.message(if request.is_some() { "answer" } else { "push" });
        self.nodes[index].told.entry((to, lane)).or_default().sent(&frame);
        true
    }

    /// Puts what waits of answers into their lanes, as far as there is room.
    pub(crate) fn pump(&mut self, index: usize, to: usize) {
        for lane in 1..crate::sim::network::LANES {
            while self.is_up(index, to) && self.pipe(index, to).queued(lane) < PORTIONS_QUEUED_MAX {
                let waiting = self.nodes[index].serving.get(&(to, lane)).and_then(|portions| portions.front());
                let Some(portion) = waiting.cloned() else { break };
                let sent = match portion {
                    Portion::Entries(request, entries) => self.send_entries(index, to, Some(request), lane, &entries),
                    Portion::Done { request, more } => {
                        let message = Message::Done { request, more };
                        self.tally.message(kind(&message));
                        let bytes = self.encode(&message);
                        self.send_frame(index, to, lane, bytes)
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

    pub(crate) fn receive(&mut self, from: usize, to: usize, flying: &Flying) {
        self.history.note(self.now_us, to, &flying.bytes);
        match self.open(from, to, flying) {
            Ok(Some(input)) => {
                self.inbox.push_back((to, input));
                self.drain();
            }
            Ok(None) => {}
            Err(reject) => *self.tally.rejected.entry(reject.to_string()).or_insert(0) += 1,
        }
    }

    fn open(&mut self, from: usize, to: usize, flying: &Flying) -> Result<Option<Input>, Reject> {
        let malformed = |detail: String| Reject::Malformed { what: "frame", detail };
        let plain =
            self.packer.unpack(&flying.bytes, FRAME_INFLATED_BYTES_MAX).map_err(|e| malformed(e.to_string()))?;
        let message: Message = codec::decode(&plain, "a message").map_err(|e| malformed(e.to_string()))?;
        let peer = self.nodes[from].key();
        let node = &mut self.nodes[to];
        let Some(replica) = &node.replica else { return Ok(None) };
        Ok(match message {
            Message::Entries(frame) => {
                let heard = node.heard.entry((from, flying.lane)).or_default();
                let received = heard.open(replica.trust(), frame)?;
                self.tally.copies += received.entries.len() as u64;
                if received.request.is_some() {
                    self.tally.fetched += received.entries.len() as u64;
                }
                let (request, logs, entries) = (received.request, received.logs, received.entries);
                Some(Input::Entries { peer: Some(peer), request, logs, entries })
            }
            Message::Beacon(signed) => {
                let beacon = replica.trust().check_beacon(signed)?;
                beacon.map(|beacon| Input::Beacon { peer, beacon: Box::new(beacon) })
            }
            message => Some(Input::Message { peer, message: Box::new(message) }),
        })
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
    }
}
