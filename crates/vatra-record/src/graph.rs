//! The changes of a section and what each rests on: heads, causal pasts, endings and their disputes.

use std::collections::{BTreeMap, BTreeSet};

use vatra_model::schema::words::AlertStatus;
use vatra_model::{ChangeId, Hlc, MemberCode, NodeKey};

use crate::document::DerivedHash;
use crate::record::QuarantineReason;

/// What is kept of a change beside its document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) author: MemberCode,
    pub(crate) origin: NodeKey,
    pub(crate) hlc: Hlc,
    pub(crate) deps: Vec<ChangeId>,
    /// Bytes of its texts.
    pub(crate) weight: u32,
    pub(crate) is_create: bool,
    /// It contains what only a newer version understands.
    pub(crate) is_newer: bool,
    /// Where it says that the alert stands.
    pub(crate) status: Option<AlertStatus>,
    pub(crate) outcome: Outcome,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is in the document under this hash.
    Derived(DerivedHash),
    /// It has no effect.
    Quarantined(QuarantineReason),
}

impl Node {
    pub(crate) fn is_applied(&self) -> bool {
        self.derived().is_some()
    }

    pub(crate) fn derived(&self) -> Option<DerivedHash> {
        match self.outcome {
            Outcome::Derived(hash) => Some(hash),
            Outcome::Quarantined(_) => None,
        }
    }
}

/// The changes of one section. A node's deps are always there before it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    nodes: BTreeMap<ChangeId, Node>,
    /// The nodes as they came: each after its deps.
    order: Vec<ChangeId>,
    heads: BTreeSet<ChangeId>,
    weight: usize,
}

/// Number and bytes of a set of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) count: usize,
    pub(crate) weight: usize,
}

/// Where an alert stands by the changes of its core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) status: AlertStatus,
    /// Somebody ended the alert without having seen another change.
    pub(crate) disputed: bool,
    /// All that was said of it and not yet superseded, newest first, when there is more than one word.
    pub(crate) claims: Vec<AlertStatus>,
}

impl Graph {
    pub(crate) fn contains(&self, id: &ChangeId) -> bool {
        self.nodes.contains_key(id)
    }

    pub(crate) fn node(&self, id: &ChangeId) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// The changes in an order in which each comes after its deps.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ChangeId, &Node)> {
        self.order.iter().filter_map(|id| self.nodes.get_key_value(id))
    }

    pub(crate) fn applied(&self) -> impl Iterator<Item = (&ChangeId, &Node)> {
        self.nodes.iter().filter(|(_, node)| node.is_applied())
    }

    pub(crate) fn heads(&self) -> &BTreeSet<ChangeId> {
        &self.heads
    }

    pub(crate) fn extent(&self) -> Extent {
        Extent { count: self.nodes.len(), weight: self.weight }
    }

    /// Adds a change whose deps are all there.
    pub(crate) fn insert(&mut self, id: ChangeId, node: Node) {
        assert!(node.deps.iter().all(|dep| self.contains(dep)), "a change is inserted after its deps");
        for dep in &node.deps {
            self.heads.remove(dep);
        }
        self.heads.insert(id);
        self.weight += node.weight as usize;
        self.order.push(id);
        self.nodes.insert(id, node);
    }

    /// Everything that these changes rest on, themselves included.
    fn past(&self, deps: &[ChangeId]) -> BTreeSet<ChangeId> {
        let mut past: BTreeSet<ChangeId> = deps.iter().copied().collect();
        let mut open: Vec<ChangeId> = deps.to_vec();
        while let Some(node) = open.pop().and_then(|id| self.nodes.get(&id)) {
            open.extend(node.deps.iter().copied().filter(|dep| past.insert(*dep)));
        }
        past
    }

    /// How much there is in the past of a change with these deps.
    pub(crate) fn extent_of_past(&self, deps: &[ChangeId]) -> Extent {
        let past = self.past(deps);
        let weight = past.iter().filter_map(|id| self.nodes.get(id)).map(|node| node.weight as usize).sum();
        Extent { count: past.len(), weight }
    }

    /// The hashes that a change with these deps rests on: of quarantined deps, the nearest applied ones before them.
    pub(crate) fn derived_deps(&self, deps: &[ChangeId]) -> Vec<DerivedHash> {
        let mut hashes = BTreeSet::new();
        let mut seen: BTreeSet<ChangeId> = deps.iter().copied().collect();
        let mut open: Vec<ChangeId> = deps.to_vec();
        while let Some(node) = open.pop().and_then(|id| self.nodes.get(&id)) {
            match node.outcome {
                Outcome::Derived(hash) => {
                    hashes.insert(hash);
                }
                Outcome::Quarantined(_) => open.extend(node.deps.iter().copied().filter(|dep| seen.insert(*dep))),
            }
        }
        hashes.into_iter().collect()
    }

    /// Where the alert stands.
    ///
    /// An ending holds when its author had seen every change but other endings. One that is concurrent with
    /// something else is disputed: the alert stands until a change that saw both settles it.
    pub(crate) fn standing(&self) -> Standing {
        let mut claims = self.claims();
        claims.sort_by_key(|(id, node, _)| std::cmp::Reverse((node.hlc, **id)));
        let endings = || claims.iter().filter(|(_, _, status)| status.is_ending());
        let undisputed = endings().filter(|(id, _, _)| !self.is_disputed(id)).map(|(_, _, status)| *status).min();
        let disputed = undisputed.is_none() && endings().next().is_some();
        let mut words = Vec::new();
        for (_, _, status) in &claims {
            if !words.contains(status) {
                words.push(*status);
            }
        }
        if words.len() == 1 {
            words.clear();
        }
        Standing { status: undisputed.unwrap_or(AlertStatus::Active), disputed, claims: words }
    }

    /// What was said of the status by changes that no later change of the status rests on.
    fn claims(&self) -> Vec<(&ChangeId, &Node, AlertStatus)> {
        let all: Vec<_> = self.applied().filter_map(|(id, node)| Some((id, node, node.status?))).collect();
        if all.len() < 2 {
            return all;
        }
        let mut superseded = BTreeSet::new();
        for (_, node, _) in &all {
            superseded.append(&mut self.past(&node.deps));
        }
        all.into_iter().filter(|(id, _, _)| !superseded.contains(id)).collect()
    }

    /// Whether an ending is concurrent with a change that is not one.
    fn is_disputed(&self, ending: &ChangeId) -> bool {
        let past = self.past(&[*ending]);
        let mut future = BTreeSet::from([*ending]);
        for (id, node) in self.iter() {
            if node.deps.iter().any(|dep| future.contains(dep)) {
                future.insert(*id);
            }
        }
        self.applied().any(|(id, node)| {
            let concurrent = !past.contains(id) && !future.contains(id);
            concurrent && !node.status.is_some_and(AlertStatus::is_ending)
        })
    }
}
