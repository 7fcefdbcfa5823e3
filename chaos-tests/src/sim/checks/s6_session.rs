//! S6: what a node has shown it shows after a restart too, and whoever writes reads what was written.

use std::collections::BTreeMap;

use vatra_model::RecordId;
use vatra_model::schema::words::AlertStatus;
use vatra_model::view::View;

use crate::sim::records::Views;

/// What a node showed when it was last stopped.
#[derive(Debug, Default)]
pub struct Session {
    records: BTreeMap<RecordId, Shown>,
    /// How many entries lay past the ends of their logs: where more do, records may have been taken back.
    past_end: usize,
}

#[derive(Clone, Copy, Debug)]
struct Shown {
    changes: usize,
    cancelled: bool,
}

fn shown(views: &Views, id: &RecordId) -> Option<Shown> {
    let view = views.view(id)?;
    let View::Alert(alert) = &*view else { return None };
    let cancelled = alert.status == AlertStatus::Cancelled && !alert.cancel_disputed;
    Some(Shown { changes: views.change_count(id), cancelled })
}

impl Session {
    /// Remembers what is shown now.
    pub fn remember(&mut self, views: &Views, past_end: usize) {
        self.past_end = past_end;
        self.records = views.ids().iter().filter_map(|id| Some((*id, shown(views, id)?))).collect();
    }

    /// What is shown less, or differently, than before the restart.
    #[must_use]
    pub fn compare(&mut self, node: usize, views: &Views, past_end: usize) -> Vec<String> {
        let mut found = Vec::new();
        let records = std::mem::take(&mut self.records);
        for (id, before) in records.into_iter().filter(|_| self.past_end == past_end) {
            let Some(now) = shown(views, &id) else {
                found.push(format!("node {node} no longer shows {id} after a restart (S6)"));
                continue;
            };
            if now.changes < before.changes {
                found.push(format!(
                    "node {node} shows {id} with {} of {} changes after a restart (S6)",
                    now.changes, before.changes
                ));
            }
            if before.cancelled && !now.cancelled {
                found.push(format!("node {node} shows the cancelled {id} as active after a restart (S7)"));
            }
        }
        found
    }
}
