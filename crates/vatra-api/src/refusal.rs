//! Why the node refuses a call.

use thiserror::Error;
use vatra_model::draft::DraftError;

/// What kind of refusal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The content is not acceptable; the caller corrects it.
    Invalid,
    /// The record or member is not known here; it may arrive later.
    NotFound,
    /// The record belongs to another member.
    NotOwner,
    /// It does not fit the state of the record; the caller reads it again.
    Conflict,
    /// The disk is full; an operator makes room, then the same call succeeds.
    StoreFull,
    /// A queue is full; the same call succeeds soon.
    Busy,
    /// The node cannot do this now, such as write while its store is read-only; an operator looks.
    Unavailable,
    /// A fault of the node. Whether a write was taken is unknown.
    Fault,
}

/// The node refuses a call. Except for a [`RefusalKind::Fault`], nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{detail}")]
pub struct Refusal {
    /// What kind it is.
    pub kind: RefusalKind,
    /// The field at fault.
    pub field: Option<String>,
    /// What is wrong, for people.
    pub detail: String,
    /// The bound that was exceeded.
    pub limit: Option<u64>,
    /// What to do.
    pub remedy: Option<String>,
}

impl Refusal {
    /// A refusal of a kind.
    #[must_use]
    pub fn new(kind: RefusalKind, detail: impl Into<String>) -> Refusal {
        Refusal { kind, field: None, detail: detail.into(), limit: None, remedy: None }
    }

    /// Names the field at fault.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>) -> Refusal {
        self.field = Some(field.into());
        self
    }

    /// Names the bound that was exceeded.
    #[must_use]
    pub fn with_limit(mut self, limit: u64) -> Refusal {
        self.limit = Some(limit);
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Refusal {
        self.remedy = Some(remedy.into());
        self
    }
}

impl From<DraftError> for Refusal {
    fn from(error: DraftError) -> Refusal {
        let detail = format!("{} {}", error.field, error.problem);
        Refusal::new(RefusalKind::Invalid, detail.trim_start()).with_field(error.field).with_remedy(error.remedy)
    }
}
