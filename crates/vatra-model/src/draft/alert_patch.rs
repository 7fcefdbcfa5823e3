//! Patches of alerts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::change::{Op, Value};
use crate::class::Class;
use crate::draft::alert::{check_tlp, check_translation};
use crate::draft::ops::{Ops, time_value};
use crate::draft::{DraftError, Patched, SetPatch, json};
use crate::ids::RecordId;
use crate::schema::alert_parts::{Attachment, Element, Indicator, Reference, TimelineEntry, Translation};
use crate::schema::check::{self, Checked};
use crate::schema::words::{Action, AlertStatus, Certainty, Handling, Sector, Severity, Tlp, Urgency};
use crate::schema::{BODY_BYTES_MAX, CONFIDENCE_MAX, ELEMENTS_MAX, INDICATORS_MAX};
use crate::time::WallMs;
use crate::view::AlertView;

/// An edit of an alert's core as people and programs send it. Unknown fields are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertPatch {
    /// Headline.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub title: Patched<String>,
    /// How grave.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub severity: Patched<Severity>,
    /// Label; `null` is refused.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub tlp: Patched<Tlp>,
    /// Where it stands.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub status: Patched<AlertStatus>,
    /// Lane from now on; `null` goes back to the one of the severity.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub class: Patched<Class>,
    /// Description.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub body: Patched<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub instruction: Patched<String>,
    /// Language of the texts.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub lang: Patched<String>,
    /// Texts in other languages, language by language; `null` removes one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub translations: BTreeMap<String, Option<Translation>>,
    /// How soon to act.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub urgency: Patched<Urgency>,
    /// How sure.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub certainty: Patched<Certainty>,
    /// Confidence in percent.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub confidence: Patched<i64>,
    /// Since when it counts.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub effective: Patched<WallMs>,
    /// When it began.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub onset: Patched<WallMs>,
    /// When it ceases to count.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub expires: Patched<WallMs>,
    /// Sectors.
    #[serde(skip_serializing_if = "SetPatch::is_keep")]
    pub sectors: SetPatch<Sector>,
    /// Countries.
    #[serde(skip_serializing_if = "SetPatch::is_keep")]
    pub countries: SetPatch<String>,
    /// Classification codes.
    #[serde(skip_serializing_if = "SetPatch::is_keep")]
    pub classification: SetPatch<String>,
    /// Restrictions on use.
    #[serde(skip_serializing_if = "SetPatch::is_keep")]
    pub handling: SetPatch<Handling>,
    /// References, removed by URL or `source:id`.
    #[serde(skip_serializing_if = "SetPatch::is_keep")]
    pub references: SetPatch<Reference>,
    /// Vulnerability ids.
    #[serde(skip_serializing_if = "SetPatch::is_keep")]
    pub vulnerabilities: SetPatch<String>,
    /// Indicators, removed by `iid`.
    #[serde(skip_serializing_if = "SetPatch::is_keep")]
    pub indicators: SetPatch<Indicator>,
    /// Files, removed by `sha256`.
    #[serde(skip_serializing_if = "SetPatch::is_keep")]
    pub attachments: SetPatch<Attachment>,
    /// New entries of the timeline, which only grows.
    #[serde(skip_serializing_if = "SetPatch::is_keep")]
    pub timeline: SetPatch<TimelineEntry>,
    /// Alerts whose place it takes.
    #[serde(skip_serializing_if = "SetPatch::is_keep")]
    pub supersedes: SetPatch<RecordId>,
    /// Alerts that have to do with it.
    #[serde(skip_serializing_if = "SetPatch::is_keep")]
    pub related: SetPatch<RecordId>,
    /// What the recipients are asked to do.
    #[serde(skip_serializing_if = "SetPatch::is_keep")]
    pub actions: SetPatch<Action>,
}

/// What to do instead of patching what cannot change.
const FIXED: &[(&str, &str)] = &[
    ("kind", "it cannot change; publish a new alert that supersedes this one"),
    ("writers", "they cannot change; publish a new alert that supersedes this one"),
    ("external_id", "it cannot change; publish a new alert that supersedes this one"),
    ("exercise", "it cannot change; publish a new alert in the right realm"),
];

impl AlertPatch {
    /// Reads and checks a patch.
    ///
    /// # Errors
    /// The first field that is unknown or not acceptable.
    pub fn from_json(bytes: &[u8]) -> Result<AlertPatch, DraftError> {
        let patch: AlertPatch = json::read(bytes, FIXED)?;
        patch.check()?;
        Ok(patch)
    }

    /// A patch that only changes where the alert stands.
    #[must_use]
    pub fn status(status: AlertStatus) -> AlertPatch {
        AlertPatch { status: Patched::To(status), ..AlertPatch::default() }
    }

    /// Checks a patch that was made in another way than from JSON.
    ///
    /// # Errors
    /// The first field that is not acceptable.
    pub fn check(&self) -> Checked {
        for (field, cleared) in [
            ("title", self.title == Patched::Clear),
            ("severity", self.severity == Patched::Clear),
            ("tlp", self.tlp == Patched::Clear),
            ("status", self.status == Patched::Clear),
        ] {
            if cleared {
                return Err(DraftError::new(field, "cannot be cleared", "give it a value or leave it out"));
            }
        }
        let new = |patched: &Patched<String>| patched.as_new().cloned();
        check::optional(&new(&self.title), |text| check::line("title", text))?;
        check::optional(&new(&self.body), |text| check::text("body", text, BODY_BYTES_MAX))?;
        check::optional(&new(&self.instruction), |text| check::text("instruction", text, BODY_BYTES_MAX))?;
        check::optional(&new(&self.lang), |text| check::language("lang", text))?;
        self.tlp.as_new().map_or(Ok(()), |tlp| check_tlp(*tlp))?;
        self.confidence.as_new().map_or(Ok(()), |c| check::number("confidence", c, &0, &CONFIDENCE_MAX))?;
        for (lang, translation) in &self.translations {
            check::language(&format!("translations.{lang}"), lang)?;
            if let Some(translation) = translation {
                check_translation(lang, translation)?;
            }
        }
        self.check_lists()
    }

    fn check_lists(&self) -> Checked {
        if self.sectors == SetPatch::Exactly(Vec::new()) {
            return Err(DraftError::new("sectors", "is empty", "name at least one sector"));
        }
        if matches!(&self.timeline, SetPatch::Change { remove, .. } if !remove.is_empty()) {
            let problem = "takes entries out, but a timeline only grows";
            return Err(DraftError::new("timeline", problem, "add an entry that corrects the other"));
        }
        check::each("countries", self.countries.added(), |text| check::country("", text))?;
        check::each("classification", self.classification.added(), |text| check::classification("", text))?;
        check::each("references", self.references.added(), Element::check)?;
        check::each("vulnerabilities", self.vulnerabilities.added(), |text| check::id("", text))?;
        check::each_up_to("indicators", self.indicators.added(), INDICATORS_MAX, Element::check)?;
        check::each("attachments", self.attachments.added(), Element::check)?;
        check::each("timeline", self.timeline.added(), Element::check)
    }

    /// The lane of the entry that will carry it, given the alert as it is.
    #[must_use]
    pub fn class(&self, view: &AlertView) -> Class {
        let severity = self.severity.as_new().copied().unwrap_or(view.severity);
        match self.class {
            Patched::To(class) => class,
            Patched::Clear => severity.class(),
            Patched::Keep => view.class.min(severity.class()),
        }
    }

    /// The ops of an edit that rests on this view.
    ///
    /// # Errors
    /// Repeated elements, sets that would grow past their limit, or more than one change can hold.
    pub fn into_ops(self, view: &AlertView) -> Result<Vec<Op>, DraftError> {
        self.check_growth(view)?;
        let mut ops = Ops::default();
        ops.patched("title", self.title, Value::Text);
        ops.patched("severity", self.severity, |word| Value::Text(word.to_string()));
        ops.patched("tlp", self.tlp, |word| Value::Text(word.to_string()));
        ops.patched("status", self.status, |word| Value::Text(word.to_string()));
        ops.patched("class", self.class, |word| Value::Text(word.to_string()));
        ops.patched("body", self.body, Value::Text);
        ops.patched("instruction", self.instruction, Value::Text);
        ops.patched("lang", self.lang, Value::Text);
        for (lang, translation) in self.translations {
            match translation {
                Some(translation) => ops.element("translations", lang, &translation),
                None => ops.remove("translations", lang),
            }
        }
        ops.patched("urgency", self.urgency, |word| Value::Text(word.to_string()));
        ops.patched("certainty", self.certainty, |word| Value::Text(word.to_string()));
        ops.patched("confidence", self.confidence, Value::Int);
        ops.patched("effective", self.effective, time_value);
        ops.patched("onset", self.onset, time_value);
        ops.patched("expires", self.expires, time_value);
        ops.patched_keys("sectors", texts_of(&self.sectors), &texts(&view.sectors));
        ops.patched_keys("countries", self.countries, &view.countries);
        ops.patched_keys("classification", self.classification, &view.classification);
        ops.patched_keys("handling", texts_of(&self.handling), &texts(&view.handling));
        ops.patched_elements("references", &self.references, &view.references)?;
        ops.patched_keys("vulnerabilities", self.vulnerabilities, &view.vulnerabilities);
        ops.patched_elements("indicators", &self.indicators, &view.indicators)?;
        ops.patched_elements("attachments", &self.attachments, &view.attachments)?;
        ops.elements("timeline", self.timeline.added())?;
        ops.patched_keys("supersedes", texts_of(&self.supersedes), &texts(&view.supersedes));
        ops.patched_keys("related", texts_of(&self.related), &texts(&view.related));
        ops.patched_keys("actions", texts_of(&self.actions), &texts(&view.actions));
        ops.finish()
    }

    fn check_growth(&self, view: &AlertView) -> Checked {
        let grown = |patch: usize, exact: bool, now: usize| if exact { patch } else { patch + now };
        let exact = matches!(self.indicators, SetPatch::Exactly(_));
        let indicators = grown(self.indicators.added().len(), exact, view.indicators.len());
        check::count("indicators", indicators, INDICATORS_MAX)?;
        let exact = matches!(self.references, SetPatch::Exactly(_));
        let references = grown(self.references.added().len(), exact, view.references.len());
        check::count("references", references, ELEMENTS_MAX)
    }
}

fn texts<T: ToString>(words: &[T]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn texts_of<T: ToString>(patch: &SetPatch<T>) -> SetPatch<String> {
    match patch {
        SetPatch::Keep => SetPatch::Keep,
        SetPatch::Exactly(words) => SetPatch::Exactly(texts(words)),
        SetPatch::Change { add, remove } => SetPatch::Change { add: texts(add), remove: remove.clone() },
    }
}
