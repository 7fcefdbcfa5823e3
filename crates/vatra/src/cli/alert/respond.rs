//! `vatra alert respond`: this member's answer to an alert.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};
use ureq::http::Method;
use vatra_model::RecordId;
use vatra_model::schema::words::{Agreement, Assessment, Assistance, Outlook, Sector};

use super::print_written;
use crate::cli::exit::Exit;
use crate::cli::fields::{insert, json_object, url_or_object, word};
use crate::cli::input;
use crate::cli::print::Printer;
use crate::cli::target::Target;

#[derive(Debug, Args)]
pub(crate) struct RespondArgs {
    /// Id of the alert.
    #[arg(value_parser = input::record_id)]
    id: RecordId,
    /// Take the answer from a JSON file, or from standard input with `-`; options override its fields.
    #[arg(long, value_name = "FILE|-")]
    file: Option<PathBuf>,
    /// Somebody has seen the alert, now.
    #[arg(long)]
    seen: bool,
    /// Somebody acknowledges the alert, now.
    #[arg(long, value_name = "WHO")]
    acknowledge: Option<String>,
    /// How this member is affected.
    #[arg(long, value_parser = word(Assessment::ALL, Assessment::as_str))]
    assessment: Option<Assessment>,
    /// Sectors that are hit.
    #[arg(long = "impact-sector", value_name = "SECTOR", value_delimiter = ',',
          value_parser = word(Sector::ALL, Sector::as_str))]
    impact_sectors: Vec<Sector>,
    /// Where the impact is heading.
    #[arg(long, value_parser = word(Outlook::ALL, Outlook::as_str))]
    outlook: Option<Outlook>,
    /// The impact in words.
    #[arg(long, value_name = "TEXT")]
    impact: Option<String>,
    /// Whether this member needs or offers help.
    #[arg(long, value_parser = word(Assistance::ALL, Assistance::as_str))]
    assistance: Option<Assistance>,
    /// Which help.
    #[arg(long, value_name = "TEXT")]
    assistance_text: Option<String>,
    /// Opinion of the alert.
    #[arg(long, value_parser = word(Agreement::ALL, Agreement::as_str))]
    agreement: Option<Agreement>,
    /// Anything else.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Whom to ask: a contact's id, or a name.
    #[arg(long, value_name = "ID|TEXT")]
    contact: Option<String>,
    /// A national advisory to add: a URL, or {"url":..,"lang":..,"title":..,"published":..}.
    #[arg(long = "advisory", value_name = "URL|JSON", value_parser = url_or_object)]
    advisories: Vec<Value>,
    /// A sighting to add: {"id":..,"kind":..,"first_seen":..,"count":..}.
    #[arg(long = "sighting", value_name = "JSON", value_parser = json_object)]
    sightings: Vec<Value>,
    /// Clear a field.
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    clear: Vec<String>,
    /// Remove one element from a list field by its key: its value, or its id, URL or number.
    #[arg(long, value_name = "FIELD=KEY", value_parser = input::field_key)]
    remove: Vec<(String, String)>,
}

/// Answers an alert.
pub(crate) fn run(args: &RespondArgs, target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    let patch = patch(args)?;
    let path = format!("/api/v1/alerts/{}/response", args.id);
    let answer = target.connect()?.send(Method::PUT, &path, Some(&Value::Object(patch)), &[])?;
    print_written(&answer.body, &format!("answered {}", args.id), out)?;
    Ok(Exit::Done)
}

fn patch(args: &RespondArgs) -> anyhow::Result<Map<String, Value>> {
    let mut fields = match &args.file {
        Some(path) => input::read_object(path)?,
        None => Map::new(),
    };
    let now = input::now();
    insert(&mut fields, "seen_at", args.seen.then(|| json!(now)));
    insert(&mut fields, "acknowledged", args.acknowledge.as_ref().map(|by| json!({"by": by, "at": now})));
    insert(&mut fields, "assessment", args.assessment.map(|word| json!(word)));
    insert(&mut fields, "assistance", args.assistance.map(|word| json!(word)));
    insert(&mut fields, "assistance_text", args.assistance_text.as_ref().map(|text| json!(text)));
    insert(&mut fields, "agreement", args.agreement.map(|word| json!(word)));
    insert(&mut fields, "note", args.note.as_ref().map(|text| json!(text)));
    insert(&mut fields, "contact", args.contact.as_ref().map(|text| json!(text)));
    insert(&mut fields, "impact", impact(args));
    insert(&mut fields, "sightings", (!args.sightings.is_empty()).then(|| json!(args.sightings)));
    let advisories: Vec<(String, Value)> =
        args.advisories.iter().map(|advisory| ("advisories".to_owned(), advisory.clone())).collect();
    input::patch(fields, &args.clear, &advisories, &args.remove)
}

fn impact(args: &RespondArgs) -> Option<Value> {
    let mut impact = Map::new();
    insert(&mut impact, "sectors", (!args.impact_sectors.is_empty()).then(|| json!(args.impact_sectors)));
    insert(&mut impact, "outlook", args.outlook.map(|word| json!(word)));
    insert(&mut impact, "text", args.impact.as_ref().map(|text| json!(text)));
    (!impact.is_empty()).then_some(Value::Object(impact))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: RespondArgs,
    }

    #[test]
    fn an_answer_sets_fields_and_adds_advisories() {
        let id = "ab".repeat(16);
        let line = Line::parse_from([
            "x",
            &id,
            "--assessment=affected",
            "--outlook=stable",
            "--impact-sector=energy,water",
            "--advisory=https://x",
            "--clear=note",
        ]);
        let expected = json!({
            "assessment": "affected", "impact": {"sectors": ["energy", "water"], "outlook": "stable"},
            "advisories": {"add": [{"url": "https://x"}]}, "note": null,
        });
        assert_eq!(patch(&line.args).map(Value::Object).unwrap(), expected);
        let line = Line::parse_from(["x", &id]);
        assert!(patch(&line.args).is_err(), "an empty answer says nothing");
    }
}
