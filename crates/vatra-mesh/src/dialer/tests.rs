//! The dialer against a clock that jumps.

use super::*;
use crate::config::LinkProfile;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn key(n: u8) -> NodeKey {
    NodeKey([n; 32])
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The dialer of node 0 with its own time. Attempts end after `attempt_lasts` with `outcome`.
struct World {
    start: Instant,
    now: Instant,
    dialer: Dialer,
    attempt_lasts: Duration,
    outcome: Outcome,
    under_way: Vec<(Instant, NodeKey)>,
}

impl World {
    fn new(peers: u8, in_flight_max: usize) -> World {
        let start = Instant::now();
        let mut dialer = Dialer::new(key(0), LinkProfile::Wan.timing().dial, in_flight_max, 7);
        let plan = (1..=peers).map(|n| (key(n), vec![address(1_000 + u16::from(n))])).collect();
        dialer.plan(start, plan, &BTreeMap::new());
        World {
            start,
            now: start,
            dialer,
            attempt_lasts: 1_900 * MS,
            outcome: Outcome::TimedOut,
            under_way: Vec::new(),
        }
    }

    /// Moves the clock on in small steps; returns when which peer was dialled, from the world's start.
    fn pass(&mut self, time: Duration) -> Vec<(Duration, NodeKey)> {
        let until = self.now + time;
        let mut dialled = Vec::new();
        while self.now < until {
            let (ended, going): (Vec<_>, Vec<_>) = self.under_way.iter().partition(|(at, _)| *at <= self.now);
            self.under_way = going;
            ended.iter().for_each(|(_, node)| self.dialer.attempt_ended(*node, self.outcome));
            for attempt in self.dialer.due(self.now) {
                dialled.push((self.now - self.start, attempt.node));
                self.under_way.push((self.now + self.attempt_lasts, attempt.node));
            }
            self.now += 5 * MS;
        }
        dialled
    }

    fn gaps(dialled: &[(Duration, NodeKey)]) -> Vec<Duration> {
        dialled.windows(2).map(|pair| pair[1].0 - pair[0].0).collect()
    }
}

#[test]
fn a_lost_peer_is_dialled_quickly_then_steadily_then_ever_less() {
    let mut world = World::new(1, 8);
    let dialled = world.pass(300 * SECOND);
    assert!(dialled[0].0 <= SPREAD, "{:?}", dialled[0]);
    let gaps = World::gaps(&dialled);
    assert!(gaps[..2].iter().all(|gap| gap.abs_diff(400 * MS) <= 10 * MS), "{:?}", &gaps[..2]);
    assert!(gaps[2..24].iter().all(|gap| gap.abs_diff(SECOND) <= 260 * MS), "{:?}", &gaps[2..24]);
    assert!(gaps[2..24].windows(2).any(|pair| pair[0].abs_diff(pair[1]) > 20 * MS), "in step: {:?}", &gaps[2..24]);
    let late = &gaps[gaps.len() - 20..];
    assert!(late.iter().all(|gap| (4 * SECOND..=5 * SECOND + 10 * MS).contains(gap)), "{late:?}");
}

#[test]
fn a_connected_peer_is_left_alone_and_a_lost_link_starts_a_new_run() {
    let mut world = World::new(1, 8);
    world.pass(120 * SECOND);
    world.dialer.connected(key(1));
    assert_eq!(world.pass(60 * SECOND), []);

    world.dialer.disconnected(world.now, key(1), true);
    let lost_at = world.now - world.start;
    let dialled = world.pass(SECOND);
    assert_eq!(dialled.len(), 3, "{dialled:?}");
    assert!(dialled[0].0 - lost_at <= SPREAD + 5 * MS);
}

#[test]
fn a_peer_that_turns_us_away_is_not_hammered() {
    let mut world = World::new(1, 8);
    let mut dialled = 0;
    for _ in 0..120 {
        let attempts = world.pass(SECOND);
        for (_, node) in &attempts {
            world.dialer.connected(*node);
            world.dialer.disconnected(world.now, *node, false);
        }
        dialled += attempts.len();
    }
    assert!((40..=60).contains(&dialled), "{dialled}");
}

#[test]
fn hope_restarts_old_runs_only() {
    let mut world = World::new(1, 8);
    world.pass(120 * SECOND);
    world.dialer.encourage(world.now);
    assert_eq!(world.pass(SECOND).len(), 3);
    world.dialer.encourage(world.now);
    assert_eq!(world.pass(1_100 * MS).len(), 1, "the run was only a second old");
}

/// Most attempts under way at once while `time` passes.
fn crowd(world: &mut World, time: Duration) -> usize {
    let until = world.now + time;
    let mut most = 0;
    while world.now < until {
        world.pass(10 * MS);
        most = most.max(world.under_way.len());
    }
    most
}

#[test]
fn attempts_under_way_follow_what_comes_of_them() {
    let mut world = World::new(60, 20);
    assert_eq!(crowd(&mut world, SECOND), IN_FLIGHT_START);
    crowd(&mut world, 60 * SECOND);
    assert_eq!(crowd(&mut world, 20 * SECOND), IN_FLIGHT_MIN, "all time out");
    world.outcome = Outcome::Refused;
    assert_eq!(crowd(&mut world, 20 * SECOND), IN_FLIGHT_MIN, "an answer says nothing about the load");
    world.outcome = Outcome::Connected;
    assert_eq!(crowd(&mut world, 60 * SECOND), 20, "the bound holds whatever comes of them");
}

#[test]
fn dials_stay_bounded_while_a_whole_mesh_is_cut_off_for_long() {
    let mut world = World::new(59, 64);
    assert!(crowd(&mut world, 60 * SECOND) <= 64);
    let dialled = world.pass(600 * SECOND);
    let each = |peer: u8| dialled.iter().filter(|(_, node)| *node == key(peer)).count();
    let counts: Vec<usize> = (1..=59).map(each).collect();
    assert!(counts.iter().all(|count| *count <= 600 / 4), "more often than every four seconds: {counts:?}");
    assert!(counts.iter().all(|count| *count >= 600 / 60), "somebody is forgotten: {counts:?}");
    assert!(crowd(&mut world, 10 * SECOND) <= IN_FLIGHT_START, "time-outs make attempts fewer");
}

#[test]
fn every_peer_gets_its_turn_when_attempts_are_scarce() {
    let mut world = World::new(20, 3);
    assert_eq!(crowd(&mut world, SECOND), 3);
    let reached: BTreeSet<NodeKey> = world.pass(30 * SECOND).into_iter().map(|(_, node)| node).collect();
    assert_eq!(reached.len(), 20);
}

#[test]
fn overlapping_attempts_leave_room_for_other_peers() {
    let mut world = World::new(12, 64);
    let dialled = world.pass(900 * MS);
    let peers: BTreeSet<NodeKey> = dialled.iter().map(|(_, node)| *node).collect();
    assert_eq!((dialled.len(), peers.len()), (12, 12), "half of the allowance is taken, so nothing overlaps");
}

#[test]
fn the_larger_key_begins_half_a_gap_later() {
    let mut world = World::new(1, 8);
    world.dialer.own = key(2);
    let plan = BTreeMap::from([(key(1), vec![address(9)])]);
    world.dialer.plan(world.now, BTreeMap::new(), &BTreeMap::new());
    world.dialer.plan(world.now, plan, &BTreeMap::new());
    let dialled = world.pass(SECOND);
    assert!((200 * MS..=260 * MS).contains(&dialled[0].0), "{dialled:?}");
}

#[test]
fn attempts_at_one_peer_overlap_only_so_far() {
    let mut world = World::new(1, 64);
    world.attempt_lasts = 60 * SECOND;
    assert_eq!(world.pass(30 * SECOND).len(), ATTEMPTS_PER_PEER_MAX);
}

#[test]
fn a_new_plan_forgets_old_targets_and_keeps_count_of_their_attempts() {
    let mut world = World::new(2, 8);
    world.pass(100 * MS);
    assert_eq!(world.dialer.in_flight, 2);
    let plan = BTreeMap::from([(key(1), vec![address(9)])]);
    world.dialer.plan(world.now, plan, &BTreeMap::new());
    let dialled = world.pass(10 * SECOND);
    assert!(dialled.iter().all(|(_, node)| *node == key(1)), "{dialled:?}");
    world.dialer.plan(world.now, BTreeMap::new(), &BTreeMap::new());
    assert_eq!(world.pass(10 * SECOND), []);
    assert_eq!((world.dialer.in_flight, world.dialer.orphans.len()), (0, 0));
    assert_eq!(world.dialer.deadline(), None);
}

#[test]
fn a_peer_that_is_connected_when_planned_is_not_dialled() {
    let mut world = World::new(0, 4);
    let plan = BTreeMap::from([(key(1), vec![address(9)])]);
    world.dialer.plan(world.now, plan, &BTreeMap::from([(key(1), 1)]));
    assert_eq!(world.pass(10 * SECOND), []);
    world.dialer.disconnected(world.now, key(1), true);
    assert!(!world.pass(SECOND).is_empty());
}
