//! Logs that peers hold and this node does not begin: there is no room for them, or nothing may be of them.
//!
//! Whose log it is shows only once an entry of it came, so it is asked for at least once. From then on it is left alone
//! until a charter gives room, or the right to write: nothing else does, so asking again would be in vain.

use std::collections::BTreeMap;

use vatra_model::charter::{Charter, MemberRole};
use vatra_model::limits::LOGS_MAX;
use vatra_model::{LogId, MemberCode, NodeKey};

use crate::replica::Replica;

/// Logs that are remembered: as many as many peers hold that each began others than this node. Past that the first make
/// room, and are asked for once more.
const TURNED_AWAY_MAX: usize = 16 * LOGS_MAX;

/// Whose log it is.
type Owner = (MemberCode, NodeKey);

/// Logs that were turned away, with their owners.
#[derive(Clone, Debug, Default)]
pub(crate) struct TurnedAway(BTreeMap<LogId, Owner>);

impl TurnedAway {
    pub(crate) fn contains(&self, log: &LogId) -> bool {
        self.0.contains_key(log)
    }

    pub(crate) fn remove(&mut self, log: &LogId) {
        self.0.remove(log);
    }

    /// How many logs there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn insert(&mut self, log: LogId, owner: Owner) {
        if self.0.len() >= TURNED_AWAY_MAX && !self.0.contains_key(&log) {
            self.0.pop_first();
        }
        self.0.insert(log, owner);
    }
}

/// Whether a charter lets nothing be of a log: its member only observes, or its key is revoked and no entry of it valid.
pub(crate) fn may_hold_nothing(charter: &Charter, log: &LogId, (member, key): Owner) -> bool {
    charter.log_role(member) == MemberRole::Observer || charter.end_of(&key, log).is_some_and(|end| end.place() == 0)
}

impl Replica {
    /// A log is not begun. Nothing of it is asked for from now on, and nothing of it counts as missing.
    pub(crate) fn turn_away(&mut self, log: LogId, owner: Owner) {
        self.turned_away.insert(log, owner);
        self.ripening.remove(&log);
        self.behind_since.remove(&log);
    }

    /// A newer charter is in force: logs that it gives room, or the right to be, may be asked for again.
    pub(crate) fn readmit_logs(&mut self) {
        let (charter, me) = (self.trust.charter(), (self.member, self.me));
        let room = self.logs.room();
        let is_admitted =
            |log: &LogId, owner: Owner| !may_hold_nothing(charter, log, owner) && room.check(owner, me).is_ok();
        let turned_away = &self.turned_away.0;
        let admitted = turned_away.iter().filter(|(log, owner)| is_admitted(log, **owner)).map(|(log, _)| *log);
        for log in admitted.collect::<Vec<_>>() {
            self.turned_away.remove(&log);
            self.ripen(log);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_remembered() {
        let mut turned_away = TurnedAway::default();
        let owner = ("LT".parse().expect("a code"), NodeKey([1; 32]));
        let numbered = |number: u64| LogId([number.to_be_bytes(), [7; 8]].concat().try_into().expect("16 bytes"));
        for number in 0..TURNED_AWAY_MAX as u64 + 9 {
            turned_away.insert(numbered(number), owner);
        }
        assert_eq!(turned_away.len(), TURNED_AWAY_MAX);
        assert!(!turned_away.contains(&numbered(8)) && turned_away.contains(&numbered(9)));
    }
}
