//! Counters of traffic and of what happened, for status, metrics and benchmarks.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::lane::{Channel, Lane};

/// Traffic of one lane. Bytes are as written to the stream, frame headers included; QUIC's own overhead and
/// repetitions are not in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCounters {
    /// Frames written.
    pub sent_frames: u64,
    /// Bytes written.
    pub sent_bytes: u64,
    /// Frames read.
    pub received_frames: u64,
    /// Bytes read.
    pub received_bytes: u64,
    /// Frames that the caller wanted to send and that found the queue full.
    pub shed: u64,
}

/// Sums over all links, past and present, since the mesh started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeshTotals {
    /// Traffic per lane, in the order of [`Lane::ALL`].
    pub lanes: [LaneCounters; Lane::COUNT],
    /// Traffic of heartbeats.
    pub heartbeat: LaneCounters,
    /// Links that came up.
    pub links_up: u64,
    /// Links that went down.
    pub links_down: u64,
    /// Dials begun.
    pub dials: u64,
    /// Dials that brought no connection.
    pub dials_failed: u64,
    /// Connections refused.
    pub refused: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    channels: [ChannelCounters; Channel::COUNT],
    pub(crate) links_up: AtomicU64,
    pub(crate) links_down: AtomicU64,
    pub(crate) dials: AtomicU64,
    pub(crate) dials_failed: AtomicU64,
    pub(crate) refused: AtomicU64,
}

#[derive(Debug, Default)]
struct ChannelCounters {
    sent_frames: AtomicU64,
    sent_bytes: AtomicU64,
    received_frames: AtomicU64,
    received_bytes: AtomicU64,
    shed: AtomicU64,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    pub(crate) fn sent(&self, channel: Channel, frames: u64, bytes: u64) {
        let counters = &self.channels[channel.index()];
        counters.sent_frames.fetch_add(frames, Ordering::Relaxed);
        counters.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, channel: Channel, bytes: u64) {
        let counters = &self.channels[channel.index()];
        count(&counters.received_frames);
        counters.received_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn shed(&self, lane: Lane) {
        count(&self.channels[Channel::Lane(lane).index()].shed);
    }

    pub(crate) fn read(&self, channel: Channel) -> LaneCounters {
        let counters = &self.channels[channel.index()];
        LaneCounters {
            sent_frames: counters.sent_frames.load(Ordering::Relaxed),
            sent_bytes: counters.sent_bytes.load(Ordering::Relaxed),
            received_frames: counters.received_frames.load(Ordering::Relaxed),
            received_bytes: counters.received_bytes.load(Ordering::Relaxed),
            shed: counters.shed.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn totals(&self) -> MeshTotals {
        MeshTotals {
            lanes: Lane::ALL.map(|lane| self.read(Channel::Lane(lane))),
            heartbeat: self.read(Channel::Heartbeat),
            links_up: self.links_up.load(Ordering::Relaxed),
            links_down: self.links_down.load(Ordering::Relaxed),
            dials: self.dials.load(Ordering::Relaxed),
            dials_failed: self.dials_failed.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}
