//! The parts of the MISP core format that are read. Everything else is passed over.

use serde::Deserialize;
use serde_json::value::RawValue;
use vatra_model::WallMs;
use vatra_model::time::WALL_MS_MAX;

use crate::import::json::Loose;

/// `{"Event": {...}}`.
#[derive(Deserialize)]
pub(super) struct Wrapped<'a> {
    #[serde(rename = "Event", borrow, default)]
    pub(super) event: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Event<'a> {
    #[serde(borrow, default)]
    pub(super) uuid: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) info: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) date: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) threat_level_id: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) timestamp: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) publish_timestamp: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) distribution: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) extends_uuid: Loose<'a>,
    #[serde(rename = "Orgc", borrow, default)]
    orgc: Option<Organisation<'a>>,
    #[serde(rename = "Attribute", borrow, default)]
    pub(super) attributes: Option<&'a RawValue>,
    #[serde(rename = "Object", borrow, default)]
    pub(super) objects: Option<&'a RawValue>,
    #[serde(rename = "Tag", borrow, default)]
    pub(super) tags: Option<&'a RawValue>,
    #[serde(rename = "Galaxy", borrow, default)]
    pub(super) galaxies: Option<&'a RawValue>,
    #[serde(rename = "EventReport", borrow, default)]
    pub(super) reports: Option<&'a RawValue>,
}

impl Event<'_> {
    /// Name of the organisation that made the event.
    pub(super) fn org_name(&self) -> Option<&str> {
        self.orgc.as_ref()?.name.text()
    }
}

#[derive(Deserialize)]
pub(super) struct Organisation<'a> {
    #[serde(borrow, default)]
    name: Loose<'a>,
}

#[derive(Deserialize)]
pub(super) struct Object<'a> {
    #[serde(borrow, default)]
    pub(super) deleted: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) distribution: Loose<'a>,
    #[serde(rename = "Attribute", borrow, default)]
    pub(super) attributes: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Attribute<'a> {
    #[serde(borrow, default)]
    pub(super) uuid: Loose<'a>,
    #[serde(rename = "type", borrow, default)]
    pub(super) kind: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) value: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) comment: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) to_ids: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) deleted: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) distribution: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) first_seen: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) last_seen: Loose<'a>,
    #[serde(rename = "Tag", borrow, default)]
    pub(super) tags: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Tag<'a> {
    #[serde(borrow, default)]
    pub(super) name: Loose<'a>,
}

#[derive(Deserialize)]
pub(super) struct Galaxy<'a> {
    #[serde(rename = "GalaxyCluster", borrow, default)]
    pub(super) clusters: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Cluster<'a> {
    #[serde(borrow, default)]
    pub(super) tag_name: Loose<'a>,
}

#[derive(Deserialize)]
pub(super) struct Report<'a> {
    #[serde(borrow, default)]
    pub(super) name: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) content: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) deleted: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) distribution: Loose<'a>,
}

/// Whether a distribution says "my organisation only" (0) or "a sharing group" (4).
pub(super) fn is_narrow(distribution: &Loose<'_>) -> bool {
    matches!(distribution.number(), Some(0 | 4))
}

/// A time given in Unix seconds; 0 means none.
pub(super) fn seconds(at: &Loose<'_>) -> Option<WallMs> {
    let ms = at.number()?.checked_mul(1000)?;
    (1..=WALL_MS_MAX).contains(&ms).then_some(WallMs(ms))
}

/// A time given as text, or in Unix microseconds as some exports do.
pub(super) fn instant(at: &Loose<'_>) -> Option<WallMs> {
    match at.number() {
        Some(micros) => Some(WallMs(micros / 1000)).filter(|at| (1..=WALL_MS_MAX).contains(&at.0)),
        None => WallMs::parse(at.text()?),
    }
}
