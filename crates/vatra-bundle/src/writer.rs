//! Writing a bundle as its entries come, one chunk in memory at a time.

use std::collections::BTreeSet;
use std::io::{self, Write};

use thiserror::Error;
use vatra_model::codec;
use vatra_model::entry::SIGNED_HEADER_LEN;
use vatra_model::limits::{ENTRY_BYTES_MAX, ENTRY_CHANGES_MAX};
use vatra_model::pack::Packer;
use vatra_model::wire::{EntriesFrame, LogDescriptor, Run};
use vatra_model::{Entry, ForkProof, LogId, Secret};

use crate::manifest::{BundleId, End, Manifest};
use crate::section::{
    CHARTER_SECTION_BYTES_MAX, CHUNK_BYTES_MAX, CHUNK_INFLATED_BYTES_MAX, MANIFEST_BYTES_MAX, OPTIONAL_BIT,
    OPTIONAL_SECTION_BYTES_MAX, SECTION_CHARTER, SECTION_END, SECTION_ENTRIES, SECTION_FORK_PROOFS, SECTION_MANIFEST,
    SectionWriter,
};

/// Unpacked bytes of entries that one chunk takes before it is closed.
const CHUNK_BYTES: usize = 512 * 1024;
/// Proofs of forks in one section: each has two headers, two signatures and a certificate.
const PROOFS_PER_SECTION: usize = 512;
/// What an entry takes in a chunk beside its changes, at most: run, stamp, signature, descriptor of its log.
const ENTRY_OVERHEAD_BYTES: usize = 1024;

// The largest chunk fits its bound even when nothing of it can be packed.
const _: () = assert!(CHUNK_BYTES + ENTRY_BYTES_MAX + ENTRY_CHANGES_MAX * 36 + ENTRY_OVERHEAD_BYTES < CHUNK_BYTES_MAX);
const _: () = assert!(CHUNK_BYTES_MAX <= CHUNK_INFLATED_BYTES_MAX);
const _: () = assert!(PROOFS_PER_SECTION * (ENTRY_OVERHEAD_BYTES + 2 * SIGNED_HEADER_LEN) < OPTIONAL_SECTION_BYTES_MAX);

/// A bundle could not be written. What was written is no bundle; begin again.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The stream took no more.
    #[error("the bundle could not be written: {0}")]
    Io(#[from] io::Error),
    /// A part is larger than a bundle can hold.
    #[error("the {what} has {found} bytes, at most {limit} fit a bundle")]
    TooLong {
        /// Which part.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The bound.
        limit: usize,
    },
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The bundle's name.
    pub id: BundleId,
    /// Entries in it.
    pub entries: u64,
    /// Sections before the end.
    pub sections: u64,
    /// Bytes of all.
    pub bytes: u64,
}

/// Writes one bundle.
#[derive(Debug)]
pub struct BundleWriter<'s, W> {
    sections: SectionWriter<W>,
    secret: &'s Secret,
    packer: Packer,
    id: BundleId,
    told: BTreeSet<LogId>,
    logs: Vec<LogDescriptor>,
    group: Vec<Entry>,
    group_bytes: usize,
    entries: u64,
}

impl<'s, W: Write> BundleWriter<'s, W> {
    /// Begins a bundle: its manifest, signed with the maker's key, and the whole charter.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn begin(
        out: W,
        secret: &'s Secret,
        manifest: &Manifest,
        charter: &[u8],
    ) -> Result<BundleWriter<'s, W>, WriteError> {
        let (signed, id) = manifest.sign(secret);
        bounded("manifest", &signed, MANIFEST_BYTES_MAX)?;
        bounded("charter", charter, CHARTER_SECTION_BYTES_MAX)?;
        let mut sections = SectionWriter::begin(out)?;
        sections.write(SECTION_MANIFEST, &signed)?;
        sections.write(SECTION_CHARTER, charter)?;
        Ok(BundleWriter {
            sections,
            secret,
            packer: Packer::new(),
            id,
            told: BTreeSet::new(),
            logs: Vec::new(),
            group: Vec::new(),
            group_bytes: 0,
            entries: 0,
        })
    }

    /// Adds an entry. `descriptor` is that of its log; it is written once.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn add(&mut self, entry: Entry, descriptor: &LogDescriptor) -> Result<(), WriteError> {
        if self.told.insert(entry.header.log) {
            self.group_bytes += descriptor.certificate.len();
            self.logs.push(descriptor.clone());
        }
        self.group_bytes += entry.header.changes_len as usize + entry.changes.len() * 36 + 128;
        self.group.push(entry);
        self.entries += 1;
        if self.group_bytes >= CHUNK_BYTES { self.close_chunk() } else { Ok(()) }
    }

    /// Adds proofs of forks; best before the entries that they are about.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn add_fork_proofs(&mut self, proofs: &[ForkProof]) -> Result<(), WriteError> {
        proofs
            .chunks(PROOFS_PER_SECTION)
            .try_for_each(|some| self.add_optional(SECTION_FORK_PROOFS, &codec::encode(&some.to_vec())))
    }

    /// Adds a section that readers may skip.
    ///
    /// # Errors
    /// [`WriteError`].
    ///
    /// # Panics
    /// If the kind is not optional.
    pub fn add_optional(&mut self, kind: u8, payload: &[u8]) -> Result<(), WriteError> {
        assert!(kind & OPTIONAL_BIT != 0, "section {kind} is not optional");
        bounded("optional section", payload, OPTIONAL_SECTION_BYTES_MAX)?;
        self.close_chunk()?;
        Ok(self.sections.write(kind, payload)?)
    }

    /// Ends the bundle and gives the stream back, flushed.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn finish(mut self) -> Result<(W, Written), WriteError> {
        self.close_chunk()?;
        let (id, sections, entries) = (self.id, self.sections.count, self.entries);
        let end = End { id, chain: self.sections.chain, sections, entries };
        self.sections.write(SECTION_END, &end.sign(self.secret))?;
        let bytes = self.sections.bytes;
        let mut out = self.sections.into_inner();
        out.flush()?;
        Ok((out, Written { id, entries, sections, bytes }))
    }

    fn close_chunk(&mut self) -> Result<(), WriteError> {
        if self.group.is_empty() {
            return Ok(());
        }
        let logs = std::mem::take(&mut self.logs);
        let frame = EntriesFrame { request: None, logs, runs: runs_of(&self.group) };
        self.group.clear();
        self.group_bytes = 0;
        let packed = self.packer.pack_tight(&codec::encode(&frame));
        Ok(self.sections.write(SECTION_ENTRIES, &packed)?)
    }
}

/// Entries of one log that follow each other become one run.
fn runs_of(entries: &[Entry]) -> Vec<Run> {
    let follows = |a: &Entry, b: &Entry| {
        a.header.log == b.header.log && a.header.seq.next() == Some(b.header.seq) && a.header.hash() == b.header.prev
    };
    let groups = entries.chunk_by(follows).map(|group| Run::of(&group.iter().collect::<Vec<_>>()));
    groups.map(|run| run.expect("no group is empty")).collect()
}

fn bounded(what: &'static str, bytes: &[u8], limit: usize) -> Result<(), WriteError> {
    if bytes.len() <= limit { Ok(()) } else { Err(WriteError::TooLong { what, found: bytes.len(), limit }) }
}
