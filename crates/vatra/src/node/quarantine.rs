//! Changes without effect: which, whose and why, durably and for everyone who asks.
//!
//! Most are a matter of their bytes and of what they rest on, and then every node finds the same. The others are faults
//! of this program, which a change brought to light; they are held back and brought again by the next version, so that
//! nodes agree again once no version with the fault is left.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use vatra_model::{LogId, MemberCode, NodeKey, Seq, WallMs, codec};
use vatra_record::{QuarantineReason, RefuseReason};
use vatra_store::{ReadError, Snapshot};

use crate::node::origins::Origins;
use crate::node::pending::Place;

/// Changes of which the place is kept; past it they are only counted.
const ROWS_MAX: usize = 10_000;
/// The newest ones, which are at hand for whoever asks.
const NEWEST_MAX: usize = 256;
/// Entries of one origin that crashed this program, after which its further ones are not tried any more.
const ORIGIN_CRASHES_MAX: u32 = 3;
/// What the keys of the rows begin with.
const PREFIX: &[u8] = b"quarantine/";
/// Stands for all changes of an entry.
pub(crate) const WHOLE_ENTRY: u16 = u16::MAX;
/// This version, by which a later one knows what to try again.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why a change has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Its bytes are no change.
    Malformed,
    /// Its author may not make it.
    Refused(RefuseReason),
    /// The record does not take it.
    Quarantined(QuarantineReason),
    /// It makes this version panic.
    Panicked,
    /// It crashed this version twice.
    Crashed,
    /// Other entries of its origin crashed this version.
    OriginHeld,
}

impl Reason {
    /// All of them.
    pub(crate) const ALL: [Reason; 12] = [
        Reason::Malformed,
        Reason::Panicked,
        Reason::Crashed,
        Reason::OriginHeld,
        Reason::Refused(RefuseReason::NoRecordChange),
        Reason::Refused(RefuseReason::OtherRecord),
        Reason::Refused(RefuseReason::NotWriter),
        Reason::Refused(RefuseReason::NotOwnResponse),
        Reason::Refused(RefuseReason::NoSuchSection),
        Reason::Refused(RefuseReason::TooMany),
        Reason::Quarantined(QuarantineReason::SectionFull),
        Reason::Quarantined(QuarantineReason::Underivable),
    ];

    /// One word for it, of a fixed set.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Reason::Malformed => "malformed",
            Reason::Panicked => "panicked",
            Reason::Crashed => "crashed",
            Reason::OriginHeld => "origin_held",
            Reason::Refused(RefuseReason::NoRecordChange) => "no_record_change",
            Reason::Refused(RefuseReason::OtherRecord) => "other_record",
            Reason::Refused(RefuseReason::NotWriter) => "not_writer",
            Reason::Refused(RefuseReason::NotOwnResponse) => "not_own_response",
            Reason::Refused(RefuseReason::NoSuchSection) => "no_such_section",
            Reason::Refused(RefuseReason::TooMany) => "too_many",
            Reason::Quarantined(QuarantineReason::SectionFull) => "section_full",
            Reason::Quarantined(QuarantineReason::Underivable) => "underivable",
        }
    }

    /// Whether it is a fault of this version, so that another may take the change.
    pub(crate) fn is_fault(self) -> bool {
        matches!(self, Reason::Panicked | Reason::Crashed | Reason::OriginHeld)
    }
}

/// A change without effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QuarantinedChange {
    /// The log of its entry.
    pub(crate) log: LogId,
    /// The entry's place in the log.
    pub(crate) seq: Seq,
    /// The change's place in the entry, or [`WHOLE_ENTRY`].
    pub(crate) index: u16,
    /// Whose node signed it.
    pub(crate) member: MemberCode,
    /// The node that signed it.
    pub(crate) node: NodeKey,
    /// Why.
    pub(crate) reason: Reason,
    /// When this node found out.
    pub(crate) at: WallMs,
}

/// A row as the store keeps it; its key tells the place.
#[derive(bincode::Encode, bincode::Decode)]
struct Row {
    reason: String,
    at: WallMs,
    version: String,
}

/// All that this node knows of changes without effect.
#[derive(Default)]
pub(crate) struct Quarantine(Mutex<Known>);

#[derive(Default)]
struct Known {
    by_member: BTreeMap<MemberCode, u64>,
    newest: VecDeque<QuarantinedChange>,
    rows: usize,
    crashes: BTreeMap<NodeKey, u32>,
    /// What another version held back.
    to_try: Vec<Place>,
}

impl Quarantine {
    /// As the store has it.
    pub(crate) fn load(snapshot: &Snapshot, origins: &Origins) -> Result<Quarantine, ReadError> {
        let mut known = Known::default();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = snapshot.index_with_prefix(PREFIX, after.as_deref(), vatra_store::PAGE_ROWS_MAX)?;
            for (key, value) in &page.rows {
                known.take(key, value, origins);
            }
            match page.last {
                Some(last) if page.is_cut => after = Some(last),
                _ => break,
            }
        }
        known.newest.make_contiguous().sort_by_key(|change| std::cmp::Reverse(change.at));
        known.newest.truncate(NEWEST_MAX);
        Ok(Quarantine(Mutex::new(known)))
    }

    /// The row of a change, unless there are too many already.
    pub(crate) fn row(&self, change: &QuarantinedChange) -> Option<(Vec<u8>, Vec<u8>)> {
        // What is to be tried again must not be forgotten.
        if self.lock().rows >= ROWS_MAX && !change.reason.is_fault() {
            return None;
        }
        let row = Row { reason: change.reason.name().to_owned(), at: change.at, version: VERSION.to_owned() };
        Some((key(change.log, change.seq, change.index), codec::encode(&row)))
    }

    /// These changes have no effect, durably.
    pub(crate) fn add(&self, changes: &[QuarantinedChange]) {
        let mut known = self.lock();
        for change in changes {
            known.note(change.clone());
        }
    }

    /// Whether entries of this node are not tried any more.
    pub(crate) fn is_origin_held(&self, node: &NodeKey) -> bool {
        self.lock().crashes.get(node).is_some_and(|crashes| *crashes >= ORIGIN_CRASHES_MAX)
    }

    /// What another version held back, once.
    pub(crate) fn take_to_try(&self) -> Vec<Place> {
        std::mem::take(&mut self.lock().to_try)
    }

    /// How many changes of each member have no effect; of an entry that is held back as a whole, one is counted.
    pub(crate) fn by_member(&self) -> BTreeMap<MemberCode, u64> {
        self.lock().by_member.clone()
    }

    /// The newest changes without effect, newest first.
    pub(crate) fn newest(&self) -> Vec<QuarantinedChange> {
        self.lock().newest.iter().take(NEWEST_MAX).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn take(&mut self, key: &[u8], value: &[u8], origins: &Origins) {
        let Some((log, seq, index)) = parse(key) else { return };
        let Ok(row) = codec::decode::<Row>(value, "a quarantined change") else { return };
        let known = Reason::ALL.into_iter().find(|reason| reason.name() == row.reason);
        let (Some(reason), Some(origin)) = (known, origins.get(&log)) else { return };
        if reason.is_fault() && row.version != VERSION {
            self.to_try.push(Place { log, seq, index });
            return;
        }
        let (member, node) = (origin.member, origin.node);
        self.note(QuarantinedChange { log, seq, index, member, node, reason, at: row.at });
        // Rows come in the order of their logs; the newest are found when all are there.
        if self.newest.len() >= 2 * NEWEST_MAX {
            self.newest.make_contiguous().sort_by_key(|change| std::cmp::Reverse(change.at));
            self.newest.truncate(NEWEST_MAX);
        }
    }

    fn note(&mut self, change: QuarantinedChange) {
        *self.by_member.entry(change.member).or_default() += 1;
        self.rows += 1;
        if change.reason == Reason::Crashed {
            *self.crashes.entry(change.node).or_default() += 1;
        }
        self.newest.push_front(change);
        self.newest.truncate(2 * NEWEST_MAX);
    }
}

/// The key of the row of a change.
pub(crate) fn key(log: LogId, seq: Seq, index: u16) -> Vec<u8> {
    [PREFIX, &log.0, &seq.0.to_be_bytes(), &index.to_be_bytes()].concat()
}

fn parse(key: &[u8]) -> Option<(LogId, Seq, u16)> {
    let (log, rest) = key.strip_prefix(PREFIX)?.split_first_chunk()?;
    let (seq, rest) = rest.split_first_chunk()?;
    Some((LogId(*log), Seq(u64::from_be_bytes(*seq)), u16::from_be_bytes(rest.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
    }

    #[test]
    fn keys_name_their_places() {
        let key = key(LogId([1; 16]), Seq(300), WHOLE_ENTRY);
        assert_eq!(parse(&key), Some((LogId([1; 16]), Seq(300), WHOLE_ENTRY)));
        assert_eq!(parse(&key[..key.len() - 1]), None);
    }
}
