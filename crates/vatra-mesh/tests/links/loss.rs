//! Peers and paths that fail: how soon it is noticed, and how soon the link is back.

use std::time::{Duration, Instant};

use vatra_mesh::Lane;

use crate::world::{Node, Relay, config, eventually, ordered, pair, text_from};

/// Two nodes of which only the first dials, through a relay.
async fn pair_over_relay(dialer: u8, other: u8) -> (Node, Node, Relay) {
    let (mut a, mut b) = (Node::new(dialer).await, Node::new(other).await);
    let relay = Relay::to(b.mesh.local_address()).await;
    a.allow(&[b.key()]);
    b.allow(&[a.key()]);
    a.dial(b.key(), relay.address);
    let (a_key, b_key) = (a.key(), b.key());
    tokio::join!(a.up(b_key), b.up(a_key));
    eventually("the round trip is measured", || a.mesh.links()[0].rtt.is_some()).await;
    (a, b, relay)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_path_is_noticed_and_taken_again() {
    let (smaller, larger) = ordered(60, 61);
    for (dialer, other) in [(smaller, larger), (larger, smaller)] {
        let (mut a, mut b, relay) = pair_over_relay(dialer, other).await;
        let (a_key, b_key) = (a.key(), b.key());
        for (to_b, from_b) in [(true, true), (true, false), (false, true)] {
            let begun = Instant::now();
            relay.lose(to_b, from_b);
            let timed = async |node: &mut Node, peer| {
                let reason = node.down(peer).await;
                (begun.elapsed(), reason)
            };
            let (ours, theirs) = tokio::join!(timed(&mut a, b_key), timed(&mut b, a_key));
            let healed_at = Instant::now();
            relay.lose(false, false);
            tokio::join!(a.up(b_key), b.up(a_key));
            let back = healed_at.elapsed();
            println!("lost to {to_b} from {from_b}: noticed {ours:?} / {theirs:?}, back after {back:?}");
            assert!(ours.0 < Duration::from_secs(3), "{ours:?}");
            assert!(theirs.0 < Duration::from_secs(3), "{theirs:?}");
            assert!(back < Duration::from_secs(3), "{back:?}");
            a.send(b_key, Lane::Flash, "again").expect("linked");
            assert_eq!(text_from(&mut b.events.urgent).await.1, "again");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_peer_is_noticed_and_linked_again_when_it_restarts() {
    let (smaller, larger) = ordered(62, 63);
    for (stayer, victim) in [(smaller, larger), (larger, smaller)] {
        let (mut a, b) = pair(stayer, victim).await;
        let (b_key, b_address) = (b.key(), b.mesh.local_address());
        let begun = Instant::now();
        drop(b);
        let reason = a.down(b_key).await;
        println!("noticed after {:?}: {reason}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());

        // The port may stay taken for the moment that the old endpoint needs to go.
        let mut b = loop {
            match vatra_mesh::start(config(victim, b_address)).await {
                Ok((mesh, events)) => break Node { mesh, events },
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let begun = Instant::now();
        b.allow(&[a.key()]);
        let a_key = a.key();
        tokio::join!(a.up(b_key), b.up(a_key));
        println!("linked again {:?} after the restart", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_restarts_behind_a_silent_path_replaces_its_old_link() {
    let (smaller, larger) = ordered(64, 65);
    for (stayer, victim) in [(smaller, larger), (larger, smaller)] {
        // The victim dials through a relay that swallows its farewell.
        let (mut b, mut a, relay) = pair_over_relay(victim, stayer).await;
        let (a_key, b_key) = (a.key(), b.key());
        eventually("the race of dials is over", || {
            a.mesh.links()[0].since.elapsed().is_ok_and(|up| up > Duration::from_millis(4_200))
        })
        .await;
        relay.lose(true, true);
        drop(b);
        let fresh_relay = Relay::to(a.mesh.local_address()).await;
        b = Node::new(victim).await;
        b.allow(&[a_key]);
        let begun = Instant::now();
        b.dial(a_key, fresh_relay.address);
        b.up(a_key).await;
        let reason = a.down(b_key).await;
        a.up(b_key).await;
        println!("replaced after {:?}: {reason}", begun.elapsed());
        assert_eq!(reason, "the peer came back on a new connection");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_loses_a_tenth_keeps_its_link_and_delivers_all() {
    let (mut a, mut b, relay) = pair_over_relay(66, 67).await;
    relay.lose_one_in(10, 11);
    let heard = |node: &Node| node.mesh.totals().heartbeat.received_frames;
    let before = (heard(&a), heard(&b));
    let mut sent = 0;
    while heard(&a) < before.0 + 5 || heard(&b) < before.1 + 5 {
        a.send(b.key(), Lane::Flash, &sent.to_string()).expect("linked");
        assert_eq!(text_from(&mut b.events.urgent).await.1, sent.to_string());
        sent += 1;
    }
    assert!(sent > 20, "{sent} frames in five heartbeats");
    for node in [&mut a, &mut b] {
        assert_eq!(node.events.links.try_recv(), None);
    }
}
