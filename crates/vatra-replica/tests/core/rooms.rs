//! Room for logs: who takes it, and who gets it back.

use std::sync::Arc;

use vatra_model::certificate::NodeCertificate;
use vatra_model::charter::{Charter, Revocation};
use vatra_model::limits::NODE_LOGS_MAX;
use vatra_model::wire::{LogDescriptor, Message, WantClasses};
use vatra_model::{
    AudienceId, CheckedEntry, Class, Entry, EntryDraft, EntryHash, ForkProof, Frontier, Hlc, Incarnation, LogId, Realm,
    Secret, Seq, SignedHeader, WallMs,
};
use vatra_replica::{Effect, Event, Input, Reject};

use crate::support::*;

/// A key of a node of a member, and the lives that are written with it.
struct Writer {
    member: u8,
    secret: Secret,
}

impl Writer {
    fn new(member: u8, seed: u8) -> Writer {
        Writer { member, secret: Secret::from_seed(&[seed; 32]) }
    }

    fn descriptor(&self, life: u64) -> LogDescriptor {
        let certificate = NodeCertificate {
            member: code(self.member),
            site: "site".into(),
            node: "node".into(),
            key: self.secret.node_key(),
            not_before: WallMs(0),
            serial: 1,
        };
        LogDescriptor {
            certificate: certificate.sign(&root(self.member)).expect("good names").encode().into(),
            incarnation: Incarnation(life),
            audience: AudienceId::FEDERATION,
            realm: Realm::OPS,
        }
    }

    fn log(&self, life: u64) -> LogId {
        let key = self.secret.node_key();
        LogId::derive(code(self.member), &key, Incarnation(life), &AudienceId::FEDERATION)
    }

    fn entry(&self, life: u64, words: &str) -> CheckedEntry {
        self.entry_at(life, 0, words)
    }

    fn entry_at(&self, life: u64, seq: u64, words: &str) -> CheckedEntry {
        let draft = EntryDraft {
            realm: Realm::OPS,
            log: self.log(life),
            seq: Seq(seq),
            prev: EntryHash::ZERO,
            hlc: Hlc(1),
            class: Class::Routine,
            expires_hours: 0,
        };
        Entry::sign(&draft, vec![words.as_bytes().to_vec()], &self.secret).expect("small")
    }

    /// A peer gives the first entry of a life.
    fn give(&self, node: &mut Node, life: u64) -> Vec<Effect> {
        let checked = node.replica.trust().check_log(self.descriptor(life)).expect("certified once");
        let entries = vec![Arc::new(self.entry(life, "open"))];
        node.act([Input::Entries { peer: Some(key(1)), request: None, logs: vec![checked], entries }])
    }

    /// How much is held of a life of which a peer gave the first entry.
    fn write(&self, node: &mut Node, life: u64) -> u64 {
        self.give(node, life);
        node.height(self.log(life))
    }

    /// A proof that a life began twice.
    fn fork(&self, life: u64) -> ForkProof {
        let header = |words| SignedHeader::of(self.entry(life, words).entry());
        ForkProof::new(self.descriptor(life), header("one"), header("other"))
    }
}

fn revoking(charter: &Charter, writers: &[Writer]) -> Charter {
    let mut keys: Vec<_> = writers.iter().map(|writer| writer.secret.node_key()).collect();
    keys.sort();
    next_epoch(charter, MEMBERS, |epoch| {
        epoch.revocations = keys.iter().map(|key| Revocation { key: *key, last_valid: vec![] }).collect();
    })
}

fn linked(charter: Charter) -> Node {
    let mut node = Node::with_config(0, bare(0, charter));
    node.greet(1, &Frontier::default());
    node
}

fn not_entitled(effects: &[Effect]) -> usize {
    let refused = |event: &&Event| matches!(event, Event::Rejected { reject: Reject::NotEntitled { .. }, .. });
    events(effects).iter().filter(refused).count()
}

/// A thief goes on with life after life, and an observer begins to.
#[test]
fn keys_that_may_write_nothing_take_no_room() {
    let (thief, observer) = (Writer::new(9, 70), Writer::new(8, 71));
    let revoked = next_epoch(&charter(MEMBERS), MEMBERS, |epoch| {
        epoch.revocations = vec![Revocation { key: thief.secret.node_key(), last_valid: vec![] }];
    });
    let mut node = linked(revoked);
    let (observing, _) = promoted();
    let mut other = linked(observing);
    let observer = Writer { member: 2, ..observer };
    for life in 0..20 {
        assert_eq!(not_entitled(&thief.give(&mut node, life)), 1);
        assert_eq!(not_entitled(&observer.give(&mut other, life)), 1);
        let proof = |writer: &Writer| message(1, Message::Fork(Box::new(writer.fork(100 + life))));
        node.act([proof(&thief)]);
        other.act([proof(&observer)]);
    }
    for node in [node, other] {
        let status = node.replica.status(node.now);
        assert_eq!((status.logs.len(), node.rows.len(), node.forks.len()), (0, 0, 0), "nothing of it is valid");
    }
}

#[test]
fn what_was_refused_is_taken_once_a_charter_lets_it_be() {
    let (before, after) = promoted();
    let writer = Writer::new(2, 71);
    let mut node = linked(before);
    assert_eq!(writer.write(&mut node, 1), 0);
    node.act([Input::Charter { bytes: after.encode() }]);
    node.act([have(1, writer.log(1), 1)]);
    let asked = wants(&node.run_for(20_000));
    assert!(asked.iter().any(|(_, want)| want.log == writer.log(1)), "{asked:?}");
    assert_eq!(writer.write(&mut node, 1), 1);
    assert_eq!(node.restarted(0).height(writer.log(1)), 1);
}

/// What the charter calls valid of a revoked key is still begun by whatever comes first of it.
#[test]
fn a_log_of_which_something_is_valid_is_begun_under_the_charter_that_ends_it() {
    let writer = Writer::new(9, 70);
    let valid = (writer.log(1), Seq(0), writer.entry(1, "open").hash());
    let ended = next_epoch(&charter(MEMBERS), MEMBERS, |epoch| {
        epoch.revocations = vec![Revocation { key: writer.secret.node_key(), last_valid: vec![valid] }];
    });
    let mut node = linked(ended);
    assert_eq!((writer.write(&mut node, 1), writer.write(&mut node, 2)), (1, 0));
}

/// Two members fill what is beyond the shares; who has its share already waits for them.
#[test]
fn revoking_those_who_took_the_room_gives_it_back() {
    let honest = Writer::new(5, 60);
    let thieves = [(8, 70), (8, 71), (9, 72), (9, 73)].map(|(member, seed)| Writer::new(member, seed));
    let first = charter(MEMBERS);
    let mut node = linked(first.clone());
    for life in 0..32 {
        assert_eq!(honest.write(&mut node, life), 1);
    }
    for thief in &thieves {
        for life in 0..NODE_LOGS_MAX as u64 {
            thief.give(&mut node, life);
        }
    }
    assert_eq!(honest.write(&mut node, 100), 0, "there is no room");
    let same_member = Writer::new(9, 74);
    assert_eq!(same_member.write(&mut node, 1), 0);
    node.act([Input::Charter { bytes: revoking(&first, &thieves).encode() }]);
    assert_eq!(honest.write(&mut node, 101), 1);
    assert_eq!(same_member.write(&mut node, 1), 1, "also for other nodes of the thieves' member");
    let mut again = node.restarted(0);
    again.greet(1, &Frontier::default());
    assert_eq!((honest.write(&mut again, 102), same_member.write(&mut again, 2)), (1, 1), "after a restart as well");
}

/// Answers what is asked of a peer with the first few entries of each range of a life, and that there is more; gives how
/// often it was asked for that life.
fn answer(node: &mut Node, writer: &Writer, life: u64, told: &mut Vec<Effect>) -> usize {
    let checked = node.replica.trust().check_log(writer.descriptor(life)).expect("certified");
    let asked: Vec<_> = wants(&std::mem::take(told)).into_iter().filter(|(_, want)| want.log == checked.id).collect();
    for (_, want) in &asked {
        let is_urgent = matches!(want.classes, WantClasses::Flash | WantClasses::Priority | WantClasses::Urgent);
        let places = want.from..want.to.min(want.from + if is_urgent { 0 } else { 3 });
        let entries = places.map(|seq| Arc::new(writer.entry_at(life, seq, "one of many"))).collect();
        let (peer, request) = (Some(key(1)), Some(want.request));
        told.extend(node.act([Input::Entries { peer, request, logs: vec![checked.clone()], entries }]));
        told.extend(node.act([message(1, Message::Done { request: want.request, more: !is_urgent })]));
    }
    asked.len()
}

/// An honest peer took another life of a thief first. It says that it holds it whenever it is asked what it holds.
#[test]
fn a_log_without_room_is_asked_for_no_more_until_there_is_some() {
    let thieves = [70, 71].map(|seed| Writer::new(9, seed));
    let honest = Writer::new(9, 72);
    let first = charter(MEMBERS);
    let mut node = linked(first.clone());
    for thief in &thieves {
        for life in 0..NODE_LOGS_MAX as u64 {
            thief.give(&mut node, life);
        }
    }
    let (mut asked, mut told) = (0, node.act([have(1, honest.log(5), 10_000)]));
    for _ in 0..60 {
        for _ in 0..100 {
            told.extend(node.run_for(100));
            asked += answer(&mut node, &honest, 5, &mut told);
        }
        told.extend(node.act([have(1, honest.log(5), 10_000)]));
    }
    assert!((1..=12).contains(&asked), "as much as was asked for before the first entry came: {asked}");
    let status = node.replica.status(node.now);
    assert_eq!((status.turned_away, status.behind[&code(9)].entries), (1, 0));
    let other = LogId([9; 16]);
    told.extend(node.act([have(1, other, 1)]));
    told.extend(node.run_for(500));
    assert!(wants(&told).iter().any(|(_, want)| want.log == other), "the peer is not to blame");
    let told = node.act([Input::Charter { bytes: revoking(&first, &thieves).encode() }]);
    assert!(wants(&told).iter().any(|(_, want)| want.log == honest.log(5)), "there is room now");
    assert_eq!(node.replica.status(node.now).turned_away, 0);
}
