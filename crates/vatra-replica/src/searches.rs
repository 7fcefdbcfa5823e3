//! Two nodes that hold different chains of one height halve their way to the place where these part, by telling each
//! other single headers. Each peer is searched with for itself, so that one that leads astray holds up no other.

use std::collections::BTreeMap;

use vatra_model::wire::Message;
use vatra_model::{ForkProof, LogId, MonoMs, NodeKey, SignedHeader};

use crate::fork::CheckedFork;
use crate::forks::FORKS_SINCE;
use crate::input::{Effect, Now, Reject};
use crate::replica::Replica;

/// A search that has no answer for this long is given up, in milliseconds; a later comparison begins it again.
const SEARCH_MS: u64 = 60_000;
/// Searches under way with one peer at once: one that leads ours astray keeps nobody else's waiting.
const SEARCHES_PER_PEER: usize = 8;

/// Searches under way, by log and the peer that is searched with.
pub(crate) type Searches = BTreeMap<(LogId, NodeKey), Search>;

/// Looks for the lowest place at which a peer's chain differs from ours.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    /// Below this they are equal.
    low: u64,
    /// Here they differ.
    high: u64,
    since: MonoMs,
    theirs: Option<SignedHeader>,
    /// Both headers at `high`, once they are known.
    found: Option<(SignedHeader, SignedHeader)>,
}

impl Search {
    fn middle(&self) -> u64 {
        self.low + (self.high - self.low) / 2
    }
}

fn searches_of(searches: &Searches, log: LogId) -> impl Iterator<Item = (&(LogId, NodeKey), &Search)> {
    searches.range((log, NodeKey([0; 32]))..=(log, NodeKey([0xff; 32])))
}

impl Replica {
    /// Whether the place at which a log parts from a peer's is being looked for.
    pub(crate) fn is_searched(&self, log: &LogId) -> bool {
        searches_of(&self.inquiries.searches, *log).next().is_some()
    }

    /// A peer holds another chain of a log: from some place at or below `high` on it differs from ours.
    pub(crate) fn search(&mut self, now: Now, peer: NodeKey, log: LogId, high: u64, effects: &mut Vec<Effect>) {
        let knows = self.peers.get(&peer).is_some_and(|peer| peer.version >= FORKS_SINCE);
        let of_peer = self.inquiries.searches.keys().filter(|(_, with)| *with == peer).count();
        if !knows || self.inquiries.searches.contains_key(&(log, peer)) || of_peer >= SEARCHES_PER_PEER {
            return;
        }
        let search = Search { low: 0, high, since: now.mono, theirs: None, found: None };
        self.inquiries.searches.insert((log, peer), search);
        self.probe((log, peer), effects);
    }

    fn probe(&mut self, (log, peer): (LogId, NodeKey), effects: &mut Vec<Effect>) {
        let Some(search) = self.inquiries.searches.get_mut(&(log, peer)) else { return };
        search.theirs = None;
        let seq = search.middle();
        effects.push(Effect::Send { peer, message: Message::Probe { log, seq } });
    }

    /// A peer tells the header that it holds at a place.
    pub(crate) fn take_header(
        &mut self,
        peer: NodeKey,
        (log, seq): (LogId, u64),
        header: Option<SignedHeader>,
    ) -> Result<(), Reject> {
        let Some(search) = self.inquiries.searches.get_mut(&(log, peer)).filter(|search| search.middle() == seq) else {
            return Ok(());
        };
        let Some(signed) = header else {
            self.inquiries.searches.remove(&(log, peer));
            return Ok(());
        };
        let Some(state) = self.logs.get(&log) else { return Ok(()) };
        let refuse = |source| Reject::Entry { log, seq, source };
        let checked = signed.check(&state.checked.public).map_err(refuse)?;
        if checked.log != log || checked.seq.0 != seq {
            return Err(Reject::Malformed { what: "header", detail: format!("it is not the one of place {seq}") });
        }
        search.theirs = Some(signed);
        self.inquiries.recalls.insert((log, seq, 1, None));
        Ok(())
    }

    /// Our own header at a place that is being compared, with whomever.
    pub(crate) fn step_searches(
        &mut self,
        now: Now,
        log: LogId,
        seq: u64,
        ours: Option<SignedHeader>,
        effects: &mut Vec<Effect>,
    ) {
        let at_place = |(_, search): &(_, &Search)| search.theirs.is_some() && search.middle() == seq;
        let with: Vec<NodeKey> =
            searches_of(&self.inquiries.searches, log).filter(at_place).map(|((_, peer), _)| *peer).collect();
        for peer in with {
            self.step_search(now, (log, peer), seq, ours, effects);
        }
    }

    fn step_search(
        &mut self,
        now: Now,
        (log, peer): (LogId, NodeKey),
        seq: u64,
        ours: Option<SignedHeader>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(search) = self.inquiries.searches.get_mut(&(log, peer)) else { return };
        let Some(theirs) = search.theirs else { return };
        let Some(ours) = ours else {
            self.inquiries.searches.remove(&(log, peer));
            return;
        };
        search.since = now.mono;
        let prev = |signed: &SignedHeader| signed.header().map(|header| header.prev).ok();
        if ours.hash() == theirs.hash() {
            search.low = seq.saturating_add(1);
        } else {
            search.high = seq;
            search.found = Some((ours, theirs));
            if prev(&ours) == prev(&theirs) {
                // Equal before, by the chain of hashes.
                search.low = seq;
            }
        }
        match search.found {
            Some((ours, theirs)) if search.low >= search.high => {
                let place = search.high;
                self.inquiries.searches.remove(&(log, peer));
                let Some(descriptor) = self.descriptor(&log).cloned() else { return };
                let proof = ForkProof::new(descriptor, ours, theirs);
                self.accept_fork(CheckedFork { log, place, proof }, effects);
            }
            _ if search.low > search.high => drop(self.inquiries.searches.remove(&(log, peer))),
            _ => self.probe((log, peer), effects),
        }
    }

    /// Gives up searches with a peer that is gone.
    pub(crate) fn end_searches(&mut self, peer: &NodeKey) {
        self.inquiries.searches.retain(|(_, with), _| with != peer);
    }

    /// Gives up searches without an answer.
    pub(crate) fn give_up_searches(&mut self, now: Now) {
        self.inquiries.searches.retain(|_, search| now.mono.since(search.since) < SEARCH_MS);
    }
}
