//! Subscriptions over a source in memory.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;
use vatra_model::change::RecordKind;
use vatra_model::schema::words::{AlertKind, AlertStatus, Severity};
use vatra_model::view::Summary;
use vatra_model::{ChangeId, NodeKey, RecordId};

use super::*;
use crate::cursor::{Cursor, CursorError, StoreId};
use crate::event::{EventType, Origin, StoredEvent};
use crate::hub::{Hub, HubConfig, SubscribeError};
use crate::source::{EventBatch, EventSource};

const STORE: StoreId = StoreId([7; 16]);

/// A stream in memory; every seventh position is no event.
struct Memory {
    severities: Mutex<Vec<Severity>>,
    durable: watch::Sender<Position>,
    pruned_to: Position,
    broken_at: Option<Position>,
}

impl Memory {
    fn new() -> Memory {
        Memory {
            severities: Mutex::default(),
            durable: watch::Sender::new(Position(0)),
            pruned_to: Position(0),
            broken_at: None,
        }
    }

    fn push(&self, severities: &[Severity]) {
        let mut all = self.severities.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend_from_slice(severities);
        self.durable.send_replace(Position(all.len() as u64));
    }
}

fn is_event(position: u64) -> bool {
    !position.is_multiple_of(7)
}

fn stored(position: u64, severity: Severity) -> StoredEvent {
    StoredEvent {
        position: Position(position),
        event_type: EventType::AlertCreated,
        record: RecordId([3; 16]),
        change: ChangeId(u128::from(position).to_be_bytes()),
        origin: origin(),
        made_at: WallMs(1),
        received_at: WallMs(2),
        summary: Summary {
            record_kind: RecordKind::Alert,
            tlp: if position.is_multiple_of(5) { Tlp::Green } else { Tlp::Clear },
            alert_kind: Some(AlertKind::Outage),
            severity,
            status: AlertStatus::Active,
            cancel_disputed: false,
            has_conflicts: false,
            sectors: 1,
            owner: "LT".parse().unwrap(),
        },
        view: Arc::from(format!("{{\"title\":\"number {position}\"}}").into_bytes()),
    }
}

impl EventSource for Memory {
    fn store_id(&self) -> StoreId {
        STORE
    }

    fn pruned_to(&self) -> Position {
        self.pruned_to
    }

    fn events_after(&self, after: Position, limit: usize) -> Result<EventBatch, ReadError> {
        assert_ne!(self.broken_at, Some(after), "the source panics here");
        let all = self.severities.lock().unwrap_or_else(PoisonError::into_inner);
        let from = usize::try_from(after.0).unwrap();
        let to = (from + limit).min(all.len());
        let positions = (from..to).map(|index| (index as u64 + 1, all[index]));
        let events = positions.filter(|(position, _)| is_event(*position)).map(|(p, severity)| stored(p, severity));
        Ok(EventBatch { events: events.collect(), end: Position(to as u64) })
    }

    fn durable(&self) -> watch::Receiver<Position> {
        self.durable.subscribe()
    }
}

fn origin() -> Origin {
    Origin { member: "UA".parse().unwrap(), node: NodeKey([1; 32]) }
}

fn config() -> HubConfig {
    HubConfig { ring_events_max: 100, ..HubConfig::default() }
}

fn hub(source: Memory) -> (Hub, Arc<Memory>) {
    let source = Arc::new(source);
    (Hub::start(Arc::clone(&source) as Arc<dyn EventSource>, origin(), config()), source)
}

fn open(hub: &Hub, start: Start) -> Subscription {
    hub.subscribe(&start, Filter::default(), Tlp::Red).unwrap()
}

fn after(position: u64) -> Start {
    Start::After(Place::Cursor(Cursor { store: STORE, position: Position(position) }))
}

/// Positions of the events up to a position, skipping checkpoints.
async fn events_to(subscription: &mut Subscription, last: u64) -> Vec<u64> {
    let mut seen = Vec::new();
    while subscription.position() < Position(last) {
        match subscription.next().await.unwrap() {
            Some(Item::Event(event)) => seen.push(event.position().0),
            Some(Item::Checkpoint(_)) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    seen
}

fn expected(from: u64, to: u64) -> Vec<u64> {
    (from..=to).filter(|position| is_event(*position)).collect()
}

#[tokio::test]
async fn from_the_start_through_a_small_ring_nothing_is_missing() {
    let (hub, source) = hub(Memory::new());
    source.push(&[Severity::Minor; 1000]);
    let mut subscription = open(&hub, Start::Beginning);
    assert_eq!(events_to(&mut subscription, 1000).await, expected(1, 1000));
    source.push(&[Severity::Minor; 3]);
    assert_eq!(events_to(&mut subscription, 1003).await, expected(1001, 1003));
}

#[tokio::test]
async fn now_means_after_the_last_durable_position() {
    let (hub, source) = hub(Memory::new());
    source.push(&[Severity::Minor; 500]);
    let mut subscription = open(&hub, Start::Now);
    assert!(matches!(subscription.next().await, Ok(Some(Item::Checkpoint(at))) if at.position() == Position(500)));
    source.push(&[Severity::Minor; 500]);
    assert_eq!(events_to(&mut subscription, 1000).await, expected(501, 1000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_with_interruptions_see_everything_once() {
    let (hub, source) = hub(Memory::new());
    let readers: Vec<_> = (0..20)
        .map(|reader| {
            let hub = hub.clone();
            tokio::spawn(async move {
                let (mut at, mut seen) = (0, Vec::new());
                while at < 2000 {
                    let mut subscription = open(&hub, after(at));
                    let to = (at + 37 * (reader % 5 + 1)).min(2000);
                    seen.extend(events_to(&mut subscription, to).await);
                    at = subscription.position().0;
                }
                seen
            })
        })
        .collect();
    for _ in 0..200 {
        source.push(&[Severity::Minor; 10]);
        tokio::task::yield_now().await;
    }
    for reader in readers {
        assert_eq!(reader.await.unwrap(), expected(1, 2000));
    }
    assert_eq!(hub.stats().subscribers, 0);
}

#[tokio::test(start_paused = true)]
async fn a_filter_that_passes_nothing_still_advances_the_cursor() {
    let (hub, source) = hub(Memory::new());
    let filter = Filter::parse([("severity", "extreme")]).unwrap();
    let mut subscription = hub.subscribe(&Start::Now, filter, Tlp::Red).unwrap();
    assert!(matches!(subscription.next().await, Ok(Some(Item::Checkpoint(_)))));
    source.push(&[Severity::Minor; 70]);
    let item = subscription.next().await.unwrap().unwrap();
    assert!(matches!(&item, Item::Checkpoint(at) if at.position() == Position(70)), "{item:?}");
    let line: Value = serde_json::from_slice(&item.encoded().line()).unwrap();
    assert_eq!(line["cursor"], format!("{STORE}.70"));
    // And again without anything new: the sign of life.
    assert!(matches!(subscription.next().await, Ok(Some(Item::Checkpoint(at))) if at.position() == Position(70)));
}

#[tokio::test(start_paused = true)]
async fn labels_above_the_clearance_do_not_pass() {
    let (hub, source) = hub(Memory::new());
    source.push(&[Severity::Minor; 20]);
    let mut subscription = hub.subscribe(&Start::Beginning, Filter::default(), Tlp::Clear).unwrap();
    let seen = events_to(&mut subscription, 20).await;
    assert_eq!(seen, expected(1, 20).into_iter().filter(|p| p % 5 != 0).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_told_what_it_missed_and_comes_back_without_loss() {
    let (hub, source) = hub(Memory::new());
    source.push(&[Severity::Minor; 10]);
    let mut subscription = open(&hub, Start::Beginning);
    let seen = events_to(&mut subscription, 5).await;
    assert_eq!(seen, expected(1, 5));
    tokio::time::advance(config().lag_after + Duration::from_millis(1)).await;
    source.push(&[Severity::Minor; 200]);
    let item = subscription.next().await.unwrap().unwrap();
    let Item::Lagged(lagged) = &item else { panic!("unexpected {item:?}") };
    let line: Value = serde_json::from_slice(&lagged.line()).unwrap();
    assert_eq!(line["type"], "vatra.lagged");
    assert_eq!(line["data"]["from"], format!("{STORE}.5"));
    assert!(matches!(subscription.next().await, Ok(None)), "lagged is the last item");
    assert_eq!(hub.stats().lagged_count, 1);
    drop(subscription);
    let cursor = line["cursor"].as_str().unwrap().parse().unwrap();
    let mut again = open(&hub, Start::After(cursor));
    assert_eq!(events_to(&mut again, 210).await, expected(6, 210));
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_a_quiet_stream_is_not_slow() {
    let (hub, _source) = hub(Memory::new());
    let mut subscription = open(&hub, Start::Now);
    assert!(matches!(subscription.next().await, Ok(Some(Item::Checkpoint(_)))));
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert!(matches!(subscription.next().await, Ok(Some(Item::Checkpoint(_)))));
}

#[tokio::test]
async fn places_that_mean_nothing_here_are_refused() {
    let (hub, source) = hub(Memory::new());
    source.push(&[Severity::Minor; 10]);
    let refused = |start: Start| hub.subscribe(&start, Filter::default(), Tlp::Red).unwrap_err();
    assert!(matches!(refused(after(11)), SubscribeError::Cursor(CursorError::BeyondEnd { .. })));
    let foreign = Cursor { store: StoreId([8; 16]), position: Position(1) };
    let foreign = Start::After(Place::Cursor(foreign));
    assert!(matches!(refused(foreign), SubscribeError::Cursor(CursorError::ForeignStore { .. })));
    assert_eq!(hub.stats().subscribers, 0);
}

#[tokio::test]
async fn places_are_bounded_and_given_back() {
    let source = Arc::new(Memory::new());
    let config = HubConfig { subscribers_max: 2, ..config() };
    let hub = Hub::start(source, origin(), config);
    let (first, _second) = (open(&hub, Start::Now), open(&hub, Start::Now));
    let full = hub.subscribe(&Start::Now, Filter::default(), Tlp::Red).unwrap_err();
    assert_eq!(full, SubscribeError::Full { max: 2 });
    drop(first);
    let _third = open(&hub, Start::Now);
    assert_eq!((hub.stats().subscribers, hub.stats().refused_count), (2, 1));
}

#[tokio::test]
async fn a_pruned_stream_says_so_and_goes_on() {
    let (hub, source) = hub(Memory { pruned_to: Position(50), ..Memory::new() });
    source.push(&[Severity::Minor; 60]);
    let mut subscription = open(&hub, after(10));
    let item = subscription.next().await.unwrap().unwrap();
    let Item::Reset(reset) = &item else { panic!("unexpected {item:?}") };
    assert_eq!(reset.position(), Position(50));
    assert_eq!(events_to(&mut subscription, 60).await, expected(51, 60));
}

#[tokio::test]
async fn a_source_that_fails_ends_its_readers_and_only_them() {
    let (hub, source) = hub(Memory { broken_at: Some(Position(0)), ..Memory::new() });
    source.push(&[Severity::Minor; 10]);
    let mut subscription = open(&hub, Start::Beginning);
    assert!(matches!(subscription.next().await, Ok(Some(Item::Checkpoint(_)))));
    assert!(matches!(subscription.next().await, Err(StreamError::Broken { at: Position(0) })));
    assert!(matches!(subscription.next().await, Ok(None)));
    let mut other = open(&hub, after(1));
    assert_eq!(events_to(&mut other, 10).await, expected(2, 10));
    source.push(&[Severity::Minor; 5]);
    assert_eq!(events_to(&mut other, 15).await, expected(11, 15));
}

#[tokio::test]
async fn closing_the_hub_ends_its_subscriptions() {
    let (hub, _source) = hub(Memory::new());
    let mut subscription = open(&hub, Start::Now);
    assert!(matches!(subscription.next().await, Ok(Some(Item::Checkpoint(_)))));
    drop(hub);
    assert!(matches!(subscription.next().await, Ok(None)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_interleaving_of_pushes_and_reads_tells_every_match_in_order(
        pushes in prop::collection::vec(prop::collection::vec(any::<bool>(), 1..150), 1..12),
        reads in prop::collection::vec(0..200_usize, 1..12),
        start in 0..40_u64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let (hub, source) = hub(Memory::new());
            source.push(&[Severity::Severe; 40]);
            let filter = Filter::parse([("severity", "severe")]).unwrap();
            let mut subscription = hub.subscribe(&after(start), filter, Tlp::Red).unwrap();
            let (mut wanted, mut seen) = (expected(start + 1, 40), Vec::new());
            let mut last = 40;
            for (push, read) in pushes.iter().zip(reads.iter().cycle()) {
                let severities: Vec<_> =
                    push.iter().map(|severe| if *severe { Severity::Severe } else { Severity::Minor }).collect();
                source.push(&severities);
                let positions = (last + 1..).zip(push).filter(|(p, severe)| is_event(*p) && **severe);
                wanted.extend(positions.map(|(position, _)| position));
                last += push.len() as u64;
                while seen.len() < wanted.len().min(*read) {
                    if let Some(Item::Event(event)) = subscription.next().await.unwrap() {
                        seen.push(event.position().0);
                    }
                }
                tokio::task::yield_now().await;
            }
            while seen.len() < wanted.len() {
                if let Some(Item::Event(event)) = subscription.next().await.unwrap() {
                    seen.push(event.position().0);
                }
            }
            assert_eq!(seen, wanted);
        });
    }
}
