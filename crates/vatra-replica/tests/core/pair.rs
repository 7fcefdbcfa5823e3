//! Two nodes that can be linked and cut, and a third peer of theirs that says what a test has it say.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use vatra_model::wire::Message;
use vatra_model::{CheckedEntry, EntryHash, LogId, MonoMs, SignedHeader};
use vatra_replica::{Cost, Effect, Input};

use crate::liar::log;
use crate::support::*;

/// The number of the third peer.
pub(crate) const THIRD: u8 = 2;

/// Nodes 0 and 1, and what travels between them.
pub(crate) struct Pair {
    pub(crate) nodes: Vec<Node>,
    is_linked: bool,
    queue: VecDeque<(usize, Input)>,
    /// Strays in lists that were sent.
    pub(crate) listed: u64,
    /// Questions to the third peer for a header: who asks, for which place, and when it answers.
    probes: Vec<(usize, u64, MonoMs)>,
    /// It answers each after this time, with what the node itself holds, and begins the next search.
    pub(crate) leads_astray_every_ms: Option<u64>,
    /// A stray that no disk gives back.
    pub(crate) lost: Option<EntryHash>,
}

impl Pair {
    pub(crate) fn new() -> Pair {
        let node = |index| Node::with_config(index, bare(index, charter(MEMBERS)));
        Pair {
            nodes: vec![node(0), node(1)],
            is_linked: false,
            queue: VecDeque::new(),
            listed: 0,
            probes: Vec::new(),
            leads_astray_every_ms: None,
            lost: None,
        }
    }

    pub(crate) fn link(&mut self) {
        self.is_linked = true;
        for at in 0..2 {
            let peer = key(1 - at as u8);
            self.feed(at, Input::LinkUp { peer, cost: Cost::Wan });
        }
        self.run(3_000);
    }

    pub(crate) fn cut(&mut self) {
        self.is_linked = false;
        self.queue.clear();
        for at in 0..2 {
            let peer = key(1 - at as u8);
            self.feed(at, Input::LinkDown { peer });
        }
        self.run(1_000);
    }

    pub(crate) fn feed(&mut self, at: usize, input: Input) {
        let effects = self.nodes[at].act([input]);
        self.perform(at, effects);
    }

    pub(crate) fn forks(&self) -> [Option<u64>; 2] {
        [0, 1].map(|at| forked(&self.nodes[at]))
    }

    pub(crate) fn holds_the_same(&self) -> bool {
        self.nodes[0].held() == self.nodes[1].held()
    }

    pub(crate) fn perform(&mut self, at: usize, effects: Vec<Effect>) {
        let (to, from) = (1 - at, at as u8);
        for effect in effects {
            match effect {
                Effect::Send { peer, message: Message::Probe { seq, .. } } if peer == key(THIRD) => {
                    let wait = self.leads_astray_every_ms.unwrap_or(u64::MAX / 2);
                    self.probes.push((at, seq, self.nodes[at].now.mono.plus(wait)));
                }
                Effect::Send { peer, .. } if peer != key(to as u8) => {}
                Effect::Send { message: Message::Beacon(signed), .. } => {
                    let trust = self.nodes[to].replica.trust();
                    let Ok(Some(beacon)) = trust.check_beacon(signed) else { continue };
                    self.queue.push_back((to, Input::Beacon { peer: key(from), beacon: Box::new(beacon) }));
                }
                Effect::Send { message: sent, .. } => {
                    if let Message::StrayList(list) = &sent {
                        self.listed += list.items.len() as u64;
                    }
                    self.queue.push_back((to, message(from, sent)));
                }
                Effect::Push { peers, entries, .. } if peers.contains(&key(to as u8)) => {
                    self.send(at, None, entries);
                }
                Effect::Serve { peer, want } if peer == key(to as u8) => {
                    let held = self.nodes[at].entries.range((want.log, want.from)..(want.log, want.to));
                    let entries = held.map(|(_, entry)| entry.clone()).collect();
                    self.answer(at, want.request, entries);
                }
                Effect::ServeStrays { peer, request, log, items } if peer == key(to as u8) => {
                    let node = &self.nodes[at];
                    let find = |(seq, hash): &(u64, EntryHash)| {
                        let beside = node.strays.get(&(log, *seq, *hash));
                        beside.or_else(|| node.entries.get(&(log, *seq)).filter(|entry| entry.hash() == *hash)).cloned()
                    };
                    let entries = items.iter().filter(|(_, hash)| Some(*hash) != self.lost).filter_map(find).collect();
                    self.answer(at, request, entries);
                }
                Effect::ServeHeader { peer, log, seq } if peer == key(to as u8) => {
                    let header = self.nodes[at].entries.get(&(log, seq)).map(|entry| SignedHeader::of(entry.entry()));
                    self.queue.push_back((to, message(from, Message::Header { log, seq, header })));
                }
                Effect::Close { reason, .. } => panic!("closed: {reason}"),
                _ => {}
            }
        }
    }

    fn answer(&mut self, at: usize, request: u32, entries: Vec<Arc<CheckedEntry>>) {
        self.send(at, Some(request), entries);
        self.queue.push_back((1 - at, message(at as u8, Message::Done { request, more: false })));
    }

    fn send(&mut self, at: usize, request: Option<u32>, entries: Vec<Arc<CheckedEntry>>) {
        let to = 1 - at;
        let of: BTreeSet<LogId> = entries.iter().map(|entry| entry.header().log).collect();
        let trust = self.nodes[to].replica.trust();
        let descriptor = |log: &LogId| self.nodes[at].replica.descriptor(log).expect("described").clone();
        let logs = of.iter().map(|log| trust.check_log(descriptor(log)).expect("of members")).collect();
        self.queue.push_back((to, Input::Entries { peer: Some(key(at as u8)), request, logs, entries }));
    }

    /// Lets time pass for both.
    pub(crate) fn run(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            while let Some((to, input)) = self.queue.pop_front() {
                if self.is_linked {
                    self.feed(to, input);
                }
            }
            for at in 0..2 {
                let effects = self.nodes[at].tick_after(100);
                self.perform(at, effects);
            }
            self.lead_astray();
        }
    }

    /// Seconds until something holds, of so many.
    pub(crate) fn seconds_until(&mut self, most: u64, mut holds: impl FnMut(&Pair) -> bool) -> Option<u64> {
        for second in 0..most {
            if holds(self) {
                return Some(second);
            }
            self.run(1_000);
        }
        None
    }

    fn lead_astray(&mut self) {
        let is_due = |(at, _, due): &(usize, u64, MonoMs)| *due <= self.nodes[*at].now.mono;
        let (due, later): (Vec<_>, Vec<_>) = self.probes.drain(..).partition(is_due);
        self.probes = later;
        for (at, seq, _) in due {
            let header = Some(SignedHeader::of(self.nodes[at].entries[&(log(), seq)].entry()));
            self.feed(at, message(THIRD, Message::Header { log: log(), seq, header }));
            if self.probes.iter().all(|(asks, ..)| *asks != at) {
                self.feed(at, another_head(4));
            }
        }
    }
}

/// The third peer says that it has another chain of the liar's log, of this height.
pub(crate) fn another_head(height: u64) -> Input {
    let heads = vec![(log(), height, EntryHash([1; 32]))];
    message(THIRD, Message::Frontier(vatra_model::wire::FrontierDigest { complete: true, heads }))
}

/// Where a node has the liar's log end.
pub(crate) fn forked(node: &Node) -> Option<u64> {
    let status = node.replica.status(node.now);
    status.logs.iter().find(|status| status.log == log()).and_then(|status| status.forked)
}
