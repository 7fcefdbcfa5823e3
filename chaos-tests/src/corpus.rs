//! Alerts to feed nodes with: unlike each other, made from real texts of the KEV extract.
//!
//! The same number makes the same alert in every run. Each alert carries values that compress as real
//! ones do (addresses, hashes, host names), because a benchmark of repeated text would flatter.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

/// JSON bytes of an alert, about.
pub const ALERT_BYTES: usize = 700;

const SECTORS: &[&str] = &["energy", "transport", "communications", "health", "banking", "water", "government"];
const COUNTRIES: &[&str] = &["UA", "LT", "PL", "EE", "LV", "FI", "RO", "DE", "CZ", "SK"];
const PLACES: &[&str] =
    &["substation", "port authority", "regional hospital", "data centre", "rail operator", "exchange"];
const ACTIONS: &[&str] = &["report-sightings", "patch", "isolate", "monitor"];

/// The folder of the licensed extracts.
pub fn extracts_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/vatra-formats/data")
}

/// The texts that alerts are made from.
#[derive(Clone, Debug)]
pub struct Corpus {
    texts: Vec<Text>,
}

#[derive(Clone, Debug)]
struct Text {
    name: String,
    description: String,
    action: String,
}

impl Corpus {
    /// Reads the KEV extract of the repository.
    pub fn load() -> anyhow::Result<Corpus> {
        let path = extracts_dir().join("kev/kev-extract.json");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let catalogue: Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let entries = catalogue["vulnerabilities"].as_array().context("the KEV extract has no vulnerabilities")?;
        let field = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().trim().to_owned();
        let texts: Vec<Text> = entries
            .iter()
            .map(|entry| Text {
                name: field(entry, "vulnerabilityName"),
                description: field(entry, "shortDescription"),
                action: field(entry, "requiredAction"),
            })
            .collect();
        ensure!(!texts.is_empty(), "the KEV extract is empty");
        Ok(Corpus { texts })
    }

    /// The alert with this number.
    pub fn alert(&self, number: u64) -> Value {
        let mut random = StdRng::seed_from_u64(number);
        let text = &self.texts[random.random_range(0..self.texts.len())];
        let advice = &self.texts[random.random_range(0..self.texts.len())].action;
        let cve = format!("CVE-{}-{}", random.random_range(2015..2026), random.random_range(1_000..60_000));
        let place = pick(&mut random, PLACES);
        let country = pick(&mut random, COUNTRIES);
        let address: [u8; 4] = random.random();
        let [a, b, c, d] = address;
        let sample: [u8; 32] = random.random();
        let host: u32 = random.random();
        // A few are severe and so travel as flash; the rest fills the other lanes.
        let severity = match random.random_range(0..100) {
            0 => "severe",
            1..40 => "moderate",
            40..90 => "minor",
            _ => "unknown",
        };
        let mut alert = json!({
            "kind": "vulnerability",
            "title": cut_at_word(&format!("{cve}: {} at a {place}", text.name), 200),
            "severity": severity,
            "sectors": [pick(&mut random, SECTORS)],
            "tlp": if random.random_range(0..4) == 0 { "clear" } else { "green" },
            "countries": [country],
            "vulnerabilities": [cve],
            "actions": [pick(&mut random, ACTIONS)],
            "references": [{"source": "nvd", "url": format!("https://nvd.nist.gov/vuln/detail/{cve}")}],
            "body": "",
        });
        let facts = format!(
            "Seen on gw{host:08x}.{}.example from {a}.{b}.{c}.{d}, sample SHA-256 {}.",
            country.to_lowercase(),
            hex::encode(sample)
        );
        let room = ALERT_BYTES.saturating_sub(alert.to_string().len() + facts.len() + 2);
        let advice_room = room.saturating_sub(text.description.len() + 1);
        let body = format!("{} {facts} {}", cut_at_word(&text.description, room), cut_at_word(advice, advice_room));
        alert["body"] = Value::String(body.trim_end().to_owned());
        alert
    }

    /// Alerts of a range of numbers as NDJSON.
    pub fn lines(&self, numbers: std::ops::Range<u64>) -> Vec<u8> {
        let mut lines = Vec::new();
        for number in numbers {
            lines.extend(self.alert(number).to_string().into_bytes());
            lines.push(b'\n');
        }
        lines
    }
}

fn pick<'a>(random: &mut StdRng, words: &[&'a str]) -> &'a str {
    words[random.random_range(0..words.len())]
}

/// The text's first bytes, ended between words.
fn cut_at_word(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let mut end = bytes_max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].rfind(' ').map_or("", |space| &text[..space])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn alerts_differ_and_have_the_size_that_is_claimed() {
        let corpus = Corpus::load().unwrap();
        let alerts: BTreeSet<String> = (0..2_000).map(|number| corpus.alert(number).to_string()).collect();
        assert_eq!(alerts.len(), 2_000);
        let mean = alerts.iter().map(String::len).sum::<usize>() / alerts.len();
        assert!((ALERT_BYTES - 80..=ALERT_BYTES + 40).contains(&mean), "mean {mean}");
        assert_eq!(corpus.alert(7), corpus.alert(7));
    }

    #[test]
    fn texts_are_cut_between_words() {
        assert_eq!(cut_at_word("one two three", 9), "one two");
        assert_eq!(cut_at_word("one two", 7), "one two");
        assert_eq!(cut_at_word("їжак біжить", 9), "їжак");
        assert_eq!(cut_at_word("одне", 3), "");
    }
}
