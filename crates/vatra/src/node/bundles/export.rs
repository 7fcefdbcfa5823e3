//! Writing a bundle: which entries, in which order, straight from the store.
//!
//! How far each log goes is fixed when the plan is made. Entries below that never change, so no snapshot is kept
//! open while a slow caller takes the file.

use std::io::{self, ErrorKind, Write};

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use vatra_api::{BundleOrder, BundlePiece, Refusal, RefusalKind};
use vatra_bundle::{BundleWriter, LogRange, Manifest, SignedReceipt, WriteError, maker_remedy};
use vatra_model::charter::LogEnd;
use vatra_model::pack::Packer;
use vatra_model::wire::LogDescriptor;
use vatra_model::{Class, Entry, ForkProof, Frontier, Head, LogId, MemberCode, Seq};
use vatra_replica::Trust;
use vatra_store::{PageLimits, Reader};

use super::{Bundles, unreadable};
use crate::node::clock::wall;
use crate::node::driver::Holdings;
use crate::node::packing::{unpack_entry, unpack_header};
use crate::node::strays;

/// Bytes that are handed to the caller at once.
const PIECE_BYTES: usize = 128 * 1024;
/// Stored entries that are read at once.
const PAGE: PageLimits = PageLimits { rows_max: 1024, bytes_max: 1 << 20 };
/// What goes into the file first: who gets to read only its beginning has the urgent part.
const PASSES: [&[Class]; 3] = [&[Class::Flash], &[Class::Priority], &[Class::Routine, Class::Bulk]];

/// What the receiver is taken to hold.
enum Base {
    /// Nothing.
    Nothing,
    /// What a receipt or frontier file says.
    Frontier(Frontier),
    /// What every node of a member has told.
    Member(Holdings),
}

/// A bundle that is yet to be written.
pub(crate) struct ExportPlan {
    manifest: Manifest,
    charter: Vec<u8>,
    logs: Vec<PlannedLog>,
    /// Entries at most; damaged ones are left out.
    pub(crate) entries_max: u64,
}

struct PlannedLog {
    id: LogId,
    descriptor: LogDescriptor,
    /// The first place that is written.
    from: u64,
    /// The place past the last.
    to: u64,
    /// The proof of its fork, if the receiver may not know all of it.
    fork: Option<ForkProof>,
    /// Where a revocation ends it: what is kept past that is evidence, and stays here.
    end: Option<LogEnd>,
}

impl PlannedLog {
    /// Whether an entry of the log is written.
    fn takes(&self, bytes: &[u8], classes: &[Class]) -> anyhow::Result<bool> {
        let (header, hash) = unpack_header(bytes)?;
        Ok(classes.contains(&header.class) && self.end.is_none_or(|end| end.covers(header.seq, hash)))
    }
}

impl Bundles {
    /// Works out what a bundle is to hold.
    pub(crate) fn plan_export(&self, order: &BundleOrder) -> Result<ExportPlan, Refusal> {
        let trust = self.trust();
        let holdings = self.holdings(None)?;
        let base = match (&order.since, order.receiver) {
            (Some(bytes), _) => Base::Frontier(frontier_of(&trust, bytes)?),
            (None, Some(member)) => Base::Member(self.holdings_of(&trust, member)?),
            (None, None) => Base::Nothing,
        };
        let reader = &self.shared.views.reader;
        let mut forks = strays::forks(reader).map_err(|error| unreadable(&error))?;
        let mut logs = Vec::new();
        let mut ranges = Vec::new();
        for id in &holdings.logs {
            // A log without an entry has no descriptor in the store.
            let Some(descriptor) = self.shared.views.origins.descriptor(id) else { continue };
            let head = holdings.frontier.head(id);
            let end = self.shared.views.origins.end_of(id);
            let end_place = end.map_or(u64::MAX, |end| end.place());
            let fork = forks.remove(id).filter(|fork| fork.place < end_place);
            let place = fork.as_ref().map_or(u64::MAX, |fork| fork.place);
            let (from, to) = range_of(reader, *id, (head, place), &base).map_err(|error| unreadable(&error))?;
            let to = to.min(end_place);
            let is_level = matches!(&base, Base::Frontier(theirs) if theirs.head(id) == head && head != Head::EMPTY);
            let fork = fork.filter(|_| !is_level).map(|fork| fork.proof);
            ranges.push(LogRange { log: *id, from, height: head.height, head: head.head });
            logs.push(PlannedLog { id: *id, descriptor, from: from.min(to), to, fork, end });
        }
        let charter = trust.charter().encode();
        let manifest = Manifest {
            founding: trust.charter().founding_hash(),
            certificate: self.certificate.encode(),
            created: wall(),
            charter_epoch: trust.charter().current().epoch,
            charter_hash: Sha256::digest(&charter).into(),
            software: concat!("vatra ", env!("CARGO_PKG_VERSION")).to_owned(),
            receiver: order.receiver,
            logs: ranges,
        };
        let entries_max = logs.iter().map(|log| log.to.saturating_sub(log.from)).sum();
        Ok(ExportPlan { manifest, charter, logs, entries_max })
    }

    fn holdings_of(&self, trust: &Trust, member: MemberCode) -> Result<Holdings, Refusal> {
        if trust.charter().current().member(member).is_none() {
            let detail = format!("{member} is not a member of this federation");
            return Err(Refusal::new(RefusalKind::NotFound, detail).with_field("for"));
        }
        self.holdings(Some(member))
    }

    /// Writes a planned bundle piece by piece, until it is whole or nobody takes it any more.
    pub(crate) fn export(&self, plan: &ExportPlan, pieces: mpsc::Sender<BundlePiece>) {
        let out = PieceWriter { pieces: pieces.clone(), waiting: BytesMut::new() };
        match self.write(plan, out) {
            Ok(entries) => {
                self.shared.metrics.bundles_exported.inc();
                tracing::info!(entries, "a bundle was written");
            }
            Err(error) if is_broken_pipe(&error) => tracing::info!("a bundle is no longer wanted"),
            Err(error) => {
                // Without its end the file is no bundle; the refusal breaks the answer off.
                let _ = pieces.blocking_send(Err(unreadable(&error)));
            }
        }
    }

    fn write(&self, plan: &ExportPlan, out: impl Write) -> anyhow::Result<u64> {
        let reader = &self.shared.views.reader;
        let mut writer = BundleWriter::begin(out, &self.secret, &plan.manifest, &plan.charter)?;
        let mut packer = Packer::new();
        let proofs: Vec<ForkProof> = plan.logs.iter().filter_map(|log| log.fork.clone()).collect();
        writer.add_fork_proofs(&proofs)?;
        for classes in PASSES {
            for log in &plan.logs {
                let mut add = |entry: Entry| writer.add(entry, &log.descriptor);
                write_log(reader, &mut packer, log, classes, &mut add)?;
                if log.fork.is_some() {
                    write_strays(reader, &mut packer, log, classes, &mut add)?;
                }
            }
        }
        let (_, written) = writer.finish()?;
        Ok(written.entries)
    }
}

/// Adds the entries of these classes of a log's range.
fn write_log(
    reader: &Reader,
    packer: &mut Packer,
    log: &PlannedLog,
    classes: &[Class],
    add: &mut impl FnMut(Entry) -> Result<(), WriteError>,
) -> anyhow::Result<()> {
    let mut next = Seq(log.from);
    while next.0 < log.to {
        let page = reader.entries(log.id, next, Seq(log.to - 1), PAGE)?;
        for damage in &page.damaged {
            tracing::error!(%damage, "an entry is damaged and left out of a bundle; run `vatra fsck`");
        }
        for row in &page.rows {
            if log.takes(&row.bytes, classes)? {
                add(unpack_entry(packer, &row.bytes)?)?;
            }
        }
        match page.last.and_then(Seq::next) {
            Some(after) if page.is_cut => next = after,
            _ => break,
        }
    }
    Ok(())
}

/// Adds the entries past a fork that are kept beside their log; the others stand in its range.
fn write_strays(
    reader: &Reader,
    packer: &mut Packer,
    log: &PlannedLog,
    classes: &[Class],
    add: &mut impl FnMut(Entry) -> Result<(), WriteError>,
) -> anyhow::Result<()> {
    for stray in strays::listed(reader, log.id)? {
        let Some(bytes) = strays::stray_bytes(reader, log.id, Seq(stray.seq), stray.hash)? else { continue };
        if log.takes(&bytes, classes)? {
            add(unpack_entry(packer, &bytes)?)?;
        }
    }
    Ok(())
}

/// The frontier in a receipt, if its giver is one of us.
fn frontier_of(trust: &Trust, bytes: &Bytes) -> Result<Frontier, Refusal> {
    let wrong = |detail: String| Refusal::new(RefusalKind::Invalid, detail).with_field("since");
    let signed = SignedReceipt::open(bytes).map_err(|error| {
        wrong(error.to_string()).with_remedy("give what `vatra bundle frontier` or `vatra bundle import` wrote")
    })?;
    let receipt = signed.receipt();
    if receipt.founding != trust.charter().founding_hash() {
        return Err(wrong(format!("the {} is of another federation", receipt.name())));
    }
    trust.charter().admit(signed.certificate()).map_err(|error| {
        wrong(format!("the giver of the {} is not admitted: {error}", receipt.name())).with_remedy(maker_remedy(&error))
    })?;
    Ok(receipt.frontier.clone())
}

/// The places of a log that a bundle holds: what the receiver is not known to hold, to the last that is held here.
/// Heights past the place of a fork say nothing: they may be of another branch.
fn range_of(reader: &Reader, log: LogId, (head, place): (Head, u64), base: &Base) -> anyhow::Result<(u64, u64)> {
    let newest = reader.entries_reverse(log, Seq(0), Seq(u64::MAX), PageLimits::rows(1))?;
    let to = newest.last.and_then(Seq::next).map_or(0, |next| next.0).max(head.height);
    let from = match base {
        Base::Nothing => 0,
        Base::Member(holdings) => holdings.at_member.get(&log).copied().unwrap_or(0).min(place),
        Base::Frontier(theirs) => {
            let theirs = theirs.head(&log);
            match theirs.height {
                // What lies past a fork is part of what is level.
                _ if theirs == head && place != u64::MAX => to,
                height if theirs == head => height,
                height if height > head.height => height.min(place),
                height if follows(reader, log, theirs)? => height,
                // A log that has grown apart is sent whole: the receiver finds where.
                _ => 0,
            }
        }
    };
    Ok((from.min(to), to))
}

/// Whether what is held here contains what somebody else holds.
fn follows(reader: &Reader, log: LogId, theirs: Head) -> anyhow::Result<bool> {
    let Some(last) = theirs.height.checked_sub(1) else { return Ok(true) };
    let Some(bytes) = reader.entry(log, Seq(last))? else { return Ok(false) };
    let (_, hash) = unpack_header(&bytes).context("the last entry that the receipt names")?;
    Ok(hash == theirs.head)
}

/// Cuts what is written into pieces for the caller.
struct PieceWriter {
    pieces: mpsc::Sender<BundlePiece>,
    waiting: BytesMut,
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let piece = self.waiting.split().freeze();
        self.pieces.blocking_send(Ok(piece)).map_err(|_| io::Error::from(ErrorKind::BrokenPipe))
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    kinds.into_iter().any(|kind| kind == ErrorKind::BrokenPipe)
}
