//! A record as bytes for this node's own store. Never sent to anybody; a node of another version rebuilds
//! the record from its changes instead of reading them.

mod bytes;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use thiserror::Error;
use vatra_model::change::{Change, Create, Edit, Naming, RecordKind};
use vatra_model::limits::PENDING_CHANGES_MAX;
use vatra_model::schema::words::AlertStatus;
use vatra_model::{ChangeId, MemberCode, NodeKey, RecordId, SectionId};

use crate::authority::Identity;
use crate::document::Document;
use crate::graph::{Graph, Node, Outcome};
use crate::meaning::Moment;
use crate::record::{QuarantineReason, Record};
use crate::saved::bytes::{Reader, Writer};
use crate::section::{Body, Section};

/// Version of the bytes, of the schema that they were derived with, and of Automerge. Raise it when any changes.
const VERSION: u8 = 1;

/// Saved bytes do not give back a record. The record is whole in its changes: rebuild it with
/// [`Record::from_changes`] and save it anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LoadError {
    /// A node of another version saved it.
    #[error("the record was saved in version {found}, this node reads version {VERSION}")]
    OtherVersion {
        /// The version found.
        found: u8,
    },
    /// The bytes are damaged.
    #[error("the saved record is damaged: {what}")]
    Damaged {
        /// The part that cannot be read.
        what: &'static str,
    },
}

fn damaged(what: &'static str) -> LoadError {
    LoadError::Damaged { what }
}

impl Record {
    /// The record as bytes for [`Record::load`].
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u8(VERSION);
        w.raw(&self.id.0);
        match &self.identity {
            None => w.u8(0),
            Some(identity) => {
                w.u8(1);
                write_identity(&mut w, identity);
            }
        }
        w.count(self.sections.len());
        for (id, section) in &self.sections {
            write_section(&mut w, self.id, *id, section);
        }
        w.into_bytes()
    }

    /// The record that [`Record::save`] made the bytes of.
    ///
    /// # Errors
    /// Bytes of another version, or damaged ones.
    pub fn load(saved: &[u8]) -> Result<Record, LoadError> {
        // Automerge panics on some damaged documents.
        catch_unwind(AssertUnwindSafe(|| load(saved))).unwrap_or(Err(damaged("a document")))
    }
}

fn load(saved: &[u8]) -> Result<Record, LoadError> {
    let mut r = Reader::new(saved);
    match r.u8()? {
        VERSION => {}
        found => return Err(LoadError::OtherVersion { found }),
    }
    let id = RecordId(r.array()?);
    let identity = match r.u8()? {
        0 => None,
        1 => Some(read_identity(&mut r)?),
        _ => return Err(damaged("the identity")),
    };
    let mut sections = BTreeMap::new();
    for _ in 0..r.count()? {
        let (section_id, section) = read_section(&mut r, id)?;
        sections.insert(section_id, section);
    }
    r.end()?;
    Ok(Record { id, identity, sections })
}

fn write_identity(w: &mut Writer, identity: &Identity) {
    w.u8(identity.kind as u8);
    w.text(identity.owner.as_str());
    w.count(identity.writers.len());
    for writer in &identity.writers {
        w.text(writer.as_str());
    }
    match &identity.naming {
        Naming::Nonce(nonce) => {
            w.u8(0);
            w.raw(nonce);
        }
        Naming::External(id) => {
            w.u8(1);
            w.text(id);
        }
    }
}

fn read_identity(r: &mut Reader<'_>) -> Result<Identity, LoadError> {
    let kind = RecordKind::from_u8(r.u8()?).ok_or(damaged("the kind"))?;
    let owner = read_member(r)?;
    let mut writers = Vec::new();
    for _ in 0..r.count()? {
        writers.push(read_member(r)?);
    }
    let naming = match r.u8()? {
        0 => Naming::Nonce(r.array()?),
        1 => Naming::External(r.text()?.to_owned()),
        _ => return Err(damaged("the naming")),
    };
    Ok(Identity { kind, owner, writers, naming })
}

fn read_member(r: &mut Reader<'_>) -> Result<MemberCode, LoadError> {
    r.text()?.parse().map_err(|_| damaged("a member code"))
}

/// Stands for the hash of a document that is not saved.
const NO_DOCUMENT: [u8; 32] = [0; 32];

fn write_section(w: &mut Writer, record: RecordId, id: SectionId, section: &Section) {
    match id {
        SectionId::Core => w.text(""),
        SectionId::Response(member) => w.text(member.as_str()),
    }
    // A document without changes is made again for less than it takes to read it.
    if section.graph.applied().next().is_some() {
        w.raw(&section.document.genesis_hash());
        w.blob(&section.document.save());
    } else {
        w.raw(&NO_DOCUMENT);
    }
    let origins: BTreeSet<NodeKey> = section.graph.iter().map(|(_, node)| node.origin).collect();
    let origins: Vec<NodeKey> = origins.into_iter().collect();
    w.count(origins.len());
    for origin in &origins {
        w.raw(&origin.0);
    }
    w.count(section.graph.extent().count);
    for (id, node) in section.graph.iter() {
        write_node(w, &origins, id, node);
    }
    w.count(section.waiting.len());
    for (change_id, body) in &section.waiting {
        write_waiting(w, record, id, change_id, body);
    }
}

fn read_section(r: &mut Reader<'_>, record: RecordId) -> Result<(SectionId, Section), LoadError> {
    let id = match r.text()? {
        "" => SectionId::Core,
        member => SectionId::Response(member.parse().map_err(|_| damaged("a section"))?),
    };
    let document = match r.array()? {
        NO_DOCUMENT => Document::genesis(record, id),
        genesis => Document::load(genesis, r.blob()?).map_err(|_| damaged("a document"))?,
    };
    let mut origins = Vec::new();
    for _ in 0..r.count()? {
        origins.push(NodeKey(r.array()?));
    }
    let mut graph = Graph::default();
    for _ in 0..r.count()? {
        let (change_id, node) = read_node(r, &origins)?;
        if graph.contains(&change_id) || !node.deps.iter().all(|dep| graph.contains(dep)) {
            return Err(damaged("the order of changes"));
        }
        graph.insert(change_id, node);
    }
    let mut waiting = BTreeMap::new();
    for _ in 0..r.count()?.min(PENDING_CHANGES_MAX + 1) {
        let (change_id, body) = read_waiting(r)?;
        waiting.insert(change_id, body);
    }
    Ok((id, Section { document, graph, waiting }))
}

const FLAG_CREATE: u8 = 1;
const FLAG_NEWER: u8 = 2;
/// Stands for no status; no word has this number.
const NO_STATUS: u8 = u8::MAX;

fn write_node(w: &mut Writer, origins: &[NodeKey], id: &ChangeId, node: &Node) {
    w.raw(&id.0);
    w.text(node.author.as_str());
    w.count(origins.binary_search(&node.origin).expect("the table was made of these nodes"));
    w.u64(node.hlc.0);
    write_deps(w, &node.deps);
    w.u64(u64::from(node.weight));
    let create = if node.is_create { FLAG_CREATE } else { 0 };
    let newer = if node.is_newer { FLAG_NEWER } else { 0 };
    w.u8(create | newer);
    w.u8(node.status.map_or(NO_STATUS, |status| status as u8));
    match node.outcome {
        Outcome::Derived(hash) => {
            w.u8(0);
            w.raw(&hash);
        }
        Outcome::Quarantined(QuarantineReason::SectionFull) => w.u8(1),
        Outcome::Quarantined(QuarantineReason::Underivable) => w.u8(2),
    }
}

fn read_node(r: &mut Reader<'_>, origins: &[NodeKey]) -> Result<(ChangeId, Node), LoadError> {
    let id = ChangeId(r.array()?);
    let author = read_member(r)?;
    let origin = *origins.get(r.count()?).ok_or(damaged("an origin"))?;
    let hlc = vatra_model::Hlc(r.u64()?);
    let deps = read_deps(r)?;
    let weight = u32::try_from(r.u64()?).map_err(|_| damaged("a weight"))?;
    let flags = r.u8()?;
    let status = match r.u8()? {
        NO_STATUS => None,
        number => Some(*AlertStatus::ALL.get(usize::from(number)).ok_or(damaged("a status"))?),
    };
    let outcome = match r.u8()? {
        0 => Outcome::Derived(r.array()?),
        1 => Outcome::Quarantined(QuarantineReason::SectionFull),
        2 => Outcome::Quarantined(QuarantineReason::Underivable),
        _ => return Err(damaged("an outcome")),
    };
    let (is_create, is_newer) = (flags & FLAG_CREATE != 0, flags & FLAG_NEWER != 0);
    Ok((id, Node { author, origin, hlc, deps, weight, is_create, is_newer, status, outcome }))
}

fn write_deps(w: &mut Writer, deps: &[ChangeId]) {
    w.count(deps.len());
    for dep in deps {
        w.raw(&dep.0);
    }
}

fn read_deps(r: &mut Reader<'_>) -> Result<Vec<ChangeId>, LoadError> {
    let mut deps = Vec::new();
    for _ in 0..r.count()? {
        deps.push(ChangeId(r.array()?));
    }
    Ok(deps)
}

/// A waiting change is kept as the edit it came as. Creates rest on nothing and never wait.
fn write_waiting(w: &mut Writer, record: RecordId, section: SectionId, id: &ChangeId, body: &Body) {
    w.raw(&id.0);
    w.text(body.author.as_str());
    w.raw(&body.origin.0);
    w.u64(body.hlc.0);
    let edit = Edit { record, section, deps: body.deps.clone(), ops: body.ops.clone() };
    w.blob(&Change::Edit(edit).encode());
}

fn read_waiting(r: &mut Reader<'_>) -> Result<(ChangeId, Body), LoadError> {
    let id = ChangeId(r.array()?);
    let author = read_member(r)?;
    let origin = NodeKey(r.array()?);
    let hlc = vatra_model::Hlc(r.u64()?);
    match Change::decode(r.blob()?).map_err(|_| damaged("a waiting change"))? {
        Change::Edit(Edit { deps, ops, .. }) => {
            Ok((id, Body { author, origin, hlc, deps, ops, moment: Moment::Later }))
        }
        Change::Create(Create { .. }) | Change::Open(_) | Change::Unknown { .. } => Err(damaged("a waiting change")),
    }
}
