//! A node in memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use vatra_api::*;
use vatra_model::draft::{AlertPatch, ContactPatch, ResponseDraft};
use vatra_model::schema::words::Tlp;
use vatra_model::view::{Digest, Summary, View};
use vatra_model::{ChangeId, EntryHash, Incarnation, LogId, MemberCode, NodeKey, Position, RecordId, Seq, WallMs};
use vatra_store::ReadError;
use vatra_stream::{EventBatch, EventSource, EventType, Origin, StoreId, StoredEvent};

const BEHIND: Behind = Behind { entries: 4, seconds: 2, eta_seconds: None };

pub(crate) const STORE: StoreId = StoreId([7; 16]);

pub(crate) fn member(code: &str) -> MemberCode {
    code.parse().unwrap()
}

pub(crate) fn origin() -> Origin {
    Origin { member: member("UA"), node: NodeKey([1; 32]) }
}

struct Record {
    created: Position,
    json: Value,
}

#[derive(Default)]
struct State {
    records: HashMap<RecordId, Record>,
    order: Vec<RecordId>,
    events: Vec<StoredEvent>,
    names: HashMap<String, RecordId>,
    /// Sizes of the groups in which alerts came.
    groups: Vec<usize>,
    cuts: Vec<CutOrder>,
}

/// The node.
pub(crate) struct Memory {
    state: Mutex<State>,
    durable: watch::Sender<Position>,
    next_id: AtomicUsize,
    /// Bytes that every view is made longer by.
    pub(crate) padding: AtomicUsize,
}

impl Memory {
    pub(crate) fn new() -> Arc<Memory> {
        Arc::new(Memory {
            state: Mutex::default(),
            durable: watch::Sender::new(Position(0)),
            next_id: AtomicUsize::new(1),
            padding: AtomicUsize::new(0),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn groups(&self) -> Vec<usize> {
        self.state().groups.clone()
    }

    pub(crate) fn alert_count(&self) -> usize {
        self.state().records.values().filter(|record| record.json["record"] == "alert").count()
    }

    pub(crate) fn cuts(&self) -> Vec<CutOrder> {
        self.state().cuts.clone()
    }

    /// Adds a record, or finds the one of the same name.
    fn create(&self, name: Option<String>, fields: Value, event_type: EventType) -> Receipt {
        let mut state = self.state();
        if let Some(id) = name.as_ref().and_then(|name| state.names.get(name)) {
            let position = state.records[id].created;
            return Receipt { id: *id, position, log: LogId([9; 16]), seq: Seq(position.0), created: false };
        }
        let number = self.next_id.fetch_add(1, Ordering::Relaxed) as u128;
        let id = RecordId(number.to_be_bytes());
        state.names.extend(name.map(|name| (name, id)));
        let mut view = json!({
            "id": id, "code": "AAAA-AAAA", "owner": "UA", "writers": ["UA"], "status": "active",
            "cancel_disputed": false, "class": "routine", "issued_at": WallMs(1), "version": [],
            "modified_at": "2026-11-24T02:30:00.000000Z", "newer_than_node": false,
        });
        for (key, value) in fields.as_object().unwrap().iter().filter(|(_, value)| !value.is_null()) {
            view[key] = value.clone();
        }
        let position = Position(state.events.len() as u64 + 1);
        state.records.insert(id, Record { created: position, json: view });
        state.order.push(id);
        self.tell(&mut state, id, event_type);
        Receipt { id, position, log: LogId([9; 16]), seq: Seq(position.0), created: true }
    }

    fn edit(&self, id: RecordId, fields: Value, event_type: EventType) -> Result<Receipt, Refusal> {
        let mut state = self.state();
        let Some(record) = state.records.get_mut(&id) else {
            return Err(Refusal::new(RefusalKind::NotFound, format!("no record {id} is held here")));
        };
        for (key, value) in fields.as_object().unwrap() {
            record.json[key] = value.clone();
        }
        let position = self.tell(&mut state, id, event_type);
        Ok(Receipt { id, position, log: LogId([9; 16]), seq: Seq(position.0), created: false })
    }

    fn tell(&self, state: &mut State, id: RecordId, event_type: EventType) -> Position {
        let position = Position(state.events.len() as u64 + 1);
        let ViewJson { summary, json } = self.view(&state.records[&id]);
        let padding = self.padding.load(Ordering::Relaxed);
        let view = match padding {
            0 => json,
            padding => {
                let mut value: Value = serde_json::from_slice(&json).unwrap();
                value["body"] = "x".repeat(padding).into();
                value.to_string().into_bytes().into()
            }
        };
        state.events.push(StoredEvent {
            position,
            event_type,
            record: id,
            change: ChangeId(u128::from(position.0).to_be_bytes()),
            origin: origin(),
            made_at: WallMs(1),
            received_at: WallMs(2),
            summary,
            view,
        });
        self.durable.send_replace(position);
        position
    }

    fn view(&self, record: &Record) -> ViewJson {
        let view: View = serde_json::from_value(record.json.clone()).unwrap();
        ViewJson { summary: Summary::of(&view), json: view.canonical_bytes().into() }
    }

    fn one(&self, id: RecordId, kind: &str) -> Option<ViewJson> {
        let state = self.state();
        state.records.get(&id).filter(|record| record.json["record"] == kind).map(|record| self.view(record))
    }

    fn list(&self, query: &ListQuery, kind: &str) -> Page<ViewJson> {
        let state = self.state();
        let all = state.order.iter().rev().map(|id| &state.records[id]);
        let all = all.filter(|record| record.json["record"] == kind);
        let matching: Vec<(Position, ViewJson)> = all
            .map(|record| (record.created, self.view(record)))
            .filter(|(_, view)| query.filter.matches(&view.summary, &view.json))
            .filter(|(_, view)| view.summary.tlp <= query.clearance)
            .filter(|(created, _)| query.since.is_none_or(|since| *created > since))
            .collect();
        let total = matching.len() as u64;
        let mut rest = matching.into_iter().filter(|(created, _)| query.before.is_none_or(|before| *created < before));
        let items: Vec<_> = rest.by_ref().take(query.limit).collect();
        let next = rest.next().and(items.last().map(|(created, _)| *created));
        Page { items: items.into_iter().map(|(_, view)| view).collect(), next, total }
    }
}

impl EventSource for Memory {
    fn store_id(&self) -> StoreId {
        STORE
    }

    fn pruned_to(&self) -> Position {
        Position(0)
    }

    fn events_after(&self, after: Position, limit: usize) -> Result<EventBatch, ReadError> {
        let state = self.state();
        let from = usize::try_from(after.0).unwrap();
        let events: Vec<_> = state.events.iter().skip(from).take(limit).cloned().collect();
        let end = events.last().map_or(after, |event| event.position);
        Ok(EventBatch { events, end })
    }

    fn durable(&self) -> watch::Receiver<Position> {
        self.durable.subscribe()
    }
}

/// The handle that the API gets.
#[derive(Clone)]
pub(crate) struct Node(pub(crate) Arc<Memory>);

impl Service for Node {
    async fn create_alerts(&self, _: &Caller, alerts: Vec<NewAlert>) -> Vec<Result<Receipt, Refusal>> {
        self.0.state().groups.push(alerts.len());
        let mut answers = Vec::new();
        for NewAlert { draft, nonce } in alerts {
            match draft.title.as_str() {
                "panic" => panic!("a test asked for it"),
                "slow" => tokio::time::sleep(Duration::from_secs(60)).await,
                "full" => {
                    answers.push(Err(Refusal::new(RefusalKind::StoreFull, "the disk is full")));
                    continue;
                }
                _ => {}
            }
            let name = draft.external_id.clone().or(nonce.map(hex::encode));
            let mut fields = serde_json::to_value(&draft).unwrap();
            fields["record"] = "alert".into();
            answers.push(Ok(self.0.create(name, fields, EventType::AlertCreated)));
        }
        answers
    }

    async fn update_alert(&self, _: &Caller, id: RecordId, patch: AlertPatch) -> Result<Receipt, Refusal> {
        self.0.edit(id, serde_json::to_value(&patch).unwrap(), EventType::AlertUpdated)
    }

    async fn respond(&self, _: &Caller, id: RecordId, _: ResponseDraft) -> Result<Receipt, Refusal> {
        self.0.edit(id, json!({}), EventType::AlertResponded)
    }

    async fn close_alert(
        &self,
        _: &Caller,
        id: RecordId,
        closing: Closing,
        _: Option<String>,
    ) -> Result<Receipt, Refusal> {
        let (status, event_type) = match closing {
            Closing::Cancel => ("cancelled", EventType::AlertCancelled),
            Closing::Resolve => ("resolved", EventType::AlertResolved),
        };
        self.0.edit(id, json!({"status": status}), event_type)
    }

    async fn create_contact(&self, _: &Caller, contact: NewContact) -> Result<Receipt, Refusal> {
        let name = contact.draft.external_id.clone().or(contact.nonce.map(hex::encode));
        let mut fields = serde_json::to_value(&contact.draft).unwrap();
        fields["record"] = "contact".into();
        fields["tlp"] = json!(contact.draft.tlp.unwrap_or(Tlp::Green));
        Ok(self.0.create(name, fields, EventType::ContactCreated))
    }

    async fn update_contact(&self, _: &Caller, id: RecordId, patch: ContactPatch) -> Result<Receipt, Refusal> {
        self.0.edit(id, serde_json::to_value(&patch).unwrap(), EventType::ContactUpdated)
    }

    async fn remove_contact(&self, _: &Caller, id: RecordId) -> Result<Receipt, Refusal> {
        self.0.edit(id, json!({"status": "left"}), EventType::ContactRemoved)
    }

    async fn alert(&self, id: RecordId) -> Result<Option<ViewJson>, Refusal> {
        Ok(self.0.one(id, "alert"))
    }

    async fn contact(&self, id: RecordId) -> Result<Option<ViewJson>, Refusal> {
        Ok(self.0.one(id, "contact"))
    }

    async fn alerts(&self, query: ListQuery) -> Result<Page<ViewJson>, Refusal> {
        Ok(self.0.list(&query, "alert"))
    }

    async fn contacts(&self, query: ListQuery) -> Result<Page<ViewJson>, Refusal> {
        Ok(self.0.list(&query, "contact"))
    }

    async fn roster(&self, member: MemberCode, query: ListQuery) -> Result<Roster, Refusal> {
        if member.as_str() == "ZZ" {
            return Err(Refusal::new(RefusalKind::NotFound, "the charter has no member ZZ"));
        }
        Ok(Roster { page: self.0.list(&query, "contact"), heard_at: Some(WallMs(5)) })
    }

    async fn history(&self, id: RecordId, query: HistoryQuery) -> Result<Page<HistoryItem>, Refusal> {
        let state = self.0.state();
        let all: Vec<HistoryItem> = state
            .events
            .iter()
            .filter(|event| event.record == id)
            .map(|event| HistoryItem {
                change: event.change,
                position: event.position,
                at: event.made_at,
                received_at: event.received_at,
                member: member("UA"),
                node: origin().node,
                log: LogId([9; 16]),
                seq: Seq(event.position.0),
                section: "core".to_owned(),
                action: "edit",
                ops: vec![HistoryOp::Set { field: "title".to_owned(), value: "x".into() }],
            })
            .collect();
        let total = all.len() as u64;
        let mut rest = all.into_iter().filter(|item| query.after.is_none_or(|after| item.position > after));
        let items: Vec<_> = rest.by_ref().take(query.limit).collect();
        let next = rest.next().and(items.last().map(|item| item.position));
        Ok(Page { items, next, total })
    }

    async fn reach(&self, id: RecordId) -> Result<Reach, Refusal> {
        let heard_at = Some(WallMs(5));
        let members = vec![MemberReach {
            member: member("UA"),
            holds: true,
            nodes: vec![origin().node],
            heard_at,
            delivery: Vec::new(),
        }];
        Ok(Reach { id, members })
    }

    async fn status(&self) -> Result<Status, Refusal> {
        let troubles = self.diagnosis().await?.troubles();
        Ok(Status {
            node: origin().node,
            name: "kyiv-1".to_owned(),
            member: member("UA"),
            site: "kyiv".to_owned(),
            incarnation: Incarnation(0xff),
            version: "0.1.0".to_owned(),
            started_at: WallMs(1),
            digest: Digest(Sha256::digest(b"views").into()),
            alerts: self.0.alert_count() as u64,
            contacts: 0,
            position: *self.0.durable.borrow(),
            links: vec![LinkStatus {
                node: NodeKey([2; 32]),
                name: None,
                member: member("LT"),
                state: LinkState::Up,
                since: Some(WallMs(1)),
                rtt_ms: Some(1.5),
                bytes_in: 1,
                bytes_out: 2,
                reason: None,
            }],
            behind: [(member("LT"), BEHIND)].into(),
            members: vec![MemberStatus {
                member: member("LT"),
                standing: Standing::Linked,
                since: Some(WallMs(1)),
                reason: None,
                heard_at: Some(WallMs(1)),
                behind: BEHIND,
                forks: 0,
                strays: 0,
                quarantined: 0,
                nodes: Vec::new(),
            }],
            lives: vec![LifeStatus { incarnation: Incarnation(0xff), opened: WallMs(1), reason: None }],
            forks: Vec::new(),
            quarantined: 0,
            quarantine: Vec::new(),
            charter_epoch: 1,
            store: StoreStatus {
                state: StoreState::Ok,
                engine: "memory".to_owned(),
                format: 1,
                reason: None,
                damaged: 0,
            },
            cuts: Vec::new(),
            healthy: false,
            troubles,
            frontier: FrontierStatus { logs: 1, entries: 2, hash: "00".to_owned() },
        })
    }

    async fn diagnosis(&self) -> Result<Diagnosis, Refusal> {
        let finding = |severity, code| Finding {
            severity,
            code,
            subject: None,
            what: "something is".to_owned(),
            remedy: "do something".to_owned(),
            since: None,
            records: Vec::new(),
        };
        let findings = vec![finding(Gravity::Note, "small"), finding(Gravity::Critical, "grave")];
        let node = (origin().node, "kyiv-1".to_owned(), member("UA"));
        Ok(Diagnosis::new(node, WallMs(5), findings))
    }

    async fn logs(&self, query: LogsQuery) -> Result<Vec<LogHead>, Refusal> {
        let (log, hash) = (LogId([5; 16]), EntryHash([6; 32]));
        let seq = query.entry.map_or(Seq(1), |(_, seq)| seq);
        if query.entry.is_some_and(|(asked, seq)| asked != log || seq > Seq(1)) {
            return Err(Refusal::new(RefusalKind::NotFound, "it is not held").with_field("seq"));
        }
        let head = LogHead {
            log,
            node: origin().node,
            name: "kyiv-1".to_owned(),
            member: member("UA"),
            incarnation: Incarnation(255),
            entries: 2,
            last: Some(LogEntry { seq, hash }),
            ended: None,
        };
        Ok([head].into_iter().filter(|head| query.node.is_none_or(|node| node == head.node)).collect())
    }

    async fn readiness(&self) -> Readiness {
        Readiness { is_serving: true, behind_seconds: 2 }
    }

    async fn cut_links(&self, _: &Caller, order: CutOrder) -> Result<(), Refusal> {
        self.0.state().cuts.push(order);
        Ok(())
    }

    async fn heal_links(&self, _: &Caller) -> Result<usize, Refusal> {
        Ok(std::mem::take(&mut self.0.state().cuts).len())
    }

    async fn export_bundle(&self, _: &Caller, order: BundleOrder) -> Result<BundleDownload, Refusal> {
        if order.since.as_deref() == Some(b"foreign".as_slice()) {
            return Err(Refusal::new(RefusalKind::Invalid, "this is no receipt").with_field("since"));
        }
        let (sender, pieces) = tokio::sync::mpsc::channel(1);
        let breaks_off = order.receiver == Some(member("PL"));
        tokio::spawn(async move {
            for number in 0..100_u8 {
                if breaks_off && number == 50 {
                    let refusal = Refusal::new(RefusalKind::Fault, "the disk could not be read");
                    return sender.send(Err(refusal)).await;
                }
                sender.send(Ok(vec![number; 1000].into())).await?;
            }
            Ok(())
        });
        Ok(BundleDownload { entries_max: 100, pieces })
    }

    async fn import_bundle(
        &self,
        _: &Caller,
        mut upload: BundleUpload,
        progress: BundleProgress,
    ) -> Result<BundleIntake, Refusal> {
        let mut bytes = 0;
        while let Some(piece) = upload.pieces.recv().await {
            let piece = piece?;
            if piece.starts_with(b"full") {
                return Err(Refusal::new(RefusalKind::StoreFull, "the disk is full"));
            }
            bytes += piece.len() as u64;
        }
        progress.send_replace(Some(BundleStep { stage: BundleStage::Check, done: 0, total: bytes }));
        if bytes == 4 {
            // Longer than it takes until progress is told.
            tokio::time::sleep(Duration::from_millis(1500)).await;
        }
        Ok(BundleIntake {
            bundle: "ab".repeat(32),
            maker: BundleMaker { member: member("LT"), name: "vilnius-1".to_owned(), node: origin().node },
            created: WallMs(1),
            charter_epoch: 1,
            charter_advanced: false,
            entries: bytes,
            new: bytes,
            held: 0,
            refused: 0,
            reasons: vec![],
            receipt: b"receipt".to_vec(),
        })
    }

    async fn frontier_file(&self, _: &Caller) -> Result<Vec<u8>, Refusal> {
        Ok(b"frontier".to_vec())
    }
}
