//! Rules about others: members out of reach, lag, forks, clocks, certificates.

use std::collections::{BTreeMap, BTreeSet};

use vatra_api::Gravity::{Critical, Note, Warning};
use vatra_api::{Finding, ForkStatus, MemberStatus, NodeStatus, QuarantineStatus, Standing};
use vatra_model::certificate::NodeCertificate;
use vatra_model::limits::CLOCK_SKEW_FLAG_MS;
use vatra_model::{AudienceId, LogId, MemberCode};

use super::{Facts, FindingDetail, Findings, Life, RevokedEntries, SETTLING_MS, finding};
use crate::node::REVEALED;

/// Lag from which a person should look, in seconds.
const BEHIND_SECONDS: u64 = 60;

pub(super) fn judge(facts: &Facts, found: &mut Findings) {
    judge_members(facts, found);
    judge_forks(facts, found);
    judge_revoked(facts, found);
    judge_quarantine(facts, found);
    judge_clocks(facts, found);
    judge_certificates(facts, found);
    for cut in &facts.cuts {
        let members: Vec<String> = cut.members.iter().map(ToString::to_string).collect();
        let members = if members.is_empty() { "all members".to_owned() } else { members.join(", ") };
        let what = format!("a drill of {} cuts this node from {members}: {}", cut.by, cut.reason);
        let remedy = format!("wait for its end, or run `vatra link heal --dir {}`", facts.place.dir.display());
        found.add(finding(Note, "drill", what, remedy).since(Some(cut.since)));
    }
}

/// What came before the revocation has lost its effect, but people may have acted on it.
fn judge_revoked(facts: &Facts, found: &mut Findings) {
    for revoked in &facts.revoked {
        let at_least = if revoked.is_cut { "at least " } else { "" };
        let unreadable = match revoked.unreadable {
            0 => String::new(),
            count => format!(" ({count} more cannot be read)"),
        };
        let what = format!(
            "{at_least}{} entries of {} ({}){unreadable} past the last valid one of its revoked key came before the \
             revocation; they have no effect any more and are kept as evidence; {}",
            revoked.entries,
            revoked.name,
            revoked.member,
            touched(revoked)
        );
        let rest = if revoked.is_cut {
            "; `vatra tail --from-start` tells what is listed here no more, as `retracted`"
        } else {
            ""
        };
        let remedy = format!(
            "tell those who acted on these records; what is true of them {} writes again from another node{rest}",
            revoked.member
        );
        let records = revoked.records.clone();
        found.add(Finding { records, ..finding(Note, "revoked-entries", what, remedy).about(revoked.log) });
    }
}

/// The records that entries of a revoked key touched, the first of them by name.
fn touched(revoked: &RevokedEntries) -> String {
    let count = revoked.records.len();
    let named: Vec<String> = revoked.records.iter().take(RECORDS_NAMED_MAX).map(ToString::to_string).collect();
    match count - named.len() {
        0 if count == 0 => "they touched no record that can be read".to_owned(),
        0 => format!("they touched these records: {}", named.join(", ")),
        more => format!(
            "they touched {count} records: {} and {more} more, all of which `vatra doctor --json` lists as `records`",
            named.join(", ")
        ),
    }
}

/// Records that are named in the sentence of a finding.
const RECORDS_NAMED_MAX: usize = 16;

fn is_cut(facts: &Facts, member: &MemberStatus) -> bool {
    facts.cuts.iter().any(|cut| cut.members.is_empty() || cut.members.contains(&member.member))
}

fn judge_members(facts: &Facts, found: &mut Findings) {
    let is_settling = facts.running_since.is_some_and(|since| facts.at.0.saturating_sub(since.0) < SETTLING_MS);
    for member in &facts.members {
        match member.standing {
            // One that was heard and is not any more is told at once.
            Standing::Unreachable if (is_settling && member.since.is_none()) || is_cut(facts, member) => {}
            Standing::Unreachable => unreachable_member(member, found),
            Standing::Own | Standing::Linked | Standing::Relayed => {
                for node in &member.nodes {
                    judge_node(facts, member, node, is_settling, found);
                }
            }
        }
        let behind = member.behind;
        if behind.entries > 0 && behind.seconds >= BEHIND_SECONDS {
            let eta = behind.eta_seconds.map_or_else(
                || "nothing of it comes at present".to_owned(),
                |eta| format!("caught up in about {eta} s"),
            );
            let what = format!(
                "{} entries of {} are missing here, some for {} s; {eta}",
                behind.entries, member.member, behind.seconds
            );
            let remedy = "see in `vatra status` which links are up; what is missing is asked for until it is here";
            found.add(finding(Warning, "behind", what, remedy).about(member.member));
        }
    }
}

fn unreachable_member(member: &MemberStatus, found: &mut Findings) {
    let code = member.member;
    let reason = member.reason.as_ref().map_or_else(String::new, |reason| format!(" (last: {reason})"));
    let (what, remedy) = if member.nodes.is_empty() {
        (
            format!("no node of {code} is known here"),
            format!(
                "ask {code} for a node's certificate and run `vatra node peer add`, or wait until a peer passes it on"
            ),
        )
    } else {
        let said = if member.since.is_some() { "is out of reach" } else { "was not heard since this node started" };
        (
            format!("{code} {said}{reason}; what it publishes does not come here, nor does it get ours"),
            format!(
                "ask {code} whether its nodes run; check addresses, firewall and UDP both ways; alert it by telephone"
            ),
        )
    };
    found.add(finding(Warning, "member-unreachable", what, remedy).about(code).since(member.since));
}

fn judge_node(facts: &Facts, member: &MemberStatus, node: &NodeStatus, is_settling: bool, found: &mut Findings) {
    let name = format!("{}/{}", member.member, node.name);
    if node.writable == Some(false) {
        let what = format!("the store of {name} takes no writes, as it says");
        found.add(
            finding(Note, "peer-read-only", what, format!("tell {} if it does not know", member.member)).about(&name),
        );
    }
    let is_peer = facts.peers.contains(&node.node);
    let is_down = matches!(node.standing, Standing::Relayed | Standing::Unreachable);
    if is_peer && is_down && !is_settling && !is_cut(facts, member) {
        let reason = node.reason.as_ref().map_or_else(String::new, |reason| format!(" (last: {reason})"));
        let how = if node.standing == Standing::Relayed { "others relay for it" } else { "it is not heard at all" };
        let what = format!("the link to the configured peer {name} is down{reason}; {how}");
        let remedy = "see whether that node runs and whether UDP passes both ways; it is dialled again all the time";
        found.add(finding(Warning, "link-down", what, remedy).about(&name).since(node.since));
    }
}

fn judge_forks(facts: &Facts, found: &mut Findings) {
    for fork in &facts.forks {
        let is_own = fork.node == facts.who.0;
        let whose = if is_own { "this node's".to_owned() } else { format!("{}/{}'s", fork.member, fork.name) };
        let what = format!(
            "{whose} log {} has two entries at place {}: it was written twice from there; both branches are kept and \
             shown as forked, and nothing is lost",
            fork.log, fork.seq
        );
        let gone_on = if fork.settled { "; the node writes another log by now" } else { "" };
        let remedy = match (is_own, fork.settled) {
            (true, true) => {
                "find out whether a second node runs with this key or an old copy of the store was put back; compare the \
                 alerts marked `forked` and cancel those that are wrong"
                    .to_owned()
            }
            (true, false) => "restart the node: it then writes in a new incarnation".to_owned(),
            (false, _) => format!(
                "ask {} to run `vatra doctor` there: a copy of that node runs, or its key is stolen; compare its alerts \
                 marked `forked` by telephone",
                fork.member
            ),
        };
        let gravity = if fork.settled && !is_own { Note } else { Warning };
        let left = left_behind(facts, fork).filter(|_| is_own && fork.settled);
        let is_old = left.is_some_and(|life| facts.at.0.saturating_sub(life.opened.0) > FORK_FRESH_MS);
        let gravity = if is_old { Note } else { gravity };
        // A log that was left for another reason may have been known to be forked only later; nothing tells when.
        let is_why = |life: &&Life| life.reason.as_ref().is_some_and(|reason| reason.starts_with(REVEALED));
        let since = left.filter(is_why).map(|life| life.opened);
        found.add(finding(gravity, "fork", format!("{what}{gone_on}"), remedy).about(fork.log).since(since));
    }
}

/// The life in which this node left a forked log of its own behind: the next one after the log's. Of a log of no life
/// that is remembered, the latest.
fn left_behind<'f>(facts: &'f Facts, fork: &ForkStatus) -> Option<&'f Life> {
    let log = |life: &Life| LogId::derive(fork.member, &fork.node, life.incarnation, &AudienceId::FEDERATION);
    let after = facts.lives.iter().position(|life| log(life) == fork.log).and_then(|place| facts.lives.get(place + 1));
    after.or_else(|| facts.lives.last())
}

/// A fork of this node's own that it has left behind for longer than this is history, in milliseconds.
const FORK_FRESH_MS: u64 = 7 * 24 * 3_600_000;

fn judge_quarantine(facts: &Facts, found: &mut Findings) {
    let faults = facts.quarantine.iter().filter(|change| change.is_fault);
    if let Some(last) = faults.clone().map(|change| change.at).max() {
        let members: BTreeSet<String> = faults.clone().map(|change| change.member.to_string()).collect();
        let members: Vec<String> = members.into_iter().collect();
        let what = format!(
            "{} changes or entries of {} are held back, because this version crashes on them: they are stored and \
             passed on, but not shown here",
            faults.count(),
            members.join(", ")
        );
        let remedy = "report it with the log; the next version of the program tries them again";
        found.add(finding(Critical, "held-back", what, remedy).since(Some(last)));
    }
    let mut by_member: BTreeMap<MemberCode, Vec<&QuarantineStatus>> = BTreeMap::new();
    for change in facts.quarantine.iter().filter(|change| !change.is_fault) {
        by_member.entry(change.member).or_default().push(change);
    }
    for (member, changes) in by_member {
        let reasons: BTreeSet<&str> = changes.iter().map(|change| change.reason).collect();
        let reasons: Vec<&str> = reasons.into_iter().collect();
        let last = changes.iter().map(|change| change.at).max();
        let is_fresh = last.is_some_and(|last| facts.at.0.saturating_sub(last.0) < QUARANTINE_FRESH_MS);
        let gravity = if is_fresh { Warning } else { Note };
        let what = format!(
            "{} of the newest changes of {member} have no effect, at any node: {}",
            changes.len(),
            reasons.join(", ")
        );
        let remedy = format!("ask {member} which software or person made them; nothing else is held up");
        found.add(finding(gravity, "quarantined", what, remedy).about(member).since(last));
    }
}

/// A change without effect that was found longer ago than this is history, in milliseconds.
const QUARANTINE_FRESH_MS: u64 = 24 * 3_600_000;

fn judge_clocks(facts: &Facts, found: &mut Findings) {
    let skews: Vec<(String, i64)> = facts
        .members
        .iter()
        .flat_map(|member| member.nodes.iter().map(move |node| (member, node)))
        .filter_map(|(member, node)| Some((format!("{}/{}", member.member, node.name), node.clock_ahead_ms?)))
        .collect();
    let flagged = |ahead: i64| ahead.unsigned_abs() > CLOCK_SKEW_FLAG_MS;
    let ahead = skews.iter().filter(|(_, ahead)| flagged(*ahead) && *ahead > 0).count();
    let behind = skews.iter().filter(|(_, ahead)| flagged(*ahead) && *ahead < 0).count();
    if skews.len() >= 2 && (ahead == skews.len() || behind == skews.len()) {
        // All others agree with each other more than with us.
        let typical = skews.iter().map(|(_, ahead)| *ahead / 1000).min_by_key(|seconds| seconds.unsigned_abs());
        let direction = if ahead > 0 { "behind" } else { "ahead of" };
        let seconds = typical.unwrap_or(0).unsigned_abs();
        let what = format!(
            "this node's clock is at least {seconds} s {direction} those of all its peers; times of what it publishes are wrong"
        );
        found.add(finding(Warning, "clock", what, "set the clock and run NTP; entries are accepted all the same"));
        return;
    }
    for (name, ahead) in skews.into_iter().filter(|(_, ahead)| flagged(*ahead)) {
        let direction = if ahead > 0 { "ahead of" } else { "behind" };
        let what = format!("the clock of {name} is {} s {direction} this node's", ahead.unsigned_abs() / 1000);
        let remedy = "check NTP at both ends; entries are accepted all the same";
        found.add(finding(Warning, "peer-clock", what, remedy).about(name));
    }
}

/// Certificates have a first day and a serial, but no last day: nothing parts the mesh by expiring.
fn judge_certificates(facts: &Facts, found: &mut Findings) {
    for certificate in &facts.certificates {
        let name = format!("{}/{}", certificate.member, certificate.node);
        let is_own = certificate.key == facts.who.0;
        if certificate.not_before > facts.at {
            let ahead = (certificate.not_before.0 - facts.at.0) / 1000;
            let what = format!("the certificate of {name} holds from {ahead} s after this node's clock on");
            let remedy = "check this node's clock; nothing is refused for it";
            found.add(finding(Warning, "certificate-early", what, remedy).about(&name));
        }
        let newer =
            facts.heard_certificates.iter().filter(|other| replaces(other, certificate)).max_by_key(|c| c.serial);
        let Some(newer) = newer else { continue };
        let has_new_key = newer.key != certificate.key;
        let key = if has_new_key { "another key" } else { "the same key" };
        let what = format!("a newer certificate of {name} for {key} is in use; the one in node.toml is superseded");
        let remedy = match (is_own, has_new_key) {
            (true, true) => "two nodes have this name: give one of them another with `vatra node init`".to_owned(),
            (true, false) => "put the newer certificate into node.toml at node.certificate".to_owned(),
            (false, _) => format!(
                "take the newer one from {}: `vatra node show` there, `vatra node peer add` here, and remove the old [[peer]]",
                certificate.member
            ),
        };
        let gravity = if has_new_key { Warning } else { Note };
        found.add(finding(gravity, "certificate-superseded", what, remedy).about(name));
    }
}

fn replaces(newer: &NodeCertificate, older: &NodeCertificate) -> bool {
    let same_node = newer.key == older.key || (newer.member == older.member && newer.node == older.node);
    same_node && newer.serial > older.serial
}
