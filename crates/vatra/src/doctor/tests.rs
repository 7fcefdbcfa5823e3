use std::path::PathBuf;

use vatra_api::{Behind, CutStatus, ForkStatus, MemberStatus, NodeStatus, QuarantineStatus, Standing};
use vatra_model::certificate::NodeCertificate;
use vatra_model::charter::AdmitError;
use vatra_model::{AudienceId, Incarnation, LogId, MemberCode, NodeKey, RecordId, Seq};

use super::*;
use crate::config::NotAdmitted;

const NOW: WallMs = WallMs(1_800_000_000_000);
const ME: NodeKey = NodeKey([1; 32]);
const PEER: NodeKey = NodeKey([2; 32]);

fn code(text: &str) -> MemberCode {
    text.parse().unwrap()
}

fn ago(ms: u64) -> WallMs {
    WallMs(NOW.0 - ms)
}

fn certificate(member: &str, node: &str, key: NodeKey) -> NodeCertificate {
    NodeCertificate {
        member: code(member),
        site: "site".to_owned(),
        node: node.to_owned(),
        key,
        not_before: WallMs(5),
        serial: 5,
    }
}

fn node(name: &str, key: NodeKey, standing: Standing) -> NodeStatus {
    NodeStatus {
        node: key,
        name: name.to_owned(),
        standing,
        since: Some(ago(90_000)),
        reason: None,
        heard_at: Some(ago(100)),
        writable: Some(true),
        clock_ahead_ms: (standing == Standing::Linked).then_some(12),
    }
}

fn member(member: &str, node: NodeStatus) -> MemberStatus {
    MemberStatus {
        member: code(member),
        standing: node.standing,
        since: node.since,
        reason: None,
        heard_at: node.heard_at,
        behind: Behind::default(),
        forks: 0,
        strays: 0,
        quarantined: 0,
        nodes: vec![node],
    }
}

/// A node that is as it should be, with two linked members.
fn well() -> Facts {
    let certificates = vec![certificate("UA", "ua-1", ME), certificate("LT", "lt-1", PEER)];
    Facts {
        at: NOW,
        who: (ME, "ua-1".to_owned(), code("UA")),
        place: Place { dir: PathBuf::from("DIR"), store: PathBuf::from("DIR/store"), is_lab: false },
        running_since: Some(ago(3_600_000)),
        lives: vec![Life { incarnation: Incarnation(7), opened: ago(9_000_000), reason: None }],
        lives_elsewhere: Vec::new(),
        next_life: None,
        store: StoreFacts { exists: true, free_bytes: Some(1 << 40), ..StoreFacts::default() },
        forks: Vec::new(),
        revoked: Vec::new(),
        members: vec![
            member("LT", node("lt-1", PEER, Standing::Linked)),
            member("PL", node("pl-1", NodeKey([3; 32]), Standing::Linked)),
            member("UA", node("ua-1", ME, Standing::Own)),
        ],
        peers: vec![PEER],
        heard_certificates: certificates.clone(),
        certificates,
        not_admitted: None,
        charter_epochs: (1, 1),
        quarantine: Vec::new(),
        traffic: Traffic::default(),
        cuts: Vec::new(),
        warnings: Vec::new(),
    }
}

fn fork(key: NodeKey, settled: bool) -> ForkStatus {
    let (name, member) = ("lt-1".to_owned(), code("LT"));
    ForkStatus { log: LogId([9; 16]), node: key, name, member, seq: 4, strays: 2, settled }
}

#[test]
fn what_a_revoked_key_wrote_before_is_told() {
    let (name, member) = ("lt-2".to_owned(), code("LT"));
    let entries = |records: Vec<RecordId>| RevokedEntries {
        log: LogId([9; 16]),
        name: name.clone(),
        member,
        entries: 2,
        unreadable: 0,
        is_cut: false,
        records,
    };
    check(|facts| facts.revoked = vec![entries(Vec::new())], &[(Note, "revoked-entries")]);
    let mut facts = well();
    facts.revoked = vec![entries(vec![RecordId([7; 16])])];
    let found = diagnose(&facts).findings.remove(0);
    assert!(
        found.what.contains(&RecordId([7; 16]).to_string()) && found.remedy.contains("LT writes again"),
        "{found:?}"
    );
}

#[test]
fn a_revoked_key_that_touched_much_hides_nothing_of_it() {
    let (name, member) = ("lt-2".to_owned(), code("LT"));
    let records: Vec<RecordId> = (0..40).map(|number| RecordId([number; 16])).collect();
    let revoked = RevokedEntries {
        log: LogId([9; 16]),
        name,
        member,
        entries: 40,
        unreadable: 3,
        is_cut: false,
        records: records.clone(),
    };
    let mut facts = well();
    facts.revoked = vec![revoked.clone(), RevokedEntries { is_cut: true, ..revoked }];
    let findings = diagnose(&facts).findings;
    let (whole, cut) = (&findings[0], &findings[1]);
    assert_eq!(whole.records, records);
    for part in ["40 entries of lt-2 (LT) (3 more cannot be read)", "40 records", "24 more", "`vatra doctor --json`"] {
        assert!(whole.what.contains(part), "{part} in {}", whole.what);
    }
    assert!(!whole.remedy.contains("tail") && cut.remedy.contains("vatra tail"), "{} {}", whole.remedy, cut.remedy);
    assert!(cut.what.starts_with("at least 40 entries"), "{}", cut.what);
}

fn life(age: u64, reason: &str) -> Life {
    Life { incarnation: Incarnation(age), opened: ago(age), reason: Some(reason.to_owned()) }
}

/// Gravity and kind of what is found when something is not as it should be.
fn check(change: impl FnOnce(&mut Facts), expected: &[(Gravity, &str)]) {
    let mut facts = well();
    change(&mut facts);
    let diagnosis = diagnose(&facts);
    let found: Vec<(Gravity, &str)> = diagnosis.findings.iter().map(|found| (found.severity, found.code)).collect();
    assert_eq!(found, expected, "{:#?}", diagnosis.findings);
    assert_eq!(diagnosis.healthy, expected.iter().all(|(gravity, _)| *gravity == Gravity::Note));
    for finding in &diagnosis.findings {
        assert!(!finding.remedy.is_empty() && !finding.what.contains("  "), "{finding:?}");
    }
}

use Gravity::{Critical, Note, Warning};

#[test]
fn a_well_node_has_no_findings() {
    check(|_| {}, &[]);
}

#[test]
fn a_node_that_the_charter_does_not_admit_is_told_so() {
    let not_admitted = |why| Some(NotAdmitted { epoch: 3, member: code("UA"), why });
    check(|facts| facts.not_admitted = not_admitted(AdmitError::Revoked(ME)), &[(Critical, "key-revoked")]);
    check(
        |facts| facts.not_admitted = not_admitted(AdmitError::UnknownMember(code("UA"))),
        &[(Critical, "not-admitted")],
    );
    let mut facts = well();
    facts.not_admitted = not_admitted(AdmitError::Revoked(ME));
    let found = diagnose(&facts).findings.remove(0);
    assert!(found.what.contains("epoch 3") && found.what.contains("is revoked"), "{}", found.what);
    assert!(found.remedy.contains("UA's root key") && found.remedy.contains("vatra node init"), "{}", found.remedy);
}

#[test]
fn the_store_and_its_disk_are_judged() {
    check(|facts| facts.store.exists = false, &[(Note, "store-new")]);
    check(|facts| (facts.store.exists, facts.store.is_lost) = (false, true), &[(Critical, "store-lost")]);
    check(|facts| facts.store.refuses_writes = Some("the disk is full".into()), &[(Critical, "store-read-only")]);
    check(|facts| facts.store.damaged = 1, &[(Warning, "store-damaged")]);
    check(|facts| facts.store.free_bytes = Some((1 << 30) - 1), &[(Warning, "disk-low")]);
    check(|facts| facts.store.free_bytes = Some(1), &[(Critical, "disk-low")]);
    check(|facts| facts.store.free_bytes = None, &[]);
    check(|facts| facts.store.old_copies = vec![(PathBuf::from("DIR/store.x"), 1)], &[(Note, "old-copy")]);
}

#[test]
fn lives_and_twins_are_judged() {
    check(|facts| facts.lives = vec![life(5, "it was restored")], &[(Note, "incarnation")]);
    check(|facts| facts.next_life = Some("it was restored".into()), &[(Note, "next-incarnation")]);
    let young: Vec<Life> = (1..=4).map(|age| life(age * 1000, "peers showed more")).collect();
    check(|facts| facts.lives = young, &[(Warning, "incarnations-many"), (Note, "incarnation")]);
    let old: Vec<Life> = (1..=4).map(|age| life(age * 86_400_000, "peers showed more")).collect();
    check(|facts| facts.lives = old, &[(Note, "incarnation")]);
    // The node started an hour ago, and its log is forked.
    let with_fork = |facts: &mut Facts, age: u64| {
        facts.lives = vec![life(age, crate::node::REVEALED)];
        facts.forks = vec![fork(ME, true)];
    };
    check(|facts| with_fork(facts, 5_000), &[(Critical, "twin"), (Warning, "fork"), (Note, "incarnation")]);
    check(|facts| with_fork(facts, 3_590_000), &[(Warning, "fork"), (Note, "incarnation")]);
    check(|facts| with_fork(facts, 3_610_000), &[(Warning, "fork"), (Note, "incarnation")]);
    check(|facts| facts.lives = vec![life(5_000, crate::node::REVEALED)], &[(Note, "incarnation")]);
    // A damaged log that is forked as well is no second process.
    let damaged = |facts: &mut Facts| {
        with_fork(facts, 5_000);
        facts.lives = vec![life(5_000, "a part of this node's log is damaged")];
    };
    check(damaged, &[(Warning, "fork"), (Note, "incarnation")]);
    check(
        |facts| {
            with_fork(facts, 5_000);
            facts.running_since = None;
        },
        &[(Warning, "fork"), (Note, "incarnation")],
    );
}

#[test]
fn a_second_process_is_told_that_writes_in_a_life_of_its_own() {
    // The node started an hour ago. What it lacks of its own was written before, by any clock that is not flagged.
    let elsewhere = |age: u64| move |facts: &mut Facts| facts.lives_elsewhere = vec![(Incarnation(9), ago(age))];
    check(elsewhere(3_700_000), &[]);
    check(elsewhere(3_590_000), &[]);
    check(elsewhere(1_000), &[(Critical, "twin")]);
    let mut facts = well();
    elsewhere(1_000)(&mut facts);
    let found = diagnose(&facts).findings.remove(0);
    assert!(found.what.contains("incarnation 0000000000000009"), "{}", found.what);
}

#[test]
fn traffic_is_judged() {
    check(|facts| facts.traffic.panics = 1, &[(Critical, "faults")]);
    check(|facts| facts.traffic.commits_failed = 1, &[(Warning, "commits-failed")]);
    check(|facts| facts.traffic.waiting = 10_000, &[(Warning, "queue-long")]);
    check(|facts| facts.traffic.waiting = 9_999, &[]);
    check(
        |facts| (facts.traffic.shed, facts.traffic.throttled, facts.traffic.newer) = (1, 1, 1),
        &[(Note, "pushes-shed"), (Note, "pushes-throttled"), (Note, "newer-changes")],
    );
    check(|facts| facts.traffic.refused = vec![("malformed", 2), ("full", 0)], &[(Note, "refusals")]);
}

#[test]
fn members_out_of_reach_are_named_with_since_when() {
    let gone = |facts: &mut Facts| facts.members[0] = member("LT", node("lt-1", PEER, Standing::Unreachable));
    check(gone, &[(Warning, "member-unreachable")]);
    let mut facts = well();
    gone(&mut facts);
    facts.members[0].reason = Some("silent for 2.2 s".to_owned());
    let found = diagnose(&facts).findings.remove(0);
    assert_eq!((found.subject.as_deref(), found.since), (Some("LT"), Some(ago(90_000))));
    assert!(found.what.starts_with("LT is out of reach (last: silent for 2.2 s);"), "{}", found.what);

    check(
        |facts| {
            gone(facts);
            facts.running_since = Some(ago(1_000));
            facts.members[0].since = None;
        },
        &[],
    );
    // One that was heard and is lost is no matter of the start.
    check(
        |facts| {
            gone(facts);
            facts.running_since = Some(ago(1_000));
        },
        &[(Warning, "member-unreachable")],
    );
    let cut = CutStatus { members: vec![code("LT")], since: NOW, until: NOW, reason: "r".into(), by: "b".into() };
    check(
        |facts| {
            gone(facts);
            facts.cuts = vec![cut];
        },
        &[(Note, "drill")],
    );
    check(|facts| facts.members[0].nodes.clear(), &[]);
    check(|facts| facts.members[0] = member("LT", node("lt-1", PEER, Standing::Relayed)), &[(Warning, "link-down")]);
    check(|facts| facts.members[1] = member("PL", node("pl-1", NodeKey([3; 32]), Standing::Relayed)), &[]);
}

#[test]
fn lag_counts_after_a_minute() {
    let behind = |seconds| Behind { entries: 4, seconds, eta_seconds: Some(3) };
    check(|facts| facts.members[0].behind = behind(59), &[]);
    check(|facts| facts.members[0].behind = behind(60), &[(Warning, "behind")]);
}

#[test]
fn forks_are_told_apart_by_whose_they_are() {
    check(|facts| facts.forks = vec![fork(PEER, false)], &[(Warning, "fork")]);
    check(|facts| facts.forks = vec![fork(PEER, true)], &[(Note, "fork")]);
    check(|facts| facts.forks = vec![fork(ME, false)], &[(Warning, "fork")]);
    check(
        |facts| {
            facts.forks = vec![fork(ME, true)];
            facts.lives = vec![life(1_000, "peers showed more")];
        },
        &[(Warning, "fork"), (Note, "incarnation")],
    );
    check(
        |facts| {
            facts.forks = vec![fork(ME, true)];
            facts.lives = vec![life(8 * 86_400_000, "peers showed more")];
        },
        &[(Note, "incarnation"), (Note, "fork")],
    );
}

#[test]
fn a_fork_of_this_node_is_known_since_it_was_left_for_it() {
    let since = |reason: &str| {
        let mut facts = well();
        let log = LogId::derive(code("UA"), &ME, Incarnation(7), &AudienceId::FEDERATION);
        facts.forks = vec![ForkStatus { log, member: code("UA"), ..fork(ME, true) }];
        facts.lives.extend([life(5_000, reason), life(1_000, "the store was restored")]);
        let findings = diagnose(&facts).findings;
        findings.into_iter().find(|finding| finding.code == "fork").map(|fork| (fork.severity, fork.since))
    };
    assert_eq!(since(crate::node::REVEALED), Some((Warning, Some(ago(5_000)))), "not since the latest life");
    assert_eq!(since("the store was restored"), Some((Warning, None)), "nothing tells when it became known");
}

#[test]
fn changes_without_effect_are_told_by_member() {
    let change = |member: &str, is_fault: bool, age: u64| QuarantineStatus {
        log: LogId([9; 16]),
        seq: Seq(4),
        index: Some(0),
        member: code(member),
        node: PEER,
        reason: "not_writer",
        is_fault,
        at: ago(age),
    };
    let day = 86_400_000;
    check(|facts| facts.quarantine = vec![change("LT", false, day)], &[(Note, "quarantined")]);
    check(
        |facts| facts.quarantine = vec![change("LT", false, 5), change("LT", false, day), change("PL", false, day)],
        &[(Warning, "quarantined"), (Note, "quarantined")],
    );
    check(|facts| facts.quarantine = vec![change("LT", true, day)], &[(Critical, "held-back")]);
}

#[test]
fn a_clock_is_blamed_on_whoever_differs_from_the_rest() {
    let ahead = |facts: &mut Facts, ms: [i64; 2]| {
        for (member, ms) in facts.members.iter_mut().zip(ms) {
            member.nodes[0].clock_ahead_ms = Some(ms);
        }
    };
    check(|facts| ahead(facts, [400_000, 5]), &[(Warning, "peer-clock")]);
    check(|facts| ahead(facts, [-400_000, 5]), &[(Warning, "peer-clock")]);
    check(|facts| ahead(facts, [400_000, 300_001]), &[(Warning, "clock")]);
    check(|facts| ahead(facts, [400_000, -400_000]), &[(Warning, "peer-clock"), (Warning, "peer-clock")]);
    check(|facts| ahead(facts, [300_000, -300_000]), &[]);
}

#[test]
fn certificates_never_expire_but_are_superseded() {
    let newer = |key| NodeCertificate { serial: 6, ..certificate("LT", "lt-1", key) };
    check(|facts| facts.heard_certificates.push(newer(PEER)), &[(Note, "certificate-superseded")]);
    check(|facts| facts.heard_certificates.push(newer(NodeKey([8; 32]))), &[(Warning, "certificate-superseded")]);
    check(|facts| facts.certificates[1].not_before = WallMs(NOW.0 + 5_000), &[(Warning, "certificate-early")]);
    let late = NodeCertificate { not_before: WallMs(0), ..certificate("UA", "ua-1", ME) };
    check(|facts| facts.certificates[0] = late, &[]);
}

#[test]
fn odd_files_are_told() {
    check(|facts| facts.warnings = vec!["peer x is not admitted".into()], &[(Warning, "configuration")]);
    check(|facts| facts.peers.clear(), &[(Note, "no-peers")]);
    check(|facts| facts.charter_epochs = (3, 2), &[(Note, "charter-file-old")]);
    check(|facts| facts.charter_epochs = (2, 3), &[]);
    check(|facts| facts.place.is_lab = true, &[(Note, "lab-key")]);
}

#[test]
fn findings_are_bounded() {
    let mut facts = well();
    facts.warnings = (0..300).map(|number| format!("warning {number}")).collect();
    let diagnosis = diagnose(&facts);
    assert_eq!(diagnosis.findings.len(), FINDINGS_MAX + 1);
    assert!(diagnosis.findings.last().unwrap().what.starts_with("100 more"), "{:?}", diagnosis.findings.last());
    assert!(!diagnosis.healthy);
}
