//! Stores that were put back, cloned or lost: nobody is muted, nothing that was acknowledged is lost, and the node says
//! what happened to it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use chaos_tests::corpus::Corpus;
use chaos_tests::lab::{Lab, Outcome, Plan, Topology};
use serde_json::Value;

const SECONDS_MAX: u64 = 30;

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The incarnation that a node writes in.
fn incarnation(lab: &Lab, index: usize) -> anyhow::Result<String> {
    let status = lab.client(index).status()?;
    Ok(status["incarnation"].as_str().context("the status has no incarnation")?.to_owned())
}

/// The kinds of findings of `vatra doctor --json`, with its exit code.
fn doctor(lab: &Lab, index: usize) -> anyhow::Result<(Option<i32>, Vec<String>, Outcome)> {
    let outcome = lab.cli(index).run(["doctor", "--json"])?;
    let findings = outcome.json()?["findings"].as_array().cloned().unwrap_or_default();
    let codes = findings.iter().map(|finding| finding["code"].as_str().unwrap_or_default().to_owned()).collect();
    Ok((outcome.code, codes, outcome))
}

/// Expects of `vatra doctor` this exit code and a finding of this kind; gives that finding.
fn expect_finding(lab: &Lab, index: usize, code: i32, kind: &str) -> anyhow::Result<Value> {
    let (exit, codes, outcome) = doctor(lab, index)?;
    ensure!(exit == Some(code), "doctor ended with {exit:?} instead of {code}: {}{}", outcome.out, outcome.err);
    let findings = outcome.json()?["findings"].as_array().cloned().unwrap_or_default();
    let found = findings.into_iter().find(|finding| finding["code"] == kind);
    found.with_context(|| format!("no {kind} among {codes:?}"))
}

#[test]
fn a_restored_backup_opens_a_new_incarnation_and_gets_the_rest_back() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let mut lab = Lab::running(&Plan::of(&["UA", "LT"]))?;
    let mut ids = lab.publish(&corpus, 0, 0..20)?;
    let backup = lab.dir().join("backup");
    let running = lab.cli(0).run(["node", "backup", "--to", &text(&backup)])?;
    ensure!(running.code == Some(1) && running.err.contains("stop the node first"), "{}", running.err);
    lab.node_mut(0).stop()?;
    lab.cli(0).run(["node", "backup", "--to", &text(&backup)])?.expect_code(0)?;
    lab.start(0)?;
    let before = incarnation(&lab, 0)?;
    ids.extend(lab.publish(&corpus, 0, 100..120)?);
    lab.wait_all_hold(40, SECONDS_MAX)?;

    let restore = ["node", "restore", "--from", &text(&backup)];
    let running = lab.cli(0).run(restore)?;
    ensure!(running.code == Some(1) && running.err.contains("stop the node first"), "{}", running.err);
    let elsewhere = lab.cli(1).run(restore)?;
    ensure!(elsewhere.code == Some(1), "another node's running store was replaced: {}", elsewhere.out);
    lab.node_mut(0).stop()?;
    lab.node_mut(1).stop()?;
    let elsewhere = lab.cli(1).run(restore)?;
    ensure!(elsewhere.code == Some(1) && elsewhere.err.contains("clone"), "{} {}", elsewhere.out, elsewhere.err);

    let done = lab.cli(0).run(["node", "restore", "--from", &text(&backup), "--json"])?.expect_code(0)?.json()?;
    let kept = PathBuf::from(done["kept"].as_str().context("the store before is not kept")?);
    ensure!(kept.join("FORMAT").is_file(), "{} is no store", kept.display());
    let explained = expect_finding(&lab, 0, 0, "next-incarnation")?;
    ensure!(explained.to_string().contains("restored from a backup"), "{explained}");

    // Cut off from everybody it takes alerts, and gives them numbers that it never gave before.
    lab.start(0)?;
    let after = incarnation(&lab, 0)?;
    assert_ne!(before, after);
    ids.extend(lab.publish(&corpus, 0, 200..220)?);
    lab.start(1)?;
    lab.wait_all_hold(60, SECONDS_MAX)?;
    lab.check_everywhere(&ids)?;
    let status = lab.client(1).status()?;
    assert_eq!(status["forks"], serde_json::json!([]), "nothing was numbered twice");
    let life = expect_finding(&lab, 0, 0, "incarnation")?;
    ensure!(life["what"].as_str().is_some_and(|what| what.contains(&after)), "{life}");
    expect_finding(&lab, 0, 0, "old-copy")?;
    Ok(())
}

#[test]
fn a_damaged_backup_changes_nothing() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let mut lab = Lab::new(&Plan::of(&["UA"]))?;
    lab.start(0)?;
    let ids = lab.publish(&corpus, 0, 0..20)?;
    lab.node_mut(0).stop()?;
    let backup = lab.dir().join("backup");
    lab.cli(0).run(["node", "backup", "--to", &text(&backup)])?.expect_code(0)?;
    let data = backup.join("store/store.redb");
    let mut bytes = fs::read(&data)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&data, bytes)?;
    let refused = lab.cli(0).run(["node", "restore", "--from", &text(&backup)])?;
    ensure!(refused.code == Some(1) && refused.err.contains("damaged"), "{} {}", refused.out, refused.err);
    let left: Vec<String> = fs::read_dir(lab.node(0).dir())?
        .filter_map(|item| item.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("store."))
        .collect();
    assert_eq!(left, Vec::<String>::new(), "something was left behind");
    lab.start(0)?;
    lab.check_everywhere(&ids)
}

#[test]
fn a_cloned_node_has_its_own_key_and_a_head_start() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let mut lab = Lab::empty(3, None)?;
    let federation = lab.dir().join("lab");
    let base = lab.addresses(0).0.port().to_string();
    let folder = text(&federation);
    let make = ["lab", "new", "--members", "UA,LT", "--base-port", &base, "--dir", &folder];
    lab.vatra(make)?.expect_code(0)?;
    for (name, member) in [("ua-1", "UA"), ("lt-1", "LT")] {
        lab.adopt(name, member, &federation.join(name))?;
    }
    lab.start_all()?;
    lab.wait_linked(Topology::Full)?;
    let mut ids = lab.publish(&corpus, 0, 0..20)?;
    lab.wait_all_hold(20, SECONDS_MAX)?;
    lab.node_mut(0).stop()?;

    let dir = federation.join("ua-2");
    let (mesh, api) = lab.addresses(2);
    let (from, to, member) = (text(lab.node(0).dir()), text(&dir), text(&federation.join("members/ua")));
    let (mesh, api) = (mesh.to_string(), api.to_string());
    let clone = ["node", "clone", "--from", &from, "--to", &to, "--member", &member, "--node", "ua-2"];
    lab.vatra(clone.into_iter().chain(["--mesh", &mesh, "--api", &api]))?.expect_code(0)?;
    let clone = lab.adopt("ua-2", "UA", &dir)?;

    // Alone, it shows what the first one held, and writes in its own name.
    lab.start(clone)?;
    assert_eq!(lab.client(clone).alert_count()?, 20);
    ids.extend(lab.publish(&corpus, clone, 100..110)?);
    lab.start(0)?;
    ids.extend(lab.publish(&corpus, 0, 200..210)?);
    lab.wait_all_hold(40, SECONDS_MAX)?;
    lab.check_everywhere(&ids)?;
    let key = |index: usize| Ok::<_, anyhow::Error>(lab.client(index).status()?["node"].clone());
    assert_ne!(key(0)?, key(clone)?);
    assert_ne!(incarnation(&lab, 0)?, incarnation(&lab, clone)?);
    assert_eq!(lab.client(1).status()?["forks"], serde_json::json!([]));
    Ok(())
}
