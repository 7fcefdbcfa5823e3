//! The verbs of steps: their arguments, and what they do, in words. Reading, printing, drawing and explaining all
//! go by these rows.

mod parameter;

pub use parameter::{Kind, Parameter};

use parameter::{may, must};

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is described in its row")]
pub enum Verb {
    Partition,
    Isolate,
    Ring,
    Line,
    Star,
    Cut,
    Deaf,
    Mute,
    Flap,
    Swizzle,
    Set,
    Kill,
    Stop,
    Start,
    Pause,
    Cpu,
    Memory,
    Fds,
    Disk,
    PowerLoss,
    PowerOn,
    Bitflip,
    Truncate,
    SnapshotDisk,
    RestoreDisk,
    WipeDisk,
    Clone,
    Clock,
    Upgrade,
    Join,
    Leave,
    Revoke,
    Bundle,
    Import,
    Byz,
    Subscriber,
    Webhook,
    Heal,
    Check,
}

/// Whether a step ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// It is over at once: `for` makes no sense.
    No,
    /// With `for` it is undone after that time, without it lasts until `heal` or the end.
    May,
    /// `for` must say how long.
    Must,
}

/// A verb with everything known of it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The verb.
    pub verb: Verb,
    /// Its name.
    pub name: &'static str,
    /// What it does, in words.
    pub about: &'static str,
    /// Its arguments.
    pub parameters: &'static [Parameter],
    /// Whether it ends by itself.
    pub lasting: Lasting,
}

const fn row(
    verb: Verb,
    name: &'static str,
    lasting: Lasting,
    about: &'static str,
    parameters: &'static [Parameter],
) -> Row {
    Row { verb, name, about, parameters, lasting }
}

const NODE: Parameter = must("node", Kind::Nodes, "whom it hits");
const SOME_NODES: Parameter = may("node", Kind::Nodes, "of these nodes, in this order; all by default");
const LINK: Parameter = must("link", Kind::Links, "which lines");
const RESTART: Parameter = may("restart_after", Kind::Span, "when it starts again; without, it stays down");
const LABEL: Parameter = may("name", Kind::Label, "a name for it, to have several");

/// How a disk goes wrong.
pub const DISK_FAULTS: &[&str] = &["full", "slow", "fsync_delay", "eio", "flip", "lie"];
/// What a power cut leaves of the batch being written.
pub const KEEPS: &[&str] = &["nothing", "all", "torn", "random"];
/// What hostile members do.
pub const ACTS: &[&str] = &[
    "equivocate",
    "fork_chain",
    "malformed",
    "oversized",
    "seq_jump",
    "never_filled_gap",
    "missing_deps",
    "clock_lies",
    "replay",
    "claim_nothing",
    "claim_everything",
    "huge_ranges",
    "invent_heads",
    "never_answer",
    "flood",
    "write_others",
    "withhold",
    "hollow_out",
    "stale_beacons",
    "wrong_certificates",
    "claim_nodes",
    "write_on",
];
/// What may happen to a bundle on its way.
pub const DAMAGES: &[&str] = &["none", "truncated", "flipped"];

use Lasting::{May, Must, No};

/// All verbs, in the order of the manual.
pub const ROWS: &[Row] = &[
    row(
        Verb::Partition,
        "partition",
        May,
        "cuts the mesh into groups; nodes that share a group stay connected, so that a node in two groups is a bridge",
        &[must("groups", Kind::Groups, "the groups; \"*\" is everybody whom no other group names")],
    ),
    row(Verb::Isolate, "isolate", May, "cuts nodes off from everybody, from each other too", &[NODE]),
    row(Verb::Ring, "ring", May, "leaves only the lines of a ring", &[SOME_NODES]),
    row(Verb::Line, "line", May, "leaves only the lines from each node to the next", &[SOME_NODES]),
    row(Verb::Star, "star", May, "leaves only the lines to the first node", &[SOME_NODES]),
    row(Verb::Cut, "cut", May, "cuts lines, \"a->b\" in one direction only", &[LINK]),
    row(Verb::Deaf, "deaf", May, "nothing reaches the node, what it sends gets out", &[NODE]),
    row(Verb::Mute, "mute", May, "nothing that the node sends gets out, it still hears", &[NODE]),
    row(
        Verb::Flap,
        "flap",
        Must,
        "cuts and heals lines again and again",
        &[LINK, must("period", Kind::Span, "time from one change to the next, drawn each time")],
    ),
    row(
        Verb::Swizzle,
        "swizzle",
        Must,
        "cuts nodes off one after another, and lets them back in another order",
        &[SOME_NODES],
    ),
    row(Verb::Set, "set", May, "makes lines other ones: takes the keys of [link.*]", &[LINK]),
    row(
        Verb::Kill,
        "kill",
        No,
        "ends the process without a word; what it had handed to the system is kept",
        &[NODE, RESTART],
    ),
    row(Verb::Stop, "stop", No, "ends the process in good order", &[NODE, RESTART]),
    row(Verb::Start, "start", No, "starts a node that is down", &[NODE]),
    row(Verb::Pause, "pause", Must, "stops the process for a while; its clock goes on", &[NODE]),
    row(
        Verb::Cpu,
        "cpu",
        May,
        "leaves the process only a share of a processor",
        &[NODE, must("share", Kind::Share, "of one processor")],
    ),
    row(
        Verb::Memory,
        "memory",
        May,
        "limits the memory of the process",
        &[NODE, must("limit", Kind::Bytes, "how much it may have")],
    ),
    row(
        Verb::Fds,
        "fds",
        May,
        "limits the open files of the process",
        &[NODE, must("limit", Kind::Count(1_000_000), "how many it may have")],
    ),
    row(
        Verb::Disk,
        "disk",
        May,
        "makes the disk a bad one",
        &[
            NODE,
            must(
                "fault",
                Kind::Word(DISK_FAULTS),
                "full: writes fail; slow, fsync_delay: they take longer; eio: some fail; flip: some come back changed; lie: what it calls written is lost with the power",
            ),
            may("delay", Kind::Span, "how much longer (slow, fsync_delay)"),
            may("share", Kind::Share, "how many (eio, flip)"),
        ],
    ),
    row(
        Verb::PowerLoss,
        "power_loss",
        No,
        "cuts the power: what was not synced may be gone",
        &[NODE, may("keep", Kind::Word(KEEPS), "what is left of what was not synced; random by default"), RESTART],
    ),
    row(Verb::PowerOn, "power_on", No, "gives power back: starts a node that is down", &[NODE]),
    row(
        Verb::Bitflip,
        "bitflip",
        No,
        "flips bits at rest in the store",
        &[NODE, may("count", Kind::Count(10_000), "how many entries it hits; 1 by default")],
    ),
    row(
        Verb::Truncate,
        "truncate",
        No,
        "cuts off the end of the store while the node is down",
        &[NODE, may("share", Kind::Share, "how much of it; 10% by default"), RESTART],
    ),
    row(Verb::SnapshotDisk, "snapshot_disk", No, "copies the store, for restore_disk", &[NODE, LABEL]),
    row(
        Verb::RestoreDisk,
        "restore_disk",
        No,
        "ends the process and puts the copy of snapshot_disk in place of the store",
        &[NODE, LABEL, RESTART],
    ),
    row(Verb::WipeDisk, "wipe_disk", No, "ends the process and leaves it an empty disk", &[NODE, RESTART]),
    row(Verb::Clone, "clone", May, "runs a second process with the same key from a copy of the store", &[NODE]),
    row(
        Verb::Clock,
        "clock",
        May,
        "makes the wall clock a wrong one; the monotonic clock stays",
        &[
            NODE,
            may("offset", Kind::Offset, "wrong by this much"),
            may("jump", Kind::Offset, "this much more than before"),
            may("drift", Kind::Offset, "gains this much each hour"),
        ],
    ),
    row(
        Verb::Upgrade,
        "upgrade",
        No,
        "restarts the node as another version",
        &[NODE, must("version", Kind::Word(&["current", "previous"]), "which version")],
    ),
    row(
        Verb::Join,
        "join",
        No,
        "the federation takes the member in, and its node starts; it is neither before",
        &[NODE],
    ),
    row(Verb::Leave, "leave", No, "the federation lets the member go, and its node stops", &[NODE]),
    row(
        Verb::Revoke,
        "revoke",
        No,
        "the federation revokes the key of a node",
        &[must("key", Kind::Nodes, "whose key")],
    ),
    row(Verb::Bundle, "bundle", No, "writes what a node holds to a file, to be carried by hand", &[NODE, LABEL]),
    row(
        Verb::Import,
        "import",
        No,
        "reads a file of \"bundle\" at a node",
        &[
            NODE,
            LABEL,
            may("times", Kind::Count(10), "how often; once by default"),
            may("damage", Kind::Word(DAMAGES), "what happened to it on its way; none by default"),
        ],
    ),
    row(
        Verb::Byz,
        "byz",
        May,
        "a node named in mesh.byzantine turns hostile",
        &[NODE, must("act", Kind::Word(ACTS), "what it does")],
    ),
    row(
        Verb::Subscriber,
        "subscriber",
        May,
        "a subscriber that reads slowly, or never",
        &[NODE, must("mode", Kind::Word(&["slow", "never", "reconnects"]), "how it reads")],
    ),
    row(
        Verb::Webhook,
        "webhook",
        May,
        "a webhook's receiver that fails",
        &[NODE, must("mode", Kind::Word(&["dead", "slow", "refuses"]), "how it fails")],
    ),
    row(
        Verb::Heal,
        "heal",
        No,
        "undoes what is broken: all lines, clocks and disks, and starts what is down",
        &[
            may("link", Kind::Links, "only these lines, and nothing else"),
            may("node", Kind::Nodes, "only these nodes and their lines"),
        ],
    ),
    row(
        Verb::Check,
        "check",
        No,
        "checks the invariants that hold at any time",
        &[
            may("node", Kind::Nodes, "these nodes must come to hold the same; all that run by default"),
            may("within", Kind::Span, "time for that; without, nobody waits for them to agree"),
        ],
    ),
];

impl Verb {
    /// What is known of it.
    #[must_use]
    pub fn row(self) -> &'static Row {
        ROWS.iter().find(|row| row.verb == self).expect("every verb has a row, as a test sees")
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_one_row() {
        for (index, row) in ROWS.iter().enumerate() {
            assert_eq!(row.verb as usize, index, "{} is out of order", row.name);
            assert!(row.parameters.iter().all(|parameter| parameter.key != "for" && parameter.key != "do"));
        }
        assert_eq!(ROWS.len(), Verb::Check as usize + 1);
    }
}
