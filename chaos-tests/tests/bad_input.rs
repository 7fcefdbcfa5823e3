//! Bad input over HTTP and on the command line: a clear refusal, and nothing changes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, ensure};
use chaos_tests::corpus::Corpus;
use chaos_tests::lab::{Lab, Plan};
use serde_json::{Value, json};
use ureq::http::Method;

/// A valid alert with some fields changed; null takes a field away.
fn alert_with(changes: Value) -> String {
    let mut alert = json!({
        "kind": "incident", "title": "A title", "severity": "minor", "sectors": ["energy"], "tlp": "green",
    });
    for (field, value) in changes.as_object().expect("changes are an object") {
        if value.is_null() {
            alert.as_object_mut().expect("an alert is an object").remove(field);
        } else {
            alert[field] = value.clone();
        }
    }
    alert.to_string()
}

#[test]
fn http_refuses_by_name_and_changes_nothing() -> anyhow::Result<()> {
    let lab = Lab::running(&Plan::of(&["UA", "LT"]))?;
    let client = lab.client(0);
    let id = client.publish(&Corpus::load()?.alert(1))?.id;
    let (count, digest) = (client.alert_count()?, client.digest()?);
    let (alert, response) = (format!("/api/v1/alerts/{id}"), format!("/api/v1/alerts/{id}/response"));
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));

    // Method, path, body, a word that the problem must contain.
    let post = Method::POST;
    let drafts: Vec<(String, &str)> = vec![
        (alert_with(json!({"title": null})), "title"),
        (alert_with(json!({"title": "x".repeat(257)})), "256"),
        (alert_with(json!({"title": ""})), "title"),
        (alert_with(json!({"title": "two\nlines"})), "title"),
        (alert_with(json!({"title": 5})), "title"),
        (alert_with(json!({"kind": "rumour"})), "kind"),
        (alert_with(json!({"severity": "dreadful"})), "severity"),
        (alert_with(json!({"sectors": []})), "sectors"),
        (alert_with(json!({"sectors": ["gardening"]})), "sectors"),
        (alert_with(json!({"tlp": "red"})), "audience"),
        (alert_with(json!({"tlp": "purple"})), "tlp"),
        (alert_with(json!({"colour": "red"})), "colour"),
        (alert_with(json!({"body": "x".repeat(65 * 1024)})), "body"),
        (alert_with(json!({"class": "express"})), "class"),
        (alert_with(json!({"confidence": 101})), "confidence"),
        (alert_with(json!({"expires": "tomorrow"})), "expires"),
        (alert_with(json!({"countries": ["Utopia"]})), "countries"),
        (alert_with(json!({"writers": ["LT"]})), "writers"),
        (alert_with(json!({"external_id": "x".repeat(513)})), "external_id"),
        (alert_with(json!({"indicators": [{"iid": "i", "kind": "x"}]})), "indicators"),
        ("".to_owned(), ""),
        ("{".to_owned(), ""),
        ("[]".to_owned(), ""),
        ("null".to_owned(), ""),
        (deep, ""),
        ("\u{0}\u{1}\u{2}".to_owned(), ""),
    ];
    let mut cases: Vec<(Method, String, String, &str)> =
        drafts.into_iter().map(|(body, word)| (post.clone(), "/api/v1/alerts".to_owned(), body, word)).collect();
    cases.extend([
        (Method::PATCH, alert.clone(), r#"{"severity":"dreadful"}"#.to_owned(), "severity"),
        (Method::PATCH, alert.clone(), r#"{"kind":"outage"}"#.to_owned(), "kind"),
        (Method::PATCH, alert.clone(), r#"{"colour":"red"}"#.to_owned(), "colour"),
        (Method::PATCH, alert.clone(), r#"{"countries":{"plus":["UA"]}}"#.to_owned(), "countries"),
        (Method::PATCH, "/api/v1/alerts/xyz".to_owned(), "{}".to_owned(), ""),
        (Method::PATCH, format!("/api/v1/alerts/{}", "0".repeat(32)), r#"{"title":"x"}"#.to_owned(), ""),
        (Method::PUT, response.clone(), r#"{"assessment":"fine"}"#.to_owned(), "assessment"),
        (Method::PUT, response, r#"{"mood":"good"}"#.to_owned(), "mood"),
        (Method::GET, "/api/v1/alerts/xyz".to_owned(), String::new(), ""),
        (Method::GET, format!("/api/v1/alerts/{}", "f".repeat(32)), String::new(), ""),
        (Method::GET, "/api/v1/alerts?severity=dreadful".to_owned(), String::new(), "severity"),
        (Method::GET, "/api/v1/alerts?colour=red".to_owned(), String::new(), "colour"),
        (Method::GET, "/api/v1/alerts?cursor=nonsense".to_owned(), String::new(), "cursor"),
        (Method::GET, "/api/v1/stream?cursor=nonsense".to_owned(), String::new(), "cursor"),
        (Method::GET, "/api/v1/stream?from=yesterday".to_owned(), String::new(), "from"),
        (Method::GET, "/api/v1/roster/nowhere-at-all".to_owned(), String::new(), ""),
        (Method::GET, "/api/v1/nothing".to_owned(), String::new(), ""),
        (Method::DELETE, "/api/v1/alerts".to_owned(), String::new(), ""),
        (
            post.clone(),
            "/api/v1/links/cut".to_owned(),
            r#"{"members":"all","seconds":0,"reason":"x"}"#.to_owned(),
            "seconds",
        ),
        (
            post.clone(),
            "/api/v1/links/cut".to_owned(),
            r#"{"members":["lt"],"seconds":5,"reason":"x"}"#.to_owned(),
            "members",
        ),
        (post, "/api/v1/contacts".to_owned(), r#"{"nme":"x"}"#.to_owned(), "nme"),
    ]);
    for (method, path, body, word) in cases {
        let shown: String = body.chars().take(80).collect();
        let what = format!("{method} {path} {shown}");
        let answer = client.send(method, &path, "application/json", body.into_bytes())?;
        ensure!((400..500).contains(&answer.status), "{what}: HTTP {} {}", answer.status, answer.text);
        ensure!(answer.content_type.starts_with("application/problem+json"), "{what}: {answer:?}");
        ensure!(answer.text.contains(word), "{what}: {word:?} is not named: {}", answer.text);
        ensure!(answer.json()["status"] == answer.status, "{what}: {}", answer.text);
    }
    assert_eq!((client.alert_count()?, client.digest()?), (count, digest));
    assert_eq!(client.links_up()?.len(), 1, "a refused cut cut nothing");
    Ok(())
}

/// A caller that sends all it has before it reads must still learn why it was refused.
#[test]
fn a_body_past_the_limit_is_told() -> anyhow::Result<()> {
    let lab = Lab::running(&Plan::of(&["UA"]))?;
    let body = alert_with(json!({"body": "x".repeat(2 * 1024 * 1024)}));
    let head = format!(
        "POST /api/v1/alerts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        lab.client(0).token(),
        body.len()
    );
    let mut socket = TcpStream::connect(lab.node(0).api())?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.write_all(head.as_bytes())?;
    let sent = socket.write_all(body.as_bytes());
    let mut answer = [0; 2_000];
    let length = socket.read(&mut answer).with_context(|| format!("no answer; sending ended with {sent:?}"))?;
    let answer = String::from_utf8_lossy(&answer[..length]);
    ensure!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!(lab.client(0).alert_count()?, 0);
    Ok(())
}

#[test]
fn bulk_takes_the_good_lines_and_names_the_bad() -> anyhow::Result<()> {
    let lab = Lab::running(&Plan::of(&["UA"]))?;
    let lines = [
        alert_with(json!({})),
        "{".to_owned(),
        alert_with(json!({"tlpp": "green"})),
        alert_with(json!({"title": "Another"})),
        "\u{fffd}".to_owned(),
    ];
    let answers = lab.client(0).bulk(lines.join("\n").into_bytes())?;
    assert_eq!(answers.len(), 5, "{answers:?}");
    for (index, answer) in answers.iter().enumerate() {
        assert_eq!(answer["line"], index + 1, "{answer}");
        assert_eq!(answer["id"].is_string(), [0, 3].contains(&index), "{answer}");
        assert_eq!(answer["problem"].is_null(), [0, 3].contains(&index), "{answer}");
    }
    assert!(answers[2].to_string().contains("tlpp"), "{}", answers[2]);
    assert_eq!(lab.client(0).alert_count()?, 2);
    Ok(())
}

#[test]
fn no_route_answers_without_a_role() -> anyhow::Result<()> {
    let lab = Lab::running(&Plan::of(&["UA"]))?;
    for token in ["", "wrong", "admin", "0000000000000000000000000000000000000000000000000000000000000000"] {
        let client = lab.client(0).with_token(token);
        for path in ["/api/v1/status", "/api/v1/alerts", "/api/v1/stream", "/metrics", "/api/v1/contacts"] {
            let answer = client.get(path)?;
            assert_eq!(answer.status, 401, "{path} under token {token:?}: {}", answer.text);
        }
        let answer = client.post("/api/v1/links/cut", &json!({"members": "all", "seconds": 5, "reason": "x"}))?;
        assert_eq!(answer.status, 401, "{}", answer.text);
    }
    Ok(())
}

#[test]
fn raw_nonsense_on_the_socket_leaves_the_node_well() -> anyhow::Result<()> {
    let mut lab = Lab::running(&Plan::of(&["UA"]))?;
    let token = lab.client(0).token().to_owned();
    let endless = format!(
        "POST /api/v1/alerts/bulk HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
        Content-Type: application/x-ndjson\r\nContent-Length: 300000\r\n\r\n{}",
        "x".repeat(250_000)
    );
    let long_header = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(500_000));
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"GET",
        b"\r\n\r\n\r\n",
        b"PUT \xff\xfe HTTP/9.9\r\n\r\n",
        endless.as_bytes(),
        long_header.as_bytes(),
    ] {
        let mut socket = TcpStream::connect(lab.node(0).api())?;
        socket.set_read_timeout(Some(Duration::from_millis(300)))?;
        // The node may close while we still write: that is an answer, too.
        let _closed = socket.write_all(bytes);
        let mut answer = [0; 512];
        let _closed = socket.read(&mut answer);
    }
    assert_eq!(lab.client(0).alert_count()?, 0);
    assert!(lab.node_mut(0).exit_status()?.is_none(), "the node ended");
    assert!(!lab.node(0).log()?.contains("panicked"), "{}", lab.node(0).log_tail());
    Ok(())
}

#[test]
fn the_command_line_refuses_with_its_exit_codes() -> anyhow::Result<()> {
    let mut lab = Lab::running(&Plan::of(&["UA"]))?;
    let digest = lab.client(0).digest()?;
    let zeros = "0".repeat(32);
    let cases: Vec<(Vec<&str>, i32, &str)> = vec![
        (vec!["alert", "show", "xyz"], 2, "xyz"),
        (vec!["alert", "show", &zeros], 1, ""),
        (vec!["alert", "update", &zeros], 2, ""),
        (vec!["alert", "frobnicate"], 2, "frobnicate"),
        (vec!["link", "cut", "lt", "--for", "5s", "--reason", "x"], 2, "lt"),
        (vec!["link", "cut", "all", "--for", "soon", "--reason", "x"], 2, "soon"),
        (vec!["tail", "--cursor", "nonsense"], 1, "cursor"),
    ];
    for (arguments, code, word) in cases {
        let outcome = lab.cli(0).run(&arguments)?;
        assert_eq!(outcome.code, Some(code), "{arguments:?}: {outcome:?}");
        assert!(outcome.err.contains(word), "{arguments:?}: {word:?} is not named: {}", outcome.err);
    }
    assert_eq!(lab.client(0).digest()?, digest);
    lab.node_mut(0).stop()?;
    lab.cli(0).run(["status"])?.expect_code(4)?;
    Ok(())
}

#[test]
fn a_broken_configuration_is_named_by_file_key_and_value() -> anyhow::Result<()> {
    let lab = Lab::new(&Plan::of(&["UA", "LT"]))?;
    let path = lab.node(0).dir().join("node.toml");
    let good = std::fs::read_to_string(&path)?;
    lab.cli(0).run(["node", "check"])?.expect_code(0)?;
    let cases = [
        (good.replacen("[mesh]", "[mesh]\ncolour = \"red\"", 1), "colour"),
        (good.replacen("listen = \"127.0.0.1:", "listen = \"127.0.0.1:9", 1), "listen"),
        (good.replacen("member = \"UA\"", "member = \"LT\"", 1), "member"),
        (good.replacen("[node]", "[nodes]", 1), "nodes"),
        (format!("{good}\n["), "node.toml"),
        (String::new(), "node.toml"),
    ];
    for (text, word) in cases {
        assert_ne!(text, good, "the case for {word:?} changes nothing");
        std::fs::write(&path, text)?;
        for command in ["check", "run"] {
            let outcome = lab.cli(0).run(["node", command])?;
            assert!(matches!(outcome.code, Some(1 | 2)), "{word}: {outcome:?}");
            let told = format!("{}{}", outcome.out, outcome.err);
            assert!(told.contains(word) && told.contains("node.toml"), "{command}: {word:?} is not named: {told}");
        }
    }
    Ok(())
}
