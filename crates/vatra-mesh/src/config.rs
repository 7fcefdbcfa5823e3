//! What the caller decides: key, address, profile, limits, peers.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;
use vatra_model::{NodeKey, limits};

use crate::identity::Identity;
use crate::lane::Lane;

/// Everything [`crate::start`] needs to know.
#[derive(Clone, Debug)]
pub struct MeshConfig {
    /// Who we are.
    pub identity: Identity,
    /// UDP address to listen on. Port 0 takes a free one, see [`crate::Mesh::local_address`].
    pub listen: SocketAddr,
    /// What the paths to our peers cost and how soon a dead one must be noticed.
    pub profile: LinkProfile,
    /// Bounds on what peers and callers may make us hold.
    pub limits: MeshLimits,
}

/// A peer and one of its addresses. A peer with several addresses appears several times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// The peer's key.
    pub node: NodeKey,
    /// UDP address where it listens.
    pub address: SocketAddr,
    /// Whether we dial it. Otherwise we wait until it dials us.
    pub dial: bool,
}

/// Kind of paths between this node and its peers. Node-wide, because libp2p has one transport configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkProfile {
    /// Terrestrial: a dead link is known in under 3 s.
    #[default]
    Wan,
    /// Satellite, or paid by volume: fewer packets, narrow windows, a dead link is known in under 10 s.
    Metered,
}

impl LinkProfile {
    /// The profile as people write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            LinkProfile::Wan => "wan",
            LinkProfile::Metered => "metered",
        }
    }

    pub(crate) fn timing(self) -> Timing {
        match self {
            LinkProfile::Wan => Timing {
                idle: Duration::from_secs(3),
                keep_alive: Duration::from_millis(700),
                handshake: Duration::from_secs(3),
                form_within: Duration::from_secs(5),
                heartbeat: HeartbeatTiming {
                    every: Duration::from_secs(1),
                    relaxed: Duration::from_secs(1),
                    silent_after: Duration::from_millis(2_200),
                },
                stream_window_bytes: 1 << 20,
                connection_window_bytes: (Lane::COUNT as u32) * (1 << 20) + (64 << 10),
                dial: DialTiming {
                    quick_attempts: 3,
                    quick_gap: Duration::from_millis(400),
                    steady_gap: Duration::from_secs(1),
                    steady_for: Duration::from_secs(30),
                    gap_max: Duration::from_secs(5),
                },
            },
            LinkProfile::Metered => Timing {
                idle: Duration::from_secs(10),
                // Our heartbeats come before it: an idle link carries nothing else.
                keep_alive: Duration::from_millis(4_800),
                handshake: Duration::from_secs(5),
                form_within: Duration::from_secs(12),
                heartbeat: HeartbeatTiming {
                    every: Duration::from_secs(2),
                    relaxed: Duration::from_secs(4),
                    silent_after: Duration::from_millis(4_600),
                },
                // The bandwidth-delay product of 1 Mbit/s and 600 ms, and a little for the other lanes:
                // wider windows fill the queue before the thin link and delay every alert by seconds.
                stream_window_bytes: 80 << 10,
                connection_window_bytes: 96 << 10,
                dial: DialTiming {
                    quick_attempts: 3,
                    quick_gap: Duration::from_millis(1_200),
                    steady_gap: Duration::from_secs(3),
                    steady_for: Duration::from_secs(30),
                    gap_max: Duration::from_secs(15),
                },
            },
        }
    }
}

impl fmt::Display for LinkProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text names no link profile.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a link profile is wan or metered")]
pub struct ParseProfileError;

impl FromStr for LinkProfile {
    type Err = ParseProfileError;

    fn from_str(text: &str) -> Result<LinkProfile, ParseProfileError> {
        [LinkProfile::Wan, LinkProfile::Metered]
            .into_iter()
            .find(|profile| profile.as_str() == text)
            .ok_or(ParseProfileError)
    }
}

/// Bounds on what peers and callers may make the mesh hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeshLimits {
    /// Peers linked at once. Too low: members cannot reach us; too high: memory.
    pub links_max: usize,
    /// Frames waiting in one lane of one link. Past it [`crate::SendError::QueueFull`].
    pub lane_queue_frames: usize,
    /// Bytes waiting in one lane of one link. Past it [`crate::SendError::QueueFull`].
    pub lane_queue_bytes: usize,
    /// Payload bytes of one frame. A peer that announces more loses its link.
    pub frame_bytes_max: usize,
    /// Connections that others are opening to us and that have not proven a key yet.
    pub pending_incoming_max: u32,
    /// Dials of ours under way at once.
    pub dials_in_flight_max: usize,
    /// Frames received and not yet taken by the caller, for each of the three frame receivers.
    pub received_frames_max: usize,
    /// Bytes received and not yet dropped by the caller, for each of the three frame receivers.
    pub received_bytes_max: usize,
}

impl Default for MeshLimits {
    fn default() -> MeshLimits {
        MeshLimits {
            links_max: limits::LINKS_MAX,
            lane_queue_frames: 1_024,
            lane_queue_bytes: 4 << 20,
            frame_bytes_max: limits::FRAME_BYTES_MAX,
            pending_incoming_max: 64,
            dials_in_flight_max: 64,
            received_frames_max: 1_024,
            received_bytes_max: 8 << 20,
        }
    }
}

/// Times and windows of a profile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Silence after which QUIC gives a connection up, without a word to the peer. Longer than
    /// `heartbeat.silent_after`, because the heartbeat's end does tell the peer: on a one-way cut the side that
    /// still hears learns at 2.2 s instead of after 4.
    pub(crate) idle: Duration,
    pub(crate) keep_alive: Duration,
    /// A dial that takes longer has failed. QUIC's idle time bounds it as well.
    pub(crate) handshake: Duration,
    /// Time from connection to usable link.
    pub(crate) form_within: Duration,
    pub(crate) heartbeat: HeartbeatTiming,
    pub(crate) stream_window_bytes: u32,
    /// More than all lanes together on `wan`, so that lanes that the caller does not read leave credit for the
    /// heartbeat.
    pub(crate) connection_window_bytes: u32,
    pub(crate) dial: DialTiming,
}

/// When our own heartbeat beats and when its absence ends a link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeartbeatTiming {
    pub(crate) every: Duration,
    /// The same once the peer says how often it beats itself: it then waits for us as long as we need.
    pub(crate) relaxed: Duration,
    /// Stretched by the measured round trip, see [`crate::heartbeat`].
    pub(crate) silent_after: Duration,
}

/// When a lost peer is dialled again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DialTiming {
    /// Attempts at the start of a run, overlapping, one `quick_gap` apart.
    pub(crate) quick_attempts: u32,
    pub(crate) quick_gap: Duration,
    /// Gap between attempts until the run is `steady_for` old; then it grows by half up to `gap_max`.
    pub(crate) steady_gap: Duration,
    pub(crate) steady_for: Duration,
    pub(crate) gap_max: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_parsed_by_name() {
        assert_eq!("wan".parse(), Ok(LinkProfile::Wan));
        assert_eq!("metered".parse(), Ok(LinkProfile::Metered));
        assert_eq!("lan".parse::<LinkProfile>(), Err(ParseProfileError));
    }

    #[test]
    fn keep_alives_come_well_before_the_idle_time() {
        for profile in [LinkProfile::Wan, LinkProfile::Metered] {
            let timing = profile.timing();
            assert!(timing.keep_alive * 2 < timing.idle, "{profile}");
            let silent_after =
                timing.heartbeat.silent_after.max(2 * timing.heartbeat.relaxed + 2 * crate::heartbeat::TICK);
            assert!(silent_after + Duration::from_millis(500) < timing.idle, "{profile}");
            assert!(timing.heartbeat.relaxed < timing.keep_alive || profile == LinkProfile::Wan, "{profile}");
            assert!(timing.heartbeat.every * 2 < timing.heartbeat.silent_after, "{profile}");
            assert!(timing.connection_window_bytes > timing.stream_window_bytes, "{profile}");
        }
    }
}
