//! Drafts and patches of contacts.

use serde::{Deserialize, Serialize};

use crate::change::{Create, Naming, Op, RecordKind, Value};
use crate::class::Class;

use crate::draft::ops::{Ops, time_value};
use crate::draft::{DraftError, Patched, SetPatch, json};
use crate::ids::MemberCode;
use crate::limits::EXTERNAL_ID_BYTES_MAX;
use crate::schema::NOTE_BYTES_MAX;
use crate::schema::alert_parts::{Element, write_element};
use crate::schema::check::{self, Checked};
use crate::schema::contact_parts::{Chat, ContactKey, Email, Phone, Shift, WeekHours};
use crate::schema::words::{ContactRole, ContactStatus, Party, Tlp};
use crate::time::WallMs;
use crate::view::ContactView;

/// A new contact as people and programs send it. Unknown fields are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContactDraft {
    /// Name of the person, team or post.
    pub name: String,
    /// Person, team or organisation.
    pub party: Option<Party>,
    /// What it is there for.
    pub role: Option<ContactRole>,
    /// Agency.
    pub agency: Option<String>,
    /// Official name of the team.
    pub team: Option<String>,
    /// Kind of team.
    pub team_type: Option<String>,
    /// Trusted Introducer status.
    pub ti_status: Option<String>,
    /// For whom it works.
    pub constituency: Option<String>,
    /// Languages spoken.
    #[serde(default)]
    pub languages: Vec<String>,
    /// Phone numbers.
    #[serde(default)]
    pub phones: Vec<Phone>,
    /// E-mail addresses.
    #[serde(default)]
    pub emails: Vec<Email>,
    /// Addresses of other services.
    #[serde(default)]
    pub chat: Vec<Chat>,
    /// Public keys.
    #[serde(default)]
    pub keys: Vec<ContactKey>,
    /// Hours at which it answers.
    pub hours: Option<WeekHours>,
    /// IANA time zone of the hours.
    pub tz: Option<String>,
    /// Days on which the hours do not hold.
    pub holidays: Option<String>,
    /// Who is on duty when.
    #[serde(default)]
    pub shifts: Vec<Shift>,
    /// Who may be told of it: clear or green in this version.
    pub tlp: Option<Tlp>,
    /// The most restrictive label that it may read.
    pub tlp_clearance: Option<Tlp>,
    /// Need-to-know groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Since when it is valid.
    pub valid_from: Option<WallMs>,
    /// Until when it is valid.
    pub valid_until: Option<WallMs>,
    /// When somebody last checked it.
    pub last_verified: Option<WallMs>,
    /// Where its RFC 2350 description is.
    pub rfc2350: Option<String>,
    /// Where its security.txt is.
    pub security_txt: Option<String>,
    /// Anything else.
    pub note: Option<String>,
    /// Its id elsewhere; the same id makes the same record.
    pub external_id: Option<String>,
}

impl ContactDraft {
    /// Reads and checks a draft.
    ///
    /// # Errors
    /// The first field that is unknown, missing or not acceptable.
    pub fn from_json(bytes: &[u8]) -> Result<ContactDraft, DraftError> {
        let draft: ContactDraft = json::read(bytes, &[])?;
        draft.check()?;
        Ok(draft)
    }

    /// Checks a draft that was made in another way than from JSON.
    ///
    /// # Errors
    /// The first field that is not acceptable.
    pub fn check(&self) -> Checked {
        if let Some(id) = &self.external_id {
            check::token("external_id", id, EXTERNAL_ID_BYTES_MAX)?;
        }
        self.clone().into_patch().check()
    }

    /// The lane of the entry that will carry it: rosters never delay alerts.
    #[must_use]
    pub fn class(&self) -> Class {
        Class::Routine
    }

    /// The create of this contact by a node of `owner`. The nonce must be random; it is not used when the
    /// draft has an external id.
    ///
    /// # Errors
    /// Repeated elements, or more than one change can hold.
    pub fn into_create(mut self, owner: MemberCode, nonce: [u8; 16]) -> Result<Create, DraftError> {
        let naming = self.external_id.take().map_or(Naming::Nonce(nonce), Naming::External);
        let ops = self.into_patch().into_ops_on(None)?;
        Ok(Create { kind: RecordKind::Contact, writers: vec![owner], naming, ops })
    }

    fn into_patch(self) -> ContactPatch {
        ContactPatch {
            name: Patched::To(self.name),
            status: Patched::Keep,
            party: given(self.party),
            role: given(self.role),
            agency: given(self.agency),
            team: given(self.team),
            team_type: given(self.team_type),
            ti_status: given(self.ti_status),
            constituency: given(self.constituency),
            languages: listed(self.languages),
            phones: listed(self.phones),
            emails: listed(self.emails),
            chat: listed(self.chat),
            keys: listed(self.keys),
            hours: given(self.hours),
            tz: given(self.tz),
            holidays: given(self.holidays),
            shifts: listed(self.shifts),
            tlp: given(self.tlp),
            tlp_clearance: given(self.tlp_clearance),
            groups: listed(self.groups),
            valid_from: given(self.valid_from),
            valid_until: given(self.valid_until),
            last_verified: given(self.last_verified),
            rfc2350: given(self.rfc2350),
            security_txt: given(self.security_txt),
            note: given(self.note),
        }
    }
}

fn given<T>(value: Option<T>) -> Patched<T> {
    value.map_or(Patched::Keep, Patched::To)
}

fn listed<T>(items: Vec<T>) -> SetPatch<T> {
    if items.is_empty() { SetPatch::Keep } else { SetPatch::Exactly(items) }
}

/// An edit of a contact as people and programs send it. Unknown fields are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContactPatch {
    /// Name of the person, team or post.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub name: Patched<String>,
    /// Whether it is still there.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub status: Patched<ContactStatus>,
    /// Person, team or organisation.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub party: Patched<Party>,
    /// What it is there for.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub role: Patched<ContactRole>,
    /// Agency.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub agency: Patched<String>,
    /// Official name of the team.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub team: Patched<String>,
    /// Kind of team.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub team_type: Patched<String>,
    /// Trusted Introducer status.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub ti_status: Patched<String>,
    /// For whom it works.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub constituency: Patched<String>,
    /// Languages spoken.
    #[serde(skip_serializing_if = "SetPatch::is_keep")]
    pub languages: SetPatch<String>,
    /// Phone numbers, removed by their digits.
    #[serde(skip_serializing_if = "SetPatch::is_keep")]
    pub phones: SetPatch<Phone>,
    /// E-mail addresses, removed by address.
    #[serde(skip_serializing_if = "SetPatch::is_keep")]
    pub emails: SetPatch<Email>,
    /// Addresses of other services, removed by `service:address`.
    #[serde(skip_serializing_if = "SetPatch::is_keep")]
    pub chat: SetPatch<Chat>,
    /// Public keys, removed by `kind:fingerprint`.
    #[serde(skip_serializing_if = "SetPatch::is_keep")]
    pub keys: SetPatch<ContactKey>,
    /// Hours at which it answers.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub hours: Patched<WeekHours>,
    /// IANA time zone of the hours.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub tz: Patched<String>,
    /// Days on which the hours do not hold.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub holidays: Patched<String>,
    /// Who is on duty when, removed by id.
    #[serde(skip_serializing_if = "SetPatch::is_keep")]
    pub shifts: SetPatch<Shift>,
    /// Who may be told of it: clear or green in this version.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub tlp: Patched<Tlp>,
    /// The most restrictive label that it may read.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub tlp_clearance: Patched<Tlp>,
    /// Need-to-know groups.
    #[serde(skip_serializing_if = "SetPatch::is_keep")]
    pub groups: SetPatch<String>,
    /// Since when it is valid.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub valid_from: Patched<WallMs>,
    /// Until when it is valid.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub valid_until: Patched<WallMs>,
    /// When somebody last checked it.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub last_verified: Patched<WallMs>,
    /// Where its RFC 2350 description is.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub rfc2350: Patched<String>,
    /// Where its security.txt is.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub security_txt: Patched<String>,
    /// Anything else.
    #[serde(skip_serializing_if = "Patched::is_keep")]
    pub note: Patched<String>,
}

const FIXED: &[(&str, &str)] = &[("external_id", "it cannot change; remove this contact and add a new one")];

impl ContactPatch {
    /// Reads and checks a patch.
    ///
    /// # Errors
    /// The first field that is unknown or not acceptable.
    pub fn from_json(bytes: &[u8]) -> Result<ContactPatch, DraftError> {
        let patch: ContactPatch = json::read(bytes, FIXED)?;
        patch.check()?;
        Ok(patch)
    }

    /// A patch that says that the contact has left.
    #[must_use]
    pub fn left() -> ContactPatch {
        ContactPatch { status: Patched::To(ContactStatus::Left), ..ContactPatch::default() }
    }

    /// Checks a patch that was made in another way than from JSON.
    ///
    /// # Errors
    /// The first field that is not acceptable.
    pub fn check(&self) -> Checked {
        for (field, cleared) in [
            ("name", self.name == Patched::Clear),
            ("tlp", self.tlp == Patched::Clear),
            ("status", self.status == Patched::Clear),
        ] {
            if cleared {
                return Err(DraftError::new(field, "cannot be cleared", "give it a value or leave it out"));
            }
        }
        for (field, patched) in [
            ("name", &self.name),
            ("agency", &self.agency),
            ("team", &self.team),
            ("team_type", &self.team_type),
            ("ti_status", &self.ti_status),
            ("tz", &self.tz),
        ] {
            patched.as_new().map_or(Ok(()), |text| check::line(field, text))?;
        }
        for (field, patched) in
            [("constituency", &self.constituency), ("holidays", &self.holidays), ("note", &self.note)]
        {
            patched.as_new().map_or(Ok(()), |text| check::text(field, text, NOTE_BYTES_MAX))?;
        }
        for (field, patched) in [("rfc2350", &self.rfc2350), ("security_txt", &self.security_txt)] {
            patched.as_new().map_or(Ok(()), |text| check::url(field, text))?;
        }
        if self.tlp.as_new().is_some_and(|tlp| *tlp > Tlp::Green) {
            let problem = "needs an explicit audience, which this version cannot seal yet";
            return Err(DraftError::new("tlp", problem, "use clear or green, or keep the contact outside the mesh"));
        }
        if let Some(hours) = self.hours.as_new() {
            hours.check().map_err(|error| error.within("hours"))?;
        }
        check::each("languages", self.languages.added(), |text| check::language("", text))?;
        check::each("phones", self.phones.added(), Element::check)?;
        check::each("emails", self.emails.added(), Element::check)?;
        check::each("chat", self.chat.added(), Element::check)?;
        check::each("keys", self.keys.added(), Element::check)?;
        check::each("shifts", self.shifts.added(), Element::check)?;
        check::each("groups", self.groups.added(), |text| check::line("", text))
    }

    /// The ops of an edit that rests on this view.
    ///
    /// # Errors
    /// Repeated elements or more than one change can hold.
    pub fn into_ops(self, view: &ContactView) -> Result<Vec<Op>, DraftError> {
        self.into_ops_on(Some(view))
    }

    fn into_ops_on(self, view: Option<&ContactView>) -> Result<Vec<Op>, DraftError> {
        let mut ops = Ops::default();
        ops.patched("name", self.name, Value::Text);
        ops.patched("status", self.status, |word| Value::Text(word.to_string()));
        ops.patched("party", self.party, |word| Value::Text(word.to_string()));
        ops.patched("role", self.role, |word| Value::Text(word.to_string()));
        ops.patched("agency", self.agency, Value::Text);
        ops.patched("team", self.team, Value::Text);
        ops.patched("team_type", self.team_type, Value::Text);
        ops.patched("ti_status", self.ti_status, Value::Text);
        ops.patched("constituency", self.constituency, Value::Text);
        ops.patched_keys("languages", self.languages, view.map_or(&[], |view| &view.languages));
        ops.patched_elements("phones", &self.phones, view.map_or(&[], |view| &view.phones))?;
        ops.patched_elements("emails", &self.emails, view.map_or(&[], |view| &view.emails))?;
        ops.patched_elements("chat", &self.chat, view.map_or(&[], |view| &view.chat))?;
        ops.patched_elements("keys", &self.keys, view.map_or(&[], |view| &view.keys))?;
        ops.patched("hours", self.hours, |hours| Value::Text(write_element(&hours)));
        ops.patched("tz", self.tz, Value::Text);
        ops.patched("holidays", self.holidays, Value::Text);
        ops.patched_elements("shifts", &self.shifts, view.map_or(&[], |view| &view.shifts))?;
        ops.patched("tlp", self.tlp, |word| Value::Text(word.to_string()));
        ops.patched("tlp_clearance", self.tlp_clearance, |word| Value::Text(word.to_string()));
        ops.patched_keys("groups", self.groups, view.map_or(&[], |view| &view.groups));
        ops.patched("valid_from", self.valid_from, time_value);
        ops.patched("valid_until", self.valid_until, time_value);
        ops.patched("last_verified", self.last_verified, time_value);
        ops.patched("rfc2350", self.rfc2350, Value::Text);
        ops.patched("security_txt", self.security_txt, Value::Text);
        ops.patched("note", self.note, Value::Text);
        ops.finish()
    }
}
