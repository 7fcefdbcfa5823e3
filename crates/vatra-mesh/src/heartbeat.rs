//! Our own heartbeat: notices a link that has gone silent in either direction, and measures its round trip.
//!
//! Sans-IO. QUIC's idle time alone takes twice as long on a one-way cut, because the side that still hears
//! keep-alives waits until the other has given up silently.

use std::time::{Duration, Instant};

use crate::config::HeartbeatTiming;

/// How often [`Heartbeat::tick`] is to be called.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// However seldom a peer says that it beats, it is expected this often.
const EVERY_MAX: Duration = Duration::from_secs(10);

/// One heartbeat. All times are microseconds on the sender's clock since its link came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Beat {
    /// Counts the sender's beats from 0.
    pub(crate) counter: u64,
    pub(crate) sent_us: u64,
    /// `sent_us` of the last beat that the sender heard, 0 if none.
    pub(crate) echo_us: u64,
    /// How long the sender held that echo before it sent this beat.
    pub(crate) held_us: u64,
    /// Time after which the sender will beat again; 0 from a version that does not say.
    pub(crate) next_us: u64,
}

impl Beat {
    pub(crate) const BYTES: usize = 40;
    /// A beat that does not say when the next follows.
    const BYTES_MIN: usize = 32;

    pub(crate) fn encode(self) -> [u8; Beat::BYTES] {
        let mut bytes = [0; Beat::BYTES];
        let values = [self.counter, self.sent_us, self.echo_us, self.held_us, self.next_us];
        for (slot, value) in bytes.chunks_exact_mut(8).zip(values) {
            slot.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    /// `None` if the bytes are shorter than a beat; what a later version appends is ignored.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Beat> {
        bytes.get(..Beat::BYTES_MIN)?;
        let mut values = [0; 5];
        for (value, chunk) in values.iter_mut().zip(bytes.chunks_exact(8)) {
            *value = u64::from_le_bytes(chunk.try_into().ok()?);
        }
        let [counter, sent_us, echo_us, held_us, next_us] = values;
        Some(Beat { counter, sent_us, echo_us, held_us, next_us })
    }
}

/// What a tick asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    Wait,
    Send(Beat),
    /// The peer has been silent for this long: end the link.
    Silent(Duration),
}

/// State of one link's heartbeat.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    timing: HeartbeatTiming,
    start: Instant,
    last_tick: Instant,
    next_beat: Instant,
    counter: u64,
    silence: Duration,
    heard: Option<(u64, Instant)>,
    /// How often the peer says that it beats.
    peer_every: Option<Duration>,
    rtt: Option<Duration>,
}

impl Heartbeat {
    pub(crate) fn new(now: Instant, timing: HeartbeatTiming) -> Heartbeat {
        Heartbeat {
            timing,
            start: now,
            last_tick: now,
            next_beat: now,
            counter: 0,
            silence: Duration::ZERO,
            heard: None,
            peer_every: None,
            rtt: None,
        }
    }

    /// Smoothed round trip, once one was measured.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    pub(crate) fn tick(&mut self, now: Instant) -> Tick {
        // A process that was itself suspended or starved for seconds must not blame its peers: of the time
        // between two ticks only a little more than was due counts as silence.
        self.silence += now.saturating_duration_since(self.last_tick).min(TICK * 2);
        self.last_tick = now;
        if self.silence >= self.silence_max() {
            return Tick::Silent(self.silence);
        }
        if now < self.next_beat {
            return Tick::Wait;
        }
        self.next_beat = now + self.every();
        Tick::Send(self.beat(now))
    }

    /// Takes in a beat of the peer. `true` means that an immediate beat of ours would let it know the round trip.
    pub(crate) fn heard(&mut self, now: Instant, beat: Beat) -> bool {
        let first = self.heard.is_none();
        self.silence = Duration::ZERO;
        self.heard = Some((beat.sent_us, now));
        self.peer_every = (beat.next_us > 0).then(|| Duration::from_micros(beat.next_us).min(EVERY_MAX));
        if beat.echo_us > 0 {
            let held = beat.echo_us.saturating_add(beat.held_us);
            self.observe_rtt(Duration::from_micros(self.micros(now).saturating_sub(held)));
        }
        if first {
            self.next_beat = now;
        }
        first
    }

    /// How often we beat: at our leisure once the peer says how often it does, as it then understands us too.
    fn every(&self) -> Duration {
        if self.peer_every.is_some() { self.timing.relaxed } else { self.timing.every }
    }

    /// The configured limit, stretched on long paths so that one lost packet and its repetition fit, and for peers
    /// that beat more seldom so that one lost beat does.
    fn silence_max(&self) -> Duration {
        let every = self.peer_every.unwrap_or(self.timing.every);
        let stretched = every + 4 * self.rtt.unwrap_or_default();
        let lost = self.peer_every.map_or(Duration::ZERO, |every| 2 * every + 2 * TICK);
        self.timing.silent_after.max(stretched).max(lost)
    }

    fn beat(&mut self, now: Instant) -> Beat {
        let (echo_us, held_us) = match self.heard {
            Some((echo_us, at)) => (echo_us, now.saturating_duration_since(at).as_micros() as u64),
            None => (0, 0),
        };
        let next_us = self.timing.relaxed.as_micros() as u64;
        let beat = Beat { counter: self.counter, sent_us: self.micros(now), echo_us, held_us, next_us };
        self.counter += 1;
        beat
    }

    /// Microseconds since the start; never 0, which means "none" in a beat.
    fn micros(&self, now: Instant) -> u64 {
        (now.saturating_duration_since(self.start).as_micros() as u64).saturating_add(1)
    }

    /// Smooths as RFC 6298 does, with a gain of 1/8. A peer cannot claim more than a minute.
    fn observe_rtt(&mut self, sample: Duration) {
        let sample = sample.min(Duration::from_secs(60));
        self.rtt = Some(match self.rtt {
            Some(rtt) => (rtt * 7 + sample) / 8,
            None => sample,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    const TIMING: HeartbeatTiming = HeartbeatTiming {
        every: Duration::from_secs(1),
        relaxed: Duration::from_secs(1),
        silent_after: Duration::from_millis(2_200),
    };

    const THIN: HeartbeatTiming = HeartbeatTiming {
        every: Duration::from_secs(2),
        relaxed: Duration::from_secs(4),
        silent_after: Duration::from_millis(4_600),
    };

    /// Ticks until silence; returns when, counted from `start`.
    fn silent_at(heartbeat: &mut Heartbeat, start: Instant) -> Duration {
        (0..1_000)
            .map(|n| start + n * TICK)
            .find(|&now| matches!(heartbeat.tick(now), Tick::Silent(_)))
            .expect("silence is noticed")
            - start
    }

    #[test]
    fn beats_survive_the_wire_and_are_golden() {
        let beat = Beat { counter: 1, sent_us: 2, echo_us: 3, held_us: u64::MAX, next_us: 4 };
        let bytes = beat.encode();
        assert_eq!(bytes[..9], [1, 0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(Beat::decode(&bytes), Some(beat));
        assert_eq!(Beat::decode(&bytes[..32]), Some(Beat { next_us: 0, ..beat }), "as it was before");
        assert_eq!(Beat::decode(&bytes[..31]), None);
        assert_eq!(Beat::decode(&[&bytes[..], &[9]].concat()), Some(beat));
    }

    #[test]
    fn a_silent_peer_is_given_up_after_the_limit() {
        let start = Instant::now();
        assert_eq!(silent_at(&mut Heartbeat::new(start, TIMING), start), 2_200 * MS);
    }

    #[test]
    fn a_peer_that_beats_seldom_is_given_time_for_one_lost_beat() {
        let start = Instant::now();
        let mut wide = Heartbeat::new(start, TIMING);
        let mut thin = Heartbeat::new(start, THIN);
        let Tick::Send(beat) = thin.tick(start) else { panic!("beats at once") };
        wide.heard(start, beat);
        assert_eq!(silent_at(&mut wide, start), 8_200 * MS);
        let mut wide = Heartbeat::new(start, TIMING);
        wide.heard(start, Beat { next_us: u64::MAX, ..beat });
        assert_eq!(silent_at(&mut wide, start), 20_200 * MS, "no peer can ask for more");
    }

    #[test]
    fn we_beat_at_our_leisure_once_the_peer_understands() {
        let beats = |heard: Beat| {
            let start = Instant::now();
            let mut thin = Heartbeat::new(start, THIN);
            let mut sent = Vec::new();
            for step in 0..400 {
                let now = start + step * TICK;
                if step % 10 == 0 {
                    thin.heard(now, heard);
                }
                if matches!(thin.tick(now), Tick::Send(_)) {
                    sent.push(step / 10);
                }
            }
            sent
        };
        let beat = Beat { counter: 0, sent_us: 5, echo_us: 0, held_us: 0, next_us: 4_000_000 };
        assert_eq!(beats(beat), (0..10).map(|beat| 4 * beat).collect::<Vec<_>>());
        assert_eq!(beats(Beat { next_us: 0, ..beat }), (0..20).map(|beat| 2 * beat).collect::<Vec<_>>());
    }

    #[test]
    fn two_ends_measure_the_round_trip_and_stay_up() {
        let start = Instant::now();
        let one_way = 30 * MS;
        let (mut a, mut b) = (Heartbeat::new(start, TIMING), Heartbeat::new(start, TIMING));
        let mut on_the_way: Vec<(Instant, bool, Beat)> = Vec::new();
        for step in 0..10_000 {
            let now = start + step * MS;
            while let Some(at) = on_the_way.iter().position(|(due, ..)| *due <= now) {
                let (_, to_a, beat) = on_the_way.remove(at);
                if to_a {
                    a.heard(now, beat)
                } else {
                    b.heard(now, beat)
                };
            }
            if step % 100 == 0 {
                for (from_a, end) in [(true, &mut a), (false, &mut b)] {
                    match end.tick(now) {
                        Tick::Wait => {}
                        Tick::Send(beat) => on_the_way.push((now + one_way, !from_a, beat)),
                        Tick::Silent(after) => panic!("silent after {after:?}"),
                    }
                }
            }
        }
        for end in [a, b] {
            let rtt = end.rtt().expect("measured");
            assert!(rtt.abs_diff(60 * MS) <= MS, "{rtt:?}");
        }
    }

    #[test]
    fn a_long_path_is_given_more_time() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start, TIMING);
        let Tick::Send(ours) = heartbeat.tick(start) else { panic!("beats at once") };
        let at = start + 800 * MS;
        heartbeat.heard(at, Beat { counter: 0, sent_us: 5, echo_us: ours.sent_us, held_us: 0, next_us: 1_000_000 });
        assert_eq!(heartbeat.rtt(), Some(800 * MS));
        heartbeat.tick(at);
        heartbeat.silence = Duration::ZERO;
        assert_eq!(silent_at(&mut heartbeat, at), 4_200 * MS);
    }

    #[test]
    fn our_own_suspension_is_not_the_peers_silence() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start, TIMING);
        heartbeat.tick(start);
        assert!(matches!(heartbeat.tick(start + Duration::from_secs(3_600)), Tick::Send(_)));
    }

    #[test]
    fn the_first_beat_is_answered_at_once() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start, TIMING);
        let beat = Beat { counter: 0, sent_us: 5, echo_us: 0, held_us: 0, next_us: 1_000_000 };
        assert!(matches!(heartbeat.tick(start), Tick::Send(_)));
        assert!(heartbeat.heard(start + 10 * MS, beat));
        assert!(matches!(heartbeat.tick(start + 10 * MS), Tick::Send(Beat { echo_us: 5, .. })));
        assert!(!heartbeat.heard(start + 20 * MS, beat));
        assert_eq!(heartbeat.tick(start + 30 * MS), Tick::Wait);
    }
}
