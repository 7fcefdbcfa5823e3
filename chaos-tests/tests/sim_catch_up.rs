//! Simulated catch-up: urgent first, nothing twice, nobody can stall it, bounded cost.

use chaos_tests::sim::{Setup, Shape, Topology, World, seeds};
use vatra_model::wire::Message;
use vatra_model::{Class, LogId};
use vatra_replica::{Cost, Input};

/// A backlog of so many entries at node 0 that node 1 lacks.
fn backlog(seed: u64, entries: u64, shape: Shape) -> World {
    let mut world = World::new(Setup { views: false, ..Setup::new(seed, 2) });
    world.reshape(0, 1, shape);
    world.run_for(2_000);
    world.isolate(&[1]);
    world.run_for(4_000);
    for _ in 0..entries {
        world.publish(0, Class::Routine);
        world.run_for(2);
    }
    world
}

fn holds(world: &World, node: usize, log: LogId, seq: u64) -> bool {
    world.nodes[node].disk.durable().hash(log, seq).is_some()
}

#[test]
fn a_flash_overtakes_a_backlog_of_five_thousand() {
    for seed in seeds(300, 1) {
        // 256 kbit/s and 600 ms there and back: the backlog takes most of a minute.
        let mut world = backlog(seed, 5_000, Shape::SATELLITE);
        world.heal_all();
        world.run_until(20_000, |world| world.nodes[1].disk.durable().entries.len() > 200).expect("catch-up begins");
        world.publish(0, Class::Flash);
        let log = world.nodes[0].replica.as_ref().expect("it runs").own_log();
        world.run_for(20);
        let seq = world.nodes[0].disk.durable().height(&log) - 1;
        let took = world.run_until(30_000, |world| holds(world, 1, log, seq)).expect("the flash arrives");
        assert!(took <= 3_000, "seed {seed}: the flash took {took} ms");
        let backlog = world.nodes[1].disk.durable().entries.len();
        assert!(backlog < 4_000, "seed {seed}: there was no backlog left to overtake ({backlog} entries)");
        let settled = world.converge(300_000);
        let spread = world.tally.copies_per_delivery();
        assert!(spread < 1.15, "seed {seed}: {spread} copies for each delivery, {settled} ms");
    }
}

#[test]
fn an_urgent_entry_inside_a_backlog_comes_first() {
    for seed in seeds(310, 2) {
        let mut world = backlog(seed, 600, Shape::SATELLITE);
        world.publish(0, Class::Flash);
        world.run_for(10);
        let log = world.nodes[0].replica.as_ref().expect("it runs").own_log();
        let seq = world.nodes[0].disk.durable().height(&log) - 1;
        for _ in 0..600 {
            world.publish(0, Class::Routine);
            world.run_for(2);
        }
        world.heal_all();
        world.run_until(20_000, |world| world.is_up(1, 0)).expect("they link");
        let took = world.run_until(60_000, |world| holds(world, 1, log, seq)).expect("the flash arrives");
        assert!(took <= 5_000, "seed {seed}: the flash of the backlog took {took} ms");
        world.converge(120_000);
    }
}

#[test]
fn ten_thousand_missing_entries_come_from_several_peers_once() {
    for seed in seeds(320, 1) {
        let mut world = World::new(Setup { views: false, ..Setup::new(seed, 4) });
        world.run_for(2_000);
        world.isolate(&[3]);
        world.run_for(4_000);
        for _ in 0..3_000 {
            for node in 0..3 {
                world.publish(node, Class::Routine);
            }
            world.run_for(3);
        }
        world.run_for(2_000);
        let before = (world.tally.copies, world.tally.deliveries);
        world.heal_all();
        let linked = world.run_until(10_000, |world| world.is_up(3, 0)).expect("they link");
        let took = world.converge(20_000);
        let copies = world.tally.copies - before.0;
        let deliveries = world.tally.deliveries - before.1;
        assert!(deliveries >= 9_000, "seed {seed}: {deliveries} deliveries");
        assert!(copies as f64 <= deliveries as f64 * 1.05, "seed {seed}: {copies} copies of {deliveries}");
        assert!(took <= 5_000, "seed {seed}: {took} ms after {linked} ms");
    }
}

#[test]
fn a_liar_neither_stalls_nor_floods() {
    for seed in seeds(330, 3) {
        let mut world = World::new(Setup::new(seed, 3));
        world.run_for(2_000);
        world.isolate(&[2]);
        world.run_for(4_000);
        world.work_for(20, 20);
        world.heal_all();
        world.run_until(10_000, |world| world.is_up(2, 0) && world.is_up(2, 1)).expect("they link");
        // Node 1 claims heights of node 0's log, and of a log that does not exist, that nobody can hold.
        let liar = world.nodes[1].key();
        let log = world.nodes[0].replica.as_ref().expect("it runs").own_log();
        let before = world.tally.messages_of("want");
        for round in 0..20_u8 {
            let heights = vec![(log, u64::MAX), (LogId([round; 16]), 1 << 60)];
            world.feed(2, Input::Message { peer: liar, message: Box::new(Message::Have { heights }) });
            world.run_for(100);
            world.publish(0, Class::Routine);
        }
        world.converge(10_000);
        let wants = world.tally.messages_of("want") - before;
        assert!(wants < 20 * 2 * 70, "seed {seed}: {wants} requests");
        world.run_for(30_000);
        let calm = world.tally.messages_of("want");
        world.run_for(60_000);
        let later = world.tally.messages_of("want") - calm;
        assert!(later < 200, "seed {seed}: {later} requests in a minute after the lies had ended");
    }
}

#[test]
fn an_idle_mesh_is_quiet() {
    for seed in seeds(340, 2) {
        let mut world = World::new(Setup::new(seed, 5));
        world.run_for(5_000);
        world.work_for(20, 50);
        world.converge(5_000);
        world.run_for(15_000);
        let (messages, copies) = (world.tally.messages_total(), world.tally.copies);
        world.run_for(60_000);
        let rate = (world.tally.messages_total() - messages) as f64 / 60.0 / 20.0;
        assert!(rate <= 1.0, "seed {seed}: {rate} messages a second on each directed link, {:?}", world.tally.messages);
        assert_eq!(world.tally.copies, copies, "seed {seed}: entries travel though nothing is missing");

        let mut world = World::new(Setup { cost: Cost::Metered, shape: Shape::SATELLITE, ..Setup::new(seed, 2) });
        world.run_for(30_000);
        let bytes = world.tally.frame_bytes;
        world.run_for(600_000);
        let bits = (world.tally.frame_bytes - bytes) as f64 * 8.0 / 600.0 / 2.0;
        assert!(bits <= 1_000.0, "seed {seed}: {bits} bit/s on an idle metered link");
    }
}

#[test]
fn a_healthy_mesh_sends_each_entry_once() {
    for (nodes, topology) in
        [(3, Topology::Full), (8, Topology::Full), (8, Topology::Ring), (8, Topology::Star), (8, Topology::Line)]
    {
        for seed in seeds(350, 1) {
            let mut world = World::new(Setup { topology, views: false, ..Setup::new(seed, nodes) });
            world.run_for(5_000);
            for number in 0..60 {
                world.publish(number % nodes, Class::Routine);
                world.run_for(30);
            }
            world.converge(5_000);
            let spread = world.tally.copies_per_delivery();
            let cost = world.tally.messages_total() as f64 / world.tally.deliveries as f64;
            println!(
                "{nodes} nodes, {topology:?}: {spread:.3} copies, {cost:.1} messages for each delivery, {:?}",
                world.tally.messages
            );
            assert!(spread <= 1.1, "seed {seed}, {nodes} nodes, {topology:?}: {spread} copies for each delivery");
        }
    }
}

#[test]
fn a_burst_over_a_slow_line_is_not_fetched_while_it_is_pushed() {
    for topology in [Topology::Line, Topology::Full] {
        for seed in seeds(360, 2) {
            let mut world =
                World::new(Setup { shape: Shape::SATELLITE, topology, views: false, ..Setup::new(seed, 3) });
            world.run_for(5_000);
            for _ in 0..800 {
                world.publish(0, Class::Routine);
                world.run_for(4);
            }
            let took = world.converge(200_000);
            let spread = world.tally.copies_per_delivery();
            println!("{topology:?}: {spread:.3} copies, {took} ms, {:?}", world.tally.messages);
            assert!(spread <= 1.2, "seed {seed}, {topology:?}: {spread} copies for each delivery in {took} ms");
        }
    }
}
