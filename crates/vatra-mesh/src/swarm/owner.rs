//! The one loop that owns the swarm: takes in what happened, asks the sans-IO parts, does what they say.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures::StreamExt as _;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::{ConnectionError, ConnectionId, SwarmEvent};
use libp2p::{PeerId, Swarm};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use vatra_model::NodeKey;

use super::refusals::Refusals;
use super::{Border, BorderEvent, multiaddr_of, socket_address_of};
use crate::choice::{Choice, CloseReason, Step};
use crate::config::{MeshLimits, Timing};
use crate::counters::count;
use crate::dialer::Dialer;
use crate::events::{Announcement, DownReason, EventSenders, LinkEvent, LinkId};
use crate::handle::{Shared, Wanted};
use crate::identity::node_of;
use crate::lane::{Channel, Lane};
use crate::link::tasks::{Progress, Report, Reports, run_inbound, run_outbound};
use crate::link::{LaneOutlets, Link};
use crate::protocol::{Arrival, StreamEvent};

mod admission;
mod farewell;

/// Events for the caller that wait for room. At this number no more is taken from the swarm.
const ANNOUNCEMENTS_MAX: usize = 64;

/// Reports of link tasks that wait to be taken.
const REPORTS_MAX: usize = 256;

/// Pause before a lost listening socket is opened again.
const RELISTEN_AFTER: Duration = Duration::from_secs(1);

/// How long a wait lasts when nothing is due.
const NOTHING_DUE: Duration = Duration::from_secs(3_600);

pub(crate) struct Owner {
    swarm: Swarm<Border>,
    shared: Arc<Shared>,
    limits: MeshLimits,
    timing: Timing,
    senders: EventSenders,
    /// What was last put into effect.
    wanted: Wanted,
    /// Peers that may connect: allowed and not cut off.
    admitted: BTreeMap<NodeKey, PeerId>,
    choice: Choice,
    dialer: Dialer,
    dials: BTreeMap<ConnectionId, NodeKey>,
    held: BTreeMap<LinkId, Held>,
    links: BTreeMap<ConnectionId, LinkId>,
    last_link: u64,
    refusals: Refusals,
    announcements: VecDeque<Announcement>,
    report_sender: Reports,
    reports: mpsc::Receiver<Report>,
    relisten_at: Option<Instant>,
}

/// A connection and what hangs on it.
struct Held {
    connection: ConnectionId,
    peer: PeerId,
    link: Arc<Link>,
    outlets: LaneOutlets,
    /// Ends all tasks of the link when dropped.
    tasks: JoinSet<()>,
    /// Channels whose streams are acknowledged, ours and the peer's, by number.
    written: [bool; Channel::COUNT],
    read: [bool; Channel::COUNT],
    /// Whether the caller was told of it and the peer behaved.
    healthy: bool,
    /// What a stream said before the connection itself could tell why it ends.
    first_failure: Option<String>,
}

impl Owner {
    pub(super) fn new(
        swarm: Swarm<Border>,
        shared: Arc<Shared>,
        limits: MeshLimits,
        timing: Timing,
        senders: EventSenders,
    ) -> Owner {
        let own = node_of(swarm.local_peer_id()).expect("our own key is Ed25519");
        let (report_sender, reports) = mpsc::channel(REPORTS_MAX);
        Owner {
            choice: Choice::new(own, timing.form_within, limits.links_max),
            dialer: Dialer::new(own, timing.dial, limits.dials_in_flight_max, rand::random()),
            swarm,
            shared,
            limits,
            timing,
            senders,
            wanted: Wanted::default(),
            admitted: BTreeMap::new(),
            dials: BTreeMap::new(),
            held: BTreeMap::new(),
            links: BTreeMap::new(),
            last_link: 0,
            refusals: Refusals::default(),
            announcements: VecDeque::new(),
            report_sender,
            reports,
            relisten_at: None,
        }
    }

    pub(super) async fn run(mut self) {
        let links = self.senders.links.clone();
        while !self.wanted.shutdown {
            let deadline = self.deadline();
            tokio::select! {
                biased;
                () = self.shared.until_changed() => self.apply_wanted(),
                room = links.reserve(), if !self.announcements.is_empty() => match room {
                    Ok(room) => {
                        if let Some(announcement) = self.announcements.pop_front() {
                            room.send(announcement);
                        }
                    }
                    Err(_) => break,
                },
                Some(report) = self.reports.recv() => self.on_report(report),
                event = self.swarm.select_next_some(), if self.announcements.len() < ANNOUNCEMENTS_MAX => {
                    self.on_swarm_event(event);
                }
                () = tokio::time::sleep_until(deadline.into()) => {}
                () = links.closed() => break,
            }
            self.do_what_is_due();
        }
        self.farewell().await;
        self.shared.stopped.send_replace(true);
    }

    fn deadline(&self) -> Instant {
        [self.dialer.deadline(), self.choice.deadline(), self.relisten_at]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_else(|| Instant::now() + NOTHING_DUE)
    }

    fn do_what_is_due(&mut self) {
        let now = Instant::now();
        let steps = self.choice.expire(now);
        self.follow(steps);
        for attempt in self.dialer.due(now) {
            self.dial(attempt.node, &attempt.addresses);
        }
        if self.relisten_at.is_some_and(|at| at <= now) {
            self.listen_again(now);
        }
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<BorderEvent>) {
        match event {
            SwarmEvent::Behaviour(BorderEvent::Streams(event)) => self.on_stream(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_established(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { connection_id, cause, .. } => self.on_closed(connection_id, cause),
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.dial_ended(connection_id, Some(&error));
            }
            SwarmEvent::IncomingConnectionError { peer_id, send_back_addr, error, .. } => {
                self.on_incoming_error(peer_id, &send_back_addr, &error);
            }
            SwarmEvent::NewListenAddr { .. } | SwarmEvent::ExpiredListenAddr { .. } => {
                self.dialer.encourage(Instant::now());
            }
            SwarmEvent::ListenerClosed { reason, .. } => {
                tracing::error!(?reason, address = %self.shared.local_address(), "the mesh's listening socket is gone");
                self.relisten_at = Some(Instant::now() + RELISTEN_AFTER);
            }
            // One failed handshake, such as of a peer that gave up on it, is told here too; nothing is lost.
            SwarmEvent::ListenerError { error, .. } => tracing::debug!(%error, "a connection was not taken in"),
            _ => {}
        }
    }

    fn on_established(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        self.dial_ended(connection, None);
        let node = node_of(&peer).expect("only admitted keys connect, and those are Ed25519");
        let remote =
            socket_address_of(endpoint.get_remote_address()).unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        let dialed_by_us = endpoint.is_dialer();
        self.last_link += 1;
        let id = LinkId(self.last_link);
        let totals = self.shared.totals.clone();
        let (link, outlets) = Link::new((id, node, remote, dialed_by_us), &self.limits, self.timing.heartbeat, totals);
        tracing::debug!(%node, link = %id, %remote, dialed_by_us, "connected");
        let held = Held {
            connection,
            peer,
            link,
            outlets,
            tasks: JoinSet::new(),
            written: [false; Channel::COUNT],
            read: [false; Channel::COUNT],
            healthy: false,
            first_failure: None,
        };
        self.held.insert(id, held);
        self.links.insert(connection, id);
        self.dialer.connected(node);
        self.shared.failed_dials().remove(&node);
        let steps = self.choice.established(Instant::now(), id, node, dialed_by_us);
        self.follow(steps);
    }

    fn on_closed(&mut self, connection: ConnectionId, cause: Option<ConnectionError>) {
        let Some(id) = self.links.remove(&connection) else { return };
        let detail = match cause {
            Some(ConnectionError::IO(error)) => error.to_string(),
            Some(error) => error.to_string(),
            None => {
                let first = self.held.get_mut(&id).and_then(|held| held.first_failure.take());
                first.unwrap_or_else(|| "closed on our side".to_owned())
            }
        };
        let steps = self.choice.closed(id, &detail);
        self.follow(steps);
        if let Some(held) = self.held.remove(&id) {
            held.link.mark_ended();
            tracing::debug!(node = %held.link.node, link = %id, %detail, "disconnected");
            self.dialer.disconnected(Instant::now(), held.link.node, held.healthy);
        }
    }

    fn on_stream(&mut self, event: StreamEvent) {
        let Some(&id) = self.links.get(&event.connection) else { return };
        let hello_within = self.timing.form_within;
        match event.what {
            Arrival::Outbound(channel, stream) => {
                let Some(held) = self.held.get_mut(&id) else { return };
                let outlet = match channel {
                    Channel::Lane(lane) => held.outlets[lane.index()].take(),
                    Channel::Heartbeat => None,
                };
                let reports = self.report_sender.clone();
                held.tasks.spawn(run_outbound(held.link.clone(), channel, outlet, stream, hello_within, reports));
            }
            Arrival::Inbound(stream) => {
                let (accepted, steps) = self.choice.stream_arrived(id);
                self.follow(steps);
                let Some(held) = self.held.get_mut(&id).filter(|_| accepted) else { return };
                let inlets = Lane::ALL.map(|lane| self.senders.inlet(lane));
                let inlet_of = move |lane: Lane| inlets[lane.index()].clone();
                let (reports, bytes_max) = (self.report_sender.clone(), self.limits.frame_bytes_max);
                held.tasks.spawn(run_inbound(held.link.clone(), inlet_of, stream, bytes_max, hello_within, reports));
            }
            Arrival::Failed { detail, peer_is_to_blame: true } => self.end(id, DownReason::Protocol { detail }),
            Arrival::Failed { detail, peer_is_to_blame: false } => self.lose(id, detail),
        }
    }

    fn on_report(&mut self, report: Report) {
        let Some(held) = self.held.get_mut(&report.link) else { return };
        match report.what {
            Progress::Written(channel) => held.written[channel.index()] = true,
            Progress::Read(channel) if held.read[channel.index()] => {
                return self.end(report.link, DownReason::Protocol { detail: format!("{channel} was opened twice") });
            }
            Progress::Read(channel) => held.read[channel.index()] = true,
            Progress::Failed(DownReason::Lost { detail }) => return self.lose(report.link, detail),
            Progress::Failed(reason) => return self.end(report.link, reason),
        }
        if held.written == [true; Channel::COUNT] && held.read == [true; Channel::COUNT] {
            let steps = self.choice.ready(Instant::now(), report.link);
            self.follow(steps);
        }
    }

    /// A stream failed. Most likely the connection did, and knows better why.
    fn lose(&mut self, link: LinkId, detail: String) {
        let Some(held) = self.held.get_mut(&link) else { return };
        held.first_failure.get_or_insert(detail);
        let connection = held.connection;
        self.swarm.close_connection(connection);
    }

    fn end(&mut self, link: LinkId, reason: DownReason) {
        let steps = self.choice.end(link, reason);
        self.follow(steps);
    }

    fn follow(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Open(id) => {
                    if let Some(held) = self.held.get(&id) {
                        self.swarm.behaviour_mut().streams.open(held.peer, held.connection);
                    }
                }
                Step::Up(id) => self.up(id),
                Step::Down(id, reason) => self.down(id, reason),
                Step::Close(id, reason) => self.close(id, &reason),
            }
        }
    }

    fn up(&mut self, id: LinkId) {
        let Some(held) = self.held.get_mut(&id) else { return };
        held.healthy = true;
        let link = held.link.clone();
        let (node, remote, dialed_by_us) = (link.node, link.remote, link.dialed_by_us);
        link.mark_up(SystemTime::now());
        self.shared.add_link(link.clone());
        count(&self.shared.totals.links_up);
        tracing::debug!(%node, link = %id, %remote, dialed_by_us, "link up");
        let event = LinkEvent::Up { node, link: id, remote, dialed_by_us };
        self.announcements.push_back(Announcement { event, starts: Some(link) });
        self.dialer.encourage(Instant::now());
    }

    fn down(&mut self, id: LinkId, reason: DownReason) {
        let Some(held) = self.held.get_mut(&id) else { return };
        held.healthy = !reason.is_misbehaviour();
        held.link.mark_ended();
        self.shared.remove_link(&held.link);
        count(&self.shared.totals.links_down);
        let node = held.link.node;
        tracing::debug!(%node, link = %id, %reason, "link down");
        self.announcements.push_back(Announcement { event: LinkEvent::Down { node, link: id, reason }, starts: None });
    }

    fn close(&mut self, id: LinkId, reason: &CloseReason) {
        let Some(held) = self.held.get_mut(&id) else { return };
        tracing::debug!(node = %held.link.node, link = %id, ?reason, "closing");
        held.link.mark_ended();
        held.tasks.abort_all();
        let connection = held.connection;
        self.swarm.close_connection(connection);
    }

    fn listen_again(&mut self, now: Instant) {
        match self.swarm.listen_on(multiaddr_of(self.shared.local_address())) {
            Ok(_) => self.relisten_at = None,
            Err(error) => {
                tracing::debug!(%error, "listening again failed");
                self.relisten_at = Some(now + RELISTEN_AFTER);
            }
        }
    }
}
