//! Changes as nodes read them: decoded, and shown if they are creates. In a fast world an entry is read once for
//! all nodes that show it, as all would read the same.

use std::sync::Arc;

use vatra_model::change::record_id;
use vatra_model::view::{Digest, View};
use vatra_model::{Change, ChangeId, CheckedEntry, EntryHash, Hlc, MemberCode, NodeKey, RecordId};
use vatra_record::{AuthoredChange, view_of_create};

use crate::sim::lately::Lately;
use crate::sim::signatures::Fidelity;

/// Entries that are remembered.
const ENTRIES_MAX: usize = 8_192;

/// A change of a record that this version can read.
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

/// Entries that were read lately.
pub(crate) struct Readings {
    is_used: bool,
    lately: Lately<EntryHash, Arc<[Arc<Reading>]>>,
}

impl Readings {
    pub(crate) fn new(fidelity: Fidelity) -> Readings {
        Readings { is_used: fidelity == Fidelity::Fast, lately: Lately::new(ENTRIES_MAX) }
    }

    /// The changes of an entry whose log is this origin's.
    pub(crate) fn of(&mut self, entry: &CheckedEntry, author: MemberCode, origin: NodeKey) -> Arc<[Arc<Reading>]> {
        let is_same = |reading: &Arc<Reading>| (reading.author, reading.origin) == (author, origin);
        if let Some(known) = self.lately.get(&entry.hash()).filter(|known| known.iter().all(is_same)) {
            return known.clone();
        }
        let read: Arc<[Arc<Reading>]> = read(entry, author, origin).into();
        if self.is_used {
            self.lately.insert(entry.hash(), read.clone());
        }
        read
    }
}
