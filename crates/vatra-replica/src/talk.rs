//! Links: how they begin and end, and what is said over them beside beacons and entries.

use vatra_model::certificate::SignedCertificate;
use vatra_model::charter::{AdmitError, CHARTER_BYTES_MAX};
use vatra_model::limits::CLOCK_SKEW_FLAG_MS;
use vatra_model::wire::{Hello, MESSAGE_LOGS_MAX, Message, PROTOCOL_VERSION_MIN};
use vatra_model::{NodeKey, WallMs};

use crate::input::{Effect, Event, Now, Reject};
use crate::peers::Peer;
use crate::replica::Replica;
use crate::topology::Cost;

/// Largest round trip that is told apart, in milliseconds.
const RTT_MS_MAX: u32 = 1 << 20;

impl Replica {
    pub(crate) fn link_up(&mut self, now: Now, peer: NodeKey, cost: Cost, effects: &mut Vec<Effect>) {
        let mut state = Peer::new(cost, now.mono);
        state.allowances = self.memory.allowances(&peer);
        self.peers.insert(peer, state);
        self.topology_stale = true;
        self.send_resume(peer, effects);
        effects.push(Effect::Send { peer, message: Message::Hello(self.hello(now)) });
    }

    fn hello(&self, now: Now) -> Hello {
        Hello {
            version: self.protocol,
            version_min: PROTOCOL_VERSION_MIN,
            certificate: self.certificate.encode(),
            incarnation: self.incarnation,
            founding: self.trust.charter().founding_hash(),
            charter_epoch: self.trust.charter().current().epoch,
            charter_hash: self.trust.charter().hash(),
            frontier_hash: self.frontier().hash(),
            clock: now.wall,
            software: self.software.clone(),
        }
    }

    pub(crate) fn link_down(&mut self, now: Now, peer: NodeKey) {
        if let Some(gone) = self.peers.remove(&peer) {
            if gone.greeted && self.trust.node(&peer).is_some() {
                self.unlinked.insert(peer, now.mono);
            }
            self.settling.extend(gone.known_logs().map(|(log, _)| *log));
            self.unask(&gone.wants.values().copied().collect::<Vec<_>>());
            self.end_searches(&peer);
            self.forget_stray_talk(&peer);
            self.lost.retain(|(from, _), _| *from != peer);
            for (log, _) in gone.known_logs() {
                self.forget_behind(log);
            }
            self.topology_stale = true;
            self.herald.beacon_changed(now.mono);
            self.plan_stale = true;
            self.memory.keep_allowances(peer, gone.allowances, now.mono);
            if !gone.greeted {
                self.memory.doubt(&peer);
            } else if self.memory.get(&peer).is_some() {
                self.memory.of(peer, now.mono).doubt_shown(now.mono);
            }
        }
    }

    pub(crate) fn round_trip(&mut self, now: Now, peer: NodeKey, rtt_ms: u32) {
        if let Some(state) = self.peers.get_mut(&peer)
            // Beyond this a link is unusable anyway.
            && state.measured(rtt_ms.min(RTT_MS_MAX))
        {
            self.herald.round_trip_changed(now.mono);
        }
    }

    pub(crate) fn message(&mut self, now: Now, peer: NodeKey, message: Message, effects: &mut Vec<Effect>) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if let Err(reject) = state.allowances.admit(now.mono, &message) {
            return effects.push(Effect::Event(Event::Rejected { peer: Some(peer), reject }));
        }
        let refused = match message {
            Message::Hello(_) if state.greeted => Err(Reject::Unexpected("second hello")),
            Message::Hello(hello) => {
                if let Err(reason) = self.greet(now, peer, hello, effects) {
                    effects.push(Effect::Close { peer, reason });
                }
                Ok(())
            }
            Message::Resume { heard } if !state.greeted => {
                state.resumes = Some(heard);
                Ok(())
            }
            Message::Charter { bytes } if state.waits_for_charter.is_some() => {
                self.take_charter(Some(peer), &bytes, effects);
                self.greet_waiting(now, Some(peer), effects);
                Ok(())
            }
            _ if !state.greeted => Err(Reject::Unexpected("message before the hello")),
            Message::WantCharter { after } => {
                if self.trust.charter().current().epoch > after {
                    let bytes = self.trust.charter().encode();
                    effects.push(Effect::Send { peer, message: Message::Charter { bytes } });
                }
                Ok(())
            }
            Message::Charter { bytes } => {
                self.take_charter(Some(peer), &bytes, effects);
                self.greet_waiting(now, Some(peer), effects);
                Ok(())
            }
            Message::Frontier(digest) => self.take_frontier(now, peer, &digest, effects),
            Message::Have { heights } if heights.len() > MESSAGE_LOGS_MAX => {
                Err(Reject::Full { what: "logs of an announcement", limit: MESSAGE_LOGS_MAX })
            }
            Message::Have { heights } => {
                self.learn_peers_heights(now, peer, heights, effects);
                Ok(())
            }
            Message::Want(want) => self.serve(now, peer, want, effects),
            Message::Done { request, more } => {
                if !self.finish_strays(now, peer, request) {
                    self.finish_want(now, peer, request, more);
                }
                Ok(())
            }
            Message::Fork(proof) => self.take_proof(*proof, effects),
            Message::Probe { log, seq } => {
                effects.push(Effect::ServeHeader { peer, log, seq });
                Ok(())
            }
            Message::Header { log, seq, header } => self.take_header(peer, (log, seq), header),
            Message::WantStrayList { log } => {
                self.give_list(now, peer, log, effects);
                Ok(())
            }
            Message::StrayList(list) => self.take_stray_list(now, peer, &list, effects),
            Message::WantStrays { request, log, items } => self.take_want_strays(peer, request, (log, items), effects),
            Message::Resume { heard } => {
                state.resumes = Some(heard);
                self.tell_frontier(now, peer, effects);
                Ok(())
            }
            Message::Pulses { pulses } => self.accept_pulses(now, peer, pulses, effects),
            Message::Beacon(_) => Err(Reject::Unexpected("unchecked beacon")),
            Message::Entries(_) => Err(Reject::Unexpected("unchecked entries")),
        };
        if let Err(reject) = refused {
            effects.push(Effect::Event(Event::Rejected { peer: Some(peer), reject }));
        }
    }

    fn greet(&mut self, now: Now, peer: NodeKey, hello: Hello, effects: &mut Vec<Effect>) -> Result<(), Reject> {
        if hello.version < PROTOCOL_VERSION_MIN || hello.version_min > self.protocol {
            return Err(Reject::Version { min: hello.version_min, max: hello.version });
        }
        if hello.founding != self.trust.charter().founding_hash() {
            return Err(Reject::OtherFederation);
        }
        let certificate = SignedCertificate::decode(&hello.certificate).map_err(AdmitError::Certificate)?;
        if certificate.certificate().key != peer {
            return Err(Reject::Malformed { what: "hello", detail: "it brings another node's certificate".into() });
        }
        match self.trust.learn_from_itself(&certificate) {
            Ok(is_news) if is_news => effects.push(Effect::TrustChanged),
            Ok(_) => {}
            // It may be of a member that a newer charter names, or gives a new root; nobody else may have that.
            Err(AdmitError::UnknownMember(_) | AdmitError::Certificate(_))
                if hello.charter_epoch > self.trust.charter().current().epoch =>
            {
                let after = self.trust.charter().current().epoch;
                effects.push(Effect::Send { peer, message: Message::WantCharter { after } });
                let state = self.peers.get_mut(&peer).expect("the caller looked it up");
                state.waits_for_charter = Some(Box::new(hello));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        let frontier = self.frontier();
        let epoch = self.trust.charter().current().epoch;
        let ahead_ms = signed_difference(hello.clock, now.wall);
        let state = self.peers.get_mut(&peer).expect("the caller looked it up");
        state.greeted = true;
        self.unlinked.remove(&peer);
        self.mending.forget_asked(&peer);
        state.version = hello.version.min(self.protocol);
        state.clock_ahead_ms = ahead_ms;
        if state.version < 2 {
            self.herald.greeted_old(now.mono);
        }
        let known = self.memory.of(peer, now.mono);
        known.version = state.version;
        known.doubts = 0;
        // One that does not know what it heard from us has started anew.
        if state.resumes.is_none_or(|heard| known.told(&heard).is_none()) {
            known.forget_shown();
        }
        if hello.frontier_hash == frontier.hash() {
            for (log, head) in &frontier.0 {
                state.learn(*log, head.height);
            }
            self.agree(now, peer, frontier);
            self.may_mend(now, peer);
            self.confirm();
        } else {
            self.tell_frontier(now, peer, effects);
        }
        if hello.charter_epoch > epoch {
            effects.push(Effect::Send { peer, message: Message::WantCharter { after: epoch } });
        }
        if ahead_ms.unsigned_abs() > CLOCK_SKEW_FLAG_MS {
            effects.push(Effect::Event(Event::ClockSkew { peer, ahead_ms }));
        }
        effects.push(Effect::Event(Event::Joined { peer }));
        self.topology_stale = true;
        self.introduce(now, peer);
        Ok(())
    }

    /// Hears those again whose hello only a newer charter could admit, once it is in force. Who was asked for it and gave
    /// another waits no more.
    pub(crate) fn greet_waiting(&mut self, now: Now, from: Option<NodeKey>, effects: &mut Vec<Effect>) {
        let epoch = self.trust.charter().current().epoch;
        let mut waiting = Vec::new();
        for (key, peer) in &mut self.peers {
            let is_due = |hello: &Hello| hello.charter_epoch <= epoch || Some(*key) == from;
            if let Some(hello) = peer.waits_for_charter.take_if(|hello| is_due(hello)) {
                waiting.push((*key, hello));
            }
        }
        for (peer, hello) in waiting {
            let greeted = match hello.charter_epoch <= epoch {
                true => self.greet(now, peer, *hello, effects),
                false => Err(Reject::Charter("the peer has not the one that it named".into())),
            };
            if let Err(reason) = greeted {
                effects.push(Effect::Close { peer, reason });
            }
        }
    }

    pub(crate) fn take_charter(&mut self, peer: Option<NodeKey>, bytes: &[u8], effects: &mut Vec<Effect>) {
        let ours = self.trust.charter();
        let refused = |detail: String| Effect::Event(Event::Rejected { peer, reject: Reject::Charter(detail) });
        let theirs = match ours.continued(bytes) {
            Ok(Some(theirs)) => theirs,
            Ok(None) => return,
            Err(error) => return effects.push(refused(error.to_string())),
        };
        let epoch = theirs.current().epoch;
        // Not as it came: of what was known before nothing was looked at.
        let bytes = theirs.encode();
        if bytes.len() > CHARTER_BYTES_MAX {
            // Signatures that ours has more of: it could be written, and not be read again.
            return effects.push(refused(format!("with the signatures known here it is {} bytes", bytes.len())));
        }
        self.trust.install(theirs);
        // Ours was forgotten if an epoch named our member no more, and this one does again.
        // Those that the charter still does not admit are simply not trusted.
        let _ = self.trust.learn_from_itself(&self.certificate);
        for certificate in &self.configured {
            let _ = self.trust.learn(certificate);
        }
        let trust = &self.trust;
        self.beacons.retain(|node| trust.node(node).is_some());
        self.unlinked.retain(|node, _| trust.node(node).is_some());
        self.paces.retain(|member| trust.charter().current().members.iter().any(|named| named.code == *member));
        self.promote_logs();
        self.end_logs();
        self.readmit_logs();
        self.new_charter = Some(bytes.clone());
        self.topology_stale = true;
        // Before links end to those that it no longer admits: they may not have it yet.
        let others = self.peers.iter().filter(|(key, state)| state.greeted && Some(**key) != peer);
        for (key, _) in others {
            effects.push(Effect::Send { peer: *key, message: Message::Charter { bytes: bytes.clone() } });
        }
        effects.push(Effect::TrustChanged);
        effects.push(Effect::Event(Event::CharterInstalled { epoch }));
    }
}

fn signed_difference(theirs: WallMs, ours: WallMs) -> i64 {
    let ahead = i128::from(theirs.0) - i128::from(ours.0);
    i64::try_from(ahead).unwrap_or(if ahead > 0 { i64::MAX } else { i64::MIN })
}
