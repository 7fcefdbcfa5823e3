//! What happens to a replica and what it wants done.

use std::collections::BTreeSet;
use std::sync::Arc;

use thiserror::Error;
use vatra_model::charter::AdmitError;
use vatra_model::fork::ForkError;
use vatra_model::wire::{Message, Want};
use vatra_model::{
    CheckedEntry, Class, EntryError, EntryHash, ForkProof, LogId, MonoMs, NodeKey, Seq, SignedHeader, WallMs,
};

use crate::fork::CheckedFork;
use crate::logs::{AheadRow, LogRow};
use crate::topology::Cost;
use crate::trust::{CheckedBeacon, CheckedLog};

/// The time as the caller's clocks tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Never goes back; every time-out is measured with it.
    pub mono: MonoMs,
    /// Only for stamps and for flagging skew.
    pub wall: WallMs,
}

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// A link to an admitted node is live.
    LinkUp {
        /// The node.
        peer: NodeKey,
        /// What using the link costs.
        cost: Cost,
    },
    /// The link is gone.
    LinkDown {
        /// The node.
        peer: NodeKey,
    },
    /// The mesh measured a round trip.
    RoundTrip {
        /// The node.
        peer: NodeKey,
        /// Milliseconds.
        rtt_ms: u32,
    },
    /// A message other than beacons and entries came over a link.
    Message {
        /// The node.
        peer: NodeKey,
        /// What it said.
        message: Box<Message>,
    },
    /// A beacon whose signature was checked came over a link.
    Beacon {
        /// The node at the other end of the link; not necessarily the beacon's.
        peer: NodeKey,
        /// The beacon.
        beacon: Box<CheckedBeacon>,
    },
    /// Entries whose signatures were checked came.
    Entries {
        /// The node that sent them; `None` when they came in a file.
        peer: Option<NodeKey>,
        /// The request that they answer; `None` when pushed.
        request: Option<u32>,
        /// The logs that they belong to, as far as the sender told.
        logs: Vec<CheckedLog>,
        /// The entries.
        entries: Vec<Arc<CheckedEntry>>,
    },
    /// A local caller publishes changes.
    Publish {
        /// Names the call in [`Effect::Published`] and [`Effect::Refused`].
        token: u64,
        /// Urgency.
        class: Class,
        /// Encoded changes, each within the change limit.
        changes: Vec<Vec<u8>>,
    },
    /// The batch is durable.
    Persisted {
        /// Its number.
        batch: u64,
    },
    /// The batch could not be written; nothing of it is on disk.
    PersistFailed {
        /// Its number.
        batch: u64,
        /// All logs as the disk has them.
        logs: Vec<RestoredLog>,
    },
    /// A pushed entry could not be queued for a peer; catch-up will repair it.
    Shed {
        /// The node.
        peer: NodeKey,
    },
    /// A newer charter, verified, from this site's operator.
    Charter {
        /// Encoded charter.
        bytes: Vec<u8>,
    },
    /// A fork whose proof was checked came in a file; those from peers come as messages.
    Fork {
        /// The log.
        log: Box<CheckedLog>,
        /// The proof.
        fork: Box<CheckedFork>,
    },
    /// Answers [`Effect::Recall`].
    Recalled {
        /// The log.
        log: LogId,
        /// First place that was looked for.
        from: u64,
        /// How many headers were asked for.
        count_max: usize,
        /// Signed headers of the log in their order.
        headers: Vec<SignedHeader>,
        /// The stray's signed header, if one was asked for and is kept beside the log.
        stray: Option<Box<SignedHeader>>,
    },
    /// Entries that the store holds can no longer be read. They are fetched again; what is told of the log stays.
    Damaged {
        /// The log.
        log: LogId,
        /// Their places.
        places: Vec<Seq>,
    },
    /// Time has passed; due at [`crate::Replica::deadline`] at the latest.
    Tick,
}

/// A log as found on disk.
#[derive(Clone, Debug)]
pub struct RestoredLog {
    /// Its row.
    pub row: LogRow,
    /// Entries beyond its contiguous height, and below its fork place.
    pub ahead: Vec<AheadRow>,
    /// The proof of its fork. The row's head is then of the trunk.
    pub fork: Option<ForkProof>,
    /// Entries at and past the fork place.
    pub strays: Vec<AheadRow>,
}

/// Something to do. The order matters; a `Persist` comes alone in its flush.
#[derive(Debug)]
pub enum Effect {
    /// Make this durable in one atomic batch, then answer [`Input::Persisted`] or [`Input::PersistFailed`].
    Persist(Arc<Batch>),
    /// Send a message on the control lane.
    Send {
        /// To whom.
        peer: NodeKey,
        /// What.
        message: Message,
    },
    /// Send durable entries on their class's lane, as a push.
    Push {
        /// To whom, all on the same lane.
        peers: Vec<NodeKey>,
        /// Lane.
        class: Class,
        /// The entries, durable, in order.
        entries: Vec<Arc<CheckedEntry>>,
    },
    /// Answer a request from the store: entries frames on the lanes of their classes, then `Done`.
    Serve {
        /// To whom.
        peer: NodeKey,
        /// What it wants. Places that are not held are left out.
        want: Want,
    },
    /// Answer a request for strays from the store, as with [`Effect::Serve`].
    ServeStrays {
        /// To whom.
        peer: NodeKey,
        /// The request.
        request: u32,
        /// The log.
        log: LogId,
        /// Place and hash of each, all durable.
        items: Vec<(u64, EntryHash)>,
    },
    /// Answer [`vatra_model::wire::Message::Probe`] with the signed header at a place.
    ServeHeader {
        /// To whom.
        peer: NodeKey,
        /// The log.
        log: LogId,
        /// The place.
        seq: u64,
    },
    /// Look through a log's places in the store and answer [`Input::Recalled`] with the headers of its entries from a
    /// place on, over gaps, and of one stray kept beside it.
    Recall {
        /// The log.
        log: LogId,
        /// First place.
        from: u64,
        /// Headers of the log to give at most.
        count_max: usize,
        /// Place and hash of the stray.
        stray: Option<(u64, EntryHash)>,
    },
    /// A local publication is durable.
    Published {
        /// The call.
        token: u64,
        /// This node's log.
        log: LogId,
        /// The entry and the change's index in it, per change.
        places: Vec<(Seq, u16)>,
    },
    /// A local publication was not made.
    Refused {
        /// The call.
        token: u64,
    },
    /// Close the link, with a reason for the log.
    Close {
        /// The node.
        peer: NodeKey,
        /// Why.
        reason: Reject,
    },
    /// The set of admitted node keys changed; read it from [`crate::Replica::trust`].
    TrustChanged,
    /// Something an operator may want to know.
    Event(Event),
}

/// Why a running node begins a new life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewLife {
    /// Entries of its log came up that its store lacks: the store is an old copy, or another process has its key.
    Revealed,
    /// Since the start no peer confirmed that its store lacks nothing of its log.
    Unconfirmed,
    /// A part of its log is damaged, and nobody has it.
    Damaged,
}

/// What one flush makes durable.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Its number.
    pub id: u64,
    /// New entries, in the order in which they were accepted.
    pub entries: Vec<Arc<CheckedEntry>>,
    /// Those of them that are kept beside their log, under [`vatra_model::fork::stray_log`].
    pub strays: BTreeSet<EntryHash>,
    /// Those of them that were held before and could not be read any more: only their rows are put back.
    pub mended: BTreeSet<EntryHash>,
    /// Forks that were proved. Records of entries at and past their places are shown as forked from now on.
    pub forks: Vec<CheckedFork>,
    /// Logs whose contiguous height or descriptor changed.
    pub logs: Vec<(LogId, LogRow)>,
    /// A newer charter.
    pub charter: Option<Vec<u8>>,
    /// A new incarnation, when it began, and why.
    pub incarnation: Option<(vatra_model::Incarnation, WallMs, NewLife)>,
    /// The highest stamp given or seen.
    pub hlc: vatra_model::Hlc,
}

/// State changes worth a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A peer introduced itself.
    Joined {
        /// The node.
        peer: NodeKey,
    },
    /// Something from a peer was refused.
    Rejected {
        /// The node that sent it; `None` for a file.
        peer: Option<NodeKey>,
        /// Why.
        reject: Reject,
    },
    /// A log's origin contradicted itself, and that is proved: nothing belongs to the log from this place on.
    Forked {
        /// The log.
        log: LogId,
        /// The place.
        seq: u64,
    },
    /// An entry that is held can no longer be read. It is fetched again.
    Damaged {
        /// The log.
        log: LogId,
        /// Its place.
        seq: Seq,
    },
    /// A damaged entry was fetched again and put back.
    Mended {
        /// The log.
        log: LogId,
        /// Its place.
        seq: Seq,
    },
    /// An entry that may contradict what is held was not looked into, as enough others wait for that. Nobody is at
    /// fault, and it is most likely held; a fork shows again with the log's next comparison.
    DoubtDropped {
        /// The log.
        log: LogId,
    },
    /// This node's store is older than what its peers hold of it: a new incarnation was opened.
    NewIncarnation {
        /// The number.
        incarnation: vatra_model::Incarnation,
        /// Why.
        why: NewLife,
    },
    /// A newer charter came into force.
    CharterInstalled {
        /// The epoch.
        epoch: u64,
    },
    /// A peer's clock differs by more than the limit.
    ClockSkew {
        /// The node.
        peer: NodeKey,
        /// How far its clock is ahead, in milliseconds; negative when behind.
        ahead_ms: i64,
    },
    /// Entries that came in a file were taken in; those that were refused are told one by one.
    FileTaken {
        /// How many were new.
        new: u64,
        /// How many were held already.
        held: u64,
    },
    /// Nothing of what caught up: a node that we had missing entries of has all of them here.
    CaughtUp {
        /// The log.
        log: LogId,
        /// Its height.
        height: u64,
    },
}

/// A peer's misbehaviour or mistake. Our state did not change by what was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reject {
    /// It speaks versions that do not overlap with ours.
    #[error("it speaks protocol versions {min} to {max}")]
    Version {
        /// Oldest.
        min: u16,
        /// Newest.
        max: u16,
    },
    /// It belongs to another federation.
    #[error("its charter has another founding epoch")]
    OtherFederation,
    /// Its certificate, or that of a log that it sent, does not hold.
    #[error(transparent)]
    Admit(#[from] AdmitError),
    /// A frame or message that cannot be read.
    #[error("malformed {what}: {detail}")]
    Malformed {
        /// What.
        what: &'static str,
        /// The decoder's words.
        detail: String,
    },
    /// Entries of a log that it has not described.
    #[error("entries of the undescribed log {0}")]
    UndescribedLog(LogId),
    /// An entry that does not check.
    #[error("entry {seq} of log {log}: {source}")]
    Entry {
        /// The log.
        log: LogId,
        /// The place it claims.
        seq: u64,
        /// What does not hold.
        #[source]
        source: EntryError,
    },
    /// A log of a realm or audience that this version does not keep.
    #[error("log {0} is not of the operational realm and the whole federation")]
    ForeignLog(LogId),
    /// An observer, or a revoked node past its last valid entry, wrote.
    #[error("entry {seq} of log {log} was written without the right to")]
    NotEntitled {
        /// The log.
        log: LogId,
        /// The place.
        seq: u64,
    },
    /// A fork proof that proves nothing.
    #[error("a fork proof of log {log}: {source}")]
    Fork {
        /// The log.
        log: LogId,
        /// Why not.
        #[source]
        source: ForkError,
    },
    /// A bound was reached; what was refused will be asked for again.
    #[error("{what} are at their limit of {limit}")]
    Full {
        /// What.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// A charter that does not verify or does not extend ours.
    #[error("charter refused: {0}")]
    Charter(String),
    /// Something before its hello, or a second hello.
    #[error("unexpected {0}")]
    Unexpected(&'static str),
}
