//! Connections: how they come up, carry frames, go silent, end and are dialled again.

use vatra_replica::{Cost, Input};

use crate::sim::network::{Flying, Frame, Pipe};
use crate::sim::planted::Bug;
use crate::sim::world::links::{Cause, Link};
use crate::sim::world::{Event, World};

/// Silence after which a link is given up, in microseconds; up to as much again is added by chance.
const SILENCE_US: (u64, u64) = (2_200_000, 2_800_000);
/// Time before a dial, in microseconds.
const DIAL_US: (u64, u64) = (250_000, 2_000_000);
/// When the mesh has measured a round trip, in microseconds after the link came up.
const MEASURED_US: u64 = 300_000;
/// Pushes repeated after a reconnection.
const REPEATED_MAX: usize = 20;

fn end(node: usize, peer: usize) -> usize {
    usize::from(node > peer)
}

impl World {
    pub(crate) fn link(&self, a: usize, b: usize) -> Option<&Link> {
        self.links.get(a, b)
    }

    pub(crate) fn link_mut(&mut self, a: usize, b: usize) -> Option<&mut Link> {
        self.links.get_mut(a, b)
    }

    pub(crate) fn pipe(&mut self, from: usize, to: usize) -> &mut Pipe {
        let link = self.link_mut(from, to).expect("the nodes are linked");
        &mut link.pipes[end(from, to)]
    }

    /// Whether a node thinks that its link is up.
    #[must_use]
    pub fn is_up(&self, node: usize, peer: usize) -> bool {
        self.link(node, peer).is_some_and(|link| link.up[end(node, peer)])
    }

    /// Whether two nodes may be connected.
    #[must_use]
    pub fn is_linked(&self, a: usize, b: usize) -> bool {
        self.link(a, b).is_some()
    }

    /// The one-way delay of a line, without its jitter, in microseconds.
    ///
    /// # Panics
    /// If the nodes are not linked.
    #[must_use]
    pub fn delay_us(&self, from: usize, to: usize) -> u64 {
        self.link(from, to).expect("the nodes are linked").pipes[end(from, to)].shape.delay_us
    }

    pub(crate) fn peers_of(&self, node: usize) -> Vec<usize> {
        (0..self.nodes.len()).filter(|peer| self.links.get(node, *peer).is_some()).collect()
    }

    pub(crate) fn dial_soon(&mut self, a: usize, b: usize, soon: bool) {
        let wait = if soon { 10_000 } else { self.network_chance.between(DIAL_US.0, DIAL_US.1) };
        let at = self.now_us + wait;
        if self.is_planted(Bug::NeverRedial) && !soon {
            return;
        }
        let Some(link) = self.link_mut(a, b) else { return };
        if !link.is_dialing && link.is_wanted {
            link.is_dialing = true;
            let at = at.max(link.banned_until);
            self.schedule(at, Event::Dial { a, b });
        }
    }

    pub(crate) fn dial(&mut self, a: usize, b: usize) {
        let now = self.now_us;
        let Some(link) = self.link_mut(a, b) else { return };
        link.is_dialing = false;
        let open = link.is_wanted && !link.pipes.iter().any(Pipe::is_cut) && link.banned_until <= now;
        let ends_up = link.up;
        if ends_up == [true, true] {
            return;
        }
        self.watch.dialled(a, b);
        let running = self.nodes[a].is_running() && self.nodes[b].is_running();
        if !open || !running || self.twin_is_up(a, b) || !self.is_admitted(a, b) || !self.is_admitted(b, a) {
            return self.dial_soon(a, b, false);
        }
        for (node, peer) in [(a, b), (b, a)] {
            if self.is_up(node, peer) {
                // The other end came back before this one had noticed that it was gone.
                self.side_down(node, peer);
                self.drain();
            }
        }
        let link = self.link_mut(a, b).expect("looked up above");
        link.number += 1;
        link.pipes.iter_mut().for_each(Pipe::clear);
        let number = link.number;
        let there = link.pipes[end(a, b)].shape.delay_us;
        let back = link.pipes[end(b, a)].shape.delay_us;
        link.coming_until[end(b, a)] = now + there;
        link.coming_until[end(a, b)] = now + there + back;
        self.tally.connections += 1;
        self.schedule(now + there, Event::Up { node: b, peer: a, number });
        self.schedule(now + there + back, Event::Up { node: a, peer: b, number });
    }

    /// Whether TLS lets a peer in: its certificate is known under the charter in force. Nodes of another
    /// federation are let in, to see that the core refuses them too.
    fn is_admitted(&self, node: usize, peer: usize) -> bool {
        let (ours, theirs) = (&self.nodes[node].site, &self.nodes[peer].site);
        let known = |replica: &vatra_replica::Replica| replica.trust().node(&theirs.key).is_some();
        ours.charter.founding_hash() != theirs.charter.founding_hash()
            || self.nodes[node].replica.as_ref().is_some_and(known)
    }

    pub(crate) fn up(&mut self, node: usize, peer: usize, number: u64) {
        let usual = self.setup.cost;
        let Some(link) = self.link_mut(node, peer) else { return };
        if link.number != number || self.nodes[node].replica.is_none() {
            return;
        }
        if self.nodes[node].is_paused {
            return self.nodes[node].deferred.push(Event::Up { node, peer, number });
        }
        let link = self.link_mut(node, peer).expect("looked up above");
        let cost = link.cost.unwrap_or(usual);
        link.up[end(node, peer)] = true;
        let silence = self.silence();
        let cut_number = self.pipe(peer, node).cut_number;
        if self.pipe(peer, node).is_cut() || !self.nodes[peer].is_running() {
            self.schedule(self.now_us + silence, Event::Silent { node, peer, number, cut_number });
        }
        self.nodes[node].forget_link(peer);
        self.history.note(self.now_us, node, b"up");
        let key = self.nodes[peer].key();
        self.inbox.push_back((node, Input::LinkUp { peer: key, cost }));
        self.drain();
        self.repeat_pushes(node, peer);
        self.schedule(self.now_us + MEASURED_US, Event::Measured { node, peer, number });
    }

    /// After a reconnection some of what was pushed before comes again.
    fn repeat_pushes(&mut self, node: usize, peer: usize) {
        let before = self.nodes[node].pushed.remove(&peer).unwrap_or_default();
        let often = self.pipe(node, peer).shape.twice_permille;
        if !before.is_empty() && self.network_chance.permille(often * 10) {
            for entry in before.into_iter().rev().take(REPEATED_MAX) {
                self.tally.twice += 1;
                self.send_entries(
                    node,
                    peer,
                    None,
                    crate::sim::world::perform::lane_of(entry.header().class),
                    &[entry],
                );
            }
        }
    }

    pub(crate) fn measured(&mut self, node: usize, peer: usize, number: u64) {
        let Some(link) = self.link(node, peer) else { return };
        if link.number == number && self.is_up(node, peer) {
            let link = self.link(node, peer).expect("looked up above");
            let rtt: u64 = link.pipes.iter().map(|pipe| pipe.shape.delay_us + pipe.shape.jitter_us / 2).sum();
            let rtt_ms = u32::try_from(rtt.div_ceil(1000)).unwrap_or(u32::MAX);
            let key = self.nodes[peer].key();
            self.inbox.push_back((node, Input::RoundTrip { peer: key, rtt_ms }));
        }
    }

    /// A line was cut, or the node at its end is gone: the other end notices after a while.
    pub(crate) fn fall_silent(&mut self, node: usize, peer: usize) {
        let silence = self.silence();
        let Some(link) = self.link(node, peer) else { return };
        let number = link.number;
        let cut_number = self.pipe(peer, node).cut_number;
        self.schedule(self.now_us + silence, Event::Silent { node, peer, number, cut_number });
    }

    fn silence(&mut self) -> u64 {
        self.network_chance.between(SILENCE_US.0, SILENCE_US.1)
    }

    pub(crate) fn silent(&mut self, node: usize, peer: usize, number: u64, cut_number: u64) {
        if !self.is_up(node, peer) || self.link(node, peer).is_none_or(|link| link.number != number) {
            return;
        }
        if self.nodes[node].is_paused {
            return self.nodes[node].deferred.push(Event::Silent { node, peer, number, cut_number });
        }
        let other_is_up = self.is_up(peer, node) && self.nodes[peer].is_running();
        let pipe = self.pipe(peer, node);
        if !other_is_up || (pipe.is_cut() && pipe.cut_number == cut_number) {
            self.side_down(node, peer);
        }
    }

    /// What a link costs from now on; `None` = as usual. Nodes go by what a link cost when it came up, so one that
    /// costs something else is made anew.
    pub(crate) fn set_cost(&mut self, a: usize, b: usize, cost: Option<Cost>) {
        let usual = self.setup.cost;
        let Some(link) = self.link_mut(a, b) else { return };
        let before = std::mem::replace(&mut link.cost, cost);
        if before.unwrap_or(usual) != cost.unwrap_or(usual) {
            for (node, peer) in [(a, b), (b, a)] {
                if self.is_up(node, peer) {
                    self.side_down(node, peer);
                }
            }
        }
    }

    /// One end gives the connection up; the other hears of it if the line works.
    pub(crate) fn side_down(&mut self, node: usize, peer: usize) {
        let Some(link) = self.link_mut(node, peer) else { return };
        link.up[end(node, peer)] = false;
        let number = link.number;
        if link.pipes.iter().any(Pipe::is_cut) {
            link.blame(Cause::Cut);
        }
        self.lose_waiting(node, peer);
        let pipe = self.pipe(node, peer);
        let (is_cut, delay) = (pipe.is_cut(), pipe.shape.delay_us);
        self.nodes[node].forget_link(peer);
        self.watch.asking.entry((node, peer)).or_default().forget();
        self.history.note(self.now_us, node, b"down");
        let key = self.nodes[peer].key();
        self.inbox.push_back((node, Input::LinkDown { peer: key }));
        if !self.is_up(peer, node) {
            return self.dial_soon(node, peer, false);
        }
        if is_cut {
            self.fall_silent(peer, node);
        } else {
            let cut_number = self.pipe(node, peer).cut_number;
            self.schedule(self.now_us + delay, Event::Silent { node: peer, peer: node, number, cut_number });
        }
    }

    /// A process has ended, and its end of a connection with it; the other end notices after a while.
    pub(crate) fn end_with_process(&mut self, node: usize, peer: usize) {
        let Some(link) = self.link_mut(node, peer) else { return };
        if link.up != [false; 2] {
            link.blame(Cause::Kill);
        }
        link.up[end(node, peer)] = false;
        self.lose_waiting(node, peer);
        self.fall_silent(peer, node);
    }

    /// What waits at one end of a connection is lost with it.
    fn lose_waiting(&mut self, node: usize, peer: usize) {
        let Some(link) = self.link_mut(node, peer) else { return };
        let pipe = &mut link.pipes[end(node, peer)];
        let waiting = pipe.waiting().0 as u64;
        pipe.clear();
        link.lose(end(node, peer), link.number, waiting);
        self.tally.lost += waiting;
    }

    /// Queues a frame; `false` if the lane is full or the link is down.
    pub(crate) fn send_frame(&mut self, from: usize, to: usize, lane: usize, frame: Frame) -> bool {
        if !self.is_up(from, to) {
            return false;
        }
        let bytes = frame.bytes();
        let unbounded = self.is_planted(Bug::UnboundedQueue);
        let pipe = self.pipe(from, to);
        if !pipe.has_room(lane, bytes) && !unbounded {
            return false;
        }
        self.tally.frame_bytes += bytes as u64;
        self.watch.sent(from, bytes);
        self.pipe(from, to).queue(lane, frame);
        self.advance_line(from, to, false);
        true
    }

    pub(crate) fn line_free(&mut self, from: usize, to: usize, number: u64) {
        if self.link(from, to).is_some_and(|link| link.number == number) {
            self.advance_line(from, to, true);
            self.pump(from, to);
        }
    }

    fn advance_line(&mut self, from: usize, to: usize, mut is_free: bool) {
        let number = self.link(from, to).expect("the nodes are linked").number;
        loop {
            let now = self.now_us;
            let link = self.links.get_mut(from, to).expect("the nodes are linked");
            let Some(step) = link.pipes[end(from, to)].send(now, is_free, &mut self.network_chance) else { return };
            if let Some((flying, at)) = step.leaves {
                self.schedule(at, Event::Arrive { from, to, number, flying });
            }
            if let Some(at) = step.free_at {
                return self.schedule(at, Event::LineFree { from, to, number });
            }
            is_free = true;
        }
    }

    pub(crate) fn arrive(&mut self, from: usize, to: usize, number: u64, flying: Flying) {
        let current = self.link(from, to).is_some_and(|link| link.number == number);
        let coming = self.link(from, to).map_or(0, |link| link.coming_until[end(to, from)]);
        if current && !self.is_up(to, from) && self.now_us < coming {
            // The line became faster meanwhile: what it carries is not read before the connection is there.
            return self.schedule(coming + 1, Event::Arrive { from, to, number, flying });
        }
        if current && self.nodes[to].is_paused {
            // Even that the connection is there may have to wait.
            return self.nodes[to].deferred.push(Event::Arrive { from, to, number, flying });
        }
        if !current || !self.is_up(to, from) {
            let is_dead = self.nodes[to].replica.is_none();
            if let Some(link) = self.link_mut(from, to) {
                if current && is_dead {
                    link.blame(Cause::Kill);
                }
                link.lose(end(from, to), number, 1);
            }
            self.tally.lost += 1;
            return;
        }
        if self.pipe(from, to).is_cut() {
            return self.pipe(from, to).stall(flying);
        }
        if flying.is_damaged {
            self.open_damaged(from, to, &flying);
        }
        let twice_permille = self.pipe(from, to).shape.twice_permille;
        let again = self.network_chance.permille(twice_permille).then(|| flying.clone());
        self.receive(from, to, flying);
        if let Some(flying) = again.filter(|_| self.is_up(to, from)) {
            self.tally.twice += 1;
            self.receive(from, to, flying);
        }
    }

    pub(crate) fn heal_pipe(&mut self, from: usize, to: usize) {
        let Some(link) = self.link(from, to) else { return };
        let number = link.number;
        for flying in self.pipe(from, to).heal() {
            self.schedule(self.now_us, Event::Arrive { from, to, number, flying });
        }
    }
}
