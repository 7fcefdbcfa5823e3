//! The libp2p side of lanes: opens our streams on a connection when told to, and hands over all streams with
//! the connection they belong to.
//!
//! `libp2p-stream` is not used: it names only the peer of a stream, picks any of several connections, and
//! silently drops streams that arrive while their taker is busy. Here every stream reaches the swarm's owner
//! through the connection's own bounded event queue, which holds the connection back instead.

use std::collections::VecDeque;
use std::fmt;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound, ListenUpgradeError,
};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, Stream, StreamProtocol, StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use crate::lane::Channel;

/// Name of the protocol of every stream. The version in it changes when old nodes could not even read a hello.
const PROTOCOL: StreamProtocol = StreamProtocol::new("/vatra/mesh/1");

/// Time for agreeing on [`PROTOCOL`].
const NEGOTIATE_WITHIN: Duration = Duration::from_secs(5);

/// What happened on a connection.
#[derive(Debug)]
pub(crate) struct StreamEvent {
    pub(crate) connection: ConnectionId,
    pub(crate) what: Arrival,
}

pub(crate) enum Arrival {
    /// A stream that we opened is there.
    Outbound(Channel, Stream),
    /// The peer opened a stream.
    Inbound(Stream),
    /// A stream could not be opened.
    Failed { detail: String, peer_is_to_blame: bool },
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arrival::Outbound(channel, _) => write!(f, "Outbound({channel})"),
            Arrival::Inbound(_) => f.write_str("Inbound"),
            Arrival::Failed { detail, .. } => write!(f, "Failed({detail})"),
        }
    }
}

/// Opens and receives the streams of all connections.
#[derive(Default)]
pub(crate) struct Streams {
    /// Bounded: one order or arrival for each channel of each connection, and connections are limited.
    pending: VecDeque<ToSwarm<StreamEvent, OpenAll>>,
    waker: Option<Waker>,
}

/// Tells a connection to open all our streams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenAll;

impl Streams {
    /// Opens our streams on a connection; they arrive as [`Arrival::Outbound`].
    pub(crate) fn open(&mut self, peer_id: PeerId, connection: ConnectionId) {
        let handler = NotifyHandler::One(connection);
        self.push(ToSwarm::NotifyHandler { peer_id, handler, event: OpenAll });
    }

    fn push(&mut self, order: ToSwarm<StreamEvent, OpenAll>) {
        self.pending.push_back(order);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = Handler;
    type ToSwarm = StreamEvent;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(&mut self, _: PeerId, connection: ConnectionId, what: THandlerOutEvent<Self>) {
        self.push(ToSwarm::GenerateEvent(StreamEvent { connection, what }));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<StreamEvent, THandlerInEvent<Self>>> {
        if let Some(order) = self.pending.pop_front() {
            return Poll::Ready(order);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The streams of one connection.
#[derive(Debug, Default)]
pub(crate) struct Handler {
    to_open: VecDeque<Channel>,
    opened: bool,
    arrived: VecDeque<Arrival>,
    inbound_count: usize,
    waker: Option<Waker>,
}

impl Handler {
    fn arrive(&mut self, arrival: Arrival) {
        self.arrived.push_back(arrival);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn inbound(&mut self, stream: Stream) {
        self.inbound_count += 1;
        // Exactly one stream for each channel; the first one too many ends the link, the rest are dropped.
        if self.inbound_count <= Channel::COUNT {
            self.arrive(Arrival::Inbound(stream));
        } else if self.inbound_count == Channel::COUNT + 1 {
            let detail = format!("the peer opened more than {} streams", Channel::COUNT);
            self.arrive(Arrival::Failed { detail, peer_is_to_blame: true });
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = OpenAll;
    type ToBehaviour = Arrival;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Channel;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, ()> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ()).with_timeout(NEGOTIATE_WITHIN)
    }

    /// The swarm's owner decides which connections stay.
    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn on_behaviour_event(&mut self, OpenAll: OpenAll) {
        if !self.opened {
            self.opened = true;
            self.to_open.extend(Channel::ALL);
            self.wake();
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Channel, Self::ToBehaviour>> {
        if let Some(arrival) = self.arrived.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(arrival));
        }
        if let Some(channel) = self.to_open.pop_front() {
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), channel).with_timeout(NEGOTIATE_WITHIN);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol, (), Channel>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, info: () }) => {
                self.inbound(protocol);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                self.arrive(Arrival::Outbound(info, protocol));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let peer_is_to_blame = matches!(error, StreamUpgradeError::NegotiationFailed);
                self.arrive(Arrival::Failed { detail: format!("the {info} stream: {error}"), peer_is_to_blame });
            }
            ConnectionEvent::ListenUpgradeError(ListenUpgradeError { info: (), error }) => match error {},
            _ => {}
        }
    }
}
