//! Time as the caller tells it: wall clock, monotonic clock and hybrid logical clock.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// Unix milliseconds, UTC. Serialises as RFC 3339 with three fraction digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, bincode::Encode, bincode::Decode)]
pub struct WallMs(pub u64);

/// Milliseconds of a clock that never goes back, from an arbitrary start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, bincode::Encode, bincode::Decode)]
pub struct MonoMs(pub u64);

impl MonoMs {
    /// This moment plus a number of milliseconds.
    #[must_use]
    pub fn plus(self, ms: u64) -> MonoMs {
        MonoMs(self.0.saturating_add(ms))
    }

    /// Milliseconds since an earlier moment, 0 if that is later.
    #[must_use]
    pub fn since(self, earlier: MonoMs) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Largest wall time that prints as RFC 3339: the end of the year 9999.
pub const WALL_MS_MAX: u64 = 253_402_300_799_999;

impl WallMs {
    /// Parses RFC 3339; times before 1970 and after 9999 are refused.
    #[must_use]
    pub fn parse(text: &str) -> Option<WallMs> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        let ms = u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()?;
        (ms <= WALL_MS_MAX).then_some(WallMs(ms))
    }
}

impl fmt::Display for WallMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.min(WALL_MS_MAX);
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).map_err(|_| fmt::Error)?;
        let text = at
            .format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"))
            .map_err(|_| fmt::Error)?;
        f.pad(&text)
    }
}

impl Serialize for WallMs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WallMs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        WallMs::parse(&text)
            .ok_or_else(|| de::Error::custom(format!("a time is RFC 3339 from 1970 to 9999, not {text:?}")))
    }
}

/// Hybrid logical clock stamp: 48 bits of wall milliseconds, 16 bits of counter
/// (Kulkarni et al., "Logical Physical Clocks", 2014).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, bincode::Encode, bincode::Decode)]
pub struct Hlc(pub u64);

/// How far past local time a foreign stamp may push the local clock, in milliseconds.
pub const HLC_AHEAD_MS_MAX: u64 = 60_000;

impl Hlc {
    /// The stamp with this time and counter.
    #[must_use]
    pub fn new(wall: WallMs, counter: u16) -> Hlc {
        Hlc((wall.0 << 16) | u64::from(counter))
    }

    /// Wall milliseconds of the stamp.
    #[must_use]
    pub fn wall(self) -> WallMs {
        WallMs(self.0 >> 16)
    }

    /// Counter of the stamp.
    #[must_use]
    pub fn counter(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// The next local stamp: later than `self` and not before `now`.
    #[must_use]
    pub fn tick(self, now: WallMs) -> Hlc {
        Hlc::new(now, 0).max(Hlc(self.0.saturating_add(1)))
    }

    /// The local clock after seeing a foreign stamp, which moves it at most [`HLC_AHEAD_MS_MAX`] past `now`.
    #[must_use]
    pub fn observe(self, foreign: Hlc, now: WallMs) -> Hlc {
        let bound = Hlc::new(WallMs(now.0.saturating_add(HLC_AHEAD_MS_MAX)), 0);
        self.max(foreign.min(bound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_survives_text() {
        let at = WallMs(1_764_000_000_123);
        assert_eq!(at.to_string(), "2025-11-24T16:00:00.123Z");
        assert_eq!(WallMs::parse("2025-11-24T18:00:00.123+02:00"), Some(at));
        assert_eq!(WallMs::parse("1969-12-31T23:59:59Z"), None);
        assert_eq!(WallMs::parse("yesterday"), None);
    }

    #[test]
    fn a_poisoned_stamp_moves_the_clock_by_a_minute_at_most() {
        let now = WallMs(1_000_000);
        let poisoned = Hlc::new(now, 0).observe(Hlc(u64::MAX), now);
        assert_eq!(poisoned, Hlc::new(WallMs(1_060_000), 0));
        assert!(poisoned.tick(now) > poisoned);
    }
}
