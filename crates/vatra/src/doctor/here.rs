//! Rules about the node itself: store, disk, lives, queues, configuration.

use vatra_api::Gravity::{Critical, Note, Warning};
use vatra_model::WallMs;
use vatra_model::charter::AdmitError;
use vatra_model::limits::CLOCK_SKEW_FLAG_MS;

use super::{Facts, FindingDetail, Findings, Life, SETTLING_MS, finding};
use crate::node::{REVEALED, shown};

/// Below so much free space a disk is nearly full.
const FREE_BYTES_LOW: u64 = 1 << 30;
/// Below so much a node will soon refuse writes.
const FREE_BYTES_CRITICAL: u64 = 64 << 20;
/// Items waiting for the driver at which it does not keep up.
const WAITING_HIGH: u64 = 10_000;
/// A life that began less than this before is worth a look, in milliseconds.
const YOUNG_LIFE_MS: u64 = 24 * 3_600_000;
/// Lives begun within [`YOUNG_LIFE_MS`] from which something is wrong with more than one of them.
const YOUNG_LIVES_MAX: usize = 4;

pub(super) fn judge(facts: &Facts, found: &mut Findings) {
    judge_admission(facts, found);
    judge_store(facts, found);
    judge_lives(facts, found);
    judge_traffic(facts, found);
    judge_files(facts, found);
}

/// What the charter in force says of this node. One that was cut off before a newer charter came cannot know better.
fn judge_admission(facts: &Facts, found: &mut Findings) {
    let Some(error) = &facts.not_admitted else { return };
    let code = if matches!(error.why, AdmitError::Revoked(_)) { "key-revoked" } else { "not-admitted" };
    let what =
        format!("{error}; no node links with it, it publishes nothing, and once stopped it does not start again");
    found.add(finding(Critical, code, what, error.remedy()));
}

fn judge_store(facts: &Facts, found: &mut Findings) {
    let store = &facts.store;
    let dir = facts.place.dir.display();
    if store.is_lost {
        let what = format!(
            "the store at {} is lost: it is not there, though the fence in {dir} tells of an earlier one; started like \
             this, the node begins empty and in a new incarnation",
            facts.place.store.display()
        );
        let remedy = format!(
            "mount the disk that the store is on, or put a backup in place with `vatra node restore --dir {dir}`; if \
             there is neither, start the node: peers send everything again, but what only this node held is gone"
        );
        found.add(finding(Critical, "store-lost", what, remedy));
    } else if !store.exists {
        let what = format!("there is no store at {} yet: the node was never started", facts.place.store.display());
        found.add(finding(Note, "store-new", what, format!("start it: `vatra node run --dir {dir}`")));
    }
    if let Some(reason) = &store.refuses_writes {
        let what = format!("the store takes no writes: {reason}; reads, streams and relaying go on");
        let remedy = "make room on its disk, or look at the disk if it is not full; the node resumes by itself";
        found.add(finding(Critical, "store-read-only", what, remedy).since(store.refuses_since));
    }
    if store.damaged > 0 {
        let what = format!("{} rows of the store are damaged; they are not served", store.damaged);
        let remedy = format!(
            "look at the disk; damaged entries are fetched again while peers are linked. If the finding stays, stop the \
             node and run `vatra fsck --dir {dir}`: it tells what cannot be put back"
        );
        found.add(finding(Warning, "store-damaged", what, remedy));
    }
    if let Some(free) = store.free_bytes.filter(|free| *free < FREE_BYTES_LOW && store.refuses_writes.is_none()) {
        let gravity = if free < FREE_BYTES_CRITICAL { Critical } else { Warning };
        let what = format!("the store's disk has {} left", mib(free));
        let remedy = "make room; when it is full, publishing is refused until there is space again";
        found.add(finding(gravity, "disk-low", what, remedy));
    }
    for (path, bytes) in &store.old_copies {
        let what = format!("an unused store of {} is kept at {}", mib(*bytes), path.display());
        let remedy = "remove it once alerts that only this node held are seen to be back";
        found.add(finding(Note, "old-copy", what, remedy).about(path.display()));
    }
}

fn judge_lives(facts: &Facts, found: &mut Findings) {
    if let Some(reason) = &facts.next_life {
        let what = format!("the next start opens a new incarnation: {reason}");
        let remedy = "nothing: entries that peers hold of the earlier one are fetched back";
        found.add(finding(Note, "next-incarnation", what, remedy));
    }
    let Some(life) = facts.lives.last() else { return };
    if let Some(reason) = &life.reason {
        let what = format!(
            "incarnation {} was opened: {reason}; what was written before it is kept and fetched back from peers",
            shown(life.incarnation)
        );
        let remedy = "nothing, if a store was put back or a node was moved; else look for a second node with this key";
        found.add(finding(Note, "incarnation", what, remedy).since(Some(life.opened)));
    }
    judge_twin(facts, life, found);
    let is_young = |opened: WallMs| facts.at.0.saturating_sub(opened.0) < YOUNG_LIFE_MS;
    let young = facts.lives.iter().filter(|life| life.reason.is_some() && is_young(life.opened)).count();
    if young >= YOUNG_LIVES_MAX {
        let what = format!("{young} incarnations were opened within a day");
        let remedy = "make sure that nothing puts old copies of the store back, and that no second node has this key";
        found.add(finding(Warning, "incarnations-many", what, remedy));
    }
}

/// Another process writes in this node's name: in this node's own log, which forks, or in a life of its own.
fn judge_twin(facts: &Facts, life: &Life, found: &mut Findings) {
    let Some(start) = facts.running_since else { return };
    // Without a fork, peers only held more than a store that was put back.
    let is_forked = facts.forks.iter().any(|fork| fork.node == facts.who.0);
    let is_revealed = life.reason.as_ref().is_some_and(|reason| reason.starts_with(REVEALED));
    let is_forked_now = is_revealed && is_forked && life.opened.0 >= start.0 + SETTLING_MS;
    // What a restored store lacks of its own earlier lives comes back from peers, but was written before the start, by
    // stamps that may run ahead of the clock by what is not even flagged.
    let late = start.0 + SETTLING_MS + CLOCK_SKEW_FLAG_MS;
    let elsewhere = facts.lives_elsewhere.iter().filter(|(_, written)| written.0 >= late).max_by_key(|(_, at)| *at);
    let (how, since) = match elsewhere {
        Some((incarnation, written)) => (
            format!(
                "entries in its name were written in incarnation {}, which is none of this store",
                shown(*incarnation)
            ),
            *written,
        ),
        None if is_forked_now => ("entries in its name came up that it did not write".to_owned(), life.opened),
        None => return,
    };
    let what = format!(
        "while this node ran, {how}: another process has its key, or had its store; nothing is lost, but both write in \
         this node's name"
    );
    let remedy = "look for a copy of this machine and stop it; `vatra node clone` makes a second node with a key of its \
                  own; if there is no copy, the key may be stolen: revoke it with `vatra charter revoke`";
    found.add(finding(Critical, "twin", what, remedy).since(Some(since)));
}

fn judge_traffic(facts: &Facts, found: &mut Findings) {
    let traffic = &facts.traffic;
    if traffic.panics > 0 {
        let what = format!("the program met {} faults of its own since its start", traffic.panics);
        let remedy = "report them with the log; restart the node if something no longer works";
        found.add(finding(Critical, "faults", what, remedy));
    }
    if traffic.commits_failed > 0 {
        let what =
            format!("{} commits failed since the start; nobody was told that they were stored", traffic.commits_failed);
        let remedy = "look at the disk and at the node's log for `a batch was not stored`";
        found.add(finding(Warning, "commits-failed", what, remedy));
    }
    if traffic.waiting >= WAITING_HIGH {
        let what = format!("{} items wait to be written", traffic.waiting);
        let remedy =
            "look at the load of the machine and at `vatra_commit_seconds` of /metrics; urgent alerts go first";
        found.add(finding(Warning, "queue-long", what, remedy));
    }
    if traffic.shed > 0 {
        let what =
            format!("{} pushes found a peer's queue full since the start and were left to catch-up", traffic.shed);
        found.add(finding(Note, "pushes-shed", what, "nothing; if it keeps rising, a link is too slow for the load"));
    }
    if traffic.throttled > 0 {
        let what = format!(
            "{} pushed entries came faster than their origin may send and were left to catch-up",
            traffic.throttled
        );
        let remedy = "see `vatra status` for who is behind; ask the member that floods, or raise limits.origin_entries_per_second";
        found.add(finding(Note, "pushes-throttled", what, remedy));
    }
    if traffic.newer > 0 {
        let what =
            format!("{} changes are of a newer version than this node; they are kept and passed on", traffic.newer);
        found.add(finding(Note, "newer-changes", what, "upgrade this node to see them in full"));
    }
    let refused: Vec<String> =
        traffic.refused.iter().filter(|(_, count)| *count > 0).map(|(why, count)| format!("{why} {count}")).collect();
    if !refused.is_empty() {
        let what = format!("peers sent what was refused since the start: {}", refused.join(", "));
        let remedy = "the node's log names the peer and the reason in lines with `refused`";
        found.add(finding(Note, "refusals", what, remedy));
    }
}

fn judge_files(facts: &Facts, found: &mut Findings) {
    for warning in &facts.warnings {
        let remedy = format!("correct node.toml; `vatra node check --dir {}` shows it", facts.place.dir.display());
        found.add(finding(Warning, "configuration", warning.clone(), remedy));
    }
    if facts.peers.is_empty() {
        let what = "no peers are configured, so the node links only with those that dial it";
        let remedy = "exchange certificates with another operator and run `vatra node peer add`";
        found.add(finding(Note, "no-peers", what, remedy));
    }
    let (in_force, configured) = facts.charter_epochs;
    if configured < in_force {
        let what = format!("the file charter.vatra is of epoch {configured}; epoch {in_force} is in force");
        found.add(finding(Note, "charter-file-old", what, "nothing; the newer charter is in the store"));
    }
    if facts.place.is_lab {
        let what = "the node's key was made for a lab";
        found.add(finding(Note, "lab-key", what, "never use it in operations: make a node with `vatra node init`"));
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
