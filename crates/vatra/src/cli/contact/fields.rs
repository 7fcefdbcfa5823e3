//! The options that fill the fields of a contact.

use clap::Args;
use serde_json::{Map, Value, json};
use vatra_model::WallMs;
use vatra_model::schema::words::{ContactRole, Party, Tlp};

use crate::cli::fields::{insert, json_object, word};
use crate::cli::input;

/// Fields of a contact as options. Lists take several values by repeating the option.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Contact fields")]
pub(crate) struct ContactFields {
    /// Name of the person, team or organisation.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// What the contact is.
    #[arg(long, value_parser = word(Party::ALL, Party::as_str))]
    party: Option<Party>,
    /// What the contact is there for.
    #[arg(long, value_parser = word(ContactRole::ALL, ContactRole::as_str))]
    role: Option<ContactRole>,
    /// Agency that it belongs to.
    #[arg(long, value_name = "TEXT")]
    agency: Option<String>,
    /// Team that it belongs to.
    #[arg(long, value_name = "TEXT")]
    team: Option<String>,
    /// Kind of team, as national.
    #[arg(long, value_name = "TEXT")]
    team_type: Option<String>,
    /// Status with Trusted Introducer.
    #[arg(long, value_name = "TEXT")]
    ti_status: Option<String>,
    /// Whom the team serves.
    #[arg(long, value_name = "TEXT")]
    constituency: Option<String>,
    /// A phone: a number, or {"number":..,"usage":..,"tz":..,"comment":..}.
    #[arg(long = "phone", value_name = "NUMBER|JSON", value_parser = |text: &str| part(text, "number"))]
    phones: Vec<Value>,
    /// An e-mail address, or {"address":..,"usage":..}.
    #[arg(long = "email", value_name = "ADDRESS|JSON", value_parser = |text: &str| part(text, "address"))]
    emails: Vec<Value>,
    /// Another address, as matrix:@duty:cert.example.
    #[arg(long, value_name = "SERVICE:ADDRESS", value_parser = chat)]
    chat: Vec<Value>,
    /// A public key: {"kind":..,"fingerprint":..,"expires":..}.
    #[arg(long = "key", value_name = "JSON", value_parser = json_object)]
    keys: Vec<Value>,
    /// A duty shift: {"id":..,"person":..,"from":..,"to":..}.
    #[arg(long = "shift", value_name = "JSON", value_parser = json_object)]
    shifts: Vec<Value>,
    /// Languages (BCP 47).
    #[arg(long = "language", value_name = "LANG", value_delimiter = ',')]
    languages: Vec<String>,
    /// Groups that the contact belongs to.
    #[arg(long = "group", value_name = "GROUP", value_delimiter = ',')]
    groups: Vec<String>,
    /// Opening hours: [{"days":["mon"],"from":"09:00","to":"17:00"}].
    #[arg(long, value_name = "JSON", value_parser = input::value)]
    hours: Option<Value>,
    /// Holidays.
    #[arg(long, value_name = "TEXT")]
    holidays: Option<String>,
    /// IANA time zone, as Europe/Kyiv.
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// TLP 2.0 label of the contact itself.
    #[arg(long, value_parser = word(Tlp::ALL, Tlp::as_str))]
    tlp: Option<Tlp>,
    /// The most restricted label that the contact may read.
    #[arg(long, value_parser = word(Tlp::ALL, Tlp::as_str))]
    tlp_clearance: Option<Tlp>,
    /// From when the contact holds: RFC 3339, or a duration from now.
    #[arg(long, value_name = "TIME", value_parser = input::time)]
    valid_from: Option<WallMs>,
    /// Until when the contact holds: RFC 3339, or a duration from now.
    #[arg(long, value_name = "TIME", value_parser = input::time)]
    valid_until: Option<WallMs>,
    /// The contact was tried and answered, now.
    #[arg(long)]
    verified: bool,
    /// URL of the RFC 2350 description.
    #[arg(long, value_name = "URL")]
    rfc2350: Option<String>,
    /// URL of the security.txt file.
    #[arg(long, value_name = "URL")]
    security_txt: Option<String>,
    /// Anything else.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

impl ContactFields {
    /// The fields that were given, as JSON.
    pub(crate) fn to_json(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        let texts = [
            ("name", &self.name),
            ("agency", &self.agency),
            ("team", &self.team),
            ("team_type", &self.team_type),
            ("ti_status", &self.ti_status),
            ("constituency", &self.constituency),
            ("holidays", &self.holidays),
            ("tz", &self.tz),
            ("rfc2350", &self.rfc2350),
            ("security_txt", &self.security_txt),
            ("note", &self.note),
        ];
        for (name, text) in texts {
            insert(&mut fields, name, text.as_ref().map(|text| json!(text)));
        }
        let lists = [
            ("phones", json!(self.phones)),
            ("emails", json!(self.emails)),
            ("chat", json!(self.chat)),
            ("keys", json!(self.keys)),
            ("shifts", json!(self.shifts)),
            ("languages", json!(self.languages)),
            ("groups", json!(self.groups)),
        ];
        for (name, list) in lists {
            let is_given = list.as_array().is_some_and(|items| !items.is_empty());
            insert(&mut fields, name, is_given.then_some(list));
        }
        insert(&mut fields, "party", self.party.map(|word| json!(word)));
        insert(&mut fields, "role", self.role.map(|word| json!(word)));
        insert(&mut fields, "tlp", self.tlp.map(|word| json!(word)));
        insert(&mut fields, "tlp_clearance", self.tlp_clearance.map(|word| json!(word)));
        insert(&mut fields, "hours", self.hours.clone());
        insert(&mut fields, "valid_from", self.valid_from.map(|at| json!(at)));
        insert(&mut fields, "valid_until", self.valid_until.map(|at| json!(at)));
        insert(&mut fields, "last_verified", self.verified.then(|| json!(input::now())));
        fields
    }
}

/// An element given by its main part alone, or whole as JSON.
fn part(text: &str, name: &str) -> Result<Value, String> {
    if text.starts_with('{') { json_object(text) } else { Ok(json!({ name: text })) }
}

fn chat(text: &str) -> Result<Value, String> {
    if text.starts_with('{') {
        return json_object(text);
    }
    let (service, address) = text.split_once(':').ok_or("SERVICE:ADDRESS is expected, as matrix:@duty:cert.example")?;
    Ok(json!({"service": service, "address": address}))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        fields: ContactFields,
    }

    #[test]
    fn options_become_fields() {
        let line = Line::parse_from([
            "x",
            "--name=Duty desk",
            "--role=duty-officer",
            "--phone=+380 44 281 88 25",
            r#"--email={"address":"a@b","usage":"alerts"}"#,
            "--chat=matrix:@duty:cert.example",
        ]);
        let expected = json!({
            "name": "Duty desk", "role": "duty-officer", "phones": [{"number": "+380 44 281 88 25"}],
            "emails": [{"address": "a@b", "usage": "alerts"}],
            "chat": [{"service": "matrix", "address": "@duty:cert.example"}],
        });
        assert_eq!(Value::Object(line.fields.to_json()), expected);
    }
}
