//! What an op does to a section: the one place where ops meet the schema, used with and without Automerge.

use vatra_model::change::{Op, Value};
use vatra_model::schema::words::AlertStatus;
use vatra_model::schema::{Join, Rule, SetJoin, Table};

/// A place in a section: a register, or an element of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place<'a> {
    /// Register or set.
    pub(crate) name: &'a str,
    /// Key of the element; `None` for a register.
    pub(crate) element: Option<&'a str>,
}

/// Between a set's name and an element's key. No name of the schema contains it.
const SEPARATOR: char = '/';

impl<'a> Place<'a> {
    /// The flat key of the place at the root of a document.
    pub(crate) fn to_key(self) -> String {
        match self.element {
            None => self.name.to_owned(),
            Some(element) => format!("{}{SEPARATOR}{element}", self.name),
        }
    }

    /// The place with this flat key.
    pub(crate) fn of_key(key: &'a str) -> Place<'a> {
        match key.split_once(SEPARATOR) {
            None => Place { name: key, element: None },
            Some((name, element)) => Place { name, element: Some(element) },
        }
    }
}

/// What an op does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning<'a> {
    /// Puts a value somewhere.
    Put(Place<'a>, &'a Value),
    /// Removes an element in a way that a concurrent put survives.
    Delete(Place<'a>),
    /// Nothing, by the rules of this version.
    Nothing,
    /// Something that only a newer version knows.
    Newer,
}

/// Whether ops come with a record's create or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// With a create.
    Creation,
    /// With an edit.
    Later,
}

static NULL: Value = Value::Null;

/// What an op does to a section of this table.
pub(crate) fn meaning<'a>(table: Option<Table>, moment: Moment, op: &'a Op) -> Meaning<'a> {
    let Some(table) = table else { return Meaning::Newer };
    match op {
        Op::Set { field, value } => match table.rule(field) {
            Some(Rule::Register(Join::Immutable)) if moment == Moment::Later => Meaning::Nothing,
            Some(Rule::Register(_)) => Meaning::Put(Place { name: field, element: None }, value),
            Some(Rule::Set(_)) | None => Meaning::Newer,
        },
        Op::Add { set, key, value } => match table.rule(set) {
            Some(Rule::Set(_)) => Meaning::Put(Place { name: set, element: Some(key) }, value),
            Some(Rule::Register(_)) | None => Meaning::Newer,
        },
        Op::Remove { set, key } => {
            let place = Place { name: set, element: Some(key) };
            match table.rule(set) {
                Some(Rule::Set(SetJoin::AddWins)) => Meaning::Delete(place),
                // A null that stands beside a concurrent value shows that somebody removed it.
                Some(Rule::Set(SetJoin::RemoveWins)) => Meaning::Put(place, &NULL),
                Some(Rule::Set(SetJoin::GrowOnly)) => Meaning::Nothing,
                Some(Rule::Register(_)) | None => Meaning::Newer,
            }
        }
        Op::Unknown { .. } => Meaning::Newer,
    }
}

/// The status that ops give an alert, if they speak of it; the last one counts. Clearing it makes it active.
pub(crate) fn status_given(table: Option<Table>, ops: &[Op]) -> Option<AlertStatus> {
    if table != Some(Table::Alert) {
        return None;
    }
    ops.iter().rev().find_map(|op| match op {
        Op::Set { field, value: Value::Text(word) } if field == "status" => AlertStatus::find(word),
        Op::Set { field, value: Value::Null } if field == "status" => Some(AlertStatus::Active),
        _ => None,
    })
}

/// Whether ops do nothing but say where the alert stands.
pub(crate) fn only_status(ops: &[Op]) -> bool {
    ops.iter().all(|op| matches!(op, Op::Set { field, .. } if field == "status"))
}

/// Bytes of the texts of ops, by which sections are bounded.
pub(crate) fn weight(ops: &[Op]) -> usize {
    let value = |value: &Value| match value {
        Value::Text(text) => text.len(),
        Value::Null | Value::Bool(_) | Value::Int(_) => 8,
    };
    ops.iter()
        .map(|op| match op {
            Op::Set { field, value: new } => field.len() + value(new),
            Op::Add { set, key, value: new } => set.len() + key.len() + value(new),
            Op::Remove { set, key } => set.len() + key.len(),
            Op::Unknown { .. } => 8,
        })
        .sum()
}
