//! What the caller receives: news of links, and frames by urgency.
//!
//! Four bounded receivers, so that an urgent frame never waits behind bulk frames that the caller has not taken
//! yet. A frame surfaces only after its link's [`LinkEvent::Up`] was taken and never once its
//! [`LinkEvent::Down`] was issued, whichever receivers the caller reads first.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use vatra_model::NodeKey;

use crate::config::MeshLimits;
use crate::lane::Lane;
use crate::link::Link;

/// Events waiting for the caller in [`LinkEvents`].
const LINK_EVENTS_MAX: usize = 256;

/// Frames of one receiver that [`MeshEvents::recv`] hands out in a row while a less urgent one waits.
const TURN_FRAMES: u32 = 64;

/// Names one link for as long as this process runs. A peer that comes back gets a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// News of links. The mesh itself logs it at debug level only: whoever takes it tells the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// A link is usable on all lanes.
    Up {
        /// The peer.
        node: NodeKey,
        /// The link.
        link: LinkId,
        /// Where the peer's packets come from.
        remote: SocketAddr,
        /// Who opened the connection.
        dialed_by_us: bool,
    },
    /// A link that was up is no more. Frames it had queued in either direction are lost.
    Down {
        /// The peer.
        node: NodeKey,
        /// The link.
        link: LinkId,
        /// Why.
        reason: DownReason,
    },
    /// Connections of a key were refused. At most one such event per key in ten seconds.
    Refused {
        /// The key that was proven in the handshake.
        node: NodeKey,
        /// Where it came from, or where we found it.
        remote: SocketAddr,
        /// Why.
        reason: RefusedReason,
        /// Refusals of this key since the last event about it.
        count: u64,
    },
}

/// Why a link ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DownReason {
    /// Nothing came, not even the heartbeat. The dialer tries again.
    #[error("nothing was heard from the peer for {} ms", .silence.as_millis())]
    Silent {
        /// For how long.
        silence: Duration,
    },
    /// The peer closed the connection or the path failed. The dialer tries again.
    #[error("the connection ended: {detail}")]
    Lost {
        /// What the transport says.
        detail: String,
    },
    /// The peer's key is no longer allowed.
    #[error("the peer's key is no longer allowed")]
    Revoked,
    /// A drill cuts us off from the peer.
    #[error("a drill cuts the link")]
    Cut,
    /// The peer came back on a new connection; a new link follows.
    #[error("the peer came back on a new connection")]
    Replaced,
    /// The peer announced a frame over the limit.
    #[error("the peer announced a frame of {length_bytes} bytes on lane {lane}, at most {bytes_max} are allowed")]
    FrameTooLarge {
        /// The lane.
        lane: Lane,
        /// Bytes announced.
        length_bytes: usize,
        /// Bytes allowed.
        bytes_max: usize,
    },
    /// The peer does not keep to the protocol of lanes, or speaks another version of it.
    #[error("the peer breaks the protocol of links: {detail}")]
    Protocol {
        /// What it did.
        detail: String,
    },
    /// This node shuts down.
    #[error("this node shuts down")]
    Shutdown,
}

impl DownReason {
    /// Whether the peer is to blame, so that a new link at once would only fail again.
    pub(crate) fn is_misbehaviour(&self) -> bool {
        matches!(self, DownReason::FrameTooLarge { .. } | DownReason::Protocol { .. })
    }
}

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RefusedReason {
    /// The key is not among the allowed ones.
    #[error("the key is not allowed")]
    NotAllowed,
    /// A drill cuts us off from the peer.
    #[error("a drill cuts the link")]
    Cut,
    /// The address of a peer that we dialled is held by this other key.
    #[error("the address of node {expected} is held by another key")]
    WrongKey {
        /// Whom we dialled.
        expected: NodeKey,
    },
    /// Too many connections.
    #[error("too many connections")]
    Limit,
}

/// A frame of a peer. It counts against [`MeshLimits::received_bytes_max`] until it is dropped or
/// taken apart by [`Frame::into_bytes`].
pub struct Frame {
    /// The peer that sent it.
    pub node: NodeKey,
    /// The link it came over.
    pub link: LinkId,
    /// The lane it came over.
    pub lane: Lane,
    /// The payload.
    pub bytes: Bytes,
    pub(crate) source: Arc<Link>,
    pub(crate) _budget: [OwnedSemaphorePermit; 2],
}

impl Frame {
    /// The payload alone; room for another frame is made at once.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} bytes on {} of {}, link {})", self.bytes.len(), self.lane, self.node.short(), self.link)
    }
}

/// What [`MeshEvents::recv`] yields.
#[derive(Debug)]
pub enum MeshEvent {
    /// News of a link.
    Link(LinkEvent),
    /// A frame.
    Frame(Frame),
}

/// Everything that comes from the mesh. Read it as a whole by [`MeshEvents::recv`], or take its parts and
/// read each in a place of its own.
#[derive(Debug)]
pub struct MeshEvents {
    /// News of links.
    pub links: LinkEvents,
    /// Frames of lane `control`.
    pub control: Frames,
    /// Frames of lanes `flash` and `priority`.
    pub urgent: Frames,
    /// Frames of lanes `routine` and `bulk`.
    pub bulk: Frames,
    turn: u32,
}

impl MeshEvents {
    /// The next event: links before control before urgent before bulk frames, except that a less urgent
    /// receiver gets a turn after every 64 frames of the others. `None` once the mesh has stopped.
    pub async fn recv(&mut self) -> Option<MeshEvent> {
        if self.turn >= TURN_FRAMES {
            self.turn = 0;
            if let Some(frame) = self.bulk.try_recv().or_else(|| self.urgent.try_recv()) {
                return Some(MeshEvent::Frame(frame));
            }
        }
        tokio::select! {
            biased;
            Some(event) = self.links.recv() => Some(MeshEvent::Link(event)),
            Some(frame) = self.control.recv() => {
                self.turn += 1;
                Some(MeshEvent::Frame(frame))
            }
            Some(frame) = self.urgent.recv() => {
                self.turn += 1;
                Some(MeshEvent::Frame(frame))
            }
            Some(frame) = self.bulk.recv() => {
                self.turn = 0;
                Some(MeshEvent::Frame(frame))
            }
            else => None,
        }
    }
}

/// Receiver of link news.
#[derive(Debug)]
pub struct LinkEvents {
    receiver: mpsc::Receiver<Announcement>,
}

impl LinkEvents {
    /// The next event; `None` once the mesh has stopped. Safe to cancel.
    pub async fn recv(&mut self) -> Option<LinkEvent> {
        self.receiver.recv().await.map(Announcement::take)
    }

    /// The next event if one is there.
    pub fn try_recv(&mut self) -> Option<LinkEvent> {
        self.receiver.try_recv().ok().map(Announcement::take)
    }

    /// The next event, waiting on a thread that runs no async code.
    pub fn blocking_recv(&mut self) -> Option<LinkEvent> {
        self.receiver.blocking_recv().map(Announcement::take)
    }
}

/// Receiver of frames.
#[derive(Debug)]
pub struct Frames {
    receiver: mpsc::Receiver<Frame>,
}

impl Frames {
    /// The next frame; `None` once the mesh has stopped. Safe to cancel.
    pub async fn recv(&mut self) -> Option<Frame> {
        loop {
            let frame = self.receiver.recv().await?;
            if !frame.source.has_ended() {
                return Some(frame);
            }
        }
    }

    /// The next frame if one is there.
    pub fn try_recv(&mut self) -> Option<Frame> {
        loop {
            let frame = self.receiver.try_recv().ok()?;
            if !frame.source.has_ended() {
                return Some(frame);
            }
        }
    }

    /// The next frame, waiting on a thread that runs no async code.
    pub fn blocking_recv(&mut self) -> Option<Frame> {
        loop {
            let frame = self.receiver.blocking_recv()?;
            if !frame.source.has_ended() {
                return Some(frame);
            }
        }
    }
}

/// A link event on its way to the caller.
pub(crate) struct Announcement {
    pub(crate) event: LinkEvent,
    /// The link that may deliver frames once the caller has taken its `Up`.
    pub(crate) starts: Option<Arc<Link>>,
}

impl Announcement {
    fn take(self) -> LinkEvent {
        if let Some(link) = self.starts {
            link.start();
        }
        self.event
    }
}

/// The other ends of [`MeshEvents`].
pub(crate) struct EventSenders {
    pub(crate) links: mpsc::Sender<Announcement>,
    inlets: [Inlet; 3],
}

/// Where the readers of some lanes put frames: room in the queue and a budget of bytes.
#[derive(Clone)]
pub(crate) struct Inlet {
    pub(crate) frames: mpsc::Sender<Frame>,
    pub(crate) budget: Arc<Semaphore>,
}

impl EventSenders {
    pub(crate) fn inlet(&self, lane: Lane) -> Inlet {
        let [control, urgent, bulk] = &self.inlets;
        match lane {
            Lane::Control => control.clone(),
            Lane::Flash | Lane::Priority => urgent.clone(),
            Lane::Routine | Lane::Bulk => bulk.clone(),
        }
    }
}

/// Both ends of everything that comes from the mesh.
pub(crate) fn events(limits: &MeshLimits) -> (EventSenders, MeshEvents) {
    // A frame of the greatest size must fit, or its lane would wait for ever.
    let budget = limits.received_bytes_max.max(limits.frame_bytes_max).min(Semaphore::MAX_PERMITS);
    let inlet = || {
        let (frames, receiver) = mpsc::channel(limits.received_frames_max.max(1));
        (Inlet { frames, budget: Arc::new(Semaphore::new(budget)) }, Frames { receiver })
    };
    let (links, receiver) = mpsc::channel(LINK_EVENTS_MAX);
    let [(control_in, control), (urgent_in, urgent), (bulk_in, bulk)] = [inlet(), inlet(), inlet()];
    let senders = EventSenders { links, inlets: [control_in, urgent_in, bulk_in] };
    (senders, MeshEvents { links: LinkEvents { receiver }, control, urgent, bulk, turn: 0 })
}
