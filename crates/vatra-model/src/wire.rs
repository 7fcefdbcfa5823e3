//! What nodes say to each other over a link: one [`Message`] per frame.
//!
//! A frame is the packed ([`crate::pack`]) bincode of one message. Entries travel in runs: what the receiver
//! can work out for itself (log, seq, `prev` within a run, sizes, `changes_root`) is left out, so that a
//! single small alert costs little more than its text and one signature.

mod bounds;
mod pulse;

use bincode::{Decode, Encode};

use crate::class::Class;
use crate::codec::{self, DecodeError};
use crate::entry::{Entry, EntryDraft, EntryError, EntryHeader, Slot};
use crate::fork::{ForkProof, SignedHeader};
use crate::ids::{AudienceId, EntryHash, Incarnation, LogId, NodeKey, Realm, Seq};
use crate::keys::{LABEL_BEACON, Public, Secret, SignatureBytes, VerifyError};
use crate::limits::{ENTRY_BYTES_MAX, FRAME_BYTES_MAX};
use crate::time::{Hlc, WallMs};

pub use bounds::MessageTooLarge;
pub use pulse::{Pulse, SignedPulse};

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

/// What is needed to check a log's entries: told once per link and lane before the first of them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LogDescriptor {
    /// Signed certificate of the origin.
    pub certificate: Vec<u8>,
    /// The life of the origin's store.
    pub incarnation: Incarnation,
    /// Who may read the log.
    pub audience: AudienceId,
    /// The realm of its entries.
    pub realm: Realm,
}

/// Entries in runs of consecutive places.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct EntriesFrame {
    /// The request that this answers; `None` when pushed.
    pub request: Option<u32>,
    /// Logs that the receiver of this lane has not been told of yet.
    pub logs: Vec<LogDescriptor>,
    /// The entries.
    pub runs: Vec<Run>,
}

/// Consecutive entries of one log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Run {
    /// The log.
    pub log: LogId,
    /// Place of the first entry.
    pub first: u64,
    /// `prev` of the first entry; later ones follow.
    pub prev: EntryHash,
    /// The entries' own parts.
    pub entries: Vec<RunEntry>,
}

/// What of an entry the receiver cannot work out.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RunEntry {
    /// Stamp.
    pub hlc: u64,
    /// Urgency lane.
    pub class: u8,
    /// Hours after which it may be pruned; 0 = never.
    pub expires_hours: u32,
    /// The origin's signature.
    pub signature: SignatureBytes,
    /// The changes.
    pub changes: Vec<WireSlot>,
    /// `changes_len` of the header, which erased changes hide; `None` when nothing was erased.
    pub changes_len: Option<u32>,
}

/// A change in a frame.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum WireSlot {
    /// Its bytes.
    Present(Vec<u8>),
    /// Only its hash is left.
    Erased([u8; 32]),
}

impl Run {
    /// The run of these entries, which must be of one log and follow each other; `None` if there are none.
    #[must_use]
    pub fn of(entries: &[&Entry]) -> Option<Run> {
        let first = entries.first()?;
        Some(Run {
            log: first.header.log,
            first: first.header.seq.0,
            prev: first.header.prev,
            entries: entries.iter().map(|entry| RunEntry::of(entry)).collect(),
        })
    }

    /// The entries as their origin signed them, if they are what they claim; nothing is checked yet.
    ///
    /// # Errors
    /// [`EntryError`] if a class is unknown or a place exceeds the number range.
    pub fn entries(self, realm: Realm) -> Result<Vec<Entry>, EntryError> {
        let mut prev = self.prev;
        let mut seq = Seq(self.first);
        let mut entries = Vec::with_capacity(self.entries.len());
        for part in self.entries {
            let entry = part.rebuild(realm, self.log, seq, prev)?;
            prev = entry.header.hash();
            seq = seq.next().ok_or(EntryError::Length)?;
            entries.push(entry);
        }
        Ok(entries)
    }
}

impl RunEntry {
    fn of(entry: &Entry) -> RunEntry {
        let erased = entry.changes.iter().any(|slot| slot.bytes().is_none());
        let wire = |slot: &Slot| match slot {
            Slot::Present(bytes) => WireSlot::Present(bytes.clone()),
            Slot::Erased(hash) => WireSlot::Erased(*hash),
        };
        RunEntry {
            hlc: entry.header.hlc.0,
            class: entry.header.class as u8,
            expires_hours: entry.header.expires_hours,
            signature: entry.signature,
            changes: entry.changes.iter().map(wire).collect(),
            changes_len: erased.then_some(entry.header.changes_len),
        }
    }

    fn rebuild(self, realm: Realm, log: LogId, seq: Seq, prev: EntryHash) -> Result<Entry, EntryError> {
        let class = Class::from_u8(self.class).ok_or(EntryError::Class(self.class))?;
        let slot = |slot| match slot {
            WireSlot::Present(bytes) => Slot::Present(bytes),
            WireSlot::Erased(hash) => Slot::Erased(hash),
        };
        let changes: Vec<Slot> = self.changes.into_iter().map(slot).collect();
        let draft = EntryDraft { realm, log, seq, prev, hlc: Hlc(self.hlc), class, expires_hours: self.expires_hours };
        let header = draft.header_for(&changes);
        let header = EntryHeader { changes_len: self.changes_len.unwrap_or(header.changes_len), ..header };
        Ok(Entry { header, signature: self.signature, changes })
    }
}

/// A node's small announcement: who it hears, what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Beacon {
    /// The node.
    pub node: NodeKey,
    /// Life of its store.
    pub incarnation: Incarnation,
    /// When that life began: orders lives.
    pub opened: WallMs,
    /// Starts of the node within this life: orders beacons together with `counter`.
    pub boot: u64,
    /// Beacons since the start.
    pub counter: u64,
    /// Its wall clock.
    pub clock: WallMs,
    /// Its charter epoch.
    pub charter_epoch: u64,
    /// Its live links.
    pub neighbours: Vec<Neighbour>,
    /// Its store takes writes.
    pub writable: bool,
    /// Hash of its whole frontier.
    pub frontier_hash: [u8; 32],
    /// Heights: of all its logs if `complete`, else of those that changed lately.
    pub heights: Vec<(LogId, u64)>,
    /// `heights` names all of its logs.
    pub complete: bool,
    /// Its signed certificate, in complete beacons.
    pub certificate: Option<Vec<u8>>,
}

/// One live link as its node measures it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Neighbour {
    /// The node at the other end.
    pub node: NodeKey,
    /// Round trip in milliseconds.
    pub rtt_ms: u32,
    /// Cost class: 0 lan, 1 wan, 2 metered.
    pub cost: u8,
}

/// A beacon with the bytes that were signed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SignedBeacon {
    /// Encoded [`Beacon`].
    pub body: Vec<u8>,
    /// The node's signature over [`LABEL_BEACON`] and the body.
    pub signature: SignatureBytes,
}

impl SignedBeacon {
    /// Signs a beacon.
    #[must_use]
    pub fn sign(beacon: &Beacon, secret: &Secret) -> SignedBeacon {
        let body = codec::encode(beacon);
        let signature = secret.sign(LABEL_BEACON, &body);
        SignedBeacon { body, signature }
    }

    /// What it says; believed only after [`SignedBeacon::verify`].
    ///
    /// # Errors
    /// [`DecodeError`] if it is malformed.
    pub fn beacon(&self) -> Result<Beacon, DecodeError> {
        codec::decode(&self.body, "a beacon")
    }

    /// Checks the node's signature.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn verify(&self, key: &Public) -> Result<(), VerifyError> {
        key.verify(LABEL_BEACON, &self.body, &self.signature)
    }
}

// A full frame of the largest entry must fit, whatever it compresses to.
const _: () = assert!(FRAME_ENTRIES_BYTES + ENTRY_BYTES_MAX + 64 * 1024 <= FRAME_BYTES_MAX);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chain(texts: &[Vec<Vec<u8>>]) -> Vec<Entry> {
        let secret = Secret::from_seed(&[1; 32]);
        let mut prev = EntryHash::ZERO;
        let mut entries = Vec::new();
        for (seq, changes) in (0..).zip(texts) {
            let draft = EntryDraft {
                realm: Realm::OPS,
                log: LogId([3; 16]),
                seq: Seq(seq),
                prev,
                hlc: Hlc(1000 + seq),
                class: Class::Routine,
                expires_hours: 0,
            };
            let entry = Entry::sign(&draft, changes.clone(), &secret).expect("small");
            prev = entry.hash();
            entries.push(entry.into_entry());
        }
        entries
    }

    #[test]
    fn a_frame_is_golden() {
        let entries = chain(&[vec![b"first".to_vec()], vec![b"second".to_vec(), b"third".to_vec()]]);
        let run = Run::of(&entries.iter().collect::<Vec<_>>()).expect("two entries");
        let message = Message::Entries(EntriesFrame { request: Some(7), logs: vec![], runs: vec![run] });
        let bytes = codec::encode(&message);
        assert_eq!(hex::encode(&bytes), include_str!("../tests/golden/entries-frame-v1.hex").trim());
        assert_eq!(codec::decode::<Message>(&bytes, "a message"), Ok(message));
    }

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
        fn runs_rebuild_what_was_signed(texts in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..4), 1..5), from in 0..4_usize) {
            let entries = chain(&texts);
            let from = from.min(entries.len() - 1);
            let run = Run::of(&entries[from..].iter().collect::<Vec<_>>()).expect("at least one");
            let bytes = codec::encode(&run);
            let run: Run = codec::decode(&bytes, "a run").expect("what was encoded");
            let rebuilt = run.entries(Realm::OPS).expect("known classes");
            prop_assert_eq!(&rebuilt, &entries[from..]);
            let key = Public::new(&Secret::from_seed(&[1; 32]).node_key().0).expect("a real key");
            for entry in rebuilt {
                prop_assert!(entry.check(&key).is_ok());
            }
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = codec::decode::<Message>(&bytes, "a message");
        }
    }
}
