//! What a hostile node says that is not an entry: frames that are no messages, heights and heads that nobody holds,
//! requests for everything.

use vatra_model::wire::{EntriesFrame, FrontierDigest, Message, Run, RunEntry, Want, WantClasses};
use vatra_model::{EntryHash, LogId};

use super::Hostile;
use crate::sim::network::{CONTROL, Frame, LANES};
use crate::sim::world::World;

impl World {
    /// Bytes that are no frame, and messages with parts that cannot be.
    pub(super) fn send_malformed(&mut self, node: usize, hostile: &mut Hostile) {
        let mut noise = vec![0; hostile.chance.between(0, 300) as usize];
        noise.iter_mut().for_each(|byte| *byte = hostile.chance.below(256) as u8);
        let mut cut = self.pack(&Message::Have { heights: vec![(LogId([1; 16]), 5); 20] }).to_vec();
        cut.truncate(hostile.chance.below(cut.len() as u64) as usize);
        let part = RunEntry {
            hlc: 0,
            class: 99,
            expires_hours: u32::MAX,
            signature: [0; 64],
            changes: Vec::new(),
            changes_len: Some(u32::MAX),
        };
        let run = Run { log: LogId([2; 16]), first: u64::MAX, prev: EntryHash::ZERO, entries: vec![part] };
        let frame = EntriesFrame { request: Some(0), logs: Vec::new(), runs: vec![run; 50] };
        let own = self.nodes[node].replica.as_ref().map(vatra_replica::Replica::own_log).unwrap_or(LogId([0; 16]));
        let empty = Run { log: own, first: u64::MAX, prev: EntryHash::ZERO, entries: Vec::new() };
        for peer in self.peers_of(node) {
            let lane = hostile.chance.below(LANES as u64) as usize;
            for bytes in [noise.clone(), cut.clone()] {
                self.send_frame(node, peer, lane, Frame::Packed(bytes.into()));
            }
            self.send_by_hand(node, peer, lane, Message::Entries(frame.clone()));
            let request = Some(u32::MAX);
            let nothing = EntriesFrame { request, logs: Vec::new(), runs: vec![empty.clone()] };
            self.send_by_hand(node, peer, lane, Message::Entries(nothing));
            self.send_by_hand(node, peer, CONTROL, Message::Done { request: 77, more: true });
        }
    }

    fn known_logs(&self, node: usize) -> Vec<LogId> {
        self.nodes[node].disk.durable().logs.keys().copied().collect()
    }

    /// Heights that nobody can hold, of every log and of logs that do not exist.
    pub(super) fn claim_everything(&mut self, node: usize, hostile: &mut Hostile) {
        let mut heights: Vec<(LogId, u64)> =
            self.known_logs(node).into_iter().map(|log| (log, u64::MAX - hostile.chance.below(100))).collect();
        heights.extend((0..20).map(|_| (LogId(hostile.chance.nonce()), 1 << 60)));
        for peer in self.peers_of(node) {
            self.send_by_hand(node, peer, CONTROL, Message::Have { heights: heights.clone() });
        }
    }

    /// Heads of others' logs that nobody signed.
    pub(super) fn invent_heads(&mut self, node: usize, hostile: &mut Hostile) {
        let heads = |row: &vatra_replica::LogRow| row.head.height;
        let disk = self.nodes[node].disk.durable();
        let mut invented: Vec<(LogId, u64, EntryHash)> = disk
            .logs
            .iter()
            .map(|(log, row)| (*log, heads(row) + hostile.chance.below(2), EntryHash([9; 32])))
            .collect();
        invented.push((LogId(hostile.chance.nonce()), u64::MAX, EntryHash([8; 32])));
        for peer in self.peers_of(node) {
            let digest = FrontierDigest { complete: true, heads: invented.clone() };
            self.send_by_hand(node, peer, CONTROL, Message::Frontier(digest));
        }
    }

    /// Everything of every log, with the largest budget.
    pub(super) fn ask_for_all(&mut self, node: usize, hostile: &mut Hostile) {
        for log in self.known_logs(node) {
            for peer in self.peers_of(node) {
                let request = hostile.chance.below(u64::from(u32::MAX)) as u32;
                let want = Want { request, log, from: 0, to: u64::MAX, classes: WantClasses::All, budget: u32::MAX };
                self.send_by_hand(node, peer, CONTROL, Message::Want(want));
            }
        }
    }
}
