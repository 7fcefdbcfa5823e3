//! The view of a contact.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{ChangeId, MemberCode, RecordId};
use crate::schema::contact_parts::{Chat, ContactKey, Email, Phone, Shift, WeekHours};
use crate::schema::words::{ContactRole, ContactStatus, Party, ShiftDuty, Tlp};
use crate::time::WallMs;
use crate::view::{Conflicts, WallUs};

/// A contact as everybody sees it. The order of the fields is that of the JSON; lists are sorted by key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactView {
    /// The record.
    pub id: RecordId,
    /// Short code of the record for speech.
    pub code: String,
    /// The member on whose roster it is.
    pub owner: MemberCode,
    /// The members that may write it.
    pub writers: Vec<MemberCode>,
    /// Its id in the system it was imported from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Whether it is still there.
    pub status: ContactStatus,
    /// Person, team or organisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<Party>,
    /// Name of the person, team or post.
    pub name: String,
    /// What it is there for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<ContactRole>,
    /// Agency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agency: Option<String>,
    /// Official name of the team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Kind of team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team_type: Option<String>,
    /// Trusted Introducer status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ti_status: Option<String>,
    /// For whom it works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constituency: Option<String>,
    /// Languages spoken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<String>,
    /// Phone numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phones: Vec<Phone>,
    /// E-mail addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emails: Vec<Email>,
    /// Addresses of other services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chat: Vec<Chat>,
    /// Public keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<ContactKey>,
    /// Hours at which it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<WeekHours>,
    /// IANA time zone of the hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tz: Option<String>,
    /// Days on which the hours do not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holidays: Option<String>,
    /// Who is on duty when; overlaps are shown as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shifts: Vec<Shift>,
    /// Who may be told of it; the most restrictive of concurrent values.
    pub tlp: Tlp,
    /// The most restrictive label that it may read; the lowest of concurrent values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tlp_clearance: Option<Tlp>,
    /// Need-to-know groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Since when it is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<WallMs>,
    /// Until when it is valid; the latest of concurrent values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<WallMs>,
    /// When somebody last checked it; the latest of concurrent values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_verified: Option<WallMs>,
    /// Where its RFC 2350 description is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rfc2350: Option<String>,
    /// Where its security.txt is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_txt: Option<String>,
    /// Anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When it was made, by its maker's clock.
    pub issued_at: WallMs,
    /// When it last changed, by the changer's clock; different for different states.
    pub modified_at: WallUs,
    /// The newest changes: what an edit of this view rests on.
    pub version: Vec<ChangeId>,
    /// Concurrent values that nobody has settled yet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub conflicts: Conflicts,
    /// A part was written by a newer version and is not shown.
    pub newer_than_node: bool,
    /// A change of it lies at or past the fork of its log: its origin, or a copy of it, contradicted itself there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forked: bool,
}

impl ContactView {
    /// The shifts that cover a moment, first to be called first; several are an overlap to be shown.
    #[must_use]
    pub fn on_call_at(&self, now: WallMs) -> Vec<&Shift> {
        let mut shifts: Vec<&Shift> = self.shifts.iter().filter(|s| s.from <= now && now < s.to).collect();
        shifts.sort_by_key(|shift| shift.duty.unwrap_or(ShiftDuty::Primary));
        shifts
    }

    /// Whether the contact is there and valid at a moment.
    #[must_use]
    pub fn valid_at(&self, now: WallMs) -> bool {
        self.status == ContactStatus::Active
            && self.valid_from.is_none_or(|from| from <= now)
            && self.valid_until.is_none_or(|until| now < until)
    }
}
