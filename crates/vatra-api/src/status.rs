//! The status of a node: what `GET /api/v1/status` tells.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use vatra_model::view::Digest;
use vatra_model::{Incarnation, MemberCode, NodeKey, Position, WallMs};

use crate::doctor::Gravity;
use crate::members::{ForkStatus, LifeStatus, MemberStatus, QuarantineStatus};

/// How a node is.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The node's key.
    pub node: NodeKey,
    /// The node's name, such as `kyiv-1`.
    pub name: String,
    /// Its member.
    pub member: MemberCode,
    /// Its site.
    pub site: String,
    /// The store's present life; hexadecimal, because it is a full 64-bit number.
    #[serde(serialize_with = "incarnation_hex")]
    pub incarnation: Incarnation,
    /// Version of the program.
    pub version: String,
    /// When the process started.
    pub started_at: WallMs,
    /// Sum over all views: equal on nodes that show the same.
    pub digest: Digest,
    /// Alerts held.
    pub alerts: u64,
    /// Contacts held.
    pub contacts: u64,
    /// The last durable position.
    pub position: Position,
    /// Links that are up or wanted.
    pub links: Vec<LinkStatus>,
    /// How far this node is behind each member, as far as it knows: zeros where nothing is missing.
    pub behind: BTreeMap<MemberCode, Behind>,
    /// Every member of the federation, by code.
    pub members: Vec<MemberStatus>,
    /// The lives of the store that are remembered, the present one last.
    pub lives: Vec<LifeStatus>,
    /// Forked logs, by id.
    pub forks: Vec<ForkStatus>,
    /// Changes held that have no effect.
    pub quarantined: u64,
    /// The newest of them, newest first.
    pub quarantine: Vec<QuarantineStatus>,
    /// Epoch of the charter in force.
    pub charter_epoch: u64,
    /// The store's health.
    pub store: StoreStatus,
    /// Drills under way.
    pub cuts: Vec<CutStatus>,
    /// Nothing needs a person, by the rules of `GET /api/v1/doctor`.
    pub healthy: bool,
    /// What does need one, the gravest first.
    pub troubles: Vec<Trouble>,
    /// What is held of all logs.
    pub frontier: FrontierStatus,
}

pub(crate) fn incarnation_hex<S: Serializer>(incarnation: &Incarnation, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{:016x}", incarnation.0))
}

/// A link to another node.
#[derive(Clone, Debug, Serialize)]
pub struct LinkStatus {
    /// The other node's key.
    pub node: NodeKey,
    /// The other node's name, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The other node's member.
    pub member: MemberCode,
    /// Up or down.
    pub state: LinkState,
    /// Since when; `None` for a link that has never been up.
    pub since: Option<WallMs>,
    /// Measured round trip, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Bytes received on the link since the process started.
    pub bytes_in: u64,
    /// Bytes sent on the link since the process started.
    pub bytes_out: u64,
    /// Why it is down, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// State of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// Entries flow.
    Up,
    /// They do not.
    Down,
}

/// Distance to a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Behind {
    /// Entries that its logs have and this node lacks.
    pub entries: u64,
    /// For how long this node has lacked any.
    pub seconds: u64,
    /// In how many seconds it will have caught up at the present pace; `None` when nothing is missing or nothing
    /// comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<u64>,
}

/// Health of a store.
#[derive(Clone, Debug, Serialize)]
pub struct StoreStatus {
    /// What it can do.
    pub state: StoreState,
    /// The engine's name.
    pub engine: String,
    /// Version of the store's format.
    pub format: u32,
    /// Why it cannot do everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Rows known to be damaged now: met so since the process started, and not put back since.
    pub damaged: u64,
}

/// What a store can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreState {
    /// Everything.
    Ok,
    /// Reading, but not writing: the disk is full or failing.
    ReadOnly,
    /// Nothing.
    Failed,
}

/// A drill under way.
#[derive(Clone, Debug, Serialize)]
pub struct CutStatus {
    /// Members that are cut off; empty means all.
    pub members: Vec<MemberCode>,
    /// Since when.
    pub since: WallMs,
    /// When it ends by itself.
    pub until: WallMs,
    /// Why.
    pub reason: String,
    /// The caller who ordered it.
    pub by: String,
}

/// A finding of the doctor that needs a person, without what to do: that may name paths on the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// How grave it is.
    pub severity: Gravity,
    /// Its kind, for programs.
    pub code: &'static str,
    /// What is, in a sentence.
    pub what: String,
    /// Since when, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<WallMs>,
}

/// What is held of all logs, in numbers.
#[derive(Clone, Debug, Serialize)]
pub struct FrontierStatus {
    /// Logs of which something is held.
    pub logs: u64,
    /// Contiguous entries of all of them.
    pub entries: u64,
    /// Hash of the frontier, hexadecimal: equal frontiers have equal hashes.
    pub hash: String,
}
