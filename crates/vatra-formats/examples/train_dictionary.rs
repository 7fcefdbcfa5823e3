//! Trains the zstd dictionary for alert changes, and measures what it saves.
//!
//! ```text
//! cargo run --release -p vatra-formats --example train_dictionary -- \
//!     crates/vatra-model/dict/alert-1.zdict crates/vatra-formats/data/*/*.json
//! ```
//!
//! The samples are the `Create` changes that the importers make of the files named after the output: the
//! samples in `data`, or fuller sets such as the whole catalogue of CISA. Output is byte for byte the same for
//! the same inputs in the same order. A published dictionary is never changed, because stored entries need it:
//! train a new one under a new name instead. With `-` as output nothing is written, only measured.

use std::path::Path;

use anyhow::{Context, Result, bail};
use vatra_formats::{ImportDefaults, detect, import};
use vatra_model::schema::words::Tlp;
use vatra_model::{Change, MemberCode};

/// Bytes of the dictionary.
const DICTIONARY_BYTES: usize = 16 * 1024;
/// Every so many samples one is kept for measuring and not trained on.
const HELD_OUT: usize = 5;
/// Samples longer than this teach their own content rather than the form.
const SAMPLE_BYTES_MAX: usize = 8 * 1024;

#[expect(clippy::disallowed_methods, reason = "a tool for developers, not part of the library")]
fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(output), inputs) = (arguments.next(), arguments.collect::<Vec<_>>()) else {
        bail!("usage: train_dictionary OUTPUT|- INPUT...");
    };
    let mut samples = forms();
    for input in &inputs {
        let bytes = std::fs::read(input).with_context(|| format!("cannot read {input}"))?;
        let before = samples.len();
        changes_of(&bytes, input, &mut samples)?;
        eprintln!("{input}: {} changes", samples.len() - before);
    }
    let held_out: Vec<&Vec<u8>> = samples.iter().skip(HELD_OUT - 1).step_by(HELD_OUT).collect();
    let trained_on: Vec<&[u8]> = samples
        .iter()
        .enumerate()
        .filter(|(index, _)| index % HELD_OUT != HELD_OUT - 1)
        .map(|(_, sample)| &sample[..sample.len().min(SAMPLE_BYTES_MAX)])
        .collect();
    let dictionary = zstd::dict::from_samples(&trained_on, DICTIONARY_BYTES)?;
    eprintln!("dictionary of {} bytes from {} changes", dictionary.len(), trained_on.len());
    if output != "-" {
        std::fs::write(Path::new(&output), &dictionary).with_context(|| format!("cannot write {output}"))?;
    }
    measure("held out", &held_out, &dictionary)?;
    let usual: Vec<&Vec<u8>> = held_out.into_iter().filter(|change| (500..900).contains(&change.len())).collect();
    measure("held out, 500 to 900 bytes", &usual, &dictionary)
}

/// The changes that the alerts of a file make.
fn changes_of(bytes: &[u8], name: &str, changes: &mut Vec<Vec<u8>>) -> Result<()> {
    let format = detect(bytes, name).with_context(|| format!("{name} is of no known format"))?;
    let defaults = ImportDefaults { unlabelled_tlp: Some(Tlp::Green), ..ImportDefaults::default() };
    for imported in import(bytes, format, &defaults) {
        let Ok(mut draft) = imported.result else { continue };
        // Some as imports make them, some as people and programs send them.
        let owner = member(changes.len());
        if changes.len() % 3 == 0 {
            (draft.external_id, draft.class) = (None, None);
        }
        let nonce = [changes.len() as u8; 16];
        changes.push(Change::Create(draft.into_create(owner, nonce)?).encode());
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
    for number in 0..120_usize {
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
fn measure(what: &str, changes: &[&Vec<u8>], dictionary: &[u8]) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut plain = zstd::bulk::Compressor::new(3)?;
    let mut trained = zstd::bulk::Compressor::with_dictionary(3, dictionary)?;
    let (mut raw, mut alone, mut with) = (0, 0, 0);
    for change in changes {
        raw += change.len();
        alone += plain.compress(change)?.len();
        with += trained.compress(change)?.len();
    }
    let (mut batched, mut batched_with) = (0, 0);
    for batch in changes.chunks(100) {
        let batch: Vec<u8> = batch.iter().flat_map(|change| change.iter().copied()).collect();
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
