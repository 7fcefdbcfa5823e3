//! `vatra bundle import`: hands the file to the node and keeps its receipt.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::ImportArgs;
use super::files::{NewFile, with_suffix};
use crate::cli::api::{Api, ApiError, Problem};
use crate::cli::exit::{Exit, usage};
use crate::cli::print::{self, Printer};
use crate::cli::target::Target;

/// Imports a bundle.
pub(super) fn run(args: &ImportArgs, target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    let shown = args.file.display();
    // Not of the opened file: opening a pipe waits for whoever writes into it.
    let metadata = fs::metadata(&args.file).with_context(|| shown.to_string())?;
    anyhow::ensure!(!metadata.is_dir(), "{shown}: a directory is no bundle; name the file in it");
    // The node is told how long a bundle is before it comes, so that it can refuse one that is too large.
    anyhow::ensure!(
        metadata.is_file(),
        "{shown}: a bundle is imported from a file, not from a pipe or device; write it to a file first"
    );
    let file = File::open(&args.file).with_context(|| shown.to_string())?;
    let bytes = file.metadata().with_context(|| shown.to_string())?.len();
    let receipt = args.receipt.clone().unwrap_or_else(|| with_suffix(&args.file, ".receipt"));
    refuse_receipt(args, &receipt)?;
    let api = target.connect()?;
    let bar = progress(bytes);
    let body = bar.wrap_read(file);
    let answer = api.upload("/api/v1/bundle/import", "application/vnd.vatra.bundle", body, bytes)?;
    let result = outcome(&api, answer, &bar)?;
    bar.finish_and_clear();
    let kept = keep_receipt(&api, &result, &receipt);
    print_result(&result, kept.is_ok().then_some(receipt.as_path()), out)?;
    for reason in result["reasons"].as_array().into_iter().flatten() {
        let (count, example) = (&reason["entries"], reason["example"].as_str().unwrap_or_default());
        print::warning(&format!("{count} refused, such as: {example}"));
    }
    if let Err(error) = kept {
        print::error(&format!("the entries were taken in, but the receipt could not be written: {error:#}"));
        print::hint("name another place with --receipt, or let the other side export --for this member");
        return Ok(Exit::Partly);
    }
    match (result["refused"].as_u64(), result["entries"].as_u64()) {
        (Some(0), _) => Ok(Exit::Done),
        (refused, entries) if refused == entries => Ok(Exit::Refused),
        _ => Ok(Exit::Partly),
    }
}

/// Refuses a place for the receipt where it would replace what is there, before anything is sent.
fn refuse_receipt(args: &ImportArgs, receipt: &Path) -> anyhow::Result<()> {
    let (bundle, shown) = (&args.file, receipt.display());
    // It is written under the second name first.
    if is_same_file(bundle, receipt) || is_same_file(bundle, &with_suffix(receipt, ".part")) {
        return Err(usage(format!(
            "--receipt {shown}: the receipt would replace the bundle {}; name another file",
            bundle.display()
        )));
    }
    if !args.force && fs::symlink_metadata(receipt).is_ok() {
        return Err(usage(format!(
            "{shown}, where the receipt goes, is there already; --force replaces it, --receipt names another file"
        )));
    }
    Ok(())
}

/// Whether two paths lead to one file, by whatever names.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    place(one).is_some_and(|one| place(other) == Some(one))
}

/// Follows the node's lines to the last, which has the result.
fn outcome(api: &Api, answer: impl Read, bar: &ProgressBar) -> anyhow::Result<Value> {
    for line in BufReader::new(answer).lines() {
        let line = line.map_err(|error| api.broken_off(&error))?;
        let mut line: Value = serde_json::from_str(&line).map_err(|error| api.unexpected(error.to_string()))?;
        if let Some(step) = line.get("progress") {
            if let (Some(done), Some(total)) =
                (step["done"].as_u64(), step["total"].as_u64().filter(|total| *total > 0))
            {
                bar.set_length(total);
                bar.set_position(done);
            }
            bar.set_message(step["stage"].as_str().unwrap_or_default().to_owned());
        } else if line["result"].is_object() {
            return Ok(line["result"].take());
        } else if line["problem"].is_object() {
            bar.finish_and_clear();
            return Err(ApiError::Problem(Problem::from_json(&line["problem"], 0)).into());
        }
    }
    Err(api.unexpected("the import ended without a result".to_owned()).into())
}

fn keep_receipt(api: &Api, result: &Value, path: &Path) -> anyhow::Result<()> {
    let text = result["receipt"].as_str().unwrap_or_default();
    let bytes = BASE64_STANDARD.decode(text).map_err(|error| api.unexpected(format!("the receipt: {error}")))?;
    let mut file = NewFile::begin(path)?;
    file.write_all(&bytes)?;
    file.keep()
}

fn print_result(result: &Value, receipt: Option<&Path>, out: &mut Printer) -> anyhow::Result<()> {
    if out.is_json() {
        let mut shown = result.clone();
        shown["receipt"] = receipt.map(|path| path.display().to_string()).into();
        out.json(&shown)?;
        return Ok(());
    }
    let maker = &result["maker"];
    let (name, member) = (maker["name"].as_str().unwrap_or_default(), maker["member"].as_str().unwrap_or_default());
    let numbers = format!("{} new, {} held already, {} refused", result["new"], result["held"], result["refused"]);
    out.line(&format!("{numbers}; made by {name} of {member}"))?;
    if result["charter_advanced"] == true {
        out.line(&format!("the charter advanced to epoch {}", result["charter_epoch"]))?;
    }
    if let Some(receipt) = receipt {
        out.line(&format!("receipt to carry back: {}", receipt.display()))?;
    }
    Ok(())
}

fn progress(bytes: u64) -> ProgressBar {
    if !print::stderr_is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::new(bytes).with_message("send");
    if let Ok(style) = ProgressStyle::with_template("{msg:8} {bar:40} {bytes}/{total_bytes}, {eta} to go") {
        bar.set_style(style);
    }
    bar
}
