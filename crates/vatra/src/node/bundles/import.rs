//! Taking a bundle in: all of it is checked before any of it is applied, and what is applied goes the way of a
//! peer's entries.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;
use vatra_api::{
    BundleIntake, BundleMaker, BundleProgress, BundleReason, BundleStage, BundleStep, BundleUpload, Refusal,
    RefusalKind,
};
use vatra_bundle::{BundleId, BundleReader, Chunk, Intake, Part, ReadError, ReadLimits};
use vatra_model::certificate::NodeCertificate;
use vatra_model::charter::Charter;
use vatra_model::{CheckedEntry, ForkProof, LogId, WallMs};
use vatra_replica::{CheckedLog, Input, Trust};
use vatra_store::{Health, ReadOnlyReason};

use super::spool::Spool;
use super::{Bundles, INFLATION_MAX};
use crate::node::driver::{FilePortion, Item, Taken};
use crate::node::mailbox::{Source, Urgency, Weight};
use crate::node::metrics::reason_of;
use crate::node::service::stopping;

/// Entries that the driver gets at once: it takes alerts of local callers in between.
const PORTION_ENTRIES: usize = 256;
/// Bytes of changes after which a portion is full.
const PORTION_BYTES: usize = 512 * 1024;
/// Portions that the driver works on while more are read.
const PORTIONS_IN_FLIGHT: usize = 4;
/// How often a bundle is gone through: entries that did not fit beyond a gap fit once the gap is closed.
const ROUNDS_MAX: usize = 8;

/// A bundle that holds.
struct Checked {
    id: BundleId,
    maker: NodeCertificate,
    created: WallMs,
    /// The charter that counts: ours, or the bundle's that continues it.
    charter: Charter,
    newer_charter: Option<Vec<u8>>,
    entries: u64,
}

/// What became of entries.
#[derive(Default)]
struct Tally {
    new: u64,
    doubtful: u64,
    refused: BTreeMap<&'static str, (u64, String)>,
}

impl Tally {
    fn add(&mut self, taken: Taken) {
        self.new += taken.new;
        self.doubtful += taken.doubtful;
        for (reason, (count, example)) in taken.refused {
            self.refuse(reason, count, example);
        }
    }

    fn refuse(&mut self, reason: &'static str, count: u64, example: String) {
        self.refused.entry(reason).or_insert((0, example)).0 += count;
    }

    fn refused_count(&self) -> u64 {
        self.refused.values().map(|(count, _)| count).sum()
    }

    /// Whether something did not fit that may fit now, or was not decided that is decided by now.
    fn may_go_on(&self) -> bool {
        (self.new > 0 && self.refused.contains_key("full")) || self.doubtful > 0
    }

    /// What was left undecided is told among the refused: nothing of it is kept.
    fn closed(mut self) -> Tally {
        let doubtful = std::mem::take(&mut self.doubtful);
        if doubtful > 0 {
            self.refuse(
                "doubtful",
                doubtful,
                "an entry contradicts others; import again when the fork is settled".into(),
            );
        }
        self
    }
}

impl Bundles {
    /// Takes a bundle in. Answers when what was new is on the disk; a refusal says what was kept, if anything.
    pub(crate) fn import(&self, mut upload: BundleUpload, progress: &BundleProgress) -> Result<BundleIntake, Refusal> {
        let Ok(_place) = self.place.try_acquire() else {
            let busy = Refusal::new(RefusalKind::Busy, "another bundle is being imported");
            return Err(busy.with_remedy("try again when it is done"));
        };
        let result = self.import_alone(&mut upload, progress);
        match &result {
            Ok(intake) => {
                self.shared.metrics.bundles_imported.inc();
                self.shared.metrics.count_bundle_entries(intake.new, intake.held, intake.refused);
            }
            Err(_) => {
                self.shared.metrics.bundles_refused.inc();
            }
        }
        result
    }

    fn import_alone(&self, upload: &mut BundleUpload, progress: &BundleProgress) -> Result<BundleIntake, Refusal> {
        if let Health::ReadOnly { reason, .. } = self.shared.views.reader.health() {
            return Err(not_stored(reason));
        }
        let spool = Spool::receive(&self.spool, self.bytes_max, upload, progress)?;
        let checked = self.check(&spool, progress)?;
        if let Some(bytes) = &checked.newer_charter {
            // It goes before the entries, which may be of members that only it names.
            let item = Item::Core(Input::Charter { bytes: bytes.clone() });
            let weight = Weight { changes: 1, bytes: bytes.len(), source: Source::of(checked.maker.key) };
            if !self.shared.mailbox.post(Urgency::Control, weight, item) {
                return Err(stopping());
            }
        }
        let tally = self.apply(&spool, &checked, progress)?;
        let (new, refused) = (tally.new, tally.refused_count());
        let held = checked.entries.saturating_sub(new + refused);
        let receipt = self.receipt(Some(Intake { bundle: checked.id, new, held, refused }))?;
        for (reason, (count, example)) in &tally.refused {
            tracing::warn!(bundle = %checked.id, reason, count, example, "entries of a bundle were refused");
        }
        Ok(BundleIntake {
            bundle: checked.id.to_string(),
            maker: BundleMaker { member: checked.maker.member, name: checked.maker.node, node: checked.maker.key },
            created: checked.created,
            charter_epoch: checked.charter.current().epoch,
            charter_advanced: checked.newer_charter.is_some(),
            entries: checked.entries,
            new,
            held,
            refused,
            reasons: tally
                .refused
                .into_iter()
                .map(|(reason, (entries, example))| BundleReason { reason: reason.to_owned(), entries, example })
                .collect(),
            receipt,
        })
    }

    fn limits(&self) -> ReadLimits {
        ReadLimits { inflated_bytes_max: self.bytes_max.saturating_mul(INFLATION_MAX) }
    }

    /// Reads all of a bundle and believes it, or changes nothing.
    fn check(&self, spool: &Spool, progress: &BundleProgress) -> Result<Checked, Refusal> {
        let trust = self.trust();
        let input = spool.reader().map_err(|error| refused(&ReadError::Io(error)))?;
        let mut reader =
            BundleReader::open(input, Some(trust.charter()), self.limits()).map_err(|error| refused(&error))?;
        let (stage, total) = (BundleStage::Check, spool.bytes());
        while reader.next_part().map_err(|error| refused(&error))?.is_some() {
            progress.send_replace(Some(BundleStep { stage, done: reader.bytes_read(), total }));
        }
        Ok(Checked {
            id: reader.id(),
            maker: reader.maker().clone(),
            created: reader.manifest().created,
            charter: reader.charter().clone(),
            newer_charter: reader.newer_charter().map(<[u8]>::to_vec),
            entries: reader.entry_count(),
        })
    }

    /// Hands the entries to the driver, again while more of them fit.
    fn apply(&self, spool: &Spool, checked: &Checked, progress: &BundleProgress) -> Result<Tally, Refusal> {
        let mut new = 0;
        for _ in 1..ROUNDS_MAX {
            let round = self.apply_round(spool, checked, progress)?;
            new += round.new;
            if !round.may_go_on() {
                return Ok(Tally { new, ..round.closed() });
            }
        }
        let last = self.apply_round(spool, checked, progress)?;
        Ok(Tally { new: new + last.new, ..last.closed() })
    }

    fn apply_round(&self, spool: &Spool, checked: &Checked, progress: &BundleProgress) -> Result<Tally, Refusal> {
        let input = spool.reader().map_err(|error| half_applied(&ReadError::Io(error)))?;
        let mut reader =
            BundleReader::open(input, Some(&checked.charter), self.limits()).map_err(|error| half_applied(&error))?;
        let mut round = Round {
            bundles: self,
            source: Source::of(checked.maker.key),
            trust: Trust::new(checked.charter.clone()),
            logs: BTreeMap::new(),
            waiting: VecDeque::new(),
            tally: Tally::default(),
        };
        let (stage, total) = (BundleStage::Apply, spool.bytes());
        while let Some(part) = reader.next_part().map_err(|error| half_applied(&error))? {
            match part {
                Part::Entries(chunk) => round.take(chunk)?,
                Part::Forks(proofs) => round.take_forks(proofs)?,
                // Sections that this version does not know may be skipped.
                Part::Optional { .. } => {}
            }
            progress.send_replace(Some(BundleStep { stage, done: reader.bytes_read(), total }));
        }
        round.finish()
    }
}

/// One time through a bundle.
struct Round<'b> {
    bundles: &'b Bundles,
    /// Who made the bundle takes turns with peers and local callers.
    source: Source,
    trust: Trust,
    /// Logs of the bundle: what the core is told of them, or why it is not told.
    logs: BTreeMap<LogId, Result<CheckedLog, (&'static str, String)>>,
    waiting: VecDeque<oneshot::Receiver<Taken>>,
    tally: Tally,
}

impl Round<'_> {
    fn take(&mut self, chunk: Chunk) -> Result<(), Refusal> {
        for log in chunk.logs {
            let checked = self.trust.check_log(log.descriptor);
            self.logs.insert(log.id, checked.map_err(|reject| (reason_of(&reject), reject.to_string())));
        }
        let mut portion = Portion::default();
        for entry in chunk.entries {
            match self.logs.get(&entry.header().log) {
                Some(Ok(_)) => {}
                Some(Err((reason, example))) => {
                    self.tally.refuse(reason, 1, example.clone());
                    continue;
                }
                // The reader gives out no entry of a log that was not named.
                None => continue,
            }
            if portion.is_full_before(&entry) {
                self.send(std::mem::take(&mut portion))?;
            }
            portion.add(entry);
        }
        self.send(portion)
    }

    /// Proofs go before the entries that they are about. One that is known already changes nothing.
    fn take_forks(&mut self, proofs: Vec<ForkProof>) -> Result<(), Refusal> {
        for proof in proofs {
            // The reader has checked it; what this version keeps no log of, it needs no proof of either.
            let Ok((log, fork)) = self.trust.check_fork(proof) else { continue };
            let item = Item::Core(Input::Fork { log: Box::new(log), fork: Box::new(fork) });
            let weight = Weight::small(self.source);
            if !self.bundles.shared.mailbox.post(Urgency::Control, weight, item) {
                return Err(stopping());
            }
        }
        Ok(())
    }

    /// Gives the driver a portion, with all that it must know of its logs: urgent portions overtake others.
    fn send(&mut self, portion: Portion) -> Result<(), Refusal> {
        while self.waiting.len() >= PORTIONS_IN_FLIGHT {
            self.settle_first()?;
        }
        let Portion { entries, bytes, changes, is_urgent } = portion;
        let mut logs: BTreeMap<LogId, CheckedLog> = BTreeMap::new();
        for log in entries.iter().map(|entry| entry.header().log) {
            if let (false, Some(Ok(checked))) = (logs.contains_key(&log), self.logs.get(&log)) {
                logs.insert(log, checked.clone());
            }
        }
        let (reply, taken) = oneshot::channel();
        let item = Item::File(FilePortion { logs: logs.into_values().collect(), entries, reply });
        let urgency = if is_urgent { Urgency::Urgent } else { Urgency::Bulk };
        let weight = Weight { changes, bytes, source: self.source };
        if !self.bundles.shared.mailbox.post(urgency, weight, item) {
            return Err(stopping());
        }
        self.waiting.push_back(taken);
        Ok(())
    }

    fn settle_first(&mut self) -> Result<(), Refusal> {
        let Some(first) = self.waiting.pop_front() else { return Ok(()) };
        let taken = first.blocking_recv().map_err(|_| stopping())?;
        if !taken.is_stored {
            let health = self.bundles.shared.views.reader.health();
            let reason = if let Health::ReadOnly { reason, .. } = health { reason } else { ReadOnlyReason::Io };
            return Err(not_stored(reason));
        }
        self.tally.add(taken);
        Ok(())
    }

    /// Waits for what is under way. An empty portion is sent last, so that a bundle without entries is answered
    /// when its charter is on the disk.
    fn finish(mut self) -> Result<Tally, Refusal> {
        self.send(Portion::default())?;
        while !self.waiting.is_empty() {
            self.settle_first()?;
        }
        Ok(self.tally)
    }
}

/// Entries for the driver, in the order of the bundle and of one urgency.
#[derive(Default)]
struct Portion {
    entries: Vec<Arc<CheckedEntry>>,
    bytes: usize,
    changes: usize,
    is_urgent: bool,
}

impl Portion {
    fn is_full_before(&self, entry: &CheckedEntry) -> bool {
        let is_full = self.entries.len() >= PORTION_ENTRIES || self.bytes >= PORTION_BYTES;
        !self.entries.is_empty() && (is_full || self.is_urgent != entry.header().class.is_urgent())
    }

    fn add(&mut self, entry: Arc<CheckedEntry>) {
        self.is_urgent = entry.header().class.is_urgent();
        self.bytes += entry.header().changes_len as usize;
        self.changes += entry.entry().changes.len();
        self.entries.push(entry);
    }
}

/// The bundle is refused; nothing was changed.
fn refused(error: &ReadError) -> Refusal {
    let kind = match error {
        ReadError::Io(_) => RefusalKind::Fault,
        _ => RefusalKind::Invalid,
    };
    Refusal::new(kind, format!("{error}; nothing was changed")).with_remedy(error.remedy())
}

/// The spooled copy changed under our hands, after all of it had been good.
fn half_applied(error: &ReadError) -> Refusal {
    Refusal::new(RefusalKind::Fault, format!("the copy in the node's directory was damaged meanwhile: {error}"))
        .with_remedy("look at the node's disk, then import again: what was taken in is not taken twice")
}

fn not_stored(reason: ReadOnlyReason) -> Refusal {
    let kind = match reason {
        ReadOnlyReason::Full => RefusalKind::StoreFull,
        _ => RefusalKind::Unavailable,
    };
    Refusal::new(kind, format!("the store takes no writes ({reason}); what was taken in before is kept"))
        .with_remedy("import again when it does: what was taken in is not taken twice")
}
