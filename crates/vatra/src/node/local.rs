//! What local callers ask for, worked out on the driver's thread so that two calls never race.

use thiserror::Error;
use tokio::sync::oneshot;
use vatra_model::change::{Create, Edit, record_id};
use vatra_model::draft::{AlertPatch, ContactPatch, DraftError, ResponseDraft};
use vatra_model::limits::CHANGE_BYTES_MAX;
use vatra_model::schema::words::AlertStatus;
use vatra_model::view::View;
use vatra_model::{Change, Class, LogId, MemberCode, Position, RecordId, SectionId, Seq, WallMs};
use vatra_record::Record;
use vatra_store::{ReadError, ReadOnlyReason};

use crate::config::NotAdmitted;

/// One call: several operations that are answered together.
pub(crate) struct LocalCall {
    pub(crate) ops: Vec<LocalOp>,
    pub(crate) reply: oneshot::Sender<Vec<LocalResult>>,
}

/// One operation.
#[derive(Clone, Debug)]
pub(crate) enum LocalOp {
    /// A new record; one that is already there is left as it is.
    Create { create: Box<Create>, class: Class },
    /// An edit of an alert's core.
    PatchAlert { record: RecordId, patch: Box<AlertPatch> },
    /// This member's answer to an alert.
    Respond { record: RecordId, draft: Box<ResponseDraft> },
    /// An edit of a contact.
    PatchContact { record: RecordId, patch: Box<ContactPatch> },
}

/// Where an operation's change stands now, durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) record: RecordId,
    pub(crate) position: Position,
    pub(crate) log: LogId,
    pub(crate) seq: Seq,
    /// Whether anything was written; `false` when it was so already.
    pub(crate) changed: bool,
    /// Whether the record is new.
    pub(crate) created: bool,
}

/// What an operation came to.
pub(crate) type LocalResult = Result<Receipt, LocalError>;

/// An operation was not done. Nothing was changed by it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum LocalError {
    /// No such record here.
    #[error("record {0} is not known here")]
    Unknown(RecordId),
    /// Another member's section.
    #[error("only nodes of {owners} may change this; {member} can answer in its own section")]
    NotWriter { owners: String, member: MemberCode },
    /// The alert has ended.
    #[error("the alert is {0} and takes no more changes; publish a new one that supersedes it")]
    Ended(AlertStatus),
    /// A field is not acceptable.
    #[error("{}: {}", .0.field, .0.problem)]
    Invalid(DraftError),
    /// This node's member may not originate.
    #[error("{0} is an observer of this federation and originates nothing")]
    Observer(MemberCode),
    /// The charter does not admit this node.
    #[error("{0}; it publishes nothing")]
    NotAdmitted(NotAdmitted),
    /// The disk is full.
    #[error("the disk of the store is full, so nothing was stored")]
    StoreFull,
    /// The disk is failing, or the store is damaged.
    #[error("the store takes no writes at present: {0}")]
    StoreReadOnly(String),
    /// The record's section is at its limit.
    #[error("the record has reached its limit of changes or bytes, so the change has no effect; publish a new one")]
    NoEffect,
    /// A stored value is damaged.
    #[error("the record cannot be read: {0}")]
    Unreadable(String),
}

impl LocalError {
    /// Why a store that takes no writes refuses one.
    pub(crate) fn read_only(reason: ReadOnlyReason) -> LocalError {
        match reason {
            ReadOnlyReason::Full => LocalError::StoreFull,
            other => LocalError::StoreReadOnly(other.to_string()),
        }
    }
}

impl From<ReadError> for LocalError {
    fn from(error: ReadError) -> LocalError {
        LocalError::Unreadable(error.to_string())
    }
}

impl LocalOp {
    /// The record that the operation is about.
    pub(crate) fn record(&self, member: MemberCode) -> RecordId {
        match self {
            LocalOp::Create { create, .. } => record_id(member, create),
            LocalOp::PatchAlert { record, .. }
            | LocalOp::Respond { record, .. }
            | LocalOp::PatchContact { record, .. } => *record,
        }
    }

    /// How urgent the operation is, before the record is known.
    pub(crate) fn is_urgent(&self) -> bool {
        match self {
            LocalOp::Create { class, .. } => class.is_urgent(),
            LocalOp::PatchAlert { .. } | LocalOp::Respond { .. } => true,
            LocalOp::PatchContact { .. } => false,
        }
    }

    /// The edit that the operation is on a record as it is here; `None` when it changes nothing.
    pub(crate) fn into_edit(
        self,
        member: MemberCode,
        record: &Record,
        view: &View,
        now: WallMs,
    ) -> Result<Option<(Class, Edit)>, LocalError> {
        let (section, class, ops) = match (self, view) {
            (LocalOp::PatchAlert { patch, .. }, View::Alert(alert)) => {
                check_writer(member, &alert.writers)?;
                if alert.status != AlertStatus::Active && !alert.cancel_disputed && alert.conflicts.is_empty() {
                    return Err(LocalError::Ended(alert.status));
                }
                let class = patch.class(alert);
                (SectionId::Core, class, patch.into_ops(alert).map_err(LocalError::Invalid)?)
            }
            (LocalOp::Respond { draft, .. }, View::Alert(alert)) => {
                let ops = draft.into_ops(now, alert.responses.get(&member)).map_err(LocalError::Invalid)?;
                (SectionId::Response(member), Class::Priority, ops)
            }
            (LocalOp::PatchContact { patch, .. }, View::Contact(contact)) => {
                check_writer(member, &contact.writers)?;
                (SectionId::Core, Class::Routine, patch.into_ops(contact).map_err(LocalError::Invalid)?)
            }
            (op, _) => return Err(LocalError::Unknown(op.record(member))),
        };
        if ops.is_empty() {
            return Ok(None);
        }
        let deps = record.deps_for_edit(section);
        Ok(Some((class, Edit { record: record.id(), section, deps, ops })))
    }
}

/// A change as bytes, if it is not too large.
pub(crate) fn encode_change(change: &Change) -> Result<Vec<u8>, LocalError> {
    let bytes = change.encode();
    if bytes.len() > CHANGE_BYTES_MAX {
        return Err(LocalError::Invalid(DraftError::new(
            "",
            format!("is {} bytes as a change, the limit is {CHANGE_BYTES_MAX}", bytes.len()),
            "shorten the texts or leave out elements",
        )));
    }
    Ok(bytes)
}

fn check_writer(member: MemberCode, writers: &[MemberCode]) -> Result<(), LocalError> {
    if writers.contains(&member) {
        return Ok(());
    }
    let owners = writers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Err(LocalError::NotWriter { owners, member })
}
