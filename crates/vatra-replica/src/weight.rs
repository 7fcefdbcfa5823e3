//! About how many bytes a replica holds in memory: counted by hand from what it keeps, so that a bound can be
//! tested without an allocator.

use std::sync::Arc;

use vatra_model::CheckedEntry;

use crate::beacons::Heard;
use crate::logs::LogState;
use crate::peers::Peer;
use crate::replica::Replica;

/// A log with its descriptor and certificate.
const LOG_BYTES: usize = 700;
/// An entry beyond a gap, or past a fork.
const AHEAD_BYTES: usize = 112;
/// A height or key in a map.
const HEIGHT_BYTES: usize = 40;
/// A log that was turned away, with its owner.
const OWNED_BYTES: usize = 80;
/// What a node without a link may still say.
const ALLOWANCE_BYTES: usize = 240;
/// A log in a frontier that is remembered.
const HEAD_BYTES: usize = 80;
/// A request under way, or what is known of a log that is being fetched.
const WANT_BYTES: usize = 160;
/// A node heard of, beside what it said.
const HEARD_BYTES: usize = 300;
/// An entry that cannot be read, with who was asked for it.
const HOLE_BYTES: usize = 300;
/// An entry that waits to be written or looked into, beside its changes.
const STAGED_BYTES: usize = 300;

impl Replica {
    /// Bytes held, to within a small factor.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let logs: usize = self.logs.iter().map(|(_, log)| log_bytes(log)).sum();
        let staged = self.staged.iter().map(|staged| &staged.entry);
        let written = self.in_flight.iter().flat_map(|written| &written.batch.entries);
        let kept = self.inquiries.suspects().chain(self.mending.candidates());
        let waiting: usize = staged.chain(written).chain(kept).map(entry_bytes).sum();
        let peers: usize = self.peers.values().map(peer_bytes).sum();
        let heard: usize = self.beacons.iter().map(|(_, heard)| heard_bytes(heard)).sum();
        let fetched: usize = self.ripening.values().map(|ripening| WANT_BYTES + 16 * ripening.ranges()).sum();
        let (heads, shown) = self.memory.counts();
        let turned_away = self.turned_away.len() * OWNED_BYTES;
        let allowances = self.memory.allowance_count() * ALLOWANCE_BYTES;
        let holes = self.mending.len() * HOLE_BYTES;
        logs + waiting
            + peers
            + heard
            + fetched
            + turned_away
            + allowances
            + holes
            + heads * HEAD_BYTES
            + shown * HEIGHT_BYTES
    }
}

fn entry_bytes(entry: &Arc<CheckedEntry>) -> usize {
    STAGED_BYTES + entry.header().changes_len as usize
}

fn log_bytes(log: &LogState) -> usize {
    let fork = log.fork.as_ref();
    let waiting: usize = fork.map_or(0, |fork| fork.waiting().map(entry_bytes).sum());
    LOG_BYTES + (log.ahead_count() + fork.map_or(0, crate::fork::Fork::stray_count)) * AHEAD_BYTES + waiting
}

fn peer_bytes(peer: &Peer) -> usize {
    let named = peer.known_logs().len() + peer.in_vain() + peer.given.len();
    let noted = peer.to_announce.len() + peer.to_show.len() + peer.to_pulse.len();
    (named + noted) * HEIGHT_BYTES + peer.wants.len() * WANT_BYTES
}

/// What a node said is kept as it came and as it reads.
fn heard_bytes(heard: &Heard) -> usize {
    let pulse = heard.pulse.as_ref().map_or(0, |(_, signed)| signed.body.len());
    HEARD_BYTES + 2 * (heard.signed.body.len() + pulse) + heard.heights.len() * HEIGHT_BYTES
}
