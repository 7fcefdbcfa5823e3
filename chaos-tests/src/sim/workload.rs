//! What people at a node do: new alerts of all classes, edits of alerts that they see, answers to others'.

use vatra_model::draft::{AlertDraft, AlertPatch, ResponseDraft};
use vatra_model::schema::words::{AlertKind, Sector, Severity, Tlp};
use vatra_model::view::View;
use vatra_model::{Change, Class, Edit, MemberCode, RecordId, SectionId, WallMs};

use crate::sim::chance::Chance;
use crate::sim::records::Views;

/// A change that somebody makes at a node.
#[derive(Clone, Debug)]
pub struct Deed {
    /// Urgency.
    pub class: Class,
    /// The change.
    pub change: Vec<u8>,
}

/// A new alert of this class.
#[must_use]
pub fn alert(chance: &mut Chance, member: MemberCode, class: Class, number: u64) -> Deed {
    let severity = match class {
        Class::Flash => Severity::Extreme,
        Class::Priority => Severity::Moderate,
        Class::Routine | Class::Bulk => Severity::Minor,
    };
    let title = format!("Alert {number} of {member}");
    let mut draft = AlertDraft::new(AlertKind::Incident, title, severity, vec![Sector::Energy], Tlp::Green);
    draft.class = Some(class);
    draft.body = Some("x".repeat(usize::try_from(chance.below(300)).expect("small")));
    let create = draft.into_create(member, chance.nonce()).expect("the draft is good");
    Deed { class, change: Change::Create(create).encode() }
}

/// A class as people choose it.
#[must_use]
pub fn class(chance: &mut Chance) -> Class {
    *chance.pick(&Class::ALL).expect("there are classes")
}

/// Whatever somebody at this node does next: an alert, or an edit of one that is shown there.
#[must_use]
pub fn any(chance: &mut Chance, member: MemberCode, views: &Views, now: WallMs, number: u64) -> Deed {
    let seen = views.ids();
    let edits = chance.permille(400);
    let chosen = chance.pick(&seen).copied().filter(|_| edits);
    let edited = chosen.and_then(|record| edit(chance, member, views, now, record, number));
    edited.unwrap_or_else(|| {
        let class = class(chance);
        alert(chance, member, class, number)
    })
}

/// An edit of the core by its owner, an answer by anybody else.
fn edit(
    chance: &mut Chance,
    member: MemberCode,
    views: &Views,
    now: WallMs,
    id: RecordId,
    number: u64,
) -> Option<Deed> {
    let view = views.view(&id)?;
    let View::Alert(view) = &*view else { return None };
    let (section, class, ops) = if view.writers.contains(&member) {
        let json = match chance.below(4) {
            0 => format!(r#"{{"title":"Title {number}"}}"#),
            1 => r#"{"severity":"severe"}"#.to_owned(),
            2 => r#"{"sectors":{"add":["water"],"remove":["energy"]}}"#.to_owned(),
            _ => r#"{"status":"cancelled"}"#.to_owned(),
        };
        let patch = AlertPatch::from_json(json.as_bytes()).ok()?;
        (SectionId::Core, patch.class(view), patch.into_ops(view).ok()?)
    } else {
        let json = format!(r#"{{"note":"Note {number} of {member}"}}"#);
        let draft = ResponseDraft::from_json(json.as_bytes()).ok()?;
        let ops = draft.into_ops(now, view.responses.get(&member)).ok()?;
        (SectionId::Response(member), view.class, ops)
    };
    if ops.is_empty() {
        return None;
    }
    let deps = views.record(&id)?.deps_for_edit(section);
    Some(Deed { class, change: Change::Edit(Edit { record: id, section, deps, ops }).encode() })
}
