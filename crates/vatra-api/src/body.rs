//! Reading the body of a request: bounded in bytes, time and depth.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::api::Call;
use crate::limits::{BODY_BYTES_MAX, JSON_DEPTH_MAX};
use crate::problem::Problem;
use crate::service::Service;

impl<S: Service> Call<S> {
    /// The whole body, which must be JSON. An absent body is refused.
    pub(crate) async fn json_body(&mut self) -> Result<Bytes, Problem> {
        require_type(self.request.headers(), &["application/json"])?;
        self.bounded_body().await
    }

    /// The whole body, which may be absent; if it is there it must be JSON.
    pub(crate) async fn optional_json_body(&mut self) -> Result<Bytes, Problem> {
        let body = self.bounded_body().await?;
        if !body.is_empty() {
            require_type(self.request.headers(), &["application/json"])?;
        }
        Ok(body)
    }

    async fn bounded_body(&mut self) -> Result<Bytes, Problem> {
        let bytes = self.raw_body().await?;
        if is_deeper(&bytes, JSON_DEPTH_MAX) {
            let detail = format!("the body nests objects and lists deeper than {JSON_DEPTH_MAX}");
            return Err(Problem::bad_request(detail).with_limit(JSON_DEPTH_MAX as u64));
        }
        Ok(bytes)
    }

    /// The whole body, whatever it is.
    pub(crate) async fn raw_body(&mut self) -> Result<Bytes, Problem> {
        refuse_encoding(self.request.headers())?;
        refuse_declared_length(&self.request, BODY_BYTES_MAX as u64)?;
        let body = std::mem::take(self.request.body_mut());
        let timeout = self.api.shared.config.body_timeout;
        let Ok(collected) = tokio::time::timeout(timeout, collect(body)).await else {
            let detail = format!("the body did not come within {} s", timeout.as_secs());
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "Too slow", detail));
        };
        collected
    }
}

async fn collect(body: Body) -> Result<Bytes, Problem> {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Problem::too_large("the body", BODY_BYTES_MAX as u64)),
        Err(_broken) => Err(Problem::bad_request("the body broke off")),
    }
}

/// Refuses a body that says itself that it is too large, before any of it is read.
pub(crate) fn refuse_declared_length(request: &Request, bytes_max: u64) -> Result<(), Problem> {
    let declared = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match declared.and_then(|text| text.parse::<u64>().ok()) {
        Some(bytes) if bytes > bytes_max => Err(Problem::too_large("the body", bytes_max)),
        _ => Ok(()),
    }
}

/// Refuses compressed bodies: a small one can become a huge one.
pub(crate) fn refuse_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported",
            "Not understood",
            "compressed bodies are not read",
        )
        .with_field("Content-Encoding")),
        _ => Ok(()),
    }
}

/// Refuses bodies of another media type.
pub(crate) fn require_type(headers: &HeaderMap, allowed: &[&str]) -> Result<(), Problem> {
    let found = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = found.split(';').next().unwrap_or_default().trim();
    if allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(essence)) {
        return Ok(());
    }
    let found: String = found.chars().take(80).collect();
    let detail = format!("the body must be {}, not {found:?}", allowed.join(" or "));
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported", "Not understood", detail)
        .with_field("Content-Type"))
}

/// Whether JSON nests deeper than a bound; a text that is no JSON may say anything.
pub(crate) fn is_deeper(json: &[u8], depth_max: usize) -> bool {
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => {
                depth += 1;
                if depth > depth_max {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_texts() {
        assert!(!is_deeper(br#"{"a":["[[[[",{"b":"\"{{{"}]}"#, 3));
        assert!(is_deeper(br#"{"a":["[[[[",{"b":1}]}"#, 2));
        assert!(is_deeper(&[b'['; 100], 99));
        assert!(!is_deeper(b"[][][][]", 1));
    }

    #[test]
    fn types_are_compared_without_their_parameters() {
        let check = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            require_type(&headers, &["application/json"]).is_ok()
        };
        assert!(check("application/json") && check("Application/JSON; charset=utf-8"));
        assert!(!check("text/plain") && !check("application/json-patch+json") && !check(""));
        assert!(require_type(&HeaderMap::new(), &["application/json"]).is_err());
    }
}
