//! What people do all day: new alerts, edits, cancellations; and how long each write takes.

use vatra_model::draft::{AlertDraft, AlertPatch, ResponseDraft};
use vatra_model::schema::words::{AlertKind, Sector, Severity, Tlp};
use vatra_model::view::View;
use vatra_model::{Change, Class, Edit, RecordId, SectionId};

use crate::scenario::format::mesh::SizeLaw;
use crate::scenario::simulated::stage::{Stage, Todo};
use crate::sim::chance::Chance;
use crate::sim::workload::{self, Deed};

/// What is written, and what waits for its answer.
pub struct Work {
    chance: Chance,
    number: u64,
    pending: Vec<Pending>,
    is_over: bool,
    /// Times from writes to their answers, in microseconds.
    pub answered_us: Vec<u64>,
    /// Writes whose node went down before it answered.
    pub unanswered: u64,
}

struct Pending {
    node: usize,
    run: u64,
    token: u64,
    at_us: u64,
}

impl Work {
    /// Nothing is done yet.
    #[must_use]
    pub fn new(seed: u64) -> Work {
        Work {
            chance: Chance::new(seed, "people"),
            number: 0,
            pending: Vec::new(),
            is_over: false,
            answered_us: Vec::new(),
            unanswered: 0,
        }
    }

    /// The time in which so many in a thousand writes were answered, in microseconds.
    #[must_use]
    pub fn quantile_us(&self, permille: usize) -> Option<u64> {
        let mut sorted = self.answered_us.clone();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        sorted.get((sorted.len() * permille / 1_000).min(last)).copied()
    }
}

impl Stage {
    /// People begin to write.
    pub fn begin_work(&mut self) {
        self.write_later();
    }

    /// People stop.
    pub fn end_work(&mut self) {
        self.work.is_over = true;
    }

    fn write_later(&mut self) {
        if let Some(interval) = self.scenario.workload.alerts.interval() {
            let wait = self.work.chance.below(2 * interval.ms().max(1) + 1);
            let at = self.world.now_ms() + wait;
            self.later(at, Todo::Write);
        }
    }

    /// Somebody somewhere writes, and somebody else will later.
    pub(super) fn write_next(&mut self) {
        if self.work.is_over {
            return;
        }
        let able: Vec<usize> = (0..self.names.len()).filter(|node| self.can_write(*node)).collect();
        if let Some(node) = self.work.chance.pick(&able).copied() {
            self.write(node);
        }
        self.write_later();
    }

    /// Whether people at a node can write.
    #[must_use]
    pub fn can_write(&self, node: usize) -> bool {
        self.world.nodes[node].is_running() && self.writers[node] && self.members[node] && self.world.is_honest(node)
    }

    /// Somebody at a node writes.
    pub fn write(&mut self, node: usize) {
        self.work.number += 1;
        let deed = self.deed(node);
        self.count("writes", 1);
        let (token, run) = (self.world.nodes[node].next_token, self.world.nodes[node].run);
        let at_us = self.world.now_ms() * 1_000;
        self.world.publish_deed(node, deed);
        self.work.pending.push(Pending { node, run, token, at_us });
        if self.work.pending.len() == 1 {
            let at = self.world.now_ms() + 1;
            self.later(at, Todo::Answers);
        }
    }

    /// Looks which writes have been answered: the longer one waits, the less often.
    pub(super) fn look_for_answers(&mut self) {
        let now_us = self.world.now_ms() * 1_000;
        let mut waits = Vec::new();
        for pending in std::mem::take(&mut self.work.pending) {
            let node = &self.world.nodes[pending.node];
            if node.run != pending.run || node.replica.is_none() {
                self.work.unanswered += 1;
                continue;
            }
            if !node.pending.contains(&pending.token) {
                self.work.answered_us.push(now_us - pending.at_us);
                continue;
            }
            waits.push(pending);
        }
        self.work.pending = waits;
        if let Some(youngest) = self.work.pending.iter().map(|pending| pending.at_us).max() {
            let wait_ms = ((now_us - youngest) / 8_000).max(1);
            let at = self.world.now_ms() + wait_ms;
            self.later(at, Todo::Answers);
        }
    }

    /// What somebody at a node does next.
    fn deed(&mut self, node: usize) -> Deed {
        let (updates, retracts) = (self.scenario.workload.updates, self.scenario.workload.retracts);
        let draw = self.work.chance.below(1_000_000);
        let edited = if draw < updates.0 {
            self.edit(node, false)
        } else if draw < updates.0 + retracts.0 {
            self.edit(node, true)
        } else {
            None
        };
        edited.unwrap_or_else(|| self.alert(node))
    }

    fn alert(&mut self, node: usize) -> Deed {
        let member = self.world.nodes[node].site.member;
        let size = self.size();
        let work = &mut self.work;
        let class = workload::class(&mut work.chance);
        let severity = match class {
            Class::Flash => Severity::Extreme,
            Class::Priority => Severity::Moderate,
            Class::Routine | Class::Bulk => Severity::Minor,
        };
        let title = format!("Alert {} of {}", work.number, self.names[node]);
        let mut draft = AlertDraft::new(AlertKind::Incident, title, severity, vec![Sector::Energy], Tlp::Green);
        draft.class = Some(class);
        draft.body = Some("x".repeat(size));
        let create = draft.into_create(member, work.chance.nonce()).expect("sizes were checked with the file");
        Deed { class, change: Change::Create(create).encode() }
    }

    fn size(&mut self) -> usize {
        let size = match self.scenario.workload.size {
            SizeLaw::Uniform(range) => self.work.chance.between(range.low.0, range.high.0),
            SizeLaw::Zipf(range) => {
                // Each doubling of the size is half as likely.
                let mut high = range.low.0.max(64);
                while high < range.high.0 && self.work.chance.permille(500) {
                    high = high.saturating_mul(2);
                }
                self.work.chance.between(range.low.0, high.clamp(range.low.0, range.high.0))
            }
        };
        usize::try_from(size).unwrap_or(0)
    }

    /// An edit of an alert that is shown here: of its core by its owner, an answer by anybody else.
    fn edit(&mut self, node: usize, retracts: bool) -> Option<Deed> {
        let state = &self.world.nodes[node];
        let (member, now) = (state.site.member, state.now(self.world.now_us).wall);
        let number = self.work.number;
        let seen: Vec<RecordId> = state.views.ids();
        let chosen = self.work.chance.pick(&seen).copied()?;
        let record = state.views.record(&chosen)?;
        let View::Alert(view) = record.view()? else { return None };
        let (section, class, ops) = if view.writers.contains(&member) {
            let json = match (retracts, self.work.chance.below(3)) {
                (true, _) => r#"{"status":"cancelled"}"#.to_owned(),
                (false, 0) => format!(r#"{{"title":"Title {number}"}}"#),
                (false, 1) => r#"{"severity":"severe"}"#.to_owned(),
                (false, _) => r#"{"sectors":{"add":["water"],"remove":["energy"]}}"#.to_owned(),
            };
            let patch = AlertPatch::from_json(json.as_bytes()).ok()?;
            (SectionId::Core, patch.class(&view), patch.into_ops(&view).ok()?)
        } else {
            let json = format!(r#"{{"note":"Note {number} of {member}"}}"#);
            let draft = ResponseDraft::from_json(json.as_bytes()).ok()?;
            (SectionId::Response(member), view.class, draft.into_ops(now, view.responses.get(&member)).ok()?)
        };
        if ops.is_empty() {
            return None;
        }
        let deps = record.deps_for_edit(section);
        Some(Deed { class, change: Change::Edit(Edit { record: chosen, section, deps, ops }).encode() })
    }
}
