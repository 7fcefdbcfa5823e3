//! Simulated faults: cuts of every kind, crashes, full disks, old copies; nothing acknowledged is lost and all
//! meet again.

use chaos_tests::sim::disk::Keep;
use chaos_tests::sim::{Setup, Shape, Topology, World, seeds};
use vatra_model::Class;
use vatra_replica::Event;

/// Time for all to hold the same after the last fault has ended, in milliseconds.
const SETTLE_MS: u64 = 10_000;

#[test]
fn both_sides_of_a_cut_write_on_and_meet_again() {
    for seed in seeds(100, 5) {
        let mut world = World::new(Setup::new(seed, 3));
        world.run_for(1_000);
        world.isolate(&[0]);
        world.run_for(4_000);
        for node in 0..3 {
            assert!(!world.is_up(0, node) && !world.is_up(node, 0), "seed {seed}: the cut went unnoticed");
        }
        world.work_for(60, 50);
        assert!(!world.has_converged(), "seed {seed}: the cut let something through");
        let local = world.nodes[0].acknowledged.len();
        assert!(local > 5, "seed {seed}: only {local} were acknowledged while cut off");
        world.heal_all();
        world.converge(SETTLE_MS);
    }
}

#[test]
fn one_way_cuts_and_flapping_lines_heal() {
    for seed in seeds(120, 5) {
        let mut world = World::new(Setup { topology: Topology::Ring, ..Setup::new(seed, 4) });
        world.run_for(1_000);
        world.cut_one_way(0, 1);
        world.work_for(20, 100);
        for round in 0..8 {
            world.cut(1, 2);
            world.work_for(5, 100 + 100 * round);
            world.heal(1, 2);
            world.work_for(5, 100);
        }
        world.heal_all();
        world.converge(SETTLE_MS);
    }
}

#[test]
fn crashes_while_writing_lose_nothing_acknowledged() {
    for seed in seeds(140, 8) {
        let mut world = World::new(Setup { sync_us: (2_000, 30_000), ..Setup::new(seed, 3) });
        world.run_for(1_000);
        for round in 0..6 {
            world.work_for(12, 10);
            let victim = (seed as usize + round) % 3;
            world.crash_by_chance(victim);
            world.work_for(6, 200);
            world.start(victim);
            world.work_for(6, 20);
        }
        world.converge(SETTLE_MS);
        assert!(world.tally.crashes == 6, "seed {seed}");
    }
}

#[test]
fn all_nodes_lose_power_at_once() {
    for seed in seeds(160, 5) {
        let mut world = World::new(Setup { sync_us: (2_000, 30_000), ..Setup::new(seed, 3) });
        world.run_for(1_000);
        world.work_for(40, 10);
        for node in 0..3 {
            world.crash(node, Keep::Nothing);
        }
        world.run_for(500);
        for node in [2, 0, 1] {
            world.start(node);
            world.run_for(700);
        }
        world.work_for(10, 10);
        world.converge(SETTLE_MS);
    }
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() {
    for seed in seeds(180, 5) {
        let mut world = World::new(Setup::new(seed, 3));
        world.run_for(1_000);
        world.work_for(20, 20);
        world.fill_disk(1, true);
        world.work_for(40, 40);
        assert!(world.tally.refused > 0, "seed {seed}: a full disk refused nothing");
        world.run_for(12_000);
        world.fill_disk(1, false);
        world.work_for(10, 40);
        world.converge(SETTLE_MS);
    }
}

#[test]
fn an_old_copy_of_a_store_opens_a_new_life() {
    for seed in seeds(200, 6) {
        let mut world = World::new(Setup::new(seed, 3));
        world.run_for(1_000);
        world.work_for(30, 20);
        world.converge(SETTLE_MS);
        world.crash(0, Keep::Unsynced);
        let old = world.nodes[0].disk.backup();
        world.start(0);
        world.run_for(3_000);
        world.work_for(30, 20);
        world.converge(SETTLE_MS);
        let before = world.nodes[0].replica.as_ref().expect("it runs").incarnation();

        // The copy comes back while nobody can be asked, and people go on writing.
        world.crash(0, Keep::Unsynced);
        world.isolate(&[0]);
        world.put_back(0, old);
        world.start(0);
        for _ in 0..5 {
            world.publish(0, Class::Priority);
            world.run_for(50);
        }
        world.work_for(20, 20);
        world.heal_all();
        world.converge(SETTLE_MS);
        let after = world.nodes[0].replica.as_ref().expect("it runs").incarnation();
        assert_ne!(before, after, "seed {seed}");
    }
}

#[test]
fn peers_tell_a_store_put_back_without_a_fence() {
    // Neither fence nor boot number shows it: the copy is of the present run.
    for seed in seeds(220, 6) {
        let mut world = World::new(Setup::new(seed, 3));
        world.run_for(1_000);
        world.publish(0, Class::Routine);
        world.work_for(20, 20);
        let old = world.nodes[0].disk.backup();
        for _ in 0..5 {
            world.publish(0, Class::Routine);
            world.run_for(30);
        }
        world.converge(SETTLE_MS);
        world.crash(0, Keep::Unsynced);
        world.put_back(0, old);
        world.start(0);
        world.run_for(3_000);
        let noticed = world.notes.iter().any(|(node, note)| *node == 0 && matches!(note, Event::NewIncarnation { .. }));
        assert!(noticed, "seed {seed}: nobody told the node that it had lost entries");
        world.publish(0, Class::Routine);
        world.converge(SETTLE_MS);
    }
}

#[test]
fn entries_beyond_a_gap_survive_a_restart() {
    for seed in seeds(240, 5) {
        let mut world = World::new(Setup { views: false, ..Setup::new(seed, 2) });
        world.reshape(0, 1, Shape { rate: Some(40_000), ..Shape::NEAR });
        world.run_for(1_000);
        world.isolate(&[1]);
        world.run_for(4_000);
        for _ in 0..600 {
            world.publish(0, Class::Routine);
            world.run_for(3);
        }
        world.heal_all();
        let linked =
            world.run_until(10_000, |world| world.is_up(0, 1) && world.nodes[1].disk.durable().entries.len() > 100);
        assert!(linked.is_some(), "seed {seed}: catch-up did not begin");
        // A flash overtakes the catch-up and lies beyond the gap.
        world.publish(0, Class::Flash);
        let gap = world.run_until(10_000, |world| {
            let disk = world.nodes[1].disk.durable();
            disk.entries.len() as u64 > disk.logs.values().map(|row| row.head.height).sum()
        });
        assert!(gap.is_some(), "seed {seed}: there never was a gap");
        world.crash_by_chance(1);
        world.run_for(3_000);
        world.start(1);
        world.converge(60_000);
    }
}

/// Seeds that failed once.
const KEPT: &str = include_str!("../seeds/chance.txt");

#[test]
fn chance_does_its_worst() {
    let kept = KEPT.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(' ').next());
    let mut all: Vec<u64> = kept.map(|seed| seed.parse().expect("a line begins with a seed")).collect();
    let wanted = seeds(1_000, 12);
    if wanted.len() == 1 {
        all.clear();
    }
    all.extend(wanted);
    for seed in all {
        worst(seed);
    }
}

fn worst(seed: u64) {
    let nodes = 3 + (seed % 4) as usize;
    let topology = [Topology::Full, Topology::Ring, Topology::Line, Topology::Star][(seed / 4 % 4) as usize];
    let shape = if seed.is_multiple_of(2) { Shape::ROUGH } else { Shape::NEAR };
    let setup = Setup { topology, shape, skew_ms: 3_600_000, sync_us: (300, 20_000), ..Setup::new(seed, nodes) };
    let mut world = World::new(setup);
    world.run_for(500);
    for _ in 0..25 {
        world.fault_by_chance();
        world.work_for(6, 150);
    }
    world.end_all_faults();
    world.converge(30_000);
}

/// An entry that overtook its predecessor reached one node only; then the disk with the predecessor was put back.
#[test]
fn entries_beyond_a_gap_that_nobody_can_fill_reach_all() {
    for seed in seeds(260, 3) {
        let mut world = World::new(Setup { topology: Topology::Line, ..Setup::new(seed, 3) });
        world.run_for(2_000);
        world.publish(0, Class::Routine);
        world.converge(SETTLE_MS);
        world.crash(0, Keep::Unsynced);
        let old = world.nodes[0].disk.backup();
        world.start(0);
        world.run_for(3_000);
        // Routine alerts fill a slow line, the flash overtakes it, and the node is gone.
        world.isolate(&[2]);
        world.reshape(0, 1, Shape { rate: Some(2_000), ..Shape::NEAR });
        world.run_for(3_000);
        for _ in 0..6 {
            world.publish(0, Class::Routine);
            world.run_for(5);
        }
        world.publish(0, Class::Flash);
        let log = world.nodes[0].replica.as_ref().expect("it runs").own_log();
        let gap = world.run_until(10_000, |world| {
            let disk = world.nodes[1].disk.durable();
            disk.entries.keys().any(|(held, seq)| held == log && seq > disk.height(&log))
        });
        assert!(gap.is_some(), "seed {seed}: the flash did not overtake");
        world.crash(0, Keep::Nothing);
        world.put_back(0, old);
        world.start(0);
        world.heal_all();
        world.reshape(0, 1, Shape::NEAR);
        world.converge(60_000);
        let held = world.nodes[2].disk.durable().entries.keys().filter(|(held, _)| *held == log).count() as u64;
        assert!(held > world.nodes[2].disk.durable().height(&log), "seed {seed}: the gap was filled after all");
    }
}
