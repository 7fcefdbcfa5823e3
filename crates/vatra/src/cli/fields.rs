//! The options that fill the fields of an alert, shared by `publish` and `update`.

use std::str::FromStr;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde_json::{Map, Value, json};
use vatra_model::schema::words::{Action, AlertKind, Certainty, Handling, Sector, Severity, Tlp, Urgency};
use vatra_model::{Class, MemberCode, RecordId, WallMs};

use super::exit::usage;
use super::input;

/// Fields of an alert as options. Lists take several values after commas or by repeating the option.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Alert fields")]
pub(crate) struct AlertFields {
    /// What the alert is about.
    #[arg(long, value_parser = word(AlertKind::ALL, AlertKind::as_str))]
    kind: Option<AlertKind>,
    /// Headline, at most 256 characters.
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// How bad it is.
    #[arg(long, value_parser = word(Severity::ALL, Severity::as_str))]
    severity: Option<Severity>,
    /// Sectors concerned, as energy,transport.
    #[arg(long = "sector", value_name = "SECTOR", value_delimiter = ',',
          value_parser = word(Sector::ALL, Sector::as_str))]
    sectors: Vec<Sector>,
    /// TLP 2.0 label.
    #[arg(long, value_parser = word(Tlp::ALL, Tlp::as_str))]
    tlp: Option<Tlp>,
    /// Urgency lane: flash, priority, routine or bulk; by default it follows the severity.
    #[arg(long)]
    class: Option<Class>,
    /// Text, in Markdown.
    #[arg(long, value_name = "TEXT")]
    body: Option<String>,
    /// What the reader should do, in Markdown.
    #[arg(long, value_name = "TEXT")]
    instruction: Option<String>,
    /// Language of title and body (BCP 47), as uk.
    #[arg(long, value_name = "LANG")]
    lang: Option<String>,
    /// A translation: LANG=TITLE, or LANG={"title":..,"body":..}.
    #[arg(long = "translation", value_name = "LANG=TITLE", value_parser = input::pair)]
    translations: Vec<(String, Value)>,
    /// How soon to act (CAP).
    #[arg(long, value_parser = word(Urgency::ALL, Urgency::as_str))]
    urgency: Option<Urgency>,
    /// How certain it is (CAP).
    #[arg(long, value_parser = word(Certainty::ALL, Certainty::as_str))]
    certainty: Option<Certainty>,
    /// Confidence in percent.
    #[arg(long, value_name = "0-100", value_parser = clap::value_parser!(u8).range(..=100))]
    confidence: Option<u8>,
    /// From when the alert holds: RFC 3339, or a duration from now.
    #[arg(long, value_name = "TIME", value_parser = input::time)]
    effective: Option<WallMs>,
    /// When the event begins: RFC 3339, or a duration from now.
    #[arg(long, value_name = "TIME", value_parser = input::time)]
    onset: Option<WallMs>,
    /// Until when the alert holds: RFC 3339, or a duration from now, as 48h.
    #[arg(long, value_name = "TIME", value_parser = input::time)]
    expires: Option<WallMs>,
    /// Countries affected (ISO 3166-1 alpha-2, or EU).
    #[arg(long = "country", value_name = "CODE", value_delimiter = ',')]
    countries: Vec<String>,
    /// Classification codes, as availability:outage.
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    classification: Vec<String>,
    /// Handling caveats, as no-public-reference.
    #[arg(long, value_name = "CAVEAT", value_delimiter = ',',
          value_parser = word(Handling::ALL, Handling::as_str))]
    handling: Vec<Handling>,
    /// A reference: a URL, or {"source":..,"url":..,"id":..}.
    #[arg(long = "reference", value_name = "URL|JSON", value_parser = url_or_object)]
    references: Vec<Value>,
    /// Vulnerability ids, as CVE-2026-1234.
    #[arg(long = "vulnerability", value_name = "ID", value_delimiter = ',')]
    vulnerabilities: Vec<String>,
    /// An indicator: {"iid":..,"type":..,"value":..}.
    #[arg(long = "indicator", value_name = "JSON", value_parser = json_object)]
    indicators: Vec<Value>,
    /// An attachment: {"sha256":..,"size":..,"mime":..,"name":..}.
    #[arg(long = "attachment", value_name = "JSON", value_parser = json_object)]
    attachments: Vec<Value>,
    /// A line of the timeline: a text (dated now), or {"at":..,"author":..,"text":..}.
    #[arg(long, value_name = "TEXT|JSON", value_parser = timeline)]
    timeline: Vec<Value>,
    /// Alerts that this one replaces.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    supersedes: Vec<RecordId>,
    /// Alerts that belong to this one.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    related: Vec<RecordId>,
    /// Actions wanted, as acknowledge-by,patch.
    #[arg(long = "action", value_name = "ACTION", value_delimiter = ',',
          value_parser = word(Action::ALL, Action::as_str))]
    actions: Vec<Action>,
}

/// Fields that only a new alert takes.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Alert fields")]
pub(crate) struct CreationFields {
    /// Members that may edit the alert; by default its owner alone.
    #[arg(long = "writer", value_name = "MEMBER", value_delimiter = ',')]
    writers: Vec<MemberCode>,
    /// Id of the alert where it comes from: publishing it twice makes one alert.
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
}

impl AlertFields {
    /// The fields that were given, as JSON.
    pub(crate) fn to_json(&self) -> anyhow::Result<Map<String, Value>> {
        let mut fields = Map::new();
        let texts =
            [("title", &self.title), ("body", &self.body), ("instruction", &self.instruction), ("lang", &self.lang)];
        for (name, text) in texts {
            insert(&mut fields, name, text.as_ref().map(|text| json!(text)));
        }
        insert(&mut fields, "kind", self.kind.map(|word| json!(word)));
        insert(&mut fields, "severity", self.severity.map(|word| json!(word)));
        insert(&mut fields, "tlp", self.tlp.map(|word| json!(word)));
        insert(&mut fields, "urgency", self.urgency.map(|word| json!(word)));
        insert(&mut fields, "certainty", self.certainty.map(|word| json!(word)));
        insert(&mut fields, "class", self.class.map(|class| json!(class)));
        insert(&mut fields, "confidence", self.confidence.map(|percent| json!(percent)));
        for (name, at) in [("effective", self.effective), ("onset", self.onset), ("expires", self.expires)] {
            insert(&mut fields, name, at.map(|at| json!(at)));
        }
        let lists = [
            ("sectors", json!(self.sectors)),
            ("countries", json!(self.countries)),
            ("classification", json!(self.classification)),
            ("handling", json!(self.handling)),
            ("references", json!(self.references)),
            ("vulnerabilities", json!(self.vulnerabilities)),
            ("indicators", json!(self.indicators)),
            ("attachments", json!(self.attachments)),
            ("timeline", json!(self.timeline)),
            ("supersedes", json!(self.supersedes)),
            ("related", json!(self.related)),
            ("actions", json!(self.actions)),
        ];
        for (name, list) in lists {
            let given = list.as_array().is_some_and(|items| !items.is_empty());
            insert(&mut fields, name, given.then_some(list));
        }
        if !self.translations.is_empty() {
            fields.insert("translations".to_owned(), translations(&self.translations)?);
        }
        Ok(fields)
    }
}

impl CreationFields {
    /// Adds the fields that were given to those of the alert.
    pub(crate) fn add_to(&self, fields: &mut Map<String, Value>) {
        insert(fields, "writers", (!self.writers.is_empty()).then(|| json!(self.writers)));
        insert(fields, "external_id", self.external_id.as_ref().map(|id| json!(id)));
    }
}

/// An argument that is one of a vocabulary's words; help and completions list them.
pub(crate) fn word<T>(all: &'static [T], as_str: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: Copy + FromStr + Send + Sync + 'static,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let words = all.iter().map(|&word| PossibleValue::new(as_str(word)));
    PossibleValuesParser::new(words).try_map(|text| text.parse::<T>())
}

/// Sets a field if there is a value for it.
pub(crate) fn insert(fields: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        fields.insert(name.to_owned(), value);
    }
}

fn translations(given: &[(String, Value)]) -> anyhow::Result<Value> {
    let mut by_language = Map::new();
    for (language, value) in given {
        let translation = match value {
            Value::String(title) => json!({"title": title}),
            object => object.clone(),
        };
        if by_language.insert(language.clone(), translation).is_some() {
            return Err(usage(format!("--translation {language} is given twice")));
        }
    }
    Ok(Value::Object(by_language))
}

/// An argument that is a JSON object.
pub(crate) fn json_object(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(Value::Object(object)),
        Ok(_) => Err("a JSON object is expected".to_owned()),
        Err(error) => Err(format!("a JSON object is expected: {error}")),
    }
}

/// A URL, or a JSON object with further fields.
pub(crate) fn url_or_object(text: &str) -> Result<Value, String> {
    if text.starts_with('{') { json_object(text) } else { Ok(json!({"url": text})) }
}

fn timeline(text: &str) -> Result<Value, String> {
    if text.starts_with('{') { json_object(text) } else { Ok(json!({"at": input::now(), "text": text})) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        fields: AlertFields,
    }

    fn parse(arguments: &[&str]) -> Result<Map<String, Value>, String> {
        let line = Line::try_parse_from([&["x"], arguments].concat()).map_err(|error| error.to_string())?;
        line.fields.to_json().map_err(|error| error.to_string())
    }

    #[test]
    fn options_become_fields_and_absent_ones_stay_absent() {
        let fields = parse(&[
            "--kind=outage",
            "--title=t",
            "--sector=energy,water",
            "--sector=health",
            "--class=flash",
            "--expires=2026-11-24T02:30:00Z",
            "--reference=https://x",
            "--translation=lt=Antraštė",
        ]);
        let expected = json!({
            "kind": "outage", "title": "t", "sectors": ["energy", "water", "health"], "class": "flash",
            "expires": "2026-11-24T02:30:00.000Z", "references": [{"url": "https://x"}],
            "translations": {"lt": {"title": "Antraštė"}},
        });
        assert_eq!(fields.map(Value::Object), Ok(expected));
    }

    #[test]
    fn wrong_values_are_refused_with_what_is_allowed() {
        let refused = parse(&["--severity=huge"]).unwrap_err();
        assert!(refused.contains("unknown, minor, moderate, severe, extreme"), "{refused}");
        assert!(parse(&["--class=urgent"]).unwrap_err().contains("flash, priority, routine or bulk"));
        assert!(parse(&["--confidence=101"]).is_err());
        assert!(parse(&["--indicator=[]"]).is_err());
        assert!(parse(&["--translation=lt=a", "--translation=lt=b"]).is_err());
    }
}
