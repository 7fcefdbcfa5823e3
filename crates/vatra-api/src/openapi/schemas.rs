//! JSON schemas of what the API takes and gives. Vocabularies and limits come from the model.

use serde_json::{Map, Value, json};
use vatra_model::Class;
use vatra_model::limits::{EXTERNAL_ID_BYTES_MAX, RECORD_WRITERS_MAX};
use vatra_model::schema::words::{
    Action, Agreement, AlertKind, AlertStatus, Assessment, Assistance, Certainty, ChatService, ContactRole,
    ContactStatus, EmailUsage, Handling, KeyKind, Outlook, Party, PhoneUsage, Sector, Severity, ShiftDuty,
    SightingKind, Tlp, Urgency,
};
use vatra_model::schema::{
    BODY_BYTES_MAX, CONFIDENCE_MAX, ELEMENTS_MAX, INDICATORS_MAX, LINE_CHARS_MAX, NOTE_BYTES_MAX, SIGHTING_COUNT_MAX,
    SIGHTINGS_MAX, URL_BYTES_MAX,
};
use vatra_stream::FILTER_VALUE_BYTES_MAX;

use super::{node, reference};
use crate::limits::{CUT_SECONDS_MAX, REASON_CHARS_MAX};

/// All schemas by name.
pub(super) fn all() -> Value {
    let mut schemas = Map::new();
    let mut add = |name: &str, schema: Value| schemas.insert(name.to_owned(), schema);
    add("RecordId", json!({"type": "string", "pattern": "^[0-9a-f]{32}$"}));
    add("Member", json!({"type": "string", "pattern": "^[A-Z][A-Z0-9]{1,7}$"}));
    add("Time", json!({"type": "string", "format": "date-time"}));
    add("Cursor", json!({"type": "string", "pattern": "^[0-9a-f]{32}\\.[0-9]+$"}));
    add("Problem", problem());
    add("Receipt", receipt());
    add("BulkLine", bulk_line());
    add("AlertDraft", closed(alert_fields(), &["kind", "title", "severity", "sectors", "tlp"]));
    let mut alert_patch = patch_of(alert_fields(), &["kind", "writers", "external_id", "exercise"]);
    alert_patch["status"] = words(AlertStatus::ALL);
    add("AlertPatch", closed(alert_patch, &[]));
    add("AlertView", view(alert_fields(), json!({"responses": {"type": "object"}, "cancel_disputed": boolean()})));
    add("ResponseDraft", closed(patch_of(response_fields(), &[]), &[]));
    add("Closing", closed(json!({"reason": text(REASON_CHARS_MAX)}), &[]));
    add("ContactDraft", closed(contact_fields(), &["name"]));
    let mut contact_patch = patch_of(contact_fields(), &["external_id"]);
    contact_patch["status"] = words(ContactStatus::ALL);
    add("ContactPatch", closed(contact_patch, &[]));
    add("ContactView", view(contact_fields(), json!({"status": words(ContactStatus::ALL)})));
    add("HistoryItem", history_item());
    add("Reach", node::reach());
    add("Event", event());
    add("Status", node::status());
    add("Diagnosis", node::diagnosis());
    add("LogHead", node::log_head());
    add("Cut", cut());
    add("BundleLine", bundle_line());
    Value::Object(schemas)
}

/// A list answer.
pub(super) fn page(item: Value) -> Value {
    json!({
        "type": "object",
        "required": ["items", "next", "total"],
        "properties": {
            "items": {"type": "array", "items": item},
            "next": {"oneOf": [reference("Cursor"), {"type": "null"}]},
            "total": {"type": "integer", "description": "Items of all pages"},
        },
    })
}

/// The schema of a filter's value.
pub(super) fn filter(name: &str) -> Value {
    let one_of = match name {
        "severity" | "min_severity" => strings(Severity::ALL),
        "sector" => strings(Sector::ALL),
        "kind" => strings(AlertKind::ALL),
        "status" => strings(AlertStatus::ALL),
        "class" => strings(&Class::ALL),
        "tlp" => strings(Tlp::ALL),
        "record" => vec!["alert".to_owned(), "contact".to_owned()],
        _ => return json!({"type": "string", "minLength": 1, "maxLength": FILTER_VALUE_BYTES_MAX}),
    };
    json!({"type": "string", "examples": one_of})
}

fn strings<W: ToString>(all: &[W]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

fn words<W: ToString>(all: &[W]) -> Value {
    json!({"enum": strings(all)})
}

fn text(chars_max: usize) -> Value {
    json!({"type": "string", "maxLength": chars_max})
}

fn line() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": LINE_CHARS_MAX})
}

fn boolean() -> Value {
    json!({"type": "boolean"})
}

fn integer(minimum: u64, maximum: u64) -> Value {
    json!({"type": "integer", "minimum": minimum, "maximum": maximum})
}

fn list(item: Value, items_max: usize) -> Value {
    json!({"type": "array", "items": item, "maxItems": items_max})
}

/// An object that refuses other fields.
fn closed(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// Fields of a patch: values or null, and lists also as additions and removals.
fn patch_of(fields: Value, fixed: &[&str]) -> Value {
    let Value::Object(fields) = fields else { unreachable!("fields are an object") };
    let patched = fields.into_iter().filter(|(name, _)| !fixed.contains(&name.as_str())).map(|(name, schema)| {
        let schema = if schema["type"] == "array" {
            let keys = json!({"type": "array"});
            json!({"oneOf": [schema.clone(), {"type": "object", "properties": {"add": schema, "remove": keys}}]})
        } else {
            json!({"oneOf": [schema, {"type": "null"}]})
        };
        (name, schema)
    });
    Value::Object(patched.collect())
}

/// A view: the fields of a draft and those that the node adds.
fn view(fields: Value, more: Value) -> Value {
    let mut properties = json!({
        "record": {"enum": ["alert", "contact"]},
        "id": reference("RecordId"),
        "code": {"type": "string", "description": "Short code for speech"},
        "owner": reference("Member"),
        "writers": list(reference("Member"), RECORD_WRITERS_MAX),
        "status": words(AlertStatus::ALL),
        "issued_at": reference("Time"),
        "modified_at": reference("Time"),
        "version": {"type": "array", "items": reference("RecordId"), "description": "Newest changes"},
        "conflicts": {"type": "object", "description": "Concurrent values by field, to be settled"},
        "newer_than_node": boolean(),
        "forked": boolean(),
    });
    for part in [fields, more] {
        let (Some(properties), Value::Object(part)) = (properties.as_object_mut(), part) else { continue };
        properties.extend(part);
    }
    json!({"type": "object", "properties": properties, "required": ["id", "owner", "status", "version"]})
}

fn alert_fields() -> Value {
    let time = reference("Time");
    let reference_schema = json!({"source": line(), "url": text(URL_BYTES_MAX), "id": line(), "hash": line()});
    let indicator = json!({
        "iid": line(), "type": line(), "value": line(), "pattern": line(),
        "valid_from": time, "valid_until": time, "to_ids": boolean(),
    });
    let attachment = json!({"sha256": line(), "size": {"type": "integer"}, "mime": line(), "name": line()});
    let translation = json!({"title": line(), "body": text(BODY_BYTES_MAX)});
    json!({
        "kind": words(AlertKind::ALL),
        "title": line(),
        "severity": words(Severity::ALL),
        "sectors": {"type": "array", "items": words(Sector::ALL), "minItems": 1, "maxItems": ELEMENTS_MAX},
        "tlp": {"enum": strings(Tlp::ALL), "description": "Stricter than green needs an audience, not possible yet"},
        "class": {"enum": strings(&Class::ALL), "description": "By severity when absent"},
        "body": text(BODY_BYTES_MAX),
        "instruction": text(BODY_BYTES_MAX),
        "lang": line(),
        "translations": {"type": "object", "additionalProperties": closed(translation, &["title"])},
        "urgency": words(Urgency::ALL),
        "certainty": words(Certainty::ALL),
        "confidence": {"type": "integer", "minimum": 0, "maximum": CONFIDENCE_MAX},
        "effective": time,
        "onset": time,
        "expires": time,
        "countries": list(json!({"type": "string", "pattern": "^[A-Z]{2}$"}), ELEMENTS_MAX),
        "classification": list(line(), ELEMENTS_MAX),
        "handling": list(words(Handling::ALL), ELEMENTS_MAX),
        "references": list(closed(reference_schema, &[]), ELEMENTS_MAX),
        "vulnerabilities": list(line(), ELEMENTS_MAX),
        "indicators": list(closed(indicator, &["iid", "type"]), INDICATORS_MAX),
        "attachments": list(closed(attachment, &["sha256", "size", "mime", "name"]), ELEMENTS_MAX),
        "timeline": list(closed(json!({"at": time, "author": line(), "text": line()}), &["at", "text"]), ELEMENTS_MAX),
        "supersedes": list(reference("RecordId"), ELEMENTS_MAX),
        "related": list(reference("RecordId"), ELEMENTS_MAX),
        "actions": list(words(Action::ALL), ELEMENTS_MAX),
        "exercise": {"type": "null"},
        "writers": list(reference("Member"), RECORD_WRITERS_MAX),
        "external_id": text(EXTERNAL_ID_BYTES_MAX),
    })
}

fn response_fields() -> Value {
    let time = reference("Time");
    let advisory = json!({"lang": line(), "title": line(), "url": text(URL_BYTES_MAX), "published": time});
    let impact = json!({
        "sectors": list(words(Sector::ALL), ELEMENTS_MAX), "outlook": words(Outlook::ALL), "text": text(NOTE_BYTES_MAX),
    });
    let sighting = json!({
        "id": line(), "of": line(), "kind": words(SightingKind::ALL), "first_seen": time, "last_seen": time,
        "count": integer(0, SIGHTING_COUNT_MAX), "where": line(), "source": line(), "replaces": line(),
    });
    json!({
        "seen_at": time,
        "acknowledged": closed(json!({"by": line(), "at": time}), &["by"]),
        "assessment": words(Assessment::ALL),
        "impact": closed(impact, &[]),
        "advisories": list(closed(advisory, &["url"]), ELEMENTS_MAX),
        "assistance": words(Assistance::ALL),
        "assistance_text": text(NOTE_BYTES_MAX),
        "agreement": words(Agreement::ALL),
        "note": text(NOTE_BYTES_MAX),
        "contact": line(),
        "sightings": list(json!({"type": "object", "properties": sighting, "required": ["id"]}), SIGHTINGS_MAX),
    })
}

fn contact_fields() -> Value {
    let time = reference("Time");
    let phone = json!({"number": line(), "usage": words(PhoneUsage::ALL), "tz": line(), "comment": line()});
    let email = json!({"address": line(), "usage": words(EmailUsage::ALL)});
    let shift = json!({
        "id": line(), "person": line(), "from": time, "to": time, "duty": words(ShiftDuty::ALL),
    });
    let of = |properties: Value| list(json!({"type": "object", "properties": properties}), ELEMENTS_MAX);
    json!({
        "name": line(),
        "party": words(Party::ALL),
        "role": words(ContactRole::ALL),
        "agency": line(),
        "team": line(),
        "team_type": line(),
        "ti_status": line(),
        "constituency": text(NOTE_BYTES_MAX),
        "languages": list(line(), ELEMENTS_MAX),
        "phones": of(phone),
        "emails": of(email),
        "chat": of(json!({"service": words(ChatService::ALL), "address": line()})),
        "keys": of(json!({"kind": words(KeyKind::ALL)})),
        "hours": {"type": "array", "description": "Hours by days of the week"},
        "tz": line(),
        "holidays": text(NOTE_BYTES_MAX),
        "shifts": of(shift),
        "tlp": words(Tlp::ALL),
        "tlp_clearance": words(Tlp::ALL),
        "groups": list(line(), ELEMENTS_MAX),
        "valid_from": time,
        "valid_until": time,
        "last_verified": time,
        "rfc2350": text(URL_BYTES_MAX),
        "security_txt": text(URL_BYTES_MAX),
        "note": text(NOTE_BYTES_MAX),
        "external_id": text(EXTERNAL_ID_BYTES_MAX),
    })
}

fn problem() -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string", "format": "uri", "description": "Kind of the problem, for programs"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "field": {"type": "string", "description": "The field or parameter at fault"},
            "limit": {"type": "integer", "description": "The bound that was exceeded"},
            "remedy": {"type": "string", "description": "What to do"},
        },
    })
}

fn receipt() -> Value {
    json!({
        "type": "object",
        "description": "A write that is on this node's disk",
        "required": ["id", "position", "log", "seq", "created"],
        "properties": {
            "id": reference("RecordId"),
            "position": {"type": "integer", "description": "Place in this node's stream"},
            "log": reference("RecordId"),
            "seq": {"type": "integer", "description": "Place in the log"},
            "created": {"type": "boolean", "description": "Whether the record is new"},
        },
    })
}

fn bulk_line() -> Value {
    json!({
        "type": "object",
        "required": ["line"],
        "properties": {
            "line": {"type": "integer", "description": "Number of the line, from 1"},
            "id": reference("RecordId"),
            "created": boolean(),
            "problem": reference("Problem"),
        },
        "oneOf": [{"required": ["id"]}, {"required": ["problem"]}],
    })
}

fn history_item() -> Value {
    let key = json!({"type": "string"});
    json!({
        "type": "object",
        "properties": {
            "change": key, "position": {"type": "integer"}, "at": reference("Time"),
            "received_at": reference("Time"), "member": reference("Member"), "node": key, "log": key,
            "seq": {"type": "integer"}, "section": {"type": "string", "examples": ["core", "response(LT)"]},
            "action": {"enum": ["create", "edit"]},
            "ops": {"type": "array", "items": {"type": "object", "properties": {
                "op": {"enum": ["set", "add", "remove", "unknown"]}, "field": key, "key": key, "value": {},
            }}},
        },
    })
}

fn event() -> Value {
    let types = vatra_stream::EventType::ALL.map(vatra_stream::EventType::as_str).into_iter();
    let types: Vec<&str> = types.chain(["vatra.checkpoint", "vatra.lagged", "vatra.reset"]).collect();
    json!({
        "type": "object",
        "description": "CloudEvents 1.0. `data` is the record's view, never older than the change. A `retracted` event \
            takes back an earlier one, whose key was revoked before it; if its record is no longer shown, `data` has only \
            `id`, `kind` and `shown`, which is false.",
        "required": ["specversion", "id", "source", "type", "time", "cursor", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "description": "Id of the change, the same on every node; of a `retracted` event with \
                `.retracted` behind it"},
            "source": {"type": "string", "description": "The node that made the change: vatra://MEMBER/KEY"},
            "type": {"enum": types},
            "subject": reference("RecordId"),
            "time": reference("Time"),
            "recordedtime": reference("Time"),
            "cursor": reference("Cursor"),
            "data": {"oneOf": [reference("AlertView"), reference("ContactView"), {"type": "object"}]},
        },
    })
}

fn cut() -> Value {
    let members = json!({"oneOf": [{"const": "all"}, {"type": "array", "items": reference("Member"), "minItems": 1}]});
    let properties = json!({
        "members": members, "seconds": integer(1, CUT_SECONDS_MAX), "reason": text(REASON_CHARS_MAX),
    });
    closed(properties, &["members", "seconds", "reason"])
}

fn bundle_line() -> Value {
    let (number, name) = (json!({"type": "integer"}), json!({"type": "string"}));
    let step = json!({"type": "object", "properties": {
        "stage": {"enum": ["receive", "check", "apply"]}, "done": number, "total": number,
    }});
    let result = json!({
        "type": "object",
        "required": ["bundle", "entries", "new", "held", "refused", "receipt"],
        "properties": {
            "bundle": name, "created": reference("Time"), "charter_epoch": number, "charter_advanced": boolean(),
            "maker": {"type": "object", "properties": {"member": reference("Member"), "name": name, "node": name}},
            "entries": number, "new": number, "held": number, "refused": number,
            "reasons": {"type": "array", "items": {"type": "object", "properties": {
                "reason": name, "entries": number, "example": name,
            }}},
            "receipt": {"type": "string", "contentEncoding": "base64", "description": "The receipt to carry back"},
        },
    });
    json!({"oneOf": [
        {"type": "object", "required": ["progress"], "properties": {"progress": step}},
        {"type": "object", "required": ["result"], "properties": {"result": result}},
        {"type": "object", "required": ["problem"], "properties": {"problem": reference("Problem")}},
    ]})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use vatra_model::draft::{AlertDraft, AlertPatch, ContactDraft, ContactPatch, DraftError, ResponseDraft};

    use super::*;

    fn properties(schema: &str) -> BTreeSet<String> {
        all()[schema]["properties"].as_object().unwrap().keys().cloned().collect()
    }

    /// The fields that a reader knows, from its refusal of one that it does not.
    fn known(refusal: DraftError) -> BTreeSet<String> {
        assert_eq!(refusal.field, "no_such_field");
        let names = refusal.remedy.strip_prefix("known are ").unwrap().to_owned();
        names.split(", ").map(str::to_owned).collect()
    }

    #[test]
    fn schemas_have_the_fields_that_are_read() {
        let bad = br#"{"no_such_field":1}"#;
        assert_eq!(properties("AlertDraft"), known(AlertDraft::from_json(bad).unwrap_err()));
        assert_eq!(properties("AlertPatch"), known(AlertPatch::from_json(bad).unwrap_err()));
        assert_eq!(properties("ResponseDraft"), known(ResponseDraft::from_json(bad).unwrap_err()));
        assert_eq!(properties("ContactDraft"), known(ContactDraft::from_json(bad).unwrap_err()));
        assert_eq!(properties("ContactPatch"), known(ContactPatch::from_json(bad).unwrap_err()));
    }
}
