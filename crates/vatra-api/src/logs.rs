//! How far this node holds the logs: what `GET /api/v1/logs` tells, and what a revocation is drafted from.

use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use vatra_model::{EntryHash, Incarnation, LogId, MemberCode, NodeKey, Seq};

use crate::api::{Call, to_json_response};
use crate::problem::Problem;
use crate::service::Service;
use crate::status::incarnation_hex;

/// Which logs are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogsQuery {
    /// Those of this node alone.
    pub node: Option<NodeKey>,
    /// This log alone, and its entry in this place instead of its last one.
    pub entry: Option<(LogId, Seq)>,
}

/// A log as far as this node holds it without a gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogHead {
    /// The log.
    pub log: LogId,
    /// The key of the node whose log it is.
    pub node: NodeKey,
    /// Its name.
    pub name: String,
    /// Its member.
    pub member: MemberCode,
    /// The life of its store in which it wrote the log.
    #[serde(serialize_with = "incarnation_hex")]
    pub incarnation: Incarnation,
    /// Contiguous entries held; where the log is forked or ended, those before that place.
    pub entries: u64,
    /// The last of them, or the one that was asked for; none of a log without entries.
    pub last: Option<LogEntry>,
    /// The place from which a revocation has ended the log.
    pub ended: Option<u64>,
}

/// An entry by place and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LogEntry {
    /// Its place in its log, from 0.
    pub seq: Seq,
    /// Its hash.
    pub hash: EntryHash,
}

#[derive(Serialize)]
struct Answer {
    logs: Vec<LogHead>,
}

pub(crate) async fn list<S: Service>(call: Call<S>) -> Result<Response, Problem> {
    let mut parameters = call.parameters()?;
    let node = parameters.take_id::<NodeKey>("node")?;
    let log = parameters.take_id::<LogId>("log")?;
    let seq = parameters.take_number("seq")?;
    parameters.finish(&["node", "log", "seq"])?;
    let entry = match (log, seq) {
        (Some(log), Some(seq)) => Some((log, Seq(seq))),
        (None, None) => None,
        (Some(_), None) => return Err(Problem::parameter("seq", "log needs seq: the place of an entry of it")),
        (None, Some(_)) => return Err(Problem::parameter("log", "seq needs log: the log of the entry")),
    };
    let logs = call.service().logs(LogsQuery { node, entry }).await?;
    Ok(to_json_response(StatusCode::OK, &Answer { logs }))
}
