//! Routes that tell about the node itself.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use crate::api::{Call, json_response, to_json_response};
use crate::problem::Problem;
use crate::service::Service;

/// Media type of what prometheus-client writes.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(crate) async fn status<S: Service>(call: Call<S>) -> Result<Response, Problem> {
    call.no_parameters()?;
    let status = call.service().status().await?;
    let Ok(Value::Object(mut status)) = serde_json::to_value(&status) else {
        return Err(Problem::fault("the status is no object"));
    };
    let streams = call.api.shared.hub.stats();
    status.insert(
        "streams".to_owned(),
        json!({"subscribers": streams.subscribers, "lagged": streams.lagged_count, "refused": streams.refused_count}),
    );
    Ok(to_json_response(StatusCode::OK, &status))
}

pub(crate) fn openapi<S: Service>(call: &Call<S>) -> Result<Response, Problem> {
    call.no_parameters()?;
    Ok(json_response(StatusCode::OK, call.api.shared.openapi.clone()))
}

pub(crate) fn metrics<S: Service>(call: &Call<S>) -> Result<Response, Problem> {
    call.no_parameters()?;
    let shared = &call.api.shared;
    shared.metrics.take_streams(shared.hub.stats());
    let mut text = String::with_capacity(64 * 1024);
    prometheus_client::encoding::text::encode(&mut text, &shared.registry)
        .map_err(|_| Problem::fault("the metrics cannot be written"))?;
    Ok(plain(METRICS_TYPE, text))
}

pub(crate) fn live<S: Service>(call: &Call<S>) -> Result<Response, Problem> {
    call.no_parameters()?;
    Ok(plain("text/plain", "live\n".to_owned()))
}

pub(crate) async fn ready<S: Service>(call: Call<S>) -> Result<Response, Problem> {
    let mut parameters = call.parameters()?;
    let lag_max = parameters.take_number("max_lag")?;
    parameters.finish(&["max_lag"])?;
    let readiness = call.service().readiness().await;
    let behind = readiness.behind_seconds;
    if !readiness.is_serving {
        return Err(not_ready("the node does not serve".to_owned()));
    }
    match lag_max {
        Some(max) if behind > max => Err(not_ready(format!("behind by {behind} s, {max} s are allowed"))),
        _ => Ok(plain("text/plain", "ready\n".to_owned())),
    }
}

fn not_ready(detail: String) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", "Not ready", detail).with_retry_after(1)
}

fn plain(content_type: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
