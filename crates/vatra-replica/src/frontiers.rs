//! Frontiers between two peers: hash first, then only what changed since the last one told, and now and then, in
//! turn, a question to peers that seem to hold something else.

use vatra_model::limits::LOGS_MAX;
use vatra_model::wire::{FrontierDigest, Message};
use vatra_model::{Frontier, Head, NodeKey};

use crate::input::{Effect, Now, Reject};
use crate::planner::{grows, held_height};
use crate::replica::Replica;
use crate::topology::Cost;

/// Peers asked for their frontier in one round. With two in turn, one that lies or withholds hides nothing long.
const ASKED_PER_ROUND: usize = 2;
/// Time between such questions over a metered link, in milliseconds.
const ASK_METERED_MS: u64 = 300_000;

impl Replica {
    /// Tells a peer which frontier of it was heard last, so that it need not tell all of the next.
    pub(crate) fn send_resume(&self, peer: NodeKey, effects: &mut Vec<Effect>) {
        let known = self.memory.get(&peer).filter(|known| known.version >= 2 && self.protocol >= 2);
        if let Some(heard) = known.and_then(|known| known.heard.as_ref()) {
            effects.push(Effect::Send { peer, message: Message::Resume { heard: heard.hash } });
        }
    }

    /// Both hold the same.
    pub(crate) fn agree(&mut self, now: Now, peer: NodeKey, frontier: Frontier) {
        let snapshot = self.memory.snapshot(frontier);
        let known = self.memory.of(peer, now.mono);
        known.heard = Some(snapshot.clone());
        known.tell(snapshot);
    }

    /// Tells a peer our frontier: what changed since the one that it heard last, or all of it.
    pub(crate) fn tell_frontier(&mut self, now: Now, peer: NodeKey, effects: &mut Vec<Effect>) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let heard = state.resumes.take().filter(|_| state.version >= 2);
        let ours = self.memory.snapshot(self.logs.frontier());
        let known = self.memory.of(peer, now.mono);
        let base = heard.and_then(|hash| known.told(&hash));
        // What is no more, after a failed write, cannot be told as a change.
        let base = base.filter(|base| base.frontier.0.keys().all(|log| ours.frontier.0.contains_key(log)));
        known.tell(ours.clone());
        let same = |log, head: &Head| base.as_ref().is_some_and(|base| base.frontier.0.get(log) == Some(head));
        let changed = ours.frontier.0.iter().filter(|(log, head)| !same(*log, head));
        let heads = changed.map(|(log, head)| (*log, head.height, head.head)).collect();
        let digest = FrontierDigest { complete: base.is_none(), heads };
        effects.push(Effect::Send { peer, message: Message::Frontier(digest) });
    }

    pub(crate) fn take_frontier(
        &mut self,
        now: Now,
        peer: NodeKey,
        digest: &FrontierDigest,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reject> {
        let limit = LOGS_MAX;
        if digest.heads.len() > limit {
            return Err(Reject::Full { what: "logs of a frontier", limit });
        }
        let known = self.memory.of(peer, now.mono);
        let mut theirs = match &known.heard {
            Some(heard) if !digest.complete => heard.frontier.clone(),
            _ => Frontier::default(),
        };
        theirs.0.extend(digest.heads.iter().map(|(log, height, head)| (*log, Head { height: *height, head: *head })));
        if theirs.0.len() > limit {
            known.heard = None;
            return Err(Reject::Full { what: "logs of a frontier", limit });
        }
        let wait = self.push_wait_ms();
        let snapshot = self.memory.snapshot(theirs.clone());
        self.memory.of(peer, now.mono).heard = Some(snapshot);
        for (log, head) in &theirs.0 {
            self.compare_heads(now, peer, (*log, head.height, head.head), effects);
            self.learn_height(now, peer, *log, head.height, effects);
            let state = self.logs.get(log);
            // What pushes are just bringing is waited for, as after an announcement.
            if head.height > held_height(state) && !grows(state, now.mono, wait) {
                self.ripen(*log);
            }
        }
        // A log that forked at its very beginning is in no frontier of a node that does not know of the fork.
        let forked = self.logs.iter().filter(|(log, state)| state.fork.is_some() && !theirs.0.contains_key(*log));
        for log in forked.map(|(log, _)| *log).collect::<Vec<_>>() {
            self.compare_fork(now, peer, log, effects);
        }
        self.may_mend(now, peer);
        self.confirm();
        self.plan_stale = true;
        Ok(())
    }

    /// Asks the next peers that seem to hold something else what changed. In an honest mesh that is quiet, all
    /// frontiers are equal and nobody is asked.
    pub(crate) fn ask_in_turn(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let ours = self.logs.frontier().hash();
        let differs = |peer: &NodeKey| self.beacons.get(peer).is_some_and(|heard| heard.frontier_hash() != ours);
        let eligible = self.peers.iter().filter(|(key, peer)| {
            let rests = peer.cost() == Cost::Metered
                && peer.frontier_asked.is_some_and(|asked| now.mono.since(asked) < ASK_METERED_MS);
            peer.greeted && peer.version >= 2 && peer.wants.is_empty() && !rests && differs(key)
        });
        let mut turn: Vec<NodeKey> = eligible.map(|(key, _)| *key).collect();
        let begin = turn.iter().position(|key| Some(*key) > self.timers.turn).unwrap_or(0);
        turn.rotate_left(begin);
        for peer in turn.into_iter().take(ASKED_PER_ROUND) {
            self.timers.turn = Some(peer);
            if let Some(state) = self.peers.get_mut(&peer) {
                state.frontier_asked = Some(now.mono);
            }
            let heard =
                self.memory.get(&peer).and_then(|known| known.heard.as_ref()).map_or([0; 32], |heard| heard.hash);
            effects.push(Effect::Send { peer, message: Message::Resume { heard } });
        }
    }
}
