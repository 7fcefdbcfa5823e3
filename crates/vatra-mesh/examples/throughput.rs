//! Sends 100,000 frames of 700 bytes over lane `bulk` between two nodes on this machine, and flash frames beside
//! them. Run with `cargo run --release -p vatra-mesh --example throughput`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use vatra_mesh::{
    Identity, Lane, LinkEvent, LinkProfile, Mesh, MeshConfig, MeshEvents, MeshLimits, PeerAddress, start,
};
use vatra_model::NodeKey;

const FRAMES: usize = 100_000;
const FRAME_BYTES: usize = 700;

fn main() {
    // A runtime with one worker for each side, as two processes would have.
    let sides = [1, 2].map(|seed| {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let config = MeshConfig {
            identity: Identity::from_seed(&mut [seed; 32]),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            profile: LinkProfile::Wan,
            limits: MeshLimits::default(),
        };
        let (mesh, events) = runtime.block_on(start(config)).expect("a free port");
        (runtime, mesh, events)
    });
    let [(runtime_a, a, events_a), (runtime_b, b, events_b)] = sides;
    a.set_allowed([b.node()].into());
    b.set_allowed([a.node()].into());
    a.set_peers(vec![PeerAddress { node: b.node(), address: b.local_address(), dial: true }]);
    let events_a = runtime_a.block_on(until_up(events_a));
    let events_b = runtime_b.block_on(until_up(events_b));
    let mut events_b = runtime_b.block_on(quiet(&runtime_a, &a, b.node(), events_b));
    for _ in 0..3 {
        events_b = run(&runtime_a, &runtime_b, &a, &b, events_b);
    }
    drop(events_a);
}

async fn until_up(mut events: MeshEvents) -> MeshEvents {
    while !matches!(events.links.recv().await, Some(LinkEvent::Up { .. })) {}
    events
}

/// Sends 50 flash frames a second and nothing else.
async fn quiet(runtime_a: &Runtime, a: &Mesh, target: NodeKey, mut events: MeshEvents) -> MeshEvents {
    let begun = Instant::now();
    let mesh = a.clone();
    runtime_a.spawn(async move {
        for _ in 0..100 {
            let stamp = Bytes::copy_from_slice(&(begun.elapsed().as_micros() as u64).to_le_bytes());
            mesh.send(target, Lane::Flash, stamp).expect("linked");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut delays = Vec::new();
    while delays.len() < 100 {
        let frame = events.urgent.recv().await.expect("the mesh runs");
        delays.push(delay(begun, &frame.bytes));
    }
    delays.sort();
    println!("50 flash frames a second on a quiet link: p50 {:?}, max {:?}", delays[50], delays[99]);
    events
}

fn delay(begun: Instant, stamp: &[u8]) -> Duration {
    let stamp = u64::from_le_bytes(stamp[..8].try_into().expect("eight bytes were sent"));
    begun.elapsed().saturating_sub(Duration::from_micros(stamp))
}

/// Sends bulk at full speed and a flash frame every 5 ms.
fn run(runtime_a: &Runtime, runtime_b: &Runtime, a: &Mesh, b: &Mesh, mut events: MeshEvents) -> MeshEvents {
    let target = b.node();
    let begun = Instant::now();
    let mesh = a.clone();
    let bulk = runtime_a.spawn(async move {
        let frame = Bytes::from(vec![7; FRAME_BYTES]);
        for _ in 0..FRAMES {
            while mesh.send(target, Lane::Bulk, frame.clone()).is_err() {
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
        }
    });
    let mesh = a.clone();
    let flash = runtime_a.spawn(async move {
        loop {
            let stamp = Bytes::copy_from_slice(&(begun.elapsed().as_micros() as u64).to_le_bytes());
            let _ = mesh.send(target, Lane::Flash, stamp);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let (elapsed, mut delays) = runtime_b.block_on(async {
        let (mut received, mut delays) = (0, Vec::new());
        while received < FRAMES {
            tokio::select! {
                Some(frame) = events.urgent.recv() => delays.push(delay(begun, &frame.bytes)),
                Some(frame) = events.bulk.recv() => {
                    assert_eq!(frame.bytes.len(), FRAME_BYTES);
                    received += 1;
                }
            }
        }
        (begun.elapsed(), delays)
    });
    flash.abort();
    runtime_a.block_on(bulk).expect("all was sent");
    delays.sort();
    let megabytes = (FRAMES * FRAME_BYTES) as f64 / 1e6;
    println!(
        "{megabytes} MB in {elapsed:?}: {:.0} MB/s, {:.0} frames/s",
        megabytes / elapsed.as_secs_f64(),
        FRAMES as f64 / elapsed.as_secs_f64()
    );
    if !delays.is_empty() {
        println!(
            "{} flash frames beside it: p50 {:?}, max {:?}",
            delays.len(),
            delays[delays.len() / 2],
            delays[delays.len() - 1]
        );
    }
    events
}
