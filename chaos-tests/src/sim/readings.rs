//! Changes as nodes read them: decoded, and shown if they are creates. In a fast world the very same entry is read
//! once for all nodes that show it, and now and then again, to see that it reads the same.

use std::sync::Arc;

use vatra_model::change::record_id;
use vatra_model::entry::Slot;
use vatra_model::view::{Digest, View};
use vatra_model::{Change, ChangeId, CheckedEntry, EntryHash, Hlc, MemberCode, NodeKey, RecordId};
use vatra_record::{AuthoredChange, view_of_create};

use crate::sim::lately::Lately;
use crate::sim::signatures::Fidelity;

/// Entries that are remembered.
const ENTRIES_MAX: usize = 8_192;
/// One in so many that could be shared is read again.
const AGAIN_ONE_IN: u64 = 64;

/// A change of a record that this version can read.
#[derive(PartialEq)]
pub(crate) struct Reading {
    pub(crate) id: ChangeId,
    pub(crate) record: RecordId,
    pub(crate) author: MemberCode,
    pub(crate) origin: NodeKey,
    pub(crate) hlc: Hlc,
    pub(crate) change: Change,
    /// For a create that can be shown as it is: how it looks, and what that adds to the digest.
    pub(crate) unedited: Option<(View, [u8; 32])>,
}

impl Reading {
    pub(crate) fn authored<'c>(&self, change: &'c Change) -> AuthoredChange<'c> {
        let Reading { id, author, origin, hlc, .. } = *self;
        AuthoredChange { id, author, origin, hlc, change }
    }
}

/// The changes of an entry whose log is this origin's, as far as they can be read.
fn read(entry: &CheckedEntry, author: MemberCode, origin: NodeKey) -> Vec<Arc<Reading>> {
    let hlc = entry.header().hlc;
    let read = |(id, _, bytes): (ChangeId, u16, Option<&[u8]>)| {
        let change = Change::decode(bytes?).ok()?;
        let (record, view) = match &change {
            Change::Create(create) => {
                let record = record_id(author, create);
                (record, view_of_create(record, id, author, hlc, create))
            }
            Change::Edit(edit) => (edit.record, None),
            Change::Open(_) | Change::Unknown { .. } => return None,
        };
        let unedited = view.map(|view| {
            let item = Digest::item(view.id(), &view.canonical_bytes());
            (view, item)
        });
        Some(Arc::new(Reading { id, record, author, origin, hlc, change, unedited }))
    };
    entry.changes().filter_map(read).collect()
}

/// The changes of one entry.
type Read = Arc<[Arc<Reading>]>;

/// Entries that were read lately, with their changes as they came: a header's hash alone does not tell whether an entry
/// is whole.
pub(crate) struct Readings {
    is_used: bool,
    lately: Lately<EntryHash, (Vec<Slot>, Read)>,
    shared: u64,
}

impl Readings {
    pub(crate) fn new(fidelity: Fidelity) -> Readings {
        Readings { is_used: fidelity == Fidelity::Fast, lately: Lately::new(ENTRIES_MAX), shared: 0 }
    }

    /// The changes of an entry whose log is this origin's.
    ///
    /// # Panics
    /// If the very same entry reads otherwise than before.
    pub(crate) fn of(&mut self, entry: &CheckedEntry, author: MemberCode, origin: NodeKey) -> Read {
        let is_same = |reading: &Arc<Reading>| (reading.author, reading.origin) == (author, origin);
        let known = self.lately.get(&entry.hash()).filter(|(slots, _)| *slots == entry.entry().changes);
        if let Some(known) = known.map(|(_, known)| known).filter(|known| known.iter().all(is_same)) {
            self.shared += 1;
            if self.shared.is_multiple_of(AGAIN_ONE_IN) {
                let again = read(entry, author, origin);
                assert!(again[..] == known[..], "entry {:?} reads otherwise than before (S2)", entry.header());
            }
            return known.clone();
        }
        let read: Read = read(entry, author, origin).into();
        if self.is_used {
            self.lately.insert(entry.hash(), (entry.entry().changes.clone(), read.clone()));
        }
        read
    }
}
