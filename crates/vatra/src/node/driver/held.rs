//! What was left for later: entries that another version of this program held back, and changes that waited for what
//! has come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use vatra_model::pack::Packer;
use vatra_model::{CheckedEntry, Public};
use vatra_replica::Batch;

use super::Driver;
use crate::node::packing::unpack_entry;
use crate::node::pending::Place;
use crate::node::quarantine;

/// Time after a failure before what was left for later is tried again.
const REST: Duration = Duration::from_secs(1);

impl Driver {
    /// Tries what another version held back, once.
    pub(super) fn bring_held(&mut self) {
        let mut packer = Packer::new();
        for place in self.shared.quarantine.take_to_try() {
            if let Err(error) = self.bring(&mut packer, place) {
                let (log, seq) = (place.log, place.seq.0);
                tracing::error!(%log, seq, error = format!("{error:#}"), "an entry stays held back");
            }
        }
    }

    pub(super) fn bring(&mut self, packer: &mut Packer, place: Place) -> anyhow::Result<()> {
        let entry = self.stored_entry(packer, place)?;
        let row = quarantine::key(place.log, place.seq, place.index);
        let batch = Batch { entries: vec![Arc::new(entry)], hlc: self.projector.state.hlc, ..Batch::default() };
        self.bring_part(&batch, Some(row))?;
        tracing::info!(log = %place.log, seq = place.seq.0, "an entry that another version held back was tried");
        Ok(())
    }

    fn stored_entry(&self, packer: &mut Packer, place: Place) -> anyhow::Result<CheckedEntry> {
        let snapshot = self.projector.views.reader.snapshot()?;
        let bytes = snapshot.entry(place.log, place.seq)?.context("the entry is gone")?;
        let origin = self.projector.views.origins.get(&place.log).context("the log has no descriptor")?;
        Ok(unpack_entry(packer, &bytes)?.check(&Public::new(&origin.node.0)?)?)
    }

    /// Goes on with changes that waited for what has come and found no room in its commit, and with what revocations
    /// take back.
    pub(super) fn work_off(&mut self) {
        let rests = self.rests_until.is_some_and(|until| until > Instant::now());
        if !self.projector.has_work() || !self.is_writable() || rests {
            return;
        }
        self.rests_until = None;
        let batch = Batch { hlc: self.projector.state.hlc, ..Batch::default() };
        if let Err(error) = self.bring_part(&batch, None) {
            self.shared.metrics.commits_failed.inc();
            self.rests_until = Some(Instant::now() + REST);
            tracing::error!(error = format!("{error:#}"), "changes that waited were not stored");
        }
    }

    /// Stores a batch that the core needs not hear of, and takes a row of the quarantine out.
    fn bring_part(&mut self, batch: &Batch, row: Option<Vec<u8>>) -> anyhow::Result<()> {
        let own_log = self.replica.own_log();
        let mut projected = self.projector.project(batch, 0, own_log, self.store.next_position())?;
        // It may be put in again by the same commit.
        projected.commit.index.splice(0..0, row.map(|key| (key, None)));
        self.store.commit(&projected.commit)?;
        self.publish(projected);
        Ok(())
    }
}
