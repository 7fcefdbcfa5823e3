//! Reading a bundle: nothing is given out that was not checked, down to each entry's signature.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use vatra_model::certificate::{NodeCertificate, SignedCertificate};
use vatra_model::charter::{AdmitError, Charter};
use vatra_model::codec;
use vatra_model::limits::LOGS_MAX;
use vatra_model::pack::Packer;
use vatra_model::wire::{EntriesFrame, LogDescriptor, Run};
use vatra_model::{CheckedEntry, EntryError, ForkProof, LogId, Public, Seq};

use crate::error::ReadError;
use crate::manifest::{BundleId, End, Manifest, SignedManifest, StatementError};
use crate::section::{
    CHUNK_INFLATED_BYTES_MAX, OPTIONAL_BIT, SECTION_CHARTER, SECTION_END, SECTION_ENTRIES, SECTION_FORK_PROOFS,
    SECTION_MANIFEST, Section, SectionReader,
};

/// Bounds on one reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Unpacked bytes of all chunks. Too low refuses honest bundles, too high lets a member of the federation keep a
    /// processor busy.
    pub inflated_bytes_max: u64,
}

/// A log that a bundle has entries of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedLog {
    /// Its id.
    pub id: LogId,
    /// What the bundle says of it.
    pub descriptor: LogDescriptor,
    /// Whose it is; an epoch of the charter admits it.
    pub certificate: NodeCertificate,
}

/// Some entries, each checked against its origin's key.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    /// Logs that are named here for the first time.
    pub logs: Vec<NamedLog>,
    /// The entries, in the order of the bundle.
    pub entries: Vec<Arc<CheckedEntry>>,
    /// Bytes of the chunk, unpacked.
    pub inflated_bytes: usize,
}

/// What follows the charter.
#[derive(Clone, Debug)]
pub enum Part {
    /// Entries.
    Entries(Chunk),
    /// Proofs of forks, each checked against its log's origin.
    Forks(Vec<ForkProof>),
    /// A section that readers may skip.
    Optional {
        /// Its kind.
        kind: u8,
        /// Its bytes.
        payload: Vec<u8>,
    },
}

/// Reads one bundle.
#[derive(Debug)]
pub struct BundleReader<R> {
    sections: SectionReader<R>,
    limits: ReadLimits,
    packer: Packer,
    manifest: SignedManifest,
    charter_bytes: Vec<u8>,
    in_force: Charter,
    brings_newer_charter: bool,
    logs: BTreeMap<LogId, (LogDescriptor, Public)>,
    inflated_bytes: u64,
    entries: u64,
    is_over: bool,
}

impl<R: Read> BundleReader<R> {
    /// Reads a bundle up to its charter and checks who made it.
    ///
    /// `ours` is the charter of the reader: the bundle must be of the same federation, and the longer of the two
    /// charters counts. Without one, the bundle is checked against the charter that it brings, which shows that it
    /// agrees with itself and no more.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn open(input: R, ours: Option<&Charter>, limits: ReadLimits) -> Result<BundleReader<R>, ReadError> {
        let mut sections = SectionReader::open(input)?;
        let first = expect(&mut sections, SECTION_MANIFEST)?;
        let manifest = SignedManifest::open(&first.payload).map_err(|error| statement(error, "manifest", &first))?;
        let founding = manifest.manifest.founding;
        let other = |founding: [u8; 32]| ReadError::OtherFederation { found: hex::encode(&founding[..4]) };
        // A foreign bundle is told before its charter is read.
        if ours.is_some_and(|ours| ours.founding_hash() != founding) {
            return Err(other(founding));
        }
        let second = expect(&mut sections, SECTION_CHARTER)?;
        if <[u8; 32]>::from(Sha256::digest(&second.payload)) != manifest.manifest.charter_hash {
            return Err(ReadError::OtherContent { what: "charter" });
        }
        let theirs = Charter::decode(&second.payload).map_err(ReadError::Charter)?;
        if theirs.founding_hash() != founding {
            return Err(other(theirs.founding_hash()));
        }
        let brings_newer_charter = ours.is_none_or(|ours| theirs.epochs().len() > ours.epochs().len());
        let in_force = match ours {
            None => theirs,
            Some(ours) => longer_of(ours, theirs)?,
        };
        in_force.admit(&manifest.certificate).map_err(ReadError::Maker)?;
        Ok(BundleReader {
            sections,
            limits,
            packer: Packer::new(),
            manifest,
            charter_bytes: second.payload,
            in_force,
            brings_newer_charter,
            logs: BTreeMap::new(),
            inflated_bytes: 0,
            entries: 0,
            is_over: false,
        })
    }

    /// The bundle's name.
    #[must_use]
    pub fn id(&self) -> BundleId {
        self.manifest.id
    }

    /// What its maker says of it.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest.manifest
    }

    /// The maker, whom the charter in force admits.
    #[must_use]
    pub fn maker(&self) -> &NodeCertificate {
        self.manifest.certificate.certificate()
    }

    /// The charter that the bundle is checked against.
    #[must_use]
    pub fn charter(&self) -> &Charter {
        &self.in_force
    }

    /// The bundle's charter as it came, if it is newer than the reader's.
    #[must_use]
    pub fn newer_charter(&self) -> Option<&[u8]> {
        self.brings_newer_charter.then_some(self.charter_bytes.as_slice())
    }

    /// Entries given out so far; after the end, all of them.
    #[must_use]
    pub fn entry_count(&self) -> u64 {
        self.entries
    }

    /// Bytes read so far; after the end, all of them.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.sections.offset
    }

    /// The next part; `None` once the signed end was read, which says that the bundle is whole.
    ///
    /// # Errors
    /// [`ReadError`] at the first thing that does not hold. Nothing more can be read then.
    pub fn next_part(&mut self) -> Result<Option<Part>, ReadError> {
        if self.is_over {
            return Ok(None);
        }
        let section = self.sections.read()?;
        match section.kind {
            SECTION_ENTRIES => Ok(Some(Part::Entries(self.open_chunk(&section)?))),
            SECTION_FORK_PROOFS => Ok(Some(Part::Forks(self.open_proofs(&section)?))),
            SECTION_END => {
                self.check_end(&section)?;
                self.is_over = true;
                Ok(None)
            }
            kind if kind & OPTIONAL_BIT != 0 => Ok(Some(Part::Optional { kind, payload: section.payload })),
            kind => Err(ReadError::Misplaced { offset: section.offset, kind }),
        }
    }

    fn check_end(&mut self, section: &Section) -> Result<(), ReadError> {
        let end =
            End::open(&section.payload, &self.manifest.public).map_err(|error| statement(error, "end", section))?;
        let differs = |what| Err(ReadError::OtherContent { what });
        if end.id != self.manifest.id {
            return differs("bundle");
        }
        if end.chain != self.sections.chain_before || end.sections != self.sections.count - 1 {
            return differs("sections");
        }
        if end.entries != self.entries {
            return differs("entries");
        }
        self.sections.finish()
    }

    fn open_chunk(&mut self, section: &Section) -> Result<Chunk, ReadError> {
        let offset = section.offset;
        let malformed = |what: String| ReadError::Malformed { offset, what };
        let plain = self
            .packer
            .unpack(&section.payload, CHUNK_INFLATED_BYTES_MAX)
            .map_err(|error| malformed(error.to_string()))?;
        let limit = self.limits.inflated_bytes_max;
        self.inflated_bytes += plain.len() as u64;
        if self.inflated_bytes > limit {
            return Err(ReadError::Inflates { limit });
        }
        let frame: EntriesFrame = codec::decode(&plain, "a chunk").map_err(|error| malformed(error.to_string()))?;
        if frame.request.is_some() || frame.runs.is_empty() || frame.runs.iter().any(|run| run.entries.is_empty()) {
            return Err(malformed("a chunk holds entries and answers nobody".into()));
        }
        let mut chunk = Chunk { inflated_bytes: plain.len(), ..Chunk::default() };
        for descriptor in &frame.logs {
            chunk.logs.extend(self.name_log(offset, descriptor)?);
        }
        for run in frame.runs {
            self.open_run(offset, run, &mut chunk.entries)?;
        }
        self.entries += chunk.entries.len() as u64;
        Ok(chunk)
    }

    fn open_proofs(&mut self, section: &Section) -> Result<Vec<ForkProof>, ReadError> {
        let offset = section.offset;
        let proofs: Vec<ForkProof> = codec::decode(&section.payload, "proofs of forks")
            .map_err(|error| ReadError::Malformed { offset, what: error.to_string() })?;
        for proof in &proofs {
            let (log, public) = self.admit_log(offset, &proof.log)?;
            proof.check(log.id, &public).map_err(|source| ReadError::Fork { log: log.id, source })?;
        }
        Ok(proofs)
    }

    fn name_log(&mut self, offset: u64, descriptor: &LogDescriptor) -> Result<Option<NamedLog>, ReadError> {
        let (log, public) = self.admit_log(offset, descriptor)?;
        if self.logs.contains_key(&log.id) {
            return Ok(None);
        }
        if self.logs.len() >= LOGS_MAX {
            let what = format!("it names more than {LOGS_MAX} logs");
            return Err(ReadError::Malformed { offset, what });
        }
        self.logs.insert(log.id, (descriptor.clone(), public));
        Ok(Some(log))
    }

    /// Whose log it is, if an epoch of the charter admits that.
    fn admit_log(&self, offset: u64, descriptor: &LogDescriptor) -> Result<(NamedLog, Public), ReadError> {
        let malformed = |what: String| ReadError::Malformed { offset, what };
        let signed =
            SignedCertificate::decode(&descriptor.certificate).map_err(|error| malformed(error.to_string()))?;
        let certificate = signed.certificate().clone();
        let id = certificate.log(descriptor.incarnation, &descriptor.audience);
        let refused = |source: AdmitError| ReadError::Origin { log: id, source };
        self.in_force.admit_log(&signed).map_err(refused)?;
        let public = Public::new(&certificate.key.0).map_err(|error| malformed(error.to_string()))?;
        Ok((NamedLog { id, descriptor: descriptor.clone(), certificate }, public))
    }

    fn open_run(&self, offset: u64, run: Run, entries: &mut Vec<Arc<CheckedEntry>>) -> Result<(), ReadError> {
        let log = run.log;
        let (descriptor, public) = self.logs.get(&log).ok_or(ReadError::UndescribedLog { offset, log })?;
        let refuse = |(seq, source): (Seq, EntryError)| ReadError::Entry { log, seq: seq.0, source };
        entries.extend(run.check(descriptor.realm, public, &mut |_| None).map_err(refuse)?);
        Ok(())
    }
}

fn expect<R: Read>(sections: &mut SectionReader<R>, kind: u8) -> Result<Section, ReadError> {
    let section = sections.read()?;
    if section.kind == kind {
        Ok(section)
    } else {
        Err(ReadError::Misplaced { offset: section.offset, kind: section.kind })
    }
}

/// The longer of two charters, if it is the other one continued.
fn longer_of(ours: &Charter, theirs: Charter) -> Result<Charter, ReadError> {
    let (longer, shorter) = if theirs.epochs().len() > ours.epochs().len() { (&theirs, ours) } else { (ours, &theirs) };
    let last = shorter.epochs().len() - 1;
    if longer.epochs()[last].hash() != shorter.hash() {
        return Err(ReadError::CharterDiverged);
    }
    Ok(longer.clone())
}

fn statement(error: StatementError, what: &'static str, section: &Section) -> ReadError {
    match error {
        StatementError::Malformed(part) => {
            ReadError::Malformed { offset: section.offset, what: format!("{what}: {part}") }
        }
        StatementError::Signature(source) => ReadError::Signature { what, source },
    }
}
