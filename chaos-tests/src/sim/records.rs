//! Views of a simulated node: real records, fed with whatever became durable there.

use std::collections::{BTreeMap, BTreeSet};

use vatra_model::change::record_id;
use vatra_model::schema::words::AlertStatus;
use vatra_model::view::{Digest, View};
use vatra_model::{Change, ChangeId, CheckedEntry, Edit, LogId, MemberCode, NodeKey, RecordId, SectionId};
use vatra_record::{Applied, AuthoredChange, Record};

use crate::sim::planted::Bug;

/// Everything that a node shows.
#[derive(Default)]
pub struct Views {
    records: BTreeMap<RecordId, Record>,
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

impl Views {
    /// Takes an entry whose log is this origin's.
    pub fn apply(&mut self, entry: &CheckedEntry, member: MemberCode, origin: NodeKey) {
        for (id, _, bytes) in entry.changes() {
            let Some(Ok(mut change)) = bytes.map(Change::decode) else { continue };
            let record = match &change {
                Change::Create(create) => record_id(member, create),
                Change::Edit(edit) => edit.record,
                Change::Open(_) | Change::Unknown { .. } => continue,
            };
            if let Change::Edit(edit) = &mut change {
                self.deps.insert(id, edit.deps.clone());
                self.authors.insert(id, (member, edit.section));
                self.spoil(edit);
            }
            let before = self.records.get(&record).filter(|_| self.planted.is_some() && self.is_rebuilding).cloned();
            let authored = AuthoredChange { id, author: member, origin, hlc: entry.header().hlc, change: &change };
            let verdict = self.records.entry(record).or_insert_with(|| Record::new(record)).apply(authored);
            if !matches!(verdict, Applied::Applied | Applied::Waiting | Applied::Duplicate) {
                self.refused += 1;
            }
            if let Some(before) = before.filter(|_| self.planted == Some(Bug::CancelForgotten))
                && self.records.get(&record).is_some_and(is_cancelled)
            {
                self.records.insert(record, before);
            }
        }
    }

    /// Mistakes of whoever applies edits, planted to be caught.
    fn spoil(&self, edit: &mut Edit) {
        match self.planted {
            Some(Bug::DepsIgnored) => edit.deps.clear(),
            Some(Bug::ArrivalOrderShown) => {
                let known = self.records.get(&edit.record).map(|record| record.deps_for_edit(edit.section));
                edit.deps = known.unwrap_or_default();
            }
            _ => {}
        }
    }

    /// Edits that took effect though their author may not write that section.
    #[must_use]
    pub fn trespasses(&self) -> Vec<(RecordId, MemberCode)> {
        let mut found = Vec::new();
        for (id, record) in self.records.iter().filter(|(_, record)| record.change_count() > 1) {
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
        for view in self.shown() {
            digest.add(&Digest::item(view.id(), &view.canonical_bytes()));
        }
        digest
    }

    /// All views.
    pub fn shown(&self) -> impl Iterator<Item = View> + '_ {
        self.records.values().filter_map(Record::view)
    }

    /// A record, if anything is known of it.
    #[must_use]
    pub fn record(&self, id: &RecordId) -> Option<&Record> {
        self.records.get(id)
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
        for record in self.records.values().filter(|record| record.change_count() > 1) {
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

/// The origin of each log, from its stored row.
#[must_use]
pub fn origin_of(image: &crate::sim::disk::Image, log: &LogId) -> Option<(MemberCode, NodeKey)> {
    let row = image.logs.get(log)?;
    let certificate = vatra_model::certificate::SignedCertificate::decode(&row.descriptor.certificate).ok()?;
    Some((certificate.certificate().member, certificate.certificate().key))
}
