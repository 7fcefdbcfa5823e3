//! How a fork is found, proved and told.
//!
//! An entry that contradicts another one, or may, is a suspect until the store was looked through. Where two nodes hold
//! different chains of one height, [`crate::searches`] finds the place where these part. A proof is two signed headers;
//! it goes to all peers as soon as it is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vatra_model::charter::LogEnd;
use vatra_model::wire::Message;
use vatra_model::{CheckedEntry, EntryHash, ForkProof, LogId, Seq, SignedHeader};

use crate::fork::{CheckedFork, Fork};
use crate::input::{Batch, Effect, Event, NewLife, Now, Reject};
use crate::logs::{AheadRow, LogState};
use crate::replica::{Came, Replica};
use crate::searches::Searches;
use crate::trust::CheckedLog;

/// Suspects that are kept; more are dropped, and come again with their log's next comparison.
const SUSPECTS_MAX: usize = 64;
/// Headers that settle whether two neighbours fit.
pub(crate) const PAIR: usize = 2;
/// Protocol version that knows of forks.
pub(crate) const FORKS_SINCE: u16 = 2;

/// Questions about forks that are open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inquiries {
    suspects: BTreeMap<(LogId, u64, EntryHash), Arc<CheckedEntry>>,
    /// What is to be looked for in the store once what is staged is durable.
    pub(crate) recalls: BTreeSet<Question>,
    pub(crate) searches: Searches,
    /// Ended logs that are to be looked up again once what is being written is on disk.
    later: BTreeSet<LogId>,
}

/// What a recall asks: log, first place, count, a stray.
pub(crate) type Question = (LogId, u64, usize, Option<(u64, EntryHash)>);

impl Inquiries {
    /// The entry at a place, and the one before it, are to be looked up in the store.
    pub(crate) fn look_up(&mut self, log: LogId, place: Seq) {
        self.recalls.insert((log, place.0.saturating_sub(1), PAIR, None));
    }

    /// What is being written of a log decides how much of it is left.
    pub(crate) fn look_up_later(&mut self, log: LogId) {
        self.later.insert(log);
    }

    /// Logs that are to be looked up now that a batch was written, or was not.
    pub(crate) fn take_later(&mut self) -> BTreeSet<LogId> {
        std::mem::take(&mut self.later)
    }

    /// What the store holds past the place of a fork is to be looked up.
    pub(crate) fn look_past(&mut self, log: LogId, fork: &Fork) {
        self.recalls.insert((log, fork.place.saturating_sub(1), fork.unknown_count(), None));
    }

    /// A revocation ends a log: what is in doubt past that need not be looked into.
    pub(crate) fn end_log(&mut self, log: &LogId, end: &LogEnd) {
        self.suspects.retain(|(of, seq, hash), _| of != log || end.covers(Seq(*seq), *hash));
    }

    /// Entries that are to be looked into.
    pub(crate) fn suspects(&self) -> impl Iterator<Item = &Arc<CheckedEntry>> {
        self.suspects.values()
    }
}

impl Replica {
    /// An entry that may contradict what is held.
    pub(crate) fn suspect(&mut self, entry: Arc<CheckedEntry>, effects: &mut Vec<Effect>) {
        let header = *entry.header();
        let key = (header.log, header.seq.0, entry.hash());
        if self.inquiries.suspects.len() < SUSPECTS_MAX || self.inquiries.suspects.contains_key(&key) {
            self.inquiries.suspects.insert(key, entry);
            self.inquiries.recalls.insert((header.log, header.seq.0.saturating_sub(1), PAIR, None));
        } else {
            effects.push(Effect::Event(Event::DoubtDropped { log: header.log }));
        }
    }

    /// Looks into a log that was just changed, if an entry of it turned out not to follow the one before it.
    pub(crate) fn look_into(&mut self, log: &LogId) {
        if let Some((place, stray)) = self.logs.get_mut(log).and_then(LogState::take_broken) {
            let stray = stray.map(|hash| (place, hash));
            self.inquiries.recalls.insert((*log, place.saturating_sub(1), PAIR, stray));
        }
    }

    /// Asks the store for what is to be looked for, but for logs of which something is not yet durable.
    pub(crate) fn recall(&mut self, effects: &mut Vec<Effect>) {
        if self.inquiries.recalls.is_empty() {
            return;
        }
        let mut busy: BTreeSet<LogId> = self.staged.iter().map(|staged| staged.entry.header().log).collect();
        let in_flight = self.in_flight.iter().flat_map(|flight| flight.batch.entries.iter());
        busy.extend(in_flight.map(|entry| entry.header().log));
        let logs = &self.logs;
        self.inquiries.recalls.retain(|&(log, from, count_max, stray)| {
            let durable = logs.get(&log).map_or(0, |state| state.durable().height);
            let waits = busy.contains(&log) && from.saturating_add(count_max as u64) > durable;
            if !waits {
                effects.push(Effect::Recall { log, from, count_max, stray });
            }
            waits
        });
    }

    /// What the store holds of a log.
    pub(crate) fn recalled(
        &mut self,
        now: Now,
        (log, from, count_max): (LogId, u64, usize),
        headers: &[SignedHeader],
        stray: Option<&SignedHeader>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(state) = self.logs.get(&log) else { return };
        let open = state.fork.as_ref().filter(|fork| fork.is_saved && !fork.is_settled);
        if open.is_some_and(|fork| (fork.place.saturating_sub(1), fork.unknown_count()) == (from, count_max)) {
            self.settle_fork(now, log, headers, effects);
        }
        // One header alone settles nothing between neighbours, and those in doubt wait for their own look.
        if count_max > 1 {
            self.judge(now, log, from, headers.iter().chain(stray), effects);
        }
        let ours = headers.first().filter(|header| place_of(header) == Some(from));
        self.step_searches(now, log, from, ours.copied(), effects);
    }

    fn settle_fork(&mut self, now: Now, log: LogId, headers: &[SignedHeader], effects: &mut Vec<Effect>) {
        let place = self.logs.get(&log).map_or(0, LogState::end);
        let rows = headers.iter().filter_map(|signed| {
            let header = signed.header().ok()?;
            Some(AheadRow { seq: header.seq.0, hash: signed.hash(), prev: header.prev })
        });
        let rows: Vec<AheadRow> = rows.collect();
        let before = place.checked_sub(1);
        let trunk = rows.iter().find(|row| Some(row.seq) == before).map(|row| row.hash);
        let waiting = self.logs.settle_fork(&log, trunk, &rows);
        self.look_into(&log);
        self.ripen(log);
        self.plan_stale = true;
        self.tell_strays(now, log, None);
        self.offer_again(now, waiting, effects);
    }

    /// Offers entries that waited for what the store holds.
    fn offer_again(&mut self, now: Now, entries: Vec<Arc<CheckedEntry>>, effects: &mut Vec<Effect>) {
        for entry in entries {
            if let Err(reject) = self.offer(now, &entry, Came::File, effects) {
                effects.push(Effect::Event(Event::Rejected { peer: None, reject }));
            }
        }
    }

    /// Whether what is known of two neighbouring places can be one chain; if not, the log forks there.
    fn judge<'h>(
        &mut self,
        now: Now,
        log: LogId,
        from: u64,
        headers: impl Iterator<Item = &'h SignedHeader>,
        effects: &mut Vec<Effect>,
    ) {
        let next = from.saturating_add(1);
        // Each suspect is judged together with the place before it.
        let first = if from == 0 { 0 } else { next };
        let suspects = (log, first, EntryHash::ZERO)..(log, next.saturating_add(1), EntryHash::ZERO);
        let suspects = self.inquiries.suspects.range(suspects).map(|(key, entry)| (*key, entry.clone()));
        let suspects: Vec<_> = suspects.collect();
        let suspected = suspects.iter().map(|(_, entry)| SignedHeader::of(entry.entry()));
        let mut places: BTreeMap<u64, BTreeMap<EntryHash, SignedHeader>> = BTreeMap::new();
        for signed in headers.copied().chain(suspected) {
            if let Some(place) = place_of(&signed).filter(|place| (from..=next).contains(place)) {
                places.entry(place).or_default().insert(signed.hash(), signed);
            }
        }
        for (key, _) in &suspects {
            self.inquiries.suspects.remove(key);
        }
        let Some(descriptor) = self.descriptor(&log).cloned() else { return };
        let Some((place, a, b)) = conflict(&places, from) else { return };
        if place < self.logs.get(&log).map_or(0, LogState::end) {
            let proof = ForkProof::new(descriptor, a, b);
            self.accept_fork(CheckedFork { log, place, proof }, effects);
        }
        // Those past the fork are strays now; one below it is what the store holds there.
        let end = self.logs.get(&log).map_or(u64::MAX, LogState::end);
        let strays = suspects.into_iter().filter(|((_, seq, _), _)| *seq >= end).map(|(_, entry)| entry).collect();
        self.offer_again(now, strays, effects);
    }

    /// A fork whose proof was checked. Its log ends there for good, unless it is found to end earlier.
    pub(crate) fn accept_fork(&mut self, fork: CheckedFork, effects: &mut Vec<Effect>) {
        if !self.logs.part(&fork.log, fork.place, fork.proof) {
            return;
        }
        self.inquiries.searches.retain(|(log, _), _| *log != fork.log);
        effects.push(Effect::Event(Event::Forked { log: fork.log, seq: fork.place }));
        self.plan_stale = true;
        if fork.log == self.own_log {
            // Another life of this node wrote there too: leave the log to it.
            self.open_incarnation(NewLife::Revealed, effects);
        }
    }

    /// A proof came from a peer or in a file; whose log it is of may be news as well.
    pub(crate) fn take_fork(
        &mut self,
        log: CheckedLog,
        fork: CheckedFork,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reject> {
        self.describe(log)?;
        self.accept_fork(fork, effects);
        Ok(())
    }

    pub(crate) fn take_proof(&mut self, proof: ForkProof, effects: &mut Vec<Effect>) -> Result<(), Reject> {
        // Signatures are checked only of what would be news.
        let signed = vatra_model::certificate::SignedCertificate::decode(&proof.log.certificate)
            .map_err(vatra_model::charter::AdmitError::Certificate)?;
        let log = signed.certificate().log(proof.log.incarnation, &proof.log.audience);
        let place = proof.place(log).map_err(|source| Reject::Fork { log, source })?;
        if self.logs.get(&log).is_some_and(|state| state.end() <= place) {
            return Ok(());
        }
        let (log, fork) = self.trust.check_fork(proof)?;
        self.take_fork(log, fork, effects)
    }

    /// A batch with proofs is durable: peers hear of them, and what the store holds past their places is looked for.
    pub(crate) fn forks_saved(&mut self, batch: &Batch, effects: &mut Vec<Effect>) {
        for fork in &batch.forks {
            if let Some(known) = self.logs.get(&fork.log).and_then(|state| state.fork.as_ref()) {
                self.inquiries.look_past(fork.log, known);
            }
            let knowing = self.peers.iter().filter(|(_, peer)| peer.greeted && peer.version >= FORKS_SINCE);
            for (peer, _) in knowing {
                let message = Message::Fork(Box::new(fork.proof.clone()));
                effects.push(Effect::Send { peer: *peer, message });
            }
        }
    }
}

fn place_of(signed: &SignedHeader) -> Option<u64> {
    signed.header().map(|header| header.seq.0).ok()
}

/// The lowest place at which headers of two neighbouring places contradict each other, and two that do.
fn conflict(
    places: &BTreeMap<u64, BTreeMap<EntryHash, SignedHeader>>,
    from: u64,
) -> Option<(u64, SignedHeader, SignedHeader)> {
    let at = |place: u64| places.get(&place).into_iter().flat_map(BTreeMap::iter);
    let pair = |place: u64| {
        let mut headers = at(place).map(|(_, signed)| *signed);
        Some((place, headers.next()?, headers.next()?))
    };
    let next = from.checked_add(1)?;
    let broken = || {
        let (hash, first) = at(from).next()?;
        let strange = |signed: &SignedHeader| signed.header().is_ok_and(|header| header.prev != *hash);
        let (_, second) = at(next).find(|(_, signed)| strange(signed))?;
        Some((from, *first, *second))
    };
    pair(from).or_else(broken).or_else(|| pair(next))
}
