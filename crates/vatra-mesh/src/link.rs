//! One link as its tasks, the handle and the event receivers share it: queues, counters, state.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use vatra_model::NodeKey;

use crate::config::{HeartbeatTiming, MeshLimits};
use crate::counters::{Counters, LaneCounters};
use crate::events::LinkId;
use crate::frame::FRAME_HEADER_BYTES;
use crate::heartbeat::Heartbeat;
use crate::lane::{Channel, Lane};

pub(crate) mod tasks;

/// Why a frame was not queued. Nothing was sent; catch-up repairs what a peer missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// There is no link to the peer.
    #[error("there is no link to the peer")]
    NoLink,
    /// The lane's queue is full by frames or bytes; the frame was counted as shed.
    #[error("the queue of lane {lane} is full")]
    QueueFull {
        /// The lane.
        lane: Lane,
    },
    /// The frame is larger than the limit; the peer would close the link.
    #[error("a frame of {length_bytes} bytes was to be sent, at most {bytes_max} are allowed")]
    TooLarge {
        /// Bytes of the frame.
        length_bytes: usize,
        /// Bytes allowed.
        bytes_max: usize,
    },
}

/// What waits in one lane of one link, or is being written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    /// Frames.
    pub frames: usize,
    /// Bytes, frame headers included.
    pub bytes: usize,
}

/// A link that is up, as [`crate::Mesh::links`] shows it.
#[derive(Clone, Debug)]
pub struct LinkInfo {
    /// The peer.
    pub node: NodeKey,
    /// The link.
    pub link: LinkId,
    /// Where the peer's packets come from.
    pub remote: SocketAddr,
    /// Who opened the connection.
    pub dialed_by_us: bool,
    /// When it came up.
    pub since: SystemTime,
    /// Smoothed round trip of the heartbeat; `None` until one was measured.
    pub rtt: Option<Duration>,
    /// Traffic per lane, in the order of [`Lane::ALL`].
    pub lanes: [LaneCounters; Lane::COUNT],
    /// Traffic of the heartbeat.
    pub heartbeat: LaneCounters,
    /// What waits to be written, in the order of [`Lane::ALL`].
    pub queued: [Queued; Lane::COUNT],
}

/// Shared state of one link.
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) node: NodeKey,
    pub(crate) remote: SocketAddr,
    pub(crate) dialed_by_us: bool,
    frame_bytes_max: usize,
    queues: [LaneQueue; Lane::COUNT],
    counters: Counters,
    totals: Arc<Counters>,
    heartbeat: Mutex<Heartbeat>,
    up_since: Mutex<Option<SystemTime>>,
    started: watch::Sender<bool>,
    ended: AtomicBool,
}

struct LaneQueue {
    frames: mpsc::Sender<Bytes>,
    /// Bytes of all frames that are queued or being written.
    bytes: AtomicUsize,
    bytes_max: usize,
    /// Frames that are queued or being written.
    count: AtomicUsize,
}

/// Receiving ends of a link's lane queues, one for each writer.
pub(crate) type LaneOutlets = [Option<mpsc::Receiver<Bytes>>; Lane::COUNT];

impl Link {
    pub(crate) fn new(
        (id, node, remote, dialed_by_us): (LinkId, NodeKey, SocketAddr, bool),
        limits: &MeshLimits,
        timing: HeartbeatTiming,
        totals: Arc<Counters>,
    ) -> (Arc<Link>, LaneOutlets) {
        let mut outlets = LaneOutlets::default();
        let queues = std::array::from_fn(|index| {
            let (frames, outlet) = mpsc::channel(limits.lane_queue_frames.max(1));
            outlets[index] = Some(outlet);
            let (bytes, count) = (AtomicUsize::new(0), AtomicUsize::new(0));
            LaneQueue { frames, bytes, bytes_max: limits.lane_queue_bytes, count }
        });
        let link = Link {
            id,
            node,
            remote,
            dialed_by_us,
            frame_bytes_max: limits.frame_bytes_max,
            queues,
            counters: Counters::default(),
            totals,
            heartbeat: Mutex::new(Heartbeat::new(Instant::now(), timing)),
            up_since: Mutex::new(None),
            started: watch::Sender::new(false),
            ended: AtomicBool::new(false),
        };
        (Arc::new(link), outlets)
    }

    /// Queues a frame. Never blocks.
    pub(crate) fn send(&self, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        let length_bytes = frame.len();
        if length_bytes > self.frame_bytes_max {
            return Err(SendError::TooLarge { length_bytes, bytes_max: self.frame_bytes_max });
        }
        let queue = &self.queues[lane.index()];
        let cost = length_bytes + FRAME_HEADER_BYTES;
        let room = queue.bytes.fetch_add(cost, Ordering::Relaxed) + cost <= queue.bytes_max.max(cost);
        let refusal = if room {
            queue.count.fetch_add(1, Ordering::Relaxed);
            match queue.frames.try_send(frame) {
                Ok(()) => return Ok(()),
                Err(refusal) => {
                    queue.count.fetch_sub(1, Ordering::Relaxed);
                    Some(refusal)
                }
            }
        } else {
            None
        };
        queue.bytes.fetch_sub(cost, Ordering::Relaxed);
        if let Some(mpsc::error::TrySendError::Closed(_)) = refusal {
            return Err(SendError::NoLink);
        }
        for counters in [&self.counters, &*self.totals] {
            counters.shed(lane);
        }
        Err(SendError::QueueFull { lane })
    }

    /// Frames left the lane's queue and were written.
    fn written(&self, lane: Lane, frames: &[Bytes]) {
        let bytes: usize = frames.iter().map(|frame| frame.len() + FRAME_HEADER_BYTES).sum();
        let queue = &self.queues[lane.index()];
        queue.bytes.fetch_sub(bytes, Ordering::Relaxed);
        queue.count.fetch_sub(frames.len(), Ordering::Relaxed);
        self.count_sent(Channel::Lane(lane), frames.len() as u64, bytes as u64);
    }

    fn count_sent(&self, channel: Channel, frames: u64, bytes: u64) {
        for counters in [&self.counters, &*self.totals] {
            counters.sent(channel, frames, bytes);
        }
    }

    fn count_received(&self, channel: Channel, payload_bytes: usize) {
        for counters in [&self.counters, &*self.totals] {
            counters.received(channel, (payload_bytes + FRAME_HEADER_BYTES) as u64);
        }
    }

    fn with_heartbeat<T>(&self, action: impl FnOnce(&mut Heartbeat) -> T) -> T {
        // A heartbeat has no state that a panic could leave half changed.
        action(&mut self.heartbeat.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The link came up.
    pub(crate) fn mark_up(&self, at: SystemTime) {
        *self.up_since.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }

    /// The caller knows of the link: frames may surface.
    pub(crate) fn start(&self) {
        self.started.send_replace(true);
    }

    async fn until_started(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.started.subscribe().wait_for(|started| *started).await;
    }

    /// No frame may surface any more.
    pub(crate) fn mark_ended(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether every queued frame was handed to the transport.
    pub(crate) fn is_drained(&self) -> bool {
        self.queues.iter().all(|queue| queue.count.load(Ordering::Relaxed) == 0)
    }

    pub(crate) fn queued(&self, lane: Lane) -> Queued {
        let queue = &self.queues[lane.index()];
        Queued { frames: queue.count.load(Ordering::Relaxed), bytes: queue.bytes.load(Ordering::Relaxed) }
    }

    pub(crate) fn info(&self) -> LinkInfo {
        let up_since = *self.up_since.lock().unwrap_or_else(PoisonError::into_inner);
        LinkInfo {
            node: self.node,
            link: self.id,
            remote: self.remote,
            dialed_by_us: self.dialed_by_us,
            since: up_since.unwrap_or(SystemTime::UNIX_EPOCH),
            rtt: self.with_heartbeat(|heartbeat| heartbeat.rtt()),
            lanes: Lane::ALL.map(|lane| self.counters.read(Channel::Lane(lane))),
            heartbeat: self.counters.read(Channel::Heartbeat),
            queued: Lane::ALL.map(|lane| self.queued(lane)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(limits: &MeshLimits) -> (Arc<Link>, LaneOutlets) {
        let timing = crate::LinkProfile::Wan.timing().heartbeat;
        let remote = SocketAddr::from(([127, 0, 0, 1], 9));
        Link::new((LinkId(1), NodeKey([2; 32]), remote, true), limits, timing, Arc::default())
    }

    #[test]
    fn a_full_queue_is_told_and_counted_by_frames_and_by_bytes() {
        let limits = MeshLimits { lane_queue_frames: 3, lane_queue_bytes: 100, ..MeshLimits::default() };
        let (link, mut outlets) = link(&limits);
        let full = Err(SendError::QueueFull { lane: Lane::Bulk });
        for _ in 0..3 {
            assert_eq!(link.send(Lane::Bulk, Bytes::from_static(b"x")), Ok(()));
        }
        assert_eq!(link.send(Lane::Bulk, Bytes::from_static(b"x")), full, "by frames");
        assert_eq!(link.send(Lane::Flash, Bytes::from(vec![0; 60])), Ok(()), "lanes are apart");
        assert!(link.send(Lane::Flash, Bytes::from(vec![0; 60])).is_err(), "by bytes");
        assert_eq!(link.send(Lane::Flash, Bytes::from(vec![0; 30])), Ok(()), "what fits still fits");
        let info = link.info();
        assert_eq!((info.lanes[Lane::Bulk.index()].shed, info.lanes[Lane::Flash.index()].shed), (1, 1));
        assert_eq!(info.queued.map(|queued| queued.frames), [0, 2, 0, 0, 3]);
        assert_eq!(info.queued.map(|queued| queued.bytes), [0, 98, 0, 0, 15]);
        assert!(!link.is_drained());

        let outlet = outlets[Lane::Bulk.index()].as_mut().expect("there is an outlet");
        let frame = outlet.try_recv().expect("queued");
        link.written(Lane::Bulk, &[frame]);
        assert_eq!(link.send(Lane::Bulk, Bytes::from_static(b"x")), Ok(()));
        let sent = link.info().lanes[Lane::Bulk.index()];
        assert_eq!((sent.sent_frames, sent.sent_bytes), (1, 5));
    }

    #[test]
    fn an_oversized_frame_is_refused_and_a_closed_lane_is_no_link() {
        let limits = MeshLimits { frame_bytes_max: 10, ..MeshLimits::default() };
        let (link, outlets) = link(&limits);
        let refused = link.send(Lane::Control, Bytes::from(vec![0; 11]));
        assert_eq!(refused, Err(SendError::TooLarge { length_bytes: 11, bytes_max: 10 }));
        drop(outlets);
        assert_eq!(link.send(Lane::Control, Bytes::new()), Err(SendError::NoLink));
        assert!(link.is_drained());
    }
}
