//! The attributes of an event and of its objects, sorted into indicators, references, vulnerabilities and text.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use vatra_model::schema::alert_parts::{Indicator, Reference};
use vatra_model::schema::words::Tlp;

use crate::import::ImportDefaults;
use crate::import::finding::Finding;
use crate::import::json;
use crate::import::label::{OPEN_MAX, part_is_open};
use crate::import::misp::tags::Tags;
use crate::import::misp::wire::{self, Attribute, Event, Object};
use crate::import::misp::{earlier, own_label};
use crate::import::patterns;
use crate::import::text::{line, paragraph};

/// Types whose value is text for people.
const TEXT_TYPES: &[&str] =
    &["campaign-id", "campaign-name", "comment", "target-external", "target-location", "text", "threat-actor"];
/// Characters of an attribute's value or comment in the body.
const REMARK_CHARS_MAX: usize = 300;
/// Bytes of all remarks on indicators.
const REMARKS_BYTES_MAX: usize = 8 * 1024;
/// Attributes of one event that are looked at.
const ATTRIBUTES_MAX: usize = 100_000;

/// Sorts the attributes into the finding.
pub(super) fn read(found: &mut Finding, event: &Event<'_>, defaults: &ImportDefaults) {
    let mut sorter = Sorter {
        found,
        defaults,
        seen: 0,
        texts: String::new(),
        remarks: String::new(),
        others: BTreeMap::new(),
        closed: 0,
        opened: 0,
        unreadable: 0,
        onset: None,
    };
    sorter.attributes(event.attributes, None);
    let (objects, _) = json::elements(event.objects);
    for object in objects {
        match json::read::<Object<'_>>(object.get()) {
            Ok(object) if object.deleted.is_true() => {}
            Ok(object) => sorter.attributes(object.attributes, own_label(None, wire::is_narrow(&object.distribution))),
            Err(_) => sorter.unreadable += 1,
        }
    }
    sorter.finish();
}

/// Whether the event has attributes, and all of them name vulnerabilities.
pub(super) fn only_vulnerabilities(event: &Event<'_>) -> bool {
    let (attributes, _) = json::elements(event.attributes);
    let vulnerability = |raw: &&RawValue| {
        json::read::<Attribute<'_>>(raw.get()).is_ok_and(|a| matches!(a.kind.text(), Some("vulnerability" | "link")))
    };
    !attributes.is_empty() && json::elements(event.objects).0.is_empty() && attributes.iter().all(vulnerability)
}

struct Sorter<'f> {
    found: &'f mut Finding,
    defaults: &'f ImportDefaults,
    seen: usize,
    texts: String,
    remarks: String,
    /// Types that have no place in an alert, with how often they occur.
    others: BTreeMap<String, usize>,
    /// Attributes with a label that is too strict.
    closed: usize,
    /// Those that the importer lets in all the same.
    opened: usize,
    unreadable: usize,
    onset: Option<vatra_model::WallMs>,
}

impl Sorter<'_> {
    fn attributes(&mut self, list: Option<&RawValue>, outer: Option<Tlp>) {
        let (attributes, unseen) = json::elements(list);
        self.found.indicators_unseen(unseen);
        for raw in attributes {
            self.seen += 1;
            if self.seen > ATTRIBUTES_MAX {
                self.found.indicators_unseen(1);
                continue;
            }
            match json::read::<Attribute<'_>>(raw.get()) {
                Ok(attribute) if attribute.deleted.is_true() => {}
                Ok(attribute) => self.attribute(&attribute, outer),
                Err(_) => self.unreadable += 1,
            }
        }
    }

    fn attribute(&mut self, attribute: &Attribute<'_>, outer: Option<Tlp>) {
        let (Some(kind), Some(value)) = (attribute.kind.text(), attribute.value.text()) else {
            self.unreadable += 1;
            return;
        };
        let tags = Tags::of(attribute.tags, None);
        let label = outer.max(own_label(tags.tlp, wire::is_narrow(&attribute.distribution)));
        if !part_is_open(label, self.defaults) {
            self.closed += 1;
            return;
        }
        match label {
            Some(tlp) if tlp <= OPEN_MAX => self.found.contains(tlp),
            Some(_) => self.opened += 1,
            None => {}
        }
        self.onset = earlier(self.onset, wire::instant(&attribute.first_seen));
        match kind {
            "link" => self.link(attribute, value),
            "vulnerability" => self.found.vulnerability(value),
            "weakness" => self.found.classify(&format!("cwe:{value}")),
            _ if TEXT_TYPES.contains(&kind) => paragraph(&mut self.texts, value),
            _ if patterns::is_indicator(kind) => self.indicator(attribute, kind, value),
            _ => *self.others.entry(line(kind, 40).text).or_default() += 1,
        }
    }

    fn link(&mut self, attribute: &Attribute<'_>, value: &str) {
        let source = attribute.comment.text().map(|comment| line(comment, REMARK_CHARS_MAX).text);
        self.found.reference(Reference { source, url: Some(value.to_owned()), ..Reference::default() });
    }

    fn indicator(&mut self, attribute: &Attribute<'_>, kind: &str, value: &str) {
        if !self.found.has_room_for_indicators() {
            return self.found.indicators_unseen(1);
        }
        let from = wire::instant(&attribute.first_seen);
        let until = wire::instant(&attribute.last_seen).filter(|until| from.is_none_or(|from| from <= *until));
        self.found.indicator(Indicator {
            iid: attribute.uuid.text().map_or_else(|| made_up_id(kind, value), str::to_ascii_lowercase),
            kind: kind.replace(' ', "-"),
            value: Some(value.to_owned()),
            pattern: patterns::of_misp(kind, value),
            valid_from: from,
            valid_until: until,
            to_ids: attribute.to_ids.text().map(|_| attribute.to_ids.is_true()),
        });
        if let Some(comment) = attribute.comment.text()
            && self.remarks.len() < REMARKS_BYTES_MAX
        {
            let (value, comment) = (line(value, 80).text, line(comment, REMARK_CHARS_MAX).text);
            self.remarks.push_str(&format!("\n- {kind} `{value}`: {comment}"));
        }
    }

    fn finish(self) {
        let found = self.found;
        found.onset = self.onset.or(found.onset);
        paragraph(&mut found.body, &self.texts);
        if !self.remarks.is_empty() {
            paragraph(&mut found.body, &format!("Remarks on indicators:\n{}", self.remarks));
        }
        if self.closed > 0 {
            let count = self.closed;
            found.note(&format!("{count} attributes with a stricter label or distribution were left out."));
        }
        if self.opened > 0 {
            found.note(&format!("{} attributes had a stricter label or distribution at the source.", self.opened));
        }
        if self.unreadable > 0 {
            found.note(&format!("{} attributes or objects could not be read.", self.unreadable));
        }
        if !self.others.is_empty() {
            let kinds: Vec<String> = self.others.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
            found.note(&format!("Attributes that stayed at the source: {}.", kinds.join(", ")));
        }
    }
}

/// An attribute without a uuid is known by its content.
fn made_up_id(kind: &str, value: &str) -> String {
    let hash = Sha256::new().chain_update(kind).chain_update([0]).chain_update(value).finalize();
    hash[..16].iter().fold("value:".to_owned(), |id, byte| format!("{id}{byte:02x}"))
}
