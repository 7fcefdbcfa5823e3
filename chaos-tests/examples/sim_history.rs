//! Prints the history hash of some seeds, to compare builds: the lines are the same from a debug and from a release
//! build of one commit.
//!
//! `diff <(cargo run -p chaos-tests --example sim_history) <(cargo run --release -p chaos-tests --example sim_history)`

use chaos_tests::sim::{Setup, Shape, World};

fn main() {
    for seed in [1, 2, 3, 50] {
        let mut world = World::new(Setup { shape: Shape::HOSTILE, skew_ms: 1_000, ..Setup::new(seed, 4) });
        world.run_for(1_000);
        for _ in 0..6 {
            world.fault_by_chance();
            world.work_for(6, 150);
        }
        world.end_all_faults();
        world.settle(20_000);
        println!("{seed} {} {}", world.history_hash(), world.tally.events);
    }
}
