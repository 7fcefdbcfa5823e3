//! How much one message may hold, so that no frame of the allowed size costs more than it should to look at.

use thiserror::Error;

use super::{EntriesFrame, MESSAGE_LOGS_MAX, Message, PULSE_BYTES_MAX, PULSES_MAX};
use crate::certificate::CERTIFICATE_BYTES_MAX;
use crate::charter::CHARTER_BYTES_MAX;
use crate::limits::{
    BEACON_BYTES_MAX, ENTRY_CHANGES_MAX, FRAME_ENTRIES_MAX, LOGS_MAX, MESSAGE_STRAYS_MAX, SOFTWARE_BYTES_MAX,
    WANT_STRAYS_MAX,
};

/// A message holds more of something than one may. Nothing of it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a message may hold {limit} {what}, not {found}")]
pub struct MessageTooLarge {
    /// What there is too much of.
    pub what: &'static str,
    /// How much there may be.
    pub limit: usize,
    /// How much there is.
    pub found: usize,
}

impl Message {
    /// Checks the message's bounds; to be called on every message of a peer before anything else.
    ///
    /// # Errors
    /// [`MessageTooLarge`] for the first bound that is exceeded.
    pub fn check(&self) -> Result<(), MessageTooLarge> {
        match self {
            Message::Hello(hello) => {
                within("bytes of a certificate", CERTIFICATE_BYTES_MAX, hello.certificate.len())?;
                within("bytes of a software version", SOFTWARE_BYTES_MAX, hello.software.len())
            }
            Message::Charter { bytes } => within("bytes of a charter", CHARTER_BYTES_MAX, bytes.len()),
            Message::Frontier(digest) => within("logs of a frontier", LOGS_MAX, digest.heads.len()),
            Message::Beacon(signed) => within("bytes of a beacon", BEACON_BYTES_MAX, signed.body.len()),
            Message::Have { heights } => within("logs of an announcement", MESSAGE_LOGS_MAX, heights.len()),
            Message::Entries(frame) => check_entries(frame),
            Message::Fork(proof) => {
                within("bytes of a certificate", CERTIFICATE_BYTES_MAX, proof.log.certificate.len())
            }
            Message::StrayList(list) => within("strays of a list", MESSAGE_STRAYS_MAX, list.items.len()),
            Message::WantStrays { items, .. } => within("strays of a request", WANT_STRAYS_MAX, items.len()),
            Message::Pulses { pulses } => {
                within("pulses of a message", PULSES_MAX, pulses.len())?;
                pulses.iter().try_for_each(|pulse| within("bytes of a pulse", PULSE_BYTES_MAX, pulse.body.len()))
            }
            Message::WantCharter { .. }
            | Message::Resume { .. }
            | Message::Want(_)
            | Message::Done { .. }
            | Message::Probe { .. }
            | Message::Header { .. }
            | Message::WantStrayList { .. } => Ok(()),
        }
    }
}

fn check_entries(frame: &EntriesFrame) -> Result<(), MessageTooLarge> {
    within("logs of a frame", LOGS_MAX, frame.logs.len())?;
    for log in &frame.logs {
        within("bytes of a certificate", CERTIFICATE_BYTES_MAX, log.certificate.len())?;
    }
    // A run without entries would cost its receiver for nothing.
    within("runs of a frame", FRAME_ENTRIES_MAX, frame.runs.len())?;
    within("entries of a frame", FRAME_ENTRIES_MAX, frame.runs.iter().map(|run| run.entries.len()).sum())?;
    let entries = frame.runs.iter().flat_map(|run| &run.entries);
    within("changes of an entry", ENTRY_CHANGES_MAX, entries.map(|entry| entry.changes.len()).max().unwrap_or(0))
}

fn within(what: &'static str, limit: usize, found: usize) -> Result<(), MessageTooLarge> {
    if found <= limit { Ok(()) } else { Err(MessageTooLarge { what, limit, found }) }
}

#[cfg(test)]
mod tests {
    use super::super::{FrontierDigest, Hello, LogDescriptor, Run, RunEntry, SignedBeacon, StrayList, WireSlot};
    use super::*;
    use crate::entry::HEADER_LEN;
    use crate::fork::{ForkProof, SignedHeader};
    use crate::ids::{AudienceId, EntryHash, Incarnation, LogId, Realm};
    use crate::time::WallMs;

    fn hello(certificate: usize, software: usize) -> Message {
        Message::Hello(Hello {
            version: 1,
            version_min: 1,
            certificate: vec![0; certificate],
            incarnation: Incarnation(1),
            founding: [0; 32],
            charter_epoch: 1,
            charter_hash: [0; 32],
            frontier_hash: [0; 32],
            clock: WallMs(0),
            software: "x".repeat(software),
        })
    }

    fn frame(logs: usize, certificate: usize, runs: usize, entries: usize, changes: usize) -> Message {
        let log = LogDescriptor {
            certificate: vec![0; certificate].into(),
            incarnation: Incarnation(1),
            audience: AudienceId::FEDERATION,
            realm: Realm::OPS,
        };
        let entry = RunEntry {
            hlc: 0,
            class: 0,
            expires_hours: 0,
            signature: [0; 64],
            changes: vec![WireSlot::Erased([0; 32]); changes],
            changes_len: None,
        };
        let run = Run { log: LogId([0; 16]), first: 0, prev: EntryHash::ZERO, entries: vec![entry; entries] };
        Message::Entries(EntriesFrame { request: None, logs: vec![log; logs], runs: vec![run; runs] })
    }

    #[test]
    fn each_bound_is_hit_by_one_more() {
        let log = LogId([0; 16]);
        let frontier = move |logs| {
            Message::Frontier(FrontierDigest { complete: true, heads: vec![(log, 1, EntryHash::ZERO); logs] })
        };
        let have = move |logs| Message::Have { heights: vec![(log, 1); logs] };
        let beacon = |bytes| Message::Beacon(SignedBeacon { body: vec![0; bytes], signature: [0; 64] });
        let charter = |bytes| Message::Charter { bytes: vec![0; bytes] };
        let fork = |certificate| {
            let (incarnation, audience, realm) = (Incarnation(1), AudienceId::FEDERATION, Realm::OPS);
            let log = LogDescriptor { certificate: vec![0; certificate].into(), incarnation, audience, realm };
            let signed = SignedHeader { header: [0; HEADER_LEN], signature: [0; 64] };
            Message::Fork(Box::new(ForkProof { log, first: signed, second: signed }))
        };
        let list = move |strays| {
            let (trunk, head, items) = (None, EntryHash::ZERO, vec![(1, EntryHash::ZERO); strays]);
            Message::StrayList(StrayList { log, place: 0, trunk, head, whole: true, items })
        };
        let strays = move |strays| Message::WantStrays { request: 1, log, items: vec![(1, EntryHash::ZERO); strays] };
        type Case = (&'static str, usize, Box<dyn Fn(usize) -> Message>);
        let cases: Vec<Case> = vec![
            ("bytes of a certificate", CERTIFICATE_BYTES_MAX, Box::new(|n| hello(n, 0))),
            ("bytes of a software version", SOFTWARE_BYTES_MAX, Box::new(|n| hello(0, n))),
            ("bytes of a charter", CHARTER_BYTES_MAX, Box::new(charter)),
            ("logs of a frontier", LOGS_MAX, Box::new(frontier)),
            ("bytes of a beacon", BEACON_BYTES_MAX, Box::new(beacon)),
            ("logs of an announcement", MESSAGE_LOGS_MAX, Box::new(have)),
            ("logs of a frame", LOGS_MAX, Box::new(|n| frame(n, 0, 0, 0, 0))),
            ("bytes of a certificate", CERTIFICATE_BYTES_MAX, Box::new(|n| frame(1, n, 0, 0, 0))),
            ("bytes of a certificate", CERTIFICATE_BYTES_MAX, Box::new(fork)),
            ("strays of a list", MESSAGE_STRAYS_MAX, Box::new(list)),
            ("strays of a request", WANT_STRAYS_MAX, Box::new(strays)),
            ("runs of a frame", FRAME_ENTRIES_MAX, Box::new(|n| frame(0, 0, n, 0, 0))),
            ("entries of a frame", FRAME_ENTRIES_MAX, Box::new(|n| frame(0, 0, 1, n, 0))),
            ("changes of an entry", ENTRY_CHANGES_MAX, Box::new(|n| frame(0, 0, 1, 1, n))),
        ];
        for (what, limit, message) in cases {
            assert_eq!(message(limit).check(), Ok(()), "{what}");
            assert_eq!(message(limit + 1).check(), Err(MessageTooLarge { what, limit, found: limit + 1 }));
        }
    }
}
