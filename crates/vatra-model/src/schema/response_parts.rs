//! Structured values of a member's answer to an alert.

use serde::{Deserialize, Serialize};

use crate::schema::alert_parts::{Element, Keyed, in_order};
use crate::schema::check::{self, Checked, DraftError};
use crate::schema::words::{Outlook, Sector, SightingKind};
use crate::schema::{NOTE_BYTES_MAX, SIGHTING_COUNT_MAX};
use crate::time::WallMs;

/// A human act: somebody has taken note. (Which nodes hold an alert is known without it.)
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledgement {
    /// Who.
    pub by: String,
    /// When.
    pub at: WallMs,
}

impl Element for Acknowledgement {
    const FIELDS: &'static [&'static str] = &["by", "at"];

    fn check(&self) -> Checked {
        check::line("by", &self.by)
    }
}

/// What an event does to a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Impact {
    /// Sectors that are hit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sectors: Vec<Sector>,
    /// Where it is heading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlook: Option<Outlook>,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Element for Impact {
    const FIELDS: &'static [&'static str] = &["sectors", "outlook", "text"];

    fn check(&self) -> Checked {
        check::count("sectors", self.sectors.len(), Sector::ALL.len())?;
        check::optional(&self.text, |text| check::text("text", text, NOTE_BYTES_MAX))
    }
}

/// A national advisory on the alert.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Advisory {
    /// Its language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lang: Option<String>,
    /// Its title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Where it is.
    pub url: String,
    /// When it came out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<WallMs>,
}

impl Element for Advisory {
    const FIELDS: &'static [&'static str] = &["lang", "title", "url", "published"];

    fn check(&self) -> Checked {
        check::optional(&self.lang, |text| check::language("lang", text))?;
        check::optional(&self.title, |text| check::line("title", text))?;
        check::url("url", &self.url)
    }
}

impl Keyed for Advisory {
    fn key(&self) -> String {
        self.url.clone()
    }
}

/// An observation; it never changes, a correction is a new one that replaces it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sighting {
    /// Its id, unique in the member's answer; repeating an observation under one id counts once.
    pub id: String,
    /// The indicator or record that was seen; the alert itself when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// What it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<SightingKind>,
    /// First time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<WallMs>,
    /// Last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<WallMs>,
    /// How often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Organisation, country or sector where it was seen; may be withheld.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// What saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Id of the observation that it corrects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
}

impl Element for Sighting {
    const FIELDS: &'static [&'static str] =
        &["id", "of", "kind", "first_seen", "last_seen", "count", "where", "source", "replaces"];

    fn check(&self) -> Checked {
        check::id("id", &self.id)?;
        check::optional(&self.of, |text| check::id("of", text))?;
        check::optional(&self.place, |text| check::line("where", text))?;
        check::optional(&self.source, |text| check::line("source", text))?;
        check::optional(&self.replaces, |text| check::id("replaces", text))?;
        if let Some(count) = &self.count {
            check::number("count", count, &0, &SIGHTING_COUNT_MAX)?;
        }
        if self.kind == Some(SightingKind::NotSeen) && self.count.is_some_and(|count| count > 0) {
            return Err(DraftError::new("count", "is above 0 for a not-seen", "set it to 0 or leave it out"));
        }
        in_order("last_seen", self.first_seen, self.last_seen)
    }
}

impl Keyed for Sighting {
    fn key(&self) -> String {
        self.id.clone()
    }
}
