//! Room for logs: how many there may be of a node, of a member and in all, and which of them count.

use std::collections::BTreeMap;

use vatra_model::charter::MemberRole;
use vatra_model::limits::{LOGS_MAX, MEMBER_LOGS_MAX, MEMBER_LOGS_SHARE, MEMBERS_MAX, NODE_LOGS_MAX};
use vatra_model::{Head, MemberCode, NodeKey};

use super::{LogState, Logs};
use crate::input::Reject;
use crate::trust::CheckedLog;

/// Logs that only this node's own lives may take.
const OWN_LOGS_RESERVED: usize = 64;
/// Logs beyond the members' shares, of all of them together.
pub(super) const LOGS_SHARED: usize = LOGS_MAX - OWN_LOGS_RESERVED - MEMBERS_MAX * MEMBER_LOGS_SHARE;

impl LogState {
    /// Whether nothing may be of the log, as the charter now tells: it takes nobody's room.
    fn is_void(&self) -> bool {
        self.checked.role == MemberRole::Observer || self.is_void_for_good()
    }

    /// Whether a revocation leaves nothing of the log. An end only goes down, so no charter makes it one again.
    fn is_void_for_good(&self) -> bool {
        self.ended.is_some_and(|ended| ended.end.place() == 0)
    }
}

impl Logs {
    /// Adds a log if it is new. Others' logs leave room for those of `me`, so that nobody can mute a node by
    /// writing many.
    pub(crate) fn describe(&mut self, checked: CheckedLog, me: (MemberCode, NodeKey)) -> Result<(), Reject> {
        if self.logs.contains_key(&checked.id) {
            return Ok(());
        }
        self.room().check((checked.certificate.member, checked.certificate.key), me)?;
        if self.logs.len() >= LOGS_MAX {
            // They count for nothing, and may not pile up either.
            self.logs.retain(|_, state| !state.is_void_for_good());
        }
        self.touched.insert(checked.id);
        self.logs.insert(checked.id, LogState::new(checked, Head::EMPTY, true));
        Ok(())
    }

    /// How much room the logs take. What nothing may be of takes none: revoking the keys of those who took the room gives
    /// it back.
    pub(crate) fn room(&self) -> Room {
        let mut room = Room::default();
        for log in self.logs.values().filter(|log| !log.is_void()) {
            *room.of_members.entry(log.member()).or_default() += 1;
            *room.of_nodes.entry((log.member(), log.origin())).or_default() += 1;
            room.all += 1;
        }
        room
    }
}

/// How many logs count, of whom.
#[derive(Debug, Default)]
pub(crate) struct Room {
    of_members: BTreeMap<MemberCode, usize>,
    of_nodes: BTreeMap<(MemberCode, NodeKey), usize>,
    all: usize,
}

impl Room {
    /// Whether another log of a node of a member leaves others their room, however many of them are at odds with us.
    pub(crate) fn check(&self, owner: (MemberCode, NodeKey), me: (MemberCode, NodeKey)) -> Result<(), Reject> {
        let limit = if owner == me { LOGS_MAX } else { LOGS_MAX - OWN_LOGS_RESERVED };
        if self.all >= limit {
            return Err(Reject::Full { what: "logs", limit });
        }
        if owner == me {
            return Ok(());
        }
        let of_node = self.of_nodes.get(&owner).copied().unwrap_or(0);
        let of_member = self.of_members.get(&owner.0).copied().unwrap_or(0);
        if of_node >= NODE_LOGS_MAX {
            return Err(Reject::Full { what: "logs of one node", limit: NODE_LOGS_MAX });
        }
        if of_member >= MEMBER_LOGS_MAX {
            return Err(Reject::Full { what: "logs of one member", limit: MEMBER_LOGS_MAX });
        }
        let beyond: usize = self.of_members.values().map(|count| count.saturating_sub(MEMBER_LOGS_SHARE)).sum();
        if of_member >= MEMBER_LOGS_SHARE && beyond >= LOGS_SHARED {
            return Err(Reject::Full { what: "logs beyond the members' shares", limit: LOGS_SHARED });
        }
        Ok(())
    }
}
