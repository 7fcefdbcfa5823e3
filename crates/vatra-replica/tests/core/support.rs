//! A federation of a few nodes, and one replica at a time with a disk that always obeys.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vatra_model::certificate::{NodeCertificate, SignedCertificate};
use vatra_model::charter::{Charter, CharterEpoch, CharterMember, MemberRole, SignedEpoch};
use vatra_model::wire::{Beacon, Hello, Message, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, SignedBeacon, Want};
use vatra_model::{
    CheckedEntry, Class, EntryHash, Frontier, Head, Hlc, Incarnation, LogId, MemberCode, MonoMs, NodeKey, Secret,
    SignedHeader, WallMs,
};
use vatra_replica::{
    AheadRow, Batch, CheckedFork, Cost, Effect, Event, Input, LogRow, Now, Replica, ReplicaConfig, Restored,
    RestoredLog,
};

/// Member `index` of the test federation.
pub(crate) fn code(index: u8) -> MemberCode {
    format!("M{index:02}").parse().expect("a code")
}

/// A beacon of a node that has neither links nor entries.
pub(crate) fn bare_beacon(at: WallMs, of: u8) -> Beacon {
    Beacon {
        node: key(of),
        incarnation: Incarnation(u64::from(of) + 1),
        opened: at,
        boot: 1,
        counter: 1,
        clock: at,
        charter_epoch: 1,
        neighbours: vec![],
        writable: true,
        frontier_hash: Frontier::default().hash(),
        heights: vec![],
        complete: true,
        certificate: None,
    }
}

pub(crate) fn root(index: u8) -> Secret {
    Secret::from_seed(&[100 + index; 32])
}

pub(crate) fn secret(index: u8) -> Secret {
    Secret::from_seed(&[1 + index; 32])
}

pub(crate) fn key(index: u8) -> NodeKey {
    secret(index).node_key()
}

pub(crate) fn certificate(index: u8) -> SignedCertificate {
    let certificate = NodeCertificate {
        member: code(index),
        site: "site".into(),
        node: format!("node-{index}"),
        key: key(index),
        not_before: WallMs(0),
        serial: 1,
    };
    certificate.sign(&root(index)).expect("good names")
}

pub(crate) fn listed(index: u8, role: MemberRole) -> CharterMember {
    let (name, root) = (format!("Centre {index}"), root(index).root_key());
    CharterMember { code: code(index), name, role, root, sealing: [index; 32], addresses: vec![] }
}

/// A charter of so many members, in its first epoch.
pub(crate) fn charter(members: u8) -> Charter {
    let epoch = CharterEpoch {
        epoch: 1,
        previous: [0; 32],
        federation: "test".into(),
        members: (0..members).map(|index| listed(index, MemberRole::Member)).collect(),
        revocations: vec![],
    };
    Charter::found(signed(epoch, members)).expect("all have signed")
}

pub(crate) fn signed(epoch: CharterEpoch, members: u8) -> SignedEpoch {
    let mut signed = SignedEpoch::draft(epoch).expect("a good epoch");
    for index in 0..members {
        signed.sign(&root(index));
    }
    signed
}

/// The charter with one more epoch.
pub(crate) fn next_epoch(charter: &Charter, members: u8, change: impl FnOnce(&mut CharterEpoch)) -> Charter {
    let mut next = charter.clone();
    let mut epoch = charter.current().clone();
    epoch.epoch += 1;
    epoch.previous = charter.hash();
    change(&mut epoch);
    next.extend(signed(epoch, members)).expect("all have signed");
    next
}

/// Two charters of three members: the last observes in the first one and is a full member in the next.
pub(crate) fn promoted() -> (Charter, Charter) {
    let role = |index| if index == 2 { MemberRole::Observer } else { MemberRole::Member };
    let epoch = CharterEpoch {
        epoch: 1,
        previous: [0; 32],
        federation: "test".into(),
        members: (0..3).map(|index| listed(index, role(index))).collect(),
        revocations: vec![],
    };
    let before = Charter::found(signed(epoch, 2)).expect("all full members have signed");
    let after = next_epoch(&before, 2, |epoch| epoch.members[2].role = MemberRole::Member);
    (before, after)
}

/// A replica with a clock that stands still unless told, and a disk.
pub(crate) struct Node {
    pub(crate) replica: Replica,
    pub(crate) now: Now,
    pub(crate) rows: BTreeMap<LogId, LogRow>,
    pub(crate) entries: BTreeMap<(LogId, u64), Arc<CheckedEntry>>,
    pub(crate) strays: BTreeMap<(LogId, u64, EntryHash), Arc<CheckedEntry>>,
    pub(crate) forks: BTreeMap<LogId, CheckedFork>,
    /// The charter on disk, if one came.
    pub(crate) charter: Option<Vec<u8>>,
    /// Incarnations that were opened on disk.
    pub(crate) opened: Vec<Incarnation>,
    pub(crate) writes_fail: bool,
    pub(crate) next_token: u64,
}

pub(crate) const MEMBERS: u8 = 12;

impl Node {
    pub(crate) fn new(index: u8) -> Node {
        Node::with_charter(index, charter(MEMBERS))
    }

    pub(crate) fn with_charter(index: u8, charter: Charter) -> Node {
        Node::with_config(index, config(index, charter))
    }

    pub(crate) fn with_config(index: u8, config: ReplicaConfig) -> Node {
        let now = Now { mono: MonoMs(1_000_000), wall: WallMs(1_764_000_000_000) };
        let restored = Restored {
            incarnation: Incarnation(u64::from(index) + 1),
            opened: now.wall,
            boot: 1,
            hlc: Hlc::default(),
            logs: vec![],
        };
        let replica = Replica::new(config, restored, now).expect("a member");
        Node {
            replica,
            now,
            rows: BTreeMap::new(),
            entries: BTreeMap::new(),
            strays: BTreeMap::new(),
            forks: BTreeMap::new(),
            charter: None,
            opened: Vec::new(),
            writes_fail: false,
            next_token: 1,
        }
    }

    /// Takes inputs as one round; batches are written at once.
    pub(crate) fn act(&mut self, inputs: impl IntoIterator<Item = Input>) -> Vec<Effect> {
        let mut effects = Vec::new();
        for input in inputs {
            self.replica.handle(self.now, input, &mut effects);
        }
        self.go_on(effects)
    }

    /// Performs effects until there is nothing left to write.
    pub(crate) fn go_on(&mut self, mut effects: Vec<Effect>) -> Vec<Effect> {
        let mut told = Vec::new();
        for round in 0.. {
            assert!(round < 100, "the core asks for more without end: {effects:?}");
            self.replica.flush(self.now, &mut effects);
            let mut wrote = false;
            for effect in std::mem::take(&mut effects) {
                match effect {
                    Effect::Recall { log, from, count_max, stray } => {
                        wrote = true;
                        let input = self.recall(log, from, count_max, stray);
                        self.replica.handle(self.now, input, &mut effects);
                    }
                    Effect::Persist(batch) => {
                        wrote = true;
                        let input = self.write(&batch);
                        self.replica.handle(self.now, input, &mut effects);
                    }
                    other => told.push(other),
                }
            }
            if !wrote {
                assert!(self.replica.deadline() > self.now.mono, "a deadline that has passed would spin the driver");
                told.extend(effects);
                return told;
            }
        }
        unreachable!("the loop returns or panics")
    }

    fn write(&mut self, batch: &Batch) -> Input {
        if self.writes_fail {
            return Input::PersistFailed { batch: batch.id, logs: self.disk() };
        }
        self.charter = batch.charter.clone().or(self.charter.take());
        self.opened.extend(batch.incarnation.map(|(incarnation, ..)| incarnation));
        self.rows.extend(batch.logs.iter().map(|(log, row)| (*log, row.clone())));
        for entry in &batch.entries {
            let (log, seq) = (entry.header().log, entry.header().seq.0);
            if batch.strays.contains(&entry.hash()) {
                self.strays.insert((log, seq, entry.hash()), entry.clone());
            } else {
                self.entries.insert((log, seq), entry.clone());
            }
        }
        self.forks.extend(batch.forks.iter().map(|fork| (fork.log, fork.clone())));
        Input::Persisted { batch: batch.id }
    }

    fn recall(&self, log: LogId, from: u64, count_max: usize, stray: Option<(u64, EntryHash)>) -> Input {
        let signed = |entry: &Arc<CheckedEntry>| SignedHeader::of(entry.entry());
        let headers = self.entries.range((log, from)..=(log, u64::MAX)).map(|(_, entry)| signed(entry));
        let stray =
            stray.and_then(|(seq, hash)| self.strays.get(&(log, seq, hash))).map(|entry| Box::new(signed(entry)));
        Input::Recalled { log, from, count_max, headers: headers.take(count_max).collect(), stray }
    }

    /// Everything held, wherever it is kept.
    pub(crate) fn held(&self) -> BTreeSet<EntryHash> {
        self.entries.values().chain(self.strays.values()).map(|entry| entry.hash()).collect()
    }

    /// The node after a restart from its disk.
    pub(crate) fn restarted(&self, index: u8) -> Node {
        let restored = Restored {
            incarnation: self.replica.incarnation(),
            opened: self.now.wall,
            boot: 2,
            hlc: Hlc::default(),
            logs: self.disk(),
        };
        let charter = self.replica.trust().charter().clone();
        let config = ReplicaConfig { certificates: vec![certificate(1)], ..bare(index, charter) };
        let replica = Replica::new(config, restored, self.now).expect("a member");
        let (rows, entries) = (self.rows.clone(), self.entries.clone());
        let (strays, forks) = (self.strays.clone(), self.forks.clone());
        let (charter, opened) = (self.charter.clone(), self.opened.clone());
        let (now, next_token) = (self.now, self.next_token);
        Node { replica, now, rows, entries, strays, forks, charter, opened, writes_fail: false, next_token }
    }

    pub(crate) fn disk(&self) -> Vec<RestoredLog> {
        let row_of = |entry: &Arc<CheckedEntry>| AheadRow {
            seq: entry.header().seq.0,
            hash: entry.hash(),
            prev: entry.header().prev,
        };
        let restored = |(log, row): (&LogId, &LogRow)| {
            let fork = self.forks.get(log);
            let end = fork.map_or(u64::MAX, |fork| fork.place);
            let mut head = row.head;
            if head.height > end {
                let last = end.checked_sub(1).map(|seq| self.entries[&(*log, seq)].hash());
                head = last.map_or(Head::EMPTY, |head| Head { height: end, head });
            }
            let rows = self.entries.range((*log, head.height)..=(*log, u64::MAX)).map(|(_, entry)| row_of(entry));
            let (strays, ahead): (Vec<_>, Vec<_>) = rows.partition(|row| row.seq >= end);
            let beside = self.strays.iter().filter(|((held, ..), _)| held == log).map(|(_, entry)| row_of(entry));
            RestoredLog {
                row: LogRow { head, ..row.clone() },
                ahead,
                fork: fork.map(|fork| fork.proof.clone()),
                strays: strays.into_iter().chain(beside).collect(),
            }
        };
        self.rows.iter().map(restored).collect()
    }

    pub(crate) fn tick_after(&mut self, ms: u64) -> Vec<Effect> {
        self.now.mono = self.now.mono.plus(ms);
        self.now.wall = WallMs(self.now.wall.0 + ms);
        self.act([Input::Tick])
    }

    /// Lets time pass by deadlines alone, as a driver does.
    pub(crate) fn run_for(&mut self, ms: u64) -> Vec<Effect> {
        let end = self.now.mono.plus(ms);
        let mut told = Vec::new();
        while self.replica.deadline() <= end {
            let wait = self.replica.deadline().since(self.now.mono);
            told.extend(self.tick_after(wait));
        }
        let rest = end.since(self.now.mono);
        told.extend(self.tick_after(rest));
        told
    }

    /// Publishes so many changes, each in a round of its own.
    pub(crate) fn publish(&mut self, class: Class, count: usize) -> Vec<Effect> {
        let mut told = Vec::new();
        for _ in 0..count {
            let token = self.next_token;
            self.next_token += 1;
            let changes = vec![format!("change {token}").into_bytes()];
            told.extend(self.act([Input::Publish { token, class, changes }]));
        }
        told
    }

    /// A link to a peer that has said hello and holds what this frontier says.
    pub(crate) fn greet(&mut self, peer: u8, frontier: &Frontier) -> Vec<Effect> {
        self.greet_as(peer, PROTOCOL_VERSION, frontier)
    }

    /// The same of a peer that speaks an older version.
    pub(crate) fn greet_as(&mut self, peer: u8, version: u16, frontier: &Frontier) -> Vec<Effect> {
        let mut told = self.act([Input::LinkUp { peer: key(peer), cost: Cost::Wan }]);
        told.extend(self.hello(peer, version, frontier));
        told
    }

    /// The hello of a peer with which there is a link already.
    pub(crate) fn greet_linked(&mut self, peer: u8, frontier: &Frontier) -> Vec<Effect> {
        self.hello(peer, PROTOCOL_VERSION, frontier)
    }

    fn hello(&mut self, peer: u8, version: u16, frontier: &Frontier) -> Vec<Effect> {
        let hello = Hello {
            version,
            version_min: PROTOCOL_VERSION_MIN,
            certificate: certificate(peer).encode(),
            incarnation: Incarnation(u64::from(peer) + 1),
            founding: self.replica.trust().charter().founding_hash(),
            charter_epoch: self.replica.trust().charter().current().epoch,
            charter_hash: self.replica.trust().charter().hash(),
            frontier_hash: frontier.hash(),
            clock: self.now.wall,
            software: "test".into(),
        };
        self.act([message(peer, Message::Hello(hello))])
    }

    /// The entries as another node would send them.
    pub(crate) fn sent(&self, to: &Node, from: u8, request: Option<u32>, places: &[(LogId, u64)]) -> Input {
        let entries = places.iter().map(|place| self.entries[place].clone()).collect();
        let logs = self.rows.values().map(|row| to.replica.trust().check_log(row.descriptor.clone())).collect();
        let logs: Result<Vec<_>, _> = logs;
        Input::Entries { peer: Some(key(from)), request, logs: logs.expect("of members"), entries }
    }

    pub(crate) fn height(&self, log: LogId) -> u64 {
        self.replica.head(&log).height
    }
}

pub(crate) fn config(index: u8, charter: Charter) -> ReplicaConfig {
    ReplicaConfig { certificates: (0..MEMBERS).map(certificate).collect(), ..bare(index, charter) }
}

/// A node that knows of no other yet.
pub(crate) fn bare(index: u8, charter: Charter) -> ReplicaConfig {
    ReplicaConfig {
        protocol: PROTOCOL_VERSION,
        secret: secret(index),
        certificate: certificate(index),
        charter,
        certificates: Vec::new(),
        software: "test".into(),
        seed: [index; 32],
    }
}

pub(crate) fn message(peer: u8, message: Message) -> Input {
    Input::Message { peer: key(peer), message: Box::new(message) }
}

pub(crate) fn have(peer: u8, log: LogId, height: u64) -> Input {
    message(peer, Message::Have { heights: vec![(log, height)] })
}

/// What is asked of whom.
pub(crate) fn wants(effects: &[Effect]) -> Vec<(NodeKey, Want)> {
    let want = |effect: &Effect| match effect {
        Effect::Send { peer, message: Message::Want(want) } => Some((*peer, *want)),
        _ => None,
    };
    effects.iter().filter_map(want).collect()
}

pub(crate) fn beacons(effects: &[Effect]) -> Vec<(NodeKey, SignedBeacon)> {
    let beacon = |effect: &Effect| match effect {
        Effect::Send { peer, message: Message::Beacon(signed) } => Some((*peer, signed.clone())),
        _ => None,
    };
    effects.iter().filter_map(beacon).collect()
}

pub(crate) fn refused(effects: &[Effect]) -> usize {
    effects.iter().filter(|effect| matches!(effect, Effect::Refused { .. })).count()
}

pub(crate) fn published(effects: &[Effect]) -> usize {
    effects.iter().filter(|effect| matches!(effect, Effect::Published { .. })).count()
}

pub(crate) fn events(effects: &[Effect]) -> Vec<Event> {
    let event = |effect: &Effect| match effect {
        Effect::Event(event) => Some(event.clone()),
        _ => None,
    };
    effects.iter().filter_map(event).collect()
}
