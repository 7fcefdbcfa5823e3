//! Invariants that a run did not try, and why: what nothing could have broken has not held.

use std::collections::BTreeMap;

use crate::scenario::simulated::phases::Agreed;
use crate::scenario::simulated::stage::Stage;
use crate::sim::hostile::Act;

/// What this run says nothing of.
pub(super) fn untested(stage: &Stage, agreed: &Agreed) -> BTreeMap<String, String> {
    let world = &stage.world;
    let counted = |name: &str| stage.counted.get(name).copied().unwrap_or(0);
    let recoveries = || world.watch.recoveries.iter();
    let is_past_an_end = || world.nodes.iter().any(|node| node.disk.durable().past_end().next().is_some());
    let is_lied_to = world.tally.bites_of(Act::ClockLies.name()) > 0;
    let reasons = [
        ("S5", world.tally.forks == 0, "no log was forked"),
        ("S6", !recoveries().any(|recovery| recovery.restarts() > 0), "no node was started again"),
        ("S7", !world.nodes.iter().any(|node| node.views.has_edits()), "nobody edited anything"),
        ("S11", counted("revoked") == 0, "no key was revoked"),
        ("S11", !is_past_an_end(), "no node holds anything that a revoked key wrote after its end"),
        ("S12", counted("clock_changes") == 0 && !is_lied_to, "no clock was wrong"),
        ("L2", agreed.core.len() < 2, "fewer than two linked nodes were healed"),
        (
            "L4",
            !recoveries().any(|recovery| recovery.tried() > 0),
            "nobody wrote at a node that had been started again",
        ),
        ("O1", world.tally.bites_of("flips") == 0, "nothing that is stored was damaged"),
        ("R2", world.setup.origin_bytes_max.is_none(), "scenarios set no bound for one origin"),
    ];
    let mut untested = BTreeMap::new();
    for (invariant, _, why) in reasons.into_iter().filter(|(_, is_so, _)| *is_so) {
        untested.entry(invariant.to_owned()).or_insert_with(|| why.to_owned());
    }
    let why_not = match agreed.traffic {
        Some(Ok(_)) => None,
        Some(Err(why)) => Some(why),
        None => Some("the run ended before"),
    };
    untested.extend(why_not.map(|why| ("R4".to_owned(), why.to_owned())));
    untested
}
