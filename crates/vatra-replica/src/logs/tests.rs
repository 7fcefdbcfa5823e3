use std::sync::Arc;

use proptest::prelude::*;
use vatra_model::certificate::NodeCertificate;
use vatra_model::charter::LogEnd;
use vatra_model::charter::MemberRole;
use vatra_model::limits::{
    AHEAD_ENTRIES_MAX, AHEAD_FREE_MAX, LOGS_MAX, MEMBER_AHEAD_MAX, MEMBER_LOGS_MAX, MEMBER_LOGS_SHARE, NODE_LOGS_MAX,
};
use vatra_model::{
    AudienceId, CheckedEntry, Class, Entry, EntryDraft, Hlc, Incarnation, Public, Realm, Secret, WallMs,
};

use super::room::LOGS_SHARED;
use super::*;
use crate::input::Reject;

fn secret() -> Secret {
    Secret::from_seed(&[1; 32])
}

fn checked_log() -> CheckedLog {
    let key = secret().node_key();
    let certificate = NodeCertificate {
        member: "UA".parse().expect("a code"),
        site: "kyiv".into(),
        node: "kyiv-1".into(),
        key,
        not_before: WallMs(0),
        serial: 1,
    };
    let descriptor = LogDescriptor {
        certificate: [].into(),
        incarnation: Incarnation(1),
        audience: AudienceId::FEDERATION,
        realm: Realm::OPS,
    };
    CheckedLog {
        id: LogId::derive(certificate.member, &key, Incarnation(1), &AudienceId::FEDERATION),
        descriptor,
        certificate,
        role: MemberRole::Member,
        public: Public::new(&key.0).expect("a real key"),
    }
}

/// So many chained entries; other words make another chain.
fn chain(count: u64, words: &str) -> Vec<CheckedEntry> {
    let mut prev = EntryHash::ZERO;
    let entry = |seq: u64| {
        let draft = EntryDraft {
            realm: Realm::OPS,
            log: checked_log().id,
            seq: Seq(seq),
            prev,
            hlc: Hlc(seq + 1),
            class: Class::Routine,
            expires_hours: 0,
        };
        let entry = Entry::sign(&draft, vec![format!("{words} {seq}").into_bytes()], &secret()).expect("small");
        prev = entry.hash();
        entry
    };
    (0..count).map(entry).collect()
}

fn empty() -> LogState {
    LogState::new(checked_log(), Head::EMPTY, true)
}

fn offered(state: &mut LogState, chain: &[CheckedEntry], seqs: &[usize]) {
    for seq in seqs {
        assert_eq!(state.offer(&chain[*seq]), Ok(Accepted::New), "entry {seq}");
    }
}

#[test]
fn entries_beyond_a_gap_are_kept_and_close_it() {
    let chain = chain(8, "a");
    let mut state = empty();
    offered(&mut state, &chain, &[0, 3, 4, 6]);
    assert_eq!((state.accepted().height, state.ahead_count()), (1, 3));
    assert!(state.holds(4) && !state.holds(5));
    assert_eq!(state.missing(8, 9), [(1, 3), (5, 6), (7, 8)]);
    assert_eq!(state.missing(8, 2), [(1, 3), (5, 6)]);
    assert_eq!(state.missing_newest_first(8, 9), [(7, 8), (5, 6), (1, 3)]);
    assert_eq!(state.missing_newest_first(8, 1), [(7, 8)]);
    assert_eq!(state.gaps_between(0, 8, 1), [(1, 3), (5, 6), (7, 8)]);
    assert_eq!(state.gaps_between(0, 8, 2), [(1, 3), (5, 8)], "one held entry is not worth a gap of its own");
    assert_eq!(state.gaps_between(3, 5, 1), []);
    offered(&mut state, &chain, &[1, 2]);
    assert_eq!((state.accepted(), state.ahead_count()), (Head { height: 5, head: chain[4].hash() }, 1));
    offered(&mut state, &chain, &[5]);
    assert_eq!((state.accepted().height, state.ahead_count()), (7, 0));
    assert_eq!(state.offer(&chain[3]), Ok(Accepted::Duplicate));
    assert_eq!(state.missing(7, 9), []);
}

#[test]
fn what_does_not_chain_is_in_doubt_and_changes_nothing() {
    let (ours, theirs) = (chain(6, "ours"), chain(6, "theirs"));
    let mut state = empty();
    offered(&mut state, &ours, &[0, 1, 2, 4]);
    for seq in [0, 2, 3, 4] {
        assert_eq!(state.offer(&theirs[seq]), Ok(Accepted::Doubtful), "entry {seq}");
    }
    assert_eq!(state.accepted().head, ours[2].hash());
    offered(&mut state, &ours, &[3, 5]);
    assert_eq!((state.accepted().height, state.take_broken()), (6, None));
}

#[test]
fn an_entry_ahead_that_does_not_follow_stops_the_log() {
    let (ours, theirs) = (chain(4, "ours"), chain(4, "theirs"));
    let mut state = empty();
    offered(&mut state, &ours, &[0]);
    offered(&mut state, &theirs, &[2, 3]);
    offered(&mut state, &ours, &[1]);
    assert_eq!((state.accepted().height, state.take_broken()), (2, Some((2, None))));
}

#[test]
fn no_more_than_the_bound_is_held_beyond_a_gap() {
    let mut state = empty();
    for seq in 0..AHEAD_ENTRIES_MAX as u64 {
        state.ahead.insert(seq + 10, Ahead { hash: EntryHash([1; 32]), prev: EntryHash([2; 32]), durable: true });
    }
    let chain = chain(6, "a");
    assert!(matches!(state.offer(&chain[5]), Err(Reject::Full { .. })));
    offered(&mut state, &chain, &[0, 1]);
}

#[test]
fn only_what_was_written_is_durable() {
    let chain = chain(5, "a");
    let (mut logs, log) = (Logs::default(), checked_log().id);
    logs.describe(checked_log(), (checked_log().certificate.member, NodeKey([9; 32]))).expect("room");
    let offer = |logs: &mut Logs, seqs: &[usize]| -> Vec<Arc<CheckedEntry>> {
        offered(logs.logs.get_mut(&log).expect("described"), &chain, seqs);
        seqs.iter().map(|seq| Arc::new(chain[*seq].clone())).collect()
    };
    let entries = offer(&mut logs, &[0, 1, 3]);
    let first = Batch { entries, logs: logs.unsaved().0, ..Batch::default() };
    // These come while the first are being written.
    offer(&mut logs, &[2]);
    assert_eq!(logs.frontier(), Frontier::default());
    logs.settle(&first);
    let state = logs.get(&log).expect("described");
    assert_eq!((state.durable().height, state.accepted().height), (2, 4));
    assert!(state.holds_durably(1) && !state.holds_durably(2));
    assert_eq!(logs.unsaved().0.len(), 1, "the rest is still to be written");
    logs.forget_entries();
    assert_eq!(logs.frontier(), Frontier::default());
    assert!(logs.get(&log).is_some(), "the log stays described");
}

#[test]
fn others_logs_leave_room_for_our_own() {
    let mut logs = Logs::default();
    let numbered = |number: u64, key: NodeKey| {
        let mut checked = checked_log();
        checked.certificate.key = key;
        checked.id = LogId::derive(checked.certificate.member, &key, Incarnation(number), &AudienceId::FEDERATION);
        checked
    };
    let (key, other) = (NodeKey([1; 32]), NodeKey([2; 32]));
    let me = (checked_log().certificate.member, key);
    let taken = (0..).take_while(|number| logs.describe(numbered(*number, other), me).is_ok()).count();
    assert_eq!(taken, NODE_LOGS_MAX, "one node's lives leave room for other nodes");
    let of_member = |number: u64| numbered(number, NodeKey([(number % 200) as u8 + 10; 32]));
    let more = (0..).take_while(|number| logs.describe(of_member(*number), me).is_ok()).count();
    assert_eq!(taken + more, MEMBER_LOGS_MAX, "one member's nodes leave room for other members");
    let of_other = |member: &str, number: u64| {
        let mut checked = of_member(number);
        checked.certificate.member = member.parse().expect("a code");
        checked.certificate.key.0[31] ^= u8::try_from(member.len()).expect("short");
        checked.id = checked.certificate.log(Incarnation(number), &AudienceId::FEDERATION);
        checked
    };
    let mut take =
        |member: &str| (0..).take_while(|number| logs.describe(of_other(member, *number), me).is_ok()).count();
    let beyond = MEMBER_LOGS_MAX - MEMBER_LOGS_SHARE;
    assert_eq!(take("LTV"), LOGS_SHARED - beyond + MEMBER_LOGS_SHARE, "the second finds the rest");
    assert_eq!((take("LV"), take("EE")), (MEMBER_LOGS_SHARE, MEMBER_LOGS_SHARE), "two that fill all leave a share");
    assert_eq!(logs.describe(numbered(1 << 40, key), me), Ok(()));
}

/// Members take all room, have their keys revoked, and begin again with others.
#[test]
fn logs_of_revoked_keys_neither_take_room_nor_pile_up() {
    let mut logs = Logs::default();
    let me = (checked_log().certificate.member, NodeKey([1; 32]));
    for round in 0..4 {
        let mut taken = 0;
        for (member, node) in ["AT", "BE", "CZ", "DK"].into_iter().flat_map(|member| [(member, 0), (member, 1)]) {
            let numbered = |number: u64| {
                let mut checked = checked_log();
                checked.certificate.member = member.parse().expect("a code");
                checked.certificate.key.0 = [100 + 2 * round + node; 32];
                checked.id = checked.certificate.log(Incarnation(number), &AudienceId::FEDERATION);
                checked
            };
            taken += (0..).take_while(|number| logs.describe(numbered(*number), me).is_ok()).count();
        }
        assert_eq!(taken, LOGS_SHARED + 4 * MEMBER_LOGS_SHARE, "round {round}");
        assert!(logs.len() <= LOGS_MAX);
        for log in logs.iter().map(|(log, _)| *log).collect::<Vec<_>>() {
            logs.end_at(&log, LogEnd { last: None });
        }
    }
}

proptest! {
    /// Whatever the order, the same entries give the same state.
    #[test]
    fn order_does_not_matter(order in Just((0..12_usize).collect::<Vec<_>>()).prop_shuffle(), kept in 1..12_usize) {
        let chain = chain(12, "a");
        let held: Vec<usize> = order[..kept].to_vec();
        let mut state = empty();
        offered(&mut state, &chain, &held);
        let contiguous = (0..12).take_while(|seq| held.contains(seq)).count() as u64;
        prop_assert_eq!(state.accepted().height, contiguous);
        prop_assert_eq!(state.ahead_count() as u64, kept as u64 - contiguous);
        let mut missing = state.missing(12, usize::MAX);
        let covered: u64 = missing.iter().map(|(from, to)| to - from).sum();
        prop_assert_eq!(covered, 12 - kept as u64);
        prop_assert_eq!(&missing, &state.gaps_between(0, 12, 1));
        missing.reverse();
        prop_assert_eq!(missing, state.missing_newest_first(12, usize::MAX));
    }
}

#[test]
fn entries_beyond_gaps_of_one_member_are_bounded_over_all_its_logs() {
    let mut logs = Logs::default();
    let me = (checked_log().certificate.member, NodeKey([9; 32]));
    let of_life = |life: u64| {
        let mut checked = checked_log();
        checked.id = checked.certificate.log(Incarnation(life), &AudienceId::FEDERATION);
        checked
    };
    let entry = |log: LogId, seq: u64| {
        let draft = EntryDraft {
            realm: Realm::OPS,
            log,
            seq: Seq(seq),
            prev: EntryHash([7; 32]),
            hlc: Hlc(seq + 1),
            class: Class::Routine,
            expires_hours: 0,
        };
        Entry::sign(&draft, vec![vec![7]], &secret()).expect("small")
    };
    let (mut refused, mut held) = (0, 0);
    for life in 0..5 {
        let checked = of_life(life);
        let id = checked.id;
        logs.describe(checked, me).expect("room");
        for seq in 1..=16_000 {
            match logs.offer(&entry(id, seq)) {
                Ok(_) => held += 1,
                Err(Reject::Full { what: "entries beyond gaps of one member", .. }) => refused += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
    }
    let most = MEMBER_AHEAD_MAX + 5 * AHEAD_FREE_MAX;
    assert!((most..most + 64).contains(&held) && refused > 10_000, "held {held}, refused {refused}");
    // What is missing below is taken all the same, and each log has its first ones free.
    let first = of_life(0).id;
    assert_eq!(logs.get(&first).map(LogState::ahead_count), Some(16_000));
    let other = of_life(9);
    let id = other.id;
    logs.describe(other, me).expect("room");
    let taken = (1..=1_000).filter(|seq| logs.offer(&entry(id, *seq)).is_ok()).count();
    assert_eq!(taken, AHEAD_FREE_MAX);
    assert!(logs.is_crowded_by(me.0) && !logs.is_crowded_by("LT".parse().expect("a code")));
}
