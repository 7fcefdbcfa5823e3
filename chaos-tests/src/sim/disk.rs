//! A disk with a durable part and one batch that a crash may lose. It outlives its node.

mod damage;

use std::collections::BTreeMap;
use std::sync::Arc;

use vatra_model::{CheckedEntry, EntryHash, Frontier, Hlc, Incarnation, LogId, WallMs};
use vatra_replica::{AheadRow, Batch, LogRow, RestoredLog};

/// What a store holds at one moment; cheap enough to be copied as a backup.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Entries by place.
    pub entries: BTreeMap<(LogId, u64), Arc<CheckedEntry>>,
    /// Rows of logs.
    pub logs: BTreeMap<LogId, LogRow>,
    /// The newest charter.
    pub charter: Option<Vec<u8>>,
    /// The life of the store; `None` before the first start.
    pub life: Option<Life>,
    /// The highest stamp.
    pub hlc: Hlc,
    /// Everything that was stored, in the order in which it was: what subscribers read.
    pub stream: Vec<(LogId, u64, EntryHash)>,
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
    unsynced: Option<Batch>,
    /// Writes fail.
    pub is_full: bool,
    /// Life and start of the last run, kept outside the store: a store put back does not match it.
    fence: Option<(Incarnation, u64)>,
    /// What is durable in truth, while the disk lies about it.
    platter: Option<Image>,
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
    pub fn write(&mut self, batch: Batch) {
        assert!(self.unsynced.is_none(), "one batch is written at a time");
        self.unsynced = Some(batch);
    }

    /// The batch being written becomes durable.
    pub fn sync(&mut self) -> Option<Batch> {
        let batch = self.unsynced.take()?;
        self.durable.apply(&batch);
        Some(batch)
    }

    /// The batch being written fails: nothing of it is on disk.
    pub fn fail(&mut self) -> Option<Batch> {
        self.unsynced.take()
    }

    /// The machine loses power. A batch being written is there or not, as a whole; `true` if one was lost.
    pub fn crash(&mut self, keep: Keep) -> bool {
        match (self.unsynced.take(), keep) {
            (Some(batch), Keep::Unsynced) => self.durable.apply(&batch),
            (Some(_), Keep::Nothing) => return true,
            (None, _) => {}
        }
        false
    }

    /// A copy of the store, as a backup makes it.
    #[must_use]
    pub fn backup(&self) -> Image {
        self.durable.clone()
    }

    /// Puts a backup in the place of the store; the fence stays.
    pub fn put_back(&mut self, image: Image) {
        self.unsynced = None;
        self.durable = image;
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
        self.durable
            .logs
            .iter()
            .map(|(log, row)| RestoredLog { row: row.clone(), ahead: self.ahead(log, row) })
            .collect()
    }

    fn ahead(&self, log: &LogId, row: &LogRow) -> Vec<AheadRow> {
        let beyond = self.durable.entries.range((*log, row.head.height)..=(*log, u64::MAX));
        beyond.map(|((_, seq), entry)| AheadRow { seq: *seq, hash: entry.hash(), prev: entry.header().prev }).collect()
    }

    /// The life in force, kept with the fence; called when a batch with a new one is durable.
    pub fn follow_life(&mut self) {
        if let Some(life) = self.durable.life {
            self.fence = Some((life.incarnation, life.boot));
        }
    }
}

/// Whether a crash finds the batch being written on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It had just been synced, and nobody was told.
    Unsynced,
    /// It is lost.
    Nothing,
}

impl Image {
    fn apply(&mut self, batch: &Batch) {
        for entry in &batch.entries {
            let header = entry.header();
            self.stream.push((header.log, header.seq.0, entry.hash()));
            self.entries.insert((header.log, header.seq.0), entry.clone());
        }
        self.logs.extend(batch.logs.iter().map(|(log, row)| (*log, row.clone())));
        if let Some(charter) = &batch.charter {
            self.charter = Some(charter.clone());
        }
        if let Some((incarnation, opened)) = batch.incarnation {
            let boot = self.life.map_or(1, |life| life.boot);
            self.life = Some(Life { incarnation, opened, boot });
        }
        self.hlc = batch.hlc;
    }

    /// Contiguous heights and heads.
    #[must_use]
    pub fn frontier(&self) -> Frontier {
        let held = self.logs.iter().filter(|(_, row)| row.head.height > 0);
        Frontier(held.map(|(log, row)| (*log, row.head)).collect())
    }

    /// Contiguous entries of a log.
    #[must_use]
    pub fn height(&self, log: &LogId) -> u64 {
        self.logs.get(log).map_or(0, |row| row.head.height)
    }

    /// The hash of the entry at a place, if it is held.
    #[must_use]
    pub fn hash(&self, log: LogId, seq: u64) -> Option<EntryHash> {
        self.entries.get(&(log, seq)).map(|entry| entry.hash())
    }

    /// Places and hashes of everything held.
    pub fn held(&self) -> impl Iterator<Item = (LogId, u64, EntryHash)> + '_ {
        self.entries.iter().map(|((log, seq), entry)| (*log, *seq, entry.hash()))
    }
}
