//! What the API needs of the node. The node implements [`Service`]; nothing else crosses the border.

use std::future::Future;
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest, Sha256};
use vatra_model::draft::{AlertDraft, AlertPatch, ContactDraft, ContactPatch, ResponseDraft};
use vatra_model::schema::words::Tlp;
use vatra_model::view::Summary;
use vatra_model::{ChangeId, LogId, MemberCode, NodeKey, Op, Position, RecordId, SectionId, Seq, Value, WallMs};
use vatra_stream::Filter;

use crate::auth::Caller;
use crate::bundles::{BundleDownload, BundleIntake, BundleOrder, BundleProgress, BundleUpload};
use crate::doctor::Diagnosis;
use crate::logs::{LogHead, LogsQuery};
use crate::members::Reach;
use crate::refusal::Refusal;
use crate::status::Status;

/// Longest idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// A node as its callers see it. Writes return when they are on the disk.
pub trait Service: Send + Sync + 'static {
    /// Takes new alerts, committed together where possible; one answer for each, in order. An alert whose
    /// external id or nonce is known already is answered with its receipt, not created.
    fn create_alerts(
        &self,
        caller: &Caller,
        alerts: Vec<NewAlert>,
    ) -> impl Future<Output = Vec<Result<Receipt, Refusal>>> + Send;

    /// Changes fields of an alert's core.
    fn update_alert(
        &self,
        caller: &Caller,
        id: RecordId,
        patch: AlertPatch,
    ) -> impl Future<Output = Result<Receipt, Refusal>> + Send;

    /// Gives this member's answer to an alert.
    fn respond(
        &self,
        caller: &Caller,
        id: RecordId,
        response: ResponseDraft,
    ) -> impl Future<Output = Result<Receipt, Refusal>> + Send;

    /// Cancels or resolves an alert; the reason, if any, joins its timeline.
    fn close_alert(
        &self,
        caller: &Caller,
        id: RecordId,
        closing: Closing,
        reason: Option<String>,
    ) -> impl Future<Output = Result<Receipt, Refusal>> + Send;

    /// Adds a contact to this member's roster.
    fn create_contact(
        &self,
        caller: &Caller,
        contact: NewContact,
    ) -> impl Future<Output = Result<Receipt, Refusal>> + Send;

    /// Changes fields of a contact.
    fn update_contact(
        &self,
        caller: &Caller,
        id: RecordId,
        patch: ContactPatch,
    ) -> impl Future<Output = Result<Receipt, Refusal>> + Send;

    /// Takes a contact off the roster: it has left.
    fn remove_contact(&self, caller: &Caller, id: RecordId) -> impl Future<Output = Result<Receipt, Refusal>> + Send;

    /// The view of an alert; `None` when the record is not held or is no alert.
    fn alert(&self, id: RecordId) -> impl Future<Output = Result<Option<ViewJson>, Refusal>> + Send;

    /// The view of a contact; `None` when the record is not held or is no contact.
    fn contact(&self, id: RecordId) -> impl Future<Output = Result<Option<ViewJson>, Refusal>> + Send;

    /// Alerts that match, the newest arrival first.
    fn alerts(&self, query: ListQuery) -> impl Future<Output = Result<Page<ViewJson>, Refusal>> + Send;

    /// Contacts that match, the newest arrival first.
    fn contacts(&self, query: ListQuery) -> impl Future<Output = Result<Page<ViewJson>, Refusal>> + Send;

    /// Contacts of a member; the query's filter names it already. Not found when the charter has no such member.
    fn roster(&self, member: MemberCode, query: ListQuery) -> impl Future<Output = Result<Roster, Refusal>> + Send;

    /// Changes of a record, the oldest arrival first; not found when the record is not held.
    fn history(
        &self,
        id: RecordId,
        query: HistoryQuery,
    ) -> impl Future<Output = Result<Page<HistoryItem>, Refusal>> + Send;

    /// Which members hold all of a record that this node holds, as far as this node knows.
    fn reach(&self, id: RecordId) -> impl Future<Output = Result<Reach, Refusal>> + Send;

    /// How the node is.
    fn status(&self) -> impl Future<Output = Result<Status, Refusal>> + Send;

    /// What is wrong with the node, if anything, and what to do.
    fn diagnosis(&self) -> impl Future<Output = Result<Diagnosis, Refusal>> + Send;

    /// How far this node holds logs, by log.
    fn logs(&self, query: LogsQuery) -> impl Future<Output = Result<Vec<LogHead>, Refusal>> + Send;

    /// Whether the node serves; asked often and without a token.
    fn readiness(&self) -> impl Future<Output = Readiness> + Send;

    /// Cuts links for a drill.
    fn cut_links(&self, caller: &Caller, order: CutOrder) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Ends every cut at once; says how many there were.
    fn heal_links(&self, caller: &Caller) -> impl Future<Output = Result<usize, Refusal>> + Send;

    /// Writes entries as a file. What can be refused is refused before the first piece.
    fn export_bundle(
        &self,
        caller: &Caller,
        order: BundleOrder,
    ) -> impl Future<Output = Result<BundleDownload, Refusal>> + Send;

    /// Takes in a file of entries; returns when what was new is on the disk. Progress that nobody takes is dropped.
    fn import_bundle(
        &self,
        caller: &Caller,
        upload: BundleUpload,
        progress: BundleProgress,
    ) -> impl Future<Output = Result<BundleIntake, Refusal>> + Send;

    /// A signed file that says how far this node holds the logs.
    fn frontier_file(&self, caller: &Caller) -> impl Future<Output = Result<Vec<u8>, Refusal>> + Send;
}

/// An alert to be created.
#[derive(Clone, Debug)]
pub struct NewAlert {
    /// The checked draft.
    pub draft: AlertDraft,
    /// The record's nonce, derived from the caller's idempotency key; random when `None`. Not used when the
    /// draft has an external id.
    pub nonce: Option<[u8; 16]>,
}

/// A contact to be created.
#[derive(Clone, Debug)]
pub struct NewContact {
    /// The checked draft.
    pub draft: ContactDraft,
    /// As in [`NewAlert`].
    pub nonce: Option<[u8; 16]>,
}

/// The nonce of the record that a caller creates under an idempotency key; `line` tells apart the lines of one
/// bulk request. The same key names the same record, so a repeated call finds it, even after a restart.
pub(crate) fn idempotent_nonce(caller: &Caller, key: &str, line: u64) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(b"vatra idempotency v1");
    for text in [caller.name(), key] {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    hash.update(line.to_le_bytes());
    let full: [u8; 32] = hash.finalize().into();
    let mut nonce = [0; 16];
    nonce.copy_from_slice(&full[..16]);
    nonce
}

/// A write that is on this node's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The record.
    pub id: RecordId,
    /// Its last position here.
    pub position: Position,
    /// The log of the entry.
    pub log: LogId,
    /// The entry's place in its log.
    pub seq: Seq,
    /// Whether the record is new; `false` for changes and for what was there already.
    pub created: bool,
}

/// How an alert ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// It should not have been sent.
    Cancel,
    /// What it warned of is over.
    Resolve,
}

/// A view with what decides who may see it.
#[derive(Clone, Debug)]
pub struct ViewJson {
    /// Summary of the view.
    pub summary: Summary,
    /// The view's canonical bytes.
    pub json: Arc<[u8]>,
}

/// Which records to list.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// Conditions.
    pub filter: Filter,
    /// Records with a stricter label are left out.
    pub clearance: Tlp,
    /// Only records that changed here after this position.
    pub since: Option<Position>,
    /// Only records created here before this position: where the page before ended.
    pub before: Option<Position>,
    /// Items at most, 1 to [`crate::limits::PAGE_ITEMS_MAX`].
    pub limit: usize,
}

/// Which part of a history to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Only changes after this position.
    pub after: Option<Position>,
    /// Items at most, 1 to [`crate::limits::PAGE_ITEMS_MAX`].
    pub limit: usize,
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins: the position by which the last item is ordered. `None` at the end.
    pub next: Option<Position>,
    /// Items of all pages.
    pub total: u64,
}

/// A member's contacts.
#[derive(Clone, Debug)]
pub struct Roster {
    /// The contacts.
    pub page: Page<ViewJson>,
    /// When this node last heard of any node of the member; `None` if it never did.
    pub heard_at: Option<WallMs>,
}

/// One change of a record.
#[derive(Clone, Debug, Serialize)]
pub struct HistoryItem {
    /// The change.
    pub change: ChangeId,
    /// Its position here.
    pub position: Position,
    /// When it was made, by its maker's clock.
    pub at: WallMs,
    /// When this node stored it.
    pub received_at: WallMs,
    /// The member of the node that made it.
    pub member: MemberCode,
    /// The node that made it.
    pub node: NodeKey,
    /// The log of its entry.
    pub log: LogId,
    /// The entry's place in its log.
    pub seq: Seq,
    /// `core`, or `response(LT)`.
    pub section: String,
    /// `create` or `edit`.
    pub action: &'static str,
    /// What it says.
    pub ops: Vec<HistoryOp>,
}

impl HistoryItem {
    /// A section's name in a history.
    #[must_use]
    pub fn section_name(section: SectionId) -> String {
        match section {
            SectionId::Core => "core".to_owned(),
            SectionId::Response(member) => format!("response({member})"),
        }
    }
}

/// One op of a change.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum HistoryOp {
    /// A field got a value.
    Set {
        /// The field.
        field: String,
        /// Its value.
        value: serde_json::Value,
    },
    /// A set got an element.
    Add {
        /// The set.
        field: String,
        /// The element's key.
        key: String,
        /// The element.
        value: serde_json::Value,
    },
    /// A set lost an element.
    Remove {
        /// The set.
        field: String,
        /// The element's key.
        key: String,
    },
    /// Written by a newer version.
    Unknown,
}

impl From<&Op> for HistoryOp {
    fn from(op: &Op) -> HistoryOp {
        match op {
            Op::Set { field, value } => HistoryOp::Set { field: field.clone(), value: to_json(value) },
            Op::Add { set, key, value } => {
                HistoryOp::Add { field: set.clone(), key: key.clone(), value: to_json(value) }
            }
            Op::Remove { set, key } => HistoryOp::Remove { field: set.clone(), key: key.clone() },
            Op::Unknown { .. } => HistoryOp::Unknown,
        }
    }
}

fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Text(value) => value.as_str().into(),
    }
}

/// Whether the node serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Reads and streams are served.
    pub is_serving: bool,
    /// How far the node is behind the member it is furthest behind, in seconds.
    pub behind_seconds: u64,
}

/// Whom to cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CutTarget {
    /// Every other member.
    All,
    /// These members.
    Members(Vec<MemberCode>),
}

/// A drill that cuts links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutOrder {
    /// Whom to cut off.
    pub target: CutTarget,
    /// For how long, at most [`crate::limits::CUT_SECONDS_MAX`].
    pub seconds: u64,
    /// Why; shown in the status.
    pub reason: String,
}
