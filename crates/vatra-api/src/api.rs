//! The API as a whole: what it is made of, its router, and the gate that every request passes.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use bytes::Bytes;
use futures::FutureExt;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use vatra_model::schema::words::Tlp;
use vatra_stream::Hub;

use crate::auth::{Caller, Doorman, Rate, Role, Token};
use crate::metrics::ApiMetrics;
use crate::problem::Problem;
use crate::routes::{Access, Operation, Pace, ROUTES, Route};
use crate::service::Service;
use crate::{alerts, bulk, bundles, contacts, doctor, health, links, logs, openapi, streams};

/// What may be set about the API.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Who may call. Nobody may call a route that needs a role while this is empty.
    pub tokens: Vec<Token>,
    /// Origins of web pages that may call, such as `https://console.example`. Requests without `Origin` are not
    /// from web pages; those with another one are refused.
    pub origins: Vec<String>,
    /// Longest time for a request that is no stream. Too low refuses writes while the disk is busy.
    pub request_timeout: Duration,
    /// Longest silence of a caller in the middle of a body.
    pub body_timeout: Duration,
    /// Most requests at a time that are no streams; more get 503.
    pub requests_max: usize,
    /// Most bulk requests at a time; more get 503.
    pub bulk_max: usize,
    /// Most bundles that are written or read at a time; more get 503.
    pub bundles_max: usize,
    /// Largest bundle that is taken, in bytes.
    pub bundle_bytes_max: u64,
    /// Requests per second of one token; more get 429.
    pub token_requests_per_second: u32,
    /// Requests that one token may make at once.
    pub token_requests_burst: u32,
}

impl Default for ApiConfig {
    fn default() -> ApiConfig {
        ApiConfig {
            tokens: Vec::new(),
            origins: Vec::new(),
            request_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            requests_max: 1024,
            bulk_max: 16,
            bundles_max: 4,
            bundle_bytes_max: 256 << 20,
            token_requests_per_second: 20_000,
            token_requests_burst: 40_000,
        }
    }
}

/// The local HTTP interface of one node. Clones are the same.
pub struct Api<S> {
    pub(crate) shared: Arc<Shared<S>>,
}

impl<S> Clone for Api<S> {
    fn clone(&self) -> Api<S> {
        Api { shared: Arc::clone(&self.shared) }
    }
}

pub(crate) struct Shared<S> {
    pub(crate) service: S,
    pub(crate) hub: Hub,
    pub(crate) config: ApiConfig,
    pub(crate) metrics: ApiMetrics,
    pub(crate) registry: Arc<Registry>,
    pub(crate) openapi: Bytes,
    pub(crate) bulk_places: Arc<Semaphore>,
    pub(crate) bundle_places: Arc<Semaphore>,
    doorman: Doorman,
    places: Semaphore,
}

/// One admitted request.
pub(crate) struct Call<S> {
    pub(crate) api: Api<S>,
    pub(crate) caller: Caller,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) request: Request,
}

impl<S: Service> Api<S> {
    /// An API over a node. `metrics` are those that were registered in `registry`, beside the node's own.
    #[must_use]
    pub fn new(service: S, hub: Hub, config: ApiConfig, metrics: ApiMetrics, registry: Arc<Registry>) -> Api<S> {
        let rate = Rate { per_second: config.token_requests_per_second, burst: config.token_requests_burst.max(1) };
        Api {
            shared: Arc::new(Shared {
                service,
                hub,
                doorman: Doorman::new(config.tokens.clone(), rate),
                places: Semaphore::new(config.requests_max),
                bulk_places: Arc::new(Semaphore::new(config.bulk_max)),
                bundle_places: Arc::new(Semaphore::new(config.bundles_max)),
                metrics,
                registry,
                openapi: openapi::document().to_string().into(),
                config,
            }),
        }
    }

    /// The router: every route of the table, and problems for all else.
    pub(crate) fn router(&self) -> Router {
        let mut paths: BTreeMap<&str, MethodRouter<Api<S>>> = BTreeMap::new();
        for (index, route) in ROUTES.iter().enumerate() {
            let filter = MethodFilter::try_from(route.method.clone()).expect("the table has ordinary methods");
            let handler =
                move |State(api): State<Api<S>>,
                      params: Result<RawPathParams, RawPathParamsRejection>,
                      request: Request| async move { api.answer(index, params, request).await };
            let methods = paths.remove(route.path).unwrap_or_default();
            paths.insert(route.path, methods.merge(on(filter, handler)));
        }
        let mut router = Router::new();
        for (path, methods) in paths {
            let allowed = allowed_methods(path);
            router = router.route(path, methods.fallback(async move || Problem::method_not_allowed(&allowed)));
        }
        router.fallback(no_such_route).with_state(self.clone())
    }

    /// Answers a request to a route, whatever happens.
    async fn answer(
        self,
        index: usize,
        params: Result<RawPathParams, RawPathParamsRejection>,
        request: Request,
    ) -> Response {
        let route = &ROUTES[index];
        let started = Instant::now();
        let shared = Arc::clone(&self.shared);
        let outcome = AssertUnwindSafe(self.admit(route, params, request)).catch_unwind().await;
        let response = match outcome {
            Ok(Ok(response)) => response,
            Ok(Err(problem)) => {
                if problem.status().is_server_error() {
                    tracing::warn!(route = route.path, method = %route.method, %problem, "request failed");
                }
                problem.into_response()
            }
            Err(_panic) => {
                // The panic hook has logged what and where.
                shared.metrics.panics.inc();
                Problem::fault("the request met a fault of this program").into_response()
            }
        };
        shared.metrics.observe(index, response.status(), started.elapsed());
        response
    }

    async fn admit(
        self,
        route: &'static Route,
        params: Result<RawPathParams, RawPathParamsRejection>,
        request: Request,
    ) -> Result<Response, Problem> {
        let shared = Arc::clone(&self.shared);
        check_origin(request.headers(), &shared.config.origins)?;
        let caller = match route.access {
            Access::Open => Caller::new("", Role::Subscriber, Tlp::Clear),
            Access::Role(role) => shared.doorman.admit(request.headers(), role).inspect_err(|_| {
                shared.metrics.refused_callers.inc();
            })?,
        };
        let params = params.map_err(|_| Problem::bad_request("the path is not UTF-8"))?;
        let params = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let call = Call { api: self, caller, params, request };
        if route.operation.pace() == Pace::Streaming {
            return call.dispatch(route.operation).await;
        }
        let Ok(_place) = shared.places.try_acquire() else {
            let max = shared.config.requests_max;
            return Err(Problem::busy(format!("{max} requests are under way")).with_limit(max as u64));
        };
        match tokio::time::timeout(shared.config.request_timeout, call.dispatch(route.operation)).await {
            Ok(answer) => answer,
            Err(_late) => {
                let seconds = shared.config.request_timeout.as_secs();
                let detail =
                    format!("the node did not finish within {seconds} s; whether a write was taken is unknown");
                Err(Problem::busy(detail).with_remedy("repeat with the same Idempotency-Key"))
            }
        }
    }
}

impl<S: Service> Call<S> {
    async fn dispatch(self, operation: Operation) -> Result<Response, Problem> {
        match operation {
            Operation::CreateAlert => alerts::create(self).await,
            Operation::CreateAlerts => bulk::create(self),
            Operation::ListAlerts => alerts::list(self).await,
            Operation::ReadAlert => alerts::read(self).await,
            Operation::UpdateAlert => alerts::update(self).await,
            Operation::RespondToAlert => alerts::respond(self).await,
            Operation::CancelAlert => alerts::close(self, crate::Closing::Cancel).await,
            Operation::ResolveAlert => alerts::close(self, crate::Closing::Resolve).await,
            Operation::ReadAlertHistory => alerts::history(self).await,
            Operation::ReadAlertReach => alerts::reach(self).await,
            Operation::ListContacts => contacts::list(self).await,
            Operation::CreateContact => contacts::create(self).await,
            Operation::ReadContact => contacts::read(self).await,
            Operation::UpdateContact => contacts::update(self).await,
            Operation::RemoveContact => contacts::remove(self).await,
            Operation::ReadRoster => contacts::roster(self).await,
            Operation::FollowStream => streams::follow(&self, streams::Framing::Sse),
            Operation::FollowStreamLines => streams::follow(&self, streams::Framing::Lines),
            Operation::ReadStatus => health::status(self).await,
            Operation::Diagnose => doctor::diagnose(self).await,
            Operation::ListLogs => logs::list(self).await,
            Operation::CutLinks => links::cut(self).await,
            Operation::HealLinks => links::heal(self).await,
            Operation::ExportBundle => bundles::export(self).await,
            Operation::ImportBundle => bundles::import(self).await,
            Operation::ReadFrontier => bundles::frontier(self).await,
            Operation::ReadOpenapi => health::openapi(&self),
            Operation::ReadMetrics => health::metrics(&self),
            Operation::Live => health::live(&self),
            Operation::Ready => health::ready(self).await,
        }
    }

    /// The node.
    pub(crate) fn service(&self) -> &S {
        &self.api.shared.service
    }

    /// A parameter of the path.
    pub(crate) fn path_parameter(&self, name: &str) -> &str {
        // The router matched the table's path, so its parameters are there.
        self.params.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// A JSON answer from bytes that are JSON.
pub(crate) fn json_response(status: StatusCode, json: impl Into<Body>) -> Response {
    let mut response = Response::new(json.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(axum::http::header::CONTENT_TYPE, axum::http::HeaderValue::from_static("application/json"));
    headers.insert(axum::http::header::CACHE_CONTROL, axum::http::HeaderValue::from_static("no-store"));
    response
}

/// A JSON answer from a value with text keys.
pub(crate) fn to_json_response(status: StatusCode, value: &impl serde::Serialize) -> Response {
    let json = serde_json::to_vec(value).expect("answers have text keys and memory does not fail");
    json_response(status, json)
}

fn allowed_methods(path: &str) -> String {
    let methods: Vec<&str> = ROUTES.iter().filter(|route| route.path == path).map(|r| r.method.as_str()).collect();
    methods.join(", ")
}

async fn no_such_route(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(120).collect();
    Problem::not_found(format!("there is no {path}")).with_remedy("see /api/v1/openapi.json")
}

/// Refuses requests that a web page of another origin makes in its reader's name.
fn check_origin(headers: &HeaderMap, allowed: &[String]) -> Result<(), Problem> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let text = origin.to_str().unwrap_or_default();
    if allowed.iter().any(|allowed| allowed == text) || is_own_origin(text, headers) {
        return Ok(());
    }
    Err(Problem::forbidden("web pages of another origin may not call this API").with_field("Origin"))
}

/// Whether the origin is this API under an address or as `localhost`. Another name is not trusted even when it is
/// the host's: a page can make its own name resolve to this machine (DNS rebinding).
fn is_own_origin(origin: &str, headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return false };
    let Some(authority) = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) else {
        return false;
    };
    let Ok(uri) = format!("http://{authority}").parse::<Uri>() else { return false };
    let name = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    authority == host && (name == "localhost" || name.parse::<std::net::IpAddr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_origin_may_call() {
        let check = |origin: &str, host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ORIGIN, origin.parse().unwrap());
            headers.insert(HOST, host.parse().unwrap());
            check_origin(&headers, &["https://console.example".to_owned()]).is_ok()
        };
        assert!(check("http://127.0.0.1:4101", "127.0.0.1:4101"));
        assert!(check("http://[::1]:4101", "[::1]:4101"));
        assert!(check("http://localhost:4101", "localhost:4101"));
        assert!(check("https://console.example", "127.0.0.1:4101"));
        for (origin, host) in [
            ("http://evil.example", "127.0.0.1:4101"),
            ("http://evil.example:4101", "evil.example:4101"),
            ("http://127.0.0.1:1", "127.0.0.1:4101"),
            ("null", "127.0.0.1:4101"),
            ("", ""),
        ] {
            assert!(!check(origin, host), "{origin} at {host}");
        }
        assert!(check_origin(&HeaderMap::new(), &[]).is_ok());
    }
}
