//! Trains the zstd dictionary for alert changes, and measures what it saves.
//!
//! ```text
//! cargo run -p vatra-formats --example train_dictionary -- crates/vatra-model/dict/alert-1.zdict \
//!     crates/vatra-formats/data known_exploited_vulnerabilities.json malware-ioc/*/misp-*.json ...
//! ```
//!
//! The samples are the `Create` changes that the importers make of the files named last. `alert-1` was trained
//! on the whole catalogue of CISA and 19 events of ESET, at the commits that `data/NOTICE.md` names. Whatever
//! is in the extracts under the folder named second is not trained on but measured with, so that neither this
//! nor the benchmarks, which are made from the extracts, measure what the dictionary has by heart.
//!
//! Output is byte for byte the same for the same inputs in the same order and the same zstd. A published
//! dictionary is never changed, because stored entries need it: a new one gets a new name. With `-` as output
//! nothing is written, only measured. Files after `--` are measured and not trained on.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use vatra_formats::{ImportDefaults, detect, import};
use vatra_model::schema::words::Tlp;
use vatra_model::{Change, MemberCode};

/// Bytes of the dictionary.
const DICTIONARY_BYTES: usize = 16 * 1024;
/// What the benchmarks and tests use, and so is not trained on.
const EXTRACTS: &[&str] = &[
    "kev/kev-extract.json",
    "misp/alderaan.json",
    "misp/endor.json",
    "misp/misp-telebots.json",
    "misp/misp-turla-crutch-event.json",
    "stix/indicators-for-C2-with-COA.json",
    "stix/poisonivy.json",
];
/// Samples longer than this teach their own content rather than the form.
const SAMPLE_BYTES_MAX: usize = 8 * 1024;

#[expect(clippy::disallowed_methods, reason = "a tool for developers, not part of the library")]
fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(output), Some(extracts), inputs) = (arguments.next(), arguments.next(), arguments.collect::<Vec<_>>())
    else {
        bail!("usage: train_dictionary OUTPUT|- EXTRACTS INPUT...");
    };
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let mut held_out = BTreeMap::new();
    for extract in EXTRACTS {
        changes_of(&read(&Path::new(&extracts).join(extract))?, extract, &mut held_out)?;
    }
    let mut inputs = inputs.split(|input| input == "--");
    let mut alerts = BTreeMap::new();
    for input in inputs.next().unwrap_or_default() {
        changes_of(&read(Path::new(input))?, input, &mut alerts)?;
    }
    alerts.retain(|external_id, _| !held_out.contains_key(external_id));
    let mut samples = forms();
    samples.extend(alerts.into_values());
    let trained_on: Vec<&[u8]> = samples.iter().map(|sample| &sample[..sample.len().min(SAMPLE_BYTES_MAX)]).collect();
    let dictionary = zstd::dict::from_samples(&trained_on, DICTIONARY_BYTES)?;
    println!("dictionary of {} bytes from {} changes", dictionary.len(), trained_on.len());
    if output != "-" {
        std::fs::write(Path::new(&output), &dictionary).with_context(|| format!("cannot write {output}"))?;
    }
    let (catalogue, events): (Vec<_>, Vec<_>) = held_out.iter().partition(|(id, _)| id.starts_with("kev:"));
    measure("held-out catalogue entries", &catalogue, &dictionary)?;
    measure("held-out events and reports", &events, &dictionary)?;
    for input in inputs.next().unwrap_or_default() {
        let mut changes = BTreeMap::new();
        changes_of(&read(Path::new(input))?, input, &mut changes)?;
        measure(input, &changes.iter().collect::<Vec<_>>(), &dictionary)?;
    }
    Ok(())
}

/// The changes that the alerts of a file make, by external id.
fn changes_of(bytes: &[u8], name: &str, changes: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    let format = detect(bytes, name).with_context(|| format!("{name} is of no known format"))?;
    let defaults = ImportDefaults { unlabelled_tlp: Some(Tlp::Green), ..ImportDefaults::default() };
    for imported in import(bytes, format, &defaults) {
        let Ok(mut draft) = imported.result else { continue };
        // Some as imports make them, some as people and programs send them.
        if changes.len().is_multiple_of(3) {
            (draft.external_id, draft.class) = (None, None);
        }
        let nonce = [changes.len() as u8; 16];
        let create = draft.into_create(member(changes.len()), nonce).with_context(|| imported.external_id.clone())?;
        changes.insert(imported.external_id, Change::Create(create).encode());
    }
    Ok(())
}

fn member(number: usize) -> MemberCode {
    ["UA", "LT", "PL", "EE", "LV", "MD", "RO", "EU"][number % 8].parse().expect("a member code")
}

/// Alerts with every field and word, so that the dictionary knows the form as well as the texts.
fn forms() -> Vec<Vec<u8>> {
    let mut changes = Vec::new();
    let kinds = ["incident", "outage", "threat", "vulnerability", "campaign", "advisory", "request"];
    let severities = ["extreme", "severe", "moderate", "minor", "unknown"];
    let sectors = ["energy", "transport", "communications", "health", "banking", "government", "elections", "water"];
    for number in 0..100_usize {
        let pick = |words: &[&'static str]| words[number % words.len()];
        let line = format!(
            r#"{{"kind":"{}","title":"Form {number}","severity":"{}","sectors":["{}"],"tlp":"{}","lang":"{}",
               "urgency":"{}","certainty":"{}","confidence":{number},"effective":"2026-11-24T02:30:00.000Z",
               "onset":"2026-11-23T22:00:00.000Z","expires":"2026-12-01T00:00:00.000Z","countries":["UA","LT"],
               "classification":["availability:outage"],"handling":["no-public-reference"],
               "references":[{{"source":"CERT-UA","url":"https://cert.example/{number}"}}],
               "indicators":[{{"iid":"{number}","type":"{}","value":"{number}.example","to_ids":true,
                 "pattern":"[domain-name:value = '{number}.example']","valid_from":"2026-11-23T22:00:00.000Z"}}],
               "timeline":[{{"at":"2026-11-24T02:30:00.000Z","author":"duty officer","text":"{number}"}}],
               "actions":["{}"]}}"#,
            pick(&kinds),
            pick(&severities),
            pick(&sectors),
            pick(&["clear", "green"]),
            pick(&["en", "uk", "lt", "pl"]),
            pick(&["immediate", "expected", "future"]),
            pick(&["observed", "likely", "possible"]),
            pick(&["domain", "ip-dst", "sha256", "url", "ipv4-addr"]),
            pick(&["patch", "isolate", "monitor", "report-sightings"]),
        );
        let draft = vatra_model::draft::AlertDraft::from_json(line.as_bytes()).expect("the form is a valid draft");
        let create = draft.into_create(member(number), [number as u8; 16]).expect("the form fits");
        changes.push(Change::Create(create).encode());
    }
    changes
}

/// Prints what the changes take one by one, with the dictionary, and in batches.
fn measure(what: &str, changes: &[(&String, &Vec<u8>)], dictionary: &[u8]) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut plain = zstd::bulk::Compressor::new(3)?;
    let mut trained = zstd::bulk::Compressor::with_dictionary(3, dictionary)?;
    let (mut raw, mut alone, mut with) = (0, 0, 0);
    for (_, change) in changes {
        raw += change.len();
        alone += plain.compress(change)?.len();
        with += trained.compress(change)?.len();
    }
    let (mut batched, mut batched_with) = (0, 0);
    for batch in changes.chunks(100) {
        let batch: Vec<u8> = batch.iter().flat_map(|(_, change)| change.iter().copied()).collect();
        batched += plain.compress(&batch)?.len();
        batched_with += trained.compress(&batch)?.len();
    }
    let average = |bytes: usize| bytes / changes.len();
    println!(
        "{what}: {} changes, {} bytes each; alone {}, with dictionary {}, in batches of 100 {}, batches with dictionary {}",
        changes.len(),
        average(raw),
        average(alone),
        average(with),
        average(batched),
        average(batched_with)
    );
    Ok(())
}
