//! The view of an alert and of the members' answers to it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::class::Class;
use crate::ids::{ChangeId, MemberCode, RecordId};
use crate::schema::alert_parts::{Attachment, Indicator, Reference, TimelineEntry, Translation};
use crate::schema::response_parts::{Acknowledgement, Advisory, Impact, Sighting};
use crate::schema::words::{
    Action, Agreement, AlertKind, AlertStatus, Assessment, Assistance, Certainty, Handling, Sector, Severity, Tlp,
    Urgency,
};
use crate::time::WallMs;
use crate::view::{Conflicts, WallUs};

/// An alert as everybody sees it. The order of the fields is that of the JSON; lists are sorted by key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertView {
    /// The record.
    pub id: RecordId,
    /// Short code of the record for speech.
    pub code: String,
    /// The member that made it.
    pub owner: MemberCode,
    /// The members that may write it.
    pub writers: Vec<MemberCode>,
    /// Its id in the system it was imported from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// What it is about.
    pub kind: AlertKind,
    /// Where it stands.
    pub status: AlertStatus,
    /// It was ended by somebody who had not seen another change; it stands until someone who saw both decides.
    pub cancel_disputed: bool,
    /// Its lane.
    pub class: Class,
    /// Headline.
    pub title: String,
    /// Description, Markdown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// What to do, Markdown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// Language of the texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lang: Option<String>,
    /// The texts in other languages.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub translations: BTreeMap<String, Translation>,
    /// How grave; the gravest of concurrent values.
    pub severity: Severity,
    /// How soon to act.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urgency: Option<Urgency>,
    /// How sure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certainty: Option<Certainty>,
    /// Confidence in percent; the lowest of concurrent values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<u8>,
    /// Who may be told; the most restrictive of concurrent values.
    pub tlp: Tlp,
    /// Since when it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<WallMs>,
    /// When it began or will begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onset: Option<WallMs>,
    /// When it ceases to count; the latest of concurrent values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<WallMs>,
    /// Sectors that are affected.
    pub sectors: Vec<Sector>,
    /// Countries that are affected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub countries: Vec<String>,
    /// Classification codes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classification: Vec<String>,
    /// Restrictions on use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handling: Vec<Handling>,
    /// Where more can be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// CVE and other vulnerability ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vulnerabilities: Vec<String>,
    /// What to look for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indicators: Vec<Indicator>,
    /// Files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// What happened so far, by time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<TimelineEntry>,
    /// Alerts whose place it takes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supersedes: Vec<RecordId>,
    /// Alerts that have to do with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<RecordId>,
    /// What the recipients are asked to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Action>,
    /// When it was made, by its maker's clock.
    pub issued_at: WallMs,
    /// When anything of it last changed, by the changer's clock; different for different states.
    pub modified_at: WallUs,
    /// The newest changes of the core: what an edit of this view rests on.
    pub version: Vec<ChangeId>,
    /// Concurrent values that nobody has settled yet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub conflicts: Conflicts,
    /// The members' answers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub responses: BTreeMap<MemberCode, ResponseView>,
    /// A part was written by a newer version and is not shown.
    pub newer_than_node: bool,
    /// A change of it lies at or past the fork of its log: its origin, or a copy of it, contradicted itself there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forked: bool,
}

impl AlertView {
    /// Whether the alert has ceased to count at a moment.
    #[must_use]
    pub fn expired_at(&self, now: WallMs) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// A member's answer to an alert.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseView {
    /// When somebody there saw the alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<WallMs>,
    /// Who there took note of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
    /// How the member is affected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assessment: Option<Assessment>,
    /// What it does to the member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact: Option<Impact>,
    /// National advisories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advisories: Vec<Advisory>,
    /// Whether it needs or gives help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assistance: Option<Assistance>,
    /// Which help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assistance_text: Option<String>,
    /// Its opinion of the alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Agreement>,
    /// Anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Whom to ask: a record id of its roster or a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// Observations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sightings: Vec<Sighting>,
    /// When it last changed, by the changer's clock.
    pub modified_at: WallMs,
    /// Its newest changes: what an edit of it rests on.
    pub version: Vec<ChangeId>,
    /// Concurrent values that nobody has settled yet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub conflicts: Conflicts,
}
