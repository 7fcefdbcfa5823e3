//! About how many bytes a replica holds in memory: counted by hand from what it keeps, so that a bound can be
//! tested without an allocator.

use crate::replica::Replica;

/// A log with its descriptor and certificate.
const LOG_BYTES: usize = 700;
/// An entry beyond a gap.
const AHEAD_BYTES: usize = 112;
/// A height that a peer told.
const HEIGHT_BYTES: usize = 40;
/// A request under way.
const WANT_BYTES: usize = 128;
/// A beacon with its neighbours and heights.
const BEACON_BYTES: usize = 1_500;
/// An entry that waits to be written, beside its changes.
const STAGED_BYTES: usize = 300;

impl Replica {
    /// Bytes held, to within a small factor.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let logs: usize = self.logs.iter().map(|(_, log)| LOG_BYTES + log.ahead_count() * AHEAD_BYTES).sum();
        let staged: usize =
            self.staged.iter().map(|staged| STAGED_BYTES + staged.entry.header().changes_len as usize).sum();
        let written = self.in_flight.iter().flat_map(|written| &written.batch.entries);
        let written: usize = written.map(|entry| STAGED_BYTES + entry.header().changes_len as usize).sum();
        let peers: usize = self
            .peers
            .values()
            .map(|peer| peer.known_logs().count() * HEIGHT_BYTES + peer.wants.len() * WANT_BYTES)
            .sum();
        logs + staged + written + peers + self.beacons.iter().count() * BEACON_BYTES
    }
}
