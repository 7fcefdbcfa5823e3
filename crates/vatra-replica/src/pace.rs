//! How fast entries of each member come in: what an estimate of the rest of a catch-up rests on.

use std::collections::BTreeMap;

use vatra_model::{MemberCode, MonoMs};

/// Length of one of the two windows over which entries are counted, in milliseconds.
const WINDOW_MS: u64 = 5_000;

/// Entries that became durable here, per member that wrote them. Members are few: the charter bounds them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paces(BTreeMap<MemberCode, Pace>);

/// Counts of the present window and of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    began: MonoMs,
    present: u64,
    before: u64,
}

impl Paces {
    /// So many entries of a member became durable.
    pub(crate) fn note(&mut self, now: MonoMs, member: MemberCode, entries: u64) {
        let pace = self.0.entry(member).or_insert(Pace { began: now, present: 0, before: 0 });
        *pace = pace.at(now);
        pace.present = pace.present.saturating_add(entries);
    }

    /// Milliseconds until so many more have come at the pace of the last seconds; `None` if nothing came lately.
    pub(crate) fn eta_ms(&self, now: MonoMs, member: &MemberCode, missing: u64) -> Option<u64> {
        let pace = self.0.get(member)?.at(now);
        let counted = pace.present.saturating_add(pace.before);
        let over_ms = now.since(pace.began) + if pace.before > 0 { WINDOW_MS } else { 0 };
        // Half a second at least: one batch right at the start tells little.
        missing.saturating_mul(over_ms.max(WINDOW_MS / 10)).checked_div(counted)
    }

    /// Forgets members that the charter no longer names.
    pub(crate) fn retain(&mut self, named: impl Fn(&MemberCode) -> bool) {
        self.0.retain(|member, _| named(member));
    }
}

impl Pace {
    /// The counts as they stand at a time.
    fn at(self, now: MonoMs) -> Pace {
        match now.since(self.began) {
            age if age < WINDOW_MS => self,
            age if age < 2 * WINDOW_MS => Pace { began: self.began.plus(WINDOW_MS), present: 0, before: self.present },
            _ => Pace { began: now, present: 0, before: 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_follows_the_last_seconds() {
        let member: MemberCode = "UA".parse().expect("a code");
        let mut paces = Paces::default();
        assert_eq!(paces.eta_ms(MonoMs(0), &member, 10), None, "nothing came yet");
        for second in 0..4 {
            paces.note(MonoMs(second * 1_000), member, 100);
        }
        assert_eq!(paces.eta_ms(MonoMs(4_000), &member, 1_000), Some(10_000), "a hundred a second");
        // The next window counts ten a second; the one before still counts with it.
        for second in 5..9 {
            paces.note(MonoMs(second * 1_000), member, 10);
        }
        assert_eq!(paces.eta_ms(MonoMs(9_000), &member, 440), Some(9_000));
        assert_eq!(paces.eta_ms(MonoMs(30_000), &member, 440), None, "it stands still");
        paces.retain(|_| false);
        assert_eq!(paces.eta_ms(MonoMs(9_000), &member, 440), None);
    }
}
