//! Entries out: pushes as the core decides them, answers to requests from the store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use vatra_mesh::{Lane, Mesh, SendError};
use vatra_model::pack::Packer;
use vatra_model::wire::{FRAME_ENTRIES_BYTES, Message, Want, WantClasses};
use vatra_model::{CheckedEntry, Class, Entry, EntryHash, EntryHeader, LogId, NodeKey, Seq};
use vatra_replica::Input;
use vatra_store::{PAGE_ROWS_MAX, PageLimits, Reader};

use crate::node::driver::Item;
use crate::node::links::{Links, Sender, encode};
use crate::node::mailbox::{Mailbox, Urgency, Weight};
use crate::node::metrics::Metrics;
use crate::node::origins::Origins;
use crate::node::packing::{unpack_entry, unpack_header};
use crate::node::strays::stray_bytes;
use crate::node::wants::{Request, Wants};

/// Stored entries that one request looks through in one go.
const URGENT_SCAN_MAX: usize = 50_000;

/// What a sending thread needs.
pub(crate) struct Egress {
    pub(crate) mesh: Mesh,
    pub(crate) links: Arc<Links>,
    pub(crate) origins: Arc<Origins>,
    pub(crate) mailbox: Arc<Mailbox<Item>>,
    pub(crate) metrics: Arc<Metrics>,
}

/// A push to be made.
pub(crate) struct Push {
    pub(crate) peers: Vec<NodeKey>,
    pub(crate) class: Class,
    pub(crate) entries: Vec<Arc<CheckedEntry>>,
}

impl Egress {
    fn sender<'a>(&'a self, packer: &'a mut Packer, is_tight: bool) -> Sender<'a> {
        Sender { mesh: &self.mesh, packer, origins: &self.origins, is_tight }
    }

    /// Makes pushes until the queue is closed, most urgent first.
    pub(crate) fn run_pushes(self, queue: &Mailbox<Push>) {
        let mut packer = Packer::new();
        let mut pushes = Vec::new();
        while queue.take(Instant::now() + Duration::from_secs(3600), 1, &mut pushes) {
            for push in pushes.drain(..) {
                self.push(&mut packer, &push);
            }
        }
    }

    fn push(&self, packer: &mut Packer, push: &Push) {
        let lane = Lane::from(push.class);
        for entries in frames_of(&push.entries) {
            let entries: Vec<&Entry> = entries.iter().map(|entry| entry.entry()).collect();
            let mut last = None;
            for peer in &push.peers {
                let to = (*peer, lane);
                let sent = self.links.send_entries(&mut self.sender(packer, false), to, None, &entries, &mut last);
                match sent {
                    Ok(()) => {
                        self.metrics.pushed.inc_by(entries.len() as u64);
                    }
                    Err(SendError::NoLink) => {}
                    Err(error) => self.shed(*peer, &error),
                }
            }
        }
    }

    fn shed(&self, peer: NodeKey, error: &SendError) {
        self.metrics.shed.inc();
        tracing::debug!(peer = %peer.short(), %error, "a push was shed; catch-up will repair it");
        // A driver too busy to hear it repairs the gap by beacons.
        let _ = self.mailbox.try_post(Urgency::Control, Weight::SMALL, Item::Core(Input::Shed { peer }));
    }

    /// Answers requests until the queue is closed. A peer whose queue is full is left for a moment, so that a
    /// thin link never keeps the others waiting.
    pub(crate) fn run_answers(self, wants: &Wants, reader: &Reader) {
        let mut packer = Packer::new();
        while let Some((peer, want)) = wants.next() {
            match self.answer(&mut packer, reader, peer, want) {
                Ok(None) => wants.done(peer),
                Ok(Some(rest)) => wants.put_back(peer, rest),
                Err(error) => {
                    tracing::debug!(peer = %peer.short(), error = format!("{error:#}"), "an answer was given up");
                    wants.done(peer);
                }
            }
        }
    }

    /// Sends as much of an answer as there is room for; what is left of it otherwise.
    fn answer(
        &self,
        packer: &mut Packer,
        reader: &Reader,
        peer: NodeKey,
        request: Request,
    ) -> anyhow::Result<Option<Request>> {
        Ok(match request {
            Request::Range(want) => self.answer_range(packer, reader, peer, want)?.map(Request::Range),
            Request::Strays { request, log, items } => {
                let rest = self.answer_strays(packer, reader, peer, (request, log), items)?;
                rest.map(|items| Request::Strays { request, log, items })
            }
        })
    }

    /// Sends strays from where they are kept; the places of those that found no room otherwise. The end of the answer
    /// is still to be told when none is left.
    fn answer_strays(
        &self,
        packer: &mut Packer,
        reader: &Reader,
        peer: NodeKey,
        (request, log): (u32, LogId),
        mut items: Vec<(u64, EntryHash)>,
    ) -> anyhow::Result<Option<Vec<(u64, EntryHash)>>> {
        let to = (peer, Lane::Bulk);
        while !items.is_empty() {
            let mut frame = Gathered::default();
            let mut taken = 0;
            for (seq, hash) in &items {
                if let Some(bytes) = stray_bytes(reader, log, Seq(*seq), *hash)? {
                    let entry = unpack_entry(packer, &bytes)?;
                    if frame.is_full_with(&entry) {
                        break;
                    }
                    frame.add(entry);
                }
                taken += 1;
            }
            let entries: Vec<&Entry> = frame.entries.iter().collect();
            if !entries.is_empty() {
                let sender = &mut self.sender(packer, true);
                match self.links.send_entries(sender, to, Some(request), &entries, &mut None) {
                    Ok(()) => self.metrics.served.inc_by(entries.len() as u64),
                    Err(SendError::QueueFull { .. }) => return Ok(Some(items)),
                    Err(error) => return Err(error.into()),
                };
            }
            items.drain(..taken);
        }
        let done = encode(packer, &Message::Done { request, more: false });
        match self.mesh.send(peer, Lane::Bulk, done) {
            Ok(()) => Ok(None),
            Err(SendError::QueueFull { .. }) => Ok(Some(items)),
            Err(error) => Err(error.into()),
        }
    }

    fn answer_range(
        &self,
        packer: &mut Packer,
        reader: &Reader,
        peer: NodeKey,
        want: Want,
    ) -> anyhow::Result<Option<Want>> {
        let lane = Lane::from(want.classes.answered_as());
        let mut frame = Gathered::default();
        let mut left = want;
        let mut scanned = 0;
        let mut next = Seq(want.from);
        let mut more = false;
        'pages: while next.0 < want.to {
            let limits = PageLimits { rows_max: PAGE_ROWS_MAX.min(1024), bytes_max: 2 * FRAME_ENTRIES_BYTES };
            let page = reader.entries(want.log, next, Seq(want.to - 1), limits)?;
            for row in &page.rows {
                scanned += 1;
                if want.classes != WantClasses::All && !want.classes.include(unpack_header(&row.bytes)?.0.class) {
                    continue;
                }
                let entry = unpack_entry(packer, &row.bytes)?;
                if frame.is_full_with(&entry) {
                    if !self.send(packer, (peer, lane), &mut left, &mut frame)? {
                        return Ok(Some(left));
                    }
                    if left.budget == 0 {
                        more = true;
                        break 'pages;
                    }
                }
                frame.add(entry);
            }
            match page.last.and_then(Seq::next) {
                Some(after) if page.is_cut && scanned < URGENT_SCAN_MAX => next = after,
                Some(after) if page.is_cut => {
                    // It goes on after the requests of others.
                    if frame.entries.is_empty() || self.send(packer, (peer, lane), &mut left, &mut frame)? {
                        left.from = after.0;
                    }
                    return Ok(Some(left));
                }
                _ => break,
            }
        }
        if !frame.entries.is_empty() && !self.send(packer, (peer, lane), &mut left, &mut frame)? {
            return Ok(Some(left));
        }
        let done = encode(packer, &Message::Done { request: want.request, more });
        match self.mesh.send(peer, lane, done) {
            Ok(()) => Ok(None),
            // Nothing is left but to say so.
            Err(SendError::QueueFull { .. }) => Ok(Some(Want { from: want.to, ..left })),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a frame if there is room, and notes how far the answer got.
    fn send(
        &self,
        packer: &mut Packer,
        to: (NodeKey, Lane),
        left: &mut Want,
        frame: &mut Gathered,
    ) -> anyhow::Result<bool> {
        let entries: Vec<&Entry> = frame.entries.iter().collect();
        let request = Some(left.request);
        match self.links.send_entries(&mut self.sender(packer, true), to, request, &entries, &mut None) {
            Ok(()) => {
                self.metrics.served.inc_by(entries.len() as u64);
                left.budget = left.budget.saturating_sub(u32::try_from(frame.bytes).unwrap_or(u32::MAX));
                left.from = entries.last().map_or(left.from, |entry| entry.header.seq.0 + 1);
                *frame = Gathered::default();
                Ok(true)
            }
            Err(SendError::QueueFull { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Entries of the next frame of an answer.
#[derive(Default)]
struct Gathered {
    entries: Vec<Entry>,
    bytes: usize,
}

impl Gathered {
    fn is_full_with(&self, entry: &Entry) -> bool {
        !self.entries.is_empty() && self.bytes + weight(&entry.header) > FRAME_ENTRIES_BYTES
    }

    fn add(&mut self, entry: Entry) {
        self.bytes += weight(&entry.header);
        self.entries.push(entry);
    }
}

/// Bytes that an entry takes in a frame before packing, about.
fn weight(header: &EntryHeader) -> usize {
    header.changes_len as usize + 200
}

/// The entries in groups that fit a frame.
fn frames_of(entries: &[Arc<CheckedEntry>]) -> Vec<&[Arc<CheckedEntry>]> {
    let mut groups = Vec::new();
    let mut from = 0;
    let mut bytes = 0;
    for (index, entry) in entries.iter().enumerate() {
        let len = weight(entry.header());
        if index > from && bytes + len > FRAME_ENTRIES_BYTES {
            groups.push(&entries[from..index]);
            from = index;
            bytes = 0;
        }
        bytes += len;
    }
    if from < entries.len() {
        groups.push(&entries[from..]);
    }
    groups
}
