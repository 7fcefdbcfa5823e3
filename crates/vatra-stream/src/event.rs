//! Events and their one encoding, CloudEvents 1.0 in JSON, framed so that SSE and NDJSON share the bytes.

use std::fmt;
use std::io::Write as _;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use vatra_model::view::Summary;
use vatra_model::{ChangeId, MemberCode, NodeKey, Position, RecordId, WallMs};

use crate::cursor::{Cursor, StoreId};

/// What a change did to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// An alert is new here.
    AlertCreated,
    /// Fields of an alert changed.
    AlertUpdated,
    /// A member answered an alert.
    AlertResponded,
    /// An alert was withdrawn.
    AlertCancelled,
    /// What an alert warned of is over.
    AlertResolved,
    /// A contact is new here.
    ContactCreated,
    /// Fields of a contact changed.
    ContactUpdated,
    /// A contact left the roster.
    ContactRemoved,
    /// A change of an alert that was told before has lost its effect: the key that made it, or one that it rests on, was
    /// revoked before that.
    AlertRetracted,
    /// The same of a contact.
    ContactRetracted,
}

impl EventType {
    /// All types.
    pub const ALL: [EventType; 10] = [
        EventType::AlertCreated,
        EventType::AlertUpdated,
        EventType::AlertResponded,
        EventType::AlertCancelled,
        EventType::AlertResolved,
        EventType::ContactCreated,
        EventType::ContactUpdated,
        EventType::ContactRemoved,
        EventType::AlertRetracted,
        EventType::ContactRetracted,
    ];

    /// The CloudEvents `type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            EventType::AlertCreated => "vatra.alert.created",
            EventType::AlertUpdated => "vatra.alert.updated",
            EventType::AlertResponded => "vatra.alert.responded",
            EventType::AlertCancelled => "vatra.alert.cancelled",
            EventType::AlertResolved => "vatra.alert.resolved",
            EventType::ContactCreated => "vatra.contact.created",
            EventType::ContactUpdated => "vatra.contact.updated",
            EventType::ContactRemoved => "vatra.contact.removed",
            EventType::AlertRetracted => "vatra.alert.retracted",
            EventType::ContactRetracted => "vatra.contact.retracted",
        }
    }

    /// Whether it takes back what was told of a change. Its id is then that of the change and `.retracted`.
    #[must_use]
    pub fn is_retraction(self) -> bool {
        matches!(self, EventType::AlertRetracted | EventType::ContactRetracted)
    }
}

/// The node that made a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Its member.
    pub member: MemberCode,
    /// Its key.
    pub node: NodeKey,
}

/// The CloudEvents `source`, the same on every node: `vatra://<member>/<node key>`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vatra://{}/{}", self.member, self.node)
    }
}

/// A durable change with the view of its record.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// Its place in this store.
    pub position: Position,
    /// What it did.
    pub event_type: EventType,
    /// The record it is about.
    pub record: RecordId,
    /// The change: the event's id, the same on every node; with `.retracted` behind it if the event takes it back.
    pub change: ChangeId,
    /// The node that made the change.
    pub origin: Origin,
    /// When it was made, by its maker's clock.
    pub made_at: WallMs,
    /// When this node stored it, by this node's clock.
    pub received_at: WallMs,
    /// What filters see of the view.
    pub summary: Summary,
    /// The view as compact JSON; never older than the change. Of a record that is no longer shown, only its id.
    pub view: Arc<[u8]>,
}

/// An event as bytes. Clones share them.
#[derive(Clone, Debug)]
pub struct EncodedEvent {
    position: Position,
    summary: Option<Summary>,
    frame: Bytes,
    json_from: usize,
    view: Range<usize>,
}

/// Frames begin with `id: ` and the cursor, then this.
const DATA: &[u8] = b"\ndata: ";
/// Room for everything in a frame but the view.
const ENVELOPE_BYTES: usize = 640;

impl EncodedEvent {
    /// Encodes a durable event of a store.
    #[must_use]
    pub fn of(event: &StoredEvent, store: StoreId) -> EncodedEvent {
        debug_assert!(!event.view.contains(&b'\n'), "a view is compact JSON");
        let cursor = Cursor { store, position: event.position };
        let (mut frame, json_from) = open_frame(&cursor, event.view.len());
        let StoredEvent { record, change, origin, made_at, received_at, .. } = event;
        let suffix = if event.event_type.is_retraction() { ".retracted" } else { "" };
        write_infallible(
            &mut frame,
            format_args!(
                "{{\"specversion\":\"1.0\",\"id\":\"{change}{suffix}\",\"source\":\"{origin}\",\"type\":\"{}\",\
                 \"subject\":\"{record}\",\"time\":\"{made_at}\",\"recordedtime\":\"{received_at}\",\
                 \"datacontenttype\":\"application/json\",\"cursor\":\"{cursor}\",\"data\":",
                event.event_type.as_str(),
            ),
        );
        let view_from = frame.len();
        frame.extend_from_slice(&event.view);
        let view = view_from..frame.len();
        close_frame(&mut frame);
        EncodedEvent { position: event.position, summary: Some(event.summary), frame: frame.into(), json_from, view }
    }

    /// The event's place in this store.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// What filters see; `None` for an event about the stream itself.
    #[must_use]
    pub fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref()
    }

    /// The event as an SSE message, `id:` and `data:` and the empty line.
    #[must_use]
    pub fn sse(&self) -> Bytes {
        self.frame.clone()
    }

    /// The event as a line of NDJSON.
    #[must_use]
    pub fn line(&self) -> Bytes {
        self.frame.slice(self.json_from..self.frame.len() - 1)
    }

    /// The view, the event's `data`.
    #[must_use]
    pub fn view(&self) -> &[u8] {
        &self.frame[self.view.clone()]
    }

    /// Bytes that the event takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.frame.len()
    }
}

/// An event about the stream itself, told by this node. The cursor is where a subscriber goes on that saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalEvent {
    /// Everything up to here was told or did not match.
    Checkpoint {
        /// The last position behind the subscriber.
        at: Position,
    },
    /// The subscriber was too slow and is cut off: `from` is the last that it was given, `to` the end of what waits.
    Lagged {
        /// The last position that was told.
        from: Position,
        /// The last position that was not.
        to: Position,
    },
    /// What stood between is no longer held: read the lists again, the stream goes on after `to`.
    Reset {
        /// The subscriber's position.
        from: Position,
        /// The last position that is gone.
        to: Position,
    },
}

impl LocalEvent {
    /// Encodes the event of this store, told by this node at this moment.
    #[must_use]
    pub fn encode(self, store: StoreId, teller: Origin, now: WallMs) -> EncodedEvent {
        let (kind, at, gap) = match self {
            LocalEvent::Checkpoint { at } => ("checkpoint", at, None),
            LocalEvent::Lagged { from, to } => ("lagged", from, Some((from, to))),
            LocalEvent::Reset { from, to } => ("reset", to, Some((from, to))),
        };
        let cursor = Cursor { store, position: at };
        let (mut frame, json_from) = open_frame(&cursor, 0);
        write_infallible(
            &mut frame,
            format_args!(
                "{{\"specversion\":\"1.0\",\"id\":\"{kind}.{cursor}.{}\",\"source\":\"{teller}\",\
                 \"type\":\"vatra.{kind}\",\"time\":\"{now}\",\"datacontenttype\":\"application/json\",\
                 \"cursor\":\"{cursor}\",\"data\":",
                now.0,
            ),
        );
        let view_from = frame.len();
        match gap {
            None => write_infallible(&mut frame, format_args!("{{\"position\":{at}}}")),
            Some((from, to)) => {
                let [from, to] = [from, to].map(|position| Cursor { store, position });
                write_infallible(&mut frame, format_args!("{{\"from\":\"{from}\",\"to\":\"{to}\"}}"));
            }
        }
        let view = view_from..frame.len();
        close_frame(&mut frame);
        EncodedEvent { position: at, summary: None, frame: frame.into(), json_from, view }
    }
}

fn open_frame(cursor: &Cursor, view_bytes: usize) -> (Vec<u8>, usize) {
    let mut frame = Vec::with_capacity(ENVELOPE_BYTES + view_bytes);
    write_infallible(&mut frame, format_args!("id: {cursor}"));
    frame.extend_from_slice(DATA);
    let json_from = frame.len();
    (frame, json_from)
}

fn close_frame(frame: &mut Vec<u8>) {
    frame.extend_from_slice(b"}\n\n");
}

fn write_infallible(frame: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    frame.write_fmt(text).expect("writing to memory does not fail");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use vatra_model::change::RecordKind;
    use vatra_model::schema::words::{AlertKind, AlertStatus, Severity, Tlp};

    use super::*;

    const STORE: StoreId = StoreId([7; 16]);

    fn origin() -> Origin {
        Origin { member: "LT".parse().unwrap(), node: NodeKey([2; 32]) }
    }

    fn event() -> StoredEvent {
        StoredEvent {
            position: Position(42),
            event_type: EventType::AlertCreated,
            record: RecordId([3; 16]),
            change: ChangeId([4; 16]),
            origin: origin(),
            made_at: WallMs(1_764_000_000_123),
            received_at: WallMs(1_764_000_009_000),
            summary: Summary {
                record_kind: RecordKind::Alert,
                tlp: Tlp::Green,
                alert_kind: Some(AlertKind::Outage),
                severity: Severity::Severe,
                status: AlertStatus::Active,
                cancel_disputed: false,
                has_conflicts: false,
                sectors: 1,
                owner: "LT".parse().unwrap(),
            },
            view: Arc::from(&br#"{"title":"Grid \n down"}"#[..]),
        }
    }

    #[test]
    fn an_event_is_a_cloud_event_in_both_framings() {
        let encoded = EncodedEvent::of(&event(), STORE);
        let cursor = "07070707070707070707070707070707.42";
        let line = encoded.line();
        assert_eq!(line.last(), Some(&b'\n'));
        assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
        let value: Value = serde_json::from_slice(&line).unwrap();
        let expected = json!({
            "specversion": "1.0",
            "id": "04".repeat(16),
            "source": format!("vatra://LT/{}", "02".repeat(32)),
            "type": "vatra.alert.created",
            "subject": "03".repeat(16),
            "time": "2025-11-24T16:00:00.123Z",
            "recordedtime": "2025-11-24T16:00:09.000Z",
            "datacontenttype": "application/json",
            "cursor": cursor,
            "data": {"title": "Grid \n down"},
        });
        assert_eq!(value, expected);
        let text = std::str::from_utf8(&line).unwrap();
        assert_eq!(encoded.sse(), format!("id: {cursor}\ndata: {text}\n").into_bytes());
        assert_eq!(encoded.view(), &*event().view);
    }

    #[test]
    fn what_takes_an_event_back_has_an_id_of_its_own() {
        let retracted = StoredEvent { event_type: EventType::AlertRetracted, ..event() };
        let value: Value = serde_json::from_slice(&EncodedEvent::of(&retracted, STORE).line()).unwrap();
        assert_eq!(value["id"], json!(format!("{}.retracted", "04".repeat(16))));
        assert_eq!(value["type"], json!("vatra.alert.retracted"));
        assert_eq!(EventType::ALL.iter().filter(|kind| kind.is_retraction()).count(), 2);
    }

    #[test]
    fn names_follow_the_specification() {
        // CloudEvents 1.0.2, "Naming Conventions": lower-case letters and digits.
        let line = EncodedEvent::of(&event(), STORE).line();
        let value: Value = serde_json::from_slice(&line).unwrap();
        for name in value.as_object().unwrap().keys() {
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{name}");
        }
        for event_type in EventType::ALL {
            assert!(event_type.as_str().starts_with("vatra."));
        }
    }

    #[test]
    fn events_about_the_stream_tell_where_to_go_on() {
        let encode = |event: LocalEvent| -> Value {
            serde_json::from_slice(&event.encode(STORE, origin(), WallMs(5)).line()).unwrap()
        };
        let cursor = |position: u64| Cursor { store: STORE, position: Position(position) }.to_string();
        let checkpoint = encode(LocalEvent::Checkpoint { at: Position(9) });
        assert_eq!((&checkpoint["type"], &checkpoint["cursor"]), (&json!("vatra.checkpoint"), &json!(cursor(9))));
        let lagged = encode(LocalEvent::Lagged { from: Position(3), to: Position(8) });
        assert_eq!((&lagged["type"], &lagged["cursor"]), (&json!("vatra.lagged"), &json!(cursor(3))));
        assert_eq!(lagged["data"], json!({"from": cursor(3), "to": cursor(8)}));
        let reset = encode(LocalEvent::Reset { from: Position(3), to: Position(8) });
        assert_eq!((&reset["type"], &reset["cursor"]), (&json!("vatra.reset"), &json!(cursor(8))));
    }
}
