//! Entries that came in a file: taken in like a peer's, answered when what was new of them is durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;
use vatra_model::{CheckedEntry, Frontier, LogId, MemberCode};
use vatra_replica::{CheckedLog, Effect, Event, Input, Now};

use super::Driver;
use crate::node::metrics::reason_of;

/// Some entries of a file.
pub(crate) struct FilePortion {
    /// The logs that they belong to.
    pub(crate) logs: Vec<CheckedLog>,
    pub(crate) entries: Vec<Arc<CheckedEntry>>,
    pub(crate) reply: oneshot::Sender<Taken>,
}

/// What became of a portion.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) new: u64,
    pub(crate) held: u64,
    /// How many were refused for each reason, and one of them in words.
    pub(crate) refused: BTreeMap<&'static str, (u64, String)>,
    /// Entries that contradict what is held: what comes of them is known when the store was looked through.
    pub(crate) doubtful: u64,
    /// Whether the store took what was new; if not, nothing of the portion is kept.
    pub(crate) is_stored: bool,
}

/// A portion that waits for the commit of its round.
pub(crate) struct PendingPortion {
    taken: Taken,
    reply: oneshot::Sender<Taken>,
}

/// What is held, here and elsewhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holdings {
    /// Durable contiguous heights here.
    pub(crate) frontier: Frontier,
    /// All logs known here, also those of which only entries beyond a gap are held.
    pub(crate) logs: Vec<LogId>,
    /// Heights that every node of the member that was asked about is known to hold.
    pub(crate) at_member: BTreeMap<LogId, u64>,
}

impl Driver {
    pub(super) fn take_portion(&mut self, now: Now, portion: FilePortion, effects: &mut Vec<Effect>) {
        let FilePortion { logs, entries, reply } = portion;
        let offered = entries.len() as u64;
        let mut told = Vec::new();
        self.replica.handle(now, Input::Entries { peer: None, request: None, logs, entries }, &mut told);
        let mut taken = Taken::default();
        for effect in told {
            match effect {
                Effect::Event(Event::FileTaken { new, held }) => {
                    // The core says so only if it could take anything at all.
                    taken.is_stored = true;
                    (taken.new, taken.held) = (new, held);
                }
                // A file may hold thousands of them: its importer tells them together.
                Effect::Event(Event::Rejected { peer: None, reject }) => {
                    self.shared.metrics.rejected(&reject);
                    let refused = taken.refused.entry(reason_of(&reject)).or_insert_with(|| (0, reject.to_string()));
                    refused.0 += 1;
                }
                other => effects.push(other),
            }
        }
        let refused: u64 = taken.refused.values().map(|(count, _)| count).sum();
        taken.doubtful = offered.saturating_sub(taken.new + taken.held + refused);
        self.portions.push(PendingPortion { taken, reply });
    }

    /// The round is over: what it was to store is stored, or was lost.
    pub(super) fn answer_portions(&mut self) {
        let has_lost = std::mem::take(&mut self.has_lost_batch);
        for PendingPortion { mut taken, reply } in self.portions.drain(..) {
            taken.is_stored &= !has_lost;
            // An importer that went away needs no answer.
            let _ = reply.send(taken);
        }
    }

    pub(super) fn holdings(&self, member: Option<MemberCode>) -> Holdings {
        let of_member = |code: MemberCode| {
            let nodes = self.replica.trust().nodes().filter(|node| node.member == code && node.key != self.mesh.node());
            let heights = nodes.map(|node| self.replica.heights_of(&node.key));
            heights.reduce(|least, other| least.into_iter().filter_map(|item| lower(item, &other)).collect())
        };
        Holdings {
            frontier: self.replica.frontier(),
            logs: self.replica.known_logs().collect(),
            at_member: member.and_then(of_member).unwrap_or_default(),
        }
    }
}

/// The lower of a log's height and another node's, if that one holds any of the log.
fn lower((log, height): (LogId, u64), other: &BTreeMap<LogId, u64>) -> Option<(LogId, u64)> {
    other.get(&log).map(|also| (log, height.min(*also)))
}
