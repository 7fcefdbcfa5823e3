//! This member's answer to an alert.

use serde::{Deserialize, Serialize};

use crate::change::{Op, Value};
use crate::draft::ops::{Ops, time_value};
use crate::draft::{DraftError, Patched, SetPatch, json};
use crate::schema::alert_parts::{Element, write_element};
use crate::schema::check::{self, Checked};
use crate::schema::response_parts::{Acknowledgement, Advisory, Impact, Sighting};
use crate::schema::words::{Agreement, Assessment, Assistance};
use crate::schema::{NOTE_BYTES_MAX, SIGHTINGS_MAX};
use crate::time::WallMs;
use crate::view::ResponseView;

/// What this member has to say to an alert. Absent fields stay as they are, `null` clears one, so that the
/// desk that assesses does not undo the acknowledgement of the desk that was on duty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResponseDraft {
    /// When somebody saw the alert.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub seen_at: Patched<WallMs>,
    /// Who took note of it.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub acknowledged: Patched<AcknowledgementDraft>,
    /// How the member is affected.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub assessment: Patched<Assessment>,
    /// What it does to the member.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub impact: Patched<Impact>,
    /// National advisories, removed by URL.
    #[serde(skip_serializing_if = "SetPatch::is_keep")]
    pub advisories: SetPatch<Advisory>,
    /// Whether it needs or gives help.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub assistance: Patched<Assistance>,
    /// Which help.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub assistance_text: Patched<String>,
    /// Its opinion of the alert.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub agreement: Patched<Agreement>,
    /// Anything else.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub note: Patched<String>,
    /// Whom to ask: a record id of the roster or a name.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub contact: Patched<String>,
    /// New observations; those that are there already stay.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sightings: Vec<Sighting>,
}

/// An acknowledgement whose time may be left to the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcknowledgementDraft {
    /// Who.
    pub by: String,
    /// When; now when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<WallMs>,
}

impl ResponseDraft {
    /// Reads and checks an answer.
    ///
    /// # Errors
    /// The first field that is unknown or not acceptable.
    pub fn from_json(bytes: &[u8]) -> Result<ResponseDraft, DraftError> {
        let draft: ResponseDraft = json::read(bytes, &[])?;
        draft.check()?;
        Ok(draft)
    }

    /// Checks an answer that was made in another way than from JSON.
    ///
    /// # Errors
    /// The first field that is not acceptable.
    pub fn check(&self) -> Checked {
        if let Some(acknowledged) = self.acknowledged.as_new() {
            check::line("by", &acknowledged.by).map_err(|error| error.within("acknowledged"))?;
        }
        if let Some(impact) = self.impact.as_new() {
            impact.check().map_err(|error| error.within("impact"))?;
        }
        if let Some(text) = self.assistance_text.as_new() {
            check::text("assistance_text", text, NOTE_BYTES_MAX)?;
        }
        if let Some(text) = self.note.as_new() {
            check::text("note", text, NOTE_BYTES_MAX)?;
        }
        if let Some(text) = self.contact.as_new() {
            check::line("contact", text)?;
        }
        check::each("advisories", self.advisories.added(), Element::check)?;
        check::each_up_to("sightings", &self.sightings, SIGHTINGS_MAX, Element::check)
    }

    /// The ops of an edit of this member's section. `view` is its answer so far; `now` stamps an
    /// acknowledgement without a time, and an acknowledged alert counts as seen.
    ///
    /// # Errors
    /// Repeated elements, too many sightings, or more than one change can hold.
    pub fn into_ops(self, now: WallMs, view: Option<&ResponseView>) -> Result<Vec<Op>, DraftError> {
        let mut ops = Ops::default();
        let seen = view.and_then(|view| view.seen_at);
        if let (Patched::To(acknowledged), Patched::Keep, None) = (&self.acknowledged, &self.seen_at, seen) {
            ops.time("seen_at", Some(acknowledged.at.unwrap_or(now)));
        }
        ops.patched("seen_at", self.seen_at, time_value);
        ops.patched("acknowledged", self.acknowledged, |draft| {
            let acknowledged = Acknowledgement { by: draft.by, at: draft.at.unwrap_or(now) };
            Value::Text(write_element(&acknowledged))
        });
        ops.patched("assessment", self.assessment, |word| Value::Text(word.to_string()));
        ops.patched("impact", self.impact, |impact| Value::Text(write_element(&impact)));
        ops.patched_elements("advisories", &self.advisories, view.map_or(&[], |view| &view.advisories))?;
        ops.patched("assistance", self.assistance, |word| Value::Text(word.to_string()));
        ops.patched("assistance_text", self.assistance_text, Value::Text);
        ops.patched("agreement", self.agreement, |word| Value::Text(word.to_string()));
        ops.patched("note", self.note, Value::Text);
        ops.patched("contact", self.contact, Value::Text);
        let known = view.map_or(&[][..], |view| &view.sightings);
        let new: Vec<Sighting> = self.sightings.into_iter().filter(|sighting| !known.contains(sighting)).collect();
        check::count("sightings", known.len() + new.len(), SIGHTINGS_MAX)?;
        ops.elements("sightings", &new)?;
        ops.finish()
    }
}
