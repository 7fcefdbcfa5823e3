//! Frames in: decompressed, decoded and checked off the driver's thread, then handed to it.
//!
//! Two threads, one for urgent lanes and one for bulk, so that an alert never waits for the checking of a
//! backlog. What does not check is counted, logged at most once a second per peer, and dropped.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use vatra_mesh::{Frame, Frames, Lane, LinkId};
use vatra_model::NodeKey;
use vatra_model::codec;
use vatra_model::limits::FRAME_INFLATED_BYTES_MAX;
use vatra_model::pack::Packer;
use vatra_model::wire::Message;
use vatra_replica::{Heard, Input, Reject, Trust};

use crate::node::driver::Item;
use crate::node::intake::Intake;
use crate::node::links::Links;
use crate::node::mailbox::{Mailbox, Urgency, Weight};
use crate::node::metrics::Metrics;

/// The trust in force, replaced as a whole when it changes.
pub(crate) type SharedTrust = Arc<RwLock<Arc<Trust>>>;

/// Time between two log lines about one peer's refused frames.
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);
/// Lanes whose logs are remembered before those of ended links are thrown away.
const HEARD_LANES_MAX: usize = 512;

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
        Ingest { mailbox, trust, links, metrics, intake, packer, heard: BTreeMap::new(), complained: BTreeMap::new() }
    }

    /// Checks frames until the mesh or the driver stops.
    pub(crate) fn run(mut self, mut frames: Frames) {
        while let Some(frame) = frames.blocking_recv() {
            if !self.take(frame) {
                return;
            }
        }
    }

    fn take(&mut self, frame: Frame) -> bool {
        let urgency = match frame.lane {
            Lane::Control => Urgency::Control,
            Lane::Flash | Lane::Priority => Urgency::Urgent,
            Lane::Routine | Lane::Bulk => Urgency::Bulk,
        };
        match self.check(frame) {
            Some((weight, item)) => self.mailbox.post(urgency, weight, item),
            None => true,
        }
    }

    /// Opens a frame: its weight and what it says, unless it was refused or says nothing new.
    pub(crate) fn check(&mut self, frame: Frame) -> Option<(Weight, Item)> {
        let (node, link, lane) = (frame.node, frame.link, frame.lane);
        match self.open_guarded(link, lane, node, &frame.bytes) {
            Ok(opened) => opened.map(|(weight, input)| (weight, Item::FromLink { node, link, input })),
            Err(reject) => {
                self.complain(node, &reject);
                None
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
    ) -> Result<Option<(Weight, Input)>, Reject> {
        catch_unwind(AssertUnwindSafe(|| self.open(link, lane, node, bytes))).unwrap_or_else(|_| {
            self.metrics.panics.inc();
            self.packer = Packer::new();
            Err(Reject::Malformed { what: "frame", detail: "it made this program panic, which is a fault".into() })
        })
    }

    fn open(
        &mut self,
        link: LinkId,
        lane: Lane,
        node: NodeKey,
        bytes: &[u8],
    ) -> Result<Option<(Weight, Input)>, Reject> {
        let malformed = |detail: String| Reject::Malformed { what: "frame", detail };
        let plain = self.packer.unpack(bytes, FRAME_INFLATED_BYTES_MAX).map_err(|e| malformed(e.to_string()))?;
        #[cfg(test)]
        assert_ne!(plain, b"panic, please", "a test asked for a panic");
        let message: Message = codec::decode(&plain, "a message").map_err(|e| malformed(e.to_string()))?;
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
                }
                let heard = self.heard.entry((link, lane)).or_default();
                let mut received = heard.open(&trust, frame)?;
                if received.request.is_none() {
                    let (before, now) = (received.entries.len(), Instant::now());
                    let intake = &mut self.intake;
                    received.entries.retain(|entry| {
                        heard.origin(&entry.header().log).is_some_and(|origin| intake.admits(origin, now))
                    });
                    self.metrics.throttled.inc_by((before - received.entries.len()) as u64);
                }
                let changes = received.entries.iter().map(|e| e.entry().changes.len()).sum();
                let bytes = received.entries.iter().map(|e| e.header().changes_len as usize).sum();
                let weight = Weight { changes, bytes };
                if let Some(reject) = &received.left_out {
                    self.complain(node, reject);
                }
                let (request, logs, entries) = (received.request, received.logs, received.entries);
                Some((weight, Input::Entries { peer: Some(node), request, logs, entries }))
            }
            Message::Beacon(signed) => {
                let beacon = trust.check_beacon(signed)?;
                beacon.map(|beacon| (Weight::SMALL, Input::Beacon { peer: node, beacon: Box::new(beacon) }))
            }
            message => Some((Weight::SMALL, Input::Message { peer: node, message: Box::new(message) })),
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

#[cfg(test)]
mod tests;
