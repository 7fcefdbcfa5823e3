//! Who may write what: a pure function of a change, its author and the record's identity.

use thiserror::Error;
use vatra_model::change::{Create, Edit, Naming, RecordKind, SectionId, record_id};
use vatra_model::limits::{CHANGE_DEPS_MAX, CHANGE_OPS_MAX};
use vatra_model::schema::Table;
use vatra_model::{MemberCode, RecordId};

/// A change has no effect on the record, on any node, at any time. It stays in its log as evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum RefuseReason {
    /// It is neither a create nor an edit.
    #[error("the change is neither a create nor an edit of a record")]
    NoRecordChange,
    /// It belongs to another record: for a create, its author, writers and naming make another id.
    #[error("the change belongs to another record")]
    OtherRecord,
    /// Its author is not among the record's writers.
    #[error("the author is not a writer of the record")]
    NotWriter,
    /// It edits another member's answer.
    #[error("the author edits another member's response")]
    NotOwnResponse,
    /// The record's kind has no such section.
    #[error("the record has no such section")]
    NoSuchSection,
    /// It has more ops or deps than a change may have.
    #[error("the change has more than {CHANGE_OPS_MAX} ops or {CHANGE_DEPS_MAX} deps")]
    TooMany,
}

/// What a record's id commits to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) kind: RecordKind,
    pub(crate) owner: MemberCode,
    pub(crate) writers: Vec<MemberCode>,
    pub(crate) naming: Naming,
}

impl Identity {
    /// The identity that a create by this author gives the record.
    pub(crate) fn of_create(record: RecordId, author: MemberCode, create: &Create) -> Result<Identity, RefuseReason> {
        if create.ops.len() > CHANGE_OPS_MAX {
            return Err(RefuseReason::TooMany);
        }
        if record_id(author, create) != record {
            return Err(RefuseReason::OtherRecord);
        }
        if !create.writers.contains(&author) {
            return Err(RefuseReason::NotWriter);
        }
        Ok(Identity {
            kind: create.kind,
            owner: author,
            writers: create.writers.clone(),
            naming: create.naming.clone(),
        })
    }

    /// Whether a member may write a section of this record.
    pub(crate) fn allows(&self, author: MemberCode, section: SectionId) -> Result<(), RefuseReason> {
        match section {
            SectionId::Core if self.writers.contains(&author) => Ok(()),
            SectionId::Core => Err(RefuseReason::NotWriter),
            SectionId::Response(member) if member != author => Err(RefuseReason::NotOwnResponse),
            SectionId::Response(_) if Table::of(self.kind, section).is_none() => Err(RefuseReason::NoSuchSection),
            SectionId::Response(_) => Ok(()),
        }
    }
}

/// What can be said of an edit without knowing the record's identity.
pub(crate) fn check_edit(record: RecordId, author: MemberCode, edit: &Edit) -> Result<(), RefuseReason> {
    if edit.record != record {
        return Err(RefuseReason::OtherRecord);
    }
    if edit.ops.len() > CHANGE_OPS_MAX || edit.deps.len() > CHANGE_DEPS_MAX {
        return Err(RefuseReason::TooMany);
    }
    match edit.section {
        SectionId::Response(member) if member != author => Err(RefuseReason::NotOwnResponse),
        SectionId::Core | SectionId::Response(_) => Ok(()),
    }
}
