//! What nodes say to each other over a link: one [`Message`] per frame.
//!
//! A frame is the packed ([`crate::pack`]) bincode of one message. Entries travel in runs: what the receiver
//! can work out for itself (log, seq, `prev` within a run, sizes, `changes_root`) is left out, so that a
//! single small alert costs little more than its text and one signature.

mod beacon;
mod bounds;
mod pulse;
mod run;

use bincode::{Decode, Encode};

use crate::class::Class;
use crate::fork::{ForkProof, SignedHeader};
use crate::ids::{EntryHash, Incarnation, LogId};
use crate::limits::{ENTRY_BYTES_MAX, FRAME_BYTES_MAX};
use crate::time::WallMs;

pub use beacon::{Beacon, Neighbour, SignedBeacon};
pub use bounds::MessageTooLarge;
pub use pulse::{Pulse, SignedPulse};
pub use run::{EntriesFrame, LogDescriptor, Run, RunEntry, WireSlot};

/// Version of the messages that this node speaks. Version 2 knows forks, strays and short frontiers.
pub const PROTOCOL_VERSION: u16 = 2;
/// Oldest version that it still understands.
pub const PROTOCOL_VERSION_MIN: u16 = 1;

/// Uncompressed bytes of entries that a sender puts into one frame.
pub const FRAME_ENTRIES_BYTES: usize = 256 * 1024;
/// Logs that one message may name.
pub const MESSAGE_LOGS_MAX: usize = 4096;
/// Pulses in one message.
pub const PULSES_MAX: usize = 256;
/// Heights in one pulse.
pub const PULSE_HEIGHTS_MAX: usize = 256;
/// Bytes of one pulse without its signature: as many heights with the longest numbers, and the rest.
pub const PULSE_BYTES_MAX: usize = 8 * 1024;

/// One message of a link.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    /// First of every link, both ways.
    Hello(Hello),
    /// Asks for the charter epochs after the one that the sender has.
    WantCharter {
        /// The sender's epoch.
        after: u64,
    },
    /// A whole charter, as [`crate::charter::Charter::encode`] makes it.
    Charter {
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// What the sender holds.
    Frontier(FrontierDigest),
    /// A node's signed state announcement, flooded.
    Beacon(SignedBeacon),
    /// The sender now holds these logs to these heights; the receiver pulls what does not come by push.
    Have {
        /// Log and height.
        heights: Vec<(LogId, u64)>,
    },
    /// Asks for entries.
    Want(Want),
    /// Entries: pushed, or as an answer.
    Entries(EntriesFrame),
    /// Ends the answer to a [`Want`].
    Done {
        /// The request.
        request: u32,
        /// The server stopped at its byte budget; ask again for the rest.
        more: bool,
    },
    /// Two signed headers that cannot be of one chain: the log ends before them. Since version 2, like all that follow.
    Fork(Box<ForkProof>),
    /// Asks for the header that the receiver holds at a place of a log, to find where two chains part.
    Probe {
        /// The log.
        log: LogId,
        /// The place.
        seq: u64,
    },
    /// Answers a probe.
    Header {
        /// The log.
        log: LogId,
        /// The place.
        seq: u64,
        /// The header there; `None` if nothing is held.
        header: Option<SignedHeader>,
    },
    /// Asks which strays of a forked log the receiver holds.
    WantStrayList {
        /// The log.
        log: LogId,
    },
    /// Strays that the sender holds.
    StrayList(StrayList),
    /// Asks for strays; answered with entries and [`Message::Done`].
    WantStrays {
        /// Number of the request on this link.
        request: u32,
        /// The log.
        log: LogId,
        /// Place and hash of each.
        items: Vec<(u64, EntryHash)>,
    },
    /// Hash of the last frontier heard from the receiver. Before the hello: its next frontier may name only what
    /// changed since. Later: asks for what changed since. From version 2.
    Resume {
        /// As [`crate::Frontier::hash`] makes it; zeros if none was heard.
        heard: [u8; 32],
    },
    /// What seldom changing beacons leave out, of one or several nodes. From version 2.
    Pulses {
        /// At most [`PULSES_MAX`] of different nodes, each of at most [`PULSE_BYTES_MAX`]; a sender keeps a message
        /// below [`FRAME_ENTRIES_BYTES`].
        pulses: Vec<SignedPulse>,
    },
}

/// Strays of a forked log that the sender holds: all of them in answer to a question, else those that are new.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StrayList {
    /// The log.
    pub log: LogId,
    /// The fork place that the sender knows.
    pub place: u64,
    /// Hash of the last entry of the trunk (zero for a trunk of none); `None` while the sender lacks a part of it.
    pub trunk: Option<EntryHash>,
    /// The head of the log in the sender's frontier.
    pub head: EntryHash,
    /// With the messages just before it, this one names all of the sender's strays.
    pub whole: bool,
    /// Place and hash of each stray, in order; at most [`crate::limits::MESSAGE_STRAYS_MAX`].
    pub items: Vec<(u64, EntryHash)>,
}

/// Introduces a node on a link.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// Newest protocol version that the sender speaks.
    pub version: u16,
    /// Oldest that it understands.
    pub version_min: u16,
    /// Its signed certificate.
    pub certificate: Vec<u8>,
    /// The life of its store.
    pub incarnation: Incarnation,
    /// Hash of its charter's first epoch: another one is another federation.
    pub founding: [u8; 32],
    /// Its charter epoch.
    pub charter_epoch: u64,
    /// Hash of that epoch.
    pub charter_hash: [u8; 32],
    /// Hash of its frontier.
    pub frontier_hash: [u8; 32],
    /// Its wall clock, to flag skew.
    pub clock: WallMs,
    /// Software version, for people.
    pub software: String,
}

/// Heights and heads of logs.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FrontierDigest {
    /// All of the sender's logs, or only those that changed since it last told this peer.
    pub complete: bool,
    /// Log, height and hash of the last contiguous entry.
    pub heads: Vec<(LogId, u64, EntryHash)>,
}

/// Asks one peer for a range of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Want {
    /// Number of the request on this link.
    pub request: u32,
    /// The log.
    pub log: LogId,
    /// First entry wanted.
    pub from: u64,
    /// First entry not wanted.
    pub to: u64,
    /// Which of them.
    pub classes: WantClasses,
    /// Uncompressed bytes after which the server stops with `more`.
    pub budget: u32,
}

/// Which entries of a range are wanted. Urgent ones are asked for ahead of the rest, and then the rest without
/// them, so that nothing comes twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum WantClasses {
    /// All.
    All,
    /// Those of class flash and priority.
    Urgent,
    /// The others.
    Rest,
    /// Those of class flash. From version 2.
    Flash,
    /// Those of class priority. From version 2.
    Priority,
}

impl WantClasses {
    /// Whether an entry of this class is wanted.
    #[must_use]
    pub fn include(self, class: Class) -> bool {
        match self {
            WantClasses::All => true,
            WantClasses::Urgent => class.is_urgent(),
            WantClasses::Rest => !class.is_urgent(),
            WantClasses::Flash => class == Class::Flash,
            WantClasses::Priority => class == Class::Priority,
        }
    }

    /// Whether the answer goes ahead of a backlog.
    #[must_use]
    pub fn is_urgent(self) -> bool {
        self.answered_as() != Class::Bulk
    }

    /// The class of entries beside which the answer travels.
    #[must_use]
    pub fn answered_as(self) -> Class {
        match self {
            WantClasses::Flash => Class::Flash,
            WantClasses::Urgent | WantClasses::Priority => Class::Priority,
            WantClasses::All | WantClasses::Rest => Class::Bulk,
        }
    }
}

// A full frame of the largest entry must fit, whatever it compresses to.
const _: () = assert!(FRAME_ENTRIES_BYTES + ENTRY_BYTES_MAX + 64 * 1024 <= FRAME_BYTES_MAX);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec;

    #[test]
    fn all_logs_fit_one_message() {
        // Ids and hashes do not compress: what is counted here is what a frame carries.
        let log = |number: usize| LogId([u8::try_from(number % 251).expect("small"); 16]);
        let heads = (0..crate::limits::LOGS_MAX).map(|n| (log(n), u64::MAX, EntryHash([7; 32]))).collect();
        let frontier = Message::Frontier(FrontierDigest { complete: true, heads });
        let heights: Vec<_> = (0..crate::limits::LOGS_MAX).map(|n| (log(n), u64::MAX)).collect();
        assert!(codec::encode(&frontier).len() < FRAME_BYTES_MAX / 2);
        assert!(codec::encode(&Message::Have { heights }).len() < FRAME_BYTES_MAX / 2);
    }

    #[test]
    fn hostile_lengths_are_refused() {
        // Entries, request none, 2^40 descriptors.
        let hostile = [7, 0, 253, 0, 0, 0, 0, 0, 1, 0, 0];
        assert!(codec::decode::<Message>(&hostile, "a message").is_err());
        let mut trailing = codec::encode(&Message::Have { heights: vec![] });
        trailing.push(0);
        assert!(codec::decode::<Message>(&trailing, "a message").is_err());
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = codec::decode::<Message>(&bytes, "a message");
        }
    }
}
