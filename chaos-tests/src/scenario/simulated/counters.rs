//! What can be counted: for `[must_bite]`, `[expect.metric]` and `when`.

use vatra_replica::Event as Note;

use crate::scenario::simulated::stage::Stage;

/// Something that is counted.
pub struct Counter {
    /// Its name.
    pub name: &'static str,
    /// What it counts, in words.
    pub about: &'static str,
    /// Its value.
    pub of: fn(&Stage) -> u64,
}

/// Counters that the stage keeps itself, by name.
fn own(name: &'static str) -> impl Fn(&Stage) -> u64 {
    move |stage| stage.counted.get(name).copied().unwrap_or(0)
}

macro_rules! own {
    ($name:literal, $about:literal) => {
        Counter { name: $name, about: $about, of: |stage| own($name)(stage) }
    };
}

macro_rules! bites {
    ($name:literal, $about:literal) => {
        Counter { name: $name, about: $about, of: |stage| stage.world.bites().get($name).copied().unwrap_or(0) }
    };
}

/// All counters.
pub const COUNTERS: &[Counter] = &[
    bites!("dropped_by_cut", "frames that waited for a line that was cut, or were lost with the connection over it"),
    bites!("dropped_by_kill", "frames that were lost with a process that ended"),
    own!("cuts", "lines that were cut and were not before, each direction for itself"),
    own!("kills", "processes that were killed or stopped while they ran"),
    own!("power_losses", "nodes that lost power while they ran"),
    own!("restarts", "starts of nodes that were down"),
    own!("hostile_acts", "times that a member turned hostile and was able to act"),
    own!("upgrades", "nodes that restarted as another version"),
    own!("imports", "bundles that brought a running node something new"),
    own!("imports_again", "bundles that a running node read and that brought it nothing new"),
    bites!("torn_writes", "batches of which a power cut left a part on a disk"),
    bites!("torn_writes_found", "such batches that a start found and dropped"),
    bites!("full_disks", "writes that found a full disk"),
    bites!("slow_syncs", "writes that took long"),
    bites!("write_errors", "writes that failed with an error"),
    bites!("lies", "disks that began to lie about what is written"),
    bites!("lied_entries", "entries that lying disks lost"),
    bites!("flips", "stored entries that were damaged"),
    bites!("flips_found", "damaged entries that were found"),
    bites!("flips_mended", "damaged entries that were put back"),
    bites!("flips_met", "damaged entries that were to be sent"),
    bites!("pauses", "processes that were frozen"),
    bites!("clones", "nodes that were copied and ran twice"),
    bites!("lost_packets", "packets that lines lost one by one"),
    bites!("burst_losses", "packets that lines lost in bursts"),
    bites!("corrupt_packets", "packets that were damaged and dropped"),
    bites!("corrupt_frames", "frames that were damaged and reached the decoder"),
    bites!("refused_damage", "damaged frames that the decoder refused"),
    bites!("reordered", "frames that others overtook"),
    bites!("black_holes", "times that large packets vanished"),
    bites!("retracted", "stored entries that a revocation took back"),
    bites!("equivocate", "times that a hostile member did this"),
    bites!("fork_chain", "times that a hostile member did this"),
    bites!("malformed", "times that a hostile member did this"),
    bites!("oversized", "times that a hostile member did this"),
    bites!("seq_jump", "times that a hostile member did this"),
    bites!("never_filled_gap", "times that a hostile member did this"),
    bites!("missing_deps", "times that a hostile member did this"),
    bites!("clock_lies", "times that a hostile member did this"),
    bites!("replay", "times that a hostile member did this"),
    bites!("claim_nothing", "times that a hostile member did this"),
    bites!("claim_everything", "times that a hostile member did this"),
    bites!("huge_ranges", "times that a hostile member did this"),
    bites!("invent_heads", "times that a hostile member did this"),
    bites!("never_answer", "times that a hostile member did this"),
    bites!("flood", "times that a hostile member did this"),
    bites!("write_others", "times that a hostile member did this"),
    bites!("withhold", "times that a hostile member did this"),
    bites!("hollow_out", "others' entries that a hostile member passed on without their changes"),
    bites!("stale_beacons", "times that a hostile member did this"),
    bites!("wrong_certificates", "times that a hostile member did this"),
    bites!("claim_nodes", "logs of others that a hostile member described as its own"),
    bites!("write_on", "times that a hostile member did this"),
    own!("restored_disks", "stores that were put back to an older copy"),
    own!("wiped_disks", "stores that were emptied, if there was anything in them"),
    own!("clock_changes", "wall clocks that came to show another time or to drift"),
    own!("joined", "members that were taken in"),
    own!("left", "members that left"),
    own!("revoked", "keys that were revoked"),
    own!("writes", "writes that people tried"),
    own!("checks", "checks that steps asked for"),
    Counter {
        name: "lost_batches",
        about: "batches that were being written and did not survive a crash",
        of: |stage| stage.world.tally.lost_batches,
    },
    Counter { name: "duplicates", about: "frames that came twice", of: |stage| stage.world.tally.twice },
    Counter { name: "connections", about: "connections that came up", of: |stage| stage.world.tally.connections },
    Counter {
        name: "acknowledged",
        about: "writes that were acknowledged",
        of: |stage| stage.world.tally.acknowledged,
    },
    Counter { name: "refused_writes", about: "writes that were refused", of: |stage| stage.world.tally.refused },
    Counter {
        name: "rejected_frames",
        about: "frames that were refused",
        of: |stage| stage.world.tally.rejected.values().sum(),
    },
    Counter {
        name: "deliveries",
        about: "entries that reached another node",
        of: |stage| stage.world.tally.deliveries,
    },
    Counter {
        name: "fetched",
        about: "entries that came as answers, not as pushes",
        of: |stage| stage.world.tally.fetched,
    },
    Counter {
        name: "fruitless",
        about: "requests that were answered with nothing",
        of: |stage| stage.world.watch.asking.values().map(|asking| asking.fruitless_total).sum(),
    },
    Counter {
        name: "fruitless_peak",
        about: "the most of them from one node to one peer in 5 s",
        of: |stage| {
            let peaks = stage.world.watch.asking.values().map(|asking| u64::from(asking.fruitless_peak));
            peaks.max().unwrap_or(0)
        },
    },
    Counter { name: "shed", about: "pushes that found their queue full", of: |stage| stage.world.tally.shed },
    Counter {
        name: "forks",
        about: "times that a node saw two entries in one place",
        of: |stage| notes(stage, |note| matches!(note, Note::Forked { .. })),
    },
    Counter {
        name: "fork_proofs",
        about: "proofs of forked logs that all nodes hold",
        of: |stage| stage.world.nodes.iter().map(|node| node.disk.durable().forks.len() as u64).sum(),
    },
    Counter {
        name: "new_incarnations",
        about: "stores that began a new life while they ran",
        of: |stage| notes(stage, |note| matches!(note, Note::NewIncarnation { .. })),
    },
    Counter {
        name: "vatra_panics_total",
        about: "panics of the core; a run ends at the first",
        // A panic ends the run as a broken O4 before anybody counts.
        of: |_| 0,
    },
];

fn notes(stage: &Stage, is: impl Fn(&Note) -> bool) -> u64 {
    stage.world.notes.iter().filter(|(_, note)| is(note)).count() as u64
}

/// Counters of one node, for `when`.
pub const NODE_COUNTERS: &[(&str, &str)] = &[
    ("entries", "entries on its disk"),
    ("acknowledged", "writes that it acknowledged"),
    ("links", "links that it has"),
    ("runs", "times that it was started"),
    ("fork_proofs", "logs that it holds to be forked, each with its proof"),
];

/// A counter of one node.
#[must_use]
pub(super) fn of_node(stage: &Stage, node: usize, counter: &str) -> u64 {
    let state = &stage.world.nodes[node];
    match counter {
        "entries" => state.disk.durable().entries.len() as u64,
        "acknowledged" => state.acknowledged.len() as u64,
        "links" => (0..stage.world.nodes.len()).filter(|peer| stage.world.is_up(node, *peer)).count() as u64,
        "runs" => state.run,
        "fork_proofs" => state.disk.durable().forks.len() as u64,
        _ => 0,
    }
}

/// The value of a counter by name; names were checked when the file was read.
#[must_use]
pub(super) fn value(stage: &Stage, name: &str) -> u64 {
    COUNTERS.iter().find(|counter| counter.name == name).map_or(0, |counter| (counter.of)(stage))
}
