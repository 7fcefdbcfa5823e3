//! The view of an alert from its cells.

use std::collections::BTreeMap;

use vatra_model::change::Value;
use vatra_model::schema::alert_parts::{Translation, write_element};
use vatra_model::schema::words::{Action, AlertKind, AlertStatus, Certainty, Handling, Sector, Severity, Tlp, Urgency};
use vatra_model::schema::{BODY_BYTES_MAX, CONFIDENCE_MAX, check};
use vatra_model::view::{AlertView, Scalar, spoken_code};
use vatra_model::{Class, MemberCode, RecordId};

use crate::meaning::Place;
use crate::project::reader::{Reader, RemoveWins, language, line, long, shown, structured, time, word};
use crate::project::response::Answer;
use crate::project::{Cell, Head};

/// The view of an alert.
pub(super) fn view(head: Head<'_>, cells: &[Cell<'_>], responses: BTreeMap<MemberCode, Answer>) -> AlertView {
    let mut view = blank(&head);
    let mut reader = Reader::default();
    let mut class = None;
    for group in cells.chunk_by(|a, b| a.place == b.place) {
        match group {
            [cell, ..] if cell.place.element.is_some() => read_element(&mut view, &mut reader, group),
            [cell, ..] if cell.place.name == "class" => {
                let lane = |text: &str| text.parse::<Class>().ok();
                class = reader.highest(group, word(lane), shown, |class| std::cmp::Reverse(*class));
            }
            _ => read_register(&mut view, &mut reader, group),
        }
    }
    view.timeline.sort_by_key(|entry| entry.at);
    view.class = class.unwrap_or(view.severity.class());
    if !head.core.standing.claims.is_empty() {
        let claims = head.core.standing.claims.iter().map(shown).collect();
        reader.conflict(Place { name: "status", element: None }, claims);
    }
    view.conflicts = reader.conflicts;
    view.newer_than_node =
        reader.is_newer || head.core.facts.is_newer || responses.values().any(|answer| answer.is_newer);
    view.responses = responses.into_iter().map(|(member, answer)| (member, answer.view)).collect();
    view.version = head.core.facts.heads;
    view
}

/// The view before its cells are read. What must be there and is not shows as what does least harm.
fn blank(head: &Head<'_>) -> AlertView {
    AlertView {
        id: head.id,
        code: spoken_code(head.id),
        owner: head.identity.owner,
        writers: head.identity.writers.clone(),
        external_id: head.external_id(),
        kind: AlertKind::Advisory,
        status: head.core.standing.status,
        cancel_disputed: head.core.standing.disputed,
        class: Class::Routine,
        title: String::new(),
        body: None,
        instruction: None,
        lang: None,
        translations: BTreeMap::new(),
        severity: Severity::Unknown,
        urgency: None,
        certainty: None,
        confidence: None,
        // What is unlabelled or cannot be read is AMBER+STRICT.
        tlp: Tlp::AmberStrict,
        effective: None,
        onset: None,
        expires: None,
        sectors: Vec::new(),
        countries: Vec::new(),
        classification: Vec::new(),
        handling: Vec::new(),
        references: Vec::new(),
        vulnerabilities: Vec::new(),
        indicators: Vec::new(),
        attachments: Vec::new(),
        timeline: Vec::new(),
        supersedes: Vec::new(),
        related: Vec::new(),
        actions: Vec::new(),
        issued_at: head.issued_at,
        modified_at: head.modified_at,
        version: Vec::new(),
        conflicts: BTreeMap::new(),
        responses: BTreeMap::new(),
        newer_than_node: false,
        forked: false,
    }
}

fn read_register(view: &mut AlertView, reader: &mut Reader, group: &[Cell<'_>]) {
    let Some(cell) = group.first() else { return };
    match cell.place.name {
        "kind" => {
            let kind = reader.oldest(group, word(AlertKind::find), shown);
            reader.is_newer |= kind.is_none();
            view.kind = kind.unwrap_or(view.kind);
        }
        "title" => view.title = reader.newest(group, line, shown).unwrap_or_default(),
        "body" => view.body = reader.newest(group, long::<BODY_BYTES_MAX>, shown),
        "instruction" => view.instruction = reader.newest(group, long::<BODY_BYTES_MAX>, shown),
        "lang" => view.lang = reader.newest(group, language, shown),
        "severity" => {
            let severity = reader.highest(group, word(Severity::find), shown, |severity| *severity);
            view.severity = severity.unwrap_or(view.severity);
        }
        "urgency" => view.urgency = reader.newest(group, word(Urgency::find), shown),
        "certainty" => view.certainty = reader.newest(group, word(Certainty::find), shown),
        "confidence" => {
            let show = |percent: &u8| Scalar::Int(i64::from(*percent));
            view.confidence = reader.highest(group, percent, show, |percent| std::cmp::Reverse(*percent));
        }
        "tlp" => view.tlp = reader.highest(group, word(Tlp::find), shown, |tlp| *tlp).unwrap_or(view.tlp),
        "effective" => view.effective = reader.newest(group, time, shown),
        "onset" => view.onset = reader.newest(group, time, shown),
        "expires" => view.expires = reader.highest(group, time, shown, |at| *at),
        // Where the alert stands is known from the graph; here only whether this version knows the words.
        "status" => reader.is_newer |= !group.iter().all(|cell| is_status(cell.value)),
        _ => reader.is_newer = true,
    }
}

fn read_element(view: &mut AlertView, reader: &mut Reader, group: &[Cell<'_>]) {
    let Some(Place { name, element: Some(key) }) = group.first().map(|cell| cell.place) else { return };
    let id = |key: &str| key.parse::<RecordId>().ok();
    match name {
        "sectors" => view.sectors.extend(reader.word_key(group, Sector::find)),
        "countries" => view.countries.extend(owned(reader.key(group, |key| check::country("", key).is_ok()))),
        "classification" => {
            view.classification.extend(owned(reader.key(group, |key| check::classification("", key).is_ok())));
        }
        "handling" => view.handling.extend(reader.word_key(group, Handling::find)),
        "references" => view.references.extend(reader.keyed(group, RemoveWins::No)),
        "vulnerabilities" => view.vulnerabilities.extend(owned(reader.key(group, |key| check::id("", key).is_ok()))),
        "indicators" => view.indicators.extend(reader.keyed(group, RemoveWins::No)),
        "attachments" => view.attachments.extend(reader.keyed(group, RemoveWins::No)),
        "timeline" => view.timeline.extend(reader.keyed(group, RemoveWins::No)),
        "supersedes" => view.supersedes.extend(reader.word_key(group, id)),
        "related" => view.related.extend(reader.word_key(group, id)),
        "actions" => view.actions.extend(reader.word_key(group, Action::find)),
        "translations" => {
            let show = |translation: &Translation| Scalar::Text(write_element(translation));
            match reader.element(group, RemoveWins::No, structured::<Translation>, show) {
                Some(translation) if check::language("", key).is_ok() => {
                    view.translations.insert(key.to_owned(), translation);
                }
                Some(_) => reader.is_newer = true,
                None => {}
            }
        }
        _ => reader.is_newer = true,
    }
}

fn owned(key: Option<&str>) -> Option<String> {
    key.map(str::to_owned)
}

fn percent(_: &mut Reader, value: &Value) -> Option<u8> {
    match value {
        Value::Int(number @ 0..=CONFIDENCE_MAX) => u8::try_from(*number).ok(),
        _ => None,
    }
}

fn is_status(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Text(word) => AlertStatus::find(word).is_some(),
        Value::Bool(_) | Value::Int(_) => false,
    }
}
