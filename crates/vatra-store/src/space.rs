//! The key spaces of a store: what kind of row lives where. Keys are big-endian, so that a range is in order.

use std::fmt;

/// One ordered key space of an engine. The numbers and names are part of the disk format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Space {
    /// Entries by (log, seq).
    Entries = 1,
    /// What is known of a log, by log.
    Logs = 2,
    /// Entries past a fork, by (log, seq, hash).
    Strays = 3,
    /// Where a record was created and last changed, by record.
    Ids = 4,
    /// Positions of a record's later changes, by (record, position).
    History = 5,
    /// Edited records, by record.
    Documents = 6,
    /// Which change was stored at which position, by position.
    Stream = 7,
    /// Small auxiliary rows of the caller, such as idempotency keys.
    Index = 8,
    /// Single values of the store as a whole, by name.
    Meta = 9,
    /// What the nodes of one site agreed on.
    Site = 10,
    /// Id rows of the latest commits that are not yet in [`Space::Ids`], by a running number.
    Recent = 11,
}

impl Space {
    /// How many spaces there are.
    pub const COUNT: usize = 11;

    /// Every space, in the order of its number.
    pub const ALL: [Space; Space::COUNT] = [
        Space::Entries,
        Space::Logs,
        Space::Strays,
        Space::Ids,
        Space::History,
        Space::Documents,
        Space::Stream,
        Space::Index,
        Space::Meta,
        Space::Site,
        Space::Recent,
    ];

    /// The name of the space on disk and in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Space::Entries => "entries",
            Space::Logs => "logs",
            Space::Strays => "strays",
            Space::Ids => "ids",
            Space::History => "history",
            Space::Documents => "documents",
            Space::Stream => "stream",
            Space::Index => "index",
            Space::Meta => "meta",
            Space::Site => "site",
            Space::Recent => "recent",
        }
    }

    /// The place of the space in [`Space::ALL`].
    #[must_use]
    pub(crate) const fn slot(self) -> usize {
        self as usize - 1
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_follow_the_list() {
        for (slot, space) in Space::ALL.into_iter().enumerate() {
            assert_eq!(space.slot(), slot);
        }
    }
}
