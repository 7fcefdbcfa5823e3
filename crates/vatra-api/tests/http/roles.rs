//! Every route under every role, from the table.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use vatra_api::{Access, ROUTES, Role, Route};

use crate::over_memory::{Plan, Server};

fn path_of(route: &Route, alert: &str, contact: &str) -> String {
    let id = if route.path.contains("contacts") { contact } else { alert };
    route.path.replace("{id}", id).replace("{member}", "UA")
}

fn ids(server: &Server) -> (String, String) {
    let alert = server.admin().publish("An alert");
    let contact = server.admin().json("POST", "/api/v1/contacts", &json!({"name": "Duty officer"}));
    assert_eq!(contact.status, 201, "{}", contact.text());
    (alert, contact.json()["id"].as_str().unwrap().to_owned())
}

#[test]
fn every_route_lets_in_its_role_and_above_and_nobody_else() {
    let server = Server::start(&Plan::default());
    let (alert, contact) = ids(&server);
    let tokens = ["", "wrong", "token-subscriber", "token-contributor", "token-operator", "token-admin"];
    for route in ROUTES {
        let path = path_of(route, &alert, &contact);
        for token in tokens {
            let role = Role::ALL.into_iter().find(|role| token == format!("token-{role}"));
            let expected = match (route.access, role) {
                (Access::Open, _) => None,
                (Access::Role(_), None) => Some(401),
                (Access::Role(needed), Some(role)) => (role < needed).then_some(403),
            };
            let mut exchange = server.with_token(token).open(route.method.as_str(), &path, &[], b"");
            let (status, headers) = exchange.head();
            let what = format!("{} {path} under {token:?}: {status}", route.method);
            let header = |name: &str| headers.iter().any(|(key, _)| key == name);
            match expected {
                Some(expected) => {
                    assert_eq!(status, expected, "{what}");
                    assert_eq!(header("www-authenticate"), status == 401, "{what}");
                }
                // Without a body some are refused for that, which is past the gate.
                None => assert!(matches!(status, 200 | 415 | 422 | 400), "{what}"),
            }
        }
    }
}

#[test]
fn the_router_and_the_description_know_the_same_routes() {
    let server = Server::start(&Plan::default());
    let (alert, contact) = ids(&server);
    let document = server.admin().get("/api/v1/openapi.json").json();
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    assert_eq!(described.len(), ROUTES.len());
    for route in ROUTES {
        assert!(described.contains(&(route.method.to_string(), route.path.to_owned())), "{}", route.path);
        let path = path_of(route, &alert, &contact);
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let known = described.contains(&(method.to_owned(), route.path.to_owned()));
            let (status, _) = server.admin().open(method, &path, &[], b"").head();
            assert_eq!(status != 405, known, "{method} {path}: {status}");
        }
    }
}

#[test]
fn records_above_the_clearance_are_not_there() {
    let server = Server::start(&Plan::default());
    let (alert, contact) = ids(&server);
    let low = server.with_token("token-low");
    for path in [
        format!("/api/v1/alerts/{alert}"),
        format!("/api/v1/alerts/{alert}/history"),
        format!("/api/v1/alerts/{alert}/reach"),
        format!("/api/v1/contacts/{contact}"),
    ] {
        assert_eq!(server.admin().get(&path).status, 200, "{path}");
        assert_eq!(low.get(&path).status, 404, "{path}");
    }
    for path in ["/api/v1/alerts", "/api/v1/contacts", "/api/v1/roster/UA"] {
        assert_eq!(server.admin().get(path).json()["total"], 1, "{path}");
        assert_eq!(low.get(path).json()["items"], Value::Array(Vec::new()), "{path}");
    }
}

#[test]
fn probes_tell_nothing_but_health() {
    let server = Server::start(&Plan::default());
    let nobody = server.with_token("");
    assert_eq!((nobody.get("/livez").status, nobody.get("/livez").text()), (200, "live\n".to_owned()));
    assert_eq!((nobody.get("/readyz").status, nobody.get("/readyz").text()), (200, "ready\n".to_owned()));
    assert_eq!(nobody.get("/readyz?max_lag=2").status, 200);
    let behind = nobody.get("/readyz?max_lag=1");
    assert_eq!((behind.status, behind.problem_field()), (503, None));
    let bad = nobody.get("/readyz?max_lag=soon");
    assert_eq!((bad.status, bad.problem_field().as_deref()), (400, Some("max_lag")));
}

#[test]
fn the_reference_names_every_route() {
    let reference = include_str!("../../../../docs/api.md");
    for route in ROUTES {
        let last = route.path.rsplit('/').next().unwrap();
        let is_named = reference.contains(route.path) || reference.contains(&format!("`.../{last}`"));
        assert!(is_named, "docs/api.md lacks {}", route.path);
    }
}
