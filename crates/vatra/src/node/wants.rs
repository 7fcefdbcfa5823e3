//! Requests that wait for an answer: fair between peers, bounded for each, one at a time for each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vatra_model::wire::Want;
use vatra_model::{Class, EntryHash, LogId, NodeKey};

/// Requests of one peer under way or waiting here; more are refused.
const WANTS_PER_PEER_MAX: usize = 8;
/// How long a peer whose queue is full is left before its answer goes on.
const ROOM_WAIT: Duration = Duration::from_millis(5);

/// What a peer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// A range of a log.
    Range(Want),
    /// Strays of a forked log by place and hash.
    Strays { request: u32, log: LogId, items: Vec<(u64, EntryHash)> },
}

impl Request {
    /// The most urgent is answered first.
    fn class(&self) -> Class {
        match self {
            Request::Range(want) => want.classes.answered_as(),
            Request::Strays { .. } => Class::Bulk,
        }
    }
}

/// The waiting requests of all peers.
#[derive(Default)]
pub(crate) struct Wants {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<NodeKey, VecDeque<Request>>,
    /// Peers with an answer under way, so that answers keep their order.
    busy: BTreeSet<NodeKey>,
    /// Busy peers whose link was lost since: what is left of their answers is nobody's any more.
    stale: BTreeSet<NodeKey>,
    /// Peers without room for more at present.
    paused: BTreeMap<NodeKey, Instant>,
    last: Option<NodeKey>,
    is_closed: bool,
}

impl Wants {
    /// Takes a request; `false` if the peer has too many waiting. Urgent ones go first.
    pub(crate) fn push(&self, peer: NodeKey, want: Request) -> bool {
        let mut state = self.lock();
        let queue = state.waiting.entry(peer).or_default();
        if queue.len() >= WANTS_PER_PEER_MAX {
            return false;
        }
        let before = queue.iter().take_while(|waiting| waiting.class() <= want.class()).count();
        queue.insert(before, want);
        drop(state);
        self.arrived.notify_one();
        true
    }

    /// The link is gone: what it asked for is forgotten.
    pub(crate) fn forget(&self, peer: NodeKey) {
        let mut state = self.lock();
        state.waiting.remove(&peer);
        state.paused.remove(&peer);
        if state.busy.contains(&peer) {
            state.stale.insert(peer);
        }
    }

    /// Lets everyone who waits for a request go home.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.arrived.notify_all();
    }

    /// The next request, peer after peer in turn; `None` once closed.
    pub(crate) fn next(&self) -> Option<(NodeKey, Request)> {
        let mut state = self.lock();
        while !state.is_closed {
            if let Some(found) = state.take() {
                return Some(found);
            }
            state = match state.next_room() {
                Some(wait) => self.arrived.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        None
    }

    /// The answer was given, or given up.
    pub(crate) fn done(&self, peer: NodeKey) {
        let mut state = self.lock();
        state.busy.remove(&peer);
        state.stale.remove(&peer);
        drop(state);
        self.arrived.notify_one();
    }

    /// The peer had no room for the rest of the answer: it goes on in a moment, unless the link is gone. Urgent
    /// requests that came meanwhile go before it.
    pub(crate) fn put_back(&self, peer: NodeKey, rest: Request) {
        let mut state = self.lock();
        state.busy.remove(&peer);
        let is_stale = state.stale.remove(&peer);
        if let Some(queue) = state.waiting.get_mut(&peer).filter(|_| !is_stale) {
            let before = queue.iter().take_while(|waiting| waiting.class() < rest.class()).count();
            queue.insert(before, rest);
            state.paused.insert(peer, Instant::now() + ROOM_WAIT);
        }
        drop(state);
        self.arrived.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self) -> Option<(NodeKey, Request)> {
        let now = Instant::now();
        self.paused.retain(|_, until| *until > now);
        let free = |(peer, queue): &(&NodeKey, &VecDeque<Request>)| {
            !queue.is_empty() && !self.busy.contains(*peer) && !self.paused.contains_key(*peer)
        };
        let after_last = self.waiting.iter().filter(free).find(|(peer, _)| Some(**peer) > self.last);
        let peer = *after_last.or_else(|| self.waiting.iter().find(free))?.0;
        let want = self.waiting.get_mut(&peer).and_then(VecDeque::pop_front)?;
        self.busy.insert(peer);
        self.last = Some(peer);
        Some((peer, want))
    }

    fn next_room(&self) -> Option<Duration> {
        let now = Instant::now();
        self.paused.values().map(|until| until.saturating_duration_since(now)).min()
    }
}

#[cfg(test)]
mod tests {
    use vatra_model::LogId;
    use vatra_model::wire::WantClasses;

    use super::*;

    fn want(request: u32, is_urgent: bool) -> Request {
        let classes = if is_urgent { WantClasses::Urgent } else { WantClasses::All };
        Request::Range(Want { request, log: LogId([1; 16]), from: 0, to: 9, classes, budget: 1 })
    }

    fn number(request: &Request) -> u32 {
        match request {
            Request::Range(want) => want.request,
            Request::Strays { request, .. } => *request,
        }
    }

    fn requests(wants: &Wants, count: usize) -> Vec<(u8, u32)> {
        let mut taken = Vec::new();
        for _ in 0..count {
            let (peer, want) = wants.next().expect("open");
            taken.push((peer.0[0], number(&want)));
            wants.done(peer);
        }
        taken
    }

    #[test]
    fn peers_take_turns_and_urgent_requests_go_first() {
        let wants = Wants::default();
        let (a, b) = (NodeKey([1; 32]), NodeKey([2; 32]));
        for request in 1..=3 {
            assert!(wants.push(a, want(request, false)));
        }
        for (request, classes) in [(4, WantClasses::Priority), (5, WantClasses::Flash), (6, WantClasses::Priority)] {
            let urgent = Want { request, log: LogId([1; 16]), from: 0, to: 9, classes, budget: 1 };
            assert!(wants.push(a, Request::Range(urgent)));
        }
        assert!(wants.push(b, want(1, false)));
        assert_eq!(requests(&wants, 7), [(1, 5), (2, 1), (1, 4), (1, 6), (1, 1), (1, 2), (1, 3)]);
    }

    #[test]
    fn a_peer_without_room_does_not_hold_up_others() {
        let wants = Wants::default();
        let (a, b) = (NodeKey([1; 32]), NodeKey([2; 32]));
        assert!(wants.push(a, want(1, false)) && wants.push(b, want(2, false)));
        let (first, rest) = wants.next().expect("open");
        wants.put_back(first, rest);
        assert_eq!(requests(&wants, 2), [(2, 2), (1, 1)]);
    }

    #[test]
    fn an_urgent_request_goes_before_the_rest_of_an_answer() {
        let wants = Wants::default();
        let a = NodeKey([1; 32]);
        assert!(wants.push(a, want(1, false)));
        let (peer, rest) = wants.next().expect("open");
        assert!(wants.push(a, want(2, true)));
        wants.put_back(peer, rest);
        assert_eq!(requests(&wants, 2), [(1, 2), (1, 1)]);
    }

    #[test]
    fn the_rest_of_an_answer_dies_with_its_link() {
        let wants = Wants::default();
        let a = NodeKey([1; 32]);
        assert!(wants.push(a, want(1, false)));
        let (peer, rest) = wants.next().expect("open");
        wants.forget(a);
        assert!(wants.push(a, want(7, false)), "the new link asks anew");
        wants.put_back(peer, rest);
        assert_eq!(requests(&wants, 1), [(1, 7)]);
        assert!(wants.push(a, want(8, false)));
        assert_eq!(requests(&wants, 1), [(1, 8)]);
    }

    #[test]
    fn too_many_requests_of_a_peer_are_refused_and_a_lost_link_clears_them() {
        let wants = Wants::default();
        let a = NodeKey([1; 32]);
        for request in 0..8 {
            assert!(wants.push(a, want(request, false)));
        }
        assert!(!wants.push(a, want(9, false)));
        wants.forget(a);
        assert!(wants.push(a, want(10, false)));
        assert_eq!(requests(&wants, 1), [(1, 10)]);
        wants.close();
        assert_eq!(wants.next(), None);
    }
}
