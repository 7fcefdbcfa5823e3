//! Entries in and out of frames: what each end of a lane has told the other about logs.

use std::collections::{BTreeMap, BTreeSet};

use vatra_model::limits::LOGS_MAX;
use vatra_model::wire::{EntriesFrame, LogDescriptor, Run};
use vatra_model::{CheckedEntry, Entry, LogId};

use crate::input::Reject;
use crate::trust::{CheckedLog, Trust};

/// Logs that the other end of one lane of one link has been told of. Start anew with each link.
#[derive(Clone, Debug, Default)]
pub struct Told(BTreeSet<LogId>);

impl Told {
    /// The frame of these entries; call [`Told::sent`] with it once it is queued.
    ///
    /// Entries of one log that follow each other become one run. Logs without a descriptor are left out.
    pub fn frame<'e>(
        &self,
        request: Option<u32>,
        entries: impl IntoIterator<Item = &'e Entry>,
        descriptor: impl Fn(&LogId) -> Option<LogDescriptor>,
    ) -> EntriesFrame {
        let mut groups: Vec<Vec<&Entry>> = Vec::new();
        for entry in entries {
            let follows =
                |last: &&Entry| last.header.log == entry.header.log && last.header.seq.next() == Some(entry.header.seq);
            match groups.last_mut() {
                Some(group) if group.last().is_some_and(follows) => group.push(entry),
                _ => groups.push(vec![entry]),
            }
        }
        let mut logs = BTreeMap::new();
        for group in &groups {
            let log = group[0].header.log;
            if !self.0.contains(&log)
                && !logs.contains_key(&log)
                && let Some(found) = descriptor(&log)
            {
                logs.insert(log, found);
            }
        }
        let runs = groups
            .iter()
            .filter(|group| self.0.contains(&group[0].header.log) || logs.contains_key(&group[0].header.log))
            .filter_map(|group| Run::of(group))
            .collect();
        EntriesFrame { request, logs: logs.into_values().collect(), runs }
    }

    /// The frame is on its way: its logs need not be told again.
    pub fn sent(&mut self, frame: &EntriesFrame) {
        self.0.extend(frame.runs.iter().map(|run| run.log));
    }

    /// Whether a frame with these entries would be the same for another link that was told the same.
    #[must_use]
    pub fn knows(&self, log: &LogId) -> bool {
        self.0.contains(log)
    }
}

/// Logs that the other end of one lane of one link has told us of. Start anew with each link.
#[derive(Clone, Debug, Default)]
pub struct Heard(BTreeMap<LogId, CheckedLog>);

/// Entries out of a frame, with their signatures checked.
#[derive(Clone, Debug)]
pub struct Received {
    /// The request that they answer.
    pub request: Option<u32>,
    /// Logs told in this frame.
    pub logs: Vec<CheckedLog>,
    /// The entries.
    pub entries: Vec<CheckedEntry>,
}

impl Heard {
    /// Checks a frame: descriptors against the charter, then every signature.
    ///
    /// # Errors
    /// [`Reject`] at the first thing that does not hold; nothing of the frame is believed then.
    pub fn open(&mut self, trust: &Trust, frame: EntriesFrame) -> Result<Received, Reject> {
        let mut logs = Vec::with_capacity(frame.logs.len());
        for descriptor in frame.logs {
            let log = trust.check_log(descriptor)?;
            if self.0.len() >= LOGS_MAX && !self.0.contains_key(&log.id) {
                return Err(Reject::Full { what: "logs of a link", limit: LOGS_MAX });
            }
            self.0.insert(log.id, log.clone());
            logs.push(log);
        }
        let mut entries = Vec::new();
        for run in frame.runs {
            let log = self.0.get(&run.log).ok_or(Reject::UndescribedLog(run.log))?;
            let (id, seq) = (run.log, run.first);
            let refuse = |seq: u64| move |source| Reject::Entry { log: id, seq, source };
            for entry in run.entries(log.descriptor.realm).map_err(refuse(seq))? {
                let seq = entry.header.seq.0;
                entries.push(entry.check(&log.public).map_err(refuse(seq))?);
            }
        }
        Ok(Received { request: frame.request, logs, entries })
    }
}
