//! The objects of a bundle by id: which become alerts, and how they are marked.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;
use vatra_model::WallMs;
use vatra_model::schema::words::Tlp;

use crate::import::ImportProblem;
use crate::import::json;
use crate::import::label::{self, Label};
use crate::import::stix::wire::{Marking, Object, Outline};

/// Types that gather others into one alert.
const CONTAINERS: &[&str] = &["report", "grouping"];
/// Types that are alerts of their own when no container refers to them.
const ALONE: &[&str] = &["incident", "campaign", "vulnerability", "indicator"];
/// Bytes of one object.
const OBJECT_BYTES_MAX: usize = 1024 * 1024;
/// Notes of one bundle that are looked at.
const NOTES_MAX: usize = 10_000;

/// Marking definitions that everybody knows: TLP 1 (STIX 2.1 section 7.2.1.4) and TLP 2.0 (FIRST).
const KNOWN_MARKINGS: &[(&str, Tlp)] = &[
    ("marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9", Tlp::Clear),
    ("marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da", Tlp::Green),
    ("marking-definition--f88d31f6-486f-44da-b317-01333bde0b82", Tlp::Amber),
    ("marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed", Tlp::Red),
    ("marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487", Tlp::Clear),
    ("marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb", Tlp::Green),
    ("marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421", Tlp::Amber),
    ("marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003", Tlp::AmberStrict),
    ("marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1", Tlp::Red),
];

/// A bundle's objects, still as JSON text, and what is known of them.
pub(super) struct Bundle<'a> {
    objects: Vec<&'a RawValue>,
    /// Newest version of each id.
    newest: BTreeMap<String, Header>,
    /// Ids that containers refer to.
    referred: BTreeSet<String>,
    /// What the marking definitions of the bundle say; `None` for statements and other markings.
    markings: BTreeMap<String, Option<Tlp>>,
    /// Notes, with what they are about.
    notes: Vec<(usize, Vec<String>)>,
}

/// An object's place and identity.
#[derive(Clone, Debug)]
pub(super) struct Header {
    /// Its index among the bundle's objects.
    pub(super) index: usize,
    pub(super) id: String,
    kind: String,
    /// As a time, and as written, because times are finer than ours.
    modified: Option<(WallMs, String)>,
}

impl<'a> Bundle<'a> {
    /// Sorts the objects; gives also those that cannot be read, by index.
    pub(super) fn new(objects: &[&'a RawValue]) -> (Bundle<'a>, Vec<(usize, ImportProblem)>) {
        let mut bundle = Bundle {
            objects: objects.to_vec(),
            newest: BTreeMap::new(),
            referred: BTreeSet::new(),
            markings: BTreeMap::new(),
            notes: Vec::new(),
        };
        let mut unreadable = Vec::new();
        for (index, raw) in objects.iter().enumerate() {
            match outline(raw) {
                Ok(outline) => bundle.take_in(index, raw, &outline),
                Err(problem) => unreadable.push((index, problem)),
            }
        }
        bundle.link();
        (bundle, unreadable)
    }

    fn take_in(&mut self, index: usize, raw: &'a RawValue, outline: &Outline<'a>) {
        let modified = outline.modified.as_deref().and_then(|text| Some((WallMs::parse(text)?, text.to_owned())));
        if self.newest.get(outline.id.as_ref()).is_some_and(|known| known.modified >= modified) {
            return;
        }
        let (id, kind) = (outline.id.clone().into_owned(), outline.kind.clone().into_owned());
        if kind == "marking-definition" {
            self.markings.insert(id.clone(), marking(raw));
        }
        self.newest.insert(id.clone(), Header { index, id, kind, modified });
    }

    /// Notes down what the newest containers and notes refer to.
    fn link(&mut self) {
        for header in self.newest.values() {
            let is_container = CONTAINERS.contains(&header.kind.as_str());
            let is_note = header.kind == "note" && self.notes.len() < NOTES_MAX;
            if !is_container && !is_note {
                continue;
            }
            let refs = outline(self.objects[header.index]).map(|outline| ids(outline.object_refs)).unwrap_or_default();
            match is_container {
                true => self.referred.extend(refs),
                false => self.notes.push((header.index, refs)),
            }
        }
    }

    /// What becomes an alert: containers first, then what stands alone, in the bundle's order.
    pub(super) fn alerts(&self) -> Vec<Header> {
        let is_alone = |header: &Header| ALONE.contains(&header.kind.as_str()) && !self.referred.contains(&header.id);
        let mut alerts: Vec<(bool, &Header)> = self
            .newest
            .values()
            .filter_map(|header| match CONTAINERS.contains(&header.kind.as_str()) {
                true => Some((false, header)),
                false => is_alone(header).then_some((true, header)),
            })
            .collect();
        alerts.sort_by_key(|(alone, header)| (*alone, header.index));
        alerts.into_iter().map(|(_, header)| header.clone()).collect()
    }

    /// Reads the object at an index.
    pub(super) fn object(&self, index: usize) -> Result<Object<'a>, ImportProblem> {
        json::read(self.objects[index].get())
    }

    /// The newest version of the object with this id, if it is in the bundle and can be read.
    pub(super) fn find(&self, id: &str) -> Option<Object<'a>> {
        self.object(self.newest.get(id)?.index).ok()
    }

    /// Notes about an object, at most `count`.
    pub(super) fn notes_about(&self, id: &str, count: usize) -> Vec<Object<'a>> {
        let about = |(_, refs): &&(usize, Vec<String>)| refs.iter().any(|known| known == id);
        self.notes.iter().filter(about).take(count).filter_map(|(index, _)| self.object(*index).ok()).collect()
    }

    /// The strictest label of an object.
    pub(super) fn label(&self, object: &Object<'_>) -> Label {
        let granular = object.granular_markings.iter().filter_map(|marking| marking.marking_ref.as_deref());
        let marked = object.object_marking_refs.iter().map(AsRef::as_ref).chain(granular).filter_map(|id| self.tlp(id));
        let spelled = object.labels.iter().filter_map(|text| label::spelled(text));
        Label { tlp: marked.chain(spelled).max(), narrow: false }
    }

    /// What a marking says; one that nobody here knows may say anything.
    fn tlp(&self, id: &str) -> Option<Tlp> {
        if let Some((_, tlp)) = KNOWN_MARKINGS.iter().find(|(known, _)| *known == id) {
            return Some(*tlp);
        }
        self.markings.get(id).copied().unwrap_or(Some(Tlp::AmberStrict))
    }
}

fn outline(raw: &RawValue) -> Result<Outline<'_>, ImportProblem> {
    if raw.get().len() > OBJECT_BYTES_MAX {
        let detail = format!("the object has {} bytes, the limit is {OBJECT_BYTES_MAX}", raw.get().len());
        return Err(ImportProblem::new("", detail));
    }
    json::read(raw.get())
}

fn ids(list: Option<&RawValue>) -> Vec<String> {
    list.and_then(|list| serde_json::from_str(list.get()).ok()).unwrap_or_default()
}

/// The label of a marking definition; `None` when it is about something else. One that cannot be read may
/// say anything.
fn marking(raw: &RawValue) -> Option<Tlp> {
    let Ok(marking) = json::read::<Marking<'_>>(raw.get()) else { return Some(Tlp::AmberStrict) };
    let tlp =
        |word: &str| Some(Tlp::find(&word.to_ascii_lowercase().replace("white", "clear")).unwrap_or(Tlp::AmberStrict));
    if let Some(word) = marking.extensions.values().find_map(|extension| extension.tlp_2_0.as_deref()) {
        return tlp(word);
    }
    if marking.definition_type.as_deref() == Some("tlp") {
        return tlp(marking.definition.and_then(|definition| definition.tlp).as_deref().unwrap_or_default());
    }
    label::spelled(marking.name.as_deref().unwrap_or_default())
}
