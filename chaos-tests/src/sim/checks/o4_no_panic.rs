//! O4: nothing panics, whatever comes in.

use std::any::Any;

use vatra_replica::Input;

/// A panic as a violation.
#[must_use]
pub fn describe(node: usize, at: &str, panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message");
    format!("node {node} panicked at {at}: {text} (O4)")
}

/// The name of an input, for the report of a panic.
#[must_use]
pub fn name(input: &Input) -> &'static str {
    match input {
        Input::LinkUp { .. } => "a link that came up",
        Input::LinkDown { .. } => "a link that went down",
        Input::RoundTrip { .. } => "a measured round trip",
        Input::Message { .. } => "a message",
        Input::Beacon { .. } => "a beacon",
        Input::Entries { .. } => "entries",
        Input::Publish { .. } => "a publication",
        Input::Persisted { .. } => "a batch that became durable",
        Input::PersistFailed { .. } => "a batch that could not be written",
        Input::Tick => "a tick",
        _ => "another input",
    }
}
