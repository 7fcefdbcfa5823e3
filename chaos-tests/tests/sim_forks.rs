//! Simulated forks: stores that went back unseen, clones, owners that contradict themselves. Nothing acknowledged is
//! lost, all nodes come to the same, and nobody is muted.

use chaos_tests::sim::disk::Keep;
use chaos_tests::sim::{Setup, Topology, World, seeds};
use vatra_model::Class;

const SETTLE_MS: u64 = 60_000;

fn publish(world: &mut World, node: usize, count: usize) {
    for number in 0..count {
        world.publish(node, Class::ALL[number % 4]);
        world.run_for(40);
    }
}

/// Node 0 writes what only node 2 gets, goes back to before that without a trace, and writes again after node 1, which
/// does not know better, has confirmed it.
fn fork_of_node_0(seed: u64, branch: usize, second: usize) -> World {
    let mut world = World::new(Setup::new(seed, 3));
    world.run_for(2_000);
    world.work_for(20, 40);
    world.converge(SETTLE_MS);
    let image = world.nodes[0].disk.backup();
    world.isolate(&[1]);
    world.run_for(4_000);
    publish(&mut world, 0, branch);
    world.run_for(2_000);
    world.crash(0, Keep::Nothing);
    world.roll_back(0, image);
    world.heal_all();
    world.isolate(&[2]);
    world.start(0);
    world.run_for(8_000);
    assert!(world.is_up(0, 1), "seed {seed}: nobody confirms");
    publish(&mut world, 0, second);
    world.run_for(2_000);
    world
}

#[test]
fn a_store_that_went_back_unseen_forks_and_loses_nothing() {
    for seed in seeds(600, 6) {
        let (branch, second) = [(3, 3), (1, 9), (9, 1), (40, 25), (25, 40), (200, 3)][seed as usize % 6];
        let mut world = fork_of_node_0(seed, branch, second);
        assert_eq!(world.tally.forks, 0, "seed {seed}: nobody can know yet");
        let old = world.nodes[0].replica.as_ref().expect("it runs").own_log();
        world.heal_all();
        world.run_for(6_000);
        world.converge(SETTLE_MS);
        for node in &world.nodes {
            let fork = node.disk.durable().forks.get(&old);
            assert!(fork.is_some(), "seed {seed}: a node does not know of the fork");
        }
        let replica = world.nodes[0].replica.as_ref().expect("it runs");
        assert_ne!(replica.own_log(), old, "seed {seed}: the owner goes on in its forked log");
        world.publish(0, Class::Flash);
        world.converge(SETTLE_MS);
        assert_eq!(world.tally.refused, 0, "seed {seed}: somebody was muted");
        // After a restart everything is as it was.
        for node in 0..3 {
            world.crash_by_chance(node);
            world.start(node);
        }
        world.work_for(20, 40);
        world.converge(SETTLE_MS);
    }
}

#[test]
fn an_isolated_start_from_an_old_copy_forks_nothing() {
    for seed in seeds(610, 4) {
        let mut world = World::new(Setup::new(seed, 3));
        world.run_for(2_000);
        world.work_for(20, 40);
        world.converge(SETTLE_MS);
        let image = world.nodes[0].disk.backup();
        publish(&mut world, 0, 10);
        world.converge(SETTLE_MS);
        world.crash(0, Keep::Nothing);
        world.roll_back(0, image);
        world.isolate(&[0]);
        world.start(0);
        publish(&mut world, 0, 10);
        publish(&mut world, 1, 10);
        world.heal_all();
        world.run_for(6_000);
        world.converge(SETTLE_MS);
        assert_eq!((world.tally.forks, world.tally.refused), (0, 0), "seed {seed}");
    }
}

#[test]
fn a_fork_spreads_over_a_line_and_to_those_that_come_late() {
    for seed in seeds(620, 3) {
        let mut world = World::new(Setup { topology: Topology::Line, ..Setup::new(seed, 5) });
        world.run_for(3_000);
        world.work_for(20, 40);
        world.converge(SETTLE_MS);
        // Node 2 writes to its left what its right never sees, and the other way round.
        let image = world.nodes[2].disk.backup();
        world.cut(2, 3);
        world.run_for(4_000);
        publish(&mut world, 2, 12);
        world.run_for(2_000);
        world.crash(2, Keep::Nothing);
        world.roll_back(2, image);
        world.cut(1, 2);
        world.heal(2, 3);
        world.start(2);
        world.run_for(8_000);
        publish(&mut world, 2, 7);
        world.run_for(2_000);
        world.crash_by_chance(4);
        world.heal_all();
        world.run_for(8_000);
        world.start(4);
        world.run_for(4_000);
        world.converge(SETTLE_MS);
        assert!(world.nodes.iter().all(|node| node.disk.durable().forks.len() == 1), "seed {seed}: not all know");
    }
}
