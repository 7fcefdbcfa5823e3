//! `vatra alert publish` and `vatra alert update`.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value};
use ureq::http::Method;
use vatra_model::RecordId;

use super::print_written;
use crate::cli::api::ApiError;
use crate::cli::exit::{Exit, usage};
use crate::cli::fields::{AlertFields, CreationFields};
use crate::cli::input;
use crate::cli::print::{self, Printer};
use crate::cli::target::Target;

/// The fields that every alert has.
const REQUIRED: [(&str, &str); 5] =
    [("kind", "--kind"), ("title", "--title"), ("severity", "--severity"), ("sectors", "--sector"), ("tlp", "--tlp")];

#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// Take the alert from a JSON file, or from standard input with `-`; options override its fields.
    #[arg(long, value_name = "FILE|-")]
    file: Option<PathBuf>,
    /// Repeating a call with the same key publishes once; by default a new random key.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    fields: AlertFields,
    #[command(flatten)]
    creation: CreationFields,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// Id of the alert.
    #[arg(value_parser = input::record_id)]
    id: RecordId,
    /// Take the changed fields from a JSON file, or from standard input with `-`.
    #[arg(long, value_name = "FILE|-")]
    file: Option<PathBuf>,
    /// Clear a field.
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    clear: Vec<String>,
    /// Add one element to a list field, as countries=UA; a VALUE that starts with { is JSON.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = input::pair)]
    add: Vec<(String, Value)>,
    /// Remove one element from a list field by its key: its value, or its id, URL or number.
    #[arg(long, value_name = "FIELD=KEY", value_parser = input::field_key)]
    remove: Vec<(String, String)>,
    #[command(flatten)]
    fields: AlertFields,
}

/// Publishes one alert.
pub(crate) fn publish(args: &PublishArgs, target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    let mut alert = read_base(args.file.as_ref())?;
    alert.extend(args.fields.to_json()?);
    args.creation.add_to(&mut alert);
    if args.file.is_none() {
        require(&alert)?;
    }
    let key = args.idempotency_key.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let headers = [("idempotency-key", key.as_str())];
    let sent = target.connect()?.send(Method::POST, "/api/v1/alerts", Some(&Value::Object(alert)), &headers);
    let answer = sent.inspect_err(|error| {
        if matches!(error, ApiError::Unreachable { .. }) {
            print::note(&format!("to repeat without publishing twice, add --idempotency-key {key}"));
        }
    })?;
    let id = answer.body.get("id").and_then(Value::as_str).unwrap_or("?");
    let is_new = answer.body.get("created").and_then(Value::as_bool).unwrap_or(answer.status == 201);
    let done = if is_new { format!("published {id}") } else { format!("already there: {id}") };
    print_written(&answer.body, &done, out)?;
    Ok(Exit::Done)
}

/// Changes fields of an alert.
pub(crate) fn update(args: &UpdateArgs, target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    let mut fields = read_base(args.file.as_ref())?;
    fields.extend(args.fields.to_json()?);
    let patch = input::patch(fields, &args.clear, &args.add, &args.remove)?;
    let path = format!("/api/v1/alerts/{}", args.id);
    let answer = target.connect()?.send(Method::PATCH, &path, Some(&Value::Object(patch)), &[])?;
    print_written(&answer.body, &format!("updated {}", args.id), out)?;
    Ok(Exit::Done)
}

fn read_base(file: Option<&PathBuf>) -> anyhow::Result<Map<String, Value>> {
    file.map_or_else(|| Ok(Map::new()), |path| input::read_object(path))
}

fn require(alert: &Map<String, Value>) -> anyhow::Result<()> {
    let missing: Vec<&str> =
        REQUIRED.iter().filter(|(field, _)| !alert.contains_key(*field)).map(|(_, option)| *option).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(usage(format!("an alert needs {} (or --file)", missing.join(", "))))
}
