//! A disk with a durable part and batches that a crash may lose or tear. It outlives its node.
//!
//! The engine of a store writes a batch as a whole: it finds a torn one by its checksum when it is opened and goes by
//! what was durable before. So a batch is never believed in part, and of several that were not synced the first ones
//! may be there.

mod crash;
mod damage;

pub use crash::{Keep, Lost};
pub(crate) use damage::Believes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::sim::places::Places;
use vatra_model::certificate::SignedCertificate;
use vatra_model::charter::{Charter, LogEnd};
use vatra_model::fork::fork_head;
use vatra_model::{
    CheckedEntry, EntryHash, Frontier, Head, Hlc, Incarnation, LogId, MemberCode, NodeKey, Seq, SignedHeader, WallMs,
};
use vatra_replica::{AheadRow, Batch, CheckedFork, LogRow, RestoredLog};

/// What a store holds at one moment; cheap enough to be copied as a backup.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Entries by place.
    pub entries: Places<Arc<CheckedEntry>>,
    /// Entries kept beside their forked logs.
    pub strays: BTreeMap<(LogId, u64, EntryHash), Arc<CheckedEntry>>,
    /// Rows of logs.
    pub logs: BTreeMap<LogId, LogRow>,
    /// Whose they are.
    origins: BTreeMap<LogId, (MemberCode, NodeKey)>,
    /// Forks that were proved.
    pub forks: BTreeMap<LogId, CheckedFork>,
    /// The newest charter.
    pub charter: Option<Vec<u8>>,
    /// The life of the store; `None` before the first start.
    pub life: Option<Life>,
    /// The highest stamp.
    pub hlc: Hlc,
    /// Everything that was stored, in the order in which it was: what subscribers read.
    pub stream: Vec<(LogId, u64, EntryHash)>,
    /// Entries whose rows could not be read at a start: when they come again they are put back, and not told anew.
    pub unreadable: BTreeSet<(LogId, u64)>,
    /// The charter that its node goes by, if it revokes any key. Not of the disk: a start sets it anew.
    heeded: Option<Arc<Charter>>,
}

/// Which life of a store this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Its number.
    pub incarnation: Incarnation,
    /// When it began.
    pub opened: WallMs,
    /// Starts in it.
    pub boot: u64,
}

/// The disk of one node, and the fence beside the store.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    durable: Image,
    unsynced: Option<Arc<Batch>>,
    /// Writes fail.
    pub is_full: bool,
    /// Life and start of the last run, kept outside the store: a store put back does not match it.
    fence: Option<(Incarnation, u64)>,
    /// What is durable in truth, while the disk lies about it.
    platter: Option<Image>,
    /// Batches that it has only claimed to have written, the oldest first.
    claimed: Vec<Arc<Batch>>,
    /// A batch of which only a part is on the disk: the engine finds that out when it is opened.
    torn: Option<Arc<Batch>>,
    /// The fence is not looked at: a planted mistake.
    pub(crate) ignores_fence: bool,
}

impl Disk {
    /// What is durable.
    #[must_use]
    pub fn durable(&self) -> &Image {
        &self.durable
    }

    /// Begins to write a batch.
    ///
    /// # Panics
    /// If another one is still being written: the core writes one at a time.
    pub fn write(&mut self, batch: Arc<Batch>) {
        assert!(self.unsynced.is_none(), "one batch is written at a time");
        self.unsynced = Some(batch);
    }

    /// The batch being written becomes durable.
    pub fn sync(&mut self) -> Option<Arc<Batch>> {
        let batch = self.unsynced.take()?;
        self.durable.apply(&batch);
        if self.platter.is_some() {
            self.claimed.push(batch.clone());
        }
        Some(batch)
    }

    /// The batch being written fails: nothing of it is on disk.
    pub fn fail(&mut self) -> Option<Arc<Batch>> {
        self.unsynced.take()
    }

    /// A copy of the store, as a backup makes it.
    #[must_use]
    pub fn backup(&self) -> Image {
        self.durable.clone()
    }

    /// Puts a backup in the place of the store; the fence stays.
    pub fn put_back(&mut self, image: Image) {
        self.unsynced = None;
        self.torn = None;
        self.durable = image;
    }

    /// Puts a backup in the place of the store and of the fence: nothing shows that they are old.
    pub fn roll_back(&mut self, image: Image) {
        self.fence = image.life.map(|life| (life.incarnation, life.boot));
        self.put_back(image);
    }

    /// Notes a start: the same life as before, unless the store is not the one that ran last.
    pub fn start(&mut self, fresh: Incarnation, now: WallMs) -> Life {
        let life = match self.durable.life {
            Some(life) if self.ignores_fence || self.fence == Some((life.incarnation, life.boot)) => {
                Life { boot: life.boot + 1, ..life }
            }
            _ => Life { incarnation: fresh, opened: now, boot: 1 },
        };
        self.note(life);
        life
    }

    /// Keeps fence and store in step when the running node begins a new life.
    fn note(&mut self, life: Life) {
        self.durable.life = Some(life);
        self.fence = Some((life.incarnation, life.boot));
    }

    /// What the node tells its core at a start.
    #[must_use]
    pub fn logs(&self) -> Vec<RestoredLog> {
        let log = |(log, row): (&LogId, &LogRow)| {
            let fork = self.durable.forks.get(log);
            let (end, head) = (fork.map_or(u64::MAX, |fork| fork.place), self.durable.trunk(log));
            let main = self.durable.entries.range(*log, head.height..);
            let rows: Vec<AheadRow> = main.map(|(_, entry)| row_of(entry)).collect();
            let mut strays: Vec<AheadRow> = rows.iter().copied().filter(|row| row.seq >= end).collect();
            strays.extend(self.durable.strays_of(log).map(row_of));
            RestoredLog {
                row: LogRow { head, ..row.clone() },
                ahead: rows.into_iter().filter(|row| row.seq < end).collect(),
                fork: fork.map(|fork| fork.proof.clone()),
                strays,
            }
        };
        self.durable.logs.iter().map(log).collect()
    }

    /// Signed headers of a log from a place on, over gaps and what cannot be read.
    #[must_use]
    pub fn recall(
        &self,
        log: LogId,
        from: u64,
        count_max: usize,
        unreadable: &BTreeSet<(LogId, u64)>,
    ) -> Vec<SignedHeader> {
        let main = self.durable.entries.range(log, from..);
        let readable = main.filter(|(seq, _)| !unreadable.contains(&(log, *seq)));
        readable.take(count_max).map(|(_, entry)| SignedHeader::of(entry.entry())).collect()
    }

    /// Whether its node goes by what this charter revokes.
    #[must_use]
    pub fn heeds(&self, charter: &Charter) -> bool {
        self.durable.heeded.as_ref().map_or(!charter.revokes(), |heeded| heeded.hash() == charter.hash())
    }

    /// Its node goes by this charter from now on.
    pub fn heed(&mut self, charter: &Charter) {
        self.durable.heeded = charter.revokes().then(|| Arc::new(charter.clone()));
    }

    /// The life in force, kept with the fence; called when a batch with a new one is durable.
    pub fn follow_life(&mut self) {
        if let Some(life) = self.durable.life {
            self.fence = Some((life.incarnation, life.boot));
        }
    }
}

impl Image {
    fn apply(&mut self, batch: &Batch) {
        for entry in &batch.entries {
            let header = entry.header();
            let (log, seq) = (header.log, header.seq.0);
            if !batch.mended.contains(&entry.hash()) && !self.unreadable.remove(&(log, seq)) {
                self.stream.push((log, seq, entry.hash()));
            }
            if batch.strays.contains(&entry.hash()) {
                self.strays.insert((log, seq, entry.hash()), entry.clone());
            } else {
                self.entries.insert((log, seq), entry.clone());
            }
        }
        self.forks.extend(batch.forks.iter().map(|fork| (fork.log, fork.clone())));
        for (log, row) in &batch.logs {
            let before = self.logs.insert(*log, row.clone());
            if before.is_some_and(|before| before.descriptor == row.descriptor) {
                continue;
            }
            match SignedCertificate::decode(&row.descriptor.certificate) {
                Ok(certificate) => {
                    let certificate = certificate.certificate();
                    self.origins.insert(*log, (certificate.member, certificate.key));
                }
                Err(_) => drop(self.origins.remove(log)),
            }
        }
        if let Some(charter) = &batch.charter {
            self.charter = Some(charter.clone());
        }
        if let Some((incarnation, opened, _)) = batch.incarnation {
            let boot = self.life.map_or(1, |life| life.boot);
            self.life = Some(Life { incarnation, opened, boot });
        }
        self.hlc = batch.hlc;
    }

    /// What a node that holds this tells others of it.
    #[must_use]
    pub fn frontier(&self) -> Frontier {
        let told = |log: &LogId| {
            let trunk = self.trunk(log);
            self.forked_head(log, trunk).unwrap_or(trunk)
        };
        let heads = self.logs.keys().map(|log| (*log, told(log)));
        Frontier(heads.filter(|(_, head)| *head != Head::EMPTY).collect())
    }

    /// What of a forked log is told with so much of its trunk.
    #[must_use]
    pub fn forked_head(&self, log: &LogId, trunk: Head) -> Option<Head> {
        let fork = self.fork_below_end(log)?;
        let strays = self.stray_places(log, fork.place);
        let strays: BTreeSet<_> = strays.filter(|(seq, hash)| self.covers(log, *seq, *hash)).collect();
        Some(Head { height: trunk.height, head: fork_head(*log, fork.place, trunk.head, &strays) })
    }

    /// Where a revocation ends a log, if its key is revoked.
    fn end_of(&self, log: &LogId) -> Option<LogEnd> {
        self.heeded.as_ref()?.end_of(&self.origins.get(log)?.1, log)
    }

    /// Whether an entry may be of its log as far as revocations tell.
    #[must_use]
    pub fn covers(&self, log: &LogId, seq: u64, hash: EntryHash) -> bool {
        self.heeded.is_none() || self.end_of(log).is_none_or(|end| end.covers(Seq(seq), hash))
    }

    /// The fork of a log, unless a revocation ends it before that.
    fn fork_below_end(&self, log: &LogId) -> Option<&CheckedFork> {
        let end = self.end_of(log).map_or(u64::MAX, |end| end.place());
        self.forks.get(log).filter(|fork| fork.place < end)
    }

    /// Forks of logs and their places, but those past the end of a log.
    pub fn forked(&self) -> impl Iterator<Item = (LogId, u64)> {
        self.forks.keys().filter_map(|log| Some((*log, self.fork_below_end(log)?.place)))
    }

    /// Contiguous entries of a log, up to its fork or end.
    #[must_use]
    pub fn trunk(&self, log: &LogId) -> Head {
        let revoked = self.end_of(log);
        let end = self.fork_below_end(log).map_or(u64::MAX, |fork| fork.place);
        let end = end.min(revoked.map_or(u64::MAX, |end| end.place()));
        let mut head = self.logs.get(log).map_or(Head::EMPTY, |row| row.head);
        if head.height > end {
            let last = end.checked_sub(1).and_then(|seq| self.hash(*log, seq));
            head = last.map_or(Head::EMPTY, |head| Head { height: end, head });
        }
        while head.height < end
            && let Some(next) = self.entries.get((*log, head.height))
            && next.header().prev == head.head
        {
            head = Head { height: head.height + 1, head: next.hash() };
        }
        match revoked.and_then(|end| end.last) {
            // Another one than the named entry stands in the last valid place.
            Some((last, named)) if head.height == last.0 + 1 && head.head != named => {
                let prev = self.entries.get((*log, last.0)).map_or(EntryHash::ZERO, |entry| entry.header().prev);
                Head { height: last.0, head: prev }
            }
            _ => head,
        }
    }

    fn strays_of(&self, log: &LogId) -> impl Iterator<Item = &Arc<CheckedEntry>> {
        let range = (*log, 0, EntryHash::ZERO)..=(*log, u64::MAX, EntryHash([0xff; 32]));
        self.strays.range(range).map(|(_, entry)| entry)
    }

    /// Entries at and past a fork, wherever they are kept.
    fn stray_places(&self, log: &LogId, place: u64) -> impl Iterator<Item = (u64, EntryHash)> {
        let main = self.entries.range(*log, place..).map(|(_, entry)| entry);
        main.chain(self.strays_of(log)).map(|entry| (entry.header().seq.0, entry.hash()))
    }

    /// Whose log it is, as its row tells.
    #[must_use]
    pub fn origin(&self, log: &LogId) -> Option<(MemberCode, NodeKey)> {
        self.logs.contains_key(log).then(|| self.origins.get(log).copied())?
    }

    /// Whether a log is held up to a height without a gap.
    #[must_use]
    pub fn reaches(&self, log: &LogId, height: u64) -> bool {
        let row = self.logs.get(log).map_or(0, |row| row.head.height);
        (self.forks.is_empty() && row >= height) || self.height(log) >= height
    }

    /// Contiguous entries of a log.
    #[must_use]
    pub fn height(&self, log: &LogId) -> u64 {
        self.trunk(log).height
    }

    /// An entry by place and hash, wherever it is kept.
    #[must_use]
    pub fn entry(&self, log: LogId, seq: u64, hash: EntryHash) -> Option<&Arc<CheckedEntry>> {
        let main = self.entries.get((log, seq)).filter(|entry| entry.hash() == hash);
        main.or_else(|| self.strays.get(&(log, seq, hash)))
    }

    /// Whether any entry of a place is held, on whatever branch.
    #[must_use]
    pub fn has_place(&self, log: &LogId, seq: u64) -> bool {
        let beside = (*log, seq, EntryHash::ZERO)..=(*log, seq, EntryHash([0xff; 32]));
        self.hash(*log, seq).is_some() || self.strays.range(beside).next().is_some()
    }

    /// The hash of the entry at a place, if it is held.
    #[must_use]
    pub fn hash(&self, log: LogId, seq: u64) -> Option<EntryHash> {
        self.entries.get((log, seq)).map(|entry| entry.hash())
    }

    /// Places and hashes of everything held, in order, but what lies past the end of a log.
    #[must_use]
    pub fn held(&self) -> BTreeSet<(LogId, u64, EntryHash)> {
        let main = self.entries.iter().map(|((log, seq), entry)| (log, seq, entry.hash()));
        let all = main.chain(self.strays.keys().copied());
        all.filter(|(log, seq, hash)| self.covers(log, *seq, *hash)).collect()
    }

    /// Everything held.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<CheckedEntry>> {
        self.entries.values().chain(self.strays.values()).cloned().collect()
    }

    /// What lies past the end of a log.
    pub fn past_end(&self) -> impl Iterator<Item = &Arc<CheckedEntry>> {
        let all = self.entries.values().chain(self.strays.values()).filter(|_| self.heeded.is_some());
        all.filter(|entry| !self.covers(&entry.header().log, entry.header().seq.0, entry.hash()))
    }

    /// Whether the entry in a place lies past the end of its log.
    #[must_use]
    pub fn is_past_end(&self, log: &LogId, seq: u64) -> bool {
        self.hash(*log, seq).is_some_and(|hash| !self.covers(log, seq, hash))
    }

    /// Whether an entry is at or past the fork place of its log.
    #[must_use]
    pub fn is_stray(&self, log: &LogId, seq: u64) -> bool {
        self.forks.get(log).is_some_and(|fork| seq >= fork.place)
    }
}

fn row_of(entry: &Arc<CheckedEntry>) -> AheadRow {
    AheadRow { seq: entry.header().seq.0, hash: entry.hash(), prev: entry.header().prev }
}
