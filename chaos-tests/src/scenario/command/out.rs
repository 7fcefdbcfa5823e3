//! What commands print. A reader that has seen enough, as `head` has, ends a command without a word.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// The exit code when the reader of the output left before its end, as after SIGPIPE: no verdict was told.
pub(super) const CLOSED_EXIT_CODE: u8 = 141;

/// Prints a text; its colors are left out where no terminal shows them.
///
/// # Errors
/// It cannot be written: see [`is_closed_pipe`].
pub(super) fn text(text: impl Display) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    write!(out, "{text}")?;
    out.flush()
}

/// The same with the end of a line.
///
/// # Errors
/// As [`text`].
pub(super) fn line(text: impl Display) -> io::Result<()> {
    self::text(format_args!("{text}\n"))
}

/// Tells a line beside the output. If nobody is there to hear it, that is no reason to end.
pub(super) fn note(text: impl Display) {
    drop(writeln!(anstream::stderr().lock(), "{text}"));
}

/// Whether a command ended because nobody reads its output any more.
pub(super) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.into_iter().any(|cause| cause.kind() == ErrorKind::BrokenPipe)
}
