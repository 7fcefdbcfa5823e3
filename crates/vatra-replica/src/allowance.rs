//! What one peer may say and ask for in a while. A peer that floods is cut short here and delays only itself:
//! what is refused changes nothing, is counted, and is said again later by the rules for lost announcements.

use vatra_model::MonoMs;
use vatra_model::wire::Message;

use crate::input::Reject;

/// A bucket of tokens that fills at a rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    thousandths: u64,
    at: MonoMs,
}

/// What a bucket holds, and what flows in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    what: &'static str,
    burst: u64,
    per_s_thousandths: u64,
}

/// Beacons and pulses: a whole federation's at once, then those of 60 nodes four times a second.
const BEACONS: Flow = Flow { what: "beacons of a peer", burst: 4_096, per_s_thousandths: 240_000 };
/// Digests of heights; honest peers send ten a second at most.
const HAVES: Flow = Flow { what: "announcements of a peer", burst: 400, per_s_thousandths: 40_000 };
/// Heights in one digest that cost as much as another digest.
const HAVE_HEIGHTS: usize = 256;
/// Frontiers, and requests for ours; honest peers ask every ten seconds at most.
const FRONTIERS: Flow = Flow { what: "frontiers of a peer", burst: 16, per_s_thousandths: 500 };
/// Charters, and requests for ours.
const CHARTERS: Flow = Flow { what: "charters of a peer", burst: 16, per_s_thousandths: 500 };
/// Questions and answers about forks, each of which may cost a look into the store: for many forked logs at once.
const FORKS: Flow = Flow { what: "messages of a peer about forks", burst: 4_096, per_s_thousandths: 200_000 };
/// Requests: one for each log at once, then as quick answers of the smallest budget come on a fast link.
const WANTS: Flow = Flow { what: "requests of a peer", burst: 8_192, per_s_thousandths: 400_000 };
/// After this long what is carried to a new link is full again, in milliseconds.
pub(crate) const REFILL_MS: u64 = 60_000;
const _: () = assert!(refill_ms(CHARTERS) <= REFILL_MS && refill_ms(FORKS) <= REFILL_MS);
/// Bytes that answers to one peer may be worth at once.
const ANSWER_BURST_BYTES: u64 = 256 * 1024 * 1024;
/// Bytes a second that answers to all peers together may be worth; those that ask share them.
const ANSWERS_BYTES_PER_S: u64 = 64 * 1024 * 1024;

/// The buckets of one peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowances {
    beacons: Bucket,
    haves: Bucket,
    frontiers: Bucket,
    charters: Bucket,
    forks: Bucket,
    wants: Bucket,
    answers: Bucket,
    /// When it last asked for entries.
    asked: Option<MonoMs>,
}

impl Default for Allowances {
    fn default() -> Allowances {
        let full = |flow: Flow| Bucket { thousandths: flow.burst.saturating_mul(1000), at: MonoMs(0) };
        Allowances {
            beacons: full(BEACONS),
            haves: full(HAVES),
            frontiers: full(FRONTIERS),
            charters: full(CHARTERS),
            forks: full(FORKS),
            wants: full(WANTS),
            answers: full(answers(1)),
            asked: None,
        }
    }
}

const fn refill_ms(flow: Flow) -> u64 {
    flow.burst * 1_000_000 / flow.per_s_thousandths
}

fn answers(asking: u64) -> Flow {
    let per_s_thousandths = ANSWERS_BYTES_PER_S.saturating_mul(1000) / asking.max(1);
    Flow { what: "answers to a peer", burst: ANSWER_BURST_BYTES, per_s_thousandths }
}

impl Bucket {
    fn take(&mut self, now: MonoMs, flow: Flow, tokens: u64) -> Result<(), Reject> {
        let flown = now.since(self.at).saturating_mul(flow.per_s_thousandths) / 1000;
        self.thousandths = self.thousandths.saturating_add(flown).min(flow.burst.saturating_mul(1000));
        self.at = self.at.max(now);
        match self.thousandths.checked_sub(tokens.saturating_mul(1000)) {
            Some(left) => {
                self.thousandths = left;
                Ok(())
            }
            None => Err(Reject::Full { what: flow.what, limit: usize::try_from(flow.burst).unwrap_or(usize::MAX) }),
        }
    }
}

impl Allowances {
    /// What is left on the peer's next link: what is costly to look at is not given anew, or it would link again for it.
    pub(crate) fn on_a_new_link(&self) -> Allowances {
        Allowances { charters: self.charters, forks: self.forks, ..Allowances::default() }
    }

    /// Whether a message of a peer is still within what it may say; hellos are bounded by their own rule.
    pub(crate) fn admit(&mut self, now: MonoMs, message: &Message) -> Result<(), Reject> {
        match message {
            Message::Have { heights } => self.haves.take(now, HAVES, 1 + (heights.len() / HAVE_HEIGHTS) as u64),
            Message::Frontier(_) | Message::Resume { .. } => self.frontiers.take(now, FRONTIERS, 1),
            Message::Charter { .. } | Message::WantCharter { .. } => self.charters.take(now, CHARTERS, 1),
            Message::Pulses { pulses } => self.beacons.take(now, BEACONS, pulses.len().max(1) as u64),
            Message::Fork(_)
            | Message::Probe { .. }
            | Message::Header { .. }
            | Message::WantStrayList { .. }
            | Message::StrayList(_)
            | Message::WantStrays { .. } => self.forks.take(now, FORKS, 1),
            // Hellos are taken once, requests have their own rule, and what was asked for is bounded by what asked.
            Message::Hello(_) | Message::Beacon(_) | Message::Want(_) | Message::Entries(_) | Message::Done { .. } => {
                Ok(())
            }
        }
    }

    /// Whether a beacon that came over its link may still be looked at.
    pub(crate) fn admit_beacon(&mut self, now: MonoMs) -> Result<(), Reject> {
        self.beacons.take(now, BEACONS, 1)
    }

    /// Whether a request may be answered that is worth so many bytes, when so many peers ask.
    pub(crate) fn admit_want(&mut self, now: MonoMs, bytes: u64, asking: u64) -> Result<(), Reject> {
        self.asked = Some(now);
        self.wants.take(now, WANTS, 1)?;
        self.answers.take(now, answers(asking), bytes)
    }

    /// Whether it asked for entries within so many milliseconds.
    pub(crate) fn asked_within(&self, now: MonoMs, ms: u64) -> bool {
        self.asked.is_some_and(|asked| now.since(asked) < ms)
    }
}

#[cfg(test)]
mod tests {
    use vatra_model::LogId;

    use super::*;

    #[test]
    fn a_flood_is_cut_short_and_a_pause_forgives() {
        let mut allowances = Allowances::default();
        let have = Message::Have { heights: vec![(LogId([1; 16]), 1)] };
        let now = MonoMs(1_000_000);
        let admitted = (0..10_000).filter(|_| allowances.admit(now, &have).is_ok()).count();
        assert_eq!(admitted as u64, HAVES.burst);
        assert_eq!(
            allowances.admit(now, &have),
            Err(Reject::Full { what: "announcements of a peer", limit: HAVES.burst as usize })
        );
        let later = now.plus(1_000);
        let admitted = (0..10_000).filter(|_| allowances.admit(later, &have).is_ok()).count();
        assert_eq!(admitted as u64, HAVES.per_s_thousandths / 1000);
        let resume = Message::Resume { heard: [0; 32] };
        assert_eq!(allowances.admit(later, &resume), Ok(()), "each kind has its own");
        let probe = Message::Probe { log: LogId([1; 16]), seq: 3 };
        let admitted = (0..10_000).filter(|_| allowances.admit(later, &probe).is_ok()).count();
        assert_eq!(admitted as u64, FORKS.burst, "each costs a look into the store");
    }

    #[test]
    fn peers_that_ask_share_what_is_answered() {
        let asked = |asking| {
            let mut allowances = Allowances::default();
            let bytes = 4 * 1024 * 1024;
            let mut answered = 0;
            for ms in 0..60_000 {
                answered += u64::from(allowances.admit_want(MonoMs(ms), bytes, asking).is_ok()) * bytes;
            }
            answered
        };
        let (alone, shared) = (asked(1), asked(4));
        assert!(alone <= ANSWER_BURST_BYTES + 60 * ANSWERS_BYTES_PER_S, "{alone}");
        assert!(shared <= ANSWER_BURST_BYTES + 15 * ANSWERS_BYTES_PER_S, "{shared}");
        assert!(shared >= 15 * ANSWERS_BYTES_PER_S, "{shared}");
    }
}
