//! The view of a member's answer from its cells.

use vatra_model::Hlc;
use vatra_model::schema::NOTE_BYTES_MAX;
use vatra_model::schema::alert_parts::write_element;
use vatra_model::schema::response_parts::{Acknowledgement, Impact};
use vatra_model::schema::words::{Agreement, Assessment, Assistance};
use vatra_model::view::{ResponseView, Scalar};

use crate::project::reader::{Reader, RemoveWins, line, long, shown, structured, time, word};
use crate::project::{Cell, Facts};

/// An answer with what the alert's view needs to know of it.
pub(crate) struct Answer {
    pub(crate) view: ResponseView,
    pub(crate) newest: Hlc,
    pub(crate) is_newer: bool,
}

/// The view of an answer.
pub(super) fn view(cells: &[Cell<'_>], facts: Facts) -> Answer {
    let mut view = ResponseView::default();
    let mut reader = Reader::default();
    for group in cells.chunk_by(|a, b| a.place == b.place) {
        read(&mut view, &mut reader, group);
    }
    view.conflicts = reader.conflicts;
    view.modified_at = facts.newest.wall();
    view.version = facts.heads;
    Answer { view, newest: facts.newest, is_newer: reader.is_newer || facts.is_newer }
}

fn read(view: &mut ResponseView, reader: &mut Reader, group: &[Cell<'_>]) {
    let Some(cell) = group.first() else { return };
    match (cell.place.name, cell.place.element) {
        ("seen_at", None) => view.seen_at = reader.highest(group, time, shown, |at| *at),
        ("acknowledged", None) => {
            let show = |value: &Acknowledgement| Scalar::Text(write_element(value));
            let key = |value: &Acknowledgement| (value.at, value.by.clone());
            view.acknowledged = reader.highest(group, structured::<Acknowledgement>, show, key);
        }
        ("assessment", None) => view.assessment = reader.newest(group, word(Assessment::find), shown),
        ("impact", None) => {
            let show = |value: &Impact| Scalar::Text(write_element(value));
            view.impact = reader.newest(group, structured::<Impact>, show);
        }
        ("assistance", None) => view.assistance = reader.newest(group, word(Assistance::find), shown),
        ("assistance_text", None) => view.assistance_text = reader.newest(group, long::<NOTE_BYTES_MAX>, shown),
        ("agreement", None) => view.agreement = reader.newest(group, word(Agreement::find), shown),
        ("note", None) => view.note = reader.newest(group, long::<NOTE_BYTES_MAX>, shown),
        ("contact", None) => view.contact = reader.newest(group, line, shown),
        ("advisories", Some(_)) => view.advisories.extend(reader.keyed(group, RemoveWins::No)),
        ("sightings", Some(_)) => view.sightings.extend(reader.keyed(group, RemoveWins::No)),
        _ => reader.is_newer = true,
    }
}
