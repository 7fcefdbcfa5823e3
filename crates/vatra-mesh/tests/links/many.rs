//! A full mesh of a dozen nodes in one process.

use std::time::Instant;

use vatra_mesh::{Lane, PeerAddress};
use vatra_model::NodeKey;

use crate::world::{Node, eventually, text_from};

const NODES: u8 = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twelve_nodes_link_up_fully_and_reach_each_other() {
    let mut nodes = Vec::new();
    for n in 0..NODES {
        nodes.push(Node::new(200 + n).await);
    }
    let keys: Vec<NodeKey> = nodes.iter().map(Node::key).collect();
    let peers: Vec<PeerAddress> = nodes
        .iter()
        .map(|node| PeerAddress { node: node.key(), address: node.mesh.local_address(), dial: true })
        .collect();
    let begun = Instant::now();
    for node in &nodes {
        node.allow(&keys);
        node.mesh.set_peers(peers.clone());
    }
    let others = usize::from(NODES) - 1;
    eventually("everyone is linked to everyone", || nodes.iter().all(|node| node.mesh.links().len() == others)).await;
    println!("{NODES} nodes fully linked after {:?}", begun.elapsed());

    for node in &nodes {
        for peer in keys.iter().filter(|key| **key != node.key()) {
            node.send(*peer, Lane::Flash, &node.key().to_string()).expect("linked");
        }
    }
    for node in &mut nodes {
        // Frames of a link flow once its event was taken.
        for _ in 0..others {
            node.link_event().await;
        }
        let mut heard = Vec::new();
        for _ in 0..others {
            heard.push(text_from(&mut node.events.urgent).await.1);
        }
        heard.sort();
        let mut expected: Vec<String> = keys.iter().filter(|key| **key != node.key()).map(NodeKey::to_string).collect();
        expected.sort();
        assert_eq!(heard, expected);
        assert_eq!((node.mesh.totals().links_up, node.mesh.totals().links_down), (others as u64, 0));
    }
}
