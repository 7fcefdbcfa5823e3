//! What tests of several modules share: commits as the node makes them.

use vatra_model::{LogId, Position, RecordId, Seq, WallMs};

use crate::{Commit, EntryRow, IdRow, MetaKey, StreamRow};

pub(crate) const LOG: LogId = LogId([9; 16]);

/// The record created by the change at a position.
pub(crate) fn record(position: u64) -> RecordId {
    let mut id = [0xab; 16];
    id[..8].copy_from_slice(&position.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    RecordId(id)
}

/// The packed bytes of an entry in tests: recognisable, and of a size that depends on its number.
pub(crate) fn entry_bytes(seq: u64) -> Vec<u8> {
    let size = 200 + usize::try_from(seq % 7).expect("it is small") * 900;
    seq.to_be_bytes().into_iter().cycle().take(size).collect()
}

/// One entry that creates so many records.
pub(crate) fn creating(seq: u64, first: Position, changes: u64) -> Commit {
    let mut commit = Commit {
        entries: vec![EntryRow { log: LOG, seq: Seq(seq), bytes: entry_bytes(seq) }],
        logs: vec![(LOG, seq.to_be_bytes().to_vec())],
        meta: vec![(MetaKey::DIGEST, seq.to_be_bytes().to_vec())],
        ..Commit::default()
    };
    for index in 0..changes {
        let position = Position(first.0 + index);
        commit.stream.push(stream_row(seq, index, position, record(position.0)));
        commit.ids.push((record(position.0), IdRow { created: position, latest: position, flags: [2; 8] }));
    }
    commit
}

/// One entry that edits the record created at a position.
pub(crate) fn editing(seq: u64, position: Position, created: Position) -> Commit {
    let record = record(created.0);
    Commit {
        entries: vec![EntryRow { log: LOG, seq: Seq(seq), bytes: entry_bytes(seq) }],
        stream: vec![stream_row(seq, 0, position, record)],
        ids: vec![(record, IdRow { created, latest: position, flags: [3; 8] })],
        documents: vec![(record, b"document".to_vec())],
        ..Commit::default()
    }
}

fn stream_row(seq: u64, index: u64, position: Position, record: RecordId) -> StreamRow {
    StreamRow {
        position,
        log: LOG,
        seq: Seq(seq),
        change_index: u16::try_from(index).expect("an entry has few changes"),
        record,
        kind: 1,
        summary: [5; 16],
        received: WallMs(1_700_000_000_000),
    }
}
