//! The fixed vocabularies of records: one enum each, ordered where a join needs an order.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::class::Class;

/// A text is none of a vocabulary's words. Nothing was changed; use one of the words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("must be one of {allowed}, not {found:?}")]
pub struct UnknownWord {
    /// The words, separated by commas.
    pub allowed: String,
    /// The text found, cut to 80 characters.
    pub found: String,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$word_doc])* $variant,)+
        }

        impl $name {
            /// All words, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The word as it stands in JSON and in changes.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)+
                }
            }

            /// The word with this text; `None` for one of a newer version.
            #[must_use]
            pub fn find(text: &str) -> Option<$name> {
                match text {
                    $($text => Some($name::$variant),)+
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                $name::find(text).ok_or_else(|| UnknownWord {
                    allowed: [$($text,)+].join(", "),
                    found: text.chars().take(80).collect(),
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Word;
                impl de::Visitor<'_> for Word {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "one of {}", [$($text,)+].join(", "))
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(de::Error::custom)
                    }
                }
                deserializer.deserialize_str(Word)
            }
        }
    };
}

words! {
    /// What an alert is about; fixed at creation.
    AlertKind {
        /// Something happened.
        Incident = "incident",
        /// A service is down.
        Outage = "outage",
        /// Somebody may attack.
        Threat = "threat",
        /// A weakness is known.
        Vulnerability = "vulnerability",
        /// Connected attacks of one actor.
        Campaign = "campaign",
        /// Advice without a particular event.
        Advisory = "advisory",
        /// A request to other members.
        Request = "request",
    }
}

words! {
    /// How grave it is (CAP 1.2); the order is that of the join, gravest last.
    Severity {
        /// Not known.
        Unknown = "unknown",
        /// Little or no threat.
        Minor = "minor",
        /// Possible threat.
        Moderate = "moderate",
        /// Significant threat.
        Severe = "severe",
        /// Extraordinary threat.
        Extreme = "extreme",
    }
}

words! {
    /// Traffic Light Protocol 2.0 label, most restrictive last.
    Tlp {
        /// No limit on disclosure.
        Clear = "clear",
        /// The community.
        Green = "green",
        /// The recipients' organisations and their clients.
        Amber = "amber",
        /// The recipients' organisations only.
        AmberStrict = "amber+strict",
        /// The named recipients only.
        Red = "red",
    }
}

words! {
    /// How soon one must act (CAP 1.2).
    Urgency {
        /// At once.
        Immediate = "immediate",
        /// Within the hour.
        Expected = "expected",
        /// In the near future.
        Future = "future",
        /// No longer.
        Past = "past",
        /// Not known.
        Unknown = "unknown",
    }
}

words! {
    /// How sure it is (CAP 1.2).
    Certainty {
        /// Happened or ongoing.
        Observed = "observed",
        /// More likely than not.
        Likely = "likely",
        /// Possible but not likely.
        Possible = "possible",
        /// Hardly.
        Unlikely = "unlikely",
        /// Not known.
        Unknown = "unknown",
    }
}

words! {
    /// Where an alert stands; every word but the first is an ending.
    AlertStatus {
        /// It holds.
        Active = "active",
        /// What it is about is over.
        Resolved = "resolved",
        /// Another alert takes its place.
        Superseded = "superseded",
        /// It should not have been, or holds no more.
        Cancelled = "cancelled",
    }
}

words! {
    /// Sector of the economy or the state that is affected.
    Sector {
        /// Energy.
        Energy = "energy",
        /// Transport.
        Transport = "transport",
        /// Communications.
        Communications = "communications",
        /// Digital infrastructure.
        DigitalInfrastructure = "digital-infrastructure",
        /// ICT services.
        IctServices = "ict-services",
        /// Health.
        Health = "health",
        /// Banking.
        Banking = "banking",
        /// Financial markets.
        FinancialMarkets = "financial-markets",
        /// Drinking and waste water.
        Water = "water",
        /// Public administration.
        Government = "government",
        /// State registries.
        StateRegistries = "state-registries",
        /// Elections.
        Elections = "elections",
        /// Civil defence and rescue.
        CivilDefence = "civil-defence",
        /// Civil side of defence.
        DefenceCivil = "defence-civil",
        /// Food.
        Food = "food",
        /// Space.
        Space = "space",
        /// Chemical industry.
        Chemical = "chemical",
        /// Nuclear.
        Nuclear = "nuclear",
        /// Manufacturing.
        Manufacturing = "manufacturing",
        /// Research and education.
        Research = "research",
        /// Media.
        Media = "media",
        /// Postal and courier services.
        Postal = "postal",
    }
}

words! {
    /// Restriction on what a recipient may do with an alert.
    Handling {
        /// Not to be referred to in public.
        NoPublicReference = "no-public-reference",
        /// No automatic action on its indicators.
        NoAutomatedAction = "no-automated-action",
        /// The source may not be named.
        ChathamHouse = "chatham-house",
        /// To be stored encrypted.
        EncryptAtRest = "encrypt-at-rest",
        /// Permissible Actions Protocol: no limit.
        PapClear = "pap:clear",
        /// Permissible Actions Protocol: active actions allowed.
        PapGreen = "pap:green",
        /// Permissible Actions Protocol: passive actions only.
        PapAmber = "pap:amber",
        /// Permissible Actions Protocol: nothing that can be noticed.
        PapRed = "pap:red",
    }
}

words! {
    /// What the owner asks the recipients to do.
    Action {
        /// Acknowledge by the time that the text names.
        AcknowledgeBy = "acknowledge-by",
        /// Report sightings.
        ReportSightings = "report-sightings",
        /// Patch.
        Patch = "patch",
        /// Isolate what is affected.
        Isolate = "isolate",
        /// Watch.
        Monitor = "monitor",
    }
}

words! {
    /// How a member is affected, as it judges itself.
    Assessment {
        /// Not known yet.
        Unknown = "unknown",
        /// Not affected.
        NotAffected = "not-affected",
        /// Looking into it.
        Investigating = "investigating",
        /// Affected.
        Affected = "affected",
        /// Affected, no longer spreading.
        Contained = "contained",
        /// Back to normal.
        Recovered = "recovered",
    }
}

words! {
    /// Where an impact is heading.
    Outlook {
        /// Getting better.
        Improving = "improving",
        /// Staying.
        Stable = "stable",
        /// Getting worse.
        Worsening = "worsening",
    }
}

words! {
    /// Whether a member needs or gives help.
    Assistance {
        /// Neither.
        None = "none",
        /// Needs help.
        Requested = "requested",
        /// Gives help.
        Offered = "offered",
    }
}

words! {
    /// A member's opinion of an alert (STIX 2.1 opinion).
    Agreement {
        /// Strongly disagrees.
        StronglyDisagree = "strongly-disagree",
        /// Disagrees.
        Disagree = "disagree",
        /// Has no opinion.
        Neutral = "neutral",
        /// Agrees.
        Agree = "agree",
        /// Strongly agrees.
        StronglyAgree = "strongly-agree",
    }
}

words! {
    /// What an observation says.
    SightingKind {
        /// Seen.
        Seen = "seen",
        /// Seen and found harmless.
        FalsePositive = "false-positive",
        /// Seen and confirmed.
        TruePositive = "true-positive",
        /// Looked for and not seen; its count is 0.
        NotSeen = "not-seen",
    }
}

words! {
    /// Who a contact is.
    Party {
        /// One person.
        Person = "person",
        /// A team.
        Team = "team",
        /// An agency or other body.
        Organisation = "organisation",
    }
}

words! {
    /// What a contact is there for.
    ContactRole {
        /// On duty.
        DutyOfficer = "duty-officer",
        /// Head.
        Head = "head",
        /// Liaison.
        Liaison = "liaison",
        /// Technical.
        Technical = "technical",
        /// Press.
        Press = "press",
        /// Crisis management (EU-CyCLONe).
        Crisis = "crisis",
        /// Exercises.
        Exercise = "exercise",
    }
}

words! {
    /// Whether a contact is still there; leaving wins over concurrent edits.
    ContactStatus {
        /// There.
        Active = "active",
        /// Gone.
        Left = "left",
    }
}

words! {
    /// What a phone number is for.
    PhoneUsage {
        /// Speech.
        Voice = "voice",
        /// Emergencies at any hour.
        Emergency = "emergency",
        /// Mobile.
        Mobile = "mobile",
        /// Fax.
        Fax = "fax",
        /// Satellite phone.
        Satellite = "satellite",
    }
}

words! {
    /// What an e-mail address is for.
    EmailUsage {
        /// Anything.
        Contact = "contact",
        /// Reports of abuse.
        Abuse = "abuse",
        /// Alerts.
        Alerts = "alerts",
    }
}

words! {
    /// A means of conversation other than phone and e-mail.
    ChatService {
        /// Matrix.
        Matrix = "matrix",
        /// Signal.
        Signal = "signal",
        /// XMPP.
        Xmpp = "xmpp",
        /// Threema.
        Threema = "threema",
        /// SIP.
        Sip = "sip",
        /// Radio call sign.
        Radio = "radio",
    }
}

words! {
    /// What a contact's key is for.
    KeyKind {
        /// OpenPGP.
        Openpgp = "openpgp",
        /// S/MIME.
        Smime = "smime",
        /// age.
        Age = "age",
        /// TAXII client certificate.
        Taxii = "taxii",
    }
}

words! {
    /// Place of a person in a shift.
    ShiftDuty {
        /// First to be called.
        Primary = "primary",
        /// Called when the first does not answer.
        Backup = "backup",
    }
}

words! {
    /// Day of the week.
    Day {
        /// Monday.
        Monday = "mon",
        /// Tuesday.
        Tuesday = "tue",
        /// Wednesday.
        Wednesday = "wed",
        /// Thursday.
        Thursday = "thu",
        /// Friday.
        Friday = "fri",
        /// Saturday.
        Saturday = "sat",
        /// Sunday.
        Sunday = "sun",
    }
}

impl Severity {
    /// The lane of an alert that names none.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Severity::Extreme | Severity::Severe => Class::Flash,
            Severity::Moderate => Class::Priority,
            Severity::Minor | Severity::Unknown => Class::Routine,
        }
    }
}

impl AlertStatus {
    /// Whether the alert no longer holds.
    #[must_use]
    pub fn is_ending(self) -> bool {
        self != AlertStatus::Active
    }
}

impl Sector {
    /// The sector's bit in a set of sectors.
    #[must_use]
    pub fn bit(self) -> u32 {
        1 << (self as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_text_and_others_are_refused_with_the_list() {
        for sector in Sector::ALL {
            assert_eq!(sector.as_str().parse(), Ok(*sector));
        }
        let refusal = "loud".parse::<Severity>().map_err(|refusal| refusal.to_string());
        assert_eq!(refusal, Err("must be one of unknown, minor, moderate, severe, extreme, not \"loud\"".to_string()));
    }

    #[test]
    fn joins_can_rely_on_the_order() {
        assert!(Severity::Extreme > Severity::Unknown);
        assert!(Tlp::AmberStrict > Tlp::Amber && Tlp::Red > Tlp::AmberStrict);
        assert!(ContactStatus::Left > ContactStatus::Active);
        assert!(Sector::ALL.len() <= 32);
    }
}
