//! Structured elements of a contact.

use serde::{Deserialize, Serialize};

use crate::schema::alert_parts::{Element, Keyed, in_order};
use crate::schema::check::{self, Checked, DraftError};
use crate::schema::words::{ChatService, Day, EmailUsage, KeyKind, PhoneUsage, ShiftDuty};
use crate::schema::{ID_BYTES_MAX, NOTE_BYTES_MAX};
use crate::time::WallMs;

/// A phone number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phone {
    /// The number, international: `+380 44 281 88 25`.
    pub number: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<PhoneUsage>,
    /// IANA time zone of the hours at which it is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tz: Option<String>,
    /// Anything to know before calling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Digits and separators of a phone number.
pub const PHONE_CHARS_MAX: usize = 40;

impl Element for Phone {
    const FIELDS: &'static [&'static str] = &["number", "usage", "tz", "comment"];

    fn check(&self) -> Checked {
        let digits = self.number.bytes().filter(u8::is_ascii_digit).count();
        let allowed = |b: u8| b.is_ascii_digit() || b" +-()./*#,".contains(&b);
        if digits < 3 || self.number.len() > PHONE_CHARS_MAX || !self.number.bytes().all(allowed) {
            let problem = format!("is not a phone number of at most {PHONE_CHARS_MAX} characters");
            return Err(DraftError::new("number", problem, "write it like +380 44 281 88 25"));
        }
        check::optional(&self.tz, |text| check::token("tz", text, ID_BYTES_MAX))?;
        check::optional(&self.comment, |text| check::line("comment", text))
    }
}

impl Keyed for Phone {
    fn key(&self) -> String {
        Phone::key_meant(&self.number)
    }

    fn key_meant(text: &str) -> String {
        text.chars().filter(|c| c.is_ascii_digit() || matches!(c, '+' | '*' | '#')).collect()
    }
}

/// An e-mail address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Email {
    /// The address.
    pub address: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<EmailUsage>,
}

/// Bytes of an e-mail address (RFC 5321 section 4.5.3.1).
pub const EMAIL_BYTES_MAX: usize = 254;

impl Element for Email {
    const FIELDS: &'static [&'static str] = &["address", "usage"];

    fn check(&self) -> Checked {
        check::token("address", &self.address, EMAIL_BYTES_MAX)?;
        match self.address.rsplit_once('@') {
            Some((local, domain)) if !local.is_empty() && !domain.is_empty() => Ok(()),
            _ => Err(DraftError::new("address", "is not an e-mail address", "write it like duty@cert.example")),
        }
    }
}

impl Keyed for Email {
    fn key(&self) -> String {
        Email::key_meant(&self.address)
    }

    fn key_meant(text: &str) -> String {
        text.to_lowercase()
    }
}

/// An address of another service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chat {
    /// The service.
    pub service: ChatService,
    /// The address or call sign there.
    pub address: String,
}

impl Element for Chat {
    const FIELDS: &'static [&'static str] = &["service", "address"];

    fn check(&self) -> Checked {
        check::line("address", &self.address)
    }
}

impl Keyed for Chat {
    fn key(&self) -> String {
        format!("{}:{}", self.service, self.address)
    }
}

/// A public key or certificate of a contact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContactKey {
    /// What it is for.
    pub kind: KeyKind,
    /// Fingerprint or the whole of a short key.
    pub fingerprint: String,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<WallMs>,
    /// Where it can be fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Element for ContactKey {
    const FIELDS: &'static [&'static str] = &["kind", "fingerprint", "expires", "url"];

    fn check(&self) -> Checked {
        check::line("fingerprint", &self.fingerprint)?;
        check::optional(&self.url, |text| check::url("url", text))
    }
}

impl Keyed for ContactKey {
    fn key(&self) -> String {
        let fingerprint: String = self.fingerprint.chars().filter(|c| !c.is_whitespace()).collect();
        format!("{}:{fingerprint}", self.kind)
    }
}

/// Hours at which a contact answers, in the contact's time zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// On which days.
    pub days: Vec<Day>,
    /// From, as `08:00`.
    pub from: String,
    /// To, as `17:30`; `24:00` is the end of the day; before `from` means the next day.
    pub to: String,
}

impl Element for Hours {
    const FIELDS: &'static [&'static str] = &["days", "from", "to"];

    fn check(&self) -> Checked {
        if self.days.is_empty() {
            return Err(DraftError::new("days", "is empty", "name at least one day"));
        }
        check::count("days", self.days.len(), Day::ALL.len())?;
        time_of_day("from", &self.from)?;
        time_of_day("to", &self.to)
    }
}

fn time_of_day(field: &str, text: &str) -> Checked {
    let parts = match text.as_bytes() {
        [a @ b'0'..=b'2', b @ b'0'..=b'9', b':', c @ b'0'..=b'5', d @ b'0'..=b'9'] => {
            Some((u32::from(a - b'0') * 10 + u32::from(b - b'0'), u32::from(c - b'0') * 10 + u32::from(d - b'0')))
        }
        _ => None,
    };
    match parts {
        Some((0..=23, _) | (24, 0)) => Ok(()),
        _ => Err(DraftError::new(field, "is not a time of day", "write it like 08:00, at most 24:00")),
    }
}

/// The hours of one week as one value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WeekHours(pub Vec<Hours>);

/// Spans in the hours of one week.
pub const HOURS_MAX: usize = 21;

impl WeekHours {
    /// Checks the number of spans and each of them.
    ///
    /// # Errors
    /// The span that is not acceptable.
    pub fn check(&self) -> Checked {
        check::each_up_to("", &self.0, HOURS_MAX, Hours::check)
    }
}

/// Who is on duty from when to when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shift {
    /// Its id, unique in the contact.
    pub id: String,
    /// The person: a record id of the roster or a name.
    pub person: String,
    /// From.
    pub from: WallMs,
    /// To.
    pub to: WallMs,
    /// First or second to be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duty: Option<ShiftDuty>,
    /// Anything to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Element for Shift {
    const FIELDS: &'static [&'static str] = &["id", "person", "from", "to", "duty", "note"];

    fn check(&self) -> Checked {
        check::id("id", &self.id)?;
        check::line("person", &self.person)?;
        check::optional(&self.note, |text| check::text("note", text, NOTE_BYTES_MAX))?;
        in_order("to", Some(self.from), Some(self.to))
    }
}

impl Keyed for Shift {
    fn key(&self) -> String {
        self.id.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_number_is_the_same_however_it_is_spaced() {
        let phone = |number: &str| Phone { number: number.into(), ..Phone::default() };
        assert_eq!(phone("+380 44 281-88-25").key(), phone("+380442818825").key());
        assert_eq!(phone("+380 44").check(), Ok(()));
        for bad in ["", "12", "call me", "+380\n44"] {
            assert!(phone(bad).check().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn hours_end_at_midnight_at_the_latest() {
        let hours = |to: &str| Hours { days: vec![Day::Monday], from: "08:00".into(), to: to.into() };
        assert_eq!(hours("24:00").check(), Ok(()));
        for bad in ["24:01", "25:00", "8:00", "08:60", "0800", ""] {
            assert!(hours(bad).check().is_err(), "{bad:?}");
        }
        assert!(WeekHours(vec![hours("17:00"); HOURS_MAX + 1]).check().is_err());
    }
}
