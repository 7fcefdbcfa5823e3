//! Logs of revoked keys: each ends after the last entry that the charter calls valid, whenever and however what lies
//! past it came.
//!
//! Such an end is a part of the charter, as a fork's place is a part of its proof, so all nodes that have the charter
//! come to hold, tell and show the same. What a store has past the end stays there; it is not served.

use vatra_model::{CheckedEntry, LogId, SignedHeader};

use crate::forks::PAIR;
use crate::input::Reject;
use crate::logs::{AheadRow, LogState};
use crate::replica::{Kept, Replica};
use crate::trust::CheckedLog;
use crate::turned_away::may_hold_nothing;

impl Replica {
    /// Takes a log in with what the charter says of it now, which may be newer than the one that it was checked under.
    /// One of which the charter lets nothing be takes no room: whose key is revoked, or who only observes, can sign any
    /// number of them. A charter that makes a member of an observer finds them at peers again.
    pub(crate) fn describe(&mut self, mut log: CheckedLog) -> Result<(), Reject> {
        let id = log.id;
        let (charter, owner) = (self.trust.charter(), (log.certificate.member, log.certificate.key));
        log.role = charter.log_role(log.certificate.member);
        let described = match self.logs.get(&id).is_none() && may_hold_nothing(charter, &id, owner) {
            true => Err(Reject::NotEntitled { log: id, seq: 0 }),
            false => self.logs.describe(log, (self.member, self.me)),
        };
        match &described {
            Ok(()) => self.turned_away.remove(&id),
            Err(_) => self.turn_away(id, owner),
        }
        self.end_log(&id);
        described
    }

    /// Whether an entry may be of its log as far as revocations tell. A log is only forgotten if nothing may be of it.
    pub(crate) fn covers(&self, entry: &CheckedEntry) -> bool {
        let header = entry.header();
        self.logs.get(&header.log).is_some_and(|state| state.covers(header.seq.0, entry.hash()))
    }

    /// A newer charter may make members of observers, whose logs are known already.
    pub(crate) fn promote_logs(&mut self) {
        let charter = self.trust.charter();
        self.logs.set_roles(|member| charter.log_role(member));
        self.plan_stale = true;
    }

    /// A newer charter is in force.
    pub(crate) fn end_logs(&mut self) {
        let logs: Vec<LogId> = self.known_logs().collect();
        for log in &logs {
            self.end_log(log);
        }
    }

    /// Ends a log where the charter says, if its key is revoked.
    pub(crate) fn end_log(&mut self, log: &LogId) {
        let Some(origin) = self.logs.get(log).map(LogState::origin) else { return };
        let Some(end) = self.trust.charter().end_of(&origin, log) else { return };
        let Some(to_look_up) = self.logs.end_at(log, end) else { return };
        self.staged.retain(|staged| {
            let header = staged.entry.header();
            // What is put back is only a row.
            staged.kept == Kept::Again || header.log != *log || end.covers(header.seq, staged.entry.hash())
        });
        let in_flight = self.in_flight.iter().flat_map(|flight| &flight.batch.entries);
        let mut of_log = in_flight.filter(|entry| entry.header().log == *log);
        let is_last = |entry: &CheckedEntry| end.last.is_some_and(|(last, _)| entry.header().seq == last);
        if of_log.any(|entry| is_last(entry) && !end.covers(entry.header().seq, entry.hash())) {
            self.logs.has_other_last(log);
        }
        self.inquiries.end_log(log, &end);
        if let Some(last) = to_look_up {
            self.inquiries.look_up(*log, last);
        }
        self.forget_past(log, end.place());
    }

    /// The store was looked through from a place on, which may tell how much of an ended log is left.
    pub(crate) fn settle_end(&mut self, log: LogId, (from, count_max): (u64, usize), headers: &[SignedHeader]) {
        let Some(last) = self.logs.get(&log).and_then(LogState::open_end) else { return };
        if (from, count_max) != (last.0.saturating_sub(1), PAIR) {
            return;
        }
        let row = |signed: &SignedHeader| {
            let header = signed.header().ok().filter(|header| header.seq <= last)?;
            Some(AheadRow { seq: header.seq.0, hash: signed.hash(), prev: header.prev })
        };
        let held: Vec<AheadRow> = headers.iter().filter_map(row).collect();
        if held.iter().all(|row| row.seq != last.0) && self.is_being_written(&log) {
            // It may not have been there yet: it is looked up again once that is written.
            return self.inquiries.look_up_later(log);
        }
        self.logs.settle_end(&log, &held);
        let left = self.logs.get(&log).map_or(0, |state| state.accepted().height);
        if left < last.0.saturating_add(1) {
            // Those who hold the named entry say so again.
            self.forget_past(&log, left);
        }
        self.look_into(&log);
    }

    /// A batch was written, or was not: what waited for that is looked up.
    pub(crate) fn look_up_what_was_written(&mut self) {
        for log in self.inquiries.take_later() {
            if let Some(last) = self.logs.get(&log).and_then(LogState::open_end) {
                self.inquiries.look_up(log, last);
            }
        }
    }

    /// Looks up again how much is left of logs of which that is not known yet; and what they hold past their forks.
    pub(crate) fn look_up_open(&mut self) {
        for (log, state) in self.logs.iter() {
            if let Some(last) = state.open_end() {
                self.inquiries.look_up(*log, last);
            }
            if let Some(fork) = state.fork.as_ref().filter(|fork| fork.is_saved && !fork.is_settled) {
                self.inquiries.look_past(*log, fork);
            }
        }
    }

    /// What peers said of a log past a place does not count any more.
    fn forget_past(&mut self, log: &LogId, place: u64) {
        self.settling.insert(*log);
        for peer in self.peers.values_mut() {
            peer.unlearn(log, place);
        }
        self.forget_behind(log);
        self.plan_stale = true;
    }

    /// Whether entries of a log are staged or being written.
    fn is_being_written(&self, log: &LogId) -> bool {
        let in_flight = self.in_flight.iter().flat_map(|flight| &flight.batch.entries);
        self.staged.iter().map(|staged| &staged.entry).chain(in_flight).any(|entry| entry.header().log == *log)
    }
}
