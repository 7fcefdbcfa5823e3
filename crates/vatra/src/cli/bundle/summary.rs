//! What a bundle holds, read offline, in numbers.

use std::collections::BTreeMap;
use std::io::Read;

use serde_json::{Value, json};
use vatra_bundle::{BundleReader, Chunk, Part, ReadError, ReadLimits};
use vatra_model::charter::Charter;
use vatra_model::{Class, LogId};

/// Unpacked bytes of a bundle that is looked at: as an importer with the largest bound allows.
const LIMITS: ReadLimits = ReadLimits { inflated_bytes_max: 1 << 42 };

/// What was read of a bundle.
pub(super) struct Summary {
    head: Value,
    logs: BTreeMap<LogId, LogSummary>,
    classes: [u64; 4],
    chunks: u64,
    optional: Vec<u8>,
    pub(super) forks: u64,
    pub(super) entries: u64,
    pub(super) bytes: u64,
    /// Why it was not read to its end, if it was not.
    pub(super) problem: Option<ReadError>,
}

/// What a bundle holds of a log.
struct LogSummary {
    member: String,
    node: String,
    entries: u64,
    first: u64,
    last: u64,
}

impl Summary {
    /// Reads a bundle as far as it holds.
    ///
    /// # Errors
    /// Not even its head holds.
    pub(super) fn read(input: impl Read, charter: Option<&Charter>) -> Result<Summary, ReadError> {
        let mut reader = BundleReader::open(input, charter, LIMITS)?;
        let mut summary = Summary {
            head: head_of(&reader),
            logs: BTreeMap::new(),
            classes: [0; 4],
            chunks: 0,
            optional: Vec::new(),
            forks: 0,
            entries: 0,
            bytes: 0,
            problem: None,
        };
        loop {
            match reader.next_part() {
                Ok(None) => break,
                Ok(Some(Part::Entries(chunk))) => summary.count(&chunk),
                Ok(Some(Part::Forks(proofs))) => summary.forks += proofs.len() as u64,
                Ok(Some(Part::Optional { kind, .. })) => summary.optional.push(kind),
                Err(problem) => {
                    summary.problem = Some(problem);
                    break;
                }
            }
        }
        summary.entries = reader.entry_count();
        summary.bytes = reader.bytes_read();
        Ok(summary)
    }

    fn count(&mut self, chunk: &Chunk) {
        self.chunks += 1;
        for log in &chunk.logs {
            let (member, node) = (log.certificate.member.to_string(), log.certificate.node.clone());
            self.logs.insert(log.id, LogSummary { member, node, entries: 0, first: u64::MAX, last: 0 });
        }
        for entry in &chunk.entries {
            let header = entry.header();
            self.classes[header.class as usize] += 1;
            if let Some(log) = self.logs.get_mut(&header.log) {
                log.entries += 1;
                log.first = log.first.min(header.seq.0);
                log.last = log.last.max(header.seq.0);
            }
        }
    }

    /// Whether it was read to its signed end.
    pub(super) fn is_whole(&self) -> bool {
        self.problem.is_none()
    }

    /// The summary as JSON.
    pub(super) fn json(&self) -> Value {
        let mut json = self.head.clone();
        let classes: serde_json::Map<String, Value> =
            Class::ALL.iter().map(|class| (class.to_string(), self.classes[*class as usize].into())).collect();
        let logs = self.logs.iter().filter(|(_, log)| log.entries > 0).map(|(id, log)| {
            json!({
                "log": id, "member": log.member, "node": log.node, "entries": log.entries,
                "first": log.first, "last": log.last,
            })
        });
        json["whole"] = self.is_whole().into();
        json["problem"] = self.problem.as_ref().map(ToString::to_string).into();
        json["bytes"] = self.bytes.into();
        json["entries"] = self.entries.into();
        json["classes"] = classes.into();
        json["chunks"] = self.chunks.into();
        json["fork_proofs"] = self.forks.into();
        json["optional_sections"] = self.optional.clone().into();
        json["logs"] = logs.collect();
        json
    }

    /// Rows of a table of logs.
    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        let row = |(id, log): (&LogId, &LogSummary)| {
            let places =
                if log.first == log.last { log.first.to_string() } else { format!("{}-{}", log.first, log.last) };
            vec![id.to_string(), log.member.clone(), log.node.clone(), places, log.entries.to_string()]
        };
        self.logs.iter().filter(|(_, log)| log.entries > 0).map(row).collect()
    }

    /// Entries by class, as `2 flash, 10 routine`.
    pub(super) fn by_class(&self) -> String {
        let counts = Class::ALL.iter().map(|class| (self.classes[*class as usize], class));
        let shown: Vec<String> =
            counts.filter(|(count, _)| *count > 0).map(|(count, class)| format!("{count} {class}")).collect();
        if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
    }
}

/// What the head of a bundle says.
fn head_of<R: Read>(reader: &BundleReader<R>) -> Value {
    let (manifest, maker) = (reader.manifest(), reader.maker());
    json!({
        "kind": "bundle",
        "bundle": reader.id().to_string(),
        "maker": {"member": maker.member, "site": maker.site, "name": maker.node, "node": maker.key},
        "created": manifest.created,
        "software": manifest.software,
        "receiver": manifest.receiver,
        "founding": hex::encode(manifest.founding),
        "charter_epoch": manifest.charter_epoch,
        "known_logs": manifest.logs.len(),
        "ranges": manifest.logs.iter().map(|range| {
            json!({"log": range.log, "from": range.from, "height": range.height, "head": range.head})
        }).collect::<Vec<_>>(),
    })
}
