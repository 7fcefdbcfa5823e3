//! Links as QUIC makes them: lanes that are ordered and reliable while the connection lives, share a rate, and
//! lose what is under way when it ends. Loss shows as delay, reordering only between lanes.

use std::collections::VecDeque;
use std::sync::Arc;

use vatra_model::wire::Message;

use crate::sim::chance::Chance;

/// Lanes of a connection: control and one for each class.
pub const LANES: usize = 5;
/// The lane of hellos, frontiers, beacons, digests and wants.
pub const CONTROL: usize = 0;
/// Frames that one lane queues.
pub const LANE_FRAMES_MAX: usize = 1024;
/// Bytes that one lane queues.
pub const LANE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of the largest packet that every path carries (RFC 9000, section 14).
pub const MTU_MIN: usize = 1_200;
/// Bytes of the largest packet that a connection finds out to get through.
const MTU_FOUND_MAX: usize = 1_452;
/// Bytes that each packet costs beside them.
const PACKET_OVERHEAD_BYTES: u64 = 60;
/// Round trips until packets that vanish for their size are sent smaller.
const BLACK_HOLE_ROUND_TRIPS: u64 = 6;

/// What one direction of a link is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// One way, in microseconds.
    pub delay_us: u64,
    /// Added to it by chance, in microseconds.
    pub jitter_us: u64,
    /// Packets lost in a thousand; each costs a round trip and a half.
    pub loss_permille: u32,
    /// Loss that comes in bursts, beside the other.
    pub burst: Option<Burst>,
    /// Frames in a thousand that are held back, so that other lanes overtake them.
    pub reorder_permille: u32,
    /// Packets damaged in a thousand; QUIC drops what does not authenticate, so each costs what a lost one does.
    pub corrupt_permille: u32,
    /// Frames in a thousand whose damage nothing below the decoder notices.
    pub corrupt_deep_permille: u32,
    /// Bytes a second; `None` = no limit.
    pub rate: Option<u64>,
    /// Bytes that one lane queues at most, below [`LANE_BYTES_MAX`].
    pub queue_bytes: usize,
    /// Bytes of the largest packet that gets through, not below [`MTU_MIN`]; larger ones vanish without a word.
    pub mtu: usize,
    /// Frames in a thousand that are delivered twice.
    pub twice_permille: u32,
}

/// Loss by a line that is good or bad for a while (Gilbert and Elliott).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// Packets in a thousand with which a good line turns bad.
    pub enter_permille: u32,
    /// Packets in a thousand with which a bad line turns good.
    pub leave_permille: u32,
    /// Packets lost in a thousand while it is bad.
    pub loss_permille: u32,
}

impl Shape {
    /// Between data centres of one region.
    pub const NEAR: Shape = Shape {
        delay_us: 10_000,
        jitter_us: 1_000,
        loss_permille: 0,
        burst: None,
        reorder_permille: 0,
        corrupt_permille: 0,
        corrupt_deep_permille: 0,
        rate: None,
        queue_bytes: LANE_BYTES_MAX,
        mtu: MTU_FOUND_MAX,
        twice_permille: 0,
    };
    /// Inside one machine room.
    pub const LOCAL: Shape = Shape { delay_us: 200, jitter_us: 50, ..Shape::NEAR };
    /// Everything that a bad line does, at once.
    pub const ROUGH: Shape = Shape {
        delay_us: 40_000,
        jitter_us: 40_000,
        loss_permille: 50,
        rate: Some(2_000_000),
        twice_permille: 50,
        ..Shape::NEAR
    };
    /// 256 kbit/s and 600 ms there and back.
    pub const SATELLITE: Shape =
        Shape { delay_us: 300_000, jitter_us: 10_000, loss_permille: 5, rate: Some(32_000), ..Shape::NEAR };
    /// Bursts, disorder and damage of both kinds.
    pub const HOSTILE: Shape = Shape {
        burst: Some(Burst { enter_permille: 10, leave_permille: 200, loss_permille: 600 }),
        reorder_permille: 100,
        corrupt_permille: 50,
        corrupt_deep_permille: 10,
        mtu: MTU_MIN,
        twice_permille: 50,
        ..Shape::ROUGH
    };
}

/// A frame as the lines carry it.
#[derive(Clone, Debug)]
pub enum Frame {
    /// Packed bytes, as real lines carry them.
    Packed(Arc<[u8]>),
    /// A message of about so many packed bytes, where packing would only cost time.
    Plain(Arc<Message>, usize),
}

impl Frame {
    /// Bytes, packed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Frame::Packed(bytes) => bytes.len(),
            Frame::Plain(_, bytes) => *bytes,
        }
    }
}

/// A frame on its way.
#[derive(Clone, Debug)]
pub struct Flying {
    /// Its lane.
    pub lane: usize,
    /// What it is.
    pub frame: Frame,
    /// Something damaged it, and the decoder must find out.
    pub is_damaged: bool,
}

/// What a line did to what it carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    /// Bytes that were put on the line.
    pub bytes: u64,
    /// Frames that were put on the line.
    pub frames: u64,
    /// Packets lost one by one.
    pub lost: u64,
    /// Packets lost in bursts.
    pub burst: u64,
    /// Packets damaged and dropped.
    pub corrupt: u64,
    /// Frames damaged and delivered.
    pub corrupt_deep: u64,
    /// Frames held back.
    pub reordered: u64,
    /// Times that large packets vanished until smaller ones were tried.
    pub black_holes: u64,
    /// Frames that waited for a cut to end, or were lost with a connection that it ended.
    pub cut: u64,
    /// Frames that were lost with a process that ended.
    pub killed: u64,
}

impl std::ops::AddAssign for LineCounts {
    fn add_assign(&mut self, other: LineCounts) {
        self.bytes += other.bytes;
        self.frames += other.frames;
        self.lost += other.lost;
        self.burst += other.burst;
        self.corrupt += other.corrupt;
        self.corrupt_deep += other.corrupt_deep;
        self.reordered += other.reordered;
        self.black_holes += other.black_holes;
        self.cut += other.cut;
        self.killed += other.killed;
    }
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
    /// The line is bad at present.
    is_bad: bool,
    /// Bytes of the packets that the connection believes to get through.
    packet_bytes: usize,
    /// What happened on it.
    pub counts: LineCounts,
}

#[derive(Debug, Default)]
struct Lane {
    frames: VecDeque<Frame>,
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
            is_bad: false,
            packet_bytes: MTU_FOUND_MAX,
            counts: LineCounts::default(),
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
        self.counts.cut += 1;
        self.stalled.push(flying);
    }

    /// Forgets everything queued and under way: the connection ended.
    pub fn clear(&mut self) {
        self.lanes = Default::default();
        self.stalled.clear();
        self.is_sending = false;
        self.packet_bytes = MTU_FOUND_MAX;
    }

    /// Whether a lane takes another frame of this size.
    #[must_use]
    pub fn has_room(&self, lane: usize, bytes: usize) -> bool {
        let lane = &self.lanes[lane];
        lane.frames.is_empty()
            || (lane.frames.len() < LANE_FRAMES_MAX && lane.bytes + bytes <= self.shape.queue_bytes.min(LANE_BYTES_MAX))
    }

    /// Frames that wait in a lane.
    #[must_use]
    pub fn queued(&self, lane: usize) -> usize {
        self.lanes[lane].frames.len()
    }

    /// Queues a frame. Ask [`Pipe::has_room`] before.
    pub fn queue(&mut self, lane: usize, frame: Frame) {
        self.lanes[lane].bytes += frame.bytes();
        self.lanes[lane].frames.push_back(frame);
    }

    /// Frames and bytes that wait in all lanes.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        self.lanes.iter().fold((0, 0), |(frames, bytes), lane| (frames + lane.frames.len(), bytes + lane.bytes))
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
        let len = lane.frames.front().map_or(0, Frame::bytes);
        // About 5 ms of the line, so that lanes share it as QUIC's streams do.
        let piece_max = self.shape.rate.map_or(len, |rate| (rate / 200).max(MTU_MIN as u64) as usize);
        let piece = (len - lane.begun).min(piece_max);
        lane.begun += piece;
        let packets = piece.div_ceil(self.packet_bytes).max(1) as u64;
        let on_line = piece as u64 + packets * PACKET_OVERHEAD_BYTES;
        self.counts.bytes += on_line;
        let free_at = self.shape.rate.map(|rate| now + (on_line * 1_000_000).div_ceil(rate));
        self.is_sending = free_at.is_some();
        let mut leaves = None;
        if lane.begun >= len
            && let Some(frame) = lane.frames.pop_front()
        {
            lane.bytes -= len;
            lane.begun = 0;
            let arrival = free_at.unwrap_or(now) + self.delay(len, chance);
            let lane = &mut self.lanes[lane_index];
            lane.last_arrival = arrival.max(lane.last_arrival + 1);
            let is_damaged = chance.permille(self.shape.corrupt_deep_permille);
            self.counts.frames += 1;
            self.counts.corrupt_deep += u64::from(is_damaged);
            leaves = Some((Flying { lane: lane_index, frame, is_damaged }, lane.last_arrival));
        }
        Some(Step { free_at, leaves })
    }

    /// How long a frame is under way, retransmissions included.
    fn delay(&mut self, bytes: usize, chance: &mut Chance) -> u64 {
        let shape = self.shape;
        let retry = 3 * shape.delay_us;
        let mut delay = shape.delay_us + chance.below(shape.jitter_us + 1);
        if self.packet_bytes > shape.mtu && bytes > shape.mtu {
            // Nobody says that these packets are too large: they are missed, and smaller ones are tried.
            self.counts.black_holes += 1;
            self.packet_bytes = MTU_MIN;
            delay += BLACK_HOLE_ROUND_TRIPS * 2 * shape.delay_us;
        }
        if chance.permille(shape.reorder_permille) {
            self.counts.reordered += 1;
            delay += chance.below(4 * shape.delay_us + 1);
        }
        if shape.loss_permille == 0 && shape.corrupt_permille == 0 && shape.burst.is_none() {
            return delay;
        }
        for _ in 0..bytes.div_ceil(self.packet_bytes).max(1) {
            while delay < 20 * shape.delay_us && self.loses_packet(chance) {
                delay += retry;
            }
        }
        delay
    }

    fn loses_packet(&mut self, chance: &mut Chance) -> bool {
        let shape = self.shape;
        if chance.permille(shape.loss_permille) {
            self.counts.lost += 1;
            return true;
        }
        if chance.permille(shape.corrupt_permille) {
            self.counts.corrupt += 1;
            return true;
        }
        let Some(burst) = shape.burst else { return false };
        let turns = if self.is_bad { burst.leave_permille } else { burst.enter_permille };
        self.is_bad ^= chance.permille(turns);
        let is_lost = self.is_bad && chance.permille(burst.loss_permille);
        self.counts.burst += u64::from(is_lost);
        is_lost
    }
}
