//! Simulated meshes of every shape: whatever anybody does anywhere gets everywhere, once.

use chaos_tests::sim::{Setup, Shape, Topology, World, seeds};
use vatra_model::Class;

/// Time for all to hold the same once nothing more happens, in milliseconds.
const SETTLE_MS: u64 = 5_000;

#[test]
fn two_nodes_exchange() {
    for seed in seeds(1, 5) {
        let mut world = World::new(Setup::new(seed, 2));
        world.run_for(2_000);
        world.publish(0, Class::Flash);
        world.publish(1, Class::Routine);
        world.converge(SETTLE_MS);
        world.work_for(40, 100);
        world.converge(SETTLE_MS);
        assert!(world.tally.written >= 42, "seed {seed}: {:?}", world.tally);
        assert!(world.nodes[0].views.shown().count() > 10, "seed {seed}: nothing is shown");
    }
}

#[test]
fn every_shape_relays_to_all() {
    for topology in [Topology::Line, Topology::Ring, Topology::Star, Topology::Full] {
        for seed in seeds(10, 4) {
            let mut world = World::new(Setup { topology, ..Setup::new(seed, 5) });
            world.run_for(1_000);
            world.work_for(60, 60);
            world.converge(SETTLE_MS);
            let spread = world.tally.copies_per_delivery();
            assert!(spread < 1.6, "seed {seed}, {topology:?}: {spread} copies for each delivery, {:?}", world.tally);
        }
    }
}

#[test]
fn rough_lines_change_nothing_but_time() {
    for seed in seeds(30, 4) {
        let mut world = World::new(Setup { shape: Shape::ROUGH, skew_ms: 600_000, ..Setup::new(seed, 4) });
        world.run_for(1_000);
        world.work_for(80, 50);
        world.converge(2 * SETTLE_MS);
        assert!(world.tally.twice > 0, "seed {seed}: nothing came twice");
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let run = |seed| {
        let mut world = World::new(Setup { shape: Shape::ROUGH, skew_ms: 1_000, ..Setup::new(seed, 4) });
        world.run_for(1_000);
        world.work_for(30, 50);
        world.crash_by_chance(1);
        world.work_for(10, 50);
        world.start(1);
        world.converge(10_000);
        world.history_hash()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn wrong_clocks_change_nothing_of_what_is_accepted() {
    // The same deeds at the same moments, with right clocks and with clocks that are wrong by up to a year.
    let run = |seed, skew_ms| {
        let mut world = World::new(Setup { skew_ms, ..Setup::new(seed, 3) });
        world.run_for(1_000);
        world.isolate(&[0]);
        for number in 0..60 {
            world.publish(number % 3, Class::ALL[number % 4]);
            world.run_for(70);
        }
        world.crash_by_chance(1);
        world.heal_all();
        world.run_for(500);
        world.start(1);
        world.converge(SETTLE_MS);
        let places: Vec<_> = world.nodes[2].disk.durable().entries.keys().collect();
        (places, world.nodes.iter().map(|node| node.views.shown().count()).collect::<Vec<_>>())
    };
    for seed in seeds(50, 3) {
        assert_eq!(run(seed, 0), run(seed, 365 * 24 * 3_600_000), "seed {seed}");
    }
}
