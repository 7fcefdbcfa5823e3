//! Drafts of alerts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::change::{Create, Naming, RecordKind, Value};
use crate::class::Class;
use crate::draft::ops::Ops;
use crate::draft::{DraftError, json};
use crate::ids::{MemberCode, RecordId};
use crate::limits::{EXTERNAL_ID_BYTES_MAX, RECORD_WRITERS_MAX};
use crate::schema::alert_parts::{Attachment, Element, Indicator, Reference, TimelineEntry, Translation};
use crate::schema::check::{self, Checked};
use crate::schema::words::{Action, AlertKind, Certainty, Handling, Sector, Severity, Tlp, Urgency};
use crate::schema::{BODY_BYTES_MAX, CONFIDENCE_MAX, ELEMENTS_MAX, INDICATORS_MAX};
use crate::time::WallMs;

/// A new alert as people and programs send it. Unknown fields are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertDraft {
    /// What it is about; cannot change later.
    pub kind: AlertKind,
    /// Headline, one line.
    pub title: String,
    /// How grave it is.
    pub severity: Severity,
    /// Sectors that are affected, at least one.
    pub sectors: Vec<Sector>,
    /// Who may be told: clear or green in this version.
    pub tlp: Tlp,
    /// Lane; by severity when absent.
    pub class: Option<Class>,
    /// Description, Markdown.
    pub body: Option<String>,
    /// What to do, Markdown.
    pub instruction: Option<String>,
    /// Language of the texts.
    pub lang: Option<String>,
    /// The texts in other languages.
    #[serde(default)]
    pub translations: BTreeMap<String, Translation>,
    /// How soon to act.
    pub urgency: Option<Urgency>,
    /// How sure it is.
    pub certainty: Option<Certainty>,
    /// Confidence in percent.
    pub confidence: Option<i64>,
    /// Since when it counts.
    pub effective: Option<WallMs>,
    /// When it began or will begin.
    pub onset: Option<WallMs>,
    /// When it ceases to count.
    pub expires: Option<WallMs>,
    /// Countries that are affected.
    #[serde(default)]
    pub countries: Vec<String>,
    /// Classification codes.
    #[serde(default)]
    pub classification: Vec<String>,
    /// Restrictions on use.
    #[serde(default)]
    pub handling: Vec<Handling>,
    /// Where more can be read.
    #[serde(default)]
    pub references: Vec<Reference>,
    /// CVE and other vulnerability ids.
    #[serde(default)]
    pub vulnerabilities: Vec<String>,
    /// What to look for.
    #[serde(default)]
    pub indicators: Vec<Indicator>,
    /// Files.
    #[serde(default)]
    pub attachments: Vec<Attachment>,
    /// What happened so far.
    #[serde(default)]
    pub timeline: Vec<TimelineEntry>,
    /// Alerts whose place it takes.
    #[serde(default)]
    pub supersedes: Vec<RecordId>,
    /// Alerts that have to do with it.
    #[serde(default)]
    pub related: Vec<RecordId>,
    /// What the recipients are asked to do.
    #[serde(default)]
    pub actions: Vec<Action>,
    /// Null: exercises have a realm of their own.
    pub exercise: Option<serde_json::Value>,
    /// Members that may write it; the owner alone when empty.
    #[serde(default)]
    pub writers: Vec<MemberCode>,
    /// Its id elsewhere; the same id makes the same record.
    pub external_id: Option<String>,
}

const SEAL_PROBLEM: &str = "needs an explicit audience, which this version cannot seal yet";
const SEAL_REMEDY: &str = "use clear or green, or share it outside the mesh";

impl AlertDraft {
    /// The smallest alert.
    #[must_use]
    pub fn new(kind: AlertKind, title: String, severity: Severity, sectors: Vec<Sector>, tlp: Tlp) -> AlertDraft {
        AlertDraft {
            kind,
            title,
            severity,
            sectors,
            tlp,
            class: None,
            body: None,
            instruction: None,
            lang: None,
            translations: BTreeMap::new(),
            urgency: None,
            certainty: None,
            confidence: None,
            effective: None,
            onset: None,
            expires: None,
            countries: Vec::new(),
            classification: Vec::new(),
            handling: Vec::new(),
            references: Vec::new(),
            vulnerabilities: Vec::new(),
            indicators: Vec::new(),
            attachments: Vec::new(),
            timeline: Vec::new(),
            supersedes: Vec::new(),
            related: Vec::new(),
            actions: Vec::new(),
            exercise: None,
            writers: Vec::new(),
            external_id: None,
        }
    }

    /// Reads and checks a draft.
    ///
    /// # Errors
    /// The first field that is unknown, missing or not acceptable.
    pub fn from_json(bytes: &[u8]) -> Result<AlertDraft, DraftError> {
        let draft: AlertDraft = json::read(bytes, &[])?;
        draft.check()?;
        Ok(draft)
    }

    /// Checks a draft that was made in another way than from JSON.
    ///
    /// # Errors
    /// The first field that is not acceptable.
    pub fn check(&self) -> Checked {
        check::line("title", &self.title)?;
        if self.sectors.is_empty() {
            return Err(DraftError::new("sectors", "is empty", "name at least one sector"));
        }
        check::count("sectors", self.sectors.len(), ELEMENTS_MAX)?;
        check_tlp(self.tlp)?;
        if self.exercise.is_some() {
            let problem = "names an exercise, which has a realm of its own that this version cannot open yet";
            return Err(DraftError::new("exercise", problem, "send null or leave it out"));
        }
        check::count("writers", self.writers.len(), RECORD_WRITERS_MAX)?;
        if let Some(id) = &self.external_id {
            check::token("external_id", id, EXTERNAL_ID_BYTES_MAX)?;
        }
        self.check_texts()?;
        self.check_lists()
    }

    fn check_texts(&self) -> Checked {
        check::optional(&self.body, |text| check::text("body", text, BODY_BYTES_MAX))?;
        check::optional(&self.instruction, |text| check::text("instruction", text, BODY_BYTES_MAX))?;
        check::optional(&self.lang, |text| check::language("lang", text))?;
        check::count("translations", self.translations.len(), ELEMENTS_MAX)?;
        for (lang, translation) in &self.translations {
            check_translation(lang, translation)?;
        }
        self.confidence.as_ref().map_or(Ok(()), |c| check::number("confidence", c, &0, &CONFIDENCE_MAX))
    }

    fn check_lists(&self) -> Checked {
        check::each("countries", &self.countries, |text| check::country("", text))?;
        check::each("classification", &self.classification, |text| check::classification("", text))?;
        check::count("handling", self.handling.len(), ELEMENTS_MAX)?;
        check::each("references", &self.references, Element::check)?;
        check::each("vulnerabilities", &self.vulnerabilities, |text| check::id("", text))?;
        check::each_up_to("indicators", &self.indicators, INDICATORS_MAX, Element::check)?;
        check::each("attachments", &self.attachments, Element::check)?;
        check::each("timeline", &self.timeline, Element::check)?;
        check::count("supersedes", self.supersedes.len(), ELEMENTS_MAX)?;
        check::count("related", self.related.len(), ELEMENTS_MAX)?;
        check::count("actions", self.actions.len(), ELEMENTS_MAX)
    }

    /// The lane of the entry that will carry it.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class.unwrap_or(self.severity.class())
    }

    /// The create of this alert by a node of `owner`. The nonce must be random; it is not used when the
    /// draft has an external id.
    ///
    /// # Errors
    /// Writers that do not include the owner, repeated elements, or more than one change can hold.
    pub fn into_create(self, owner: MemberCode, nonce: [u8; 16]) -> Result<Create, DraftError> {
        let writers = writers_with(owner, self.writers)?;
        let mut ops = Ops::with_capacity(16);
        ops.word("kind", Some(self.kind.as_str()));
        ops.text("title", Some(self.title));
        ops.word("severity", Some(self.severity.as_str()));
        ops.word("tlp", Some(self.tlp.as_str()));
        ops.keys("sectors", self.sectors.iter().map(ToString::to_string));
        ops.word("class", self.class.map(Class::as_str));
        ops.text("body", self.body);
        ops.text("instruction", self.instruction);
        ops.text("lang", self.lang);
        for (lang, translation) in self.translations {
            ops.element("translations", lang, &translation);
        }
        ops.word("urgency", self.urgency.map(Urgency::as_str));
        ops.word("certainty", self.certainty.map(Certainty::as_str));
        if let Some(confidence) = self.confidence {
            ops.set("confidence", Value::Int(confidence));
        }
        ops.time("effective", self.effective);
        ops.time("onset", self.onset);
        ops.time("expires", self.expires);
        ops.keys("countries", self.countries);
        ops.keys("classification", self.classification);
        ops.keys("handling", self.handling.iter().map(ToString::to_string));
        ops.elements("references", &self.references)?;
        ops.keys("vulnerabilities", self.vulnerabilities);
        ops.elements("indicators", &self.indicators)?;
        ops.elements("attachments", &self.attachments)?;
        ops.elements("timeline", &self.timeline)?;
        ops.keys("supersedes", self.supersedes.iter().map(ToString::to_string));
        ops.keys("related", self.related.iter().map(ToString::to_string));
        ops.keys("actions", self.actions.iter().map(ToString::to_string));
        let naming = self.external_id.map_or(Naming::Nonce(nonce), Naming::External);
        Ok(Create { kind: RecordKind::Alert, writers, naming, ops: ops.finish()? })
    }
}

pub(super) fn check_tlp(tlp: Tlp) -> Checked {
    if tlp <= Tlp::Green { Ok(()) } else { Err(DraftError::new("tlp", SEAL_PROBLEM, SEAL_REMEDY)) }
}

pub(super) fn check_translation(lang: &str, translation: &Translation) -> Checked {
    check::language("", lang)
        .and_then(|()| translation.check())
        .map_err(|error| error.within(lang).within("translations"))
}

/// Sorted writers; the owner must be one of them.
pub(super) fn writers_with(owner: MemberCode, mut writers: Vec<MemberCode>) -> Result<Vec<MemberCode>, DraftError> {
    if writers.is_empty() {
        return Ok(vec![owner]);
    }
    writers.sort_unstable();
    writers.dedup();
    if writers.contains(&owner) {
        return Ok(writers);
    }
    Err(DraftError::new("writers", format!("does not contain {owner}, which makes the record"), format!("add {owner}")))
}
