//! Foreign files turned into drafts of alerts.
//!
//! An import reads bytes that are already in memory and yields one [`Imported`] per item, good or bad, so
//! that a half-broken file gives its good part and a list of problems by number. It never panics, holds a
//! bounded amount of memory beside the input, and yields no draft that fails `AlertDraft::check`.
//!
//! Rules common to all formats:
//! - **External id.** Every draft carries one that depends on the item only, so that a second import of the
//!   same item changes nothing: `kev:<CVE>`, `misp:<uuid>`, the STIX id, and for lines of our own alerts the
//!   `external_id` given or else `line:` and a hash of the line's text. A newer state of an item has the
//!   same id; updating the alert made from it is the caller's business.
//! - **Label.** What is unlabelled, labelled amber or stricter, or kept to a sharing group at its source
//!   needs an explicit audience and is a problem, unless [`ImportDefaults`] says otherwise.
//! - **Class.** Foreign items travel as `bulk`, whatever their severity: a catalogue of a thousand entries
//!   must not fill the lane of the one alert that is urgent now. [`ImportDefaults::class`] changes it.
//! - **Sectors.** As tagged at the source; else [`ImportDefaults::sectors`]; else `digital-infrastructure`,
//!   because such catalogues and events are about software and networks.
//! - **Length.** Titles are cut with an ellipsis (the body then begins with the whole), bodies with a
//!   `[cut]` mark; whatever else is left out is counted in the body's last lines.
//! - **Exercises** are refused: this version cannot keep them apart from real alerts.

mod detect;
mod finding;
mod json;
mod kev;
mod label;
mod misp;
mod ndjson;
mod patterns;
mod sectors;
mod stix;
mod text;

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest as _, Sha256};
use thiserror::Error;
use vatra_model::draft::AlertDraft;
use vatra_model::schema::words::{Sector, Tlp};
use vatra_model::{Class, MemberCode};

pub use detect::{DETECT_HEAD_BYTES, detect};
pub use json::{ITEMS_MAX, NESTING_MAX};
pub use ndjson::LINE_BYTES_MAX;

/// Bytes that one file may have.
pub const INPUT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A format that can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// Our own alerts, one JSON object per line.
    Ndjson,
    /// Catalogue of known exploited vulnerabilities of CISA.
    Kev,
    /// MISP core format: an event, a list of events, or the answer of a search.
    Misp,
    /// STIX 2.1 bundle.
    Stix,
}

impl Format {
    /// All formats.
    pub const ALL: [Format; 4] = [Format::Ndjson, Format::Kev, Format::Misp, Format::Stix];

    /// The format's name on a command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Ndjson => "ndjson",
            Format::Kev => "kev",
            Format::Misp => "misp",
            Format::Stix => "stix",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text names no format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a format is ndjson, kev, misp or stix")]
pub struct ParseFormatError;

impl std::str::FromStr for Format {
    type Err = ParseFormatError;

    fn from_str(text: &str) -> Result<Format, ParseFormatError> {
        Format::ALL.into_iter().find(|format| format.as_str() == text).ok_or(ParseFormatError)
    }
}

/// What an import does where the source says nothing, or too much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportDefaults {
    /// Label of what carries none. `None`: the unlabelled is a problem.
    pub unlabelled_tlp: Option<Tlp>,
    /// Label in place of one that is stricter, noted in the body. It discloses more than the source allowed,
    /// so the caller needs the source's consent (TLP 2.0 section 1). `None`: the stricter is a problem.
    pub relabel_tlp: Option<Tlp>,
    /// Sectors of what names none. Empty: `digital-infrastructure`.
    pub sectors: Vec<Sector>,
    /// Class of what names none. `None`: `bulk` for foreign formats, by severity for our own alerts.
    pub class: Option<Class>,
    /// Writers of the alerts. Empty: their owner alone.
    pub writers: Vec<MemberCode>,
}

/// One item of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// Where it stands in the file.
    pub place: Place,
    /// Its external id; empty where a problem hides it.
    pub external_id: String,
    /// The draft, carrying the external id, or why there is none.
    pub result: Result<AlertDraft, ImportProblem>,
}

/// Where an item stands in its file, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The file as a whole.
    File,
    /// A line.
    Line(usize),
    /// An element of the file's list of entries, events or objects.
    Item(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File => f.write_str("file"),
            Place::Line(number) => write!(f, "line {number}"),
            Place::Item(number) => write!(f, "item {number}"),
        }
    }
}

/// An item cannot become an alert. Nothing was made of it; correct the item or the settings and import again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{}{detail}", .field, if .field.is_empty() { "" } else { ": " })]
pub struct ImportProblem {
    /// The field, by the source's name or by ours; empty for the item as a whole.
    pub field: String,
    /// What is wrong, on one line.
    pub detail: String,
}

impl ImportProblem {
    /// A problem of a field.
    pub(crate) fn new(field: impl Into<String>, detail: impl Into<String>) -> ImportProblem {
        ImportProblem { field: field.into(), detail: detail.into() }
    }
}

/// Reads a file of a known format, item by item.
///
/// `bytes` past [`INPUT_BYTES_MAX`] are refused as a whole.
#[must_use]
pub fn import<'a>(bytes: &'a [u8], format: Format, defaults: &'a ImportDefaults) -> Importer<'a> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let source: Box<dyn Iterator<Item = Imported> + 'a> = if bytes.len() > INPUT_BYTES_MAX {
        let detail = format!("has {} bytes, the limit is {INPUT_BYTES_MAX}", bytes.len());
        Box::new(std::iter::once(Imported::refused(Place::File, ImportProblem::new("", detail))))
    } else {
        match format {
            Format::Ndjson => Box::new(ndjson::read(bytes, defaults)),
            Format::Kev => Box::new(kev::read(bytes, defaults)),
            Format::Misp => Box::new(misp::read(bytes, defaults)),
            Format::Stix => Box::new(stix::read(bytes, defaults)),
        }
    };
    Importer { source, seen: BTreeMap::new() }
}

/// The items of a file, in order. See [`import`].
pub struct Importer<'a> {
    source: Box<dyn Iterator<Item = Imported> + 'a>,
    /// Hash of each external id met, with where it stood.
    seen: BTreeMap<[u8; 16], Place>,
}

impl Iterator for Importer<'_> {
    type Item = Imported;

    fn next(&mut self) -> Option<Imported> {
        let mut imported = self.source.next()?;
        if let Ok(draft) = &imported.result {
            let repeats = self.earlier(&imported.external_id, imported.place);
            if let Err(error) = draft.check() {
                imported.result = Err(ImportProblem::new(error.field, format!("{}; {}", error.problem, error.remedy)));
            } else if let Some(earlier) = repeats {
                let detail = format!("{} stands at {earlier} already", text::shown(&imported.external_id));
                imported.result = Err(ImportProblem::new("external_id", detail));
            }
        }
        Some(imported)
    }
}

impl Importer<'_> {
    /// Where the external id stood before, if it did.
    fn earlier(&mut self, external_id: &str, place: Place) -> Option<Place> {
        let mut hash = [0; 16];
        hash.copy_from_slice(&Sha256::digest(external_id)[..16]);
        let earlier = self.seen.get(&hash).copied();
        self.seen.entry(hash).or_insert(place);
        earlier
    }
}

impl fmt::Debug for Importer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Importer")
    }
}

impl Imported {
    pub(crate) fn refused(place: Place, problem: ImportProblem) -> Imported {
        Imported { place, external_id: String::new(), result: Err(problem) }
    }
}
