//! What a run comes to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::scenario::simulated::Traffic;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which: `S1`, `L2`, ...
    pub invariant: String,
    /// When, in milliseconds since the start.
    pub at_ms: u64,
    /// How it shows.
    pub what: String,
}

impl Violation {
    /// A broken promise.
    #[must_use]
    pub fn new(invariant: &str, at_ms: u64, what: impl Into<String>) -> Violation {
        Violation { invariant: invariant.to_owned(), at_ms, what: what.into() }
    }

    /// Whether it is one of progress and not of safety.
    #[must_use]
    pub fn is_liveness(&self) -> bool {
        self.invariant.starts_with('L')
    }
}

/// What a run comes to, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A safety invariant was broken.
    Safety,
    /// The mesh did not come together.
    Liveness,
    /// The faults did not bite: the run shows nothing.
    Void,
    /// Everything held.
    Pass,
}

impl Verdict {
    /// The exit code.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Pass => 0,
            Verdict::Safety => 1,
            Verdict::Liveness => 2,
            Verdict::Void => 3,
        }
    }

    /// The word of the report for machines.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Safety | Verdict::Liveness => "fail",
            Verdict::Void => "void",
        }
    }
}

/// The exit code when the harness itself failed: a bad file, an unknown key, a panic of its own.
pub const HARNESS_EXIT_CODE: u8 = 4;

/// One counter that had to reach something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bite {
    /// The counter.
    pub counter: String,
    /// What it had to be.
    pub wanted: String,
    /// What it was.
    pub was: u64,
    /// Whether it was that.
    pub holds: bool,
}

/// One run, as reports tell it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The scenario's name.
    pub scenario: String,
    /// The file, if it came from one.
    pub file: Option<String>,
    /// The seed.
    pub seed: u64,
    /// What it comes to.
    pub verdict: Verdict,
    /// Hash of everything that happened.
    pub history_hash: String,
    /// Seconds that passed in the run.
    pub simulated_s: f64,
    /// Seconds that it took.
    pub wall_s: f64,
    /// Broken promises.
    pub violations: Vec<Violation>,
    /// What had to bite.
    pub bites: Vec<Bite>,
    /// What was counted, without what is zero.
    pub counters: BTreeMap<String, u64>,
    /// Nodes, by the index that violations name them by.
    pub nodes: Vec<String>,
    /// The core of the liveness phase.
    pub core: Vec<String>,
    /// Nodes that stayed broken in it.
    pub kept_broken: Vec<String>,
    /// All others, by what they were: "hostile", "unlinked" with the core, or "no members" any more or yet.
    pub outside: BTreeMap<String, Vec<String>>,
    /// Milliseconds from the heal until the core agreed.
    pub core_agreed_ms: Option<u64>,
    /// Milliseconds from the last heal until everybody agreed.
    pub all_agreed_ms: Option<u64>,
    /// What the mesh sent when it was healthy again, if that could be judged.
    pub traffic: Option<Traffic>,
    /// Invariants that this run could not try, and why.
    pub untested: BTreeMap<String, String>,
    /// Copies of entries that came over links, for each that somebody got.
    pub copies_per_delivery: f64,
    /// Milliseconds from a write to its answer: half of them, 99 of 100, all.
    pub answer_ms: [f64; 3],
    /// What happened, for people.
    pub timeline: Vec<String>,
    /// The line that replays it.
    pub reproduce: String,
}

/// What is said of an invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It held.
    Pass,
    /// It was broken.
    Fail,
    /// It held, and nothing tried it.
    Void,
    /// Nothing in this run could have shown it broken.
    NotTested,
}

impl Standing {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Standing::Pass => "pass",
            Standing::Fail => "FAIL",
            Standing::Void => "VOID",
            Standing::NotTested => "not tested",
        }
    }
}

impl Outcome {
    /// What is said of an invariant.
    #[must_use]
    pub fn standing(&self, invariant: &Invariant) -> Standing {
        if self.violations.iter().any(|violation| violation.invariant == invariant.id) {
            return Standing::Fail;
        }
        if invariant.shown_by.is_empty() || self.untested.contains_key(invariant.id) {
            return Standing::NotTested;
        }
        if self.verdict == Verdict::Void { Standing::Void } else { Standing::Pass }
    }
}

/// An invariant, and what in the simulator can show that it is broken.
#[derive(Clone, Copy, Debug)]
pub struct Invariant {
    /// Its id.
    pub id: &'static str,
    /// What it promises, in words.
    pub promise: &'static str,
    /// What would show it broken; empty if nothing would.
    pub shown_by: &'static str,
}

const fn invariant(id: &'static str, promise: &'static str, shown_by: &'static str) -> Invariant {
    Invariant { id, promise, shown_by }
}

/// All of them.
pub const INVARIANTS: &[Invariant] = &[
    invariant("S1", "what was acknowledged is never lost", "disks and restored frontiers at each start and at the end"),
    invariant("S2", "equal entries make equal views", "digests of all views of nodes that hold the same"),
    invariant("S3", "nothing is shown that nobody signed", "the ledger of what cores signed, and signatures on disks"),
    invariant("S4", "only its owner changes an alert", "origins of all logs on disks"),
    invariant("S5", "a fork gets the same verdict everywhere", "entries in the same place on different nodes"),
    invariant("S6", "reads at one node never go back", "views of a node before and after each restart"),
    invariant("S7", "no effect comes before its cause", "effective edits and what they rest on"),
    invariant("S8", "streams have no holes", "one subscriber at each node, who reads on after each restart"),
    invariant("S9", "sealed content stays sealed", ""),
    invariant("S10", "one holder of a claim at a time", ""),
    invariant("S11", "what a revoked key wrote later is invisible", "effective changes and the ends of their logs"),
    invariant("S12", "clocks change nothing that nodes agree on", "stamps along each log"),
    invariant("L1", "a node with a working disk answers writes", "every write of the run, within 1 s"),
    invariant("L2", "a linked core comes to hold the same", "the healed core, then everybody, every 20 ms"),
    invariant(
        "L3",
        "no storm during and after a fault",
        "dials, frames, bytes and requests for nothing of each node, every second",
    ),
    invariant("L4", "a node recovers by itself", "the first write at each node after each of its starts, within 5 s"),
    invariant("O1", "damage is found before it is used", "rows that cannot be read, at each start and answer"),
    invariant("R1", "memory is bounded", "bytes that a core holds, as far as it tells"),
    invariant("R2", "one origin takes no more of a disk than it may", "bytes of each origin, where a bound is set"),
    invariant("R3", "queues are bounded", "frames that wait in each line, every second"),
    invariant(
        "R4",
        "a healthy mesh sends each alert about once",
        "copies and bytes for each delivery (at most 1.5), and bits on idle metered links (at most 1,000 a second, both \
         ways), after everybody was healed; not where a member was hostile",
    ),
    invariant("P2", "nothing is told before it is durable", "every message, against the disk of its sender"),
    invariant("O4", "the core never panics", "the run itself"),
];
