//! Every route of the API: its method, its path, the role it needs and what it does. The router and the OpenAPI
//! document are both made from this table, so neither knows a route that the other lacks.

use axum::http::Method;

use crate::auth::Role;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody: a health probe, which tells nothing but that.
    Open,
    /// Callers of this role and above.
    Role(Role),
}

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the summary of each stands in the table")]
pub enum Operation {
    CreateAlert,
    CreateAlerts,
    ListAlerts,
    ReadAlert,
    UpdateAlert,
    RespondToAlert,
    CancelAlert,
    ResolveAlert,
    ReadAlertHistory,
    ReadAlertReach,
    ListContacts,
    CreateContact,
    ReadContact,
    UpdateContact,
    RemoveContact,
    ReadRoster,
    FollowStream,
    FollowStreamLines,
    ReadStatus,
    Diagnose,
    ListLogs,
    CutLinks,
    HealLinks,
    ExportBundle,
    ImportBundle,
    ReadFrontier,
    ReadOpenapi,
    ReadMetrics,
    Live,
    Ready,
}

/// How long a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// The request timeout counts, and so does the cap on concurrent requests.
    Plain,
    /// It lasts as long as its client wants; other bounds hold.
    Streaming,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path; `{id}` and `{member}` stand for parameters.
    pub path: &'static str,
    /// Who may call it.
    pub access: Access,
    /// What it does.
    pub operation: Operation,
    /// What it does, in a sentence.
    pub summary: &'static str,
}

const READ: Access = Access::Role(Role::Subscriber);
const WRITE: Access = Access::Role(Role::Contributor);
const OPERATE: Access = Access::Role(Role::Operator);

const fn route(
    method: Method,
    path: &'static str,
    access: Access,
    operation: Operation,
    summary: &'static str,
) -> Route {
    Route { method, path, access, operation, summary }
}

/// All routes.
pub const ROUTES: &[Route] = &[
    route(Method::POST, "/api/v1/alerts", WRITE, Operation::CreateAlert, "Publish one alert"),
    route(
        Method::POST,
        "/api/v1/alerts/bulk",
        WRITE,
        Operation::CreateAlerts,
        "Publish many alerts, one JSON object per line",
    ),
    route(Method::GET, "/api/v1/alerts", READ, Operation::ListAlerts, "List alerts, the newest arrival first"),
    route(Method::GET, "/api/v1/alerts/{id}", READ, Operation::ReadAlert, "Read one alert"),
    route(Method::PATCH, "/api/v1/alerts/{id}", WRITE, Operation::UpdateAlert, "Change fields of an alert"),
    route(
        Method::PUT,
        "/api/v1/alerts/{id}/response",
        WRITE,
        Operation::RespondToAlert,
        "Give this member's answer to an alert",
    ),
    route(Method::POST, "/api/v1/alerts/{id}/cancel", WRITE, Operation::CancelAlert, "Withdraw an alert"),
    route(
        Method::POST,
        "/api/v1/alerts/{id}/resolve",
        WRITE,
        Operation::ResolveAlert,
        "Close an alert: what it warned of is over",
    ),
    route(
        Method::GET,
        "/api/v1/alerts/{id}/history",
        READ,
        Operation::ReadAlertHistory,
        "Read the changes of an alert, the oldest arrival first",
    ),
    route(Method::GET, "/api/v1/alerts/{id}/reach", READ, Operation::ReadAlertReach, "See which members hold an alert"),
    route(Method::GET, "/api/v1/contacts", READ, Operation::ListContacts, "List contacts of all members"),
    route(Method::POST, "/api/v1/contacts", WRITE, Operation::CreateContact, "Add a contact to this member's roster"),
    route(Method::GET, "/api/v1/contacts/{id}", READ, Operation::ReadContact, "Read one contact"),
    route(Method::PATCH, "/api/v1/contacts/{id}", WRITE, Operation::UpdateContact, "Change fields of a contact"),
    route(Method::DELETE, "/api/v1/contacts/{id}", WRITE, Operation::RemoveContact, "Take a contact off the roster"),
    route(Method::GET, "/api/v1/roster/{member}", READ, Operation::ReadRoster, "List the contacts of one member"),
    route(Method::GET, "/api/v1/stream", READ, Operation::FollowStream, "Follow the stream as server-sent events"),
    route(Method::GET, "/api/v1/stream.ndjson", READ, Operation::FollowStreamLines, "Follow the stream as NDJSON"),
    route(Method::GET, "/api/v1/status", READ, Operation::ReadStatus, "See how the node is"),
    route(
        Method::GET,
        "/api/v1/doctor",
        OPERATE,
        Operation::Diagnose,
        "See what is wrong with the node and what to do",
    ),
    route(Method::GET, "/api/v1/logs", OPERATE, Operation::ListLogs, "See how far this node holds which logs"),
    route(Method::POST, "/api/v1/links/cut", OPERATE, Operation::CutLinks, "Cut links for a drill"),
    route(Method::POST, "/api/v1/links/heal", OPERATE, Operation::HealLinks, "End every cut at once"),
    route(
        Method::POST,
        "/api/v1/bundle/export",
        OPERATE,
        Operation::ExportBundle,
        "Write entries as a file, to be carried by hand",
    ),
    route(
        Method::POST,
        "/api/v1/bundle/import",
        OPERATE,
        Operation::ImportBundle,
        "Take in a file of entries; all of it is checked before any of it is applied",
    ),
    route(
        Method::GET,
        "/api/v1/bundle/frontier",
        OPERATE,
        Operation::ReadFrontier,
        "Get a signed file that says how far this node holds the logs",
    ),
    route(Method::GET, "/api/v1/openapi.json", READ, Operation::ReadOpenapi, "Read this description"),
    route(Method::GET, "/metrics", READ, Operation::ReadMetrics, "Read the metrics for Prometheus"),
    route(Method::GET, "/livez", Access::Open, Operation::Live, "See that the process runs"),
    route(
        Method::GET,
        "/readyz",
        Access::Open,
        Operation::Ready,
        "See whether the node serves and how far behind it is",
    ),
];

impl Operation {
    /// The operation's name in the OpenAPI document.
    #[must_use]
    pub fn id(self) -> String {
        let name = format!("{self:?}");
        let mut chars = name.chars();
        chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
    }

    pub(crate) fn pace(self) -> Pace {
        match self {
            Operation::CreateAlerts
            | Operation::FollowStream
            | Operation::FollowStreamLines
            | Operation::ExportBundle
            | Operation::ImportBundle => Pace::Streaming,
            _ => Pace::Plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn routes_are_unique_and_only_probes_are_open() {
        let mut seen = BTreeSet::new();
        let mut operations = BTreeSet::new();
        for route in ROUTES {
            assert!(seen.insert((route.path, route.method.as_str())), "{} {} twice", route.method, route.path);
            assert!(operations.insert(route.operation.id()), "{:?} twice", route.operation);
            let is_probe = matches!(route.operation, Operation::Live | Operation::Ready);
            assert_eq!(route.access == Access::Open, is_probe, "{}", route.path);
            let writes = route.method != Method::GET;
            assert!(!writes || route.access != READ, "{} {} writes", route.method, route.path);
        }
    }
}
