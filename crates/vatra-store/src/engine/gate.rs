//! The gate in front of an engine's commits: shut after a failed one, tried again at most once per second.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use vatra_model::WallMs;

use crate::engine::{Health, ReadOnlyReason};

/// How long commits are refused after a failed one before the next is tried.
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Open, or shut with a reason.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    shut: Mutex<Option<Shut>>,
}

#[derive(Clone, Copy, Debug)]
struct Shut {
    reason: ReadOnlyReason,
    since: WallMs,
    next_probe: Instant,
}

impl Gate {
    /// Whether a commit may be tried now.
    pub(crate) fn admit(&self) -> Result<(), ReadOnlyReason> {
        match *self.lock() {
            Some(shut) if shut.reason == ReadOnlyReason::Damaged || Instant::now() < shut.next_probe => {
                Err(shut.reason)
            }
            _ => Ok(()),
        }
    }

    /// Shuts the gate after a failed commit, or keeps it shut. Says whether it was open before.
    pub(crate) fn shut(&self, reason: ReadOnlyReason) -> bool {
        let mut shut = self.lock();
        let was_open = shut.is_none();
        let since = shut.map_or_else(wall_now, |shut| shut.since);
        *shut = Some(Shut { reason, since, next_probe: Instant::now() + PROBE_INTERVAL });
        was_open
    }

    /// Opens the gate after a commit. Says whether it was shut before.
    pub(crate) fn open(&self) -> bool {
        self.lock().take().is_some()
    }

    /// Lets the next commit be tried at once.
    #[cfg(test)]
    pub(crate) fn probe_now(&self) {
        if let Some(shut) = self.lock().as_mut() {
            shut.next_probe = Instant::now();
        }
    }

    /// What to tell operators.
    pub(crate) fn health(&self) -> Health {
        match *self.lock() {
            None => Health::Writable,
            Some(Shut { reason, since, .. }) => Health::ReadOnly { reason, since },
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Shut>> {
        // Nothing panics while the lock is held, and the state is a plain value.
        self.shut.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wall_now() -> WallMs {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallMs(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shut_gate_refuses_until_the_probe_is_due_and_damage_for_ever() {
        let gate = Gate::default();
        assert_eq!(gate.admit(), Ok(()));
        assert!(gate.shut(ReadOnlyReason::Full));
        assert!(!gate.shut(ReadOnlyReason::Io));
        assert_eq!(gate.admit(), Err(ReadOnlyReason::Io));
        gate.probe_now();
        assert_eq!(gate.admit(), Ok(()));
        assert!(gate.open());
        assert_eq!(gate.health(), Health::Writable);
        gate.shut(ReadOnlyReason::Damaged);
        gate.probe_now();
        assert_eq!(gate.admit(), Err(ReadOnlyReason::Damaged));
    }
}
