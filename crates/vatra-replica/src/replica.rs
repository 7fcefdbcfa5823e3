//! The replica: takes inputs, keeps the state, gives effects. Each concern has its own file; this one decides
//! which of them an input belongs to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vatra_model::certificate::SignedCertificate;
use vatra_model::charter::Charter;
use vatra_model::wire::{LogDescriptor, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN};
use vatra_model::{
    AudienceId, CheckedEntry, EntryHash, Frontier, Head, Hlc, Incarnation, LogId, MemberCode, MonoMs, NodeKey, Secret,
    WallMs,
};

use crate::beacons::Beacons;
use crate::fork::Fork;
use crate::forks::Inquiries;
use crate::herald::Herald;
use crate::input::{Batch, Effect, Event, Input, NewLife, Now, Reject, RestoredLog};
use crate::logs::Logs;
use crate::memory::Memory;
use crate::mending::Mending;
use crate::pace::Paces;
use crate::peers::{Peers, PeersDue};
use crate::planner::Ripening;
use crate::publish::Outbox;
use crate::seeded::Seeded;
use crate::stranded::{Lost, Stuck};
use crate::strays::StrayTalk;
use crate::topology::Topology;
use crate::trust::{CheckedBeacon, Trust};
use crate::turned_away::TurnedAway;

/// How long a local write waits after a start for a peer that confirms that nothing of our log is missing here, in
/// milliseconds. Without one it goes into a new incarnation.
const CONFIRM_MS: u64 = 400;

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
    /// Newest protocol version to speak, between the oldest and the newest that this code knows.
    pub protocol: u16,
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
    pub(crate) kept: Kept,
}

/// Where an entry is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// In its place in its log.
    InPlace,
    /// Beside its log, which is forked.
    Beside,
    /// In its place, where it was before and can no longer be read.
    Again,
}

/// A batch that the caller is writing.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) batch: Arc<Batch>,
    pub(crate) came: Vec<Came>,
    /// The log that the local entries among them belong to.
    pub(crate) own_log: LogId,
    pub(crate) tokens: Vec<crate::publish::Placed>,
}

/// One node's replica. See the crate documentation for the rules of use.
pub struct Replica {
    pub(crate) me: NodeKey,
    pub(crate) member: MemberCode,
    pub(crate) secret: Secret,
    pub(crate) certificate: SignedCertificate,
    pub(crate) software: String,
    pub(crate) protocol: u16,
    pub(crate) chance: Seeded,
    pub(crate) trust: Trust,
    /// Certificates known from the start; a newer charter may admit those that an older one did not.
    pub(crate) configured: Vec<SignedCertificate>,

    pub(crate) incarnation: Incarnation,
    pub(crate) opened: WallMs,
    /// The wall clock at the last input.
    pub(crate) wall: WallMs,
    pub(crate) boot: u64,
    pub(crate) hlc: Hlc,
    pub(crate) own_log: LogId,

    pub(crate) logs: Logs,
    pub(crate) outbox: Outbox,
    pub(crate) staged: Vec<Staged>,
    pub(crate) new_charter: Option<Vec<u8>>,
    pub(crate) new_incarnation: Option<NewLife>,
    pub(crate) in_flight: Option<InFlight>,
    pub(crate) next_batch: u64,

    pub(crate) peers: Peers,
    pub(crate) peers_due: PeersDue,
    pub(crate) beacons: Beacons,
    pub(crate) herald: Herald,
    pub(crate) memory: Memory,
    pub(crate) topology: Topology,
    pub(crate) topology_stale: bool,
    pub(crate) ripening: BTreeMap<LogId, Ripening>,
    pub(crate) turned_away: TurnedAway,
    /// Logs of which nothing more may be left to ask for.
    pub(crate) settling: BTreeSet<LogId>,
    pub(crate) plan_stale: bool,
    /// Number of the next request, over all links.
    pub(crate) next_request: u32,
    pub(crate) timers: Timers,
    pub(crate) behind_since: BTreeMap<LogId, MonoMs>,
    /// How fast entries of each member come in.
    pub(crate) paces: Paces,
    /// When the last link with a node that has none ended; admitted nodes only.
    pub(crate) unlinked: BTreeMap<NodeKey, MonoMs>,
    /// Logs with entries beyond a gap, as they were at the last look.
    pub(crate) stuck: BTreeMap<LogId, Stuck>,
    pub(crate) inquiries: Inquiries,
    /// Entries that the store cannot read any more.
    pub(crate) mending: Mending,
    /// What peers gave unasked and could not be kept.
    pub(crate) lost: Lost,
    pub(crate) stray_talk: StrayTalk,
    /// Whether no peer has confirmed yet that it holds nothing of our log that we lack.
    pub(crate) is_unconfirmed: bool,
    /// Until when a local write waits for that.
    pub(crate) confirm_until: MonoMs,
    /// A peer's bare word that it holds more of our log is believed once.
    pub(crate) believes_claims: bool,
    /// The store takes writes; told in beacons.
    pub(crate) writable: bool,
    /// Why stored logs were left out at the start.
    left_out: Vec<Reject>,
}

/// When something is due next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timers {
    pub(crate) backstop: MonoMs,
    /// Stranded entries are to be given.
    pub(crate) stranded: Option<MonoMs>,
    /// The last write failed: none is tried before.
    pub(crate) retry: Option<MonoMs>,
    /// The peer that was last asked, in turn, for its frontier.
    pub(crate) turn: Option<NodeKey>,
}

/// Whether a descriptor is of this log.
fn names(descriptor: &LogDescriptor, log: &LogId) -> bool {
    let signed = SignedCertificate::decode(&descriptor.certificate);
    signed.is_ok_and(|signed| signed.certificate().log(descriptor.incarnation, &descriptor.audience) == *log)
}

impl Replica {
    /// A replica with what was found on disk.
    ///
    /// A stored log that the charter does not admit is left out; [`Replica::left_out`] tells which.
    ///
    /// # Errors
    /// [`Reject`] if this node's own certificate is not admitted by the charter, or its own log cannot be restored.
    pub fn new(config: ReplicaConfig, restored: Restored, now: Now) -> Result<Replica, Reject> {
        let mut trust = Trust::new(config.charter).with_scheme(config.secret.scheme());
        trust.learn_from_itself(&config.certificate)?;
        for certificate in &config.certificates {
            // One that the charter no longer admits is simply not trusted.
            let _ = trust.learn(certificate);
        }
        let me = config.secret.node_key();
        let member = config.certificate.certificate().member;
        let mut chance = Seeded::new(config.seed);
        let next_request = u32::try_from(chance.below(u64::from(u32::MAX))).unwrap_or(0).max(1);
        let mut replica = Replica {
            me,
            member,
            secret: config.secret,
            certificate: config.certificate,
            software: config.software,
            protocol: config.protocol.clamp(PROTOCOL_VERSION_MIN, PROTOCOL_VERSION),
            chance,
            trust,
            configured: config.certificates,
            incarnation: restored.incarnation,
            opened: restored.opened,
            wall: now.wall,
            boot: restored.boot,
            hlc: restored.hlc,
            own_log: LogId::derive(member, &me, restored.incarnation, &AudienceId::FEDERATION),
            logs: Logs::default(),
            outbox: Outbox::default(),
            staged: Vec::new(),
            new_charter: None,
            new_incarnation: None,
            in_flight: None,
            next_batch: 1,
            peers: Peers::new(),
            peers_due: PeersDue::new(),
            beacons: Beacons::default(),
            herald: Herald::new(now.mono),
            memory: Memory::default(),
            topology: Topology::default(),
            topology_stale: true,
            ripening: BTreeMap::new(),
            turned_away: TurnedAway::default(),
            settling: BTreeSet::new(),
            plan_stale: false,
            next_request,
            timers: Timers { backstop: now.mono, stranded: None, retry: None, turn: None },
            behind_since: BTreeMap::new(),
            paces: Paces::default(),
            unlinked: BTreeMap::new(),
            stuck: BTreeMap::new(),
            inquiries: Inquiries::default(),
            mending: Mending::default(),
            lost: Lost::new(),
            stray_talk: StrayTalk::default(),
            is_unconfirmed: false,
            confirm_until: now.mono.plus(CONFIRM_MS),
            believes_claims: true,
            writable: true,
            left_out: Vec::new(),
        };
        for log in restored.logs {
            // Without the own log its places would be numbered again.
            let is_own = names(&log.row.descriptor, &replica.own_log);
            match replica.restore_log(log) {
                Err(reject) if is_own => return Err(reject),
                restored => replica.left_out.extend(restored.err()),
            }
        }
        let has_written = replica.logs.next(&replica.own_log).0.0 > 0;
        let has_others = replica.trust.nodes().any(|certificate| certificate.key != me);
        // A copy may be of before the first entry as well; of a life that begins with this start nobody holds any.
        replica.is_unconfirmed = has_others && (has_written || replica.boot > 1);
        Ok(replica)
    }

    /// Why stored logs were left out at the start: the charter does not admit them, as when a newer one that did was not
    /// written. They are taken from peers again once a charter admits them.
    #[must_use]
    pub fn left_out(&self) -> &[Reject] {
        &self.left_out
    }

    /// Takes a log as the disk has it.
    pub(crate) fn restore_log(&mut self, log: RestoredLog) -> Result<(), Reject> {
        let checked = self.trust.check_log(log.row.descriptor)?;
        let id = checked.id;
        let fork = match log.fork {
            Some(proof) => {
                let place = proof.check(id, &checked.public).map_err(|source| Reject::Fork { log: id, source })?;
                Some(Fork::restored(place, proof, &log.strays))
            }
            None => None,
        };
        self.logs.restore(checked, log.row.head, log.ahead, fork);
        // A revoked or departed origin keeps its log but is not admitted again.
        self.learn_writer(&id);
        self.end_log(&id);
        self.look_into(&id);
        Ok(())
    }

    /// Takes one input. Call [`Replica::flush`] after a round of them.
    pub fn handle(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) {
        self.wall = now.wall;
        match input {
            Input::LinkUp { peer, cost } => self.link_up(now, peer, cost, effects),
            Input::LinkDown { peer } => self.link_down(now, peer),
            Input::RoundTrip { peer, rtt_ms } => self.round_trip(now, peer, rtt_ms),
            Input::Message { peer, message } => self.message(now, peer, *message, effects),
            Input::Beacon { peer, beacon } => self.take_beacon(now, peer, *beacon, effects),
            Input::Entries { peer, request, logs, entries } => {
                self.take_entries(now, peer, request, logs, entries, effects);
            }
            Input::Publish { token, class, changes } => self.take_publication(token, class, changes, effects),
            Input::Persisted { batch } => self.persisted(now, batch, effects),
            Input::PersistFailed { batch, logs } => self.persist_failed(now, batch, logs, effects),
            Input::Shed { peer } => self.announce_everything(now, peer),
            Input::Charter { bytes } => {
                self.take_charter(None, &bytes, effects);
                self.greet_waiting(now, None, effects);
            }
            Input::Fork { log, fork } => {
                if let Err(reject) = self.take_fork(*log, *fork, effects) {
                    effects.push(Effect::Event(Event::Rejected { peer: None, reject }));
                }
            }
            Input::Recalled { log, from, count_max, headers, stray } => {
                self.settle_end(log, (from, count_max), &headers);
                self.learn_expected(now, log, from, &headers, effects);
                if count_max > 1 || self.is_searched(&log) {
                    self.recalled(now, (log, from, count_max), &headers, stray.as_deref(), effects);
                }
            }
            Input::Damaged { log, places } => self.take_damage(now, log, &places, effects),
            Input::Tick => {}
        }
        self.run_timers(now, effects);
        self.ask_for_holes(now, effects);
        self.recall(effects);
    }

    pub(crate) fn take_beacon(&mut self, now: Now, peer: NodeKey, checked: CheckedBeacon, effects: &mut Vec<Effect>) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if let Err(reject) = state.allowances.admit_beacon(now.mono) {
            return effects.push(Effect::Event(Event::Rejected { peer: Some(peer), reject }));
        }
        if let Some(certificate) = &checked.certificate
            && self.trust.learn_from_itself(certificate) == Ok(true)
        {
            effects.push(Effect::TrustChanged);
        }
        // It was checked under the charter of then, which may have admitted a node that this one does not.
        if self.trust.node(&checked.beacon.node).is_some() {
            self.accept_beacon(now, peer, checked, effects);
        }
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
