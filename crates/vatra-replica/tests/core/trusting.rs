//! Who may write and be linked: observers, revoked nodes, strangers, newcomers.

use vatra_model::certificate::SignedCertificate;
use vatra_model::charter::{Charter, MemberRole, Revocation};
use vatra_model::wire::{EntriesFrame, Hello, Message, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN};
use vatra_model::{Class, Frontier, Seq};
use vatra_replica::{Cost, Effect, Event, Heard, Input, Reject, Told, Trust};

use crate::spreading::beacon_with;
use crate::support::*;

#[test]
fn an_observer_is_refused_without_a_panic() {
    let charter = next_epoch(&charter(3), 3, |epoch| epoch.members[2].role = MemberRole::Observer);
    let mut node = Node::with_charter(2, charter);
    let effects = node.publish(Class::Flash, 2);
    assert_eq!((refused(&effects), published(&effects), node.entries.len()), (2, 0, 0));
}

/// Entries do not tell under which epoch they were written, so what is taken must not depend on when a charter came.
#[test]
fn what_a_member_wrote_before_it_became_an_observer_is_taken_by_all() {
    let (old, new) = (charter(3), next_epoch(&charter(3), 3, |epoch| epoch.members[2].role = MemberRole::Observer));
    let mut writer = Node::with_charter(2, old.clone());
    writer.publish(Class::Routine, 3);
    let log = writer.replica.own_log();
    let places: Vec<_> = (0..4).map(|seq| (log, seq)).collect();
    for before in 0..=4 {
        let mut reader = Node::with_charter(0, old.clone());
        reader.greet(1, &Frontier::default());
        let first = writer.sent(&reader, 1, None, &places[..before]);
        reader.act([first]);
        reader.act([Input::Charter { bytes: new.encode() }]);
        reader = reader.restarted(0);
        reader.greet(1, &Frontier::default());
        let rest = writer.sent(&reader, 1, None, &places[before..]);
        reader.act([rest]);
        assert_eq!(reader.height(log), 4, "{before} of 4 came before the charter");
    }
    assert_eq!(published(&writer.act([Input::Charter { bytes: new.encode() }])), 0);
    assert_eq!(refused(&writer.publish(Class::Flash, 1)), 1, "its own node knows that it may not");
}

#[test]
fn nothing_of_an_observer_is_taken_until_an_epoch_makes_it_a_member() {
    let (observing, promoting) = promoted();
    // It has a key, and a core of its own that lets it write.
    let mut writer = Node::with_charter(2, charter(3));
    writer.publish(Class::Routine, 3);
    let log = writer.replica.own_log();
    let places: Vec<_> = (0..4).map(|seq| (log, seq)).collect();
    let mut reader = Node::with_charter(0, observing);
    reader.greet(1, &Frontier::default());
    let all = writer.sent(&reader, 1, None, &places);
    let refusals = events(&reader.act([all]));
    let of_place = |seq| move |event: &Event| matches!(event, Event::Rejected { reject: Reject::NotEntitled { seq: s, .. }, .. } if *s == seq);
    assert!((0..4).all(|seq| refusals.iter().any(of_place(seq))), "{refusals:?}");
    assert_eq!((reader.height(log), reader.held().len()), (0, 0), "not even what would open its log");
    reader.act([Input::Charter { bytes: promoting.encode() }]);
    let all = writer.sent(&reader, 1, None, &places);
    reader.act([all]);
    assert_eq!(reader.height(log), 4, "its log was known as an observer's before");
}

#[test]
fn a_revoked_node_is_refused_and_its_later_entries_too() {
    let mut writer = Node::with_charter(1, charter(3));
    writer.publish(Class::Routine, 4);
    let log = writer.replica.own_log();
    let last = writer.entries[&(log, 2)].hash();
    let revoking = next_epoch(&charter(3), 3, |epoch| {
        epoch.revocations = vec![Revocation { key: key(1), last_valid: vec![(log, Seq(2), last)] }];
    });
    let mut reader = Node::with_charter(0, charter(3));
    reader.greet(2, &Frontier::default());
    let places: Vec<_> = (0..2).map(|seq| (log, seq)).collect();
    let input = writer.sent(&reader, 2, None, &places);
    reader.act([input, Input::Charter { bytes: revoking.encode() }]);
    let rest: Vec<_> = (2..5).map(|seq| (log, seq)).collect();
    let input = writer.sent(&reader, 2, None, &rest);
    let effects = reader.act([input, have(2, log, 5)]);
    assert_eq!(reader.height(log), 3, "what it wrote in time is kept");
    let refusals = events(&effects);
    assert!(refusals.iter().any(|e| matches!(e, Event::Rejected { reject: Reject::NotEntitled { seq: 3, .. }, .. })));
    assert_eq!(wants(&reader.run_for(30_000)), vec![], "what would be refused is not asked for");
    let effects = writer.act([Input::Charter { bytes: revoking.encode() }]);
    assert_eq!(refused(&effects), 0);
    assert_eq!(refused(&writer.publish(Class::Flash, 1)), 1);
}

#[test]
fn a_hello_with_another_nodes_certificate_closes_the_link() {
    let mut node = Node::new(0);
    let told = node.greet(1, &Frontier::default());
    assert!(events(&told).contains(&Event::Joined { peer: key(1) }));
    let link = Input::LinkUp { peer: key(3), cost: vatra_replica::Cost::Wan };
    let mut effects = node.act([link]);
    let hello = effects.iter().find_map(|effect| match effect {
        Effect::Send { message: Message::Hello(hello), .. } => Some(hello.clone()),
        _ => None,
    });
    effects = node.act([message(3, Message::Hello(hello.expect("hello comes first")))]);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Close { reason: Reject::Malformed { .. }, .. })));
}

#[test]
fn messages_before_the_hello_change_nothing() {
    let mut node = Node::new(0);
    node.act([Input::LinkUp { peer: key(1), cost: vatra_replica::Cost::Wan }]);
    let log = node.replica.own_log();
    let effects = node.act([have(1, log, 9), message(1, Message::WantCharter { after: 0 })]);
    assert_eq!(node.replica.own_log(), log);
    let unexpected = |event: &Event| matches!(event, Event::Rejected { reject: Reject::Unexpected(_), .. });
    assert_eq!(events(&effects).iter().filter(|event| unexpected(event)).count(), 2);
}

/// A member's entries may come before the charter that names it; their log is told only once.
#[test]
fn entries_of_a_newcomer_are_left_out_until_its_charter_comes() {
    let new = next_epoch(&charter(3), 3, |epoch| epoch.members.push(listed(3, MemberRole::Member)));
    waits_for_its_charter(Node::with_charter(3, new.clone()), new);
}

/// The same of a node whose certificate the member's next root has signed.
#[test]
fn entries_under_a_new_root_are_left_out_until_its_charter_comes() {
    let new = next_epoch(&charter(3), 3, |epoch| epoch.members[2].root = root(50).root_key());
    let renewed = certificate(2).certificate().clone().sign(&root(50)).expect("good names");
    let config = vatra_replica::ReplicaConfig { certificate: renewed, ..bare(2, new.clone()) };
    waits_for_its_charter(Node::with_config(2, config), new);
}

fn waits_for_its_charter(mut newcomer: Node, new: Charter) {
    newcomer.publish(Class::Routine, 1);
    let mut known = Node::with_charter(1, new.clone());
    known.publish(Class::Routine, 1);
    let mut told = Told::default();
    let mut frame = |nodes: &[&Node], seq: u64| -> EntriesFrame {
        let entries: Vec<_> = nodes.iter().map(|n| n.entries[&(n.replica.own_log(), seq)].entry().clone()).collect();
        let descriptor = |log: &vatra_model::LogId| nodes.iter().find_map(|n| n.replica.descriptor(log).cloned());
        let frame = told.frame(None, &entries, descriptor);
        told.sent(&frame);
        frame
    };
    let mut heard = Heard::default();
    let reader = Node::with_config(0, bare(0, charter(3)));
    let received = heard.open(reader.replica.trust(), frame(&[&newcomer, &known], 0)).expect("the rest is good");
    assert_eq!(
        (heard.logs_of(&received.entries).len(), received.entries.len()),
        (1, 1),
        "the known member's entry is not held up"
    );
    assert!(received.left_out.is_some());
    let reader = Node::with_config(0, bare(0, new));
    let received = heard.open(reader.replica.trust(), frame(&[&newcomer], 1)).expect("now it is known");
    assert_eq!((heard.logs_of(&received.entries).len(), received.entries.len(), received.left_out), (1, 1, None));
}

/// The only neighbour is of a member that a newer charter names, or whose root that has changed: nobody else could give
/// that charter.
#[test]
fn a_peer_whose_charter_is_newer_is_asked_for_it_before_it_is_judged() {
    let renewed_root = next_epoch(&charter(3), 3, |epoch| epoch.members[2].root = root(50).root_key());
    let renewed = certificate(2).certificate().clone().sign(&root(50)).expect("good names");
    let hello = |of: &Charter, certificate: &SignedCertificate| Hello {
        version: PROTOCOL_VERSION,
        version_min: PROTOCOL_VERSION_MIN,
        certificate: certificate.encode(),
        incarnation: vatra_model::Incarnation(3),
        founding: of.founding_hash(),
        charter_epoch: of.current().epoch,
        charter_hash: of.hash(),
        frontier_hash: Frontier::default().hash(),
        clock: vatra_model::WallMs(0),
        software: "test".into(),
    };
    let asks = |effects: &[Effect]| {
        effects.iter().any(|effect| matches!(effect, Effect::Send { message: Message::WantCharter { after: 1 }, .. }))
    };
    let closes = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Close { .. }));
    let linked = || {
        let mut node = Node::with_charter(0, charter(3));
        node.act([Input::LinkUp { peer: key(2), cost: Cost::Wan }]);
        node
    };
    let hears = |node: &mut Node, charter: &Charter| node.act([message(2, Message::Hello(hello(charter, &renewed)))]);
    let joined = |effects: &[Effect]| events(effects).iter().any(|event| matches!(event, Event::Joined { .. }));

    let mut node = linked();
    let told = hears(&mut node, &renewed_root);
    assert!(asks(&told) && !closes(&told) && !joined(&told));
    let too_early = events(&node.act([message(2, Message::Have { heights: vec![] })]));
    assert!(matches!(too_early[..], [Event::Rejected { reject: Reject::Unexpected(_), .. }]), "{too_early:?}");
    let told = node.act([message(2, Message::Charter { bytes: renewed_root.encode() })]);
    assert!(joined(&told) && !closes(&told), "{told:?}");
    assert_eq!(node.replica.trust().node(&key(2)), Some(renewed.certificate()));

    // It comes from elsewhere.
    let mut node = linked();
    hears(&mut node, &renewed_root);
    let told = node.act([Input::Charter { bytes: renewed_root.encode() }]);
    assert!(joined(&told) && !closes(&told));

    // It has none, or one that does not admit it.
    let mut node = linked();
    hears(&mut node, &renewed_root);
    assert!(closes(&node.act([message(2, Message::Charter { bytes: charter(3).encode() })])));
    let other = next_epoch(&charter(3), 3, |_| {});
    let mut node = linked();
    hears(&mut node, &other);
    assert!(closes(&node.act([message(2, Message::Charter { bytes: other.encode() })])));
    // And who names none that is newer is judged at once.
    assert!(closes(&hears(&mut linked(), &charter(3))));
}

#[test]
fn a_charter_that_is_known_goes_no_further() {
    let newer = next_epoch(&charter(MEMBERS), MEMBERS, |_| {});
    let mut node = Node::new(0);
    for peer in [1, 2, 3] {
        node.greet(peer, &Frontier::default());
    }
    let charters = |effects: &[Effect]| {
        effects.iter().filter(|effect| matches!(effect, Effect::Send { message: Message::Charter { .. }, .. })).count()
    };
    let bytes = newer.encode();
    let first = node.act([message(1, Message::Charter { bytes: bytes.clone() })]);
    assert_eq!(charters(&first), 2, "who brought it has it");
    let again = node.act([message(2, Message::Charter { bytes })]);
    assert_eq!((charters(&again), events(&again)), (0, vec![]));
}

#[test]
fn of_two_certificates_of_a_node_the_newer_counts_in_any_order() {
    let with_serial = |serial| {
        let mut certificate = certificate(1).certificate().clone();
        (certificate.serial, certificate.site) = (serial, format!("site-{serial}"));
        certificate.sign(&root(1)).expect("good names")
    };
    for order in [[1, 2], [2, 1]] {
        let mut trust = Trust::new(charter(3));
        let news = order.map(|serial| trust.learn(&with_serial(serial)));
        assert_eq!(news, [Ok(true), Ok(order == [1, 2])]);
        assert_eq!(trust.node(&key(1)).map(|certificate| certificate.serial), Some(2));
        assert_eq!(trust.learn(&with_serial(2)), Ok(false), "it is known");
    }
}

/// A certificate of member 2, which needs no consent of the node that it names: member 1's.
fn stolen() -> SignedCertificate {
    let mut stolen = certificate(1).certificate().clone();
    (stolen.member, stolen.serial) = (code(2), u64::MAX);
    stolen.sign(&root(2)).expect("good names")
}

#[test]
fn whose_a_node_is_says_the_node_itself() {
    let learning = |given: &[(bool, SignedCertificate)]| {
        let mut trust = Trust::new(charter(3));
        let learn = |(by_itself, certificate): &(bool, SignedCertificate)| {
            if *by_itself { trust.learn_from_itself(certificate) } else { trust.learn(certificate) }
        };
        let news: Vec<_> = given.iter().map(learn).collect();
        (news, trust.member(&key(1)))
    };
    let (own, stolen) = (certificate(1), stolen());
    let cases = [
        ([(false, own.clone()), (false, stolen.clone())], [true, false], 1),
        ([(true, own.clone()), (false, stolen.clone())], [true, false], 1),
        ([(false, stolen.clone()), (true, own.clone())], [true, true], 1),
        ([(false, stolen.clone()), (false, own.clone())], [true, false], 2),
        ([(true, stolen.clone()), (true, own.clone())], [true, false], 2),
    ];
    for (given, news, member) in cases {
        let expected = (news.map(Ok).to_vec(), Some(code(member)));
        assert_eq!(learning(&given), expected, "{given:?}");
    }
    // What was given by others first is its own word once it says the same.
    let (news, member) = learning(&[(false, own.clone()), (true, own), (true, stolen)]);
    assert_eq!((news, member), (vec![Ok(true), Ok(false), Ok(false)], Some(code(1))));
}

#[test]
fn nobody_takes_anothers_node_for_its_own() {
    let mut writer = Node::with_charter(1, charter(3));
    writer.publish(Class::Routine, 2);
    let log = writer.replica.own_log();
    let honest = writer.replica.descriptor(&log).expect("it has written").clone();
    let forged = vatra_model::wire::LogDescriptor { certificate: stolen().encode().into(), ..honest };
    for is_known in [false, true] {
        let mut config = config(0, charter(3));
        config.certificates.retain(|certificate| is_known || certificate.certificate().member != code(1));
        let mut node = Node::with_config(0, config);
        node.greet(2, &Frontier::default());
        let forged = node.replica.trust().check_log(forged.clone()).expect("its member has signed it");
        assert_ne!(forged.id, log, "a log is one of a member");
        let input = Input::Entries { peer: Some(key(2)), request: None, logs: vec![forged.clone()], entries: vec![] };
        node.act([input]);
        assert_eq!(
            node.replica.trust().member(&key(1)),
            is_known.then(|| code(1)),
            "a log without entries shows nothing"
        );
        let entries = writer.sent(&node, 2, None, &[(log, 0), (log, 1)]);
        node.act([entries]);
        assert_eq!((node.height(log), node.height(forged.id)), (2, 0));
        let trust = node.replica.trust();
        assert_eq!(trust.member(&key(1)), Some(code(1)), "its entries name its member");
    }
}

/// An operator may have been given a certificate by a member whose node it is not.
#[test]
fn a_greeting_or_a_beacon_corrects_what_was_configured() {
    let configured = || {
        let mut config = config(0, charter(3));
        config.certificates = vec![stolen()];
        let node = Node::with_config(0, config);
        assert_eq!(node.replica.trust().member(&key(1)), Some(code(2)));
        node
    };
    let mut greeted = configured();
    greeted.greet(1, &Frontier::default());
    let mut told = configured();
    told.greet(2, &Frontier::default());
    let Input::Beacon { beacon, .. } = beacon_with(&told, 1, &[], Some(certificate(1).encode())) else {
        unreachable!("it is a beacon")
    };
    told.act([Input::Beacon { peer: key(2), beacon }]);
    for node in [greeted, told] {
        assert_eq!(node.replica.trust().member(&key(1)), Some(code(1)));
    }
}

#[test]
fn a_member_that_comes_back_may_write_again() {
    let first = charter(3);
    let gone = next_epoch(&first, 3, |epoch| drop(epoch.members.remove(2)));
    let back = next_epoch(&gone, 2, |epoch| epoch.members.push(listed(2, MemberRole::Member)));
    let mut node = Node::with_charter(2, first);
    assert_eq!(published(&node.publish(Class::Routine, 1)), 1);
    node.act([Input::Charter { bytes: gone.encode() }]);
    assert_eq!(refused(&node.publish(Class::Routine, 1)), 1);
    node.act([Input::Charter { bytes: back.encode() }]);
    assert_eq!(published(&node.publish(Class::Routine, 1)), 1);
}
