//! How fast the simulator is, and what a delivery costs: `cargo run --release -p chaos-tests --example sim_speed`.
//!
//! Alerts come at 20 a second, anywhere. `fast` worlds sign with a hash and hand messages around; `real` ones sign
//! with Ed25519 and pack every frame; one seed in fifty is real. Each line is the same world several times: the best
//! run is what the code needs, and how far the median is from it is what others did with the machine meanwhile.

use std::time::Instant;

use chaos_tests::sim::{Fidelity, Setup, World};
use vatra_model::Class;

/// Simulated time of one line, in milliseconds.
const SIMULATED_MS: u64 = 30_000;
/// Runs of one line; of worlds with real signatures, which take ten times as long.
const RUNS: usize = 15;
const RUNS_REAL: usize = 3;

fn main() {
    println!(
        "nodes  fidelity  views  simulated s  best s   best  median  copies  messages/delivery  frame bytes/delivery"
    );
    for fidelity in [Fidelity::Fast, Fidelity::Real] {
        for (nodes, views) in [(3, false), (8, false), (13, false), (13, true)] {
            measure(nodes, views, fidelity);
        }
    }
}

fn measure(nodes: usize, views: bool, fidelity: Fidelity) {
    let runs = if fidelity == Fidelity::Fast { RUNS } else { RUNS_REAL };
    let (mut seconds, costs): (Vec<f64>, Vec<String>) = (0..runs).map(|_| run(nodes, views, fidelity)).unzip();
    seconds.sort_by(f64::total_cmp);
    let (best, median) = (seconds[0], seconds[seconds.len() / 2]);
    let simulated_s = SIMULATED_MS as f64 / 1000.0;
    println!(
        "{nodes:5}  {:8}  {views:5}  {simulated_s:11}  {best:6.3}  {:4.0}x  {:5.0}x  {}",
        format!("{fidelity:?}"),
        simulated_s / best,
        simulated_s / median,
        costs[0]
    );
}

/// How long a world took in seconds, and what its deliveries cost.
fn run(nodes: usize, views: bool, fidelity: Fidelity) -> (f64, String) {
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
    let cost = format!(
        "{:6.3}  {:17.2}  {:20.0}",
        tally.copies_per_delivery(),
        tally.messages_total() as f64 / deliveries,
        tally.frame_bytes as f64 / deliveries
    );
    (real, cost)
}
