//! What a delivery and an idle hour cost as the mesh grows:
//! `cargo run --release -p chaos-tests --example mesh_scale [NODES ..]`.

use std::time::Instant;

use chaos_tests::sim::chance::Chance;
use chaos_tests::sim::{Setup, Shape, Topology, World};
use vatra_model::Class;
use vatra_replica::{Cost, Input};

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
        "{:15}  nodes  copies  messages/del.  bytes/del.  control/del.  p50 ms  p99 ms  slowest/path  settled ms  \
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
    let mut setup = Setup { views: false, topology: mesh.topology, cost: mesh.cost, ..Setup::new(7, nodes) };
    if mesh.cost == Cost::Metered {
        setup.shape = Shape { delay_us: 300_000, jitter_us: 10_000, rate: Some(128_000), ..Shape::NEAR };
    }
    let mut world = World::new(setup);
    let mut chance = Chance::new(7, "mesh scale");
    let links: Vec<(usize, usize)> =
        (0..nodes).flat_map(|a| (a + 1..nodes).map(move |b| (a, b))).filter(|(a, b)| world.is_linked(*a, *b)).collect();
    let mut round_trips = Vec::new();
    for (a, b) in &links {
        let delay_us = if mesh.is_real { 500 + chance.below(40_000) } else { world.setup.shape.delay_us };
        if mesh.is_real {
            world.reshape(*a, *b, Shape { delay_us, jitter_us: delay_us / 10, ..Shape::NEAR });
        }
        round_trips.push((*a, *b, delay_us));
    }
    let mut pass = |world: &mut World, ms: u64| {
        for _ in 0..ms / 1_000 {
            world.run_for(1_000);
            for (a, b, delay_us) in round_trips.iter().filter(|_| mesh.is_real) {
                for (node, peer) in [(*a, *b), (*b, *a)] {
                    // Smoothed as the mesh does it; a tenth off either way.
                    let rtt_us = 2 * delay_us + delay_us / 10 + chance.below(delay_us / 5 + 1);
                    let key = world.nodes[peer].key();
                    let rtt_ms = u32::try_from(rtt_us.div_ceil(1000)).unwrap_or(u32::MAX);
                    world.feed(node, Input::RoundTrip { peer: key, rtt_ms });
                }
            }
        }
    };
    pass(&mut world, 20_000);
    let before = world.tally.clone();
    world.delays.start();
    for second in 0..BUSY_S {
        for number in 0..ALERTS_PER_S {
            world.publish(usize::try_from(second * ALERTS_PER_S + number).unwrap_or(0) * 7 % nodes, Class::Routine);
            world.run_for(1000 / ALERTS_PER_S);
        }
        pass(&mut world, 0);
    }
    let settled = world.converge(60_000);
    let tally = &world.tally;
    let deliveries = (tally.deliveries - before.deliveries).max(1) as f64;
    let per = |now: u64, then: u64| (now - then) as f64 / deliveries;
    let (copies, bytes) = (per(tally.copies, before.copies), per(tally.frame_bytes, before.frame_bytes));
    let messages = per(tally.messages_total(), before.messages_total());
    let control = per(tally.control_bytes, before.control_bytes);
    pass(&mut world, 60_000);
    let idle = world.tally.control_bytes;
    pass(&mut world, IDLE_S * 1_000);
    let idle = (world.tally.control_bytes - idle) as f64;
    println!(
        "{:15}  {nodes:5}  {copies:6.3}  {messages:13.2}  {bytes:10.0}  {control:12.0}  {:6.1}  {:6.1}  {:12.2}  {settled:10}  \
         {:14.0}  {:15.0}  {:6.1}",
        mesh.name,
        world.delays.permille_ms(500),
        world.delays.permille_ms(990),
        slowest_over_path(&world, nodes, &round_trips),
        idle / 1000.0 / nodes as f64 * 3600.0 / IDLE_S as f64,
        idle * 8.0 / IDLE_S as f64 / links.len() as f64,
        started.elapsed().as_secs_f64()
    );
}

/// The 99th percentile of a delivery's time over that of the shortest path there, where each hop costs a disk.
fn slowest_over_path(world: &World, nodes: usize, links: &[(usize, usize, u64)]) -> f64 {
    let sync_us = world.setup.sync_us.1;
    let mut paths = vec![vec![u64::MAX / 4; nodes]; nodes];
    for (a, b, delay_us) in links {
        let jitter_us =
            if world.setup.shape.delay_us == *delay_us { world.setup.shape.jitter_us } else { delay_us / 10 };
        paths[*a][*b] = delay_us + jitter_us + sync_us;
        paths[*b][*a] = paths[*a][*b];
    }
    for over in 0..nodes {
        for a in 0..nodes {
            for b in 0..nodes {
                paths[a][b] = paths[a][b].min(paths[a][over] + paths[over][b]);
            }
        }
    }
    let mut ratios: Vec<f64> =
        world.delays.taken().iter().map(|(from, to, us)| *us as f64 / paths[*from][*to] as f64).collect();
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() * 99 / 100).copied().unwrap_or(0.0)
}
