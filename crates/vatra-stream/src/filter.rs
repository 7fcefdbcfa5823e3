//! What a subscriber or a reader of a list wants to see.
//!
//! A filter is a list of conditions that must all hold; each is one `name=value` with alternatives separated by
//! commas. The same text works in a query string and behind `--filter`.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use serde::Deserialize;
use thiserror::Error;
use vatra_model::change::RecordKind;
use vatra_model::schema::words::{AlertKind, AlertStatus, Sector, Severity, Tlp};
use vatra_model::view::Summary;
use vatra_model::{Class, MemberCode};

/// Names of the conditions.
pub const FILTER_KEYS: [&str; 10] =
    ["severity", "min_severity", "sector", "owner", "kind", "status", "class", "tlp", "record", "text"];
/// Most conditions of one filter.
pub const FILTER_CONDITIONS_MAX: usize = 32;
/// Longest value of one condition, in bytes.
pub const FILTER_VALUE_BYTES_MAX: usize = 512;

/// A filter cannot be read. Nothing was subscribed; correct the named field.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FilterError {
    /// No condition has this name.
    #[error("{field:?} is no filter; filters are {}", FILTER_KEYS.join(", "))]
    UnknownKey {
        /// The name found, cut to 80 characters.
        field: String,
    },
    /// The value is not one of the condition's values.
    #[error("{field}: {reason}")]
    BadValue {
        /// The condition.
        field: &'static str,
        /// What is allowed.
        reason: String,
    },
    /// The value is empty or too long.
    #[error("{field}: a value is 1 to {FILTER_VALUE_BYTES_MAX} bytes")]
    BadLength {
        /// The condition.
        field: &'static str,
    },
    /// There are too many conditions.
    #[error("a filter has at most {FILTER_CONDITIONS_MAX} conditions")]
    TooMany,
}

impl FilterError {
    /// The field at fault.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match self {
            FilterError::UnknownKey { field } => Some(field),
            FilterError::BadValue { field, .. } | FilterError::BadLength { field } => Some(field),
            FilterError::TooMany => None,
        }
    }
}

/// Conditions that must all hold; the empty filter passes everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    conditions: Vec<Condition>,
}

/// One condition; numbers are bit sets of words.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Severity(u32),
    Sector(u32),
    Owner(Vec<MemberCode>),
    Kind(u32),
    Status(u32),
    Class(u32),
    Tlp(u32),
    Record(u32),
    /// In lower case.
    Text(String),
}

impl Condition {
    fn key(&self) -> &'static str {
        match self {
            Condition::Severity(_) => "severity",
            Condition::Sector(_) => "sector",
            Condition::Owner(_) => "owner",
            Condition::Kind(_) => "kind",
            Condition::Status(_) => "status",
            Condition::Class(_) => "class",
            Condition::Tlp(_) => "tlp",
            Condition::Record(_) => "record",
            Condition::Text(_) => "text",
        }
    }
}

impl Filter {
    /// Whether a name is that of a condition.
    #[must_use]
    pub fn is_key(name: &str) -> bool {
        FILTER_KEYS.contains(&name)
    }

    /// Reads conditions, such as the parameters of a query string.
    ///
    /// # Errors
    /// The first condition that cannot be read.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Filter, FilterError> {
        let mut filter = Filter::default();
        for (name, value) in pairs {
            filter.add(name, value)?;
        }
        Ok(filter)
    }

    /// Adds one condition.
    ///
    /// # Errors
    /// The condition cannot be read; the filter is unchanged.
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), FilterError> {
        let Some(field) = FILTER_KEYS.into_iter().find(|key| *key == name) else {
            return Err(FilterError::UnknownKey { field: name.chars().take(80).collect() });
        };
        if value.is_empty() || value.len() > FILTER_VALUE_BYTES_MAX {
            return Err(FilterError::BadLength { field });
        }
        if self.conditions.len() == FILTER_CONDITIONS_MAX {
            return Err(FilterError::TooMany);
        }
        self.conditions.push(parse_condition(field, value)?);
        Ok(())
    }

    /// Whether everything passes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Whether there is a condition of this name; `min_severity` is one on `severity`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.conditions.iter().any(|condition| condition.key() == name)
    }

    /// Whether [`Filter::matches_view`] has to be asked too.
    #[must_use]
    pub fn needs_view(&self) -> bool {
        self.conditions.iter().any(|condition| matches!(condition, Condition::Class(_) | Condition::Text(_)))
    }

    /// Whether a record passes as far as its summary tells.
    #[must_use]
    pub fn matches_summary(&self, summary: &Summary) -> bool {
        let is_alert = summary.record_kind == RecordKind::Alert;
        self.conditions.iter().all(|condition| match condition {
            Condition::Severity(words) => is_alert && words & bit(summary.severity as u8) != 0,
            Condition::Sector(words) => words & summary.sectors != 0,
            Condition::Owner(members) => members.contains(&summary.owner),
            Condition::Kind(words) => summary.alert_kind.is_some_and(|kind| words & bit(kind as u8) != 0),
            Condition::Status(words) => words & bit(summary.status as u8) != 0,
            Condition::Tlp(words) => words & bit(summary.tlp as u8) != 0,
            Condition::Record(words) => words & bit(summary.record_kind as u8) != 0,
            Condition::Class(_) => is_alert,
            Condition::Text(_) => true,
        })
    }

    /// Whether a record passes as far as only its view tells: class and texts. Bytes that are no view pass
    /// nothing.
    #[must_use]
    pub fn matches_view(&self, view: &[u8]) -> bool {
        if !self.needs_view() {
            return true;
        }
        let Ok(texts) = serde_json::from_slice::<Texts<'_>>(view) else { return false };
        self.conditions.iter().all(|condition| match condition {
            Condition::Class(words) => texts.class.is_some_and(|class| words & bit(class as u8) != 0),
            Condition::Text(wanted) => texts.contain(wanted),
            _ => true,
        })
    }

    /// Whether a record passes.
    #[must_use]
    pub fn matches(&self, summary: &Summary, view: &[u8]) -> bool {
        self.matches_summary(summary) && self.matches_view(view)
    }
}

/// The parts of a view that only some filters look at.
#[derive(Deserialize)]
struct Texts<'a> {
    class: Option<Class>,
    #[serde(borrow)]
    external_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    title: Option<Cow<'a, str>>,
    #[serde(borrow)]
    body: Option<Cow<'a, str>>,
    #[serde(borrow)]
    instruction: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    agency: Option<Cow<'a, str>>,
    #[serde(borrow)]
    team: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    vulnerabilities: Vec<Cow<'a, str>>,
}

impl Texts<'_> {
    fn contain(&self, wanted: &str) -> bool {
        let single =
            [&self.title, &self.body, &self.instruction, &self.name, &self.agency, &self.team, &self.external_id];
        let texts = single.into_iter().flatten().chain(&self.vulnerabilities);
        texts.into_iter().any(|text| text.to_lowercase().contains(wanted))
    }
}

fn parse_condition(field: &'static str, value: &str) -> Result<Condition, FilterError> {
    Ok(match field {
        "severity" => Condition::Severity(words::<Severity>(field, value, |word| word as u8)?),
        "min_severity" => {
            let least: Severity = one(field, value)?;
            let wanted = Severity::ALL.iter().filter(|severity| **severity >= least);
            Condition::Severity(wanted.fold(0, |bits, severity| bits | bit(*severity as u8)))
        }
        "sector" => Condition::Sector(words::<Sector>(field, value, |word| word as u8)?),
        "owner" => Condition::Owner(value.split(',').map(|item| one(field, item)).collect::<Result<_, _>>()?),
        "kind" => Condition::Kind(words::<AlertKind>(field, value, |word| word as u8)?),
        "status" => Condition::Status(statuses(value)?),
        "class" => Condition::Class(words::<Class>(field, value, |word| word as u8)?),
        "tlp" => Condition::Tlp(words::<Tlp>(field, value, |word| word as u8)?),
        "record" => Condition::Record(record_kinds(value)?),
        _ => Condition::Text(value.to_lowercase()),
    })
}

/// A contact that has left is summarised as cancelled.
fn statuses(value: &str) -> Result<u32, FilterError> {
    value.split(',').try_fold(0, |bits, item| match item {
        "left" => Ok(bits | bit(AlertStatus::Cancelled as u8)),
        item => Ok(bits | bit(one::<AlertStatus>("status", item)? as u8)),
    })
}

fn record_kinds(value: &str) -> Result<u32, FilterError> {
    value.split(',').try_fold(0, |bits, item| match item {
        "alert" => Ok(bits | bit(RecordKind::Alert as u8)),
        "contact" => Ok(bits | bit(RecordKind::Contact as u8)),
        other => Err(FilterError::BadValue {
            field: "record",
            reason: format!("must be one of alert, contact, not {:?}", cut(other)),
        }),
    })
}

/// The bit set of a list of words.
fn words<W>(field: &'static str, value: &str, number: impl Fn(W) -> u8) -> Result<u32, FilterError>
where
    W: FromStr,
    W::Err: Display,
{
    value.split(',').try_fold(0, |bits, item| Ok(bits | bit(number(one(field, item)?))))
}

fn one<W>(field: &'static str, text: &str) -> Result<W, FilterError>
where
    W: FromStr,
    W::Err: Display,
{
    text.parse().map_err(|error: W::Err| FilterError::BadValue { field, reason: error.to_string() })
}

fn bit(number: u8) -> u32 {
    debug_assert!(number < 32, "vocabularies have at most 32 words");
    1 << number
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests;
