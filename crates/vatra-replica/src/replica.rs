//! The replica: takes inputs, keeps the state, gives effects. Each concern has its own file; this one decides
//! which of them an input belongs to.

use std::collections::BTreeMap;
use std::sync::Arc;

use vatra_model::certificate::SignedCertificate;
use vatra_model::charter::Charter;
use vatra_model::limits::CLOCK_SKEW_FLAG_MS;
use vatra_model::wire::{FrontierDigest, Hello, Message, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN};
use vatra_model::{
    AudienceId, CheckedEntry, EntryHash, Frontier, Head, Hlc, Incarnation, LogId, MemberCode, MonoMs, NodeKey, Secret,
    WallMs,
};

use crate::beacons::Beacons;
use crate::input::{Batch, Effect, Event, Input, Now, Reject, RestoredLog};
use crate::logs::{Accepted, Logs};
use crate::peers::{Peer, Peers};
use crate::planner::Ripening;
use crate::publish::Outbox;
use crate::seeded::Seeded;
use crate::topology::{Cost, Topology};
use crate::trust::{CheckedBeacon, CheckedLog, Trust};

/// What a replica is told once.
pub struct ReplicaConfig {
    /// This node's secret key: signs entries and beacons.
    pub secret: Secret,
    /// This node's certificate.
    pub certificate: SignedCertificate,
    /// The charter in force.
    pub charter: Charter,
    /// Certificates of other nodes known from configuration or an earlier run.
    pub certificates: Vec<SignedCertificate>,
    /// Software version, told to peers.
    pub software: String,
    /// Seed of everything that looks random in here.
    pub seed: [u8; 32],
}

/// What was found on disk.
#[derive(Debug)]
pub struct Restored {
    /// The present life of the store.
    pub incarnation: Incarnation,
    /// When it began.
    pub opened: WallMs,
    /// Starts of this node in this life, this one included.
    pub boot: u64,
    /// The highest stamp given or seen.
    pub hlc: Hlc,
    /// The logs.
    pub logs: Vec<RestoredLog>,
}

/// How an entry came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    Local,
    Pushed(NodeKey),
    Fetched(NodeKey),
    File,
}

/// An accepted entry that is not yet durable.
#[derive(Clone, Debug)]
pub(crate) struct Staged {
    pub(crate) entry: Arc<CheckedEntry>,
    pub(crate) came: Came,
}

/// A batch that the caller is writing.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) batch: Batch,
    pub(crate) came: Vec<Came>,
    pub(crate) tokens: Vec<crate::publish::Placed>,
}

/// One node's replica. See the crate documentation for the rules of use.
pub struct Replica {
    pub(crate) me: NodeKey,
    pub(crate) member: MemberCode,
    pub(crate) secret: Secret,
    pub(crate) certificate: SignedCertificate,
    pub(crate) software: String,
    pub(crate) chance: Seeded,
    pub(crate) trust: Trust,

    pub(crate) incarnation: Incarnation,
    pub(crate) opened: WallMs,
    pub(crate) boot: u64,
    pub(crate) hlc: Hlc,
    pub(crate) own_log: LogId,

    pub(crate) logs: Logs,
    pub(crate) outbox: Outbox,
    pub(crate) staged: Vec<Staged>,
    pub(crate) new_charter: Option<Vec<u8>>,
    pub(crate) new_incarnation: bool,
    pub(crate) in_flight: Option<InFlight>,
    pub(crate) next_batch: u64,

    pub(crate) peers: Peers,
    pub(crate) beacons: Beacons,
    pub(crate) topology: Topology,
    pub(crate) topology_stale: bool,
    pub(crate) ripening: BTreeMap<LogId, Ripening>,
    pub(crate) plan_stale: bool,
    pub(crate) timers: Timers,
    pub(crate) behind_since: BTreeMap<LogId, MonoMs>,
    /// Heights that the last complete beacon told.
    pub(crate) told_heights: BTreeMap<LogId, u64>,
    /// Frontier hash of the last beacon.
    pub(crate) told_hash: [u8; 32],
    /// The store takes writes; told in beacons.
    pub(crate) writable: bool,
}

/// When something is due next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timers {
    pub(crate) beacon: MonoMs,
    pub(crate) last_beacon: Option<MonoMs>,
    pub(crate) announce: Option<MonoMs>,
    pub(crate) backstop: MonoMs,
    pub(crate) counter: u64,
}

impl Replica {
    /// A replica with what was found on disk.
    ///
    /// # Errors
    /// [`Reject`] if this node's own certificate is not admitted by the charter, or a stored log's descriptor
    /// cannot be read.
    pub fn new(config: ReplicaConfig, restored: Restored, now: Now) -> Result<Replica, Reject> {
        let mut trust = Trust::new(config.charter);
        trust.learn(&config.certificate)?;
        for certificate in &config.certificates {
            // One that the charter no longer admits is simply not trusted.
            let _ = trust.learn(certificate);
        }
        let me = config.secret.node_key();
        let mut replica = Replica {
            me,
            member: config.certificate.certificate().member,
            secret: config.secret,
            certificate: config.certificate,
            software: config.software,
            chance: Seeded::new(config.seed),
            trust,
            incarnation: restored.incarnation,
            opened: restored.opened,
            boot: restored.boot,
            hlc: restored.hlc,
            own_log: LogId::derive(&me, restored.incarnation, &AudienceId::FEDERATION),
            logs: Logs::default(),
            outbox: Outbox::default(),
            staged: Vec::new(),
            new_charter: None,
            new_incarnation: false,
            in_flight: None,
            next_batch: 1,
            peers: Peers::new(),
            beacons: Beacons::default(),
            topology: Topology::default(),
            topology_stale: true,
            ripening: BTreeMap::new(),
            plan_stale: false,
            timers: Timers { beacon: now.mono, last_beacon: None, announce: None, backstop: now.mono, counter: 0 },
            behind_since: BTreeMap::new(),
            told_heights: BTreeMap::new(),
            told_hash: [0; 32],
            writable: true,
        };
        replica.restore_logs(restored.logs)?;
        Ok(replica)
    }

    fn restore_logs(&mut self, logs: Vec<RestoredLog>) -> Result<(), Reject> {
        for log in logs {
            let checked = self.trust.check_log(log.row.descriptor)?;
            if let Ok(certificate) = SignedCertificate::decode(&checked.descriptor.certificate) {
                // A revoked or departed origin keeps its log but is not admitted again.
                let _ = self.trust.learn(&certificate);
            }
            self.logs.restore(checked, log.row.head, log.ahead);
        }
        Ok(())
    }

    /// Takes one input. Call [`Replica::flush`] after a round of them.
    pub fn handle(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::LinkUp { peer, cost } => self.link_up(now, peer, cost, effects),
            Input::LinkDown { peer } => self.link_down(now, peer),
            Input::RoundTrip { peer, rtt_ms } => self.round_trip(peer, rtt_ms),
            Input::Message { peer, message } => self.message(now, peer, *message, effects),
            Input::Beacon { peer, beacon } => self.take_beacon(now, peer, *beacon, effects),
            Input::Entries { peer, request, logs, entries } => {
                self.take_entries(now, peer, request, logs, entries, effects);
            }
            Input::Publish { token, class, changes } => self.outbox.push(token, class, changes),
            Input::Persisted { batch } => self.persisted(now, batch, effects),
            Input::PersistFailed { batch, logs } => self.persist_failed(batch, logs, effects),
            Input::Shed { peer } => self.announce_everything(now, peer),
            Input::Charter { bytes } => self.take_charter(None, &bytes, effects),
            Input::Tick => {}
        }
        self.run_timers(now, effects);
        if self.plan_stale {
            self.plan(now, effects);
        }
    }

    /// Makes one batch of everything staged, unless one is being written.
    pub fn flush(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.in_flight.is_some() {
            return;
        }
        let tokens = self.sign_outbox(now, effects);
        let logs = self.logs.unsaved_rows();
        let charter = self.new_charter.take();
        if logs.is_empty() && self.staged.is_empty() && charter.is_none() && !self.new_incarnation {
            return;
        }
        let staged = std::mem::take(&mut self.staged);
        let incarnation = std::mem::take(&mut self.new_incarnation).then_some((self.incarnation, self.opened));
        let (came, entries) = staged.into_iter().map(|staged| (staged.came, staged.entry)).unzip();
        let batch = Batch { id: self.next_batch, entries, logs, charter, incarnation, hlc: self.hlc };
        self.next_batch += 1;
        effects.push(Effect::Persist(batch.clone()));
        self.in_flight = Some(InFlight { batch, came, tokens });
    }

    fn persisted(&mut self, now: Now, batch: u64, effects: &mut Vec<Effect>) {
        let Some(done) = self.in_flight.take() else { return };
        assert_eq!(done.batch.id, batch, "one batch is written at a time");
        self.logs.settle(&done.batch.logs, &done.batch.entries);
        for placed in done.tokens {
            effects.push(Effect::Published { token: placed.token, log: self.own_log, places: placed.places });
        }
        self.spread(now, &done.batch.entries, &done.came, effects);
        for (log, row) in &done.batch.logs {
            self.note_progress(now, *log, row.head.height, effects);
        }
        self.plan_stale = true;
    }

    fn persist_failed(&mut self, batch: u64, logs: Vec<RestoredLog>, effects: &mut Vec<Effect>) {
        let Some(failed) = self.in_flight.take() else { return };
        assert_eq!(failed.batch.id, batch, "one batch is written at a time");
        for placed in failed.tokens {
            effects.push(Effect::Refused { token: placed.token });
        }
        for token in self.outbox.refuse_all() {
            effects.push(Effect::Refused { token });
        }
        self.new_charter = failed.batch.charter.or(self.new_charter.take());
        self.new_incarnation |= failed.batch.incarnation.is_some();
        self.staged.clear();
        self.logs.clear();
        // The rows were readable before, and the charter only grows; one that cannot be read is fetched again.
        let _ = self.restore_logs(logs);
        // What was refused is asked for again when the backstop comes round.
        for peer in self.peers.values_mut() {
            peer.wants.clear();
        }
    }

    fn link_up(&mut self, now: Now, peer: NodeKey, cost: Cost, effects: &mut Vec<Effect>) {
        self.peers.insert(peer, Peer::new(cost, now.mono));
        self.topology_stale = true;
        self.timers.beacon = now.mono;
        effects.push(Effect::Send { peer, message: Message::Hello(self.hello(now)) });
    }

    fn hello(&self, now: Now) -> Hello {
        Hello {
            version: PROTOCOL_VERSION,
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

    fn link_down(&mut self, now: Now, peer: NodeKey) {
        if self.peers.remove(&peer).is_some() {
            self.topology_stale = true;
            self.timers.beacon = now.mono;
            self.plan_stale = true;
        }
    }

    fn round_trip(&mut self, peer: NodeKey, rtt_ms: u32) {
        if let Some(state) = self.peers.get_mut(&peer) {
            let bucket = |rtt: u32| rtt.max(1).next_power_of_two();
            self.topology_stale |= bucket(state.rtt_ms) != bucket(rtt_ms);
            state.rtt_ms = rtt_ms;
        }
    }

    fn message(&mut self, now: Now, peer: NodeKey, message: Message, effects: &mut Vec<Effect>) {
        let Some(state) = self.peers.get(&peer) else { return };
        let refused = match message {
            Message::Hello(_) if state.greeted => Err(Reject::Unexpected("second hello")),
            Message::Hello(hello) => {
                if let Err(reason) = self.greet(now, peer, hello, effects) {
                    effects.push(Effect::Close { peer, reason });
                }
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
                Ok(())
            }
            Message::Frontier(digest) => self.take_frontier(now, peer, &digest, effects),
            Message::Have { heights } => {
                for (log, height) in heights {
                    self.learn_height(now, peer, log, height, effects);
                }
                Ok(())
            }
            Message::Want(want) => self.serve(peer, want, effects),
            Message::Done { request, more } => {
                self.finish_want(now, peer, request, more);
                Ok(())
            }
            Message::Beacon(_) => Err(Reject::Unexpected("unchecked beacon")),
            Message::Entries(_) => Err(Reject::Unexpected("unchecked entries")),
        };
        if let Err(reject) = refused {
            effects.push(Effect::Event(Event::Rejected { peer: Some(peer), reject }));
        }
    }

    fn greet(&mut self, now: Now, peer: NodeKey, hello: Hello, effects: &mut Vec<Effect>) -> Result<(), Reject> {
        if hello.version < PROTOCOL_VERSION_MIN || hello.version_min > PROTOCOL_VERSION {
            return Err(Reject::Version { min: hello.version_min, max: hello.version });
        }
        if hello.founding != self.trust.charter().founding_hash() {
            return Err(Reject::OtherFederation);
        }
        let certificate =
            SignedCertificate::decode(&hello.certificate).map_err(vatra_model::charter::AdmitError::Certificate)?;
        if certificate.certificate().key != peer {
            return Err(Reject::Malformed { what: "hello", detail: "it brings another node's certificate".into() });
        }
        if self.trust.learn(&certificate)? {
            effects.push(Effect::TrustChanged);
        }
        let frontier = self.frontier();
        let epoch = self.trust.charter().current().epoch;
        let ahead_ms = signed_difference(hello.clock, now.wall);
        let state = self.peers.get_mut(&peer).expect("the caller looked it up");
        state.greeted = true;
        state.clock_ahead_ms = ahead_ms;
        if hello.frontier_hash == frontier.hash() {
            for (log, head) in &frontier.0 {
                state.learn(*log, head.height);
            }
        } else {
            let heads = frontier.0.iter().map(|(log, head)| (*log, head.height, head.head)).collect();
            let digest = FrontierDigest { complete: true, heads };
            effects.push(Effect::Send { peer, message: Message::Frontier(digest) });
        }
        if hello.charter_epoch > epoch {
            effects.push(Effect::Send { peer, message: Message::WantCharter { after: epoch } });
        }
        if ahead_ms.unsigned_abs() > CLOCK_SKEW_FLAG_MS {
            effects.push(Effect::Event(Event::ClockSkew { peer, ahead_ms }));
        }
        effects.push(Effect::Event(Event::Joined { peer }));
        self.topology_stale = true;
        self.introduce(now, peer, effects);
        Ok(())
    }

    fn take_charter(&mut self, peer: Option<NodeKey>, bytes: &[u8], effects: &mut Vec<Effect>) {
        let ours = self.trust.charter();
        let refused = |detail: String| Effect::Event(Event::Rejected { peer, reject: Reject::Charter(detail) });
        let theirs = match Charter::decode(bytes) {
            Ok(theirs) => theirs,
            Err(error) => return effects.push(refused(error.to_string())),
        };
        if theirs.current().epoch <= ours.current().epoch {
            return;
        }
        let extends = theirs.epochs().get(ours.epochs().len() - 1).is_some_and(|epoch| epoch.hash() == ours.hash());
        if !extends {
            return effects.push(refused("it does not extend the charter in force".into()));
        }
        let epoch = theirs.current().epoch;
        self.trust.install(theirs);
        let trust = &self.trust;
        self.beacons.retain(|node| trust.node(node).is_some());
        self.new_charter = Some(bytes.to_vec());
        self.topology_stale = true;
        effects.push(Effect::TrustChanged);
        effects.push(Effect::Event(Event::CharterInstalled { epoch }));
        let others = self.peers.iter().filter(|(key, state)| state.greeted && Some(**key) != peer);
        for (key, _) in others {
            effects.push(Effect::Send { peer: *key, message: Message::Charter { bytes: bytes.to_vec() } });
        }
    }

    fn take_frontier(
        &mut self,
        now: Now,
        peer: NodeKey,
        digest: &FrontierDigest,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reject> {
        let limit = vatra_model::limits::LOGS_MAX;
        if digest.heads.len() > limit {
            return Err(Reject::Full { what: "logs of a frontier", limit });
        }
        for (log, height, head) in &digest.heads {
            let mine = self.logs.get(log).map_or(Head::EMPTY, |state| state.durable());
            if mine.height == *height && mine.head != *head && *height > 0 {
                self.note_fork(*log, height - 1, effects);
            }
            self.learn_height(now, peer, *log, *height, effects);
            self.ripen(*log);
        }
        self.plan_stale = true;
        Ok(())
    }

    pub(crate) fn note_fork(&mut self, log: LogId, seq: u64, effects: &mut Vec<Effect>) {
        effects.push(Effect::Event(Event::Forked { log, seq }));
        if log == self.own_log {
            // Another life of this node wrote there too: leave the log to it.
            self.open_incarnation(effects);
        }
    }

    fn take_entries(
        &mut self,
        now: Now,
        peer: Option<NodeKey>,
        request: Option<u32>,
        logs: Vec<CheckedLog>,
        entries: Vec<CheckedEntry>,
        effects: &mut Vec<Effect>,
    ) {
        let reject = |reject| Effect::Event(Event::Rejected { peer, reject });
        for log in logs {
            if let Ok(certificate) = SignedCertificate::decode(&log.descriptor.certificate)
                && self.trust.learn(&certificate) == Ok(true)
            {
                effects.push(Effect::TrustChanged);
            }
            if let Err(refused) = self.logs.describe(log) {
                effects.push(reject(refused));
            }
        }
        let came = match (peer, request) {
            (None, _) => Came::File,
            (Some(peer), None) => Came::Pushed(peer),
            (Some(peer), Some(_)) => Came::Fetched(peer),
        };
        if let (Some(peer), Some(request)) = (peer, request) {
            self.want_progressed(now, peer, request, entries.len() as u64);
        }
        for entry in entries {
            let header = *entry.header();
            if let Some(state) = peer.and_then(|peer| self.peers.get_mut(&peer)) {
                state.learn(header.log, header.seq.0.saturating_add(1));
            }
            match self.logs.offer(&self.trust, &entry) {
                Ok(Accepted::Duplicate) => {}
                Ok(Accepted::New) => {
                    if header.log == self.own_log {
                        // Our own entry from elsewhere: this store is an old copy of itself.
                        self.open_incarnation(effects);
                    }
                    self.hlc = self.hlc.observe(header.hlc, now.wall);
                    self.staged.push(Staged { entry: Arc::new(entry), came });
                }
                Err(refused) => {
                    if let Reject::Unchained { log, seq } = refused {
                        self.note_fork(log, seq, effects);
                    }
                    effects.push(reject(refused));
                }
            }
        }
        self.plan_stale = true;
    }

    /// Takes a height that a peer announced. `own` heights above ours mean that this store was put back.
    pub(crate) fn learn_height(&mut self, now: Now, peer: NodeKey, log: LogId, height: u64, effects: &mut Vec<Effect>) {
        let held = self.logs.get(&log).map_or(0, |state| state.accepted().height);
        if log == self.own_log && height > held {
            self.open_incarnation(effects);
        }
        let Some(state) = self.peers.get_mut(&peer) else { return };
        state.learn(log, height);
        let wait = state.push_wait_ms();
        if height > held {
            self.expect(log, height, now.mono.plus(wait));
            self.behind_since.entry(log).or_insert(now.mono);
        }
    }

    fn note_progress(&mut self, _now: Now, log: LogId, height: u64, effects: &mut Vec<Effect>) {
        let target = self.target(&log);
        if height >= target && self.behind_since.remove(&log).is_some() {
            effects.push(Effect::Event(Event::CaughtUp { log, height }));
        }
    }

    pub(crate) fn take_beacon(&mut self, now: Now, peer: NodeKey, checked: CheckedBeacon, effects: &mut Vec<Effect>) {
        if let Some(certificate) = &checked.certificate
            && self.trust.learn(certificate) == Ok(true)
        {
            effects.push(Effect::TrustChanged);
        }
        self.accept_beacon(now, peer, checked, effects);
    }

    /// Durable contiguous heights: what this node tells others that it holds.
    #[must_use]
    pub fn frontier(&self) -> Frontier {
        self.logs.frontier()
    }

    /// The charter and the nodes known under it.
    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// What is needed to check a log's entries.
    #[must_use]
    pub fn descriptor(&self, log: &LogId) -> Option<&vatra_model::wire::LogDescriptor> {
        self.logs.get(log).map(|state| &state.checked.descriptor)
    }

    /// This node's present incarnation.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// This node's present log.
    #[must_use]
    pub fn own_log(&self) -> LogId {
        self.own_log
    }

    /// The place that this node's next entry gets.
    #[must_use]
    pub fn next_seq(&self) -> vatra_model::Seq {
        self.logs.next(&self.own_log).0
    }

    /// Hash of the last durable entry and how many there are, of any log.
    #[must_use]
    pub fn head(&self, log: &LogId) -> Head {
        self.logs.get(log).map_or(Head { height: 0, head: EntryHash::ZERO }, |state| state.durable())
    }
}

fn signed_difference(theirs: WallMs, ours: WallMs) -> i64 {
    let ahead = i128::from(theirs.0) - i128::from(ours.0);
    i64::try_from(ahead).unwrap_or(if ahead > 0 { i64::MAX } else { i64::MIN })
}
