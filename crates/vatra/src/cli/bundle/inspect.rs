//! `vatra bundle inspect`: offline, of anything that was carried.

use std::fs::File;
use std::io::{BufReader, Read};

use anyhow::Context;
use serde_json::{Value, json};
use vatra_bundle::{RECEIPT_BYTES_MAX, RECEIPT_MAGIC, ReadError, SignedReceipt};
use vatra_model::charter::Charter;

use super::InspectArgs;
use super::summary::Summary;
use crate::cli::exit::Exit;
use crate::cli::input::read_bounded;
use crate::cli::print::{self, Printer};
use crate::config::read_charter;

/// Shows a bundle, a receipt or a frontier file.
pub(super) fn run(args: &InspectArgs, out: &mut Printer) -> anyhow::Result<Exit> {
    let charter = args.charter.as_deref().map(read_charter).transpose()?;
    let against = args.charter.as_ref().map_or_else(|| "its own".to_owned(), |path| path.display().to_string());
    let shown = args.file.display();
    let mut head = Vec::new();
    let mut file = File::open(&args.file).with_context(|| shown.to_string())?;
    file.by_ref().take(RECEIPT_MAGIC.len() as u64).read_to_end(&mut head).with_context(|| shown.to_string())?;
    if head == RECEIPT_MAGIC {
        let bytes = read_bounded(&args.file, RECEIPT_BYTES_MAX as u64)?;
        return show_receipt(&bytes, charter.as_ref().map(|charter| (charter, &*against)), out);
    }
    let file = File::open(&args.file).with_context(|| shown.to_string())?;
    match Summary::read(BufReader::new(file), charter.as_ref()) {
        Ok(summary) => bundle(&summary, &against, out),
        Err(error) => {
            if out.is_json() {
                let problem = error.to_string();
                out.json(&json!({"kind": "bundle", "whole": false, "problem": problem, "charter": against}))?;
            }
            complain(&error);
            Ok(Exit::Refused)
        }
    }
}

fn complain(error: &ReadError) {
    print::error(&error.to_string());
    print::hint(error.remedy());
}

fn bundle(summary: &Summary, against: &str, out: &mut Printer) -> anyhow::Result<Exit> {
    let mut json = summary.json();
    json["charter"] = against.into();
    if out.is_json() {
        out.json(&json)?;
    } else {
        let text = |pointer: &str| json.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned();
        let verdict = if summary.is_whole() { "whole and signed" } else { "NOT whole" };
        out.line(&format!("bundle    {}", text("/bundle")))?;
        out.line(&format!("state     {}", print::health(summary.is_whole(), verdict)))?;
        out.line(&print::clean(&format!(
            "made by   {} of {} at {}, with {}",
            text("/maker/name"),
            text("/maker/member"),
            text("/created"),
            text("/software")
        )))?;
        if json["receiver"].is_string() {
            out.line(&format!("for       {}", text("/receiver")))?;
        }
        out.line(&print::clean(&format!("charter   epoch {}, checked against {against}", json["charter_epoch"])))?;
        let (entries, bytes, logs) = (summary.entries, summary.bytes, &json["known_logs"]);
        out.line(&format!(
            "entries   {entries} ({}), {bytes} bytes; logs that its maker knew: {logs}",
            summary.by_class()
        ))?;
        if summary.forks > 0 {
            out.line(&format!("forks     {} proved", summary.forks))?;
        }
        let rows = summary.rows();
        if !rows.is_empty() {
            out.table(&["log", "member", "node", "places", "entries"], rows)?;
        }
    }
    match &summary.problem {
        None => Ok(Exit::Done),
        Some(problem) => {
            complain(problem);
            Ok(Exit::Refused)
        }
    }
}

/// Shows a receipt or frontier file, checked against a charter and where that is from.
pub(super) fn show_receipt(bytes: &[u8], charter: Option<(&Charter, &str)>, out: &mut Printer) -> anyhow::Result<Exit> {
    let signed = SignedReceipt::open(bytes)?;
    let (receipt, certificate) = (signed.receipt(), signed.certificate().certificate());
    if let Some((charter, _)) = charter {
        let file = receipt.name();
        anyhow::ensure!(receipt.founding == charter.founding_hash(), "the {file} is of another federation");
        charter.admit(signed.certificate()).with_context(|| format!("the giver of the {file} is not admitted"))?;
    }
    let kind = if receipt.intake.is_some() { "receipt" } else { "frontier" };
    if out.is_json() {
        let intake = receipt.intake.map(|intake| {
            json!({
                "bundle": intake.bundle.to_string(), "new": intake.new, "held": intake.held, "refused": intake.refused,
            })
        });
        let logs = receipt.frontier.0.iter();
        let logs = logs.map(|(log, head)| json!({"log": log, "height": head.height, "head": head.head}));
        out.json(&json!({
            "kind": kind, "given": receipt.given, "founding": hex::encode(receipt.founding), "intake": intake,
            "giver": {"member": certificate.member, "name": certificate.node, "node": certificate.key},
            "charter": charter.map(|(_, against)| against), "frontier": logs.collect::<Vec<_>>(),
        }))?;
        return Ok(Exit::Done);
    }
    out.line(&format!("{kind:<9} signed by {} of {} at {}", certificate.node, certificate.member, receipt.given))?;
    let checked = charter.map_or("not checked".to_owned(), |(_, against)| format!("checked against {against}"));
    out.line(&print::clean(&format!("charter   {checked}")))?;
    if let Some(intake) = receipt.intake {
        out.line(&format!("bundle    {}", intake.bundle))?;
        out.line(&format!("entries   {} new, {} held already, {} refused", intake.new, intake.held, intake.refused))?;
    }
    let rows = receipt.frontier.0.iter().map(|(log, head)| vec![log.to_string(), head.height.to_string()]);
    out.table(&["log", "held to"], rows.collect())?;
    Ok(Exit::Done)
}
