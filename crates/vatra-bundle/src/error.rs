//! Why a bundle or a receipt is refused.

use std::io;

use thiserror::Error;
use vatra_model::charter::{AdmitError, CharterError};
use vatra_model::fork::ForkError;
use vatra_model::{EntryError, LogId, VerifyError};

/// A bundle is refused. Nothing of it was believed after the place that the error names; a caller that applies
/// nothing before the whole bundle was read has changed nothing.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The stream could not be read. Trying again may help.
    #[error("the bundle could not be read: {0}")]
    Io(#[source] io::Error),
    /// It is another kind of file, or one that was sent in text mode.
    #[error("this is no bundle")]
    NotABundle,
    /// It was written by a newer version.
    #[error("the bundle's format is version {found}, this program reads version 1")]
    Version {
        /// Its version.
        found: u8,
    },
    /// It ends too early: it was cut off while it was written or carried.
    #[error("the bundle is cut off after {offset} bytes")]
    CutOff {
        /// Where it ends.
        offset: u64,
    },
    /// A section is longer than allowed.
    #[error("section {kind} at byte {offset} claims {found} bytes, at most {limit} are allowed")]
    TooLong {
        /// Where the section begins.
        offset: u64,
        /// Its kind.
        kind: u8,
        /// What it claims.
        found: u32,
        /// The bound.
        limit: usize,
    },
    /// A section that a reader must know, of a newer version.
    #[error("section {kind} at byte {offset} is not known to this version")]
    UnknownSection {
        /// Where the section begins.
        offset: u64,
        /// Its kind.
        kind: u8,
    },
    /// A section where it must not be, such as a second manifest.
    #[error("section {kind} at byte {offset} is out of place")]
    Misplaced {
        /// Where the section begins.
        offset: u64,
        /// Its kind.
        kind: u8,
    },
    /// The bytes are not those that were written.
    #[error("the bundle is damaged at byte {offset} or in the section that begins there")]
    Damaged {
        /// Where the damaged section begins.
        offset: u64,
    },
    /// A section cannot be read although its bytes are those that were written.
    #[error("the section at byte {offset} is malformed: {what}")]
    Malformed {
        /// Where the section begins.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// Unpacked, it is larger than the reader's bound.
    #[error("the bundle unpacks to more than {limit} bytes")]
    Inflates {
        /// The bound.
        limit: u64,
    },
    /// Bytes follow the end.
    #[error("bytes follow the bundle's end at byte {offset}")]
    Trailing {
        /// Where the bundle ends.
        offset: u64,
    },
    /// The manifest or the end was not signed by the node that they name.
    #[error("the signature of the {what} does not hold: {source}")]
    Signature {
        /// Which of them.
        what: &'static str,
        /// What does not hold.
        #[source]
        source: VerifyError,
    },
    /// The end does not speak of what was read.
    #[error("the end names other {what} than were read")]
    OtherContent {
        /// What differs.
        what: &'static str,
    },
    /// It was made in another federation.
    #[error("the bundle is of another federation (founding hash {found})")]
    OtherFederation {
        /// First characters of its founding hash.
        found: String,
    },
    /// Its charter and the reader's have grown apart.
    #[error("the bundle's charter and this node's charter differ from each other before the end of either")]
    CharterDiverged,
    /// Its charter does not verify.
    #[error("the bundle's charter does not hold: {0}")]
    Charter(#[source] CharterError),
    /// The charter does not admit the node that made the bundle.
    #[error("the bundle's maker is not admitted: {0}")]
    Maker(#[source] AdmitError),
    /// The charter admits no such origin.
    #[error("the origin of log {log} is not admitted: {source}")]
    Origin {
        /// The log.
        log: LogId,
        /// Why not.
        #[source]
        source: AdmitError,
    },
    /// Entries of a log that was not described before.
    #[error("the section at byte {offset} has entries of log {log}, which was not described")]
    UndescribedLog {
        /// Where the section begins.
        offset: u64,
        /// The log.
        log: LogId,
    },
    /// A proof of a fork proves nothing.
    #[error("a proof of a fork of log {log}: {source}")]
    Fork {
        /// The log.
        log: LogId,
        /// Why not.
        #[source]
        source: ForkError,
    },
    /// An entry does not hold.
    #[error("entry {seq} of log {log}: {source}")]
    Entry {
        /// The log.
        log: LogId,
        /// Its place.
        seq: u64,
        /// What does not hold.
        #[source]
        source: EntryError,
    },
}

impl ReadError {
    /// What its reader can do.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            ReadError::Io(_) => "look at the medium and try again",
            ReadError::NotABundle => "give a file that `vatra bundle export` wrote; copy it in binary mode",
            ReadError::Version { .. } | ReadError::UnknownSection { .. } => {
                "update this node, or export with the older version"
            }
            ReadError::CutOff { .. } => "copy the rest of the file, then import it again",
            ReadError::Damaged { .. } | ReadError::TooLong { .. } | ReadError::Trailing { .. } => {
                "copy the file again and compare its SHA-256 with the original's"
            }
            ReadError::Inflates { .. } => "export less at once, with --since or --for, or raise limits.bundle_mib",
            ReadError::OtherFederation { .. } => "bundles are only taken within a federation",
            ReadError::CharterDiverged | ReadError::Charter(_) => {
                "compare both charters with `vatra charter show`; a federation has only one"
            }
            ReadError::Maker(source) => maker_remedy(source),
            ReadError::Origin { .. } => NOT_YET_KNOWN,
            ReadError::Misplaced { .. }
            | ReadError::Malformed { .. }
            | ReadError::Signature { .. }
            | ReadError::OtherContent { .. }
            | ReadError::UndescribedLog { .. }
            | ReadError::Fork { .. }
            | ReadError::Entry { .. } => "do not trust the file; ask its maker for another one by telephone",
        }
    }
}

/// What to do where a charter does not know somebody.
const NOT_YET_KNOWN: &str = "if its member joined lately, install the newer charter first";

/// What to do about a bundle or receipt whose maker is not admitted.
#[must_use]
pub fn maker_remedy(why: &AdmitError) -> &'static str {
    match why {
        AdmitError::Revoked(_) => {
            "take nothing that was made with this key: the charter revoked it as stolen or lost; ask its member for a \
             file that another node of it made"
        }
        AdmitError::UnknownMember(_) | AdmitError::Certificate(_) => NOT_YET_KNOWN,
    }
}

/// A receipt or frontier file is refused.
#[derive(Debug, Error)]
pub enum ReceiptError {
    /// It is another kind of file.
    #[error("this is no receipt or frontier file")]
    NotAReceipt,
    /// It was written by a newer version.
    #[error("the receipt's format is version {found}, this program reads version 1")]
    Version {
        /// Its version.
        found: u8,
    },
    /// It is damaged or too long.
    #[error("the receipt is malformed: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// It was not signed by the node that it names.
    #[error("the receipt's signature does not hold: {0}")]
    Signature(#[source] VerifyError),
}

#[cfg(test)]
mod tests {
    use vatra_model::{MemberCode, NodeKey};

    use super::*;

    #[test]
    fn a_revoked_maker_is_not_taken_for_one_that_is_not_yet_known() {
        let revoked = ReadError::Maker(AdmitError::Revoked(NodeKey([1; 32])));
        assert!(revoked.to_string().contains("is revoked"), "{revoked}");
        assert!(
            revoked.remedy().contains("revoked it") && !revoked.remedy().contains("joined"),
            "{}",
            revoked.remedy()
        );
        let code: MemberCode = "EE".parse().expect("a code");
        assert_eq!(ReadError::Maker(AdmitError::UnknownMember(code)).remedy(), NOT_YET_KNOWN);
    }
}
