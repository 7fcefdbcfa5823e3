//! Panics of a run: caught with their place, so that the core's are told from the harness's own.

use std::any::Any;
use std::cell::RefCell;
use std::sync::Once;

/// A panic that was caught.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caught {
    /// File and line.
    pub place: String,
    /// What it said.
    pub message: String,
}

impl Caught {
    /// Whether it came from the code that runs in a node, not from the simulator around it.
    #[must_use]
    pub(super) fn is_of_the_core(&self) -> bool {
        !self.place.contains("chaos-tests/") && !self.place.starts_with("src/")
    }
}

thread_local! {
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
    static IS_WATCHING: RefCell<bool> = const { RefCell::new(false) };
}

/// Runs something that catches its panics; a panic is not printed, its place is kept.
///
/// # Errors
/// The panic that it caught.
pub(super) fn watch<T>(work: impl FnOnce() -> Result<T, Box<dyn Any + Send>>) -> Result<T, Caught> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if IS_WATCHING.with_borrow(|is| *is) {
                let place = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
                PLACE.with_borrow_mut(|kept| *kept = place);
            } else {
                before(info);
            }
        }));
    });
    IS_WATCHING.with_borrow_mut(|is| *is = true);
    let outcome = work();
    IS_WATCHING.with_borrow_mut(|is| *is = false);
    outcome.map_err(|payload| {
        let place = PLACE.with_borrow_mut(Option::take).unwrap_or_else(|| "an unknown place".to_owned());
        let text = payload.downcast_ref::<String>().cloned();
        let message = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Caught { place, message: message.unwrap_or_else(|| "no message".to_owned()) }
    })
}
