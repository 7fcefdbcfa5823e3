//! Members that come, go and lose their keys.

use vatra_model::Seq;
use vatra_model::charter::Revocation;

use crate::scenario::simulated::stage::Stage;
use crate::sim::Federation;
use crate::sim::disk::Keep;

impl Stage {
    /// Somebody who runs gets the newest charter from an operator; it spreads from there.
    fn spread_charter(&mut self, but: usize) {
        let running = (0..self.names.len()).find(|node| *node != but && self.runs(*node));
        if let Some(node) = running.or(Some(but)) {
            self.world.install_charter(node);
        }
    }

    /// The federation takes a member in, and its node starts with the charter that names it.
    pub(super) fn join(&mut self, node: usize) {
        if self.members[node] {
            return;
        }
        self.members[node] = true;
        self.count("joined", 1);
        let seed = self.world.setup.seed;
        let whole = Federation::new("simulated", seed, self.names.len());
        let member = whole.charter().current().members[node].clone();
        self.world.federation.next_epoch(|epoch| {
            if !epoch.members.iter().any(|other| other.code == member.code) {
                epoch.members.push(member);
                epoch.members.sort_by_key(|member| member.code);
            }
        });
        self.world.nodes[node].site.charter = self.world.federation.charter().clone();
        self.spread_charter(node);
        self.world.start(node);
    }

    /// The federation lets a member go, and its node stops.
    pub(super) fn leave(&mut self, node: usize) {
        if !self.members[node] {
            return;
        }
        self.members[node] = false;
        self.count("left", 1);
        let code = self.world.nodes[node].site.member;
        self.world.federation.next_epoch(|epoch| epoch.members.retain(|member| member.code != code));
        self.world.crash(node, Keep::Unsynced);
        self.spread_charter(node);
    }

    /// The federation revokes a node's key: what the others have by now stays valid. The node stops.
    pub(super) fn revoke(&mut self, node: usize) {
        if !self.members[node] {
            return;
        }
        self.members[node] = false;
        self.count("revoked", 1);
        let key = self.world.nodes[node].key();
        let disk = self.world.nodes[node].disk.durable();
        let own = disk.logs.iter().filter(|(log, _)| disk.origin(log).is_some_and(|(_, origin)| origin == key));
        let last_valid = own
            .filter(|(_, row)| row.head.height > 0)
            .map(|(log, row)| (*log, Seq(row.head.height - 1), row.head.head))
            .collect();
        self.world.federation.next_epoch(|epoch| epoch.revocations.push(Revocation { key, last_valid }));
        self.world.crash(node, Keep::Unsynced);
        self.spread_charter(node);
    }
}
