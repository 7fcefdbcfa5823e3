//! What each verb does to the world.

use std::collections::BTreeSet;

use crate::scenario::format::choice::{Links, Nodes};
use crate::scenario::format::mesh::Version;
use crate::scenario::format::quantity::Span;
use crate::scenario::format::step::Action;
use crate::scenario::format::verbs::Verb;
use crate::scenario::plan::{Occurrence, draw, offset_ms};
use crate::scenario::simulated::lines::{Ticket, between_groups, directions, matching, outside_shape};
use crate::scenario::simulated::setup::change_version;
use crate::scenario::simulated::stage::{Stage, Todo};
use crate::sim::chance::Chance;
use crate::sim::checks;
use crate::sim::disk::{Image, Keep};

impl Stage {
    /// A step begins.
    pub(super) fn begin(&mut self, occurrence: Occurrence) {
        let ticket = self.ticket();
        let lasts = occurrence.lasts.map(|lasts| format!(" for {lasts}")).unwrap_or_default();
        self.tell(&format!("{}{lasts}", occurrence.action.brief()));
        if let Some(lasts) = occurrence.lasts {
            let at = self.world.now_ms() + lasts.ms();
            self.later(at, Todo::End(ticket));
        }
        let action = occurrence.action.clone();
        self.under_way.insert(ticket, occurrence);
        self.perform(ticket, &action);
    }

    /// Every verb that the simulator knows; `able.rs` refuses the others when a file is read.
    fn perform(&mut self, ticket: Ticket, action: &Action) {
        let nodes = self.nodes_of(action, "node");
        match action.verb {
            Verb::Partition => {
                let directions = between_groups(&self.world, &self.names, action.groups("groups"));
                self.cut(ticket, directions);
            }
            Verb::Isolate => self.cut_where(ticket, |from, to| nodes.contains(&from) || nodes.contains(&to)),
            Verb::Deaf => self.cut_where(ticket, |_, to| nodes.contains(&to)),
            Verb::Mute => self.cut_where(ticket, |from, _| nodes.contains(&from)),
            Verb::Ring | Verb::Line | Verb::Star => self.cut_to_shape(ticket, action),
            Verb::Cut => {
                let directions = matching(&self.world, &self.names, action.links("link").unwrap_or(&Links::All));
                self.cut(ticket, directions);
            }
            Verb::Flap => self.flap(ticket, true, self.own_chance(action)),
            Verb::Swizzle => self.begin_swizzle(ticket, action),
            Verb::Set => {
                let directions = matching(&self.world, &self.names, action.links("link").unwrap_or(&Links::All));
                self.lines.bend(ticket, directions, action.line.unwrap_or_default());
                self.lines.reshape(&mut self.world, &self.scenario, &self.names);
            }
            Verb::Kill | Verb::Stop => self.each_down(&nodes, action, |stage, node| {
                stage.count("kills", 1);
                match action.verb {
                    Verb::Kill => stage.world.crash_by_chance(node),
                    _ => stage.world.crash(node, Keep::Unsynced),
                }
            }),
            Verb::PowerLoss => self.each_down(&nodes, action, |stage, node| {
                stage.count("power_losses", 1);
                match action.word("keep") {
                    Some("nothing") => stage.world.crash(node, Keep::Nothing),
                    Some("all") => stage.world.crash(node, Keep::Unsynced),
                    Some("torn") => stage.world.tear(node),
                    _ => stage.world.crash_by_chance(node),
                }
            }),
            Verb::Start | Verb::PowerOn => nodes.iter().for_each(|node| self.start(*node)),
            Verb::Pause => nodes.iter().for_each(|node| self.world.pause(*node)),
            Verb::Disk => nodes.iter().for_each(|node| self.spoil_disk(*node, action)),
            Verb::Bitflip => {
                let rows = usize::try_from(action.count("count").unwrap_or(1)).unwrap_or(1);
                nodes.iter().for_each(|node| self.world.flip_bits(*node, rows));
            }
            Verb::Clone => nodes.iter().for_each(|node| self.run_twice(ticket, *node)),
            Verb::Upgrade => {
                let previous = action.word("version") == Some("previous");
                let version = if previous { Version::Previous } else { Version::Current };
                for node in nodes {
                    if self.members[node] {
                        let is_another = change_version(&mut self.world, node, version);
                        self.count("upgrades", u64::from(is_another));
                    }
                }
            }
            Verb::Bundle => self.pack_bundle(&nodes, action),
            Verb::Import => nodes.iter().for_each(|node| self.import(*node, action)),
            Verb::Byz => nodes.iter().for_each(|node| self.turn_hostile(ticket, *node, action)),
            Verb::SnapshotDisk => {
                let label = action.label("name").unwrap_or_default();
                for node in nodes {
                    let image = self.world.nodes[node].disk.backup();
                    self.copies.insert((node, label.to_owned()), image);
                }
            }
            Verb::RestoreDisk => self.restore(&nodes, action),
            Verb::WipeDisk => {
                self.each_down(&nodes, action, |_, _| {});
                for node in nodes {
                    let is_used = self.world.nodes[node].disk.durable().life.is_some();
                    self.count("wiped_disks", u64::from(is_used));
                    self.world.wipe(node);
                }
            }
            Verb::Clock => self.change_clocks(ticket, &nodes, action),
            Verb::Join => nodes.iter().for_each(|node| self.join(*node)),
            Verb::Leave => nodes.iter().for_each(|node| self.leave(*node)),
            Verb::Revoke => self.nodes_of(action, "key").iter().for_each(|node| self.revoke(*node)),
            Verb::Heal => self.heal(action),
            Verb::Check => self.check(action, &nodes),
            Verb::Cpu | Verb::Memory | Verb::Fds | Verb::Truncate | Verb::Subscriber | Verb::Webhook => {
                unreachable!("refused when the file was read")
            }
        }
    }

    /// A step ends: what it did is undone.
    pub(super) fn end(&mut self, ticket: Ticket) {
        let Some(occurrence) = self.under_way.remove(&ticket) else { return };
        self.tell(&format!("end of {}", occurrence.action.brief()));
        let nodes = self.nodes_of(&occurrence.action, "node");
        match occurrence.action.verb {
            Verb::Set => {
                self.lines.unbend(ticket);
                self.lines.reshape(&mut self.world, &self.scenario, &self.names);
            }
            Verb::Disk => nodes.iter().for_each(|node| self.mend_disk(*node, &occurrence.action)),
            Verb::Pause => nodes.iter().for_each(|node| self.world.resume(*node)),
            Verb::Clone => self.stop_twins(ticket),
            Verb::Byz => nodes.iter().for_each(|node| self.stop_act(ticket, *node)),
            Verb::Clock => {
                self.drifting.remove(&ticket);
                for (node, skew_ms) in self.clocks.remove(&ticket).unwrap_or_default() {
                    self.world.nodes[node].skew_ms = skew_ms;
                }
            }
            _ => self.lines.mend(&mut self.world, ticket, None),
        }
    }

    /// Indices of an argument's nodes; everybody, if there is no such argument.
    fn nodes_of(&self, action: &Action, key: &str) -> Vec<usize> {
        match action.nodes(key) {
            Some(Nodes::Named(names)) => names.iter().filter_map(|name| self.index(name)).collect(),
            _ => {
                let in_order = self.scenario.everybody().filter_map(|name| self.index(name));
                in_order.collect()
            }
        }
    }

    /// Chance of one step, apart from all others.
    fn own_chance(&self, action: &Action) -> Chance {
        Chance::new(self.world.setup.seed, &format!("{} at {}", action.brief(), self.world.now_ms()))
    }

    fn cut(&mut self, ticket: Ticket, directions: Vec<(usize, usize)>) {
        let count = self.lines.cut(&mut self.world, ticket, directions);
        self.count("cuts", count);
    }

    fn cut_where(&mut self, ticket: Ticket, is_meant: impl Fn(usize, usize) -> bool) {
        let meant = directions(&self.world).into_iter().filter(|(from, to)| is_meant(*from, *to)).collect();
        self.cut(ticket, meant);
    }

    fn cut_to_shape(&mut self, ticket: Ticket, action: &Action) {
        let order = self.nodes_of(action, "node");
        let last = order.len().saturating_sub(1);
        let outside = match action.verb {
            Verb::Ring => outside_shape(&self.world, &order, |a, b| a + 1 == b || (a == last && b == 0)),
            Verb::Line => outside_shape(&self.world, &order, |a, b| a + 1 == b),
            _ => outside_shape(&self.world, &order, |a, _| a == 0),
        };
        self.cut(ticket, outside);
    }

    pub(super) fn flap(&mut self, ticket: Ticket, is_cut: bool, mut chance: Chance) {
        let Some(occurrence) = self.under_way.get(&ticket) else { return };
        let links = occurrence.action.links("link").cloned().unwrap_or(Links::All);
        let period = occurrence.action.spans("period");
        let directions = matching(&self.world, &self.names, &links);
        if is_cut {
            self.cut(ticket, directions);
        } else {
            self.lines.mend(&mut self.world, ticket, None);
        }
        let wait = period.map_or(Span(1_000_000), |period| draw(&mut chance, period));
        let at = self.world.now_ms() + wait.ms().max(1);
        self.later(at, Todo::Flap { ticket, is_cut: !is_cut, chance: Box::new(chance) });
    }

    /// Nodes go one after another in the first half, and come back in another order in the second.
    fn begin_swizzle(&mut self, ticket: Ticket, action: &Action) {
        let half = self.under_way.get(&ticket).and_then(|occurrence| occurrence.lasts).map_or(0, Span::ms) / 2;
        let mut chance = self.own_chance(action);
        let mut nodes = self.nodes_of(action, "node");
        let now = self.world.now_ms();
        for (is_cut, begin) in [(true, now), (false, now + half)] {
            chance.shuffle(&mut nodes);
            for node in &nodes {
                let at = begin + chance.below(half.max(1));
                self.later(at, Todo::Swizzle { ticket, node: *node, is_cut });
            }
        }
    }

    pub(super) fn swizzle(&mut self, ticket: Ticket, node: usize, is_cut: bool) {
        if !self.under_way.contains_key(&ticket) {
            return;
        }
        let own = directions(&self.world).into_iter().filter(|(from, to)| *from == node || *to == node);
        let own: Vec<(usize, usize)> = own.collect();
        if is_cut {
            self.cut(ticket, own);
        } else {
            own.into_iter().for_each(|direction| self.lines.mend(&mut self.world, ticket, Some(direction)));
        }
    }

    /// Takes running nodes down, and starts them again when the step says so.
    fn each_down(&mut self, nodes: &[usize], action: &Action, down: impl Fn(&mut Stage, usize)) {
        for &node in nodes {
            if self.runs(node) {
                down(self, node);
            }
            if let Some(after) = action.span("restart_after") {
                let run = self.world.nodes[node].run;
                let at = self.world.now_ms() + after.ms().max(1);
                self.later(at, Todo::Restart { node, run });
            }
        }
    }

    /// Starts a node that is down and of the federation.
    pub(super) fn start(&mut self, node: usize) {
        if !self.runs(node) && self.members[node] {
            self.count("restarts", 1);
            self.tell(&format!("{} starts", self.names[node]));
            self.world.start(node);
            self.count_acts(node);
        }
    }

    fn restore(&mut self, nodes: &[usize], action: &Action) {
        let label = action.label("name").unwrap_or_default().to_owned();
        for &node in nodes {
            // Without a copy from before there is nothing to put back.
            let Some(image) = self.copies.get(&(node, label.clone())).cloned() else {
                self.tell(&format!("{} has no copy of its store", self.names[node]));
                continue;
            };
            self.each_down(&[node], action, |stage, node| stage.world.crash_by_chance(node));
            self.count("restored_disks", 1);
            self.put_back(node, image);
        }
    }

    fn put_back(&mut self, node: usize, image: Image) {
        self.world.put_back(node, image);
    }

    fn change_clocks(&mut self, ticket: Ticket, nodes: &[usize], action: &Action) {
        let before: Vec<(usize, i64)> = nodes.iter().map(|node| (*node, self.world.nodes[*node].skew_ms)).collect();
        self.clocks.insert(ticket, before.clone());
        for (node, skew_before) in before {
            let mut gain_us = 0;
            let skew = &mut self.world.nodes[node].skew_ms;
            if let Some(offset) = action.offset("offset") {
                *skew = offset_ms(offset);
            }
            if let Some(jump) = action.offset("jump") {
                *skew = skew.saturating_add(offset_ms(jump));
            }
            if let Some(drift) = action.offset("drift") {
                gain_us = drift.0 / 3_600;
                self.drifting.insert(ticket);
                self.drift(ticket, node, gain_us, 0);
            }
            let is_wrong = gain_us != 0 || self.world.nodes[node].skew_ms != skew_before;
            // Nobody reads the clock of who is out of the federation for good.
            self.count("clock_changes", u64::from(is_wrong && (self.members[node] || self.runs(node))));
        }
    }

    /// A drifting clock gains its share of a second.
    pub(super) fn drift(&mut self, ticket: Ticket, node: usize, gain_us: i64, owed_us: i64) {
        if !self.drifting.contains(&ticket) {
            return;
        }
        let owed_us = owed_us + gain_us;
        self.world.nodes[node].skew_ms += owed_us / 1_000;
        let at = self.world.now_ms() + 1_000;
        self.later(at, Todo::Drift { ticket, node, gain_us, owed_us: owed_us % 1_000 });
    }

    /// Undoes what is broken: lines, clocks, disks, and starts what is down.
    fn heal(&mut self, action: &Action) {
        if let Some(links) = action.links("link") {
            let meant: BTreeSet<_> = matching(&self.world, &self.names, links).into_iter().collect();
            self.lines.forget(&mut self.world, |from, to| meant.contains(&(from, to)));
            self.lines.reshape(&mut self.world, &self.scenario, &self.names);
            return;
        }
        let nodes = self.nodes_of(action, "node");
        let all = action.nodes("node").is_none();
        self.repair(&nodes, |from, to| all || nodes.contains(&from) || nodes.contains(&to));
    }

    /// Heals lines that are meant, and disks and clocks of nodes, and starts them.
    pub(super) fn repair(&mut self, nodes: &[usize], is_meant: impl FnMut(usize, usize) -> bool) {
        self.lines.forget(&mut self.world, is_meant);
        self.lines.reshape(&mut self.world, &self.scenario, &self.names);
        for &node in nodes {
            self.world.nodes[node].skew_ms = 0;
            if self.members[node] {
                self.count("restarts", u64::from(!self.runs(node)));
                self.world.end_node_faults(node, nodes);
                self.count_acts(node);
            }
        }
    }

    fn check(&mut self, action: &Action, nodes: &[usize]) {
        self.count("checks", 1);
        let found = checks::all(&self.world);
        self.world.violations.extend(found);
        if let Some(within) = action.span("within") {
            self.must_agree(nodes, within);
        }
    }
}
