//! Numbers with units as scenario files write them: each reads exactly what it prints.

use std::fmt;
use std::str::FromStr;

/// Why a text is no such quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misread {
    /// There is no number at the beginning.
    #[error("there is no number")]
    NoNumber,
    /// The number has no unit.
    #[error("the unit is missing; units are {known}")]
    NoUnit {
        /// The units there are.
        known: String,
    },
    /// The unit is another one.
    #[error("\"{unit}\" is no unit here; units are {known}")]
    UnknownUnit {
        /// What stands there.
        unit: String,
        /// The units there are.
        known: String,
    },
    /// The number has more digits than are kept.
    #[error("it is finer than {finest}")]
    TooFine {
        /// The smallest step.
        finest: &'static str,
    },
    /// The number is too large.
    #[error("it is more than {limit}")]
    TooLarge {
        /// The largest value.
        limit: String,
    },
    /// The end of a range lies before its beginning.
    #[error("the range ends before it begins")]
    Backwards,
    /// It is a range where one value is needed, or has a part that does not belong there.
    #[error("\"{part}\" does not belong there")]
    Stray {
        /// The part.
        part: String,
    },
}

/// A kind of quantity, and how to say what a value of it looks like.
pub trait Quantity: Copy + Ord + fmt::Display + fmt::Debug + FromStr<Err = Misread> {
    /// What is expected, in words.
    const EXPECTED: &'static str;
}

type Units = &'static [(&'static str, u64)];

fn known(units: Units) -> String {
    units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// Splits a decimal number from what follows it: digits without the point, and how many stood behind it.
fn number(text: &str) -> Result<(u128, u32, &str), Misread> {
    const DIGITS_MAX: usize = 18;
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || part.contains('.') || digits.ends_with('.') {
        return Err(Misread::NoNumber);
    }
    if digits.len() > DIGITS_MAX {
        return Err(Misread::TooLarge { limit: "18 digits".to_owned() });
    }
    let value = format!("{whole}{part}").parse().map_err(|_| Misread::NoNumber)?;
    Ok((value, u32::try_from(part.len()).unwrap_or(u32::MAX), rest))
}

/// Reads a sum of numbers with units, such as `1m30s`.
fn sum(text: &str, units: Units, finest: &'static str, max: u64) -> Result<u64, Misread> {
    let mut rest = text.trim();
    let mut total: u128 = 0;
    loop {
        let (value, scale, behind) = number(rest)?;
        let behind = behind.trim_start();
        let end = behind.find(|c: char| !c.is_ascii_alphabetic() && c != '%').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        if unit.is_empty() {
            return Err(Misread::NoUnit { known: known(units) });
        }
        let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| u128::from(*factor));
        let factor = factor.ok_or_else(|| Misread::UnknownUnit { unit: unit.to_owned(), known: known(units) })?;
        let tens = 10_u128.pow(scale);
        if !(value * factor).is_multiple_of(tens) {
            return Err(Misread::TooFine { finest });
        }
        total += value * factor / tens;
        if total > u128::from(max) {
            return Err(Misread::TooLarge { limit: print(max, units) });
        }
        rest = behind.trim_start();
        if rest.is_empty() {
            return Ok(u64::try_from(total).unwrap_or(max));
        }
        if !rest.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(Misread::Stray { part: rest.to_owned() });
        }
    }
}

/// Prints with the largest unit that loses nothing; units stand from small to large.
fn print(value: u64, units: Units) -> String {
    let fits = |(_, factor): &&(&str, u64)| value.is_multiple_of(*factor);
    let (name, factor) = units.iter().rev().find(fits).copied().unwrap_or(units[0]);
    format!("{}{name}", value / factor)
}

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $units:expr, $finest:literal, $max:expr, $zero:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(pub u64);

        impl $name {
            /// The largest value.
            pub const MAX: $name = $name($max);
        }

        impl Quantity for $name {
            const EXPECTED: &'static str = $expected;
        }

        impl FromStr for $name {
            type Err = Misread;

            fn from_str(text: &str) -> Result<$name, Misread> {
                sum(text, $units, $finest, $max).map($name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                if self.0 == 0 {
                    return f.write_str($zero);
                }
                f.write_str(&print(self.0, $units))
            }
        }
    };
}

/// Microseconds in each unit of time.
const TIMES: Units =
    &[("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000)];

quantity!(
    /// A length of time in microseconds.
    Span,
    "a duration such as \"250ms\", \"5s\" or \"1m30s\"",
    TIMES,
    "a microsecond",
    3_660 * 86_400_000_000,
    "0s"
);

quantity!(
    /// Bits in a second.
    BitRate,
    "a rate such as \"256kbit\" or \"50mbit\" (a second)",
    &[("bit", 1), ("kbit", 1_000), ("mbit", 1_000_000), ("gbit", 1_000_000_000)],
    "a bit a second",
    100_000_000_000,
    "0bit"
);

quantity!(
    /// Bytes.
    Bytes,
    "a size such as \"200B\" or \"16KiB\"",
    &[("B", 1), ("kB", 1_000), ("KiB", 1_024), ("MB", 1_000_000), ("MiB", 1_048_576), ("GiB", 1_073_741_824)],
    "a byte",
    1 << 40,
    "0B"
);

quantity!(
    /// A share of a whole, in millionths.
    Share,
    "a share such as \"5%\" or \"0.1%\", at most 100%",
    &[("ppm", 1), ("%", 10_000)],
    "a millionth",
    1_000_000,
    "0%"
);

impl Span {
    /// Whole milliseconds, rounded up.
    #[must_use]
    pub fn ms(self) -> u64 {
        self.0.div_ceil(1_000)
    }

    /// Seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1_000_000.0
    }
}

impl Share {
    /// In thousandths, rounded up so that a small share never becomes none.
    #[must_use]
    pub fn permille(self) -> u32 {
        u32::try_from(self.0.div_ceil(1_000)).unwrap_or(1_000)
    }
}

/// A time that a clock is off by, forwards or backwards, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offset(pub i64);

impl Quantity for Offset {
    const EXPECTED: &'static str = "a signed duration such as \"+1h\" or \"-400d\"";
}

impl FromStr for Offset {
    type Err = Misread;

    fn from_str(text: &str) -> Result<Offset, Misread> {
        let text = text.trim();
        let (sign, rest) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        // Sixty years reach back before 1970 from any run.
        const MAX_US: u64 = 60 * 366 * 86_400_000_000;
        let value = sum(rest, TIMES, "a microsecond", MAX_US)?;
        Ok(Offset(sign * i64::try_from(value).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { '-' } else { '+' };
        let size = self.0.unsigned_abs();
        if size == 0 { f.write_str("+0s") } else { write!(f, "{sign}{}", print(size, TIMES)) }
    }
}

/// How often something happens: so many times in a second, a minute or an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How many times.
    pub count: u32,
    /// In this time, in microseconds.
    pub per_us: u64,
}

/// Times that a pace counts by.
const PACES: Units = &[("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000)];

impl Pace {
    /// Never.
    pub const NEVER: Pace = Pace { count: 0, per_us: 1_000_000 };

    /// The time from one to the next; `None` if it never happens.
    #[must_use]
    pub fn interval(self) -> Option<Span> {
        (self.count > 0).then(|| Span((self.per_us / u64::from(self.count)).max(1)))
    }
}

impl PartialOrd for Pace {
    fn partial_cmp(&self, other: &Pace) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pace {
    fn cmp(&self, other: &Pace) -> std::cmp::Ordering {
        let often = |pace: &Pace, other: &Pace| u128::from(pace.count) * u128::from(other.per_us);
        often(self, other).cmp(&often(other, self)).then(self.per_us.cmp(&other.per_us))
    }
}

impl Quantity for Pace {
    const EXPECTED: &'static str = "a pace such as \"20/s\", \"30/m\" or \"5/h\"";
}

impl FromStr for Pace {
    type Err = Misread;

    fn from_str(text: &str) -> Result<Pace, Misread> {
        let Some((count, unit)) = text.trim().split_once('/') else {
            number(text.trim())?;
            return Err(Misread::NoUnit { known: known(PACES) });
        };
        const COUNT_MAX: u128 = 100_000;
        let (count, scale, rest) = number(count.trim())?;
        if !rest.trim().is_empty() {
            return Err(Misread::Stray { part: rest.trim().to_owned() });
        }
        if scale > 0 {
            return Err(Misread::TooFine { finest: "a whole number; use /m or /h" });
        }
        let count = u32::try_from(count).ok().filter(|count| u128::from(*count) <= COUNT_MAX);
        let count = count.ok_or_else(|| Misread::TooLarge { limit: COUNT_MAX.to_string() })?;
        let unit = unit.trim();
        let per = PACES.iter().find(|(name, _)| *name == unit).map(|(_, per)| *per);
        let per_us = per.ok_or_else(|| Misread::UnknownUnit { unit: unit.to_owned(), known: known(PACES) })?;
        Ok(Pace { count, per_us })
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = PACES.iter().find(|(_, per)| *per == self.per_us).map_or("s", |(name, _)| *name);
        write!(f, "{}/{unit}", self.count)
    }
}

/// From one value to another, both included; a single value is both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Between<T> {
    /// The smallest.
    pub low: T,
    /// The largest.
    pub high: T,
}

impl<T: Copy> Between<T> {
    /// Exactly this.
    #[must_use]
    pub fn just(value: T) -> Between<T> {
        Between { low: value, high: value }
    }
}

impl<T: Quantity> FromStr for Between<T> {
    type Err = Misread;

    fn from_str(text: &str) -> Result<Between<T>, Misread> {
        let Some((low, high)) = text.split_once("..") else { return Ok(Between::just(text.parse()?)) };
        let (low, high) = (low.parse()?, high.parse()?);
        if high < low { Err(Misread::Backwards) } else { Ok(Between { low, high }) }
    }
}

impl<T: Quantity> fmt::Display for Between<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high { write!(f, "{}", self.low) } else { write!(f, "{}..{}", self.low, self.high) }
    }
}
