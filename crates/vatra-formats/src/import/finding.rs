//! What an importer has found out about one item, and how it is made to fit into a draft.

use std::collections::BTreeSet;

use vatra_model::draft::AlertDraft;
use vatra_model::limits::{CHANGE_OPS_MAX, EXTERNAL_ID_BYTES_MAX};
use vatra_model::schema::alert_parts::{Element, Indicator, Keyed, Reference, TimelineEntry};
use vatra_model::schema::words::{Action, AlertKind, Certainty, Handling, Sector, Severity, Tlp, Urgency};
use vatra_model::schema::{INDICATORS_MAX, LINE_CHARS_MAX, check};
use vatra_model::{Class, MemberCode, WallMs};

use crate::import::text::{self, paragraph};
use crate::import::{ImportDefaults, ImportProblem};

/// Bytes of an imported body, of which the closing notes take a part: a change has 64 KiB for everything.
const BODY_BYTES_MAX: usize = 28 * 1024;
/// Bytes of the closing notes.
const NOTES_BYTES_MAX: usize = 4 * 1024;
/// Bytes of an imported instruction.
const INSTRUCTION_BYTES_MAX: usize = 8 * 1024;
/// Bytes of an entry of an imported timeline.
const TIMELINE_TEXT_BYTES_MAX: usize = 1024;
/// Ops that the registers of an alert take.
const REGISTERS: usize = 16;

// A create holds 256 values for everything, and the indicators get what the others leave.
const REFERENCES_MAX: usize = 40;
const VULNERABILITIES_MAX: usize = 60;
const CLASSIFICATION_MAX: usize = 30;
const COUNTRIES_MAX: usize = 30;
const TIMELINE_MAX: usize = 10;

/// An item on its way to becoming a draft. Its methods drop what does not fit, and count or name it.
#[derive(Debug)]
pub(crate) struct Finding {
    external_id: String,
    kind: AlertKind,
    tlp: Tlp,
    title: String,
    pub(crate) severity: Severity,
    pub(crate) body: String,
    pub(crate) instruction: String,
    pub(crate) lang: Option<String>,
    pub(crate) confidence: Option<i64>,
    pub(crate) urgency: Option<Urgency>,
    pub(crate) certainty: Option<Certainty>,
    pub(crate) effective: Option<WallMs>,
    pub(crate) onset: Option<WallMs>,
    pub(crate) expires: Option<WallMs>,
    pub(crate) sectors: BTreeSet<Sector>,
    pub(crate) handling: BTreeSet<Handling>,
    pub(crate) actions: BTreeSet<Action>,
    countries: BTreeSet<String>,
    classification: Vec<String>,
    classification_left_out: usize,
    references: Vec<Reference>,
    vulnerabilities: Vec<String>,
    indicators: Vec<Indicator>,
    indicator_ids: BTreeSet<String>,
    indicators_found: usize,
    timeline: Vec<TimelineEntry>,
    notes: String,
}

impl Finding {
    pub(crate) fn new(external_id: &str, kind: AlertKind, severity: Severity, tlp: Tlp) -> Finding {
        Finding {
            external_id: external_id.to_owned(),
            kind,
            tlp,
            severity,
            title: String::new(),
            body: String::new(),
            instruction: String::new(),
            lang: None,
            confidence: None,
            urgency: None,
            certainty: None,
            effective: None,
            onset: None,
            expires: None,
            sectors: BTreeSet::new(),
            handling: BTreeSet::new(),
            actions: BTreeSet::new(),
            countries: BTreeSet::new(),
            classification: Vec::new(),
            classification_left_out: 0,
            references: Vec::new(),
            vulnerabilities: Vec::new(),
            indicators: Vec::new(),
            indicator_ids: BTreeSet::new(),
            indicators_found: 0,
            timeline: Vec::new(),
            notes: String::new(),
        }
    }

    /// Sets the title; if it must be cut, the body begins with the whole. Call it before the body is filled.
    pub(crate) fn title(&mut self, title: &str) {
        let line = text::line(title, LINE_CHARS_MAX);
        if !line.whole {
            paragraph(&mut self.body, title);
        }
        self.title = line.text;
    }

    /// Adds a sentence to the body's closing notes: what was left out or decided.
    pub(crate) fn note(&mut self, sentence: &str) {
        if self.notes.len() < NOTES_BYTES_MAX {
            self.notes.push_str(if self.notes.is_empty() { "" } else { "\n" });
            self.notes.push_str(&text::line(sentence, NOTES_BYTES_MAX / 4).text);
        }
    }

    /// Part of the alert has this label of its own.
    pub(crate) fn contains(&mut self, label: Tlp) {
        self.tlp = self.tlp.max(label);
    }

    pub(crate) fn reference(&mut self, mut reference: Reference) {
        let line = |text: Option<String>| {
            text.map(|text| text::line(&text, LINE_CHARS_MAX).text).filter(|text| !text.is_empty())
        };
        reference.source = line(reference.source);
        reference.id = line(reference.id);
        reference.url = reference.url.map(|url| url.trim().to_owned());
        if reference.check().is_err() {
            let what = reference.url.or(reference.id).or(reference.source).unwrap_or_default();
            return self.note(&format!("A reference is no address: {}", text::shown(&what)));
        }
        if self.references.iter().any(|known| known.key() == reference.key()) {
            return;
        }
        if self.references.len() == REFERENCES_MAX {
            return self.note(&format!("See also {}", reference.key()));
        }
        self.references.push(reference);
    }

    pub(crate) fn vulnerability(&mut self, id: &str) {
        let id = id.trim();
        if check::id("", id).is_err() {
            return self.note(&format!("A vulnerability has no usable id: {}", text::shown(id)));
        }
        if self.vulnerabilities.iter().any(|known| known == id) {
            return;
        }
        if self.vulnerabilities.len() == VULNERABILITIES_MAX {
            return self.note(&format!("Also about {id}"));
        }
        self.vulnerabilities.push(id.to_owned());
    }

    /// Adds a classification code; blanks become underscores, because a code has none.
    pub(crate) fn classify(&mut self, code: &str) {
        let code = code.split_whitespace().collect::<Vec<_>>().join("_");
        if self.classification.contains(&code) {
            return;
        }
        if check::classification("", &code).is_err() || self.classification.len() == CLASSIFICATION_MAX {
            self.classification_left_out += 1;
        } else {
            self.classification.push(code);
        }
    }

    pub(crate) fn country(&mut self, code: &str) {
        let code = code.trim().to_ascii_uppercase();
        if check::country("", &code).is_ok() && self.countries.len() < COUNTRIES_MAX {
            self.countries.insert(code);
        }
    }

    /// Adds an indicator. One that is not acceptable, or comes after 500 others, is only counted.
    pub(crate) fn indicator(&mut self, indicator: Indicator) {
        if self.indicator_ids.contains(&indicator.iid) {
            return;
        }
        self.indicators_found += 1;
        if self.indicators.len() < INDICATORS_MAX && indicator.check().is_ok() {
            self.indicator_ids.insert(indicator.iid.clone());
            self.indicators.push(indicator);
        }
    }

    /// Further indicators that were not even looked at.
    pub(crate) fn indicators_unseen(&mut self, count: usize) {
        self.indicators_found += count;
    }

    /// Whether an indicator would be kept.
    pub(crate) fn has_room_for_indicators(&self) -> bool {
        self.indicators.len() < INDICATORS_MAX
    }

    pub(crate) fn happened(&mut self, at: WallMs, author: Option<&str>, what: &str) {
        let author = author.map(|a| text::line(a, LINE_CHARS_MAX).text).filter(|a| !a.is_empty());
        let text = text::cut(text::clean(what).into_owned(), TIMELINE_TEXT_BYTES_MAX);
        let entry = TimelineEntry { at, author, text };
        if !self.timeline.contains(&entry) && self.timeline.len() < TIMELINE_MAX {
            self.timeline.push(entry);
        }
    }

    /// The draft.
    ///
    /// # Errors
    /// What cannot be mended: no title, an external id that is no id, a label that needs an audience.
    pub(crate) fn finish(mut self, defaults: &ImportDefaults) -> Result<AlertDraft, ImportProblem> {
        if self.title.is_empty() {
            return Err(ImportProblem::new("title", "the item has no name"));
        }
        if check::token("", &self.external_id, EXTERNAL_ID_BYTES_MAX).is_err() {
            let detail = format!("is not an id of up to {EXTERNAL_ID_BYTES_MAX} bytes without spaces");
            return Err(ImportProblem::new("id", detail));
        }
        if let (Some(from), Some(until)) = (self.effective, self.expires)
            && until < from
        {
            self.expires = None;
            self.note("The source's time of expiry lies before its beginning and was left out.");
        }
        if self.classification_left_out > 0 {
            self.note(&format!("{} labels of the source were left out.", self.classification_left_out));
        }
        // When not all fit, those made for automatic detection come first; the order is otherwise the source's.
        self.indicators.sort_by_key(|indicator| indicator.to_ids != Some(true));
        self.body = text::cut(self.body, BODY_BYTES_MAX);
        self.fit(defaults)
    }

    /// Leaves out indicators, then text, until a create holds the rest.
    fn fit(self, defaults: &ImportDefaults) -> Result<AlertDraft, ImportProblem> {
        let mut body_bytes_max = BODY_BYTES_MAX;
        let mut draft = self.without_indicators_and_body(defaults);
        let mut kept = self.indicators.len().min(CHANGE_OPS_MAX.saturating_sub(ops_of(&draft)));
        loop {
            draft.indicators = self.indicators[..kept].to_vec();
            draft.body = self.body_with_notes(kept, body_bytes_max);
            let trial = AlertDraft { writers: Vec::new(), ..draft.clone() };
            match trial.into_create(any_member(), [0; 16]) {
                Ok(_) => return Ok(draft),
                Err(_) if kept > 0 => kept -= kept.div_ceil(8),
                Err(_) if body_bytes_max > NOTES_BYTES_MAX => body_bytes_max /= 2,
                Err(error) => return Err(ImportProblem::new(error.field, error.problem)),
            }
        }
    }

    fn without_indicators_and_body(&self, defaults: &ImportDefaults) -> AlertDraft {
        let sectors = match (self.sectors.is_empty(), defaults.sectors.is_empty()) {
            (false, _) => self.sectors.iter().copied().collect(),
            (true, false) => defaults.sectors.iter().copied().collect::<BTreeSet<_>>().into_iter().collect(),
            (true, true) => vec![Sector::DigitalInfrastructure],
        };
        let instruction = text::cut(self.instruction.clone(), INSTRUCTION_BYTES_MAX);
        AlertDraft {
            class: Some(defaults.class.unwrap_or(Class::Bulk)),
            instruction: (!instruction.is_empty()).then_some(instruction),
            lang: self.lang.clone().filter(|tag| check::language("", tag).is_ok()),
            confidence: self.confidence,
            urgency: self.urgency,
            certainty: self.certainty,
            effective: self.effective,
            onset: self.onset,
            expires: self.expires,
            countries: self.countries.iter().cloned().collect(),
            classification: self.classification.clone(),
            handling: self.handling.iter().copied().collect(),
            references: self.references.clone(),
            vulnerabilities: self.vulnerabilities.clone(),
            timeline: self.timeline.clone(),
            actions: self.actions.iter().copied().collect(),
            writers: defaults.writers.clone(),
            external_id: Some(self.external_id.clone()),
            ..AlertDraft::new(self.kind, self.title.clone(), self.severity, sectors, self.tlp)
        }
    }

    fn body_with_notes(&self, indicators_kept: usize, bytes_max: usize) -> Option<String> {
        let mut notes = self.notes.clone();
        if indicators_kept < self.indicators_found {
            let found = self.indicators_found;
            let sentence = format!("{indicators_kept} of {found} indicators are here; the source has the others.");
            notes = if notes.is_empty() { sentence } else { format!("{sentence}\n{notes}") };
        }
        let notes = text::cut(notes, NOTES_BYTES_MAX / 2);
        let mut body = text::cut(self.body.clone(), bytes_max - notes.len().min(bytes_max / 2) - 2);
        paragraph(&mut body, &notes);
        (!body.is_empty()).then_some(body)
    }
}

/// Ops of a draft without indicators, at most.
fn ops_of(draft: &AlertDraft) -> usize {
    REGISTERS
        + draft.sectors.len()
        + draft.countries.len()
        + draft.classification.len()
        + draft.handling.len()
        + draft.references.len()
        + draft.vulnerabilities.len()
        + draft.timeline.len()
        + draft.actions.len()
}

/// A create is tried only for its size, which does not depend on the owner.
fn any_member() -> MemberCode {
    "XX".parse().expect("two letters are a member code")
}
