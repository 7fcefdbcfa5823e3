//! What an engine's failures mean: a full disk, a failing one, or damage.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::engine::{EngineError, ReadOnlyReason};

/// Why commits are refused after this error.
pub(crate) fn reason(error: &EngineError) -> ReadOnlyReason {
    match error {
        EngineError::Full(_) => ReadOnlyReason::Full,
        EngineError::Damaged { .. } => ReadOnlyReason::Damaged,
        EngineError::ReadOnly(reason) => *reason,
        EngineError::Io(_) | EngineError::Reopened | EngineError::Closed => ReadOnlyReason::Io,
    }
}

/// Tells a full disk from a failing one.
pub(crate) fn from_io(error: io::Error) -> EngineError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            EngineError::Full(error)
        }
        _ => EngineError::Io(error),
    }
}

/// Runs engine code whose panic on a damaged file must become an error.
pub(crate) fn guarded<T>(place: &'static str, run: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(from_panic(place, &*panic)))
}

pub(crate) fn from_panic(place: &'static str, panic: &(dyn std::any::Any + Send)) -> EngineError {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    let why = format!("it stopped with: {}", text.unwrap_or_else(|| "a panic without a message".to_string()));
    EngineError::Damaged { place, why }
}
