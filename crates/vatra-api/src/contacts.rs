//! Routes of contacts and rosters.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use vatra_model::draft::{ContactDraft, ContactPatch};

use crate::alerts::{created, views};
use crate::api::{Call, json_response, to_json_response};
use crate::problem::Problem;
use crate::service::{ListQuery, NewContact, Service};

pub(crate) async fn list<S: Service>(call: Call<S>) -> Result<Response, Problem> {
    let query = call.contact_query()?;
    let page = call.service().contacts(query).await?;
    Ok(views(call.api.shared.hub.store_id(), &page, ""))
}

pub(crate) async fn create<S: Service>(mut call: Call<S>) -> Result<Response, Problem> {
    call.no_parameters()?;
    let nonce = call.nonce()?;
    let draft = ContactDraft::from_json(&call.json_body().await?)?;
    let receipt = call.service().create_contact(&call.caller, NewContact { draft, nonce }).await?;
    Ok(created(&receipt, "/api/v1/contacts"))
}

pub(crate) async fn read<S: Service>(call: Call<S>) -> Result<Response, Problem> {
    call.no_parameters()?;
    let id = call.record()?;
    let view = call.service().contact(id).await?;
    let view = view.filter(|view| view.summary.tlp <= call.caller.clearance());
    let view = view.ok_or_else(|| Problem::not_found(format!("no contact {id} is held here")))?;
    Ok(json_response(StatusCode::OK, view.json.to_vec()))
}

pub(crate) async fn update<S: Service>(mut call: Call<S>) -> Result<Response, Problem> {
    call.no_parameters()?;
    let id = call.record()?;
    let patch = ContactPatch::from_json(&call.json_body().await?)?;
    let receipt = call.service().update_contact(&call.caller, id, patch).await?;
    Ok(to_json_response(StatusCode::OK, &receipt))
}

pub(crate) async fn remove<S: Service>(call: Call<S>) -> Result<Response, Problem> {
    call.no_parameters()?;
    let id = call.record()?;
    let receipt = call.service().remove_contact(&call.caller, id).await?;
    Ok(to_json_response(StatusCode::OK, &receipt))
}

pub(crate) async fn roster<S: Service>(call: Call<S>) -> Result<Response, Problem> {
    let member = call.member()?;
    let mut query = call.contact_query()?;
    query.filter.add("owner", member.as_str())?;
    let roster = call.service().roster(member, query).await?;
    let heard_at = json!(roster.heard_at);
    let extra = format!("\"member\":\"{member}\",\"heard_at\":{heard_at},");
    Ok(views(call.api.shared.hub.store_id(), &roster.page, &extra))
}

impl<S: Service> Call<S> {
    /// As for any list; contacts that have left are shown only when a status is asked for.
    fn contact_query(&self) -> Result<ListQuery, Problem> {
        let mut query = self.list_query()?;
        if !query.filter.has("status") {
            query.filter.add("status", "active")?;
        }
        Ok(query)
    }
}
