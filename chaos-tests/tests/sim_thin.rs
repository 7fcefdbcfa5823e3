//! Simulated catch-up over the thinnest links, before liars, and of urgent entries past a backlog on every hop.

use chaos_tests::sim::chance;
use chaos_tests::sim::{Setup, Shape, Topology, World, seeds};
use vatra_model::wire::{Hello, Message, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN};
use vatra_model::{Class, LogId, MonoMs};
use vatra_replica::{Cost, Input};

/// 64 kbit/s and 1.2 s there and back, one packet in a hundred lost.
const THIN: Shape = Shape { delay_us: 600_000, jitter_us: 20_000, loss_permille: 10, rate: Some(8_000), ..Shape::NEAR };

/// A backlog of so many entries at node 0 that node 1 lacks.
fn backlog(seed: u64, entries: u64, shape: Shape, cost: Cost) -> World {
    let mut world = World::new(Setup { views: false, cost, shape, ..Setup::new(seed, 2) });
    world.run_for(5_000);
    world.isolate(&[1]);
    world.run_for(12_000);
    for _ in 0..entries {
        world.publish(0, Class::Routine);
        world.run_for(2);
    }
    world
}

#[test]
fn a_thin_link_is_filled_and_nothing_is_fetched_twice() {
    for cost in [Cost::Wan, Cost::Metered] {
        for seed in seeds(501, 2) {
            let mut world = backlog(seed, 2_000, THIN, cost);
            world.heal_all();
            world.run_until(30_000, |world| world.is_up(1, 0) && world.is_up(0, 1)).expect("they link");
            let (bytes, copies, deliveries) = (world.tally.frame_bytes, world.tally.copies, world.tally.deliveries);
            let took = world.converge(600_000);
            let used = (world.tally.frame_bytes - bytes) as f64 / (8_000.0 * took as f64 / 1_000.0);
            let copies = (world.tally.copies - copies) as f64 / (world.tally.deliveries - deliveries) as f64;
            println!("{cost:?}, seed {seed}: {took} ms, {used:.2} of the rate, {copies:.3} copies");
            assert!(used >= 0.8, "seed {seed}, {cost:?}: {used} of the rate");
            assert!(copies <= 1.0, "seed {seed}, {cost:?}: {copies} copies of each entry");
        }
    }
}

#[test]
fn a_flash_overtakes_a_hundred_megabytes_on_every_hop() {
    let thin = Shape { delay_us: 100_000, jitter_us: 5_000, rate: Some(32_000), ..Shape::NEAR };
    for seed in seeds(511, 1) {
        let mut world = World::new(Setup { topology: Topology::Line, views: false, ..Setup::new(seed, 4) });
        world.reshape(1, 2, thin);
        world.run_for(3_000);
        world.cut(1, 2);
        world.run_for(4_000);
        for number in 0..1_600_u64 {
            // Bytes that do not compress.
            let change: Vec<u8> =
                (0..2_000_u64).flat_map(|part| chance::bytes(seed ^ (number << 20) ^ part, "bulk")).collect();
            let publication = Input::Publish { token: (1 << 40) | number, class: Class::Bulk, changes: vec![change] };
            world.feed(0, publication);
            world.run_for(20);
        }
        world.run_until(60_000, |world| world.nodes[1].disk.durable().entries.len() >= 1_600).expect("1 holds it all");
        world.heal(1, 2);
        world.run_until(60_000, |world| world.nodes[3].disk.durable().entries.len() >= 5).expect("catch-up begins");
        for round in 0..3 {
            world.publish(0, Class::Flash);
            let log = world.nodes[0].replica.as_ref().expect("it runs").own_log();
            world.run_for(20);
            let seq = world.nodes[0].disk.durable().height(&log) - 1;
            let took = world.run_until(30_000, |world| holds(world, 3, log, seq)).expect("the flash arrives");
            println!("seed {seed}: flash {round} took {took} ms over three hops");
            assert!(took <= 3_000, "seed {seed}: flash {round} took {took} ms");
            world.run_for(5_000);
        }
        let done = world.nodes[3].disk.durable().entries.len();
        assert!(done < 400, "seed {seed}: there was no backlog left to overtake ({done} entries)");
        world.expect_clean();
    }
}

fn holds(world: &World, node: usize, log: LogId, seq: u64) -> bool {
    world.nodes[node].disk.durable().hash(log, seq).is_some()
}

/// The hello of a node that no longer runs, as a liar with its key would say it.
fn forged_hello(world: &World, node: usize) -> Message {
    let site = &world.nodes[node].site;
    Message::Hello(Hello {
        version: PROTOCOL_VERSION,
        version_min: PROTOCOL_VERSION_MIN,
        certificate: site.certificate.encode(),
        incarnation: vatra_model::Incarnation(7),
        founding: site.charter.founding_hash(),
        charter_epoch: site.charter.current().epoch,
        charter_hash: site.charter.hash(),
        frontier_hash: [9; 32],
        clock: world.nodes[0].now(world.now_ms() * 1000).wall,
        software: "liar".into(),
    })
}

#[test]
fn a_peer_that_claims_everything_and_never_answers_hides_nothing() {
    for seed in seeds(521, 4) {
        let mut world = World::new(Setup { views: false, ..Setup::new(seed, 4) });
        world.run_for(3_000);
        world.crash(3, chaos_tests::sim::disk::Keep::Nothing);
        world.isolate(&[2]);
        world.run_for(5_000);
        for _ in 0..300 {
            world.publish(0, Class::Routine);
            world.publish(1, Class::Priority);
            world.run_for(5);
        }
        // The liar is linked first and claims to hold all of it, and much that nobody wrote.
        let liar = world.nodes[3].key();
        let hello = Box::new(forged_hello(&world, 3));
        world.feed(2, Input::LinkUp { peer: liar, cost: Cost::Lan });
        world.feed(2, Input::Message { peer: liar, message: hello });
        let logs: Vec<LogId> = (0..2).map(|n| world.nodes[n].replica.as_ref().expect("it runs").own_log()).collect();
        let mut heights: Vec<(LogId, u64)> = logs.iter().map(|log| (*log, 301)).collect();
        heights.extend((0..50).map(|number| (LogId([number; 16]), 1 << 40)));
        world.feed(2, Input::Message { peer: liar, message: Box::new(Message::Have { heights }) });
        world.run_for(500);
        world.heal_all();
        let before = (world.tally.copies, world.tally.deliveries);
        world.run_until(10_000, |world| world.is_up(2, 0) && world.is_up(2, 1)).expect("they link");
        let lacks = |world: &World| logs.iter().any(|log| (1..300).any(|seq| !holds(world, 2, *log, seq)));
        let took = world.run_until(60_000, |world| !lacks(world)).expect("all of it comes from the others");
        let copies = (world.tally.copies - before.0) as f64 / (world.tally.deliveries - before.1) as f64;
        println!("seed {seed}: {took} ms, {copies:.3} copies");
        assert!(took <= 15_000, "seed {seed}: the liar delayed everything by {took} ms");
        assert!(copies <= 1.05, "seed {seed}: {copies} copies of each entry");
        let status =
            world.nodes[2].replica.as_ref().expect("it runs").status(world.nodes[2].now(world.now_ms() * 1000));
        assert!(status.links.iter().any(|link| link.node == liar && link.since > MonoMs(0)), "the liar is still there");
    }
}
