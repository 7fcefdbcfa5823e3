//! Lanes: the streams of a link, one for each urgency.

use std::fmt;

use vatra_model::Class;

/// A stream of a link. Each lane is its own QUIC stream, so a full one never delays another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Lane {
    /// Hellos, frontiers, beacons, digests of what is held and wanted.
    Control = 0,
    /// Entries of class `flash`.
    Flash = 1,
    /// Entries of class `priority`.
    Priority = 2,
    /// Entries of class `routine`.
    Routine = 3,
    /// Entries of class `bulk`, and catch-up.
    Bulk = 4,
}

impl Lane {
    /// Number of lanes of a link.
    pub const COUNT: usize = 5;

    /// All lanes, in the order of their numbers.
    pub const ALL: [Lane; Lane::COUNT] = [Lane::Control, Lane::Flash, Lane::Priority, Lane::Routine, Lane::Bulk];

    /// Place of the lane in [`Lane::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The lane as people write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Lane::Control => "control",
            Lane::Flash => "flash",
            Lane::Priority => "priority",
            Lane::Routine => "routine",
            Lane::Bulk => "bulk",
        }
    }
}

impl From<Class> for Lane {
    fn from(class: Class) -> Lane {
        match class {
            Class::Flash => Lane::Flash,
            Class::Priority => Lane::Priority,
            Class::Routine => Lane::Routine,
            Class::Bulk => Lane::Bulk,
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A stream of a link as its hello names it: a lane, or the heartbeat, which callers never see.
///
/// The heartbeat has a stream of its own because a caller that reads slowly must stall its lanes, not
/// make the link look dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Channel {
    Lane(Lane),
    Heartbeat,
}

impl Channel {
    pub(crate) const COUNT: usize = Lane::COUNT + 1;

    pub(crate) const ALL: [Channel; Channel::COUNT] = [
        Channel::Lane(Lane::Control),
        Channel::Lane(Lane::Flash),
        Channel::Lane(Lane::Priority),
        Channel::Lane(Lane::Routine),
        Channel::Lane(Lane::Bulk),
        Channel::Heartbeat,
    ];

    pub(crate) fn number(self) -> u8 {
        match self {
            Channel::Lane(lane) => lane as u8,
            Channel::Heartbeat => Lane::COUNT as u8,
        }
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.number())
    }

    pub(crate) fn from_number(number: u8) -> Option<Channel> {
        Channel::ALL.get(usize::from(number)).copied()
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Channel::Lane(lane) => lane.fmt(f),
            Channel::Heartbeat => f.pad("heartbeat"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_name_each_channel_once() {
        for (index, channel) in Channel::ALL.into_iter().enumerate() {
            assert_eq!(channel.index(), index);
            assert_eq!(Channel::from_number(channel.number()), Some(channel));
        }
        assert_eq!(Channel::from_number(6), None);
        for (index, lane) in Lane::ALL.into_iter().enumerate() {
            assert_eq!(lane.index(), index);
        }
    }

    #[test]
    fn each_class_has_its_lane() {
        assert_eq!(Class::ALL.map(Lane::from), [Lane::Flash, Lane::Priority, Lane::Routine, Lane::Bulk]);
    }
}
