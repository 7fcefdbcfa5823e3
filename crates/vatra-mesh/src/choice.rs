//! Which of several connections between two nodes is the link. Sans-IO.
//!
//! Both ends dial, so two nodes may find themselves with several connections. The end with the smaller key
//! *chooses*: it opens its lanes on one connection and closes the others. The other end *follows*: it opens its
//! lanes where the chooser's arrive. One decider means that the two can never choose differently, and a link
//! that works is not disturbed by a dial that arrives late.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use vatra_model::NodeKey;

use crate::events::{DownReason, LinkId};

/// A connection that a peer makes while its link has been up for longer than this cannot be a late dial of the
/// same race: the peer has lost the link, for instance by a restart.
const RACE_MAX: Duration = Duration::from_secs(4);

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Open our lanes on the connection.
    Open(LinkId),
    /// Tell the caller that the link is up.
    Up(LinkId),
    /// Tell the caller that the link is down.
    Down(LinkId, DownReason),
    /// Close the connection.
    Close(LinkId, CloseReason),
}

/// Why a connection is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// Another connection to the peer is the link.
    Surplus,
    /// It did not become a link in time.
    NotFormed,
    /// There are as many links as allowed.
    TooManyLinks,
    /// As the caller was told, if the link was up.
    Down(DownReason),
}

/// All connections, and which of them are links.
#[derive(Debug)]
pub(crate) struct Choice {
    own: NodeKey,
    form_within: Duration,
    links_max: usize,
    connections: BTreeMap<LinkId, Connection>,
    /// For each peer the connection that is its link or is to become it.
    chosen: BTreeMap<NodeKey, LinkId>,
    /// Peers that an operator configured: others leave room for them.
    configured: BTreeSet<NodeKey>,
}

#[derive(Debug)]
struct Connection {
    node: NodeKey,
    since: Instant,
    up_since: Option<Instant>,
    closing: bool,
}

impl Choice {
    pub(crate) fn new(own: NodeKey, form_within: Duration, links_max: usize) -> Choice {
        Choice {
            own,
            form_within,
            links_max,
            connections: BTreeMap::new(),
            chosen: BTreeMap::new(),
            configured: BTreeSet::new(),
        }
    }

    /// Peers that an operator configured. Others, however many nodes their members certify, take no link that one of
    /// these may need.
    pub(crate) fn keep_room_for(&mut self, configured: BTreeSet<NodeKey>) {
        self.configured = configured;
    }

    fn is_full(&self, node: NodeKey) -> bool {
        let awaited = match self.configured.contains(&node) {
            true => 0,
            false => self.configured.iter().filter(|peer| !self.chosen.contains_key(peer)).count(),
        };
        self.chosen.len() + awaited >= self.links_max
    }

    /// A connection was made.
    pub(crate) fn established(&mut self, now: Instant, link: LinkId, node: NodeKey, dialed_by_us: bool) -> Vec<Step> {
        let connection = Connection { node, since: now, up_since: None, closing: false };
        self.connections.insert(link, connection);
        if !self.we_choose(node) {
            return Vec::new();
        }
        match self.chosen.get(&node) {
            None if self.is_full(node) => self.close(link, CloseReason::TooManyLinks),
            None => self.choose(node, link),
            Some(&current) if !dialed_by_us && self.has_outlived_the_race(now, current) => {
                let mut steps = self.close(current, CloseReason::Down(DownReason::Replaced));
                steps.extend(self.choose(node, link));
                steps
            }
            Some(_) => self.close(link, CloseReason::Surplus),
        }
    }

    /// A stream of the peer arrived. `false` means that it must be dropped.
    pub(crate) fn stream_arrived(&mut self, link: LinkId) -> (bool, Vec<Step>) {
        let Some(connection) = self.connections.get(&link).filter(|connection| !connection.closing) else {
            return (false, Vec::new());
        };
        let node = connection.node;
        let current = self.chosen.get(&node).copied();
        if current == Some(link) {
            return (true, Vec::new());
        }
        if self.we_choose(node) {
            return (false, Vec::new());
        }
        if current.is_none() && self.is_full(node) {
            return (false, self.close(link, CloseReason::TooManyLinks));
        }
        let mut steps = match current {
            Some(current) => self.close(current, CloseReason::Down(DownReason::Replaced)),
            None => Vec::new(),
        };
        steps.extend(self.choose(node, link));
        (true, steps)
    }

    /// All streams of the connection, ours and the peer's, are acknowledged.
    pub(crate) fn ready(&mut self, now: Instant, link: LinkId) -> Vec<Step> {
        let Some(connection) = self.connections.get_mut(&link) else { return Vec::new() };
        if connection.closing || connection.up_since.is_some() || self.chosen.get(&connection.node) != Some(&link) {
            return Vec::new();
        }
        connection.up_since = Some(now);
        vec![Step::Up(link)]
    }

    /// The connection has to go.
    pub(crate) fn end(&mut self, link: LinkId, reason: DownReason) -> Vec<Step> {
        self.close(link, CloseReason::Down(reason))
    }

    /// All connections to the node have to go.
    pub(crate) fn end_node(&mut self, node: NodeKey, reason: &DownReason) -> Vec<Step> {
        let links: Vec<LinkId> =
            self.connections.iter().filter(|(_, connection)| connection.node == node).map(|(&link, _)| link).collect();
        links.into_iter().flat_map(|link| self.end(link, reason.clone())).collect()
    }

    /// The connection is gone, by whosever doing.
    pub(crate) fn closed(&mut self, link: LinkId, detail: &str) -> Vec<Step> {
        let mut steps = self.close(link, CloseReason::Down(DownReason::Lost { detail: detail.to_owned() }));
        steps.retain(|step| !matches!(step, Step::Close(..)));
        self.connections.remove(&link);
        steps
    }

    /// Closes connections that did not become links in time.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Step> {
        let late: Vec<LinkId> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.is_forming() && connection.since + self.form_within <= now)
            .map(|(&link, _)| link)
            .collect();
        late.into_iter().flat_map(|link| self.close(link, CloseReason::NotFormed)).collect()
    }

    /// When [`Choice::expire`] next has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.connections
            .values()
            .filter(|connection| connection.is_forming())
            .map(|connection| connection.since + self.form_within)
            .min()
    }

    /// Number of connections per peer, closing ones included.
    pub(crate) fn connected(&self) -> BTreeMap<NodeKey, usize> {
        let mut counts = BTreeMap::new();
        for connection in self.connections.values() {
            *counts.entry(connection.node).or_default() += 1;
        }
        counts
    }

    fn we_choose(&self, node: NodeKey) -> bool {
        self.own < node
    }

    fn has_outlived_the_race(&self, now: Instant, link: LinkId) -> bool {
        let up_since = self.connections.get(&link).and_then(|connection| connection.up_since);
        up_since.is_some_and(|since| now.saturating_duration_since(since) >= RACE_MAX)
    }

    fn choose(&mut self, node: NodeKey, link: LinkId) -> Vec<Step> {
        self.chosen.insert(node, link);
        vec![Step::Open(link)]
    }

    fn close(&mut self, link: LinkId, reason: CloseReason) -> Vec<Step> {
        let Some(connection) = self.connections.get_mut(&link).filter(|connection| !connection.closing) else {
            return Vec::new();
        };
        connection.closing = true;
        if self.chosen.get(&connection.node) == Some(&link) {
            self.chosen.remove(&connection.node);
        }
        let down = match &reason {
            CloseReason::Down(reason) if connection.up_since.is_some() => Some(Step::Down(link, reason.clone())),
            _ => None,
        };
        down.into_iter().chain([Step::Close(link, reason)]).collect()
    }
}

impl Connection {
    fn is_forming(&self) -> bool {
        self.up_since.is_none() && !self.closing
    }
}

#[cfg(test)]
mod tests;
