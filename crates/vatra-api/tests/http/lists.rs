//! Lists, views, histories and the status.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::client::{Client, alert};
use crate::over_memory::{Plan, Server};

/// Reads a list to its end, calling `between` after each page.
fn pages(client: &Client, path: &str, mut between: impl FnMut()) -> Vec<Value> {
    let mut items = Vec::new();
    let mut next = format!("{path}limit=7");
    loop {
        let page = client.get(&next).json();
        items.extend(page["items"].as_array().unwrap().clone());
        let Some(cursor) = page["next"].as_str() else { return items };
        next = format!("{path}limit=7&cursor={cursor}");
        between();
    }
}

#[test]
fn paging_is_stable_while_alerts_arrive() {
    let server = Server::start(&Plan::default());
    let client = server.admin();
    let before: BTreeSet<String> = (0..50).map(|number| client.publish(&format!("before {number}"))).collect();
    let mut arriving = 0;
    let items = pages(&client, "/api/v1/alerts?", || {
        arriving += 1;
        client.publish(&format!("meanwhile {arriving}"));
    });
    let ids: Vec<String> = items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 50, "each once, and none of the later ones");
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), before);
    assert!(arriving >= 7);
    assert_eq!(client.get("/api/v1/alerts?limit=1").json()["total"], 50 + arriving);
}

#[test]
fn lists_are_filtered_and_the_newest_is_first() {
    let server = Server::start(&Plan::default());
    let client = server.admin();
    client.publish("Grid down");
    let mut grave = alert("Water plant");
    grave["severity"] = "extreme".into();
    grave["sectors"] = json!(["water"]);
    assert_eq!(client.json("POST", "/api/v1/alerts", &grave).status, 201);
    let titles = |query: &str| -> Vec<String> {
        let page = client.get(&format!("/api/v1/alerts{query}")).json();
        page["items"].as_array().unwrap().iter().map(|item| item["title"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(titles(""), ["Water plant", "Grid down"]);
    assert_eq!(titles("?min_severity=severe"), ["Water plant"]);
    assert_eq!(titles("?sector=energy"), ["Grid down"]);
    assert_eq!(titles("?text=GRID"), ["Grid down"]);
    assert_eq!(titles("?since=1"), ["Water plant"]);
    assert_eq!(titles("?owner=LT"), Vec::<String>::new());
}

#[test]
fn contacts_that_left_are_shown_when_asked_for() {
    let server = Server::start(&Plan::default());
    let client = server.admin();
    let id = client.json("POST", "/api/v1/contacts", &json!({"name": "Duty officer"})).json()["id"].clone();
    let path = format!("/api/v1/contacts/{}", id.as_str().unwrap());
    assert_eq!(client.json("PATCH", &path, &json!({"agency": "CERT"})).status, 200);
    let roster = client.get("/api/v1/roster/UA").json();
    assert_eq!((&roster["member"], &roster["items"][0]["agency"]), (&json!("UA"), &json!("CERT")));
    assert!(roster["heard_at"].is_string());
    assert_eq!(client.send("DELETE", &path, &[], b"").status, 200);
    assert_eq!(client.get("/api/v1/contacts").json()["total"], 0);
    assert_eq!(client.get("/api/v1/contacts?status=left").json()["total"], 1);
    assert_eq!(client.get(&path).json()["status"], "left");
}

#[test]
fn an_alert_is_read_with_history_and_reach() {
    let server = Server::start(&Plan::default());
    let client = server.admin();
    let id = client.publish("One");
    let path = format!("/api/v1/alerts/{id}");
    assert_eq!(client.json("PATCH", &path, &json!({"title": "Two"})).status, 200);
    assert_eq!(client.json("PUT", &format!("{path}/response"), &json!({"note": "seen"})).status, 200);
    assert_eq!(client.send("POST", &format!("{path}/resolve"), &[], b"").status, 200);
    let view = client.get(&path).json();
    assert_eq!((&view["title"], &view["status"]), (&json!("Two"), &json!("resolved")));
    let first = client.get(&format!("{path}/history?limit=3")).json();
    assert_eq!((first["items"].as_array().unwrap().len(), &first["total"]), (3, &json!(4)));
    assert_eq!(first["items"][0]["ops"][0], json!({"op": "set", "field": "title", "value": "x"}));
    let rest = client.get(&format!("{path}/history?cursor={}", first["next"].as_str().unwrap())).json();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));
    let reach = client.get(&format!("{path}/reach")).json();
    assert_eq!((&reach["members"][0]["member"], &reach["members"][0]["holds"]), (&json!("UA"), &json!(true)));
}

#[test]
fn the_status_has_its_pinned_fields() {
    let server = Server::start(&Plan::default());
    let status = server.admin().get("/api/v1/status").json();
    for field in ["node", "member", "incarnation", "digest", "alerts", "contacts", "links", "behind", "charter_epoch"] {
        assert!(!status[field].is_null(), "{field} is missing in {status}");
    }
    assert_eq!(status["incarnation"], "00000000000000ff");
    assert_eq!(status["links"][0]["state"], "up");
    assert_eq!(status["behind"]["LT"], json!({"entries": 4, "seconds": 2}));
    assert_eq!(status["members"][0]["behind"], json!({"entries": 4, "seconds": 2}));
    assert_eq!(status["members"][0]["standing"], "linked");
    assert_eq!(status["lives"][0]["incarnation"], "00000000000000ff");
    assert_eq!(status["healthy"], false);
    assert_eq!(status["troubles"], json!([{"severity": "critical", "code": "grave", "what": "something is"}]));
    assert_eq!(status["digest"].as_str().unwrap().len(), 64);
    assert_eq!(status["streams"]["subscribers"], 0);
}

#[test]
fn a_diagnosis_tells_the_gravest_first() {
    let server = Server::start(&Plan::default());
    let diagnosis = server.admin().get("/api/v1/doctor").json();
    assert_eq!(diagnosis["healthy"], false);
    let codes: Vec<&Value> = diagnosis["findings"].as_array().unwrap().iter().map(|found| &found["code"]).collect();
    assert_eq!(codes, ["grave", "small"]);
    assert_eq!(diagnosis["findings"][0]["severity"], "critical");
}

#[test]
fn logs_are_listed_by_node_or_with_one_of_their_entries() {
    let server = Server::start(&Plan::default());
    let logs = server.admin().get("/api/v1/logs").json();
    let log = &logs["logs"][0];
    let (id, node) = (log["log"].as_str().unwrap().to_owned(), log["node"].as_str().unwrap().to_owned());
    assert_eq!((&log["entries"], &log["incarnation"]), (&json!(2), &json!("00000000000000ff")));
    assert_eq!(log["last"], json!({"seq": 1, "hash": "06".repeat(32)}));
    assert_eq!(server.admin().get(&format!("/api/v1/logs?node={node}")).json(), logs);
    let other = "ab".repeat(32);
    assert_eq!(server.admin().get(&format!("/api/v1/logs?node={other}")).json(), json!({"logs": []}));
    let one = server.admin().get(&format!("/api/v1/logs?log={id}&seq=0")).json();
    assert_eq!(one["logs"][0]["last"]["seq"], 0);
    for (query, status, field) in [
        (format!("log={id}"), 400, "seq"),
        ("seq=3".to_owned(), 400, "log"),
        (format!("log={id}&seq=9"), 404, "seq"),
        ("node=xyz".to_owned(), 400, "node"),
        ("member=UA".to_owned(), 400, "member"),
    ] {
        let answer = server.admin().get(&format!("/api/v1/logs?{query}"));
        assert_eq!((answer.status, answer.json()["field"].as_str()), (status, Some(field)), "{query}");
    }
}
