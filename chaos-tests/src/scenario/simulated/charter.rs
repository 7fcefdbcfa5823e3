//! Members that come, go and lose their keys.

use vatra_model::Seq;
use vatra_model::charter::{CharterMember, MemberRole, Revocation};

use crate::scenario::simulated::stage::Stage;
use crate::sim::Federation;
use crate::sim::disk::Keep;

impl Stage {
    /// Somebody who runs gets the newest charter from an operator; it spreads from there.
    fn spread_charter(&mut self, but: usize) {
        let node = self.operator(but);
        self.world.install_charter(node);
    }

    /// Where the operator sits who brings a newer charter: at a node that runs and is honest, if there is one.
    fn operator(&self, but: usize) -> usize {
        let runs = |node: &usize| *node != but && self.runs(*node) && !self.is_hostile(*node);
        (0..self.names.len()).find(runs).unwrap_or(but)
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

    /// The federation lets a member go, and its node stops. A federation has one full member at least: the last one
    /// stays.
    pub(super) fn leave(&mut self, node: usize) {
        if !self.members[node] {
            return;
        }
        let code = self.world.nodes[node].site.member;
        let is_full = |member: &CharterMember| member.role == MemberRole::Member;
        if !self.world.federation.charter().current().members.iter().any(|other| other.code != code && is_full(other)) {
            return self.tell(&format!("{} stays: no other full member is left", self.names[node]));
        }
        self.members[node] = false;
        self.count("left", 1);
        self.world.federation.next_epoch(|epoch| epoch.members.retain(|member| member.code != code));
        self.world.crash(node, Keep::Unsynced);
        self.spread_charter(node);
    }

    /// The federation revokes a node's key: what an operator sees of it at another node stays valid, wherever the rest
    /// has come. An honest node stops; a thief goes on.
    pub(super) fn revoke(&mut self, node: usize) {
        if !self.members[node] {
            return;
        }
        self.members[node] = false;
        self.count("revoked", 1);
        let key = self.world.nodes[node].key();
        let disk = self.world.nodes[self.operator(node)].disk.durable();
        let own = disk.logs.keys().filter(|log| disk.origin(log).is_some_and(|(_, origin)| origin == key));
        let seen = own.map(|log| (*log, disk.trunk(log))).filter(|(_, head)| head.height > 0);
        let last_valid = seen.map(|(log, head)| (log, Seq(head.height - 1), head.head)).collect();
        self.world.federation.next_epoch(|epoch| {
            epoch.revocations.push(Revocation { key, last_valid });
            epoch.revocations.sort_by_key(|revocation| revocation.key);
        });
        if self.world.is_honest(node) {
            self.world.crash(node, Keep::Unsynced);
        }
        self.spread_charter(node);
        self.world.forget_what_is_nowhere();
    }
}
