//! Entries: the signed, numbered units of a log.
//!
//! The header is our own fixed-width little-endian layout, never a serde derive: it is what is signed.
//! An entry verifies and applies alone; `prev` chains it to its predecessor when the gap is closed.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::class::Class;
use crate::ids::{ChangeId, EntryHash, LogId, Realm, Seq};
use crate::keys::{LABEL_ENTRY, Public, SIGNATURE_LEN, Secret, SignatureBytes, VerifyError};
use crate::limits::{CHANGE_BYTES_MAX, ENTRY_BYTES_MAX, ENTRY_CHANGES_MAX};
use crate::time::Hlc;

/// Version of the header layout that this code writes.
pub const ENTRY_VERSION: u8 = 1;
/// Length of a header in bytes.
pub const HEADER_LEN: usize = 116;

/// The signed part of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    /// `ops` or an exercise.
    pub realm: Realm,
    /// The log that the entry belongs to.
    pub log: LogId,
    /// Its place in the log.
    pub seq: Seq,
    /// Hash of the previous entry's header; zero for seq 0.
    pub prev: EntryHash,
    /// Stamp of the origin's clock.
    pub hlc: Hlc,
    /// Urgency lane.
    pub class: Class,
    /// Hours after which the entry may be pruned; 0 = never.
    pub expires_hours: u32,
    /// How many changes it carries.
    pub change_count: u16,
    /// Stored bytes of all its changes together.
    pub changes_len: u32,
    /// SHA-256 over the concatenated SHA-256 of each change.
    pub changes_root: [u8; 32],
}

/// Bytes are not an entry. Nothing of it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EntryError {
    /// The header layout is of another version.
    #[error("entry version {0} is not supported, this node reads version {ENTRY_VERSION}")]
    Version(u8),
    /// The class is of a newer version.
    #[error("class {0} is unknown")]
    Class(u8),
    /// Fewer or more bytes than the entry needs.
    #[error("an entry ends too early or too late")]
    Length,
    /// Counts or sizes exceed their bounds.
    #[error(
        "an entry has {changes} changes of {bytes} bytes, the limits are {ENTRY_CHANGES_MAX} and {ENTRY_BYTES_MAX}"
    )]
    TooLarge {
        /// Changes found.
        changes: usize,
        /// Bytes found.
        bytes: usize,
    },
    /// A change is missing and only its hash is there. The signature holds without it, so whoever passes an entry on
    /// could leave out what it says; what may be left out is for an erase statement of the record's owner to say, and
    /// this version knows of none (ADR 0032).
    #[error("a change is left out as erased, and this version knows of no statement that erases changes")]
    Erased,
    /// The changes are not those that were signed.
    #[error("the changes are not those that the header names")]
    Root,
    /// A first entry with a predecessor, or a later one without.
    #[error("only the first entry of a log has no predecessor")]
    Prev,
    /// The signature does not hold.
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

impl EntryHeader {
    /// The signed bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&[ENTRY_VERSION]);
        put(&self.realm.0);
        put(&self.log.0);
        put(&self.seq.0.to_le_bytes());
        put(&self.prev.0);
        put(&self.hlc.0.to_le_bytes());
        put(&[self.class as u8]);
        put(&self.expires_hours.to_le_bytes());
        put(&self.change_count.to_le_bytes());
        put(&self.changes_len.to_le_bytes());
        put(&self.changes_root);
        assert_eq!(at, HEADER_LEN, "the fields fill the header");
        out
    }

    /// Reads a header.
    ///
    /// # Errors
    /// [`EntryError::Version`], [`EntryError::Class`] or [`EntryError::Prev`].
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<EntryHeader, EntryError> {
        let mut rest = bytes.as_slice();
        let [version] = take(&mut rest);
        if version != ENTRY_VERSION {
            return Err(EntryError::Version(version));
        }
        let header = EntryHeader {
            realm: Realm(take(&mut rest)),
            log: LogId(take(&mut rest)),
            seq: Seq(u64::from_le_bytes(take(&mut rest))),
            prev: EntryHash(take(&mut rest)),
            hlc: Hlc(u64::from_le_bytes(take(&mut rest))),
            class: {
                let [number] = take(&mut rest);
                Class::from_u8(number).ok_or(EntryError::Class(number))?
            },
            expires_hours: u32::from_le_bytes(take(&mut rest)),
            change_count: u16::from_le_bytes(take(&mut rest)),
            changes_len: u32::from_le_bytes(take(&mut rest)),
            changes_root: take(&mut rest),
        };
        if (header.seq.0 == 0) != (header.prev == EntryHash::ZERO) {
            return Err(EntryError::Prev);
        }
        Ok(header)
    }

    /// SHA-256 of the signed bytes: the entry's name.
    #[must_use]
    pub fn hash(&self) -> EntryHash {
        EntryHash(Sha256::digest(self.encode()).into())
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (head, tail) = rest.split_at(N);
    *rest = tail;
    head.try_into().expect("split_at gives N bytes")
}

/// One change of an entry as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Its bytes, shared by all copies of the entry in memory.
    Present(Arc<[u8]>),
    /// Erased by its record's owner: only SHA-256 of its bytes is left. No entry with one passes [`Entry::check`] yet.
    Erased([u8; 32]),
}

impl Slot {
    fn hash(&self) -> [u8; 32] {
        match self {
            Slot::Present(bytes) => Sha256::digest(bytes).into(),
            Slot::Erased(hash) => *hash,
        }
    }

    /// The change's bytes, unless they were erased.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Slot::Present(bytes) => Some(bytes),
            Slot::Erased(_) => None,
        }
    }
}

/// A header, its signature and its changes; not yet believed (see [`CheckedEntry`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The signed part.
    pub header: EntryHeader,
    /// The origin's signature over [`LABEL_ENTRY`] and the header.
    pub signature: SignatureBytes,
    /// The changes, in order.
    pub changes: Vec<Slot>,
}

/// What an origin decides about a new entry; the rest of the header follows from its log and changes.
#[derive(Clone, Copy, Debug)]
pub struct EntryDraft {
    /// `ops` or an exercise.
    pub realm: Realm,
    /// The log.
    pub log: LogId,
    /// Its place.
    pub seq: Seq,
    /// Hash of the previous entry.
    pub prev: EntryHash,
    /// Stamp.
    pub hlc: Hlc,
    /// Urgency lane.
    pub class: Class,
    /// Hours after which it may be pruned; 0 = never.
    pub expires_hours: u32,
}

impl EntryDraft {
    /// The header that names these changes.
    #[must_use]
    pub fn header_for(&self, changes: &[Slot]) -> EntryHeader {
        let len: usize = changes.iter().filter_map(Slot::bytes).map(<[u8]>::len).sum();
        EntryHeader {
            realm: self.realm,
            log: self.log,
            seq: self.seq,
            prev: self.prev,
            hlc: self.hlc,
            class: self.class,
            expires_hours: self.expires_hours,
            change_count: u16::try_from(changes.len()).unwrap_or(u16::MAX),
            changes_len: u32::try_from(len).unwrap_or(u32::MAX),
            changes_root: changes_root(changes),
        }
    }
}

/// SHA-256 over the concatenated SHA-256 of each change.
#[must_use]
pub fn changes_root(changes: &[Slot]) -> [u8; 32] {
    let mut root = Sha256::new();
    for change in changes {
        root.update(change.hash());
    }
    root.finalize().into()
}

impl Entry {
    /// Signs changes into an entry.
    ///
    /// # Errors
    /// [`EntryError::TooLarge`] if there are none, too many, or too large ones.
    pub fn sign(draft: &EntryDraft, changes: Vec<Vec<u8>>, secret: &Secret) -> Result<CheckedEntry, EntryError> {
        let changes: Vec<Slot> = changes.into_iter().map(|bytes| Slot::Present(bytes.into())).collect();
        check_sizes(&changes)?;
        let header = draft.header_for(&changes);
        let bytes = header.encode();
        let entry = Entry { header, signature: secret.sign(LABEL_ENTRY, &bytes), changes };
        Ok(CheckedEntry { hash: EntryHash(Sha256::digest(bytes).into()), entry })
    }

    /// Checks sizes, hashes and the origin's signature.
    ///
    /// # Errors
    /// [`EntryError`] says what does not hold; the entry is then worth nothing.
    pub fn check(self, origin: &Public) -> Result<CheckedEntry, EntryError> {
        check_sizes(&self.changes)?;
        let header = &self.header;
        if self.changes.iter().any(|slot| slot.bytes().is_none()) {
            return Err(EntryError::Erased);
        }
        let len: usize = self.changes.iter().filter_map(Slot::bytes).map(<[u8]>::len).sum();
        if usize::from(header.change_count) != self.changes.len() || len != header.changes_len as usize {
            return Err(EntryError::Root);
        }
        if changes_root(&self.changes) != header.changes_root {
            return Err(EntryError::Root);
        }
        if (header.seq.0 == 0) != (header.prev == EntryHash::ZERO) {
            return Err(EntryError::Prev);
        }
        let bytes = header.encode();
        origin.verify(LABEL_ENTRY, &bytes, &self.signature)?;
        Ok(CheckedEntry { hash: EntryHash(Sha256::digest(bytes).into()), entry: self })
    }

    /// The changes as [`Entry::decode_changes`] reads them: per change a length u32 LE and the bytes;
    /// an erased one is `0x8000_0000` and its hash.
    #[must_use]
    pub fn encode_changes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.header.changes_len as usize + self.changes.len() * 4);
        for slot in &self.changes {
            match slot {
                Slot::Present(bytes) => {
                    let len = u32::try_from(bytes.len()).expect("a change is at most 64 KiB");
                    out.extend_from_slice(&len.to_le_bytes());
                    out.extend_from_slice(bytes);
                }
                Slot::Erased(hash) => {
                    out.extend_from_slice(&ERASED.to_le_bytes());
                    out.extend_from_slice(hash);
                }
            }
        }
        out
    }

    /// Reads `count` changes; all bytes must belong to them.
    ///
    /// # Errors
    /// [`EntryError::Length`] or [`EntryError::TooLarge`].
    pub fn decode_changes(mut bytes: &[u8], count: u16) -> Result<Vec<Slot>, EntryError> {
        let count = usize::from(count);
        if count > ENTRY_CHANGES_MAX {
            return Err(EntryError::TooLarge { changes: count, bytes: bytes.len() });
        }
        let mut changes = Vec::with_capacity(count);
        for _ in 0..count {
            let len =
                u32::from_le_bytes(*bytes.split_first_chunk().map(split_to(&mut bytes)).ok_or(EntryError::Length)?);
            if len == ERASED {
                let hash = *bytes.split_first_chunk().map(split_to(&mut bytes)).ok_or(EntryError::Length)?;
                changes.push(Slot::Erased(hash));
            } else {
                let (head, tail) = bytes.split_at_checked(len as usize).ok_or(EntryError::Length)?;
                changes.push(Slot::Present(head.into()));
                bytes = tail;
            }
        }
        if bytes.is_empty() { Ok(changes) } else { Err(EntryError::Length) }
    }
}

const ERASED: u32 = 0x8000_0000;

/// Advances `rest` past the chunk that was split off.
fn split_to<'b, const N: usize>(rest: &mut &'b [u8]) -> impl FnOnce((&'b [u8; N], &'b [u8])) -> &'b [u8; N] {
    move |(head, tail)| {
        *rest = tail;
        head
    }
}

fn check_sizes(changes: &[Slot]) -> Result<(), EntryError> {
    let bytes: usize = changes.iter().filter_map(Slot::bytes).map(<[u8]>::len).sum();
    let each = changes.iter().all(|slot| slot.bytes().is_none_or(|bytes| bytes.len() <= CHANGE_BYTES_MAX));
    if changes.is_empty() || changes.len() > ENTRY_CHANGES_MAX || bytes > ENTRY_BYTES_MAX || !each {
        return Err(EntryError::TooLarge { changes: changes.len(), bytes });
    }
    Ok(())
}

/// An entry whose sizes, hashes and signature were checked; only [`Entry::sign`] and [`Entry::check`] make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedEntry {
    hash: EntryHash,
    entry: Entry,
}

impl CheckedEntry {
    /// The entry.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> &EntryHeader {
        &self.entry.header
    }

    /// SHA-256 of its header.
    #[must_use]
    pub fn hash(&self) -> EntryHash {
        self.hash
    }

    /// Its changes' ids and bytes; erased ones have none.
    pub fn changes(&self) -> impl Iterator<Item = (ChangeId, u16, Option<&[u8]>)> {
        (0_u16..)
            .zip(&self.entry.changes)
            .map(|(index, slot)| (ChangeId::derive(&self.hash, index), index, slot.bytes()))
    }

    /// The entry, no longer known to be checked.
    #[must_use]
    pub fn into_entry(self) -> Entry {
        self.entry
    }
}

/// Length of header and signature together.
pub const SIGNED_HEADER_LEN: usize = HEADER_LEN + SIGNATURE_LEN;

#[cfg(test)]
mod tests;
