//! Entries out: pushes as the core decides them, answers to requests from the store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use vatra_mesh::{Lane, Mesh, SendError};
use vatra_model::pack::Packer;
use vatra_model::wire::{FRAME_ENTRIES_BYTES, LogDescriptor, Message, Want};
use vatra_model::{CheckedEntry, Class, Entry, LogId, NodeKey, Seq};
use vatra_replica::Input;
use vatra_store::{PAGE_ROWS_MAX, PageLimits, Reader};

use crate::node::driver::Item;
use crate::node::links::{Links, encode};
use crate::node::mailbox::{Mailbox, Urgency};
use crate::node::metrics::Metrics;
use crate::node::origins::Origins;
use crate::node::packing::{unpack_entry, unpack_header};

/// How long an answer waits for room in a link's queue before it is given up.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(30);
/// Time between looks for room in a link's queue.
const ROOM_POLL: Duration = Duration::from_millis(2);
/// Stored entries that one urgent request looks through.
const URGENT_SCAN_MAX: usize = 50_000;
/// Requests of one peer under way or waiting here; more are refused.
const WANTS_PER_PEER_MAX: usize = 8;

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
    fn descriptor(&self, log: &LogId) -> Option<LogDescriptor> {
        self.origins.descriptor(log)
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
                let sent = self.links.send_entries(
                    &self.mesh,
                    packer,
                    (*peer, lane),
                    None,
                    &entries,
                    &|log| self.descriptor(log),
                    &mut last,
                );
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
        let _ = self.mailbox.try_post(Urgency::Control, 1, Item::Core(Input::Shed { peer }));
    }

    /// Answers requests until the queue is closed.
    pub(crate) fn run_answers(self, wants: &Wants, reader: &Reader) {
        let mut packer = Packer::new();
        while let Some((peer, want)) = wants.next() {
            if let Err(error) = self.answer(&mut packer, reader, peer, want) {
                tracing::warn!(peer = %peer.short(), error = format!("{error:#}"), "an answer was given up");
            }
            wants.done(peer);
        }
    }

    fn answer(&self, packer: &mut Packer, reader: &Reader, peer: NodeKey, want: Want) -> anyhow::Result<()> {
        let lane = if want.urgent_only { Lane::Priority } else { Lane::Bulk };
        let mut more = false;
        let mut budget = want.budget as usize;
        let mut scanned = 0;
        let mut gathered: Vec<Entry> = Vec::new();
        let mut gathered_bytes = 0;
        let mut next = Seq(want.from);
        'pages: while next.0 < want.to {
            let limits = PageLimits { rows_max: PAGE_ROWS_MAX.min(1024), bytes_max: 2 * FRAME_ENTRIES_BYTES };
            let page = reader.entries(want.log, next, Seq(want.to - 1), limits)?;
            for row in &page.rows {
                scanned += 1;
                if want.urgent_only && !unpack_header(&row.bytes)?.0.class.is_urgent() {
                    continue;
                }
                let entry = unpack_entry(packer, &row.bytes)?;
                let bytes = entry.header.changes_len as usize + 200;
                if gathered_bytes + bytes > FRAME_ENTRIES_BYTES && !gathered.is_empty() {
                    self.send(packer, peer, lane, want.request, &std::mem::take(&mut gathered))?;
                    gathered_bytes = 0;
                }
                gathered_bytes += bytes;
                gathered.push(entry);
                budget = budget.saturating_sub(bytes);
                if budget == 0 {
                    more = row.seq.0 + 1 < want.to;
                    break 'pages;
                }
            }
            match page.last.and_then(Seq::next) {
                Some(after) if page.is_cut && scanned < URGENT_SCAN_MAX => next = after,
                Some(after) if page.is_cut => {
                    more = after.0 < want.to;
                    break;
                }
                _ => break,
            }
        }
        if !gathered.is_empty() {
            self.send(packer, peer, lane, want.request, &gathered)?;
        }
        let done = encode(packer, &Message::Done { request: want.request, more });
        self.with_room(|| self.mesh.send(peer, lane, done.clone()))
    }

    fn send(
        &self,
        packer: &mut Packer,
        peer: NodeKey,
        lane: Lane,
        request: u32,
        entries: &[Entry],
    ) -> anyhow::Result<()> {
        let entries: Vec<&Entry> = entries.iter().collect();
        let mut last = None;
        self.with_room(|| {
            self.links.send_entries(
                &self.mesh,
                packer,
                (peer, lane),
                Some(request),
                &entries,
                &|log| self.descriptor(log),
                &mut last,
            )
        })?;
        self.metrics.served.inc_by(entries.len() as u64);
        Ok(())
    }

    /// Tries until the link's queue has room, for a bounded time.
    fn with_room(&self, mut send: impl FnMut() -> Result<(), SendError>) -> anyhow::Result<()> {
        let give_up = Instant::now() + ROOM_WAIT_MAX;
        loop {
            match send() {
                Ok(()) => return Ok(()),
                Err(SendError::QueueFull { .. }) if Instant::now() < give_up => std::thread::sleep(ROOM_POLL),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The entries in groups that fit a frame.
fn frames_of(entries: &[Arc<CheckedEntry>]) -> Vec<&[Arc<CheckedEntry>]> {
    let mut groups = Vec::new();
    let mut from = 0;
    let mut bytes = 0;
    for (index, entry) in entries.iter().enumerate() {
        let len = entry.header().changes_len as usize + 200;
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

/// Requests that wait for an answer: fair between peers, bounded for each.
#[derive(Default)]
pub(crate) struct Wants {
    state: Mutex<WantsState>,
    arrived: std::sync::Condvar,
}

#[derive(Default)]
struct WantsState {
    waiting: BTreeMap<NodeKey, std::collections::VecDeque<Want>>,
    /// Peers whose request is being answered: one at a time, so that answers keep their order.
    busy: std::collections::BTreeSet<NodeKey>,
    last: Option<NodeKey>,
    is_closed: bool,
}

impl Wants {
    /// Takes a request; `false` if the peer has too many waiting.
    pub(crate) fn push(&self, peer: NodeKey, want: Want) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = state.waiting.entry(peer).or_default();
        if queue.len() >= WANTS_PER_PEER_MAX {
            return false;
        }
        // Urgent requests are answered first.
        if want.urgent_only {
            queue.push_front(want)
        } else {
            queue.push_back(want)
        }
        drop(state);
        self.arrived.notify_one();
        true
    }

    /// The link is gone: what it asked for is forgotten.
    pub(crate) fn forget(&self, peer: NodeKey) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).waiting.remove(&peer);
    }

    pub(crate) fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_closed = true;
        self.arrived.notify_all();
    }

    fn next(&self) -> Option<(NodeKey, Want)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.is_closed {
                return None;
            }
            let free = |(peer, queue): &(&NodeKey, &std::collections::VecDeque<Want>)| {
                !queue.is_empty() && !state.busy.contains(*peer)
            };
            let after_last = state.waiting.iter().filter(free).find(|(peer, _)| Some(**peer) > state.last);
            let next = after_last.or_else(|| state.waiting.iter().find(free)).map(|(peer, _)| *peer);
            if let Some(peer) = next {
                let want = state.waiting.get_mut(&peer).and_then(std::collections::VecDeque::pop_front);
                state.busy.insert(peer);
                state.last = Some(peer);
                if let Some(want) = want {
                    return Some((peer, want));
                }
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self, peer: NodeKey) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).busy.remove(&peer);
        self.arrived.notify_one();
    }
}
