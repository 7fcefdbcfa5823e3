//! What hostile members make up to take the room of others, or the time.

use std::sync::Arc;

use vatra_model::certificate::SignedCertificate;
use vatra_model::charter::{Charter, CharterError};
use vatra_model::wire::{EntriesFrame, LogDescriptor, Message};
use vatra_model::{AudienceId, Class, Entry, EntryDraft, EntryHash, Frontier, Hlc, Incarnation, LogId, Realm, Seq};
use vatra_replica::{Cost, Effect, Event, Heard, Input, Reject, UNASKED};

use crate::support::*;

fn descriptor(certificate: &SignedCertificate, incarnation: u64) -> LogDescriptor {
    LogDescriptor {
        certificate: certificate.encode().into(),
        incarnation: Incarnation(incarnation),
        audience: AudienceId::FEDERATION,
        realm: Realm::OPS,
    }
}

/// So many lives of a node that it never had, described by a neighbour: certificates are public.
fn make_up_lives(node: &mut Node, from: u8, of: u8, count: u64) -> Vec<Effect> {
    let logs = (0..count).map(|number| descriptor(&certificate(of), 1_000_000 + number)).collect();
    let frame = EntriesFrame { request: None, logs, runs: vec![] };
    Message::Entries(frame.clone()).check().expect("within the bounds of a message");
    let mut heard = Heard::default();
    let received = heard.open(node.replica.trust(), frame).expect("all certificates hold");
    let logs = heard.logs_of(&received.entries);
    node.act([Input::Entries { peer: Some(key(from)), request: None, logs, entries: received.entries }])
}

fn reads(reader: &mut Node) -> u64 {
    let mut writer = Node::new(1);
    writer.publish(Class::Flash, 3);
    let log = writer.replica.own_log();
    let entries = writer.sent(reader, 3, None, &[(log, 0), (log, 1), (log, 2)]);
    reader.act([entries]);
    reader.height(log)
}

#[test]
fn made_up_lives_of_a_node_take_nobodys_room() {
    for honest in [&[1][..], &[5, 6, 7, 8]] {
        let mut reader = Node::new(0);
        for peer in [2, 3] {
            reader.greet(peer, &Frontier::default());
        }
        for of in honest {
            make_up_lives(&mut reader, 2, *of, 1_024);
        }
        assert_eq!(reader.replica.status(reader.now).logs.len(), 0, "nobody wrote there");
        assert_eq!(reads(&mut reader), 3);
        let mut reader = reader.restarted(0);
        assert_eq!((reader.replica.status(reader.now).logs.len(), reads(&mut reader)), (1, 3));
    }
}

#[test]
fn made_up_lives_of_a_node_do_not_keep_it_from_writing() {
    let mut node = Node::new(1);
    node.greet(2, &Frontier::default());
    make_up_lives(&mut node, 2, 1, 4_096);
    let told = node.publish(Class::Flash, 1);
    assert_eq!((published(&told), refused(&told)), (1, 0));
}

/// The same with descriptors that come with the input itself, past the checks of a link.
#[test]
fn a_descriptor_without_entries_begins_no_log() {
    let mut node = Node::new(1);
    node.greet(2, &Frontier::default());
    let checked = node.replica.trust().check_log(descriptor(&certificate(3), 9)).expect("certified");
    node.act([Input::Entries { peer: Some(key(2)), request: None, logs: vec![checked], entries: vec![] }]);
    assert_eq!(node.replica.status(node.now).logs.len(), 0);
    assert!(node.rows.is_empty(), "nor a row on disk");
}

/// What a checking thread has done may wait while a charter overtakes it.
#[test]
fn what_was_checked_under_an_older_charter_is_judged_by_the_present_one() {
    let (before, after) = promoted();
    let mut writer = Node::with_charter(2, after.clone());
    writer.publish(Class::Flash, 2);
    let log = writer.replica.own_log();
    let mut reader = Node::with_charter(0, before);
    reader.greet(1, &Frontier::default());
    let waiting = writer.sent(&reader, 1, None, &[(log, 0), (log, 1), (log, 2)]);
    reader.act([Input::Charter { bytes: after.encode() }]);
    reader.act([waiting]);
    assert_eq!((reader.height(log), reader.restarted(0).height(log)), (3, 3));
}

/// Anybody can make a long charter of another federation.
#[test]
fn a_foreign_charter_is_refused_before_its_signatures_are_looked_at() {
    let ours = charter(3);
    let mut forged = next_epoch(&ours, 3, |_| {}).encode();
    // A signature in its first epoch that is not its root's: who looks at signatures first says so.
    let at = forged.windows(64).position(|bytes| bytes == first_signature(&ours)).expect("it is in there");
    forged[at] ^= 1;
    let continued = ours.continued(&forged).expect("what is known is not looked at again").expect("it is longer");
    assert_eq!(continued.current().epoch, 2);
    let mut foreign = ours.current().clone();
    foreign.federation = "another".into();
    let foreign = Charter::found(signed(foreign, 3)).expect("founded");
    let longer = next_epoch(&foreign, 3, |_| {});
    let refused = ours.continued(&longer.encode());
    assert!(matches!(refused, Err(CharterError::Diverged { epoch: 1 })), "{refused:?}");
    assert_eq!(ours.continued(&foreign.encode()), Ok(None), "it is no longer than ours");
}

/// The first epochs of another federation, or of none, with as many members as there may be.
#[test]
fn a_foreign_charter_is_refused_by_its_first_hash() {
    let ours = charter(3);
    let foreign = |epochs: &[&[u8]]| {
        let mut bytes = vec![0x80 + u8::try_from(epochs.len()).expect("few")];
        for body in epochs {
            // [body, []]
            let signed = [&[0x82, 0x58, u8::try_from(body.len()).expect("short")], *body, &[0x80]].concat();
            bytes.extend([0x58, u8::try_from(signed.len()).expect("short")]);
            bytes.extend(signed);
        }
        bytes
    };
    let refused = ours.continued(&foreign(&[b"neither an epoch nor a key is looked for in here", b"nor in here"]));
    assert_eq!(refused, Err(CharterError::Diverged { epoch: 1 }));
    assert!(matches!(Charter::decode(&foreign(&[b"here it is"])), Err(CharterError::Malformed { .. })));
}

/// A peer gives a charter that goes on from ours, with a forged signature in what is known already.
#[test]
fn what_is_kept_and_told_of_a_charter_holds_whatever_copy_came() {
    let ours = charter(MEMBERS);
    let next = next_epoch(&ours, MEMBERS, |_| {});
    let mut forged = next.encode();
    let at = forged.windows(64).position(|bytes| bytes == first_signature(&ours)).expect("it is in there");
    forged[at] ^= 1;
    let mut node = Node::with_charter(0, ours);
    for peer in [1, 2] {
        node.greet(peer, &Frontier::default());
    }
    let told = node.act([message(1, Message::Charter { bytes: forged })]);
    let told: Vec<_> = told
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Send { peer, message: Message::Charter { bytes } } => Some((peer, Charter::decode(&bytes))),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(key(2), Ok(next.clone()))]);
    let kept = node.charter.expect("a newer one is in force");
    assert_eq!(Charter::decode(&kept), Ok(next), "or the node could not start again");
}

fn first_signature(charter: &Charter) -> Vec<u8> {
    let bytes = charter.epochs()[0].encode();
    bytes[bytes.len() - 64..].to_vec()
}

#[test]
fn a_new_link_gives_no_new_allowance_for_what_is_costly() {
    let mut node = Node::new(0);
    let mut looked_at = 0;
    for _ in 0..4 {
        node.greet(2, &Frontier::default());
        for _ in 0..20 {
            let told = events(&node.act([message(2, Message::Charter { bytes: vec![7] })]));
            looked_at += told.iter().filter(|event| is_of_charter(event)).count();
        }
        node.act([Input::LinkDown { peer: key(2) }]);
    }
    assert_eq!(looked_at, 16, "as many as on one link");
    for _ in 0..2 {
        // Links without a word make what is remembered of it be forgotten.
        for _ in 0..2 {
            node.act([Input::LinkUp { peer: key(2), cost: Cost::Wan }]);
            node.act([Input::LinkDown { peer: key(2) }]);
        }
        node.greet(2, &Frontier::default());
        let told = events(&node.act([message(2, Message::Charter { bytes: vec![7] })]));
        assert!(!told.iter().any(is_of_charter), "{told:?}");
        node.act([Input::LinkDown { peer: key(2) }]);
    }
    node.greet(3, &Frontier::default());
    let told = events(&node.act([message(3, Message::Charter { bytes: vec![7] })]));
    assert!(told.iter().any(is_of_charter), "another peer has its own");
}

fn is_of_charter(event: &Event) -> bool {
    matches!(event, Event::Rejected { reject: Reject::Charter(_), .. })
}

/// Heights carry no signature. Who says that it holds thousands of logs that nobody wrote, and then gives nothing, is
/// asked little, and keeps nobody else from being asked.
#[test]
fn claims_without_entries_cost_few_requests() {
    let mut writer = Node::new(9);
    writer.publish(Class::Routine, 40);
    let own = writer.replica.own_log();
    let mut node = Node::new(0);
    for peer in [1, 2] {
        node.greet(peer, &Frontier::default());
    }
    let made_up = |number: u64| (LogId([number.to_be_bytes(), [7; 8]].concat().try_into().expect("16")), 1 << 40);
    let heights = (0..4_096).map(made_up).collect();
    let mut told = node.act([message(2, Message::Have { heights })]);
    let mut asked = 0;
    for _ in 0..10_000 {
        let answered = wants(&told).into_iter().map(|(_, want)| want.request);
        let answers: Vec<_> = answered.map(|request| message(2, Message::Done { request, more: false })).collect();
        asked += answers.len();
        told = node.act(answers);
        told.extend(node.run_for(1));
    }
    assert!(asked >= 20, "it was believed at first: {asked}");
    assert!(asked <= 3 * 8 + 6 * (5 + 10), "three requests of each kind, ever more seldom: {asked}");
    told = node.act([message(1, Message::Have { heights: vec![(own, 41)] })]);
    told.extend(node.run_for(3_000));
    let honest = wants(&told).into_iter().filter(|(peer, want)| (*peer, want.log) == (key(1), own)).count();
    assert!(honest > 0, "an honest peer is asked at once");
}

/// Entries beyond a gap are given unasked. One more of them now and then, below the others, does not make all of them be
/// given to everybody each time.
#[test]
fn an_entry_below_a_gap_now_and_then_gives_the_rest_again_ever_more_seldom() {
    let mut writer = Node::new(4);
    writer.publish(Class::Routine, 500);
    let log = writer.replica.own_log();
    let mut node = Node::new(0);
    for peer in [1, 2, 3] {
        node.greet(peer, &Frontier::default());
    }
    let give = |node: &mut Node, from: u64, to: u64| {
        let places: Vec<_> = (from..to).map(|seq| (log, seq)).collect();
        let input = writer.sent(node, 1, None, &places);
        node.act([input]);
    };
    let given = |effects: &[Effect]| {
        let ranges = effects.iter().filter_map(|effect| match effect {
            Effect::Serve { want, .. } if want.request == UNASKED => Some(want.to - want.from),
            _ => None,
        });
        ranges.sum::<u64>()
    };
    give(&mut node, 200, 500);
    assert_eq!(given(&node.run_for(60_000)), 3 * 300, "each peer gets each");
    let mut again = 0;
    for number in 0..60 {
        give(&mut node, 199 - number, 200 - number);
        again += given(&node.run_for(20_000));
    }
    assert!(again >= 3 * 360, "those that came later are given as well: {again}");
    assert!(again <= 7 * 3 * 360, "1,200 s, with 10, 20, 40.. between two times: {again}");
}

/// An honest peer passes on what a third one wrote and may not be kept here. That is no reason to ask it less.
#[test]
fn a_peer_whose_entries_are_refused_here_is_asked_on() {
    let (observing, _) = promoted();
    let mut node = Node::with_charter(0, observing);
    node.greet(1, &Frontier::default());
    for life in 0..20 {
        let checked = node.replica.trust().check_log(descriptor(&certificate(2), life)).expect("certified");
        let draft = EntryDraft {
            realm: Realm::OPS,
            log: checked.id,
            seq: Seq(0),
            prev: EntryHash::ZERO,
            hlc: Hlc(1),
            class: Class::Routine,
            expires_hours: 0,
        };
        let entry = Arc::new(Entry::sign(&draft, vec![vec![7]], &secret(2)).expect("small"));
        let mut told = node.act([message(1, Message::Have { heights: vec![(checked.id, 1)] })]);
        told.extend(node.run_for(3_000));
        let asked: Vec<_> = wants(&told).into_iter().filter(|(_, want)| want.log == checked.id).collect();
        assert!(!asked.is_empty(), "log {life} is not asked for");
        for (_, want) in asked {
            let (peer, request) = (Some(key(1)), Some(want.request));
            let (logs, entries) = (vec![checked.clone()], vec![entry.clone()]);
            let told = node.act([Input::Entries { peer, request, logs, entries }]);
            assert!(matches!(events(&told)[..], [Event::Rejected { reject: Reject::NotEntitled { .. }, .. }]));
            node.act([message(1, Message::Done { request: want.request, more: false })]);
        }
    }
    let other = LogId([9; 16]);
    let begun = node.act([message(1, Message::Have { heights: vec![(other, 1)] })]);
    let told: Vec<_> = begun.into_iter().chain(node.run_for(500)).collect();
    assert!(wants(&told).iter().any(|(_, want)| want.log == other), "it rests for what another wrote");
}

/// A gap that closes takes some of what was given away from beyond it. Others that came meanwhile are given all the same,
/// although as many lie there as before.
#[test]
fn as_many_beyond_a_gap_as_before_need_not_be_the_same() {
    let mut writer = Node::new(9);
    let log = writer.replica.own_log();
    writer.publish(Class::Routine, 6);
    let mut node = Node::new(0);
    node.greet(1, &Frontier::default());
    node.greet(2, &Frontier::default());
    let unasked = |effects: &[Effect]| {
        let given = effects.iter().filter_map(|effect| match effect {
            Effect::Serve { peer, want } if *peer == key(2) && want.request == UNASKED => Some((want.from, want.to)),
            _ => None,
        });
        given.collect::<Vec<_>>()
    };
    let hold = |node: &mut Node, places: &[u64]| {
        let places: Vec<_> = places.iter().map(|seq| (log, *seq)).collect();
        let input = writer.sent(node, 1, None, &places);
        node.act([input])
    };
    hold(&mut node, &[0, 2, 4, 6]);
    assert_eq!(unasked(&node.run_for(60_000)), [(2, 7)]);
    hold(&mut node, &[1, 5]);
    assert_eq!(node.height(log), 3);
    assert_eq!(unasked(&node.run_for(60_000)), [(4, 7)]);
}
