//! Who may connect and whom we dial: puts the caller's wishes into effect and tells whom we turned away.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionDenied, ConnectionId, DialError, ListenError};
use libp2p::{Multiaddr, PeerId, TransportError, allow_block_list, connection_limits};
use vatra_model::NodeKey;

use super::{ANNOUNCEMENTS_MAX, Owner};
use crate::counters::count;
use crate::dialer::Outcome;
use crate::events::{Announcement, DownReason, LinkEvent, RefusedReason};
use crate::identity::{node_of, peer_id_of};
use crate::swarm::{multiaddr_of, socket_address_of};

/// Addresses of one peer that are dialled.
const ADDRESSES_PER_PEER_MAX: usize = 8;

impl Owner {
    /// Brings the swarm in line with the caller's last word.
    pub(super) fn apply_wanted(&mut self) {
        let now = Instant::now();
        self.wanted = self.shared.wanted().clone();
        let own = *self.swarm.local_peer_id();
        let mut admitted = BTreeMap::new();
        for &node in self.wanted.allowed.iter().filter(|&&node| !self.wanted.cut.holds(node)) {
            match peer_id_of(node) {
                Ok(peer) if peer == own => {}
                Ok(peer) => drop(admitted.insert(node, peer)),
                Err(error) => tracing::warn!(%error, "a key that was to be allowed is no key"),
            }
        }
        let before = std::mem::replace(&mut self.admitted, admitted);
        for (node, peer) in &before {
            if !self.admitted.contains_key(node) {
                let reason = if self.wanted.allowed.contains(node) { DownReason::Cut } else { DownReason::Revoked };
                let steps = self.choice.end_node(*node, &reason);
                self.follow(steps);
                self.swarm.behaviour_mut().allowed.disallow_peer(*peer);
            }
        }
        for (node, peer) in &self.admitted {
            if !before.contains_key(node) {
                self.swarm.behaviour_mut().allowed.allow_peer(*peer);
            }
        }
        let configured = self.wanted.peers.iter().map(|peer| peer.node);
        self.choice.keep_room_for(configured.filter(|node| self.admitted.contains_key(node)).collect());
        let mut plan: BTreeMap<NodeKey, Vec<SocketAddr>> = BTreeMap::new();
        for peer in self.wanted.peers.iter().filter(|peer| peer.dial && self.admitted.contains_key(&peer.node)) {
            let addresses = plan.entry(peer.node).or_default();
            if addresses.len() < ADDRESSES_PER_PEER_MAX && !addresses.contains(&peer.address) {
                addresses.push(peer.address);
            }
        }
        self.shared.failed_dials().retain(|node, _| plan.contains_key(node));
        self.dialer.plan(now, plan, &self.choice.connected());
    }

    pub(super) fn dial(&mut self, node: NodeKey, addresses: &[SocketAddr]) {
        let Some(&peer) = self.admitted.get(&node) else {
            self.dialer.attempt_ended(node, Outcome::Refused);
            return;
        };
        let addresses: Vec<Multiaddr> = addresses.iter().copied().map(multiaddr_of).collect();
        let dial = DialOpts::peer_id(peer).addresses(addresses).condition(PeerCondition::Always).build();
        let connection = dial.connection_id();
        count(&self.shared.totals.dials);
        self.dials.insert(connection, node);
        if let Err(error) = self.swarm.dial(dial) {
            self.dial_ended(connection, Some(&error));
        }
    }

    pub(super) fn dial_ended(&mut self, connection: ConnectionId, error: Option<&DialError>) {
        let Some(node) = self.dials.remove(&connection) else { return };
        self.dialer.attempt_ended(
            node,
            match error {
                None => Outcome::Connected,
                Some(DialError::Transport(_)) => Outcome::TimedOut,
                Some(_) => Outcome::Refused,
            },
        );
        let Some(error) = error else { return };
        let is_wanted = self.wanted.peers.iter().any(|peer| peer.node == node && peer.dial);
        if let Some(why) = failure_of(error).filter(|_| is_wanted && !self.choice.connected().contains_key(&node)) {
            self.shared.failed_dials().insert(node, why);
        }
        count(&self.shared.totals.dials_failed);
        tracing::debug!(%node, %error, "a dial failed");
        if let DialError::WrongPeerId { obtained, address } = error {
            self.refuse(*obtained, address, RefusedReason::WrongKey { expected: node });
        }
    }

    pub(super) fn on_incoming_error(&mut self, peer: Option<PeerId>, remote: &Multiaddr, error: &ListenError) {
        let ListenError::Denied { cause } = error else {
            tracing::debug!(%remote, %error, "an incoming connection failed");
            return;
        };
        let node = peer.as_ref().and_then(node_of);
        let reason = self.reason_of(node, cause);
        if reason == Some(RefusedReason::Limit) && node.is_some_and(|node| self.admitted.contains_key(&node)) {
            // Both ends dial, and attempts overlap: a peer of ours that finds its places taken is no news.
            tracing::debug!(%remote, %error, "a surplus connection was refused");
            return;
        }
        let (Some(peer), Some(reason)) = (peer, reason) else {
            count(&self.shared.totals.refused);
            tracing::debug!(%remote, %error, "an incoming connection was refused");
            return;
        };
        self.refuse(peer, remote, reason);
    }

    fn reason_of(&self, node: Option<NodeKey>, cause: &ConnectionDenied) -> Option<RefusedReason> {
        if cause.downcast_ref::<connection_limits::Exceeded>().is_some() {
            return Some(RefusedReason::Limit);
        }
        cause.downcast_ref::<allow_block_list::NotAllowed>()?;
        let is_cut = node.is_some_and(|node| self.wanted.allowed.contains(&node) && self.wanted.cut.holds(node));
        Some(if is_cut { RefusedReason::Cut } else { RefusedReason::NotAllowed })
    }

    fn refuse(&mut self, peer: PeerId, remote: &Multiaddr, reason: RefusedReason) {
        count(&self.shared.totals.refused);
        let (Some(node), Some(remote)) = (node_of(&peer), socket_address_of(remote)) else { return };
        let Some(refusals) = self.refusals.note(Instant::now(), node) else { return };
        tracing::debug!(%node, %remote, %reason, count = refusals, "a connection was refused");
        let event = LinkEvent::Refused { node, remote, reason, count: refusals };
        if self.announcements.len() < ANNOUNCEMENTS_MAX {
            self.announcements.push_back(Announcement { event, starts: None });
        }
    }
}

/// Why a dial brought no connection, unless that lies here: in a drill, or in another attempt that was quicker.
fn failure_of(error: &DialError) -> Option<String> {
    let place =
        |address: &Multiaddr| socket_address_of(address).map_or_else(|| address.to_string(), |place| place.to_string());
    match error {
        DialError::Transport(failed) => {
            let why = |(address, error): &(Multiaddr, TransportError<std::io::Error>)| match error {
                TransportError::Other(error) if is_timeout(error) => format!("no answer from {}", place(address)),
                error => format!("{}: {error}", place(address)),
            };
            Some(failed.iter().map(why).collect::<Vec<_>>().join(", "))
        }
        DialError::WrongPeerId { address, .. } => Some(format!("{} is held by another key", place(address))),
        DialError::NoAddresses => Some("no address is known".to_owned()),
        _ => None,
    }
}

/// Whether nobody answered; the transport wraps what it says of that several times.
fn is_timeout(error: &std::io::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("timed out") {
            return true;
        }
        cause = error.source();
    }
    false
}
