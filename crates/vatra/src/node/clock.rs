//! The clocks of this process, as the core wants them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use vatra_model::{MonoMs, WallMs};
use vatra_replica::Now;

/// Reads both clocks; monotonic time counts from when the clock was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        Now { mono: self.mono(Instant::now()), wall: wall() }
    }

    /// A moment as the core counts.
    pub(crate) fn mono(&self, at: Instant) -> MonoMs {
        let ms = at.saturating_duration_since(self.start).as_millis();
        MonoMs(u64::try_from(ms).unwrap_or(u64::MAX))
    }

    /// The moment that the core calls this.
    pub(crate) fn instant(&self, at: MonoMs) -> Instant {
        // A deadline further off than a day is as good as a day: the core is asked again then.
        let day = Duration::from_secs(86_400);
        let now = Instant::now();
        self.start.checked_add(Duration::from_millis(at.0)).map_or(now + day, |instant| instant.min(now + day))
    }

    /// The wall time of a moment of the core's.
    pub(crate) fn wall_of(&self, at: MonoMs) -> WallMs {
        let now = self.now();
        WallMs((now.wall.0 + at.0).saturating_sub(now.mono.0))
    }
}

/// The wall clock; a time before 1970 reads as 1970.
pub(crate) fn wall() -> WallMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
