//! Entries on the wire: runs of consecutive places of one log, without what their receiver can work out.

use std::sync::Arc;

use bincode::{Decode, Encode};

use crate::class::Class;
use crate::entry::{CheckedEntry, Entry, EntryDraft, EntryError, EntryHeader, Slot};
use crate::ids::{AudienceId, EntryHash, Incarnation, LogId, Realm, Seq};
use crate::keys::{Public, SignatureBytes};
use crate::time::Hlc;

/// What is needed to check a log's entries: told once per link and lane before the first of them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LogDescriptor {
    /// Signed certificate of the origin.
    pub certificate: Arc<[u8]>,
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
    Present(Arc<[u8]>),
    /// Only its hash is left.
    Erased([u8; 32]),
}

impl Run {
    /// The run of these entries, which must be of one log and follow each other; `None` if there are none.
    #[must_use]
    pub fn of(entries: &[&Entry]) -> Option<Run> {
        let (first, others) = entries.split_first()?;
        let mut run = Run::from_first(first);
        others.iter().for_each(|entry| run.push(entry));
        Some(run)
    }

    /// The run that begins with an entry.
    #[must_use]
    pub fn from_first(entry: &Entry) -> Run {
        let EntryHeader { log, seq, prev, .. } = entry.header;
        Run { log, first: seq.0, prev, entries: vec![RunEntry::of(entry)] }
    }

    /// Adds the entry that follows the last one.
    pub fn push(&mut self, entry: &Entry) {
        self.entries.push(RunEntry::of(entry));
    }

    /// The entries, if they are what they claim and their origin signed them. `known` gives an entry whose signature
    /// was checked before; if it is the very same one, it is not checked again, and its memory is shared.
    ///
    /// # Errors
    /// The place of the first entry that does not hold, and why.
    pub fn check(
        self,
        realm: Realm,
        origin: &Public,
        known: &mut dyn FnMut(&SignatureBytes) -> Option<Arc<CheckedEntry>>,
    ) -> Result<Vec<Arc<CheckedEntry>>, (Seq, EntryError)> {
        let mut place = Place { realm, log: self.log, seq: Seq(self.first), prev: self.prev };
        let mut entries: Vec<Arc<CheckedEntry>> = Vec::with_capacity(self.entries.len());
        for part in self.entries {
            if let Some(last) = entries.last() {
                place = place.after(last.hash()).map_err(|source| (place.seq, source))?;
            }
            let refuse = |source: EntryError| (place.seq, source);
            let entry = match known(&part.signature).filter(|known| part.is_part_of(known.entry(), place)) {
                Some(known) => known,
                None => part.rebuild(place).and_then(|entry| entry.check(origin)).map(Arc::new).map_err(refuse)?,
            };
            entries.push(entry);
        }
        if !entries.is_empty() {
            place.seq.next().ok_or((place.seq, EntryError::Length))?;
        }
        Ok(entries)
    }
}

/// What an entry's run says of it.
#[derive(Clone, Copy, Debug)]
struct Place {
    realm: Realm,
    log: LogId,
    seq: Seq,
    prev: EntryHash,
}

impl Place {
    fn after(self, prev: EntryHash) -> Result<Place, EntryError> {
        Ok(Place { seq: self.seq.next().ok_or(EntryError::Length)?, prev, ..self })
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

    fn rebuild(self, Place { realm, log, seq, prev }: Place) -> Result<Entry, EntryError> {
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

    /// Whether [`RunEntry::rebuild`] would make this very entry.
    fn is_part_of(&self, entry: &Entry, Place { realm, log, seq, prev }: Place) -> bool {
        let header = &entry.header;
        let is_same = |(ours, theirs): (&WireSlot, &Slot)| match (ours, theirs) {
            (WireSlot::Present(ours), Slot::Present(theirs)) => Arc::ptr_eq(ours, theirs) || ours == theirs,
            (WireSlot::Erased(ours), Slot::Erased(theirs)) => ours == theirs,
            _ => false,
        };
        let present = || entry.changes.iter().filter_map(Slot::bytes).map(<[u8]>::len).sum::<usize>();
        (header.realm, header.log, header.seq, header.prev) == (realm, log, seq, prev)
            && (header.hlc.0, header.class as u8, header.expires_hours) == (self.hlc, self.class, self.expires_hours)
            && entry.signature == self.signature
            && self.changes.len() == entry.changes.len()
            && self.changes.iter().zip(&entry.changes).all(is_same)
            && self.changes_len.map_or_else(present, |len| len as usize) == header.changes_len as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec;
    use crate::keys::Secret;
    use crate::wire::Message;

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
        assert_eq!(hex::encode(&bytes), include_str!("../../tests/golden/entries-frame-v1.hex").trim());
        assert_eq!(codec::decode::<Message>(&bytes, "a message"), Ok(message));
    }

    /// A change of what a run says of its second entry.
    fn spoilt(run: &Run, how: usize) -> Run {
        let mut run = run.clone();
        let part = &mut run.entries[1];
        match how {
            0 => part.hlc += 1,
            1 => part.class = Class::Bulk as u8,
            2 => part.expires_hours += 1,
            3 => part.changes[0] = WireSlot::Present(b"other".as_slice().into()),
            4 => drop(part.changes.pop()),
            5 => part.changes_len = Some(7),
            6 => part.changes[0] = WireSlot::Erased([7; 32]),
            7 => run.prev.0[0] ^= 1,
            8 => run.first += 1,
            _ => run.log.0[0] ^= 1,
        }
        run
    }

    #[test]
    fn only_the_very_same_entry_is_not_checked_again() {
        let secret = Secret::from_seed(&[1; 32]);
        let key = Public::new(&secret.node_key().0).expect("a real key");
        let entries = chain(&[vec![b"first".to_vec()], vec![b"second".to_vec(), b"third".to_vec()]]);
        let run = Run::of(&entries.iter().collect::<Vec<_>>()).expect("two entries");
        let checked = run.clone().check(Realm::OPS, &key, &mut |_| None).expect("they are signed");
        let mut asked = 0;
        let mut known = |signature: &SignatureBytes| {
            asked += 1;
            checked.iter().find(|entry| entry.entry().signature == *signature).cloned()
        };
        let again = run.clone().check(Realm::OPS, &key, &mut known).expect("they are known");
        assert!(again.iter().zip(&checked).all(|(again, before)| Arc::ptr_eq(again, before)));
        for how in 0..=9 {
            let refused = spoilt(&run, how).check(Realm::OPS, &key, &mut known);
            assert!(refused.is_err(), "spoilt in way {how}: {refused:?}");
        }
        let other_realm = run.check(Realm([9; 8]), &key, &mut known);
        assert!(other_realm.is_err() && asked > 10, "{other_realm:?}");
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
            let key = Public::new(&Secret::from_seed(&[1; 32]).node_key().0).expect("a real key");
            let rebuilt = run.check(Realm::OPS, &key, &mut |_| None).expect("they are what was signed");
            let rebuilt: Vec<&Entry> = rebuilt.iter().map(|entry| entry.entry()).collect();
            prop_assert_eq!(rebuilt, entries[from..].iter().collect::<Vec<_>>());
        }
    }
}
