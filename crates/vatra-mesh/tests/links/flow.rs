//! Frames on lanes: order, back-pressure, limits, farewell.

use std::time::{Duration, Instant};

use bytes::Bytes;
use vatra_mesh::{Lane, LinkEvent, MeshEvent, MeshLimits, SendError};

use crate::world::{Node, anywhere, config, eventually, ordered, pair, text_from};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_flow_on_all_lanes_both_ways() {
    let (mut a, mut b) = pair(1, 2).await;
    for lane in Lane::ALL {
        for n in 0..3 {
            a.send(b.key(), lane, &format!("{lane} {n} from a")).expect("linked");
            b.send(a.key(), lane, &format!("{lane} {n} from b")).expect("linked");
        }
    }
    for (node, from) in [(&mut a, "b"), (&mut b, "a")] {
        let mut got = Vec::new();
        for _ in 0..3 {
            got.push(text_from(&mut node.events.control).await);
        }
        for _ in 0..6 {
            got.push(text_from(&mut node.events.urgent).await);
        }
        for _ in 0..6 {
            got.push(text_from(&mut node.events.bulk).await);
        }
        got.sort();
        let expected: Vec<(Lane, String)> = Lane::ALL
            .into_iter()
            .flat_map(|lane| (0..3).map(move |n| (lane, format!("{lane} {n} from {from}"))))
            .collect();
        assert_eq!(got, expected);
    }
    let link = &a.mesh.links()[0];
    assert_eq!((link.node, link.remote, link.dialed_by_us), (b.key(), b.mesh.local_address(), true));
    // Four bytes of header, three frames of 16 bytes and the hello of 4.
    assert_eq!((link.lanes[0].sent_frames, link.lanes[0].sent_bytes), (4, 3 * (4 + 16) + 8));
    assert_eq!(link.lanes[0].received_frames, 3);
    eventually("the round trip is measured", || a.mesh.links()[0].rtt.is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_keeps_its_order_and_loses_nothing() {
    let (a, mut b) = pair(3, 4).await;
    let (b_key, mesh) = (b.key(), a.mesh.clone());
    let sender = tokio::spawn(async move {
        for n in 0_u32..20_000 {
            let frame = Bytes::from([&n.to_le_bytes()[..], &vec![0; (n % 900) as usize]].concat());
            while mesh.send(b_key, Lane::Routine, frame.clone()) == Err(SendError::QueueFull { lane: Lane::Routine }) {
                tokio::task::yield_now().await;
            }
        }
    });
    for n in 0_u32..20_000 {
        let frame = b.events.bulk.recv().await.expect("the mesh runs");
        assert_eq!(frame.bytes[..4], n.to_le_bytes());
        assert_eq!(frame.bytes.len(), 4 + (n % 900) as usize);
    }
    sender.await.expect("all was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flash_frame_passes_a_stalled_backlog_and_the_stall_does_not_look_like_death() {
    let (mut a, mut b) = pair(5, 6).await;
    let full = Err(SendError::QueueFull { lane: Lane::Bulk });
    let frame = Bytes::from(vec![7; 700]);
    // Nobody reads at b: its receiver, the stream's window and a's queue fill up, one after the other.
    let mut refused = 0;
    while refused < 200 {
        if a.mesh.send(b.key(), Lane::Bulk, frame.clone()) == full {
            refused += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let info = &a.mesh.links()[0];
    assert_eq!(info.lanes[Lane::Bulk.index()].shed, 200);
    assert_eq!(a.mesh.totals().lanes[Lane::Bulk.index()].shed, 200);

    let sent = Instant::now();
    a.send(b.key(), Lane::Flash, "urgent").expect("the flash lane is empty");
    assert_eq!(text_from(&mut b.events.urgent).await, (Lane::Flash, "urgent".to_owned()));
    let took = sent.elapsed();
    assert!(took < Duration::from_millis(500), "a flash frame took {took:?}");

    let heard = || a.mesh.links().first().map_or(0, |link| link.heartbeat.received_frames);
    let before = heard();
    eventually("heartbeats go on", || heard() >= before + 4).await;
    assert_eq!(a.events.links.try_recv(), None);

    // Once b reads, the backlog flows again.
    let mut got = 0;
    while got < 2_000 {
        b.events.bulk.recv().await.expect("the mesh runs");
        got += 1;
    }
    eventually("there is room again", || a.mesh.send(b.key(), Lane::Bulk, frame.clone()).is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_over_the_peers_limit_ends_the_link_with_a_reason() {
    let mut strict = config(7, anywhere());
    strict.limits = MeshLimits { frame_bytes_max: 1_000, ..MeshLimits::default() };
    let (mut strict, mut loose) = (Node::with(strict).await, Node::new(8).await);
    strict.allow(&[loose.key()]);
    loose.allow(&[strict.key()]);
    loose.dial(strict.key(), strict.mesh.local_address());
    let (strict_key, loose_key) = (strict.key(), loose.key());
    tokio::join!(strict.up(loose_key), loose.up(strict_key));

    let too_large = SendError::TooLarge { length_bytes: 1_001, bytes_max: 1_000 };
    assert_eq!(strict.mesh.send(loose_key, Lane::Bulk, Bytes::from(vec![0; 1_001])), Err(too_large));
    assert_eq!(loose.mesh.send(strict_key, Lane::Bulk, Bytes::from(vec![0; 1_001])), Ok(()));
    let reason = strict.down(loose_key).await;
    assert_eq!(reason, "the peer announced a frame of 1001 bytes on lane bulk, at most 1000 are allowed");
    loose.down(strict_key).await;
    assert!(strict.events.bulk.try_recv().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_is_read_by_urgency_with_a_turn_for_the_rest() {
    let (a, mut b) = pair(9, 10).await;
    for n in 0..100 {
        a.send(b.key(), Lane::Flash, &format!("{n}")).expect("room");
    }
    a.send(b.key(), Lane::Bulk, "bulk").expect("room");
    eventually("all has arrived", || {
        b.mesh.links()[0].lanes.iter().map(|lane| lane.received_frames).sum::<u64>() == 101
    })
    .await;
    let mut lanes = Vec::new();
    for _ in 0..101 {
        match b.events.recv().await.expect("the mesh runs") {
            MeshEvent::Frame(frame) => lanes.push(frame.lane),
            MeshEvent::Link(event) => panic!("{event:?}"),
        }
    }
    assert_eq!(lanes.iter().position(|lane| *lane == Lane::Bulk), Some(64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_sends_what_is_queued_and_lets_the_peer_know() {
    for (leaver, stayer) in [ordered(11, 12), {
        let (a, b) = ordered(11, 12);
        (b, a)
    }] {
        let (a, mut b) = pair(leaver, stayer).await;
        for n in 0..100 {
            a.send(b.key(), Lane::Routine, &format!("last words {n}")).expect("room");
        }
        let begun = Instant::now();
        a.mesh.shutdown().await;
        assert!(begun.elapsed() < Duration::from_millis(1_100), "{:?}", begun.elapsed());
        assert_eq!(a.send(b.key(), Lane::Routine, "too late"), Err(SendError::NoLink));
        let counted = b.mesh.totals().lanes[Lane::Routine.index()].received_frames;
        let a_key = a.key();
        let reason = b.down(a_key).await;
        assert!(begun.elapsed() < Duration::from_secs(2), "told after {:?}: {reason}", begun.elapsed());
        assert_eq!(counted, 101 - 1, "100 frames were read before the end");
        let (mut a, mut last) = (a, None);
        while let Some(event) = a.events.links.recv().await {
            last = Some(event);
        }
        assert!(matches!(last, Some(LinkEvent::Down { .. })), "{last:?}");
        assert!(a.events.recv().await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_surface_only_between_up_and_down_as_the_caller_sees_them() {
    let (mut a, mut b) = (Node::new(13).await, Node::new(14).await);
    let (a_key, b_key) = (a.key(), b.key());
    a.allow(&[b_key]);
    b.allow(&[a_key]);
    a.dial(b_key, b.mesh.local_address());
    a.up(b_key).await;
    for n in 0..10 {
        a.send(b_key, Lane::Control, &format!("{n}")).expect("linked");
    }
    // The heartbeat shows that the link works; frames still wait, because b's caller has not taken the event.
    eventually("heartbeats flow", || b.mesh.links().first().is_some_and(|link| link.heartbeat.received_frames >= 2))
        .await;
    assert_eq!(b.mesh.totals().lanes[Lane::Control.index()].received_frames, 0);
    assert!(b.events.control.try_recv().is_none());
    b.up(a_key).await;
    assert_eq!(text_from(&mut b.events.control).await.1, "0");

    // The rest has been read from the stream and waits for the caller when the link ends.
    eventually("all was read", || b.mesh.totals().lanes[Lane::Control.index()].received_frames == 10).await;
    b.allow(&[]);
    b.down(a_key).await;
    assert!(b.events.control.try_recv().is_none());
}
