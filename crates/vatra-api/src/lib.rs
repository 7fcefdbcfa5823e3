//! The local HTTP interface: alerts, contacts, streams, status, metrics.
//!
//! [`Api`] answers requests by asking a [`Service`], which the node implements, and [`serve`] runs it on a
//! listener. Every route stands in [`ROUTES`] with the role it needs; every refusal is a problem document
//! (RFC 9457). Nothing here knows of entries, links or the store.

mod routes;

mod api;
mod auth;
mod server;

mod alerts;
mod bulk;
mod bundles;
mod contacts;
mod doctor;
mod health;
mod links;
mod logs;
mod streams;

mod openapi;

mod members;
mod refusal;
mod service;
mod status;

mod body;
pub mod limits;
mod metrics;
mod parameters;
mod problem;

pub use api::{Api, ApiConfig};
pub use auth::{Caller, Role, Token};
pub use bundles::{
    BundleDownload, BundleIntake, BundleMaker, BundleOrder, BundlePiece, BundleProgress, BundleReason, BundleStage,
    BundleStep, BundleUpload, too_large as bundle_too_large,
};
pub use doctor::{Diagnosis, Finding, Gravity};
pub use logs::{LogEntry, LogHead, LogsQuery};
pub use members::{
    Delivery, ForkStatus, LifeStatus, MemberReach, MemberStatus, NodeReach, NodeStatus, QuarantineStatus, Reach,
    Standing,
};
pub use metrics::ApiMetrics;
pub use problem::Problem;
pub use refusal::{Refusal, RefusalKind};
pub use routes::{Access, Operation, ROUTES, Route};
pub use server::{ServeError, ServerConfig, serve};
pub use service::{
    Closing, CutOrder, CutTarget, HistoryItem, HistoryOp, HistoryQuery, IDEMPOTENCY_KEY_BYTES_MAX, ListQuery, NewAlert,
    NewContact, Page, Readiness, Receipt, Roster, Service, ViewJson,
};
pub use status::{Behind, CutStatus, FrontierStatus, LinkState, LinkStatus, Status, StoreState, StoreStatus, Trouble};
