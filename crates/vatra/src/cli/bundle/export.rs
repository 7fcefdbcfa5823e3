//! `vatra bundle export`: takes the file from the node, and looks at it again before it gets its name.

use std::fs::File;
use std::io::{BufReader, Read, Write};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use sha2::{Digest, Sha256};
use vatra_bundle::{RECEIPT_BYTES_MAX, ReceiptError};

use super::ExportArgs;
use super::files::{NewFile, with_suffix};
use super::summary::Summary;
use crate::cli::api::{Api, query};
use crate::cli::exit::{Exit, usage};
use crate::cli::input::read_bounded;
use crate::cli::print::{self, Printer};
use crate::cli::target::Target;

/// Bytes that are copied at once.
const COPY_BYTES: usize = 128 * 1024;

/// Exports a bundle.
pub(super) fn run(args: &ExportArgs, target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    let shown = args.file.display();
    if !args.force && args.file.exists() {
        return Err(usage(format!("{shown} is there already; --force replaces it")));
    }
    let since = args.since.as_deref().map(|path| read_bounded(path, RECEIPT_BYTES_MAX as u64)).transpose()?;
    // The node takes an empty body for no receipt, and would write everything.
    if let (Some(path), Some([])) = (&args.since, since.as_deref()) {
        anyhow::bail!("--since {}: {}; it is empty", path.display(), ReceiptError::NotAReceipt);
    }
    let api = target.connect()?;
    let path = format!("/api/v1/bundle/export{}", query(&[("for", args.receiver.map(|code| code.to_string()))]));
    let mut answer = api.post_file(&path, "application/vnd.vatra.receipt", since)?;
    let mut file = NewFile::begin(&args.file)?;
    let sha256 = copy(&api, &mut answer, &mut file)?;
    file.flush()?;
    // What cannot be read here cannot be read there either.
    let part = File::open(with_suffix(&args.file, ".part")).with_context(|| shown.to_string())?;
    let summary = Summary::read(BufReader::new(part), None).with_context(|| shown.to_string())?;
    if let Some(problem) = summary.problem {
        return Err(anyhow::Error::new(problem).context(format!("the node did not write {shown} to its end")));
    }
    file.keep()?;
    let json = summary.json();
    if out.is_json() {
        out.json(&json!({
            "file": args.file, "bundle": json["bundle"], "entries": summary.entries, "bytes": summary.bytes,
            "classes": json["classes"], "sha256": hex::encode(sha256), "charter_epoch": json["charter_epoch"],
        }))?;
    } else {
        let (entries, bytes) = (summary.entries, summary.bytes);
        out.line(&format!("{shown}: {entries} entries ({}), {bytes} bytes", summary.by_class()))?;
        out.line(&format!("bundle  {}", json["bundle"].as_str().unwrap_or_default()))?;
        out.line(&format!("sha256  {}", hex::encode(sha256)))?;
    }
    Ok(Exit::Done)
}

/// Copies the answer into the file; gives the file's SHA-256.
fn copy(api: &Api, answer: &mut impl Read, file: &mut impl Write) -> anyhow::Result<[u8; 32]> {
    let bar = progress();
    let mut sha256 = Sha256::new();
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let count = answer.read(&mut buffer).map_err(|error| api.broken_off(&error))?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
        file.write_all(bytes)?;
        sha256.update(bytes);
        bar.inc(count as u64);
    }
    bar.finish_and_clear();
    Ok(sha256.finalize().into())
}

fn progress() -> ProgressBar {
    if !print::stderr_is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {bytes} written, {bytes_per_sec}") {
        bar.set_style(style);
    }
    bar
}
