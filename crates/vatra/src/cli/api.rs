//! Talking to a node's HTTP API: one request, one bounded answer, problems as typed errors.

mod files;

use std::io::Read;
use std::time::Duration;

use serde_json::{Map, Value};
use thiserror::Error;
use ureq::http::{Method, Request, StatusCode, Uri};
use ureq::{Agent, Body};

use super::exit::usage;

/// Longest answer that is read whole.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A node that does not take the connection by then is unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A node that is silent this long in the middle of an answer is unreachable.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Most characters of a body that is no problem document, as shown.
const BODY_CHARS_SHOWN_MAX: usize = 300;

/// What went wrong in talking to a node.
#[derive(Debug, Error)]
pub(crate) enum ApiError {
    /// No answer. Whether a write was taken is unknown; repeat it with the same idempotency key.
    #[error("the node at {url} did not answer: {reason}")]
    Unreachable {
        /// Address that was tried.
        url: String,
        /// What the network said.
        reason: String,
    },
    /// The node answered with a problem document (RFC 9457). Nothing was changed.
    #[error("{0}")]
    Problem(Problem),
    /// The answer is not what the API promises: another program, or another version.
    #[error("the node at {url} gave an answer that is not understood: {reason}")]
    Unexpected {
        /// Address that was asked.
        url: String,
        /// What is odd about the answer.
        reason: String,
    },
}

impl ApiError {
    /// What the person at the keyboard can do, where the node or the kind of error says so.
    pub(crate) fn remedy(&self) -> Option<String> {
        match self {
            ApiError::Unreachable { .. } => {
                Some("is the node running, and is this its [api] listen address?".to_owned())
            }
            ApiError::Problem(problem) => problem.remedy.clone(),
            ApiError::Unexpected { .. } => None,
        }
    }
}

/// A problem document, reduced to what is printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Problem {
    /// HTTP status, 0 in a line of a bulk answer that gives none.
    pub(crate) status: u16,
    /// Short name of the problem.
    pub(crate) title: String,
    /// What is wrong this time.
    pub(crate) detail: Option<String>,
    /// The field that is wrong.
    pub(crate) field: Option<String>,
    /// What to do about it.
    pub(crate) remedy: Option<String>,
}

impl Problem {
    /// Reads a problem from JSON; unknown members are ignored, as RFC 9457 demands.
    pub(crate) fn from_json(value: &Value, status: u16) -> Problem {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        if let Some(detail) = value.as_str() {
            return Problem { status, detail: Some(detail.to_owned()), ..Problem::default() };
        }
        Problem {
            status: value.get("status").and_then(Value::as_u64).and_then(|s| s.try_into().ok()).unwrap_or(status),
            title: text("title").unwrap_or_default(),
            detail: text("detail"),
            field: text("field"),
            remedy: text("remedy"),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match &self.detail {
            Some(detail) => detail,
            None if self.title.is_empty() => "refused without a reason",
            None => &self.title,
        };
        match &self.field {
            // Many details begin with the field's name already.
            Some(field) if !text.starts_with(field.as_str()) => write!(f, "{field}: {text}")?,
            _ => f.write_str(text)?,
        }
        if self.status != 0 { write!(f, " (HTTP {})", self.status) } else { Ok(()) }
    }
}

/// An answer that was not refused.
#[derive(Debug)]
pub(crate) struct Answer {
    /// HTTP status, 200 to 299.
    pub(crate) status: u16,
    /// The body; null when there is none.
    pub(crate) body: Value,
}

/// One node's API.
#[derive(Debug)]
pub(crate) struct Api {
    agent: Agent,
    base: String,
    authorization: Option<String>,
}

impl Api {
    /// A client for the API at `url`. Nothing is sent yet.
    pub(crate) fn new(url: &str, token: Option<&str>) -> anyhow::Result<Api> {
        let base = url.trim().trim_end_matches('/').to_owned();
        let parsed: Uri = base.parse().map_err(|_| usage(format!("--api {url:?} is no URL")))?;
        if parsed.scheme_str() != Some("http") || parsed.host().is_none() {
            return Err(usage(format!(
                "--api {url:?}: an API address is http://HOST:PORT; this version speaks no TLS"
            )));
        }
        let authorization = match token {
            Some(token) if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) => {
                return Err(usage("the token is empty or contains a space or a special character"));
            }
            Some(token) => Some(format!("Bearer {token}")),
            None => None,
        };
        // A proxy from the environment would hand the token to a third party.
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_await_100(Some(READ_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT))
            .timeout_per_write(Some(READ_TIMEOUT))
            .user_agent(concat!("vatra/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Api { agent: config.new_agent(), base, authorization })
    }

    /// Address of the API, for messages.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Reads a resource.
    pub(crate) fn get(&self, path: &str) -> Result<Value, ApiError> {
        Ok(self.send(Method::GET, path, None, &[])?.body)
    }

    /// Sends a request with an optional JSON body and further headers.
    pub(crate) fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, ApiError> {
        let bytes = body.map(|body| body.to_string().into_bytes());
        let answer = self.exchange(method, path, "application/json", bytes, headers)?;
        let status = answer.status().as_u16();
        let bytes = self.read_whole(answer.into_body())?;
        if bytes.is_empty() {
            return Ok(Answer { status, body: Value::Null });
        }
        let body = serde_json::from_slice(&bytes).map_err(|error| self.unexpected(format!("no JSON: {error}")))?;
        Ok(Answer { status, body })
    }

    /// Sends NDJSON; the answer is read by the caller, line by line.
    pub(crate) fn post_lines(&self, path: &str, lines: Vec<u8>) -> Result<impl Read + use<>, ApiError> {
        let answer = self.exchange(Method::POST, path, "application/x-ndjson", Some(lines), &[])?;
        Ok(answer.into_body().into_with_config().limit(ANSWER_BYTES_MAX).reader())
    }

    /// Opens an endless answer; the caller reads it line by line.
    pub(crate) fn open_stream(&self, path: &str) -> Result<impl Read + use<>, ApiError> {
        let answer = self.exchange(Method::GET, path, "", None, &[])?;
        Ok(answer.into_body().into_with_config().limit(u64::MAX).reader())
    }

    /// One request up to the answer's head; a refusal becomes a problem.
    fn exchange(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Option<Vec<u8>>,
        headers: &[(&str, &str)],
    ) -> Result<ureq::http::Response<Body>, ApiError> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = match body {
            Some(bytes) => {
                let request = request.header("content-type", content_type).body(bytes);
                self.agent.run(request.map_err(|error| self.unexpected(error.to_string()))?)
            }
            None => {
                let request = request.body(());
                self.agent.run(request.map_err(|error| self.unexpected(error.to_string()))?)
            }
        };
        let answer = answer.map_err(|error| self.network(error))?;
        if answer.status().is_success() { Ok(answer) } else { Err(self.refusal(answer)) }
    }

    fn refusal(&self, answer: ureq::http::Response<Body>) -> ApiError {
        let status = answer.status();
        let bytes = match self.read_whole(answer.into_body()) {
            Ok(bytes) => bytes,
            Err(error) => return error,
        };
        match serde_json::from_slice::<Map<String, Value>>(&bytes) {
            Ok(problem) => ApiError::Problem(Problem::from_json(&Value::Object(problem), status.as_u16())),
            Err(_) => ApiError::Problem(plain_problem(status, &bytes)),
        }
    }

    fn read_whole(&self, body: Body) -> Result<Vec<u8>, ApiError> {
        let reader = body.into_with_config().limit(ANSWER_BYTES_MAX);
        reader.read_to_vec().map_err(|error| self.network(error))
    }

    fn network(&self, error: ureq::Error) -> ApiError {
        match error {
            ureq::Error::Io(_)
            | ureq::Error::Timeout(_)
            | ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed => {
                ApiError::Unreachable { url: self.base.clone(), reason: error.to_string() }
            }
            other => self.unexpected(other.to_string()),
        }
    }

    /// An answer that broke off.
    pub(crate) fn broken_off(&self, error: &std::io::Error) -> ApiError {
        ApiError::Unreachable { url: self.base.clone(), reason: format!("its answer broke off: {error}") }
    }

    /// An answer that breaks the API's promises.
    pub(crate) fn unexpected(&self, reason: String) -> ApiError {
        ApiError::Unexpected { url: self.base.clone(), reason }
    }
}

/// A refusal that carries no problem document, as another program would give.
fn plain_problem(status: StatusCode, body: &[u8]) -> Problem {
    let text: String = String::from_utf8_lossy(body).chars().take(BODY_CHARS_SHOWN_MAX).collect();
    Problem {
        status: status.as_u16(),
        title: status.canonical_reason().unwrap_or("refused").to_owned(),
        detail: (!text.trim().is_empty()).then(|| text.trim().to_owned()),
        ..Problem::default()
    }
}

/// Where the next page of a list begins; cursors are texts, or positions.
pub(crate) fn next_page(page: &Value) -> Option<String> {
    match page.get("next") {
        Some(Value::String(cursor)) => Some(cursor.clone()),
        Some(Value::Number(position)) => Some(position.to_string()),
        _ => None,
    }
}

/// A query string from the parameters that are given; empty when none is.
pub(crate) fn query(parameters: &[(&str, Option<String>)]) -> String {
    let mut text = String::new();
    for (name, value) in parameters {
        if let Some(value) = value {
            text.push(if text.is_empty() { '?' } else { '&' });
            text.push_str(name);
            text.push('=');
            text.push_str(&percent_encode(value));
        }
    }
    text
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_problem_names_field_and_detail() {
        let body = json!({"type": "about:blank", "title": "Bad request", "status": 422,
            "detail": "title is 300 characters, at most 256", "field": "title", "remedy": "shorten it"});
        let problem = Problem::from_json(&body, 400);
        assert_eq!(problem.to_string(), "title is 300 characters, at most 256 (HTTP 422)");
        assert_eq!(problem.remedy.as_deref(), Some("shorten it"));
    }

    #[test]
    fn a_problem_may_be_a_text_or_nothing() {
        assert_eq!(Problem::from_json(&json!("no such field"), 0).to_string(), "no such field");
        assert_eq!(Problem::from_json(&json!({}), 503).to_string(), "refused without a reason (HTTP 503)");
    }

    #[test]
    fn queries_are_encoded() {
        let text = query(&[("text", Some("a b&c/ї".to_owned())), ("owner", None), ("limit", Some("5".to_owned()))]);
        assert_eq!(text, "?text=a%20b%26c%2F%D1%97&limit=5");
    }

    #[test]
    fn only_plain_http_is_spoken() {
        for bad in ["https://127.0.0.1:1", "127.0.0.1:4101", "", "http://", "ftp://x"] {
            assert!(Api::new(bad, None).is_err(), "{bad:?} was accepted");
        }
        assert!(Api::new("http://127.0.0.1:4101/", Some("t0ken")).is_ok());
        assert!(Api::new("http://127.0.0.1:4101", Some("two words")).is_err());
    }
}
