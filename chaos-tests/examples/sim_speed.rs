//! How fast the simulator is, and what a delivery costs: `cargo run --release -p chaos-tests --example sim_speed`.
//!
//! Alerts come at 20 a second, anywhere. `fast` worlds sign with a hash and hand messages around; `real` ones sign
//! with Ed25519 and pack every frame; one seed in fifty is real.

use std::time::Instant;

use chaos_tests::sim::{Fidelity, Setup, World};
use vatra_model::Class;

/// Simulated time of one line, in milliseconds.
const SIMULATED_MS: u64 = 30_000;

fn main() {
    println!("nodes  fidelity  views  simulated s  real s  times  copies  messages/delivery  frame bytes/delivery");
    for fidelity in [Fidelity::Fast, Fidelity::Real] {
        for (nodes, views) in [(3, false), (8, false), (13, false), (13, true)] {
            measure(nodes, views, fidelity);
        }
    }
}

fn measure(nodes: usize, views: bool, fidelity: Fidelity) {
    let mut world = World::new(Setup { views, fidelity, ..Setup::new(1, nodes) });
    world.run_for(5_000);
    let started = Instant::now();
    for number in 0..SIMULATED_MS / 50 {
        world.publish(usize::try_from(number).unwrap_or(0) % nodes, Class::Routine);
        world.run_for(50);
    }
    let real = started.elapsed().as_secs_f64();
    world.converge(5_000);
    let tally = &world.tally;
    let deliveries = tally.deliveries.max(1) as f64;
    println!(
        "{nodes:5}  {:8}  {views:5}  {:11}  {real:6.2}  {:5.0}  {:6.3}  {:17.2}  {:20.0}",
        format!("{fidelity:?}"),
        SIMULATED_MS / 1000,
        SIMULATED_MS as f64 / 1000.0 / real,
        tally.copies_per_delivery(),
        tally.messages_total() as f64 / deliveries,
        tally.frame_bytes as f64 / deliveries
    );
}
