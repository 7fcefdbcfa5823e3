//! R4: in a healthy mesh an alert crosses each border about once and costs little more than its size, and a metered link
//! on which nothing happens costs nearly nothing.

use vatra_replica::Cost;

use crate::sim::tally::Tally;
use crate::sim::world::World;

/// Copies of an entry for each node that needed it, at most.
pub const COPIES_MAX: f64 = 1.5;
/// Bytes of frames with entries for each byte of an entry that a node needed, at most.
pub const BYTES_MAX: f64 = 1.5;
/// Bits a second on an idle metered link at most, both ways together. Heartbeats of connections are below this world.
pub const IDLE_BITS_MAX: f64 = 1_000.0;
/// Deliveries of which a stretch can be judged by.
const DELIVERIES_MIN: u64 = 10;

/// What a stretch of a healthy run cost.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Spread {
    /// Entries that reached a node that needed them.
    pub deliveries: u64,
    /// Copies that travelled for each of these.
    pub copies: f64,
    /// Bytes of frames with entries for each byte of these.
    pub bytes: f64,
}

/// What a stretch of a run cost, from what was counted before and after it; `None` if too little happened to tell.
#[must_use]
pub fn spread(before: &Tally, after: &Tally) -> Option<Spread> {
    let deliveries = after.deliveries - before.deliveries;
    let framed = |tally: &Tally| tally.frame_bytes - tally.control_bytes;
    let (framed, needed) = (framed(after) - framed(before), after.delivered_bytes - before.delivered_bytes);
    (deliveries >= DELIVERIES_MIN).then(|| Spread {
        deliveries,
        copies: (after.copies - before.copies) as f64 / deliveries as f64,
        bytes: framed as f64 / needed.max(1) as f64,
    })
}

/// What a stretch of a healthy run cost too much, from what was counted before and after it.
#[must_use]
pub fn check(before: &Tally, after: &Tally) -> Vec<String> {
    let Some(spread) = spread(before, after) else { return Vec::new() };
    let mut found = Vec::new();
    if spread.copies > COPIES_MAX {
        found.push(format!("{:.2} copies travelled for each delivery (R4)", spread.copies));
    }
    if spread.bytes > BYTES_MAX {
        found.push(format!("{:.2} bytes travelled for each byte of an entry that was needed (R4)", spread.bytes));
    }
    found
}

/// Metered links of running nodes, and the bytes that each has carried so far, both ways together.
#[must_use]
pub fn metered(world: &World) -> Vec<(usize, usize, u64)> {
    let mut found = Vec::new();
    for (a, b) in world.links.pairs() {
        let Some(link) = world.links.get(a, b) else { continue };
        let is_up = world.is_up(a, b) && world.is_up(b, a);
        if is_up && link.cost.unwrap_or(world.setup.cost) == Cost::Metered {
            found.push((a, b, link.pipes.iter().map(|pipe| pipe.counts.bytes).sum()));
        }
    }
    found
}

/// Bits a second on the busiest metered link of an idle stretch, and links that carried too much in it.
#[must_use]
pub fn check_idle(world: &World, before: &[(usize, usize, u64)], seconds: f64) -> (Option<f64>, Vec<String>) {
    let mut found = Vec::new();
    let mut most: Option<f64> = None;
    for (a, b, after) in metered(world) {
        let Some((_, _, bytes)) = before.iter().find(|(from, to, _)| (*from, *to) == (a, b)) else { continue };
        let bits = (after - bytes) as f64 * 8.0 / seconds;
        most = Some(most.map_or(bits, |most| most.max(bits)));
        if bits > IDLE_BITS_MAX {
            found.push(format!("{bits:.0} bit/s on the idle metered link of node {a} and node {b} (R4)"));
        }
    }
    (most, found)
}
