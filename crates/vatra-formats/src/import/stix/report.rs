//! What a report refers to, put into its alert.

use std::collections::BTreeMap;

use vatra_model::schema::alert_parts::{Indicator, Reference};

use crate::import::ImportDefaults;
use crate::import::finding::Finding;
use crate::import::label::{self, OPEN_MAX, part_is_open};
use crate::import::stix::bundle::Bundle;
use crate::import::stix::wire::{self, ExternalReference, Object};
use crate::import::text::{line, paragraph};
use crate::import::{patterns, sectors};

/// Objects that one report may refer to.
const REFERRED_MAX: usize = 5000;
/// Names of one type that the body lists.
const NAMES_MAX: usize = 50;
/// Characters of a name in the body.
const NAME_CHARS_MAX: usize = 120;
/// Notes on one object that become entries of its timeline.
const NOTES_MAX: usize = 10;
/// Types that say nothing by their name.
const NAMELESS: &[&str] =
    &["identity", "location", "relationship", "sighting", "marking-definition", "note", "opinion"];

/// Puts everything that a report refers to into its alert. What is labelled too strictly is left out.
pub(super) fn contents(found: &mut Finding, bundle: &Bundle<'_>, report: &Object<'_>, defaults: &ImportDefaults) {
    let mut named: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut closed, mut opened, mut missing, mut revoked) = (0, 0, 0, 0);
    for id in report.object_refs.iter().take(REFERRED_MAX) {
        let Some(part) = bundle.find(id) else {
            missing += 1;
            continue;
        };
        if part.revoked {
            revoked += 1;
            continue;
        }
        match bundle.label(&part).tlp {
            tlp if !part_is_open(tlp, defaults) => {
                closed += 1;
                continue;
            }
            Some(tlp) if tlp <= OPEN_MAX => found.contains(tlp),
            Some(_) => opened += 1,
            None => {}
        }
        take_in(found, &part, report, &mut named);
    }
    name(found, named);
    let sentences = [
        (closed, "objects with a stricter label were left out."),
        (opened, "objects had a stricter label at the source."),
        (revoked, "objects were withdrawn by their source and left out."),
        (missing, "objects that it refers to are not in the bundle."),
        (report.object_refs.len().saturating_sub(REFERRED_MAX), "more objects were left out."),
    ];
    for (count, what) in sentences.into_iter().filter(|(count, _)| *count > 0) {
        found.note(&format!("{count} {what}"));
    }
}

fn take_in(found: &mut Finding, part: &Object<'_>, report: &Object<'_>, named: &mut BTreeMap<String, Vec<String>>) {
    match part.kind.as_ref() {
        "indicator" => indicator(found, part),
        "vulnerability" => vulnerability(found, part),
        "course-of-action" => {
            let text = part.description.as_deref().or(part.name.as_deref()).unwrap_or_default();
            paragraph(&mut found.instruction, text);
        }
        "identity" => {
            let author = report.created_by_ref.as_deref() == Some(part.id.as_ref());
            if !author && part.identity_class.as_deref() == Some("class") {
                found.sectors.extend(part.sectors.iter().filter_map(|word| sectors::of_stix(word)));
            }
        }
        "location" => {
            let union = part.name.as_deref().is_some_and(|name| name == "EU" || name == "European Union");
            found.country(part.country.as_deref().unwrap_or(if union { "EU" } else { "" }));
        }
        kind => {
            if let Some(name) = part.name.as_deref().filter(|_| !NAMELESS.contains(&kind)) {
                named.entry(kind.to_owned()).or_default().push(line(name, NAME_CHARS_MAX).text);
            }
        }
    }
}

/// Lists the other objects in the body: `malware: Poison Ivy, ...`.
fn name(found: &mut Finding, named: BTreeMap<String, Vec<String>>) {
    let mut text = String::new();
    for (kind, names) in named {
        let more = names.len().saturating_sub(NAMES_MAX);
        text.push_str(&format!("\n- {}: {}", line(&kind, NAME_CHARS_MAX).text, names[..names.len() - more].join(", ")));
        if more > 0 {
            text.push_str(&format!(" and {more} more"));
        }
    }
    if !text.is_empty() {
        paragraph(&mut found.body, &format!("Also in the report:\n{text}"));
    }
}

/// Adds an indicator.
pub(super) fn indicator(found: &mut Finding, object: &Object<'_>) {
    let pattern = object.pattern.as_deref().unwrap_or_default();
    let language = object.pattern_type.as_deref().unwrap_or("stix");
    let (kind, value, pattern) = match (language, patterns::simple_stix(pattern)) {
        ("stix", Some((kind, value))) => (kind.to_owned(), Some(value), Some(pattern.to_owned())),
        ("stix", None) => ("stix".to_owned(), None, Some(pattern.to_owned())),
        (other, _) => (other.to_owned(), Some(pattern.to_owned()), None),
    };
    let (from, until) = (wire::instant(object.valid_from.as_ref()), wire::instant(object.valid_until.as_ref()));
    found.indicator(Indicator {
        iid: object.id.clone().into_owned(),
        kind,
        value,
        pattern,
        valid_from: from,
        valid_until: until.filter(|until| from.is_none_or(|from| from <= *until)),
        to_ids: None,
    });
}

/// Adds a vulnerability by its CVE or EUVD number, else by its name.
pub(super) fn vulnerability(found: &mut Finding, object: &Object<'_>) {
    let numbered =
        |reference: &&ExternalReference<'_>| matches!(reference.source_name.as_deref(), Some("cve" | "euvd"));
    let number =
        object.external_references.iter().find(numbered).and_then(|reference| reference.external_id.as_deref());
    if let Some(id) = number.or(object.name.as_deref()) {
        found.vulnerability(id);
    }
}

/// The owner's notes on an object are its timeline.
pub(super) fn notes_on(found: &mut Finding, bundle: &Bundle<'_>, object: &Object<'_>) {
    for note in bundle.notes_about(&object.id, NOTES_MAX) {
        let by_owner = note.created_by_ref.is_some() && note.created_by_ref == object.created_by_ref;
        let open = bundle.label(&note).tlp.is_none_or(|tlp| tlp <= OPEN_MAX);
        if let (true, true, Some(at)) = (by_owner && !note.revoked, open, wire::instant(note.created.as_ref())) {
            if let Some(tlp) = bundle.label(&note).tlp {
                found.contains(tlp);
            }
            let text = note.content.as_deref().or(note.summary.as_deref()).unwrap_or_default();
            found.happened(at, note.authors.first().map(AsRef::as_ref), text);
        }
    }
}

/// Sectors and classification of a label; TLP and severity are read elsewhere.
pub(super) fn label(found: &mut Finding, label: &str) {
    if label::spelled(label).is_some() || label.starts_with("severity:") {
        return;
    }
    match sectors::of_tag(label) {
        Some(sector) => {
            found.sectors.insert(sector);
        }
        None => found.classify(label),
    }
}

/// Adds an external reference; CVE and EUVD numbers are vulnerabilities.
pub(super) fn external(found: &mut Finding, reference: &ExternalReference<'_>) {
    let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(str::to_owned);
    let hash = reference.hashes.get("SHA-256").map(|hash| hash.to_ascii_lowercase());
    if let (Some("cve" | "euvd"), Some(id), None) =
        (reference.source_name.as_deref(), &reference.external_id, &reference.url)
    {
        return found.vulnerability(id);
    }
    if reference.url.is_none() && reference.external_id.is_none() {
        return;
    }
    found.reference(Reference {
        source: text(&reference.source_name),
        url: text(&reference.url),
        id: text(&reference.external_id),
        hash,
    });
}
