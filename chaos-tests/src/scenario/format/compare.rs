//! Comparisons: `<= 5s`, `>= 100`, `ee.fork_proofs >= 1`.

use std::fmt;
use std::str::FromStr;

/// Why a text compares nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incomparable {
    /// It does not begin with a sign.
    #[error("it does not begin with one of <=, >=, ==, !=, <, >")]
    NoSign,
    /// What follows the sign cannot be read.
    #[error("\"{value}\" cannot be read: {why}")]
    Value {
        /// What follows.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// The name of what is compared is missing or is none.
    #[error("\"{0}\" is no name of a counter")]
    NoName(String),
}

/// How to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Not more.
    AtMost,
    /// Not less.
    AtLeast,
    /// The same.
    Equal,
    /// Not the same.
    Unequal,
    /// Less.
    Below,
    /// More.
    Above,
}

/// Longer signs first.
const SIGNS: &[(&str, Sign)] = &[
    ("<=", Sign::AtMost),
    (">=", Sign::AtLeast),
    ("==", Sign::Equal),
    ("!=", Sign::Unequal),
    ("<", Sign::Below),
    (">", Sign::Above),
];

/// A sign and what to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison<T> {
    /// How.
    pub sign: Sign,
    /// With what.
    pub value: T,
}

impl<T: PartialOrd> Comparison<T> {
    /// Whether a value keeps to it.
    #[must_use]
    pub fn holds(&self, value: &T) -> bool {
        match self.sign {
            Sign::AtMost => *value <= self.value,
            Sign::AtLeast => *value >= self.value,
            Sign::Equal => *value == self.value,
            Sign::Unequal => *value != self.value,
            Sign::Below => *value < self.value,
            Sign::Above => *value > self.value,
        }
    }
}

impl<T: FromStr> FromStr for Comparison<T>
where
    T::Err: fmt::Display,
{
    type Err = Incomparable;

    fn from_str(text: &str) -> Result<Comparison<T>, Incomparable> {
        let text = text.trim();
        let found = SIGNS.iter().find_map(|(name, sign)| text.strip_prefix(name).map(|rest| (*sign, rest)));
        let (sign, rest) = found.ok_or(Incomparable::NoSign)?;
        let value = rest.trim();
        let value = value
            .parse()
            .map_err(|why: T::Err| Incomparable::Value { value: value.to_owned(), why: why.to_string() })?;
        Ok(Comparison { sign, value })
    }
}

impl<T: fmt::Display> fmt::Display for Comparison<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = SIGNS.iter().find(|(_, sign)| *sign == self.sign).map_or("==", |(name, _)| *name);
        write!(f, "{sign} {}", self.value)
    }
}

/// Something that a step waits for: a counter, of one node or of all together, reaches a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The node; `None` = all together.
    pub node: Option<String>,
    /// The counter.
    pub counter: String,
    /// What it must be.
    pub is: Comparison<u64>,
}

/// What a condition looks like.
pub const CONDITION_EXPECTED: &str = "a condition such as \"ee.fork_proofs >= 1\" or \"kills >= 3\"";

impl FromStr for Condition {
    type Err = Incomparable;

    fn from_str(text: &str) -> Result<Condition, Incomparable> {
        let at = text.find(['<', '>', '=', '!']).ok_or(Incomparable::NoSign)?;
        let (name, rest) = text.split_at(at);
        let name = name.trim();
        let (node, counter) = match name.split_once('.') {
            Some((node, counter)) => (Some(node.to_owned()), counter),
            None => (None, name),
        };
        let is_counter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let is_node = node.as_deref().is_none_or(crate::scenario::format::choice::is_name);
        if counter.is_empty() || !counter.chars().all(is_counter) || !is_node {
            return Err(Incomparable::NoName(name.to_owned()));
        }
        Ok(Condition { node, counter: counter.to_owned(), is: rest.parse()? })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = &self.node {
            write!(f, "{node}.")?;
        }
        write!(f, "{} {}", self.counter, self.is)
    }
}
