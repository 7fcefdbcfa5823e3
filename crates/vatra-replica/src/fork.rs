//! What a log is after a fork: a trunk that ends at the fork place, and strays, a bounded set compared by hash.

use std::collections::BTreeMap;
use std::sync::Arc;

use vatra_model::charter::LogEnd;
use vatra_model::fork::fork_head;
use vatra_model::limits::STRAYS_MAX;
use vatra_model::{CheckedEntry, EntryHash, ForkProof, LogId, Seq};

use crate::input::Reject;
use crate::logs::{Accepted, AheadRow};

/// Entries kept until it is known what the store holds of a log that has just forked.
const WAITING_MAX: usize = 64;

/// A fork whose proof was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedFork {
    /// The log.
    pub log: LogId,
    /// Where it ends.
    pub place: u64,
    /// What anybody can check.
    pub proof: ForkProof,
}

#[derive(Clone, Copy, Debug)]
struct Stray {
    prev: EntryHash,
    is_durable: bool,
}

/// The fork of one log.
#[derive(Clone, Debug)]
pub(crate) struct Fork {
    /// First place that is no longer of the trunk.
    pub(crate) place: u64,
    pub(crate) proof: ForkProof,
    /// Entries at and past it, by place and hash.
    strays: BTreeMap<(u64, EntryHash), Stray>,
    /// The proof is on disk.
    pub(crate) is_saved: bool,
    /// It is known which entries past the place the store had before it knew of the fork.
    pub(crate) is_settled: bool,
    /// From here on it is: a lower place need only be looked for up to there.
    looked_from: u64,
    /// Came before that was known.
    waiting: Vec<Arc<CheckedEntry>>,
    /// The head in frontiers, and the hash of the strays alone, made anew when trunk or durable strays change.
    head: Option<EntryHash>,
    set: Option<EntryHash>,
}

impl Fork {
    /// A fork that has just been proved. `before` is the one known so far, at a higher place.
    pub(crate) fn proved(place: u64, proof: ForkProof, before: Option<Fork>) -> Fork {
        let looked_from = before.as_ref().map_or(u64::MAX, |before| before.looked_from);
        let (strays, waiting) = before.map(|before| (before.strays, before.waiting)).unwrap_or_default();
        Fork { place, proof, strays, is_saved: false, is_settled: false, looked_from, waiting, head: None, set: None }
    }

    /// A fork as found on disk.
    pub(crate) fn restored(place: u64, proof: ForkProof, strays: &[AheadRow]) -> Fork {
        let strays = strays.iter().take(STRAYS_MAX).map(durable).collect();
        let (waiting, head, set) = (Vec::new(), None, None);
        Fork { place, proof, strays, is_saved: true, is_settled: true, looked_from: place, waiting, head, set }
    }

    /// Takes an entry at or past the place.
    pub(crate) fn offer(&mut self, entry: &CheckedEntry) -> Result<Accepted, Reject> {
        let stray = (entry.header().seq.0, entry.hash());
        if !self.is_settled {
            if self.waiting.len() < WAITING_MAX && self.waiting.iter().all(|known| known.hash() != stray.1) {
                self.waiting.push(Arc::new(entry.clone()));
            }
            return Ok(Accepted::Later);
        }
        if self.strays.contains_key(&stray) {
            return Ok(Accepted::Duplicate);
        }
        // An origin that writes more than this past its fork has what came first kept: disks are bounded, whatever it
        // signs, and its log is no longer compared.
        if self.is_full() {
            return Err(Reject::Full { what: "strays of a log", limit: STRAYS_MAX });
        }
        self.strays.insert(stray, Stray { prev: entry.header().prev, is_durable: false });
        Ok(Accepted::Stray)
    }

    /// How many headers are to be looked for in the store: the last of the trunk, and all from the place on that were not
    /// looked for before. More than a pair, which other questions ask for.
    pub(crate) fn unknown_count(&self) -> usize {
        let unknown = self.looked_from.saturating_sub(self.place).saturating_add(1);
        usize::try_from(unknown).unwrap_or(usize::MAX).clamp(3, STRAYS_MAX + 1)
    }

    /// The store holds these entries at and past the place. Gives what waited for that.
    pub(crate) fn settle(&mut self, held: &[AheadRow]) -> Vec<Arc<CheckedEntry>> {
        let room = STRAYS_MAX.saturating_sub(self.strays.len());
        self.strays.extend(held.iter().filter(|row| row.seq >= self.place).take(room).map(durable));
        self.is_settled = true;
        self.looked_from = self.place;
        self.forget_set();
        std::mem::take(&mut self.waiting)
    }

    /// A revocation ends the log: strays past that are no longer of it.
    pub(crate) fn end_at(&mut self, end: &LogEnd) {
        self.strays.retain(|(seq, hash), _| end.covers(Seq(*seq), *hash));
        self.waiting.retain(|entry| end.covers(entry.header().seq, entry.hash()));
        self.forget_set();
    }

    /// A stray is on disk; `true` if it was not before.
    pub(crate) fn saved(&mut self, stray: (u64, EntryHash)) -> bool {
        match self.strays.get_mut(&stray) {
            Some(stray) if !stray.is_durable => {
                stray.is_durable = true;
                self.forget_set();
                true
            }
            _ => false,
        }
    }

    /// Forgets strays that are not on disk.
    pub(crate) fn forget_unsaved(&mut self) {
        self.strays.retain(|_, stray| stray.is_durable);
        self.waiting.clear();
        self.forget_head();
    }

    pub(crate) fn holds(&self, stray: &(u64, EntryHash)) -> bool {
        self.strays.contains_key(stray)
    }

    /// Strays on disk, in order.
    pub(crate) fn durable_strays(&self) -> impl Iterator<Item = &(u64, EntryHash)> {
        self.strays.iter().filter(|(_, stray)| stray.is_durable).map(|(place, _)| place)
    }

    /// A stray at the fork place that does not follow the last entry of the trunk: the log parts before the place.
    pub(crate) fn stranger(&self, trunk: EntryHash) -> Option<EntryHash> {
        let first = (self.place, EntryHash::ZERO)..(self.place.saturating_add(1), EntryHash::ZERO);
        let strange = self.strays.range(first).find(|(_, stray)| stray.is_durable && stray.prev != trunk);
        strange.map(|((_, hash), _)| *hash)
    }

    /// Whether no more strays are taken.
    pub(crate) fn is_full(&self) -> bool {
        self.strays.len() >= STRAYS_MAX
    }

    /// Whether a stray is on disk.
    pub(crate) fn holds_durably(&self, stray: &(u64, EntryHash)) -> bool {
        self.strays.get(stray).is_some_and(|stray| stray.is_durable)
    }

    /// Entries that came before it was known what the store holds.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Arc<CheckedEntry>> {
        self.waiting.iter()
    }

    pub(crate) fn stray_count(&self) -> usize {
        self.strays.len()
    }

    /// Makes the head known for what there is of the trunk.
    pub(crate) fn renew_head(&mut self, log: LogId, trunk: EntryHash) {
        if self.head.is_none() {
            self.head = Some(fork_head(log, self.place, trunk, self.durable_strays()));
        }
        if self.set.is_none() {
            self.set = Some(fork_head(log, self.place, EntryHash::ZERO, self.durable_strays()));
        }
    }

    /// The trunk has grown.
    pub(crate) fn forget_head(&mut self) {
        self.head = None;
    }

    fn forget_set(&mut self) {
        (self.head, self.set) = (None, None);
    }

    /// The head in frontiers, unless something of it is not known yet.
    pub(crate) fn head(&self) -> Option<EntryHash> {
        self.head.filter(|_| self.is_saved && self.is_settled)
    }

    /// The hash of the strays alone: what peers compare, however much of the trunk they have.
    pub(crate) fn set(&self) -> Option<EntryHash> {
        self.set.filter(|_| self.is_saved && self.is_settled)
    }
}

fn durable(row: &AheadRow) -> ((u64, EntryHash), Stray) {
    ((row.seq, row.hash), Stray { prev: row.prev, is_durable: true })
}

#[cfg(test)]
mod tests {
    use vatra_model::wire::LogDescriptor;
    use vatra_model::{AudienceId, Class, Entry, EntryDraft, Hlc, Incarnation, Realm, Secret, SignedHeader};

    use super::*;

    fn entry(seq: u64) -> CheckedEntry {
        let draft = EntryDraft {
            realm: Realm::OPS,
            log: LogId([7; 16]),
            seq: Seq(seq),
            prev: EntryHash([1; 32]),
            hlc: Hlc(1),
            class: Class::Routine,
            expires_hours: 0,
        };
        Entry::sign(&draft, vec![b"a stray".to_vec()], &Secret::from_seed(&[5; 32])).expect("small")
    }

    #[test]
    fn no_more_than_the_bound_is_kept_past_a_fork_whatever_its_place() {
        let signed = SignedHeader::of(entry(5).entry());
        let (incarnation, audience, realm) = (Incarnation(1), AudienceId::FEDERATION, Realm::OPS);
        let log = LogDescriptor { certificate: [].into(), incarnation, audience, realm };
        let held = |number: usize| {
            let mut hash = EntryHash([9; 32]);
            hash.0[..8].copy_from_slice(&(number as u64).to_be_bytes());
            AheadRow { seq: 100, hash, prev: EntryHash([1; 32]) }
        };
        let mut rows: Vec<AheadRow> = (1..STRAYS_MAX).map(held).collect();
        let proof = ForkProof::new(log, signed, signed);
        let mut fork = Fork::restored(5, proof, &rows);
        assert_eq!(fork.offer(&entry(6)), Ok(Accepted::Stray));
        assert_eq!(fork.offer(&entry(6)), Ok(Accepted::Duplicate));
        for lower_or_higher in [5, 200] {
            assert!(matches!(fork.offer(&entry(lower_or_higher)), Err(Reject::Full { .. })));
        }
        rows.truncate(3);
        let fork = Fork::restored(5, fork.proof, &rows);
        assert_eq!(fork.stranger(EntryHash([1; 32])), None, "only those at the place tell of the trunk");
    }

    /// Who forks its log at ever lower places makes nobody look at all that lies past them each time.
    #[test]
    fn of_a_lower_place_only_what_is_new_is_looked_for() {
        let signed = SignedHeader::of(entry(5).entry());
        let (incarnation, audience, realm) = (Incarnation(1), AudienceId::FEDERATION, Realm::OPS);
        let log = LogDescriptor { certificate: [].into(), incarnation, audience, realm };
        let proof = ForkProof::new(log, signed, signed);
        let mut fork = Fork::proved(15, proof.clone(), None);
        assert_eq!(fork.unknown_count(), STRAYS_MAX + 1);
        let row = |seq: u64| AheadRow { seq, hash: EntryHash([seq as u8; 32]), prev: EntryHash([9; 32]) };
        fork.settle(&[14, 15, 16].map(row));
        let lower = Fork::proved(12, proof.clone(), Some(fork.clone()));
        assert_eq!(lower.unknown_count(), 4, "places 11 to 14");
        let lowest = Fork::proved(5, proof.clone(), Some(lower.clone()));
        assert_eq!(lowest.unknown_count(), 11, "the one between was not looked for yet");
        let mut settled = lower;
        settled.settle(&[11, 12, 13, 14].map(row));
        assert_eq!(settled.durable_strays().map(|(seq, _)| *seq).collect::<Vec<_>>(), [12, 13, 14, 15, 16]);
        assert_eq!(Fork::proved(11, proof.clone(), Some(settled)).unknown_count(), 3, "a pair is another question");
        assert_eq!(Fork::restored(7, proof.clone(), &[]).unknown_count(), 3);
    }
}
