//! What an engine's failures mean: a full disk, a failing one, or damage.

use std::cell::Cell;
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
    caught(run).unwrap_or_else(|panic| Err(from_panic(place, &*panic)))
}

/// Runs engine code and catches its panic, of which the panic hook then need not tell: see [`panics_are_errors`].
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> std::thread::Result<T> {
    let before = CAUGHT.replace(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    CAUGHT.set(before);
    result
}

thread_local! {
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread becomes an error of the store, now: engines panic on damaged files. A program's panic
/// hook asks, so that people see the error alone.
#[must_use]
pub fn panics_are_errors() -> bool {
    CAUGHT.get()
}

pub(crate) fn from_panic(place: &'static str, panic: &(dyn std::any::Any + Send)) -> EngineError {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    let why = format!("it stopped with: {}", text.unwrap_or_else(|| "a panic without a message".to_string()));
    EngineError::Damaged { place, why }
}
