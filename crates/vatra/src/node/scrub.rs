//! Looking through the whole store now and then for rows that the disk no longer gives back as they were written.
//!
//! Damage that nobody reads would be found when the last whole copy elsewhere is gone. The first look begins at the
//! start. What is found is counted in the status, and the driver has damaged entries fetched again.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use vatra_store::{PageLimits, Reader, Space};

/// Rows and bytes that are looked at in one go.
const PORTION: PageLimits = PageLimits { rows_max: 2048, bytes_max: 2 << 20 };
/// After each portion it rests so many times as long as that took, so that it takes a fifth of one processor.
const REST_TIMES: u32 = 4;
/// Time between the ends of one look through the store and the begin of the next.
const EVERY: Duration = Duration::from_secs(6 * 3600);
/// Time from the start to the first look.
const FIRST_AFTER: Duration = Duration::from_secs(2);

/// Tells the thread that looks to end.
#[derive(Debug, Default)]
pub(crate) struct Scrub {
    is_closed: Mutex<bool>,
    closed: Condvar,
}

impl Scrub {
    /// Looks until closed.
    pub(crate) fn run(&self, reader: &Reader) {
        // The first rounds after a start need the disk more.
        self.rest(FIRST_AFTER);
        while !self.is_closed() {
            let started = Instant::now();
            let Some((rows, damaged)) = self.pass(reader) else { return };
            tracing::debug!(rows, damaged, took = ?started.elapsed(), "looked through the store");
            self.rest(EVERY);
        }
    }

    /// Looks through all spaces; how many rows there were, and damaged ones among them. `None` if it was closed.
    fn pass(&self, reader: &Reader) -> Option<(u64, u64)> {
        let (mut rows, mut damaged) = (0, 0);
        for space in Space::ALL {
            let mut after: Option<Vec<u8>> = None;
            loop {
                let started = Instant::now();
                let seen = match reader.scrub(space, after.as_deref(), PORTION) {
                    Ok(seen) => seen,
                    Err(error) => {
                        // Reading there again at once would only close and open the store again.
                        tracing::error!(%space, %error, "a part of the store cannot be read");
                        break;
                    }
                };
                rows += seen.rows;
                damaged += seen.damaged;
                if !seen.is_cut {
                    break;
                }
                after = seen.last;
                if self.rest(started.elapsed() * REST_TIMES) {
                    return None;
                }
            }
        }
        Some((rows, damaged))
    }

    /// Waits; `true` if it was closed meanwhile.
    fn rest(&self, time: Duration) -> bool {
        let closed = self.is_closed.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.closed.wait_timeout_while(closed, time, |is_closed| !*is_closed);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn is_closed(&self) -> bool {
        *self.is_closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the look under way and all further ones.
    pub(crate) fn close(&self) {
        *self.is_closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.closed.notify_all();
    }
}
