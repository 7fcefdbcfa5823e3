//! Views of a simulated node: real records, fed with whatever became durable there.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vatra_model::schema::words::AlertStatus;
use vatra_model::view::{Digest, View};
use vatra_model::{Change, ChangeId, Edit, MemberCode, RecordId, SectionId};
use vatra_record::{Applied, Record};

use crate::sim::planted::Bug;
use crate::sim::readings::Reading;

/// Everything that a node shows.
#[derive(Default)]
pub struct Views {
    records: BTreeMap<RecordId, Kept>,
    /// What each edit rests on, to check that nothing is shown before that.
    deps: BTreeMap<ChangeId, Vec<ChangeId>>,
    /// Who made each edit, and of which section.
    authors: BTreeMap<ChangeId, (MemberCode, SectionId)>,
    /// A mistake in here.
    pub(crate) planted: Option<Bug>,
    /// The views are being made anew from the disk.
    pub(crate) is_rebuilding: bool,
    /// Changes that were neither applied nor kept waiting.
    pub refused: u64,
}

/// A record as a node keeps it: most have a create and no edit, and need no document.
enum Kept {
    Unedited(Arc<Reading>),
    Edited(Box<Record>),
}

/// The record that a create makes.
fn made(create: &Reading) -> Record {
    let mut made = Record::new(create.record);
    made.apply(create.authored(&create.change));
    made
}

impl Kept {
    fn view(&self) -> Option<Cow<'_, View>> {
        match self {
            Kept::Unedited(create) => create.unedited.as_ref().map(|(view, _)| Cow::Borrowed(view)),
            Kept::Edited(edited) => edited.view().map(Cow::Owned),
        }
    }

    /// What it adds to the digest.
    fn item(&self) -> Option<[u8; 32]> {
        match self {
            Kept::Unedited(create) => create.unedited.as_ref().map(|(_, item)| *item),
            Kept::Edited(edited) => edited.view().map(|view| Digest::item(view.id(), &view.canonical_bytes())),
        }
    }

    fn record(&self) -> Cow<'_, Record> {
        match self {
            Kept::Unedited(create) => Cow::Owned(made(create)),
            Kept::Edited(edited) => Cow::Borrowed(edited),
        }
    }

    /// With a document, whatever it had.
    fn edited(&mut self) -> &mut Record {
        if let Kept::Unedited(create) = self {
            *self = Kept::Edited(Box::new(made(create)));
        }
        match self {
            Kept::Edited(edited) => edited,
            Kept::Unedited(_) => unreachable!("replaced above"),
        }
    }
}

impl Views {
    /// Takes a change of an entry that is shown.
    pub(crate) fn apply(&mut self, reading: &Arc<Reading>) {
        let Reading { id, record, author, .. } = **reading;
        if reading.unedited.is_some() && !self.records.contains_key(&record) {
            self.records.insert(record, Kept::Unedited(reading.clone()));
            return;
        }
        let mut change = Cow::Borrowed(&reading.change);
        if let Change::Edit(edit) = &reading.change {
            self.deps.insert(id, edit.deps.clone());
            self.authors.insert(id, (author, edit.section));
            if self.planted.is_some() {
                let mut edit = edit.clone();
                self.spoil(&mut edit);
                change = Cow::Owned(Change::Edit(edit));
            }
        }
        let kept = self.records.entry(record).or_insert_with(|| Kept::Edited(Box::new(Record::new(record))));
        let known = kept.edited();
        let before = (self.planted == Some(Bug::CancelForgotten) && self.is_rebuilding).then(|| known.clone());
        let verdict = known.apply(reading.authored(&change));
        if !matches!(verdict, Applied::Applied | Applied::Waiting | Applied::Duplicate) {
            self.refused += 1;
        }
        if let Some(before) = before.filter(|_| is_cancelled(known)) {
            *known = before;
        }
    }

    /// Mistakes of whoever applies edits, planted to be caught.
    fn spoil(&self, edit: &mut Edit) {
        match self.planted {
            Some(Bug::DepsIgnored) => edit.deps.clear(),
            Some(Bug::ArrivalOrderShown) => {
                let known = self.record(&edit.record).map(|record| record.deps_for_edit(edit.section));
                edit.deps = known.unwrap_or_default();
            }
            _ => {}
        }
    }

    /// Whether an edit came, of whatever record.
    #[must_use]
    pub fn has_edits(&self) -> bool {
        !self.deps.is_empty()
    }

    /// Edits that took effect though their author may not write that section.
    #[must_use]
    pub fn trespasses(&self) -> Vec<(RecordId, MemberCode)> {
        let mut found = Vec::new();
        for (id, record) in self.edited() {
            let Some(View::Alert(alert)) = record.view() else { continue };
            for change in record.derived_hashes().keys() {
                let Some((author, section)) = self.authors.get(change) else { continue };
                let may = match section {
                    SectionId::Core => alert.writers.contains(author),
                    SectionId::Response(member) => member == author,
                };
                if !may {
                    found.push((*id, *author));
                }
            }
        }
        found
    }

    /// The sum over all views.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut digest = Digest::ZERO;
        for item in self.records.values().filter_map(Kept::item) {
            digest.add(&item);
        }
        digest
    }

    /// All views.
    pub fn shown(&self) -> impl Iterator<Item = Cow<'_, View>> {
        self.records.values().filter_map(Kept::view)
    }

    /// The view of a record, if it is shown.
    #[must_use]
    pub fn view(&self, id: &RecordId) -> Option<Cow<'_, View>> {
        self.records.get(id)?.view()
    }

    /// Changes that are part of a record or wait to be.
    #[must_use]
    pub fn change_count(&self, id: &RecordId) -> usize {
        match self.records.get(id) {
            None => 0,
            Some(Kept::Unedited(_)) => 1,
            Some(Kept::Edited(edited)) => edited.change_count(),
        }
    }

    /// Whether a change is part of a record, as its create or in one of its sections.
    #[must_use]
    pub fn applies(&self, record: &RecordId, change: &ChangeId) -> bool {
        match self.records.get(record) {
            None => false,
            Some(Kept::Unedited(create)) => create.id == *change,
            Some(Kept::Edited(edited)) => edited.derived_hashes().contains_key(change),
        }
    }

    fn edited(&self) -> impl Iterator<Item = (&RecordId, &Record)> {
        let edited = self.records.iter().filter_map(|(id, kept)| match kept {
            Kept::Unedited(_) => None,
            Kept::Edited(edited) => Some((id, &**edited)),
        });
        edited.filter(|(_, record)| record.change_count() > 1)
    }

    /// A record, if anything is known of it.
    #[must_use]
    pub fn record(&self, id: &RecordId) -> Option<Cow<'_, Record>> {
        Some(self.records.get(id)?.record())
    }

    /// Ids of records, shown or not.
    #[must_use]
    pub fn ids(&self) -> Vec<RecordId> {
        self.records.keys().copied().collect()
    }

    /// Edits that take effect though something that they rest on does not.
    #[must_use]
    pub fn premature(&self) -> Vec<ChangeId> {
        let effective = |record: &Record| -> BTreeSet<ChangeId> { record.derived_hashes().into_keys().collect() };
        let mut premature = Vec::new();
        for (_, record) in self.edited() {
            let effective = effective(record);
            let early =
                |id: &&ChangeId| self.deps.get(*id).is_some_and(|deps| !deps.iter().all(|d| effective.contains(d)));
            premature.extend(effective.iter().filter(early).copied());
        }
        premature
    }
}

fn is_cancelled(record: &Record) -> bool {
    matches!(record.view(), Some(View::Alert(alert)) if alert.status == AlertStatus::Cancelled)
}
