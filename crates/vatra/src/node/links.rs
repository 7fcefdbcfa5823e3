//! What each live link's lanes were told, shared by those who send on them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use vatra_mesh::{Lane, LinkId, Mesh, SendError};
use vatra_model::codec;
use vatra_model::pack::Packer;
use vatra_model::wire::{EntriesFrame, Message};
use vatra_model::{Entry, NodeKey, WallMs};
use vatra_replica::Told;

use crate::node::origins::Origins;

/// Live links as senders see them. The lock of one lane is held while a frame is queued, so that what a frame
/// presumes told was queued before it.
#[derive(Default)]
pub(crate) struct Links {
    links: Mutex<BTreeMap<NodeKey, Arc<LinkLanes>>>,
    ended: Mutex<BTreeMap<NodeKey, Ended>>,
}

/// When and why the last link to a node ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) at: WallMs,
    pub(crate) reason: String,
}

/// Nodes whose last link's end is remembered.
const ENDED_MAX: usize = 1024;

struct LinkLanes {
    link: LinkId,
    told: [Mutex<Told>; Lane::COUNT],
}

/// What sending entries takes.
pub(crate) struct Sender<'a> {
    pub(crate) mesh: &'a Mesh,
    pub(crate) packer: &'a mut Packer,
    pub(crate) origins: &'a Origins,
    /// Bytes count more than time: answers to requests, which come in bulk.
    pub(crate) is_tight: bool,
}

impl Sender<'_> {
    fn encode(&mut self, message: &Message) -> Bytes {
        let plain = codec::encode(message);
        Bytes::from(if self.is_tight { self.packer.pack_tight(&plain) } else { self.packer.pack(&plain) })
    }
}

/// A frame of entries as it was last encoded, to be sent again where the other end was told the same.
pub(crate) struct Encoded {
    frame: EntriesFrame,
    bytes: Bytes,
}

impl Links {
    pub(crate) fn up(&self, node: NodeKey, link: LinkId) {
        let lanes = LinkLanes { link, told: std::array::from_fn(|_| Mutex::new(Told::default())) };
        lock(&self.links).insert(node, Arc::new(lanes));
    }

    /// Whether the link is the present one of its node.
    pub(crate) fn is_live(&self, link: LinkId) -> bool {
        lock(&self.links).values().any(|lanes| lanes.link == link)
    }

    /// Remembers why a link ended.
    pub(crate) fn note_end(&self, node: NodeKey, ended: Ended) {
        let mut all = lock(&self.ended);
        if all.len() < ENDED_MAX || all.contains_key(&node) {
            all.insert(node, ended);
        }
    }

    /// Remembers why no link to a node comes about. When the last one ended is kept.
    pub(crate) fn note_refusal(&self, node: NodeKey, refused: Ended) {
        if lock(&self.links).contains_key(&node) {
            return;
        }
        let mut all = lock(&self.ended);
        if let Some(ended) = all.get_mut(&node) {
            ended.reason = refused.reason;
        } else if all.len() < ENDED_MAX {
            all.insert(node, refused);
        }
    }

    /// How the last link to a node ended, if one did since the start.
    pub(crate) fn ended(&self, node: &NodeKey) -> Option<Ended> {
        lock(&self.ended).get(node).cloned()
    }

    pub(crate) fn down(&self, node: NodeKey, link: LinkId) {
        let mut links = lock(&self.links);
        if links.get(&node).is_some_and(|lanes| lanes.link == link) {
            links.remove(&node);
        }
    }

    /// Queues entries for a peer on a lane. `last` may hold the frame as another peer got it.
    pub(crate) fn send_entries(
        &self,
        sender: &mut Sender<'_>,
        (peer, lane): (NodeKey, Lane),
        request: Option<u32>,
        entries: &[&Entry],
        last: &mut Option<Encoded>,
    ) -> Result<(), SendError> {
        let lanes = lock(&self.links).get(&peer).cloned().ok_or(SendError::NoLink)?;
        let mut told = lock(&lanes.told[lane.index()]);
        let frame = told.frame(request, entries.iter().copied(), |log| sender.origins.descriptor(log));
        let reusable = last.as_ref().filter(|last| last.frame.logs == frame.logs && last.frame.request == request);
        let bytes = match reusable {
            Some(last) => last.bytes.clone(),
            None => sender.encode(&Message::Entries(frame.clone())),
        };
        sender.mesh.send(peer, lane, bytes.clone())?;
        told.sent(&frame);
        *last = Some(Encoded { frame, bytes });
        Ok(())
    }
}

/// A message as a frame.
pub(crate) fn encode(packer: &mut Packer, message: &Message) -> Bytes {
    Bytes::from(packer.pack(&codec::encode(message)))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_why_but_not_since_when() {
        let (links, node) = (Links::default(), NodeKey([1; 32]));
        let ended = |at: u64, reason: &str| Ended { at: WallMs(at), reason: reason.to_owned() };
        let told = || links.ended(&node).map(|ended| (ended.at.0, ended.reason));
        links.up(node, LinkId(1));
        links.note_refusal(node, ended(1, "surplus"));
        assert_eq!(told(), None, "a link is up: a second connection is nobody's concern");
        links.down(node, LinkId(1));
        links.note_end(node, ended(2, "silent"));
        links.note_refusal(node, ended(3, "refused"));
        assert_eq!(told(), Some((2, "refused".to_owned())));
    }
}
