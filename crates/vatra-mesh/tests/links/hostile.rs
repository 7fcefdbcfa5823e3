//! An allowed peer that does not keep to the protocol: it loses its connection, and nobody else notices.

use std::time::Duration;

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::{Multiaddr, Stream, StreamProtocol, SwarmBuilder};
use libp2p_stream::Control;
use tokio::sync::watch;
use tokio::time::timeout;
use vatra_mesh::Lane;
use vatra_model::NodeKey;

use crate::world::{Node, PATIENCE, identity, ordered, pair, text_from};

const PROTOCOL: StreamProtocol = StreamProtocol::new("/vatra/mesh/1");

/// A libp2p peer with a valid key and streams of its own making.
struct Hostile {
    control: Control,
    target: libp2p::PeerId,
    closed: watch::Receiver<bool>,
}

impl Hostile {
    async fn dial(seed: u8, target: &Node) -> Hostile {
        let keypair = Keypair::ed25519_from_bytes([seed; 32]).expect("32 bytes are a seed");
        let mut swarm = SwarmBuilder::with_existing_identity(keypair)
            .with_tokio()
            .with_quic()
            .with_behaviour(|_| libp2p_stream::Behaviour::new())
            .expect("it is moved in")
            .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(PATIENCE))
            .build();
        let control = swarm.behaviour().new_control();
        let address = target.mesh.local_address();
        let address = Multiaddr::from(address.ip()).with(Protocol::Udp(address.port())).with(Protocol::QuicV1);
        swarm.dial(DialOpts::unknown_peer_id().address(address).build()).expect("an address");
        let target = loop {
            if let SwarmEvent::ConnectionEstablished { peer_id, .. } = swarm.select_next_some().await {
                break peer_id;
            }
        };
        let (closed_sender, closed) = watch::channel(false);
        tokio::spawn(async move {
            loop {
                if let SwarmEvent::ConnectionClosed { .. } = swarm.select_next_some().await {
                    closed_sender.send_replace(true);
                }
            }
        });
        Hostile { control, target, closed }
    }

    async fn open(&mut self, bytes: &[u8]) -> Option<Stream> {
        let mut stream = self.control.open_stream(self.target, PROTOCOL).await.ok()?;
        stream.write_all(bytes).await.ok()?;
        stream.flush().await.ok()?;
        Some(stream)
    }

    async fn until_closed(&mut self) {
        timeout(PATIENCE, self.closed.wait_for(|closed| *closed)).await.expect("closed in time").expect("it is told");
    }
}

fn hello(version: u16, channel: u8) -> Vec<u8> {
    [&4_u32.to_le_bytes()[..], &version.to_le_bytes(), &[channel, 0]].concat()
}

/// Lets a hostile peer loose on a node that has an honest link, in both roles of the choice of connections.
async fn check(seed: u8, misbehave: impl AsyncFn(&mut Hostile) -> Vec<Stream>) {
    let (smaller, larger) = ordered(seed, seed + 1);
    for (own, hostile_seed) in [(smaller, larger), (larger, smaller)] {
        let (mut node, mut honest) = pair(own, seed + 2).await;
        let hostile_key: NodeKey = identity(hostile_seed).node();
        node.allow(&[honest.key(), hostile_key]);
        let mut hostile = Hostile::dial(hostile_seed, &node).await;
        let streams = misbehave(&mut hostile).await;
        hostile.until_closed().await;
        drop(streams);

        assert_eq!(node.mesh.totals().links_up, 1, "only the honest link was ever up");
        assert_eq!(node.events.links.try_recv(), None);
        let (node_key, honest_key) = (node.key(), honest.key());
        node.send(honest_key, Lane::Flash, "still").expect("linked");
        assert_eq!(text_from(&mut honest.events.urgent).await.1, "still");
        honest.send(node_key, Lane::Flash, "here").expect("linked");
        assert_eq!(text_from(&mut node.events.urgent).await.1, "here");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_of_another_version_is_turned_away() {
    check(140, async |hostile| hostile.open(&hello(2, 0)).await.into_iter().collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_does_not_exist_ends_the_connection() {
    check(143, async |hostile| hostile.open(&hello(1, 99)).await.into_iter().collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_opened_twice_ends_the_connection() {
    check(146, async |hostile| {
        let first = hostile.open(&hello(1, 0)).await;
        let second = hostile.open(&hello(1, 0)).await;
        first.into_iter().chain(second).collect()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_streams_than_channels_end_the_connection() {
    check(149, async |hostile| {
        let mut streams = Vec::new();
        for channel in 0..7 {
            // The last one finds the connection closed at times.
            streams.extend(hostile.open(&hello(1, channel % 6)).await);
        }
        streams
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hello_of_four_gigabytes_ends_the_connection() {
    check(152, async |hostile| hostile.open(&u32::MAX.to_le_bytes()).await.into_iter().collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_opens_nothing_does_not_hold_its_place() {
    check(155, async |_| Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_before_the_link_is_up_reach_nobody() {
    check(158, async |hostile| {
        let frame = [&hello(1, 1)[..], &3_u32.to_le_bytes(), b"bad"].concat();
        let mut streams: Vec<Stream> = hostile.open(&frame).await.into_iter().collect();
        // Only one stream of six is ever opened, so the link never comes up.
        if let Some(stream) = streams.first_mut() {
            let mut answer = [0; 8];
            let _ = timeout(Duration::from_secs(1), stream.read_exact(&mut answer)).await;
        }
        streams
    })
    .await;
}
