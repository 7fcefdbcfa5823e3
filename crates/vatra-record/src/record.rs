//! A record: its identity, its sections, and the verdict on each change that is brought to it.

use std::collections::BTreeMap;

use thiserror::Error;
use vatra_model::change::{Change, Create, Edit};
use vatra_model::schema::Table;
use vatra_model::view::View;
use vatra_model::{ChangeId, Hlc, MemberCode, NodeKey, RecordId, SectionId};

use crate::authority::{self, Identity, RefuseReason};
use crate::graph::Outcome;
use crate::meaning::Moment;
use crate::project;
use crate::section::{Body, Section};

/// A change with what its verified entry says of it.
#[derive(Clone, Copy, Debug)]
pub struct AuthoredChange<'a> {
    /// Its id.
    pub id: ChangeId,
    /// The member whose node signed it.
    pub author: MemberCode,
    /// The node that signed it.
    pub origin: NodeKey,
    /// The stamp of its entry.
    pub hlc: Hlc,
    /// The change.
    pub change: &'a Change,
}

/// What became of a change. Only `Overflow` depends on the order in which changes came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is part of the record, and so may be others that waited for it.
    Applied,
    /// It was there already.
    Duplicate,
    /// It is kept until the record's create and all changes it rests on are there.
    Waiting,
    /// It was not kept: too many changes wait. Bring it again when [`Record::missing`] has changed.
    Overflow,
    /// It has no effect and never will have.
    Refused(RefuseReason),
    /// It stands in the record's graph, so that others may rest on it, but has no effect.
    Quarantined(QuarantineReason),
}

/// What a change waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// The record's create.
    Create,
    /// A change that it rests on.
    Change(ChangeId),
}

/// Why a change that its author may make has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum QuarantineReason {
    /// What it rests on has reached the limits of a section.
    #[error("the section has reached its limit of changes or bytes")]
    SectionFull,
    /// Automerge did not take it.
    #[error("the change could not be derived")]
    Underivable,
}

/// A record as the changes of it that came so far make it.
#[derive(Clone)]
pub struct Record {
    pub(crate) id: RecordId,
    pub(crate) identity: Option<Identity>,
    pub(crate) sections: BTreeMap<SectionId, Section>,
}

impl Record {
    /// A record of which nothing is known yet.
    #[must_use]
    pub fn new(id: RecordId) -> Record {
        Record { id, identity: None, sections: BTreeMap::new() }
    }

    /// The record that these changes make, in whatever order they come.
    #[must_use]
    pub fn from_changes<'a>(id: RecordId, changes: impl IntoIterator<Item = AuthoredChange<'a>>) -> Record {
        let mut record = Record::new(id);
        let mut rest: Vec<AuthoredChange<'a>> = changes.into_iter().collect();
        // Stamps mostly follow causality, so few changes have to wait.
        rest.sort_by_key(|change| (change.hlc, change.id));
        loop {
            let before = rest.len();
            rest.retain(|change| record.apply(*change) == Applied::Overflow);
            if rest.is_empty() || rest.len() == before {
                return record;
            }
        }
    }

    /// The record that those of these changes make that lack nothing, and the others with what each lacks first.
    #[must_use]
    pub fn of_what_is_whole<'a>(
        id: RecordId,
        changes: impl IntoIterator<Item = AuthoredChange<'a>>,
    ) -> (Record, Vec<(AuthoredChange<'a>, Lack)>) {
        let mut record = Record::new(id);
        let mut rest: Vec<AuthoredChange<'a>> = changes.into_iter().collect();
        // Stamps mostly follow causality, so one look is mostly enough.
        rest.sort_by_key(|change| (change.hlc, change.id));
        loop {
            let before = rest.len();
            rest.retain(|change| {
                let lacks = record.lack(*change).is_some();
                if !lacks {
                    record.apply(*change);
                }
                lacks
            });
            if rest.len() == before {
                let lacking = rest.iter().filter_map(|change| Some((*change, record.lack(*change)?))).collect();
                return (record, lacking);
            }
        }
    }

    /// The record's id.
    #[must_use]
    pub fn id(&self) -> RecordId {
        self.id
    }

    /// Brings a change to the record.
    pub fn apply(&mut self, authored: AuthoredChange<'_>) -> Applied {
        let verdict = match authored.change {
            Change::Create(create) => self.apply_create(authored, create),
            Change::Edit(edit) => self.apply_edit(authored, edit),
            Change::Open(_) | Change::Unknown { .. } => Err(RefuseReason::NoRecordChange),
        };
        verdict.unwrap_or_else(Applied::Refused)
    }

    fn apply_create(&mut self, authored: AuthoredChange<'_>, create: &Create) -> Result<Applied, RefuseReason> {
        let identity = Identity::of_create(self.id, authored.author, create)?;
        if self.knows(SectionId::Core, &authored.id) {
            return Ok(Applied::Duplicate);
        }
        let table = Table::of(identity.kind, SectionId::Core);
        let is_first = self.identity.is_none();
        if is_first {
            self.judge_waiting(&identity);
            self.identity = Some(identity);
        }
        let body = body(authored, Vec::new(), create.ops.clone(), Moment::Creation);
        let verdict = self.section(SectionId::Core).take(table, authored.id, body);
        if is_first {
            self.take_waiting();
        }
        Ok(verdict)
    }

    fn apply_edit(&mut self, authored: AuthoredChange<'_>, edit: &Edit) -> Result<Applied, RefuseReason> {
        authority::check_edit(self.id, authored.author, edit)?;
        if let Some(identity) = &self.identity {
            identity.allows(authored.author, edit.section)?;
        }
        if self.knows(edit.section, &authored.id) {
            return Ok(Applied::Duplicate);
        }
        let table = self.identity.as_ref().map(|identity| Table::of(identity.kind, edit.section));
        let body = body(authored, edit.deps.clone(), edit.ops.clone(), Moment::Later);
        let section = self.section(edit.section);
        Ok(match table {
            Some(table) => section.take(table, authored.id, body),
            None => section.wait(authored.id, body),
        })
    }

    fn knows(&self, section: SectionId, id: &ChangeId) -> bool {
        self.sections.get(&section).is_some_and(|section| section.knows(id))
    }

    fn section(&mut self, id: SectionId) -> &mut Section {
        let record = self.id;
        self.sections.entry(id).or_insert_with(|| Section::new(record, id))
    }

    /// The create has come and says who may write: drops what waited for it and has no right to.
    fn judge_waiting(&mut self, identity: &Identity) {
        for (id, section) in &mut self.sections {
            section.waiting.retain(|_, body| identity.allows(body.author, *id).is_ok());
        }
        self.sections.retain(|_, section| !section.waiting.is_empty());
    }

    /// Applies what waited for nothing but the create.
    fn take_waiting(&mut self) {
        let Some(identity) = &self.identity else { return };
        for (id, section) in &mut self.sections {
            section.take_ready(Table::of(identity.kind, *id));
        }
    }

    /// What a change has to wait for, of which there may be more. `None` for one that waits for nothing: it takes
    /// effect, is there already, or is refused.
    #[must_use]
    pub fn lack(&self, authored: AuthoredChange<'_>) -> Option<Lack> {
        let Change::Edit(edit) = authored.change else { return None };
        authority::check_edit(self.id, authored.author, edit).ok()?;
        let Some(identity) = &self.identity else { return Some(Lack::Create) };
        identity.allows(authored.author, edit.section).ok()?;
        if self.contains(edit.section, &authored.id) {
            return None;
        }
        let missing = edit.deps.iter().find(|dep| !self.contains(edit.section, dep));
        missing.map(|dep| Lack::Change(*dep))
    }

    /// Why a change that is part of a section has no effect; `None` if it has, or is no part of it.
    #[must_use]
    pub fn quarantine_of(&self, section: SectionId, change: &ChangeId) -> Option<QuarantineReason> {
        match self.sections.get(&section)?.graph.node(change)?.outcome {
            Outcome::Derived(_) => None,
            Outcome::Quarantined(reason) => Some(reason),
        }
    }

    /// The newest changes of a section, sorted; none when it has no changes.
    #[must_use]
    pub fn heads(&self, section: SectionId) -> Vec<ChangeId> {
        self.sections.get(&section).map(|section| section.graph.heads().iter().copied().collect()).unwrap_or_default()
    }

    /// The deps of an edit made now: the section's heads, at most as many as a change may name.
    #[must_use]
    pub fn deps_for_edit(&self, section: SectionId) -> Vec<ChangeId> {
        self.sections.get(&section).map(Section::deps_for_edit).unwrap_or_default()
    }

    /// Changes that others wait for and that have not come, sorted. Empty while only the create is missing.
    #[must_use]
    pub fn missing(&self) -> Vec<ChangeId> {
        let mut missing: Vec<ChangeId> = self
            .sections
            .values()
            .flat_map(|section| {
                let deps = section.waiting.values().flat_map(|body| &body.deps);
                deps.filter(|dep| !section.knows(dep))
            })
            .copied()
            .collect();
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// The Automerge hash derived from each applied change. Nodes of one version that derive different ones
    /// have diverged, whatever their views show.
    #[must_use]
    pub fn derived_hashes(&self) -> BTreeMap<ChangeId, [u8; 32]> {
        let nodes = self.sections.values().flat_map(|section| section.graph.applied());
        nodes.filter_map(|(id, node)| Some((*id, node.derived()?))).collect()
    }

    /// Whether a change is part of a section: applied, or quarantined in its graph.
    #[must_use]
    pub fn contains(&self, section: SectionId, change: &ChangeId) -> bool {
        self.sections.get(&section).is_some_and(|section| section.graph.contains(change))
    }

    /// Whether a change is part of any section.
    #[must_use]
    pub fn has_change(&self, change: &ChangeId) -> bool {
        self.sections.values().any(|section| section.graph.contains(change))
    }

    /// Whether a change is kept in a section until what it rests on has come.
    #[must_use]
    pub fn awaits(&self, section: SectionId, change: &ChangeId) -> bool {
        self.sections.get(&section).is_some_and(|section| section.waiting.contains_key(change))
    }

    /// How many changes wait for others.
    #[must_use]
    pub fn waiting_count(&self) -> usize {
        self.sections.values().map(|section| section.waiting.len()).sum()
    }

    /// How many changes are part of the record.
    #[must_use]
    pub fn change_count(&self) -> usize {
        self.sections.values().map(|section| section.graph.extent().count).sum()
    }

    /// Bytes of the texts that its changes brought, about: what it takes to keep it.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.sections.values().map(|section| section.graph.extent().weight).sum()
    }

    /// What the record shows; `None` while its create is missing and for kinds that this version cannot show.
    #[must_use]
    pub fn view(&self) -> Option<View> {
        project::view(self.id, self.identity.as_ref()?, &self.sections)
    }
}

fn body(authored: AuthoredChange<'_>, deps: Vec<ChangeId>, ops: Vec<vatra_model::Op>, moment: Moment) -> Body {
    Body { author: authored.author, origin: authored.origin, hlc: authored.hlc, deps, ops, moment }
}
