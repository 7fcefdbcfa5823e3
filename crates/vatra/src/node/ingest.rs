//! Frames in: decompressed, decoded and checked off the driver's thread, then handed to it.
//!
//! Two threads, one for urgent lanes and one for bulk, so that an alert never waits for the checking of a
//! backlog. On each, peers take turns by the time that they use, and in the driver's mailbox the origins of entries do.
//! What does not check is counted, logged at most once a second per peer, and dropped.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use vatra_mesh::{Frame, Frames, Lane, LinkId};
use vatra_model::codec;
use vatra_model::limits::FRAME_INFLATED_BYTES_MAX;
use vatra_model::pack::Packer;
use vatra_model::wire::Message;
use vatra_model::{CheckedEntry, NodeKey};
use vatra_replica::{Heard, Input, Reject, Trust, UNASKED};

use crate::node::driver::Item;
use crate::node::intake::Intake;
use crate::node::links::Links;
use crate::node::mailbox::{Mailbox, Source, Urgency, Weight};
use crate::node::metrics::Metrics;
use crate::node::turns::Turns;

/// The trust in force, replaced as a whole when it changes.
pub(crate) type SharedTrust = Arc<RwLock<Arc<Trust>>>;

/// Time between two log lines about one peer's refused frames.
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);
/// Changes after which further entries of a frame become an item of their own, so that a round stays short.
const ITEM_CHANGES: usize = 256;
/// Time that checking may take for each entry of a frame; what takes longer is counted.
const ENTRY_TIME_MAX: Duration = Duration::from_millis(50);
/// Lanes whose logs are remembered before those of ended links are thrown away.
const HEARD_LANES_MAX: usize = 512;
/// Answers of one link whose origin is remembered. Past that those of this link are forgotten, and their ends may
/// overtake entries.
const ANSWERS_MAX: usize = 512;

/// One checking thread.
pub(crate) struct Ingest {
    pub(crate) mailbox: Arc<Mailbox<Item>>,
    pub(crate) trust: SharedTrust,
    pub(crate) links: Arc<Links>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) intake: Intake,
    pub(crate) packer: Packer,
    pub(crate) heard: BTreeMap<(LinkId, Lane), Heard>,
    pub(crate) complained: BTreeMap<NodeKey, Instant>,
    /// Whose entries the answers under way brought last: their ends wait behind those.
    pub(crate) answers: BTreeMap<(LinkId, u32), NodeKey>,
}

impl Ingest {
    pub(crate) fn new(
        mailbox: Arc<Mailbox<Item>>,
        trust: SharedTrust,
        links: Arc<Links>,
        metrics: Arc<Metrics>,
        origin_entries_per_second: u32,
    ) -> Ingest {
        let (intake, packer) = (Intake::new(origin_entries_per_second), Packer::new());
        let (heard, complained, answers) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Ingest { mailbox, trust, links, metrics, intake, packer, heard, complained, answers }
    }

    /// Checks frames until the mesh or the driver stops.
    pub(crate) fn run(mut self, mut frames: Frames) {
        let mut turns = Turns::default();
        loop {
            if turns.is_empty() {
                let Some(frame) = frames.blocking_recv() else { return };
                turns.put(frame.node, frame);
            }
            // They keep counting against the mesh's budget, so that no more of them come than it allows.
            while let Some(frame) = frames.try_recv() {
                turns.put(frame.node, frame);
            }
            let Some((peer, frame)) = turns.next() else { continue };
            let urgency = urgency_of(frame.lane);
            let started = Instant::now();
            let items = self.check(frame);
            turns.charge(&peer, started.elapsed());
            for (weight, item) in items {
                if !self.mailbox.post(urgency, weight, item) {
                    return;
                }
            }
        }
    }

    /// Opens a frame: what it says, unless it was refused or says nothing new, and how much that weighs.
    pub(crate) fn check(&mut self, frame: Frame) -> Vec<(Weight, Item)> {
        let (node, link, lane) = (frame.node, frame.link, frame.lane);
        let started = Instant::now();
        let opened = self.open_guarded(link, lane, node, &frame.bytes);
        let entries: usize = opened.iter().flatten().map(|(_, input)| entries_in(input)).sum();
        if started.elapsed() > ENTRY_TIME_MAX.saturating_mul(u32::try_from(entries.max(1)).unwrap_or(u32::MAX)) {
            self.metrics.slow_frames.inc();
        }
        match opened {
            Ok(inputs) => {
                inputs.into_iter().map(|(weight, input)| (weight, Item::FromLink { node, link, input })).collect()
            }
            Err(reject) => {
                self.complain(node, &reject);
                Vec::new()
            }
        }
    }

    /// A frame that makes this code panic is refused, and the thread goes on with the next. What was heard of logs
    /// is added to one by one and stays whole.
    fn open_guarded(
        &mut self,
        link: LinkId,
        lane: Lane,
        node: NodeKey,
        bytes: &[u8],
    ) -> Result<Vec<(Weight, Input)>, Reject> {
        catch_unwind(AssertUnwindSafe(|| self.open(link, lane, node, bytes))).unwrap_or_else(|_| {
            self.metrics.panics.inc();
            self.packer = Packer::new();
            Err(Reject::Malformed { what: "frame", detail: "it made this program panic, which is a fault".into() })
        })
    }

    fn open(&mut self, link: LinkId, lane: Lane, node: NodeKey, bytes: &[u8]) -> Result<Vec<(Weight, Input)>, Reject> {
        let malformed = |detail: String| Reject::Malformed { what: "frame", detail };
        let plain = self.packer.unpack(bytes, FRAME_INFLATED_BYTES_MAX).map_err(|e| malformed(e.to_string()))?;
        #[cfg(test)]
        assert_ne!(plain, b"panic, please", "a test asked for a panic");
        let message: Message = codec::decode(&plain, "a message").map_err(|e| malformed(e.to_string()))?;
        message.check().map_err(|e| malformed(e.to_string()))?;
        let trust = self.trust.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        Ok(match message {
            // On the control lane they would overtake everything and be checked on the runtime's thread.
            Message::Entries(_) if lane == Lane::Control => {
                return Err(Reject::Unexpected("entries on the control lane"));
            }
            Message::Entries(frame) => {
                if self.heard.len() >= HEARD_LANES_MAX {
                    let links = &self.links;
                    self.heard.retain(|(kept, _), _| *kept == link || links.is_live(*kept));
                    self.answers.retain(|(kept, _), _| *kept == link || links.is_live(*kept));
                }
                let heard = self.heard.entry((link, lane)).or_default();
                let mut received = heard.open(&trust, frame)?;
                // What was not asked for: pushed, or given as nobody can ask for it.
                if received.request.is_none_or(|request| request == UNASKED) {
                    let (before, now) = (received.entries.len(), Instant::now());
                    let (intake, mailbox, urgency) = (&mut self.intake, &self.mailbox, urgency_of(lane));
                    received.entries.retain(|entry| {
                        heard.origin(&entry.header().log).is_some_and(|origin| {
                            !mailbox.is_crowded_by(urgency, Source::of(origin))
                                && intake.admits((node, origin), entry.entry().changes.len(), now)
                        })
                    });
                    self.metrics.throttled.inc_by((before - received.entries.len()) as u64);
                }
                let last = received.entries.last().and_then(|entry| heard.origin(&entry.header().log));
                if let (Some(request), Some(origin)) = (received.request, last) {
                    if self.answers.range((link, 0)..=(link, u32::MAX)).count() >= ANSWERS_MAX {
                        self.answers.retain(|(of, _), _| *of != link);
                    }
                    self.answers.insert((link, request), origin);
                }
                let items = items_of(node, heard, received.request, received.entries);
                if let Some(reject) = &received.left_out {
                    self.complain(node, reject);
                }
                items
            }
            Message::Beacon(signed) => {
                let beacon = trust.check_beacon(signed)?;
                let input = |beacon| Input::Beacon { peer: node, beacon: Box::new(beacon) };
                beacon.map(|beacon| (Weight::small(Source::of(node)), input(beacon))).into_iter().collect()
            }
            message => {
                // The end of an answer must not overtake its entries, which take turns with those of other origins.
                let origin = match message {
                    Message::Done { request, .. } => self.answers.remove(&(link, request)),
                    _ => None,
                };
                let input = Input::Message { peer: node, message: Box::new(message) };
                vec![(Weight::small(Source::of(origin.unwrap_or(node))), input)]
            }
        })
    }

    fn complain(&mut self, node: NodeKey, reject: &Reject) {
        self.metrics.rejected(reject);
        let now = Instant::now();
        let last = self.complained.get(&node);
        if last.is_none_or(|last| now.duration_since(*last) >= COMPLAIN_EVERY) {
            self.complained.insert(node, now);
            tracing::warn!(peer = %node.short(), %reject, "a frame was refused");
        }
    }
}

fn urgency_of(lane: Lane) -> Urgency {
    match lane {
        Lane::Control => Urgency::Control,
        Lane::Flash | Lane::Priority => Urgency::Urgent,
        Lane::Routine | Lane::Bulk => Urgency::Bulk,
    }
}

fn entries_in(input: &Input) -> usize {
    match input {
        Input::Entries { entries, .. } => entries.len(),
        _ => 1,
    }
}

/// Entries of one origin that go to the driver together, and what they weigh.
type Portion = (Weight, Vec<Arc<CheckedEntry>>);

/// Items for the driver: entries of each origin by themselves, in order, with what is known of their logs.
fn items_of(
    node: NodeKey,
    heard: &Heard,
    request: Option<u32>,
    entries: Vec<Arc<CheckedEntry>>,
) -> Vec<(Weight, Input)> {
    let mut by_origin: BTreeMap<NodeKey, Vec<Portion>> = BTreeMap::new();
    let fresh = |origin| (Weight { changes: 0, bytes: 0, source: Source::of(origin) }, Vec::new());
    for entry in entries {
        let Some(origin) = heard.origin(&entry.header().log) else { continue };
        let items = by_origin.entry(origin).or_default();
        if items.last().is_none_or(|(weight, ..)| weight.changes >= ITEM_CHANGES) {
            items.push(fresh(origin));
        }
        let (weight, of_item) = items.last_mut().expect("pushed above");
        weight.changes += entry.entry().changes.len();
        weight.bytes += entry.header().changes_len as usize;
        of_item.push(entry);
    }
    if by_origin.is_empty() {
        // An answer may say that there is nothing.
        by_origin.insert(node, vec![fresh(node)]);
    }
    let input = |(weight, entries): Portion| {
        (weight, Input::Entries { peer: Some(node), request, logs: heard.logs_of(&entries), entries })
    };
    by_origin.into_values().flatten().map(input).collect()
}

#[cfg(test)]
mod tests;
