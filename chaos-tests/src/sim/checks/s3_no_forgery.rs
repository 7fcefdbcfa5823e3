//! S3, S4: whatever lies on a disk was signed by the core of the node whose log it is in, and nothing of it is left out.

use vatra_model::Public;
use vatra_model::entry::Slot;

use crate::sim::world::World;

/// Every entry on a disk is in the ledger of what cores signed, has all its changes, and verifies under its log's
/// origin.
#[must_use]
pub fn check(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for (index, node) in world.nodes.iter().enumerate() {
        let disk = node.disk.durable();
        for ((log, seq), entry) in disk.entries.iter() {
            if !world.ledger.get((log, seq)).is_some_and(|signed| signed.contains(&entry.hash())) {
                found.push(format!("node {index} holds {log}/{seq}, which nobody signed (S3)"));
            }
            let changes: Option<Vec<&[u8]>> = entry.entry().changes.iter().map(Slot::bytes).collect();
            let len = changes.map(|changes| changes.into_iter().map(<[u8]>::len).sum::<usize>());
            if len != Some(entry.header().changes_len as usize) {
                found.push(format!("node {index} holds {log}/{seq} without all that it says (S3)"));
            }
            if disk.origin(&log).is_none() {
                found.push(format!("node {index} holds {log}/{seq} of a log that it cannot name (S4)"));
            }
        }
        // Signatures are costly: one of each log, the newest, stands for the rest, which the ledger covers.
        for (log, row) in &disk.logs {
            let newest = disk.entries.range(*log, ..=row.head.height).next_back();
            let Some((_, entry)) = newest else { continue };
            let public = disk.origin(log).and_then(|(_, origin)| Public::new(&origin.0).ok());
            let public = public.map(|public| public.with_scheme(world.setup.fidelity.scheme()));
            let verifies = public.is_some_and(|public| entry.entry().clone().check(&public).is_ok());
            if !verifies {
                found.push(format!("node {index} holds an entry of {log} that does not verify (S3)"));
            }
        }
    }
    found
}
