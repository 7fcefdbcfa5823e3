//! The harness proves itself: each planted mistake is reported by its invariant within a few seeds, and the same
//! stories without a mistake are clean.
//!
//! `cargo nextest run --offline -p chaos-tests --features planted --test planted`

use chaos_tests::sim::chance::Chance;
use chaos_tests::sim::checks::{code_of, l3_no_storm, r4_traffic};
use chaos_tests::sim::disk::Keep;
use chaos_tests::sim::hostile::Act;
use chaos_tests::sim::planted::Bug;
use chaos_tests::sim::{Fidelity, Setup, Shape, World};
use vatra_model::charter::Revocation;
use vatra_model::{Class, Seq};
use vatra_replica::Input;

/// Seeds within which a mistake must be reported.
const SEEDS: u64 = 6;

fn verdict(mut world: World, more: Vec<String>) -> Vec<String> {
    let mut found = world.check_all().to_vec();
    found.extend(more);
    found
}

/// Edits, answers and cancels while nodes lose power and come back.
fn crashes(setup: Setup) -> Vec<String> {
    let mut world = World::new(Setup { sync_us: (2_000, 30_000), ..setup });
    world.run_for(1_000);
    for round in 0..6 {
        world.work_for(25, 20);
        world.isolate(&[round % 4]);
        world.work_for(15, 60);
        world.crash_by_chance((round + 1) % 4);
        world.work_for(10, 200);
        world.heal_all();
        world.start((round + 1) % 4);
        world.work_for(10, 20);
    }
    world.settle(15_000);
    verdict(world, Vec::new())
}

/// Nodes lose power in the middle of writes, each time with a part of the batch on the disk.
fn torn_writes(setup: Setup) -> Vec<String> {
    let mut world = World::new(Setup { sync_us: (20_000, 60_000), ..setup });
    world.run_for(1_000);
    for round in 0..12 {
        world.isolate(&[round % 4]);
        world.work_for(20, 15);
        world.heal_all();
        world.work_for(20, 15);
        world.tear((round + 1) % 4);
        world.run_for(300);
        world.start((round + 1) % 4);
        world.run_for(1_000);
    }
    assert!(world.bites().get("torn_writes_found").is_some_and(|found| *found >= 3), "{:?}", world.bites());
    world.settle(15_000);
    verdict(world, Vec::new())
}

/// A node is cut off and comes back.
fn cut_and_heal(setup: Setup) -> Vec<String> {
    let mut world = World::new(setup);
    world.run_for(1_000);
    world.isolate(&[2]);
    world.work_for(40, 200);
    world.heal_all();
    world.settle(10_000);
    verdict(world, Vec::new())
}

/// What three nodes wrote comes to the fourth entry by entry, in any order.
fn disorder(setup: Setup) -> Vec<String> {
    let mut world = World::new(setup);
    world.run_for(1_000);
    world.isolate(&[3]);
    world.run_for(3_000);
    world.work_for(60, 60);
    world.run_for(1_000);
    let mut entries: Vec<_> = world.nodes[0].disk.durable().entries.values().cloned().collect();
    Chance::new(world.setup.seed, "disorder").shuffle(&mut entries);
    let known: Vec<_> = world.nodes[0].disk.durable().logs.values().map(|row| row.descriptor.clone()).collect();
    for (number, entry) in entries.iter().enumerate() {
        let trust = world.nodes[3].replica.as_ref().expect("it runs").trust();
        let logs = known.iter().map(|log| trust.check_log(log.clone()).expect("they are members")).collect();
        let entries = vec![entry.clone()];
        world.feed(3, Input::Entries { peer: None, request: None, logs, entries });
        world.run_for(7);
        if number % 8 == 0 {
            world.check_all();
        }
    }
    world.heal_all();
    world.settle(15_000);
    verdict(world, Vec::new())
}

/// Writes that fail now and then.
fn failing_disk(setup: Setup) -> Vec<String> {
    let mut world = World::new(setup);
    world.run_for(1_000);
    for round in 0..4 {
        world.fail_writes(1, 400);
        world.work_for(20, 30);
        world.fail_writes(1, 0);
        world.run_for(13_000);
        world.crash_by_chance(round % 4);
        world.start(round % 4);
    }
    world.settle(20_000);
    verdict(world, Vec::new())
}

/// A member that writes in others' logs.
fn forger(setup: Setup) -> Vec<String> {
    let mut world = World::new(setup);
    world.make_hostile(3, &[Act::WriteOthers]);
    world.run_for(1_000);
    world.work_for(40, 100);
    world.run_for(3_000);
    verdict(world, Vec::new())
}

/// A backup of an earlier run is put in the place of a store, and its node writes while only one that missed the same
/// can be asked: but for the fence it would take that for confirmation.
fn old_copy(setup: Setup) -> Vec<String> {
    let mut world = World::new(setup);
    world.run_for(1_000);
    world.publish(0, Class::Routine);
    world.work_for(20, 20);
    world.crash(0, Keep::Unsynced);
    let old = world.nodes[0].disk.backup();
    world.start(0);
    world.run_for(3_000);
    world.isolate(&[1]);
    world.run_for(6_000);
    for _ in 0..5 {
        world.publish(0, Class::Routine);
        world.run_for(30);
    }
    world.run_for(1_000);
    world.crash(0, Keep::Unsynced);
    world.heal_all();
    world.isolate(&[0, 1]);
    world.put_back(0, old);
    world.start(0);
    world.run_until(10_000, |world| world.is_up(0, 1) && world.is_up(1, 0)).expect("they link");
    world.run_for(1_000);
    for _ in 0..5 {
        world.publish(0, Class::Priority);
        world.run_for(50);
    }
    verdict(world, Vec::new())
}

/// A clock is set back between two runs.
fn clock_set_back(setup: Setup) -> Vec<String> {
    let mut world = World::new(setup);
    world.run_for(1_000);
    world.publish(0, Class::Routine);
    world.run_for(1_000);
    world.crash(0, Keep::Unsynced);
    world.jump_clock(0, -3_600_000);
    world.start(0);
    world.publish(0, Class::Routine);
    world.run_for(1_000);
    verdict(world, Vec::new())
}

/// A node that was cut off catches up.
fn catch_up(setup: Setup) -> Vec<String> {
    let mut world = World::new(setup);
    world.run_for(2_000);
    world.isolate(&[3]);
    world.run_for(4_000);
    world.work_for(150, 20);
    let before = world.tally.clone();
    world.heal_all();
    world.settle(15_000);
    let cost = r4_traffic::check(&before, &world.tally);
    verdict(world, cost)
}

/// A burst fills a slow line, and something urgent comes after it.
fn flash_beside_bulk(setup: Setup) -> Vec<String> {
    let mut world = World::new(Setup { nodes: 2, views: false, ..setup });
    world.reshape(0, 1, Shape { rate: Some(10_000), ..Shape::SATELLITE });
    world.run_for(3_000);
    for _ in 0..1_500 {
        world.publish(0, Class::Bulk);
        world.run_for(1);
    }
    world.publish(0, Class::Flash);
    world.run_for(20);
    let log = world.nodes[0].replica.as_ref().expect("it runs").own_log();
    let seq = world.nodes[0].disk.durable().height(&log) - 1;
    world.run_for(3_000);
    let late = l3_no_storm::without_urgent(&world, &[1], log, seq, 3_000);
    verdict(world, late)
}

/// Rows rot on one disk, and a new node asks for them.
fn bit_rot(setup: Setup) -> Vec<String> {
    let mut world = World::new(setup);
    world.run_for(1_000);
    world.isolate(&[3]);
    world.work_for(60, 20);
    world.run_for(3_000);
    world.flip_bits(0, 1_000);
    world.heal_all();
    world.run_for(5_000);
    world.crash_by_chance(0);
    world.start(0);
    world.settle(15_000);
    verdict(world, Vec::new())
}

/// A line that damages frames.
fn bad_line(setup: Setup) -> Vec<String> {
    let mut world = World::new(Setup { shape: Shape { corrupt_deep_permille: 100, ..Shape::NEAR }, ..setup });
    world.run_for(1_000);
    world.work_for(40, 50);
    world.settle(10_000);
    verdict(world, Vec::new())
}

/// A key is revoked from an earlier place on than its node wrote.
fn revoked_in_the_past(setup: Setup) -> Vec<String> {
    let mut world = World::new(setup);
    world.run_for(1_000);
    world.publish(3, Class::Routine);
    world.settle(5_000);
    let (key, disk) = (world.nodes[3].key(), world.nodes[3].disk.durable());
    let own = disk.logs.keys().filter(|log| disk.origin(log).is_some_and(|(_, origin)| origin == key));
    let heads = own.map(|log| (*log, disk.trunk(log))).filter(|(_, head)| head.height > 0);
    let last_valid = heads.map(|(log, head)| (log, Seq(head.height - 1), head.head)).collect();
    world.work_for(20, 50);
    world.publish(3, Class::Routine);
    world.settle(5_000);
    world.federation.next_epoch(|epoch| epoch.revocations = vec![Revocation { key, last_valid }]);
    world.install_charter(0);
    world.run_for(3_000);
    world.crash(3, Keep::Unsynced);
    world.settle(10_000);
    verdict(world, Vec::new())
}

fn setup(seed: u64) -> Setup {
    Setup { fidelity: Fidelity::Fast, ..Setup::new(seed, 4) }
}

/// Plants a mistake and tells its story with one seed after the other until one of its invariants reports it.
fn catches(bug: Bug, codes: &[&str], story: fn(Setup) -> Vec<String>) {
    let mut others = Vec::new();
    for seed in 1..=SEEDS {
        let found = story(setup(seed).with_bug(bug));
        others.extend(found.iter().filter_map(|line| code_of(line)));
        if found.iter().any(|line| code_of(line).is_some_and(|code| codes.contains(&code))) {
            return;
        }
    }
    panic!("{bug:?} was not caught by {codes:?} within {SEEDS} seeds; others reported: {others:?}");
}

macro_rules! plants {
    ($($name:ident: $bug:ident, $codes:expr, $story:ident;)*) => {
        $(
            #[test]
            fn $name() {
                catches(Bug::$bug, &$codes, $story);
            }
        )*
    };
}

plants! {
    acknowledged_before_durable_is_caught: AcknowledgedBeforeDurable, ["S1", "P2"], crashes;
    pushed_before_durable_is_caught: PushedBeforeDurable, ["P2"], crashes;
    failed_write_taken_for_written_is_caught: FailedWriteTakenForWritten, ["S1", "P2"], failing_disk;
    any_signature_is_caught: AnySignature, ["S3"], forger;
    fence_ignored_is_caught: FenceIgnored, ["S5"], old_copy;
    stamps_go_back_is_caught: StampsGoBack, ["S12"], clock_set_back;
    answered_twice_is_caught: AnsweredTwice, ["R4"], catch_up;
    cancel_forgotten_is_caught: CancelForgotten, ["S7", "S6"], crashes;
    arrival_order_shown_is_caught: ArrivalOrderShown, ["S2"], disorder;
    deps_ignored_is_caught: DepsIgnored, ["S7"], disorder;
    flash_behind_bulk_is_caught: FlashBehindBulk, ["L3"], flash_beside_bulk;
    never_redial_is_caught: NeverRedial, ["L2"], cut_and_heal;
    unbounded_queue_is_caught: UnboundedQueue, ["R3"], flash_beside_bulk;
    damaged_row_served_is_caught: DamagedRowServed, ["O1"], bit_rot;
    torn_batch_believed_is_caught: TornBatchBelieved, ["S1", "S8", "P2", "L2"], torn_writes;
    cursor_skips_is_caught: CursorSkips, ["S8"], crashes;
    decoder_panics_is_caught: DecoderPanics, ["O4"], bad_line;
    durable_never_told_is_caught: DurableNeverTold, ["L1"], crashes;
    revoked_stays_shown_is_caught: RevokedStaysShown, ["S11"], revoked_in_the_past;
}

macro_rules! clean {
    ($($name:ident: $story:ident;)*) => {
        $(
            #[test]
            fn $name() {
                assert_eq!($story(setup(1)), Vec::<String>::new());
            }
        )*
    };
}

clean! {
    crashes_without_a_mistake_is_clean: crashes;
    torn_writes_without_a_mistake_is_clean: torn_writes;
    cut_and_heal_without_a_mistake_is_clean: cut_and_heal;
    disorder_without_a_mistake_is_clean: disorder;
    failing_disk_without_a_mistake_is_clean: failing_disk;
    forger_without_a_mistake_is_clean: forger;
    old_copy_without_a_mistake_is_clean: old_copy;
    clock_set_back_without_a_mistake_is_clean: clock_set_back;
    catch_up_without_a_mistake_is_clean: catch_up;
    flash_beside_bulk_without_a_mistake_is_clean: flash_beside_bulk;
    bit_rot_without_a_mistake_is_clean: bit_rot;
    bad_line_without_a_mistake_is_clean: bad_line;
    revoked_in_the_past_without_a_mistake_is_clean: revoked_in_the_past;
}
