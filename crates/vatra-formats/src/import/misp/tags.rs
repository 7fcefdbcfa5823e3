//! What the tags of an event or attribute say.

use std::collections::BTreeSet;

use serde_json::value::RawValue;
use vatra_model::schema::words::{AlertKind, Handling, Sector, Tlp};

use crate::import::json;
use crate::import::label;
use crate::import::misp::wire::{Cluster, Galaxy, Tag};
use crate::import::sectors;

/// The meaning of some tags.
#[derive(Debug, Default)]
pub(super) struct Tags {
    pub(super) tlp: Option<Tlp>,
    pub(super) kind: Option<AlertKind>,
    pub(super) confidence: Option<i64>,
    pub(super) sectors: BTreeSet<Sector>,
    pub(super) handling: BTreeSet<Handling>,
    /// The tag that names an exercise.
    pub(super) exercise: Option<String>,
    /// All tags but labels, in order.
    pub(super) classification: Vec<String>,
}

/// Galaxies of one event that are looked at.
const GALAXIES_MAX: usize = 1000;

impl Tags {
    /// Reads tags, and those of galaxy clusters, which an event usually lists as tags as well.
    pub(super) fn of(tags: Option<&RawValue>, galaxies: Option<&RawValue>) -> Tags {
        let mut meaning = Tags::default();
        for tag in json::elements(tags).0 {
            if let Ok(tag) = json::read::<Tag<'_>>(tag.get())
                && let Some(name) = tag.name.text()
            {
                meaning.read(name);
            }
        }
        for galaxy in json::elements(galaxies).0.into_iter().take(GALAXIES_MAX) {
            let Ok(galaxy) = json::read::<Galaxy<'_>>(galaxy.get()) else { continue };
            for cluster in json::elements(galaxy.clusters).0 {
                if let Ok(cluster) = json::read::<Cluster<'_>>(cluster.get())
                    && let Some(name) = cluster.tag_name.text()
                {
                    meaning.read(name);
                }
            }
        }
        meaning
    }

    fn read(&mut self, tag: &str) {
        if let Some(tlp) = label::spelled(tag) {
            self.tlp = self.tlp.max(Some(tlp));
            return;
        }
        let lower = tag.to_ascii_lowercase();
        if let Some(handling) = handling(&lower) {
            self.handling.insert(handling);
            return;
        }
        if lower == "exercise" || lower.starts_with("exercise:") {
            self.exercise.get_or_insert_with(|| tag.to_owned());
        }
        self.sectors.extend(sectors::of_tag(tag));
        self.confidence = self.confidence.or(confidence(&lower));
        if let Some(kind) = kind(&lower) {
            // Our own word for it wins over a taxonomy's.
            let ours = lower.starts_with("vatra:");
            self.kind = if ours { Some(kind) } else { self.kind.or(Some(kind)) };
        }
        self.classification.push(tag.to_owned());
    }
}

fn handling(tag: &str) -> Option<Handling> {
    if tag == "tlp:ex:chr" {
        return Some(Handling::ChathamHouse);
    }
    match tag.strip_prefix("pap:")? {
        "white" | "clear" => Some(Handling::PapClear),
        "green" => Some(Handling::PapGreen),
        "amber" => Some(Handling::PapAmber),
        "red" => Some(Handling::PapRed),
        _ => None,
    }
}

/// `vatra:kind="outage"`, or a code of the Reference Security Incident Taxonomy: something that happened,
/// unless it says otherwise.
fn kind(tag: &str) -> Option<AlertKind> {
    let (machine, value) = tag.split_once('=').unwrap_or((tag, ""));
    match (machine, value.trim_matches('"')) {
        ("vatra:kind", kind) => AlertKind::find(kind),
        ("rsit:availability", "outage") => Some(AlertKind::Outage),
        ("rsit:vulnerable", _) => Some(AlertKind::Vulnerability),
        ("rsit:other" | "rsit:test", _) => None,
        (machine, _) if machine.starts_with("rsit:") => Some(AlertKind::Incident),
        _ => None,
    }
}

/// `misp:confidence-level` as its taxonomy counts, `osint:certainty` as it says.
fn confidence(tag: &str) -> Option<i64> {
    let (machine, value) = tag.split_once('=')?;
    match (machine, value.trim_matches('"')) {
        ("misp:confidence-level", "completely-confident") => Some(100),
        ("misp:confidence-level", "usually-confident") => Some(75),
        ("misp:confidence-level", "fairly-confident") => Some(50),
        ("misp:confidence-level", "rarely-confident") => Some(25),
        ("misp:confidence-level", "unconfident") => Some(0),
        ("osint:certainty", percent) => percent.parse().ok().filter(|percent| (0..=100).contains(percent)),
        _ => None,
    }
}
