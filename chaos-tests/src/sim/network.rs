//! Links as QUIC makes them: lanes that are ordered and reliable while the connection lives, share a rate, and
//! lose what is under way when it ends. Loss shows as delay, reordering only between lanes.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::sim::chance::Chance;

/// Lanes of a connection: control and one for each class.
pub const LANES: usize = 5;
/// The lane of hellos, frontiers, beacons, digests and wants.
pub const CONTROL: usize = 0;
/// Frames that one lane queues.
pub const LANE_FRAMES_MAX: usize = 1024;
/// Bytes that one lane queues.
pub const LANE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes that a packet carries.
const PACKET_BYTES: usize = 1200;
/// Bytes that each packet costs beside them.
const PACKET_OVERHEAD_BYTES: u64 = 60;

/// What one direction of a link is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// One way, in microseconds.
    pub delay_us: u64,
    /// Added to it by chance, in microseconds.
    pub jitter_us: u64,
    /// Packets lost in a thousand; each costs a round trip and a half.
    pub loss_permille: u32,
    /// Bytes a second; `None` = no limit.
    pub rate: Option<u64>,
    /// Frames in a thousand that are delivered twice.
    pub twice_permille: u32,
}

impl Shape {
    /// Between data centres of one region.
    pub const NEAR: Shape =
        Shape { delay_us: 10_000, jitter_us: 1_000, loss_permille: 0, rate: None, twice_permille: 0 };
    /// Inside one machine room.
    pub const LOCAL: Shape = Shape { delay_us: 200, jitter_us: 50, ..Shape::NEAR };
    /// Everything that a bad line does, at once.
    pub const ROUGH: Shape =
        Shape { delay_us: 40_000, jitter_us: 40_000, loss_permille: 50, rate: Some(2_000_000), twice_permille: 50 };
    /// 256 kbit/s and 600 ms there and back.
    pub const SATELLITE: Shape =
        Shape { delay_us: 300_000, jitter_us: 10_000, loss_permille: 5, rate: Some(32_000), twice_permille: 0 };
}

/// A frame on its way.
#[derive(Clone, Debug)]
pub struct Flying {
    /// Its lane.
    pub lane: usize,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
}

/// One direction of a link.
#[derive(Debug)]
pub struct Pipe {
    /// What it is like.
    pub shape: Shape,
    is_cut: bool,
    /// Raised with each cut, so that a silence can be told from an older one.
    pub cut_number: u64,
    lanes: [Lane; LANES],
    next_lane: usize,
    is_sending: bool,
    /// Arrived while the line was cut: retransmitted when it heals in time.
    stalled: Vec<Flying>,
    /// Bytes that were put on the line.
    pub sent_bytes: u64,
}

#[derive(Debug, Default)]
struct Lane {
    frames: VecDeque<Arc<[u8]>>,
    bytes: usize,
    /// Bytes of the first frame that are on the line already.
    begun: usize,
    last_arrival: u64,
}

/// What the line does next.
#[derive(Debug)]
pub struct Step {
    /// When the line is free again; `None` when it has no rate.
    pub free_at: Option<u64>,
    /// A frame that is complete, and when it arrives.
    pub leaves: Option<(Flying, u64)>,
}

impl Pipe {
    /// A line of this shape.
    #[must_use]
    pub fn new(shape: Shape) -> Pipe {
        Pipe {
            shape,
            is_cut: false,
            cut_number: 0,
            lanes: Default::default(),
            next_lane: 0,
            is_sending: false,
            stalled: Vec::new(),
            sent_bytes: 0,
        }
    }

    /// Whether nothing gets through.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Nothing gets through from now on.
    pub fn cut(&mut self) {
        self.cut_number += u64::from(!self.is_cut);
        self.is_cut = true;
    }

    /// The line works again; gives what is retransmitted at once.
    pub fn heal(&mut self) -> Vec<Flying> {
        self.is_cut = false;
        std::mem::take(&mut self.stalled)
    }

    /// A frame reached the other end of a cut line.
    pub fn stall(&mut self, flying: Flying) {
        self.stalled.push(flying);
    }

    /// Forgets everything queued and under way: the connection ended.
    pub fn clear(&mut self) {
        self.lanes = Default::default();
        self.stalled.clear();
        self.is_sending = false;
    }

    /// Whether a lane takes another frame of this size.
    #[must_use]
    pub fn has_room(&self, lane: usize, bytes: usize) -> bool {
        let lane = &self.lanes[lane];
        lane.frames.is_empty() || (lane.frames.len() < LANE_FRAMES_MAX && lane.bytes + bytes <= LANE_BYTES_MAX)
    }

    /// Frames that wait in a lane.
    #[must_use]
    pub fn queued(&self, lane: usize) -> usize {
        self.lanes[lane].frames.len()
    }

    /// Queues a frame. Ask [`Pipe::has_room`] before.
    pub fn queue(&mut self, lane: usize, bytes: Arc<[u8]>) {
        self.lanes[lane].bytes += bytes.len();
        self.lanes[lane].frames.push_back(bytes);
    }

    /// The line is free: puts the next piece on it, lane by lane in turn.
    pub fn send(&mut self, now: u64, is_free: bool, chance: &mut Chance) -> Option<Step> {
        self.is_sending &= !is_free;
        if self.is_sending {
            return None;
        }
        let turn = (0..LANES).map(|step| (self.next_lane + step) % LANES);
        let lane_index = turn.into_iter().find(|lane| !self.lanes[*lane].frames.is_empty())?;
        self.next_lane = (lane_index + 1) % LANES;
        let lane = &mut self.lanes[lane_index];
        let frame = lane.frames.front().expect("found above").clone();
        // About 5 ms of the line, so that lanes share it as QUIC's streams do.
        let piece_max = self.shape.rate.map_or(frame.len(), |rate| (rate / 200).max(PACKET_BYTES as u64) as usize);
        let piece = (frame.len() - lane.begun).min(piece_max);
        lane.begun += piece;
        let packets = piece.div_ceil(PACKET_BYTES).max(1) as u64;
        let on_line = piece as u64 + packets * PACKET_OVERHEAD_BYTES;
        self.sent_bytes += on_line;
        let free_at = self.shape.rate.map(|rate| now + (on_line * 1_000_000).div_ceil(rate));
        self.is_sending = free_at.is_some();
        let mut leaves = None;
        if lane.begun >= frame.len() {
            lane.frames.pop_front();
            lane.bytes -= frame.len();
            lane.begun = 0;
            let arrival = arrival(self.shape, free_at.unwrap_or(now), frame.len(), chance);
            lane.last_arrival = arrival.max(lane.last_arrival + 1);
            leaves = Some((Flying { lane: lane_index, bytes: frame }, lane.last_arrival));
        }
        Some(Step { free_at, leaves })
    }
}

fn arrival(shape: Shape, leaves: u64, bytes: usize, chance: &mut Chance) -> u64 {
    let mut delay = shape.delay_us + chance.below(shape.jitter_us + 1);
    if shape.loss_permille > 0 {
        for _ in 0..bytes.div_ceil(PACKET_BYTES) {
            while chance.permille(shape.loss_permille) && delay < 20 * shape.delay_us {
                delay += 3 * shape.delay_us;
            }
        }
    }
    leaves + delay
}
