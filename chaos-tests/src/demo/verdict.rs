//! What the demo found, in a few plain lines.

use std::time::Duration;

use super::{seconds, shortened};

/// The measured times of one demo in which everything was as promised.
pub(super) struct Verdict {
    /// From the cut until UA showed no link.
    pub(super) noticed_by_ua: Duration,
    /// From the cut until LT and PL showed UA as gone.
    pub(super) noticed_by_others: Duration,
    /// Alerts that each member wrote while UA was cut off.
    pub(super) apart: [usize; 3],
    /// The slowest acknowledgement in that time.
    pub(super) slowest_publish: Duration,
    /// From the heal until UA's links were up.
    pub(super) reconnected: Duration,
    /// From the heal until all digests were equal.
    pub(super) converged: Duration,
    /// Bytes that all links sent from the heal until then.
    pub(super) wire_bytes: u64,
    /// Alerts times nodes that lacked them at the heal.
    pub(super) missing: u64,
    /// Alerts that every node holds.
    pub(super) alerts: u64,
    /// The digest that every node shows.
    pub(super) digest: String,
}

impl Verdict {
    pub(super) fn print(&self) {
        let [ua, lt, pl] = self.apart;
        let per_missing = self.wire_bytes / self.missing.max(1);
        println!("\nVerdict: as promised. UA was cut off, nobody had to wait, nothing was lost, all three agree.\n");
        for (what, figure) in [
            ("cut noticed by UA", seconds(self.noticed_by_ua)),
            ("cut noticed by LT and PL", seconds(self.noticed_by_others)),
            ("alerts written while cut off", format!("UA {ua}, LT {lt}, PL {pl}")),
            ("slowest acknowledgement meanwhile", seconds(self.slowest_publish)),
            ("reconnected after the heal", seconds(self.reconnected)),
            ("all digests equal after the heal", seconds(self.converged)),
            ("bytes on the wire per missing alert", format!("{per_missing} ({} copies were missing)", self.missing)),
            ("alerts at every node", self.alerts.to_string()),
            ("digest at every node", format!("{}…", shortened(&self.digest))),
        ] {
            println!("  {what:<37} {figure}");
        }
    }
}
