//! The last phase: everybody is healed and agrees, and people write a little more. What the mesh sends now is what it
//! costs in health (R4).

use serde::{Deserialize, Serialize};

use crate::scenario::simulated::phases::Agreed;
use crate::scenario::simulated::stage::Stage;
use crate::sim::checks::r4_traffic::{self, Spread};

/// A mesh is at rest when no entry came to anybody for so long: what lies beyond a gap is held back for 15 s.
const REST_MS: u64 = 20_000;
/// The same where links are metered: who is linked with whom is told over each of them every 30 s only, and until all
/// know it two nodes may push the same entry to a third.
const REST_METERED_MS: u64 = 120_000;
/// Time until it is at rest, at most.
const REST_MS_MAX: u64 = 300_000;
/// Time for what is still under way to arrive.
const LULL_MS: u64 = 5_000;
/// Alerts that are written.
const WRITES: usize = 24;
/// Time between two of them.
const PAUSE_MS: u64 = 250;
/// Time for all to hold what was written, at least.
const SETTLE_MS_MIN: u64 = 30_000;
/// Time until metered links are idle: what they tell is collected for half of this.
const HUSH_MS: u64 = 60_000;
/// Time for which idle metered links are watched: four times what a node takes between two beacons over them.
const IDLE_MS: u64 = 120_000;

/// What a healthy mesh sends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// While people write.
    pub spread: Spread,
    /// Bits a second on the busiest metered link while nobody does; `None` without such links.
    pub idle_metered_bits: Option<f64>,
}

impl Stage {
    /// Measures what the mesh sends, or says why that would show nothing.
    ///
    /// # Errors
    /// The run cannot be judged; the text says why.
    pub(super) fn calm(&mut self, agreed: &Agreed) -> Result<Traffic, &'static str> {
        if agreed.all_took.is_none() {
            return Err("the mesh did not come together");
        }
        let everybody: Vec<usize> = (0..self.names.len()).filter(|node| self.members[*node]).collect();
        if everybody.iter().any(|node| self.is_hostile(*node)) || !self.world.hostile_logs().is_empty() {
            return Err("a member was hostile");
        }
        let writers: Vec<usize> = everybody.iter().copied().filter(|node| self.can_write(*node)).collect();
        if writers.is_empty() || everybody.len() < 2 {
            return Err("nobody writes to anybody");
        }
        if !self.comes_to_rest() {
            let what = format!("entries still travel {} s after everybody agreed (R4)", REST_MS_MAX / 1_000);
            self.world.violation(what);
            return Err("the mesh did not come to rest");
        }
        let before = self.world.tally.clone();
        for writer in writers.iter().cycle().take(WRITES) {
            self.write(*writer);
            self.play_for(PAUSE_MS);
        }
        let (began, settle) = (self.world.now_ms(), self.scenario.settle.ms().max(SETTLE_MS_MIN));
        if self.wait(&everybody, began, settle, "everybody, healthy,").is_none() {
            return Err("the mesh did not come together again");
        }
        self.play_for(LULL_MS);
        if self.world.tally.unasked > before.unasked {
            return Err("entries lie beyond a gap that nobody can fill, and were given to all");
        }
        let found = r4_traffic::check(&before, &self.world.tally);
        let spread = r4_traffic::spread(&before, &self.world.tally).ok_or("too little was delivered")?;
        found.into_iter().for_each(|what| self.world.violation(what));
        let idle_metered_bits = self.idle();
        Ok(Traffic { spread, idle_metered_bits })
    }

    /// Waits until no entries travel any more.
    fn comes_to_rest(&mut self) -> bool {
        let began = self.world.now_ms();
        let is_metered = !r4_traffic::metered(&self.world).is_empty();
        let rest = if is_metered { REST_METERED_MS } else { REST_MS };
        let (mut copies, mut since) = (self.world.tally.copies, began);
        while self.world.now_ms() - since < rest {
            self.play_for(1_000);
            if self.world.tally.copies != copies {
                (copies, since) = (self.world.tally.copies, self.world.now_ms());
            }
            if self.world.now_ms() - began > REST_MS_MAX {
                return false;
            }
        }
        true
    }

    /// Watches metered links while nobody writes.
    fn idle(&mut self) -> Option<f64> {
        if r4_traffic::metered(&self.world).is_empty() {
            return None;
        }
        self.play_for(HUSH_MS);
        let before = r4_traffic::metered(&self.world);
        self.play_for(IDLE_MS);
        let (most, found) = r4_traffic::check_idle(&self.world, &before, IDLE_MS as f64 / 1_000.0);
        found.into_iter().for_each(|what| self.world.violation(what));
        most
    }

    fn play_for(&mut self, ms: u64) {
        self.play_until(self.world.now_ms() + ms);
    }
}
