//! MISP core format (draft-20): events and what is in them.
//!
//! One event is one alert. `info` is its title, `threat_level_id` 1, 2, 3, 4 its severity severe, moderate,
//! minor, unknown; event reports, comments and texts are its body; attributes, its own and its objects', are
//! indicators, references (`link`) and vulnerabilities; all other tags and galaxy clusters are classification.
//! `date` is the onset (or the earliest `first_seen`), `publish_timestamp` (else `timestamp`) says since when
//! it counts, and `timestamp` stands in the timeline. Deleted attributes and reports are passed over.
//! An event that is meant for one organisation or a sharing group (`distribution` 0 or 4) is as restricted
//! as AMBER+STRICT, whatever its tags say; an attribute that is more restricted than its event may be is left
//! out and counted.

mod attributes;
mod tags;
mod wire;

use serde_json::value::RawValue;
use vatra_model::WallMs;
use vatra_model::schema::alert_parts::Reference;
use vatra_model::schema::words::{AlertKind, Severity, Tlp};

use crate::import::finding::Finding;
use crate::import::json::{self, Items};
use crate::import::kev::day;
use crate::import::label::{Label, part_is_open};
use crate::import::misp::tags::Tags;
use crate::import::misp::wire::{Event, Report, Wrapped};
use crate::import::text::{paragraph, shown};
use crate::import::{ImportDefaults, ImportProblem, Imported, Place};

/// The events of a file: one event, a list of them, or the answer of a search (`response`).
pub(crate) fn read<'a>(bytes: &'a [u8], defaults: &'a ImportDefaults) -> impl Iterator<Item = Imported> + 'a {
    let mut document = Items::of_document(bytes, "response");
    if !document.found && document.broken.is_none() {
        // Neither a list nor an answer: the whole file is the event.
        match serde_json::from_slice::<&RawValue>(bytes) {
            Ok(event) => document.items.push(event),
            Err(error) => document.broken = Some(shown(&error.to_string())),
        }
        document.found = true;
    }
    let end = document.problem("response");
    let place_after = Place::Item(document.items.len() + 1);
    let events = document.items.into_iter().enumerate().map(move |(index, item)| {
        let place = Place::Item(index + 1);
        match event_and_id(item) {
            Ok((event, external_id)) => {
                let result = finding(&event, &external_id, defaults).and_then(|found| found.finish(defaults));
                Imported { place, external_id, result }
            }
            Err(problem) => Imported::refused(place, problem),
        }
    });
    events.chain(end.map(|problem| Imported::refused(place_after, problem)))
}

fn event_and_id(item: &RawValue) -> Result<(Event<'_>, String), ImportProblem> {
    let wrapped: Wrapped<'_> = json::read(item.get())?;
    let event: Event<'_> = json::read(wrapped.event.map_or(item.get(), RawValue::get))?;
    let Some(uuid) = event.uuid.text() else {
        return Err(ImportProblem::new("uuid", "is missing: this is no MISP event"));
    };
    let uuid = uuid.to_ascii_lowercase();
    if !is_uuid(&uuid) {
        return Err(ImportProblem::new("uuid", format!("is not a UUID: {:?}", shown(&uuid))));
    }
    Ok((event, format!("misp:{uuid}")))
}

pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn finding(event: &Event<'_>, external_id: &str, defaults: &ImportDefaults) -> Result<Finding, ImportProblem> {
    let tags = Tags::of(event.tags, event.galaxies);
    if let Some(exercise) = &tags.exercise {
        let detail = format!("the event belongs to an exercise: {}", shown(exercise));
        return Err(ImportProblem::new("Tag", detail));
    }
    let label = Label { tlp: tags.tlp, narrow: wire::is_narrow(&event.distribution) };
    let decision = label.decide("Tag", defaults)?;
    let mut found = Finding::new(external_id, kind(event, &tags), severity(event), decision.tlp);
    found.title(event.info.text().unwrap_or_default());
    if let Some(note) = &decision.note {
        found.note(note);
    }
    found.confidence = tags.confidence;
    found.sectors.clone_from(&tags.sectors);
    found.handling.clone_from(&tags.handling);
    for code in &tags.classification {
        found.classify(code);
    }
    times(&mut found, event)?;
    reports(&mut found, event, defaults);
    attributes::read(&mut found, event, defaults);
    provenance(&mut found, event);
    Ok(found)
}

/// As the tag `vatra:kind` says; else by the RSIT classification; else a threat.
fn kind(event: &Event<'_>, tags: &Tags) -> AlertKind {
    if let Some(kind) = tags.kind {
        kind
    } else if attributes::only_vulnerabilities(event) {
        AlertKind::Vulnerability
    } else {
        AlertKind::Threat
    }
}

fn severity(event: &Event<'_>) -> Severity {
    match event.threat_level_id.number() {
        Some(1) => Severity::Severe,
        Some(2) => Severity::Moderate,
        Some(3) => Severity::Minor,
        _ => Severity::Unknown,
    }
}

fn times(found: &mut Finding, event: &Event<'_>) -> Result<(), ImportProblem> {
    let changed = wire::seconds(&event.timestamp);
    found.effective = wire::seconds(&event.publish_timestamp).or(changed);
    found.onset = day("date", event.date.text())?;
    if let Some(changed) = changed {
        found.happened(changed, event.org_name(), "Last change of the MISP event.");
    }
    Ok(())
}

fn reports(found: &mut Finding, event: &Event<'_>, defaults: &ImportDefaults) {
    let (reports, _) = json::elements(event.reports);
    let mut closed = 0;
    for report in reports {
        let Ok(report) = json::read::<Report<'_>>(report.get()) else { continue };
        if report.deleted.is_true() {
            continue;
        }
        if !part_is_open(own_label(None, wire::is_narrow(&report.distribution)), defaults) {
            closed += 1;
            continue;
        }
        if let Some(content) = report.content.text() {
            if let Some(name) = report.name.text() {
                paragraph(&mut found.body, &format!("# {name}"));
            }
            paragraph(&mut found.body, content);
        }
    }
    if closed > 0 {
        found.note(&format!("{closed} event reports with a stricter distribution were left out."));
    }
}

fn provenance(found: &mut Finding, event: &Event<'_>) {
    let uuid = event.uuid.text().unwrap_or_default().to_ascii_lowercase();
    found.reference(Reference { source: Some("MISP".to_owned()), id: Some(uuid.clone()), ..Reference::default() });
    let org = event.org_name().map(|name| format!(" of {name}")).unwrap_or_default();
    found.note(&format!("Imported from MISP event {uuid}{org}."));
    if let Some(extended) = event.extends_uuid.text() {
        found.note(&format!("It extends MISP event {extended}."));
    }
}

/// The earlier of two times that may be missing.
fn earlier(a: Option<WallMs>, b: Option<WallMs>) -> Option<WallMs> {
    a.into_iter().chain(b).min()
}

/// Label of an attribute: `None` when it has none of its own.
fn own_label(tlp: Option<Tlp>, narrow: bool) -> Option<Tlp> {
    if narrow { Some(tlp.unwrap_or(Tlp::AmberStrict).max(Tlp::AmberStrict)) } else { tlp }
}
