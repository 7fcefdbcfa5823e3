//! The driver: the one thread that decides, writes and then tells.
//!
//! A round takes what waits, most urgent first, lets the core decide, commits one batch durably, and performs the
//! effects. Nobody hears of anything before the commit that holds it has returned.

mod calls;
mod commits;
mod effects;
mod files;
mod held;
mod missed;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use vatra_mesh::{LinkId, Mesh};
use vatra_model::pack::Packer;
use vatra_model::{LogId, MemberCode, NodeKey, Position, RecordId, Seq, WallMs};
use vatra_replica::{Cost, Effect, Input, Now, Reach, Replica, ReplicaStatus};
use vatra_store::{Fence, FenceError, Health, ReadOnlyReason, Store};

use self::files::PendingPortion;
pub(crate) use self::files::{FilePortion, Holdings, Taken};
pub(crate) use self::missed::Looks;
use crate::node::boot::StateRow;
use crate::node::clock::{Clock, wall};
use crate::node::egress::Push;
use crate::node::ingest::SharedTrust;
use crate::node::links::Links;
use crate::node::listing::Listing;
use crate::node::local::{LocalCall, LocalError, LocalOp, LocalResult};
use crate::node::mailbox::Mailbox;
use crate::node::metrics::Metrics;
use crate::node::projector::Projector;
use crate::node::quarantine::Quarantine;
use crate::node::recent::Recent;
use crate::node::scrub::Scrub;
use crate::node::views::Views;
use crate::node::wants::Wants;

/// Changes that one round takes: more would make an alert that comes next wait for a longer commit.
const ROUND_CHANGES_MAX: usize = 1024;
/// Time between tries to write while the store refuses, so that it resumes by itself.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How long a peer is kept away whose link is renewed.
const RENEW: Duration = Duration::from_millis(500);
/// How long a peer that does not fit (other federation, other version) is kept away.
const BAN: Duration = Duration::from_secs(30);

/// Something for the driver.
pub(crate) enum Item {
    /// For the core as it is.
    Core(Input),
    /// For the core, if the link is still the one.
    FromLink { node: NodeKey, link: LinkId, input: Input },
    /// A link came up.
    LinkUp { node: NodeKey, link: LinkId, cost: Cost },
    /// A link went down.
    LinkDown { node: NodeKey, link: LinkId },
    /// A local caller wants something done.
    Local(LocalCall),
    /// Entries that came in a file.
    File(FilePortion),
    /// Somebody wants to know what is held here, and what of it at a member.
    Holdings(Option<MemberCode>, oneshot::Sender<Holdings>),
    /// Somebody wants to know the state.
    Status(oneshot::Sender<(ReplicaStatus, Health)>),
    /// Somebody wants to know who holds an entry.
    Reach(LogId, Seq, oneshot::Sender<Reach>),
}

/// What the driver shares with readers.
pub(crate) struct Shared {
    pub(crate) mailbox: Arc<Mailbox<Item>>,
    pub(crate) pushes: Arc<Mailbox<Push>>,
    pub(crate) wants: Arc<Wants>,
    pub(crate) links: Arc<Links>,
    pub(crate) trust: SharedTrust,
    pub(crate) views: Arc<Views>,
    pub(crate) listing: Arc<RwLock<Listing>>,
    pub(crate) recent: Arc<Recent>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) quarantine: Arc<Quarantine>,
    pub(crate) scrub: Arc<Scrub>,
    pub(crate) durable: watch::Sender<Position>,
    /// State rows as of the last durable commit: digest and counts.
    pub(crate) state: watch::Sender<StateRow>,
    /// Beats once a round, for the watchdog.
    pub(crate) pulse: watch::Sender<Instant>,
}

/// The driver's own.
pub(crate) struct Driver {
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Clock,
    pub(crate) member: MemberCode,
    pub(crate) mesh: Mesh,
    pub(crate) store: Store,
    pub(crate) fence: Fence,
    pub(crate) replica: Replica,
    pub(crate) projector: Projector,
    pub(crate) packer: Packer,
    pub(crate) up: BTreeMap<NodeKey, LinkId>,
    pub(crate) banned: BTreeMap<NodeKey, Instant>,
    pub(crate) calls: HashMap<u64, PendingCall>,
    pub(crate) tokens: HashMap<u64, (u64, usize)>,
    pub(crate) next_number: u64,
    /// Records with a change of this round: what else touches them waits for the next.
    pub(crate) touched: HashSet<RecordId>,
    pub(crate) deferred: Vec<(u64, usize, LocalOp)>,
    /// What was found in the store for the core.
    pub(crate) recalled: Vec<Input>,
    pub(crate) publishing: u64,
    pub(crate) last_probe: Option<Instant>,
    pub(crate) is_told_writable: bool,
    /// Portions of files that wait for the end of the round.
    pub(crate) portions: Vec<PendingPortion>,
    /// What was left for later failed last time, and is tried again then.
    pub(crate) rests_until: Option<Instant>,
    /// Looks at events that readers went past.
    pub(crate) looks: Looks,
    /// A batch of this round was not stored.
    pub(crate) has_lost_batch: bool,
    /// Where the own log ends could not be told when a batch was lost.
    pub(crate) leaves_log: bool,
    /// Why and since when the fence cannot be raised.
    pub(crate) fence_trouble: Option<(ReadOnlyReason, WallMs)>,
}

/// A call with the results so far.
pub(crate) struct PendingCall {
    reply: oneshot::Sender<Vec<LocalResult>>,
    results: Vec<Option<LocalResult>>,
    missing: usize,
}

impl Driver {
    /// Runs until the mailbox is closed and empty, or until the store cannot even be read.
    pub(crate) fn run(mut self) {
        let mut items = Vec::new();
        self.bring_held();
        self.trust_changed();
        loop {
            let deadline = self.deadline();
            if !self.shared.mailbox.take(deadline, ROUND_CHANGES_MAX, &mut items) {
                break;
            }
            let now = self.clock.now();
            let mut effects = Vec::new();
            for input in std::mem::take(&mut self.recalled) {
                self.replica.handle(now, input, &mut effects);
            }
            self.take_deferred(now, &mut effects);
            for item in items.drain(..) {
                self.take(now, item, &mut effects);
            }
            self.tell_damage(now, &mut effects);
            self.replica.handle(self.clock.now(), Input::Tick, &mut effects);
            if let Err(error) = self.settle(effects) {
                tracing::error!(error = format!("{error:#}"), "the node cannot go on with its store");
                break;
            }
            self.answer_portions();
            self.work_off();
            self.tell_missed();
            self.lift_bans();
            self.probe();
            let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
            self.shared.metrics.waiting.set(gauge(self.shared.mailbox.len()));
            self.shared.metrics.turned_away.set(gauge(self.replica.turned_away()));
            self.shared.pulse.send_replace(Instant::now());
        }
        // What readers went past until now is not forgotten.
        self.tell_missed();
        self.shared.mailbox.close();
        self.shared.pushes.close();
        self.shared.wants.close();
        self.shared.scrub.close();
    }

    /// Entries that anybody found damaged are fetched again.
    fn tell_damage(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let mut damaged: BTreeMap<LogId, Vec<Seq>> = BTreeMap::new();
        // A disk that cannot be read tells so elsewhere.
        for (log, seq) in self.projector.views.reader.take_damaged_entries().unwrap_or_default() {
            damaged.entry(log).or_default().push(seq);
        }
        for (log, places) in damaged {
            self.replica.handle(now, Input::Damaged { log, places }, effects);
        }
    }

    fn deadline(&self) -> Instant {
        if !self.deferred.is_empty() || !self.recalled.is_empty() {
            return Instant::now();
        }
        let now = Instant::now();
        let works_off = self.projector.has_work() && self.is_writable();
        let due = self.clock.instant(self.replica.deadline()).min(now + PROBE_EVERY);
        if works_off { due.min(self.rests_until.map_or(now, |until| until.max(now))) } else { due }
    }

    fn take(&mut self, now: Now, item: Item, effects: &mut Vec<Effect>) {
        match item {
            Item::Core(input) => self.replica.handle(now, input, effects),
            Item::FromLink { node, link, input } => {
                // Entries too while the store takes no writes: the core keeps the logs that they describe, which
                // are told once on each lane, and asks for the rest again.
                if self.up.get(&node) == Some(&link) {
                    self.replica.handle(now, input, effects);
                }
            }
            Item::LinkUp { node, link, cost } => {
                // What the link before asked for, under numbers of its own, is no use on this one.
                self.shared.wants.forget(node);
                self.up.insert(node, link);
                self.replica.handle(now, Input::LinkUp { peer: node, cost }, effects);
            }
            Item::LinkDown { node, link } => {
                self.shared.links.down(node, link);
                if self.up.get(&node) == Some(&link) {
                    self.up.remove(&node);
                    self.shared.wants.forget(node);
                    self.replica.handle(now, Input::LinkDown { peer: node }, effects);
                }
            }
            Item::Local(call) => self.take_call(now, call, effects),
            Item::File(portion) => self.take_portion(now, portion, effects),
            Item::Holdings(member, reply) => {
                let _ = reply.send(self.holdings(member));
            }
            Item::Status(reply) => {
                // A caller that went away needs no answer.
                let _ = reply.send((self.replica.status(now), self.health()));
            }
            Item::Reach(log, seq, reply) => {
                let _ = reply.send(self.replica.reach(&log, seq));
            }
        }
    }

    fn is_writable(&self) -> bool {
        matches!(self.store.health(), Health::Writable)
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Promises outside the store that the next entries' places are used, before they are signed.
    fn raise_fence(&mut self) -> Result<(), LocalError> {
        let incarnation = self.replica.incarnation();
        // Every change may become an entry of its own, and entry 0 comes on top.
        let unsigned = self.publishing.max(self.replica.unsigned_count() as u64);
        let seq = Seq(self.replica.next_seq().0 + unsigned + 2);
        let raised = self.fence.raise(incarnation, seq);
        self.note_fence(raised)
    }

    /// What became of a write of the fence: while it fails, nothing can be published.
    fn note_fence(&mut self, written: Result<(), FenceError>) -> Result<(), LocalError> {
        match written {
            Ok(()) => {
                if self.fence_trouble.take().is_some() {
                    tracing::info!("the fence can be raised again");
                }
                Ok(())
            }
            Err(error) => {
                let reason = if error.is_full() { ReadOnlyReason::Full } else { ReadOnlyReason::Io };
                if self.fence_trouble.is_none() {
                    let error = format!("{:#}", anyhow::Error::new(error));
                    tracing::error!(error, "the fence beside the store cannot be raised: nothing can be published");
                    self.fence_trouble = Some((reason, wall()));
                }
                Err(LocalError::read_only(reason))
            }
        }
    }

    /// Whether local writes are taken: by the store, and by the fence beside it.
    fn health(&self) -> Health {
        match (self.store.health(), self.fence_trouble) {
            (Health::Writable, Some((reason, since))) => Health::ReadOnly { reason, since },
            (health, _) => health,
        }
    }

    /// Commits and performs until there is nothing left to write.
    ///
    /// # Errors
    /// The store takes no batch and does not say how far it has come either.
    fn settle(&mut self, mut effects: Vec<Effect>) -> anyhow::Result<()> {
        loop {
            // A new life may have begun since the calls were taken, which needs a fence of its own.
            let is_fenced = self.replica.unsigned_count() == 0 || self.raise_fence().is_ok();
            if is_fenced {
                self.replica.flush(self.clock.now(), &mut effects);
            } else {
                self.refuse_publications(&mut effects);
            }
            self.publishing = 0;
            let mut wrote = false;
            let mut positions = HashMap::new();
            let mut more = Vec::new();
            for effect in effects.drain(..) {
                match effect {
                    Effect::Persist(batch) => {
                        wrote = true;
                        let (input, written) = self.persist(&batch)?;
                        positions = written;
                        if let (Input::Persisted { .. }, Some((incarnation, ..))) = (&input, batch.incarnation) {
                            self.move_fence(incarnation);
                        }
                        self.replica.handle(self.clock.now(), input, &mut more);
                        if std::mem::take(&mut self.leaves_log) {
                            tracing::error!("rows of this node's own log are damaged: it goes on in a new one");
                            self.replica.leave_own_log(&mut more);
                        }
                    }
                    other => more.push(other),
                }
            }
            for effect in more {
                if let Effect::Persist(_) = effect {
                    unreachable!("only a flush asks for a batch");
                }
                self.perform(effect, &positions);
            }
            // Whatever was to be published is stored or refused by now.
            self.touched.clear();
            if !wrote && is_fenced {
                return Ok(());
            }
        }
    }

    fn lift_bans(&mut self) {
        let now = Instant::now();
        let before = self.banned.len();
        self.banned.retain(|_, until| *until > now);
        if self.banned.len() < before {
            self.trust_changed();
        }
    }

    /// Readers and the mesh learn whom to believe and to link.
    fn trust_changed(&mut self) {
        let trust = Arc::new(self.replica.trust().clone());
        let nodes = trust.nodes().map(|certificate| certificate.key);
        let allowed = nodes.filter(|key| !self.banned.contains_key(key) && *key != self.mesh.node()).collect();
        *self.shared.trust.write().unwrap_or_else(PoisonError::into_inner) = trust;
        self.mesh.set_allowed(allowed);
    }

    /// While the store refuses writes, tries again now and then, so that it resumes without anybody's help.
    fn probe(&mut self) {
        if !matches!(self.health(), Health::Writable) {
            let now = Instant::now();
            if self.last_probe.is_none_or(|last| now.duration_since(last) >= PROBE_EVERY) {
                self.last_probe = Some(now);
                if self.fence_trouble.is_some() {
                    // What is wrong was logged when it began.
                    let _ = self.raise_fence();
                }
                let mut commit = vatra_store::Commit::default();
                let state = vatra_model::codec::encode(&self.projector.state);
                commit.meta.push((crate::node::boot::STATE, state));
                if let Err(error) = self.store.commit(&commit) {
                    tracing::debug!(%error, "the store still refuses writes");
                }
            }
        }
        self.shared.metrics.writable.set(i64::from(matches!(self.health(), Health::Writable)));
        let writable = self.is_writable();
        if writable != self.is_told_writable {
            self.is_told_writable = writable;
            self.replica.set_writable(writable);
            match self.store.health() {
                Health::Writable => tracing::info!("the store takes writes again"),
                Health::ReadOnly { reason, .. } => tracing::error!(%reason, "the store takes no writes; reads go on"),
            }
        }
    }
}

#[cfg(test)]
mod tests;
