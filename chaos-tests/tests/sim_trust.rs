//! Simulated trust: charters spread, strangers are refused, bad manners cost nothing but themselves.

use std::collections::BTreeSet;

use chaos_tests::sim::federation::Site;
use chaos_tests::sim::{Federation, Setup, Topology, World, seeds};
use vatra_model::certificate::SignedCertificate;
use vatra_model::charter::{MemberRole, Revocation};
use vatra_model::wire::{Hello, Message, PROTOCOL_VERSION, Want};
use vatra_model::{Class, Incarnation, LogId, Seq, WallMs};
use vatra_replica::{Event, Input, Reject};

const SETTLE_MS: u64 = 10_000;

fn epoch_of(world: &World, node: usize) -> u64 {
    world.nodes[node].replica.as_ref().expect("it runs").trust().charter().current().epoch
}

#[test]
fn a_newer_charter_spreads_to_all_and_survives_restarts() {
    for seed in seeds(400, 3) {
        let mut world = World::new(Setup { topology: Topology::Line, ..Setup::new(seed, 4) });
        world.run_for(2_000);
        world.federation.next_epoch(|epoch| epoch.members[1].name = "Renamed".into());
        world.install_charter(0);
        world.run_for(3_000);
        let epochs: BTreeSet<u64> = (0..4).map(|node| epoch_of(&world, node)).collect();
        assert_eq!(epochs, BTreeSet::from([2]), "seed {seed}");
        world.crash_by_chance(3);
        world.start(3);
        assert_eq!(epoch_of(&world, 3), 2, "seed {seed}: the charter was not durable");

        // One that was away hears of it when it comes back.
        world.isolate(&[3]);
        world.run_for(4_000);
        world.federation.next_epoch(|epoch| epoch.members[1].name = "Renamed again".into());
        world.install_charter(1);
        world.run_for(3_000);
        assert_eq!(epoch_of(&world, 3), 2, "seed {seed}");
        world.heal_all();
        world.run_for(6_000);
        assert_eq!(epoch_of(&world, 3), 3, "seed {seed}");
        world.work_for(20, 50);
        world.converge(SETTLE_MS);
    }
}

#[test]
fn a_revoked_node_is_cut_off_and_keeps_its_past() {
    for seed in seeds(410, 3) {
        let mut world = World::new(Setup::new(seed, 4));
        world.run_for(2_000);
        world.work_for(30, 30);
        world.publish(3, Class::Routine);
        world.converge(SETTLE_MS);
        let revoked = world.nodes[3].key();
        let log = world.nodes[3].replica.as_ref().expect("it runs").own_log();
        let head = world.nodes[0].disk.durable().logs[&log].head;
        world.federation.next_epoch(|epoch| {
            epoch.revocations =
                vec![Revocation { key: revoked, last_valid: vec![(log, Seq(head.height - 1), head.head)] }];
        });
        world.install_charter(0);
        world.run_for(4_000);
        for peer in 0..3 {
            assert!(!world.is_up(peer, 3), "seed {seed}: node {peer} is linked with a revoked node");
        }
        let refused = world.tally.refused;
        world.install_charter(3);
        world.publish(3, Class::Flash);
        world.run_for(100);
        assert!(world.tally.refused > refused, "seed {seed}: a node that knows of its revocation publishes");
        world.crash_by_chance(3);
        world.work_for(20, 30);
        world.run_for(5_000);
        for node in 0..3 {
            assert_eq!(world.nodes[node].disk.durable().height(&log), head.height, "seed {seed}: its past is gone");
        }
        world.converge(SETTLE_MS);
    }
}

/// T15: three nodes get a revocation, an entry before the end and one after it in every order, each in an order of its
/// own, by hand; then they meet.
#[test]
fn a_revocation_comes_to_the_same_in_every_order() {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let (mut past, mut shown) = (0, BTreeSet::new());
    for number in 0..orders.len().pow(3) {
        let of_node = [number % 6, number / 6 % 6, number / 36].map(|order| orders[order]);
        let mut world = World::new(Setup::new(480 + number as u64, 4));
        for node in 0..4 {
            world.isolate(&[node]);
        }
        world.run_for(1_500);
        world.publish(3, Class::Flash);
        world.run_for(100);
        world.publish(3, Class::Flash);
        world.run_for(100);
        let log = world.nodes[3].replica.as_ref().expect("it runs").own_log();
        let disk = world.nodes[3].disk.durable();
        let entries: Vec<_> = disk.entries.values().cloned().collect();
        let [before, after] = entries.last_chunk().expect("it wrote two").clone();
        let opening = entries[..entries.len() - 2].to_vec();
        let descriptor = disk.logs[&log].descriptor.clone();
        let (key, last_valid) = (world.nodes[3].key(), vec![(log, before.header().seq, before.hash())]);
        world.crash_by_chance(3);
        world.federation.next_epoch(|epoch| epoch.revocations = vec![Revocation { key, last_valid }]);
        for (node, order) in of_node.into_iter().enumerate() {
            for step in order {
                let entries = match step {
                    0 => {
                        world.install_charter(node);
                        continue;
                    }
                    1 => [&opening[..], std::slice::from_ref(&before)].concat(),
                    _ => vec![after.clone()],
                };
                let trust = world.nodes[node].replica.as_ref().expect("it runs").trust();
                let logs = vec![trust.check_log(descriptor.clone()).expect("a member's")];
                world.feed(node, Input::Entries { peer: None, request: None, logs, entries });
                world.run_for(20);
            }
            past += world.nodes[node].disk.durable().past_end().count();
        }
        world.heal_all();
        world.converge(SETTLE_MS);
        for node in 0..3 {
            assert_eq!(world.nodes[node].disk.durable().height(&log), before.header().seq.0 + 1, "{of_node:?}");
            shown.insert(world.nodes[node].views.shown().count());
        }
    }
    assert!(past > 200, "an entry past the end was stored before the revocation came: {past}");
    assert_eq!(shown, BTreeSet::from([1]), "what it wrote in time is shown, and nothing else");
}

#[test]
fn a_member_that_joins_is_believed_wherever_its_entries_come_first() {
    for seed in seeds(420, 4) {
        // Nodes 0..3 start under a charter that does not name the last member; node 3 is that member's.
        let full = Federation::new("simulated", seed, 4);
        let mut federation = Federation::founded("simulated", seed, 4, 3);
        let mut sites: Vec<Site> = federation.sites().to_vec();
        federation.next_epoch(|epoch| epoch.members = full.charter().current().members.clone());
        sites[3].charter = federation.charter().clone();
        let mut world = World::with_sites(Setup { topology: Topology::Line, ..Setup::new(seed, 4) }, federation, sites);
        world.run_for(2_000);
        assert_eq!(epoch_of(&world, 0), 1, "seed {seed}");
        world.install_charter(1);
        world.publish(3, Class::Routine);
        world.run_for(10_000);
        world.work_for(20, 30);
        world.publish(3, Class::Flash);
        world.converge(SETTLE_MS);
        assert_eq!(epoch_of(&world, 0), 2, "seed {seed}");
    }
}

#[test]
fn a_node_of_another_federation_is_refused() {
    for seed in seeds(430, 3) {
        let federation = Federation::new("simulated", seed, 3);
        let other = Federation::new("foreign", seed, 2);
        let mut sites: Vec<Site> = federation.sites().to_vec();
        sites.push(other.sites()[1].clone());
        let mut world = World::with_sites(Setup::new(seed, 4), federation, sites);
        world.run_for(2_000);
        world.publish(3, Class::Flash);
        world.publish(0, Class::Flash);
        world.work_for(10, 100);
        world.run_for(5_000);
        for node in 0..3 {
            assert!(!world.is_up(node, 3), "seed {seed}: node {node} is linked with a stranger");
        }
        let own = world.nodes[3].replica.as_ref().expect("it runs").own_log();
        for (index, node) in world.nodes.iter().enumerate() {
            let foreign = node.disk.durable().entries.keys().filter(|(log, _)| (*log == own) != (index == 3)).count();
            assert_eq!(foreign, 0, "seed {seed}: node {index} holds entries of another federation");
        }
        world.expect_clean();
    }
}

#[test]
fn bad_manners_do_not_kill_a_node() {
    for seed in seeds(440, 3) {
        let mut world = World::new(Setup::new(seed, 3));
        world.run_for(2_000);
        world.work_for(10, 20);
        world.converge(SETTLE_MS);
        let (peer, stranger) = (world.nodes[1].key(), vatra_model::NodeKey([7; 32]));
        let log = world.nodes[0].replica.as_ref().expect("it runs").own_log();
        let hello = |version: u16, certificate: &SignedCertificate| Hello {
            version,
            version_min: version,
            certificate: certificate.encode(),
            incarnation: Incarnation(1),
            founding: world.federation.charter().founding_hash(),
            charter_epoch: u64::MAX,
            charter_hash: [1; 32],
            frontier_hash: [2; 32],
            clock: WallMs(u64::MAX),
            software: "x".repeat(1000),
        };
        let own = &world.nodes[1].site.certificate;
        let other = &world.nodes[2].site.certificate;
        let want = |from, to| Want {
            request: 1,
            log,
            from,
            to,
            classes: vatra_model::wire::WantClasses::All,
            budget: u32::MAX,
        };
        let messages = vec![
            Message::Hello(hello(PROTOCOL_VERSION, own)),
            Message::Hello(hello(PROTOCOL_VERSION, other)),
            Message::Want(want(5, 1)),
            Message::Want(want(0, u64::MAX)),
            Message::Want(want(u64::MAX, u64::MAX)),
            Message::Want(Want { log: LogId([9; 16]), ..want(0, 10) }),
            Message::Done { request: 77, more: true },
            Message::Done { request: 0, more: false },
            Message::WantCharter { after: 0 },
            Message::WantCharter { after: u64::MAX },
            Message::Charter { bytes: vec![0xff; 100] },
            Message::Charter { bytes: world.federation.charter().encode() },
            Message::Have { heights: vec![(log, 0), (LogId([8; 16]), u64::MAX)] },
            Message::Have { heights: vec![(log, 1); 5_000] },
            Message::Frontier(vatra_model::wire::FrontierDigest {
                complete: true,
                heads: vec![(LogId([6; 16]), u64::MAX, vatra_model::EntryHash([1; 32]))],
            }),
        ];
        for message in messages {
            for from in [peer, stranger] {
                world.feed(0, Input::Message { peer: from, message: Box::new(message.clone()) });
                world.feed(0, Input::Shed { peer: from });
                world.feed(0, Input::RoundTrip { peer: from, rtt_ms: u32::MAX });
            }
            world.run_for(100);
        }
        world.feed(0, Input::LinkDown { peer: stranger });
        world.feed(0, Input::Persisted { batch: 999 });
        let refused = world.notes.iter().filter(|(node, note)| *node == 0 && matches!(note, Event::Rejected { .. }));
        assert!(refused.count() >= 4, "seed {seed}: {:?}", world.notes);
        world.work_for(20, 50);
        world.converge(30_000);
    }
}

#[test]
fn a_hello_of_another_version_closes_the_link() {
    let mut world = World::new(Setup::new(450, 2));
    world.run_for(2_000);
    let peer = world.nodes[1].key();
    let hello = Hello {
        version: PROTOCOL_VERSION + 5,
        version_min: PROTOCOL_VERSION + 3,
        certificate: world.nodes[1].site.certificate.encode(),
        incarnation: Incarnation(1),
        founding: world.federation.charter().founding_hash(),
        charter_epoch: 1,
        charter_hash: world.federation.charter().hash(),
        frontier_hash: [0; 32],
        clock: WallMs(0),
        software: String::new(),
    };
    world.feed(0, Input::LinkUp { peer, cost: vatra_replica::Cost::Wan });
    world.feed(0, Input::Message { peer, message: Box::new(Message::Hello(hello)) });
    assert!(!world.is_up(0, 1), "the link stands");
    world.run_for(40_000);
    world.work_for(5, 50);
    world.converge(SETTLE_MS);
}

#[test]
fn an_observer_reads_and_does_not_write() {
    for seed in seeds(460, 2) {
        let mut federation = Federation::new("simulated", seed, 3);
        federation.next_epoch(|epoch| epoch.members[2].role = MemberRole::Observer);
        let charter = federation.charter().clone();
        let sites: Vec<Site> =
            federation.sites().iter().map(|site| Site { charter: charter.clone(), ..site.clone() }).collect();
        let mut world = World::with_sites(Setup::new(seed, 3), federation, sites);
        world.run_for(2_000);
        world.publish(0, Class::Flash);
        world.publish(2, Class::Flash);
        world.converge(SETTLE_MS);
        assert_eq!((world.tally.refused, world.tally.acknowledged), (1, 1), "seed {seed}");
        assert_eq!(world.nodes[2].views.shown().count(), 1, "seed {seed}: the observer sees nothing");
    }
}

#[test]
fn duplicates_and_disorder_are_harmless() {
    for seed in seeds(470, 3) {
        let mut world = World::new(Setup::new(seed, 2));
        world.run_for(2_000);
        world.work_for(60, 30);
        world.converge(SETTLE_MS);
        let mut fresh = World::new(Setup::new(seed, 2));
        fresh.run_for(2_000);
        fresh.isolate(&[1]);
        fresh.run_for(4_000);
        // The entries of the one world come to the other in any order, one by one, some of them twice.
        let mut entries: Vec<_> = world.nodes[0].disk.durable().entries.values().cloned().collect();
        entries.extend(entries.clone().into_iter().step_by(3));
        let mut chance = chaos_tests::sim::chance::Chance::new(seed, "disorder");
        chance.shuffle(&mut entries);
        let descriptors: Vec<_> =
            world.nodes[0].disk.durable().logs.values().map(|row| row.descriptor.clone()).collect();
        for (place, signed) in world.ledger.iter() {
            fresh.ledger.at(place).extend(signed);
        }
        for entry in &entries {
            let trust = fresh.nodes[1].replica.as_ref().expect("it runs").trust();
            let logs =
                descriptors.iter().map(|known| trust.check_log(known.clone()).expect("they are members")).collect();
            let entries = vec![entry.clone()];
            fresh.feed(1, Input::Entries { peer: None, request: None, logs, entries });
            fresh.run_for(7);
        }
        assert_eq!(fresh.nodes[1].disk.durable().frontier(), world.nodes[0].disk.durable().frontier(), "seed {seed}");
        assert_eq!(fresh.nodes[1].views.digest(), world.nodes[0].views.digest(), "seed {seed}");
        // What came by file is passed on when there is a link again.
        fresh.heal_all();
        fresh.converge(SETTLE_MS);
        assert_eq!(fresh.nodes[0].disk.durable().frontier(), world.nodes[0].disk.durable().frontier(), "seed {seed}");
        let refused = fresh.notes.iter().find(|(_, note)| {
            matches!(note, Event::Forked { .. } | Event::Rejected { reject: Reject::NotEntitled { .. }, .. })
        });
        assert_eq!(refused, None, "seed {seed}");
    }
}
