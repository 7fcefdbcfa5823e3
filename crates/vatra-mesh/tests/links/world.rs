//! Nodes on the loopback interface, and a relay between them that can lose packets.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;
use vatra_mesh::{
    Frame, Frames, Identity, Lane, LinkEvent, LinkProfile, Mesh, MeshConfig, MeshEvents, MeshLimits, PeerAddress,
    SendError, start,
};
use vatra_model::NodeKey;

/// Longest wait for anything that must happen. Generous, because tests share a small machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A node under test.
pub(crate) struct Node {
    pub(crate) mesh: Mesh,
    pub(crate) events: MeshEvents,
}

/// The identity made of one repeated byte.
pub(crate) fn identity(seed: u8) -> Identity {
    Identity::from_seed(&mut [seed; 32])
}

/// Two seeds: that of the smaller key first.
pub(crate) fn ordered(one: u8, other: u8) -> (u8, u8) {
    if identity(one).node() < identity(other).node() { (one, other) } else { (other, one) }
}

pub(crate) fn config(seed: u8, listen: SocketAddr) -> MeshConfig {
    MeshConfig { identity: identity(seed), listen, profile: LinkProfile::Wan, limits: MeshLimits::default() }
}

pub(crate) fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

impl Node {
    pub(crate) async fn new(seed: u8) -> Node {
        Node::with(config(seed, anywhere())).await
    }

    pub(crate) async fn with(config: MeshConfig) -> Node {
        let (mesh, events) = start(config).await.expect("the address is free");
        Node { mesh, events }
    }

    pub(crate) fn key(&self) -> NodeKey {
        self.mesh.node()
    }

    pub(crate) fn allow(&self, others: &[NodeKey]) {
        self.mesh.set_allowed(others.iter().copied().collect());
    }

    pub(crate) fn dial(&self, node: NodeKey, address: SocketAddr) {
        self.mesh.set_peers(vec![PeerAddress { node, address, dial: true }]);
    }

    pub(crate) async fn link_event(&mut self) -> LinkEvent {
        timeout(PATIENCE, self.events.links.recv()).await.expect("an event in time").expect("the mesh runs")
    }

    /// Waits for a link to the peer; anything else is a failure.
    pub(crate) async fn up(&mut self, peer: NodeKey) {
        match self.link_event().await {
            LinkEvent::Up { node, .. } if node == peer => {}
            other => panic!("not up: {other:?}"),
        }
    }

    /// Waits for the end of the link to the peer, skipping refusals, and returns its reason as text.
    pub(crate) async fn down(&mut self, peer: NodeKey) -> String {
        loop {
            match self.link_event().await {
                LinkEvent::Down { node, reason, .. } if node == peer => return reason.to_string(),
                LinkEvent::Refused { .. } => {}
                other => panic!("not down: {other:?}"),
            }
        }
    }

    pub(crate) fn send(&self, peer: NodeKey, lane: Lane, text: &str) -> Result<(), SendError> {
        self.mesh.send(peer, lane, Bytes::copy_from_slice(text.as_bytes()))
    }
}

/// Waits for a frame and returns its lane and text.
pub(crate) async fn text_from(frames: &mut Frames) -> (Lane, String) {
    let frame: Frame = timeout(PATIENCE, frames.recv()).await.expect("a frame in time").expect("the mesh runs");
    (frame.lane, String::from_utf8(frame.into_bytes().to_vec()).expect("a text was sent"))
}

/// Checks something again and again until it holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never came true: {what}"));
}

/// Two nodes that allow each other; the first dials the second.
pub(crate) async fn pair(one: u8, other: u8) -> (Node, Node) {
    let (mut a, mut b) = (Node::new(one).await, Node::new(other).await);
    a.allow(&[b.key()]);
    b.allow(&[a.key()]);
    a.dial(b.key(), b.mesh.local_address());
    let (a_key, b_key) = (a.key(), b.key());
    tokio::join!(a.up(b_key), b.up(a_key));
    (a, b)
}

/// Forwards UDP between whoever sends to it and one target, and loses what it is told to lose.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    lose: Arc<[Loss; 2]>,
    _tasks: JoinSet<()>,
}

/// Which packets of one direction are lost: one in `one_in`, counted, so that a run can be repeated; 0 for none.
#[derive(Default)]
struct Loss {
    one_in: AtomicU64,
    seen: AtomicU64,
}

impl Loss {
    fn hits(&self) -> bool {
        let one_in = self.one_in.load(Ordering::Relaxed);
        let seen = self.seen.fetch_add(1, Ordering::Relaxed);
        one_in > 0 && seen.is_multiple_of(one_in)
    }
}

impl Relay {
    pub(crate) async fn to(target: SocketAddr) -> Relay {
        let front = Arc::new(UdpSocket::bind(anywhere()).await.expect("a free port"));
        let address = front.local_addr().expect("it is bound");
        let lose: Arc<[Loss; 2]> = Arc::default();
        let mut tasks = JoinSet::new();
        let lost = lose.clone();
        tasks.spawn(async move {
            let mut backs: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
            let mut answers = JoinSet::new();
            let mut buffer = vec![0; 65_536];
            loop {
                let (length, client) = front.recv_from(&mut buffer).await.expect("loopback works");
                let back = match backs.entry(client) {
                    Entry::Occupied(back) => back.into_mut(),
                    Entry::Vacant(place) => {
                        let back = Arc::new(UdpSocket::bind(anywhere()).await.expect("a free port"));
                        answers.spawn(answer(back.clone(), front.clone(), client, lost.clone()));
                        place.insert(back)
                    }
                };
                if !lost[0].hits() {
                    let _ = back.send_to(&buffer[..length], target).await;
                }
            }
        });
        Relay { address, lose, _tasks: tasks }
    }

    /// Whether packets to the target, and packets from it, are lost.
    pub(crate) fn lose(&self, to_target: bool, from_target: bool) {
        self.lose_one_in(u64::from(to_target), u64::from(from_target));
    }

    /// Loses one packet in so many, none for 0.
    pub(crate) fn lose_one_in(&self, to_target: u64, from_target: u64) {
        self.lose[0].one_in.store(to_target, Ordering::Relaxed);
        self.lose[1].one_in.store(from_target, Ordering::Relaxed);
    }
}

async fn answer(back: Arc<UdpSocket>, front: Arc<UdpSocket>, client: SocketAddr, lose: Arc<[Loss; 2]>) {
    let mut buffer = vec![0; 65_536];
    loop {
        // An error here reports that the target's port was closed for a moment.
        if let Ok((length, _)) = back.recv_from(&mut buffer).await
            && !lose[1].hits()
        {
            let _ = front.send_to(&buffer[..length], client).await;
        }
    }
}
