//! S11: what a revoked key wrote past its last valid entry has no effect at any node that knows of the revocation,
//! however and whenever it came there.

use vatra_model::Change;
use vatra_model::change::record_id;

use crate::sim::world::World;

/// Changes past the ends of their logs that take effect, and evidence that is gone.
#[must_use]
pub fn check(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for (index, (node, evidence)) in world.nodes.iter().zip(&world.watch.evidence).enumerate() {
        let lost = evidence.iter().filter(|(log, seq, hash)| node.disk.durable().entry(*log, *seq, *hash).is_none());
        found.extend(lost.map(|(log, seq, _)| format!("node {index} lost the evidence {log}/{seq} (S11)")));
    }
    for (index, node) in world.nodes.iter().enumerate().filter(|(index, _)| world.is_honest(*index)) {
        if node.replica.is_none() || !world.setup.views {
            continue;
        }
        let disk = node.disk.durable();
        for entry in disk.past_end() {
            let log = entry.header().log;
            let Some((member, _)) = disk.origin(&log) else { continue };
            for (id, _, bytes) in entry.changes() {
                let record = match bytes.map(Change::decode) {
                    Some(Ok(Change::Create(create))) => record_id(member, &create),
                    Some(Ok(Change::Edit(edit))) => edit.record,
                    _ => continue,
                };
                if node.views.applies(&record, &id) {
                    let seq = entry.header().seq;
                    found.push(format!("node {index} shows what {log}/{seq} did, which is past its end (S11)"));
                }
            }
        }
    }
    found
}
