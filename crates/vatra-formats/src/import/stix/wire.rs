//! The properties of STIX objects that are read. Everything else is passed over.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use vatra_model::WallMs;

type Text<'a> = Cow<'a, str>;

#[derive(Deserialize)]
pub(super) struct Object<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) spec_version: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) created_by_ref: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) created: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) published: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) first_seen: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) valid_from: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) valid_until: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) description: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) lang: Option<Text<'a>>,
    #[serde(default)]
    pub(super) confidence: Option<i64>,
    #[serde(default)]
    pub(super) revoked: bool,
    #[serde(borrow, default)]
    pub(super) labels: Vec<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) report_types: Vec<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) indicator_types: Vec<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) object_refs: Vec<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) object_marking_refs: Vec<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) granular_markings: Vec<GranularMarking<'a>>,
    #[serde(borrow, default)]
    pub(super) external_references: Vec<ExternalReference<'a>>,
    #[serde(borrow, default)]
    pub(super) pattern: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) pattern_type: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) identity_class: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) sectors: Vec<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) country: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) authors: Vec<Text<'a>>,
    #[serde(rename = "abstract", borrow, default)]
    pub(super) summary: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) content: Option<Text<'a>>,
}

/// What sorts and links objects, of any type.
#[derive(Deserialize)]
pub(super) struct Outline<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) modified: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) object_refs: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct GranularMarking<'a> {
    #[serde(borrow, default)]
    pub(super) marking_ref: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct ExternalReference<'a> {
    #[serde(borrow, default)]
    pub(super) source_name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) external_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) url: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) hashes: BTreeMap<Text<'a>, Text<'a>>,
}

/// A marking definition: TLP 1 has a definition, TLP 2 an extension (FIRST TLP 2.0 for STIX).
#[derive(Deserialize)]
pub(super) struct Marking<'a> {
    #[serde(borrow, default)]
    pub(super) definition_type: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) definition: Option<Definition<'a>>,
    #[serde(borrow, default)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) extensions: BTreeMap<Text<'a>, Extension<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Definition<'a> {
    #[serde(borrow, default)]
    pub(super) tlp: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Extension<'a> {
    #[serde(borrow, default)]
    pub(super) tlp_2_0: Option<Text<'a>>,
}

/// A time as STIX writes it; `None` for none and for what is no time.
pub(super) fn instant(text: Option<&Text<'_>>) -> Option<WallMs> {
    WallMs::parse(text?)
}

/// Characters of a type's name (STIX 2.1 section 3.1).
const TYPE_CHARS_MAX: usize = 250;

/// `type--uuid`.
pub(super) fn is_stix_id(id: &str) -> bool {
    let Some((kind, uuid)) = id.split_once("--") else { return false };
    let letters = kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    letters && (1..=TYPE_CHARS_MAX).contains(&kind.len()) && crate::import::misp::is_uuid(uuid)
}
