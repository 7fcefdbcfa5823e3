//! Drills: links cut on purpose, by an operator, for a time, and healed by themselves.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use vatra_mesh::{Affected, Mesh};
use vatra_model::{MemberCode, NodeKey, WallMs};

use crate::node::clock::wall;
use crate::node::ingest::SharedTrust;

/// A drill under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drill {
    /// Members cut off; empty = all of them.
    pub(crate) members: BTreeSet<MemberCode>,
    /// When it began.
    pub(crate) since: WallMs,
    /// Who ordered it.
    pub(crate) by: String,
    /// When it heals by itself.
    pub(crate) until: WallMs,
    /// Why, in the operator's words.
    pub(crate) reason: String,
    number: u64,
}

/// Cuts and heals.
pub(crate) struct Drills {
    mesh: Mesh,
    trust: SharedTrust,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    drill: Option<Drill>,
    count: u64,
}

impl Drills {
    pub(crate) fn new(mesh: Mesh, trust: SharedTrust) -> Drills {
        Drills { mesh, trust, state: Mutex::default() }
    }

    /// The drill under way.
    pub(crate) fn present(&self) -> Option<Drill> {
        self.lock().drill.clone()
    }

    /// Cuts the links to members (all of them if none is named) for a time. A drill under way is replaced.
    pub(crate) fn cut(self: &Arc<Self>, members: BTreeSet<MemberCode>, seconds: u64, reason: String, by: String) {
        let ms = seconds.saturating_mul(1000);
        let since = wall();
        let mut state = self.lock();
        state.count += 1;
        let until = WallMs(since.0.saturating_add(ms));
        let drill = Drill { members, since, by, until, reason, number: state.count };
        state.drill = Some(drill.clone());
        self.mesh.set_cut(Some(self.affected(&drill.members)));
        drop(state);
        let members = match drill.members.is_empty() {
            true => "all".to_owned(),
            false => drill.members.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        };
        tracing::warn!(members, until = %drill.until, reason = drill.reason, by = drill.by,
            "a drill cuts links");
        let drills = Arc::clone(self);
        let number = drill.number;
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            drills.end(Some(number));
        });
    }

    /// Ends the drill; `false` if there was none.
    pub(crate) fn heal(&self) -> bool {
        self.end(None)
    }

    fn end(&self, number: Option<u64>) -> bool {
        let mut state = self.lock();
        let ends = state.drill.as_ref().is_some_and(|drill| number.is_none_or(|number| drill.number == number));
        if ends {
            state.drill = None;
            self.mesh.set_cut(None);
            tracing::info!("the drill is over, links are healed");
        }
        ends
    }

    /// The nodes of members. A node that becomes known later is cut off when the drill names all members.
    fn affected(&self, members: &BTreeSet<MemberCode>) -> Affected {
        if members.is_empty() {
            return Affected::All;
        }
        let trust = self.trust.read().unwrap_or_else(PoisonError::into_inner).clone();
        let nodes: BTreeSet<NodeKey> = trust
            .nodes()
            .filter(|certificate| members.contains(&certificate.member))
            .map(|certificate| certificate.key)
            .collect();
        Affected::Nodes(nodes)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
