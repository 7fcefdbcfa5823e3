//! What is wrong with a node and what to do about it: what `GET /api/v1/doctor` tells.
//!
//! The node finds it; here is only the form in which it is told.

use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use vatra_model::{MemberCode, NodeKey, RecordId, WallMs};

use crate::api::{Call, to_json_response};
use crate::problem::Problem;
use crate::service::Service;
use crate::status::Trouble;

/// A node's state as far as a person must know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// The node's key.
    pub node: NodeKey,
    /// Its name.
    pub name: String,
    /// Its member.
    pub member: MemberCode,
    /// When the node was looked at.
    pub at: WallMs,
    /// Nothing needs a person: there are notes at most.
    pub healthy: bool,
    /// What was found, the gravest first.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// Findings in order of gravity; of the same gravity as they were found.
    #[must_use]
    pub fn new(
        (node, name, member): (NodeKey, String, MemberCode),
        at: WallMs,
        mut findings: Vec<Finding>,
    ) -> Diagnosis {
        findings.sort_by_key(|finding| finding.severity);
        let healthy = findings.iter().all(|finding| finding.severity == Gravity::Note);
        Diagnosis { node, name, member, at, healthy, findings }
    }

    /// What needs a person, as the status tells it.
    #[must_use]
    pub fn troubles(self) -> Vec<Trouble> {
        let grave = self.findings.into_iter().filter(|finding| finding.severity != Gravity::Note);
        grave.map(|Finding { severity, code, what, since, .. }| Trouble { severity, code, what, since }).collect()
    }
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Gravity {
    /// Alerts are not taken, not kept or not passed on, or soon will not be.
    Critical,
    /// A person should act; alerts flow meanwhile.
    Warning,
    /// Worth knowing; nothing to do now.
    Note,
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How grave it is.
    pub severity: Gravity,
    /// Its kind, for programs, such as `member-unreachable`.
    pub code: &'static str,
    /// Whom or what it is about, such as `LT` or a log, if not the node itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What is, in a sentence.
    pub what: String,
    /// What to do, in a sentence.
    pub remedy: String,
    /// Since when, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<WallMs>,
    /// All records that it is about, where the sentence names but some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<RecordId>,
}

pub(crate) async fn diagnose<S: Service>(call: Call<S>) -> Result<Response, Problem> {
    call.no_parameters()?;
    Ok(to_json_response(StatusCode::OK, &call.service().diagnosis().await?))
}
