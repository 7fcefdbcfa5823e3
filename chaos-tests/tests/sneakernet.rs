//! Entries carried by hand between nodes that never had a link.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use chaos_tests::corpus::Corpus;
use chaos_tests::lab::wire::metric_sum;
use chaos_tests::lab::{Lab, Outcome, Plan, Topology};
use serde_json::Value;

const SECONDS_MAX: u64 = 30;
/// LT and PL are linked; UA knows nobody and nobody knows UA.
const LT: usize = 0;
const PL: usize = 1;
const UA: usize = 2;

/// A running lab in which UA is on its own.
fn lab() -> anyhow::Result<Lab> {
    let mut lab = Lab::new(&Plan::of(&["LT", "PL", "UA"]).linked(Topology::Line))?;
    keep_peers(lab.node(PL).dir(), 1)?;
    keep_peers(lab.node(UA).dir(), 0)?;
    lab.start_all()?;
    lab.wait_until(SECONDS_MAX, "a link between LT and PL", || Ok(lab.client(PL).links_up()?.len() == 1))?;
    ensure!(lab.client(UA).status()?["links"] == Value::Array(vec![]), "UA has a peer");
    Ok(lab)
}

/// Takes all peers but the first few out of a node's configuration.
fn keep_peers(dir: &Path, count: usize) -> anyhow::Result<()> {
    let path = dir.join("node.toml");
    let text = fs::read_to_string(&path)?;
    let cut = text.match_indices("[[peer]]").nth(count).map(|(at, _)| at);
    fs::write(&path, &text[..cut.context("there is no peer to be taken out")?])?;
    Ok(())
}

fn publish(lab: &Lab, index: usize, corpus: &Corpus, numbers: std::ops::Range<u64>) -> anyhow::Result<()> {
    numbers.into_iter().try_for_each(|number| lab.client(index).publish(&corpus.alert(number)).map(drop))
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

fn bundle(lab: &Lab, index: usize, arguments: &[&str]) -> anyhow::Result<Outcome> {
    lab.cli(index).run(["bundle", "--json"].into_iter().chain(arguments.iter().copied()))
}

/// Exports a bundle of a node; gives its file and what was said of it.
fn export(lab: &Lab, index: usize, name: &str, more: &[&str]) -> anyhow::Result<(PathBuf, Value)> {
    let path = lab.dir().join(name);
    let file = show(&path);
    let arguments: Vec<&str> = ["export", &file].into_iter().chain(more.iter().copied()).collect();
    Ok((path.clone(), bundle(lab, index, &arguments)?.expect_code(0)?.json()?))
}

fn import(lab: &Lab, index: usize, path: &Path) -> anyhow::Result<Value> {
    bundle(lab, index, &["import", &show(path), "--force"])?.expect_code(0)?.json()
}

/// The frontier file of a node, as a shell makes it.
fn frontier(lab: &Lab, index: usize) -> anyhow::Result<PathBuf> {
    let path = lab.dir().join(format!("{}.frontier", lab.node(index).name()));
    let mut command = Command::new(lab.binary());
    command.args(["bundle", "frontier", "--dir", &show(lab.node(index).dir())]);
    ensure!(command.stdin(Stdio::null()).stdout(File::create(&path)?).status()?.success(), "no frontier file");
    Ok(path)
}

/// What must be as before when a bundle was refused.
fn state(lab: &Lab, index: usize) -> anyhow::Result<(Value, Value, Value, Value)> {
    let status = lab.client(index).status()?;
    let of = |name: &str| status[name].clone();
    Ok((of("digest"), of("position"), of("frontier"), of("charter_epoch")))
}

#[test]
fn two_nodes_that_never_had_a_link_exchange_alerts_and_a_third_hears_of_them() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let lab = lab()?;
    publish(&lab, UA, &corpus, 0..40)?;
    publish(&lab, LT, &corpus, 100..120)?;
    publish(&lab, PL, &corpus, 200..210)?;
    lab.wait_equal(&[LT, PL], SECONDS_MAX)?;

    // There: UA hands a memory stick to LT, and PL hears of it over the link.
    let (there, exported) = export(&lab, UA, "ua.bundle", &[])?;
    let taken = import(&lab, LT, &there)?;
    assert_eq!((&taken["new"], &taken["refused"]), (&exported["entries"], &0.into()), "{taken}");
    assert_eq!(lab.client(LT).alert_count()?, 70, "the answer came before the alerts were shown");
    lab.wait_until(SECONDS_MAX, "UA's alerts at PL", || Ok(lab.client(PL).alert_count()? == 70))?;
    let metrics = lab.client(LT).get("/metrics")?.text;
    assert_eq!(metric_sum(&metrics, "vatra_bundles_imported_total"), Some(1));

    // The receipt says who took what.
    let receipt = lab.dir().join("ua.bundle.receipt");
    let charter = show(&lab.node(UA).dir().join("charter.vatra"));
    let inspected = lab.vatra(["bundle", "inspect", "--json", &show(&receipt), "--charter", &charter])?;
    let inspected = inspected.expect_code(0)?.json()?;
    assert_eq!((&inspected["kind"], &inspected["giver"]["member"]), (&"receipt".into(), &"LT".into()));
    assert_eq!((&inspected["intake"]["bundle"], &inspected["intake"]["new"]), (&exported["bundle"], &taken["new"]));

    // And back: LT leaves out what UA's frontier file covers, which is all that UA wrote.
    let frontier = frontier(&lab, UA)?;
    let (back, exported_back) = export(&lab, LT, "lt.bundle", &["--since", &show(&frontier)])?;
    let (_, all) = export(&lab, LT, "lt-all.bundle", &[])?;
    let number = |value: &Value| value["entries"].as_u64().context("no number of entries");
    assert_eq!(number(&exported_back)?, number(&all)? - number(&exported)?, "UA's own entries came back");
    let taken = import(&lab, UA, &back)?;
    assert_eq!((&taken["new"], &taken["held"]), (&exported_back["entries"], &0.into()), "{taken}");
    lab.wait_all_hold(70, SECONDS_MAX)?;

    // The next stick has only what is new since LT's receipt.
    publish(&lab, UA, &corpus, 300..303)?;
    let (next, exported) = export(&lab, UA, "ua-2.bundle", &["--since", &show(&receipt)])?;
    let taken = import(&lab, LT, &next)?;
    assert_eq!((number(&exported)?, &taken["new"]), (3, &3.into()), "{taken}");
    lab.wait_all_hold(73, SECONDS_MAX)?;
    assert_eq!(lab.client(UA).links_up()?, []);
    Ok(())
}

#[test]
fn a_bundle_taken_twice_changes_nothing_the_second_time() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let lab = lab()?;
    publish(&lab, UA, &corpus, 0..10)?;
    let (path, exported) = export(&lab, UA, "ua.bundle", &[])?;
    import(&lab, LT, &path)?;
    let before = state(&lab, LT)?;
    let again = import(&lab, LT, &path)?;
    assert_eq!((&again["new"], &again["held"]), (&0.into(), &exported["entries"]), "{again}");
    assert_eq!(state(&lab, LT)?, before);
    // An older one after a newer one is no harm either, and one's own entries are held.
    publish(&lab, UA, &corpus, 10..12)?;
    let (newer, _) = export(&lab, UA, "ua-2.bundle", &[])?;
    import(&lab, LT, &newer)?;
    assert_eq!(import(&lab, LT, &path)?["new"], 0);
    assert_eq!(import(&lab, UA, &path)?["new"], 0);
    lab.wait_all_hold(12, SECONDS_MAX)?;
    // A member that is known to hold everything gets nothing: LT has heard PL's beacons.
    lab.wait_until(SECONDS_MAX, "an empty bundle for PL", || {
        let (_, empty) = export(&lab, LT, "pl.bundle", &["--for", "PL", "--force"])?;
        Ok(empty["entries"] == 0)
    })?;
    let (_, whole) = export(&lab, LT, "for-ua.bundle", &["--for", "UA"])?;
    ensure!(whole["entries"].as_u64() >= Some(12), "UA was never heard, so nothing is left out: {whole}");
    Ok(())
}

#[test]
fn damaged_and_foreign_bundles_change_nothing() -> anyhow::Result<()> {
    let corpus = Corpus::load()?;
    let lab = lab()?;
    publish(&lab, UA, &corpus, 0..20)?;
    let (path, _) = export(&lab, UA, "ua.bundle", &[])?;
    let good = fs::read(&path)?;
    let before = state(&lab, LT)?;
    let refused = |name: &str, bytes: &[u8], words: &str| -> anyhow::Result<()> {
        let bad = lab.dir().join(name);
        fs::write(&bad, bytes)?;
        let outcome = bundle(&lab, LT, &["import", &show(&bad)])?.expect_code(1)?;
        ensure!(outcome.err.contains(words), "{name}: {}", outcome.err);
        lab.vatra(["bundle", "inspect", &show(&bad)])?.expect_code(1)?;
        ensure!(state(&lab, LT)? == before, "{name} changed something");
        ensure!(!lab.dir().join(format!("{name}.receipt")).exists(), "{name} got a receipt");
        Ok(())
    };
    for place in [9, 40, good.len() / 3, good.len() / 2, good.len() - 200, good.len() - 1] {
        let mut flipped = good.clone();
        flipped[place] ^= 0x10;
        refused(&format!("flipped-{place}"), &flipped, "nothing was changed")?;
    }
    for len in [4, 500, good.len() / 2, good.len() - 1] {
        let words = if len < 9 { "no bundle" } else { "cut off" };
        refused(&format!("cut-{len}"), &good[..len], words)?;
    }
    let doubled = [good.as_slice(), &good].concat();
    refused("doubled", &doubled, "follow the bundle's end")?;
    refused("other", b"PK\x03\x04 this is another kind of file", "no bundle")?;

    // Another federation's bundle is a good one, but not here.
    let mut others = Lab::new(&Plan::of(&["UA"]))?;
    others.start_all()?;
    publish(&others, 0, &corpus, 0..3)?;
    let (foreign, _) = export(&others, 0, "foreign.bundle", &[])?;
    others.vatra(["bundle", "inspect", &show(&foreign)])?.expect_code(0)?;
    let outcome = bundle(&lab, LT, &["import", &show(&foreign)])?.expect_code(1)?;
    ensure!(outcome.err.contains("another federation"), "{}", outcome.err);
    ensure!(state(&lab, LT)? == before, "a foreign bundle changed something");
    for (name, since, words) in [
        ("foreign", frontier(&others, 0)?, "another federation"),
        ("bundle", path.clone(), "no receipt or frontier file"),
    ] {
        let file = lab.dir().join(name);
        let outcome = bundle(&lab, LT, &["export", &show(&file), "--since", &show(&since)])?.expect_code(1)?;
        ensure!(outcome.err.contains(words) && !file.exists(), "{name}: {}", outcome.err);
    }

    // What was refused keeps nobody from taking the good one, and nothing is left behind.
    import(&lab, LT, &path)?;
    lab.wait_until(SECONDS_MAX, "UA's alerts", || Ok(lab.client(LT).alert_count()? == 20))?;
    ensure!(!lab.node(LT).dir().join("bundle.spool").exists(), "the spool file stays");
    let metrics = lab.client(LT).get("/metrics")?.text;
    assert_eq!(metric_sum(&metrics, "vatra_bundles_refused_total"), Some(13));
    Ok(())
}

#[test]
fn an_import_goes_on_after_the_node_was_killed() -> anyhow::Result<()> {
    const ALERTS: u64 = 4_000;
    let corpus = Corpus::load()?;
    let mut lab = lab()?;
    for first in (0..ALERTS).step_by(1_000) {
        lab.client(UA).bulk(corpus.lines(first..first + 1_000))?;
    }
    let (path, exported) = export(&lab, UA, "ua.bundle", &[])?;
    let mut command = Command::new(lab.binary());
    command.args(["bundle", "import", &show(&path), "--dir", &show(lab.node(LT).dir())]);
    let mut importing = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let spool = lab.node(LT).dir().join("bundle.spool");
    // From here on any moment is a good one to be killed in.
    lab.wait_until(SECONDS_MAX, "the beginning of the import", || {
        Ok(spool.exists() || lab.client(LT).alert_count()? > 0)
    })?;
    lab.node_mut(LT).kill()?;
    importing.wait()?;
    lab.start(LT)?;
    let taken = import(&lab, LT, &path)?;
    let sum = taken["new"].as_u64().zip(taken["held"].as_u64()).map(|(new, held)| new + held);
    assert_eq!(sum, exported["entries"].as_u64(), "{taken}");
    ensure!(!spool.exists(), "the spool file of the killed import stays");
    lab.wait_all_hold(ALERTS, SECONDS_MAX)?;
    Ok(())
}

#[test]
fn a_bundle_brings_the_newer_charter_before_its_entries() -> anyhow::Result<()> {
    let mut lab = lab()?;
    // The federation takes EE in; only UA has heard of it.
    let home = lab.dir().join("lab/members");
    let (ee, draft, charter) =
        (home.join("ee"), show(&lab.dir().join("draft-2")), lab.node(UA).dir().join("charter.vatra"));
    lab.vatra(["member", "new", "--code", "EE", "--name", "Estonia", "--out", &show(&ee)])?.expect_code(0)?;
    lab.vatra(["charter", "new", "--from", &show(&charter), "--out", &draft])?.expect_code(0)?;
    lab.vatra(["charter", "add", &draft, &show(&ee.join("member.toml"))])?.expect_code(0)?;
    for member in ["ua", "lt"] {
        lab.vatra(["charter", "sign", &draft, "--member", &show(&home.join(member))])?.expect_code(0)?;
    }
    let next = lab.dir().join("charter-2.vatra");
    lab.vatra(["charter", "verify", &draft, "--out", &show(&next)])?.expect_code(0)?;
    lab.node_mut(UA).stop()?;
    fs::copy(&next, &charter)?;
    lab.start(UA)?;
    lab.client(UA).publish(&Corpus::load()?.alert(1))?;

    let (path, exported) = export(&lab, UA, "ua.bundle", &[])?;
    assert_eq!(exported["charter_epoch"], 2);
    let taken = import(&lab, LT, &path)?;
    assert_eq!((&taken["charter_advanced"], &taken["charter_epoch"]), (&true.into(), &2.into()), "{taken}");
    assert_eq!(lab.client(LT).status()?["charter_epoch"], 2);
    lab.wait_until(SECONDS_MAX, "the newer charter at PL", || Ok(lab.client(PL).status()?["charter_epoch"] == 2))?;
    // An older charter in a bundle takes nothing back.
    let (old, _) = export(&lab, PL, "pl.bundle", &[])?;
    assert_eq!(import(&lab, UA, &old)?["charter_advanced"], false);
    Ok(())
}
