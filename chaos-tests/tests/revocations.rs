//! A stolen key: what was written with it past its last valid entry loses its effect at every node, and people learn of
//! it.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use chaos_tests::corpus::Corpus;
use chaos_tests::lab::{Event, Lab, Plan, Start, text};

const SECONDS_MAX: u64 = 30;

fn show(path: &Path) -> String {
    path.display().to_string()
}

/// The log of a node, and its last entry, as another node holds it.
fn log_of(lab: &Lab, index: usize, name: &str) -> anyhow::Result<(String, u64)> {
    let answer = lab.client(index).get("/api/v1/logs")?.expect_status(200)?;
    let logs = answer["logs"].as_array().context("a list")?;
    let log = logs.iter().find(|log| log["name"] == name).with_context(|| format!("no log of {name}: {answer}"))?;
    Ok((text(log, "log"), log["last"]["seq"].as_u64().context("it has entries")?))
}

/// Drafts, signs and puts together the next epoch, which revokes the key of a node from after an entry of its log.
fn revoke(lab: &Lab, asked: usize, node: &str, keep: &str) -> anyhow::Result<PathBuf> {
    let dir = lab.dir();
    let (draft, charter) = (dir.join("draft-2"), dir.join("charter-2.vatra"));
    let current = show(&lab.node(asked).dir().join("charter.vatra"));
    lab.vatra(["charter", "new", "--from", &current, "--out", &show(&draft)])?.expect_code(0)?;
    let unknown = lab.cli(asked).run(["charter", "revoke", &show(&draft), "nobody-7"])?;
    ensure!(unknown.code == Some(2) && unknown.err.contains("nobody-7"), "{} {}", unknown.out, unknown.err);
    let told = lab.cli(asked).run(["charter", "revoke", &show(&draft), node, "--keep", keep])?.expect_code(0)?;
    ensure!(told.out.contains("revokes node key"), "{}", told.out);
    let again = lab.cli(asked).run(["charter", "revoke", &show(&draft), node])?;
    ensure!(again.code == Some(1) && again.err.contains("revoked already"), "{} {}", again.out, again.err);
    for member in ["ua", "pl"] {
        let member = show(&dir.join("lab/members").join(member));
        lab.vatra(["charter", "sign", &show(&draft), "--member", &member])?.expect_code(0)?;
    }
    lab.vatra(["charter", "verify", &show(&draft), "--out", &show(&charter)])?.expect_code(0)?;
    Ok(charter)
}

fn is_retraction(event: &Event) -> bool {
    event.kind == "vatra.alert.retracted"
}

#[test]
fn what_a_thief_wrote_vanishes_from_every_node_and_subscribers_are_told() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let mut lab = Lab::running(&Plan::of(&["UA", "LT", "PL"]))?;
    let honest = [lab.publish(&corpus, 0, 0..3)?, lab.publish(&corpus, 1, 100..103)?].concat();
    lab.wait_all_hold(6, SECONDS_MAX)?;
    let before = lab.client(2).digest()?;
    let (log, last) = log_of(&lab, 0, "lt-1")?;
    // From here on somebody else has the key.
    let stolen = lab.publish(&corpus, 1, 200..205)?;
    lab.wait_all_hold(11, SECONDS_MAX)?;
    let follower = lab.client(2).follow_lines(Start::Now)?;

    let charter = revoke(&lab, 0, "lt-1", &format!("{log}:{last}"))?;
    lab.node_mut(0).stop()?;
    std::fs::copy(&charter, lab.node(0).dir().join("charter.vatra"))?;
    lab.start(0)?;
    lab.wait_until(SECONDS_MAX, "equal views without what was stolen", || {
        Ok(lab.client(0).digest()? == before && lab.client(2).digest()? == before)
    })?;
    follower.wait(SECONDS_MAX, "five alerts are taken back", |events| {
        events.iter().filter(|event| is_retraction(event)).count() == stolen.len()
    })?;
    for event in follower.events().iter().filter(|event| is_retraction(event)) {
        ensure!(stolen.contains(&event.subject), "{}", event.body);
        ensure!(event.body["data"]["shown"] == false, "{}", event.body);
    }
    for node in [0, 2] {
        for id in &honest {
            ensure!(lab.client(node).has_alert(id)?, "node {node} has lost {id}");
        }
        for id in &stolen {
            ensure!(!lab.client(node).has_alert(id)?, "node {node} still shows {id}");
        }
        ensure!(lab.client(node).alert_count()? == 6);
        ensure!(lab.client(node).links_up()?.len() == 1, "the thief is linked with node {node}");
    }
    let findings = lab.cli(2).run(["doctor", "--json"])?.json()?.to_string();
    ensure!(findings.contains("revoked-entries") && findings.contains(&stolen[0]), "{findings}");

    // What the thief writes on reaches nobody, and nothing comes back with a restart.
    let _ = lab.publish(&corpus, 1, 300..303);
    lab.node_mut(2).stop()?;
    lab.vatra(["fsck", "--dir", &show(lab.node(2).dir())])?.expect_code(0)?;
    lab.start(2)?;
    lab.publish(&corpus, 0, 400..401)?;
    lab.wait_until(SECONDS_MAX, "new alert at both", || {
        Ok(lab.client(2).alert_count()? == 7 && lab.client(0).digest()? == lab.client(2).digest()?)
    })?;
    Ok(())
}
