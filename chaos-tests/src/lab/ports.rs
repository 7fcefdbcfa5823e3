//! Free ports for a lab, kept apart from every other lab on this machine.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use anyhow::bail;

/// Ports of one block: two for each node, the last one to hold the block.
const BLOCK_PORTS: u16 = 64;
/// Blocks lie below the range from which Linux takes ports for outgoing connections.
const FIRST_PORT: u16 = 10_048;
/// Number of blocks.
const BLOCKS: u16 = 340;
/// Nodes that fit into a block.
pub const NODES_MAX: usize = (BLOCK_PORTS as usize - 1) / 2;

/// A block of ports that no other lab takes while this value lives.
#[derive(Debug)]
pub struct PortBlock {
    base: u16,
    _guard: TcpListener,
}

impl PortBlock {
    /// Finds a block whose first ports are free for this many nodes.
    pub fn claim(nodes: usize) -> anyhow::Result<PortBlock> {
        if nodes == 0 || nodes > NODES_MAX {
            bail!("a lab has 1 to {NODES_MAX} nodes, not {nodes}");
        }
        let start = rand::random_range(0..BLOCKS);
        for step in 0..BLOCKS {
            let base = FIRST_PORT + (start + step) % BLOCKS * BLOCK_PORTS;
            // Whoever holds the last port holds the block; the others are then only probed.
            let Ok(guard) = TcpListener::bind((Ipv4Addr::LOCALHOST, base + BLOCK_PORTS - 1)) else { continue };
            if all_free(base, nodes) {
                return Ok(PortBlock { base, _guard: guard });
            }
        }
        bail!("no block of {} free ports from {FIRST_PORT} on", nodes * 2)
    }

    /// The first port, as `vatra lab new --base-port` takes it.
    pub fn base(&self) -> u16 {
        self.base
    }

    /// Where a node listens for other nodes (UDP).
    pub fn mesh(&self, index: usize) -> SocketAddr {
        self.address(2 * index)
    }

    /// Where a node serves its API (TCP).
    pub fn api(&self, index: usize) -> SocketAddr {
        self.address(2 * index + 1)
    }

    fn address(&self, offset: usize) -> SocketAddr {
        let offset = u16::try_from(offset).expect("a block has fewer ports than a u16 counts");
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.base + offset))
    }
}

fn all_free(base: u16, nodes: usize) -> bool {
    let nodes = u16::try_from(nodes).unwrap_or(u16::MAX);
    (0..nodes).all(|index| {
        UdpSocket::bind((Ipv4Addr::LOCALHOST, base + 2 * index)).is_ok()
            && TcpListener::bind((Ipv4Addr::LOCALHOST, base + 2 * index + 1)).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_labs_never_share_a_port() {
        let first = PortBlock::claim(NODES_MAX).unwrap();
        let second = PortBlock::claim(3).unwrap();
        assert_ne!(first.base(), second.base());
        assert!(first.base().abs_diff(second.base()) >= BLOCK_PORTS);
        assert_eq!(second.api(2).port(), second.base() + 5);
        assert_eq!(second.mesh(1).port(), second.base() + 2);
    }

    #[test]
    fn a_lab_has_nodes_but_not_too_many() {
        assert!(PortBlock::claim(0).is_err());
        assert!(PortBlock::claim(NODES_MAX + 1).is_err());
    }
}
