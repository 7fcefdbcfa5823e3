//! The caller's handle on a running mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use vatra_model::NodeKey;

use crate::config::PeerAddress;
use crate::counters::{Counters, MeshTotals};
use crate::lane::Lane;
use crate::link::{Link, LinkInfo, Queued, SendError};

/// Longest that [`Mesh::shutdown`] takes.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(1);

/// A running mesh. Clones are handles on the same one; when the last is dropped, the mesh stops without a
/// farewell, as if the process had been killed. [`Mesh::shutdown`] is the polite way.
#[derive(Clone)]
pub struct Mesh {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    task: AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whom a drill cuts off or heals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Affected {
    /// Every peer, also those that become allowed meanwhile.
    All,
    /// These peers.
    Nodes(BTreeSet<NodeKey>),
}

impl Mesh {
    pub(crate) fn new(shared: Arc<Shared>, task: AbortHandle) -> Mesh {
        Mesh { inner: Arc::new(Inner { shared, task }) }
    }

    /// Our own key.
    #[must_use]
    pub fn node(&self) -> NodeKey {
        self.inner.shared.node
    }

    /// The UDP address that the mesh listens on, with the port that it got.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.inner.shared.local_address()
    }

    /// Replaces the keys that may be linked. Links of keys that are no longer among them close at once, and
    /// their connections are refused before any protocol runs. Until first called, nobody is allowed.
    pub fn set_allowed(&self, nodes: BTreeSet<NodeKey>) {
        self.inner.shared.change(|wanted| wanted.allowed = nodes);
    }

    /// Replaces the dial plan. Peers that are not allowed are not dialled.
    pub fn set_peers(&self, peers: Vec<PeerAddress>) {
        self.inner.shared.change(|wanted| wanted.peers = peers);
    }

    /// Cuts peers off, for a drill: closes their links and refuses new ones in both directions until healed.
    pub fn cut(&self, affected: Affected) {
        self.inner.shared.change(|wanted| wanted.cut.cut(affected));
    }

    /// Undoes [`Mesh::cut`] and dials the healed peers at once.
    pub fn heal(&self, affected: Affected) {
        self.inner.shared.change(|wanted| wanted.cut.heal(affected));
    }

    /// Replaces all that was cut or healed before in one step, so that a peer that stays cut off never gets in
    /// between; `None` cuts nobody off.
    pub fn set_cut(&self, affected: Option<Affected>) {
        self.inner.shared.change(|wanted| wanted.cut = Cut::of(affected));
    }

    /// Whether a drill cuts this peer off.
    #[must_use]
    pub fn is_cut(&self, node: NodeKey) -> bool {
        self.inner.shared.wanted().cut.holds(node)
    }

    /// Queues a frame. Never blocks; what finds no room is refused, counted, and the caller's to repair.
    pub fn send(&self, node: NodeKey, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        let link = self.inner.shared.link(node).ok_or(SendError::NoLink)?;
        link.send(lane, frame)
    }

    /// What waits in a lane to a peer, for callers that pace themselves; `None` without a link.
    #[must_use]
    pub fn queued(&self, node: NodeKey, lane: Lane) -> Option<Queued> {
        Some(self.inner.shared.link(node)?.queued(lane))
    }

    /// The links that are up.
    #[must_use]
    pub fn links(&self) -> Vec<LinkInfo> {
        self.inner.shared.links().values().map(|link| link.info()).collect()
    }

    /// Why the last dial of a peer brought no connection, for people; `None` if there is one or none was tried.
    #[must_use]
    pub fn failed_dial(&self, node: NodeKey) -> Option<String> {
        self.inner.shared.failed_dials().get(&node).cloned()
    }

    /// Sums over all links since the start.
    #[must_use]
    pub fn totals(&self) -> MeshTotals {
        self.inner.shared.totals.totals()
    }

    /// Sends what is queued, closes all links so that peers know at once, and stops. Takes at most a second.
    pub async fn shutdown(&self) {
        let mut stopped = self.inner.shared.stopped.subscribe();
        self.inner.shared.change(|wanted| wanted.shutdown = true);
        // The farewell bounds itself; this bound only matters if its task has died.
        let _ = timeout(SHUTDOWN_WITHIN, stopped.wait_for(|stopped| *stopped)).await;
    }
}

/// What handles and the swarm's owner share.
pub(crate) struct Shared {
    node: NodeKey,
    local_address: SocketAddr,
    wanted: Mutex<Wanted>,
    changed: Notify,
    links: RwLock<BTreeMap<NodeKey, Arc<Link>>>,
    failed_dials: Mutex<BTreeMap<NodeKey, String>>,
    pub(crate) totals: Arc<Counters>,
    pub(crate) stopped: watch::Sender<bool>,
}

/// What the caller wants. The last word counts, so nothing queues.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) allowed: BTreeSet<NodeKey>,
    pub(crate) peers: Vec<PeerAddress>,
    pub(crate) cut: Cut,
    pub(crate) shutdown: bool,
}

impl Shared {
    /// Why peers that are dialled cannot be reached; of those alone, so that there are no more of them than peers.
    pub(crate) fn failed_dials(&self) -> MutexGuard<'_, BTreeMap<NodeKey, String>> {
        self.failed_dials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn new(node: NodeKey, local_address: SocketAddr) -> Shared {
        Shared {
            node,
            local_address,
            wanted: Mutex::default(),
            changed: Notify::new(),
            links: RwLock::default(),
            failed_dials: Mutex::default(),
            totals: Arc::default(),
            stopped: watch::Sender::new(false),
        }
    }

    pub(crate) fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    fn change(&self, change: impl FnOnce(&mut Wanted)) {
        change(&mut self.wanted());
        self.changed.notify_one();
    }

    /// A poisoned lock is taken as it is: what the caller wants is replaced whole.
    pub(crate) fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn until_changed(&self) {
        self.changed.notified().await;
    }

    fn link(&self, node: NodeKey) -> Option<Arc<Link>> {
        self.links.read().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }

    pub(crate) fn links(&self) -> BTreeMap<NodeKey, Arc<Link>> {
        self.links.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn add_link(&self, link: Arc<Link>) {
        self.links.write().unwrap_or_else(PoisonError::into_inner).insert(link.node, link);
    }

    /// Removes the link unless a newer one has taken its place.
    pub(crate) fn remove_link(&self, link: &Link) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        if links.get(&link.node).is_some_and(|current| current.id == link.id) {
            links.remove(&link.node);
        }
    }

    pub(crate) fn remove_all_links(&self) {
        self.links.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The peers that drills cut off: some, or all except some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    all: bool,
    /// Those cut off or, when `all`, those spared.
    nodes: BTreeSet<NodeKey>,
}

impl Cut {
    pub(crate) fn holds(&self, node: NodeKey) -> bool {
        self.all != self.nodes.contains(&node)
    }

    fn of(affected: Option<Affected>) -> Cut {
        let mut cut = Cut::default();
        if let Some(affected) = affected {
            cut.cut(affected);
        }
        cut
    }

    fn cut(&mut self, affected: Affected) {
        match affected {
            Affected::All => *self = Cut { all: true, nodes: BTreeSet::new() },
            Affected::Nodes(nodes) => self.set(nodes, true),
        }
    }

    fn heal(&mut self, affected: Affected) {
        match affected {
            Affected::All => *self = Cut::default(),
            Affected::Nodes(nodes) => self.set(nodes, false),
        }
    }

    fn set(&mut self, nodes: BTreeSet<NodeKey>, cut: bool) {
        for node in nodes {
            if cut == self.all {
                self.nodes.remove(&node);
            } else {
                self.nodes.insert(node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> NodeKey {
        NodeKey([n; 32])
    }

    fn nodes(keys: &[u8]) -> Affected {
        Affected::Nodes(keys.iter().map(|&n| key(n)).collect())
    }

    #[test]
    fn cuts_and_heals_add_up() {
        let mut cut = Cut::default();
        let held = |cut: &Cut| (1..=4).filter(|&n| cut.holds(key(n))).collect::<Vec<u8>>();
        cut.cut(nodes(&[1, 2]));
        assert_eq!(held(&cut), [1, 2]);
        cut.heal(nodes(&[2, 3]));
        assert_eq!(held(&cut), [1]);
        cut.cut(Affected::All);
        assert_eq!(held(&cut), [1, 2, 3, 4]);
        cut.heal(nodes(&[1, 4]));
        assert_eq!(held(&cut), [2, 3]);
        cut.cut(nodes(&[4]));
        assert_eq!(held(&cut), [2, 3, 4]);
        assert_eq!(held(&Cut::of(Some(nodes(&[3])))), [3], "nothing of before is left");
        cut.heal(Affected::All);
        assert_eq!((&cut, &Cut::of(None)), (&Cut::default(), &Cut::default()));
    }
}
