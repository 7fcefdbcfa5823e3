//! Joins the concurrent values of one place after another and notes conflicts and what is not understood.

use std::fmt::Display;

use vatra_model::change::Value;
use vatra_model::schema::alert_parts::{Element, IsNewer, Keyed, read_element, write_element};
use vatra_model::schema::check::Checked;
use vatra_model::schema::{CONFLICT_VALUES_MAX, check};
use vatra_model::time::{WALL_MS_MAX, WallMs};
use vatra_model::view::{Conflicts, Scalar};

use crate::meaning::Place;
use crate::project::Cell;

/// What has been found out while reading a section.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) conflicts: Conflicts,
    pub(super) is_newer: bool,
}

impl Reader {
    /// The newest of concurrent values.
    pub(super) fn newest<T: PartialEq>(
        &mut self,
        group: &[Cell<'_>],
        parse: impl Fn(&mut Reader, &Value) -> Option<T>,
        show: impl Fn(&T) -> Scalar,
    ) -> Option<T> {
        self.candidates(group, parse, show).into_iter().next().flatten()
    }

    /// The oldest of concurrent values.
    pub(super) fn oldest<T: PartialEq>(
        &mut self,
        group: &[Cell<'_>],
        parse: impl Fn(&mut Reader, &Value) -> Option<T>,
        show: impl Fn(&T) -> Scalar,
    ) -> Option<T> {
        self.candidates(group, parse, show).into_iter().next_back().flatten()
    }

    /// The highest of concurrent values by a key; clearing counts least.
    pub(super) fn highest<T: PartialEq, K: Ord>(
        &mut self,
        group: &[Cell<'_>],
        parse: impl Fn(&mut Reader, &Value) -> Option<T>,
        show: impl Fn(&T) -> Scalar,
        key: impl Fn(&T) -> K,
    ) -> Option<T> {
        self.candidates(group, parse, show).into_iter().flatten().max_by_key(key)
    }

    /// The newest content of a set's element; `None` when it is not in the set. Where any concurrent change
    /// removed an element of a remove-wins set, a null stands beside the others.
    pub(super) fn element<T: PartialEq>(
        &mut self,
        group: &[Cell<'_>],
        remove_wins: RemoveWins,
        parse: impl Fn(&mut Reader, &Value) -> Option<T>,
        show: impl Fn(&T) -> Scalar,
    ) -> Option<T> {
        let candidates = self.candidates(group, parse, show);
        if remove_wins == RemoveWins::Yes && candidates.contains(&None) {
            return None;
        }
        candidates.into_iter().next().flatten()
    }

    /// The different acceptable values of a group, newest first; `None` for cleared or removed.
    /// More than one of them are a conflict.
    fn candidates<T: PartialEq>(
        &mut self,
        group: &[Cell<'_>],
        parse: impl Fn(&mut Reader, &Value) -> Option<T>,
        show: impl Fn(&T) -> Scalar,
    ) -> Vec<Option<T>> {
        let mut candidates: Vec<Option<T>> = Vec::with_capacity(group.len());
        for cell in group {
            let candidate = match cell.value {
                Value::Null => None,
                value => match parse(self, value) {
                    Some(value) => Some(value),
                    None => {
                        self.is_newer = true;
                        continue;
                    }
                },
            };
            if !candidates.contains(&candidate) {
                candidates.push(candidate);
            }
        }
        if let ([_, _, ..], Some(cell)) = (candidates.as_slice(), group.first()) {
            let scalar = |candidate: &Option<T>| candidate.as_ref().map_or(Scalar::Null(()), &show);
            self.conflict(cell.place, candidates.iter().map(scalar).collect());
        }
        candidates
    }

    pub(super) fn conflict(&mut self, place: Place<'_>, mut values: Vec<Scalar>) {
        values.truncate(CONFLICT_VALUES_MAX);
        self.conflicts.insert(place.to_key(), values);
    }

    /// The key of a key-only element, if its check accepts it.
    pub(super) fn key<'a>(&mut self, group: &[Cell<'a>], check: impl Fn(&str) -> bool) -> Option<&'a str> {
        let key = group.first()?.place.element?;
        let present = self.element(group, RemoveWins::No, |_, _| Some(()), |()| Scalar::Bool(true)).is_some();
        if !check(key) {
            self.is_newer = true;
            return None;
        }
        present.then_some(key)
    }

    /// A key-only element that is a word.
    pub(super) fn word_key<T>(&mut self, group: &[Cell<'_>], find: impl Fn(&str) -> Option<T>) -> Option<T> {
        let key = self.key(group, |key| find(key).is_some())?;
        find(key)
    }

    /// An element that carries its key in itself.
    pub(super) fn keyed<T: Keyed + PartialEq>(&mut self, group: &[Cell<'_>], remove_wins: RemoveWins) -> Option<T> {
        let key = group.first()?.place.element?;
        let parse =
            |reader: &mut Reader, value: &Value| structured::<T>(reader, value).filter(|item| item.key() == key);
        self.element(group, remove_wins, parse, |item| Scalar::Text(write_element(item)))
    }
}

/// Whether an element that was removed by somebody is gone although others put it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RemoveWins {
    /// It is gone.
    Yes,
    /// It stays.
    No,
}

/// A value as a text scalar.
pub(super) fn shown<T: Display>(value: &T) -> Scalar {
    Scalar::Text(value.to_string())
}

fn text(value: &Value, check: impl Fn(&str) -> Checked) -> Option<String> {
    match value {
        Value::Text(text) if check(text).is_ok() => Some(text.clone()),
        _ => None,
    }
}

/// One line of text.
pub(super) fn line(_: &mut Reader, value: &Value) -> Option<String> {
    text(value, |text| check::line("", text))
}

/// A text of at most `MAX` bytes.
pub(super) fn long<const MAX: usize>(_: &mut Reader, value: &Value) -> Option<String> {
    text(value, |found| check::text("", found, MAX))
}

/// A language tag.
pub(super) fn language(_: &mut Reader, value: &Value) -> Option<String> {
    text(value, |text| check::language("", text))
}

/// A URL.
pub(super) fn url(_: &mut Reader, value: &Value) -> Option<String> {
    text(value, |text| check::url("", text))
}

/// A word of a vocabulary.
pub(super) fn word<T>(find: impl Fn(&str) -> Option<T>) -> impl Fn(&mut Reader, &Value) -> Option<T> {
    move |_, value| match value {
        Value::Text(text) => find(text),
        _ => None,
    }
}

/// A time.
pub(super) fn time(_: &mut Reader, value: &Value) -> Option<WallMs> {
    match value {
        Value::Int(ms) => u64::try_from(*ms).ok().filter(|ms| *ms <= WALL_MS_MAX).map(WallMs),
        _ => None,
    }
}

/// A structured value.
pub(super) fn structured<T: Element>(reader: &mut Reader, value: &Value) -> Option<T> {
    let Value::Text(json) = value else { return None };
    let (element, newer) = read_element::<T>(json)?;
    reader.is_newer |= newer == IsNewer::Yes;
    Some(element)
}
