//! Simulated members that hold a valid key and do as they like: honest nodes keep equal views, lose nothing of each
//! other's, stay within their bounds and never panic.

use chaos_tests::sim::hostile::Act;
use chaos_tests::sim::{Setup, World, seeds};
use vatra_model::Class;

/// Nodes of these worlds; the last ones are hostile.
const NODES: usize = 5;
/// An honest alert reaches every honest node within so many milliseconds, whatever the others do.
const HONEST_MS_MAX: u64 = 3_000;

/// A world in which one member acts, while the others work.
fn under(seed: u64, acts: &[Act]) -> World {
    let mut world = World::new(Setup::new(seed, NODES));
    world.run_for(1_000);
    world.publish(NODES - 1, Class::Routine);
    world.work_for(10, 50);
    world.make_hostile(NODES - 1, acts);
    world.work_for(15, 150);
    // Somebody comes back and has to ask for what it missed, at first the hostile one only.
    world.isolate(&[0]);
    world.work_for(20, 200);
    world.heal(0, NODES - 1);
    world.run_for(5_000);
    world.heal_all();
    world.run_until(10_000, |world| (1..NODES).all(|node| world.is_up(0, node))).expect("they link");
    world.work_for(10, 100);
    world
}

fn honest_entries_reach_all(world: &mut World, name: &str) {
    let seed = world.setup.seed;
    world.publish(0, Class::Flash);
    world.run_for(30);
    let log = world.nodes[0].replica.as_ref().expect("it runs").own_log();
    let seq = world.nodes[0].disk.durable().height(&log) - 1;
    let arrived = |world: &World| (0..NODES - 1).all(|node| world.nodes[node].disk.durable().hash(log, seq).is_some());
    let took = world.run_until(HONEST_MS_MAX, arrived);
    assert!(took.is_some(), "seed {seed}, {name}: an honest flash did not reach all honest nodes in time");
    assert!(world.tally.bites_of(name) > 0, "seed {seed}: {name} never bit, {:?}", world.tally.bites);
}

#[test]
fn acts_that_leave_one_history_change_nothing() {
    for act in Act::ALL.into_iter().filter(|act| !act.forks()) {
        for seed in seeds(700, 1) {
            let mut world = under(seed, &[act]);
            honest_entries_reach_all(&mut world, act.name());
            world.converge(20_000);
        }
    }
}

#[test]
fn acts_that_sign_by_hand_reach_all_or_nobody_and_harm_nobody() {
    for act in Act::ALL.into_iter().filter(|act| act.forks()) {
        for seed in seeds(720, 1) {
            let mut world = under(seed, &[act]);
            honest_entries_reach_all(&mut world, act.name());
            world.settle_honest_logs(20_000);
            world.expect_honest(act.name());
        }
    }
}

#[test]
fn everything_at_once_harms_nobody() {
    for seed in seeds(740, 1) {
        let mut world = under(seed, &Act::ALL);
        honest_entries_reach_all(&mut world, Act::Flood.name());
        world.settle_honest_logs(20_000);
        world.expect_honest("all acts");
        println!("core bytes at most {}, frames queued at most {}", world.watch.core_bytes_max, world.watch.queued_max);
    }
}
