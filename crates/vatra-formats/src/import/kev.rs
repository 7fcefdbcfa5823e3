//! CISA's catalogue of known exploited vulnerabilities (schema in its repository `cisagov/kev-data`).
//!
//! One entry is one alert of kind `vulnerability`: `severe` when ransomware is known to use it, else
//! `moderate`; always TLP:CLEAR, as the catalogue is public. `effective` is the day it was listed; the due
//! date binds US agencies only and therefore stands in the instruction, not in `expires`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use vatra_model::WallMs;
use vatra_model::schema::alert_parts::Reference;
use vatra_model::schema::words::{Action, AlertKind, Severity, Tlp};

use crate::import::finding::Finding;
use crate::import::json::{self, Items};
use crate::import::text::{paragraph, shown};
use crate::import::{ImportDefaults, ImportProblem, Imported, Place};

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(rename = "cveID", borrow)]
    cve: Cow<'a, str>,
    #[serde(rename = "vendorProject", borrow, default)]
    vendor: Cow<'a, str>,
    #[serde(borrow, default)]
    product: Cow<'a, str>,
    #[serde(rename = "vulnerabilityName", borrow)]
    name: Cow<'a, str>,
    #[serde(rename = "dateAdded", borrow, default)]
    added: Option<Cow<'a, str>>,
    #[serde(rename = "shortDescription", borrow, default)]
    description: Cow<'a, str>,
    #[serde(rename = "requiredAction", borrow, default)]
    action: Cow<'a, str>,
    #[serde(rename = "dueDate", borrow, default)]
    due: Option<Cow<'a, str>>,
    #[serde(rename = "knownRansomwareCampaignUse", borrow, default)]
    ransomware: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    notes: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    cwes: Vec<Cow<'a, str>>,
}

/// The entries of a catalogue.
pub(crate) fn read<'a>(bytes: &'a [u8], defaults: &'a ImportDefaults) -> impl Iterator<Item = Imported> + 'a {
    let document = Items::of_document(bytes, "vulnerabilities");
    let end = document.problem("vulnerabilities");
    let place_after = Place::Item(document.items.len() + 1);
    let entries = document.items.into_iter().enumerate().map(move |(index, item)| {
        let place = Place::Item(index + 1);
        match entry(item) {
            Ok(entry) => {
                let external_id = format!("kev:{}", entry.cve);
                let result = finding(&entry, &external_id).and_then(|found| found.finish(defaults));
                Imported { place, external_id, result }
            }
            Err(problem) => Imported::refused(place, problem),
        }
    });
    entries.chain(end.map(|problem| Imported::refused(place_after, problem)))
}

fn entry(item: &RawValue) -> Result<Entry<'_>, ImportProblem> {
    let entry: Entry<'_> = json::read(item.get())?;
    let digits = |text: &str, least: usize, most: usize| {
        (least..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let parts: Vec<&str> = entry.cve.split('-').collect();
    match parts[..] {
        ["CVE", year, number] if digits(year, 4, 4) && digits(number, 4, 19) => Ok(entry),
        _ => Err(ImportProblem::new("cveID", format!("is not a CVE number: {:?}", shown(&entry.cve)))),
    }
}

fn finding(entry: &Entry<'_>, external_id: &str) -> Result<Finding, ImportProblem> {
    let known = entry.ransomware.as_deref().is_some_and(|use_| use_.eq_ignore_ascii_case("known"));
    let severity = if known { Severity::Severe } else { Severity::Moderate };
    let mut found = Finding::new(external_id, AlertKind::Vulnerability, severity, Tlp::Clear);
    found.title(&title(entry));
    paragraph(&mut found.body, &entry.description);
    if known {
        paragraph(&mut found.body, "Known to be used in ransomware campaigns.");
    }
    paragraph(&mut found.instruction, &entry.action);
    if let Some(due) = entry.due.as_deref() {
        paragraph(&mut found.instruction, &format!("Due date set by CISA for US federal agencies: {due}."));
    }
    found.actions.insert(Action::Patch);
    found.effective = day("dateAdded", entry.added.as_deref())?;
    found.vulnerability(&entry.cve);
    for cwe in entry.cwes.iter().take(json::ELEMENTS_SEEN_MAX) {
        found.classify(&format!("cwe:{cwe}"));
    }
    notes(&mut found, entry);
    Ok(found)
}

/// Vendor and product, unless the name repeats them anyway.
fn title(entry: &Entry<'_>) -> String {
    let (vendor, product) = (entry.vendor.trim(), entry.product.trim());
    let thing = if product.starts_with(vendor) { product.to_owned() } else { format!("{vendor} {product}") };
    match entry.name.starts_with(&thing) {
        true => format!("{}: {}", entry.cve, entry.name),
        false => format!("{}: {thing}: {}", entry.cve, entry.name),
    }
}

/// The notes are addresses with spaces and semicolons between them, sometimes with prose around.
fn notes(found: &mut Finding, entry: &Entry<'_>) {
    let notes = entry.notes.as_deref().unwrap_or_default();
    let mut prose = String::new();
    for word in notes.split_whitespace() {
        let address = word.trim_matches(['(', ')', ';', ',', '.']);
        if address.starts_with("https://") || address.starts_with("http://") {
            let nvd = address.contains("nvd.nist.gov/vuln/detail/");
            found.reference(Reference {
                source: Some(if nvd { "NVD" } else { "CISA KEV" }.to_owned()),
                url: Some(address.to_owned()),
                id: nvd.then(|| entry.cve.clone().into_owned()),
                hash: None,
            });
        } else if word != ";" {
            prose.push_str(word);
            prose.push(' ');
        }
    }
    paragraph(&mut found.body, &prose);
}

/// Midnight UTC of a day such as `2025-08-25`.
pub(crate) fn day(field: &str, text: Option<&str>) -> Result<Option<WallMs>, ImportProblem> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    match WallMs::parse(&format!("{text}T00:00:00Z")) {
        Some(at) => Ok(Some(at)),
        None => Err(ImportProblem::new(field, format!("is not a day such as 2025-08-25: {:?}", shown(text)))),
    }
}
