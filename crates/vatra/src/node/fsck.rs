//! Checking a stopped node's store: what the store knows, and every hash, signature and view above it.

use std::collections::BTreeMap;

use anyhow::Context;
use vatra_model::certificate::SignedCertificate;
use vatra_model::charter::Charter;
use vatra_model::pack::Packer;
use vatra_model::view::Digest;
use vatra_model::{Change, CheckedEntry, Entry, Head, LogId, Public, RecordId, Seq, codec};
use vatra_replica::{CheckedFork, LogRow};
use vatra_store::fsck::{Finding, FsckReport, Inspector, Why, verify};
use vatra_store::{EntryRow, MetaKey, Reader, Space, StreamRow};

use crate::config::NodeConfig;
use crate::node::boot::{self, STATE, StateRow};
use crate::node::packing::unpack_entry;
use crate::node::strays::{forks, is_name_of};
use crate::node::views::DocumentRow;

/// What a check of the whole store found.
pub(crate) struct Checked {
    /// Findings about rows.
    pub(crate) report: FsckReport,
    /// Findings about the whole: broken chains, a digest that is not that of the views.
    pub(crate) wider: Vec<String>,
    /// Entries whose signature was verified.
    pub(crate) entries: u64,
}

/// Checks a store that no node has open. `progress` gets rows done and in all.
pub(crate) fn fsck(config: &NodeConfig, progress: impl FnMut(u64, u64)) -> anyhow::Result<Checked> {
    let store = boot::open(config)?;
    let reader = store.reader();
    let charter = match reader.meta(MetaKey::CHARTER)? {
        Some(bytes) => Charter::decode(&bytes).context("the charter in the store")?,
        None => config.charter.clone(),
    };
    let mut inspector = NodeInspector {
        charter,
        packer: Packer::new(),
        logs: BTreeMap::new(),
        forks: forks(&reader)?,
        last: None,
        wider: Vec::new(),
        entries: 0,
        records: 0,
        progress,
    };
    let report = verify(&reader, &mut inspector)?;
    inspector.check_heads();
    let mut wider = std::mem::take(&mut inspector.wider);
    if report.is_clean()
        && let Some(problem) = check_digest(&reader, &inspector.charter)?
    {
        wider.push(problem);
    }
    Ok(Checked { report, wider, entries: inspector.entries })
}

struct LogUnderCheck {
    public: Public,
    head: Head,
    /// The hash of `head` is that of its height: the log is not cut short by a fork.
    is_whole: bool,
    /// Contiguous entries seen so far.
    seen: Head,
}

struct NodeInspector<P> {
    charter: Charter,
    packer: Packer,
    logs: BTreeMap<LogId, LogUnderCheck>,
    forks: BTreeMap<LogId, CheckedFork>,
    last: Option<((LogId, Seq), CheckedEntry)>,
    wider: Vec<String>,
    entries: u64,
    records: u64,
    progress: P,
}

impl<P: FnMut(u64, u64)> NodeInspector<P> {
    fn checked(&mut self, log: LogId, bytes: &[u8]) -> Result<CheckedEntry, String> {
        let entry = unpack_entry(&mut self.packer, bytes).map_err(|error| format!("{error:#}"))?;
        // Strays are stored under names of their own.
        let of = if self.logs.contains_key(&log) { log } else { entry.header.log };
        let known = self.logs.get(&of).ok_or("its log has no readable row")?;
        let entry = entry.check(&known.public).map_err(|error| error.to_string())?;
        if of != log && !is_name_of(log, of, entry.hash()) {
            return Err("it is stored under a name that is neither its log's nor its own".into());
        }
        Ok(entry)
    }

    fn check_heads(&mut self) {
        for (log, state) in &self.logs {
            if state.seen.height < state.head.height {
                let missing = state.head.height - state.seen.height;
                self.wider.push(format!(
                    "log {log} should have {} entries without a gap, but the chain ends after {} ({missing} are \
                     missing or damaged)",
                    state.head.height, state.seen.height
                ));
            }
        }
    }
}

impl Checked {
    /// Whether nothing is wrong but that entries cannot be read, or are gone: a running node fetches those again.
    pub(crate) fn is_mendable(&self) -> bool {
        let is_entry = |finding: &Finding| match &finding.why {
            Why::Damaged(_) => finding.space == Space::Entries,
            Why::Dangling { space, .. } => *space == Space::Entries,
            _ => false,
        };
        let report = &self.report;
        !report.is_clean()
            && report.findings_count == report.findings.len() as u64
            && report.findings.iter().all(is_entry)
    }
}

impl<P: FnMut(u64, u64)> Inspector for NodeInspector<P> {
    fn progress(&mut self, done: u64, total: u64) {
        (self.progress)(done, total);
    }

    fn log(&mut self, log: LogId, bytes: &[u8]) -> Result<(), String> {
        let row: LogRow = codec::decode(bytes, "a log's row").map_err(|error| error.to_string())?;
        let signed = SignedCertificate::decode(&row.descriptor.certificate).map_err(|error| error.to_string())?;
        // Logs of members that have left, and of revoked nodes, are kept.
        self.charter.admit_log(&signed).map_err(|error| format!("its origin was never admitted: {error}"))?;
        let certificate = signed.certificate();
        if certificate.log(row.descriptor.incarnation, &row.descriptor.audience) != log {
            return Err("its descriptor is another log's".into());
        }
        let public = Public::new(&certificate.key.0).map_err(|error| error.to_string())?;
        let mut head = row.head;
        if let Some(fork) = self.forks.get(&log) {
            fork.proof.check(log, &public).map_err(|error| error.to_string())?;
            // The row may be of the time before the fork was known.
            head.height = head.height.min(fork.place);
        }
        let is_whole = head == row.head;
        self.logs.insert(log, LogUnderCheck { public, head, is_whole, seen: Head::EMPTY });
        Ok(())
    }

    fn entry(&mut self, row: &EntryRow) -> Result<(), String> {
        let entry = self.checked(row.log, &row.bytes)?;
        let header = *entry.header();
        let is_stray = !self.logs.contains_key(&row.log);
        if (header.log != row.log && !is_stray) || header.seq != row.seq {
            return Err(format!("it is entry {} of log {}", header.seq, header.log));
        }
        self.entries += 1;
        if is_stray || self.forks.get(&row.log).is_some_and(|fork| header.seq.0 >= fork.place) {
            return Ok(());
        }
        let state = self.logs.get_mut(&row.log).ok_or("its log has no readable row")?;
        if header.seq.0 == state.seen.height {
            if header.prev != state.seen.head {
                return Err("it does not follow the entry before it".into());
            }
            state.seen = Head { height: header.seq.0 + 1, head: entry.hash() };
            if state.is_whole && state.seen.height == state.head.height && state.seen.head != state.head.head {
                return Err("its hash is not the one that the log's row names".into());
            }
        }
        Ok(())
    }

    fn change(&mut self, row: &StreamRow, bytes: &[u8]) -> Result<(), String> {
        let place = (row.log, row.seq);
        if self.last.as_ref().is_none_or(|(at, _)| *at != place) {
            self.last = Some((place, self.checked(row.log, bytes)?));
        }
        let (_, entry) = self.last.as_ref().expect("filled just now");
        let entry: &Entry = entry.entry();
        let slot = entry.changes.get(usize::from(row.change_index)).ok_or("the entry has fewer changes")?;
        let Some(bytes) = slot.bytes() else { return Ok(()) };
        match Change::decode(bytes).map_err(|error| error.to_string())? {
            Change::Edit(edit) if edit.record != row.record => Err("the change is about another record".into()),
            Change::Create(_) | Change::Edit(_) => Ok(()),
            Change::Open(_) | Change::Unknown { .. } => Err("the change is about no record".into()),
        }
    }

    fn document(&mut self, record: RecordId, bytes: &[u8]) -> Result<(), String> {
        let DocumentRow { item, record: loaded } = DocumentRow::read(bytes).map_err(|error| format!("{error:#}"))?;
        if DocumentRow::is_without_record(bytes) {
            return Ok(());
        }
        let loaded = loaded.map_err(|error| error.to_string())?;
        if loaded.id() != record {
            return Err("it is another record's".into());
        }
        self.records += 1;
        let shown = loaded.view().map(|view| view.digest_item());
        if shown == item { Ok(()) } else { Err("its part of the digest is not that of its view".into()) }
    }
}

/// Adds up the digest anew.
fn check_digest(reader: &Reader, charter: &Charter) -> anyhow::Result<Option<String>> {
    let Some(bytes) = reader.meta(STATE)? else { return Ok(None) };
    let state: StateRow = codec::decode(&bytes, "the store's state")?;
    let origins = std::sync::Arc::new(crate::node::origins::Origins::default());
    for (log, bytes) in reader.log_rows()?.rows {
        let row: LogRow = codec::decode(&bytes, "a log's row")?;
        origins.add([(&log, &row)]);
    }
    origins.heed(charter);
    let views = crate::node::views::Views::new(reader.clone(), origins);
    let snapshot = reader.snapshot()?;
    let mut digest = Digest::default();
    let listing = crate::node::listing::Listing::load(reader)?;
    for row in listing.oldest_first(None) {
        if let Some(view) = views.view(&snapshot, row.record)? {
            digest.add(&view.digest_item());
        }
    }
    let wrong = digest.0 != state.digest;
    Ok(wrong.then(|| format!("the digest of all views is {digest}, but the store keeps {}", Digest(state.digest))))
}
