//! The node as the API sees it: writes go to the driver, reads to snapshots of the store.

mod carrying;
mod doctor;
pub(in crate::node) mod lists;
mod logs;
mod members;
mod reach;
mod reports;

use std::sync::Arc;
use std::sync::PoisonError;

use tokio::sync::{Semaphore, oneshot};
use vatra_api::{
    BundleDownload, BundleIntake, BundleOrder, BundleProgress, BundleUpload, Caller, Closing, CutOrder, CutTarget,
    Diagnosis, HistoryItem, HistoryQuery, ListQuery, LogHead, LogsQuery, NewAlert, NewContact, Page, Reach, Readiness,
    Receipt, Refusal, RefusalKind, Roster, Service, Status, ViewJson,
};
use vatra_mesh::Mesh;
use vatra_model::draft::{AlertPatch, ContactPatch, Patched, ResponseDraft, SetPatch};
use vatra_model::schema::alert_parts::TimelineEntry;
use vatra_model::schema::words::AlertStatus;
use vatra_model::{MemberCode, RecordId, RecordKind};

use crate::config::NodeConfig;
use crate::node::boot::random;
use crate::node::bundles::Bundles;
use crate::node::clock::{Clock, wall};
use crate::node::drill::Drills;
use crate::node::driver::{Item, Shared};
use crate::node::local::{self, LocalCall, LocalError, LocalOp};
use crate::node::mailbox::{Urgency, Weight};
use crate::node::run::Node;

/// Operations of local callers with the driver at a time; further callers wait their turn.
const OPS_WAITING_MAX: usize = 8_192;

/// The node's side of the API.
#[derive(Clone)]
pub(crate) struct NodeService {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    mesh: Mesh,
    drills: Arc<Drills>,
    clock: Clock,
    started: vatra_model::WallMs,
    name: String,
    site: String,
    member: MemberCode,
    peers: Vec<vatra_model::NodeKey>,
    place: doctor::Place,
    room: Semaphore,
    bundles: Arc<Bundles>,
}

impl NodeService {
    pub(crate) fn new(node: &Node, config: &NodeConfig) -> NodeService {
        let inner = Inner {
            shared: node.shared.clone(),
            mesh: node.mesh.clone(),
            drills: node.drills.clone(),
            clock: node.clock,
            started: wall(),
            name: config.name.clone(),
            site: config.site.clone(),
            member: config.member,
            peers: config.peers.iter().map(|peer| peer.certificate.certificate().key).collect(),
            place: doctor::Place::of(config),
            room: Semaphore::new(OPS_WAITING_MAX),
            bundles: Arc::new(Bundles::new(node.shared.clone(), config)),
        };
        NodeService { inner: Arc::new(inner) }
    }

    /// Has operations done, together where possible.
    async fn call(&self, ops: Vec<LocalOp>) -> Vec<Result<Receipt, Refusal>> {
        let count = ops.len();
        let places = u32::try_from(count.clamp(1, OPS_WAITING_MAX)).expect("clamped to a small number");
        let Ok(_room) = self.inner.room.acquire_many(places).await else {
            return vec![Err(stopping()); count];
        };
        let urgency = if ops.iter().any(LocalOp::is_urgent) { Urgency::Urgent } else { Urgency::Local };
        // A bulk group that happens to hold urgent alerts must not overtake single ones.
        let urgency = if count > 1 { Urgency::Local } else { urgency };
        let (reply, answer) = oneshot::channel();
        let item = Item::Local(LocalCall { ops, reply });
        // The number of waiting operations is bounded above, and so is the size of each.
        let weight = Weight { changes: count, ..Weight::SMALL };
        if self.inner.shared.mailbox.try_post(urgency, weight, item).is_err() {
            let busy = Refusal::new(RefusalKind::Busy, "the node has too much to do").with_remedy("try again soon");
            return vec![Err(busy); count];
        }
        match answer.await {
            Ok(results) => results.into_iter().map(|result| result.map(receipt).map_err(refusal)).collect(),
            Err(_) => vec![Err(stopping()); count],
        }
    }

    async fn call_one(&self, op: LocalOp) -> Result<Receipt, Refusal> {
        self.call(vec![op]).await.pop().unwrap_or_else(|| Err(stopping()))
    }

    /// Reads the store off the runtime's threads.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T, Refusal> {
        let inner = self.inner.clone();
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                tracing::error!(error = format!("{error:#}"), "a read failed");
                Err(Refusal::new(RefusalKind::Fault, format!("the store could not be read: {error:#}"))
                    .with_remedy("stop the node and run `vatra fsck`"))
            }
            Err(_) => Err(stopping()),
        }
    }

    async fn view(&self, id: RecordId, kind: RecordKind) -> Result<Option<ViewJson>, Refusal> {
        self.read(move |inner| {
            let snapshot = inner.shared.views.reader.snapshot()?;
            let view = inner.shared.views.shown(&snapshot, id)?.filter(|view| view.kind() == kind);
            Ok(view.map(|view| ViewJson { summary: view.summary(), json: view.canonical_bytes().into() }))
        })
        .await
    }
}

impl Service for NodeService {
    async fn create_alerts(&self, _caller: &Caller, alerts: Vec<NewAlert>) -> Vec<Result<Receipt, Refusal>> {
        let mut answers: Vec<Option<Result<Receipt, Refusal>>> = vec![None; alerts.len()];
        let mut ops = Vec::with_capacity(alerts.len());
        let mut places = Vec::with_capacity(alerts.len());
        for (place, alert) in alerts.into_iter().enumerate() {
            match create_op(self.inner.member, alert) {
                Ok(op) => {
                    ops.push(op);
                    places.push(place);
                }
                Err(refused) => answers[place] = Some(Err(refused)),
            }
        }
        for (place, answer) in places.into_iter().zip(self.call(ops).await) {
            answers[place] = Some(answer);
        }
        answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(stopping()))).collect()
    }

    async fn update_alert(&self, _caller: &Caller, id: RecordId, patch: AlertPatch) -> Result<Receipt, Refusal> {
        self.call_one(LocalOp::PatchAlert { record: id, patch: Box::new(patch) }).await
    }

    async fn respond(&self, _caller: &Caller, id: RecordId, response: ResponseDraft) -> Result<Receipt, Refusal> {
        self.call_one(LocalOp::Respond { record: id, draft: Box::new(response) }).await
    }

    async fn close_alert(
        &self,
        caller: &Caller,
        id: RecordId,
        closing: Closing,
        reason: Option<String>,
    ) -> Result<Receipt, Refusal> {
        let status = match closing {
            Closing::Cancel => AlertStatus::Cancelled,
            Closing::Resolve => AlertStatus::Resolved,
        };
        let mut patch = AlertPatch { status: Patched::To(status), ..AlertPatch::default() };
        if let Some(text) = reason {
            let entry = TimelineEntry { at: wall(), author: Some(caller.name().to_owned()), text };
            patch.timeline = SetPatch::Change { add: vec![entry], remove: Vec::new() };
        }
        patch.check()?;
        self.call_one(LocalOp::PatchAlert { record: id, patch: Box::new(patch) }).await
    }

    async fn create_contact(&self, _caller: &Caller, contact: NewContact) -> Result<Receipt, Refusal> {
        let class = contact.draft.class();
        let nonce = nonce(contact.nonce)?;
        let create = contact.draft.into_create(self.inner.member, nonce)?;
        self.call_one(LocalOp::Create { create: Box::new(create), class }).await
    }

    async fn update_contact(&self, _caller: &Caller, id: RecordId, patch: ContactPatch) -> Result<Receipt, Refusal> {
        self.call_one(LocalOp::PatchContact { record: id, patch: Box::new(patch) }).await
    }

    async fn remove_contact(&self, _caller: &Caller, id: RecordId) -> Result<Receipt, Refusal> {
        let patch = Box::new(ContactPatch::left());
        self.call_one(LocalOp::PatchContact { record: id, patch }).await
    }

    async fn alert(&self, id: RecordId) -> Result<Option<ViewJson>, Refusal> {
        self.view(id, RecordKind::Alert).await
    }

    async fn contact(&self, id: RecordId) -> Result<Option<ViewJson>, Refusal> {
        self.view(id, RecordKind::Contact).await
    }

    async fn alerts(&self, query: ListQuery) -> Result<Page<ViewJson>, Refusal> {
        self.read(move |inner| lists::records(inner, RecordKind::Alert, &query)).await
    }

    async fn contacts(&self, query: ListQuery) -> Result<Page<ViewJson>, Refusal> {
        self.read(move |inner| lists::records(inner, RecordKind::Contact, &query)).await
    }

    async fn roster(&self, member: MemberCode, query: ListQuery) -> Result<Roster, Refusal> {
        let trust = self.inner.shared.trust.read().unwrap_or_else(PoisonError::into_inner).clone();
        if trust.charter().current().member(member).is_none() {
            return Err(Refusal::new(RefusalKind::NotFound, format!("{member} is not a member of this federation")));
        }
        let heard_at = self.heard_of(member).await?;
        let page = self.read(move |inner| lists::records(inner, RecordKind::Contact, &query)).await?;
        Ok(Roster { page, heard_at })
    }

    async fn history(&self, id: RecordId, query: HistoryQuery) -> Result<Page<HistoryItem>, Refusal> {
        let page = self.read(move |inner| lists::history(inner, id, query)).await?;
        page.ok_or_else(|| Refusal::new(RefusalKind::NotFound, format!("record {id} is not known here")))
    }

    async fn reach(&self, id: RecordId) -> Result<Reach, Refusal> {
        self.reach_of(id).await
    }

    async fn status(&self) -> Result<Status, Refusal> {
        self.report().await
    }

    async fn diagnosis(&self) -> Result<Diagnosis, Refusal> {
        self.diagnose().await
    }

    async fn logs(&self, query: LogsQuery) -> Result<Vec<LogHead>, Refusal> {
        self.log_heads(query).await
    }

    async fn readiness(&self) -> Readiness {
        match self.report().await {
            Ok(status) => {
                let behind_seconds = status.behind.values().map(|behind| behind.seconds).max().unwrap_or(0);
                Readiness { is_serving: true, behind_seconds }
            }
            Err(_) => Readiness { is_serving: false, behind_seconds: 0 },
        }
    }

    async fn cut_links(&self, caller: &Caller, order: CutOrder) -> Result<(), Refusal> {
        let members = match order.target {
            CutTarget::All => Vec::new(),
            CutTarget::Members(members) => members,
        };
        let trust = self.inner.shared.trust.read().unwrap_or_else(PoisonError::into_inner).clone();
        for member in &members {
            let known = trust.charter().current().member(*member).is_some();
            if !known || *member == self.inner.member {
                let what = if known { "is this node's own member" } else { "is not a member of this federation" };
                return Err(Refusal::new(RefusalKind::Invalid, format!("{member} {what}")).with_field("members"));
            }
        }
        let by = caller.name().to_owned();
        self.inner.drills.cut(members.into_iter().collect(), order.seconds, order.reason, by);
        Ok(())
    }

    async fn heal_links(&self, _caller: &Caller) -> Result<usize, Refusal> {
        Ok(usize::from(self.inner.drills.heal()))
    }

    async fn export_bundle(&self, _caller: &Caller, order: BundleOrder) -> Result<BundleDownload, Refusal> {
        self.start_export(order).await
    }

    async fn import_bundle(
        &self,
        _caller: &Caller,
        upload: BundleUpload,
        progress: BundleProgress,
    ) -> Result<BundleIntake, Refusal> {
        self.take_in(upload, progress).await
    }

    async fn frontier_file(&self, _caller: &Caller) -> Result<Vec<u8>, Refusal> {
        self.carrying(|bundles| bundles.receipt(None)).await
    }
}

fn create_op(member: MemberCode, alert: NewAlert) -> Result<LocalOp, Refusal> {
    let class = alert.draft.class();
    let create = alert.draft.into_create(member, nonce(alert.nonce)?)?;
    Ok(LocalOp::Create { create: Box::new(create), class })
}

fn nonce(given: Option<[u8; 16]>) -> Result<[u8; 16], Refusal> {
    match given {
        Some(nonce) => Ok(nonce),
        None => random().map_err(|error| Refusal::new(RefusalKind::Fault, error.to_string())),
    }
}

fn receipt(receipt: local::Receipt) -> Receipt {
    Receipt {
        id: receipt.record,
        position: receipt.position,
        log: receipt.log,
        seq: receipt.seq,
        created: receipt.created,
    }
}

fn refusal(error: LocalError) -> Refusal {
    let kind = match &error {
        LocalError::Invalid(draft) => return Refusal::from(draft.clone()),
        LocalError::Unknown(_) => RefusalKind::NotFound,
        LocalError::NotWriter { .. } | LocalError::Observer(_) | LocalError::NotAdmitted(_) => RefusalKind::NotOwner,
        LocalError::Ended(_) | LocalError::NoEffect => RefusalKind::Conflict,
        LocalError::StoreFull => RefusalKind::StoreFull,
        LocalError::StoreReadOnly(_) => RefusalKind::Unavailable,
        LocalError::Unreadable(_) => RefusalKind::Fault,
    };
    let refusal = Refusal::new(kind, error.to_string());
    match error {
        LocalError::NotAdmitted(error) => refusal.with_remedy(error.remedy()),
        LocalError::StoreFull => refusal.with_remedy("free space on the store's disk; the node resumes by itself"),
        LocalError::StoreReadOnly(_) => refusal.with_remedy("look at the node's log and its disk"),
        _ => refusal,
    }
}

pub(crate) fn stopping() -> Refusal {
    Refusal::new(RefusalKind::Unavailable, "the node is stopping").with_remedy("try again when it is back")
}
