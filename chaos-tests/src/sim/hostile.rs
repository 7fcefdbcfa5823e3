//! Members that hold a valid key and do as they like: they keep a replica for their manners, and act beside it.
//!
//! An [`Act`] either makes something of its own now and then, or rewrites or swallows what its replica says. What
//! its key signs goes into the ledger like everything signed; the honest nodes must cope.

mod craft;
mod lies;

use std::collections::BTreeSet;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use vatra_model::wire::{EntriesFrame, Message, SignedBeacon, WireSlot};
use vatra_model::{CheckedEntry, LogId, Secret};

use crate::sim::chance::Chance;
use crate::sim::checks::l2_convergence;
use crate::sim::world::{Event, World};

/// Time between two acts, from and to, in microseconds.
const ACT_US: (u64, u64) = (150_000, 600_000);
/// Entries of one act of a flood.
pub(crate) const FLOOD_ENTRIES: usize = 40;

/// What a hostile member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// Two entries for one place of its log, each to other peers (T3).
    Equivocate,
    /// A chain that leaves its log at an old place (T3).
    ForkChain,
    /// Frames that are no messages, and messages with impossible parts (T5).
    Malformed,
    /// Entries and changes past every limit (T5).
    Oversized,
    /// An entry at place 2^63 (T9).
    SeqJump,
    /// Entries beyond a gap that is never filled (T9).
    NeverFilledGap,
    /// Edits that rest on changes that do not exist (T9).
    MissingDeps,
    /// Stamps of the far future and of the far past (T7).
    ClockLies,
    /// Old entries of everybody, again (T8).
    Replay,
    /// It says that it holds nothing (T10).
    ClaimNothing,
    /// It says that it holds everything, and logs that do not exist (T10).
    ClaimEverything,
    /// It asks for all of every log, again and again (T10).
    HugeRanges,
    /// Heads of others' logs that nobody signed (T10).
    InventHeads,
    /// It answers no request (T10).
    NeverAnswer,
    /// As many valid entries as it can make (T11).
    Flood,
    /// Entries in others' logs, and edits of others' alerts (T13).
    WriteOthers,
    /// It passes nothing of others on (T19).
    Withhold,
    /// It passes others' entries on without their changes, as if these had been erased (T14, T19).
    HollowOut,
    /// Beacons from long ago (T2).
    StaleBeacons,
    /// Certificates that nobody entitled signed (T1, T15).
    WrongCertificates,
    /// It certifies others' nodes as its member's, passes their logs on as its own and their beacons not at all (T1, T13).
    ClaimNodes,
    /// It signs on, whether it may or not (T15).
    WriteOn,
}

impl Act {
    /// All acts.
    pub const ALL: [Act; 22] = [
        Act::Equivocate,
        Act::ForkChain,
        Act::Malformed,
        Act::Oversized,
        Act::SeqJump,
        Act::NeverFilledGap,
        Act::MissingDeps,
        Act::ClockLies,
        Act::Replay,
        Act::ClaimNothing,
        Act::ClaimEverything,
        Act::HugeRanges,
        Act::InventHeads,
        Act::NeverAnswer,
        Act::Flood,
        Act::WriteOthers,
        Act::Withhold,
        Act::HollowOut,
        Act::StaleBeacons,
        Act::WrongCertificates,
        Act::ClaimNodes,
        Act::WriteOn,
    ];

    /// Its name, as scenarios and counts have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Act::Equivocate => "equivocate",
            Act::ForkChain => "fork_chain",
            Act::Malformed => "malformed",
            Act::Oversized => "oversized",
            Act::SeqJump => "seq_jump",
            Act::NeverFilledGap => "never_filled_gap",
            Act::MissingDeps => "missing_deps",
            Act::ClockLies => "clock_lies",
            Act::Replay => "replay",
            Act::ClaimNothing => "claim_nothing",
            Act::ClaimEverything => "claim_everything",
            Act::HugeRanges => "huge_ranges",
            Act::InventHeads => "invent_heads",
            Act::NeverAnswer => "never_answer",
            Act::Flood => "flood",
            Act::WriteOthers => "write_others",
            Act::Withhold => "withhold",
            Act::HollowOut => "hollow_out",
            Act::StaleBeacons => "stale_beacons",
            Act::WrongCertificates => "wrong_certificates",
            Act::ClaimNodes => "claim_nodes",
            Act::WriteOn => "write_on",
        }
    }

    /// The act of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Act> {
        Act::ALL.into_iter().find(|act| act.name() == name)
    }

    /// Whether two entries for one place come of it, so that its log is forked.
    #[must_use]
    pub fn forks(self) -> bool {
        matches!(
            self,
            Act::Equivocate
                | Act::ForkChain
                | Act::Flood
                | Act::WriteOn
                | Act::NeverFilledGap
                | Act::SeqJump
                | Act::MissingDeps
                | Act::ClockLies
                | Act::WriteOthers
        )
    }
}

/// One hostile node.
pub struct Hostile {
    acts: Vec<Act>,
    chance: Chance,
    secret: Secret,
    /// The first beacon that it sent.
    old_beacon: Option<SignedBeacon>,
    /// Numbers its alerts.
    count: u64,
    /// The last entry of the chain that it makes by hand.
    last: Option<Arc<CheckedEntry>>,
}

fn is_of_another(beacon: &SignedBeacon, secret: &Secret) -> bool {
    beacon.beacon().is_ok_and(|beacon| beacon.node != secret.node_key())
}

impl World {
    /// A node turns hostile and acts from now on.
    pub fn make_hostile(&mut self, node: usize, acts: &[Act]) {
        let secret = Secret::from_seed(&self.nodes[node].site.secret).with_scheme(self.setup.scheme());
        let chance = Chance::new(self.setup.seed, &format!("hostile {node}"));
        let hostile = Hostile { acts: acts.to_vec(), chance, secret, old_beacon: None, count: 0, last: None };
        let is_new = self.hostile.insert(node, hostile).is_none();
        if is_new {
            self.schedule(self.now_us + ACT_US.0, Event::Act { node });
        }
    }

    /// Logs that hostile keys write.
    #[must_use]
    pub fn hostile_logs(&self) -> BTreeSet<LogId> {
        let keys: Vec<_> = self.hostile.keys().map(|node| self.nodes[*node].key()).collect();
        let of_node = |node: &crate::sim::node::Node| -> Vec<LogId> {
            let disk = node.disk.durable();
            let is_hostile = |log: &&LogId| disk.origin(log).is_some_and(|(_, origin)| keys.contains(&origin));
            disk.logs.keys().filter(is_hostile).copied().collect()
        };
        if keys.is_empty() { BTreeSet::new() } else { self.nodes.iter().flat_map(of_node).collect() }
    }

    /// Whether a node follows the protocol.
    #[must_use]
    pub fn is_honest(&self, node: usize) -> bool {
        !self.hostile.contains_key(&node)
    }

    pub(crate) fn act(&mut self, node: usize) {
        let Some(mut hostile) = self.hostile.remove(&node) else { return };
        if self.nodes[node].is_running() {
            for act in hostile.acts.clone() {
                self.perform_act(node, &mut hostile, act);
            }
        }
        let wait = hostile.chance.between(ACT_US.0, ACT_US.1);
        self.hostile.insert(node, hostile);
        self.schedule(self.now_us + wait, Event::Act { node });
    }

    /// What becomes of a message of a node's replica on its way out; nothing changes that of an honest node.
    pub(crate) fn rewrite(&mut self, node: usize, _to: usize, message: Message) -> Option<Message> {
        let Some(hostile) = self.hostile.get_mut(&node) else { return Some(message) };
        let has = |act| hostile.acts.contains(&act);
        let rewritten = match message {
            Message::Beacon(signed) if has(Act::StaleBeacons) => {
                self.tally.bite(Act::StaleBeacons.name());
                Message::Beacon(hostile.old_beacon.get_or_insert(signed).clone())
            }
            Message::Beacon(signed) if has(Act::ClaimNodes) && is_of_another(&signed, &hostile.secret) => return None,
            Message::Frontier(mut digest) if has(Act::ClaimNothing) => {
                self.tally.bite(Act::ClaimNothing.name());
                digest.heads.clear();
                Message::Frontier(digest)
            }
            Message::Have { .. } | Message::Pulses { .. } if has(Act::ClaimNothing) || has(Act::Withhold) => {
                self.tally.bite(if has(Act::Withhold) { Act::Withhold.name() } else { Act::ClaimNothing.name() });
                return None;
            }
            Message::Done { .. } if has(Act::NeverAnswer) => return None,
            other => other,
        };
        Some(rewritten)
    }

    /// Whether a hostile node leaves a request without an answer.
    pub(crate) fn withholds_answer(&mut self, node: usize) -> bool {
        let withholds = self.hostile.get(&node).is_some_and(|hostile| hostile.acts.contains(&Act::NeverAnswer));
        self.tally.bite_times(Act::NeverAnswer.name(), u64::from(withholds));
        withholds
    }

    /// What of a push a hostile node passes on.
    pub(crate) fn pushed_by(&mut self, node: usize, entries: Vec<Arc<CheckedEntry>>) -> Vec<Arc<CheckedEntry>> {
        let withholds = self.hostile.get(&node).is_some_and(|hostile| hostile.acts.contains(&Act::Withhold));
        if !withholds {
            return entries;
        }
        let own = self.nodes[node].replica.as_ref().map(vatra_replica::Replica::own_log);
        let count = entries.len();
        let kept: Vec<_> = entries.into_iter().filter(|entry| Some(entry.header().log) == own).collect();
        self.tally.bite_times(Act::Withhold.name(), (count - kept.len()) as u64);
        kept
    }

    /// Takes the changes out of others' entries that a hostile node passes on.
    pub(crate) fn hollow_out(&mut self, node: usize, frame: &mut EntriesFrame) {
        if !self.hostile.get(&node).is_some_and(|hostile| hostile.acts.contains(&Act::HollowOut)) {
            return;
        }
        let own = self.nodes[node].replica.as_ref().map(vatra_replica::Replica::own_log);
        for run in frame.runs.iter_mut().filter(|run| Some(run.log) != own) {
            for entry in &mut run.entries {
                let len = |slot: &WireSlot| if let WireSlot::Present(bytes) = slot { bytes.len() } else { 0 };
                entry.changes_len = u32::try_from(entry.changes.iter().map(len).sum::<usize>()).ok();
                for slot in &mut entry.changes {
                    if let WireSlot::Present(bytes) = slot {
                        *slot = WireSlot::Erased(Sha256::digest(&*bytes).into());
                    }
                }
                self.tally.bite(Act::HollowOut.name());
            }
        }
    }

    fn perform_act(&mut self, node: usize, hostile: &mut Hostile, act: Act) {
        match act {
            Act::Equivocate => self.equivocate(node, hostile),
            Act::ForkChain => self.fork_chain(node, hostile),
            Act::Malformed => self.send_malformed(node, hostile),
            Act::Oversized => self.send_oversized(node, hostile),
            Act::SeqJump => self.jump(node, hostile, 1 << 63),
            Act::NeverFilledGap => self.jump(node, hostile, 10),
            Act::MissingDeps => self.send_missing_deps(node, hostile),
            Act::ClockLies => self.lie_about_time(node, hostile),
            Act::Replay => self.replay(node, hostile),
            Act::ClaimEverything => self.claim_everything(node, hostile),
            Act::HugeRanges => self.ask_for_all(node, hostile),
            Act::InventHeads => self.invent_heads(node, hostile),
            Act::Flood => self.flood(node, hostile),
            Act::WriteOthers => self.write_others(node, hostile),
            Act::WrongCertificates => self.send_wrong_certificates(node, hostile),
            Act::ClaimNodes => return self.claim_nodes(node),
            Act::WriteOn => self.write_on(node, hostile),
            // These only rewrite or swallow what the replica says.
            Act::ClaimNothing | Act::NeverAnswer | Act::Withhold | Act::HollowOut | Act::StaleBeacons => return,
        }
        self.tally.bite_times(act.name(), u64::from(self.is_heard(node)));
    }

    /// Whether anybody gets what a node sends.
    fn is_heard(&self, node: usize) -> bool {
        self.peers_of(node).into_iter().any(|peer| self.is_up(node, peer))
    }
}

impl World {
    /// Runs until all running honest nodes hold the same of every honest log, whatever of the hostile ones.
    pub fn settle_honest_logs(&mut self, ms_max: u64) -> Option<u64> {
        let took = self.run_until(ms_max, |world| {
            l2_convergence::honest_logs_agree(world) && world.nodes.iter().all(|node| node.pending.is_empty())
        });
        if took.is_none() {
            let state = l2_convergence::describe(self);
            self.violation(format!("honest logs have not converged after {ms_max} ms (L2)\n{state}"));
        }
        took
    }

    /// Checks every invariant, but for what a fork of a hostile log makes differ until both branches are kept
    /// everywhere.
    ///
    /// # Panics
    /// If anything else was violated: prints the seed.
    pub fn expect_honest(&mut self, story: &str) {
        self.check_all();
        let hostile: Vec<String> = self.hostile_logs().iter().map(ToString::to_string).collect();
        let of_hostile_log = |line: &&String| line.contains("(S5)") && hostile.iter().any(|log| line.contains(log));
        let left: Vec<&String> = self.violations.iter().filter(|line| !of_hostile_log(line)).take(12).collect();
        assert!(left.is_empty(), "seed {}, {story}: {left:#?}", self.setup.seed);
    }
}
