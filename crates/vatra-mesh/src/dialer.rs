//! Decides when which peer is dialled. Sans-IO: the caller tells what happened and asks what is due.
//!
//! Nobody in libp2p dials again after a loss. A *run* is the series of attempts since a peer was lost or news
//! gave hope: a few quick overlapping attempts, then a steady rhythm, then a growing gap with jitter.
//!
//! How many attempts run at once follows what comes of them, as TCP's window does: an attempt that connects lets
//! one more run, one that times out lets one fewer. Otherwise a starting crowd of nodes that share a slow machine
//! spends all its time on handshakes that time out, and never recovers (tried with 36).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use vatra_model::NodeKey;

use crate::config::DialTiming;

/// A run younger than this is not started again by mere hope, see [`Dialer::encourage`].
const RUN_AGE_MIN: Duration = Duration::from_secs(5);

/// Attempts at one peer that may overlap.
const ATTEMPTS_PER_PEER_MAX: usize = 4;

/// Attempts that may run at once at the start, and however many time out.
const IN_FLIGHT_START: usize = 16;
const IN_FLIGHT_MIN: usize = 6;

/// Runs of several peers that begin at one moment are spread over this time.
const SPREAD: Duration = Duration::from_millis(50);

/// An attempt to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) node: NodeKey,
    pub(crate) addresses: Vec<SocketAddr>,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Connected,
    /// No answer in time.
    TimedOut,
    /// An answer, but no connection.
    Refused,
}

/// Whom to dial, and when next.
#[derive(Debug)]
pub(crate) struct Dialer {
    own: NodeKey,
    timing: DialTiming,
    in_flight: usize,
    /// Attempts that may run at once now, and at the very most.
    in_flight_allowed: usize,
    in_flight_max: usize,
    targets: BTreeMap<NodeKey, Target>,
    /// Attempts under way at nodes that are no target any more.
    orphans: BTreeMap<NodeKey, usize>,
    random: SmallRng,
}

#[derive(Debug)]
struct Target {
    addresses: Vec<SocketAddr>,
    /// Connections to the peer, whoever made them. While there is one, we do not dial.
    connections: usize,
    in_flight: usize,
    /// The end with the larger key begins half a gap later, so that the attempts of two ends alternate.
    lag: Duration,
    run: Run,
}

#[derive(Debug)]
struct Run {
    since: Instant,
    attempts: u32,
    gap: Duration,
    next: Instant,
}

impl Dialer {
    pub(crate) fn new(own: NodeKey, timing: DialTiming, in_flight_max: usize, seed: u64) -> Dialer {
        let in_flight_max = in_flight_max.max(1);
        Dialer {
            own,
            timing,
            in_flight: 0,
            in_flight_allowed: IN_FLIGHT_START.min(in_flight_max),
            in_flight_max,
            targets: BTreeMap::new(),
            orphans: BTreeMap::new(),
            random: SmallRng::seed_from_u64(seed),
        }
    }

    /// Replaces the targets. Runs of targets that stay go on; a changed address starts a new one.
    pub(crate) fn plan(
        &mut self,
        now: Instant,
        plan: BTreeMap<NodeKey, Vec<SocketAddr>>,
        connected: &BTreeMap<NodeKey, usize>,
    ) {
        let gone: BTreeSet<NodeKey> = self.targets.keys().filter(|node| !plan.contains_key(node)).copied().collect();
        for node in gone {
            let in_flight = self.targets.remove(&node).map_or(0, |target| target.in_flight);
            if in_flight > 0 {
                *self.orphans.entry(node).or_default() += in_flight;
            }
        }
        for (node, addresses) in plan {
            match self.targets.get_mut(&node) {
                Some(target) if target.addresses == addresses => {}
                Some(target) => {
                    target.addresses = addresses;
                    target.run = Run::start(now, target.lag, &self.timing, &mut self.random);
                }
                None => {
                    let lag = if self.own < node { Duration::ZERO } else { self.timing.quick_gap / 2 };
                    let run = Run::start(now, lag, &self.timing, &mut self.random);
                    let connections = connected.get(&node).copied().unwrap_or(0);
                    let in_flight = self.orphans.remove(&node).unwrap_or(0);
                    self.targets.insert(node, Target { addresses, connections, in_flight, lag, run });
                }
            }
        }
    }

    /// A connection to the peer exists.
    pub(crate) fn connected(&mut self, node: NodeKey) {
        if let Some(target) = self.targets.get_mut(&node) {
            target.connections += 1;
        }
    }

    /// A connection to the peer ended. `healthy` means that it carried a link, so a new run begins; otherwise
    /// the peer may be turning us away, and the old run goes on.
    pub(crate) fn disconnected(&mut self, now: Instant, node: NodeKey, healthy: bool) {
        let Some(target) = self.targets.get_mut(&node) else { return };
        target.connections = target.connections.saturating_sub(1);
        if healthy {
            target.run = Run::start(now, target.lag, &self.timing, &mut self.random);
        }
    }

    /// An attempt handed out by [`Dialer::due`] ended, one way or the other.
    pub(crate) fn attempt_ended(&mut self, node: NodeKey, outcome: Outcome) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.in_flight_allowed = match outcome {
            Outcome::Connected => (self.in_flight_allowed + 1).min(self.in_flight_max),
            Outcome::TimedOut => (self.in_flight_allowed - 1).max(IN_FLIGHT_MIN.min(self.in_flight_max)),
            Outcome::Refused => self.in_flight_allowed,
        };
        if let Some(target) = self.targets.get_mut(&node) {
            target.in_flight = target.in_flight.saturating_sub(1);
        } else if let Some(count) = self.orphans.get_mut(&node) {
            *count -= 1;
            if *count == 0 {
                self.orphans.remove(&node);
            }
        }
    }

    /// Another peer was reached or our address changed: the network may be back for everyone.
    pub(crate) fn encourage(&mut self, now: Instant) {
        for target in self.targets.values_mut() {
            if target.connections == 0 && now.saturating_duration_since(target.run.since) >= RUN_AGE_MIN {
                target.run = Run::start(now, target.lag, &self.timing, &mut self.random);
            }
        }
    }

    /// Attempts to make now: first at peers without one under way, then the longest due.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Attempt> {
        let mut due: Vec<(bool, Instant, NodeKey)> = self
            .targets
            .iter()
            .filter(|(_, target)| target.waits() && target.run.next <= now)
            .map(|(&node, target)| (target.in_flight > 0, target.run.next, node))
            .collect();
        due.sort_unstable();
        let mut attempts = Vec::new();
        for (overlaps, _, node) in due {
            if !self.has_room(overlaps) {
                break;
            }
            let Some(target) = self.targets.get_mut(&node) else { continue };
            target.in_flight += 1;
            target.run.attempted(now, &self.timing, &mut self.random);
            self.in_flight += 1;
            attempts.push(Attempt { node, addresses: target.addresses.clone() });
        }
        attempts
    }

    /// When [`Dialer::due`] next has something, unless something happens before.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.targets
            .values()
            .filter(|target| target.waits() && self.has_room(target.in_flight > 0))
            .map(|target| target.run.next)
            .min()
    }

    /// Attempts that overlap another at the same peer are for quiet times.
    fn has_room(&self, overlaps: bool) -> bool {
        let allowed = if overlaps { self.in_flight_allowed / 2 } else { self.in_flight_allowed };
        self.in_flight < allowed
    }
}

impl Target {
    fn waits(&self) -> bool {
        self.connections == 0 && self.in_flight < ATTEMPTS_PER_PEER_MAX
    }
}

impl Run {
    fn start(now: Instant, lag: Duration, timing: &DialTiming, random: &mut SmallRng) -> Run {
        let next = now + lag + SPREAD.mul_f64(random.random_range(0.0..1.0));
        Run { since: next, attempts: 0, gap: timing.steady_gap, next }
    }

    fn attempted(&mut self, now: Instant, timing: &DialTiming, random: &mut SmallRng) {
        self.attempts += 1;
        self.next = if self.attempts < timing.quick_attempts {
            // On a fixed grid, so that a late timer does not shift all that follow.
            (self.since + timing.quick_gap * self.attempts).max(now + timing.quick_gap / 2)
        } else if now.saturating_duration_since(self.since) < timing.steady_for {
            // A quarter off either way, so that nodes that lost the same path do not dial in step.
            now + timing.steady_gap.mul_f64(random.random_range(0.75..1.25))
        } else {
            self.gap = self.gap.mul_f64(1.5).min(timing.gap_max);
            now + self.gap.mul_f64(random.random_range(0.8..1.0))
        };
    }
}

#[cfg(test)]
mod tests;
