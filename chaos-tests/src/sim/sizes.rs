//! How many bytes a message would take packed, where packing it would only cost time. Calibrated on what the
//! packer makes of the workload; a test compares whole runs.

use vatra_model::wire::{EntriesFrame, LogDescriptor, Message, Run, RunEntry, WireSlot};

/// Bytes of a frame and message beside what they carry.
const FRAME: usize = 12;
/// A signature, a stamp and what else of an entry does not compress.
const ENTRY: usize = 80;
/// Log, first place and `prev` of a run.
const RUN: usize = 56;
/// Of a hundred bytes of changes, so many are left when they are packed.
const CHANGES_PERCENT: usize = 45;
/// A log and a height.
const HEIGHT: usize = 20;
/// A log, a height and a head.
const HEAD: usize = 54;

/// About how many bytes the packed message takes.
#[must_use]
pub fn packed_bytes(message: &Message) -> usize {
    FRAME
        + match message {
            Message::Hello(hello) => 140 + hello.certificate.len() + hello.software.len(),
            Message::Charter { bytes } => bytes.len(),
            Message::Frontier(digest) => digest.heads.len() * HEAD,
            Message::Beacon(signed) => signed.body.len() * 9 / 10 + 64,
            Message::Resume { .. } => 40,
            Message::Pulses { pulses } => pulses.iter().map(|signed| signed.body.len() * 9 / 10 + 68).sum(),
            Message::Have { heights } => heights.len() * HEIGHT,
            Message::Entries(frame) => entries_bytes(frame),
            Message::Want(_) => 40,
            _ => 16,
        }
}

fn entries_bytes(frame: &EntriesFrame) -> usize {
    let logs: usize = frame.logs.iter().map(descriptor_bytes).sum();
    logs + frame.runs.iter().map(run_bytes).sum::<usize>()
}

fn descriptor_bytes(descriptor: &LogDescriptor) -> usize {
    descriptor.certificate.len() + 24
}

fn run_bytes(run: &Run) -> usize {
    RUN + run.entries.iter().map(entry_bytes).sum::<usize>()
}

fn entry_bytes(entry: &RunEntry) -> usize {
    let changes: usize = entry.changes.iter().map(slot_bytes).sum();
    ENTRY + changes
}

fn slot_bytes(slot: &WireSlot) -> usize {
    match slot {
        WireSlot::Present(bytes) => bytes.len() * CHANGES_PERCENT / 100,
        WireSlot::Erased(hash) => hash.len(),
    }
}
