//! The node's own counters, served at `/metrics`.

use std::collections::BTreeMap;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use vatra_model::MemberCode;
use vatra_replica::Reject;

use crate::node::quarantine;

/// Why something was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    reason: &'static str,
}

/// Whose something is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfMember {
    member: String,
}

/// What became of an entry of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Outcome {
    outcome: &'static str,
}

/// All counters of the node; the API and the mesh have their own.
pub(crate) struct Metrics {
    /// Frames, messages and entries of peers that were refused, by reason.
    pub(crate) rejects: Family<Reason, Counter>,
    /// Entries pushed to peers, counted once per peer.
    pub(crate) pushed: Counter,
    /// Entries sent as answers to requests.
    pub(crate) served: Counter,
    /// Pushes that found a link's queue full and were left to catch-up.
    pub(crate) shed: Counter,
    /// Pushed entries that exceeded their origin's rate and were left to catch-up.
    pub(crate) throttled: Counter,
    /// Frames that took longer to check than their entries may.
    pub(crate) slow_frames: Counter,
    /// Entries that took longer to work out than one may.
    pub(crate) slow_entries: Counter,
    /// Changes that have no effect, by reason.
    pub(crate) quarantined: Family<Reason, Counter>,
    /// Changes of each member that have no effect, those of before this start too.
    pub(crate) quarantine: Family<OfMember, Gauge>,
    /// Changes that wait for their record's repair.
    pub(crate) put_off: Counter,
    /// Changes of a newer version than this node.
    pub(crate) newer: Counter,
    /// Entries stored.
    pub(crate) stored: Counter,
    /// Durable commits.
    pub(crate) commits: Counter,
    /// Commits that failed.
    pub(crate) commits_failed: Counter,
    /// Seconds that a durable commit took.
    pub(crate) commit_seconds: Histogram,
    /// Items that wait for the driver.
    pub(crate) waiting: Gauge,
    /// Logs that peers hold and this node does not take.
    pub(crate) turned_away: Gauge,
    /// 1 while the store takes writes.
    pub(crate) writable: Gauge,
    /// Forks that were proved, or found to begin at a lower place.
    pub(crate) forks: Counter,
    /// Control messages that were too large to be sent; any is a fault.
    pub(crate) unsent: Counter,
    /// Entries that were not looked into for a fork, as enough others waited.
    pub(crate) doubts_dropped: Counter,
    /// Entries that were found damaged in the store.
    pub(crate) damaged: Counter,
    /// Damaged entries that were fetched again and put back.
    pub(crate) mended: Counter,
    /// Events told again because readers went past them while they could not be read.
    pub(crate) told_again: Counter,
    /// Changes that a revocation took back after readers were told of them.
    pub(crate) retracted: Counter,
    /// Events that readers went past and that were too many to be noted.
    pub(crate) unnoted: Counter,
    /// Panics caught; any is a fault.
    pub(crate) panics: Counter,
    /// Bundles that were written.
    pub(crate) bundles_exported: Counter,
    /// Bundles that were taken in.
    pub(crate) bundles_imported: Counter,
    /// Bundles that were refused as a whole.
    pub(crate) bundles_refused: Counter,
    /// Entries of bundles, by what became of them.
    pub(crate) bundle_entries: Family<Outcome, Counter>,
}

impl Metrics {
    /// Makes the counters and names them in a registry.
    pub(crate) fn register(registry: &mut Registry) -> Metrics {
        let metrics = Metrics {
            rejects: Family::default(),
            pushed: Counter::default(),
            served: Counter::default(),
            shed: Counter::default(),
            throttled: Counter::default(),
            slow_frames: Counter::default(),
            slow_entries: Counter::default(),
            quarantined: Family::default(),
            quarantine: Family::default(),
            put_off: Counter::default(),
            newer: Counter::default(),
            stored: Counter::default(),
            commits: Counter::default(),
            commits_failed: Counter::default(),
            commit_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
            waiting: Gauge::default(),
            turned_away: Gauge::default(),
            writable: Gauge::default(),
            forks: Counter::default(),
            unsent: Counter::default(),
            doubts_dropped: Counter::default(),
            damaged: Counter::default(),
            mended: Counter::default(),
            told_again: Counter::default(),
            retracted: Counter::default(),
            unnoted: Counter::default(),
            panics: Counter::default(),
            bundles_exported: Counter::default(),
            bundles_imported: Counter::default(),
            bundles_refused: Counter::default(),
            bundle_entries: Family::default(),
        };
        metrics.writable.set(1);
        metrics.name_labels();
        registry.register("vatra_rejects", "What peers sent and was refused, by reason", metrics.rejects.clone());
        registry.register("vatra_entries_pushed", "Entries pushed, per peer", metrics.pushed.clone());
        registry.register("vatra_entries_served", "Entries sent as answers", metrics.served.clone());
        registry.register("vatra_frames_slow", "Frames that took long to check", metrics.slow_frames.clone());
        registry.register("vatra_entries_slow", "Entries that took long to apply", metrics.slow_entries.clone());
        registry.register("vatra_pushes_shed", "Pushes left to catch-up", metrics.shed.clone());
        registry.register("vatra_pushes_throttled", "Pushes past an origin's rate", metrics.throttled.clone());
        registry.register(
            "vatra_changes_quarantined",
            "Changes without effect, by reason",
            metrics.quarantined.clone(),
        );
        registry.register("vatra_quarantine", "Changes held without effect, by member", metrics.quarantine.clone());
        registry.register("vatra_changes_put_off", "Changes that wait for a repair", metrics.put_off.clone());
        registry.register("vatra_forks", "Forks that were proved", metrics.forks.clone());
        registry.register("vatra_messages_unsent", "Control messages that were too large", metrics.unsent.clone());
        registry.register(
            "vatra_doubts_dropped",
            "Entries not looked into for a fork, as others waited",
            metrics.doubts_dropped.clone(),
        );
        registry.register("vatra_changes_newer", "Changes of a newer version", metrics.newer.clone());
        registry.register("vatra_entries_stored", "Entries stored", metrics.stored.clone());
        registry.register("vatra_commits", "Durable commits", metrics.commits.clone());
        registry.register("vatra_commits_failed", "Commits that failed", metrics.commits_failed.clone());
        registry.register("vatra_commit_seconds", "Duration of durable commits", metrics.commit_seconds.clone());
        registry.register("vatra_driver_waiting", "Items waiting for the driver", metrics.waiting.clone());
        registry.register(
            "vatra_logs_turned_away",
            "Logs of peers that are not taken here",
            metrics.turned_away.clone(),
        );
        registry.register("vatra_store_writable", "1 while the store takes writes", metrics.writable.clone());
        registry.register("vatra_entries_damaged", "Entries found damaged in the store", metrics.damaged.clone());
        registry.register("vatra_entries_mended", "Damaged entries that were put back", metrics.mended.clone());
        registry.register("vatra_events_told_again", "Events told again after a repair", metrics.told_again.clone());
        registry.register("vatra_changes_retracted", "Changes taken back by revocations", metrics.retracted.clone());
        registry.register("vatra_events_unnoted", "Events gone past and not to be told again", metrics.unnoted.clone());
        registry.register("vatra_panics", "Panics caught", metrics.panics.clone());
        registry.register("vatra_bundles_exported", "Bundles written", metrics.bundles_exported.clone());
        registry.register("vatra_bundles_imported", "Bundles taken in", metrics.bundles_imported.clone());
        registry.register("vatra_bundles_refused", "Bundles refused as a whole", metrics.bundles_refused.clone());
        registry.register("vatra_bundle_entries", "Entries of bundles by outcome", metrics.bundle_entries.clone());
        metrics
    }

    /// What is counted by a label of a fixed set is there from the start, with 0: a rise from nothing is no rise to
    /// whoever reads the numbers.
    fn name_labels(&self) {
        for reason in REJECT_REASONS {
            self.rejects.get_or_create(&Reason { reason }).inc_by(0);
        }
        for reason in quarantine::Reason::ALL {
            self.quarantined.get_or_create(&Reason { reason: reason.name() }).inc_by(0);
        }
        self.count_bundle_entries(0, 0, 0);
    }

    /// Shows how many changes of each member have no effect.
    pub(crate) fn show_quarantine(&self, by_member: BTreeMap<MemberCode, u64>) {
        for (member, count) in by_member {
            let label = OfMember { member: member.to_string() };
            self.quarantine.get_or_create(&label).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Counts a change without effect.
    pub(crate) fn quarantined(&self, reason: quarantine::Reason) {
        self.quarantined.get_or_create(&Reason { reason: reason.name() }).inc();
    }

    /// Counts entries of an imported bundle.
    pub(crate) fn count_bundle_entries(&self, new: u64, held: u64, refused: u64) {
        for (outcome, count) in [("new", new), ("held", held), ("refused", refused)] {
            self.bundle_entries.get_or_create(&Outcome { outcome }).inc_by(count);
        }
    }

    /// Counts a refusal by its kind.
    pub(crate) fn rejected(&self, reject: &Reject) {
        let reason = reason_of(reject);
        debug_assert!(REJECT_REASONS.contains(&reason), "{reason} is missing in the list");
        self.rejects.get_or_create(&Reason { reason }).inc();
    }

    /// Refusals so far, by reason.
    pub(crate) fn refusals(&self) -> Vec<(&'static str, u64)> {
        let count = |reason| self.rejects.get(&Reason { reason }).map_or(0, |count| count.get());
        REJECT_REASONS.map(|reason| (reason, count(reason))).to_vec()
    }
}

/// All that [`reason_of`] says.
const REJECT_REASONS: [&str; 12] = [
    "version",
    "other_federation",
    "not_admitted",
    "malformed",
    "undescribed_log",
    "bad_entry",
    "foreign_log",
    "not_entitled",
    "fork_proof",
    "full",
    "charter",
    "unexpected",
];

/// The kind of a refusal, as metrics and answers name it.
pub(crate) fn reason_of(reject: &Reject) -> &'static str {
    match reject {
        Reject::Version { .. } => "version",
        Reject::OtherFederation => "other_federation",
        Reject::Admit(_) => "not_admitted",
        Reject::Malformed { .. } => "malformed",
        Reject::UndescribedLog(_) => "undescribed_log",
        Reject::Entry { .. } => "bad_entry",
        Reject::ForeignLog(_) => "foreign_log",
        Reject::NotEntitled { .. } => "not_entitled",
        Reject::Fork { .. } => "fork_proof",
        Reject::Full { .. } => "full",
        Reject::Charter(_) => "charter",
        Reject::Unexpected(_) => "unexpected",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Others are registered by the mesh and by the API.
    const OF_OTHERS: [&str; 2] = ["vatra_mesh_", "vatra_api_"];

    #[test]
    fn labels_of_a_fixed_set_are_there_from_the_start() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.rejected(&Reject::OtherFederation);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a text takes everything");
        for line in [
            r#"vatra_rejects_total{reason="other_federation"} 1"#,
            r#"vatra_rejects_total{reason="full"} 0"#,
            r#"vatra_changes_quarantined_total{reason="panicked"} 0"#,
            r#"vatra_bundle_entries_total{outcome="refused"} 0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        let counted: Vec<_> = metrics.refusals().into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("other_federation", 1)]);
    }

    #[test]
    fn what_the_operations_manual_names_is_there() {
        let manual = include_str!("../../../../docs/operations.md");
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        // Which members there are is not known from the start.
        metrics.show_quarantine([("UA".parse().expect("a code"), 1)].into());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a text takes everything");
        let rows = manual.lines().filter(|line| line.starts_with("| `vatra_"));
        let names = rows.flat_map(|row| row.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2));
        let ours: Vec<&str> = names.filter(|name| OF_OTHERS.iter().all(|other| !name.starts_with(other))).collect();
        assert!(ours.len() > 20, "{ours:?}");
        for name in ours {
            let name = name.split('{').next().unwrap_or_default().trim_end_matches("_total");
            assert!(text.contains(&format!("# TYPE {name} ")), "{name} is in the manual and not in the program");
        }
    }
}
