//! `vatra alert`: publish, import, read and answer alerts.

mod import;
mod publish;
mod reach;
mod read;
mod respond;
mod view;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use ureq::http::Method;
use vatra_model::RecordId;

use super::exit::Exit;
use super::input;
use super::print::{self, Printer};
use super::target::Target;

#[derive(Debug, Subcommand)]
pub(crate) enum AlertCommand {
    /// Publish one alert from options, a JSON file, or both.
    Publish(publish::PublishArgs),
    /// Import a file: alerts as NDJSON, a KEV catalogue, a MISP event or a STIX 2.1 bundle.
    Import(import::ImportArgs),
    /// List alerts, the newest arrival first.
    List(read::ListArgs),
    /// Show one alert with its answers and conflicts.
    Show(read::ShowArgs),
    /// Change fields of an alert that this member may write.
    Update(publish::UpdateArgs),
    /// Answer an alert for this member.
    Respond(respond::RespondArgs),
    /// Withdraw an alert: it should not have been sent.
    Cancel(CloseArgs),
    /// Close an alert: what it warned of is over.
    Resolve(CloseArgs),
    /// Show which members and nodes hold an alert, and which cannot have it.
    Reach(reach::ReachArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CloseArgs {
    /// Id of the alert.
    #[arg(value_parser = input::record_id)]
    id: RecordId,
    /// Why, for all who read the alert.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Runs an alert command.
pub(crate) fn run(command: AlertCommand, target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    match command {
        AlertCommand::Publish(args) => publish::publish(&args, target, out),
        AlertCommand::Import(args) => import::run(&args, target, out),
        AlertCommand::List(args) => read::list(&args, target, out),
        AlertCommand::Show(args) => read::show(&args, target, out),
        AlertCommand::Update(args) => publish::update(&args, target, out),
        AlertCommand::Respond(args) => respond::run(&args, target, out),
        AlertCommand::Cancel(args) => close(&args, "cancel", "cancelled", target, out),
        AlertCommand::Resolve(args) => close(&args, "resolve", "resolved", target, out),
        AlertCommand::Reach(args) => reach::reach(&args, target, out),
    }
}

fn close(args: &CloseArgs, verb: &str, done: &str, target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    let mut body = Map::new();
    if let Some(reason) = &args.reason {
        body.insert("reason".to_owned(), json!(reason));
    }
    let path = format!("/api/v1/alerts/{}/{verb}", args.id);
    let answer = target.connect()?.send(Method::POST, &path, Some(&Value::Object(body)), &[])?;
    print_written(&answer.body, &format!("{done} {}", args.id), out)?;
    Ok(Exit::Done)
}

/// Tells that a write was taken: the node's answer as JSON, or one line.
fn print_written(answer: &Value, done: &str, out: &mut Printer) -> anyhow::Result<()> {
    if out.is_json() {
        out.json(answer)?;
        return Ok(());
    }
    match answer.get("position") {
        Some(position) => out.line(&print::clean(&format!("{done} at position {position}")))?,
        None => out.line(&print::clean(done))?,
    }
    Ok(())
}
