//! `vatra charter revoke`: a draft that ends the logs of a node's key where a running node says.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde_json::Value;
use vatra_model::charter::{REVOCATION_LOGS_MAX, Revocation};
use vatra_model::{EntryHash, LogId, NodeKey, Seq};

use super::print_draft;
use crate::cli::api::Api;
use crate::cli::exit::{Exit, usage};
use crate::cli::print::{self, Printer};
use crate::cli::status::text;
use crate::cli::target::Target;
use crate::federation::CharterDraft;

#[derive(Debug, Args)]
#[command(after_help = "\
What the asked node holds of the logs of that key by now stays valid, unless --keep says less. Everything past that
loses its effect at every node that has the new epoch, whenever it came there. A key that was revoked stays revoked: its
machine gets a new key with `vatra node init`.

The history of an alert (GET /api/v1/alerts/ID/history) names the log and the place of each of its changes.")]
pub(crate) struct RevokeArgs {
    /// Draft file.
    draft: PathBuf,
    /// Name of the node, such as lt-2, or its key.
    node: String,
    /// Keep a log only up to and including the entry in this place; LOG:none keeps nothing of it.
    #[arg(long = "keep", value_name = "LOG:SEQ", value_parser = parse_kept)]
    keep: Vec<(LogId, Option<Seq>)>,
}

fn parse_kept(text: &str) -> Result<(LogId, Option<Seq>), String> {
    let (log, seq) = text.split_once(':').ok_or("give LOG:SEQ, or LOG:none")?;
    let log = log.parse().map_err(|error| format!("{log:?} is no log: {error}"))?;
    match seq {
        "none" => Ok((log, None)),
        seq => match seq.parse() {
            Ok(seq) => Ok((log, Some(Seq(seq)))),
            Err(_) => Err(format!("{seq:?} is no place in a log: give its number, or none")),
        },
    }
}

/// A log of the node as the asked one holds it.
struct Held {
    log: LogId,
    last: Option<(Seq, EntryHash)>,
}

pub(super) fn run(args: &RevokeArgs, target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    let mut draft = CharterDraft::read(&args.draft)?;
    let api = target.connect()?;
    let (key, mut held) = logs_of(&api, &args.node)?;
    for (log, seq) in &args.keep {
        let Some(known) = held.iter_mut().find(|held| held.log == *log) else {
            return Err(usage(format!("--keep {log}: the node that was asked holds no such log by {}", args.node)));
        };
        known.last = match seq {
            Some(seq) => last_of(&api.get(&format!("/api/v1/logs?log={log}&seq={seq}"))?["logs"][0])?,
            None => None,
        };
    }
    let last_valid: Vec<_> =
        held.iter().filter_map(|held| held.last.map(|(seq, hash)| (held.log, seq, hash))).collect();
    anyhow::ensure!(
        last_valid.len() <= REVOCATION_LOGS_MAX,
        "{} has {} logs, and a revocation names {REVOCATION_LOGS_MAX} at most; give up some with --keep LOG:none",
        args.node,
        last_valid.len()
    );
    draft.revoke(Revocation { key, last_valid })?;
    draft.replace(&args.draft)?;
    if !out.is_json() {
        // What the draft says now, which may be less than was asked for.
        let drafted = draft.revocations().iter().find(|revocation| revocation.key == key);
        let valid = drafted.map_or(&[][..], |revocation| &revocation.last_valid);
        let rows = held.iter().map(|held| {
            let kept = valid.iter().find(|(log, _, _)| *log == held.log);
            let kept = kept.map_or_else(|| "nothing".to_owned(), |(_, seq, _)| format!("0 to {seq}"));
            vec![held.log.to_string(), kept]
        });
        out.line(&format!("revokes node key {key}; of its logs stay valid:"))?;
        out.table(&["log", "entries"], rows.collect())?;
        if held.is_empty() {
            print::hint("the node that was asked holds no log of this key, so nothing of it stays valid");
        }
    }
    print_draft(&draft, out)
}

/// The key of a node, and the logs of it that the asked node holds.
fn logs_of(api: &Api, node: &str) -> anyhow::Result<(NodeKey, Vec<Held>)> {
    let named: Option<NodeKey> = node.parse().ok();
    let answer = match named {
        Some(key) => api.get(&format!("/api/v1/logs?node={key}"))?,
        None => api.get("/api/v1/logs")?,
    };
    let all = answer["logs"].as_array().context("the node's answer names no logs")?;
    let is_asked = |log: &&Value| match named {
        Some(key) => text(log, "node") == key.to_string(),
        None => text(log, "name") == node,
    };
    let logs: Vec<&Value> = all.iter().filter(is_asked).collect();
    let mut keys: Vec<NodeKey> = Vec::new();
    for log in &logs {
        let key = text(log, "node").parse().context("the node's answer has a log without a key")?;
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let key = match (keys.as_slice(), named) {
        ([key], _) => *key,
        ([], Some(key)) => key,
        ([], None) => {
            return Err(usage(format!("the node that was asked holds no log of a node named {node:?}; give its key")));
        }
        (keys, _) => {
            let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
            return Err(usage(format!("several keys have the name {node:?}; give one of them: {}", keys.join(", "))));
        }
    };
    let held = logs.into_iter().map(|log| {
        let id = text(log, "log").parse().context("the node's answer has a log without a name")?;
        Ok(Held { log: id, last: last_of(log)? })
    });
    Ok((key, held.collect::<anyhow::Result<_>>()?))
}

fn last_of(log: &Value) -> anyhow::Result<Option<(Seq, EntryHash)>> {
    let last = &log["last"];
    if last.is_null() {
        return Ok(None);
    }
    let seq = last["seq"].as_u64().context("the node's answer has an entry without its place")?;
    let hash = text(last, "hash").parse().context("the node's answer has an entry without its hash")?;
    Ok(Some((Seq(seq), hash)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_a_place_or_nothing() {
        let log = LogId([7; 16]);
        assert_eq!(parse_kept(&format!("{log}:12")), Ok((log, Some(Seq(12)))));
        assert_eq!(parse_kept(&format!("{log}:none")), Ok((log, None)));
        for wrong in [log.to_string(), format!("{log}:"), format!("{log}:-1"), "xy:3".to_owned()] {
            assert!(parse_kept(&wrong).is_err(), "{wrong}");
        }
    }
}
