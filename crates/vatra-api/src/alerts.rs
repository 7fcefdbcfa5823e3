//! Routes of alerts, the bulk route apart.

use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use vatra_model::draft::{AlertDraft, AlertPatch, ResponseDraft};
use vatra_model::{Position, RecordId};
use vatra_stream::{FILTER_KEYS, StoreId};

use crate::api::{Api, Call, json_response, to_json_response};
use crate::auth::Caller;
use crate::limits::REASON_CHARS_MAX;
use crate::parameters::page_cursor;
use crate::problem::Problem;
use crate::service::{
    Closing, HistoryQuery, IDEMPOTENCY_KEY_BYTES_MAX, ListQuery, NewAlert, Page, Receipt, Service, ViewJson,
    idempotent_nonce,
};

pub(crate) async fn create<S: Service>(mut call: Call<S>) -> Result<Response, Problem> {
    call.no_parameters()?;
    let nonce = call.nonce()?;
    let draft = AlertDraft::from_json(&call.json_body().await?)?;
    let answers = call.service().create_alerts(&call.caller, vec![NewAlert { draft, nonce }]).await;
    let receipt = answers.into_iter().next().ok_or_else(|| Problem::fault("the node gave no answer"))??;
    Ok(created(&receipt, "/api/v1/alerts"))
}

pub(crate) async fn list<S: Service>(call: Call<S>) -> Result<Response, Problem> {
    let query = call.list_query()?;
    let page = call.service().alerts(query).await?;
    Ok(views(call.api.shared.hub.store_id(), &page, ""))
}

pub(crate) async fn read<S: Service>(call: Call<S>) -> Result<Response, Problem> {
    call.no_parameters()?;
    let id = call.record()?;
    let view = call.service().alert(id).await?;
    let view = view.filter(|view| view.summary.tlp <= call.caller.clearance());
    let view = view.ok_or_else(|| Problem::not_found(format!("no alert {id} is held here")))?;
    Ok(json_response(StatusCode::OK, view.json.to_vec()))
}

pub(crate) async fn update<S: Service>(mut call: Call<S>) -> Result<Response, Problem> {
    call.no_parameters()?;
    let id = call.record()?;
    let patch = AlertPatch::from_json(&call.json_body().await?)?;
    let receipt = call.service().update_alert(&call.caller, id, patch).await?;
    Ok(to_json_response(StatusCode::OK, &receipt))
}

pub(crate) async fn respond<S: Service>(mut call: Call<S>) -> Result<Response, Problem> {
    call.no_parameters()?;
    let id = call.record()?;
    let response = ResponseDraft::from_json(&call.json_body().await?)?;
    let receipt = call.service().respond(&call.caller, id, response).await?;
    Ok(to_json_response(StatusCode::OK, &receipt))
}

/// The body of a cancel or resolve, which may be absent.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClosingBody {
    reason: Option<String>,
}

pub(crate) async fn close<S: Service>(mut call: Call<S>, closing: Closing) -> Result<Response, Problem> {
    call.no_parameters()?;
    let id = call.record()?;
    let body = call.optional_json_body().await?;
    let body = if body.is_empty() { ClosingBody::default() } else { read_small(&body)? };
    if let Some(reason) = &body.reason {
        check_reason(reason)?;
    }
    let receipt = call.service().close_alert(&call.caller, id, closing, body.reason).await?;
    Ok(to_json_response(StatusCode::OK, &receipt))
}

pub(crate) async fn history<S: Service>(call: Call<S>) -> Result<Response, Problem> {
    let id = call.record()?;
    let store = call.api.shared.hub.store_id();
    let mut parameters = call.parameters()?;
    let query = HistoryQuery { limit: parameters.take_limit()?, after: parameters.take_page_cursor(store)? };
    parameters.finish(&["limit", "cursor"])?;
    check_readable(&call.api, &call.caller, id).await?;
    let page = call.service().history(id, query).await?;
    let next = page_cursor(store, page.next);
    Ok(to_json_response(StatusCode::OK, &json!({"items": page.items, "next": next, "total": page.total})))
}

pub(crate) async fn reach<S: Service>(call: Call<S>) -> Result<Response, Problem> {
    call.no_parameters()?;
    let id = call.record()?;
    check_readable(&call.api, &call.caller, id).await?;
    Ok(to_json_response(StatusCode::OK, &call.service().reach(id).await?))
}

/// Refuses an alert that the caller may not read as if it were not there.
async fn check_readable<S: Service>(api: &Api<S>, caller: &Caller, id: RecordId) -> Result<(), Problem> {
    let view = api.shared.service.alert(id).await?;
    match view.filter(|view| view.summary.tlp <= caller.clearance()) {
        Some(_) => Ok(()),
        None => Err(Problem::not_found(format!("no alert {id} is held here"))),
    }
}

impl<S: Service> Call<S> {
    /// The query of a list: filter, since, cursor, limit.
    pub(crate) fn list_query(&self) -> Result<ListQuery, Problem> {
        let mut parameters = self.parameters()?;
        let query = ListQuery {
            limit: parameters.take_limit()?,
            before: parameters.take_page_cursor(self.api.shared.hub.store_id())?,
            since: parameters.take_number("since")?.map(Position),
            filter: parameters.take_filter()?,
            clearance: self.caller.clearance(),
        };
        let known: Vec<&str> = ["limit", "cursor", "since"].into_iter().chain(FILTER_KEYS).collect();
        parameters.finish(&known)?;
        Ok(query)
    }

    /// The record's nonce if the caller gave an idempotency key.
    pub(crate) fn nonce(&self) -> Result<Option<[u8; 16]>, Problem> {
        let key = idempotency_key(self.request.headers())?;
        Ok(key.map(|key| idempotent_nonce(&self.caller, key, 0)))
    }
}

/// The caller's idempotency key: visible ASCII, so that it is the same in every log and header.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    const NAME: &str = "Idempotency-Key";
    let mut values = headers.get_all(NAME).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| key.bytes().all(|b| b.is_ascii_graphic()));
    match (key, values.next()) {
        (Some(key), None) if (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) => Ok(Some(key)),
        _ => {
            let detail = format!("one {NAME} of 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters is expected");
            Err(Problem::parameter(NAME, detail).with_limit(IDEMPOTENCY_KEY_BYTES_MAX as u64))
        }
    }
}

/// The answer to a create: 201 when it is new, 200 when it was there.
pub(crate) fn created(receipt: &Receipt, collection: &str) -> Response {
    let status = if receipt.created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = to_json_response(status, receipt);
    let location = format!("{collection}/{}", receipt.id);
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// A page of views; `extra` stands before the items, as `"member":"LT",`.
pub(crate) fn views(store: StoreId, page: &Page<ViewJson>, extra: &str) -> Response {
    let bytes: usize = page.items.iter().map(|view| view.json.len() + 1).sum();
    let mut json = Vec::with_capacity(bytes + extra.len() + 128);
    json.push(b'{');
    json.extend_from_slice(extra.as_bytes());
    json.extend_from_slice(b"\"items\":[");
    for (index, view) in page.items.iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        json.extend_from_slice(&view.json);
    }
    let next = serde_json::Value::from(page_cursor(store, page.next));
    json.extend_from_slice(format!("],\"next\":{next},\"total\":{}}}", page.total).as_bytes());
    json_response(StatusCode::OK, json)
}

/// Reads a small body of the API's own; errors name the field.
pub(crate) fn read_small<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        if !error.is_data() {
            return Problem::bad_request(format!("the body is not JSON: {error}"));
        }
        let message = error.to_string();
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
        // serde quotes the name of an unknown, missing or duplicate field first.
        match message.split('`').nth(1).filter(|_| message.contains(" field `")) {
            Some(field) => Problem::field(field, message),
            None => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The content is not acceptable", message),
        }
    })
}

/// A reason is one line.
pub(crate) fn check_reason(reason: &str) -> Result<(), Problem> {
    let chars = reason.chars().count();
    if reason.trim().is_empty() || chars > REASON_CHARS_MAX || reason.chars().any(char::is_control) {
        let detail = format!("reason is one line of 1 to {REASON_CHARS_MAX} characters, not {chars}");
        return Err(Problem::field("reason", detail).with_limit(REASON_CHARS_MAX as u64));
    }
    Ok(())
}
