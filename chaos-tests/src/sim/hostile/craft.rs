//! Entries that a hostile key signs by hand, past the core that would not.

use std::sync::Arc;

use vatra_model::certificate::SignedCertificate;
use vatra_model::entry::Slot;
use vatra_model::keys::LABEL_ENTRY;
use vatra_model::wire::{EntriesFrame, LogDescriptor, Message, Run, RunEntry, WireSlot};
use vatra_model::{
    AudienceId, Change, ChangeId, CheckedEntry, Class, Edit, Entry, EntryDraft, EntryHash, Hlc, LogId, Realm, RecordId,
    SectionId, Seq,
};

use super::{Act, FLOOD_ENTRIES, Hostile};
use crate::sim::network::CONTROL;
use crate::sim::workload;
use crate::sim::world::World;
use crate::sim::world::perform::lane_of;

/// Where an entry by hand stands.
struct Place {
    log: LogId,
    seq: u64,
    prev: EntryHash,
    hlc: Hlc,
}

impl World {
    /// The place after the newest entry of a node's own log, or after the last one it made by hand.
    fn own_place(&self, node: usize, hostile: &Hostile) -> Place {
        let replica = self.nodes[node].replica.as_ref().expect("only a running node acts");
        let log = replica.own_log();
        let head = replica.head(&log);
        let wall = self.nodes[node].now(self.now_us).wall;
        let hlc = Hlc::default().tick(wall);
        match &hostile.last {
            Some(last) if last.header().log == log && last.header().seq.0 >= head.height => {
                Place { log, seq: last.header().seq.0 + 1, prev: last.hash(), hlc: last.header().hlc.tick(wall) }
            }
            _ => Place { log, seq: head.height, prev: head.head, hlc },
        }
    }

    fn own_descriptor(&self, node: usize) -> LogDescriptor {
        let replica = self.nodes[node].replica.as_ref().expect("only a running node acts");
        LogDescriptor {
            certificate: self.nodes[node].site.certificate.encode().into(),
            incarnation: replica.incarnation(),
            audience: AudienceId::FEDERATION,
            realm: Realm::OPS,
        }
    }

    fn alert_by_hand(&mut self, node: usize, hostile: &mut Hostile) -> Vec<u8> {
        hostile.count += 1;
        let member = self.nodes[node].site.member;
        workload::alert(&mut hostile.chance, member, Class::Routine, 1_000_000 + hostile.count).change
    }

    fn sign_by_hand(&mut self, hostile: &Hostile, place: &Place, changes: Vec<Vec<u8>>) -> Arc<CheckedEntry> {
        let draft = EntryDraft {
            realm: Realm::OPS,
            log: place.log,
            seq: Seq(place.seq),
            prev: place.prev,
            hlc: place.hlc,
            class: Class::Routine,
            expires_hours: 0,
        };
        let entry = Entry::sign(&draft, changes, &hostile.secret).expect("the changes are small");
        self.ledger.at((place.log, place.seq)).insert(entry.hash());
        Arc::new(entry)
    }

    /// Sends whatever it is, unasked and unchecked.
    pub(super) fn send_by_hand(&mut self, node: usize, to: usize, lane: usize, message: Message) {
        let frame = self.encode(message);
        self.send_frame(node, to, lane, frame);
    }

    fn send_entry_by_hand(&mut self, node: usize, to: usize, entries: &[&Entry]) {
        let runs = Run::of(entries).into_iter().collect();
        let message = Message::Entries(EntriesFrame { request: None, logs: vec![self.own_descriptor(node)], runs });
        self.send_by_hand(node, to, lane_of(Class::Routine), message);
    }

    fn send_to_all(&mut self, node: usize, entries: &[Arc<CheckedEntry>]) {
        let plain: Vec<&Entry> = entries.iter().map(|entry| entry.entry()).collect();
        for peer in self.peers_of(node) {
            self.send_entry_by_hand(node, peer, &plain);
        }
    }

    /// Two entries for one place, one to each half of the peers.
    pub(super) fn equivocate(&mut self, node: usize, hostile: &mut Hostile) {
        let place = self.own_place(node, hostile);
        let both = [0, 1].map(|_| {
            let change = self.alert_by_hand(node, hostile);
            self.sign_by_hand(hostile, &place, vec![change])
        });
        for (turn, peer) in self.peers_of(node).into_iter().enumerate() {
            self.send_entry_by_hand(node, peer, &[both[turn % 2].entry()]);
        }
        hostile.last = Some(both[0].clone());
    }

    /// A few entries that leave the log at a place in its past, all to one peer.
    pub(super) fn fork_chain(&mut self, node: usize, hostile: &mut Hostile) {
        let own = self.own_place(node, hostile);
        let from = hostile.chance.below(own.seq);
        let disk = self.nodes[node].disk.durable();
        let before = from.checked_sub(1).and_then(|seq| disk.hash(own.log, seq));
        let mut place = Place { log: own.log, seq: from, prev: before.unwrap_or(EntryHash::ZERO), hlc: own.hlc };
        if (place.seq == 0) != (place.prev == EntryHash::ZERO) {
            return;
        }
        let mut chain = Vec::new();
        for _ in 0..4 {
            let change = self.alert_by_hand(node, hostile);
            let entry = self.sign_by_hand(hostile, &place, vec![change]);
            place = Place { seq: place.seq + 1, prev: entry.hash(), ..place };
            chain.push(entry);
        }
        let peers = self.peers_of(node);
        let Some(&peer) = hostile.chance.pick(&peers) else { return };
        let plain: Vec<&Entry> = chain.iter().map(|entry| entry.entry()).collect();
        self.send_entry_by_hand(node, peer, &plain);
    }

    /// An entry so many places beyond the end of its log.
    pub(super) fn jump(&mut self, node: usize, hostile: &mut Hostile, by: u64) {
        let own = self.own_place(node, hostile);
        let prev = EntryHash([hostile.chance.below(256) as u8; 32]);
        let place = Place { seq: own.seq.saturating_add(by), prev, ..own };
        let change = self.alert_by_hand(node, hostile);
        let entry = self.sign_by_hand(hostile, &place, vec![change]);
        self.send_to_all(node, &[entry]);
    }

    /// An edit of its own record that rests on nothing that exists.
    pub(super) fn send_missing_deps(&mut self, node: usize, hostile: &mut Hostile) {
        let record = RecordId(hostile.chance.nonce());
        let deps = vec![ChangeId(hostile.chance.nonce())];
        let edit = Edit { record, section: SectionId::Core, deps, ops: Vec::new() };
        self.append(node, hostile, vec![Change::Edit(edit).encode()], None);
    }

    /// An edit of somebody else's alert in its own log, and an entry in somebody else's log.
    pub(super) fn write_others(&mut self, node: usize, hostile: &mut Hostile) {
        let victims = self.nodes[node].views.ids();
        if let Some(record) = hostile.chance.pick(&victims).copied() {
            let deps = self.nodes[node].views.record(&record).map(|known| known.deps_for_edit(SectionId::Core));
            let edit = Edit { record, section: SectionId::Core, deps: deps.unwrap_or_default(), ops: Vec::new() };
            self.append(node, hostile, vec![Change::Edit(edit).encode()], None);
        }
        let (disk, key) = (self.nodes[node].disk.durable(), self.nodes[node].key());
        let is_others = |log: &&LogId| disk.origin(log).is_some_and(|(_, origin)| origin != key);
        let logs: Vec<LogId> = disk.logs.keys().filter(is_others).copied().collect();
        let Some(log) = hostile.chance.pick(&logs).copied() else { return };
        let own = self.own_place(node, hostile);
        let row = &self.nodes[node].disk.durable().logs[&log];
        if row.head.height == 0 {
            return;
        }
        let descriptor = row.descriptor.clone();
        let place = Place { log, seq: row.head.height, prev: row.head.head, hlc: own.hlc };
        let change = self.alert_by_hand(node, hostile);
        let draft = EntryDraft {
            realm: Realm::OPS,
            log,
            seq: Seq(place.seq),
            prev: place.prev,
            hlc: place.hlc,
            class: Class::Routine,
            expires_hours: 0,
        };
        // Not in the ledger: whoever keeps it is caught.
        let entry = Entry::sign(&draft, vec![change], &hostile.secret).expect("the change is small");
        let runs = Run::of(&[entry.entry()]).into_iter().collect();
        for peer in self.peers_of(node) {
            let frame = EntriesFrame { request: None, logs: vec![descriptor.clone()], runs: Vec::clone(&runs) };
            self.send_by_hand(node, peer, lane_of(Class::Routine), Message::Entries(frame));
        }
    }

    /// Entries with stamps that no clock shows.
    pub(super) fn lie_about_time(&mut self, node: usize, hostile: &mut Hostile) {
        let hlc = if hostile.chance.permille(500) { Hlc(u64::MAX) } else { Hlc(1) };
        let change = self.alert_by_hand(node, hostile);
        self.append(node, hostile, vec![change], Some(hlc));
    }

    /// Old entries of everybody, once more.
    pub(super) fn replay(&mut self, node: usize, hostile: &mut Hostile) {
        let entries: Vec<_> = self.nodes[node].disk.durable().entries.values().cloned().collect();
        for _ in 0..5 {
            let Some(entry) = hostile.chance.pick(&entries).cloned() else { return };
            for peer in self.peers_of(node) {
                self.send_entries(node, peer, None, lane_of(entry.header().class), std::slice::from_ref(&entry));
            }
        }
    }

    /// Many valid entries at once.
    pub(super) fn flood(&mut self, node: usize, hostile: &mut Hostile) {
        for _ in 0..FLOOD_ENTRIES {
            let change = self.alert_by_hand(node, hostile);
            self.append(node, hostile, vec![change], None);
        }
    }

    /// A valid entry, whether it may write or not.
    pub(super) fn write_on(&mut self, node: usize, hostile: &mut Hostile) {
        let change = self.alert_by_hand(node, hostile);
        self.append(node, hostile, vec![change], None);
    }

    fn append(&mut self, node: usize, hostile: &mut Hostile, changes: Vec<Vec<u8>>, hlc: Option<Hlc>) {
        let own = self.own_place(node, hostile);
        let place = Place { hlc: hlc.unwrap_or(own.hlc), ..own };
        let entry = self.sign_by_hand(hostile, &place, changes);
        hostile.last = Some(entry.clone());
        self.send_to_all(node, &[entry]);
    }

    /// All logs that it holds, described as its own member's.
    pub(super) fn claim_nodes(&mut self, node: usize) {
        let rows = self.nodes[node].disk.durable().logs.values();
        let mut frame =
            EntriesFrame { request: None, logs: rows.map(|row| row.descriptor.clone()).collect(), runs: vec![] };
        self.claim(node, &mut frame);
        for peer in self.peers_of(node) {
            self.send_by_hand(node, peer, lane_of(Class::Bulk), Message::Entries(frame.clone()));
        }
    }

    /// Others' logs in a frame become its own member's.
    fn claim(&mut self, node: usize, frame: &mut EntriesFrame) {
        let (member, own) = (self.nodes[node].site.member, self.nodes[node].key());
        let is_heard = u64::from(self.is_heard(node));
        for descriptor in &mut frame.logs {
            let signed = SignedCertificate::decode(&descriptor.certificate).expect("its replica has checked it");
            if signed.certificate().key != own {
                descriptor.certificate = self.federation.claim(member, signed.certificate()).encode().into();
                self.tally.bite_times(Act::ClaimNodes.name(), is_heard);
            }
        }
    }

    /// A hostile node passes others' logs on as its own member's.
    pub(crate) fn rename_owners(&mut self, node: usize, frame: &mut EntriesFrame) {
        if self.hostile.get(&node).is_some_and(|hostile| hostile.acts.contains(&Act::ClaimNodes)) {
            self.claim(node, frame);
        }
    }

    /// Entries past the limits, signed like good ones.
    pub(super) fn send_oversized(&mut self, node: usize, hostile: &mut Hostile) {
        let own = self.own_place(node, hostile);
        let changes = match hostile.chance.below(3) {
            0 => vec![vec![7; 200 * 1024]],
            1 => vec![vec![7; 10]; 300],
            _ => Vec::new(),
        };
        let slots: Vec<_> = changes.iter().map(|bytes| Slot::Present(bytes.as_slice().into())).collect();
        let draft = EntryDraft {
            realm: Realm::OPS,
            log: own.log,
            seq: Seq(own.seq),
            prev: own.prev,
            hlc: own.hlc,
            class: Class::Routine,
            expires_hours: 0,
        };
        let signature = hostile.secret.sign(LABEL_ENTRY, &draft.header_for(&slots).encode());
        let entry = RunEntry {
            hlc: own.hlc.0,
            class: Class::Routine as u8,
            expires_hours: 0,
            signature,
            changes: changes.into_iter().map(|bytes| WireSlot::Present(bytes.into())).collect(),
            changes_len: None,
        };
        let run = Run { log: own.log, first: own.seq, prev: own.prev, entries: vec![entry] };
        let frame = EntriesFrame { request: None, logs: vec![self.own_descriptor(node)], runs: vec![run] };
        for peer in self.peers_of(node) {
            self.send_by_hand(node, peer, lane_of(Class::Routine), Message::Entries(frame.clone()));
        }
    }

    /// Descriptors whose certificate was signed by the node itself, or is another member's.
    pub(super) fn send_wrong_certificates(&mut self, node: usize, hostile: &mut Hostile) {
        let mut certificate = self.nodes[node].site.certificate.certificate().clone();
        let others: Vec<_> = self.federation.charter().current().members.iter().map(|member| member.code).collect();
        certificate.member = *hostile.chance.pick(&others).expect("a federation has members");
        certificate.serial = u64::MAX;
        let forged = certificate.sign(&hostile.secret).expect("the names are good").encode();
        let descriptor = LogDescriptor { certificate: forged.as_slice().into(), ..self.own_descriptor(node) };
        let own = self.own_place(node, hostile);
        let entry = {
            let change = self.alert_by_hand(node, hostile);
            self.sign_by_hand(hostile, &own, vec![change])
        };
        let runs: Vec<Run> = Run::of(&[entry.entry()]).into_iter().collect();
        for peer in self.peers_of(node) {
            let frame = EntriesFrame { request: None, logs: vec![descriptor.clone()], runs: runs.clone() };
            self.send_by_hand(node, peer, lane_of(Class::Bulk), Message::Entries(frame));
            self.send_by_hand(node, peer, CONTROL, Message::Charter { bytes: forged.clone() });
        }
    }
}
