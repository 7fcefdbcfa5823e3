//! The view of a contact from its cells.

use std::collections::BTreeMap;

use vatra_model::change::Value;
use vatra_model::schema::alert_parts::write_element;
use vatra_model::schema::contact_parts::WeekHours;
use vatra_model::schema::words::{ContactRole, ContactStatus, Party, Tlp};
use vatra_model::schema::{NOTE_BYTES_MAX, check};
use vatra_model::view::{ContactView, Scalar, spoken_code};

use crate::project::reader::{Reader, RemoveWins, line, long, shown, time, url, word};
use crate::project::{Cell, Head};

/// The view of a contact.
pub(super) fn view(head: Head<'_>, cells: &[Cell<'_>]) -> ContactView {
    let mut view = blank(&head);
    let mut reader = Reader::default();
    for group in cells.chunk_by(|a, b| a.place == b.place) {
        match group {
            [cell, ..] if cell.place.element.is_some() => read_element(&mut view, &mut reader, group),
            _ => read_register(&mut view, &mut reader, group),
        }
    }
    view.conflicts = reader.conflicts;
    view.newer_than_node = reader.is_newer || head.core.facts.is_newer;
    view.version = head.core.facts.heads;
    view
}

fn blank(head: &Head<'_>) -> ContactView {
    ContactView {
        id: head.id,
        code: spoken_code(head.id),
        owner: head.identity.owner,
        writers: head.identity.writers.clone(),
        external_id: head.external_id(),
        status: ContactStatus::Active,
        party: None,
        name: String::new(),
        role: None,
        agency: None,
        team: None,
        team_type: None,
        ti_status: None,
        constituency: None,
        languages: Vec::new(),
        phones: Vec::new(),
        emails: Vec::new(),
        chat: Vec::new(),
        keys: Vec::new(),
        hours: None,
        tz: None,
        holidays: None,
        shifts: Vec::new(),
        // Rosters are for the community.
        tlp: Tlp::Green,
        tlp_clearance: None,
        groups: Vec::new(),
        valid_from: None,
        valid_until: None,
        last_verified: None,
        rfc2350: None,
        security_txt: None,
        note: None,
        issued_at: head.issued_at,
        modified_at: head.modified_at,
        version: Vec::new(),
        conflicts: BTreeMap::new(),
        newer_than_node: false,
        forked: false,
    }
}

fn read_register(view: &mut ContactView, reader: &mut Reader, group: &[Cell<'_>]) {
    let Some(cell) = group.first() else { return };
    let tlp = word(Tlp::find);
    match cell.place.name {
        "status" => {
            let status = reader.highest(group, word(ContactStatus::find), shown, |status| *status);
            view.status = status.unwrap_or(view.status);
        }
        "party" => view.party = reader.newest(group, word(Party::find), shown),
        "name" => view.name = reader.newest(group, line, shown).unwrap_or_default(),
        "role" => view.role = reader.newest(group, word(ContactRole::find), shown),
        "agency" => view.agency = reader.newest(group, line, shown),
        "team" => view.team = reader.newest(group, line, shown),
        "team_type" => view.team_type = reader.newest(group, line, shown),
        "ti_status" => view.ti_status = reader.newest(group, line, shown),
        "constituency" => view.constituency = reader.newest(group, long::<NOTE_BYTES_MAX>, shown),
        "hours" => view.hours = reader.newest(group, hours, |hours| Scalar::Text(write_element(hours))),
        "tz" => view.tz = reader.newest(group, line, shown),
        "holidays" => view.holidays = reader.newest(group, long::<NOTE_BYTES_MAX>, shown),
        "tlp" => {
            let found = reader.highest(group, &tlp, shown, |tlp| *tlp);
            // A label that cannot be read is AMBER+STRICT.
            let unreadable = group.iter().all(|cell| *cell.value != Value::Null);
            view.tlp = found.unwrap_or(if unreadable { Tlp::AmberStrict } else { view.tlp });
        }
        "tlp_clearance" => {
            view.tlp_clearance = reader.highest(group, &tlp, shown, |tlp| std::cmp::Reverse(*tlp));
        }
        "valid_from" => view.valid_from = reader.newest(group, time, shown),
        "valid_until" => view.valid_until = reader.highest(group, time, shown, |at| *at),
        "last_verified" => view.last_verified = reader.highest(group, time, shown, |at| *at),
        "rfc2350" => view.rfc2350 = reader.newest(group, url, shown),
        "security_txt" => view.security_txt = reader.newest(group, url, shown),
        "note" => view.note = reader.newest(group, long::<NOTE_BYTES_MAX>, shown),
        _ => reader.is_newer = true,
    }
}

fn read_element(view: &mut ContactView, reader: &mut Reader, group: &[Cell<'_>]) {
    let Some(cell) = group.first() else { return };
    let key = |key: Option<&str>| key.map(str::to_owned);
    match cell.place.name {
        "languages" => view.languages.extend(key(reader.key(group, |key| check::language("", key).is_ok()))),
        "phones" => view.phones.extend(reader.keyed(group, RemoveWins::Yes)),
        "emails" => view.emails.extend(reader.keyed(group, RemoveWins::Yes)),
        "chat" => view.chat.extend(reader.keyed(group, RemoveWins::Yes)),
        "keys" => view.keys.extend(reader.keyed(group, RemoveWins::Yes)),
        "shifts" => view.shifts.extend(reader.keyed(group, RemoveWins::No)),
        "groups" => view.groups.extend(key(reader.key(group, |key| check::line("", key).is_ok()))),
        _ => reader.is_newer = true,
    }
}

fn hours(_: &mut Reader, value: &Value) -> Option<WeekHours> {
    let Value::Text(json) = value else { return None };
    serde_json::from_str::<WeekHours>(json).ok().filter(|hours| hours.check().is_ok())
}
