//! Urgency lanes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Urgency lane of an entry: on every hop, a lower number overtakes a higher one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Class {
    /// Never waits behind a backlog.
    Flash = 0,
    /// Before ordinary traffic.
    Priority = 1,
    /// Ordinary traffic.
    Routine = 2,
    /// Whatever can wait.
    Bulk = 3,
}

impl Class {
    /// All classes, most urgent first.
    pub const ALL: [Class; 4] = [Class::Flash, Class::Priority, Class::Routine, Class::Bulk];

    /// The class with this number on the wire; `None` for a number of a newer version.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Class> {
        Class::ALL.get(usize::from(number)).copied()
    }

    /// The class as people write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Flash => "flash",
            Class::Priority => "priority",
            Class::Routine => "routine",
            Class::Bulk => "bulk",
        }
    }

    /// Whether the class goes before any backlog in catch-up.
    #[must_use]
    pub fn is_urgent(self) -> bool {
        self <= Class::Priority
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text names no class.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a class is flash, priority, routine or bulk")]
pub struct ParseClassError;

impl FromStr for Class {
    type Err = ParseClassError;

    fn from_str(text: &str) -> Result<Class, ParseClassError> {
        Class::ALL.into_iter().find(|class| class.as_str() == text).ok_or(ParseClassError)
    }
}
