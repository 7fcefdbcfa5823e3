//! What a test does to a world: publish, cut, heal, crash, start, fill, put back.

use vatra_model::{Class, WallMs};
use vatra_replica::Input;

use crate::sim::checks;
use crate::sim::disk::{Believes, Image, Keep};
use crate::sim::network::Shape;
use crate::sim::planted::Bug;
use crate::sim::workload::{self, Deed};
use crate::sim::world::World;
use crate::sim::world::faults::DISK_GRACE_US;

/// What becomes of the fence when a store is put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FenceFate {
    Stays,
    GoesBack,
    /// It stays too: the store is what its own disk kept of it.
    IsOfTheSameDisk,
}

impl World {
    /// Keeps everything that happens from now on, for people to read.
    pub fn keep_history(&mut self) {
        self.history.kept = Some(crate::sim::kept::Kept::default());
    }

    /// What happened, if it was kept.
    #[must_use]
    pub fn kept(&self) -> Option<&crate::sim::kept::Kept> {
        self.history.kept.as_ref()
    }

    /// Somebody at a node publishes an alert of a class.
    pub fn publish(&mut self, node: usize, class: Class) {
        let member = self.nodes[node].site.member;
        self.works += 1;
        let deed = workload::alert(&mut self.work_chance, member, class, self.works);
        self.publish_deed(node, deed);
    }

    /// Somebody at a node does something.
    pub fn work(&mut self, node: usize) {
        self.works += 1;
        let member = self.nodes[node].site.member;
        let now: WallMs = self.nodes[node].now(self.now_us).wall;
        let views = &self.nodes[node].views;
        let deed = workload::any(&mut self.work_chance, member, views, now, self.works);
        self.publish_deed(node, deed);
    }

    /// Somewhere somebody does something.
    pub fn work_anywhere(&mut self) {
        let running: Vec<usize> =
            (0..self.nodes.len()).filter(|node| self.nodes[*node].is_running() && self.is_honest(*node)).collect();
        if let Some(&node) = self.work_chance.pick(&running) {
            self.work(node);
        }
    }

    /// Somebody at a node does this.
    pub fn publish_deed(&mut self, index: usize, deed: Deed) {
        let node = &mut self.nodes[index];
        if !node.is_running() {
            return;
        }
        let token = node.next_token;
        node.next_token += 1;
        node.pending.insert(token);
        self.watch.began(index, token, self.now_us);
        self.inbox.push_back((index, Input::Publish { token, class: deed.class, changes: vec![deed.change] }));
        self.drain();
    }

    /// So many deeds anywhere, each after a while of up to so many milliseconds.
    pub fn work_for(&mut self, deeds: u64, pause_ms_max: u64) {
        for _ in 0..deeds {
            self.work_anywhere();
            let pause = self.work_chance.below(pause_ms_max + 1);
            self.run_for(pause);
        }
    }

    /// Nothing gets from one node to another.
    pub fn cut_one_way(&mut self, from: usize, to: usize) {
        if self.link(from, to).is_some() {
            self.pipe(from, to).cut();
            self.fall_silent(to, from);
        }
    }

    /// Nothing gets through between two nodes.
    pub fn cut(&mut self, a: usize, b: usize) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// The line between two nodes works again, both ways.
    pub fn heal(&mut self, a: usize, b: usize) {
        if self.link(a, b).is_none() {
            return;
        }
        self.heal_pipe(a, b);
        self.heal_pipe(b, a);
    }

    /// Nothing gets through between these nodes and all others.
    pub fn isolate(&mut self, inside: &[usize]) {
        for (a, b) in self.links.pairs() {
            if inside.contains(&a) != inside.contains(&b) {
                self.cut(a, b);
            }
        }
    }

    /// All lines work again.
    pub fn heal_all(&mut self) {
        for (a, b) in self.links.pairs() {
            self.heal(a, b);
        }
    }

    /// Makes the line between two nodes another one, in both directions.
    pub fn reshape(&mut self, a: usize, b: usize, shape: Shape) {
        self.pipe(a, b).shape = shape;
        self.pipe(b, a).shape = shape;
    }

    /// A node loses power.
    pub fn crash(&mut self, node: usize, keep: Keep) {
        if self.nodes[node].replica.is_none() {
            return;
        }
        self.tally.crashes += 1;
        self.history.note(self.now_us, node, b"crash");
        self.remember_shown(node);
        self.watch.writes[node].forget();
        self.nodes[node].kill();
        let lost = self.nodes[node].disk.crash(keep);
        self.tally.lost_batches += lost.batches;
        self.tally.bite_times("torn_writes", lost.torn);
        self.find_out_lies(node);
        for peer in self.peers_of(node) {
            self.end_with_process(node, peer);
        }
    }

    /// A node loses power; chance decides about the batch being written.
    pub fn crash_by_chance(&mut self, node: usize) {
        let keep = if self.fault_chance.permille(500) { Keep::Unsynced } else { Keep::Nothing };
        self.crash(node, keep);
    }

    /// A node loses power in the middle of a write: a part of what was not synced is on its disk.
    pub fn tear(&mut self, node: usize) {
        let number = self.fault_chance.below(u64::MAX);
        self.crash(node, Keep::Torn(number));
    }

    /// A node starts from its disk.
    pub fn start(&mut self, node: usize) {
        if self.nodes[node].replica.is_some() {
            return;
        }
        self.history.note(self.now_us, node, b"start");
        self.watch.recoveries[node].start(self.now_us);
        let believes = if self.is_planted(Bug::TornBatchBelieved) { Believes::Parts } else { Believes::Whole };
        let is_torn = self.nodes[node].disk.open(believes);
        self.tally.bite_times("torn_writes_found", u64::from(is_torn));
        self.drop_damaged(node);
        // Operators put the certificates of those beside the configuration that a node links with.
        let linked = self.peers_of(node).into_iter().map(|peer| self.nodes[peer].site.certificate.clone()).collect();
        self.nodes[node].start(self.now_us, &self.setup, linked, &mut self.readings);
        self.resume_subscriber(node);
        self.check_start(node);
        self.violations.extend(checks::s1_acknowledged::at_start(node, &self.nodes[node]));
        for peer in self.peers_of(node) {
            self.dial_soon(node, peer, true);
        }
        self.inbox.push_back((node, Input::Tick));
        self.scrub(node);
        self.drain();
        self.check_damage(node);
    }

    /// Puts an old copy of its store in place of a stopped node's; what it had acknowledged since may be gone.
    ///
    /// # Panics
    /// If the node runs.
    pub fn put_back(&mut self, node: usize, image: Image) {
        self.replace_disk(node, image, FenceFate::Stays);
    }

    /// The same, but the fence is the old one too, as after a return to a snapshot of the whole machine: nothing on
    /// this node shows that it is old.
    ///
    /// # Panics
    /// If the node runs.
    pub fn roll_back(&mut self, node: usize, image: Image) {
        self.replace_disk(node, image, FenceFate::GoesBack);
    }

    /// The store of a node turns out to be what its disk wrote in truth.
    pub(crate) fn admit(&mut self, node: usize, truth: Image) {
        self.replace_disk(node, truth, FenceFate::IsOfTheSameDisk);
    }

    fn replace_disk(&mut self, node: usize, image: Image, fence: FenceFate) {
        assert!(self.nodes[node].replica.is_none(), "a running node's store is not replaced");
        self.forget_shown(node);
        self.nodes[node].damaged.clear();
        self.nodes[node].may_fork |= fence == FenceFate::GoesBack || self.nodes[node].disk.hides(&image);
        self.tally.bite("rollbacks");
        // What others hold must come back; until then this node is not held to it.
        let elsewhere = checks::s1_acknowledged::held_elsewhere(self, node);
        let held = |(log, seq, hash): &checks::s1_acknowledged::Place| image.entry(*log, *seq, *hash).is_some();
        self.owed.extend(elsewhere.into_iter().filter(|place| !held(place)));
        self.nodes[node].acknowledged.retain(held);
        match fence {
            FenceFate::Stays => self.nodes[node].disk.put_back(image),
            FenceFate::GoesBack => self.nodes[node].disk.roll_back(image),
            FenceFate::IsOfTheSameDisk => self.nodes[node].disk.admit(image),
        }
        self.forget_what_is_nowhere();
    }

    /// Makes a node's disk full, or gives it room again. The node notices when it next writes.
    pub fn fill_disk(&mut self, node: usize, is_full: bool) {
        let was_full = std::mem::replace(&mut self.nodes[node].disk.is_full, is_full);
        if was_full && !is_full {
            self.nodes[node].trouble_until_us = self.now_us + DISK_GRACE_US;
        }
    }

    /// An operator gives a node the newest charter.
    pub fn install_charter(&mut self, node: usize) {
        let bytes = self.federation.charter().encode();
        self.inbox.push_back((node, Input::Charter { bytes }));
        self.drain();
    }

    /// Gives a core an input as if the shell had made it.
    pub fn feed(&mut self, node: usize, input: Input) {
        self.inbox.push_back((node, input));
        self.drain();
    }

    /// Whether all running nodes hold the same and nothing waits to be published.
    #[must_use]
    pub fn has_converged(&self) -> bool {
        checks::l2_convergence::all_hold_the_same(self)
    }

    /// Runs until all running nodes hold the same; then checks everything.
    ///
    /// # Panics
    /// If they do not within the time, or anything was violated: prints the seed and how to replay it.
    pub fn converge(&mut self, ms_max: u64) -> u64 {
        let took = self.settle(ms_max);
        self.expect_clean();
        took.unwrap_or(ms_max)
    }

    /// Runs until all running honest nodes hold the same, and notes what was violated by then; `None` if they do
    /// not within the time, which is a violation too.
    pub fn settle(&mut self, ms_max: u64) -> Option<u64> {
        let took = self.run_until(ms_max, World::has_converged);
        if took.is_none() {
            let state = checks::l2_convergence::describe(self);
            self.violation(format!("not converged after {ms_max} ms (L2)\n{state}"));
        } else {
            let missing = checks::s1_acknowledged::everywhere(self);
            self.violations.extend(missing);
        }
        took
    }

    /// Runs until all running honest nodes of a core hold the same, whatever is broken outside it; then checks
    /// everything.
    ///
    /// # Panics
    /// If they do not within the time, or anything was violated: prints the seed and how to replay it.
    pub fn converge_core(&mut self, core: &[usize], ms_max: u64) -> u64 {
        let inside = |node: usize| core.contains(&node);
        let took = self.run_until(ms_max, |world| checks::l2_convergence::these_hold_the_same(world, inside));
        if took.is_none() {
            let state = checks::l2_convergence::describe(self);
            self.violation(format!("the core {core:?} has not converged after {ms_max} ms (L2)\n{state}"));
        }
        self.expect_clean();
        took.unwrap_or(ms_max)
    }

    /// Everything that was violated until now, what only a look at everything shows included.
    pub fn check_all(&mut self) -> &[String] {
        let found = checks::all(self);
        for what in found {
            if !self.violations.contains(&what) {
                self.violations.push(what);
            }
        }
        &self.violations
    }

    /// Checks every invariant that holds at any time.
    ///
    /// # Panics
    /// If anything was violated: prints the seed and how to replay it.
    pub fn expect_clean(&mut self) {
        self.check_all();
        if self.violations.is_empty() {
            return;
        }
        let shown: Vec<&str> = self.violations.iter().take(12).map(String::as_str).collect();
        panic!(
            "seed {}: {} violations\n{}\nreplay: VATRA_SIM_SEED={} cargo nextest run -p chaos-tests -E 'test(<this test>)'",
            self.setup.seed,
            self.violations.len(),
            shown.join("\n"),
            self.setup.seed
        );
    }
}

impl World {
    /// Something goes wrong somewhere, or is repaired.
    pub fn fault_by_chance(&mut self) {
        let count = self.nodes.len() as u64;
        let [a, b] = [0; 2].map(|_| self.fault_chance.below(count) as usize);
        match self.fault_chance.below(10) {
            0 => self.cut(a, b),
            1 => self.cut_one_way(a, b),
            2 => self.isolate(&[a]),
            3 => self.isolate(&[a, b]),
            4 => self.heal(a, b),
            5 => self.heal_all(),
            6 => self.crash_by_chance(a),
            7 => self.start(a),
            8 => self.put_back_by_chance(a),
            _ => {
                let is_full = self.nodes[a].disk.is_full;
                self.fill_disk(a, !is_full);
            }
        }
    }

    /// A node that is down gets the copy of its store from an earlier run; one that runs is backed up and restarted.
    fn put_back_by_chance(&mut self, node: usize) {
        let is_down = self.nodes[node].replica.is_none();
        match self.backups.remove(&node) {
            Some(image) if is_down => self.put_back(node, image),
            Some(image) => {
                self.crash_by_chance(node);
                self.put_back(node, image);
                self.start(node);
            }
            None => {
                self.crash_by_chance(node);
                let image = self.nodes[node].disk.backup();
                self.backups.insert(node, image);
                self.start(node);
            }
        }
    }

    /// Heals, starts and empties everything.
    pub fn end_all_faults(&mut self) {
        self.heal_all();
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        for node in &all {
            self.end_node_faults(*node, &all);
        }
    }
}
