//! What a bad disk does to what it holds: rows that can no longer be read, and writes that it only claimed.

use std::collections::BTreeSet;

use vatra_model::{EntryHash, Head, LogId};

use crate::sim::disk::{Disk, Image};

/// Which batches an engine believes when it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Believes {
    /// Those whose checksum is right.
    Whole,
    /// Whatever is there.
    Parts,
}

impl Disk {
    /// Rows of these places cannot be read: they are dropped, and their logs end before the first of them. A life
    /// whose own log lost rows is over, because where that log ended is not known for sure.
    pub fn drop_rows(&mut self, places: &BTreeSet<(LogId, u64)>, own_log: Option<LogId>) {
        for (log, seq) in places {
            if self.durable.entries.remove((*log, *seq)).is_some() {
                self.durable.unreadable.insert((*log, *seq));
            }
        }
        for (log, row) in &mut self.durable.logs {
            let lost = places.range((*log, 0)..(*log, row.head.height)).next();
            let Some((_, first)) = lost.copied() else { continue };
            let before = first.checked_sub(1).and_then(|seq| self.durable.entries.get((*log, seq)));
            let head = before.map_or(EntryHash::ZERO, |entry| entry.hash());
            row.head = Head { height: first, head };
        }
        if places.iter().any(|(log, _)| Some(*log) == own_log) {
            self.durable.life = None;
        }
    }

    /// Whether nothing beside a store shows that this image is not the one that ran last.
    #[must_use]
    pub fn hides(&self, image: &Image) -> bool {
        image.life.is_some_and(|life| self.fence == Some((life.incarnation, life.boot)))
    }

    /// From now on the disk says that it has written what it keeps in its memory only; what is durable so far is.
    /// `false` if it lied already.
    pub fn begin_to_lie(&mut self) -> bool {
        let is_new = self.platter.is_none();
        self.platter.get_or_insert_with(|| self.durable.clone());
        is_new
    }

    /// The disk writes out what it only claimed to have written.
    pub fn stop_lying(&mut self) {
        self.platter = None;
        self.claimed.clear();
    }

    /// What is on the disk in truth, if that is not what it claims; asked for when power is lost.
    pub fn take_truth(&mut self) -> Option<Image> {
        self.platter.take()
    }

    /// Puts the truth in the place of what the disk claimed; a batch that is torn stays so.
    pub fn admit(&mut self, truth: Image) {
        let torn = self.torn.take();
        self.put_back(truth);
        self.torn = torn;
    }

    /// The engine opens the store and drops a batch of which only a part is there; `true` if there was one. An engine
    /// that believes what it finds is a planted mistake.
    pub(crate) fn open(&mut self, believes: Believes) -> bool {
        let Some(torn) = self.torn.take() else { return false };
        if believes == Believes::Parts {
            let half = torn.entries.iter().take(torn.entries.len() / 2).cloned().collect();
            self.durable.apply(&vatra_replica::Batch { entries: half, ..(*torn).clone() });
        }
        true
    }
}
