//! Every class of bad input: a problem that names what is wrong, and nothing changes.

use serde_json::json;
use vatra_api::limits::BODY_BYTES_MAX;
use vatra_api::{ApiConfig, CutTarget, Role};

use crate::client::{Exchange, alert};
use crate::over_memory::{Plan, Server};

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[test]
fn bad_input_is_refused_by_name_and_changes_nothing() {
    let server = Server::start(&Plan::default());
    let client = server.admin();
    let id = client.publish("One");
    let missing = "f".repeat(32);
    let with = |field: &str, value: serde_json::Value| {
        let mut alert = alert("A title");
        alert[field] = value;
        alert.to_string()
    };
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let large = with("body", "x".repeat(BODY_BYTES_MAX).into());
    let path = |suffix: &str| format!("/api/v1/alerts/{id}{suffix}");
    let cases: Vec<(&str, String, String, u16, Option<&str>)> = vec![
        ("POST", "/api/v1/alerts".into(), with("colour", "red".into()), 422, Some("colour")),
        ("POST", "/api/v1/alerts".into(), with("title", "x".repeat(257).into()), 422, Some("title")),
        ("POST", "/api/v1/alerts".into(), with("severity", "loud".into()), 422, Some("severity")),
        ("POST", "/api/v1/alerts".into(), with("sectors", json!(["energy", "x"])), 422, Some("sectors[1]")),
        ("POST", "/api/v1/alerts".into(), with("tlp", "red".into()), 422, Some("tlp")),
        ("POST", "/api/v1/alerts".into(), "{".into(), 400, None),
        ("POST", "/api/v1/alerts".into(), "{\"title\":\"\u{1}\"}".into(), 400, None),
        ("POST", "/api/v1/alerts".into(), deep, 400, None),
        ("POST", "/api/v1/alerts".into(), large, 413, None),
        ("POST", "/api/v1/alerts?dry=1".into(), alert("x").to_string(), 400, Some("dry")),
        ("POST", "/api/v1/alerts".into(), with("title", "full".into()), 507, None),
        ("PATCH", path(""), r#"{"kind":"outage"}"#.into(), 422, Some("kind")),
        ("PATCH", path(""), r#"{"title":null}"#.into(), 422, Some("title")),
        ("PATCH", format!("/api/v1/alerts/{missing}"), r#"{"title":"x"}"#.into(), 404, None),
        ("PATCH", "/api/v1/alerts/xyz".into(), r#"{"title":"x"}"#.into(), 400, Some("id")),
        ("PUT", path("/response"), r#"{"mood":"good"}"#.into(), 422, Some("mood")),
        ("POST", path("/cancel"), r#"{"why":"x"}"#.into(), 422, Some("why")),
        ("POST", path("/resolve"), json!({"reason": "x".repeat(257)}).to_string(), 422, Some("reason")),
        ("POST", "/api/v1/contacts".into(), r#"{"nme":"x"}"#.into(), 422, Some("nme")),
        (
            "POST",
            "/api/v1/links/cut".into(),
            r#"{"members":"all","seconds":0,"reason":"x"}"#.into(),
            422,
            Some("seconds"),
        ),
        ("POST", "/api/v1/links/heal".into(), r#"{"now":true}"#.into(), 422, Some("now")),
        ("GET", "/api/v1/alerts?colour=red".into(), String::new(), 400, Some("colour")),
        ("GET", "/api/v1/alerts?severity=loud".into(), String::new(), 400, Some("severity")),
        ("GET", "/api/v1/alerts?limit=0".into(), String::new(), 400, Some("limit")),
        ("GET", "/api/v1/alerts?limit=5&limit=6".into(), String::new(), 400, Some("limit")),
        ("GET", "/api/v1/alerts?since=x".into(), String::new(), 400, Some("since")),
        ("GET", "/api/v1/alerts?cursor=nonsense".into(), String::new(), 400, Some("cursor")),
        ("GET", format!("/api/v1/alerts/{missing}"), String::new(), 404, None),
        ("GET", format!("/api/v1/alerts/{missing}/history"), String::new(), 404, None),
        ("GET", "/api/v1/roster/lt".into(), String::new(), 400, Some("member")),
        ("GET", "/api/v1/roster/ZZ".into(), String::new(), 404, None),
        ("GET", "/api/v1/alerts/%ff".into(), String::new(), 400, None),
        ("GET", "/api/v1/stream?from=yesterday".into(), String::new(), 400, Some("from")),
        ("GET", "/api/v1/stream?cursor=nonsense".into(), String::new(), 400, Some("cursor")),
        ("GET", "/api/v1/stream?cursor=p1.".into(), String::new(), 409, Some("cursor")),
        ("GET", format!("/api/v1/stream?cursor={}.1", "8".repeat(32)), String::new(), 409, Some("cursor")),
        ("GET", format!("/api/v1/stream?cursor={}.999", "07".repeat(16)), String::new(), 409, Some("cursor")),
        ("GET", "/api/v1/stream?limit=1".into(), String::new(), 400, Some("limit")),
        ("GET", "/api/v1/status?x=1".into(), String::new(), 400, Some("x")),
        ("GET", "/api/v1/nothing".into(), String::new(), 404, None),
        ("GET", "/".into(), String::new(), 404, None),
        ("DELETE", "/api/v1/alerts".into(), String::new(), 405, None),
    ];
    for (method, path, body, status, field) in cases {
        let answer = client.send(method, &path, &[JSON], body.as_bytes());
        let what = format!("{method} {path} {:.60}: {}", body, answer.text());
        assert_eq!(answer.status, status, "{what}");
        assert_eq!(answer.problem_field().as_deref(), field, "{what}");
    }
    assert_eq!(server.memory.alert_count(), 1);
    assert!(server.memory.cuts().is_empty());
}

#[test]
fn headers_are_checked() {
    let server = Server::start(&Plan::default());
    let client = server.admin();
    let body = alert("x").to_string();
    let long_key = "k".repeat(256);
    type Headers<'a> = &'a [(&'a str, &'a str)];
    let cases: &[(Headers<'_>, u16, Option<&str>)] = &[
        (&[], 415, Some("Content-Type")),
        (&[("Content-Type", "text/plain")], 415, Some("Content-Type")),
        (&[JSON, ("Content-Encoding", "gzip")], 415, Some("Content-Encoding")),
        (&[JSON, ("Idempotency-Key", "")], 400, Some("Idempotency-Key")),
        (&[JSON, ("Idempotency-Key", "a b")], 400, Some("Idempotency-Key")),
        (&[JSON, ("Idempotency-Key", &long_key)], 400, Some("Idempotency-Key")),
        (&[JSON, ("Idempotency-Key", "a"), ("Idempotency-Key", "b")], 400, Some("Idempotency-Key")),
        (&[JSON, ("Origin", "http://evil.example")], 403, Some("Origin")),
        (&[JSON, ("Origin", "null")], 403, Some("Origin")),
    ];
    for (headers, status, field) in cases {
        let answer = client.send("POST", "/api/v1/alerts", headers, body.as_bytes());
        assert_eq!((answer.status, answer.problem_field().as_deref()), (*status, *field), "{headers:?}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let own = format!("http://{}", server.address);
    assert_eq!(client.send("POST", "/api/v1/alerts", &[JSON, ("Origin", &own)], body.as_bytes()).status, 201);
    let allowed = client.send("PUT", "/api/v1/alerts", &[], b"").header("allow").map(str::to_owned);
    assert_eq!(allowed.as_deref(), Some("POST, GET"));
}

#[test]
fn a_repeated_call_creates_once() {
    let server = Server::start(&Plan::default());
    let key = [JSON, ("Idempotency-Key", "4f0a")];
    let post = |role: Role, headers: &[(&str, &str)], title: &str| {
        let answer = server.client(role).send("POST", "/api/v1/alerts", headers, alert(title).to_string().as_bytes());
        let json = answer.json();
        for field in ["id", "position", "log", "seq"] {
            assert!(!json[field].is_null(), "{field} is missing in {json}");
        }
        (answer.status, json["created"].as_bool(), json["id"].as_str().unwrap().to_owned())
    };
    let (status, created, id) = post(Role::Admin, &key, "One");
    assert_eq!((status, created), (201, Some(true)));
    assert_eq!(post(Role::Admin, &key, "One"), (200, Some(false), id.clone()));
    let (status, _, other) = post(Role::Contributor, &key, "One");
    assert_eq!((status, other == id), (201, false), "keys belong to their caller");
    assert_eq!(post(Role::Admin, &[JSON], "One").0, 201);
}

#[test]
fn a_fault_of_the_node_is_told_and_counted_and_hurts_nobody_else() {
    let api = ApiConfig { request_timeout: std::time::Duration::from_millis(200), ..Plan::default().api };
    let server = Server::start(&Plan { api, ..Plan::default() });
    let client = server.admin();
    let fault = client.json("POST", "/api/v1/alerts", &alert("panic"));
    assert_eq!((fault.status, fault.problem_field()), (500, None));
    let late = client.json("POST", "/api/v1/alerts", &alert("slow"));
    assert_eq!((late.status, late.header("retry-after")), (503, Some("1")));
    client.publish("well");
    let metrics = client.get("/metrics");
    assert!(metrics.text().contains("vatra_api_panics_total 1\n"), "{}", metrics.text());
    assert!(metrics.text().ends_with("# EOF\n"));
    assert!(metrics.text().contains(r#"vatra_api_answers_total{method="POST",route="/api/v1/alerts",status="5xx"} 2"#));
}

#[test]
fn slow_bodies_and_too_many_requests_are_refused() {
    let api = ApiConfig {
        body_timeout: std::time::Duration::from_millis(200),
        token_requests_per_second: 1,
        token_requests_burst: 3,
        ..Plan::default().api
    };
    let server = Server::start(&Plan { api, ..Plan::default() });
    let client = server.admin();
    let head = client.head("POST", "/api/v1/alerts", &[JSON, ("Content-Length", "100")]);
    let answer = Exchange::open(server.address, &format!("{head}\r\n{{")).answer();
    assert_eq!((answer.status, answer.problem_field()), (408, None));
    let statuses: Vec<u16> = (0..3).map(|_| client.get("/api/v1/status").status).collect();
    assert_eq!(statuses, [200, 200, 429]);
    let refused = client.get("/api/v1/status");
    assert!(refused.header("retry-after").is_some() && refused.json()["limit"] == 1);
    assert_eq!(server.client(Role::Operator).get("/api/v1/status").status, 200);
}

#[test]
fn drills_reach_the_node_as_ordered() {
    let server = Server::start(&Plan::default());
    let operator = server.client(Role::Operator);
    let cut = json!({"members": "all", "seconds": 30, "reason": "drill"});
    assert_eq!(operator.json("POST", "/api/v1/links/cut", &cut).json(), cut);
    assert_eq!(server.memory.cuts()[0].target, CutTarget::All);
    // With and without a body.
    assert_eq!(operator.send("POST", "/api/v1/links/heal", &[], b"").json(), json!({"healed": 1}));
    assert_eq!(operator.json("POST", "/api/v1/links/heal", &json!({})).json(), json!({"healed": 0}));
}
