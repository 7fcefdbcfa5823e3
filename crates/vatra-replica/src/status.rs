//! What a replica can say about itself and the federation, honestly: from what it holds and has heard.

use std::collections::{BTreeMap, BTreeSet};

use vatra_model::{Head, Incarnation, LogId, MemberCode, MonoMs, NodeKey, Seq, WallMs};

use crate::input::Now;
use crate::replica::Replica;
use crate::topology::Cost;

/// Everything that status views show.
#[derive(Clone, Debug)]
pub struct ReplicaStatus {
    /// This node.
    pub node: NodeKey,
    /// Its member.
    pub member: MemberCode,
    /// The life of its store.
    pub incarnation: Incarnation,
    /// When that life began.
    pub opened: WallMs,
    /// Charter epoch in force.
    pub charter_epoch: u64,
    /// Hash of the durable frontier.
    pub frontier_hash: [u8; 32],
    /// Live links, by node.
    pub links: Vec<LinkStatus>,
    /// Every other node heard of or admitted, by key.
    pub nodes: Vec<NodeStatus>,
    /// What is missing, per member that wrote it.
    pub behind: BTreeMap<MemberCode, MemberLag>,
    /// Logs held, by id.
    pub logs: Vec<LogStatus>,
    /// Logs that peers hold and this node does not take: there is no room for them, or nothing may be of them.
    pub turned_away: usize,
    /// Entries held that cannot be read and are being fetched again.
    pub damaged: usize,
}

/// A live link.
#[derive(Clone, Debug)]
pub struct LinkStatus {
    /// The node at the other end.
    pub node: NodeKey,
    /// Measured round trip in milliseconds.
    pub rtt_ms: u32,
    /// Cost class.
    pub cost: Cost,
    /// Since when.
    pub since: MonoMs,
    /// Hellos were exchanged.
    pub greeted: bool,
    /// Its clock minus ours, in milliseconds.
    pub clock_ahead_ms: i64,
}

/// Another node as its beacons show it.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// The node.
    pub node: NodeKey,
    /// Its member, if its certificate is known.
    pub member: Option<MemberCode>,
    /// When its last beacon came; `None` if none did.
    pub heard: Option<MonoMs>,
    /// The life of its store, as that beacon tells.
    pub incarnation: Option<Incarnation>,
    /// Its store takes writes.
    pub writable: bool,
    /// Its frontier hash.
    pub frontier_hash: [u8; 32],
    /// A path of live links leads to it.
    pub reachable: bool,
    /// Hellos were exchanged on a live link with it.
    pub linked: bool,
    /// When the last link with it ended; `None` while one is live, or if there was none since the start.
    pub unlinked_since: Option<MonoMs>,
}

/// How far this node is behind one member's logs, and how it hears of the member, as far as it can know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberLag {
    /// Entries known to exist and not held.
    pub entries: u64,
    /// For how long some were missing, in milliseconds.
    pub behind_ms: u64,
    /// Milliseconds until they are here, at the pace of the last seconds; `None` if nothing is missing or comes.
    pub eta_ms: Option<u64>,
    /// A link with one of its nodes is live. Never for the member of this node, unless it has others.
    pub linked: bool,
    /// A path of live links leads to one of its nodes.
    pub reachable: bool,
    /// When the last link with any of its nodes ended; `None` while one is live, or if there was none.
    pub unlinked_since: Option<MonoMs>,
    /// When any of its nodes was last heard of.
    pub heard: Option<MonoMs>,
}

/// One log.
#[derive(Clone, Debug)]
pub struct LogStatus {
    /// Its id.
    pub log: LogId,
    /// Who writes it.
    pub origin: NodeKey,
    /// Of which member.
    pub member: MemberCode,
    /// Durable contiguous entries.
    pub head: Head,
    /// Entries held beyond a gap.
    pub ahead: usize,
    /// Where the log ends because its origin contradicted itself.
    pub forked: Option<u64>,
    /// Entries held at and past that place.
    pub strays: usize,
}

/// Which nodes hold an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Nodes that hold it, this one included if it does, by key.
    pub holders: BTreeSet<NodeKey>,
    /// Admitted nodes that are not known to hold it.
    pub others: BTreeSet<NodeKey>,
    /// Contiguous entries of the log that each node is known to hold; nodes that said nothing of the log are left
    /// out.
    pub heights: BTreeMap<NodeKey, u64>,
}

impl Replica {
    /// The state of this replica and what it knows of others.
    #[must_use]
    pub fn status(&self, now: Now) -> ReplicaStatus {
        ReplicaStatus {
            node: self.me,
            member: self.member,
            incarnation: self.incarnation,
            opened: self.opened,
            charter_epoch: self.trust.charter().current().epoch,
            frontier_hash: self.frontier().hash(),
            links: self.links(),
            nodes: self.nodes(),
            behind: self.behind(now),
            logs: self.log_statuses(),
            turned_away: self.turned_away.len(),
            damaged: self.mending.len(),
        }
    }

    fn links(&self) -> Vec<LinkStatus> {
        let link = |(key, peer): (&NodeKey, &crate::peers::Peer)| LinkStatus {
            node: *key,
            rtt_ms: peer.rtt_ms,
            cost: peer.cost(),
            since: peer.since,
            greeted: peer.greeted,
            clock_ahead_ms: peer.clock_ahead_ms,
        };
        self.peers.iter().map(link).collect()
    }

    fn nodes(&self) -> Vec<NodeStatus> {
        let admitted = self.trust.nodes().map(|certificate| certificate.key);
        let known: BTreeSet<NodeKey> = admitted.chain(self.beacons.iter().map(|(node, _)| *node)).collect();
        let others = known.into_iter().filter(|node| *node != self.me);
        let reachable = self.topology.reachable(&self.me);
        let status = |node: NodeKey| {
            let heard = self.beacons.get(&node);
            NodeStatus {
                node,
                member: self.trust.member(&node),
                heard: heard.map(|heard| heard.heard),
                incarnation: heard.map(|heard| heard.beacon.incarnation),
                writable: heard.is_some_and(crate::beacons::Heard::writable),
                frontier_hash: heard.map_or([0; 32], crate::beacons::Heard::frontier_hash),
                reachable: reachable.contains(&node),
                linked: self.peers.get(&node).is_some_and(|peer| peer.greeted),
                unlinked_since: self.unlinked.get(&node).copied(),
            }
        };
        others.map(status).collect()
    }

    /// Per member: the heights that are believed to exist, minus what is held.
    fn behind(&self, now: Now) -> BTreeMap<MemberCode, MemberLag> {
        let mut lags: BTreeMap<MemberCode, MemberLag> = BTreeMap::new();
        for member in &self.trust.charter().current().members {
            lags.insert(member.code, MemberLag::default());
        }
        for (log, height) in self.believed_heights() {
            let Some(state) = self.logs.get(&log) else { continue };
            let missing = height
                .min(state.end())
                .saturating_sub(state.durable().height)
                .saturating_sub(state.ahead_count() as u64);
            if missing > 0 {
                let lag = lags.entry(state.member()).or_default();
                lag.entries = lag.entries.saturating_add(missing);
                let since = self.behind_since.get(&log).map_or(0, |since| now.mono.since(*since));
                lag.behind_ms = lag.behind_ms.max(since);
            }
        }
        for node in self.nodes() {
            let Some(lag) = node.member.map(|member| lags.entry(member).or_default()) else { continue };
            lag.linked |= node.linked;
            lag.reachable |= node.reachable;
            lag.heard = lag.heard.max(node.heard);
            lag.unlinked_since = lag.unlinked_since.max(node.unlinked_since);
        }
        for (member, lag) in &mut lags {
            lag.unlinked_since = lag.unlinked_since.filter(|_| !lag.linked);
            lag.eta_ms = (lag.entries > 0).then(|| self.paces.eta_ms(now.mono, member, lag.entries)).flatten();
        }
        lags
    }

    fn log_statuses(&self) -> Vec<LogStatus> {
        let status = |(log, state): (&LogId, &crate::logs::LogState)| LogStatus {
            log: *log,
            origin: state.origin(),
            member: state.member(),
            head: state.durable(),
            ahead: state.ahead_count(),
            forked: state.fork.as_ref().map(|fork| fork.place),
            strays: state.fork.as_ref().map_or(0, crate::fork::Fork::stray_count),
        };
        self.logs.iter().map(status).collect()
    }

    /// Which nodes hold an entry, from what they announced.
    #[must_use]
    pub fn reach(&self, log: &LogId, seq: Seq) -> Reach {
        let mut holders = BTreeSet::new();
        let state = self.logs.get(log);
        if state.is_some_and(|state| state.end() <= seq.0) {
            // Heights tell nothing of strays: those that are known to hold the same of them hold this one.
            holders.insert(self.me);
            holders.extend(self.peers.keys().filter(|peer| self.shares_strays(peer, log)));
            let admitted: BTreeSet<NodeKey> = self.trust.nodes().map(|certificate| certificate.key).collect();
            let others = admitted.difference(&holders).copied().collect();
            return Reach { others, holders, heights: self.known_heights(log) };
        }
        if state.is_some_and(|state| state.holds_durably(seq.0)) {
            holders.insert(self.me);
        }
        let announced = self.beacons.iter().filter(|(_, heard)| heard.heights.get(log).is_some_and(|h| *h > seq.0));
        holders.extend(announced.map(|(node, _)| *node));
        holders.extend(self.peers.iter().filter(|(_, peer)| peer.known(log) > seq.0).map(|(key, _)| *key));
        let admitted: BTreeSet<NodeKey> = self.trust.nodes().map(|certificate| certificate.key).collect();
        let others = admitted.difference(&holders).copied().collect();
        Reach { holders, others, heights: self.known_heights(log) }
    }

    /// How far every node is known to hold a log, this one included.
    fn known_heights(&self, log: &LogId) -> BTreeMap<NodeKey, u64> {
        let own = self.logs.get(log).map(|state| (self.me, state.durable().height));
        let announced = self.beacons.iter().filter_map(|(node, heard)| Some((*node, *heard.heights.get(log)?)));
        let linked = self.peers.iter().map(|(node, peer)| (*node, peer.known(log)));
        let mut heights = BTreeMap::new();
        for (node, height) in own.into_iter().chain(announced).chain(linked.filter(|(_, height)| *height > 0)) {
            let highest = heights.entry(node).or_insert(height);
            *highest = height.max(*highest);
        }
        heights
    }

    /// How many logs that peers hold this node does not take, as [`ReplicaStatus::turned_away`].
    #[must_use]
    pub fn turned_away(&self) -> usize {
        self.turned_away.len()
    }

    /// Tells peers in beacons whether the store takes writes; while it does not, nothing is asked for.
    pub fn set_writable(&mut self, writable: bool) {
        self.plan_stale |= writable && !self.writable;
        if writable != self.writable {
            self.herald.state_changed();
        }
        if writable && !self.writable {
            self.ask_for_strays_again();
        }
        self.writable = writable;
        if !writable {
            // Answers could not be kept.
            self.drop_wants();
        }
    }

    /// Whether an entry is held, durable or about to be.
    #[must_use]
    pub fn holds(&self, log: &LogId, seq: Seq) -> bool {
        self.logs.get(log).is_some_and(|state| state.holds(seq.0))
    }
}
