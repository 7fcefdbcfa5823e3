//! JSON schemas of what a node tells about itself and the others.

use serde_json::{Value, json};

use super::reference;

/// Who holds a record.
pub(super) fn reach() -> Value {
    let (number, text) = (json!({"type": ["integer", "null"]}), json!({"type": "string"}));
    let node = json!({"type": "object", "properties": {
        "node": text, "name": text, "state": {"enum": ["holds", "behind", "unknown"]}, "missing": number,
        "standing": standing(), "since": time_or_null(), "heard_at": time_or_null(),
    }});
    json!({
        "type": "object",
        "properties": {"id": reference("RecordId"), "members": {"type": "array", "items": {
            "type": "object",
            "properties": {
                "member": reference("Member"), "holds": {"type": "boolean"},
                "nodes": {"type": "array", "items": text, "description": "Keys of its nodes that hold it"},
                "heard_at": time_or_null(),
                "delivery": {"type": "array", "items": node},
            },
        }}},
    })
}

/// How a node is.
pub(super) fn status() -> Value {
    let number = json!({"type": "integer"});
    let text = json!({"type": "string"});
    let list = |items: Value| json!({"type": "array", "items": items});
    json!({
        "type": "object",
        "required": [
            "node", "member", "incarnation", "digest", "alerts", "contacts", "links", "behind", "members",
            "charter_epoch",
        ],
        "properties": {
            "node": text, "name": text, "member": reference("Member"), "site": text, "incarnation": text,
            "version": text, "started_at": reference("Time"), "digest": text, "alerts": number, "contacts": number,
            "position": number,
            "links": list(json!({"type": "object", "properties": {
                "node": text, "name": text, "member": reference("Member"), "state": {"enum": ["up", "down"]},
                "since": time_or_null(), "rtt_ms": {"type": ["number", "null"]},
                "bytes_in": number, "bytes_out": number, "reason": text,
            }})),
            "behind": {"type": "object", "additionalProperties": behind()},
            "members": list(member()),
            "lives": list(json!({"type": "object", "properties": {
                "incarnation": text, "opened": reference("Time"), "reason": {"type": ["string", "null"]},
            }})),
            "forks": list(json!({"type": "object", "properties": {
                "log": reference("RecordId"), "node": text, "name": text, "member": reference("Member"),
                "seq": number, "strays": number, "settled": {"type": "boolean"},
            }})),
            "quarantined": number,
            "quarantine": list(json!({"type": "object", "properties": {
                "log": reference("RecordId"), "seq": number, "index": {"type": ["integer", "null"]},
                "member": reference("Member"), "node": text, "reason": text, "is_fault": {"type": "boolean"},
                "at": reference("Time"),
            }})),
            "charter_epoch": number,
            "store": {"type": "object", "properties": {
                "state": {"enum": ["ok", "read-only", "failed"]}, "engine": text, "format": number, "reason": text,
                "damaged": number,
            }},
            "cuts": list(json!({"type": "object"})),
            "healthy": {"type": "boolean"},
            "troubles": list(json!({"type": "object", "properties": {
                "severity": {"enum": ["critical", "warning"]}, "code": text, "what": text, "since": reference("Time"),
            }})),
            "frontier": {"type": "object", "properties": {"logs": number, "entries": number, "hash": text}},
            "streams": {"type": "object", "properties": {"subscribers": number, "lagged": number, "refused": number}},
        },
    })
}

fn member() -> Value {
    let number = json!({"type": "integer"});
    let text = json!({"type": "string"});
    let node = json!({"type": "object", "properties": {
        "node": text, "name": text, "standing": standing(), "since": time_or_null(), "reason": text,
        "heard_at": time_or_null(), "writable": {"type": ["boolean", "null"]},
        "clock_ahead_ms": {"type": ["integer", "null"]},
    }});
    json!({"type": "object", "properties": {
        "member": reference("Member"), "standing": standing(), "since": time_or_null(), "reason": text,
        "heard_at": time_or_null(), "behind": behind(), "forks": number, "strays": number, "quarantined": number,
        "nodes": {"type": "array", "items": node},
    }})
}

fn behind() -> Value {
    let number = json!({"type": "integer"});
    json!({"type": "object", "properties": {"entries": number, "seconds": number, "eta_seconds": number}})
}

/// What is wrong with a node.
pub(super) fn diagnosis() -> Value {
    let text = json!({"type": "string"});
    json!({
        "type": "object",
        "required": ["node", "healthy", "findings"],
        "properties": {
            "node": text, "name": text, "member": reference("Member"), "at": reference("Time"),
            "healthy": {"type": "boolean", "description": "Nothing needs a person"},
            "findings": {"type": "array", "items": {
                "type": "object",
                "required": ["severity", "code", "what", "remedy"],
                "properties": {
                    "severity": {"enum": ["critical", "warning", "note"]}, "code": text, "subject": text,
                    "what": text, "remedy": text, "since": reference("Time"),
                },
            }},
        },
    })
}

/// How far a node holds a log.
pub(super) fn log_head() -> Value {
    let (number, text) = (json!({"type": "integer"}), json!({"type": "string"}));
    json!({
        "type": "object",
        "required": ["log", "node", "name", "member", "entries", "last"],
        "properties": {
            "log": reference("RecordId"), "node": text, "name": text, "member": reference("Member"),
            "incarnation": text, "entries": number,
            "last": {"type": ["object", "null"], "properties": {"seq": number, "hash": text}},
            "ended": {"type": ["integer", "null"], "description": "From here a revocation has ended the log"},
        },
    })
}

fn standing() -> Value {
    json!({"enum": ["own", "linked", "relayed", "unreachable"]})
}

fn time_or_null() -> Value {
    json!({"oneOf": [reference("Time"), {"type": "null"}]})
}
