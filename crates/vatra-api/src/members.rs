//! What a node knows of the other members and their nodes: parts of the status, and of who holds a record.

use serde::Serialize;
use vatra_model::{Incarnation, LogId, MemberCode, NodeKey, RecordId, Seq, WallMs};

use crate::status::{Behind, incarnation_hex};

/// How a member or a node can be reached from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It is not heard of, neither over a link nor through others.
    Unreachable,
    /// Others pass on what it says and what it is told; no link of ours leads to it.
    Relayed,
    /// A link is up.
    Linked,
    /// It is this node, or this node's member.
    Own,
}

/// A member as this node sees it.
#[derive(Clone, Debug, Serialize)]
pub struct MemberStatus {
    /// The member.
    pub member: MemberCode,
    /// The best standing of its nodes.
    pub standing: Standing,
    /// Since when: the oldest live link, the end of the last link, or the last word of it. `None` when nothing
    /// was heard of it since the process started.
    pub since: Option<WallMs>,
    /// Why it is not linked, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When this node last heard of any of its nodes.
    pub heard_at: Option<WallMs>,
    /// What its logs have and this node lacks.
    pub behind: Behind,
    /// Logs of its nodes that are forked.
    pub forks: u64,
    /// Entries past those forks, all of them held and shown.
    pub strays: u64,
    /// Changes of its nodes that have no effect.
    pub quarantined: u64,
    /// Its nodes, by key.
    pub nodes: Vec<NodeStatus>,
}

/// Another node, or this one, as this node sees it.
#[derive(Clone, Debug, Serialize)]
pub struct NodeStatus {
    /// The node's key.
    pub node: NodeKey,
    /// Its name.
    pub name: String,
    /// How it can be reached.
    pub standing: Standing,
    /// As for a member.
    pub since: Option<WallMs>,
    /// Why it is not linked, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When its last announcement came.
    pub heard_at: Option<WallMs>,
    /// Its store takes writes, as it says; `None` when it was not heard.
    pub writable: Option<bool>,
    /// Its clock minus ours, in milliseconds, where a link tells.
    pub clock_ahead_ms: Option<i64>,
}

/// A log in which one place has two entries.
#[derive(Clone, Debug, Serialize)]
pub struct ForkStatus {
    /// The log.
    pub log: LogId,
    /// The node that signed both.
    pub node: NodeKey,
    /// Its name.
    pub name: String,
    /// Its member.
    pub member: MemberCode,
    /// The place of the two entries.
    pub seq: u64,
    /// Entries at and past that place that are held.
    pub strays: u64,
    /// Whether the node writes another log by now, as far as this node has heard.
    pub settled: bool,
}

/// A change that has no effect.
#[derive(Clone, Debug, Serialize)]
pub struct QuarantineStatus {
    /// The log of its entry.
    pub log: LogId,
    /// The entry's place in the log.
    pub seq: Seq,
    /// The change's place in the entry; `None` when the whole entry is held back.
    pub index: Option<u16>,
    /// The member of the node that signed it.
    pub member: MemberCode,
    /// That node.
    pub node: NodeKey,
    /// Why, in a word of a fixed set.
    pub reason: &'static str,
    /// Whether this program is at fault, so that another version may take the change.
    pub is_fault: bool,
    /// When this node found out.
    pub at: WallMs,
}

/// One life of a node's store: what was written between its opening and the next is numbered without a break.
#[derive(Clone, Debug, Serialize)]
pub struct LifeStatus {
    /// The incarnation, hexadecimal.
    #[serde(serialize_with = "incarnation_hex")]
    pub incarnation: Incarnation,
    /// When it was opened.
    pub opened: WallMs,
    /// Why; `None` for the first life of a store, and where an older version did not note it.
    pub reason: Option<String>,
}

/// Who holds a record.
#[derive(Clone, Debug, Serialize)]
pub struct Reach {
    /// The record.
    pub id: RecordId,
    /// Every member of the federation, by code.
    pub members: Vec<MemberReach>,
}

/// Whether a member holds a record.
#[derive(Clone, Debug, Serialize)]
pub struct MemberReach {
    /// The member.
    pub member: MemberCode,
    /// Whether a node of it has said that it holds everything of the record that this node holds.
    pub holds: bool,
    /// Its nodes that said so.
    pub nodes: Vec<NodeKey>,
    /// When this node last heard of it.
    pub heard_at: Option<WallMs>,
    /// Each of its nodes that this node knows, by key.
    pub delivery: Vec<NodeReach>,
}

/// How far a record has come to a node, as far as this node knows.
#[derive(Clone, Debug, Serialize)]
pub struct NodeReach {
    /// The node.
    pub node: NodeKey,
    /// Its name.
    pub name: String,
    /// How far the record has come.
    pub state: Delivery,
    /// Entries that it lacks of the logs that the record stands in, up to the record's last; 0 when it holds it.
    /// `None` when it was never heard.
    pub missing: Option<u64>,
    /// How it can be reached.
    pub standing: Standing,
    /// Since when it is so; `None` when nothing was heard of it since the process started.
    pub since: Option<WallMs>,
    /// When its last announcement came.
    pub heard_at: Option<WallMs>,
}

/// How far a record has come to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// It said that it holds everything of the record that this node holds.
    Holds,
    /// It was heard lately and did not say so yet.
    Behind,
    /// It is not heard, so it may hold the record or not.
    Unknown,
}
