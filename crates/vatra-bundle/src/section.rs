//! Framing: sections of a known kind and length, each followed by a hash over all that came before it.
//!
//! The hashes find damage where it is, before anything is made of the bytes. They prove nothing against a forger;
//! the signed end does, by naming the last of them.

use std::io::{self, ErrorKind, Read, Write};

use sha2::{Digest, Sha256};
use vatra_model::charter::CHARTER_BYTES_MAX;
use vatra_model::keys::LABEL_BUNDLE;
use vatra_model::limits::{FRAME_BYTES_MAX, FRAME_INFLATED_BYTES_MAX};

use crate::error::ReadError;

/// What a bundle begins with. Bytes that text modes change are among them.
pub const BUNDLE_MAGIC: [u8; 8] = *b"\x89VTB\r\n\x1a\n";
/// Version of the format that this code writes and reads.
pub const FORMAT_VERSION: u8 = 1;

/// The signed manifest, first.
pub(crate) const SECTION_MANIFEST: u8 = 1;
/// The charter, second.
pub(crate) const SECTION_CHARTER: u8 = 2;
/// A packed chunk of entries.
pub(crate) const SECTION_ENTRIES: u8 = 3;
/// The signed end, last.
pub(crate) const SECTION_END: u8 = 4;
/// Kinds with this bit may be skipped by a reader that does not know them.
pub(crate) const OPTIONAL_BIT: u8 = 0x80;
/// Proofs of forks.
pub const SECTION_FORK_PROOFS: u8 = OPTIONAL_BIT | 1;

/// Longest signed manifest in bytes: a range of each log that a node may know fits.
pub const MANIFEST_BYTES_MAX: usize = 512 * 1024;
/// Longest charter in bytes.
pub const CHARTER_SECTION_BYTES_MAX: usize = CHARTER_BYTES_MAX;
/// Longest chunk of entries in bytes, packed.
pub const CHUNK_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// Longest chunk of entries in bytes, unpacked.
pub const CHUNK_INFLATED_BYTES_MAX: usize = FRAME_INFLATED_BYTES_MAX;
/// Longest optional section in bytes.
pub const OPTIONAL_SECTION_BYTES_MAX: usize = 1024 * 1024;
/// Longest end in bytes.
const END_BYTES_MAX: usize = 512;

/// A hash over all sections up to one.
type Chain = [u8; 32];

/// What every chain begins with.
fn first_link() -> Chain {
    let mut hash = Sha256::new();
    hash.update(LABEL_BUNDLE.as_bytes());
    hash.update(BUNDLE_MAGIC);
    hash.update([FORMAT_VERSION]);
    hash.finalize().into()
}

fn next_link(chain: &Chain, head: &[u8; 5], payload: &[u8]) -> Chain {
    let mut hash = Sha256::new();
    hash.update(chain);
    hash.update(head);
    hash.update(payload);
    hash.finalize().into()
}

/// Most bytes of a section of this kind; `None` for one that must be known and is not.
fn bytes_max(kind: u8) -> Option<usize> {
    match kind {
        SECTION_MANIFEST => Some(MANIFEST_BYTES_MAX),
        SECTION_CHARTER => Some(CHARTER_SECTION_BYTES_MAX),
        SECTION_ENTRIES => Some(CHUNK_BYTES_MAX),
        SECTION_END => Some(END_BYTES_MAX),
        _ if kind & OPTIONAL_BIT != 0 => Some(OPTIONAL_SECTION_BYTES_MAX),
        _ => None,
    }
}

/// Writes sections.
#[derive(Debug)]
pub(crate) struct SectionWriter<W> {
    out: W,
    pub(crate) chain: Chain,
    pub(crate) count: u64,
    pub(crate) bytes: u64,
}

impl<W: Write> SectionWriter<W> {
    pub(crate) fn begin(mut out: W) -> io::Result<SectionWriter<W>> {
        out.write_all(&BUNDLE_MAGIC)?;
        out.write_all(&[FORMAT_VERSION])?;
        Ok(SectionWriter { out, chain: first_link(), count: 0, bytes: BUNDLE_MAGIC.len() as u64 + 1 })
    }

    /// Writes a section. The caller keeps to the bound of its kind.
    pub(crate) fn write(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        assert!(bytes_max(kind).is_some_and(|max| payload.len() <= max), "section {kind} is within its bound");
        let len = u32::try_from(payload.len()).expect("all bounds are below 4 GiB");
        let mut head = [kind, 0, 0, 0, 0];
        head[1..].copy_from_slice(&len.to_le_bytes());
        self.chain = next_link(&self.chain, &head, payload);
        self.out.write_all(&head)?;
        self.out.write_all(payload)?;
        self.out.write_all(&self.chain)?;
        self.count += 1;
        self.bytes += (head.len() + payload.len() + self.chain.len()) as u64;
        Ok(())
    }

    pub(crate) fn into_inner(self) -> W {
        self.out
    }
}

/// A section whose bytes are those that were written.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) kind: u8,
    /// Where it begins.
    pub(crate) offset: u64,
    pub(crate) payload: Vec<u8>,
}

/// Reads sections.
#[derive(Debug)]
pub(crate) struct SectionReader<R> {
    input: R,
    /// Over all sections before the last one that was read.
    pub(crate) chain_before: Chain,
    pub(crate) chain: Chain,
    pub(crate) count: u64,
    pub(crate) offset: u64,
}

impl<R: Read> SectionReader<R> {
    pub(crate) fn open(input: R) -> Result<SectionReader<R>, ReadError> {
        let chain = first_link();
        let mut reader = SectionReader { input, chain_before: chain, chain, count: 0, offset: 0 };
        let mut head = [0; BUNDLE_MAGIC.len() + 1];
        match reader.fill(&mut head) {
            Err(ReadError::CutOff { .. }) => return Err(ReadError::NotABundle),
            filled => filled?,
        }
        let (magic, version) = head.split_at(BUNDLE_MAGIC.len());
        if magic != BUNDLE_MAGIC {
            return Err(ReadError::NotABundle);
        }
        if version != [FORMAT_VERSION] {
            return Err(ReadError::Version { found: version[0] });
        }
        Ok(reader)
    }

    pub(crate) fn read(&mut self) -> Result<Section, ReadError> {
        let offset = self.offset;
        let mut head = [0; 5];
        self.fill(&mut head)?;
        let [kind, length @ ..] = head;
        let found = u32::from_le_bytes(length);
        let limit = bytes_max(kind).ok_or(ReadError::UnknownSection { offset, kind })?;
        let len = usize::try_from(found).unwrap_or(usize::MAX);
        if len > limit {
            return Err(ReadError::TooLong { offset, kind, found, limit });
        }
        let mut payload = vec![0; len];
        self.fill(&mut payload)?;
        let mut told = [0; 32];
        self.fill(&mut told)?;
        let chain = next_link(&self.chain, &head, &payload);
        if chain != told {
            return Err(ReadError::Damaged { offset });
        }
        self.chain_before = std::mem::replace(&mut self.chain, chain);
        self.count += 1;
        Ok(Section { kind, offset, payload })
    }

    /// Refuses anything after the last section.
    pub(crate) fn finish(&mut self) -> Result<(), ReadError> {
        let offset = self.offset;
        match self.fill(&mut [0]) {
            Err(ReadError::CutOff { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => Err(ReadError::Trailing { offset }),
        }
    }

    fn fill(&mut self, mut bytes: &mut [u8]) -> Result<(), ReadError> {
        while !bytes.is_empty() {
            match self.input.read(bytes) {
                Ok(0) => return Err(ReadError::CutOff { offset: self.offset }),
                Ok(count) => {
                    self.offset += count as u64;
                    bytes = &mut bytes[count..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(ReadError::Io(error)),
            }
        }
        Ok(())
    }
}
