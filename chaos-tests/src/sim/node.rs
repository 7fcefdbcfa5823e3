//! One simulated node: a replica, its views, its disk, and what its lanes were told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use vatra_model::certificate::SignedCertificate;
use vatra_model::charter::Charter;
use vatra_model::wire::{FRAME_ENTRIES_BYTES, Message, PROTOCOL_VERSION, SignedPulse, Want};
use vatra_model::{CheckedEntry, EntryHash, Hlc, Incarnation, LogId, MonoMs, NodeKey, Secret, SignatureBytes, WallMs};
use vatra_replica::{Heard, Now, Replica, ReplicaConfig, Restored, Told};

use crate::sim::chance::{self, Chance};
use crate::sim::disk::Disk;
use crate::sim::federation::Site;
use crate::sim::network::LANES;
use crate::sim::planted::Bug;
use crate::sim::readings::Readings;
use crate::sim::records::Views;
use crate::sim::world::{Event, Setup};

/// What the simulated wall clocks show at the start of a run.
const WALL_START_MS: u64 = 1_764_000_000_000;

/// One node.
pub struct Node {
    /// Who it is.
    pub site: Site,
    /// Its disk.
    pub disk: Disk,
    /// Its core, while it runs.
    pub replica: Option<Replica>,
    /// What it shows.
    pub views: Views,
    /// Runs since the start of the world.
    pub run: u64,
    /// Its wall clock minus the world's, in milliseconds.
    pub skew_ms: i64,
    /// Parts in a million by which its wall clock runs too fast; negative when too slow.
    pub drift_ppm: i64,
    /// The newest protocol version that it speaks; takes effect at a start.
    pub protocol: u16,
    /// The process is frozen: nothing is handled until it is resumed.
    pub is_paused: bool,
    /// What happens to it when it is resumed.
    pub(crate) deferred: Vec<Event>,
    /// Time that a durable write takes now, in microseconds; `None` = as everywhere.
    pub slow_sync_us: Option<(u64, u64)>,
    /// Writes in a thousand that fail.
    pub write_errors_permille: u32,
    /// Rows that can no longer be read.
    pub damaged: BTreeSet<(LogId, u64)>,
    /// Rows are served without a look at their checksums: a planted mistake.
    pub(crate) trusts_rows: bool,
    last_beacon: Option<SignatureBytes>,
    last_pulse: Option<SignatureBytes>,
    /// Its store was replaced in a way that nothing on its machine shows: it may fork its own log.
    pub may_fork: bool,
    /// Its disk was or is in trouble until then, in microseconds: nobody promises a quick write.
    pub trouble_until_us: u64,
    /// Places that were acknowledged here and must stay.
    pub acknowledged: BTreeSet<(LogId, u64, EntryHash)>,
    /// Publications that wait for their answer.
    pub pending: BTreeSet<u64>,
    /// Next token.
    pub next_token: u64,
    /// When its next tick is due.
    pub tick_at: Option<u64>,
    /// What its lanes were told, by peer and lane.
    pub told: BTreeMap<(usize, usize), Told>,
    /// What its peers' lanes told, by peer and lane.
    pub heard: BTreeMap<(usize, usize), Heard>,
    /// Answers under way, by peer and lane.
    pub serving: BTreeMap<(usize, usize), VecDeque<Portion>>,
    /// Pushes of the last connection to each peer, to be repeated after a reconnection.
    pub pushed: BTreeMap<usize, VecDeque<Arc<CheckedEntry>>>,
}

/// A frame's worth of an answer.
#[derive(Clone, Debug)]
pub enum Portion {
    /// Entries of the answer to a request.
    Entries(u32, Vec<Arc<CheckedEntry>>),
    /// The end of the answer.
    Done {
        /// The request.
        request: u32,
        /// There is more.
        more: bool,
    },
}

impl Node {
    /// A node with an empty disk that does not run yet.
    #[must_use]
    pub fn new(site: Site, skew_ms: i64) -> Node {
        Node {
            site,
            disk: Disk::default(),
            replica: None,
            views: Views::default(),
            run: 0,
            skew_ms,
            drift_ppm: 0,
            protocol: PROTOCOL_VERSION,
            is_paused: false,
            deferred: Vec::new(),
            slow_sync_us: None,
            write_errors_permille: 0,
            damaged: BTreeSet::new(),
            trusts_rows: false,
            last_beacon: None,
            last_pulse: None,
            may_fork: false,
            trouble_until_us: 0,
            acknowledged: BTreeSet::new(),
            pending: BTreeSet::new(),
            next_token: 1,
            tick_at: None,
            told: BTreeMap::new(),
            heard: BTreeMap::new(),
            serving: BTreeMap::new(),
            pushed: BTreeMap::new(),
        }
    }

    /// The time as this node's clocks show it.
    #[must_use]
    pub fn now(&self, world_us: u64) -> Now {
        let drifted = i64::try_from(world_us / 1_000_000).unwrap_or(0).saturating_mul(self.drift_ppm) / 1_000;
        let wall = (WALL_START_MS + world_us / 1000).saturating_add_signed(self.skew_ms.saturating_add(drifted));
        Now { mono: MonoMs(world_us / 1000), wall: WallMs(wall) }
    }

    /// Starts it from its disk. `certificates` are those beside its configuration.
    ///
    /// # Panics
    /// If the core cannot be made from the disk: a node that does not start is a failure of the run.
    pub(crate) fn start(
        &mut self,
        world_us: u64,
        setup: &Setup,
        certificates: Vec<SignedCertificate>,
        readings: &mut Readings,
    ) {
        let seed = setup.seed;
        self.run += 1;
        let name = format!("{} run {}", self.site.key, self.run);
        let mut chance = Chance::new(seed, &name);
        let now = self.now(world_us);
        self.disk.ignores_fence = setup.is_planted(Bug::FenceIgnored);
        self.trusts_rows = setup.is_planted(Bug::DamagedRowServed);
        let life = self.disk.start(Incarnation(chance.below(u64::MAX)), now.wall);
        let stored =
            self.disk.durable().charter.as_deref().map(|bytes| Charter::decode(bytes).expect("it was verified"));
        let configured = &self.site.charter;
        let newer = |charter: &Charter| charter.current().epoch > configured.current().epoch;
        let charter = stored.filter(newer).unwrap_or_else(|| configured.clone());
        let config = ReplicaConfig {
            secret: Secret::from_seed(&self.site.secret).with_scheme(setup.scheme()),
            certificate: self.site.certificate.clone(),
            charter,
            certificates,
            software: "simulated".into(),
            protocol: self.protocol,
            seed: chance::bytes(seed, &format!("{name} core")),
        };
        let restored = Restored {
            incarnation: life.incarnation,
            opened: life.opened,
            boot: life.boot,
            hlc: if setup.is_planted(Bug::StampsGoBack) { Hlc::default() } else { self.disk.durable().hlc },
            logs: self.disk.logs(),
        };
        self.disk.heed(&config.charter);
        self.replica = Some(Replica::new(config, restored, now).expect("a node starts from its own disk"));
        self.views = Views::default();
        self.views.planted = setup.planted_in_views();
        self.views.is_rebuilding = true;
        if setup.views {
            // In any order: views must not depend on it.
            let mut entries = self.disk.durable().all();
            chance.shuffle(&mut entries);
            self.show_all(&entries, readings);
        }
        self.views.is_rebuilding = false;
    }

    /// Goes by the charter that its core has now: what that takes back is no longer shown. The number of entries that
    /// it takes back.
    pub(crate) fn heed(&mut self, setup: &Setup, readings: &mut Readings) -> usize {
        let Some(replica) = &self.replica else { return 0 };
        let charter = replica.trust().charter();
        let before = self.disk.durable().past_end().count();
        if !self.disk.heeds(charter) {
            self.disk.heed(charter);
            if setup.views && !setup.is_planted(Bug::RevokedStaysShown) {
                self.views = Views::default();
                self.views.planted = setup.planted_in_views();
                self.show_all(&self.disk.durable().all(), readings);
            }
        }
        self.disk.durable().past_end().count().saturating_sub(before)
    }

    fn show_all(&mut self, entries: &[Arc<CheckedEntry>], readings: &mut Readings) {
        for entry in entries {
            self.show(entry, readings);
        }
    }

    /// The process ends at once, without a word.
    pub fn kill(&mut self) {
        self.replica = None;
        self.tick_at = None;
        self.pending.clear();
        self.told.clear();
        self.heard.clear();
        self.serving.clear();
        self.pushed.clear();
        self.is_paused = false;
        self.deferred.clear();
    }

    /// Whether what the message tells of this node is the beacon or pulse that it sent last, which was looked at when
    /// it was first sent.
    pub(crate) fn tells_again(&mut self, message: &Message) -> bool {
        match message {
            Message::Beacon(signed) => self.last_beacon.replace(signed.signature) == Some(signed.signature),
            Message::Pulses { pulses } => {
                let is_own = |signed: &&SignedPulse| signed.node().is_ok_and(|sender| sender == self.site.key);
                let own = pulses.iter().find(is_own).map(|signed| signed.signature);
                own.is_none_or(|signature| self.last_pulse.replace(signature) == Some(signature))
            }
            _ => false,
        }
    }

    /// Whether its process runs and is not frozen.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.replica.is_some() && !self.is_paused
    }

    /// Forgets what belonged to a connection.
    pub fn forget_link(&mut self, peer: usize) {
        for lane in 0..LANES {
            self.told.remove(&(peer, lane));
            self.heard.remove(&(peer, lane));
            self.serving.remove(&(peer, lane));
        }
    }

    /// Shows a durable entry, unless a revocation ends its log before it.
    pub(crate) fn show(&mut self, entry: &CheckedEntry, readings: &mut Readings) {
        let (header, disk) = (entry.header(), self.disk.durable());
        if let Some((member, origin)) = disk.origin(&header.log)
            && disk.covers(&header.log, header.seq.0, entry.hash())
        {
            readings.of(entry, member, origin).iter().for_each(|reading| self.views.apply(reading));
        }
    }

    /// Reads the answer to a request from the disk, within its budget, and puts it in line; gives the rows that it
    /// could not read, which are left out.
    pub fn serve(&mut self, peer: usize, lane: usize, want: Want) -> Vec<(LogId, u64)> {
        let mut portions = Vec::new();
        let mut unreadable = Vec::new();
        let (mut gathered, mut gathered_bytes, mut budget, mut more) = (Vec::new(), 0, want.budget as usize, false);
        for (seq, entry) in self.disk.durable().entries.range(want.log, want.from..want.to.max(want.from)) {
            if self.damaged.contains(&(want.log, seq)) && !self.trusts_rows {
                unreadable.push((want.log, seq));
                continue;
            }
            if !want.classes.include(entry.header().class) {
                continue;
            }
            let bytes = entry_bytes(entry);
            if gathered_bytes + bytes > FRAME_ENTRIES_BYTES && !gathered.is_empty() {
                portions.push(Portion::Entries(want.request, std::mem::take(&mut gathered)));
                gathered_bytes = 0;
            }
            gathered_bytes += bytes;
            gathered.push(entry.clone());
            budget = budget.saturating_sub(bytes);
            if budget == 0 {
                more = seq + 1 < want.to;
                break;
            }
        }
        if !gathered.is_empty() {
            portions.push(Portion::Entries(want.request, gathered));
        }
        portions.push(Portion::Done { request: want.request, more });
        self.serving.entry((peer, lane)).or_default().extend(portions);
        unreadable
    }

    /// Reads strays that a peer asked for from the disk and puts them in line.
    pub fn serve_strays(&mut self, peer: usize, lane: usize, request: u32, log: LogId, items: &[(u64, EntryHash)]) {
        let image = self.disk.durable();
        // What is kept beside its log does not rot in this world.
        let reads = |(seq, hash): &&(u64, EntryHash)| {
            image.strays.contains_key(&(log, *seq, *hash)) || !self.damaged.contains(&(log, *seq)) || self.trusts_rows
        };
        let held = items.iter().filter(reads).filter_map(|(seq, hash)| image.entry(log, *seq, *hash).cloned());
        let groups = frames_of(&held.collect::<Vec<_>>());
        let portions = groups.into_iter().map(|group| Portion::Entries(request, group));
        let done = Portion::Done { request, more: false };
        self.serving.entry((peer, lane)).or_default().extend(portions.chain([done]));
    }

    /// The key of the node, for checks.
    #[must_use]
    pub fn key(&self) -> NodeKey {
        self.site.key
    }
}

/// Bytes that an entry counts for in a frame.
#[must_use]
pub fn entry_bytes(entry: &CheckedEntry) -> usize {
    entry.header().changes_len as usize + 200
}

/// Entries in groups that fit a frame.
#[must_use]
pub fn frames_of(entries: &[Arc<CheckedEntry>]) -> Vec<Vec<Arc<CheckedEntry>>> {
    let mut groups: Vec<Vec<Arc<CheckedEntry>>> = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        let len = entry_bytes(entry);
        match groups.last_mut() {
            Some(group) if bytes + len <= FRAME_ENTRIES_BYTES => {
                bytes += len;
                group.push(entry.clone());
            }
            _ => {
                bytes = len;
                groups.push(vec![entry.clone()]);
            }
        }
    }
    groups
}
