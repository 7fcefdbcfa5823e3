//! Routes of streams: a subscription as server-sent events or as NDJSON.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures::stream;
use vatra_stream::{CURSOR_BYTES_MAX, EncodedEvent, FILTER_KEYS, Place, Start, StreamError, Subscription};

use crate::api::Call;
use crate::limits::STREAM_PIECE_BYTES;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::service::Service;

/// How events are set apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Server-sent events (WHATWG HTML, section 9.2).
    Sse,
    /// One JSON object per line.
    Lines,
}

/// Tells a browser to come back after a second.
const SSE_RETRY: &[u8] = b"retry: 1000\n\n";

pub(crate) fn follow<S: Service>(call: &Call<S>, framing: Framing) -> Result<Response, Problem> {
    let mut parameters = call.parameters()?;
    let start = read_start(call.request.headers(), &mut parameters)?;
    let filter = parameters.take_filter()?;
    let known: Vec<&str> = ["cursor", "from"].into_iter().chain(FILTER_KEYS).collect();
    parameters.finish(&known)?;
    let subscription = call.api.shared.hub.subscribe(&start, filter, call.caller.clearance())?;
    let follower = Follower { subscription, framing, is_new: framing == Framing::Sse };
    let pieces = stream::unfold(follower, async |mut follower| {
        let piece = follower.next_piece().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), follower))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let content_type = match framing {
        Framing::Sse => "text/event-stream",
        Framing::Lines => "application/x-ndjson",
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Reverse proxies that know this header pass events on at once.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// Where to begin: the header wins, because a browser that reconnects repeats the address it began with.
fn read_start(headers: &HeaderMap, parameters: &mut Parameters) -> Result<Start, Problem> {
    let from = parameters.take("from")?;
    let cursor = parameters.take("cursor")?;
    if from.is_some() && cursor.is_some() {
        return Err(Problem::parameter("from", "from and cursor cannot be given together"));
    }
    let last = match headers.get("last-event-id") {
        Some(value) if value.len() > CURSOR_BYTES_MAX => {
            return Err(Problem::parameter("cursor", "Last-Event-ID is too long").with_limit(CURSOR_BYTES_MAX as u64));
        }
        Some(value) => Some(String::from_utf8_lossy(value.as_bytes()).into_owned()),
        None => None,
    };
    if let Some(text) = last.filter(|text| !text.is_empty()).or(cursor) {
        return Ok(Start::After(text.parse::<Place>()?));
    }
    match from.as_deref() {
        None | Some("now") => Ok(Start::Now),
        Some("start") => Ok(Start::Beginning),
        Some(other) => {
            let other: String = other.chars().take(80).collect();
            Err(Problem::parameter("from", format!("from is start or now, not {other:?}")))
        }
    }
}

/// A subscription on its way into a response.
struct Follower {
    subscription: Subscription,
    framing: Framing,
    is_new: bool,
}

impl Follower {
    /// The next bytes to send: one event as it is, or several at once when they wait.
    async fn next_piece(&mut self) -> Option<Bytes> {
        if std::mem::take(&mut self.is_new) {
            return Some(Bytes::from_static(SSE_RETRY));
        }
        let item = ended(self.subscription.next().await)?;
        let first = self.frame(item.encoded());
        let Some(second) = self.waiting() else { return Some(first) };
        let mut piece = BytesMut::with_capacity(first.len().max(STREAM_PIECE_BYTES) + second.len());
        piece.extend_from_slice(&first);
        piece.extend_from_slice(&second);
        while piece.len() < STREAM_PIECE_BYTES {
            let Some(more) = self.waiting() else { break };
            piece.extend_from_slice(&more);
        }
        Some(piece.freeze())
    }

    fn waiting(&mut self) -> Option<Bytes> {
        let item = ended(self.subscription.try_next())?;
        Some(self.frame(item.encoded()))
    }

    fn frame(&self, event: &EncodedEvent) -> Bytes {
        match self.framing {
            Framing::Sse => event.sse(),
            Framing::Lines => event.line(),
        }
    }
}

/// The item, if the stream goes on.
fn ended<T>(item: Result<Option<T>, StreamError>) -> Option<T> {
    item.unwrap_or_else(|error| {
        tracing::error!(%error, "a stream ended because the store could not be read");
        None
    })
}
