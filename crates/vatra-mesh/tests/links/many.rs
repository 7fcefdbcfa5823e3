//! A full mesh of a dozen nodes in one process.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use vatra_mesh::{Lane, PeerAddress};
use vatra_model::NodeKey;

use crate::world::{Node, PATIENCE, eventually};

const NODES: u8 = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twelve_nodes_link_up_fully_and_reach_each_other() {
    let mut nodes = Vec::new();
    for n in 0..NODES {
        nodes.push(Node::new(200 + n).await);
    }
    let keys: BTreeSet<NodeKey> = nodes.iter().map(Node::key).collect();
    let peers: Vec<PeerAddress> = nodes
        .iter()
        .map(|node| PeerAddress { node: node.key(), address: node.mesh.local_address(), dial: true })
        .collect();
    let begun = Instant::now();
    for node in &nodes {
        node.mesh.set_allowed(keys.clone());
        node.mesh.set_peers(peers.clone());
    }
    let others = usize::from(NODES) - 1;
    eventually("everyone is linked to everyone", || nodes.iter().all(|node| node.mesh.links().len() == others)).await;
    println!("{NODES} nodes fully linked after {:?}", begun.elapsed());

    // On a machine that starves us a link may be lost and made again, so frames are repeated until all are heard.
    let mut heard = vec![BTreeSet::new(); nodes.len()];
    while heard.iter().any(|from| from.len() < others) {
        assert!(begun.elapsed() < PATIENCE * 2, "some nodes do not hear each other: {heard:?}");
        for node in &nodes {
            for peer in keys.iter().filter(|key| **key != node.key()) {
                let _ = node.send(*peer, Lane::Flash, "here");
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        for (node, from) in nodes.iter_mut().zip(&mut heard) {
            while node.events.links.try_recv().is_some() {}
            while let Some(frame) = node.events.urgent.try_recv() {
                from.insert(frame.node);
            }
        }
    }
    for (node, from) in nodes.iter().zip(heard) {
        assert_eq!(from, keys.iter().copied().filter(|key| *key != node.key()).collect());
    }
}
