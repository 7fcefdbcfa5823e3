//! From sections to views: cells are grouped by place, concurrent values joined by the rules of the schema.
//!
//! The same code serves documents and unedited creates, so that both show the same.

mod alert;
mod contact;
mod reader;
mod response;

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use vatra_model::change::{Naming, RecordKind, Value};
use vatra_model::schema::words::AlertStatus;
use vatra_model::time::WallMs;
use vatra_model::view::{View, WallUs};
use vatra_model::{ChangeId, Hlc, MemberCode, RecordId, SectionId};

use crate::authority::Identity;
use crate::graph::Standing;
use crate::meaning::Place;
use crate::section::Section;

/// A value that stands at a place, with the change that wrote it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell<'a> {
    pub(crate) place: Place<'a>,
    pub(crate) value: &'a Value,
    pub(crate) hlc: Hlc,
    pub(crate) writer: ChangeId,
}

/// Cells in the order in which they are joined: by place, newest first.
pub(crate) fn sort_cells(cells: &mut [Cell<'_>]) {
    cells.sort_unstable_by(|a, b| (a.place, b.hlc, b.writer).cmp(&(b.place, a.hlc, a.writer)));
}

/// What is known of a section beside its cells.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) heads: Vec<ChangeId>,
    pub(crate) newest: Hlc,
    pub(crate) is_newer: bool,
}

/// What is known of a core beside its cells.
#[derive(Clone, Debug)]
pub(crate) struct CoreFacts {
    pub(crate) facts: Facts,
    pub(crate) standing: Standing,
    /// Stamp of the first create.
    pub(crate) created: Hlc,
}

/// The view of a record with these sections.
pub(crate) fn view(id: RecordId, identity: &Identity, sections: &BTreeMap<SectionId, Section>) -> Option<View> {
    let core = sections.get(&SectionId::Core)?;
    let created = core.graph.applied().filter(|(_, node)| node.is_create).map(|(_, node)| node.hlc).min()?;
    let core_facts = CoreFacts { facts: facts(core), standing: core.graph.standing(), created };
    let owned = core.document.cells();
    let mut cells = cells(core, &owned);
    sort_cells(&mut cells);
    let mut responses = BTreeMap::new();
    for (section_id, section) in sections {
        let SectionId::Response(member) = section_id else { continue };
        if section.graph.extent().count == 0 {
            continue;
        }
        let owned = section.document.cells();
        let mut cells = self::cells(section, &owned);
        sort_cells(&mut cells);
        responses.insert(*member, response::view(&cells, facts(section)));
    }
    assemble(id, identity, &cells, core_facts, responses)
}

fn facts(section: &Section) -> Facts {
    let newest = section.graph.applied().map(|(_, node)| node.hlc).max();
    Facts {
        heads: section.graph.heads().iter().copied().collect(),
        newest: newest.unwrap_or_default(),
        is_newer: section.graph.applied().any(|(_, node)| node.is_newer),
    }
}

fn cells<'a>(section: &'a Section, owned: &'a [crate::document::OwnedCell]) -> Vec<Cell<'a>> {
    let cell = |cell: &'a crate::document::OwnedCell| {
        let hlc = section.graph.node(&cell.writer)?.hlc;
        Some(Cell { place: Place::of_key(&cell.key), value: &cell.value, hlc, writer: cell.writer })
    };
    owned.iter().filter_map(cell).collect()
}

/// A view from the cells of its core and the answers to it.
pub(crate) fn assemble(
    id: RecordId,
    identity: &Identity,
    cells: &[Cell<'_>],
    core: CoreFacts,
    responses: BTreeMap<MemberCode, response::Answer>,
) -> Option<View> {
    let head = Head {
        id,
        identity,
        issued_at: core.created.wall(),
        modified_at: modified_at(id, &core.facts, &responses),
        core,
    };
    match identity.kind {
        RecordKind::Alert => Some(View::Alert(Box::new(alert::view(head, cells, responses)))),
        RecordKind::Contact => Some(View::Contact(Box::new(contact::view(head, cells)))),
        RecordKind::Annex => None,
    }
}

/// What views of all kinds begin with.
struct Head<'a> {
    id: RecordId,
    identity: &'a Identity,
    issued_at: WallMs,
    modified_at: WallUs,
    core: CoreFacts,
}

impl Head<'_> {
    fn external_id(&self) -> Option<String> {
        match &self.identity.naming {
            Naming::Nonce(_) => None,
            Naming::External(id) => Some(id.clone()),
        }
    }
}

/// The newest stamp of all sections, with three more digits from the hash of all heads.
fn modified_at(id: RecordId, core: &Facts, responses: &BTreeMap<MemberCode, response::Answer>) -> WallUs {
    let mut hash = Sha256::new();
    hash.update(id.0);
    for head in &core.heads {
        hash.update(head.0);
    }
    let mut newest = core.newest;
    for (member, answer) in responses {
        hash.update(member.padded());
        for head in &answer.view.version {
            hash.update(head.0);
        }
        newest = newest.max(answer.newest);
    }
    let [high, low, ..]: [u8; 32] = hash.finalize().into();
    WallUs::new(newest.wall(), u16::from_be_bytes([high, low]))
}

impl Standing {
    /// Of a record of which nobody has said where it stands.
    pub(crate) fn active() -> Standing {
        Standing { status: AlertStatus::Active, disputed: false, claims: Vec::new() }
    }
}
