//! STIX 2.1 bundles (OASIS Standard, errata 01).
//!
//! Each `report` and each `grouping` (as misp-stix writes for unpublished events) is one alert, with the
//! indicators and vulnerabilities that it refers to inside; courses of action are its instruction, notes its
//! timeline, other objects are named in the body. An `incident`, `campaign`, `vulnerability` or `indicator`
//! that none of them refers to is an alert of its own. Everything else needs no alert and is passed over.
//!
//! The severity is that of a label `severity:<word>`, else unknown. Sectors come from labels and from
//! identities of class `class`, countries from locations. Of several versions of an object the newest counts.
//! Markings: TLP 1 and 2 ids, marking definitions in the bundle, granular markings and labels `tlp:<word>`;
//! the strictest counts, and a marking that is not known here and not in the bundle counts as AMBER+STRICT.
//! A bundle that breaks off is refused as a whole, because what refers to what would be guesswork.

mod bundle;
mod report;
mod wire;

use vatra_model::draft::AlertDraft;
use vatra_model::schema::words::{AlertKind, Severity};

use crate::import::finding::Finding;
use crate::import::json::Items;
use crate::import::stix::bundle::{Bundle, Header};
use crate::import::stix::wire::Object;
use crate::import::text::{paragraph, shown};
use crate::import::{ImportDefaults, ImportProblem, Imported, Place};

/// The alerts of a bundle.
pub(crate) fn read<'a>(bytes: &'a [u8], defaults: &'a ImportDefaults) -> Box<dyn Iterator<Item = Imported> + 'a> {
    let document = Items::of_document(bytes, "objects");
    if let Some(problem) = document.problem("objects") {
        return Box::new(std::iter::once(Imported::refused(Place::File, problem)));
    }
    if let Some(version) = document.spec_version.as_deref().filter(|version| *version != "2.1") {
        let problem =
            ImportProblem::new("spec_version", format!("is {}: convert the bundle to STIX 2.1", shown(version)));
        return Box::new(std::iter::once(Imported::refused(Place::File, problem)));
    }
    let (bundle, unreadable) = Bundle::new(&document.items);
    let alerts: Vec<Header> = bundle.alerts();
    if alerts.is_empty() && unreadable.is_empty() {
        let detail = format!(
            "none of {} objects is a report, grouping, incident, campaign, vulnerability or indicator",
            document.items.len()
        );
        return Box::new(std::iter::once(Imported::refused(Place::File, ImportProblem::new("objects", detail))));
    }
    let unreadable = unreadable.into_iter().map(|(index, problem)| Imported::refused(Place::Item(index + 1), problem));
    Box::new(unreadable.chain(alerts.into_iter().map(move |header| {
        let place = Place::Item(header.index + 1);
        if !wire::is_stix_id(&header.id) {
            let detail = format!("is not a STIX id: {:?}", shown(&header.id));
            return Imported::refused(place, ImportProblem::new("id", detail));
        }
        let result = alert(&bundle, &header, defaults);
        Imported { place, external_id: header.id, result }
    })))
}

fn alert(bundle: &Bundle<'_>, header: &Header, defaults: &ImportDefaults) -> Result<AlertDraft, ImportProblem> {
    let object = bundle.object(header.index)?;
    if object.spec_version.as_deref() != Some("2.1") {
        return Err(ImportProblem::new("spec_version", "is not 2.1"));
    }
    if object.revoked {
        let detail = "was withdrawn by its source; cancel the alert if it was imported before";
        return Err(ImportProblem::new("revoked", detail));
    }
    if object.labels.iter().any(|label| is_exercise(label)) {
        return Err(ImportProblem::new("labels", "the object belongs to an exercise"));
    }
    let decision = bundle.label(&object).decide("object_marking_refs", defaults)?;
    let mut found = Finding::new(&header.id, kind(&object), severity(&object), decision.tlp);
    found.title(&title(&object));
    if let Some(note) = &decision.note {
        found.note(note);
    }
    common(&mut found, &object);
    match object.kind.as_ref() {
        "report" | "grouping" => report::contents(&mut found, bundle, &object, defaults),
        "indicator" => report::indicator(&mut found, &object),
        "vulnerability" => report::vulnerability(&mut found, &object),
        _ => {}
    }
    report::notes_on(&mut found, bundle, &object);
    found.note(&format!("Imported from STIX {}.", header.id));
    found.finish(defaults)
}

fn is_exercise(label: &str) -> bool {
    let lower = label.to_ascii_lowercase();
    lower == "exercise" || lower.starts_with("exercise:")
}

fn kind(object: &Object<'_>) -> AlertKind {
    let types: Vec<&str> = object.report_types.iter().map(AsRef::as_ref).collect();
    match object.kind.as_ref() {
        "incident" => AlertKind::Incident,
        "campaign" => AlertKind::Campaign,
        "vulnerability" => AlertKind::Vulnerability,
        _ if types.contains(&"incident") => AlertKind::Incident,
        _ if types.contains(&"campaign") => AlertKind::Campaign,
        _ if types.contains(&"vulnerability") => AlertKind::Vulnerability,
        _ => AlertKind::Threat,
    }
}

fn severity(object: &Object<'_>) -> Severity {
    let named = object.labels.iter().filter_map(|label| Severity::find(label.strip_prefix("severity:")?));
    named.max().unwrap_or(Severity::Unknown)
}

/// Its name; an indicator may have none, then what it looks for.
fn title(object: &Object<'_>) -> String {
    let name = object.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
    match (name, object.pattern.as_deref()) {
        (Some(name), _) => name.to_owned(),
        (None, Some(pattern)) => format!("Indicator {pattern}"),
        (None, None) => String::new(),
    }
}

fn common(found: &mut Finding, object: &Object<'_>) {
    paragraph(&mut found.body, object.description.as_deref().unwrap_or_default());
    found.lang = object.lang.as_deref().map(str::to_owned);
    found.confidence = object.confidence.filter(|confidence| (0..=100).contains(confidence));
    let published = object.published.as_ref().or(object.valid_from.as_ref()).or(object.created.as_ref());
    found.effective = wire::instant(published);
    found.onset = wire::instant(object.first_seen.as_ref());
    found.expires = wire::instant(object.valid_until.as_ref());
    for label in object.labels.iter().chain(&object.report_types).chain(&object.indicator_types) {
        report::label(found, label);
    }
    for reference in &object.external_references {
        report::external(found, reference);
    }
}
