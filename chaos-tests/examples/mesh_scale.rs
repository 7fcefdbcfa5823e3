//! What a delivery and an idle hour cost as the mesh grows:
//! `cargo run --release -p chaos-tests --example mesh_scale [NODES ..]`.

use std::time::Instant;

use chaos_tests::sim::signatures::Fidelity;
use chaos_tests::sim::spans::Spans;
use chaos_tests::sim::{Setup, Shape, Topology, World};
use vatra_model::Class;
use vatra_replica::Cost;

/// Alerts a second over the whole mesh, and for how long.
const ALERTS_PER_S: u64 = 20;
const BUSY_S: u64 = 30;
/// How long nothing happens, in seconds.
const IDLE_S: u64 = 600;

struct Mesh {
    name: &'static str,
    topology: Topology,
    /// Round trips differ from link to link and are measured anew, with jitter, every second.
    is_real: bool,
    cost: Cost,
}

fn main() {
    let asked: Vec<usize> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let sizes = if asked.is_empty() { vec![3, 12, 36, 60] } else { asked };
    let meshes = [
        Mesh { name: "full", topology: Topology::Full, is_real: false, cost: Cost::Wan },
        Mesh { name: "full, real", topology: Topology::Full, is_real: true, cost: Cost::Wan },
        Mesh { name: "sparse, real", topology: Topology::Sparse(5), is_real: true, cost: Cost::Wan },
        Mesh { name: "ring", topology: Topology::Ring, is_real: false, cost: Cost::Wan },
        Mesh { name: "line", topology: Topology::Line, is_real: false, cost: Cost::Wan },
        Mesh { name: "star", topology: Topology::Star, is_real: false, cost: Cost::Wan },
        Mesh { name: "star, metered", topology: Topology::Star, is_real: false, cost: Cost::Metered },
    ];
    println!(
        "{ALERTS_PER_S} alerts a second over all nodes for {BUSY_S} s, then {IDLE_S} s idle; all sizes are frames"
    );
    println!(
        "{:15}  nodes  copies  messages/del.  bytes/del.  control/del.  p50 ms  p99 ms      p99/path  settled ms  \
         idle KB/node/h  idle bit/s/link  real s",
        "mesh"
    );
    for nodes in sizes {
        for mesh in &meshes {
            measure(mesh, nodes);
        }
    }
}

fn measure(mesh: &Mesh, nodes: usize) {
    let started = Instant::now();
    // Real bytes on the lines: their number is what is measured.
    let fidelity = Fidelity::Real;
    let mut setup = Setup { views: false, topology: mesh.topology, cost: mesh.cost, fidelity, ..Setup::new(7, nodes) };
    if mesh.cost == Cost::Metered {
        setup.shape = Shape { delay_us: 300_000, jitter_us: 10_000, rate: Some(128_000), ..Shape::NEAR };
    }
    let mut world = World::new(setup);
    let mut spans = if mesh.is_real { Spans::by_chance(&mut world) } else { Spans::of(&world) };
    spans.run_for(&mut world, 20);
    let before = world.tally.clone();
    world.delays.start();
    for second in 0..BUSY_S {
        for number in 0..ALERTS_PER_S {
            world.publish(usize::try_from(second * ALERTS_PER_S + number).unwrap_or(0) * 7 % nodes, Class::Routine);
            world.run_for(1000 / ALERTS_PER_S);
        }
        spans.measure(&mut world);
    }
    let settled = world.converge(60_000);
    let tally = &world.tally;
    let deliveries = (tally.deliveries - before.deliveries).max(1) as f64;
    let per = |now: u64, then: u64| (now - then) as f64 / deliveries;
    let (copies, bytes) = (per(tally.copies, before.copies), per(tally.frame_bytes, before.frame_bytes));
    let messages = per(tally.messages_total(), before.messages_total());
    let control = per(tally.control_bytes, before.control_bytes);
    spans.run_for(&mut world, 100);
    let idle = world.tally.control_bytes;
    spans.run_for(&mut world, IDLE_S);
    let idle = (world.tally.control_bytes - idle) as f64;
    println!(
        "{:15}  {nodes:5}  {copies:6.3}  {messages:13.2}  {bytes:10.0}  {control:12.0}  {:6.1}  {:6.1}  {:12.2}  {settled:10}  \
         {:14.0}  {:15.0}  {:6.1}",
        mesh.name,
        world.delays.permille_ms(500),
        world.delays.permille_ms(990),
        spans.over_shortest_path(&world, 990),
        idle / 1000.0 / nodes as f64 * 3600.0 / IDLE_S as f64,
        idle * 8.0 / IDLE_S as f64 / spans.count() as f64,
        started.elapsed().as_secs_f64()
    );
}
