//! The OpenAPI 3.1 description, made from the table of routes.

mod node;
mod schemas;

use axum::http::Method;
use serde_json::{Map, Value, json};
use vatra_stream::FILTER_KEYS;

use crate::auth::Role;
use crate::bundles::{BUNDLE_TYPE, ENTRIES_HEADER, RECEIPT_TYPE};
use crate::limits::{BODY_BYTES_MAX, BULK_BODY_BYTES_MAX, BULK_LINES_MAX, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use crate::routes::{Access, Operation, ROUTES, Route};

/// The document.
pub(crate) fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let methods = paths.entry(route.path).or_insert_with(|| json!({}));
        methods[route.method.as_str().to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Vatra",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The local interface of one node. Refusals are problem documents (RFC 9457); unknown \
                fields and parameters are refused by name. Each operation names the least role that may call it.",
            "license": {"name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT"},
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {
                "type": "http",
                "scheme": "bearer",
                "description": format!(
                    "Roles, each including those before it: {}.",
                    Role::ALL.map(Role::as_str).join(", ")
                ),
            }},
            "schemas": schemas::all(),
            "responses": {"Problem": {
                "description": "Refused; nothing was changed unless the detail says otherwise.",
                "content": {"application/problem+json": {"schema": reference("Problem")}},
            }},
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "operationId": route.operation.id(),
        "summary": route.summary,
        "tags": [tag(route.path)],
        "responses": responses(route.operation),
    });
    operation["responses"]["default"] = json!({"$ref": "#/components/responses/Problem"});
    match route.access {
        Access::Open => operation["security"] = json!([]),
        Access::Role(role) => operation["x-vatra-role"] = json!(role.as_str()),
    }
    let parameters = parameters(route);
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    if let Some(body) = request_body(route.operation) {
        operation["requestBody"] = body;
    }
    operation
}

fn tag(path: &str) -> &str {
    match path.strip_prefix("/api/v1/").unwrap_or(path).trim_start_matches('/').split(['/', '.']).next() {
        Some("alerts") => "alerts",
        Some("contacts" | "roster") => "contacts",
        Some("stream") => "stream",
        Some("links") => "drills",
        Some("bundle") => "bundles",
        _ => "node",
    }
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn json_content(schema: Value) -> Value {
    json!({"application/json": {"schema": schema}})
}

fn responses(operation: Operation) -> Value {
    let ok = |schema: Value| json!({"200": {"description": "Done", "content": json_content(schema)}});
    let text = |media: &str, what: &str| json!({"200": {"description": what, "content": {media: {}}}});
    match operation {
        Operation::CreateAlert | Operation::CreateContact => json!({
            "201": {"description": "Created and on the disk", "content": json_content(reference("Receipt"))},
            "200": {"description": "It was there already", "content": json_content(reference("Receipt"))},
        }),
        Operation::CreateAlerts => json!({"200": {
            "description": "One line for each line, in order; more lines may follow a line that was refused",
            "content": {"application/x-ndjson": {"schema": reference("BulkLine")}},
        }}),
        Operation::UpdateAlert
        | Operation::RespondToAlert
        | Operation::CancelAlert
        | Operation::ResolveAlert
        | Operation::UpdateContact
        | Operation::RemoveContact => ok(reference("Receipt")),
        Operation::ListAlerts => ok(schemas::page(reference("AlertView"))),
        Operation::ListContacts | Operation::ReadRoster => ok(schemas::page(reference("ContactView"))),
        Operation::ReadAlert => ok(reference("AlertView")),
        Operation::ReadContact => ok(reference("ContactView")),
        Operation::ReadAlertHistory => ok(schemas::page(reference("HistoryItem"))),
        Operation::ReadAlertReach => ok(reference("Reach")),
        Operation::FollowStream => json!({"200": {
            "description": "Events without end; `id` is the cursor, `data` an event",
            "content": {"text/event-stream": {"schema": reference("Event")}},
        }}),
        Operation::FollowStreamLines => json!({"200": {
            "description": "Events without end, one per line",
            "content": {"application/x-ndjson": {"schema": reference("Event")}},
        }}),
        Operation::ReadStatus => ok(reference("Status")),
        Operation::Diagnose => ok(reference("Diagnosis")),
        Operation::ListLogs => ok(json!({"type": "object", "properties": {
            "logs": {"type": "array", "items": reference("LogHead")},
        }})),
        Operation::CutLinks => ok(reference("Cut")),
        Operation::HealLinks => ok(json!({"type": "object", "properties": {"healed": {"type": "integer"}}})),
        Operation::ExportBundle => json!({"200": {
            "description": "The bundle; one that breaks off is none",
            "headers": {ENTRIES_HEADER: {
                "description": "Entries in it at most",
                "schema": {"type": "integer"},
            }},
            "content": {BUNDLE_TYPE: {}},
        }}),
        Operation::ImportBundle => json!({"200": {
            "description": "Lines of progress, then one with the result or the problem",
            "content": {"application/x-ndjson": {"schema": reference("BundleLine")}},
        }}),
        Operation::ReadFrontier => text(RECEIPT_TYPE, "A signed frontier file"),
        Operation::ReadOpenapi => ok(json!({"type": "object"})),
        Operation::ReadMetrics => text("application/openmetrics-text", "Metrics"),
        Operation::Live => text("text/plain", "It runs"),
        Operation::Ready => text("text/plain", "It serves"),
    }
}

fn request_body(operation: Operation) -> Option<Value> {
    let schema = match operation {
        Operation::CreateAlert => "AlertDraft",
        Operation::UpdateAlert => "AlertPatch",
        Operation::RespondToAlert => "ResponseDraft",
        Operation::CancelAlert | Operation::ResolveAlert => "Closing",
        Operation::CreateContact => "ContactDraft",
        Operation::UpdateContact => "ContactPatch",
        Operation::CutLinks => "Cut",
        Operation::CreateAlerts => {
            return Some(json!({
                "required": true,
                "description": format!(
                    "One alert per line; at most {BULK_LINES_MAX} lines and {BULK_BODY_BYTES_MAX} bytes."
                ),
                "content": {"application/x-ndjson": {"schema": reference("AlertDraft")}},
            }));
        }
        Operation::ExportBundle => {
            return Some(json!({
                "required": false,
                "description": "A receipt or frontier file of the node that is to get the bundle: what it covers \
                    is left out.",
                "content": {RECEIPT_TYPE: {}},
            }));
        }
        Operation::ImportBundle => {
            return Some(json!({
                "required": true,
                "description": "A bundle, at most as large as the node's configuration allows.",
                "content": {BUNDLE_TYPE: {}},
            }));
        }
        _ => return None,
    };
    let is_required = !matches!(operation, Operation::CancelAlert | Operation::ResolveAlert);
    Some(json!({
        "required": is_required,
        "description": format!("At most {BODY_BYTES_MAX} bytes."),
        "content": json_content(reference(schema)),
    }))
}

fn parameters(route: &Route) -> Vec<Value> {
    let mut parameters = Vec::new();
    for (name, schema) in [("id", reference("RecordId")), ("member", reference("Member"))] {
        if route.path.contains(&format!("{{{name}}}")) {
            parameters.push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
        }
    }
    match route.operation {
        Operation::ListAlerts | Operation::ListContacts | Operation::ReadRoster => {
            parameters.extend(paging());
            let since = "Only records that changed here after this position";
            parameters.push(query("since", since, json!({"type": "integer", "minimum": 0})));
            parameters.extend(filters());
        }
        Operation::ReadAlertHistory => parameters.extend(paging()),
        Operation::FollowStream | Operation::FollowStreamLines => {
            parameters.push(query("cursor", "Begin after this cursor", json!({"type": "string"})));
            let from = "Begin with the oldest event or with what comes from now on";
            parameters.push(query("from", from, json!({"enum": ["start", "now"], "default": "now"})));
            parameters.push(json!({
                "name": "Last-Event-ID", "in": "header", "schema": {"type": "string"},
                "description": "The last cursor that was seen; it wins over the parameters.",
            }));
            parameters.extend(filters());
        }
        Operation::ListLogs => {
            let key = json!({"type": "string", "description": "A node's key in hexadecimal"});
            parameters.push(query("node", "Only logs of this node", key));
            parameters.push(query("log", "Only this log; give seq with it", reference("RecordId")));
            let seq = "Tell the entry of the log in this place instead of the last one";
            parameters.push(query("seq", seq, json!({"type": "integer", "minimum": 0})));
        }
        Operation::ExportBundle => {
            let receiver = "Leave out what every node of this member is known to hold";
            parameters.push(query("for", receiver, reference("Member")));
        }
        Operation::Ready => {
            let lag = "Ready only if the node is behind no member by more seconds";
            parameters.push(query("max_lag", lag, json!({"type": "integer", "minimum": 0})));
        }
        _ => {}
    }
    let creates =
        matches!(route.operation, Operation::CreateAlert | Operation::CreateAlerts | Operation::CreateContact);
    if creates {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header",
            "schema": {"type": "string", "minLength": 1, "maxLength": crate::IDEMPOTENCY_KEY_BYTES_MAX},
            "description": "The same key of the same caller creates the same record once, also after a restart.",
        }));
    }
    debug_assert!(route.method != Method::HEAD, "HEAD comes with GET");
    parameters
}

fn query(name: &str, description: &str, schema: Value) -> Value {
    json!({"name": name, "in": "query", "description": description, "schema": schema})
}

fn paging() -> [Value; 2] {
    let limit = json!({"type": "integer", "minimum": 1, "maximum": PAGE_ITEMS_MAX, "default": PAGE_ITEMS_DEFAULT});
    [query("limit", "Items of a page", limit), query("cursor", "`next` of the page before", json!({"type": "string"}))]
}

fn filters() -> impl Iterator<Item = Value> {
    FILTER_KEYS.into_iter().map(|name| {
        let description = match name {
            "min_severity" => "At least as grave as this",
            "text" => "This text in a title, body, instruction, name, agency, team or id, whatever the case",
            _ => "One of these, separated by commas; repeat the parameter for conditions that must all hold",
        };
        query(name, description, schemas::filter(name))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_described_with_its_role_and_nothing_else_is() {
        let document = document();
        let mut described = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                described.insert((method.to_uppercase(), path.clone(), operation["x-vatra-role"].clone().to_string()));
            }
        }
        let expected: BTreeSet<_> = ROUTES
            .iter()
            .map(|route| {
                let role = match route.access {
                    Access::Open => Value::Null,
                    Access::Role(role) => json!(role.as_str()),
                };
                (route.method.to_string(), route.path.to_owned(), role.to_string())
            })
            .collect();
        assert_eq!(described, expected);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let mut pending = vec![&document];
        let mut count = 0;
        while let Some(value) = pending.pop() {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(target)) = fields.get("$ref") {
                        let pointer = target.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{target} leads nowhere");
                        count += 1;
                    }
                    pending.extend(fields.values());
                }
                Value::Array(items) => pending.extend(items),
                _ => {}
            }
        }
        assert!(count > 50, "only {count} references");
    }
}
