//! What records contain: field names, how concurrent values join, limits (`docs/protocol.md`).
//!
//! Drafts refuse what breaks a limit with an error for people; views ignore it. Both use the checks of this
//! module, so what one node may publish every node of its version shows. Reading JSON is `draft`'s work and
//! joining values `vatra-record`'s.

pub mod alert_parts;
pub mod check;
pub mod contact_parts;
pub mod response_parts;
pub mod words;

use crate::change::{RecordKind, SectionId};

/// Characters of a title, a name or another line of text.
pub const LINE_CHARS_MAX: usize = 256;
/// Bytes of a body or an instruction.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a note, a comment or another short text.
pub const NOTE_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a URL.
pub const URL_BYTES_MAX: usize = 2000;
/// Bytes of an id that is text: an indicator's, a sighting's, a shift's, a vulnerability's.
pub const ID_BYTES_MAX: usize = 128;
/// Characters of a language tag (RFC 5646 section 4.4.1 asks for at least 35).
pub const LANGUAGE_CHARS_MAX: usize = 35;
/// Bytes of an indicator's value or pattern.
pub const PATTERN_BYTES_MAX: usize = 8 * 1024;
/// Indicators of one alert.
pub const INDICATORS_MAX: usize = 500;
/// Elements of any other set.
pub const ELEMENTS_MAX: usize = 200;
/// Sightings of one response; more go into another alert or an attachment.
pub const SIGHTINGS_MAX: usize = 2000;
/// Largest count of one sighting (STIX 2.1 section 4.14).
pub const SIGHTING_COUNT_MAX: u64 = 999_999_999;
/// Largest value of a confidence, in percent.
pub const CONFIDENCE_MAX: i64 = 100;
/// Concurrent values of one field that a view shows.
pub const CONFLICT_VALUES_MAX: usize = 8;

/// How concurrent values of a register join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// The newest value is shown, all concurrent ones are listed as a conflict.
    Newest,
    /// The highest in the order of its words is shown, all are listed as a conflict.
    Highest,
    /// The lowest is shown, all are listed as a conflict.
    Lowest,
    /// The latest time is shown.
    Latest,
    /// Fixed by the create; edits of it have no effect.
    Immutable,
    /// An ending that is concurrent with another change of the section does not end the record.
    Ending,
}

/// What becomes of an element that is added and removed concurrently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetJoin {
    /// It stays.
    AddWins,
    /// It is gone.
    RemoveWins,
    /// Removal has no effect at all.
    GrowOnly,
}

/// What a name in an op means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// One value.
    Register(Join),
    /// Elements by key.
    Set(SetJoin),
}

/// Which table a section follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Core of an alert.
    Alert,
    /// A member's answer to an alert.
    Response,
    /// Core of a contact.
    Contact,
}

impl Table {
    /// The table of a section; `None` where this version knows of none.
    #[must_use]
    pub fn of(kind: RecordKind, section: SectionId) -> Option<Table> {
        match (kind, section) {
            (RecordKind::Alert, SectionId::Core) => Some(Table::Alert),
            (RecordKind::Alert, SectionId::Response(_)) => Some(Table::Response),
            (RecordKind::Contact, SectionId::Core) => Some(Table::Contact),
            (RecordKind::Contact, SectionId::Response(_)) | (RecordKind::Annex, _) => None,
        }
    }

    /// The rules of the table, sorted by name.
    #[must_use]
    pub fn rules(self) -> &'static [(&'static str, Rule)] {
        match self {
            Table::Alert => ALERT,
            Table::Response => RESPONSE,
            Table::Contact => CONTACT,
        }
    }

    /// The rule of a name; `None` for a name of a newer version.
    #[must_use]
    pub fn rule(self, name: &str) -> Option<Rule> {
        let rules = self.rules();
        rules.binary_search_by(|(known, _)| (*known).cmp(name)).ok().map(|index| rules[index].1)
    }
}

const NEWEST: Rule = Rule::Register(Join::Newest);
const HIGHEST: Rule = Rule::Register(Join::Highest);
const LOWEST: Rule = Rule::Register(Join::Lowest);
const LATEST: Rule = Rule::Register(Join::Latest);
const IMMUTABLE: Rule = Rule::Register(Join::Immutable);
const ENDING: Rule = Rule::Register(Join::Ending);
const ADD_WINS: Rule = Rule::Set(SetJoin::AddWins);
const REMOVE_WINS: Rule = Rule::Set(SetJoin::RemoveWins);
const GROW_ONLY: Rule = Rule::Set(SetJoin::GrowOnly);

const ALERT: &[(&str, Rule)] = &[
    ("actions", ADD_WINS),
    ("attachments", ADD_WINS),
    ("body", NEWEST),
    ("certainty", NEWEST),
    ("class", HIGHEST),
    ("classification", ADD_WINS),
    ("confidence", LOWEST),
    ("countries", ADD_WINS),
    ("effective", NEWEST),
    ("expires", LATEST),
    ("handling", ADD_WINS),
    ("indicators", ADD_WINS),
    ("instruction", NEWEST),
    ("kind", IMMUTABLE),
    ("lang", NEWEST),
    ("onset", NEWEST),
    ("references", ADD_WINS),
    ("related", ADD_WINS),
    ("sectors", ADD_WINS),
    ("severity", HIGHEST),
    ("status", ENDING),
    ("supersedes", ADD_WINS),
    ("timeline", GROW_ONLY),
    ("title", NEWEST),
    ("tlp", HIGHEST),
    ("translations", ADD_WINS),
    ("urgency", NEWEST),
    ("vulnerabilities", ADD_WINS),
];

const RESPONSE: &[(&str, Rule)] = &[
    ("acknowledged", LATEST),
    ("advisories", ADD_WINS),
    ("agreement", NEWEST),
    ("assessment", NEWEST),
    ("assistance", NEWEST),
    ("assistance_text", NEWEST),
    ("contact", NEWEST),
    ("impact", NEWEST),
    ("note", NEWEST),
    ("seen_at", LATEST),
    ("sightings", GROW_ONLY),
];

const CONTACT: &[(&str, Rule)] = &[
    ("agency", NEWEST),
    ("chat", REMOVE_WINS),
    ("constituency", NEWEST),
    ("emails", REMOVE_WINS),
    ("groups", ADD_WINS),
    ("holidays", NEWEST),
    ("hours", NEWEST),
    ("keys", REMOVE_WINS),
    ("languages", ADD_WINS),
    ("last_verified", LATEST),
    ("name", NEWEST),
    ("note", NEWEST),
    ("party", NEWEST),
    ("phones", REMOVE_WINS),
    ("rfc2350", NEWEST),
    ("role", NEWEST),
    ("security_txt", NEWEST),
    ("shifts", ADD_WINS),
    ("status", HIGHEST),
    ("team", NEWEST),
    ("team_type", NEWEST),
    ("ti_status", NEWEST),
    ("tlp", HIGHEST),
    ("tlp_clearance", LOWEST),
    ("tz", NEWEST),
    ("valid_from", NEWEST),
    ("valid_until", LATEST),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_by_its_table() {
        for table in [Table::Alert, Table::Response, Table::Contact] {
            let rules = table.rules();
            assert!(rules.is_sorted_by(|a, b| a.0 < b.0), "{table:?} is not sorted");
            for (name, rule) in rules {
                assert_eq!(table.rule(name), Some(*rule));
            }
            assert_eq!(table.rule("no_such_field"), None);
        }
    }
}
