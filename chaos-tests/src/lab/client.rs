//! A node's API as a caller sees it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::{Method, Request};

use super::stream::{Follower, Format, Start};

/// A caller gives up after this long.
const REQUEST_SECONDS_MAX: u64 = 60;
/// Largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Talks to one node with its token.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    address: SocketAddr,
    token: String,
}

/// An answer of whatever status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The media type.
    pub content_type: String,
    /// The body as it came.
    pub text: String,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// The body as JSON if the status is this one, an error with the body otherwise.
    pub fn expect_status(&self, status: u16) -> anyhow::Result<Value> {
        ensure!(self.status == status, "HTTP {} instead of {status}: {}", self.status, self.text);
        serde_json::from_str(&self.text).with_context(|| format!("not JSON: {:?}", self.text))
    }
}

/// What a node says about an alert that it has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The alert's id.
    pub id: String,
    /// Its place in this node's store.
    pub position: u64,
    /// The log that it stands in.
    pub log: String,
    /// Its place in that log.
    pub seq: u64,
}

/// A link that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkUp {
    /// The other node's key.
    pub node: String,
    /// The other node's member.
    pub member: String,
}

impl Client {
    pub(super) fn new(address: SocketAddr, token: &str) -> Client {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(REQUEST_SECONDS_MAX)))
            .build();
        Client { agent: Agent::new_with_config(config), address, token: token.to_owned() }
    }

    /// Where the node serves its API.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The token in use.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The same node under another token.
    pub fn with_token(&self, token: &str) -> Client {
        Client { token: token.to_owned(), ..self.clone() }
    }

    /// One request with a body of any kind.
    pub fn send(&self, method: Method, path: &str, content_type: &str, body: Vec<u8>) -> anyhow::Result<Answer> {
        self.send_with(method, path, &[("content-type", content_type)], body)
    }

    /// One request with headers of the caller's choice; an empty body is none.
    pub fn send_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> anyhow::Result<Answer> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url()));
        if !self.token.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer =
            if body.is_empty() { self.agent.run(request.body(())?) } else { self.agent.run(request.body(body)?) };
        let mut answer = answer.with_context(|| format!("{}{path}", self.url()))?;
        let content_type = answer.headers().get("content-type").and_then(|value| value.to_str().ok());
        Ok(Answer {
            status: answer.status().as_u16(),
            content_type: content_type.unwrap_or_default().to_owned(),
            text: answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?,
        })
    }

    /// Reads a resource.
    pub fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send_with(Method::GET, path, &[], Vec::new())
    }

    /// Sends JSON.
    pub fn json(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.send(method, path, "application/json", serde_json::to_vec(body)?)
    }

    /// Posts JSON.
    pub fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.json(Method::POST, path, body)
    }

    /// The node's status.
    pub fn status(&self) -> anyhow::Result<Value> {
        self.get("/api/v1/status")?.expect_status(200)
    }

    /// The digest over all views.
    pub fn digest(&self) -> anyhow::Result<String> {
        let status = self.status()?;
        Ok(status["digest"].as_str().context("the status has no digest")?.to_owned())
    }

    /// How many alerts the node holds.
    pub fn alert_count(&self) -> anyhow::Result<u64> {
        self.status()?["alerts"].as_u64().context("the status has no number of alerts")
    }

    /// The links that are up.
    pub fn links_up(&self) -> anyhow::Result<Vec<LinkUp>> {
        Ok(links_up_in(&self.status()?))
    }

    /// Publishes an alert; an error unless the node takes it.
    pub fn publish(&self, draft: &Value) -> anyhow::Result<Published> {
        let answer = self.post("/api/v1/alerts", draft)?.expect_status(201)?;
        let number = |name: &str| answer[name].as_u64().with_context(|| format!("no {name} in {answer}"));
        let text =
            |name: &str| answer[name].as_str().map(str::to_owned).with_context(|| format!("no {name} in {answer}"));
        Ok(Published { id: text("id")?, position: number("position")?, log: text("log")?, seq: number("seq")? })
    }

    /// Sends alerts, one JSON text a line, to the bulk route; gives the answer's lines.
    pub fn bulk(&self, lines: Vec<u8>) -> anyhow::Result<Vec<Value>> {
        let answer = self.send(Method::POST, "/api/v1/alerts/bulk", "application/x-ndjson", lines)?;
        ensure!(answer.status == 200, "bulk: HTTP {}: {}", answer.status, answer.text);
        answer
            .text
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("bulk answer {line:?}")))
            .collect()
    }

    /// An alert's view.
    pub fn alert(&self, id: &str) -> anyhow::Result<Value> {
        self.get(&format!("/api/v1/alerts/{id}"))?.expect_status(200)
    }

    /// Whether the node shows an alert.
    pub fn has_alert(&self, id: &str) -> anyhow::Result<bool> {
        let answer = self.get(&format!("/api/v1/alerts/{id}"))?;
        match answer.status {
            200 => Ok(true),
            404 => Ok(false),
            status => anyhow::bail!("HTTP {status}: {}", answer.text),
        }
    }

    /// Changes fields of an alert.
    pub fn update(&self, id: &str, patch: &Value) -> anyhow::Result<Value> {
        let answer = self.json(Method::PATCH, &format!("/api/v1/alerts/{id}"), patch)?;
        answer.expect_status(200)
    }

    /// Gives this member's answer to an alert.
    pub fn respond(&self, id: &str, response: &Value) -> anyhow::Result<Value> {
        let answer = self.json(Method::PUT, &format!("/api/v1/alerts/{id}/response"), response)?;
        answer.expect_status(200)
    }

    /// Cuts this node off from members (`"all"` or a list of codes) for some seconds.
    pub fn cut(&self, members: Value, seconds: u64, reason: &str) -> anyhow::Result<()> {
        let body = json!({"members": members, "seconds": seconds, "reason": reason});
        let answer = self.post("/api/v1/links/cut", &body)?;
        ensure!((200..300).contains(&answer.status), "cut: HTTP {}: {}", answer.status, answer.text);
        Ok(())
    }

    /// Ends every cut made at this node.
    pub fn heal(&self) -> anyhow::Result<()> {
        let answer = self.send_with(Method::POST, "/api/v1/links/heal", &[], Vec::new())?;
        ensure!((200..300).contains(&answer.status), "heal: HTTP {}: {}", answer.status, answer.text);
        Ok(())
    }

    /// Follows the node's stream of events.
    pub fn follow(&self, start: Start) -> anyhow::Result<Follower> {
        Follower::open(self.address, &self.token, Format::Sse, &start)
    }

    /// Follows it as lines of JSON.
    pub fn follow_lines(&self, start: Start) -> anyhow::Result<Follower> {
        Follower::open(self.address, &self.token, Format::Ndjson, &start)
    }
}

/// The links that a status shows as up.
pub fn links_up_in(status: &Value) -> Vec<LinkUp> {
    let field = |link: &Value, name: &str| link[name].as_str().unwrap_or_default().to_owned();
    let links = status["links"].as_array().map_or(&[][..], Vec::as_slice);
    let up = links.iter().filter(|link| link["state"] == "up");
    up.map(|link| LinkUp { node: field(link, "node"), member: field(link, "member") }).collect()
}
