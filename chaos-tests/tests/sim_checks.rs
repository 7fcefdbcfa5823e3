//! The simulator's own invariants can fail: each is shown something that breaks it.

use chaos_tests::sim::checks::r4_traffic;
use chaos_tests::sim::{Setup, Shape, World, checks};
use vatra_model::Class;
use vatra_model::wire::{Message, Want};
use vatra_replica::Cost;

fn settled() -> World {
    let mut world = World::new(Setup::new(1, 3));
    world.run_for(2_000);
    world.work_for(30, 30);
    world.converge(5_000);
    world
}

fn names(found: &[String], invariant: &str) -> bool {
    found.iter().any(|line| line.contains(invariant))
}

#[test]
fn a_lost_acknowledgement_is_seen() {
    let mut world = settled();
    world.publish(0, Class::Routine);
    world.run_for(1_000);
    let empty = World::new(Setup::new(1, 3)).nodes[0].disk.backup();
    world.nodes[0].disk.put_back(empty);
    assert!(names(&checks::all(&world), "(S1)"));
}

#[test]
fn different_views_of_the_same_entries_are_seen() {
    let mut world = settled();
    assert_eq!(checks::all(&world), Vec::<String>::new());
    world.nodes[1].views = Default::default();
    assert!(names(&checks::all(&world), "(S2)"));
}

#[test]
fn entries_that_nobody_signed_are_seen() {
    let mut world = settled();
    world.ledger.clear();
    assert!(names(&checks::all(&world), "(S3)"));
}

#[test]
fn what_is_told_too_early_is_seen() {
    let world = settled();
    let log = world.nodes[0].replica.as_ref().expect("it runs").own_log();
    let height = world.nodes[0].disk.durable().height(&log);
    let have = |height| Message::Have { heights: vec![(log, height)] };
    assert_eq!(checks::told::in_message(&world.nodes[0], &have(height)), None);
    assert!(checks::told::in_message(&world.nodes[0], &have(height + 1)).is_some());
    let fresh = World::new(Setup::new(2, 1));
    let entries: Vec<_> = world.nodes[0].disk.durable().entries.values().cloned().collect();
    assert!(checks::told::in_entries(&fresh.nodes[0], &entries).is_some());
}

#[test]
fn what_does_not_converge_is_seen() {
    let mut world = settled();
    world.isolate(&[2]);
    world.publish(2, Class::Routine);
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.converge(3_000)));
    let text = failed.expect_err("it cannot converge");
    let text = text.downcast_ref::<String>().expect("a message");
    assert!(text.contains("(L2)") && text.contains("VATRA_SIM_SEED=1"), "{text}");
}

#[test]
fn two_entries_in_one_place_are_seen() {
    let mut world = settled();
    let mut twin = World::new(Setup::new(1, 3));
    twin.run_for(2_000);
    twin.publish(0, Class::Flash);
    twin.publish(0, Class::Flash);
    twin.run_for(1_000);
    let other = twin.nodes[0].disk.backup();
    let mut image = world.nodes[0].disk.backup();
    for ((log, seq), entry) in other.entries.iter() {
        if image.hash(log, seq).is_some_and(|held| held != entry.hash()) {
            image.strays.insert((log, seq, entry.hash()), entry.clone());
        }
    }
    assert!(!image.strays.is_empty(), "the two lives wrote the same");
    world.nodes[0].disk.put_back(image);
    assert!(names(&checks::all(&world), "(S5)"), "two entries of one place, and no fork is known");
}

#[test]
fn a_node_that_takes_no_writes_after_a_start_is_seen() {
    let mut world = settled();
    world.crash(1, chaos_tests::sim::disk::Keep::Unsynced);
    world.start(1);
    world.nodes[1].replica.as_mut().expect("it runs").set_writable(false);
    world.publish(1, Class::Routine);
    world.run_for(4_000);
    assert!(!names(&world.violations, "(L4)"), "{:?}", world.violations);
    world.run_for(3_000);
    assert!(names(&world.violations, "(L4)"), "{:?}", world.violations);
}

#[test]
fn what_a_healthy_mesh_sends_too_much_is_seen() {
    let mut world = World::new(Setup { cost: Cost::Metered, shape: Shape::SATELLITE, ..Setup::new(1, 3) });
    // Until all know who is linked with whom, two may push the same.
    world.run_for(150_000);
    let before = world.tally.clone();
    world.work_for(30, 30);
    world.converge(20_000);
    assert_eq!(r4_traffic::check(&before, &world.tally), Vec::<String>::new());
    let mut doubled = world.tally.clone();
    doubled.copies += doubled.deliveries;
    assert!(names(&r4_traffic::check(&before, &doubled), "copies travelled for each delivery (R4)"));
    doubled.frame_bytes += 2 * doubled.delivered_bytes;
    assert!(names(&r4_traffic::check(&before, &doubled), "bytes travelled for each byte"));

    world.run_for(60_000);
    let idle = r4_traffic::metered(&world);
    assert_eq!(idle.len(), 3);
    world.run_for(60_000);
    let (most, found) = r4_traffic::check_idle(&world, &idle, 60.0);
    assert!(most.is_some_and(|bits| bits > 0.0) && found.is_empty(), "{most:?} {found:?}");
    // The same bytes in a second are too many.
    assert!(names(&r4_traffic::check_idle(&world, &idle, 1.0).1, "on the idle metered link"));
}

#[test]
fn every_invariant_that_is_checked_is_told() {
    for code in checks::CODES {
        assert!(chaos_tests::scenario::verdict::INVARIANTS.iter().any(|one| one.id == *code), "{code}");
    }
}

#[test]
fn who_asks_again_and_again_for_nothing_is_seen() {
    let asks = |times: u32| {
        let mut world = settled();
        let log = world.nodes[0].replica.as_ref().expect("it runs").own_log();
        for request in 1_000..1_000 + times {
            let asking = world.watch.asking.entry((0, 1)).or_default();
            let classes = vatra_model::wire::WantClasses::All;
            asking.sent(&Message::Want(Want { request, log, from: 0, to: 1, classes, budget: 1 }));
            // Every other one is answered with something.
            if request % 2 == 0 {
                asking.got(request);
            }
            asking.answered(request);
            // Nobody asked for this.
            asking.answered(request);
            world.run_for(10);
        }
        world.run_for(1_000);
        world.violations
    };
    assert_eq!(asks(160), Vec::<String>::new());
    assert!(names(&asks(300), "for nothing"), "{:?}", asks(300));
}
