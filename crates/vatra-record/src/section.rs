//! One section: its document, its changes, and those that wait for others they rest on.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use vatra_model::change::Op;
use vatra_model::limits::{CHANGE_DEPS_MAX, PENDING_CHANGES_MAX, SECTION_BYTES_MAX, SECTION_CHANGES_MAX};
use vatra_model::schema::Table;
use vatra_model::{ChangeId, Hlc, MemberCode, NodeKey, RecordId, SectionId};

use crate::document::{DerivedHash, Document, Write};
use crate::graph::{Graph, Node, Outcome};
use crate::meaning::{Meaning, Moment, meaning, only_status, status_given, weight};
use crate::record::{Applied, QuarantineReason};

/// Changes past the limit of a full section that may still say where the alert stands, so that no alert
/// becomes impossible to cancel.
pub(crate) const SECTION_RESERVE_CHANGES: usize = 64;
/// Bytes of a change that a section takes although it has reached its limit of bytes.
pub(crate) const SECTION_RESERVE_CHANGE_BYTES: usize = 1024;

/// A change of a section with what is known of its author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) author: MemberCode,
    pub(crate) origin: NodeKey,
    pub(crate) hlc: Hlc,
    pub(crate) deps: Vec<ChangeId>,
    pub(crate) ops: Vec<Op>,
    pub(crate) moment: Moment,
}

/// A section of a record.
#[derive(Clone)]
pub(crate) struct Section {
    pub(crate) document: Document,
    pub(crate) graph: Graph,
    pub(crate) waiting: BTreeMap<ChangeId, Body>,
}

impl Section {
    pub(crate) fn new(record: RecordId, id: SectionId) -> Section {
        let document = Document::genesis(record, id);
        Section { document, graph: Graph::default(), waiting: BTreeMap::new() }
    }

    pub(crate) fn knows(&self, id: &ChangeId) -> bool {
        self.graph.contains(id) || self.waiting.contains_key(id)
    }

    /// Keeps a change until it can be applied.
    pub(crate) fn wait(&mut self, id: ChangeId, body: Body) -> Applied {
        if self.waiting.len() >= PENDING_CHANGES_MAX {
            return Applied::Overflow;
        }
        self.waiting.insert(id, body);
        Applied::Waiting
    }

    /// Applies a change now, or keeps it until what it rests on is there.
    pub(crate) fn take(&mut self, table: Option<Table>, id: ChangeId, body: Body) -> Applied {
        if !self.is_ready(&body) {
            return self.wait(id, body);
        }
        let verdict = self.insert(table, id, body);
        self.take_ready(table);
        verdict
    }

    /// Applies the waiting changes that have what they rest on.
    pub(crate) fn take_ready(&mut self, table: Option<Table>) {
        loop {
            let ready: Vec<ChangeId> =
                self.waiting.iter().filter(|(_, body)| self.is_ready(body)).map(|(id, _)| *id).collect();
            if ready.is_empty() {
                return;
            }
            for id in ready {
                if let Some(body) = self.waiting.remove(&id) {
                    self.insert(table, id, body);
                }
            }
        }
    }

    fn is_ready(&self, body: &Body) -> bool {
        body.deps.iter().all(|dep| self.graph.contains(dep))
    }

    fn insert(&mut self, table: Option<Table>, id: ChangeId, body: Body) -> Applied {
        let ops = weight(&body.ops);
        let outcome = match self.full(&body, ops) {
            Some(reason) => Outcome::Quarantined(reason),
            None => match self.derive(table, id, &body) {
                Some(hash) => Outcome::Derived(hash),
                None => Outcome::Quarantined(QuarantineReason::Underivable),
            },
        };
        let is_newer = body.ops.iter().any(|op| matches!(meaning(table, body.moment, op), Meaning::Newer));
        let node = Node {
            author: body.author,
            origin: body.origin,
            hlc: body.hlc,
            deps: body.deps,
            weight: u32::try_from(ops).unwrap_or(u32::MAX),
            is_create: body.moment == Moment::Creation,
            is_newer,
            status: status_given(table, &body.ops),
            outcome,
        };
        self.graph.insert(id, node);
        match outcome {
            Outcome::Derived(_) => Applied::Applied,
            Outcome::Quarantined(reason) => Applied::Quarantined(reason),
        }
    }

    /// Why the section has no room for a change: by the extent of what the change rests on, so that all
    /// replicas find the same.
    fn full(&self, body: &Body, ops: usize) -> Option<QuarantineReason> {
        let fits = |count: usize, weight: usize| {
            let reserve = if only_status(&body.ops) { SECTION_RESERVE_CHANGES } else { 0 };
            let in_count = count < SECTION_CHANGES_MAX + reserve;
            let in_weight = weight + ops <= SECTION_BYTES_MAX || ops <= SECTION_RESERVE_CHANGE_BYTES;
            in_count && in_weight
        };
        // The past is a part of the whole, so what fits into the whole needs no closer look.
        let whole = self.graph.extent();
        if fits(whole.count, whole.weight) {
            return None;
        }
        let past = self.graph.extent_of_past(&body.deps);
        (!fits(past.count, past.weight)).then_some(QuarantineReason::SectionFull)
    }

    /// Derives and applies the Automerge change. Automerge may panic and leave a document half changed, so it
    /// works on a copy; `None` leaves the section as it was.
    fn derive(&mut self, table: Option<Table>, id: ChangeId, body: &Body) -> Option<DerivedHash> {
        let deps = self.graph.derived_deps(&body.deps);
        let writes: Vec<Write<'_>> = body
            .ops
            .iter()
            .filter_map(|op| match meaning(table, body.moment, op) {
                Meaning::Put(place, value) => Some(Write::Put(place, value)),
                Meaning::Delete(place) => Some(Write::Delete(place)),
                Meaning::Nothing | Meaning::Newer => None,
            })
            .collect();
        let mut copy = self.document.clone();
        let derived = catch_unwind(AssertUnwindSafe(move || {
            #[cfg(test)]
            provoke_panic(body);
            copy.derive(id, &deps, &writes).map(|hash| (copy, hash))
        }));
        let (document, hash) = derived.ok()?.ok()?;
        self.document = document;
        Some(hash)
    }

    /// The newest changes that an edit made now rests on: all heads, or the newest [`CHANGE_DEPS_MAX`] of them.
    pub(crate) fn deps_for_edit(&self) -> Vec<ChangeId> {
        let mut heads: Vec<(Hlc, ChangeId)> =
            self.graph.heads().iter().filter_map(|id| Some((self.graph.node(id)?.hlc, *id))).collect();
        heads.sort_unstable_by(|a, b| b.cmp(a));
        heads.truncate(CHANGE_DEPS_MAX);
        let mut deps: Vec<ChangeId> = heads.into_iter().map(|(_, id)| id).collect();
        deps.sort_unstable();
        deps
    }
}

/// Lets a test see what happens when Automerge panics.
#[cfg(test)]
fn provoke_panic(body: &Body) {
    let asked =
        |op: &Op| matches!(op, Op::Set { value: vatra_model::Value::Text(text), .. } if text == "panic, please");
    assert!(!body.ops.iter().any(asked), "a test asked for a panic");
}

#[cfg(test)]
mod tests;
