//! Simulated trouble of single nodes: frozen processes, bad disks, wrong clocks, copies; each must bite, and nothing
//! acknowledged may be lost.

use chaos_tests::sim::{Setup, Shape, Topology, World, seeds};
use vatra_model::Class;

const SETTLE_MS: u64 = 15_000;

fn bit(world: &World, fault: &str) -> u64 {
    world.bites().get(fault).copied().unwrap_or(0)
}

#[test]
fn a_frozen_process_goes_on_where_it_stopped() {
    for seed in seeds(500, 4) {
        let mut world = World::new(Setup::new(seed, 4));
        world.run_for(1_000);
        world.work_for(10, 30);
        world.pause(1);
        world.work_for(20, 300);
        assert!(!world.is_up(0, 1), "seed {seed}: nobody missed the frozen node");
        world.resume(1);
        world.work_for(10, 30);
        // A short freeze is not even noticed.
        let connections = world.tally.connections;
        world.run_for(5_000);
        world.pause(2);
        world.run_for(500);
        world.resume(2);
        world.run_for(5_000);
        world.converge(SETTLE_MS);
        assert!(world.tally.connections <= connections + 3, "seed {seed}: a short freeze cost links");
        assert_eq!(bit(&world, "pauses"), 2, "seed {seed}");
    }
}

#[test]
fn slow_and_failing_disks_refuse_or_wait_and_lose_nothing() {
    for seed in seeds(510, 4) {
        let mut world = World::new(Setup::new(seed, 3));
        world.run_for(1_000);
        world.slow_disk(0, true);
        world.fail_writes(1, 300);
        world.work_for(40, 100);
        world.slow_disk(0, false);
        world.fail_writes(1, 0);
        world.run_for(12_000);
        world.work_for(10, 50);
        world.converge(SETTLE_MS);
        assert!(bit(&world, "slow_syncs") > 0 && bit(&world, "write_errors") > 0, "seed {seed}: {:?}", world.bites());
    }
}

#[test]
fn a_disk_that_lied_gets_back_what_others_hold() {
    for seed in seeds(520, 4) {
        let mut world = World::new(Setup::new(seed, 3));
        world.run_for(1_000);
        world.work_for(20, 20);
        world.lie_about_writes(0, true);
        for _ in 0..10 {
            world.publish(0, Class::Routine);
            world.run_for(60);
        }
        world.run_for(1_000);
        world.crash_by_chance(0);
        assert!(bit(&world, "lied_entries") > 0, "seed {seed}: the lie cost nothing");
        world.start(0);
        world.run_for(3_000);
        world.work_for(10, 50);
        world.converge(SETTLE_MS);
    }
}

#[test]
fn rotten_rows_are_found_and_fetched_again() {
    for seed in seeds(530, 4) {
        let mut world = World::new(Setup::new(seed, 3));
        world.run_for(1_000);
        world.work_for(60, 20);
        world.converge(SETTLE_MS);
        let whole = world.nodes[1].disk.durable().entries.len();
        world.flip_bits(1, 10);
        // Whoever comes back meanwhile is not served from them.
        world.wipe(2);
        world.start(2);
        world.run_for(6_000);
        world.scrub(1);
        world.work_for(10, 50);
        world.converge(SETTLE_MS);
        assert!(world.nodes[1].disk.durable().entries.len() >= whole, "seed {seed}: the rows did not come back");
        let (found, mended) = (bit(&world, "flips_found"), bit(&world, "flips_mended"));
        assert_eq!((found, mended), (10, 10), "seed {seed}: {:?}", world.bites());
        // A start finds more, among them rows that it reads itself.
        world.flip_bits(1, whole / 2);
        world.crash_by_chance(1);
        world.start(1);
        world.work_for(10, 50);
        world.converge(SETTLE_MS);
        assert!(world.nodes[1].damaged.is_empty(), "seed {seed}");
    }
}

#[test]
fn a_wiped_node_comes_back_from_its_peers() {
    for seed in seeds(540, 4) {
        let mut world = World::new(Setup::new(seed, 3));
        world.run_for(1_000);
        world.work_for(40, 20);
        world.converge(SETTLE_MS);
        world.wipe(1);
        world.work_for(10, 50);
        world.start(1);
        world.publish(1, Class::Flash);
        world.work_for(10, 50);
        world.converge(SETTLE_MS);
        assert_eq!(bit(&world, "wipes"), 1, "seed {seed}");
    }
}

#[test]
fn clocks_jump_drift_and_show_the_time_before_1970() {
    for seed in seeds(550, 4) {
        let mut world = World::new(Setup::new(seed, 4));
        world.run_for(1_000);
        world.jump_clock(0, 86_400_000);
        world.drift_clock(1, 50_000);
        world.clock_before_1970(2);
        world.work_for(30, 100);
        world.jump_clock(0, -2 * 86_400_000);
        world.crash_by_chance(0);
        world.start(0);
        world.work_for(30, 100);
        world.converge(SETTLE_MS);
        assert_eq!(bit(&world, "clock_jumps"), 3, "seed {seed}");
    }
}

#[test]
fn entries_carried_by_hand_arrive_without_a_link() {
    for seed in seeds(560, 3) {
        let mut world = World::new(Setup::new(seed, 4));
        world.partition(&[vec![0, 1], vec![2, 3]]);
        world.run_for(3_000);
        world.work_for(40, 30);
        world.run_for(2_000);
        for (from, to) in [(0, 2), (3, 1), (0, 2)] {
            world.carry(from, to);
            world.run_for(3_000);
        }
        // Both halves hold everything though no line between them ever worked.
        world.converge(SETTLE_MS);
        assert!((0..2).all(|a| (2..4).all(|b| !world.is_up(a, b))), "seed {seed}: a link crossed the cut");
    }
}

#[test]
fn nodes_of_the_version_before_take_part() {
    for seed in seeds(570, 3) {
        let mut world = World::new(Setup { topology: Topology::Ring, ..Setup::new(seed, 5) });
        for node in [1, 3] {
            world.crash_by_chance(node);
            world.nodes[node].protocol = 1;
            world.start(node);
        }
        world.run_for(2_000);
        world.work_for(50, 50);
        world.crash_by_chance(0);
        world.work_for(10, 50);
        world.start(0);
        world.converge(SETTLE_MS);
    }
}

#[test]
fn every_shape_of_cut_bites_and_heals() {
    type Cut = fn(&mut World);
    let cuts: [(&str, Cut); 9] = [
        ("partition", |world| world.partition(&[vec![0, 1], vec![2, 3, 4]])),
        ("deaf", |world| world.deafen(1)),
        ("mute", |world| world.mute(2)),
        ("bridge", |world| world.bridge(&[0, 1], &[3, 4])),
        ("ring", |world| world.line_up(&[4, 2, 0, 3, 1], true)),
        ("line", |world| world.line_up(&[4, 2, 0, 3, 1], false)),
        ("star", |world| world.star(3)),
        ("flap", |world| world.flap(0, 1, 400, 8_000)),
        ("swizzle", |world| world.swizzle(600)),
    ];
    for (name, cut) in cuts {
        for seed in seeds(580, 2) {
            let mut world = World::new(Setup::new(seed, 5));
            world.run_for(1_000);
            let connections = world.tally.connections;
            cut(&mut world);
            world.work_for(40, 200);
            world.run_for(6_000);
            // All but full cuts leave a way round.
            if !matches!(name, "partition" | "deaf" | "mute") {
                world.converge(SETTLE_MS);
            }
            world.heal_all();
            world.run_for(6_000);
            world.converge(SETTLE_MS);
            assert!(bit(&world, "dropped_by_cut") > 0, "seed {seed}, {name}: the cut held nothing up");
            let goes_unnoticed = name == "flap";
            assert!(
                goes_unnoticed || world.tally.connections > connections,
                "seed {seed}, {name}: no link was made again"
            );
        }
    }
}

#[test]
fn what_is_lost_with_a_process_is_not_held_against_the_lines() {
    for seed in seeds(585, 3) {
        let mut world = World::new(Setup::new(seed, 4));
        world.run_for(1_000);
        for node in 0..4 {
            world.work_for(10, 30);
            world.crash_by_chance(node);
            world.work_for(20, 30);
            world.start(node);
        }
        world.run_for(6_000);
        let bites = world.bites();
        assert!(bit(&world, "dropped_by_kill") > 0, "seed {seed}: {bites:?}");
        assert_eq!(bit(&world, "dropped_by_cut"), 0, "seed {seed}: {bites:?}");
        let killed = bit(&world, "dropped_by_kill");
        world.isolate(&[1]);
        world.work_for(40, 100);
        world.heal_all();
        world.converge(SETTLE_MS);
        assert!(bit(&world, "dropped_by_cut") > 0, "seed {seed}: {:?}", world.bites());
        assert_eq!(bit(&world, "dropped_by_kill"), killed, "seed {seed}: {:?}", world.bites());
    }
}

#[test]
fn a_core_meets_again_while_the_rest_stays_broken() {
    for seed in seeds(590, 4) {
        let mut world = World::new(Setup::new(seed, 6));
        world.run_for(1_000);
        for _ in 0..10 {
            world.fault_by_chance();
            world.work_for(6, 150);
        }
        let core = world.random_core(4);
        world.heal_core(&core);
        world.work_for(10, 50);
        world.converge_core(&core, 20_000);
        assert_eq!(core.len(), 4, "seed {seed}");
    }
}

#[test]
fn hostile_lines_cost_time_only() {
    for seed in seeds(600, 4) {
        let mut world = World::new(Setup { shape: Shape::HOSTILE, ..Setup::new(seed, 4) });
        world.run_for(1_000);
        world.work_for(60, 60);
        world.converge(30_000);
        for fault in ["burst_losses", "corrupt_packets", "corrupt_frames", "reordered", "duplicates"] {
            assert!(bit(&world, fault) > 0, "seed {seed}: {fault} never bit, {:?}", world.bites());
        }
    }
}

#[test]
fn large_packets_that_vanish_cost_a_few_round_trips() {
    for seed in seeds(610, 3) {
        let mut world = World::new(Setup { views: false, ..Setup::new(seed, 2) });
        world.reshape(0, 1, Shape { mtu: 1_200, ..Shape::NEAR });
        world.isolate(&[1]);
        world.run_for(4_000);
        for _ in 0..200 {
            world.publish(0, Class::Routine);
            world.run_for(2);
        }
        world.heal_all();
        world.converge(SETTLE_MS);
        assert!(bit(&world, "black_holes") > 0, "seed {seed}: no frame was too large");
    }
}
