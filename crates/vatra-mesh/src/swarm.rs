//! Starts the mesh: builds the libp2p swarm, binds the port, spawns the owner's task.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use libp2p::allow_block_list::{self, AllowedPeers};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::core::transport::TransportError;
use libp2p::core::upgrade::Version;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, Swarm, SwarmBuilder};
use thiserror::Error;
use tokio::time::timeout;

use crate::config::{MeshConfig, MeshLimits, Timing};
use crate::events::{MeshEvents, events};
use crate::handle::{Mesh, Shared};
use crate::identity::Identity;
use crate::protocol::Streams;

mod owner;
mod refusals;

use owner::Owner;

/// Connections of one peer at once: the attempts of a dialer overlap, and a restarted peer comes back while its
/// old connection still counts.
const CONNECTIONS_PER_PEER_MAX: u32 = 4;

/// Connections at once, beyond two for each link that is allowed.
const CONNECTIONS_SPARE: u32 = 16;

/// Streams that a peer may have open at once; it needs one per channel.
const STREAMS_MAX: u32 = 16;

/// Time until a bound socket tells its port.
const BIND_WITHIN: Duration = Duration::from_secs(1);

/// Why the mesh did not start. Nothing runs and no port is held.
#[derive(Debug, Error)]
pub enum StartError {
    /// The UDP address cannot be bound: it is taken, not ours, or not permitted. The operator must act.
    #[error("cannot listen on UDP {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The socket told no port, for instance because no network interface is up.
    #[error("listening on UDP {address} got no port within {} ms", BIND_WITHIN.as_millis())]
    NoPort {
        /// The address.
        address: SocketAddr,
    },
}

/// What the swarm is made of.
#[derive(NetworkBehaviour)]
struct Border {
    allowed: allow_block_list::Behaviour<AllowedPeers>,
    limits: connection_limits::Behaviour,
    streams: Streams,
}

/// Binds the port and starts the mesh on the current tokio runtime. Nobody is allowed or dialled until
/// [`Mesh::set_allowed`] and [`Mesh::set_peers`].
///
/// TLS sessions write their secrets to the file that `SSLKEYLOGFILE` names, so a program that calls this must
/// remove that variable from its environment first.
pub async fn start(config: MeshConfig) -> Result<(Mesh, MeshEvents), StartError> {
    let timing = config.profile.timing();
    let mut swarm = build(&config.identity, timing, &config.limits);
    let address = config.listen;
    swarm.listen_on(multiaddr_of(address)).map_err(|error| StartError::Bind { address, source: bind_error(error) })?;
    let local_address = if address.port() == 0 { port_of(&mut swarm, address).await? } else { address };
    let (senders, receivers) = events(&config.limits);
    let shared = Arc::new(Shared::new(config.identity.node(), local_address));
    let owner = Owner::new(swarm, shared.clone(), config.limits, timing, senders);
    let task = tokio::spawn(owner.run()).abort_handle();
    tracing::info!(node = %config.identity.node(), %local_address, profile = %config.profile, "the mesh listens");
    Ok((Mesh::new(shared, task), receivers))
}

fn build(identity: &Identity, timing: Timing, limits: &MeshLimits) -> Swarm<Border> {
    let links_max = u32::try_from(limits.links_max).unwrap_or(u32::MAX);
    let connection_limits = ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits.pending_incoming_max))
        .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX))
        .with_max_established(Some(links_max.saturating_mul(2).saturating_add(CONNECTIONS_SPARE)));
    let border = Border {
        allowed: allow_block_list::Behaviour::default(),
        limits: connection_limits::Behaviour::new(connection_limits),
        streams: Streams::default(),
    };
    SwarmBuilder::with_existing_identity(identity.keypair())
        .with_tokio()
        .with_quic_config(|mut quic| {
            quic.max_idle_timeout = u32::try_from(timing.idle.as_millis()).unwrap_or(u32::MAX);
            quic.keep_alive_interval = timing.keep_alive;
            quic.handshake_timeout = timing.handshake;
            quic.max_concurrent_stream_limit = STREAMS_MAX;
            quic.max_stream_data = timing.stream_window_bytes;
            quic.max_connection_data = timing.connection_window_bytes;
            quic
        })
        .with_behaviour(|_| border)
        .expect("making the behaviour cannot fail: it is moved in")
        // The hello travels with the stream's opening instead of a round trip after it.
        .with_swarm_config(|swarm| swarm.with_substream_upgrade_protocol_override(Version::V1Lazy))
        .build()
}

async fn port_of(swarm: &mut Swarm<Border>, address: SocketAddr) -> Result<SocketAddr, StartError> {
    let port = async {
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await
                && let Some(told) = socket_address_of(&address)
            {
                return told.port();
            }
        }
    };
    let port = timeout(BIND_WITHIN, port).await.map_err(|_| StartError::NoPort { address })?;
    Ok(SocketAddr::new(address.ip(), port))
}

fn bind_error(error: TransportError<io::Error>) -> io::Error {
    match error {
        // The transport wraps the system's error in layers that all say the same.
        TransportError::Other(error) => io::Error::new(error.kind(), error.to_string()),
        TransportError::MultiaddrNotSupported(address) => {
            io::Error::new(io::ErrorKind::InvalidInput, format!("the transport does not support {address}"))
        }
    }
}

fn multiaddr_of(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Udp(address.port())).with(Protocol::QuicV1)
}

fn socket_address_of(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Udp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_way_to_libp2p_and_back() {
        for text in ["127.0.0.1:7000", "[::1]:7001"] {
            let address: SocketAddr = text.parse().expect("an address");
            assert_eq!(socket_address_of(&multiaddr_of(address)), Some(address));
        }
        assert_eq!(multiaddr_of(([10, 0, 0, 1], 7).into()).to_string(), "/ip4/10.0.0.1/udp/7/quic-v1");
    }
}
