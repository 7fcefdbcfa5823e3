//! Cuts of every shape. Each is a set of directed lines that stop carrying; what is healed carries again.

use std::collections::BTreeSet;

use crate::sim::world::{Event, World};

impl World {
    /// All directed lines.
    #[must_use]
    pub fn lines(&self) -> Vec<(usize, usize)> {
        self.links.pairs().into_iter().flat_map(|(a, b)| [(a, b), (b, a)]).collect()
    }

    /// Cuts every directed line that is chosen.
    pub fn cut_where(&mut self, chosen: impl Fn(usize, usize) -> bool) {
        for (from, to) in self.lines().into_iter().filter(|(from, to)| chosen(*from, *to)) {
            self.cut_one_way(from, to);
        }
    }

    /// The line from one node to another carries again.
    pub fn heal_one_way(&mut self, from: usize, to: usize) {
        self.heal_pipe(from, to);
    }

    /// Nothing gets through between nodes that share no group; a node in no group is alone.
    pub fn partition(&mut self, groups: &[Vec<usize>]) {
        let share = |a: usize, b: usize| groups.iter().any(|group| group.contains(&a) && group.contains(&b));
        self.cut_where(|from, to| !share(from, to));
    }

    /// A node hears nothing and is heard.
    pub fn deafen(&mut self, node: usize) {
        self.cut_where(|_, to| to == node);
    }

    /// A node hears and is not heard.
    pub fn mute(&mut self, node: usize) {
        self.cut_where(|from, _| from == node);
    }

    /// Only one node is linked with both halves.
    pub fn bridge(&mut self, left: &[usize], right: &[usize]) {
        self.cut_where(|from, to| {
            (left.contains(&from) && right.contains(&to)) || (right.contains(&from) && left.contains(&to))
        });
    }

    /// Only lines between neighbours in this order are left; `closed` joins the ends.
    pub fn line_up(&mut self, order: &[usize], closed: bool) {
        let place = |node: usize| order.iter().position(|other| *other == node);
        let last = order.len().saturating_sub(1);
        self.cut_where(|from, to| match (place(from), place(to)) {
            (Some(a), Some(b)) => !(a.abs_diff(b) == 1 || (closed && a.abs_diff(b) == last)),
            _ => true,
        });
    }

    /// Only lines of one node are left.
    pub fn star(&mut self, centre: usize) {
        self.cut_where(|from, to| from != centre && to != centre);
    }

    /// A line goes and comes for a while, each time after so many milliseconds.
    pub fn flap(&mut self, a: usize, b: usize, period_ms: u64, for_ms: u64) {
        let (start, period) = (self.now_us, period_ms.max(1) * 1_000);
        for turn in 0..for_ms.div_ceil(period_ms.max(1)) {
            let at = start + turn * period;
            let is_cut = turn % 2 == 0;
            self.schedule(at, Event::Line { from: a, to: b, is_cut });
            self.schedule(at, Event::Line { from: b, to: a, is_cut });
        }
        let end = start + for_ms * 1_000;
        self.schedule(end, Event::Line { from: a, to: b, is_cut: false });
        self.schedule(end, Event::Line { from: b, to: a, is_cut: false });
    }

    /// Every node loses its lines one after the other, and gets them back in another order; each step takes so many
    /// milliseconds.
    pub fn swizzle(&mut self, step_ms: u64) {
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        let mut at = self.now_us;
        for is_cut in [true, false] {
            self.fault_chance.shuffle(&mut order);
            for node in order.clone() {
                for peer in self.peers_of(node) {
                    self.schedule(at, Event::Line { from: node, to: peer, is_cut });
                    self.schedule(at, Event::Line { from: peer, to: node, is_cut });
                }
                at += step_ms * 1_000;
            }
        }
    }

    pub(crate) fn switch_line(&mut self, from: usize, to: usize, is_cut: bool) {
        if is_cut {
            self.cut_one_way(from, to);
        } else {
            self.heal_one_way(from, to);
        }
    }

    /// A connected set of so many running, honest nodes, grown from one of them by chance along their links.
    #[must_use]
    pub fn random_core(&mut self, size: usize) -> Vec<usize> {
        let mut usable: Vec<usize> = (0..self.nodes.len()).filter(|node| self.is_honest(*node)).collect();
        self.fault_chance.shuffle(&mut usable);
        let mut core: BTreeSet<usize> = usable.first().copied().into_iter().collect();
        while core.len() < size {
            let next = usable
                .iter()
                .find(|node| !core.contains(*node) && core.iter().any(|inside| self.link(*inside, **node).is_some()));
            let Some(next) = next else { break };
            core.insert(*next);
        }
        core.into_iter().collect()
    }

    /// Ends the faults inside a core and leaves everything else as broken as it is.
    pub fn heal_core(&mut self, core: &[usize]) {
        for (a, b) in self.links.pairs() {
            if core.contains(&a) && core.contains(&b) {
                self.heal(a, b);
            }
        }
        for node in core {
            self.end_node_faults(*node, core);
        }
    }

    /// A node runs, on a disk that works. What no other of these nodes can give back of it is given up.
    pub fn end_node_faults(&mut self, node: usize, among: &[usize]) {
        self.fill_disk(node, false);
        self.slow_disk(node, false);
        self.fail_writes(node, 0);
        self.lie_about_writes(node, false);
        self.resume(node);
        self.start(node);
        self.give_up_lost(node, among);
        self.scrub(node);
    }
}
