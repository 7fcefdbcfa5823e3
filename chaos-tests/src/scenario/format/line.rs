//! What a link is like: the keys of `[link.*]` and of the step `set`.

use crate::scenario::format::error::{FileError, Problem};
use crate::scenario::format::quantity::{BitRate, Bytes, Share, Span};
use crate::scenario::format::section::Section;

/// What is said of a link; what is not said stays as it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineChange {
    /// One way.
    pub delay: Option<Span>,
    /// Added to it by chance, up to this.
    pub jitter: Option<Span>,
    /// Packets that are lost.
    pub loss: Option<Share>,
    /// Packets after which a burst of losses begins.
    pub burst: Option<Share>,
    /// Packets in a burst after which it ends.
    pub burst_end: Option<Share>,
    /// Frames that come twice.
    pub duplicate: Option<Share>,
    /// Frames that are overtaken.
    pub reorder: Option<Share>,
    /// Packets that are damaged.
    pub corrupt: Option<Share>,
    /// How fast it is; `Some(None)` = no limit.
    pub rate: Option<Rate>,
    /// Bytes that wait at its beginning before more is dropped.
    pub queue: Option<Bytes>,
    /// The largest packet.
    pub mtu: Option<Bytes>,
    /// What sending over it costs.
    pub cost: Option<LineCost>,
}

/// How fast a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// As fast as whatever carries it.
    Unlimited,
    /// So many bits a second.
    Limited(BitRate),
}

/// What sending over a link costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineCost {
    /// Nothing.
    Lan,
    /// Little.
    Wan,
    /// Much: every byte counts.
    Metered,
}

/// Costs by name.
pub const COSTS: &[(&str, LineCost)] =
    &[("lan", LineCost::Lan), ("wan", LineCost::Wan), ("metered", LineCost::Metered)];

/// A kind of link by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: &'static str,
    /// What it is, in words.
    pub about: &'static str,
    /// What it is like.
    pub line: LineChange,
}

const BLANK: LineChange = LineChange {
    delay: None,
    jitter: None,
    loss: None,
    burst: None,
    burst_end: None,
    duplicate: None,
    reorder: None,
    corrupt: None,
    rate: None,
    queue: None,
    mtu: None,
    cost: None,
};

const fn good(delay_us: u64, jitter_us: u64, cost: LineCost) -> LineChange {
    LineChange {
        delay: Some(Span(delay_us)),
        jitter: Some(Span(jitter_us)),
        loss: Some(Share(0)),
        rate: Some(Rate::Unlimited),
        cost: Some(cost),
        ..BLANK
    }
}

const fn limited(bits: u64) -> Option<Rate> {
    Some(Rate::Limited(BitRate(bits)))
}

/// All kinds.
pub const PROFILES: &[Profile] = &[
    Profile { name: "local", about: "inside one machine room", line: good(200, 50, LineCost::Lan) },
    Profile { name: "near", about: "between neighbours, 10 ms", line: good(10_000, 1_000, LineCost::Wan) },
    Profile {
        name: "far",
        about: "between continents, 75 ms",
        line: LineChange { loss: Some(Share(1_000)), ..good(75_000, 5_000, LineCost::Wan) },
    },
    Profile {
        name: "satellite",
        about: "600 ms there and back, 256 kbit/s",
        line: LineChange {
            loss: Some(Share(5_000)),
            rate: limited(256_000),
            ..good(300_000, 10_000, LineCost::Metered)
        },
    },
    Profile {
        name: "narrow",
        about: "1.2 s there and back, 64 kbit/s",
        line: LineChange {
            loss: Some(Share(10_000)),
            rate: limited(64_000),
            ..good(600_000, 50_000, LineCost::Metered)
        },
    },
    Profile {
        name: "rough",
        about: "a bad line: late, lossy, at times doubled",
        line: LineChange {
            loss: Some(Share(50_000)),
            duplicate: Some(Share(50_000)),
            rate: limited(16_000_000),
            ..good(40_000, 40_000, LineCost::Wan)
        },
    },
];

impl LineChange {
    /// Reads the keys of a table.
    ///
    /// # Errors
    /// A value cannot be read.
    pub fn read(section: &mut Section<'_>) -> Result<LineChange, FileError> {
        let profile = match section.take("profile") {
            None => LineChange::default(),
            Some(found) => {
                let name = section.as_text("profile", found, "the name of a profile")?;
                let words: Vec<_> = PROFILES.iter().map(|profile| (profile.name, profile.line)).collect();
                section.word("profile", found.line, name, "profile", &words)?
            }
        };
        let own = LineChange {
            delay: section.quantity("delay")?,
            jitter: section.quantity("jitter")?,
            loss: section.quantity("loss")?,
            burst: section.quantity("burst")?,
            burst_end: section.quantity("burst_end")?,
            duplicate: section.quantity("duplicate")?,
            reorder: section.quantity("reorder")?,
            corrupt: section.quantity("corrupt")?,
            rate: read_rate(section)?,
            queue: section.quantity("queue")?,
            mtu: section.quantity("mtu")?,
            cost: match section.take("cost") {
                None => None,
                Some(found) => {
                    let text = section.as_text("cost", found, "lan, wan or metered")?;
                    Some(section.word("cost", found.line, text, "cost", COSTS)?)
                }
            },
        };
        let line = own.over(profile);
        if line.burst_end.is_some_and(|end| end.0 == 0) {
            let why = "a burst that never ends loses everything; use the step \"cut\"".to_owned();
            return Err(section.error_at("burst_end", Problem::Senseless(why)));
        }
        const MTU_MIN: u64 = 1_200;
        if line.mtu.is_some_and(|mtu| mtu.0 < MTU_MIN) {
            let why = format!("QUIC needs packets of {MTU_MIN}B");
            return Err(section.error_at("mtu", Problem::Senseless(why)));
        }
        Ok(line)
    }

    /// This, where it says something, else the other.
    #[must_use]
    pub fn over(self, other: LineChange) -> LineChange {
        LineChange {
            delay: self.delay.or(other.delay),
            jitter: self.jitter.or(other.jitter),
            loss: self.loss.or(other.loss),
            burst: self.burst.or(other.burst),
            burst_end: self.burst_end.or(other.burst_end),
            duplicate: self.duplicate.or(other.duplicate),
            reorder: self.reorder.or(other.reorder),
            corrupt: self.corrupt.or(other.corrupt),
            rate: self.rate.or(other.rate),
            queue: self.queue.or(other.queue),
            mtu: self.mtu.or(other.mtu),
            cost: self.cost.or(other.cost),
        }
    }

    /// Keys and values as a file writes them.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        fn pair(key: &'static str, value: Option<impl ToString>) -> Option<(&'static str, String)> {
            value.map(|value| (key, value.to_string()))
        }
        let rate = self.rate.map(|rate| match rate {
            Rate::Unlimited => "unlimited".to_owned(),
            Rate::Limited(rate) => rate.to_string(),
        });
        let cost = self.cost.and_then(|cost| COSTS.iter().find(|(_, other)| *other == cost).map(|(name, _)| *name));
        let all = [
            pair("delay", self.delay),
            pair("jitter", self.jitter),
            pair("loss", self.loss),
            pair("burst", self.burst),
            pair("burst_end", self.burst_end),
            pair("duplicate", self.duplicate),
            pair("reorder", self.reorder),
            pair("corrupt", self.corrupt),
            pair("rate", rate),
            pair("queue", self.queue),
            pair("mtu", self.mtu),
            pair("cost", cost),
        ];
        all.into_iter().flatten().collect()
    }
}

fn read_rate(section: &mut Section<'_>) -> Result<Option<Rate>, FileError> {
    const EXPECTED: &str = "a rate such as \"256kbit\" or \"50mbit\" (a second), or \"unlimited\"";
    let Some(found) = section.take("rate") else { return Ok(None) };
    let text = section.as_text("rate", found, EXPECTED)?;
    if text == "unlimited" {
        return Ok(Some(Rate::Unlimited));
    }
    let rate: BitRate = section.parse("rate", found.line, text, EXPECTED)?;
    if rate.0 < 1_000 {
        let why = "less than 1kbit carries nothing; use the step \"cut\"".to_owned();
        return Err(section.error("rate", found.line, Problem::Senseless(why)));
    }
    Ok(Some(Rate::Limited(rate)))
}
