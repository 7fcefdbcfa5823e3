//! Decides when which peer is dialled. Sans-IO: the caller tells what happened and asks what is due.
//!
//! Nobody in libp2p dials again after a loss. A *run* is the series of attempts since a peer was lost or news
//! gave hope: a few quick overlapping attempts, then a steady rhythm, then a growing gap with jitter.

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

/// Runs of several peers that begin at one moment are spread over this time.
const SPREAD: Duration = Duration::from_millis(50);

/// An attempt to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) node: NodeKey,
    pub(crate) addresses: Vec<SocketAddr>,
}

/// Whom to dial, and when next.
#[derive(Debug)]
pub(crate) struct Dialer {
    timing: DialTiming,
    in_flight_max: usize,
    in_flight: usize,
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
    pub(crate) fn new(timing: DialTiming, in_flight_max: usize, seed: u64) -> Dialer {
        Dialer {
            timing,
            in_flight_max: in_flight_max.max(1),
            in_flight: 0,
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
                    target.run = Run::start(now, &self.timing, &mut self.random);
                }
                None => {
                    let run = Run::start(now, &self.timing, &mut self.random);
                    let connections = connected.get(&node).copied().unwrap_or(0);
                    let in_flight = self.orphans.remove(&node).unwrap_or(0);
                    self.targets.insert(node, Target { addresses, connections, in_flight, run });
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
            target.run = Run::start(now, &self.timing, &mut self.random);
        }
    }

    /// An attempt handed out by [`Dialer::due`] ended, one way or the other.
    pub(crate) fn attempt_ended(&mut self, node: NodeKey) {
        self.in_flight = self.in_flight.saturating_sub(1);
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
                target.run = Run::start(now, &self.timing, &mut self.random);
            }
        }
    }

    /// Attempts to make now, longest due first.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Attempt> {
        let mut due: Vec<(Instant, NodeKey)> = self
            .targets
            .iter()
            .filter(|(_, target)| target.waits() && target.run.next <= now)
            .map(|(&node, target)| (target.run.next, node))
            .collect();
        due.sort_unstable();
        due.truncate(self.in_flight_max.saturating_sub(self.in_flight));
        let mut attempts = Vec::with_capacity(due.len());
        for (_, node) in due {
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
        if self.in_flight >= self.in_flight_max {
            return None;
        }
        self.targets.values().filter(|target| target.waits()).map(|target| target.run.next).min()
    }
}

impl Target {
    fn waits(&self) -> bool {
        self.connections == 0 && self.in_flight < ATTEMPTS_PER_PEER_MAX
    }
}

impl Run {
    fn start(now: Instant, timing: &DialTiming, random: &mut SmallRng) -> Run {
        let next = now + SPREAD.mul_f64(random.random_range(0.0..1.0));
        Run { since: next, attempts: 0, gap: timing.steady_gap, next }
    }

    fn attempted(&mut self, now: Instant, timing: &DialTiming, random: &mut SmallRng) {
        self.attempts += 1;
        self.next = if self.attempts < timing.quick_attempts {
            // On a fixed grid, so that a late timer does not shift all that follow.
            (self.since + timing.quick_gap * self.attempts).max(now + timing.quick_gap / 2)
        } else if now.saturating_duration_since(self.since) < timing.steady_for {
            now + timing.steady_gap
        } else {
            self.gap = self.gap.mul_f64(1.5).min(timing.gap_max);
            now + self.gap.mul_f64(random.random_range(0.8..1.0))
        };
    }
}

#[cfg(test)]
mod tests;
