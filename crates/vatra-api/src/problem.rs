//! Refusals as problem documents (RFC 9457).

use std::fmt;

use axum::body::Body;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use vatra_model::draft::DraftError;
use vatra_stream::{CursorError, FilterError, SubscribeError};

use crate::refusal::{Refusal, RefusalKind};

/// Media type of a problem document.
const PROBLEM_TYPE: &str = "application/problem+json";

/// Why a request was refused. Unless it says otherwise, nothing was changed.
#[derive(Clone, Debug)]
pub struct Problem(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    status: StatusCode,
    slug: &'static str,
    title: &'static str,
    detail: String,
    field: Option<String>,
    limit: Option<u64>,
    remedy: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of a kind. `slug` names the kind in its `type` for programs, `title` for people.
    #[must_use]
    pub fn new(status: StatusCode, slug: &'static str, title: &'static str, detail: impl Into<String>) -> Problem {
        Problem(Box::new(Parts {
            status,
            slug,
            title,
            detail: detail.into(),
            field: None,
            limit: None,
            remedy: None,
            headers: Vec::new(),
        }))
    }

    /// The request cannot be read.
    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad-request", "The request cannot be read", detail)
    }

    /// A part of the address is wrong: a query parameter, an id, a cursor.
    #[must_use]
    pub fn parameter(name: &str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad-parameter", "A parameter is wrong", detail).with_field(name)
    }

    /// A field of the body is wrong.
    #[must_use]
    pub fn field(name: &str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The content is not acceptable", detail)
            .with_field(name)
    }

    /// There is nothing under this name.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    /// The body is too large.
    #[must_use]
    pub fn too_large(what: &str, limit: u64) -> Problem {
        let detail = format!("{what} is larger than {limit} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large", detail).with_limit(limit)
    }

    /// The caller is unknown.
    #[must_use]
    pub fn unauthorized(detail: impl Into<String>) -> Problem {
        let challenge = HeaderValue::from_static("Bearer realm=\"vatra\"");
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "A valid token is needed", detail)
            .with_header(WWW_AUTHENTICATE, challenge)
    }

    /// The caller may not do this.
    #[must_use]
    pub fn forbidden(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail)
    }

    /// There is no room now; later there will be.
    #[must_use]
    pub fn busy(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Not now", detail).with_retry_after(1)
    }

    /// Our own fault. Whether a write was taken is unknown.
    #[must_use]
    pub fn fault(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", "The node failed", detail)
            .with_remedy("repeat with the same Idempotency-Key; if it stays, tell the operator of the node")
    }

    /// No such method here.
    #[must_use]
    pub fn method_not_allowed(allowed: &str) -> Problem {
        let detail = format!("allowed here: {allowed}");
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "No such method here", detail);
        match HeaderValue::from_str(allowed) {
            Ok(value) => problem.with_header(ALLOW, value),
            Err(_) => problem,
        }
    }

    /// Names the field at fault.
    #[must_use]
    pub fn with_field(mut self, field: &str) -> Problem {
        self.0.field = Some(field.to_owned());
        self
    }

    /// Names the bound that was exceeded.
    #[must_use]
    pub fn with_limit(mut self, limit: u64) -> Problem {
        self.0.limit = Some(limit);
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Problem {
        self.0.remedy = Some(remedy.into());
        self
    }

    /// Says when to come back.
    #[must_use]
    pub fn with_retry_after(self, seconds: u64) -> Problem {
        self.with_header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.0.headers.push((name, value));
        self
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The field at fault.
    #[must_use]
    pub fn field_name(&self) -> Option<&str> {
        self.0.field.as_deref()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.status.as_u16(), self.0.detail)
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format!("urn:vatra:problem:{}", self.0.slug))?;
        map.serialize_entry("title", self.0.title)?;
        map.serialize_entry("status", &self.0.status.as_u16())?;
        map.serialize_entry("detail", &self.0.detail)?;
        if let Some(field) = &self.0.field {
            map.serialize_entry("field", field)?;
        }
        if let Some(limit) = self.0.limit {
            map.serialize_entry("limit", &limit)?;
        }
        if let Some(remedy) = &self.0.remedy {
            map.serialize_entry("remedy", remedy)?;
        }
        map.end()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).expect("a problem has text keys and memory does not fail");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.0.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_TYPE));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(self.0.headers);
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let (status, slug, title) = match refusal.kind {
            RefusalKind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The content is not acceptable"),
            RefusalKind::NotFound => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            RefusalKind::NotOwner => (StatusCode::FORBIDDEN, "not-owner", "This member may not write it"),
            RefusalKind::Conflict => (StatusCode::CONFLICT, "conflict", "It does not fit what is there"),
            RefusalKind::StoreFull => (StatusCode::INSUFFICIENT_STORAGE, "store-full", "The disk is full"),
            RefusalKind::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy", "Not now"),
            RefusalKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available"),
            RefusalKind::Fault => (StatusCode::INTERNAL_SERVER_ERROR, "fault", "The node failed"),
        };
        let mut problem = Problem::new(status, slug, title, refusal.detail);
        problem.0.field = refusal.field;
        problem.0.limit = refusal.limit;
        problem.0.remedy = refusal.remedy;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            problem = problem.with_retry_after(1);
        }
        problem
    }
}

impl From<DraftError> for Problem {
    fn from(error: DraftError) -> Problem {
        // An error of the whole is one of JSON, before any field was looked at.
        let problem = if error.field.is_empty() {
            Problem::bad_request(format!("the body {}", error.problem))
        } else {
            Problem::field(&error.field, format!("{} {}", error.field, error.problem))
        };
        problem.with_remedy(error.remedy)
    }
}

impl From<FilterError> for Problem {
    fn from(error: FilterError) -> Problem {
        let problem = Problem::parameter(error.field().unwrap_or("filter"), error.to_string());
        match error {
            FilterError::BadLength { .. } => problem.with_limit(vatra_stream::FILTER_VALUE_BYTES_MAX as u64),
            FilterError::TooMany => problem.with_limit(vatra_stream::FILTER_CONDITIONS_MAX as u64),
            _ => problem,
        }
    }
}

impl From<CursorError> for Problem {
    fn from(error: CursorError) -> Problem {
        let remedy = match &error {
            CursorError::Malformed { .. } => "send the cursor as it came, or from=start",
            CursorError::ForeignStore { .. } => "go back to the node that gave it, or begin with from=start",
            CursorError::BeyondEnd { .. } | CursorError::PortableUnsupported => "begin with from=start",
        };
        let problem = match error {
            CursorError::Malformed { .. } => Problem::parameter("cursor", error.to_string()),
            _ => {
                let title = "The cursor cannot be used here";
                Problem::new(StatusCode::CONFLICT, "cursor", title, error.to_string()).with_field("cursor")
            }
        };
        problem.with_remedy(remedy)
    }
}

impl From<SubscribeError> for Problem {
    fn from(error: SubscribeError) -> Problem {
        match error {
            SubscribeError::Full { max } => Problem::busy(error.to_string()).with_limit(max as u64),
            SubscribeError::Cursor(error) => error.into(),
        }
    }
}
