//! Entries and heights that come in: what becomes of each, and what it says of whom.

use std::collections::BTreeSet;
use std::sync::Arc;

use vatra_model::certificate::SignedCertificate;
use vatra_model::{CheckedEntry, LogId, NodeKey};

use crate::input::{Effect, Event, NewLife, Now, Reject};
use crate::logs::{Accepted, Logs};
use crate::replica::{Came, Kept, Replica, Staged};
use crate::trust::CheckedLog;

/// What an entry takes of a frame beside its changes: a signature and what a run leaves of its header.
const ENTRY_OVERHEAD_BYTES: u64 = 100;

impl Replica {
    pub(crate) fn take_entries(
        &mut self,
        now: Now,
        peer: Option<NodeKey>,
        request: Option<u32>,
        logs: Vec<CheckedLog>,
        entries: Vec<Arc<CheckedEntry>>,
        effects: &mut Vec<Effect>,
    ) {
        let reject = |reject| Effect::Event(Event::Rejected { peer, reject });
        let came_with = (entries.len() as u64, entries.iter().map(|entry| entry_bytes(entry)).sum());
        let entries = self.begin_logs(peer, logs, entries, effects);
        if !self.takes_writes() {
            // They could not be kept; they are asked for when writing works again.
            for entry in &entries {
                if let Some(peer) = peer {
                    self.note_lost(peer, entry.header().log, entry.header().seq.0);
                }
            }
            return;
        }
        let came = match (peer, request) {
            (None, _) => Came::File,
            (Some(peer), None) => Came::Pushed(peer),
            (Some(peer), Some(_)) => Came::Fetched(peer),
        };
        self.take_stranded(now, request, &entries);
        let asked = peer.and_then(|peer| self.peers.get(&peer)?.wants.get(&request?)).map(|asked| asked.want);
        let (mut held, mut new, mut next) = (0, 0, 0);
        let answers = |entry: &CheckedEntry| {
            let header = entry.header();
            asked.is_some_and(|want| want.log == header.log && (want.from..want.to).contains(&header.seq.0))
        };
        if let Some(peer) = peer
            && entries.iter().any(|entry| answers(entry))
        {
            self.want_given(now, peer, request);
        }
        for entry in entries {
            let header = *entry.header();
            if let Some(state) = peer.and_then(|peer| self.peers.get_mut(&peer)) {
                state.learn_sent(header.log, header.seq.0);
            }
            let is_below = self.logs.get(&header.log).is_some_and(|state| header.seq.0 < state.accepted().height);
            match self.offer(now, &entry, came, effects) {
                Ok(Accepted::Doubtful) if !is_below => {}
                // Not on disk, and of many not even kept: whoever has the file gives it again.
                Ok(Accepted::Later) if peer.is_none() => {}
                Ok(accepted) => {
                    new += u64::from(matches!(accepted, Accepted::New | Accepted::Stray));
                    if peer.is_none() || answers(&entry) {
                        held += 1;
                        next = next.max(header.seq.0.saturating_add(1));
                    }
                }
                Err(refused) => effects.push(reject(refused)),
            }
        }
        match (peer, request) {
            (None, _) => effects.push(Effect::Event(Event::FileTaken { new, held: held - new })),
            (Some(peer), Some(request)) => self.want_progressed(now, peer, request, (held, next), came_with),
            (Some(_), None) => {}
        }
    }

    /// Begins the logs of entries, as far as they are new; the entries of those that were not turned away.
    fn begin_logs(
        &mut self,
        peer: Option<NodeKey>,
        logs: Vec<CheckedLog>,
        entries: Vec<Arc<CheckedEntry>>,
        effects: &mut Vec<Effect>,
    ) -> Vec<Arc<CheckedEntry>> {
        let reject = |reject| Effect::Event(Event::Rejected { peer, reject });
        let with_entries: BTreeSet<LogId> = entries.iter().map(|entry| entry.header().log).collect();
        let (mut turned_away, mut may_write_nothing) = (BTreeSet::new(), BTreeSet::new());
        // Anybody can describe a log of anybody.
        for log in logs.into_iter().filter(|log| with_entries.contains(&log.id)) {
            let (id, certificate) = (log.id, log.descriptor.certificate.clone());
            match self.describe(log) {
                Ok(()) if self.has_written(&id) && self.learn_from(&certificate) => effects.push(Effect::TrustChanged),
                Ok(()) => {}
                Err(Reject::NotEntitled { .. }) => drop(may_write_nothing.insert(id)),
                Err(refused) => {
                    // Once for all its entries.
                    effects.push(reject(refused));
                    turned_away.insert(id);
                }
            }
        }
        let mut taken = Vec::with_capacity(entries.len());
        for entry in entries {
            let (log, seq) = (entry.header().log, entry.header().seq.0);
            if may_write_nothing.contains(&log) {
                effects.push(reject(Reject::NotEntitled { log, seq }));
            } else if !turned_away.contains(&log) {
                taken.push(entry);
            }
        }
        taken
    }

    /// Offers an entry to its log and stages it if it is new.
    pub(crate) fn offer(
        &mut self,
        now: Now,
        entry: &Arc<CheckedEntry>,
        came: Came,
        effects: &mut Vec<Effect>,
    ) -> Result<Accepted, Reject> {
        if self.mend(now, entry, came) {
            return Ok(Accepted::Mends);
        }
        let header = *entry.header();
        let height = |logs: &Logs| logs.get(&header.log).map_or(0, |state| state.accepted().height);
        let before = height(&self.logs);
        let accepted = self.logs.offer(entry)?;
        self.settling.insert(header.log);
        if matches!(came, Came::Pushed(_)) && height(&self.logs) > before {
            self.logs.note_growth(&header.log, now.mono);
        }
        if before == 0 && self.learn_writer(&header.log) {
            effects.push(Effect::TrustChanged);
        }
        match accepted {
            Accepted::New | Accepted::Stray => {
                if header.log == self.own_log {
                    // Our own entry from elsewhere: this store is an old copy of itself.
                    self.open_incarnation(NewLife::Revealed, effects);
                }
                self.hlc = self.hlc.observe(header.hlc, now.wall);
                let kept = if accepted == Accepted::Stray { Kept::Beside } else { Kept::InPlace };
                self.staged.push(Staged { entry: entry.clone(), came, kept });
            }
            Accepted::Doubtful => self.suspect(entry.clone(), effects),
            Accepted::Duplicate | Accepted::Later | Accepted::Mends => {}
        }
        self.look_into(&header.log);
        Ok(accepted)
    }

    /// Learns the node that writes a log, once it has written there. Before that somebody may have certified it without
    /// asking; its entries name the log, and with that its member. `true` if this was news.
    pub(crate) fn learn_writer(&mut self, log: &LogId) -> bool {
        let Some(state) = self.logs.get(log) else { return false };
        let certificate = state.checked.descriptor.certificate.clone();
        self.has_written(log) && self.learn_from(&certificate)
    }

    fn has_written(&self, log: &LogId) -> bool {
        self.logs.get(log).is_some_and(|state| state.accepted().height > 0)
    }

    fn learn_from(&mut self, certificate: &[u8]) -> bool {
        let certificate = SignedCertificate::decode(certificate);
        certificate.is_ok_and(|certificate| self.trust.learn_from_itself(&certificate) == Ok(true))
    }

    /// Takes a height that a peer announced. `own` heights above ours mean that this store was put back.
    pub(crate) fn learn_height(&mut self, now: Now, peer: NodeKey, log: LogId, height: u64, effects: &mut Vec<Effect>) {
        self.learn_peers_heights(now, peer, [(log, height)], effects);
    }

    /// The same of several logs of one peer.
    pub(crate) fn learn_peers_heights(
        &mut self,
        now: Now,
        peer: NodeKey,
        heights: impl IntoIterator<Item = (LogId, u64)>,
        effects: &mut Vec<Effect>,
    ) {
        let own_log = self.own_log;
        let mut of_own = None;
        let mut ahead = Vec::new();
        let mut mends = false;
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let wait = state.push_wait_ms();
        for (log, height) in heights {
            let (held, end) = self.logs.get(&log).map_or((0, u64::MAX), |log| (log.accepted().height, log.end()));
            // Nothing past its end is of the log, whoever announces it.
            let height = height.min(end);
            if log == own_log {
                of_own = of_own.max(Some(height));
            }
            mends |= height > state.known(&log) && self.mending.has_holes_below(&log, height);
            if state.learn(log, height) && height > held {
                ahead.push((log, height));
            }
        }
        if mends {
            self.may_mend(now, peer);
        }
        ahead.retain(|(log, _)| !self.turned_away.contains(log));
        for (log, height) in ahead {
            self.expect(now, log, height, wait);
            self.note_behind(now, log);
        }
        if let Some(height) = of_own {
            self.hear_of_own(own_log, height, effects);
        }
    }

    /// A peer says how much of a log somebody holds. More of our own than we do means that this store is an old copy
    /// of itself; but a peer can say much, so only its first word is taken without the entries themselves.
    pub(crate) fn hear_of_own(&mut self, log: LogId, height: u64, effects: &mut Vec<Effect>) {
        if log != self.own_log {
            return;
        }
        let (held, end) = self.logs.get(&log).map_or((0, u64::MAX), |state| (state.accepted().height, state.end()));
        if height.min(end) > held && std::mem::take(&mut self.believes_claims) {
            self.open_incarnation(NewLife::Revealed, effects);
        }
    }
}

/// About what an entry takes of a request's budget.
fn entry_bytes(entry: &CheckedEntry) -> u64 {
    u64::from(entry.header().changes_len) + ENTRY_OVERHEAD_BYTES
}
