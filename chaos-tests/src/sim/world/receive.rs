//! What a node makes of frames that come in, whole or damaged.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use vatra_model::codec;
use vatra_model::limits::FRAME_INFLATED_BYTES_MAX;
use vatra_model::wire::Message;
use vatra_replica::{Input, Reject, UNASKED};

use crate::sim::checks::o4_no_panic;
use crate::sim::network::{Flying, Frame};
use crate::sim::planted::Bug;
use crate::sim::world::World;
use crate::sim::world::perform::kind;

/// Bytes of one frame that are damaged at most.
const DAMAGED_BYTES_MAX: u64 = 8;

impl World {
    pub(crate) fn receive(&mut self, from: usize, to: usize, flying: Flying) {
        match self.open(from, to, flying) {
            Ok(Some(input)) => {
                self.inbox.push_back((to, input));
                self.drain();
            }
            Ok(None) => {}
            Err(reject) => *self.tally.rejected.entry(reject.to_string()).or_insert(0) += 1,
        }
    }

    fn open(&mut self, from: usize, to: usize, flying: Flying) -> Result<Option<Input>, Reject> {
        let bytes = flying.frame.bytes();
        let message = match flying.frame {
            Frame::Plain(message, _) => Arc::unwrap_or_clone(message),
            Frame::Packed(bytes) => self.unpack(&bytes)?,
        };
        self.history.note(self.now_us, to, kind(&message).as_bytes());
        self.history.note(bytes as u64, flying.lane, &[]);
        let peer = self.nodes[from].key();
        let node = &mut self.nodes[to];
        let Some(replica) = &node.replica else { return Ok(None) };
        Ok(match message {
            Message::Entries(frame) => {
                let heard = node.heard.entry((from, flying.lane)).or_default();
                let checked = &self.checked;
                let received = heard.open_knowing(replica.trust(), frame, &mut |signature| checked.get(signature))?;
                self.tally.copies += received.entries.len() as u64;
                if let Some(request) = received.request {
                    self.watch.asking.entry((to, from)).or_default().got(request);
                    self.tally.fetched += received.entries.len() as u64;
                    self.tally.unasked += if request == UNASKED { received.entries.len() as u64 } else { 0 };
                }
                if let Some(kept) = &mut self.history.kept {
                    let hashes = received.entries.iter().map(|entry| entry.hash());
                    kept.arrived(self.now_us, to, from, received.request.is_some(), hashes);
                }
                let (request, entries) = (received.request, received.entries);
                Some(Input::Entries { peer: Some(peer), request, logs: heard.logs_of(&entries), entries })
            }
            Message::Beacon(signed) => {
                let beacon = self.beacons.check(replica.trust(), signed)?;
                beacon.map(|beacon| Input::Beacon { peer, beacon: Box::new(beacon) })
            }
            Message::Done { request, more } => {
                self.watch.asking.entry((to, from)).or_default().answered(request);
                Some(Input::Message { peer, message: Box::new(Message::Done { request, more }) })
            }
            message => Some(Input::Message { peer, message: Box::new(message) }),
        })
    }

    fn unpack(&mut self, bytes: &[u8]) -> Result<Message, Reject> {
        let malformed = |detail: String| Reject::Malformed { what: "frame", detail };
        let plain = self.packer.unpack(bytes, FRAME_INFLATED_BYTES_MAX).map_err(|e| malformed(e.to_string()))?;
        codec::decode(&plain, "a message").map_err(|e| malformed(e.to_string()))
    }

    /// A frame whose damage nothing below the decoder noticed: whatever is made of it, nothing that its sender did
    /// not sign may come out, and nothing may panic. The frame itself follows, as a retransmission would.
    pub(crate) fn open_damaged(&mut self, from: usize, to: usize, flying: &Flying) {
        let mut bytes = match &flying.frame {
            Frame::Packed(bytes) => bytes.to_vec(),
            Frame::Plain(message, _) => self.pack(message).to_vec(),
        };
        for _ in 0..self.fault_chance.between(1, DAMAGED_BYTES_MAX) {
            let place = self.fault_chance.below(bytes.len() as u64) as usize;
            let flips = self.fault_chance.between(1, 255) as u8;
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= flips;
            }
        }
        let planted = self.is_planted(Bug::DecoderPanics);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let opened = self.open_copy(from, to, flying.lane, &bytes);
            assert!(!(planted && opened.is_err()), "a planted panic at a damaged frame");
            opened
        }));
        match outcome {
            Ok(Ok(forged)) => forged.into_iter().for_each(|what| self.violation(what)),
            Ok(Err(_)) => self.tally.bite("refused_damage"),
            Err(panic) => self.violation(o4_no_panic::describe(to, "a damaged frame", panic.as_ref())),
        }
    }

    /// Opens a frame without telling the node: what its signatures let through and nobody signed.
    fn open_copy(&mut self, from: usize, to: usize, lane: usize, bytes: &[u8]) -> Result<Vec<String>, Reject> {
        let message = self.unpack(bytes)?;
        let node = &self.nodes[to];
        let Some(replica) = &node.replica else { return Ok(Vec::new()) };
        match message {
            Message::Entries(frame) => {
                let mut heard = node.heard.get(&(from, lane)).cloned().unwrap_or_default();
                let received = heard.open(replica.trust(), frame)?;
                let unsigned = received.entries.iter().filter(|entry| {
                    let place = (entry.header().log, entry.header().seq.0);
                    !self.ledger.get(place).is_some_and(|signed| signed.contains(&entry.hash()))
                });
                let forged = |place: &vatra_model::EntryHeader| {
                    format!("node {to} believes a damaged entry {}/{} (S3)", place.log, place.seq)
                };
                Ok(unsigned.map(|entry| forged(entry.header())).collect())
            }
            Message::Beacon(signed) => replica.trust().check_beacon(signed).map(|_| Vec::new()),
            _ => Ok(Vec::new()),
        }
    }
}
