//! Who gets in: allowed keys, revocation, drills, one link per pair, ports.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use vatra_mesh::{Affected, Lane, LinkEvent, RefusedReason, SendError, StartError, start};

use crate::world::{Node, config, eventually, ordered, pair, text_from};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_both_dial_exactly_one_link_stays() {
    for round in 0..10 {
        let (mut a, mut b) = (Node::new(20 + round).await, Node::new(120 + round).await);
        let (a_key, b_key) = (a.key(), b.key());
        a.allow(&[b_key]);
        b.allow(&[a_key]);
        a.dial(b_key, b.mesh.local_address());
        b.dial(a_key, a.mesh.local_address());
        tokio::join!(a.up(b_key), b.up(a_key));
        // Long enough for every overlapping attempt to arrive and be turned down.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(900) {
            a.send(b_key, Lane::Priority, "there").expect("linked");
            assert_eq!(text_from(&mut b.events.urgent).await.1, "there");
            b.send(a_key, Lane::Priority, "and back").expect("linked");
            assert_eq!(text_from(&mut a.events.urgent).await.1, "and back");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for node in [&mut a, &mut b] {
            assert_eq!(node.events.links.try_recv(), None, "round {round}");
            let totals = node.mesh.totals();
            assert_eq!((totals.links_up, totals.links_down, node.mesh.links().len()), (1, 0, 1), "round {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_key_is_refused_and_told_and_no_frame_gets_through() {
    let (mut server, mut stranger) = (Node::new(40).await, Node::new(41).await);
    let (server_key, stranger_key) = (server.key(), stranger.key());
    stranger.allow(&[server_key]);
    stranger.dial(server_key, server.mesh.local_address());
    match server.link_event().await {
        LinkEvent::Refused { node, reason: RefusedReason::NotAllowed, count: 1, remote } => {
            assert_eq!((node, remote), (stranger_key, stranger.mesh.local_address()));
        }
        other => panic!("{other:?}"),
    }
    eventually("it knocks again and again", || server.mesh.totals().refused >= 3).await;
    assert_eq!(server.events.links.try_recv(), None, "one event, not one per knock");
    for node in [&server, &stranger] {
        assert_eq!(node.mesh.totals().links_up, 0);
        assert!(node.mesh.links().is_empty());
    }
    let received: u64 = server.mesh.totals().lanes.iter().map(|lane| lane.received_frames).sum();
    assert_eq!(received + server.mesh.totals().heartbeat.received_frames, 0);
    assert_eq!(stranger.send(server_key, Lane::Flash, "let me in"), Err(SendError::NoLink));

    // Once it is admitted, it gets in without anyone's restart.
    server.allow(&[stranger_key]);
    tokio::join!(server.up(stranger_key), stranger.up(server_key));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_another_key_holds_is_told() {
    let (mut a, b) = (Node::new(42).await, Node::new(43).await);
    let expected = crate::world::identity(44).node();
    a.allow(&[expected, b.key()]);
    b.allow(&[a.key()]);
    a.dial(expected, b.mesh.local_address());
    match a.link_event().await {
        LinkEvent::Refused { node, reason, .. } => {
            assert_eq!((node, reason), (b.key(), RefusedReason::WrongKey { expected }));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_a_peer_cannot_be_dialled_is_told_until_it_can() {
    let (mut a, mut b) = (Node::new(45).await, Node::new(46).await);
    let (a_key, b_key) = (a.key(), b.key());
    a.allow(&[b_key]);
    // A socket that nobody reads: packets vanish as on a line that is cut.
    let deaf = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let place = deaf.local_addr().expect("bound");
    a.dial(b_key, place);
    let told = format!("no answer from {place}");
    eventually("nobody answers", || a.mesh.failed_dial(b_key).as_deref() == Some(&told)).await;
    let other = Node::new(47).await;
    other.allow(&[a_key]);
    a.dial(b_key, other.mesh.local_address());
    let told = format!("{} is held by another key", other.mesh.local_address());
    eventually("somebody else answers", || a.mesh.failed_dial(b_key).as_deref() == Some(&told)).await;
    b.allow(&[a_key]);
    a.dial(b_key, b.mesh.local_address());
    b.up(a_key).await;
    while !matches!(a.link_event().await, LinkEvent::Up { .. }) {}
    assert_eq!(a.mesh.failed_dial(b_key), None);
    a.mesh.set_peers(Vec::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_loses_its_link_at_once() {
    let (mut a, mut b) = pair(45, 46).await;
    let (a_key, b_key) = (a.key(), b.key());
    let revoked = Instant::now();
    a.allow(&[]);
    let (ours, theirs) = tokio::join!(a.down(b_key), b.down(a_key));
    assert_eq!(ours, "the peer's key is no longer allowed");
    assert!(revoked.elapsed() < Duration::from_secs(1), "{:?}: {theirs}", revoked.elapsed());
    assert_eq!(a.send(b_key, Lane::Flash, "x"), Err(SendError::NoLink));
    b.dial(a_key, a.mesh.local_address());
    eventually("it is refused from now on", || a.mesh.totals().refused >= 2).await;
    assert!(a.mesh.links().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_cuts_both_directions_until_it_is_healed() {
    let (smaller, larger) = ordered(47, 48);
    for (cutter, other, affected) in
        [(smaller, larger, None), (larger, smaller, None), (smaller, larger, Some(Affected::All))]
    {
        let (mut a, mut b) = pair(cutter, other).await;
        let (a_key, b_key) = (a.key(), b.key());
        b.dial(a_key, a.mesh.local_address());
        let affected = affected.unwrap_or_else(|| Affected::Nodes(BTreeSet::from([b_key])));

        let begun = Instant::now();
        a.mesh.cut(affected.clone());
        assert!(a.mesh.is_cut(b_key));
        let (ours, theirs) = tokio::join!(a.down(b_key), b.down(a_key));
        let noticed = begun.elapsed();
        assert_eq!(ours, "a drill cuts the link");
        assert!(noticed < Duration::from_secs(1), "{noticed:?}: {theirs}");

        // b knocks and is turned away; a does not dial.
        match a.link_event().await {
            LinkEvent::Refused { node, reason: RefusedReason::Cut, .. } => assert_eq!(node, b_key),
            other => panic!("{other:?}"),
        }
        let dials = a.mesh.totals().dials;
        eventually("it is refused again", || a.mesh.totals().refused >= 3).await;
        assert_eq!(a.mesh.totals().dials, dials);
        assert_eq!((a.mesh.links().len(), b.mesh.links().len()), (0, 0));

        let begun = Instant::now();
        a.mesh.heal(affected);
        tokio::join!(a.up(b_key), b.up(a_key));
        let healed = begun.elapsed();
        println!("cut noticed by both after {noticed:?}, linked {healed:?} after the heal");
        assert!(healed < Duration::from_secs(2), "{healed:?}");
        assert!(!a.mesh.is_cut(b_key));
    }
}

#[tokio::test]
async fn a_taken_port_is_told_with_its_address() {
    let a = Node::new(49).await;
    let address = a.mesh.local_address();
    match start(config(50, address)).await {
        Err(StartError::Bind { address: told, source }) => {
            assert_eq!(told, address);
            assert!(source.to_string().contains("in use"), "{source}");
            let cause = source.get_ref().and_then(std::error::Error::source);
            assert!(cause.is_none(), "the cause is told once: {cause:?}");
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("bound twice"),
    }
}
