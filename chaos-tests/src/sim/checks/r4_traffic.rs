//! R4: in a healthy mesh an alert crosses each border about once, and costs little more than its size.

use crate::sim::tally::Tally;

/// Copies of an entry for each node that needed it, at most.
pub const COPIES_MAX: f64 = 1.5;

/// What a stretch of a run cost too much, from what was counted before and after it.
#[must_use]
pub fn check(before: &Tally, after: &Tally) -> Vec<String> {
    let copies = (after.copies - before.copies) as f64;
    let deliveries = (after.deliveries - before.deliveries).max(1) as f64;
    let each = copies / deliveries;
    let mut found = Vec::new();
    if each > COPIES_MAX {
        found.push(format!("{each:.2} copies travelled for each delivery (R4)"));
    }
    found
}
