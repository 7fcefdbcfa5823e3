//! How fast the simulator is, and what a delivery costs: `cargo run --release -p chaos-tests --example sim_speed`.

use std::time::Instant;

use chaos_tests::sim::{Setup, World};
use vatra_model::Class;

fn main() {
    println!("nodes  simulated s  real s  times  copies  messages/delivery  frame bytes/delivery");
    for nodes in [3, 8, 12, 13] {
        let mut world = World::new(Setup { views: false, ..Setup::new(1, nodes) });
        world.run_for(5_000);
        let started = Instant::now();
        let simulated_ms = 30_000;
        // Twenty alerts a second anywhere.
        for number in 0..simulated_ms / 50 {
            world.publish(usize::try_from(number).unwrap_or(0) % nodes, Class::Routine);
            world.run_for(50);
        }
        let real = started.elapsed().as_secs_f64();
        world.converge(5_000);
        let tally = &world.tally;
        let deliveries = tally.deliveries.max(1) as f64;
        println!(
            "{nodes:5}  {:11}  {real:6.2}  {:5.0}  {:6.3}  {:17.2}  {:20.0}",
            simulated_ms / 1000,
            simulated_ms as f64 / 1000.0 / real,
            tally.copies_per_delivery(),
            tally.messages_total() as f64 / deliveries,
            tally.frame_bytes as f64 / deliveries
        );
    }
}
