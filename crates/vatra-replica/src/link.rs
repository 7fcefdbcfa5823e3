//! Entries in and out of frames: what each end of a lane has told the other about logs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vatra_model::certificate::SignedCertificate;
use vatra_model::charter::AdmitError;
use vatra_model::entry::EntryError;
use vatra_model::limits::LOGS_MAX;
use vatra_model::wire::{EntriesFrame, LogDescriptor, Run};
use vatra_model::{CheckedEntry, Entry, LogId, NodeKey, Seq, SignatureBytes};

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
        let (mut runs, mut logs) = (Vec::<Run>::new(), BTreeMap::new());
        let mut last: Option<&Entry> = None;
        for entry in entries {
            let log = entry.header.log;
            if !self.0.contains(&log) && !logs.contains_key(&log) {
                let Some(found) = descriptor(&log) else { continue };
                logs.insert(log, found);
            }
            // Neighbours of two branches of a fork are no run: the receiver works `prev` out.
            let follows = |last: &Entry| {
                last.header.log == log
                    && last.header.seq.next() == Some(entry.header.seq)
                    && last.header.hash() == entry.header.prev
            };
            match runs.last_mut().filter(|_| last.is_some_and(follows)) {
                Some(run) => run.push(entry),
                None => runs.push(Run::from_first(entry)),
            }
            last = Some(entry);
        }
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
pub struct Heard {
    logs: BTreeMap<LogId, CheckedLog>,
    /// Logs that could not be believed when they were told, such as those of a member that a newer charter
    /// names: they are told once, so they are looked at again when entries come.
    doubtful: BTreeMap<LogId, LogDescriptor>,
}

/// Entries out of a frame, with their signatures checked.
#[derive(Clone, Debug)]
pub struct Received {
    /// The request that they answer.
    pub request: Option<u32>,
    /// The entries.
    pub entries: Vec<Arc<CheckedEntry>>,
    /// Why some entries were left out: their log is not one that this node can believe or keep at present.
    pub left_out: Option<Reject>,
}

impl Heard {
    /// Checks a frame: descriptors against the charter, then every signature. Entries of logs that the charter
    /// or this version does not know are left out.
    ///
    /// # Errors
    /// [`Reject`] at the first thing that does not hold; nothing of the frame is believed then.
    pub fn open(&mut self, trust: &Trust, frame: EntriesFrame) -> Result<Received, Reject> {
        self.open_knowing(trust, frame, &mut |_| None)
    }

    /// The same, without another check of entries that `known` gives by their signatures and that are the very same.
    ///
    /// # Errors
    /// As [`Heard::open`].
    pub fn open_knowing(
        &mut self,
        trust: &Trust,
        frame: EntriesFrame,
        known: &mut dyn FnMut(&SignatureBytes) -> Option<Arc<CheckedEntry>>,
    ) -> Result<Received, Reject> {
        let mut received = Received { request: frame.request, entries: Vec::new(), left_out: None };
        for descriptor in frame.logs {
            self.hear(trust, descriptor, &mut received)?;
        }
        for run in frame.runs {
            if let Some(doubtful) = self.doubtful.remove(&run.log) {
                self.hear(trust, doubtful, &mut received)?;
            }
            if self.doubtful.contains_key(&run.log) {
                continue;
            }
            let log = self.logs.get(&run.log).ok_or(Reject::UndescribedLog(run.log))?;
            let id = run.log;
            let refuse = |(seq, source): (Seq, EntryError)| Reject::Entry { log: id, seq: seq.0, source };
            received.entries.extend(run.check(log.descriptor.realm, &log.public, known).map_err(refuse)?);
        }
        Ok(received)
    }

    /// The logs of entries that came in a frame, for the replica to take with them: a log is begun with an entry, which
    /// its node signed, and never by a descriptor alone, which anybody can make.
    #[must_use]
    pub fn logs_of(&self, entries: &[Arc<CheckedEntry>]) -> Vec<CheckedLog> {
        let logs: BTreeSet<LogId> = entries.iter().map(|entry| entry.header().log).collect();
        logs.iter().filter_map(|log| self.logs.get(log).cloned()).collect()
    }

    /// Whose log it is, if the other end has told of it.
    #[must_use]
    pub fn origin(&self, log: &LogId) -> Option<NodeKey> {
        self.logs.get(log).map(|log| log.certificate.key)
    }

    fn hear(&mut self, trust: &Trust, descriptor: LogDescriptor, received: &mut Received) -> Result<(), Reject> {
        let certificate = SignedCertificate::decode(&descriptor.certificate).map_err(AdmitError::Certificate)?;
        let id = certificate.certificate().log(descriptor.incarnation, &descriptor.audience);
        let known = self.logs.contains_key(&id) || self.doubtful.contains_key(&id);
        if !known && self.logs.len() + self.doubtful.len() >= LOGS_MAX {
            return Err(Reject::Full { what: "logs of a link", limit: LOGS_MAX });
        }
        match trust.check_log(descriptor.clone()) {
            Ok(log) => {
                self.logs.insert(id, log);
            }
            // A charter that is on its way may name the member, or its new root.
            Err(
                reject @ (Reject::Admit(AdmitError::UnknownMember(_) | AdmitError::Certificate(_))
                | Reject::ForeignLog(_)),
            ) => {
                self.doubtful.insert(id, descriptor);
                received.left_out.get_or_insert(reject);
            }
            Err(reject) => return Err(reject),
        }
        Ok(())
    }
}
